//! A table together with the memory that belongs to it.

use core::time::Duration;

use heapless::Vec;

use super::{
    Ages, BucketInfo, Contact, Entry, Filter, InsertKind, InsertResult, Move, Nodes, Removal, Slots, Table,
};
use crate::base::addr::{Endpoint, Family};
use crate::base::id::NodeId;
use crate::base::rng::Rng;
use crate::base::time::Instant;

/// A table and its memory.
pub(crate) struct TableMut<'a> {
    pub(crate) head: &'a mut Table,
    pub(crate) slots: Slots<'a>,
}

/// A table and its nodes, to read.
#[derive(Clone, Copy)]
pub(crate) struct TableRef<'a> {
    pub(crate) head: &'a Table,
    pub(crate) nodes: Nodes<'a>,
}

impl Table {
    /// Returns the family of the nodes.
    pub(crate) const fn family(&self) -> Family {
        self.family
    }
}

impl TableMut<'_> {
    #[inline]
    pub(crate) fn is_known(&mut self, contact: Contact) -> bool {
        self.head.is_known(&mut self.slots, contact)
    }

    #[inline]
    pub(crate) fn contains(&self, contact: Contact) -> bool {
        self.head.contains(self.slots.nodes(), contact)
    }

    #[inline]
    pub(crate) fn on_response(&mut self, contact: Contact, rtt: Duration, now: Instant) -> InsertResult {
        self.head.on_response(&mut self.slots, contact, rtt, now)
    }

    #[inline]
    pub(crate) fn on_query(&mut self, contact: Contact, now: Instant) -> InsertKind {
        self.head.on_query(&mut self.slots, contact, now)
    }

    #[inline]
    pub(crate) fn on_failure(&mut self, contact: Contact, now: Instant) -> Option<Removal> {
        self.head.on_failure(&mut self.slots, contact, now)
    }

    #[inline]
    pub(crate) fn is_alive_yet_failing(&mut self, contact: Contact, now: Instant) -> bool {
        self.head.is_alive_yet_failing(&mut self.slots, contact, now)
    }

    #[inline]
    pub(crate) fn suspect(&mut self, contact: Contact, now: Instant) {
        self.head.suspect(&mut self.slots, contact, now);
    }

    #[inline]
    pub(crate) fn remove(&mut self, contact: Contact, now: Instant) -> Option<Removal> {
        self.head.remove(&mut self.slots, contact, now)
    }

    #[inline]
    pub(crate) fn clear(&mut self, now: Instant) {
        self.head.clear(self.slots.buckets, now);
    }

    #[inline]
    pub(crate) fn rehome(&mut self, own: NodeId, now: Instant, report: impl FnMut(Move)) {
        self.head.rehome(&mut self.slots, own, now, report);
    }

    #[inline]
    pub(crate) fn next_ping(&mut self, defer_unverified: bool, now: Instant) -> Option<Contact> {
        self.head.next_ping(&mut self.slots, defer_unverified, now)
    }

    #[inline]
    pub(crate) fn ping_lost(&mut self, contact: Contact, now: Instant) {
        self.head.ping_lost(&mut self.slots, contact, now);
    }

    #[inline]
    pub(crate) fn next_refresh(&mut self, rng: &mut Rng, now: Instant) -> Option<NodeId> {
        self.head.next_refresh(self.slots.buckets, rng, now)
    }
}

/// Restored nodes.
impl TableMut<'_> {
    pub(crate) fn restore(
        &mut self,
        contact: Contact,
        rtt: Option<Duration>,
        ages: Ages,
        now: Instant,
    ) -> bool {
        self.head.restore(&mut self.slots, contact, rtt, ages, now)
    }

    #[inline]
    pub(crate) fn take_restored(&mut self, endpoint: Endpoint) -> Option<Entry> {
        self.head.take_restored(&mut self.slots, endpoint)
    }

    #[inline]
    pub(crate) fn next_restored(&mut self, now: Instant) -> Option<Contact> {
        self.head.next_restored(&mut self.slots, now)
    }

    #[inline]
    pub(crate) fn restored_unsent(&mut self, endpoint: Endpoint, now: Instant) {
        self.head.restored_unsent(&mut self.slots, endpoint, now);
    }

    #[inline]
    pub(crate) fn restored_failed(&mut self, endpoint: Endpoint) {
        self.head.restored_failed(&mut self.slots, endpoint);
    }
}

impl<'a> TableRef<'a> {
    #[inline]
    pub(crate) fn iter(self) -> impl Iterator<Item = &'a Entry> + use<'a> {
        self.head.iter(self.nodes)
    }

    #[inline]
    pub(crate) fn closest<const N: usize>(
        self,
        target: &NodeId,
        filter: Filter,
        now: Instant,
    ) -> Vec<&'a Entry, N> {
        self.head.closest(self.nodes, target, filter, now)
    }

    #[inline]
    pub(crate) fn closest_restored<const N: usize>(self, target: &NodeId) -> Vec<Contact, N> {
        self.head.closest_restored(self.nodes, target)
    }

    pub(crate) fn all_restored(self) -> impl Iterator<Item = &'a Entry> + use<'a> {
        self.head.all_restored(self.nodes)
    }

    pub(crate) fn occupancy(self, now: Instant) -> impl Iterator<Item = BucketInfo> + use<'a> {
        self.head.occupancy(self.nodes, now)
    }

    /// Returns the number of nodes in each bucket, and how many fit.
    pub(crate) fn buckets(self) -> impl Iterator<Item = (usize, usize)> {
        self.head.buckets(self.nodes.buckets)
    }
}
