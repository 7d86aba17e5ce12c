//! The external address of a node, and the id that follows from it (BEP 42).

use core::net::SocketAddr;
use core::ops::Range;

use crate::base::addr::{Endpoint, Family};
use crate::base::id::NodeId;
use crate::base::time::Instant;
use crate::base::trace::debug;
use crate::guard::secure_id::is_secure;
use crate::node::Node;
use crate::node::api::error::AddressRefused;
use crate::node::api::event::{PackedEvent, PackedKind};
use crate::node::core::Core;
use crate::node::storage::Storage;
use crate::node::storage::sealed::Memory;
use crate::table::{Contact, Move};

/// External address (BEP 42).
impl<S: Storage> Node<S> {
    /// Returns this node's external address as most nodes of the family report it (BEP 42).
    ///
    /// `None` until enough have responded. The port is 0 if they disagree on it, as behind a symmetric NAT.
    pub fn external_addr(&self, family: Family) -> Option<SocketAddr> {
        self.core.family(family).external.known()
    }

    /// Sets the external address, as learned from a port mapping, a tracker's `external ip` or the `yourip`
    /// of peers (BEP 24, BEP 10).
    ///
    /// The address is used until 32 more nodes contradict it than confirm it. The port may be 0.
    ///
    /// # Errors
    ///
    /// [`AddressRefused`] if no host can have this address, or its family is off.
    pub fn set_external_addr(&mut self, now: Instant, addr: SocketAddr) -> Result<(), AddressRefused> {
        self.core.set_external_addr(&mut self.storage.memory(), now, addr.into())
    }
}

impl Core {
    /// Counts the external address that a node reported in response to a query.
    pub(in crate::node) fn on_reported_address(
        &mut self,
        m: &mut Memory<'_>,
        by: Endpoint,
        seen: Option<SocketAddr>,
    ) {
        let Some(seen) = seen.map(Endpoint::from) else { return };
        let family = by.family();
        if family != seen.family() || !self.may_be_ours(seen) {
            return;
        }
        let (tag, now) = (self.sources.wide_subnet_tag(by), self.now.secs());
        let part = self.voters_of(family, m.voters.len());
        let voters = &mut m.voters[part];
        let external = &mut self.family_mut(family).external;
        let before = external.known();
        if external.vote(voters, tag, seen, now) {
            self.adopt_address(m, seen, before.is_some());
        }
    }

    pub(in crate::node) fn set_external_addr(
        &mut self,
        m: &mut Memory<'_>,
        now: Instant,
        addr: Endpoint,
    ) -> Result<(), AddressRefused> {
        self.advance(now);
        if !self.may_be_ours(addr) {
            return Err(AddressRefused);
        }
        let external = &mut self.family_mut(addr.family()).external;
        let before = external.known();
        if external.set(addr) {
            self.adopt_address(m, addr, before.is_some());
        }
        Ok(())
    }

    /// Returns the part of the voters' memory that a family uses: half of it if both families are on.
    pub(in crate::node) const fn voters_of(&self, family: Family, len: usize) -> Range<usize> {
        match (self.config.ipv4 && self.config.ipv6, family) {
            (false, _) => 0..len,
            (true, Family::V4) => 0..len / 2,
            (true, Family::V6) => len / 2..len,
        }
    }

    fn may_be_ours(&self, addr: Endpoint) -> bool {
        // The port may be missing.
        self.may_contact(addr.with_port(1))
    }

    /// Adopts a new external address; `has_moved` if another one was known before.
    fn adopt_address(&mut self, m: &mut Memory<'_>, addr: Endpoint, has_moved: bool) {
        let family = addr.family();
        let old = self.family(family).id;
        let fits = !self.config.secure_ids || is_secure(&old, addr);
        if has_moved {
            self.drop_address(m, family);
        }
        if !fits {
            let new = NodeId::secure_for(addr.ip(), self.rng.bytes());
            self.change_id(m, family, new);
        }
        // Last, because the events of moved nodes may overflow the ring.
        let endpoint = self.family(family).external.known().map_or(addr, Endpoint::from);
        debug!("our external address is {}", SocketAddr::from(endpoint));
        self.notify(m, PackedEvent { kind: PackedKind::ExternalAddr, endpoint, ..PackedEvent::EMPTY });
        if !fits {
            let kind = if family == Family::V4 { PackedKind::IdChangedV4 } else { PackedKind::IdChangedV6 };
            self.notify(m, PackedEvent { kind, id: old, ..PackedEvent::EMPTY });
        }
    }

    /// Changes the node's id; everything in progress continues.
    fn change_id(&mut self, m: &mut Memory<'_>, family: Family, id: NodeId) {
        let events = core::mem::take(&mut m.events);
        let state = &mut self.families[family.index()];
        state.id = id;
        state.table_mut(m).rehome(id, self.now, |change| {
            let (kind, Contact { id, endpoint }) = match change {
                Move::Out(contact) => (PackedKind::NodeRemoved, contact),
                Move::In(contact) => (PackedKind::NodeAdded, contact),
            };
            let event = PackedEvent { kind, id, endpoint, ..PackedEvent::EMPTY };
            self.stats.events_lost += self.events.push(events, event);
        });
        m.events = events;
        self.schedule_bootstrap(family);
    }
}
