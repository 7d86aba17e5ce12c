//! What can be seen of a world, and its settings.

use alloc::vec::Vec;
use core::any::Any;
use core::net::SocketAddr;
use core::time::Duration;

use super::core::World;
use crate::addr::Family;
use crate::event::Event;
use crate::node::Node;
use crate::sim::actors::Actor;
use crate::sim::hosts::{HostId, Occupant, Presence};
use crate::sim::rng::SimRng;
use crate::sim::transport::{Captured, Counters, Network};
use crate::time::Instant;

/// Hosts.
impl World {
    /// All hosts, in the order in which they came.
    pub fn hosts(&self) -> impl ExactSizeIterator<Item = HostId> + use<> {
        (0..self.hosts.len() as u32).map(HostId)
    }

    /// The address under which others see a host: IPv4 if it has one.
    pub fn addr(&self, host: HostId) -> SocketAddr {
        let link = &self.hosts[host.index()].link;
        let family = if link.endpoints[0].port() == 0 { Family::V6 } else { Family::V4 };
        self.transport.outside(link, family).into()
    }

    /// The address under which others see a host in one family.
    pub fn addr_in(&self, host: HostId, family: Family) -> Option<SocketAddr> {
        let endpoint = self.transport.outside(&self.hosts[host.index()].link, family);
        (endpoint.port() != 0).then(|| endpoint.into())
    }

    /// Whether an address translator stands before a host.
    pub fn is_behind_nat(&self, host: HostId) -> bool {
        self.hosts[host.index()].link.device != 0
    }

    /// Whether a host is there.
    pub fn presence(&self, host: HostId) -> Presence {
        self.hosts[host.index()].presence
    }

    /// Its node; `None` if it runs none, or is gone.
    pub fn node(&self, host: HostId) -> Option<&Node> {
        match &self.hosts[host.index()].occupant {
            Occupant::Node(node) => Some(node),
            _ => None,
        }
    }

    /// All nodes that are there.
    pub fn nodes(&self) -> impl Iterator<Item = (HostId, &Node)> {
        self.hosts().filter_map(|host| self.node(host).map(|node| (host, node)))
    }

    /// Its script, if it follows one of this type.
    pub fn actor<T: Actor>(&self, host: HostId) -> Option<&T> {
        match &self.hosts[host.index()].occupant {
            Occupant::Actor(actor) => (&**actor as &dyn Any).downcast_ref(),
            _ => None,
        }
    }

    /// Like [`actor`](Self::actor), to change it.
    pub fn actor_mut<T: Actor>(&mut self, host: HostId) -> Option<&mut T> {
        match &mut self.hosts[host.index()].occupant {
            Occupant::Actor(actor) => (&mut **actor as &mut dyn Any).downcast_mut(),
            _ => None,
        }
    }

    /// Keeps the events of a host from now on, for [`events`](Self::events).
    pub fn watch(&mut self, host: HostId) {
        self.hosts[host.index()].is_watched = true;
    }

    /// The events of a host since it is [watched](Self::watch), each with its time.
    pub fn events(&self, host: HostId) -> &[(Instant, Event)] {
        self.events.get(&host).map_or(&[], |events| events)
    }
}

/// The network.
impl World {
    /// The time of the world.
    pub const fn now(&self) -> Instant {
        self.now
    }

    /// The rng of the world: whoever throws them changes what follows.
    pub const fn rng(&mut self) -> &mut SimRng {
        &mut self.transport.rng
    }

    /// The network as it is now.
    pub const fn network(&self) -> &Network {
        &self.transport.network
    }

    /// Changes the network, for what is sent from now on.
    pub fn set_network(&mut self, network: Network) {
        self.transport.network = network;
    }

    /// The round-trip time between two addresses, without jitter.
    pub fn rtt(&self, a: SocketAddr, b: SocketAddr) -> Duration {
        self.transport.rtt(a.into(), b.into())
    }

    /// The host that a datagram of this sender would reach now, loss apart: it is there, its link
    /// is up, and the translator before it, if any, lets the sender in.
    pub fn receiver(&self, from: SocketAddr, to: SocketAddr) -> Option<HostId> {
        let (host, device) = self.transport.receiver(self.now, from.into(), to.into())?;
        self.hosts[host as usize].link.accepts(to.into(), device).then_some(HostId(host))
    }

    /// What happened so far.
    pub const fn counters(&self) -> &Counters {
        &self.transport.counters
    }

    /// A hash over everything that was sent so far: when, from where, to where and which bytes.
    pub const fn transcript(&self) -> u64 {
        self.transport.transcript
    }

    /// Datagrams on their way.
    pub const fn datagrams_in_flight(&self) -> usize {
        self.transport.packets.in_flight()
    }

    /// Somebody puts a datagram on its way, whatever the sender it names.
    pub fn inject(&mut self, from: SocketAddr, to: SocketAddr, datagram: &[u8]) {
        self.transport.forge(self.now, from.into(), to.into(), datagram);
    }
}

impl World {
    /// Keeps every datagram of a host from now on, for [`captured`](Self::captured).
    pub fn capture(&mut self, host: HostId) {
        self.transport.capture(host.0);
    }

    /// Keeps every datagram of all hosts from now on, those that come later included.
    pub fn capture_all(&mut self) {
        self.transport.capture_all();
    }

    /// What a host sent and got since it is [captured](Self::capture), in order of time.
    pub fn captured(&self, host: HostId) -> &[Captured] {
        self.transport.captured(host.0)
    }

    /// The same, which is then kept no longer.
    pub fn take_captured(&mut self, host: HostId) -> Vec<Captured> {
        self.transport.take_captured(host.0)
    }
}
