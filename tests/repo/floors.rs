//! The floors of the house: a file uses only what lies on its own floor or below.
//!
//! `src/guide/architecture.md` says where a folder belongs; every file and folder of `src` is named there, so
//! that a new one needs a decision.

use std::collections::BTreeSet;
use std::fs;

use crate::{root, sources};

/// The folders of each floor, from the ground up, as the guide has them.
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

/// What stands on no floor: the list of the modules, the public modules by subject, and the manual.
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

/// The first name behind each `crate::` in `text`, with its line. Comments do not count.
fn used(text: &str) -> Vec<(usize, String)> {
    let code: Vec<&str> = text.lines().map(|line| line.split("//").next().unwrap_or("")).collect();
    let code = code.join("\n");
    let mut used = Vec::new();
    for (at, prefix) in code.match_indices("crate::") {
        let line = code[..at].lines().count();
        let rest = &code[at + prefix.len()..];
        match rest.strip_prefix('{') {
            Some(group) => used.extend(members(group).into_iter().map(|name| (line, name))),
            None => used.push((line, word(rest))),
        }
    }
    used
}

/// The first word of each member of a group, whose members may be groups too.
fn members(group: &str) -> Vec<String> {
    let (mut words, mut depth, mut begins) = (Vec::new(), 0, true);
    for (at, letter) in group.char_indices() {
        match letter {
            '}' if depth == 0 => break,
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => begins = true,
            _ if begins && !letter.is_whitespace() => {
                words.push(word(&group[at..]));
                begins = false;
            }
            _ => {}
        }
    }
    words
}

fn word(text: &str) -> String {
    text.trim_start().chars().take_while(|&letter| letter.is_alphanumeric() || letter == '_').collect()
}

#[test]
fn every_file_uses_only_its_own_floor_and_those_below() {
    let (floors, subjects) = (floors(), subjects());
    assert_eq!(floors.len(), 5, "the guide has a table of floors");
    assert!(subjects.len() > 3, "there are public modules by subject");
    let src = root().join("src");
    let files = sources(&src);
    assert!(files.len() > 20, "the sources are where they are looked for");
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
        for (line, name) in used(&fs::read_to_string(&file).unwrap()) {
            // In the tool `crate` is the tool itself.
            if path.starts_with("bin") {
                continue;
            }
            // A public name, at the root or in a module by subject, comes from the top: adapters see what users
            // see.
            let is_public_name =
                name.starts_with(char::is_uppercase) || name == "MAX_DATAGRAM" || subjects.contains(&name);
            let floor = if is_public_name {
                floors.len() - 2
            } else {
                floor_of(&floors, &name).unwrap_or(usize::MAX)
            };
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

#[test]
fn uses_are_found_in_every_form() {
    let text = "use crate::addr::Endpoint;\nuse crate::{\n    id, pool::{Ix, Slot},\n    Node,\n};\n\
        let x = crate::time::Secs::ZERO; // crate::no";
    let names: Vec<String> = used(text).into_iter().map(|(_, name)| name).collect();
    assert_eq!(names, ["addr", "id", "pool", "Node", "time"]);
}
