//! Messages about errors in a command line: one line each, with the prefix of all messages.

use std::error::Error as _;
use std::io::{self, Write as _};

use clap::error::{ContextKind, ContextValue, ErrorKind};

/// How many characters of a bad value are shown: enough to recognise it.
const SHOWN: usize = 60;

/// Prints an error message, help or version, and ends the program.
pub(crate) fn exit(error: &clap::Error) -> ! {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => error.exit(),
        // If stderr is closed, there is nowhere left to report it.
        _ => drop(io::stderr().lock().write_all(message(error).as_bytes())),
    }
    std::process::exit(error.exit_code())
}

/// Formats an error, with the prefix of all messages.
fn message(error: &clap::Error) -> String {
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        _ => None,
    };
    // In one line, whatever the value contains; clap prints line breaks in it as they are.
    if let (ErrorKind::ValueValidation, Some(name), Some(value), Some(reason)) =
        (error.kind(), context(ContextKind::InvalidArg), context(ContextKind::InvalidValue), error.source())
    {
        return format!("dht: invalid value '{}' for '{name}': {reason}\n", shown(value));
    }
    let text = error.render().to_string();
    match text.strip_prefix("error: ") {
        Some(text) => format!("dht: {text}"),
        // The help, if there were no arguments at all.
        None => text,
    }
}

/// Shows a value in one line of bounded length.
fn shown(value: &str) -> String {
    let mut text: String = value.trim().escape_debug().to_string();
    if let Some((at, _)) = text.char_indices().nth(SHOWN) {
        text.truncate(at);
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Invocation;

    fn message_for(words: &[&str]) -> String {
        message(&Invocation::parse(words).unwrap_err())
    }

    #[test]
    fn a_bad_value_is_reported_in_one_line_with_its_reason_whatever_it_contains() {
        let long = "x\n".repeat(10_000);
        for value in ["12", "12\n34\n", " \u{1b}[31m12", "", long.as_str()] {
            let text = message_for(&["dht", "find-node", value]);
            assert!(text.starts_with("dht: invalid value '"), "{text}");
            assert!(text.ends_with("for '<TARGET>': expected 40 hexadecimal digits\n"), "{text}");
            assert_eq!(text.matches('\n').count(), 1, "{text}");
            assert!(text.len() < 200 && !text.contains('\u{1b}'), "{text}");
        }
    }

    #[test]
    fn all_messages_have_the_same_prefix() {
        for words in [
            &["dht", "nonsense"][..],
            &["dht", "get-peers"],
            &["dht", "node", "--nonsense"],
            &["dht", "node", "--timeout", "x"],
            &["dht", "demo", "--nodes", "1"],
            &["dht", "completions", "dos"],
        ] {
            let text = message_for(words);
            assert!(text.starts_with("dht: ") && !text.contains("error:"), "{text}");
        }
    }
}
