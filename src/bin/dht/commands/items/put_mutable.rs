//! `dht put-mutable`: stores a file as the next version of a mutable item.

use std::path::PathBuf;

use dht_proto::items::{Item, Salt};

use super::fetch::fetch;
use super::key_file;
use super::put::PutArgs;
use super::store::{invalid_item, read_value, store};
use crate::args::groups::with_keep;
use crate::args::values::parse_salt;
use crate::output::{Failure, Output};
use crate::session::{Deadline, Session, Setup};

/// Store a file as the next version of a mutable item, and print its target
#[derive(Debug, clap::Args)]
#[command(mut_args(with_keep))]
pub(crate) struct Args {
    /// The file with the secret key, made by keygen
    #[arg(long, value_name = "KEY_FILE")]
    key: PathBuf,
    /// The salt, which distinguishes the items of one key
    #[arg(long, value_name = "TEXT", value_parser = parse_salt, default_value = "")]
    salt: Salt,
    /// The sequence number of this version [default: the one after the newest version that is found, and
    /// only that version is replaced]
    #[arg(long, value_parser = clap::value_parser!(i64).range(0..))]
    seq: Option<i64>,
    /// Replace only the version with this sequence number
    #[arg(long, value_parser = clap::value_parser!(i64).range(0..), conflicts_with = "keep")]
    cas: Option<i64>,
    #[command(flatten)]
    put: PutArgs,
}

pub(crate) fn run(args: &Args, output: &Output) -> Result<(), Failure> {
    let PutArgs { file, bencoded, keep, lookup } = &args.put;
    let deadline = Deadline::new(lookup.limit.timeout, *keep);
    let secret = key_file::read(&args.key, deadline, output)?;
    let value = read_value(file, *bencoded, deadline)?;
    let sign = |seq| Item::sign(&secret, args.salt, seq, &value).map_err(invalid_item);
    // Signed before the node starts, so that an invalid item is reported at once.
    let mut item = sign(args.seq.unwrap_or_default())?;
    let mut cas = args.cas;
    let session = Session::start(&Setup::for_lookup(lookup, *keep, deadline), output)?;
    session.settle();
    if args.seq.is_none() {
        let (newest, lookups) = fetch(&session, |dht| vec![dht.get_mutable(secret.public(), args.salt)])?;
        if let Some(reason) = lookups.cut_short {
            let message = format!("the lookup of the newest version was {reason}; nothing was stored");
            return Err(Failure::Nothing(message));
        }
        let newest = newest.and_then(|item| item.seq());
        let Some(next) = Item::next_seq(newest) else {
            return Err(Failure::Start(
                "the newest version has the highest sequence number; use another --salt or key".to_owned(),
            ));
        };
        item = sign(next)?;
        cas = cas.or(newest);
    }
    store(&session, &item, cas, *keep)
}
