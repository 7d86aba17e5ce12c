//! Adds hosts to a world.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::net::SocketAddr;

use super::core::World;
use crate::sim::actors::Actor;
use crate::sim::hosts::{Host, HostId, Occupant, Profile};
use crate::sim::transport::Link;

/// Adding hosts.
impl World {
    /// Adds a host with a node, which joins through some of the nodes that are there.
    ///
    /// It has an address in a /24 of its own, and an IPv6 address if the node uses IPv6. It knows
    /// [`Profile::bootstraps`] hosts.
    pub fn add(&mut self, profile: impl Into<Arc<Profile>>) -> HostId {
        let profile = profile.into();
        let id = self.add_alone(Arc::clone(&profile));
        self.bootstrap(id);
        id
    }

    /// Adds a host with a node that knows no other.
    pub fn add_alone(&mut self, profile: impl Into<Arc<Profile>>) -> HostId {
        let profile = profile.into();
        let mut link = Link::new(self.hosts.len() as u32);
        self.assign_addresses(&mut link, &profile);
        self.add_node(link, profile)
    }

    /// Adds a host with a node at a given address, not behind a NAT; it knows no other.
    pub fn add_at(&mut self, addr: SocketAddr, profile: impl Into<Arc<Profile>>) -> HostId {
        let mut link = Link::new(self.hosts.len() as u32);
        self.attach(&mut link, addr);
        self.add_node(link, profile.into())
    }

    /// Adds a host with a node behind the NAT of another host; it knows no other.
    ///
    /// # Panics
    ///
    /// If `neighbour` is not behind a NAT.
    pub fn add_behind(&mut self, neighbour: HostId, profile: impl Into<Arc<Profile>>) -> HostId {
        let device = self.hosts[neighbour.index()].link.device;
        assert!(device != 0, "{neighbour:?} is not behind a NAT");
        let mut link = Link::new(self.hosts.len() as u32);
        (link.device, link.endpoints) = (device, self.hosts[neighbour.index()].link.endpoints);
        self.transport.share_nat(device);
        self.add_node(link, profile.into())
    }

    /// Adds a scripted host, at an address in a /24 of its own.
    pub fn add_actor(&mut self, actor: impl Actor) -> HostId {
        let addr = self.next_address();
        self.add_actor_at(addr, actor)
    }

    /// Adds a scripted host, at a given address.
    pub fn add_actor_at(&mut self, addr: SocketAddr, actor: impl Actor) -> HostId {
        let index = self.hosts.len() as u32;
        let mut link = Link::new(index);
        self.attach(&mut link, addr);
        self.hosts.push(Host::new(Occupant::Actor(Box::new(actor)), link, None));
        self.schedule(index);
        HostId(index)
    }

    fn add_node(&mut self, link: Link, profile: Arc<Profile>) -> HostId {
        let id = HostId(self.hosts.len() as u32);
        self.hosts.push(Host::new(Occupant::Vacant, link, Some(Arc::clone(&profile))));
        self.start_node(id, &profile, profile.config.clone());
        id
    }
}
