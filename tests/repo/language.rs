//! Checks the language: the first line of a doc comment stands alone, and words that the glossary retired do
//! not return.

use std::fs;
use std::path::PathBuf;

use crate::{FOLDERS, root, sources};

/// Beginnings of doc comments that cannot be understood without the item or the line before.
const OPENINGS: [&str; 12] = [
    "Of ",
    "That of ",
    "That which ",
    "Those of ",
    "The same",
    "With the ",
    "So many ",
    "Such ",
    "Whose ",
    "Whom ",
    "It ",
    "They ",
];

/// Returns the first lines of the doc comments of a file, with their numbers.
fn first_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let doc = |line: &str| {
        let line = line.trim_start();
        line.starts_with("///") || line.starts_with("//!")
    };
    let mut before = false;
    text.lines().enumerate().filter_map(move |(at, line)| {
        let is_first = doc(line) && !before;
        before = doc(line);
        is_first.then(|| (at + 1, line.trim_start()[3..].trim_start()))
    })
}

/// Returns the words that the glossary lists as retired, each with its replacement.
fn retired(glossary: &str) -> Vec<(String, String)> {
    let (_, list) = glossary.split_once("# Retired words").unwrap();
    let (_, list) = list.split_once(':').unwrap();
    let list = list.replace('\n', " ");
    let entries = list.trim().trim_end_matches('.').split(", ");
    let pairs = entries.map(|entry| entry.split_once(" (").unwrap());
    pairs.map(|(word, instead)| (word.to_owned(), instead.trim_end_matches(')').to_owned())).collect()
}

/// Whether a text contains this word, by itself or as a part of an identifier.
fn has_word(text: &str, word: &str) -> bool {
    let text = text.to_lowercase();
    text.match_indices(word).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let rest = &text[at + word.len()..];
        let after = rest.strip_prefix('s').unwrap_or(rest).chars().next();
        let ends = |letter: Option<char>| !letter.is_some_and(char::is_alphanumeric);
        ends(before) && ends(after)
    })
}

/// Returns the pages for readers, without the glossary, which has the list, and the changelog, which has old names.
fn pages() -> Vec<PathBuf> {
    let guide = fs::read_dir(root().join("src/guide")).unwrap().map(|entry| entry.unwrap().path());
    let is_page =
        |path: &PathBuf| path.extension().is_some_and(|it| it == "md") && !path.ends_with("glossary.md");
    let others = ["README.md", "CONTRIBUTING.md", "tests/CHECKLIST.md"].map(|path| root().join(path));
    guide.filter(is_page).chain(others).collect()
}

#[test]
fn the_first_line_of_every_doc_comment_stands_alone() {
    let mut wrong = Vec::new();
    for file in FOLDERS.into_iter().flat_map(|folder| sources(&root().join(folder))) {
        let text = fs::read_to_string(&file).unwrap();
        for (line, first) in first_lines(&text) {
            if OPENINGS.iter().any(|opening| first.starts_with(opening)) {
                wrong.push(format!("{}:{line}: {first}", file.strip_prefix(root()).unwrap().display()));
            }
        }
    }
    let advice = "begin with what it is, or with a verb: editors show this line alone";
    assert!(wrong.is_empty(), "{advice}\n{}", wrong.join("\n"));
}

#[test]
fn retired_words_do_not_come_back() {
    let retired = retired(&fs::read_to_string(root().join("src/guide/glossary.md")).unwrap());
    assert!(retired.len() > 5, "the glossary has a list of retired words");
    let files = FOLDERS.into_iter().flat_map(|folder| sources(&root().join(folder))).chain(pages());
    let mut wrong = Vec::new();
    // This file uses some of them to test itself.
    for file in files.filter(|file| !file.ends_with("repo/language.rs")) {
        let text = fs::read_to_string(&file).unwrap();
        for (at, line) in text.lines().enumerate() {
            for (word, instead) in retired.iter().filter(|(word, _)| has_word(line, word)) {
                let file = file.strip_prefix(root()).unwrap().display();
                wrong.push(format!("{file}:{}: {word}: say {instead}", at + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "src/guide/glossary.md has retired these words\n{}", wrong.join("\n"));
}

#[test]
fn retired_words_are_found_as_whole_words() {
    assert!(
        has_word("the next walk", "walk")
            && has_word("let walks = 1;", "walk")
            && has_word("take_walk()", "walk")
    );
    assert!(!has_word("a walkway", "walk") && !has_word("opposite", "site"));
    let lines: Vec<_> = first_lines("/// One.\n/// two\nfn one() {}\n    /// Three.\n").collect();
    assert_eq!(lines, [(1, "One."), (4, "Three.")]);
    let list = retired("# Retired words\n\nThese: walk (traversal),\nkept announce (publication).\n");
    assert_eq!(list[1], ("kept announce".to_owned(), "publication".to_owned()));
}
