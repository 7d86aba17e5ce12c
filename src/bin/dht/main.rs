//! `dht`: joins the BitTorrent DHT from the command line, finds peers, nodes and items, announces and
//! stores.
//!
//! stdout carries results only, stderr progress and complaints. The exit code is 0 if something was
//! found or stored, 1 if not, 2 if the command could not start.

#![forbid(unsafe_code)]
// An ordinary program: `core` and `alloc` would only be other names.
#![allow(clippy::std_instead_of_core, clippy::std_instead_of_alloc)]

mod commands;
mod crawl;
mod demo;
mod items;
mod keys;
mod magnet;
mod metrics;
mod options;
mod output;
mod session;
mod sim;
mod status;

use std::process::ExitCode;

use options::{Command, Options};
use output::{Failure, Output};

fn main() -> ExitCode {
    let options = Options::read();
    let output = Output::new(options.common.json);
    let result = match &options.command {
        Command::Demo(demo) => demo::run(demo, &options.common, &output),
        Command::Sim(sim) => sim::run(sim, &output),
        Command::Node(node) => commands::node(node, &options.common, &output),
        Command::GetPeers(peers) => commands::get_peers(peers, &options.common, &output),
        Command::Announce(announce) => commands::announce(announce, &options.common, &output),
        Command::FindNode { target } => commands::find_node(*target, &options.common, &output),
        Command::Ping { host } => commands::ping(host, &options.common, &output),
        Command::Get(get) => items::get(get, &options.common, &output),
        Command::GetMutable(get) => items::get_mutable(get, &options.common, &output),
        Command::Put(put) => items::put(put, &options.common, &output),
        Command::PutMutable(put) => items::put_mutable(put, &options.common, &output),
        Command::Keygen { file } => keys::generate(file, &output),
        Command::Scrape { infohash } => crawl::scrape(*infohash, &options.common, &output),
        Command::Sample { host } => crawl::sample(host, &options.common, &output),
        Command::Crawl(crawl) => crawl::crawl(crawl, &options.common, &output),
    };
    output.finish();
    match result {
        // A reader that has seen enough is no failure.
        Err(Failure::Stdout(error)) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            output.complain(&format!("cannot write to stdout: {error}"));
            ExitCode::from(2)
        }
        Err(Failure::Start(reason)) => {
            output.complain(&reason);
            ExitCode::from(2)
        }
        _ if output.has_found() => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}
