//! The command line.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory as _, Parser, Subcommand};
use dht_proto::{Announce, Family, InfoHash, NodeId, ParseLinkError, PublicKey, Salt, UpdatableTorrent};

use crate::magnet::{Torrent, parse_infohash, parse_torrent};
use crate::sim::{self, SimOptions};

/// What no command lasts: a time that any clock can express, and a longer one is cut to it.
pub(crate) const FOREVER: Duration = Duration::from_secs(u32::MAX as u64);

/// Joins the BitTorrent DHT, finds peers, nodes and items, announces and stores.
#[derive(Debug, Parser)]
#[command(version)]
pub(crate) struct Options {
    #[command(subcommand)]
    pub(crate) command: Command,
    #[command(flatten)]
    pub(crate) common: Common,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run many nodes on this host, without any network: one announces, another looks it up
    Demo(DemoOptions),
    /// Measure announces and lookups among nodes in virtual time, without any network
    #[command(after_help = sim::LEGEND)]
    Sim(SimOptions),
    /// Serve as a node until ended
    Node(NodeOptions),
    /// Print the peers of a torrent as they are found
    GetPeers {
        /// 40 hexadecimal or 32 base32 digits, or a magnet link; one with a public key (BEP 46) is
        /// followed to the torrent that it leads to at present
        #[arg(value_name = "INFOHASH|MAGNET", value_parser = parse_torrent)]
        torrent: Torrent,
    },
    /// Add this host to the peers of a torrent
    Announce(AnnounceOptions),
    /// Print the nodes closest to an id
    FindNode {
        /// 40 hexadecimal digits
        target: NodeId,
    },
    /// Ask one node whether it is there
    Ping {
        /// Its name or address (IPv6 in brackets) and port
        #[arg(value_name = "HOST:PORT")]
        host: String,
    },
    /// Write the immutable item at a target to stdout
    Get(GetOptions),
    /// Write the newest version of a mutable item to stdout
    GetMutable(GetMutableOptions),
    /// Store a file of up to 996 bytes under its hash, and print where: get finds it there
    Put(PutOptions),
    /// Store a file as the next version of a mutable item, and print where
    PutMutable(PutMutableOptions),
    /// Make a key that signs mutable items, and print its public part
    Keygen {
        /// Where to keep the secret part; must not exist
        file: PathBuf,
    },
    /// Estimate how many peers a torrent has, without joining them
    Scrape {
        /// 40 hexadecimal or 32 base32 digits, or a magnet link
        #[arg(value_name = "INFOHASH|MAGNET", value_parser = parse_infohash)]
        infohash: InfoHash,
    },
    /// Print some infohashes of torrents that one node stores peers of
    Sample {
        /// Its name or address (IPv6 in brackets) and port
        #[arg(value_name = "HOST:PORT")]
        host: String,
    },
    /// Ask node after node for samples, and print the infohashes as they are found
    Crawl(CrawlOptions),
}

#[derive(Debug, Args)]
pub(crate) struct DemoOptions {
    /// How many nodes
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(3..=1000))]
    pub(crate) nodes: u16,
}

#[derive(Debug, Args)]
pub(crate) struct NodeOptions {
    /// Serve metrics for Prometheus at http://ADDR/metrics (port 0 or none: a free one)
    #[arg(long, value_name = "ADDR", value_parser = parse_bind)]
    pub(crate) metrics: Option<SocketAddr>,
}

#[derive(Debug, Args)]
pub(crate) struct AnnounceOptions {
    /// 40 hexadecimal or 32 base32 digits, or a magnet link
    #[arg(value_name = "INFOHASH|MAGNET", value_parser = parse_infohash)]
    pub(crate) infohash: InfoHash,
    #[command(flatten)]
    port: PortOptions,
    /// Stay and announce again every 15 minutes until ended
    #[arg(long)]
    pub(crate) keep: bool,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct PortOptions {
    /// The port that peers connect to
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,
    /// Peers connect to the port our datagrams come from
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
pub(crate) struct GetOptions {
    /// 40 hexadecimal digits
    pub(crate) target: NodeId,
    /// Write the bencoded value as it is stored; otherwise the bytes of a byte string
    #[arg(long)]
    pub(crate) bencoded: bool,
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
pub(crate) struct CrawlOptions {
    /// For this long [default: until ended]
    #[arg(long = "for", value_name = "SECS", value_parser = parse_secs)]
    pub(crate) duration: Option<Duration>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Common options")]
pub(crate) struct Common {
    /// Bind this address (port 0 or none: a free one) instead of all of both families; at most one
    /// of each family
    #[arg(long, global = true, value_name = "ADDR", value_parser = parse_bind)]
    pub(crate) bind: Vec<SocketAddr>,
    /// Start from this node as well, and know it as a node like any other; may be repeated
    #[arg(long, global = true, value_name = "HOST:PORT")]
    pub(crate) bootstrap: Vec<String>,
    /// Do not start from the usual public nodes
    #[arg(long, global = true)]
    pub(crate) no_default_bootstrap: bool,
    /// Talk to private and loopback addresses too, and take each port for a host of its own
    #[arg(long, global = true)]
    pub(crate) allow_private: bool,
    /// Ask but do not answer
    #[arg(long, global = true)]
    pub(crate) read_only: bool,
    /// Our node id, 40 hexadecimal digits; drawn at random otherwise
    #[arg(long, global = true, value_name = "HEX")]
    pub(crate) id: Option<NodeId>,
    /// Keep our id and the nodes we know in this file from one run to the next: not for ping, sample,
    /// demo and sim
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) state: Option<PathBuf>,
    /// Give up after this long [default: 60; node, crawl and --keep: never]
    #[arg(long, global = true, value_name = "SECS", value_parser = parse_secs)]
    pub(crate) timeout: Option<Duration>,
    /// Fill the table this long before looking up, instead of until we have found our place
    #[arg(long, global = true, value_name = "SECS", value_parser = parse_secs)]
    pub(crate) settle: Option<Duration>,
    /// Print one JSON object per line
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Say on stderr what happens; twice: every node that comes and goes; three times: every lookup
    /// and every datagram
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
}

impl Options {
    /// Reads the command line, or ends the program with a complaint (exit code 2), help or version.
    pub(crate) fn read() -> Self {
        Self::try_parse().and_then(Self::check).unwrap_or_else(|error| {
            if error.kind() == ErrorKind::ValueValidation {
                // Its first line says it all; the others advertise --help.
                eprintln!("{}", error.to_string().lines().next().unwrap_or_default());
                std::process::exit(error.exit_code());
            }
            error.exit()
        })
    }

    fn check(self) -> Result<Self, clap::Error> {
        for family in Family::ALL {
            if self.common.bind.iter().filter(|addr| Family::of(addr) == family).count() > 1 {
                let complaint = "--bind may be given once for each address family";
                return Err(Self::command().error(ErrorKind::ArgumentConflict, complaint));
            }
        }
        Ok(self)
    }
}

fn parse_bind(text: &str) -> Result<SocketAddr, String> {
    text.parse()
        .or_else(|_| text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 0)))
        .map_err(|_| "expected an address, with or without a port".to_owned())
}

fn parse_secs(text: &str) -> Result<Duration, String> {
    text.parse()
        .ok()
        .and_then(|secs: f64| {
            let is_longer = secs > FOREVER.as_secs_f64();
            if is_longer { Some(FOREVER) } else { Duration::try_from_secs_f64(secs).ok() }
        })
        .ok_or_else(|| "expected a number of seconds".to_owned())
}

/// A bare key is a link without a salt.
fn parse_key(text: &str) -> Result<UpdatableTorrent, String> {
    match text.parse::<PublicKey>() {
        Ok(key) => Ok(UpdatableTorrent { key, salt: Salt::NONE }),
        Err(_) if text.contains(':') => text.parse().map_err(|error: ParseLinkError| error.to_string()),
        Err(error) => Err(error.to_string()),
    }
}

fn parse_salt(text: &str) -> Result<Salt, String> {
    Salt::new(text.as_bytes()).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "5fbfbff10c5d6a4ec8a88e4c6ab4c28b95eee401";

    fn parse(words: &str) -> Result<Options, clap::Error> {
        Options::try_parse_from(words.split_whitespace()).and_then(Options::check)
    }

    #[test]
    fn the_definition_is_sound() {
        Options::command().debug_assert();
    }

    #[test]
    fn common_options_go_before_or_after_the_command() {
        for words in [
            "dht --json --timeout 2.5 --bind 127.0.0.1 node",
            "dht node --bind 127.0.0.1 --json --timeout 2.5",
        ] {
            let common = parse(words).unwrap().common;
            assert!(common.json, "{words}");
            assert_eq!(common.timeout, Some(Duration::from_millis(2500)), "{words}");
            assert_eq!(common.bind, ["127.0.0.1:0".parse().unwrap()], "{words}");
        }
    }

    #[test]
    fn times_are_cut_to_what_a_clock_can_express() {
        for secs in ["1e10", "1e19", "1e300", "inf"] {
            let words = format!("dht crawl --for {secs} --timeout {secs} --settle {secs}");
            let Options { command, common } = parse(&words).unwrap();
            let Command::Crawl(crawl) = command else { panic!("{command:?}") };
            assert_eq!([crawl.duration, common.timeout, common.settle], [Some(FOREVER); 3], "{secs}");
        }
        assert!(std::time::Instant::now().checked_add(FOREVER * 2).is_some());
    }

    #[test]
    fn each_family_is_bound_at_most_once() {
        assert!(parse("dht node --bind 127.0.0.1:1 --bind [::1]:1").is_ok());
        assert!(parse("dht node --bind 127.0.0.1:1 --bind 127.0.0.2:1").is_err());
        assert!(parse("dht node --bind ::1 --bind [::1]:1").is_err());
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
        ] {
            assert_eq!(parse(words).unwrap_err().exit_code(), 2, "{words}");
        }
    }
}
