//! Checks of the repository itself: every requirement has a test, no file imports from a floor above,
//! no files import each other, none is too long, and doc comments follow the rules.
#![allow(clippy::std_instead_of_core, clippy::unwrap_used, reason = "tests")]

mod checklist;
mod circles;
mod errors;
mod floors;
mod imports;
mod language;
mod sizes;

use std::fs;
use std::path::{Path, PathBuf};

/// The folders with Rust code.
const FOLDERS: [&str; 5] = ["src", "tests", "benches", "examples", "fuzz/fuzz_targets"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Returns the Rust files of a folder and of all folders in it.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut sources = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources.extend(self::sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            sources.push(path);
        }
    }
    sources
}
