//! Many lookups at once: they evict no live node, no node is queried faster than its rate, and
//! a lookup with any candidate queries one.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use dht_proto::sim::{Captured, Direction, Growth, HostId, Network, Profile, World};
use dht_proto::wire::{Body, Message};
use dht_proto::{Announce, Config, Family, InfoHash, Instant, Limits, Lookup};

use crate::lab::secs;

/// A world with packet loss, and the node in it that has slots for a burst of lookups.
struct Crowd {
    world: World,
    hosts: Vec<HostId>,
    busy: HostId,
}

impl Crowd {
    fn new(seed: u64, nodes: usize, loss: f64) -> Self {
        let mut network = Network::internet();
        network.loss = loss;
        let mut world = World::new(seed, network);
        let profile = Arc::new(Profile::default());
        let mut roomy = Profile::default();
        roomy.limits = Limits::default();
        roomy.limits.traversals = 128;
        let roomy = Arc::new(roomy);
        let hosts = world.grow(nodes, &Growth::default(), |index, _| {
            Arc::clone(if index == nodes / 2 { &roomy } else { &profile })
        });
        world.run_for(secs(300));
        let busy = hosts[nodes / 2];
        Self { world, hosts, busy }
    }

    fn table(&self) -> BTreeSet<SocketAddr> {
        let node = self.world.node(self.busy).unwrap();
        node.nodes(Family::V4).map(|info| info.addr).collect()
    }

    /// Starts `count` lookups at once and lets them end.
    fn burst(&mut self, count: u16) {
        for number in 0..count {
            self.world.start(self.busy, Lookup::GetPeers(torrent(10_000 + number))).unwrap();
        }
        assert!(self.world.settle(secs(120)), "the lookups end");
        // Until the last of the queries has been answered or has timed out.
        self.world.run_for(secs(6));
    }
}

fn torrent(number: u16) -> InfoHash {
    let mut bytes = [0; 20];
    bytes[..2].copy_from_slice(&number.wrapping_mul(40_503).to_be_bytes());
    bytes[18..].copy_from_slice(&number.to_be_bytes());
    InfoHash::from_bytes(bytes)
}

/// The effect of a burst of a hundred lookups on a node, while all nodes are alive.
struct Effect {
    before: BTreeSet<SocketAddr>,
    after: BTreeSet<SocketAddr>,
    /// How many of a hundred announced torrents are found one by one afterwards.
    found: usize,
}

fn effect(seed: u64, nodes: usize, loss: f64) -> Effect {
    let mut crowd = Crowd::new(seed, nodes, loss);
    let mut peers = BTreeMap::new();
    for number in 0..100 {
        let announcer = crowd.hosts[(usize::from(number) * 7 + 1) % nodes];
        let lookup = Lookup::Announce(torrent(number), Announce::port(1000 + number));
        crowd.world.lookup(announcer, lookup);
        peers.insert(number, SocketAddr::new(crowd.world.addr(announcer).ip(), 1000 + number));
    }
    // By then the table is full.
    (0..100).for_each(|number| _ = crowd.world.lookup(crowd.busy, Lookup::FindNode(torrent(number).into())));
    crowd.world.run_for(secs(300));
    let before = crowd.table();
    crowd.burst(100);
    let after = crowd.table();
    let found = peers.iter().filter(|(number, peer)| {
        let lookup = crowd.world.lookup(crowd.busy, Lookup::GetPeers(torrent(**number)));
        lookup.peers.iter().any(|(_, found)| found == *peer)
    });
    let found = found.count();
    crowd.world.check().unwrap();
    println!("{nodes} nodes, loss {loss}: {} before, {} after, {found} found", before.len(), after.len());
    Effect { before, after, found }
}

#[test]
fn a_burst_of_lookups_evicts_no_live_node() {
    for (seed, loss) in [(1, 0.1), (2, 0.3), (3, 0.3)] {
        let Effect { before, after, found } = effect(seed, 150, loss);
        let (kept, before) = (before.intersection(&after).count(), before.len());
        assert!(before > 100 && kept * 100 >= before * 95, "{kept} of {before} with a loss of {loss}");
        assert!(found >= 99, "{found} with a loss of {loss}");
    }
}

#[test]
fn a_burst_in_a_larger_world_evicts_no_live_node() {
    let [calm, lossy] = [0.0, 0.3].map(|loss| effect(4, 1000, loss));
    let (after, before) = (lossy.after.len(), lossy.before.len());
    assert!(before > 200 && after * 100 >= before * 95, "{after} instead of {before}");
    // In full buckets some give way to others that answer twice as fast or are better spread, with loss or
    // without it.
    let kept = |it: &Effect| it.before.intersection(&it.after).count() as f64 / it.before.len() as f64;
    println!("of the same nodes {:.3} are left, {:.3} without loss", kept(&lossy), kept(&calm));
    assert!(kept(&lossy) >= kept(&calm) * 0.75, "{} of {}", kept(&lossy), kept(&calm));
    assert!(lossy.found >= 99, "{}", lossy.found);
}

/// Returns the times of queries by their destination.
fn queries(captured: &[Captured]) -> BTreeMap<SocketAddr, Vec<Instant>> {
    let mut queries = BTreeMap::<_, Vec<_>>::new();
    for captured in captured.iter().filter(|captured| captured.direction == Direction::Sent) {
        if let Ok(Message { body: Body::Query(_), .. }) = Message::parse(&captured.bytes) {
            queries.entry(captured.remote).or_default().push(captured.at);
        }
    }
    queries
}

/// Returns the largest excess of queries to one destination over its rate.
fn largest_burst(times: &[Instant]) -> f64 {
    let rate = f64::from(Config::default().queries_per_node.per_sec);
    let mut debt = 0.0_f64;
    let (mut largest, mut last) = (0.0_f64, times[0]);
    for &at in times {
        debt = (debt - (at - last).as_secs_f64() * rate).max(0.0) + 1.0;
        (largest, last) = (largest.max(debt), at);
    }
    largest
}

#[test]
fn no_node_is_queried_faster_than_its_rate_however_many_lookups_run() {
    for nodes in [13, 60] {
        let mut crowd = Crowd::new(5, nodes, 0.05);
        crowd.world.capture(crowd.busy);
        crowd.burst(60);
        let sent = queries(crowd.world.captured(crowd.busy));
        let busiest = sent.values().map(Vec::len).max().unwrap();
        assert!(busiest > 12, "{busiest}: more than a burst");
        for times in sent.values() {
            let burst = largest_burst(times);
            assert!(burst <= f64::from(Config::default().queries_per_node.burst) + 0.2, "{burst} of {nodes}");
        }
        crowd.world.check().unwrap();
    }
}

#[test]
fn a_small_network_is_joined_with_few_queries_and_its_buckets_are_filled_once() {
    let mut world = World::new(6, Network::internet());
    let profile = Arc::new(Profile::default());
    let hosts = world.grow(13, &Growth::default(), |_, _| Arc::clone(&profile));
    world.run_for(secs(600));
    let newcomer = world.add(Arc::clone(&profile));
    world.capture(newcomer);
    world.run_for(secs(30));
    // Bootstrap hosts are not kept.
    assert!(world.node(newcomer).unwrap().node_count(Family::V4) >= 10);
    let joining = queries(&world.take_captured(newcomer));
    let most = joining.values().map(Vec::len).max().unwrap();
    println!("the new node queries each up to {most} times");
    assert!(most <= 12, "{joining:?}");
    // Twenty minutes, with a bootstrap every four of them.
    world.run_for(secs(600));
    world.capture(hosts[5]);
    world.run_for(secs(1200));
    let keeping = queries(world.captured(hosts[5]));
    let most = keeping.values().map(Vec::len).max().unwrap();
    println!("each is queried up to {most} times in twenty minutes");
    assert!(most <= 20, "{keeping:?}");
}
