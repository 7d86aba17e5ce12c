//! A day in a world whose nodes come and go.

use std::collections::BTreeMap;
use std::time::Duration;

use dht_proto::sim::{Churn, Growth, HostId, Network, Returns, World};
use dht_proto::{Announce, Family, InfoHash, Limits, Lookup, NodeId};

use crate::people::People;

/// A world where nobody stays for ever: who leaves is soon followed by another with another id
/// elsewhere. Half of the nodes are behind NATs.
pub(crate) struct Day {
    world: World,
    /// The nodes that were there at the last sample, and what they had sent.
    before: BTreeMap<NodeId, Sent>,
    datagrams: u64,
}

/// How it stands at some time, and what was sent since the last time.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    /// Nodes that are there.
    pub(crate) nodes: usize,
    /// Contacts in a table, on average.
    pub(crate) contacts: f64,
    /// The share of them, over all tables, that are still there and reached by strangers.
    pub(crate) live: f64,
    /// Datagrams that a node sent in a minute, answers included.
    pub(crate) datagrams: f64,
    /// Pings among these, by nodes that were there all the time.
    pub(crate) pings: f64,
    /// `find_node` queries likewise.
    pub(crate) find_nodes: f64,
    /// Lookups that found a peer which had announced itself right before.
    pub(crate) found: usize,
}

impl Day {
    /// The world, when all have joined.
    pub(crate) fn begin(seed: u64, nodes: usize, limits: Limits) -> Self {
        let mut world = World::new(seed, Network::internet());
        let churn = Churn { session: SESSION, absence: ABSENCE, returns: Returns::Renewed };
        let people = People { behind_nat: 0.5, limits, churn: Some(churn) };
        world.grow(nodes, &Growth::default(), people.profiles());
        let (before, datagrams) = (sent(&world), world.counters().sent);
        Self { world, before, datagrams }
    }

    /// Lets time pass, looks, and has some nodes look for others.
    pub(crate) fn sample(&mut self, time: Duration, lookups: usize) -> Sample {
        let world = &mut self.world;
        world.run_for(time);
        world.check().expect("nothing is as it must not be");
        let (nodes, minutes) = (world.nodes().count(), time.as_secs_f64() / 60.0);
        let datagrams = (world.counters().sent - self.datagrams) as f64;
        let (before, after) = (&self.before, sent(world));
        let stayed = || after.iter().filter_map(|(id, after)| Some((before.get(id)?, after)));
        let rate = |count: fn(&Sent) -> u64| {
            let sent: u64 = stayed().map(|(before, after)| count(after) - count(before)).sum();
            sent as f64 / stayed().count() as f64 / minutes
        };
        let (pings, find_nodes) = (rate(|sent| sent.pings), rate(|sent| sent.find_nodes));
        let (contacts, live) = contacts(world);
        let found = (0..lookups).filter(|_| meet(world)).count();
        // What these lookups cost is nobody's upkeep.
        (self.before, self.datagrams) = (sent(world), world.counters().sent);
        Sample {
            nodes,
            contacts: contacts as f64 / nodes as f64,
            live: live as f64 / contacts as f64,
            datagrams: datagrams / nodes as f64 / minutes,
            pings,
            find_nodes,
            found,
        }
    }
}

/// Half of the sessions are shorter than this.
const SESSION: Duration = Duration::from_secs(100 * 60);

/// Half of the absences are shorter than this.
const ABSENCE: Duration = Duration::from_secs(60);

/// No lookup takes longer.
const PATIENCE: Duration = Duration::from_secs(60);

/// Queries of a node since its birth.
struct Sent {
    pings: u64,
    find_nodes: u64,
}

fn sent(world: &World) -> BTreeMap<NodeId, Sent> {
    let nodes = world.nodes().map(|(_, node)| {
        let sent = node.stats().queries_out;
        (node.id(Family::V4), Sent { pings: sent.ping.into(), find_nodes: sent.find_node.into() })
    });
    nodes.collect()
}

/// The contacts in all tables, and how many of them stand for a node that a stranger reaches there.
fn contacts(world: &mut World) -> (usize, usize) {
    let stranger = world.next_address();
    let world = &*world;
    let id_at = |addr| world.receiver(stranger, addr).and_then(|host| Some(world.node(host)?.id(Family::V4)));
    let all = || world.nodes().flat_map(|(_, node)| node.nodes(Family::V4));
    (all().count(), all().filter(|info| id_at(info.addr) == Some(info.id)).count())
}

/// One node announces, and another looks for it.
fn meet(world: &mut World) -> bool {
    let infohash = InfoHash::from(world.rng().id());
    let mut look = |lookup| {
        let host = draw(world);
        let search = world.start(host, lookup).ok()?;
        world.settle(PATIENCE);
        world.take_record(search)
    };
    look(Lookup::Announce(infohash, Announce::port(999)));
    look(Lookup::GetPeers(infohash)).is_some_and(|search| search.first_peer().is_some())
}

/// A node that is there.
fn draw(world: &mut World) -> HostId {
    loop {
        let count = world.hosts().len();
        let at = world.rng().below(count);
        let host = world.hosts().nth(at).expect("there are as many");
        if world.node(host).is_some() {
            return host;
        }
    }
}
