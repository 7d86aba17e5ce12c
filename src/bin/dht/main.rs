//! `dht`: joins the BitTorrent DHT from the command line, finds peers, nodes and items, announces and
//! stores.
//!
//! stdout carries results only, stderr progress and complaints. The exit code is 0 if something was
//! found or stored, 1 if not, 2 if the command could not start or the DHT could not be joined.

#![forbid(unsafe_code)]
// An ordinary program: `core` and `alloc` would only be other names.
#![allow(clippy::std_instead_of_core, clippy::std_instead_of_alloc)]

mod commands;
mod crawl;
mod deadline;
mod demo;
mod hosts;
mod interrupt;
mod items;
mod keys;
mod lookups;
mod magnet;
mod manual;
mod metrics;
mod options;
mod output;
mod reasons;
mod reporter;
mod session;
mod shared;
mod sim;
mod status;
mod text;
mod usage;
mod values;

use std::process::ExitCode;

use options::{Command, Options};
use output::{Failure, Output};

fn main() -> ExitCode {
    let command = Options::read().command;
    let output = Output::new(command.is_json());
    let result = match &command {
        Command::Demo(options) => demo::run(options, &output),
        Command::Sim(options) => sim::run(options, &output),
        Command::Node(options) => commands::node(options, &output),
        Command::GetPeers(options) => commands::get_peers(options, &output),
        Command::Announce(options) => commands::announce(options, &output),
        Command::FindNode(options) => commands::find_node(options, &output),
        Command::Ping(options) => hosts::ping(options, &output),
        Command::Sample(options) => hosts::sample(options, &output),
        Command::Get(options) => items::get(options, &output),
        Command::GetMutable(options) => items::get_mutable(options, &output),
        Command::Put(options) => items::put(options, &output),
        Command::PutMutable(options) => items::put_mutable(options, &output),
        Command::Keygen(options) => keys::generate(&options.file, &output),
        Command::Scrape(options) => crawl::scrape(options, &output),
        Command::Crawl(options) => crawl::crawl(options, &output),
        Command::Completions { shell } => manual::completions(*shell, &output),
        Command::Man { folder } => manual::pages(folder.as_deref(), &output),
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
        Err(Failure::Nothing(reason)) => {
            output.complain(&reason);
            ExitCode::FAILURE
        }
        _ if output.has_found() => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}
