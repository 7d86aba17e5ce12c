//! A small network with known figures: one node under test before scripted hosts.
//!
//! Each host answers at once with the 8 closest of a fixed random sample of the others. Those
//! closest to the target know each other as well and hold a peer. Some are dead, yet the others
//! list them. The node under test has filled its table before, with living hosts that are not
//! close to the target.
//!
//! The example `scripted_network` prints the figures over many seeds.
//!
//! ```
//! use dht_proto::sim::scripted::ScriptedNetwork;
//!
//! let outcome = ScriptedNetwork { dead: 0.4, ..ScriptedNetwork::default() }.run(1);
//! assert!(outcome.first_value.is_some_and(|at| at.as_millis() <= 250));
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
use crate::config::{Config, Limits};
use crate::id::{InfoHash, K, NodeId};
use crate::lookup::{Announce, Lookup, LookupOptions};
use crate::time::Instant;

/// What the network is like. [`run`](Self::run) makes it.
#[derive(Clone, Debug)]
pub struct ScriptedNetwork {
    /// Scripted hosts. Default: 400.
    pub hosts: usize,
    /// The others that each may list. Default: 60.
    pub sample: usize,
    /// Those closest to the target, which know each other and hold the value. Default: 20.
    pub near: usize,
    /// Share of hosts that never answer, in `0.0..=1.0`. Default: 0.
    pub dead: f64,
    /// How deep the network looks from the target: the ids share between 0 and this many leading
    /// bits with it, as many of them each number, as if there were 2^depth times more hosts. 0, the
    /// default, leaves them uniform.
    pub depth: u32,
    /// Share of the living hosts that the node under test knows before. Default: half.
    pub known: f64,
    /// What lies between. Default: [`Network::perfect`], 80 ms there and back.
    pub network: Network,
    /// How the node under test behaves. Default: IPv4 only, and no limit to new endpoints.
    pub config: Config,
    /// How much it holds. Default: [`Limits::default`].
    pub limits: Limits,
    /// How its lookup runs.
    pub options: LookupOptions,
}

impl Default for ScriptedNetwork {
    fn default() -> Self {
        let config =
            Config { ipv6: false, new_endpoints: 100_000, new_endpoints_burst: 100_000, ..Config::default() };
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

/// How an announce went, ours or another's. Times are counted from its start; a time that is missing
/// never came.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Outcome {
    /// The first peer was heard of.
    pub first_value: Option<Duration>,
    /// The announce stood at 8 hosts.
    pub stored_at_8: Option<Duration>,
    /// Eight hosts had confirmed it.
    pub acknowledged_at_8: Option<Duration>,
    /// The lookup held itself to be through.
    pub done: Option<Duration>,
    /// Hosts that were asked.
    pub asked: usize,
    /// Datagrams that were sent from start to end.
    pub datagrams: usize,
    /// The same, until the announce stood at 8 hosts.
    pub datagrams_to_stand: usize,
    /// The same, with what was sent in the ten seconds after the end.
    pub datagrams_in_all: usize,
    /// How many of the 8 closest living hosts, named or not, do not hold the announce.
    pub missed: usize,
    /// How many of the 8 closest living hosts among those that any answer named do not hold it.
    pub missed_named: usize,
}

impl ScriptedNetwork {
    /// The hard case: log-normal round trips around 80 ms with a sigma of 0.6, 5 % loss, 40 % dead.
    pub fn hard() -> Self {
        let mut network = Network::perfect();
        network.latency = Latency::LogNormal { median: Duration::from_millis(80), sigma: 0.6 };
        network.loss = 0.05;
        Self { dead: 0.4, network, ..Self::default() }
    }

    /// [`hard`](Self::hard), and as deep as a network of millions. All that is around the target lies
    /// closer than elsewhere, which the node under test would take for an attack: so it has no
    /// [`Config::source_limits`].
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

    /// The network, with a node whose table is filled, before anything is looked up.
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

/// A [`ScriptedNetwork`] that is ready.
#[non_exhaustive]
pub struct Stage {
    /// The world.
    pub world: World,
    /// The node under test.
    pub node: HostId,
    /// The scripted hosts, all of them [`Honest`].
    pub hosts: Vec<HostId>,
    /// Which of them are dead.
    pub is_dead: Vec<bool>,
    /// What is to be announced.
    pub target: InfoHash,
}

impl Stage {
    /// How the announce of a [captured](World::capture) host went that `started` at this time and
    /// was `done` after this long. What is still on its way arrives first.
    pub fn measure(&mut self, asker: HostId, started: Instant, done: Option<Duration>) -> Outcome {
        self.world.run_for(Duration::from_secs(10));
        let target = NodeId::from(self.target);
        let mut stored: Vec<Instant> = Vec::new();
        let mut living: Vec<(NodeId, bool)> = Vec::new();
        for (host, is_dead) in self.hosts.iter().zip(&self.is_dead) {
            let actor = self.world.actor::<Honest>(*host).expect("all are scripted");
            stored.extend(actor.stored.first().map(|(at, ..)| *at));
            if !is_dead {
                living.push((actor.id, !actor.stored.is_empty()));
            }
        }
        stored.sort();
        living.sort_by_key(|(id, _)| id.distance(&target));
        let missed = living.iter().take(K).filter(|(_, holds)| !holds).count();
        let captured = self.world.captured(asker);
        let captured = &captured[captured.partition_point(|it| it.at < started)..];
        let trail = Trail::of(captured, self.target);
        living.retain(|(id, holds)| *holds || trail.named.contains(id));
        let missed_named = living.iter().take(K).filter(|(_, holds)| !holds).count();
        let sent_before = |end: Instant| {
            captured.iter().filter(|it| it.direction == Direction::Sent && it.at < end).count()
        };
        let end = done.map_or(Instant::NEVER, |done| started + done);
        let since = |at: Instant| at - started;
        Outcome {
            first_value: trail.peers.first().map(|it| since(it.at)),
            stored_at_8: stored.get(K - 1).copied().map(since),
            acknowledged_at_8: trail.acknowledged.get(K - 1).map(|(at, _)| since(*at)),
            done,
            asked: trail.asked.len(),
            datagrams: sent_before(end),
            datagrams_to_stand: sent_before(stored.get(K - 1).copied().unwrap_or(end)),
            datagrams_in_all: sent_before(Instant::NEVER),
            missed,
            missed_named,
        }
    }
}
