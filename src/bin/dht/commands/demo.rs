//! `dht demo`: runs a whole DHT of many nodes on loopback sockets. One node announces a torrent, and another
//! finds the peer.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use dht_proto::net::{Builder, Testnet};
use dht_proto::{Announce, Family, InfoHash};

use crate::args::groups::{FormatArgs, LimitArgs};
use crate::output::{Event, Failure, Output, count};
use crate::session::Deadline;

const INFOHASH: InfoHash = InfoHash::from_bytes(*b"dht-proto demo swarm");
const PORT: u16 = 6881;

/// The time that the nodes have to join.
const JOIN: Duration = Duration::from_secs(8);

/// Run a whole DHT on this host: one node announces a torrent, another finds the peer
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Number of nodes
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(3..=1000))]
    nodes: u16,
    #[command(flatten)]
    _format: FormatArgs,
    #[command(flatten)]
    limit: LimitArgs,
}

pub(super) fn run(args: &Args, output: &Output) -> Result<(), Failure> {
    let start = Instant::now();
    let deadline = Deadline::new(args.limit.timeout, false);
    let say = |text: String| output.print(&Event::Step { elapsed: start.elapsed(), text: &text });

    let testnet = Testnet::start(args.nodes.into(), Builder::spawn)?;
    say(format!("{} started, each with a UDP socket on 127.0.0.1", count(args.nodes, "node")))?;

    // Whoever has not joined by then is not waited for.
    let _ = testnet.wait_timeout(JOIN.min(deadline.left()));
    let nodes = &testnet.nodes;
    let joined = nodes.iter().filter(|node| node.is_ready(Family::V4)).count();
    let known: usize = nodes.iter().filter_map(|node| node.node_count(Family::V4).wait().ok()).sum();
    say(format!("{joined} have joined, and know {} others on average", known / nodes.len()))?;

    let (announcer, seeker) = (&nodes[nodes.len() / 3], &nodes[nodes.len() * 2 / 3]);
    let mut announcing = announcer.announce(INFOHASH, Announce::port(PORT));
    match announcing.wait_timeout(deadline.left()) {
        Ok(outcome) => match outcome.stored() {
            Ok(stored) => say(format!(
                "one node announced port {PORT} for {INFOHASH}: {} queried, {} of {} confirmed, {:.1} ms",
                count(outcome.report.queried, "node"),
                stored.acknowledged,
                stored.sent,
                millis(outcome.report.duration),
            ))?,
            Err(error) => say(format!("the announce was not stored: {error}"))?,
        },
        Err(error) => say(format!("the announce failed: {error}"))?,
    }

    let begun = Instant::now();
    let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, PORT));
    let mut lookup = seeker.get_peers(INFOHASH);
    while let Ok(Some(found)) = lookup.recv_timeout(deadline.left()) {
        if found == peer {
            output.set_found();
            say(format!("another node found the peer {found} after {:.1} ms", millis(begun.elapsed())))?;
        }
    }
    if let Some(Ok(outcome)) = lookup.outcome() {
        let report = outcome.report;
        say(format!(
            "the lookup has ended: {} queried, {} answered, {:.1} ms",
            count(report.queried, "node"),
            report.answered,
            millis(report.duration)
        ))?;
    }
    if !output.has_found() {
        say("the peer was not found".to_owned())?;
    }
    Ok(())
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}
