//! Checks that files and folders are small enough to be read at once.

use std::collections::BTreeMap;
use std::fs;

use crate::{FOLDERS, root, sources};

/// The most lines of a file.
const LINES: usize = 800;

/// The most Rust files of a folder in `src`, those of its folders apart.
const FILES: usize = 15;

#[test]
fn no_file_is_too_long_and_no_folder_too_full() {
    let mut wrong = Vec::new();
    for file in FOLDERS.into_iter().flat_map(|folder| sources(&root().join(folder))) {
        let lines = fs::read_to_string(&file).unwrap().lines().count();
        if lines > LINES {
            wrong.push(format!("{}: {lines} lines, more than {LINES}", file.display()));
        }
    }
    let mut folders = BTreeMap::<_, usize>::new();
    for file in sources(&root().join("src")) {
        *folders.entry(file.parent().unwrap().to_owned()).or_default() += 1;
    }
    let full = folders.iter().filter(|(_, files)| **files > FILES);
    wrong.extend(
        full.map(|(folder, files)| format!("{}: {files} files, more than {FILES}", folder.display())),
    );
    assert!(folders.len() > 20 && wrong.is_empty(), "split what is too big:\n{}", wrong.join("\n"));
}
