//! `dht`: a command line tool for the BitTorrent DHT.
//!
//! Results go to stdout, progress and messages to stderr. The exit code is 0 if something was found or
//! stored, 1 if not, and 2 if the command could not start or could not join the DHT.
//!
//! - `args/`: the command line: groups of options, the values in it, and messages about errors in it
//! - `commands/`: one file per command: its arguments and what it does (a new command goes there)
//! - `session/`: a running node with a deadline, signals and lookups
//! - `output/`: events as text or JSON, progress, messages
//! - `sim/`: the measurements of `dht sim`

#![forbid(unsafe_code)]
// An ordinary program: `core` and `alloc` would only be other names.
#![allow(clippy::std_instead_of_core, clippy::std_instead_of_alloc)]

mod args;
mod commands;
mod output;
mod session;
mod sim;

use std::io::ErrorKind;
use std::process::ExitCode;

use args::Invocation;
use output::{Failure, Output};

fn main() -> ExitCode {
    let Invocation { command, json } = Invocation::read();
    let output = Output::new(json);
    let result = command.run(&output);
    output.finish();
    match result {
        // A reader that closes the pipe has seen enough.
        Err(Failure::Stdout(error)) if error.kind() != ErrorKind::BrokenPipe => {
            output.message(&format!("cannot write to stdout: {error}"));
            ExitCode::from(2)
        }
        Err(Failure::Start(reason)) => {
            output.message(&reason);
            ExitCode::from(2)
        }
        Err(Failure::Nothing(reason)) => {
            output.message(&reason);
            ExitCode::FAILURE
        }
        Err(Failure::Stdout(_)) | Ok(()) if output.has_found() => ExitCode::SUCCESS,
        Err(Failure::Stdout(_)) | Ok(()) => ExitCode::FAILURE,
    }
}
