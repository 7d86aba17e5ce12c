//! Actions in a world: what users do, what other hosts send, and what fails.

use std::net::SocketAddr;
use std::time::Duration;

use dht_proto::sim::{Churn, HostId, Presence, Returns};
use dht_proto::{
    Announce, BootstrapKind, Family, InfoHash, Instant, Lookup, LookupKind, LookupOptions, Node, NodeId,
};

use super::hosts::{self, network, profile};
use super::{MAX_NODES, MAX_SEEN, Scenario, Watched};
use crate::scenario::forge::{self, Names};
use crate::scenario::script::{INFOHASHES, Script, host, infohash};

/// The most scripted hosts.
const MAX_ADVERSARIES: usize = 6;

/// The most that clocks go back in total, in microseconds: the age of the world when it begins.
const MAX_BACK: i64 = 900_000_000;

/// Actions.
impl Scenario {
    pub(super) fn act(&mut self, action: u8, script: &mut Script<'_>) {
        match action {
            0 => self.pass(Duration::from_micros(script.u16().into())),
            1 | 2 => self.pass(Duration::from_millis(script.u16().into())),
            3 => self.pass(Duration::from_secs(u64::from(script.byte()) * 5)),
            4 => self.pass(Duration::from_secs(u64::from(script.byte()) * 1800)),
            5 => {
                for _ in 0..=script.byte() % 16 {
                    self.step(Duration::from_secs(3600));
                }
            }
            6..=8 => self.start_lookup(script),
            9 => self.cancel(script),
            10 => self.ping(script),
            11 | 12 => {
                let (at, addr) = (script.byte(), self.host(script));
                self.command(at, |node, now| node.add_node(now, addr).is_ok());
            }
            13 => {
                let (at, addr) = (script.byte(), self.host(script));
                let kind = [BootstrapKind::Router, BootstrapKind::Node][usize::from(addr.port() & 1)];
                self.command(at, |node, now| node.add_bootstrap(now, addr, kind).is_ok());
            }
            14 => self.bootstrap(script),
            15 | 16 => self.replay(script),
            17..=19 => self.ask(script),
            20 | 21 => self.answer(script),
            22 => {
                let (from, to, len) = (self.host(script), self.host(script), script.byte());
                let datagram = script.take(len.into()).to_vec();
                self.inject(from, to, &datagram);
            }
            23 => self.world.set_network(network(script)),
            24 => self.fail(script),
            25 => self.set_clock(script),
            26 => self.move_on(script),
            27 => {
                let (at, addr) = (script.byte(), self.host(script));
                self.command(at, |node, now| node.handle_unreachable(now, addr));
            }
            28 => self.switch(script),
            29 => self.add_node(script),
            30 => self.add_adversary(script),
            _ => self.browse(script),
        }
    }

    /// Does something with the `at`-th node, if it exists.
    fn command<T>(&mut self, at: u8, act: impl FnOnce(&mut Node, Instant) -> T) -> Option<(usize, T)> {
        let at = usize::from(at) % self.nodes.len();
        let host = self.awake(at)?;
        self.look();
        self.nodes[at].is_changed = true;
        Some((at, self.world.with_node(host, act)))
    }

    pub(super) fn awake(&self, at: usize) -> Option<HostId> {
        let host = self.nodes[at].host;
        let is_awake = matches!(self.world.presence(host), Presence::Up | Presence::Offline);
        is_awake.then_some(host)
    }

    fn start_lookup(&mut self, script: &mut Script<'_>) {
        let (at, byte) = (script.byte(), script.byte());
        let (lookup, kind, target) = match byte % 4 {
            0 => {
                let target = self.id(script);
                (Lookup::FindNode(target), LookupKind::FindNode, target)
            }
            1 if script.flag() => {
                let infohash = script.infohash();
                (Lookup::Scrape(infohash), LookupKind::Scrape, infohash.into())
            }
            1 => {
                let infohash = script.infohash();
                (Lookup::GetPeers(infohash), LookupKind::GetPeers, infohash.into())
            }
            _ => {
                let infohash = script.infohash();
                let port = script.byte().into();
                let announce = if byte & 4 == 0 { Announce::port(port) } else { Announce::implied(port) };
                (Lookup::Announce(infohash, announce), LookupKind::Announce, infohash.into())
            }
        };
        let mut options = LookupOptions::default();
        match script.byte() {
            byte @ 0..32 => (options.alpha, options.k) = (byte, byte / 2),
            32..64 => options.only = Some(self.host(script)),
            64..72 => options.stall = Some(Duration::from_millis(script.byte().into())),
            72..80 => options.timeout = Duration::from_millis(script.byte().into()),
            _ => {}
        }
        let started = self.command(at, |node, now| node.lookup(now, lookup, &options));
        if let Some((at, Ok(id))) = started
            && let Some(witness) = &mut self.nodes[at].witness
        {
            witness.looked_up(id, kind, target);
        }
    }

    fn bootstrap(&mut self, script: &mut Script<'_>) {
        let at = script.byte();
        // A lookup in both families reports the target of its traversal in IPv4.
        let is_v4 = self.nodes[usize::from(at) % self.nodes.len()].config.ipv4;
        let family = if is_v4 { Family::V4 } else { Family::V6 };
        let started = self.command(at, |node, now| (node.bootstrap(now), node.id(family)));
        if let Some((at, (Ok(id), target))) = started
            && let Some(witness) = &mut self.nodes[at].witness
        {
            witness.looked_up(id, LookupKind::Bootstrap, target);
        }
    }

    fn ping(&mut self, script: &mut Script<'_>) {
        let (at, addr) = (script.byte(), self.host(script));
        let target = script.flag().then(|| self.id(script));
        let ask = |node: &mut Node, now| match target {
            Some(target) => node.sample_infohashes(now, addr, target),
            None => node.ping(now, addr),
        };
        if let Some((at, Ok(query))) = self.command(at, ask)
            && let Some(witness) = &mut self.nodes[at].witness
        {
            witness.pinged(query);
        }
    }

    /// Cancels a running lookup or query, or one that is not running.
    fn cancel(&mut self, script: &mut Script<'_>) {
        let (at, is_lookup, which) = (script.below(self.nodes.len()), script.flag(), script.byte().into());
        let Some(host) = self.awake(at) else { return };
        self.nodes[at].is_changed = true;
        let Some(witness) = &mut self.nodes[at].witness else { return };
        if is_lookup {
            let Some((lookup, is_open)) = witness.lookup(which) else { return };
            let is_ended = self.world.with_node(host, |node, _| node.cancel(lookup));
            assert_eq!(is_ended, is_open, "{lookup:?}");
            witness.cancelled_lookup(lookup);
        } else {
            let Some((query, is_open)) = witness.query(which) else { return };
            let (is_ended, before, after) = self.world.with_node(host, |node, _| {
                let before = node.query_count();
                (node.cancel_query(query), before, node.query_count())
            });
            assert_eq!(is_ended, is_open, "{query:?}");
            witness.cancelled_query(query, after < before);
        }
    }

    /// Delivers a datagram again: to the same node or another, from the same host or another, and
    /// perhaps modified.
    fn replay(&mut self, script: &mut Script<'_>) {
        let (at, kind) = (script.below(MAX_SEEN), script.byte());
        let Some((mut from, mut to, mut datagram)) = self.seen.get(at % self.seen.len().max(1)).cloned()
        else {
            return;
        };
        if kind & 3 == 0 {
            from = self.host(script);
        }
        if kind & 0xc == 0 {
            to = self.host(script);
        }
        if kind & 0x30 == 0 {
            forge::damage(&mut datagram, script);
        }
        self.inject(from, to, &datagram);
    }

    fn ask(&mut self, script: &mut Script<'_>) {
        let (from, to) = (self.host(script), self.host(script));
        let datagram = forge::query(&Victim { scenario: self, to }, from, script);
        self.inject(from, to, &datagram);
    }

    /// A host answers a query of a node: the queried host, or another.
    fn answer(&mut self, script: &mut Script<'_>) {
        let (at, which, kind) = (script.below(self.nodes.len()), script.byte(), script.byte());
        let Some((mut from, transaction)) =
            self.nodes[at].witness.as_ref().and_then(|witness| witness.open(which.into()))
        else {
            return;
        };
        let Some(to) = self.world.addr_in(self.nodes[at].host, Family::of(&from)) else { return };
        match kind {
            0..4 => from.set_port(from.port().wrapping_add(1)),
            4..8 => from = self.host(script),
            _ => {}
        }
        let datagram = if matches!(kind, 2..6) {
            forge::refusal(&transaction, script)
        } else {
            let id = self.id(script);
            forge::answer(&Victim { scenario: self, to }, id, &transaction, script)
        };
        self.inject(from, to, &datagram);
    }

    fn inject(&mut self, from: SocketAddr, to: SocketAddr, datagram: &[u8]) {
        // No other host can answer from a node's own address: only the node receives the query.
        let is_own = self.nodes.iter().any(|it| {
            let own = [Family::V4, Family::V6].map(|family| self.world.addr_in(it.host, family));
            own.contains(&Some(from)) && own.contains(&Some(to))
        });
        if !is_own {
            self.world.inject(from, to, datagram);
        }
    }

    /// Lets a host fail in some way.
    fn fail(&mut self, script: &mut Script<'_>) {
        let (at, kind) = (script.below(self.nodes.len()), script.byte());
        let time = Duration::from_secs(u64::from(script.byte()) * if kind & 0x80 == 0 { 1 } else { 600 });
        let host = self.nodes[at].host;
        match kind & 7 {
            0 | 1 => self.world.cut(host, time),
            2 => self.world.sleep(host, time),
            3 => self.world.reset_nat(host),
            4 => self.world.kill(host),
            5 | 6 => {
                self.world.kill(host);
                self.look();
                self.world.restart(host);
            }
            _ => self.world.slow_down(host, time / 256),
        }
    }

    fn set_clock(&mut self, script: &mut Script<'_>) {
        let (at, is_back) = (script.below(self.nodes.len()), script.flag());
        let jump = Duration::from_secs(u64::from(script.u16()) / if is_back { 256 } else { 4 });
        let micros = jump.as_micros() as i64;
        let Some(host) = self.awake(at) else { return };
        if !is_back {
            self.nodes[at].clock += micros;
            // What it does at once happens at the new time.
            let now = self.nodes[at].now(&self.world);
            if let Some(witness) = &mut self.nodes[at].witness {
                witness.jump(now);
            }
            self.world.set_clock_ahead(host, jump);
        } else if self.nodes[at].clock - micros > -MAX_BACK {
            self.nodes[at].clock -= micros;
            if let Some(witness) = &mut self.nodes[at].witness {
                witness.go_back(jump);
            }
            self.world.set_clock_back(host, jump);
        }
    }

    /// Clears data of a node, or changes its configuration while it runs.
    fn switch(&mut self, script: &mut Script<'_>) {
        let (at, what) = (script.byte(), script.byte());
        if what < 0xc0 {
            let is_peers = what & 1 != 0;
            self.command(at, |node, now| if is_peers { node.clear_peers() } else { node.clear_nodes(now) });
            return;
        }
        let at = usize::from(at) % self.nodes.len();
        let Some(host) = self.awake(at) else { return };
        self.look();
        self.nodes[at].is_changed = true;
        let (family, is_on) = (script.family(), !what.is_multiple_of(4));
        match what & 0x0c {
            0x00 => self.world.with_node(host, |node, now| node.set_read_only(now, !is_on)),
            0x04 => self.world.with_node(host, |node, now| node.handle_rebind(now, family)),
            _ => self.world.with_node(host, |node, now| node.set_enabled(now, family, is_on)),
        }
    }

    /// Puts a host under churn from now on, or ends that.
    fn move_on(&mut self, script: &mut Script<'_>) {
        let (at, kind) = (script.below(self.nodes.len()), script.byte());
        let returns =
            [Returns::Never, Returns::Same, Returns::Renewed, Returns::Renewed][usize::from(kind % 4)];
        let (session, absence) = (script.byte(), script.byte());
        let [session, absence] = [session, absence].map(|time| Duration::from_secs(1 + u64::from(time) * 4));
        let churn = (kind & 0x10 == 0).then_some(Churn { session, absence, returns });
        self.world.set_churn(self.nodes[at].host, churn);
    }

    pub(super) fn add_node(&mut self, script: &mut Script<'_>) {
        if self.nodes.len() == MAX_NODES {
            return;
        }
        let profile = profile(script);
        let config = profile.config.clone();
        let host = hosts::place(&mut self.world, profile, script);
        self.world.watch(host);
        self.nodes.push(Watched {
            host,
            config,
            clock: 0,
            checked: 0,
            is_asleep: false,
            is_changed: true,
            witness: None,
        });
        self.look();
        // Most have a contact; with private addresses they would not learn of any.
        for kind in [BootstrapKind::Router, BootstrapKind::Node] {
            let other = self.nodes[script.below(self.nodes.len())].host;
            let addrs = Family::ALL.map(|family| self.world.addr_in(other, family));
            for addr in addrs.into_iter().flatten() {
                let at = self.nodes.len() - 1;
                self.command(at as u8, |node, now| node.add_bootstrap(now, addr, kind).is_ok());
            }
        }
    }

    pub(super) fn add_adversary(&mut self, script: &mut Script<'_>) {
        if self.adversaries.len() == MAX_ADVERSARIES {
            return;
        }
        let addrs: Vec<SocketAddr> = self.nodes.iter().map(|it| self.world.addr(it.host)).collect();
        let adversary = hosts::adversary(&mut self.world, &addrs, script);
        self.adversaries.push(adversary);
        let addr = self.world.addr(adversary);
        for _ in 0..2 {
            self.command(script.byte(), |node, now| node.add_node(now, addr).is_ok());
        }
    }

    /// Calls every getter.
    fn browse(&self, script: &mut Script<'_>) {
        let (at, target) = (script.below(self.nodes.len()), self.id(script));
        let Some(node) = self.world.node(self.nodes[at].host) else { return };
        for family in Family::ALL {
            let closest: Vec<_> = node.closest_nodes(target, family).collect();
            assert!(closest.is_sorted_by_key(|info| info.id.distance(&target)));
            assert!(closest.iter().all(|info| node.nodes(family).any(|other| other == *info)));
        }
        assert!((0..INFOHASHES).map(infohash).all(|it| node.stored_peers(it).all(|peer| peer.port() != 0)));
        let _ = (node.rtt_quantile(f32::from(script.byte()) / 100.0), node.is_ready(Family::V4));
    }
}

/// Choices of hosts and ids.
impl Scenario {
    /// Returns a host, mostly of this world.
    fn host(&self, script: &mut Script<'_>) -> SocketAddr {
        let byte = script.byte();
        if byte >= 192 {
            return host(script.byte());
        }
        let hosts = self.world.hosts().len();
        let host = self.world.hosts().nth(usize::from(byte & 0x3f) % hosts).expect("there are some");
        let family = if byte & 0x40 == 0 { Family::V4 } else { Family::V6 };
        self.world.addr_in(host, family).unwrap_or_else(|| self.world.addr(host))
    }

    /// Returns the id of a node, one near it, or one far from all.
    fn id(&self, script: &mut Script<'_>) -> NodeId {
        let (at, bit) = (script.below(self.nodes.len()), script.byte());
        let family = if bit & 1 == 0 { Family::V4 } else { Family::V6 };
        let node = self.world.node(self.nodes[at].host);
        let mut bytes =
            *node.map_or_else(|| NodeId::from_bytes([bit; 20]), |node| node.id(family)).as_bytes();
        if bit < 160 {
            bytes[usize::from(bit) / 8] ^= 0x80 >> (bit % 8);
        }
        NodeId::from_bytes(bytes)
    }
}

/// The knowledge of an attacker about the node at an address.
struct Victim<'a> {
    scenario: &'a Scenario,
    to: SocketAddr,
}

impl Names for Victim<'_> {
    fn id(&self, script: &mut Script<'_>) -> NodeId {
        self.scenario.id(script)
    }

    fn host(&self, script: &mut Script<'_>) -> SocketAddr {
        self.scenario.host(script)
    }

    fn token(&self, from: SocketAddr, _: InfoHash) -> Option<Vec<u8>> {
        let is_victim =
            |it: &&Watched| self.scenario.world.addr_in(it.host, Family::of(&self.to)) == Some(self.to);
        self.scenario.nodes.iter().find(is_victim)?.witness.as_ref()?.token(from)
    }
}
