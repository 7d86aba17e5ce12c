//! The world: hosts, the network between them, and time that jumps from one happening to the next.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::any::Any;
use core::mem;
use core::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use core::time::Duration;

use super::actor::{Actor, Outbox};
use super::crawl::Crawl;
use super::dice::Dice;
use super::host::{Being, Host, HostId, Presence, Profile};
use super::network::Network;
use super::queue::Happening;
use super::search::Searches;
use super::wire::{Counters, Link, Wire};
use crate::addr::{AddressPolicy, Endpoint, Family};
use crate::config::MAX_DATAGRAM;
use crate::event::Event;
use crate::node::Node;
use crate::time::Instant;

/// When a world begins: late enough that clocks may go back.
const BEGINNING: Instant = Instant::from_micros(1_000_000_000);

/// The port of every host that is given no address.
const PORT: u16 = 6881;

/// A node that has more to say at one time does not come to rest.
const MOST_DATAGRAMS: u32 = 100_000;

/// A node has no more errands that end at once: one for each bucket of both tables.
const MOST_ERRANDS: usize = 64;

/// More things do not happen at one instant, apart from a hundred for each host.
const MOST_AT_ONCE: u64 = 100_000;

/// Hosts and the network between them, in virtual time.
///
/// Everything follows from the seed and from what is called: two runs are the same to the byte,
/// which [`transcript`](Self::transcript) shows. Time jumps from one happening to the next, and a
/// step costs the same however many hosts there are. A world stays in the thread that made it.
///
/// # Panics
///
/// Running it panics, with the address of the host, if a node does not come to rest: when it asks
/// to be woken in the past, or datagrams go to and fro without time going on.
pub struct World {
    pub(super) now: Instant,
    pub(super) hosts: Vec<Host>,
    pub(super) wire: Wire,
    pub(super) searches: Searches,
    pub(super) crawls: BTreeMap<HostId, Crawl>,
    /// Kept events of the hosts that are watched.
    events: BTreeMap<HostId, Vec<(Instant, Event)>>,
    /// Addresses given away so far.
    places: u32,
    /// Things that happened since time went on.
    at_once: u64,
    buf: Box<[u8]>,
}

/// Birth, and the passing of time.
impl World {
    /// A world without hosts.
    pub fn new(seed: u64, network: Network) -> Self {
        Self {
            now: BEGINNING,
            hosts: Vec::new(),
            wire: Wire::new(seed, network, BEGINNING),
            searches: Searches::default(),
            crawls: BTreeMap::new(),
            events: BTreeMap::new(),
            places: 0,
            at_once: 0,
            buf: vec![0; MAX_DATAGRAM].into(),
        }
    }

    /// Lets the next thing happen, if it happens within `limit`. False if nothing does; then time
    /// has not gone on.
    pub fn step(&mut self, limit: Duration) -> bool {
        self.step_to(self.now + limit)
    }

    /// Lets time pass.
    pub fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        while self.step_to(end) {}
        self.now = end;
    }

    /// Lets time pass until `is_done`, which is asked after each step. False if that did not come
    /// to be within `limit`.
    pub fn run_until(&mut self, mut is_done: impl FnMut(&Self) -> bool, limit: Duration) -> bool {
        let end = self.now + limit;
        loop {
            if is_done(self) {
                return true;
            }
            if !self.step_to(end) {
                self.now = end;
                return is_done(self);
            }
        }
    }

    pub(super) fn step_to(&mut self, end: Instant) -> bool {
        let Some((at, what)) = self.wire.queue.pop(end) else { return false };
        if at > self.now {
            self.now = at;
            self.at_once = 0;
        }
        self.wire.counters.events += 1;
        self.at_once += 1;
        match what {
            Happening::Arrival(parcel) => self.arrive(parcel),
            Happening::Wake(host) => self.wake(host),
            Happening::Leave(host) if self.hosts[host as usize].leave_at == at => self.leave(HostId(host)),
            Happening::Back(host) if self.hosts[host as usize].back_at == at => self.come_back(host),
            Happening::Leave(_) | Happening::Back(_) => {}
        }
        true
    }

    fn arrive(&mut self, at: u32) {
        let (from, to) = (self.wire.post.get(at).from, self.wire.post.get(at).to);
        if let Some((index, device)) = self.wire.receiver(self.now, from, to) {
            self.expect_rest(to.into());
            let host = &mut self.hosts[index as usize];
            if !host.link.gets(to, device) {
                self.wire.counters.cut += 1;
            } else if !self.wire.is_lost_before(&mut host.link) {
                self.wire.deliver(self.now, index, at);
                let local = host.local(self.now);
                match &mut host.being {
                    Being::Node(node) => {
                        node.handle_datagram(local, from.into(), &self.wire.post.get(at).bytes);
                    }
                    Being::Actor(actor) => {
                        // The actor may send while it reads.
                        let bytes = mem::take(self.wire.post.bytes_mut(at));
                        let (wire, link) = (&mut self.wire, &mut host.link);
                        let mut out = Outbox { wire, link, now: self.now, addr: to.into() };
                        actor.on_datagram(self.now, from.into(), &bytes, &mut out);
                        *self.wire.post.bytes_mut(at) = bytes;
                    }
                    Being::Nobody => {}
                }
                self.drain(index);
            }
        } else {
            self.wire.note_astray(to);
        }
        self.wire.post.release(at);
    }

    fn wake(&mut self, index: u32) {
        let addr = self.addr(HostId(index));
        let host = &mut self.hosts[index as usize];
        if host.wake_at != self.now || matches!(host.presence, Presence::Asleep | Presence::Gone) {
            return;
        }
        host.wake_at = Instant::NEVER;
        let local = host.local(self.now);
        let crawl_due = self.crawls.get(&HostId(index)).and_then(Crawl::due);
        match &mut host.being {
            Being::Node(node) if node.poll_timeout().is_some_and(|due| due <= local) => {
                return self.wake_node(index);
            }
            Being::Actor(actor) if actor.next_wake().is_some_and(|due| due <= self.now) => {
                let (wire, link) = (&mut self.wire, &mut host.link);
                actor.on_wake(self.now, &mut Outbox { wire, link, now: self.now, addr });
                self.expect_rest(addr);
            }
            Being::Node(_) if crawl_due.is_some_and(|due| due <= local) => {}
            _ => return self.schedule(index),
        }
        self.drain(index);
    }

    /// Tells a node the time until it asks for a later one: an errand of its upkeep that ends while
    /// it is drained leaves time for the next.
    fn wake_node(&mut self, index: u32) {
        for _ in 0..MOST_ERRANDS {
            let host = &mut self.hosts[index as usize];
            let local = host.local(self.now);
            let Being::Node(node) = &mut host.being else { return };
            if node.poll_timeout().is_none_or(|due| due > local) {
                return;
            }
            node.handle_timeout(local);
            self.drain(index);
        }
        panic!("a drained node asks for the past: {}", self.addr(HostId(index)));
    }

    /// Time must go on, however much is to be done at one instant.
    fn expect_rest(&self, addr: SocketAddr) {
        let limit = MOST_AT_ONCE + 100 * self.hosts.len() as u64;
        assert!(self.at_once < limit, "no rest at {addr}");
    }

    /// Sends all that a host has to say, notes its events and asks when to wake it.
    pub(super) fn drain(&mut self, index: u32) {
        let id = HostId(index);
        let host = &mut self.hosts[index as usize];
        let local = host.local(self.now);
        let policy = host.profile.as_ref().map_or(AddressPolicy::Any, |it| it.config.address_policy);
        if let Being::Node(node) = &mut host.being {
            let mut sent = 0;
            loop {
                while let Some(transmit) = node.poll_transmit(local, &mut self.buf) {
                    let to = transmit.destination.into();
                    sent += 1;
                    assert!(sent < MOST_DATAGRAMS, "no rest at {}", host.link.addr());
                    let bytes = &self.buf[..transmit.size];
                    if !policy.allows(to) {
                        self.wire.stray.get_or_insert_with(|| (host.link.addr(), transmit.destination));
                    }
                    self.wire.send(self.now, &mut host.link, to, bytes, Duration::ZERO);
                }
                let mut is_quiet = true;
                while let Some(event) = node.poll_event() {
                    is_quiet = false;
                    self.searches.note(self.now, id, &event);
                    if let Some(crawl) = self.crawls.get_mut(&id) {
                        crawl.note(local, node, &event);
                    }
                    if host.is_watched {
                        self.events.entry(id).or_default().push((self.now, event));
                    }
                }
                let crawl = self.crawls.get_mut(&id);
                if is_quiet && !crawl.is_some_and(|crawl| crawl.go_on(self.now, local, node)) {
                    break;
                }
            }
        }
        self.schedule(index);
    }

    /// Has a host woken in time. An earlier wake-up that waits already does as well: the host is
    /// then asked again.
    fn schedule(&mut self, index: u32) {
        let host = &mut self.hosts[index as usize];
        let due = match &host.being {
            _ if host.presence == Presence::Gone => None,
            Being::Node(node) => {
                let crawl = self.crawls.get(&HostId(index)).and_then(Crawl::due);
                node.poll_timeout().into_iter().chain(crawl).min().map(|due| host.global(due))
            }
            Being::Actor(actor) => actor.next_wake(),
            Being::Nobody => None,
        };
        let due = due.map(|due| due.max(self.now));
        if let Some(due) = due.filter(|due| *due < host.wake_at) {
            host.wake_at = due;
            self.wire.queue.push(due, Happening::Wake(index));
        }
    }
}

/// Hosts.
impl World {
    /// A host with a node joins: at an address of its own in a network of its own, IPv6 as well if
    /// the node speaks it. It knows [`Profile::entries`] of the nodes that are there.
    pub fn add(&mut self, profile: impl Into<Arc<Profile>>) -> HostId {
        let profile = profile.into();
        let id = self.add_alone(Arc::clone(&profile));
        self.introduce(id);
        id
    }

    /// Like [`add`](Self::add), but the node knows nobody.
    pub fn add_alone(&mut self, profile: impl Into<Arc<Profile>>) -> HostId {
        let profile = profile.into();
        let mut link = Link::new(self.hosts.len() as u32);
        self.move_in(&mut link, &profile);
        self.inhabit(link, profile)
    }

    /// A host with a node at a given address, which knows nobody. No translator stands before it.
    pub fn add_at(&mut self, addr: SocketAddr, profile: impl Into<Arc<Profile>>) -> HostId {
        let mut link = Link::new(self.hosts.len() as u32);
        self.take_address(&mut link, addr);
        self.inhabit(link, profile.into())
    }

    /// A host with a node behind the translator of another host; it knows nobody.
    ///
    /// # Panics
    ///
    /// If there is no translator before `neighbour`.
    pub fn add_behind(&mut self, neighbour: HostId, profile: impl Into<Arc<Profile>>) -> HostId {
        let device = self.hosts[neighbour.index()].link.device;
        assert!(device != 0, "no translator before {neighbour:?}");
        let mut link = Link::new(self.hosts.len() as u32);
        (link.device, link.endpoints) = (device, self.hosts[neighbour.index()].link.endpoints);
        self.wire.share_device(device);
        self.inhabit(link, profile.into())
    }

    /// A host that follows a script, at an address of its own.
    pub fn add_actor(&mut self, actor: impl Actor) -> HostId {
        let addr = self.next_address();
        self.add_actor_at(addr, actor)
    }

    /// A host that follows a script, at a given address.
    pub fn add_actor_at(&mut self, addr: SocketAddr, actor: impl Actor) -> HostId {
        let index = self.hosts.len() as u32;
        let mut link = Link::new(index);
        self.take_address(&mut link, addr);
        self.hosts.push(Host::new(Being::Actor(Box::new(actor)), link, None));
        self.schedule(index);
        HostId(index)
    }

    /// An IPv4 address in a network of its own that no host has or will have.
    pub fn next_address(&mut self) -> SocketAddr {
        self.places += 1;
        SocketAddr::new(v4(self.places - 1).into(), PORT)
    }

    /// All hosts, in the order in which they came.
    pub fn hosts(&self) -> impl ExactSizeIterator<Item = HostId> + use<> {
        (0..self.hosts.len() as u32).map(HostId)
    }

    /// The address under which others see a host: IPv4 if it has one.
    pub fn addr(&self, host: HostId) -> SocketAddr {
        let link = &self.hosts[host.index()].link;
        let family = if link.endpoints[0].port() == 0 { Family::V6 } else { Family::V4 };
        self.wire.outside(link, family).into()
    }

    /// The address under which others see a host in one family.
    pub fn addr_in(&self, host: HostId, family: Family) -> Option<SocketAddr> {
        let endpoint = self.wire.outside(&self.hosts[host.index()].link, family);
        (endpoint.port() != 0).then(|| endpoint.into())
    }

    /// Whether an address translator stands before a host.
    pub fn is_translated(&self, host: HostId) -> bool {
        self.hosts[host.index()].link.device != 0
    }

    /// Whether a host is there.
    pub fn presence(&self, host: HostId) -> Presence {
        self.hosts[host.index()].presence
    }

    /// Its node; `None` if it runs none, or is gone.
    pub fn node(&self, host: HostId) -> Option<&Node> {
        match &self.hosts[host.index()].being {
            Being::Node(node) => Some(node),
            _ => None,
        }
    }

    /// All nodes that are there.
    pub fn nodes(&self) -> impl Iterator<Item = (HostId, &Node)> {
        self.hosts().filter_map(|host| self.node(host).map(|node| (host, node)))
    }

    /// Its script, if it follows one of this type.
    pub fn actor<T: Actor>(&self, host: HostId) -> Option<&T> {
        match &self.hosts[host.index()].being {
            Being::Actor(actor) => (&**actor as &dyn Any).downcast_ref(),
            _ => None,
        }
    }

    /// Like [`actor`](Self::actor), to change it.
    pub fn actor_mut<T: Actor>(&mut self, host: HostId) -> Option<&mut T> {
        match &mut self.hosts[host.index()].being {
            Being::Actor(actor) => (&mut **actor as &mut dyn Any).downcast_mut(),
            _ => None,
        }
    }

    /// Does something with a node, at the time that its own clock shows, and sends what it has to
    /// say.
    ///
    /// # Panics
    ///
    /// If the host runs no node, or is gone.
    pub fn with_node<T>(&mut self, host: HostId, act: impl FnOnce(&mut Node, Instant) -> T) -> T {
        let at = &mut self.hosts[host.index()];
        let local = at.local(self.now);
        let Being::Node(node) = &mut at.being else { panic!("no node at {host:?}") };
        let result = act(node, local);
        self.drain(host.0);
        result
    }

    /// Keeps the events of a host from now on, for [`events`](Self::events).
    pub fn watch(&mut self, host: HostId) {
        self.hosts[host.index()].is_watched = true;
    }

    /// The events of a host since it is [watched](Self::watch), each with its time.
    pub fn events(&self, host: HostId) -> &[(Instant, Event)] {
        self.events.get(&host).map_or(&[], |events| events)
    }

    pub(super) fn inhabit(&mut self, link: Link, profile: Arc<Profile>) -> HostId {
        let id = HostId(self.hosts.len() as u32);
        self.hosts.push(Host::new(Being::Nobody, link, Some(Arc::clone(&profile))));
        self.bear(id, &profile, profile.config.clone());
        id
    }

    /// Gives addresses to a host, behind a translator of its own if the profile wants one.
    pub(super) fn move_in(&mut self, link: &mut Link, profile: &Profile) {
        let place = self.places;
        self.places += 1;
        if profile.config.ipv4 {
            let outside = SocketAddr::new(v4(place).into(), PORT);
            match profile.nat {
                Some(nat) => {
                    link.endpoints[0] = outside.into();
                    link.device = self.wire.settle_device(nat, outside.into());
                }
                None => self.take_address(link, outside),
            }
        }
        if profile.config.ipv6 {
            self.take_address(link, SocketAddr::new(v6(place).into(), PORT));
        }
    }

    fn take_address(&mut self, link: &mut Link, addr: SocketAddr) {
        link.endpoints[Family::of(&addr).index()] = addr.into();
        self.wire.settle_host(addr.into(), link.host);
    }
}

/// The network.
impl World {
    /// The time of the world.
    pub const fn now(&self) -> Instant {
        self.now
    }

    /// The dice of the world: whoever throws them changes what follows.
    pub const fn dice(&mut self) -> &mut Dice {
        &mut self.wire.dice
    }

    /// The network as it is now.
    pub const fn network(&self) -> &Network {
        &self.wire.network
    }

    /// Changes the network, for what is sent from now on.
    pub fn set_network(&mut self, network: Network) {
        self.wire.network = network;
    }

    /// The round-trip time between two addresses, without jitter.
    pub fn rtt(&self, a: SocketAddr, b: SocketAddr) -> Duration {
        self.wire.network.rtt(self.wire.seed, a.into(), b.into())
    }

    /// The host that a datagram of this sender would reach now, loss apart: it is there, its link
    /// is up, and the translator before it, if any, lets the sender in.
    pub fn receiver(&self, from: SocketAddr, to: SocketAddr) -> Option<HostId> {
        let (host, device) = self.wire.receiver(self.now, from.into(), to.into())?;
        self.hosts[host as usize].link.gets(to.into(), device).then_some(HostId(host))
    }

    /// What happened so far.
    pub const fn counters(&self) -> &Counters {
        &self.wire.counters
    }

    /// A hash over everything that was sent so far: when, from where, to where and which bytes.
    pub const fn transcript(&self) -> u64 {
        self.wire.transcript
    }

    /// Datagrams on their way.
    pub const fn datagrams_under_way(&self) -> usize {
        self.wire.post.under_way()
    }

    /// Somebody puts a datagram on its way, whatever the sender it names.
    pub fn inject(&mut self, from: SocketAddr, to: SocketAddr, datagram: &[u8]) {
        self.wire.forge(self.now, from.into(), to.into(), datagram);
    }
}

/// The `index`-th network of 256 addresses that is fit for hosts, and one address in it.
const fn v4(index: u32) -> Ipv4Addr {
    // From 24.0.0.0 to 99.255.255.255 there are no reserved networks.
    let networks = 76 << 16;
    let [_, a, b, c] = (index % networks).to_be_bytes();
    Ipv4Addr::new(24 + a, b, c, 1 + (index / networks) as u8)
}

const fn v6(index: u32) -> Ipv6Addr {
    Ipv6Addr::new(0x2a00, (index >> 16) as u16, index as u16, 0, 0, 0, 0, 1)
}

impl Link {
    /// Inside of any translator, IPv4 if there is one.
    pub(super) fn addr(&self) -> SocketAddr {
        let [v4, v6] = self.endpoints;
        if v4.port() == 0 { v6.into() } else { v4.into() }
    }

    /// Whether what comes to this endpoint through this translator, or through none, arrives: a host
    /// may have come back elsewhere.
    pub(super) fn gets(&self, to: Endpoint, device: u32) -> bool {
        let is_here = if device == 0 { self.endpoints.contains(&to) } else { self.device == device };
        is_here && !self.is_cut
    }
}

#[cfg(test)]
mod tests {
    use core::net::IpAddr;

    use super::*;

    #[test]
    fn every_host_gets_a_global_address_of_its_own() {
        for index in [0, 1, 255, 256, 65_535, 65_536, 999_999, (76 << 16) - 1, 76 << 16] {
            for ip in [IpAddr::V4(v4(index)), IpAddr::V6(v6(index))] {
                let endpoint = Endpoint::from(SocketAddr::new(ip, PORT));
                assert!(AddressPolicy::Public.allows(endpoint), "{ip}");
            }
        }
        assert_ne!(v4(0), v4(76 << 16));
    }
}
