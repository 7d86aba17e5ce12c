//! `dht man`: manual pages, generated from the definition of the command line.

use std::io;
use std::path::PathBuf;

use crate::args::definition;
use crate::output::{Failure, Output};

/// Print the manual page, or write the pages of all commands to a folder
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The folder, such as /usr/local/share/man/man1
    folder: Option<PathBuf>,
}

pub(super) fn run(args: &Args, output: &Output) -> Result<(), Failure> {
    let Some(folder) = &args.folder else {
        let mut page = Vec::new();
        clap_mangen::Man::new(definition()).render(&mut page).map_err(Failure::Stdout)?;
        return output.raw(&page);
    };
    let failed = |error: io::Error| Failure::Start(format!("cannot write to {}: {error}", folder.display()));
    clap_mangen::generate_to(definition(), folder).map_err(failed)?;
    output.set_found();
    Ok(())
}
