//! Completions for shells, and manual pages, both made from the definition of the command line.

use std::io;
use std::path::Path;

use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::options::Options;
use crate::output::{Failure, Output};

pub(crate) fn completions(shell: Shell, output: &Output) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Options::command(), "dht", &mut script);
    output.raw(&script)
}

/// The page of the program on stdout, or the pages of the program and all its commands in a folder.
pub(crate) fn pages(folder: Option<&Path>, output: &Output) -> Result<(), Failure> {
    let Some(folder) = folder else {
        let mut page = Vec::new();
        clap_mangen::Man::new(Options::command()).render(&mut page).map_err(Failure::Stdout)?;
        return output.raw(&page);
    };
    let failed = |error: io::Error| Failure::Start(format!("cannot write to {}: {error}", folder.display()));
    clap_mangen::generate_to(Options::command(), folder).map_err(failed)?;
    output.set_found();
    Ok(())
}
