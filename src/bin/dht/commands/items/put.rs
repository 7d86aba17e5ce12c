//! `dht put`: stores a file as an immutable item.

use std::path::PathBuf;

use dht_proto::items::Item;

use super::store::{invalid_item, read_value, store};
use crate::args::groups::{LookupArgs, with_keep};
use crate::output::{Failure, Output};
use crate::session::{Deadline, Session, Setup};

/// Store a file of up to 996 bytes under its hash, and print that target for get
#[derive(Debug, clap::Args)]
#[command(mut_args(with_keep))]
pub(crate) struct Args {
    #[command(flatten)]
    pub(super) put: PutArgs,
}

/// The arguments that the puts of immutable and mutable items share.
#[derive(Debug, clap::Args)]
pub(crate) struct PutArgs {
    /// The file; - for stdin
    pub(super) file: PathBuf,
    /// Treat the file as a bencoded value of up to 1000 bytes, not as the bytes of a byte string
    #[arg(long)]
    pub(super) bencoded: bool,
    /// Stay, and store the item again every hour
    #[arg(long)]
    pub(super) keep: bool,
    #[command(flatten)]
    pub(super) lookup: LookupArgs,
}

pub(crate) fn run(args: &Args, output: &Output) -> Result<(), Failure> {
    let PutArgs { file, bencoded, keep, lookup } = &args.put;
    let deadline = Deadline::new(lookup.limit.timeout, *keep);
    let value = read_value(file, *bencoded, deadline)?;
    let item = Item::immutable(&value).map_err(invalid_item)?;
    let session = Session::start(&Setup::for_lookup(lookup, *keep, deadline), output)?;
    session.settle();
    store(&session, &item, None, *keep)
}
