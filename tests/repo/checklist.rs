//! `tests/CHECKLIST.md` names the test behind every requirement. Here it is held to that: every
//! test that it names exists, and no requirement is missing.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// The sections of BEP 5 and its family that the table must have whole: rows 1 to the number.
const WHOLE: [(&str, u32); 15] = [
    ("E", 32),
    ("B5", 10),
    ("Q", 27),
    ("T", 10),
    ("R", 22),
    ("L", 14),
    ("B20", 2),
    ("B32", 18),
    ("B33", 18),
    ("B42", 16),
    ("B43", 6),
    ("B44", 36),
    ("B45", 13),
    ("B46", 4),
    ("B51", 11),
];

/// What a row says in place of a test, where there is none.
const NO_TEST: &str = "no test: ";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn checklist() -> String {
    fs::read_to_string(root().join("tests/CHECKLIST.md")).unwrap()
}

/// The cells of the lines of all tables, without their heads.
fn rows(text: &str) -> impl Iterator<Item = Vec<&str>> {
    let lines = text.lines().filter(|line| line.starts_with('|'));
    let cells = lines.map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect());
    cells.filter(|cells: &Vec<_>| !cells[0].starts_with("---") && !cells.contains(&"proved by"))
}

/// The tests named in a text, as file and function: `tests/answers.rs: q_01_…`.
fn named(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.split('`').skip(1).step_by(2).filter_map(|code| code.split_once(".rs: "))
}

/// The functions of a file that are tests.
fn tests_in(source: &str) -> BTreeSet<String> {
    let mut tests = BTreeSet::new();
    let mut is_test = false;
    for line in source.lines().map(str::trim) {
        match line.strip_prefix("fn ") {
            Some(rest) if is_test => {
                tests.insert(rest.split('(').next().unwrap().to_owned());
                is_test = false;
            }
            _ if line == "#[test]" => is_test = true,
            // Other attributes may stand between.
            _ => is_test &= line.starts_with("#["),
        }
    }
    tests
}

#[test]
fn every_test_that_is_named_exists() {
    let text = checklist();
    let mut files = BTreeMap::new();
    let mut missing = Vec::new();
    for (file, name) in named(&text) {
        let tests = files.entry(file).or_insert_with(|| {
            let path = root().join(file).with_extension("rs");
            fs::read_to_string(path).map(|source| tests_in(&source)).unwrap_or_default()
        });
        if !tests.contains(name) {
            missing.push(format!("{file}.rs: {name}"));
        }
    }
    assert!(files.len() > 20, "tests are found in the table");
    assert!(missing.is_empty(), "no such test:\n{}", missing.join("\n"));
}

#[test]
fn every_row_has_a_test_or_says_why_it_has_none() {
    let text = checklist();
    let mut seen = BTreeSet::new();
    for cells in rows(&text) {
        let [name, requirement, proof] = cells[..] else { panic!("three cells: {cells:?}") };
        assert!(!requirement.is_empty(), "{name} says what is required");
        assert!(seen.insert(name), "{name} stands in one row");
        let has_reason = proof.split_once(NO_TEST).is_some_and(|(_, reason)| reason.len() > 20);
        assert!(named(proof).next().is_some() || has_reason, "{name}: {proof}");
    }
    let wanted =
        WHOLE.iter().flat_map(|(section, last)| (1..=*last).map(move |row| format!("{section}-{row:02}")));
    let missing: Vec<_> = wanted.filter(|row| !seen.contains(row.as_str())).collect();
    assert!(missing.is_empty(), "{missing:?} are missing");
}

#[test]
fn tests_and_rows_are_read_as_they_are_written() {
    let source = "#[test]\nfn one() {\n}\nfn helper() {}\n#[cfg(unix)]\n#[test]\n#[ignore]\nfn two(x: u8) {}";
    assert!(tests_in(source).iter().eq(["one", "two"]));
    let text = "# T\n| row | requirement | proved by |\n|---|---|---|\n| E-01 | a (`b`) | `tests/x.rs: one`; c `d` |";
    assert_eq!(rows(text).count(), 1);
    assert!(named(text).eq([("tests/x", "one")]));
}
