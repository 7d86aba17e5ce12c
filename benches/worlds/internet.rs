//! Lookups in worlds like the internet, of this crate and of libtorrent in its place.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use dht_proto::sim::reference::{self, Client};
use dht_proto::sim::{Growth, HostId, Network, Trail, World};
use dht_proto::{Announce, Family, InfoHash, Lookup};

use crate::hosts::{Hosts, limits};

/// Settings of a world, and the number of lookups in it.
pub(crate) struct Setting {
    pub(crate) nodes: usize,
    pub(crate) lookups: usize,
    network: Network,
    /// Share of the nodes that sit behind NATs.
    behind_nat: f64,
    /// Share of the nodes that die right before the lookups begin.
    dead: f64,
}

impl Setting {
    /// Log-normal round trips around 80 ms, 2 % loss, half of the nodes behind NATs, 30 % dead.
    pub(crate) fn internet(nodes: usize, lookups: usize) -> Self {
        Self { nodes, lookups, network: Network::internet(), behind_nat: 0.5, dead: 0.3 }
    }

    /// All nodes are up and reachable, but 30 % of the datagrams are lost, 10 % of the others are
    /// duplicated, 20 % delayed by up to 50 ms, and 5 % corrupted.
    pub(crate) fn lossy(nodes: usize, lookups: usize) -> Self {
        let mut network = Network::internet();
        (network.loss, network.duplication) = (0.3, 0.1);
        (network.reordering, network.corruption) = (0.2, 0.05);
        Self { network, behind_nat: 0.0, dead: 0.0, ..Self::internet(nodes, lookups) }
    }

    /// Builds the world, in which some nodes have announced and others are about to look them up.
    ///
    /// The world is the same for the same seed.
    pub(crate) fn prepare(&self, seed: u64) -> Stage {
        let mut world = World::new(seed, self.network.clone());
        let hosts = Hosts { behind_nat: self.behind_nat, limits: limits(), churn: None };
        let hosts = world.grow(self.nodes, &Growth::default(), hosts.profiles());
        world.run_for(AGE);

        let mut taken = BTreeSet::new();
        let mut draw = |world: &mut World| loop {
            let host = hosts[world.rng().below(hosts.len())];
            if taken.insert(host) {
                return host;
            }
        };
        let pairs: Vec<Pair> = (0..self.lookups)
            .map(|_| {
                let (announcer, seeker) = (draw(&mut world), draw(&mut world));
                let infohash = InfoHash::from(world.rng().id());
                let lookup = Lookup::Announce(infohash, Announce::port(PORT));
                world.start(announcer, lookup).expect("it starts");
                world.run_for(SPACING);
                Pair { infohash, announcer, seeker }
            })
            .collect();
        assert!(world.settle(PATIENCE), "the announces end");
        // The share is of all nodes, but only those that neither announce nor look up die.
        let share = self.dead * hosts.len() as f64 / (hosts.len() - taken.len()) as f64;
        for host in hosts {
            if !taken.contains(&host) && world.rng().chance(share) {
                world.kill(host);
            }
        }
        Stage { world, pairs }
    }
}

/// A world in which lookups are to be made.
pub(crate) struct Stage {
    pub(crate) world: World,
    pairs: Vec<Pair>,
}

/// A pair of nodes, one of which looks up the other. No node is in two pairs.
struct Pair {
    infohash: InfoHash,
    announcer: HostId,
    seeker: HostId,
}

/// The result of a lookup.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Finding {
    /// Time until the peer was found.
    pub(crate) first_peer: Option<Duration>,
    /// Queries sent from start to end, including repetitions.
    pub(crate) queries: u64,
}

impl Stage {
    /// Runs the lookups of this crate, one every [`SPACING`].
    pub(crate) fn ours(self) -> Vec<Finding> {
        self.run(|world, pair| {
            world.capture(pair.seeker);
            world.start(pair.seeker, Lookup::GetPeers(pair.infohash)).expect("it starts");
        })
    }

    /// Runs libtorrent in their place, from the same tables.
    pub(crate) fn libtorrent(self) -> Vec<Finding> {
        self.run(|world, pair| reference::stand_in(world, pair.seeker, Client::Libtorrent, pair.infohash))
    }

    fn run(mut self, start: impl Fn(&mut World, &Pair)) -> Vec<Finding> {
        let world = &mut self.world;
        let mut starts = Vec::new();
        for pair in &self.pairs {
            starts.push(world.now());
            start(world, pair);
            world.run_for(SPACING);
        }
        world.run_for(PATIENCE);
        let findings = self.pairs.iter().zip(starts).map(|(pair, start)| {
            let trail = Trail::of(world.captured(pair.seeker), pair.infohash);
            let ip = world.addr(pair.announcer).ip();
            let first = trail.peers.iter().find(|it| it.peer.ip() == ip && it.peer.port() == PORT);
            Finding { first_peer: first.map(|it| it.at - start), queries: trail.queries }
        });
        findings.collect()
    }

    /// Average number of contacts in a table, the share of them that is dead, and the share that is
    /// alive but unreachable for unknown hosts.
    pub(crate) fn contacts(&mut self) -> [f64; 3] {
        let stranger = self.world.next_address();
        let world = &self.world;
        let living: BTreeSet<IpAddr> = world.nodes().map(|(host, _)| world.addr(host).ip()).collect();
        let (mut all, mut dead, mut closed) = (0, 0, 0);
        for info in world.nodes().flat_map(|(_, node)| node.nodes(Family::V4)) {
            let is_alive = living.contains(&info.addr.ip());
            all += 1;
            dead += u32::from(!is_alive);
            closed += u32::from(is_alive && world.receiver(stranger, info.addr).is_none());
        }
        let [all, dead, closed] = [all, dead, closed].map(f64::from);
        [all / world.nodes().count() as f64, dead / all, closed / all]
    }
}

/// Time after the last node has joined in which every contact is pinged.
const AGE: Duration = Duration::from_secs(30 * 60);

/// The port of all peers.
const PORT: u16 = 999;

/// Time between two lookups.
const SPACING: Duration = Duration::from_millis(100);

/// Longer than any lookup takes.
const PATIENCE: Duration = Duration::from_secs(60);
