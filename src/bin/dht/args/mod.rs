//! The part of the command line that commands share. The arguments of a single command are in its file in
//! `commands/`.
//!
//! - `groups`: options that several commands have
//! - `values`: parsers of single values
//! - `torrent`: a torrent as it is named on the command line
//! - `errors`: messages about errors in a command line

mod errors;
pub(crate) mod groups;
pub(crate) mod torrent;
pub(crate) mod values;

use std::ffi::OsString;
use std::net::SocketAddr;

use clap::error::ErrorKind;
use clap::{ArgMatches, CommandFactory as _, FromArgMatches as _, Parser};
use dht_proto::Family;

use crate::commands::Command;
use groups::FormatArgs;

/// Use the BitTorrent DHT: find peers, nodes and items, announce torrents, store items
#[derive(Debug, Parser)]
#[command(name = "dht", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// A command line that has been parsed.
#[derive(Debug)]
pub(crate) struct Invocation {
    pub(crate) command: Command,
    /// `--json`, which not every command has.
    pub(crate) json: bool,
}

impl Invocation {
    /// Parses the command line, or ends the program with an error message (exit code 2), help or version.
    pub(crate) fn read() -> Self {
        Self::parse(std::env::args_os()).unwrap_or_else(|error| errors::exit(&error))
    }

    fn parse(words: impl IntoIterator<Item = impl Into<OsString> + Clone>) -> Result<Self, clap::Error> {
        let mut definition = definition();
        let matches = definition.try_get_matches_from_mut(words)?;
        let options = matches.subcommand().map_or(&matches, |(_, options)| options);
        if !is_bound_once_per_family(options) {
            let message = "--bind may be given at most once per address family";
            return Err(definition.error(ErrorKind::ArgumentConflict, message));
        }
        let json = has_json(options);
        let cli = Cli::from_arg_matches(&matches).map_err(|error| error.format(&mut definition))?;
        Ok(Self { command: cli.command, json })
    }
}

/// The definition of the command line, from which help, completions and manual pages are generated.
pub(crate) fn definition() -> clap::Command {
    Cli::command()
}

fn has_json(options: &ArgMatches) -> bool {
    options.try_contains_id("json").is_ok()
        && FormatArgs::from_arg_matches(options).is_ok_and(|format| format.json)
}

fn is_bound_once_per_family(options: &ArgMatches) -> bool {
    let bind: Vec<&SocketAddr> =
        options.try_get_many("bind").ok().flatten().map_or_else(Vec::new, Iterator::collect);
    Family::ALL.iter().all(|family| bind.iter().filter(|addr| Family::of(addr) == *family).count() <= 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &str) -> Result<Invocation, clap::Error> {
        Invocation::parse(words.split_whitespace())
    }

    /// The help of a command.
    fn help(command: &str) -> String {
        parse(&format!("dht {command} --help")).unwrap_err().to_string()
    }

    #[test]
    fn the_definition_passes_the_checks_of_clap() {
        definition().debug_assert();
    }

    #[test]
    fn each_command_has_the_options_that_do_something_there() {
        for (command, without) in [
            ("keygen", "--timeout --verbose --bind --state --settle"),
            ("sim", "--timeout --verbose --bind --state --settle"),
            ("demo", "--verbose --bind --bootstrap --state --settle"),
            ("ping", "--bootstrap --no-default-bootstrap --state --settle --keep"),
            ("sample", "--bootstrap --no-default-bootstrap --state --settle --keep"),
            ("node", "--settle --serve --keep"),
            ("crawl", "--timeout --keep --read-only"),
            ("get-peers", "--keep --read-only --metrics"),
            ("completions", "--json --timeout --bind"),
            ("man", "--json --timeout --bind"),
        ] {
            let text = help(command);
            for option in without.split(' ') {
                assert!(!text.contains(option), "{command}: {option}");
            }
        }
        for (command, with) in [
            ("ping", "--timeout --bind --allow-private --id --serve --json --verbose"),
            ("node", "--timeout --bind --bootstrap --state --read-only --metrics --json"),
            ("announce", "--timeout --bootstrap --state --settle --serve --read-only --keep"),
            ("put-mutable", "--timeout --bootstrap --state --settle --serve --read-only --keep"),
            ("crawl", "--for --every --bootstrap --state --settle --serve --json"),
        ] {
            let text = help(command);
            for option in with.split(' ') {
                assert!(text.contains(option), "{command}: {option}");
            }
        }
    }

    #[test]
    fn each_family_is_bound_at_most_once() {
        assert!(parse("dht node --bind 127.0.0.1:1 --bind [::1]:1").is_ok());
        for words in [
            "dht node --bind 127.0.0.1:1 --bind 127.0.0.2:1",
            "dht node --bind ::1 --bind [::1]:1",
            "dht node --bind 127.0.0.1:1 --bind [::ffff:127.0.0.1]:2",
            "dht ping a:1 --bind 127.0.0.1:1 --bind 127.0.0.2:1",
            "dht crawl --bind 127.0.0.1:1 --bind 127.0.0.2:1",
        ] {
            assert!(parse(words).is_err(), "{words}");
        }
    }

    #[test]
    fn the_json_option_is_read_for_every_command_that_has_it() {
        for (words, json) in [
            ("dht ping a:1 --json", true),
            ("dht ping a:1", false),
            ("dht sim --json", true),
            ("dht keygen file --json", true),
            ("dht man", false),
            ("dht completions bash", false),
        ] {
            assert_eq!(parse(words).unwrap().json, json, "{words}");
        }
    }

    #[test]
    fn bad_values_are_usage_errors() {
        for words in [
            "dht",
            "dht get-peers xyz",
            "dht find-node xyz",
            "dht node --timeout -1",
            "dht node --timeout nan",
            "dht node --id 00",
            "dht node --bind localhost",
            "dht node --bind 224.0.0.1",
            "dht node --metrics localhost:1",
            "dht get-peers --metrics 127.0.0.1:1",
            "dht demo --nodes 2",
            "dht get xyz",
            "dht get-mutable xyz",
            "dht get-mutable magnet:?xt=urn:btih:5fbfbff10c5d6a4ec8a88e4c6ab4c28b95eee401",
            "dht put",
            "dht put-mutable file",
            "dht put-mutable file --key key --seq -1",
            "dht put-mutable file --key key --cas 1 --keep",
            "dht keygen",
            "dht sample",
            "dht crawl --for -1",
            "dht crawl --every 0",
            "dht sim --plot picture.png",
            "dht completions dos",
        ] {
            assert_eq!(parse(words).unwrap_err().exit_code(), 2, "{words}");
        }
    }
}
