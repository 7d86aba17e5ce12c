//! `dht completions`: completion scripts for shells, generated from the definition of the command line.

use clap_complete::Shell;

use crate::args::definition;
use crate::output::{Failure, Output};

/// Print a script that completes commands and options in a shell
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The shell
    shell: Shell,
}

pub(super) fn run(args: &Args, output: &Output) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut definition(), "dht", &mut script);
    output.raw(&script)
}
