//! Nodes of a saved state: known from before a restart, and unverified until they respond (BEP 5).
//!
//! They occupy the places of the buckets that are not yet taken by verified nodes, so they need no memory of
//! their own: entries `start + len..start + len + restored` of a bucket, best first. It does not matter which
//! bucket lends its places to a node, and the id of a node may be unknown (zero). Each of them is pinged. A
//! response moves it into the table like any other node, two failures remove it, and a newcomer that needs
//! the place of the last one takes it.

use core::ops::Range;
use core::time::Duration;

use heapless::Vec;

use super::entry::{BAD, MIN_INTERVAL};
use super::maintenance::second_after;
use super::{Contact, Entry, Nodes, Slots, Table};
use crate::base::addr::Endpoint;
use crate::base::id::NodeId;
use crate::base::time::Instant;

/// Maximum age in seconds; larger ones are clamped, because the 32-bit seconds of an entry wrap around.
const OLDEST: u32 = 10 * 365 * 24 * 60 * 60;

/// How long ago a saved node was last heard from, and first known.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Ages {
    pub(crate) silent: Duration,
    pub(crate) known: Duration,
}

impl Table {
    /// Adds a node of a saved state after those added before.
    ///
    /// Returns false if the node is already known, is not eligible, or there is no room.
    pub(crate) fn restore(
        &mut self,
        slots: &mut Slots<'_>,
        contact: Contact,
        rtt: Option<Duration>,
        ages: Ages,
        now: Instant,
    ) -> bool {
        let Contact { id, endpoint } = contact;
        if id == self.own || endpoint.family() != self.family || self.depth() == 0 {
            return false;
        }
        let is_known = self.find_source(slots, endpoint).is_some()
            || self.all_restored(slots.nodes()).any(|entry| self.is_same_source(entry, endpoint));
        let home = if id == NodeId::ZERO { 0 } else { self.bucket_of(&id) };
        let bucket =
            [home].into_iter().chain(0..self.depth()).find(|&bucket| slots.buckets[bucket].room() > 0);
        let Some(bucket) = bucket.filter(|_| !is_known) else { return false };
        let ago = |age: Duration| now.secs().before(age.as_secs().min(OLDEST.into()) as u32);
        let mut entry = Entry::unverified(contact, now.secs());
        (entry.heard, entry.answered, entry.added) =
            (ago(ages.silent), ago(ages.silent), ago(ages.known.max(ages.silent)));
        if let Some(rtt) = rtt {
            entry.rtt = rtt.as_millis().min(u128::from(u16::MAX)) as u16;
        }
        let end = slots.nodes().restored(bucket).end;
        slots.entries[end] = entry;
        slots.buckets[bucket].restored += 1;
        self.restored += 1;
        self.restored_due = now;
        true
    }

    /// Returns the number of nodes that have not responded since they were restored.
    pub(crate) const fn restored(&self) -> usize {
        self.restored as usize
    }

    pub(crate) fn all_restored<'e>(&self, nodes: Nodes<'e>) -> impl Iterator<Item = &'e Entry> + use<'e> {
        let depth = if self.restored == 0 { 0 } else { self.depth() };
        (0..depth).flat_map(move |bucket| &nodes.entries[nodes.restored(bucket)])
    }

    /// Returns the next restored node to ping, nearest buckets first, and marks it as pinged.
    ///
    /// The zero id means that the id is unknown.
    pub(crate) fn next_restored(&mut self, slots: &mut Slots<'_>, now: Instant) -> Option<Contact> {
        if self.restored_due > now {
            return None;
        }
        let mut soonest = None;
        let depth = if self.restored == 0 { 0 } else { self.depth() };
        for bucket in (0..depth).rev() {
            for index in slots.nodes().restored(bucket) {
                let entry = &mut slots.entries[index];
                let wait = MIN_INTERVAL.saturating_sub(now.secs().since(entry.tried));
                if wait == 0 {
                    entry.tried = now.secs();
                    return Some(entry.contact());
                }
                soonest = Some(soonest.map_or(wait, |soonest: u32| soonest.min(wait)));
            }
        }
        self.restored_due = soonest.map_or(Instant::NEVER, |wait| second_after(now, wait));
        None
    }

    /// Returns when to call [`Table::next_restored`] next.
    pub(crate) fn restored_due(&self) -> Option<Instant> {
        (self.restored_due != Instant::NEVER).then_some(self.restored_due)
    }

    /// Records that the ping of a restored node was not sent.
    pub(crate) fn restored_unsent(&mut self, slots: &mut Slots<'_>, endpoint: Endpoint, now: Instant) {
        if let Some((_, index)) = self.find_restored(slots.nodes(), endpoint) {
            slots.entries[index].tried = now.secs().before(MIN_INTERVAL);
            self.restored_due = now;
        }
    }

    /// Records that a query to this endpoint failed through the fault of the node.
    pub(crate) fn restored_failed(&mut self, slots: &mut Slots<'_>, endpoint: Endpoint) {
        if let Some((bucket, index)) = self.find_restored(slots.nodes(), endpoint) {
            let entry = &mut slots.entries[index];
            entry.failures += 1;
            if entry.failures >= BAD {
                self.remove_restored(slots, bucket, index);
            }
        }
    }

    /// Removes and returns the restored node at this endpoint.
    ///
    /// It has responded and is now treated like any other node.
    pub(crate) fn take_restored(&mut self, slots: &mut Slots<'_>, endpoint: Endpoint) -> Option<Entry> {
        let (bucket, index) = self.find_restored(slots.nodes(), endpoint)?;
        let entry = slots.entries[index];
        self.remove_restored(slots, bucket, index);
        Some(entry)
    }

    /// Returns the `N` restored nodes closest to `target`; nodes whose id is unknown come last.
    pub(crate) fn closest_restored<const N: usize>(
        &self,
        nodes: Nodes<'_>,
        target: &NodeId,
    ) -> Vec<Contact, N> {
        let key = |contact: &Contact| (contact.id == NodeId::ZERO, contact.id.distance(target));
        let mut closest = Vec::<Contact, N>::new();
        for contact in self.all_restored(nodes).map(Entry::contact) {
            let place = closest.partition_point(|other| key(other) <= key(&contact));
            if closest.is_full() && place < N {
                closest.pop();
            }
            // Fails only if the node is farther than all nodes of a full list.
            let _ = closest.insert(place, contact);
        }
        closest
    }

    /// Clears the place after the nodes of a bucket for a new one, if it is lent to a restored node.
    pub(super) fn clear_place(&mut self, slots: &mut Slots<'_>, bucket: usize) {
        let Range { start, end } = slots.nodes().restored(bucket);
        if start == end {
            return;
        }
        if slots.buckets[bucket].room() > 0 {
            slots.entries.copy_within(start..end, start + 1);
        } else {
            slots.entries.copy_within(start..end - 1, start + 1);
            slots.buckets[bucket].restored -= 1;
            self.restored -= 1;
        }
    }

    /// Moves the restored nodes of a bucket up after a node was removed from it.
    pub(super) fn close_gap(slots: &mut Slots<'_>, bucket: usize) {
        let Range { start, end } = slots.nodes().restored(bucket);
        slots.entries.copy_within(start + 1..end + 1, start);
    }

    fn find_restored(&self, nodes: Nodes<'_>, endpoint: Endpoint) -> Option<(usize, usize)> {
        let depth = if self.restored == 0 { 0 } else { self.depth() };
        (0..depth).find_map(|bucket| {
            let mut places = nodes.restored(bucket);
            places.find(|&index| nodes.entries[index].endpoint == endpoint).map(|index| (bucket, index))
        })
    }

    fn remove_restored(&mut self, slots: &mut Slots<'_>, bucket: usize, index: usize) {
        let end = slots.nodes().restored(bucket).end;
        slots.entries.copy_within(index + 1..end, index);
        slots.buckets[bucket].restored -= 1;
        self.restored -= 1;
    }
}

impl Nodes<'_> {
    /// Returns the places that a bucket lends to restored nodes, as indices into `entries`.
    fn restored(&self, bucket: usize) -> Range<usize> {
        let start = self.range(bucket).end;
        start..start + self.buckets.get(bucket).map_or(0, |bucket| bucket.restored.into())
    }
}

impl super::Bucket {
    /// Returns the number of unused places.
    const fn room(&self) -> u16 {
        self.capacity - self.len - self.restored
    }
}
