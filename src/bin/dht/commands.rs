//! The commands about peers and nodes, and what all commands that look something up have in common.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use dht_proto::net::{Announcement, CallError, Dht, Metrics, Outcome, Search, resolve};
use dht_proto::{Announce, Family, InfoHash, Lookup, LookupOptions, NodeId, StartError};

use crate::items::pointed_to;
use crate::magnet::Torrent;
use crate::metrics::Exporter;
use crate::options::{AnnounceOptions, Common, FOREVER, NodeOptions, PeersOptions};
use crate::output::{Done, Failure, Output, TICK};
use crate::session::Session;
use crate::status::{self, PERIOD};

pub(crate) fn node(options: &NodeOptions, common: &Common, output: &Output) -> Result<(), Failure> {
    let exporter = options.metrics.map(Exporter::bind).transpose()?;
    let session = Session::start(common, output, true)?;
    if let Some(exporter) = exporter {
        output.metrics(&exporter.url())?;
        exporter.serve(session.dht.clone())?;
    }
    // To serve is to succeed.
    output.set_found();
    let end = Instant::now() + common.timeout.unwrap_or(FOREVER);
    if output.is_live() {
        watch(&session, end);
    } else {
        session.sleep(end.saturating_duration_since(Instant::now()));
    }
    Ok(())
}

/// Shows how the node fares until a signal comes or the time is over.
fn watch(session: &Session<'_>, end: Instant) {
    let mut before: Option<(Metrics, Instant)> = None;
    while let Ok(metrics) = session.dht.metrics() {
        let now = Instant::now();
        let (earlier, passed) =
            before.as_ref().map_or((&metrics, PERIOD), |(earlier, at)| (earlier, now - *at));
        session.output.progress(status::line(&metrics, earlier, passed));
        before = Some((metrics, now));
        if now >= end || session.sleep(PERIOD.min(end - now)) {
            return;
        }
    }
}

pub(crate) fn get_peers(options: &PeersOptions, common: &Common, output: &Output) -> Result<(), Failure> {
    let session = Session::start_for(options.max_peers, common, output)?;
    session.settle();
    let infohash = match options.torrent {
        Torrent::Fixed(infohash) => Some(infohash),
        Torrent::Updatable(link) => pointed_to(&session, link)?,
    };
    let Some(infohash) = infohash else { return Ok(()) };
    let mut lookup = LookupOptions::default();
    lookup.max_peers = options.max_peers;
    let started = session.dht.lookup(Lookup::GetPeers(infohash), lookup);
    let Some(mut search) = unless_interrupted(started)? else {
        return Ok(());
    };
    let mut peers = BTreeSet::new();
    follow(
        &session,
        &mut search,
        "peers",
        |peer| if peers.insert(peer) { output.peer(peer) } else { Ok(()) },
    )?;
    let has_more = search.report().is_ok_and(|report| report.more_peers);
    let cut = has_more.then_some(options.max_peers);
    output.done(&Done { cut, ..done("peers", peers.len(), &search) })
}

pub(crate) fn find_node(target: NodeId, common: &Common, output: &Output) -> Result<(), Failure> {
    let session = Session::start(common, output, false)?;
    session.settle();
    let Some(mut search) = unless_interrupted(session.dht.find_node(target))? else {
        return Ok(());
    };
    let outcome = follow(&session, &mut search, "peers", |_| Ok(()))?;
    let nodes = outcome.as_ref().map_or(&[][..], |outcome| &outcome.nodes);
    nodes.iter().try_for_each(|node| output.node(node))?;
    output.done(&done("nodes", nodes.len(), &search))
}

pub(crate) fn announce(options: &AnnounceOptions, common: &Common, output: &Output) -> Result<(), Failure> {
    let session = Session::start(common, output, false)?;
    session.settle();
    let own =
        Family::ALL.iter().find_map(|family| session.dht.local_addr(*family)).map_or(0, |addr| addr.port());
    let announce = options.announce(own);
    if options.keep {
        return keep_announced(&session, options.infohash, announce, common.timeout);
    }
    let Some(mut search) = unless_interrupted(session.dht.announce(options.infohash, announce))? else {
        return Ok(());
    };
    follow(&session, &mut search, "peers", |_| Ok(()))?;
    let (stored, tried) = search.report().map_or((0, 0), |report| (report.acknowledged, report.announced));
    output.announced(stored, tried)
}

/// Announces again and again, until a signal comes or the time is over that was asked for.
fn keep_announced(
    session: &Session<'_>,
    infohash: InfoHash,
    announce: Announce,
    timeout: Option<Duration>,
) -> Result<(), Failure> {
    let Some(mut rounds) = unless_interrupted(session.dht.keep_announced(infohash, announce))? else {
        return Ok(());
    };
    session.output.progress("announcing".to_owned());
    let told = tell_rounds(session, &mut rounds, timeout);
    // An announce that is dropped before the node ends counts as given up, and is not saved.
    session.end();
    told
}

fn tell_rounds(
    session: &Session<'_>,
    rounds: &mut Announcement,
    timeout: Option<Duration>,
) -> Result<(), Failure> {
    while let Ok(Some(round)) = rounds.recv_timeout(timeout.map_or(FOREVER, |_| session.left())) {
        let (stored, tried) = (round.report.acknowledged, round.report.announced);
        session.output.announced(stored, tried)?;
        session.output.progress(format!("announced to {stored} nodes"));
    }
    Ok(())
}

pub(crate) fn ping(host: &str, common: &Common, output: &Output) -> Result<(), Failure> {
    let pong = ask_host(host, common, output, |dht, addr| dht.ping(addr))?;
    pong.map_or(Ok(()), |(_, pong)| output.pong(&pong))
}

/// Asks the addresses of a host one by one, and returns the first that answers and its answer.
pub(crate) fn ask_host<T: Send + 'static>(
    host: &str,
    common: &Common,
    output: &Output,
    ask: fn(&Dht, SocketAddr) -> Result<T, CallError>,
) -> Result<Option<(SocketAddr, T)>, Failure> {
    let addrs = resolve(host).map_err(|error| Failure::Start(format!("cannot resolve {host}: {error}")))?;
    let session = Session::start_alone(common, output)?;
    let usable: Vec<_> =
        addrs.iter().filter(|addr| session.dht.local_addr(Family::of(addr)).is_some()).copied().collect();
    if usable.is_empty() {
        return Err(Failure::Start(format!("{host} has no address of a family that is bound")));
    }
    for addr in usable {
        output.progress(format!("asking {addr}"));
        match in_time(&session, move |dht| ask(dht, addr)) {
            Ok(answer) => return Ok(Some((addr, answer))),
            Err(CallError::Closed) => return Ok(None),
            Err(CallError::Start(StartError::AddressRefused)) => {
                return Err(Failure::Start(format!("{addr} is not a public address; see --allow-private")));
            }
            Err(error) => output.complain(&format!("{addr}: {error}")),
        }
    }
    Ok(None)
}

/// A call that blocks, within the time of the session.
fn in_time<T: Send + 'static>(
    session: &Session<'_>,
    call: impl FnOnce(&Dht) -> Result<T, CallError> + Send + 'static,
) -> Result<T, CallError> {
    let (sender, answer) = channel();
    let dht = session.dht.clone();
    // Without a thread there is nobody who sends.
    let _ = thread::Builder::new().spawn(move || sender.send(call(&dht)));
    answer.recv_timeout(session.left()).unwrap_or_else(|error| match error {
        RecvTimeoutError::Timeout => Err(CallError::TimedOut),
        RecvTimeoutError::Disconnected => Err(CallError::Closed),
    })
}

/// Hands on what a search finds until it ends, the time is over or a signal comes; `None` in the
/// last two cases.
pub(crate) fn follow<T>(
    session: &Session<'_>,
    search: &mut Search<T>,
    what: &str,
    mut hand_on: impl FnMut(T) -> Result<(), Failure>,
) -> Result<Option<Outcome>, Failure> {
    let mut count = 0;
    loop {
        let left = session.left();
        match search.recv_timeout(if session.output.is_live() { left.min(TICK) } else { left }) {
            Ok(Some(found)) => {
                count += 1;
                hand_on(found)?;
            }
            Ok(None) => return Ok(search.outcome().and_then(Result::ok)),
            Err(CallError::TimedOut) if !left.is_zero() => {
                let asked = search.report().map_or(0, |report| report.queried);
                session.output.progress(format!("asked {asked} nodes, {count} {what}"));
            }
            Err(_) => return Ok(None),
        }
    }
}

/// `None` if a signal has closed the DHT.
pub(crate) fn unless_interrupted<T>(started: Result<T, CallError>) -> Result<Option<T>, Failure> {
    match started {
        Ok(started) => Ok(Some(started)),
        Err(CallError::Closed) => Ok(None),
        Err(error) => Err(Failure::Start(error.to_string())),
    }
}

/// The last line of a lookup, ended or given up.
pub(crate) fn done<T>(what: &'static str, found: usize, search: &Search<T>) -> Done {
    let (queried, elapsed) =
        search.report().map_or((0, Duration::ZERO), |report| (report.queried, report.duration));
    Done { what, found, queried: queried.into(), elapsed, has_rate: false, cut: None }
}
