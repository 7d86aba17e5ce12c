//! Redistribution of the nodes when the local id changes (BEP 42), so that each is in the right bucket again.
//!
//! It is done in place. The nodes of all buckets are gathered at the front of the memory and sorted by their
//! new buckets. If a bucket gets more nodes than it has places, those that cover its range best stay; the
//! others become replacements or are dropped. Then the nodes are moved apart again, last bucket first,
//! because the nodes of the lower buckets never need more room than there is to the left.

use core::cmp::Ordering;
use core::ops::Range;

use super::shares::WIDE_SUBNET_PER_BUCKET;
use super::{Contact, ELDER, Entry, Slots, Table};
use crate::base::id::NodeId;
use crate::base::time::{Instant, Secs};
use crate::guard::secure_id::is_secure;

/// A change to a node by rehoming.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Move {
    /// The node has lost its place in a bucket.
    Out(Contact),
    /// A replacement has been promoted into a bucket.
    In(Contact),
}

impl Table {
    /// Changes the local id to `own` and moves all nodes.
    ///
    /// Calls `report` for each node that leaves or enters a bucket.
    pub(crate) fn rehome(
        &mut self,
        slots: &mut Slots<'_>,
        own: NodeId,
        now: Instant,
        mut report: impl FnMut(Move),
    ) {
        let (live, lent) = self.gather(slots);
        let replacements = self.gather_replacements(slots);
        self.own = own;
        for bucket in &mut *slots.buckets {
            (bucket.pinging, bucket.changed, bucket.due) = (false, now.secs(), now.secs());
        }
        self.spread_replacements(slots, replacements, now);
        let kept = self.choose(slots, live, now.secs());
        for index in kept..live {
            let entry = slots.entries[index];
            report(Move::Out(entry.contact()));
            if self.admits(&entry.contact()) {
                self.cache(slots, self.bucket_of(&entry.id), entry, now);
            }
        }
        slots.entries.copy_within(live..live + lent, kept);
        self.spread(slots, kept, lent);
        for bucket in 0..self.depth() {
            self.thin_replacements(slots, bucket, now);
            while !slots.buckets[bucket].is_full()
                && let Some(index) = self.verified_replacement(slots, bucket, now.secs())
            {
                let entry = self.take_replacement(slots, bucket, index, now);
                self.insert(slots, bucket, entry, now);
                report(Move::In(entry.contact()));
            }
        }
        (self.ping_due, self.refresh_due) = (now, now);
    }

    /// Moves all nodes to the front, followed by the restored nodes. Returns the number of each.
    fn gather(&mut self, slots: &mut Slots<'_>) -> (usize, usize) {
        let (mut live, mut lent) = (0, 0);
        for bucket in 0..self.depth() {
            let Range { start, end } = slots.nodes().range(bucket);
            let restored = slots.buckets[bucket].restored;
            let count = end - start;
            // Restored nodes of earlier buckets lie in between and are swapped with the nodes.
            slots.entries.copy_within(start..end + usize::from(restored), live + lent);
            slots.entries[live..live + lent + count].rotate_left(lent);
            live += count;
            lent += usize::from(restored);
            (slots.buckets[bucket].len, slots.buckets[bucket].restored) = (0, 0);
        }
        for entry in &mut slots.entries[..live] {
            entry.pinging = false;
        }
        (self.len, self.restored, self.occupied) = (0, 0, 0);
        (live, lent)
    }

    fn gather_replacements(&self, slots: &mut Slots<'_>) -> usize {
        let mut count = 0;
        for bucket in 0..self.depth() {
            let range = self.replacements(slots, bucket);
            slots.replacements.copy_within(range.clone(), count);
            count += range.len();
            slots.buckets[bucket].replacements = 0;
        }
        slots.replacements[..count].iter_mut().for_each(|entry| entry.pinging = false);
        count
    }

    /// Distributes the first `count` replacements over their buckets.
    ///
    /// Replacements of the lowest rank are dropped if there is no room for all.
    fn spread_replacements(&self, slots: &mut Slots<'_>, count: usize, now: Instant) {
        let each = usize::from(self.replacements_each);
        sort(&mut slots.replacements[..count], &|a, b| {
            let buckets = self.bucket_of(&a.id).cmp(&self.bucket_of(&b.id));
            buckets
                .then_with(|| b.replacement_rank(now.secs()).cmp(&a.replacement_rank(now.secs())))
                .then_with(|| a.id.cmp(&b.id))
        });
        let kept = retain(&mut slots.replacements[..count], |kept, entry| {
            let bucket = self.bucket_of(&entry.id);
            let same = kept.iter().rev().take_while(|other| self.bucket_of(&other.id) == bucket);
            same.count() < each && self.admits(&entry.contact())
        });
        let mut end = kept;
        for bucket in (0..self.depth()).rev() {
            let start = slots.replacements[..end].partition_point(|entry| self.bucket_of(&entry.id) < bucket);
            slots.replacements.copy_within(start..end, bucket * each);
            slots.buckets[bucket].replacements = (end - start) as u8;
            end = start;
        }
    }

    /// Chooses which of the first `live` nodes get a place, and moves them to the front, sorted by bucket and id.
    ///
    /// Returns their number.
    fn choose(&self, slots: &mut Slots<'_>, live: usize, now: Secs) -> usize {
        let Slots { buckets, entries, .. } = slots;
        let place = |entry: &Entry| {
            let bucket = self.bucket_of(&entry.id);
            (bucket, self.part(buckets, bucket, &entry.id))
        };
        // The first of each part of a bucket is the best.
        sort(&mut entries[..live], &|a, b| {
            place(a).cmp(&place(b)).then_with(|| rank(a, now).cmp(&rank(b, now)))
        });
        let mut admitted = retain(&mut entries[..live], |kept, entry| {
            let bucket = self.bucket_of(&entry.id);
            let same = kept.iter().rev().take_while(|other| self.bucket_of(&other.id) == bucket);
            let subnet = entry.endpoint.wide_subnet();
            let is_crowded =
                same.filter(|other| other.endpoint.wide_subnet() == subnet).count() >= WIDE_SUBNET_PER_BUCKET;
            self.admits(&entry.contact()) && !(self.is_limited(entry.endpoint) && is_crowded)
        });
        let mut start = 0;
        while start < admitted {
            let bucket = self.bucket_of(&entries[start].id);
            let len = entries[start..admitted].partition_point(|entry| self.bucket_of(&entry.id) == bucket);
            let capacity = buckets[bucket].capacity.into();
            let chosen = cover(&mut entries[start..start + len], capacity, |entry| place(entry).1);
            sort(&mut entries[start..start + chosen], &|a, b| a.id.cmp(&b.id));
            // Nodes that get no place are moved behind all that are still to be examined.
            entries[start + chosen..admitted].rotate_left(len - chosen);
            admitted -= len - chosen;
            start += chosen;
        }
        admitted
    }

    /// Distributes the first `live` nodes, which are sorted, over their buckets.
    ///
    /// The remaining places are lent to the restored nodes behind them.
    fn spread(&mut self, slots: &mut Slots<'_>, live: usize, lent: usize) {
        (self.len, self.restored) = (live as u16, lent as u16);
        let (mut end, mut left) = (live, lent);
        for bucket in (0..self.depth()).rev() {
            let start = slots.entries[..end].partition_point(|entry| self.bucket_of(&entry.id) < bucket);
            let count = end - start;
            let head = &mut slots.buckets[bucket];
            let restored = left.min(usize::from(head.capacity) - count);
            left -= restored;
            (head.len, head.restored) = (count as u16, restored as u16);
            // The other restored nodes are moved before the nodes of this bucket.
            let to = usize::from(head.start);
            slots.entries[start..end + left].rotate_left(count);
            slots.entries.copy_within(start + left..start + left + count + restored, to);
            self.occupied |= u32::from(count > 0) << bucket;
            end = start;
        }
    }

    /// Drops replacements whose wide subnet has too many nodes in a bucket.
    fn thin_replacements(&mut self, slots: &mut Slots<'_>, bucket: usize, now: Instant) {
        if !self.has_shares() {
            return;
        }
        for index in self.replacements(slots, bucket).rev() {
            let subnet = slots.replacements[index].endpoint.wide_subnet();
            let is_same = |entry: &&Entry| entry.endpoint.wide_subnet() == subnet;
            let entries = slots.entries[slots.nodes().range(bucket)].iter().filter(is_same).count();
            let replacements =
                slots.replacements[self.replacements(slots, bucket)].iter().filter(is_same).count();
            if entries + replacements > WIDE_SUBNET_PER_BUCKET
                && self.is_limited(slots.replacements[index].endpoint)
            {
                self.take_replacement(slots, bucket, index, now);
            }
        }
    }
}

/// Sorts entries: a heapsort, because this is rare, and the sort of `core` takes seven times the code for each
/// order, and 3 KiB of stack.
fn sort(entries: &mut [Entry], order: &dyn Fn(&Entry, &Entry) -> Ordering) {
    let len = entries.len();
    // The heap is built from its last parent up; then the greatest goes behind what is left of the heap.
    for step in (0..len + len / 2).rev() {
        let (mut parent, end) = if step < len { (0, step) } else { (step - len, len) };
        if step < len {
            entries.swap(0, step);
        }
        while let Some(child) = (2 * parent + 1..end.min(2 * parent + 3))
            .max_by(|&a, &b| order(&entries[a], &entries[b]))
            .filter(|&child| order(&entries[parent], &entries[child]).is_lt())
        {
            entries.swap(parent, child);
            parent = child;
        }
    }
}

/// Returns the order in which nodes of one part of a bucket are kept.
///
/// Nodes that do not fail come first, then those whose ids match their addresses, that have been known for
/// long, and that are near.
fn rank(entry: &Entry, now: Secs) -> impl Ord + use<> {
    let is_young = now.since(entry.added) < ELDER;
    (entry.failures, !is_secure(&entry.id, entry.endpoint), is_young, entry.rtt, entry.id)
}

/// Moves the entries that may stay to the front, in order, and returns their number.
///
/// `may_stay` is called with the entries that stay before the one in question.
fn retain(entries: &mut [Entry], mut may_stay: impl FnMut(&[Entry], &Entry) -> bool) -> usize {
    let mut kept = 0;
    for index in 0..entries.len() {
        if may_stay(&entries[..kept], &entries[index]) {
            entries.swap(kept, index);
            kept += 1;
        }
    }
    kept
}

/// Moves at most `capacity` nodes of a bucket, sorted by part, to the front, in order, and returns their number.
///
/// The first node of each part is chosen, then the second of each, and so on.
fn cover(entries: &mut [Entry], capacity: usize, part: impl Fn(&Entry) -> u64) -> usize {
    if entries.len() <= capacity {
        return entries.len();
    }
    let up_to = |round| {
        let mut ranks = Ranks::default();
        entries.iter().filter(|entry| ranks.next(part(entry)) < round).count()
    };
    let rounds = (0..).take_while(|&round| up_to(round + 1) <= capacity).count();
    let (mut left, mut ranks) = (capacity - up_to(rounds), Ranks::default());
    retain(entries, |_, entry| {
        let rank = ranks.next(part(entry));
        let is_in_last_round = rank == rounds && left > 0;
        left -= usize::from(is_in_last_round);
        rank < rounds || is_in_last_round
    })
}

/// Counts the preceding entries of the same part.
#[derive(Default)]
struct Ranks {
    last: Option<u64>,
    rank: usize,
}

impl Ranks {
    fn next(&mut self, part: u64) -> usize {
        self.rank = if self.last == Some(part) { self.rank + 1 } else { 0 };
        self.last = Some(part);
        self.rank
    }
}
