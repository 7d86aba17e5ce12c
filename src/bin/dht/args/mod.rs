//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, CommandFactory as _, Parser, Subcommand};
use clap_complete::Shell;
use dht_proto::{Announce, Family, NodeId, PublicKey, Salt, UpdatableTorrent};

use crate::magnet::{Swarms, Torrent, parse_swarms, parse_torrent};
use crate::shared::{AskOptions, Format, Limit, LookupOptions, Own, Start};
use crate::sim::{self, SimOptions};
use crate::usage;
use crate::values::{parse_bind, parse_id, parse_key, parse_salt, parse_secs, parse_spacing};

/// What of the defaults and the role differs in a command that may stay.
const STAYS: &str = "End after this long, whatever is under way [default: 60; with --keep: never]";
const SERVES: &str = "Answer the queries of others too, as --keep does anyway";
const ASKS: &str = "Ask but do not answer (BEP 43), as without --keep anyway";

/// Joins the BitTorrent DHT: finds peers, nodes and items, announces and stores.
#[derive(Debug, Parser)]
#[command(name = "dht", version, max_term_width = 100)]
pub(crate) struct Options {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run many nodes on this host, without any network: one announces, another looks it up
    Demo(DemoOptions),
    /// Measure announces and lookups among nodes in virtual time, without any network
    #[command(after_help = sim::LEGEND)]
    Sim(SimOptions),
    /// Serve as a node until ended
    #[command(mut_arg("timeout", |arg| arg.help("End after this long [default: never]")))]
    Node(NodeOptions),
    /// Print the peers of a torrent as they are found
    GetPeers(GetPeersOptions),
    /// Add this host to the peers of a torrent
    #[command(mut_args(of_what_may_stay))]
    Announce(AnnounceOptions),
    /// Print the nodes closest to an id
    FindNode(FindNodeOptions),
    /// Ask one node whether it is there
    Ping(HostOptions),
    /// Write the immutable item at a target to stdout
    Get(GetOptions),
    /// Write the newest version of a mutable item to stdout
    GetMutable(GetMutableOptions),
    /// Store a file of up to 996 bytes under its hash, and print where: get finds it there
    #[command(mut_args(of_what_may_stay))]
    Put(PutOptions),
    /// Store a file as the next version of a mutable item, and print where
    #[command(mut_args(of_what_may_stay))]
    PutMutable(PutMutableOptions),
    /// Make a key that signs mutable items, and print its public part
    Keygen(KeygenOptions),
    /// Estimate how many peers a torrent has, without joining them
    Scrape(ScrapeOptions),
    /// Print some infohashes of torrents that one node stores peers of
    Sample(HostOptions),
    /// Ask node after node for samples, and print the infohashes as they are found
    #[command(mut_arg("timeout", |arg| arg.hide(true)))]
    Crawl(CrawlOptions),
    /// Print a script that completes commands and options in a shell
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print the manual page, or write the pages of all commands to a folder
    Man {
        /// The folder, such as /usr/local/share/man/man1
        folder: Option<PathBuf>,
    },
}

fn of_what_may_stay(arg: clap::Arg) -> clap::Arg {
    match arg.get_id().as_str() {
        "timeout" => arg.help(STAYS),
        "serve" => arg.help(SERVES),
        "read_only" => arg.help(ASKS).hide(false),
        _ => arg,
    }
}

impl Command {
    /// Whether results are printed as JSON.
    pub(crate) fn is_json(&self) -> bool {
        let format = match self {
            Self::Demo(options) => options.format,
            Self::Sim(options) => options.format,
            Self::Node(options) => options.format,
            Self::Keygen(options) => options.format,
            Self::Ping(options) | Self::Sample(options) => options.ask.format,
            Self::Completions { .. } | Self::Man { .. } => return false,
            _ => return self.lookup().is_some_and(|lookup| lookup.format.json),
        };
        format.json
    }

    fn own(&self) -> Option<&Own> {
        match self {
            Self::Node(options) => Some(&options.own),
            Self::Ping(options) | Self::Sample(options) => Some(&options.ask.own),
            _ => self.lookup().map(|lookup| &lookup.own),
        }
    }

    fn lookup(&self) -> Option<&LookupOptions> {
        match self {
            Self::GetPeers(options) => Some(&options.lookup),
            Self::Announce(options) => Some(&options.lookup),
            Self::FindNode(options) => Some(&options.lookup),
            Self::Get(options) => Some(&options.lookup),
            Self::GetMutable(options) => Some(&options.lookup),
            Self::Put(options) => Some(&options.lookup),
            Self::PutMutable(options) => Some(&options.put.lookup),
            Self::Scrape(options) => Some(&options.lookup),
            Self::Crawl(options) => Some(&options.lookup),
            _ => None,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct DemoOptions {
    /// How many nodes
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(3..=1000))]
    pub(crate) nodes: u16,
    #[command(flatten)]
    pub(crate) format: Format,
    #[command(flatten)]
    pub(crate) limit: Limit,
}

#[derive(Debug, Args)]
pub(crate) struct NodeOptions {
    /// Serve metrics for Prometheus at http://ADDR/metrics (port 0 or none: a free one)
    #[arg(long, value_name = "ADDR", value_parser = parse_bind)]
    pub(crate) metrics: Option<SocketAddr>,
    #[command(flatten)]
    pub(crate) format: Format,
    #[command(flatten)]
    pub(crate) limit: Limit,
    #[command(flatten)]
    pub(crate) own: Own,
    #[command(flatten)]
    pub(crate) start: Start,
    /// Ask but do not answer (BEP 43)
    #[arg(long, help_heading = "Node options")]
    pub(crate) read_only: bool,
}

#[derive(Debug, Args)]
pub(crate) struct GetPeersOptions {
    /// 40 or 64 hexadecimal or 32 base32 digits, or a magnet link; one with a public key (BEP 46) is
    /// followed to the torrent that it leads to at present
    #[arg(value_name = "INFOHASH|MAGNET", value_parser = parse_torrent)]
    pub(crate) torrent: Torrent,
    /// Print no more than this many
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) max_peers: u16,
    #[command(flatten)]
    pub(crate) lookup: LookupOptions,
}

#[derive(Debug, Args)]
pub(crate) struct AnnounceOptions {
    /// 40 or 64 hexadecimal or 32 base32 digits, or a magnet link
    #[arg(value_name = "INFOHASH|MAGNET", value_parser = parse_swarms)]
    pub(crate) torrent: Swarms,
    #[command(flatten)]
    port: PortOptions,
    /// Stay and announce again every 15 minutes until ended
    #[arg(long)]
    pub(crate) keep: bool,
    #[command(flatten)]
    pub(crate) lookup: LookupOptions,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct PortOptions {
    /// The port that peers connect to
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,
    /// Peers connect to the port that the datagrams of this node come from
    #[arg(long)]
    implied_port: bool,
}

impl AnnounceOptions {
    /// `own` is the port of our socket.
    pub(crate) fn announce(&self, own: u16) -> Announce {
        self.port.port.map_or_else(|| Announce::implied(own), Announce::port)
    }
}

#[derive(Debug, Args)]
pub(crate) struct FindNodeOptions {
    /// 40 hexadecimal digits
    #[arg(value_parser = parse_id)]
    pub(crate) target: NodeId,
    #[command(flatten)]
    pub(crate) lookup: LookupOptions,
}

#[derive(Debug, Args)]
pub(crate) struct HostOptions {
    /// Its name or address (IPv6 in brackets) and port
    #[arg(value_name = "HOST:PORT")]
    pub(crate) host: String,
    #[command(flatten)]
    pub(crate) ask: AskOptions,
}

#[derive(Debug, Args)]
pub(crate) struct GetOptions {
    /// 40 hexadecimal digits
    #[arg(value_parser = parse_id)]
    pub(crate) target: NodeId,
    /// Write the bencoded value as it is stored; otherwise the bytes of a byte string
    #[arg(long)]
    pub(crate) bencoded: bool,
    #[command(flatten)]
    pub(crate) lookup: LookupOptions,
}

#[derive(Debug, Args)]
pub(crate) struct GetMutableOptions {
    /// 64 hexadecimal digits, or a magnet link with a public key (BEP 46), which has its own salt
    #[arg(value_name = "PUBKEY|MAGNET", value_parser = parse_key)]
    key: UpdatableTorrent,
    /// Tells the items of one key apart
    #[arg(long, value_name = "TEXT", value_parser = parse_salt)]
    salt: Option<Salt>,
    /// Write the bencoded value as it is stored; otherwise the bytes of a byte string
    #[arg(long)]
    pub(crate) bencoded: bool,
    #[command(flatten)]
    pub(crate) lookup: LookupOptions,
}

impl GetMutableOptions {
    pub(crate) fn key_and_salt(&self) -> (PublicKey, Salt) {
        (self.key.key, self.salt.unwrap_or(self.key.salt))
    }
}

#[derive(Debug, Args)]
pub(crate) struct PutOptions {
    /// The file; - for stdin
    pub(crate) file: PathBuf,
    /// It is a bencoded value already, of up to 1000 bytes; otherwise it is stored as a byte string
    #[arg(long)]
    pub(crate) bencoded: bool,
    /// Stay and store it again every hour until ended
    #[arg(long)]
    pub(crate) keep: bool,
    #[command(flatten)]
    pub(crate) lookup: LookupOptions,
}

#[derive(Debug, Args)]
pub(crate) struct PutMutableOptions {
    /// The secret key, from keygen
    #[arg(long, value_name = "FILE")]
    pub(crate) key: PathBuf,
    /// Tells the items of one key apart
    #[arg(long, value_name = "TEXT", value_parser = parse_salt, default_value = "")]
    pub(crate) salt: Salt,
    /// The number of this version [default: the one after the newest that is found, in its place only]
    #[arg(long, value_parser = clap::value_parser!(i64).range(0..))]
    pub(crate) seq: Option<i64>,
    /// Replace the version of this number only
    #[arg(long, value_parser = clap::value_parser!(i64).range(0..), conflicts_with = "keep")]
    pub(crate) cas: Option<i64>,
    #[command(flatten)]
    pub(crate) put: PutOptions,
}

#[derive(Debug, Args)]
pub(crate) struct KeygenOptions {
    /// Where to keep the secret part; must not exist
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) format: Format,
}

#[derive(Debug, Args)]
pub(crate) struct ScrapeOptions {
    /// 40 or 64 hexadecimal or 32 base32 digits, or a magnet link
    #[arg(value_name = "INFOHASH|MAGNET", value_parser = parse_swarms)]
    pub(crate) torrent: Swarms,
    #[command(flatten)]
    pub(crate) lookup: LookupOptions,
}

#[derive(Debug, Args)]
pub(crate) struct CrawlOptions {
    /// End after this long, joining included [default: never]
    #[arg(long = "for", value_name = "SECS", value_parser = parse_secs)]
    pub(crate) duration: Option<Duration>,
    /// Ask a node every so often
    #[arg(long, value_name = "SECS", value_parser = parse_spacing, default_value = "0.1")]
    pub(crate) every: Duration,
    #[command(flatten)]
    pub(crate) lookup: LookupOptions,
}

impl Options {
    /// Reads the command line, or ends the program with a complaint (exit code 2), help or version.
    pub(crate) fn read() -> Self {
        Self::try_parse().and_then(Self::check).unwrap_or_else(|error| usage::exit(&error))
    }

    fn check(self) -> Result<Self, clap::Error> {
        let bind = self.command.own().map_or(&[][..], |own| &own.bind);
        for family in Family::ALL {
            if bind.iter().filter(|addr| Family::of(addr) == family).count() > 1 {
                let complaint = "--bind may be given once for each address family";
                return Err(Self::command().error(clap::error::ErrorKind::ArgumentConflict, complaint));
            }
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "5fbfbff10c5d6a4ec8a88e4c6ab4c28b95eee401";

    fn parse(words: &str) -> Result<Options, clap::Error> {
        Options::try_parse_from(words.split_whitespace()).and_then(Options::check)
    }

    /// The help of a command.
    fn help(command: &str) -> String {
        parse(&format!("dht {command} --help")).unwrap_err().to_string()
    }

    #[test]
    fn the_definition_is_sound() {
        Options::command().debug_assert();
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
    fn times_are_cut_to_what_a_clock_can_express() {
        let Options { command } = parse("dht crawl --for 1e300 --settle inf").unwrap();
        let Command::Crawl(crawl) = command else { panic!("{command:?}") };
        assert_eq!([crawl.duration, crawl.lookup.settle], [Some(crate::values::FOREVER); 2]);
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
    fn commands_that_do_not_stay_ask_only() {
        for (words, stays, read_only) in [
            ("", false, true),
            ("--serve", false, false),
            ("--read-only", false, true),
            ("", true, false),
            ("--read-only", true, true),
        ] {
            let options = parse(&format!("dht announce {HASH} --port 1 {words}")).unwrap();
            let role = options.command.lookup().unwrap().role;
            assert_eq!(role.is_read_only(stays), read_only, "{words} {stays}");
        }
        assert!(parse(&format!("dht find-node {HASH} --serve --read-only")).is_err());
    }

    #[test]
    fn an_announce_needs_exactly_one_port() {
        assert!(parse(&format!("dht announce {HASH}")).is_err());
        assert!(parse(&format!("dht announce {HASH} --port 0")).is_err());
        assert!(parse(&format!("dht announce {HASH} --port 1 --implied-port")).is_err());
        for (words, announce) in [("--port 7", Announce::port(7)), ("--implied-port", Announce::implied(9))] {
            match parse(&format!("dht announce {HASH} {words}")).unwrap().command {
                Command::Announce(options) => assert_eq!(options.announce(9), announce),
                other => panic!("{other:?}"),
            }
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
