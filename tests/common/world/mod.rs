//! A scenario of a small world, encoded in bytes: these determine its hosts, how bad the network is
//! and what fails, what users do, and which datagrams other hosts replay and forge. After
//! every event what the nodes sent and reported is checked, and after every action the
//! invariants of each node that did anything.
//!
//! The fuzz target `world` and an ordinary test share this file. A program that includes it needs
//! `scenario` beside it, in the root of its crate.
#![allow(dead_code, unreachable_pub, reason = "every user takes a part of it")]

mod acts;
mod hosts;
mod witness;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use dht_proto::sim::{Direction, HostId, Presence, World};
use dht_proto::{Config, Family, Instant, Node};

use crate::scenario::invariants::Transcript;
use crate::scenario::script::Script;
use hosts::network;
use witness::{LONGEST, Witness};

/// The most actions; a longer scenario would only repeat itself.
const MAX_ACTIONS: u32 = 100;

/// The most events of the simulation in a scenario, to keep it short.
const MAX_EVENTS: u32 = 3000;

/// The most events of the simulation in one action.
const MAX_IN_ONE: u32 = 400;

/// The most events of the simulation after the last action.
const MAX_TO_REST: u32 = 1000;

/// After every so many events the nodes that took part are checked as a whole.
const CHECKED: u32 = 8;

/// The most hosts with nodes.
const MAX_NODES: usize = 12;

/// The most datagrams that are kept to be replayed.
const MAX_SEEN: usize = 64;

/// Runs the scenario in `bytes`, and returns a hash of everything that was sent and reported.
///
/// # Panics
///
/// If a node breaks an invariant, which is a bug of the crate.
pub fn run(bytes: &[u8]) -> u64 {
    run_with(bytes, |_| ())
}

/// Runs a scenario with an invisible action on one node after every step.
pub fn run_with(bytes: &[u8], interlude: impl Fn(&mut Node)) -> u64 {
    let mut script = Script(bytes);
    let mut scenario = Scenario::begin(&mut script);
    for count in 0..MAX_ACTIONS {
        if script.is_over() || scenario.left == 0 {
            break;
        }
        let action = script.byte();
        scenario.act(action & 0x1f, &mut script);
        scenario.check(false);
        if let Some(host) = scenario.awake(count as usize % scenario.nodes.len()) {
            scenario.world.with_node(host, |node, _| interlude(node));
        }
    }
    scenario.come_to_rest();
    scenario.transcript.record(&scenario.world.transcript().to_be_bytes());
    scenario.transcript.0
}

struct Scenario {
    world: World,
    nodes: Vec<Watched>,
    adversaries: Vec<HostId>,
    /// Datagrams of nodes, the newest last: sender, destination and bytes.
    seen: VecDeque<(SocketAddr, SocketAddr, Vec<u8>)>,
    /// The events of the simulation that are left.
    left: u32,
    transcript: Transcript,
}

/// A host with a node, as long as it has one, and its witness.
struct Watched {
    host: HostId,
    config: Config,
    /// How far its clock was set ahead, in microseconds.
    clock: i64,
    /// The events that were checked.
    checked: usize,
    is_asleep: bool,
    /// Whether it did anything since it was last checked as a whole.
    is_changed: bool,
    witness: Option<Witness>,
}

/// Time.
impl Scenario {
    fn begin(script: &mut Script<'_>) -> Self {
        let seed = script.byte().into();
        let mut world = World::new(seed, network(script));
        world.capture_all();
        let (nodes, adversaries, seen) = (Vec::new(), Vec::new(), VecDeque::new());
        let mut scenario =
            Self { world, nodes, adversaries, seen, left: MAX_EVENTS, transcript: Transcript::new() };
        let count = 2 + script.below(MAX_NODES - 5);
        (0..count).for_each(|_| scenario.add_node(script));
        for _ in 0..script.below(4) {
            scenario.add_adversary(script);
        }
        scenario.pass(Duration::from_secs(u64::from(script.byte()) / 4));
        scenario.check(false);
        scenario
    }

    /// Lets the next event within `limit` happen, and checks the result.
    fn step(&mut self, limit: Duration) -> bool {
        let happens = self.left > 0 && self.world.step(limit);
        if happens {
            self.left -= 1;
            self.look();
        }
        happens
    }

    /// Lets time pass, or less of it if too much happens.
    fn pass(&mut self, time: Duration) {
        let end = self.world.now() + time;
        for _ in 0..MAX_IN_ONE {
            if self.left == 0 {
                return;
            }
            if !self.step(end - self.world.now()) {
                self.world.run_for(end - self.world.now());
                self.look();
                return self.check_deadlines();
            }
        }
    }

    /// Checks that everything users started ends without further input.
    fn come_to_rest(&mut self) {
        self.left += MAX_TO_REST;
        let is_busy = |it: &Watched| it.witness.as_ref().is_some_and(|witness| !witness.is_idle());
        // Even if a clock went back.
        let end = self.world.now() + 3 * LONGEST;
        while self.nodes.iter().any(is_busy) && self.step(end - self.world.now()) {}
        if self.nodes.iter().any(is_busy) && self.left > 0 {
            self.world.run_for(end - self.world.now());
        }
        self.check(true);
    }
}

/// Invariants.
impl Scenario {
    /// Checks everything that was sent, received and reported since the last time.
    fn look(&mut self) {
        for it in &mut self.nodes {
            if self.world.node(it.host).is_none() {
                it.witness = None;
                continue;
            }
            let now = it.now(&self.world);
            let was_asleep = it.is_asleep;
            it.is_asleep = self.world.presence(it.host) == Presence::Asleep;
            match &mut it.witness {
                Some(_) if it.is_asleep => {}
                Some(witness) if was_asleep => witness.jump(now),
                Some(witness) => witness.pass(now),
                None => it.witness = Some(Witness::new(it.config.clone(), now)),
            }
        }
        let mut touched = [false; MAX_NODES];
        for (it, touched) in self.nodes.iter_mut().zip(&mut touched) {
            for captured in self.world.take_captured(it.host) {
                *touched = true;
                if let (Some(witness), Some(node)) = (&mut it.witness, self.world.node(it.host)) {
                    witness.saw(node, &captured);
                }
                let outside = self.world.addr_in(it.host, Family::of(&captured.remote));
                if let Some(outside) = outside.filter(|_| captured.direction == Direction::Sent) {
                    self.seen.push_back((outside, captured.remote, captured.bytes.into_vec()));
                }
            }
        }
        while self.seen.len() > MAX_SEEN {
            self.seen.pop_front();
        }
        for (it, touched) in self.nodes.iter_mut().zip(touched) {
            it.is_changed |= touched;
            let events = self.world.events(it.host);
            let news = &events[it.checked..];
            it.checked = events.len();
            if let (Some(witness), Some(node)) = (&mut it.witness, self.world.node(it.host)) {
                for (_, event) in news {
                    self.transcript.record(format!("{event:?}").as_bytes());
                    witness.happened(node, event);
                }
                if touched {
                    witness.check_counters(node);
                }
            }
            // That takes longer than the event. What is wrong for good is found after the action at the latest.
            if (touched || !news.is_empty()) && self.left.is_multiple_of(CHECKED) {
                self.world.check_host(it.host).unwrap();
            }
        }
    }

    /// Checks every node that did anything, and every node in the end.
    fn check(&mut self, is_end: bool) {
        self.look();
        for it in &mut self.nodes {
            let is_due = core::mem::take(&mut it.is_changed) || is_end;
            if let (Some(witness), Some(node), true) = (&mut it.witness, self.world.node(it.host), is_due) {
                witness.check(node);
                self.world.check_host(it.host).unwrap();
            }
        }
        if is_end {
            self.world.check().unwrap();
        }
        let counters = self.world.counters();
        let ended = counters.delivered + counters.lost + counters.blocked + counters.cut + counters.unclaimed;
        let under_way = self.world.datagrams_in_flight() as u64;
        assert_eq!(counters.sent + counters.duplicated, ended + under_way, "{counters:?}");
    }

    /// Checks that no deadline is now or in the past, after everything that was due has been done.
    fn check_deadlines(&mut self) {
        for at in 0..self.nodes.len() {
            if let Some(host) = self.awake(at) {
                let (due, now) = self.world.with_node(host, |node, now| (node.poll_timeout(), now));
                assert!(due.is_none_or(|due| due > now), "{host:?} has the deadline {due:?} at {now:?}");
            }
        }
    }
}

impl Watched {
    /// Returns the time of the clock of a host. It may stand still while the host sleeps, which makes no
    /// difference: the node is notified.
    fn now(&self, world: &World) -> Instant {
        Instant::from_micros(world.now().as_micros().saturating_add_signed(self.clock))
    }
}
