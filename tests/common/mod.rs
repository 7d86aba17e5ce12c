//! A small world of real nodes in virtual time, for the tests: every datagram takes the same time,
//! unless the test loses, delays or forges it.
#![allow(dead_code, unreachable_pub, reason = "every test uses a part of it")]

pub mod disk;
#[cfg(feature = "items")]
pub mod items;
pub mod net;
pub mod raw;
#[cfg(feature = "cli")]
pub mod tool;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use dht_proto::{
    AddressPolicy, BootstrapKind, Config, Event, Instant, Limits, LookupId, LookupReport, MAX_DATAGRAM, Node,
};

/// One way through the network.
pub const LATENCY: Duration = Duration::from_millis(40);

/// Nodes, and datagrams on their way between them.
pub struct World {
    pub now: Instant,
    pub nodes: BTreeMap<SocketAddr, Node>,
    pub events: BTreeMap<SocketAddr, Vec<Event>>,
    /// Hosts to which datagrams are lost.
    pub dead: BTreeSet<SocketAddr>,
    /// Datagrams of which this many in a hundred are lost.
    pub loss: u32,
    /// Datagrams sent so far.
    pub sent: u64,
    /// A hash over everything that was sent, to compare runs.
    pub transcript: u64,
    queue: BTreeMap<(Instant, u64), (SocketAddr, SocketAddr, Vec<u8>)>,
    serial: u64,
    dice: u64,
}

impl World {
    pub fn new() -> Self {
        Self {
            now: Instant::from_micros(1_000_000),
            nodes: BTreeMap::new(),
            events: BTreeMap::new(),
            dead: BTreeSet::new(),
            loss: 0,
            sent: 0,
            transcript: 0xcbf2_9ce4_8422_2325,
            queue: BTreeMap::new(),
            serial: 0,
            dice: 1,
        }
    }

    /// `count` nodes that all know the first one as their bootstrap host.
    pub fn with_nodes(count: usize) -> Self {
        let mut world = Self::new();
        for index in 0..count {
            world.add(addr(index), config(), index as u8, index as u64);
            if index > 0 {
                world.node(addr(index), |node, now| {
                    node.add_bootstrap(now, addr(0), BootstrapKind::Router).unwrap()
                });
            }
        }
        world
    }

    pub fn add(&mut self, at: SocketAddr, config: Config, seed: u8, salt: u64) {
        let mut full = [seed; 32];
        full[..8].copy_from_slice(&salt.to_le_bytes());
        self.nodes.insert(at, Node::new(config, &limits(), full, self.now));
        self.events.insert(at, Vec::new());
    }

    /// Does something with a node, and sends what it has to say.
    pub fn node<T>(&mut self, at: SocketAddr, act: impl FnOnce(&mut Node, Instant) -> T) -> T {
        let result = act(self.nodes.get_mut(&at).expect("a node lives here"), self.now);
        self.drain(at);
        result
    }

    /// Puts a datagram on its way.
    pub fn send(&mut self, from: SocketAddr, to: SocketAddr, datagram: &[u8]) {
        self.serial += 1;
        self.queue.insert((self.now + LATENCY, self.serial), (from, to, datagram.to_vec()));
    }

    /// Lets time pass.
    pub fn run(&mut self, time: Duration) {
        let end = self.now + time;
        let mut steps = 0_u64;
        while self.step(end) {
            steps += 1;
            assert!(steps < 20_000_000, "the world does not come to rest");
        }
        self.now = end;
    }

    /// Runs until a lookup of `at` has ended, and returns its report and the peers it found.
    pub fn finish(&mut self, at: SocketAddr, lookup: LookupId) -> (LookupReport, Vec<SocketAddr>) {
        let end = self.now + Duration::from_secs(60);
        loop {
            let done = self.events[&at].iter().find_map(|event| match event {
                Event::LookupDone { lookup: id, report } if *id == lookup => Some(*report),
                _ => None,
            });
            if let Some(report) = done {
                return (report, self.peers_of(at, lookup));
            }
            assert!(self.step(end), "the lookup ends");
        }
    }

    pub fn peers_of(&self, at: SocketAddr, lookup: LookupId) -> Vec<SocketAddr> {
        let peers = self.events[&at].iter().filter_map(|event| match event {
            Event::Peer { lookup: id, peer } if *id == lookup => Some(*peer),
            _ => None,
        });
        peers.collect()
    }

    /// The next thing that happens before `end`; false if nothing does.
    pub fn step(&mut self, end: Instant) -> bool {
        let timer =
            self.nodes.iter().filter_map(|(at, node)| node.poll_timeout().map(|due| (due, *at))).min();
        let packet = self.queue.keys().next().copied();
        let packet_first = match (packet, timer) {
            (Some((due, _)), Some((timer, _))) => due <= timer,
            (Some(_), None) => true,
            _ => false,
        };
        if packet_first {
            let key = packet.expect("checked");
            if key.0 > end {
                return false;
            }
            let (from, to, datagram) = self.queue.remove(&key).expect("it was there");
            self.now = self.now.max(key.0);
            if let Some(node) = self.nodes.get_mut(&to).filter(|_| !self.dead.contains(&to)) {
                node.handle_datagram(self.now, from, &datagram);
                self.drain(to);
            }
            return true;
        }
        let Some((due, at)) = timer.filter(|(due, _)| *due <= end) else { return false };
        self.now = self.now.max(due);
        let now = self.now;
        self.nodes.get_mut(&at).expect("it has a timer").handle_timeout(now);
        self.drain(at);
        let next = self.nodes[&at].poll_timeout();
        assert!(next.is_none_or(|next| next > now), "a drained node asks for the past: {at}");
        true
    }

    /// Sends everything that a node has to say, and collects its events.
    pub fn drain(&mut self, at: SocketAddr) {
        let mut buf = [0; MAX_DATAGRAM];
        let mut outgoing = Vec::new();
        let node = self.nodes.get_mut(&at).expect("a node lives here");
        loop {
            while let Some(transmit) = node.poll_transmit(self.now, &mut buf) {
                outgoing.push((transmit.destination, buf[..transmit.size].to_vec()));
            }
            // An announce goes on once its report is read.
            let Some(event) = node.poll_event() else { break };
            self.events.get_mut(&at).expect("a node lives here").push(event);
        }
        for (to, datagram) in outgoing {
            self.sent += 1;
            let head = at.to_string() + &to.to_string();
            for byte in head.bytes().chain(datagram.iter().copied()) {
                self.transcript = (self.transcript ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
            }
            self.dice =
                self.dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            if ((self.dice >> 33) % 100) as u32 >= self.loss {
                self.send(at, to, &datagram);
            }
        }
    }
}

/// The address of the `index`-th host: each in a network of its own.
pub fn addr(index: usize) -> SocketAddr {
    SocketAddr::from(([60 + (index >> 16) as u8, (index >> 8) as u8, index as u8, 1], 6881))
}

/// `index`-th of the hosts that are no nodes of ours.
pub fn stranger(index: usize) -> SocketAddr {
    addr(10_000 + index)
}

pub fn config() -> Config {
    let mut config = Config::default();
    config.ipv6 = false;
    config
}

/// For hosts whose addresses are private or shared.
pub fn local_config() -> Config {
    let mut config = Config::default();
    config.address_policy = AddressPolicy::Any;
    config.source_limits = false;
    config
}

pub fn limits() -> Limits {
    let mut limits = Limits::default();
    (limits.swarms, limits.peers_v4, limits.peers_v6) = (64, 1024, 256);
    (limits.lookups, limits.sources, limits.contacts) = (16, 256, 512);
    limits.nodes_v6 = 64;
    limits.events = 256;
    limits
}
