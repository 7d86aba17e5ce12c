//! Lookups in worlds like the internet: ours, and those of libtorrent in their place.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use dht_proto::sim::reference::{self, Client};
use dht_proto::sim::{Growth, HostId, Network, Trail, World};
use dht_proto::{Announce, Family, InfoHash, Lookup};

use crate::people::{People, limits};

/// What a world is like, and how often something is looked up in it.
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

    /// All live and can be reached, but 30 % of the datagrams are lost, 10 % of the others come
    /// twice, 20 % are held back by up to 50 ms, and 5 % are damaged.
    pub(crate) fn lossy(nodes: usize, lookups: usize) -> Self {
        let mut network = Network::internet();
        (network.loss, network.duplication) = (0.3, 0.1);
        (network.reordering, network.corruption) = (0.2, 0.05);
        Self { network, behind_nat: 0.0, dead: 0.0, ..Self::internet(nodes, lookups) }
    }

    /// The world, when some have announced and others are about to look for them. It is the same for
    /// the same seed.
    pub(crate) fn prepare(&self, seed: u64) -> Stage {
        let mut world = World::new(seed, self.network.clone());
        let people = People { behind_nat: self.behind_nat, limits: limits(), churn: None };
        let hosts = world.grow(self.nodes, &Growth::default(), people.profiles());
        world.run_for(AGE);

        let mut taken = BTreeSet::new();
        let mut draw = |world: &mut World| loop {
            let host = hosts[world.rng().below(hosts.len())];
            if taken.insert(host) {
                return host;
            }
        };
        let quests: Vec<Quest> = (0..self.lookups)
            .map(|_| {
                let (announcer, seeker) = (draw(&mut world), draw(&mut world));
                let infohash = InfoHash::from(world.rng().id());
                let lookup = Lookup::Announce(infohash, Announce::port(PORT));
                world.start(announcer, lookup).expect("it starts");
                world.run_for(SPACING);
                Quest { infohash, announcer, seeker }
            })
            .collect();
        assert!(world.settle(PATIENCE), "the announces end");
        // Of all, though it befalls only those that have no part.
        let share = self.dead * hosts.len() as f64 / (hosts.len() - taken.len()) as f64;
        for host in hosts {
            if !taken.contains(&host) && world.rng().chance(share) {
                world.kill(host);
            }
        }
        Stage { world, quests }
    }
}

/// A world in which lookups are to be made.
pub(crate) struct Stage {
    pub(crate) world: World,
    quests: Vec<Quest>,
}

/// Who looks for whom. Nobody has two parts.
struct Quest {
    infohash: InfoHash,
    announcer: HostId,
    seeker: HostId,
}

/// How a lookup went.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Finding {
    /// The peer was heard of so long after the start.
    pub(crate) first_peer: Option<Duration>,
    /// Queries sent from start to end, repeated ones too.
    pub(crate) queries: u64,
}

impl Stage {
    /// Has the nodes look, one every [`SPACING`].
    pub(crate) fn ours(self) -> Vec<Finding> {
        self.run(|world, quest| {
            world.capture(quest.seeker);
            world.start(quest.seeker, Lookup::GetPeers(quest.infohash)).expect("it starts");
        })
    }

    /// Has libtorrent look in their place, from the same tables.
    pub(crate) fn libtorrent(self) -> Vec<Finding> {
        self.run(|world, quest| reference::stand_in(world, quest.seeker, Client::Libtorrent, quest.infohash))
    }

    fn run(mut self, start: impl Fn(&mut World, &Quest)) -> Vec<Finding> {
        let world = &mut self.world;
        let mut starts = Vec::new();
        for quest in &self.quests {
            starts.push(world.now());
            start(world, quest);
            world.run_for(SPACING);
        }
        world.run_for(PATIENCE);
        let findings = self.quests.iter().zip(starts).map(|(quest, start)| {
            let trail = Trail::of(world.captured(quest.seeker), quest.infohash);
            let ip = world.addr(quest.announcer).ip();
            let first = trail.peers.iter().find(|it| it.peer.ip() == ip && it.peer.port() == PORT);
            Finding { first_peer: first.map(|it| it.at - start), queries: trail.queries }
        });
        findings.collect()
    }

    /// Contacts in a table, on average; the share of them that is dead; and the share of those that
    /// live but are not reached by strangers.
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

/// How long the world goes on after the last node has joined: every contact was pinged by then.
const AGE: Duration = Duration::from_secs(30 * 60);

/// Where all peers listen.
const PORT: u16 = 999;

/// The time between two lookups.
const SPACING: Duration = Duration::from_millis(100);

/// No lookup takes longer.
const PATIENCE: Duration = Duration::from_secs(60);
