//! `dht keygen`: makes a key that signs mutable items.

use std::path::PathBuf;

use dht_proto::items::SecretKey;

use super::key_file;
use crate::args::groups::FormatArgs;
use crate::output::{Event, Failure, Output};

/// Make a key that signs mutable items, and print its public part
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The file for the secret part, which must not exist yet
    file: PathBuf,
    #[command(flatten)]
    _format: FormatArgs,
}

pub(crate) fn run(args: &Args, output: &Output) -> Result<(), Failure> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| {
        Failure::Start(format!("cannot make a key: the system provides no random bytes: {error}"))
    })?;
    key_file::write(&args.file, &bytes)
        .map_err(|error| Failure::Start(format!("cannot create {}: {error}", args.file.display())))?;
    output.result(&Event::Key { key: SecretKey::from_bytes(&bytes).public(), file: &args.file })
}
