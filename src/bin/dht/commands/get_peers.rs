//! `dht get-peers`: finds the peers of a torrent.

use std::collections::BTreeSet;

use dht_proto::ids::InfoHashes;
use dht_proto::net::DhtHandle;
use dht_proto::{Lookup, LookupOptions};

use super::items::resolve_pointer;
use crate::args::groups::LookupArgs;
use crate::args::torrent::{Torrent, parse_torrent};
use crate::output::{Done, Event, Failure, Output};
use crate::session::lookups::look_up;
use crate::session::{Deadline, Session, Setup};

/// Print the peers of a torrent as they are found
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// 40 or 64 hexadecimal or 32 base32 digits, or a magnet link; a link with a public key (BEP 46) stands
    /// for the torrent that the key points to at present
    #[arg(value_name = "INFOHASH|MAGNET", value_parser = parse_torrent)]
    torrent: Torrent,
    /// Print at most this many peers
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u16).range(1..))]
    max_peers: u16,
    #[command(flatten)]
    lookup: LookupArgs,
}

pub(super) fn run(args: &Args, output: &Output) -> Result<(), Failure> {
    let deadline = Deadline::new(args.lookup.limit.timeout, false);
    let mut setup = Setup::for_lookup(&args.lookup, false, deadline);
    setup.peers = args.max_peers;
    let session = Session::start(&setup, output)?;
    session.settle();
    let infohashes = match args.torrent {
        Torrent::Fixed(infohashes) => Some(infohashes),
        Torrent::Updatable(link) => resolve_pointer(&session, link)?.map(InfoHashes::from),
    };
    let Some(infohashes) = infohashes else { return Ok(()) };
    let mut peers = BTreeSet::new();
    let options = LookupOptions::default().max_peers(args.max_peers);
    let start = |dht: &DhtHandle| {
        infohashes.iter().map(|infohash| dht.lookup(Lookup::GetPeers(infohash), options)).collect()
    };
    let lookups = look_up(&session, "peer", start, |_, peer| {
        if peers.insert(peer) { output.result(&Event::Peer { addr: peer }) } else { Ok(()) }
    })?;
    let has_more = lookups.reports().iter().any(|report| report.more_peers);
    let limit = has_more.then_some(args.max_peers);
    output.done(&Done { limit, ..lookups.done("peer", peers.len()) })
}
