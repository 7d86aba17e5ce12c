//! The getters and settings of a world.

use alloc::vec::Vec;
use core::any::Any;
use core::net::SocketAddr;
use core::time::Duration;

use super::core::World;
use crate::base::addr::Family;
use crate::base::time::Instant;
use crate::node::Node;
use crate::node::api::event::Event;
use crate::sim::actors::Actor;
use crate::sim::hosts::{HostId, Occupant, Presence};
use crate::sim::rng::SimRng;
use crate::sim::transport::{Captured, Counters, Network};

/// Getters of hosts.
impl World {
    /// All hosts, in the order in which they were added.
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

    /// Whether a host is behind a NAT.
    pub fn is_behind_nat(&self, host: HostId) -> bool {
        self.hosts[host.index()].link.device != 0
    }

    /// Whether a host is up, offline, asleep or gone.
    pub fn presence(&self, host: HostId) -> Presence {
        self.hosts[host.index()].presence
    }

    /// The node of a host; `None` if it runs none, or is gone.
    pub fn node(&self, host: HostId) -> Option<&Node> {
        match &self.hosts[host.index()].occupant {
            Occupant::Node(hosted) => Some(hosted.node()),
            _ => None,
        }
    }

    /// All nodes, with their hosts.
    pub fn nodes(&self) -> impl Iterator<Item = (HostId, &Node)> {
        self.hosts().filter_map(|host| self.node(host).map(|node| (host, node)))
    }

    /// The script of a host, if it is of this type.
    pub fn actor<T: Actor>(&self, host: HostId) -> Option<&T> {
        match &self.hosts[host.index()].occupant {
            Occupant::Actor(actor) => (&**actor as &dyn Any).downcast_ref(),
            _ => None,
        }
    }

    /// The script of a host, mutably, if it is of this type.
    pub fn actor_mut<T: Actor>(&mut self, host: HostId) -> Option<&mut T> {
        match &mut self.hosts[host.index()].occupant {
            Occupant::Actor(actor) => (&mut **actor as &mut dyn Any).downcast_mut(),
            _ => None,
        }
    }

    /// Records the events of a host from now on, for [`events`](Self::events).
    ///
    /// For a node behind a handle, only events that no call waits for are recorded.
    pub fn watch(&mut self, host: HostId) {
        self.hosts[host.index()].is_watched = true;
    }

    /// The events of a [watched](Self::watch) host, each with its time.
    pub fn events(&self, host: HostId) -> &[(Instant, Event)] {
        self.events.get(&host).map_or(&[], |events| events)
    }
}

/// Time, randomness and the network.
impl World {
    /// The virtual time.
    pub const fn now(&self) -> Instant {
        self.now
    }

    /// The random number generator of the world. Drawing from it changes what follows.
    pub const fn rng(&mut self) -> &mut SimRng {
        &mut self.transport.rng
    }

    /// The current settings of the network.
    pub const fn network(&self) -> &Network {
        &self.transport.network
    }

    /// Changes the settings of the network, for datagrams sent from now on.
    pub fn set_network(&mut self, network: Network) {
        self.transport.network = network;
    }

    /// The round-trip time between two addresses, without jitter.
    pub fn rtt(&self, a: SocketAddr, b: SocketAddr) -> Duration {
        self.transport.rtt(a.into(), b.into())
    }

    /// The host that would receive a datagram sent from `from` to `to` now, if it is not lost.
    ///
    /// It is there, its link is up, and the NAT before it, if any, admits the sender.
    pub fn receiver(&self, from: SocketAddr, to: SocketAddr) -> Option<HostId> {
        let (host, device) = self.transport.receiver(self.now, from.into(), to.into())?;
        self.hosts[host as usize].link.accepts(to.into(), device).then_some(HostId(host))
    }

    /// Counts of events and datagrams so far.
    pub const fn counters(&self) -> &Counters {
        &self.transport.counters
    }

    /// A hash over all datagrams sent so far: time, source, destination and bytes.
    pub const fn transcript(&self) -> u64 {
        self.transport.transcript
    }

    /// Number of datagrams in flight.
    pub const fn datagrams_in_flight(&self) -> usize {
        self.transport.packets.in_flight()
    }

    /// Sends a datagram with any source address.
    pub fn inject(&mut self, from: SocketAddr, to: SocketAddr, datagram: &[u8]) {
        self.transport.forge(self.now, from.into(), to.into(), datagram);
    }
}

impl World {
    /// Captures every datagram of a host from now on, for [`captured`](Self::captured).
    pub fn capture(&mut self, host: HostId) {
        self.transport.capture(host.0);
    }

    /// Captures every datagram of all hosts from now on, including hosts added later.
    pub fn capture_all(&mut self) {
        self.transport.capture_all();
    }

    /// What a [captured](Self::capture) host sent and received, in order of time.
    pub fn captured(&self, host: HostId) -> &[Captured] {
        self.transport.captured(host.0)
    }

    /// Removes and returns what a captured host sent and received.
    pub fn take_captured(&mut self, host: HostId) -> Vec<Captured> {
        self.transport.take_captured(host.0)
    }
}
