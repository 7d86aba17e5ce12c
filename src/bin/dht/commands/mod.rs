//! One file per command: its arguments and what it does.
//!
//! A new command is a new file here with `Args`, whose documentation is its help, and `run`. It also needs a
//! `mod` line below, and a line in the list, which is in the order of `dht --help`.
//!
//! - `demo`: a DHT of many nodes on this host (`sim` is in `crate::sim`)
//! - `node`: a node that stays, with its status line and metrics
//! - `get_peers`, `announce`, `scrape`: the peers of a torrent
//! - `find_node`: the nodes closest to an id
//! - `ping`, `sample`: a query to a single node; `host`: what both share
//! - `items`: values stored in the DHT (BEP 44)
//! - `crawl`: infohashes of many nodes (BEP 51)
//! - `completions`, `man`: files for shells and for `man`

mod announce;
mod completions;
mod crawl;
mod demo;
mod find_node;
mod get_peers;
mod host;
mod items;
mod man;
mod node;
mod ping;
mod sample;
mod scrape;

use clap::Subcommand;

use crate::output::{Failure, Output};
use crate::sim;

/// Defines the commands: for each the name, in camel case, and the module.
macro_rules! commands {
    ($($name:ident($($module:ident)::+),)+) => {
        #[derive(Debug, Subcommand)]
        pub(crate) enum Command {
            $($name($($module)::+::Args),)+
        }

        impl Command {
            pub(crate) fn run(&self, output: &Output) -> Result<(), Failure> {
                match self {
                    $(Self::$name(args) => $($module)::+::run(args, output),)+
                }
            }
        }
    };
}

commands! {
    Demo(demo),
    Sim(sim),
    Node(node),
    GetPeers(get_peers),
    Announce(announce),
    FindNode(find_node),
    Ping(ping),
    Get(items::get),
    GetMutable(items::get_mutable),
    Put(items::put),
    PutMutable(items::put_mutable),
    Keygen(items::keygen),
    Scrape(scrape),
    Sample(sample),
    Crawl(crawl),
    Completions(completions),
    Man(man),
}
