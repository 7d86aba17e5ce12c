//! The commands about peers and nodes.

use std::collections::BTreeSet;
use std::time::Instant;

use dht_proto::net::{Announcement, CallError, DhtHandle, LookupHandle, Metrics};
use dht_proto::{InfoHash, Lookup, LookupOptions};

use crate::deadline::Deadline;
use crate::items::pointed_to;
use crate::lookups::{is_refusal, seek, was_heard};
use crate::magnet::{Swarms, Torrent};
use crate::metrics::Exporter;
use crate::options::{AnnounceOptions, FindNodeOptions, GetPeersOptions, NodeOptions};
use crate::output::{Done, Failure, Output, TICK};
use crate::session::{QUIET, Session, Setup};
use crate::status::{self, PERIOD};
use crate::text::count;

pub(crate) fn node(options: &NodeOptions, output: &Output) -> Result<(), Failure> {
    let exporter = options.metrics.map(Exporter::bind).transpose()?;
    let mut setup = Setup::new(&options.own, Deadline::new(options.limit.timeout, true));
    setup.start = Some(&options.start);
    setup.read_only = options.read_only;
    (setup.stays, setup.tells_addr) = (true, true);
    // To serve is to succeed, whether or not anybody reads where.
    output.set_found();
    let session = Session::start(&setup, output)?;
    if let Some(exporter) = exporter {
        output.metrics(&exporter.url())?;
        exporter.serve(session.dht.clone())?;
    }
    if output.is_live() {
        watch(&session);
    } else if !session.sleep(QUIET.min(session.left())) {
        session.tell_waiting();
        session.sleep(session.left());
    }
    Ok(())
}

/// Shows how the node fares until a signal comes or the time is over.
fn watch(session: &Session<'_>) {
    let begun = Instant::now();
    let mut before: Option<(Metrics, Instant)> = None;
    while let Ok(metrics) = session.dht.metrics().wait() {
        let now = Instant::now();
        let (earlier, passed) =
            before.as_ref().map_or((&metrics, PERIOD), |(earlier, at)| (earlier, now - *at));
        session.output.progress(status::line(&metrics, earlier, passed));
        before = Some((metrics, now));
        if begun.elapsed() >= QUIET {
            session.tell_waiting();
        }
        if session.deadline.is_over() || session.sleep(PERIOD.min(session.left())) {
            return;
        }
    }
}

pub(crate) fn get_peers(options: &GetPeersOptions, output: &Output) -> Result<(), Failure> {
    let deadline = Deadline::new(options.lookup.limit.timeout, false);
    let mut setup = Setup::of(&options.lookup, false, deadline);
    setup.peers = options.max_peers;
    let session = Session::start(&setup, output)?;
    session.settle();
    let swarms = match options.torrent {
        Torrent::Fixed(swarms) => Some(swarms),
        Torrent::Updatable(link) => pointed_to(&session, link)?.map(Swarms::from),
    };
    let Some(swarms) = swarms else { return Ok(()) };
    let mut peers = BTreeSet::new();
    let mut lookup = LookupOptions::default();
    lookup.max_peers = options.max_peers;
    let sought = seek(
        &session,
        "peer",
        |dht| each(swarms, |infohash| dht.lookup(Lookup::GetPeers(infohash), lookup)),
        |_, peer| if peers.insert(peer) { output.peer(peer) } else { Ok(()) },
    )?;
    let Some(sought) = sought else { return Ok(()) };
    let has_more = sought.reports().iter().any(|report| report.more_peers);
    let limit = has_more.then_some(options.max_peers);
    output.done(&Done { limit, ..sought.done("peer", peers.len()) })
}

pub(crate) fn find_node(options: &FindNodeOptions, output: &Output) -> Result<(), Failure> {
    let deadline = Deadline::new(options.lookup.limit.timeout, false);
    let session = Session::start(&Setup::of(&options.lookup, false, deadline), output)?;
    session.settle();
    let start = |dht: &DhtHandle| vec![dht.find_node(options.target)];
    let Some(sought) = seek(&session, "peer", start, |_, _| Ok(()))? else { return Ok(()) };
    let nodes: Vec<_> = sought.outcomes().flat_map(|outcome| outcome.nodes).collect();
    nodes.iter().try_for_each(|node| output.node(node))?;
    output.done(&sought.done("node", nodes.len()))
}

pub(crate) fn announce(options: &AnnounceOptions, output: &Output) -> Result<(), Failure> {
    let deadline = Deadline::new(options.lookup.limit.timeout, options.keep);
    let session = Session::start(&Setup::of(&options.lookup, options.keep, deadline), output)?;
    session.settle();
    let announce = options.announce(session.port());
    let swarms: Vec<InfoHash> = options.torrent.iter().collect();
    if options.keep {
        let mut rounds = each(options.torrent, |infohash| session.dht.keep_announced(infohash, announce));
        let told = tell_rounds(&session, &mut rounds);
        // An announce that is dropped before the node ends counts as given up, and is not saved.
        session.end();
        return told;
    }
    let sought = seek(
        &session,
        "peer",
        |dht| each(options.torrent, |infohash| dht.announce(infohash, announce)),
        |at, peer| output.met(swarms[at], peer),
    )?;
    let Some(sought) = sought else { return Ok(()) };
    for (infohash, report) in swarms.iter().zip(sought.reports()) {
        output.announced(*infohash, &report, swarms.len() > 1)?;
    }
    if let Some(reason) = &sought.cut_short {
        output.complain(&format!("the announce was {reason}"));
    }
    Ok(())
}

/// Announces again and again, until a signal comes or the time is over that was asked for.
fn tell_rounds(session: &Session<'_>, kept: &mut [Announcement]) -> Result<(), Failure> {
    let output = session.output;
    output.progress("announcing".to_owned());
    let is_one = kept.len() == 1;
    loop {
        for rounds in &mut *kept {
            let left = session.left();
            let infohash = rounds.infohash();
            match rounds.recv_timeout(if is_one { left } else { left.min(TICK) }) {
                Ok(round) if !was_heard(&round.report) && !session.has_joined() => session.tell_waiting(),
                Ok(round) => {
                    round.peers.iter().try_for_each(|peer| output.met(infohash, *peer))?;
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

/// One call for each swarm of a torrent.
fn each<T>(swarms: Swarms, call: impl FnMut(InfoHash) -> T) -> Vec<T> {
    swarms.iter().map(call).collect()
}

/// The scrapes of a torrent's swarms.
pub(crate) fn scrapes(dht: &DhtHandle, swarms: Swarms) -> Vec<LookupHandle> {
    each(swarms, |infohash| dht.scrape(infohash))
}
