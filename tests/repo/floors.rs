//! Checks the floors of the crate: a file imports only from its own floor or from those below.
//!
//! `src/guide/architecture.md` assigns each folder to a floor; every file and folder of `src` is listed
//! there, so that a new one needs a decision.

use std::collections::BTreeSet;
use std::fs;

use crate::imports::{Import, Module, absolute, imports, module_of};
use crate::{root, sources};

/// Returns the folders of each floor, from the lowest up, as the guide lists them.
fn floors() -> Vec<(String, Vec<String>)> {
    let guide = root().join("src/guide/architecture.md");
    let text = fs::read_to_string(guide).unwrap();
    let rows = text.lines().filter_map(|line| line.strip_prefix("| "));
    let is_floor = |row: &&str| row.starts_with(|first: char| first.is_ascii_digit());
    let floor = |row: &str| {
        let mut cells = row.split(" | ");
        let name = cells.next().unwrap().to_owned();
        let folders = cells.next().unwrap().split('`').skip(1).step_by(2).map(str::to_owned);
        (name, folders.collect())
    };
    rows.take_while(|row| !row.starts_with("change")).filter(is_floor).map(floor).collect()
}

/// Modules that are on no floor: the list of modules, the public modules by subject, and the guide.
const OUTSIDE: [&str; 3] = ["lib", "subjects", "guide"];

/// The public modules that re-export what lies elsewhere.
fn subjects() -> Vec<String> {
    let text = fs::read_to_string(root().join("src/subjects.rs")).unwrap();
    let names = text.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(" {"));
    names.map(str::to_owned).collect()
}

fn floor_of(floors: &[(String, Vec<String>)], module: &str) -> Option<usize> {
    floors.iter().position(|(_, modules)| modules.iter().any(|it| it == module))
}

#[test]
fn every_file_uses_only_its_own_floor_and_those_below() {
    let (floors, subjects) = (floors(), subjects());
    assert_eq!(floors.len(), 5, "the guide has a table of floors");
    assert!(subjects.len() > 3, "there are public modules by subject");
    let src = root().join("src");
    let files = sources(&src);
    assert!(files.len() > 20, "the sources are found");
    let modules: BTreeSet<Module> =
        files.iter().map(|file| module_of(file.strip_prefix(&src).unwrap())).collect();
    let (mut seen, mut wrong) = (BTreeSet::new(), Vec::new());
    for file in files {
        let path = file.strip_prefix(&src).unwrap();
        let module = path.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs").to_owned();
        if OUTSIDE.contains(&module.as_str()) {
            continue;
        }
        let Some(own) = floor_of(&floors, &module) else {
            wrong.push(format!(
                "{}: give the module `{module}` a floor in src/guide/architecture.md",
                path.display()
            ));
            continue;
        };
        seen.insert(module);
        // In the tool `crate` is the tool itself.
        if path.starts_with("bin") {
            continue;
        }
        for Import { line, path: import, .. } in imports(&fs::read_to_string(&file).unwrap()) {
            let Some(import) = absolute(&modules, &module_of(path), &import) else { continue };
            let Some(name) = import.first() else { continue };
            // A public name, at the root or in a module by subject, comes from the top floor: adapters use the
            // public surface.
            let is_public_name =
                name.starts_with(char::is_uppercase) || name == "MAX_DATAGRAM" || subjects.contains(name);
            let floor =
                if is_public_name { floors.len() - 2 } else { floor_of(&floors, name).unwrap_or(usize::MAX) };
            if floor > own {
                let of = |floor: usize| floors.get(floor).map_or("no floor", |(name, _)| name);
                let (own, floor) = (of(own), of(floor));
                wrong.push(format!("{}:{line}: `{name}` ({floor}) used from {own}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for module in floors.iter().flat_map(|(_, modules)| modules) {
        assert!(seen.contains(module), "`{module}` is on a floor, but not in src");
    }
}
