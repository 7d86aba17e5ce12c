//! A small network with known figures: one node under test among scripted hosts.
//!
//! Each host responds at once with the 8 closest of a fixed random sample of the others. The hosts
//! closest to the target also know each other and store a peer. Some hosts are dead, and the others
//! still list them. The node under test has filled its table with live hosts that are not close to
//! the target.
//!
//! The example `scripted_network` prints the figures over many seeds.
//!
//! ```
//! use dht_proto::sim::scripted::ScriptedNetwork;
//!
//! let outcome = ScriptedNetwork { dead: 0.4, ..ScriptedNetwork::default() }.run(1);
//! assert!(outcome.first_peer.is_some_and(|at| at.as_millis() <= 250));
//! ```

use alloc::rc::Rc;
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

use super::actors::{Contact, Honest, near};
use super::hosts::{HostId, Profile};
use super::rng::SimRng;
use super::trail::Trail;
use super::transport::{Direction, Latency, Network};
use super::world::World;
use crate::base::id::{InfoHash, K, NodeId};
use crate::base::time::Instant;
use crate::guard::rate::RateLimit;
use crate::lookup::{Announce, Lookup, LookupOptions};
use crate::node::api::config::Config;
use crate::node::api::limits::Limits;

/// Settings of the network; [`run`](Self::run) builds it.
#[derive(Clone, Debug)]
pub struct ScriptedNetwork {
    /// Number of scripted hosts. Default: 400.
    pub hosts: usize,
    /// Number of others that each host may list. Default: 60.
    pub sample: usize,
    /// Number of hosts closest to the target that know each other and store the peer. Default: 20.
    pub near: usize,
    /// Share of dead hosts, in `0.0..=1.0`. Default: 0.
    pub dead: f64,
    /// Apparent depth of the network around the target. Default: 0, ids are uniform.
    ///
    /// The number of leading bits that ids share with the target is uniform between 0 and this, as if
    /// there were 2^depth times more hosts.
    pub depth: u32,
    /// Share of the live hosts in the table of the node under test. Default: half.
    pub known: f64,
    /// Network between the hosts. Default: [`Network::perfect`], round trips of 80 ms.
    pub network: Network,
    /// Configuration of the node under test. Default: IPv4 only, no limit to new endpoints.
    pub config: Config,
    /// Limits of the node under test. Default: [`Limits::default`].
    pub limits: Limits,
    /// Options of the lookup.
    pub options: LookupOptions,
}

impl Default for ScriptedNetwork {
    fn default() -> Self {
        let config = Config::DEFAULT.ipv6(false).new_endpoints(RateLimit::new(100_000, 100_000));
        Self {
            hosts: 400,
            sample: 60,
            near: 20,
            dead: 0.0,
            depth: 0,
            known: 0.5,
            network: Network::perfect(),
            config,
            limits: Limits::default(),
            options: LookupOptions::default(),
        }
    }
}

/// The course of an announce, with times since its start.
///
/// A time is `None` if the event never happened.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Outcome {
    /// When the first peer was found.
    pub first_peer: Option<Duration>,
    /// When 8 hosts stored the announce.
    pub stored_at_8: Option<Duration>,
    /// When 8 hosts had acknowledged it.
    pub acknowledged_at_8: Option<Duration>,
    /// When the lookup ended, by its own judgement.
    pub done: Option<Duration>,
    /// Hosts queried.
    pub queried: usize,
    /// Datagrams sent from start to end.
    pub datagrams: usize,
    /// Datagrams sent until 8 hosts stored the announce.
    pub datagrams_until_stored: usize,
    /// Datagrams sent until ten seconds after the end.
    pub datagrams_in_total: usize,
    /// How many of the 8 closest live hosts do not store the announce.
    pub missed: usize,
    /// How many of the 8 closest live hosts that any response listed do not store the announce.
    pub missed_listed: usize,
}

impl ScriptedNetwork {
    /// A hard case: log-normal round trips around 80 ms with a sigma of 0.6, 5 % loss, 40 % dead.
    pub fn hard() -> Self {
        let mut network = Network::perfect();
        network.latency = Latency::LogNormal { median: Duration::from_millis(80), sigma: 0.6 };
        network.loss = 0.05;
        Self { dead: 0.4, network, ..Self::default() }
    }

    /// A case as hard as [`hard`](Self::hard), and as deep as a network of millions.
    ///
    /// Ids are denser around the target than elsewhere, which the node under test would take for an
    /// attack, so [`Config::source_limits`](field@Config::source_limits) is off.
    pub fn deep() -> Self {
        let mut deep = Self { depth: 22, ..Self::hard() };
        deep.config.source_limits = false;
        deep
    }

    /// Builds the network, fills the table, announces, and measures until the lookup ends.
    ///
    /// # Panics
    ///
    /// If the lookup does not end within two minutes.
    pub fn run(&self, seed: u64) -> Outcome {
        let mut stage = self.build(seed);
        let world = &mut stage.world;
        world.capture(stage.node);
        let started = world.now();
        let lookup = Lookup::Announce(stage.target, Announce::port(999));
        let search = world.start_with(stage.node, lookup, Some(&self.options)).expect("it starts");
        assert!(world.settle(Duration::from_secs(120)), "the lookup ends");
        let search = world.take_record(search).expect("it is followed");
        stage.measure(stage.node, started, search.done.map(|(done, _)| done))
    }

    /// Builds the network and fills the table of the node under test, without a lookup.
    pub fn build(&self, seed: u64) -> Stage {
        let mut rng = SimRng::new(seed);
        let mut world = World::new(rng.bits(), self.network.clone());
        let target = rng.id();
        let contacts: Vec<Contact> = (0..self.hosts)
            .map(|_| {
                let (id, shared) = (rng.id(), rng.below(self.depth as usize));
                let id = if self.depth == 0 { id } else { near(target, id, shared as u32) };
                (id, world.next_address())
            })
            .collect();
        let mut order: Vec<usize> = (0..self.hosts).collect();
        order.sort_by_key(|&at| contacts[at].0.distance(&target));
        order.truncate(self.near);
        let peer: SocketAddr = world.next_address();
        let is_dead: Vec<bool> = (0..self.hosts).map(|_| rng.chance(self.dead)).collect();
        let hosts: Vec<HostId> = (0..self.hosts)
            .map(|at| {
                let mut listed: Vec<usize> = (0..self.sample).map(|_| rng.below(self.hosts)).collect();
                let is_near = order.contains(&at);
                if is_near {
                    listed.extend(&order);
                }
                listed.sort_unstable();
                listed.dedup();
                listed.retain(|other| *other != at);
                let listed: Rc<[Contact]> = listed.into_iter().map(|other| contacts[other]).collect();
                let mut actor = Honest::new(contacts[at].0, listed);
                if is_near {
                    actor.peers.push(peer);
                }
                let host = world.add_actor_at(contacts[at].1, actor);
                if is_dead[at] {
                    world.kill(host);
                }
                host
            })
            .collect();

        let mut profile = Profile::default();
        (profile.config, profile.limits) = (self.config.clone(), self.limits.clone());
        let node = world.add_alone(profile);
        for at in 0..self.hosts {
            if !is_dead[at] && !order.contains(&at) && rng.chance(self.known) {
                world.with_node(node, |node, now| node.add_node(now, contacts[at].1)).expect("there is room");
            }
        }
        world.run_for(Duration::from_secs(30));
        Stage { world, node, hosts, is_dead, target: InfoHash::from(target) }
    }
}

/// A [`ScriptedNetwork`] that is built.
#[non_exhaustive]
pub struct Stage {
    /// The world.
    pub world: World,
    /// The node under test.
    pub node: HostId,
    /// The scripted hosts, all of them [`Honest`].
    pub hosts: Vec<HostId>,
    /// Whether each of the hosts is dead.
    pub is_dead: Vec<bool>,
    /// The infohash to announce.
    pub target: InfoHash,
}

impl Stage {
    /// Measures the announce of a [captured](World::capture) host.
    ///
    /// It `started` at this time and was `done` after this long. Datagrams in flight arrive first.
    pub fn measure(&mut self, announcer: HostId, started: Instant, done: Option<Duration>) -> Outcome {
        self.world.run_for(Duration::from_secs(10));
        let target = NodeId::from(self.target);
        let mut stored: Vec<Instant> = Vec::new();
        let mut live: Vec<(NodeId, bool)> = Vec::new();
        for (host, is_dead) in self.hosts.iter().zip(&self.is_dead) {
            let actor = self.world.actor::<Honest>(*host).expect("all hosts are scripted");
            stored.extend(actor.stored.first().map(|(at, ..)| *at));
            if !is_dead {
                live.push((actor.id, !actor.stored.is_empty()));
            }
        }
        stored.sort();
        live.sort_by_key(|(id, _)| id.distance(&target));
        let missed = live.iter().take(K).filter(|(_, holds)| !holds).count();
        let captured = self.world.captured(announcer);
        let captured = &captured[captured.partition_point(|it| it.at < started)..];
        let trail = Trail::of(captured, self.target);
        live.retain(|(id, holds)| *holds || trail.listed.contains(id));
        let missed_listed = live.iter().take(K).filter(|(_, holds)| !holds).count();
        let sent_before = |end: Instant| {
            captured.iter().filter(|it| it.direction == Direction::Sent && it.at < end).count()
        };
        let end = done.map_or(Instant::NEVER, |done| started + done);
        let since = |at: Instant| at - started;
        Outcome {
            first_peer: trail.peers.first().map(|it| since(it.at)),
            stored_at_8: stored.get(K - 1).copied().map(since),
            acknowledged_at_8: trail.acknowledged.get(K - 1).map(|(at, _)| since(*at)),
            done,
            queried: trail.queried.len(),
            datagrams: sent_before(end),
            datagrams_until_stored: sent_before(stored.get(K - 1).copied().unwrap_or(end)),
            datagrams_in_total: sent_before(Instant::NEVER),
            missed,
            missed_listed,
        }
    }
}
