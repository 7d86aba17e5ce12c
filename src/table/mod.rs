//! The routing table of one address family: which nodes are known, and which of them are good (BEP 5).
//!
//! - `closest`: the nodes closest to a target
//! - `entry`: what is known of one node
//! - `eviction`: which node is evicted from a full bucket, and which replacement is promoted
//! - `maintenance`: pings of silent nodes and newcomers, refreshes of silent buckets
//! - `occupancy`: node counts of each bucket
//! - `rehome`: redistribution of the nodes when the local id changes (BEP 42)
//! - `restored`: unverified nodes of a saved state
//! - `shares`: limits on the entries of one subnet
//! - `tests`: tests of the whole table
//!
//! Bucket `i` holds nodes that share exactly `i` leading bits with the local id; the last bucket holds all
//! nodes that share more. Capacities are fixed at creation by the memory provided: every bucket gets K = 8
//! entries (nearest buckets first), and the remaining memory extends the low buckets, so 400 entries make
//! buckets of 128, 64, 32, 16 and twenty times 8. This takes the place of the splitting of BEP 5.
//!
//! A bucket contains verified nodes only: nodes that have responded to a query (`entries`). A node that has
//! only sent queries is held among the replacements of its bucket (`replacements`) until a ping verifies it,
//! and so is a node that responded while the bucket was full. A querying node is pinged only after a NAT in
//! front of it would have closed the mapping again, because nodes that others cannot reach are not replacement_rank
//! passing on. While fewer than 8 nodes are known, all querying nodes are pinged at once, newest first.
//! Conflicts are decided in favor of the older entry: unless that entry is bad, a known id does not move to a
//! new address, and a known IP does not get a second id or port. But an address that *responds* with another
//! id loses its entry at once.
//!
//! An entry is *good* if it is verified, was heard from within 15 minutes, and no query sent to it since then
//! has failed. It is *bad* after two failures in a row. A bad entry is evicted as soon as a verified node can
//! take its place, and after three failures in any case; a replacement is evicted after two.
//!
//! A full bucket accepts a verified newcomer in place of a bad entry. Otherwise, a newcomer that falls into an
//! empty part of the range of the bucket, or responds twice as fast as another node in its part, replaces the
//! slowest node there, but never one known for an hour: nodes that have stayed for long tend to stay longer, and
//! a fast attacker must not drain the table. An id that matches its address (BEP 42) takes precedence over speed.
//!
//! The table never waits or sends. [`Table::next_ping`] and [`Table::next_refresh`] return what to do next,
//! [`Table::ping_due`] and [`Table::refresh_due`] when to call them again.

mod access;
mod closest;
mod entry;
mod eviction;
mod maintenance;
mod occupancy;
mod rehome;
mod restored;
mod shares;

#[cfg(test)]
mod tests;

use core::ops::Range;
use core::time::Duration;

pub(crate) use access::{TableMut, TableRef};
pub(crate) use closest::Filter;
use entry::{BAD, HOPELESS};
pub(crate) use entry::{Contact, Entry};
pub use occupancy::BucketInfo;
pub(crate) use rehome::Move;
pub(crate) use restored::Ages;

use crate::base::addr::{Endpoint, Family};
use crate::base::id::{K, NodeId};
use crate::base::time::{Instant, Secs};

/// Maximum number of buckets: in a network of 2^24 nodes, one is expected to share more than 24 bits with ours.
const MAX_DEPTH: usize = 24;
/// Maximum number of replacements of a bucket, as many as the smallest bucket has places.
const MAX_REPLACEMENTS: usize = K;
/// Seconds after a response within which a node counts as alive: it may fail once, but not twice.
const ALIVE: u32 = 3 * 60;
/// Age in seconds from which an entry is no longer evicted in favor of a better newcomer.
const ELDER: u32 = 60 * 60;
/// Seconds after a response within which a node need not be pinged again because a neighbour lied.
const PROVEN: u32 = 5 * 60;

/// The memory of a table; its sizes are fixed at creation.
pub(crate) struct Slots<'a> {
    pub(crate) buckets: &'a mut [Bucket],
    pub(crate) entries: &'a mut [Entry],
    pub(crate) replacements: &'a mut [Entry],
}

/// A shared view of the buckets and their nodes, without replacements.
#[derive(Clone, Copy)]
pub(crate) struct Nodes<'a> {
    pub(crate) buckets: &'a [Bucket],
    pub(crate) entries: &'a [Entry],
}

/// How the table handled a node that was heard from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InsertKind {
    /// The node was known already.
    Refreshed,
    /// The node was added to a bucket.
    Added,
    /// The node was added to the replacements.
    Cached,
    /// The node was not stored.
    Ignored,
    /// The address was known under another id. That entry was removed, and the node was not stored.
    IdChanged,
}

/// The changes to the table after a node was heard from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct InsertResult {
    pub(crate) kind: InsertKind,
    /// The node that was evicted for the new one, or because of what its response revealed.
    pub(crate) removal: Option<Removal>,
}

/// A node that left its bucket, and the replacement that was promoted in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Removal {
    pub(crate) removed: Contact,
    pub(crate) promoted: Option<Contact>,
}

/// Whether the entries of one subnet are limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
enum Shares {
    Unlimited,
    Limited,
    /// Limited, and a small table has refused a node for it since the last lookup of a random target.
    Exceeded,
}

/// The head of a table: all state except the buckets and their entries.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub(crate) struct Table {
    own: NodeId,
    /// Bit `i` is set while bucket `i` holds a node.
    occupied: u32,
    /// Lower bounds of the times at which there is work.
    ping_due: Instant,
    refresh_due: Instant,
    restored_due: Instant,
    len: u16,
    restored: u16,
    depth: u8,
    replacements_each: u8,
    family: Family,
    shares: Shares,
}

/// A bucket, whose nodes are `start..start + len` of `entries`, sorted by id.
///
/// Zeroed memory is a valid unused bucket.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub(crate) struct Bucket {
    start: u16,
    capacity: u16,
    len: u16,
    replacements: u8,
    pinging: bool,
    /// Number of places after the nodes that are lent to restored nodes.
    restored: u16,
    /// When a node last responded, was added or was replaced, or a refresh was started.
    changed: Secs,
    /// Lower bound of the time of the next ping; while a ping is in flight, when it counts as lost.
    due: Secs,
}

impl Bucket {
    pub(crate) const EMPTY: Self = Self {
        start: 0,
        capacity: 0,
        len: 0,
        replacements: 0,
        pinging: false,
        restored: 0,
        changed: Secs::ZERO,
        due: Secs::ZERO,
    };

    const fn is_full(&self) -> bool {
        self.len == self.capacity
    }
}

/// The place of an entry, as an index into `entries` or `replacements`.
#[derive(Clone, Copy, Debug)]
enum Place {
    Entry(usize),
    Replacement(usize),
}

impl Table {
    /// Creates an empty table around the local id `own` and lays out its buckets in the memory provided.
    ///
    /// There should be [`bucket_count`] buckets. With `source_limits`, a source is an IP address, and subnets
    /// have limited shares of the table; without, a source is an endpoint.
    pub(crate) fn new(
        family: Family,
        own: NodeId,
        slots: &mut Slots<'_>,
        source_limits: bool,
        now: Instant,
    ) -> Self {
        let entries = slots.entries.len().min(usize::from(u16::MAX));
        let depth = slots.buckets.len().min((entries / K).clamp(1, MAX_DEPTH));
        let first = first_capacity(entries, depth);
        let mut start = 0;
        for (index, bucket) in slots.buckets.iter_mut().enumerate().take(depth) {
            let capacity = capacity(first, index).min(entries) as u16;
            *bucket = Bucket { start, capacity, changed: now.secs(), due: now.secs(), ..Bucket::EMPTY };
            start += capacity;
        }
        let replacements_each =
            slots.replacements.len().checked_div(depth).unwrap_or(0).min(MAX_REPLACEMENTS) as u8;
        Self {
            own,
            occupied: 0,
            ping_due: Instant::NEVER,
            refresh_due: Instant::NEVER,
            restored_due: Instant::NEVER,
            len: 0,
            restored: 0,
            depth: depth as u8,
            replacements_each,
            family,
            shares: if source_limits { Shares::Limited } else { Shares::Unlimited },
        }
    }

    /// Returns the number of nodes in the buckets. Each of them has responded at least once.
    pub(crate) const fn len(&self) -> usize {
        self.len as usize
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Iterates over the number of nodes and the capacity of each bucket, farthest from the local id first.
    pub(crate) fn buckets(&self, buckets: &[Bucket]) -> impl Iterator<Item = (usize, usize)> {
        buckets[..self.depth()].iter().map(|bucket| (bucket.len.into(), bucket.capacity.into()))
    }

    /// Iterates over the nodes of all buckets, farthest from the local id first, and by id within each bucket.
    pub(crate) fn iter<'e>(&self, nodes: Nodes<'e>) -> impl Iterator<Item = &'e Entry> + use<'e> {
        (0..self.depth()).flat_map(move |bucket| &nodes.entries[nodes.range(bucket)])
    }

    /// Whether a bucket contains a node with this id and address.
    pub(crate) fn contains(&self, nodes: Nodes<'_>, contact: Contact) -> bool {
        self.find_id(nodes, &contact.id).is_ok_and(|index| nodes.entries[index].endpoint == contact.endpoint)
    }

    /// Whether a node with this id and address is in a bucket or among the replacements.
    pub(crate) fn is_known(&self, slots: &mut Slots<'_>, contact: Contact) -> bool {
        self.find(slots, contact).is_some()
    }

    /// Records that a node responded to a query after `rtt`.
    pub(crate) fn on_response(
        &mut self,
        slots: &mut Slots<'_>,
        contact: Contact,
        rtt: Duration,
        now: Instant,
    ) -> InsertResult {
        let bucket = self.bucket_of(&contact.id);
        let same_id = self.find_id(slots.nodes(), &contact.id).ok();
        if let Some(index) = same_id
            && slots.entries[index].endpoint == contact.endpoint
        {
            let entry = &mut slots.entries[index];
            let was_pinging = entry.pinging;
            entry.record_response(rtt, now.secs());
            slots.buckets[bucket].changed = now.secs();
            self.end_ping(slots, bucket, was_pinging, now);
            let removal = self.remove_surplus(slots, now);
            return InsertResult { kind: InsertKind::Refreshed, removal };
        }

        let mut entry = Entry::unverified(contact, now.secs());
        if let Some(old) = self.take_restored(slots, contact.endpoint).filter(|old| old.id == contact.id) {
            // The node was known before the restart.
            entry.added = old.added;
        }
        if let Some(place) = self.find_source(slots, contact.endpoint) {
            let old = *slots.at(place);
            if old.contact() == contact {
                entry = old;
            } else if old.endpoint == contact.endpoint {
                if let Place::Entry(_) = place {
                    self.suspect_neighbours(slots, &old, now.secs());
                }
                return InsertResult { kind: InsertKind::IdChanged, removal: self.evict(slots, place, now) };
            }
            if let Some(outcome) = self.resolve_conflict(slots, place, contact, now) {
                return outcome;
            }
        }
        let same_id = same_id.map(Place::Entry).or_else(|| self.find_replacement(slots, &contact.id));
        if let Some(place) = same_id
            && let Some(outcome) = self.resolve_conflict(slots, place, contact, now)
        {
            return outcome;
        }
        if !self.admits(&contact) {
            return InsertResult::of(InsertKind::Ignored);
        }
        if self.is_crowded(slots, contact) {
            self.note_excess(now);
            return InsertResult::of(InsertKind::Ignored);
        }
        entry.record_response(rtt, now.secs());
        let mut outcome = self.place(slots, bucket, entry, now);
        if outcome.kind == InsertKind::Added && outcome.removal.is_none() {
            outcome.removal = self.remove_surplus(slots, now);
        }
        outcome
    }

    /// Records that a node sent a query.
    pub(crate) fn on_query(&mut self, slots: &mut Slots<'_>, contact: Contact, now: Instant) -> InsertKind {
        let bucket = self.bucket_of(&contact.id);
        let same_id = self.find_id(slots.nodes(), &contact.id).ok().map(Place::Entry);
        if let Some(place) = same_id.or_else(|| self.find_replacement(slots, &contact.id)) {
            let entry = slots.at(place);
            if entry.endpoint != contact.endpoint {
                return InsertKind::Ignored;
            }
            entry.heard = now.secs();
            return InsertKind::Refreshed;
        }
        // Cheap checks first: most queries come from nodes that will not be stored.
        let entry = Entry::unverified(contact, now.secs());
        if !self.admits(&contact)
            || !self.has_replacement_place(slots, bucket, &entry, now.secs())
            || self.find_source(slots, contact.endpoint).is_some()
            || self.is_crowded(slots, contact)
        {
            return InsertKind::Ignored;
        }
        self.cache(slots, bucket, entry, now);
        self.wake(slots, bucket, self.verification_delay(), now);
        if self.has_few() {
            self.ping_due = self.ping_due.min(now);
        }
        InsertKind::Cached
    }

    /// Records that a query to a node was not answered.
    ///
    /// Must be called once per query, and not while the local link may be down.
    pub(crate) fn on_failure(
        &mut self,
        slots: &mut Slots<'_>,
        contact: Contact,
        now: Instant,
    ) -> Option<Removal> {
        let place = self.find(slots, contact)?;
        let bucket = self.bucket_of(&contact.id);
        let can_replace = self.verified_replacement(slots, bucket, now.secs()).is_some();
        let entry = slots.at(place);
        let was_pinging = entry.pinging;
        entry.failures = entry.failures.saturating_add(1);
        (entry.pinging, entry.suspect, entry.tried) = (false, false, now.secs());
        let limit = match place {
            Place::Entry(_) if !can_replace => HOPELESS,
            _ => BAD,
        };
        let is_over = entry.failures >= limit;
        self.end_ping(slots, bucket, was_pinging, now);
        self.wake(slots, bucket, 0, now);
        if is_over { self.evict(slots, place, now) } else { None }
    }

    /// Whether a node has failed but responded recently, so that another failure must not be counted yet.
    ///
    /// If three in ten datagrams are lost, every fourth node fails twice in a row.
    pub(crate) fn is_alive_yet_failing(&self, slots: &mut Slots<'_>, contact: Contact, now: Instant) -> bool {
        self.find(slots, contact).is_some_and(|place| {
            let entry = slots.at(place);
            entry.failures > 0 && entry.is_verified() && now.secs().since(entry.answered) < ALIVE
        })
    }

    /// Schedules a ping of a node that did not answer a query which it need not support.
    pub(crate) fn suspect(&mut self, slots: &mut Slots<'_>, contact: Contact, now: Instant) {
        if let Some(place @ Place::Entry(_)) = self.find(slots, contact) {
            let entry = slots.at(place);
            entry.suspect = true;
            let wait = entry.wait(now.secs());
            self.wake(slots, self.bucket_of(&contact.id), wait, now);
        }
    }

    /// Removes a node from its bucket or from the replacements.
    pub(crate) fn remove(
        &mut self,
        slots: &mut Slots<'_>,
        contact: Contact,
        now: Instant,
    ) -> Option<Removal> {
        let place = self.find(slots, contact)?;
        self.evict(slots, place, now)
    }

    /// Removes all nodes.
    pub(crate) fn clear(&mut self, buckets: &mut [Bucket], now: Instant) {
        for bucket in buckets {
            (bucket.len, bucket.replacements, bucket.restored) = (0, 0, 0);
            (bucket.pinging, bucket.changed) = (false, now.secs());
        }
        (self.len, self.restored, self.occupied) = (0, 0, 0);
        (self.ping_due, self.refresh_due, self.restored_due) =
            (Instant::NEVER, Instant::NEVER, Instant::NEVER);
    }

    const fn depth(&self) -> usize {
        self.depth as usize
    }

    fn bucket_of(&self, id: &NodeId) -> usize {
        let shared = (self.own.head() ^ id.head()).leading_zeros() as usize;
        shared.min(self.depth().saturating_sub(1))
    }

    /// Returns the replacements of a bucket, as indices into `replacements`.
    fn replacements(&self, slots: &Slots<'_>, bucket: usize) -> Range<usize> {
        let start = bucket * usize::from(self.replacements_each);
        start..start + slots.buckets.get(bucket).map_or(0, |bucket| bucket.replacements.into())
    }

    /// Whether a node is eligible for this table at all.
    fn admits(&self, contact: &Contact) -> bool {
        contact.id != self.own
            && contact.id != NodeId::ZERO
            && contact.endpoint.family() == self.family
            && self.depth > 0
    }

    /// Returns the index of an id in `entries`, or the index at which it would be inserted.
    fn find_id(&self, nodes: Nodes<'_>, id: &NodeId) -> Result<usize, usize> {
        let range = nodes.range(self.bucket_of(id));
        let start = range.start;
        let head = id.head();
        nodes.entries[range]
            .binary_search_by(|entry| entry.id.head().cmp(&head).then_with(|| entry.id.cmp(id)))
            .map(|offset| start + offset)
            .map_err(|offset| start + offset)
    }

    fn find_replacement(&self, slots: &Slots<'_>, id: &NodeId) -> Option<Place> {
        let mut replacements = self.replacements(slots, self.bucket_of(id));
        replacements.find(|&index| slots.replacements[index].id == *id).map(Place::Replacement)
    }

    /// Finds a node with this id and address in its bucket or among the replacements.
    fn find(&self, slots: &mut Slots<'_>, contact: Contact) -> Option<Place> {
        let entries = self.find_id(slots.nodes(), &contact.id).ok().map(Place::Entry);
        entries
            .or_else(|| self.find_replacement(slots, &contact.id))
            .filter(|&place| slots.at(place).endpoint == contact.endpoint)
    }

    /// Finds the only entry or replacement with the source of this endpoint: its IP address or, without limits, itself.
    fn find_source(&self, slots: &Slots<'_>, endpoint: Endpoint) -> Option<Place> {
        let is_same = |entry: &Entry| self.is_same_source(entry, endpoint);
        (0..self.depth()).find_map(|bucket| {
            let entries =
                slots.nodes().range(bucket).find(|&index| is_same(&slots.entries[index])).map(Place::Entry);
            entries.or_else(|| {
                self.replacements(slots, bucket)
                    .find(|&index| is_same(&slots.replacements[index]))
                    .map(Place::Replacement)
            })
        })
    }

    fn is_same_source(&self, entry: &Entry, endpoint: Endpoint) -> bool {
        if self.has_shares() {
            entry.endpoint.ip_bytes() == endpoint.ip_bytes()
        } else {
            entry.endpoint == endpoint
        }
    }

    /// Resolves a conflict with an older entry. `None` means that the newcomer may be inserted.
    fn resolve_conflict(
        &mut self,
        slots: &mut Slots<'_>,
        place: Place,
        newcomer: Contact,
        now: Instant,
    ) -> Option<InsertResult> {
        let old = *slots.at(place);
        if old.contact() != newcomer && old.is_verified() && !old.is_bad() {
            return Some(InsertResult::of(InsertKind::Ignored));
        }
        // One change at a time: after a removal, the newcomer may be inserted when it next responds.
        let removal = self.evict(slots, place, now)?;
        Some(InsertResult { kind: InsertKind::Ignored, removal: Some(removal) })
    }

    /// Inserts a node that has just responded and is not known yet into its bucket or its replacements.
    fn place(&mut self, slots: &mut Slots<'_>, bucket: usize, entry: Entry, now: Instant) -> InsertResult {
        let victim = if slots.buckets[bucket].is_full() {
            let Some(victim) = self.victim(slots.nodes(), bucket, &entry, now.secs()) else {
                let kept = self.cache(slots, bucket, entry, now);
                self.wake(slots, bucket, 0, now);
                return InsertResult::of(if kept { InsertKind::Cached } else { InsertKind::Ignored });
            };
            Some(self.take_entry(slots, bucket, victim, now))
        } else {
            None
        };
        self.insert(slots, bucket, entry, now);
        if let Some(victim) = victim.filter(|victim| !victim.is_bad()) {
            self.cache(slots, bucket, victim, now);
        }
        let removal = victim.map(|victim| Removal { removed: victim.contact(), promoted: None });
        InsertResult { kind: InsertKind::Added, removal }
    }

    fn insert(&mut self, slots: &mut Slots<'_>, bucket: usize, entry: Entry, now: Instant) {
        self.clear_place(slots, bucket);
        let (Ok(index) | Err(index)) = self.find_id(slots.nodes(), &entry.id);
        let end = slots.nodes().range(bucket).end;
        slots.entries.copy_within(index..end, index + 1);
        slots.entries[index] = entry;
        let was_empty = slots.buckets[bucket].len == 0;
        slots.buckets[bucket].len += 1;
        slots.buckets[bucket].changed = now.secs();
        self.len += 1;
        self.occupied |= 1 << bucket;
        self.wake(slots, bucket, entry.wait(now.secs()), now);
        if was_empty {
            self.refresh_due = now;
        }
    }

    fn take_entry(&mut self, slots: &mut Slots<'_>, bucket: usize, index: usize, now: Instant) -> Entry {
        let entry = slots.entries[index];
        let end = slots.nodes().range(bucket).end;
        slots.entries.copy_within(index + 1..end, index);
        slots.buckets[bucket].len -= 1;
        Self::close_gap(slots, bucket);
        self.len -= 1;
        if slots.buckets[bucket].len == 0 {
            self.occupied &= !(1 << bucket);
        }
        self.end_ping(slots, bucket, entry.pinging, now);
        Entry { pinging: false, ..entry }
    }

    fn take_replacement(
        &mut self,
        slots: &mut Slots<'_>,
        bucket: usize,
        index: usize,
        now: Instant,
    ) -> Entry {
        let entry = slots.replacements[index];
        slots.replacements[index] = slots.replacements[self.replacements(slots, bucket).end - 1];
        slots.buckets[bucket].replacements -= 1;
        self.end_ping(slots, bucket, entry.pinging, now);
        Entry { pinging: false, ..entry }
    }

    /// Removes an entry and promotes the best verified replacement into its place.
    fn evict(&mut self, slots: &mut Slots<'_>, place: Place, now: Instant) -> Option<Removal> {
        let bucket = self.bucket_of(&slots.at(place).id);
        match place {
            Place::Replacement(index) => {
                self.take_replacement(slots, bucket, index, now);
                None
            }
            Place::Entry(index) => {
                let removed = self.take_entry(slots, bucket, index, now).contact();
                let best = self.verified_replacement(slots, bucket, now.secs());
                let promoted = best.map(|index| self.take_replacement(slots, bucket, index, now));
                if let Some(entry) = promoted {
                    self.insert(slots, bucket, entry, now);
                }
                self.wake(slots, bucket, 0, now);
                Some(Removal { removed, promoted: promoted.map(|entry| entry.contact()) })
            }
        }
    }

    /// Stores a node as a replacement if there is a free place or one of lower rank.
    ///
    /// Returns whether it was stored.
    fn cache(&mut self, slots: &mut Slots<'_>, bucket: usize, entry: Entry, now: Instant) -> bool {
        if !self.has_replacement_place(slots, bucket, &entry, now.secs()) {
            return false;
        }
        if slots.buckets[bucket].replacements == self.replacements_each {
            let worst = self
                .replacements(slots, bucket)
                .min_by_key(|&index| slots.replacements[index].replacement_rank(now.secs()));
            worst.map(|index| self.take_replacement(slots, bucket, index, now));
        }
        slots.replacements[self.replacements(slots, bucket).end] = entry;
        slots.buckets[bucket].replacements += 1;
        true
    }

    fn has_replacement_place(&self, slots: &Slots<'_>, bucket: usize, entry: &Entry, now: Secs) -> bool {
        let replacement_rank = entry.replacement_rank(now);
        slots.buckets[bucket].replacements < self.replacements_each
            || slots.replacements[self.replacements(slots, bucket)]
                .iter()
                .any(|replacement| replacement.replacement_rank(now) < replacement_rank)
    }

    /// Marks the nodes of a bucket for verification, after one of them responded with another id.
    fn suspect_neighbours(&self, slots: &mut Slots<'_>, liar: &Entry, now: Secs) {
        let bucket = slots.nodes().range(self.bucket_of(&liar.id));
        for entry in &mut slots.entries[bucket] {
            entry.suspect = now.since(entry.answered) >= PROVEN;
        }
    }
}

impl Nodes<'_> {
    /// Returns the nodes of a bucket as indices into `entries`, empty if there is no memory for buckets.
    fn range(&self, bucket: usize) -> Range<usize> {
        let (start, len) = self.buckets.get(bucket).map_or((0, 0), |bucket| (bucket.start, bucket.len));
        start.into()..usize::from(start) + usize::from(len)
    }
}

impl Slots<'_> {
    pub(crate) const fn nodes(&self) -> Nodes<'_> {
        Nodes { buckets: self.buckets, entries: self.entries }
    }

    fn at(&mut self, place: Place) -> &mut Entry {
        match place {
            Place::Entry(index) => &mut self.entries[index],
            Place::Replacement(index) => &mut self.replacements[index],
        }
    }
}

impl InsertResult {
    const fn of(kind: InsertKind) -> Self {
        Self { kind, removal: None }
    }
}

/// Returns the number of buckets of a table with this number of entries.
pub(crate) const fn bucket_count(entries: usize) -> usize {
    let buckets = entries.div_ceil(K);
    if buckets < MAX_DEPTH { buckets } else { MAX_DEPTH }
}

/// Returns the capacity of a bucket if the first one has capacity `first`.
const fn capacity(first: usize, bucket: usize) -> usize {
    let extended = first >> bucket;
    if extended > K { extended } else { K }
}

/// Returns the largest capacity of the first bucket with which `depth` buckets fit into `total` entries.
fn first_capacity(total: usize, depth: usize) -> usize {
    let fits = |first| (0..depth).map(|bucket| capacity(first, bucket)).sum::<usize>() <= total;
    let (mut low, mut high) = (K, total.max(K));
    while low < high {
        let middle = (low + high).div_ceil(2);
        if fits(middle) { low = middle } else { high = middle - 1 }
    }
    low
}
