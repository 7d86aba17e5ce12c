//! A day in a world with churn.

use std::collections::BTreeMap;
use std::time::Duration;

use dht_proto::sim::{Churn, Growth, HostId, Network, Returns, World};
use dht_proto::{Announce, Family, InfoHash, Limits, Lookup, NodeId};

use crate::hosts::Hosts;

/// A world with churn: a node that leaves soon returns with another id at another address.
///
/// Half of the nodes are behind NATs.
pub(crate) struct Day {
    world: World,
    /// The nodes that were up at the last sample, and what they had sent.
    before: BTreeMap<NodeId, Sent>,
    datagrams: u64,
}

/// The state of the world at some time, and the traffic since the last sample.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    /// Nodes that are up.
    pub(crate) nodes: usize,
    /// Average number of contacts in a table.
    pub(crate) contacts: f64,
    /// Share of the contacts, over all tables, that are up and that unknown hosts reach.
    pub(crate) live: f64,
    /// Datagrams that a node sent in a minute, responses included.
    pub(crate) datagrams: f64,
    /// Pings that a node sent in a minute, of nodes that were up all the time.
    pub(crate) pings: f64,
    /// `find_node` queries, counted likewise.
    pub(crate) find_nodes: f64,
    /// Lookups that found a peer which had announced itself right before.
    pub(crate) found: usize,
}

impl Day {
    /// Builds the world, in which all nodes have joined.
    pub(crate) fn begin(seed: u64, nodes: usize, limits: Limits) -> Self {
        let mut world = World::new(seed, Network::internet());
        let churn = Churn { session: SESSION, absence: ABSENCE, returns: Returns::Renewed };
        let hosts = Hosts { behind_nat: 0.5, limits, churn: Some(churn) };
        world.grow(nodes, &Growth::default(), hosts.profiles());
        let (before, datagrams) = (sent(&world), world.counters().sent);
        Self { world, before, datagrams }
    }

    /// Runs the world for some time, takes a sample, and runs some lookups.
    pub(crate) fn sample(&mut self, time: Duration, lookups: usize) -> Sample {
        let world = &mut self.world;
        world.run_for(time);
        world.check().expect("no invariant is violated");
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
        // The traffic of these lookups is not part of the next sample.
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

/// Median length of a session.
const SESSION: Duration = Duration::from_secs(100 * 60);

/// Median length of an absence.
const ABSENCE: Duration = Duration::from_secs(60);

/// Longer than any lookup takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// Queries of a node since it started.
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

/// The number of contacts in all tables, and of those that belong to a node that unknown hosts reach.
fn contacts(world: &mut World) -> (usize, usize) {
    let stranger = world.next_address();
    let world = &*world;
    let id_at = |addr| world.receiver(stranger, addr).and_then(|host| Some(world.node(host)?.id(Family::V4)));
    let all = || world.nodes().flat_map(|(_, node)| node.nodes(Family::V4));
    (all().count(), all().filter(|info| id_at(info.addr) == Some(info.id)).count())
}

/// Announces at one node and looks up at another; returns whether the peer was found.
fn meet(world: &mut World) -> bool {
    let infohash = InfoHash::from(world.rng().id());
    let mut look = |lookup| {
        let host = draw(world);
        let record = world.start(host, lookup).ok()?;
        world.settle(PATIENCE);
        world.take_record(record)
    };
    look(Lookup::Announce(infohash, Announce::port(999)));
    look(Lookup::GetPeers(infohash)).is_some_and(|record| record.first_peer().is_some())
}

/// Draws a node that is up.
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
