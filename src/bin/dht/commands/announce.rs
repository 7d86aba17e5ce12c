//! `dht announce`: announces this host as a peer of a torrent.

use dht_proto::ids::InfoHashes;
use dht_proto::net::{Announcement, CallError};
use dht_proto::{Announce, InfoHash};

use crate::args::groups::{LookupArgs, with_keep};
use crate::args::torrent::parse_infohashes;
use crate::output::{Event, Failure, Output, TICK, count};
use crate::session::lookups::{has_answer, is_refusal, look_up};
use crate::session::{Deadline, Session, Setup};

/// Announce this host as a peer of a torrent
#[derive(Debug, clap::Args)]
#[command(mut_args(with_keep))]
pub(crate) struct Args {
    /// 40 or 64 hexadecimal or 32 base32 digits, or a magnet link
    #[arg(value_name = "INFOHASH|MAGNET", value_parser = parse_infohashes)]
    torrent: InfoHashes,
    #[command(flatten)]
    port: PortArgs,
    /// Stay, and announce again every 15 minutes
    #[arg(long)]
    keep: bool,
    #[command(flatten)]
    lookup: LookupArgs,
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct PortArgs {
    /// The port that peers connect to
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,
    /// Have peers connect to the port from which this node sends its datagrams
    #[arg(long)]
    implied_port: bool,
}

impl PortArgs {
    /// The announce of a node whose socket has the port `bound`.
    fn announce(&self, bound: u16) -> Announce {
        self.port.map_or_else(|| Announce::implied(bound), Announce::port)
    }
}

pub(super) fn run(args: &Args, output: &Output) -> Result<(), Failure> {
    let deadline = Deadline::new(args.lookup.limit.timeout, args.keep);
    let session = Session::start(&Setup::for_lookup(&args.lookup, args.keep, deadline), output)?;
    session.settle();
    let announce = args.port.announce(session.port());
    if args.keep { keep(&session, args.torrent, announce) } else { once(&session, args.torrent, announce) }
}

fn once(session: &Session<'_>, torrent: InfoHashes, announce: Announce) -> Result<(), Failure> {
    let output = session.output;
    let infohashes: Vec<InfoHash> = torrent.iter().collect();
    let lookups = look_up(
        session,
        "peer",
        |dht| torrent.iter().map(|infohash| dht.announce(infohash, announce)).collect(),
        |at, peer| output.print(&Event::OtherPeer { addr: peer, infohash: infohashes[at] }),
    )?;
    for (infohash, report) in infohashes.iter().zip(lookups.reports()) {
        output.announced(*infohash, &report, infohashes.len() > 1)?;
    }
    if let Some(reason) = &lookups.cut_short {
        output.message(&format!("the announce was {reason}"));
    }
    Ok(())
}

/// Announces again and again, until a signal or the deadline.
fn keep(session: &Session<'_>, torrent: InfoHashes, announce: Announce) -> Result<(), Failure> {
    let start = |infohash| session.dht.start_announcing(infohash, announce);
    let mut announcements: Vec<_> = torrent.iter().map(start).collect();
    let reported = report_rounds(session, &mut announcements);
    // Dropping the announcements while the node runs would stop them, and they would not be saved.
    session.end();
    reported
}

fn report_rounds(session: &Session<'_>, announcements: &mut [Announcement]) -> Result<(), Failure> {
    let output = session.output;
    output.progress("announcing".to_owned());
    let is_one = announcements.len() == 1;
    loop {
        for announcement in &mut *announcements {
            let left = session.left();
            let infohash = announcement.infohash();
            match announcement.recv_timeout(if is_one { left } else { left.min(TICK) }) {
                Ok(round) if !has_answer(&round.report) && !session.has_joined() => session.report_waiting(),
                Ok(round) => {
                    let mut peers = round.peers.iter();
                    peers.try_for_each(|peer| output.print(&Event::OtherPeer { addr: *peer, infohash }))?;
                    output.announced(infohash, &round.report, !is_one)?;
                    let nodes = count(round.report.acknowledged, "node");
                    output.progress(format!("announced to {nodes}"));
                }
                Err(CallError::TimedOut) if !left.is_zero() => {}
                Err(error) if is_refusal(&error) => return Err(Failure::Start(error.to_string())),
                _ if session.is_interrupted() || output.has_found() => return Ok(()),
                _ => return Err(session.unanswered()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        args: Args,
    }

    #[test]
    fn an_announce_needs_exactly_one_port() {
        let parse = |words: &str| {
            let line = format!("announce 5fbfbff10c5d6a4ec8a88e4c6ab4c28b95eee401 {words}");
            Cli::try_parse_from(line.split_whitespace())
        };
        for words in ["", "--port 0", "--port 1 --implied-port"] {
            assert!(parse(words).is_err(), "{words}");
        }
        for (words, announce) in [("--port 7", Announce::port(7)), ("--implied-port", Announce::implied(9))] {
            assert_eq!(parse(words).unwrap().args.port.announce(9), announce);
        }
    }
}
