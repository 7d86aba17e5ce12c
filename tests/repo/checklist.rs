//! Checks `tests/CHECKLIST.md`: no requirement is missing, each is proved by tests with its row
//! in their names, and every row that a test names is in a table.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use crate::{root, sources};

/// Sections that must be complete, and the numbers of their last rows.
const WHOLE: [(&str, u32); 17] = [
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
    ("C", 19),
    ("F", 17),
];

/// The start of the notes of a row without a test.
const NO_TEST: &str = "no test: ";

/// The start of the notes of a row that tests of other rows prove.
const ALSO: &str = "also ";

#[test]
fn every_row_has_a_test_or_says_why_it_has_none() {
    let text = checklist();
    let rows: Vec<Row<'_>> = rows(&text).collect();
    let tests = tests_by_row();
    let has_tests = |row: &str| tests.contains_key(row);
    let mut wrong = Vec::new();
    for Row { name, notes, .. } in &rows {
        let is_proved = has_tests(name) || also(notes).any(has_tests);
        let reason = notes.split_once(NO_TEST).map(|(_, reason)| reason);
        match reason {
            None if !is_proved => wrong.push(format!(
                "{name} has no test: put `{}_` before the name of the tests that prove it, in src or tests, \
                 or write `{NO_TEST}` and the reason into its notes in tests/CHECKLIST.md",
                prefix(name)
            )),
            Some(reason) if reason.len() <= 20 => wrong.push(format!("{name}: `{reason}` is no reason")),
            Some(_) if is_proved => {
                wrong.push(format!("{name} has a test: remove `{NO_TEST}…` from its notes"));
            }
            _ => {}
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_row_that_a_test_or_a_note_names_is_in_the_table() {
    let text = checklist();
    let names: BTreeSet<&str> = rows(&text).map(|row| row.name).collect();
    let mut wrong = Vec::new();
    for (row, tests) in tests_by_row() {
        if !names.contains(row.as_str()) {
            let tests = tests.join(", ");
            wrong.push(format!("{tests}: no row {row} in tests/CHECKLIST.md: add it, or mend the name"));
        }
    }
    for row in rows(&text) {
        let unknown = also(row.notes).filter(|other| !names.contains(other) || *other == row.name);
        wrong.extend(
            unknown.map(|other| format!("{}: its notes name {other}, which is no other row", row.name)),
        );
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_row_is_missing_or_duplicated() {
    let text = checklist();
    let mut seen = BTreeSet::new();
    for Row { name, requirement, .. } in rows(&text) {
        assert!(!requirement.is_empty(), "{name}: write down what is required");
        assert!(seen.insert(name), "{name} is duplicated: give one of them the next free number");
        assert_eq!(rows_of(&format!("{}_x", prefix(name))), [name], "no section is called like that");
    }
    let wanted =
        WHOLE.iter().flat_map(|(section, last)| (1..=*last).map(move |row| format!("{section}-{row:02}")));
    let missing: Vec<_> = wanted.filter(|row| !seen.contains(row.as_str())).collect();
    assert!(missing.is_empty(), "{missing:?} are missing: restore these rows of tests/CHECKLIST.md");
}

struct Row<'a> {
    name: &'a str,
    requirement: &'a str,
    notes: &'a str,
}

fn checklist() -> String {
    fs::read_to_string(root().join("tests/CHECKLIST.md")).unwrap()
}

/// Returns the rows of all tables, without their heads.
fn rows(text: &str) -> impl Iterator<Item = Row<'_>> {
    let lines = text.lines().filter(|line| line.starts_with('|') && !line.starts_with("|---"));
    let cells = lines.map(|line| {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [name, requirement, notes] = cells[..] else { panic!("three cells and no more: {line}") };
        Row { name, requirement, notes }
    });
    cells.filter(|row| row.notes != "notes")
}

/// Returns the other rows whose tests prove the row with these notes: `also E-17, E-20; …`.
fn also(notes: &str) -> impl Iterator<Item = &str> {
    let list = notes.strip_prefix(ALSO).unwrap_or_default();
    let list = list.split_once(';').map_or(list, |(list, _)| list);
    list.split(", ").filter(|row| !row.is_empty())
}

/// Returns the prefix of tests that prove a row.
fn prefix(row: &str) -> String {
    row.to_lowercase().replace('-', "_")
}

/// Returns the rows that a test proves: E-06 and B44-07 for `e_06_b44_07_…` or `e_06_and_b44_07_…`.
fn rows_of(test: &str) -> Vec<String> {
    let mut rows = Vec::new();
    let mut rest = test;
    while let [section, number, after] = rest.splitn(3, '_').collect::<Vec<_>>()[..] {
        let is_section = section == "h" || WHOLE.iter().any(|(name, _)| name.to_lowercase() == section);
        let is_number = number.len() == 2 && number.bytes().all(|byte| byte.is_ascii_digit());
        if !is_section || !is_number {
            break;
        }
        rows.push(format!("{}-{number}", section.to_uppercase()));
        rest = after.strip_prefix("and_").unwrap_or(after);
    }
    rows
}

/// Returns all tests with rows in their names, as `file: name`.
fn tests_by_row() -> BTreeMap<String, Vec<String>> {
    let mut tests = BTreeMap::<String, Vec<String>>::new();
    for file in ["src", "tests"].into_iter().flat_map(|folder| sources(&root().join(folder))) {
        let source = fs::read_to_string(&file).unwrap();
        let path = file.strip_prefix(root()).unwrap().display();
        for name in tests_in(&source) {
            for row in rows_of(name) {
                tests.entry(row).or_default().push(format!("{path}: {name}"));
            }
        }
    }
    tests
}

/// Returns the functions of a file that are tests.
fn tests_in(source: &str) -> impl Iterator<Item = &str> {
    let mut is_test = false;
    source.lines().map(str::trim).filter_map(move |line| {
        let name = line.strip_prefix("async ").unwrap_or(line).strip_prefix("fn ");
        let was_test = is_test;
        // Other attributes may stand between.
        is_test = matches!(line, "#[test]" | "#[tokio::test]") || (is_test && line.starts_with("#["));
        name.filter(|_| was_test)?.split('(').next()
    })
}

#[test]
fn tests_and_rows_are_parsed() {
    let source = "#[test]\nfn one() {\n}\nfn helper() {}\n#[cfg(unix)]\n#[test]\n#[ignore]\nfn two(x: u8) {}\n\
        #[tokio::test]\nasync fn three() {}";
    assert!(tests_in(source).eq(["one", "two", "three"]));
    assert_eq!(rows_of("e_06_b44_07_v44_some_text_12_x"), ["E-06", "B44-07"]);
    assert_eq!(rows_of("r_15_and_h_31_some_text"), ["R-15", "H-31"]);
    assert!(rows_of("a_12_text").is_empty() && rows_of("b46_a_link").is_empty());
    let text = "# T\n| row | requirement | notes |\n|---|---|---|\n| E-01 | a (`b`) | also Q-02, T-03; more |\n| E-02 | c | |";
    assert!(rows(text).map(|row| row.name).eq(["E-01", "E-02"]));
    assert!(rows(text).flat_map(|row| also(row.notes)).eq(["Q-02", "T-03"]));
}
