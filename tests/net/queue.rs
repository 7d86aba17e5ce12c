//! Calls past the limits of a node wait for a slot, over real sockets on loopback.

use std::collections::BTreeSet;
use std::net::{SocketAddr, UdpSocket};
use std::pin::pin;
use std::thread;

use dht_proto::errors::Limit;
use dht_proto::items::{Salt, SecretKey};
use dht_proto::net::{CallError, Dht, DhtHandle, LookupHandle};
use dht_proto::{
    Announce, Config, Family, InfoHash, Limits, Lookup, LookupKind, LookupOptions, NodeId, StartError,
};

use crate::common::net::blocking::{addr, builder, network, under_way, wait_for};
use crate::common::net::tasks::{at_work, soon};
use crate::common::net::{HASH, LOOPBACK, PATIENCE, asking, limits};
use crate::common::raw::{ID, Packet, join, spread, value_list};

const TORRENTS: usize = 50;
const KEYS: usize = 100;
const LOOKUPS: usize = 500;

fn hash(index: usize) -> InfoHash {
    let mut bytes = spread(index);
    bytes[19] = 1;
    InfoHash::from_bytes(bytes)
}

/// Returns an IPv6 address to bind if the host has IPv6: the default limits have room for 32 lookups then.
fn v6() -> Option<SocketAddr> {
    let any = "[::1]:0".parse().unwrap();
    UdpSocket::bind(any).is_ok().then_some(any)
}

/// A host whose answers are written by the test.
struct Hole(UdpSocket);

impl Hole {
    fn new() -> Self {
        let socket = UdpSocket::bind(LOOPBACK).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(socket)
    }

    fn addr(&self) -> SocketAddr {
        self.0.local_addr().unwrap()
    }

    fn query(&self) -> (Packet, SocketAddr) {
        self.try_query().expect("it is queried")
    }

    fn try_query(&self) -> Option<(Packet, SocketAddr)> {
        let mut buffer = [0; 1500];
        let (len, from) = self.0.recv_from(&mut buffer).ok()?;
        Some((Packet::checked(self.addr(), &buffer[..len]), from))
    }

    /// Returns the torrent of the next `get_peers`. One that is sent again after a stall counts once.
    fn asked_for(&self, before: &[InfoHash]) -> InfoHash {
        loop {
            let (query, _) = self.query();
            let infohash = <[u8; 20]>::try_from(query.string("a.info_hash").unwrap()).unwrap();
            let infohash = InfoHash::from_bytes(infohash);
            if !before.contains(&infohash) {
                return infohash;
            }
        }
    }

    fn answer(&self, (query, from): &(Packet, SocketAddr), fields: &[u8]) {
        self.0.send_to(&query.answer(&ID, fields), from).unwrap();
    }
}

/// Limits for two lookups at a time.
fn for_two() -> Limits {
    let mut two = limits();
    two.traversals = 2;
    two
}

const FULL: StartError = StartError::Full { limit: Limit::Traversals, size: 2 };

fn ask(dht: &DhtHandle, hole: &Hole, index: usize) -> LookupHandle {
    dht.lookup(Lookup::GetPeers(hash(index)), asking(hole.addr()))
}

#[test]
fn hundreds_of_announcements_publications_and_lookups_succeed_from_threads() {
    let nodes = network(6);
    let mut builder = builder().limits(Limits::default()).bootstrap([addr(&nodes[0]).to_string()]);
    if let Some(v6) = v6() {
        builder = builder.bind(v6);
    }
    let dht = builder.spawn().unwrap();
    assert_eq!(dht.ready().wait_timeout(PATIENCE), Ok(()));
    let announce = Announce::port(4242);
    let mut kept: Vec<_> = (0..TORRENTS).map(|index| dht.start_announcing(hash(index), announce)).collect();
    let keys = (0..KEYS).map(|index| SecretKey::from_bytes(&[index as u8; 32]).public());
    let mut keys: Vec<_> = keys.map(|key| dht.get_mutable(key, Salt::NONE)).collect();
    let mut lookups: Vec<_> = (0..LOOKUPS).map(|index| dht.get_peers(hash(1000 + index))).collect();
    let scrapes: Vec<_> = (0..10).map(|index| dht.scrape(hash(2000 + index))).collect();
    for mut lookup in lookups.drain(..).chain(scrapes) {
        assert!(lookup.wait_timeout(PATIENCE).unwrap().report.answered > 0);
    }
    for key in &mut keys {
        assert!(key.wait_timeout(PATIENCE).unwrap().report.answered > 0);
    }
    for announcement in &mut kept {
        let round = announcement.recv_timeout(PATIENCE).unwrap();
        assert!(!round.acknowledged.is_empty(), "{round:?}");
    }
    assert_eq!(dht.stats().wait().unwrap().events_lost, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hundreds_of_announcements_publications_and_lookups_succeed_from_tasks() {
    let nodes = tokio::task::block_in_place(|| network(6));
    let mut builder = Dht::builder().config(Config::private()).bind(LOOPBACK);
    if let Some(v6) = v6() {
        builder = builder.bind(v6);
    }
    let dht = builder.bootstrap([addr(&nodes[0]).to_string()]).spawn_tokio().unwrap();
    assert_eq!(soon(dht.ready()).await, Ok(()));
    let (mut kept, mut keys, mut lookups) = (Vec::new(), Vec::new(), Vec::new());
    for index in 0..TORRENTS {
        kept.push(dht.start_announcing(hash(index), Announce::port(4242)));
    }
    for index in 0..KEYS {
        let key = SecretKey::from_bytes(&[index as u8; 32]).public();
        keys.push(dht.get_mutable(key, Salt::NONE));
    }
    for index in 0..LOOKUPS {
        lookups.push(dht.get_peers(hash(1000 + index)));
    }
    for lookup in &mut lookups {
        assert!(soon(&mut *lookup).await.unwrap().report.answered > 0);
    }
    for key in &mut keys {
        assert!(soon(&mut *key).await.unwrap().report.answered > 0);
    }
    for announcement in &mut kept {
        let round = soon(announcement.recv()).await.unwrap();
        assert!(!round.acknowledged.is_empty(), "{round:?}");
    }
}

#[test]
fn waiting_calls_start_in_order_and_never_if_they_are_dropped() {
    let hole = Hole::new();
    let dht = builder().limits(for_two()).spawn().unwrap();
    let mut first = ask(&dht, &hole, 1);
    let _second = ask(&dht, &hole, 2);
    assert_eq!([hole.asked_for(&[]), hole.asked_for(&[hash(1)])], [hash(1), hash(2)]);
    let [third, fourth, fifth] = [3, 4, 5].map(|index| ask(&dht, &hole, index));
    let report = fourth.report().wait().unwrap();
    assert_eq!((report.kind, report.target), (LookupKind::GetPeers, hash(4).into()));
    assert_eq!((report.queried, fourth.outcome()), (0, None));
    // A caller that joins a waiting lookup shares it.
    let shared = ask(&dht, &hole, 4);
    assert_eq!(dht.with(|node, _| under_way(node)).wait().unwrap().0, 2);
    drop((third, fourth));
    assert_eq!(first.recv_timeout(std::time::Duration::ZERO), Err(CallError::TimedOut));
    drop(first);
    assert_eq!(hole.asked_for(&[hash(1), hash(2)]), hash(4), "the oldest of those that are left");
    drop(shared);
    assert_eq!(hole.asked_for(&[hash(1), hash(2), hash(4)]), hash(5));
    assert!(fifth.report().wait().unwrap().queried > 0);
}

#[test]
fn a_full_queue_returns_an_error_with_its_limit() {
    let hole = Hole::new();
    let dht = builder().limits(for_two()).queue(1).spawn().unwrap();
    let held = [1, 2, 3].map(|index| ask(&dht, &hole, index));
    let error = ask(&dht, &hole, 4).wait().unwrap_err();
    assert_eq!(error, CallError::QueueFull { limit: Limit::Traversals, size: 2, most: 1 });
    assert_eq!(
        error.to_string(),
        "all 2 lookup slots are in use, and 1 calls wait for them already: wait for some of those, or raise \
         Limits::traversals or Builder::queue"
    );
    drop(held);
    assert!(ask(&dht, &hole, 4).report().wait().is_ok());

    let dht = builder().limits(for_two()).queue(0).spawn().unwrap();
    let _held = [1, 2].map(|index| ask(&dht, &hole, index));
    assert_eq!(ask(&dht, &hole, 3).wait().unwrap_err(), CallError::Start(FULL));

    // A call that can never have a slot does not wait for one.
    let mut none = limits();
    none.scrapes = 0;
    let dht = builder().limits(none).spawn().unwrap();
    let never = StartError::TooSmall { limit: Limit::Scrapes, size: 0 };
    assert_eq!(dht.scrape(HASH).wait().unwrap_err(), CallError::Start(never));
}

#[test]
fn queries_to_single_nodes_wait_in_the_queue_too() {
    let [host, hole] = [Hole::new(), Hole::new()];
    let mut limits = limits();
    (limits.inflight, limits.samplings) = (1, 1);
    let dht = builder().limits(limits).spawn().unwrap();
    // The first ping takes the only slot.
    let first = dht.ping(hole.addr());
    let asked = hole.query();
    let pings = [1, 2, 3].map(|_| dht.ping(host.addr()));
    let samples = [1, 2].map(|_| dht.sample_infohashes(host.addr(), NodeId::ZERO));
    dht.add_node(host.addr()).wait().unwrap();
    // Commands are taken in order, so all calls are waiting by now.
    assert_eq!(dht.stats().wait().unwrap().queries_out.total(), 1);
    hole.answer(&asked, b"");
    assert!(first.wait().is_ok());
    // The thread ends when no query has come for long.
    thread::spawn(move || {
        while let Some(query) = host.try_query() {
            host.answer(&query, b"");
        }
    });
    for ping in pings {
        assert_eq!(ping.wait().unwrap().id.as_bytes(), &ID);
    }
    samples.into_iter().for_each(|sample| assert!(sample.wait().is_ok()));
    wait_for("it enters the table", || dht.node_count(Family::V4).wait() == Ok(1));
}

#[test]
fn waiting_calls_end_with_the_node_and_fail_when_it_is_disabled() {
    let hole = Hole::new();
    let mut one = for_two();
    one.inflight = 2;
    let dht = builder().limits(one).spawn().unwrap();
    let mut handles = [1, 2, 3].map(|index| ask(&dht, &hole, index));
    dht.set_enabled(false).wait().unwrap();
    let disabled = CallError::Start(StartError::Disabled);
    assert_eq!(handles[2].wait_timeout(PATIENCE), Err(disabled));
    dht.set_enabled(true).wait().unwrap();

    let mut handles = [1, 2, 3].map(|index| ask(&dht, &hole, index));
    let queries = [hole.query(), hole.query()];
    assert_ne!(queries[0].0.string("t"), queries[1].0.string("t"));
    let borrowed = dht.handle();
    let pinging = thread::spawn(move || borrowed.ping("127.0.0.1:9".parse().unwrap()).wait());
    dht.shutdown().wait().unwrap();
    assert_eq!(pinging.join().unwrap(), Err(CallError::Closed));
    assert_eq!(handles[2].wait_timeout(PATIENCE), Err(CallError::Closed));
    assert_eq!(handles[2].report().wait(), Err(CallError::Closed));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_leaves_the_queue_when_its_task_is_dropped() {
    let hole = Hole::new();
    let mut limits = for_two();
    limits.inflight = 2;
    let builder = Dht::builder().config(Config::private()).limits(limits).bind(LOOPBACK);
    let dht = builder.bootstrap::<String>([]).queue(2).spawn_tokio().unwrap();
    let ask = |index| ask(&dht, &hole, index);
    let _held = (ask(1), ask(2));
    assert_eq!([hole.asked_for(&[]), hole.asked_for(&[hash(1)])], [hash(1), hash(2)]);
    for _ in 0..10 {
        // The queue has two places: one is taken by a lookup, and for a moment one by a ping.
        let waiting = ask(3);
        let mut ping = pin!(dht.ping(hole.addr()));
        assert!(futures_poll(ping.as_mut()).await, "it waits");
        assert_eq!(at_work(&dht).await.unwrap(), (2, 2));
        assert_eq!(waiting.report().await.unwrap().queried, 0);
    }
    let _waiting = [ask(3), ask(4)];
    assert_eq!(soon(ask(5)).await, Err(CallError::QueueFull { limit: Limit::Traversals, size: 2, most: 2 }));
}

/// Polls a future once, and returns whether it waits.
async fn futures_poll<F: Future>(mut future: std::pin::Pin<&mut F>) -> bool {
    std::future::poll_fn(|cx| std::task::Poll::Ready(future.as_mut().poll(cx).is_pending())).await
}

/// Creates a swarm of which each of twelve nodes stores another part.
fn swarm() -> Vec<(UdpSocket, [u8; 20], Vec<SocketAddr>)> {
    (0..12_u16)
        .map(|node| {
            let peers = (0..250).map(|peer| SocketAddr::from(([10, 0, node as u8, peer], 1000 + node)));
            (UdpSocket::bind(LOOPBACK).unwrap(), spread(node.into()), peers.collect())
        })
        .collect()
}

/// Looks up the peers of the swarm, and returns how many were found, and whether there were more.
fn swarm_as_seen(found: usize, max_peers: u16) -> (usize, bool) {
    let swarm = swarm();
    let mut limits = limits();
    limits.peers_per_lookup = found;
    let dht: Dht = builder().limits(limits).spawn().unwrap();
    let addrs: Vec<SocketAddr> = swarm.iter().map(|(socket, ..)| socket.local_addr().unwrap()).collect();
    for (socket, id, peers) in swarm {
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        thread::spawn(move || {
            let mut buffer = [0; 1500];
            // The thread ends when no query has come for long, or with the test.
            while let Ok((len, from)) = socket.recv_from(&mut buffer) {
                let query = Packet::checked(socket.local_addr().unwrap(), &buffer[..len]);
                let is_asked = query.method() == "get_peers";
                let fields = if is_asked { join(&[b"5:token1:x", &value_list(&peers)]) } else { Vec::new() };
                socket.send_to(&query.answer(&id, &fields), from).unwrap();
            }
        });
    }
    addrs.iter().for_each(|addr| dht.add_node(*addr).wait().unwrap());
    wait_for("all of them are in the table", || dht.node_count(Family::V4).wait() == Ok(addrs.len()));
    let mut options = LookupOptions::default();
    (options.k, options.max_peers) = (16, max_peers);
    // However slow the machine, the lookup waits for every node.
    (options.stall, options.timeout) = (Some(PATIENCE), PATIENCE);
    let mut lookup = dht.lookup(Lookup::GetPeers(HASH), options);
    let report = lookup.wait_timeout(PATIENCE).unwrap().report;
    let peers: BTreeSet<SocketAddr> = lookup.into_iter().collect();
    assert_eq!((report.answered as usize, report.peers as usize), (addrs.len(), peers.len()));
    (peers.len(), report.more_peers)
}

#[test]
fn a_swarm_of_three_thousand_is_found_up_to_the_limit_that_is_set() {
    assert_eq!(swarm_as_seen(Limits::default().peers_per_lookup, u16::MAX), (512, true));
    assert_eq!(swarm_as_seen(3000, u16::MAX), (3000, false));
    assert_eq!(swarm_as_seen(3000, 100), (100, true));
}
