//! `dht get-mutable`: writes the newest version of a mutable item to stdout.

use dht_proto::items::{Salt, UpdatableTorrent};

use super::fetch::print_item;
use crate::args::groups::LookupArgs;
use crate::args::torrent::parse_key;
use crate::args::values::parse_salt;
use crate::output::{Failure, Output};
use crate::session::{Deadline, Session, Setup};

/// Write the newest version of a mutable item to stdout
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// 64 hexadecimal digits, or a magnet link with a public key and perhaps a salt (BEP 46)
    #[arg(value_name = "PUBKEY|MAGNET", value_parser = parse_key)]
    key: UpdatableTorrent,
    /// The salt, which distinguishes the items of one key
    #[arg(long, value_name = "TEXT", value_parser = parse_salt)]
    salt: Option<Salt>,
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
    let (key, salt) = (args.key.key, args.salt.unwrap_or(args.key.salt));
    print_item(&session, |dht| vec![dht.get_mutable(key, salt)], args.bencoded)
}
