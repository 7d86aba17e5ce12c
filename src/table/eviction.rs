//! Eviction from full buckets, and the choice of the replacement that is promoted.

use super::{Bucket, ELDER, Entry, Nodes, Slots, Table};
use crate::base::id::NodeId;
use crate::base::time::Secs;
use crate::guard::secure_id::is_secure;

impl Table {
    /// Returns the node of a full bucket that is evicted in favor of a newcomer, if any.
    ///
    /// A bad node is evicted in any case. Otherwise, candidates are the nodes in the newcomer's part of the
    /// range or, if that is empty, the nodes that share another part. Among them, a node whose id does not
    /// match its address (BEP 42) is evicted first, then the slowest; but one that matches is not evicted for
    /// one that does not.
    pub(super) fn victim(
        &self,
        nodes: Nodes<'_>,
        bucket: usize,
        newcomer: &Entry,
        now: Secs,
    ) -> Option<usize> {
        let Nodes { buckets, entries } = nodes;
        let range = nodes.range(bucket);
        let worst = range.clone().max_by_key(|&index| entries[index].failures)?;
        if entries[worst].is_bad() {
            return Some(worst);
        }
        let part = |index: usize| self.part(buckets, bucket, &entries[index].id);
        let ours = self.part(buckets, bucket, &newcomer.id);
        let is_occupied = range.clone().any(|index| part(index) == ours);
        // Parts are contiguous in the sorted range.
        let is_shared = |index: usize| {
            (index > range.start && part(index - 1) == part(index))
                || (index + 1 < range.end && part(index + 1) == part(index))
        };
        let candidates = range.clone().filter(|&index| {
            let is_young = now.since(entries[index].added) < ELDER;
            is_young && if is_occupied { part(index) == ours } else { is_shared(index) }
        });
        let fits = |entry: &Entry| is_secure(&entry.id, entry.endpoint);
        let victim = candidates.max_by_key(|&index| (!fits(&entries[index]), entries[index].rtt))?;
        let is_better = match (fits(newcomer), fits(&entries[victim])) {
            (true, false) => true,
            (false, true) => false,
            _ => entries[victim].rtt / 2 > newcomer.rtt,
        };
        (!is_occupied || is_better).then_some(victim)
    }

    /// Returns the part of its bucket that an id falls into.
    ///
    /// The range is divided into as many equal parts as there are places, rounded down to a power of two.
    pub(super) fn part(&self, buckets: &[Bucket], bucket: usize, id: &NodeId) -> u64 {
        let fixed = if bucket + 1 < self.depth() { bucket + 1 } else { bucket };
        let bits = buckets[bucket].capacity.checked_ilog2().unwrap_or(0);
        (id.head() << fixed).checked_shr(u64::BITS - bits).unwrap_or(0)
    }

    /// Returns the replacement that is promoted next.
    pub(super) fn verified_replacement(&self, slots: &Slots<'_>, bucket: usize, now: Secs) -> Option<usize> {
        let verified = self.replacements(slots, bucket).filter(|&index| slots.replacements[index].is_ready());
        verified.max_by_key(|&index| {
            let entry = &slots.replacements[index];
            let (class, speed) = entry.replacement_rank(now);
            (class, is_secure(&entry.id, entry.endpoint), speed)
        })
    }
}
