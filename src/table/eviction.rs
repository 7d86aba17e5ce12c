//! Who makes room in a full bucket, and who moves up into a place that has become free.

use super::{Bucket, ELDER, Entry, Nodes, Slots, Table};
use crate::base::id::NodeId;
use crate::base::time::Secs;
use crate::guard::secure_id::is_secure;

impl Table {
    /// The node of a full bucket that makes room for a newcomer.
    ///
    /// A bad one does in any case. Else one of those that stand in the newcomer's part of the range,
    /// or share another one where that is empty. Of them goes first whose id does not fit its address
    /// (BEP 42), then the slowest; but one that fits makes no room for one that does not.
    pub(super) fn leaver(
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
        // Parts are runs of the sorted range.
        let is_shared = |index: usize| {
            (index > range.start && part(index - 1) == part(index))
                || (index + 1 < range.end && part(index + 1) == part(index))
        };
        let candidates = range.clone().filter(|&index| {
            let is_young = now.since(entries[index].added) < ELDER;
            is_young && if is_occupied { part(index) == ours } else { is_shared(index) }
        });
        let fits = |entry: &Entry| is_secure(&entry.id, entry.endpoint);
        let leaver = candidates.max_by_key(|&index| (!fits(&entries[index]), entries[index].rtt))?;
        let is_better = match (fits(newcomer), fits(&entries[leaver])) {
            (true, false) => true,
            (false, true) => false,
            _ => entries[leaver].rtt / 2 > newcomer.rtt,
        };
        (!is_occupied || is_better).then_some(leaver)
    }

    /// Which of its bucket's equal parts an id falls into: as many parts as places, to the power of
    /// two below.
    pub(super) fn part(&self, buckets: &[Bucket], bucket: usize, id: &NodeId) -> u64 {
        let fixed = if bucket + 1 < self.depth() { bucket + 1 } else { bucket };
        let bits = buckets[bucket].capacity.checked_ilog2().unwrap_or(0);
        (id.head() << fixed).checked_shr(u64::BITS - bits).unwrap_or(0)
    }

    /// The replacement that is promoted next.
    pub(super) fn verified_replacement(&self, slots: &Slots<'_>, bucket: usize, now: Secs) -> Option<usize> {
        let verified = self.replacements(slots, bucket).filter(|&index| slots.replacements[index].is_ready());
        verified.max_by_key(|&index| {
            let entry = &slots.replacements[index];
            let (class, speed) = entry.worth(now);
            (class, is_secure(&entry.id, entry.endpoint), speed)
        })
    }
}
