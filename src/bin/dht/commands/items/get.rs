//! `dht get`: writes an immutable item to stdout.

use dht_proto::NodeId;

use super::fetch::print_item;
use crate::args::groups::LookupArgs;
use crate::args::values::parse_id;
use crate::output::{Failure, Output};
use crate::session::{Deadline, Session, Setup};

/// Write the immutable item stored at a target to stdout
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// 40 hexadecimal digits
    #[arg(value_parser = parse_id)]
    target: NodeId,
    /// Write the bencoded value as it is stored, not the bytes of a byte string
    #[arg(long)]
    bencoded: bool,
    #[command(flatten)]
    lookup: LookupArgs,
}

pub(crate) fn run(args: &Args, output: &Output) -> Result<(), Failure> {
    let deadline = Deadline::new(args.lookup.limit.timeout, false);
    let session = Session::start(&Setup::for_lookup(&args.lookup, false, deadline), output)?;
    session.settle();
    print_item(&session, |dht| vec![dht.get_immutable(args.target)], args.bencoded)
}
