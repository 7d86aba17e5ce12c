//! Paths that a source file refers to, read from its tokens.

/// A path that a file names, such as `["crate", "base", "id", "NodeId"]`.
#[derive(Debug, PartialEq)]
pub(crate) struct Import {
    pub(crate) line: usize,
    pub(crate) path: Vec<String>,
    /// Whether the file only re-exports the name (`pub use`).
    pub(crate) is_export: bool,
}

/// Returns the paths in `use` declarations, and all others that begin with `crate`, `super` or `self`. Inline
/// tests at the end of a file are left out.
pub(crate) fn imports(text: &str) -> Vec<Import> {
    let tokens = tokens(text);
    let word = |at: usize| tokens.get(at).map_or("", |(_, word)| word.as_str());
    let mut imports = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let line = tokens[at].0;
        let is_inner = at > 0 && ["::", "in", "$"].contains(&word(at - 1));
        match word(at) {
            "#" if begins_tests(&word, at) => break,
            "use" => {
                let is_export = at > 0 && ["pub", ")"].contains(&word(at - 1));
                let mut paths = Vec::new();
                at = use_tree(&word, at + 1, &mut Vec::new(), &mut paths);
                imports.extend(paths.into_iter().map(|path| Import { line, path, is_export }));
            }
            "crate" | "super" | "self" if word(at + 1) == "::" && !is_inner => {
                let mut path = vec![word(at).to_owned()];
                while word(at + 1) == "::" && word(at + 2).starts_with(is_word) {
                    path.push(word(at + 2).to_owned());
                    at += 2;
                }
                imports.push(Import { line, path, is_export: false });
            }
            _ => {}
        }
        at += 1;
    }
    imports
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
    paths: &mut Vec<Vec<String>>,
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
                at += 2;
                break;
            }
            name if name == "*" || name.starts_with(is_word) => {
                prefix.push(name.to_owned());
                at += 1;
                if word(at) != "::" {
                    // `self` in a group is the group's own path.
                    let is_self = name == "self" && depth > 0;
                    paths.push(prefix[..prefix.len() - usize::from(is_self)].to_vec());
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
            pub(in crate::node) use self::addr::Endpoint; // crate::no
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
        let exports: Vec<bool> = imports(text).iter().map(|import| import.is_export).collect();
        assert!(exports[0] && !exports[1..].contains(&true));
    }
}
