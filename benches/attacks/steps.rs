//! The longest single call into a full node, in real time.
//!
//! Every run makes the same calls. For each call the shortest time of [`RUNS`] runs counts, which leaves
//! out other work of the machine.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant as Clock};

use dht_proto::items::Item;
use dht_proto::wire::{Body, Message, Method, Response, Want};
use dht_proto::{InfoHash, Limits, MAX_DATAGRAM, NodeId};

use crate::datagrams::encode;
use crate::target::{Target, id_of, query};

const RUNS: usize = 3;

/// The times of all calls of a run.
type Times = Vec<Duration>;

pub(crate) fn print(counts: &[usize]) {
    println!("\nthe longest single call, in milliseconds of this machine");
    for &count in counts {
        show(&format!("{count} torrents: a sample"), || sample(count));
        show(&format!("{count} items and torrents of one peer: expiry"), || expiry(count, 1));
        show(&format!("{count} peers in torrents of 2000: expiry"), || expiry(count, 2000));
        show(&format!("{count} peers in torrents of 2000: an announce"), || announces(count));
    }
    for nodes in [400, 5000] {
        show(&format!("a table of {nodes} places: another id of our own"), || rehome(nodes));
        show(&format!("a table of {nodes} places: a snapshot"), || snapshot(nodes));
    }
    show("2000 peers of each family: a scrape", scrape);
}

fn show(name: &str, run: impl Fn() -> Times) {
    let mut best = run();
    for _ in 1..RUNS {
        best.iter_mut().zip(run()).for_each(|(best, time)| *best = time.min(*best));
    }
    let longest = best.iter().max().map_or(0.0, Duration::as_secs_f64) * 1000.0;
    println!("{:<54}{longest:>9.3}", format!("{name}, {} calls", best.len()));
}

/// Creates a node with this number of peers, and of peers in each torrent.
fn full(count: usize, per_swarm: usize) -> Target {
    let mut limits = Limits::default();
    (limits.swarms, limits.peers_v4, limits.peers_v6) =
        (count.div_ceil(per_swarm), count.next_multiple_of(4 * per_swarm), 16_384);
    if per_swarm == 1 {
        (limits.peers_v4, limits.items.stored, limits.items.chunks) = (4 * count, count, count);
    }
    let mut target = Target::new(50, &limits, |_| ());
    let mut infohash = InfoHash::from(target.rng.id());
    for at in 0..count {
        if at % per_swarm == 0 {
            infohash = InfoHash::from(target.rng.id());
        }
        let _ = target.node.store_peer(target.now, infohash, host(at), false);
        if per_swarm == 1 {
            let text = format!("16:{:016x}", target.rng.bits());
            let item = Item::immutable(text.as_bytes()).expect("it is sound");
            let _ = target.node.store_item(target.now, &item, host(at));
        }
    }
    target
}

fn sample(count: usize) -> Times {
    let mut target = full(count, 1);
    let sample = query(Method::SampleInfohashes { target: NodeId::from_bytes([5; 20]), want: Want::NONE });
    vec![timed(|| target.ask(host(count), &sample)).1]
}

fn expiry(count: usize, per_swarm: usize) -> Times {
    let mut target = full(count, per_swarm);
    let mut times = Times::new();
    let end = target.now + Duration::from_secs(3 * 60 * 60);
    while let Some(due) = target.node.poll_timeout().filter(|due| *due <= end) {
        target.now = target.now.max(due);
        times.push(timed(|| target.node.handle_timeout(target.now)).1);
        target.pass(Duration::ZERO);
    }
    assert_eq!(target.node.infohash_count(), 0, "all of it expires");
    times
}

/// Announces of new peers to a full torrent, and of new torrents to a full store.
fn announces(count: usize) -> Times {
    let mut target = full(count, 2000);
    let full: Vec<InfoHash> = target.node.infohashes().take(50).collect();
    let mut times = Times::new();
    for at in 0..1000 {
        target.pass(Duration::from_millis(50));
        let infohash = if at % 2 == 0 { InfoHash::from(target.rng.id()) } else { full[at / 2 % full.len()] };
        let now = target.now;
        times.push(timed(|| target.node.store_peer(now, infohash, host(count + at), false)).1);
    }
    times
}

/// Creates a node that knows more nodes than its table has room for.
fn known(nodes: usize) -> Target {
    let mut limits = Limits::default();
    limits.nodes_v4 = nodes;
    Target::new(4 * nodes, &limits, |_| ())
}

/// Lets hosts report the node's address one by one, until it takes an id that matches.
fn rehome(nodes: usize) -> Times {
    let mut target = known(nodes);
    let claim: SocketAddr = (IpAddr::from([9, 9, 9, 9]), 6881).into();
    let mut times = Times::new();
    for at in 0..40 {
        let host = host(77_000 + at * 256);
        let _ = target.node.add_node(target.now, host);
        let mut buf = [0; MAX_DATAGRAM];
        while let Some(transmit) = target.node.poll_transmit(target.now, &mut buf) {
            let Ok(asked) = Message::parse(&buf[..transmit.size]) else { continue };
            let body = Body::Response(Response::new(id_of(host)));
            let answer = encode(&Message { requester: Some(claim), ..Message::new(asked.transaction, body) });
            let now = target.now;
            if transmit.destination == host {
                times.push(timed(|| target.node.handle_datagram(now, host, &answer)).1);
            }
        }
        target.pass(Duration::from_millis(500));
    }
    assert!(target.node.external_addr(dht_proto::Family::V4).is_some(), "it has learned its address");
    times
}

fn snapshot(nodes: usize) -> Times {
    let target = known(nodes);
    let mut buf = vec![0; 1 << 20];
    (0..10).map(|_| timed(|| target.node.snapshot_into(1, &mut buf)).1).collect()
}

fn scrape() -> Times {
    let mut target = Target::new(50, &Limits::default(), |_| ());
    let infohash = InfoHash::from(target.rng.id());
    for at in 0..2000_u16 {
        let _ = target.node.store_peer(target.now, infohash, host(usize::from(at) * 257), false);
        let v6 = SocketAddr::from(([0x2600, at, 0, 0, 0, 0, 0, 1], 6881));
        let _ = target.node.store_peer(target.now, infohash, v6, false);
    }
    let scrape = query(Method::GetPeers { infohash, want: Want::NONE, noseed: false, scrape: true });
    (0..10).map(|at| timed(|| target.ask(host(900_000 + 300 * at), &scrape)).1).collect()
}

fn timed<T>(call: impl FnOnce() -> T) -> (T, Duration) {
    let begun = Clock::now();
    let result = call();
    (result, begun.elapsed())
}

/// The address of a host in a subnet of its own.
fn host(index: usize) -> SocketAddr {
    let [a, b, c, d] = (index as u32).to_be_bytes();
    ([20 + a, b, c, d], 6881).into()
}
