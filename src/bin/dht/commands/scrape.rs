//! `dht scrape`: estimates how many peers a torrent has (BEP 33).

use dht_proto::ids::InfoHashes;

use crate::args::groups::LookupArgs;
use crate::args::torrent::parse_infohashes;
use crate::output::{Event, Failure, Output};
use crate::session::lookups::look_up;
use crate::session::{Deadline, Session, Setup};

/// Estimate how many peers a torrent has, without joining its swarm
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// 40 or 64 hexadecimal or 32 base32 digits, or a magnet link
    #[arg(value_name = "INFOHASH|MAGNET", value_parser = parse_infohashes)]
    torrent: InfoHashes,
    #[command(flatten)]
    lookup: LookupArgs,
}

pub(super) fn run(args: &Args, output: &Output) -> Result<(), Failure> {
    let deadline = Deadline::new(args.lookup.limit.timeout, false);
    let session = Session::start(&Setup::for_lookup(&args.lookup, false, deadline), output)?;
    session.settle();
    let lookups = look_up(
        &session,
        "peer",
        |dht| args.torrent.iter().map(|infohash| dht.scrape(infohash)).collect(),
        |_, _| Ok(()),
    )?;
    let reports = lookups.reports();
    for (infohash, report) in args.torrent.iter().zip(&reports) {
        let Some(size) = report.swarm.filter(|_| report.answered > 0) else {
            output.message(&format!("no node answered for {infohash}; its peers were not counted"));
            continue;
        };
        let event = Event::Estimate { infohash, size, named: reports.len() > 1 };
        let is_empty = size.seeds == 0 && size.downloaders == 0;
        if is_empty { output.print(&event)? } else { output.result(&event)? }
    }
    if let Some(reason) = &lookups.cut_short {
        output.message(&format!("the scrape was {reason}; there may be more peers"));
    }
    Ok(())
}
