//! The floors of the house: a file uses only what lies on its own floor or below.
//!
//! The table below is the only place that says where a module belongs. It names every file and
//! folder of `src`, so a new one cannot slip in without a decision.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Which modules make a floor, from the ground up, and why they may not know what is above them.
const FLOORS: [(&str, &[&str]); 5] = [
    // The words everything else is said in: plain values, no logic of the protocol.
    ("vocabulary", &["addr", "id", "keyed", "magnet", "rng", "time", "trace"]),
    // Pure functions of bytes, and memory that knows nothing of what it holds.
    ("wire and memory", &["bloom", "pool", "wire"]),
    // The parts of a node, each over slices that it is lent: none knows a node, none does IO.
    (
        "parts",
        &[
            "contacts",
            "density",
            "external",
            "inflight",
            "items",
            "kept",
            "limit",
            "lookup",
            "peers",
            "rtt",
            "sampling",
            "scrape",
            "secure_id",
            "sources",
            "stats",
            "table",
            "timer",
            "token",
            "volume",
        ],
    ),
    // What puts the parts together, sizes them and tells of them. Still neither clock nor socket.
    ("node", &["config", "crawl", "event", "full", "node", "state", "storage"]),
    // The only floor with sockets, clocks, threads and files.
    ("adapters", &["bin", "net", "sim"]),
];

/// What stands on no floor: the list of the modules, and the manual.
const OUTSIDE: [&str; 2] = ["lib", "guide"];

fn floor_of(module: &str) -> Option<usize> {
    FLOORS.iter().position(|(_, modules)| modules.contains(&module))
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
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
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&src, &mut files);
    assert!(files.len() > 20, "the sources are where they are looked for");
    let (mut seen, mut wrong) = (BTreeSet::new(), Vec::new());
    for file in files {
        let path = file.strip_prefix(&src).unwrap();
        let module = path.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs").to_owned();
        if OUTSIDE.contains(&module.as_str()) {
            continue;
        }
        let Some(own) = floor_of(&module) else {
            wrong.push(format!("{}: give the module `{module}` a floor in {}", path.display(), file!()));
            continue;
        };
        seen.insert(module);
        for (line, name) in used(&fs::read_to_string(&file).unwrap()) {
            // In the tool `crate` is the tool itself.
            if path.starts_with("bin") {
                continue;
            }
            // A public name without its module comes from the top: adapters see what users see.
            let is_public_name = name.starts_with(char::is_uppercase) || name == "MAX_DATAGRAM";
            let floor = if is_public_name { FLOORS.len() - 2 } else { floor_of(&name).unwrap_or(usize::MAX) };
            if floor > own {
                let of = |floor: usize| FLOORS.get(floor).map_or("no floor", |(name, _)| name);
                let (own, floor) = (of(own), of(floor));
                wrong.push(format!("{}:{line}: `{name}` ({floor}) used from {own}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for module in FLOORS.iter().flat_map(|(_, modules)| *modules) {
        assert!(seen.contains(*module), "`{module}` is on a floor, but not in src");
    }
}

#[test]
fn uses_are_found_in_every_form() {
    let text = "use crate::addr::Endpoint;\nuse crate::{\n    id, pool::{Ix, Slot},\n    Node,\n};\n\
        let x = crate::time::Secs::ZERO; // crate::no";
    let names: Vec<String> = used(text).into_iter().map(|(_, name)| name).collect();
    assert_eq!(names, ["addr", "id", "pool", "Node", "time"]);
}
