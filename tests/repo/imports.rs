//! Paths that a source file refers to, read from its tokens.

use std::collections::BTreeSet;
use std::path::Path;

/// The path of a module, without `crate`.
pub(crate) type Module = Vec<String>;

/// A path that a file names, such as `["crate", "base", "id", "NodeId"]`.
#[derive(Debug, PartialEq)]
pub(crate) struct Import {
    pub(crate) line: usize,
    pub(crate) path: Vec<String>,
    /// The name in this file: the last of the path, or what follows `as`.
    pub(crate) name: String,
    /// Whether the file re-exports the name (`pub use`).
    pub(crate) is_export: bool,
    /// Whether the file uses the name itself; one that is re-exported may not be.
    pub(crate) is_used: bool,
}

/// Beginnings of paths within the crate.
const ROOTS: [&str; 3] = ["crate", "super", "self"];

/// Returns the paths in `use` declarations, and all others that begin with `crate`, `super`, `self` or a child of
/// the module. Inline tests at the end of a file are left out.
pub(crate) fn imports(text: &str) -> Vec<Import> {
    let tokens = tokens(text);
    let word = |at: usize| tokens.get(at).map_or("", |(_, word)| word.as_str());
    let is_declared = |at: &usize| word(*at) == "mod" && word(at + 2) == ";";
    let children: Vec<&str> = (0..tokens.len()).filter(is_declared).map(|at| word(at + 1)).collect();
    let is_child = |at: usize| word(at + 1) == "::" && children.contains(&word(at));
    let mut imports = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let line = tokens[at].0;
        let is_inner = at > 0 && ["::", "in", "$"].contains(&word(at - 1));
        match word(at) {
            "#" if begins_tests(&word, at) => break,
            // Of another crate, whatever the children are called.
            "use" if word(at + 1) == "::" => {
                while !["", ";"].contains(&word(at)) {
                    at += 1;
                }
            }
            "use" => {
                let is_export = at > 0 && ["pub", ")"].contains(&word(at - 1));
                let mut paths = Vec::new();
                at = use_tree(&word, at + 1, &mut Vec::new(), &mut paths);
                imports.extend(paths.into_iter().map(|(path, name)| {
                    let is_used = !is_export || tokens.iter().filter(|(_, word)| *word == name).count() > 1;
                    Import { line, path, name, is_export, is_used }
                }));
            }
            first if !is_inner && (is_child(at) || word(at + 1) == "::" && ROOTS.contains(&first)) => {
                let mut path = vec![word(at).to_owned()];
                while word(at + 1) == "::" && word(at + 2).starts_with(is_word) {
                    path.push(word(at + 2).to_owned());
                    at += 2;
                }
                imports.push(Import {
                    line,
                    path,
                    name: word(at).to_owned(),
                    is_export: false,
                    is_used: true,
                });
            }
            _ => {}
        }
        at += 1;
    }
    imports
}

/// Returns the module of a file, whose path is relative to `src`.
pub(crate) fn module_of(path: &Path) -> Module {
    let mut module: Module = path.iter().map(|name| name.to_str().unwrap().to_owned()).collect();
    let name = module.pop().unwrap();
    match name.trim_end_matches(".rs") {
        "mod" | "lib" => {}
        name => module.push(name.to_owned()),
    }
    module
}

/// Returns a path as seen from the root; `None` for that of another crate.
pub(crate) fn absolute(modules: &BTreeSet<Module>, module: &Module, path: &[String]) -> Option<Module> {
    let mut base = module.clone();
    let mut rest = path;
    while let Some((first, behind)) = rest.split_first() {
        match first.as_str() {
            "crate" => base.clear(),
            "self" => {}
            "super" => drop(base.pop()?),
            _ => break,
        }
        rest = behind;
    }
    // A path without such a beginning may lead to a child.
    let is_own = rest.len() < path.len() || modules.contains(&[&base[..], &rest[..1]].concat());
    is_own.then(|| [base, rest.to_vec()].concat())
}

/// Whether `#[cfg(test)] mod … {` starts here.
fn begins_tests<'a>(word: &impl Fn(usize) -> &'a str, at: usize) -> bool {
    let attribute = ["#", "[", "cfg", "(", "test", ")", "]", "mod"];
    attribute.iter().enumerate().all(|(offset, expected)| word(at + offset) == *expected)
        && word(at + attribute.len() + 1) == "{"
}

/// Reads one member of a `use` declaration, and returns the position behind it.
fn use_tree<'a>(
    word: &impl Fn(usize) -> &'a str,
    mut at: usize,
    prefix: &mut Vec<String>,
    paths: &mut Vec<(Vec<String>, String)>,
) -> usize {
    let depth = prefix.len();
    loop {
        match word(at) {
            "::" => at += 1,
            "{" => {
                at += 1;
                while word(at) != "}" && !word(at).is_empty() {
                    at = use_tree(word, at, prefix, paths);
                    at += usize::from(word(at) == ",");
                }
                at += 1;
                break;
            }
            "as" => {
                if let Some((_, name)) = paths.last_mut() {
                    word(at + 1).clone_into(name);
                }
                at += 2;
                break;
            }
            name if name == "*" || name.starts_with(is_word) => {
                prefix.push(name.to_owned());
                at += 1;
                if word(at) != "::" {
                    // `self` in a group is the group's own path.
                    let is_self = name == "self" && depth > 0;
                    let path = &prefix[..prefix.len() - usize::from(is_self)];
                    paths.push((path.to_vec(), path.last().cloned().unwrap_or_default()));
                }
            }
            _ => break,
        }
    }
    prefix.truncate(depth);
    at
}

const fn is_word(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || letter == '_'
}

/// Splits source text into words and marks, each with its line. Comments, strings and characters are left
/// out.
fn tokens(text: &str) -> Vec<(usize, String)> {
    let (mut tokens, mut line, mut rest) = (Vec::new(), 1, text);
    while let Some(letter) = rest.chars().next() {
        let len = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if let Some(len) = literal_len(rest) {
            len
        } else {
            let len = match letter {
                _ if is_word(letter) => rest.find(|letter| !is_word(letter)).unwrap_or(rest.len()),
                ':' if rest.starts_with("::") => 2,
                _ => letter.len_utf8(),
            };
            if !letter.is_whitespace() {
                tokens.push((line, rest[..len].to_owned()));
            }
            len
        };
        line += rest[..len].matches('\n').count();
        rest = &rest[len..];
    }
    tokens
}

/// Returns the length of the string, character or lifetime at the start of `text`; `None` if there is none.
fn literal_len(text: &str) -> Option<usize> {
    let prefix = text.find(|letter| !['b', 'c', 'r'].contains(&letter))?;
    let quoted = &text[prefix..];
    let hashes = quoted.find(|letter| letter != '#')?;
    if text[..prefix].ends_with('r') && quoted[hashes..].starts_with('"') {
        let end = format!("\"{}", "#".repeat(hashes));
        let begin = prefix + hashes + 1;
        return Some(text[begin..].find(&end).map_or(text.len(), |at| begin + at + end.len()));
    }
    let quote = quoted.chars().next().filter(|letter| ['"', '\''].contains(letter))?;
    let mut letters = quoted.char_indices().skip(1);
    if quote == '\'' && !quoted[1..].starts_with('\\') && quoted.chars().nth(2) != Some('\'') {
        return Some(prefix + 1);
    }
    while let Some((at, letter)) = letters.next() {
        if letter == '\\' {
            letters.next();
        } else if letter == quote {
            return Some(prefix + at + 1);
        }
    }
    Some(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uses_are_found_in_every_form() {
        let text = r##"
            mod child;
            pub(in crate::node) use self::addr::Endpoint; // crate::no
            pub use super::rate::{Rate as Pace, Limit};
            use ::child::no;
            fn own(limit: Limit) -> elsewhere::No { child::Thing::new() }
            use crate::{
                id, pool::{self, Ix as Index, Slot},
                Node, prelude::*,
            };
            const QUOTES: [char; 2] = ['"', '\''];
            fn f<'a>() { $crate::no!(r#"crate::no "#, "crate::no \" crate::no", super::time::Secs::ZERO) }
            #[cfg(test)]
            mod other;
            impl From<crate::Late> for X {}
            #[cfg(test)]
            mod tests { use crate::no; }
        "##;
        let found: Vec<String> = imports(text).iter().map(|import| import.path.join("::")).collect();
        let expected = [
            "self::addr::Endpoint",
            "super::rate::Rate",
            "super::rate::Limit",
            "child::Thing::new",
            "crate::id",
            "crate::pool",
            "crate::pool::Ix",
            "crate::pool::Slot",
            "crate::Node",
            "crate::prelude::*",
            "super::time::Secs::ZERO",
            "crate::Late",
        ];
        assert_eq!(found, expected);
        let exports: Vec<_> = imports(text).into_iter().filter(|import| import.is_export).collect();
        let exports: Vec<_> = exports.iter().map(|import| (import.name.as_str(), import.is_used)).collect();
        assert_eq!(exports, [("Endpoint", false), ("Pace", false), ("Limit", true)]);
    }
}
