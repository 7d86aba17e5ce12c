//! The page on errors: every error that a caller may get is on it.

use std::fs;

use crate::root;

/// The files with the errors of calls.
const FILES: [&str; 3] = ["src/node/api/error.rs", "src/net/error.rs", "src/store/items/item.rs"];

/// The public error enums of a file, with their variants.
fn errors(text: &str) -> Vec<(String, Vec<String>)> {
    let enums = text.split("pub enum ").skip(1).filter_map(|rest| rest.split_once(" {\n"));
    let errors = enums.filter(|(name, _)| name.ends_with("Error"));
    let variants = |body: &str| {
        let body = body.split("\n}").next().unwrap_or_default().to_owned();
        let lines = body.lines().filter_map(|line| line.strip_prefix("    "));
        let names = lines.filter(|line| line.starts_with(char::is_uppercase));
        names.map(|line| line.chars().take_while(|letter| letter.is_alphanumeric()).collect()).collect()
    };
    errors.map(|(name, body)| (name.to_owned(), variants(body))).collect()
}

#[test]
fn every_error_is_on_the_page_that_says_what_to_do() {
    let page = fs::read_to_string(root().join("src/guide/errors.md")).unwrap();
    let (mut count, mut missing) = (0, Vec::new());
    for file in FILES {
        for (name, variants) in errors(&fs::read_to_string(root().join(file)).unwrap()) {
            count += variants.len();
            let is_named = |variant: &String| {
                page.contains(&format!("`{variant}`")) || page.contains(&format!("{name}::{variant}`"))
            };
            missing.extend(variants.iter().filter(|it| !is_named(it)).map(|it| format!("{name}::{it}")));
            if !page.contains(&format!("{name}`")) && !page.contains(&format!("`{name}::")) {
                missing.push(name);
            }
        }
    }
    assert!(count > 40, "the errors are where they are looked for: {count}");
    assert!(missing.is_empty(), "src/guide/errors.md lacks {missing:?}");
}

#[test]
fn variants_are_found() {
    let text = "pub enum AnError {\n    /// A.\n    One,\n    #[error(\"x\")]\n    Two { a: u8 },\n    Three(u8),\n}\n";
    let found = errors(text);
    assert_eq!(found[0].0, "AnError");
    assert_eq!(found[0].1, ["One", "Two", "Three"]);
}
