//! Many lookups at once: they cost no living node its place, nobody is asked faster than it may like, and
//! a lookup that knows anybody asks somebody.

#[path = "common/lab.rs"]
mod lab;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use dht_proto::sim::{Growth, HostId, Network, Profile, World};
use dht_proto::{Announce, Family, InfoHash, Limits, Lookup};
use lab::secs;

/// A world with this loss, and the node in it that has room for a burst of lookups.
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
        roomy.limits.lookups = 128;
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

    /// Starts so many lookups at once and lets them end.
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

/// How a node fares in a burst of a hundred lookups, while all nodes live.
struct Fare {
    before: BTreeSet<SocketAddr>,
    after: BTreeSet<SocketAddr>,
    /// Of a hundred torrents that others had announced, looked up one by one afterwards.
    found: usize,
}

fn fare(seed: u64, nodes: usize, loss: f64) -> Fare {
    let mut crowd = Crowd::new(seed, nodes, loss);
    let mut peers = BTreeMap::new();
    for number in 0..100 {
        let announcer = crowd.hosts[(usize::from(number) * 7 + 1) % nodes];
        let lookup = Lookup::Announce(torrent(number), Announce::port(1000 + number));
        crowd.world.lookup(announcer, lookup);
        peers.insert(number, SocketAddr::new(crowd.world.addr(announcer).ip(), 1000 + number));
    }
    // By then its table is full.
    (0..100).for_each(|number| _ = crowd.world.lookup(crowd.busy, Lookup::FindNode(torrent(number).into())));
    crowd.world.run_for(secs(300));
    let before = crowd.table();
    crowd.burst(100);
    let after = crowd.table();
    let found = peers.iter().filter(|(number, peer)| {
        let search = crowd.world.lookup(crowd.busy, Lookup::GetPeers(torrent(**number)));
        search.peers.iter().any(|(_, found)| found == *peer)
    });
    let found = found.count();
    crowd.world.check().unwrap();
    println!("{nodes} nodes, loss {loss}: {} before, {} after, {found} found", before.len(), after.len());
    Fare { before, after, found }
}

#[test]
fn a_burst_of_lookups_costs_no_living_node_its_place() {
    for (seed, loss) in [(1, 0.1), (2, 0.3), (3, 0.3)] {
        let Fare { before, after, found } = fare(seed, 150, loss);
        let (kept, before) = (before.intersection(&after).count(), before.len());
        assert!(before > 100 && kept * 100 >= before * 95, "{kept} of {before} with a loss of {loss}");
        assert!(found >= 99, "{found} with a loss of {loss}");
    }
}

#[test]
fn a_burst_in_a_larger_world_costs_no_living_node_its_place() {
    // In full buckets some give way to those that answer twice as fast; a place is never left empty.
    let Fare { before, after, found } = fare(4, 1000, 0.3);
    let (kept, after, before) = (before.intersection(&after).count(), after.len(), before.len());
    assert!(before > 200 && after * 100 >= before * 95, "{after} instead of {before}");
    assert!(kept * 100 >= before * 75, "{kept} of {before}");
    assert!(found >= 99, "{found}");
}
