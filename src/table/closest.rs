//! The nodes closest to a target, in exact XOR order.

use heapless::Vec;

use super::{Entry, Nodes, Table};
use crate::base::id::NodeId;
use crate::base::time::Instant;

/// The state that nodes must have to be selected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Filter {
    /// Good nodes, which may be listed in responses.
    Good,
    /// All nodes that are not bad, from which local lookups may start.
    Live,
    /// Bad nodes, the last resort of local lookups.
    Bad,
}

impl Table {
    /// Returns the `N` nodes closest to `target`, closest first.
    ///
    /// No node of one bucket lies between two nodes of another, so whole buckets are searched, one
    /// after another. Let `x` be the XOR of the target and the local id. A node of bucket `i` differs from the
    /// target where `x` has a one before bit `i`, and at bit `i` if `x` has a zero there. So the buckets at
    /// the ones of `x` come first, in ascending order, each closer than everything deeper; then the last
    /// bucket, which continues towards the local id; then the buckets at the zeros, in descending order.
    pub(crate) fn closest<'e, const N: usize>(
        &self,
        nodes: Nodes<'e>,
        target: &NodeId,
        filter: Filter,
        now: Instant,
    ) -> Vec<&'e Entry, N> {
        if self.is_empty() {
            return Vec::new();
        }
        let mut nearest =
            Nearest { head: target.head(), filter, now, keys: [u64::MAX; N], runner_up: u64::MAX, passed: 0 };
        let last = 1_u32 << (self.depth() - 1);
        let ones = (self.own.head() ^ target.head()).reverse_bits() as u32;
        let mut ascending = self.occupied & (last | (ones & (last - 1)));
        while ascending != 0 && nearest.passed < N {
            let bucket = ascending.trailing_zeros();
            self.add_bucket(&mut nearest, nodes, bucket);
            ascending ^= 1 << bucket;
        }
        let mut descending = self.occupied & !ones & (last - 1);
        while descending != 0 && nearest.passed < N {
            let bucket = descending.ilog2();
            self.add_bucket(&mut nearest, nodes, bucket);
            descending ^= 1 << bucket;
        }
        if nearest.has_tie() {
            return self.closest_exactly(nodes, target, filter, now);
        }
        nearest
            .keys
            .iter()
            .take(nearest.passed)
            .map(|&key| &nodes.entries[Nearest::<N>::index(key)])
            .collect()
    }

    fn add_bucket<const N: usize>(&self, nearest: &mut Nearest<N>, nodes: Nodes<'_>, bucket: u32) {
        let range = nodes.range(bucket as usize);
        nearest.add(&nodes.entries[range.clone()], range.start, (bucket + 1).min(self.depth() as u32 - 1));
    }

    /// Returns what [`Self::closest`] does by comparing every node, for ids that the fast path cannot order.
    #[cold]
    fn closest_exactly<'e, const N: usize>(
        &self,
        nodes: Nodes<'e>,
        target: &NodeId,
        filter: Filter,
        now: Instant,
    ) -> Vec<&'e Entry, N> {
        let mut nearest = Vec::<&Entry, N>::new();
        for entry in self.iter(nodes).filter(|entry| filter.passes(entry, now)) {
            let distance = entry.id.distance(target);
            let place = nearest.partition_point(|other| other.id.distance(target) < distance);
            if nearest.is_full() && place < N {
                nearest.pop();
            }
            // Fails only if the node is farther than all nodes of a full list.
            let _ = nearest.insert(place, entry);
        }
        nearest
    }
}

impl Filter {
    #[inline(always)]
    const fn passes(self, entry: &Entry, now: Instant) -> bool {
        match self {
            Self::Good => entry.is_good(now),
            Self::Live => entry.is_live(),
            Self::Bad => !entry.is_live(),
        }
    }
}

/// The closest nodes so far, closest first, as keys: the first 48 bits of the distance, then the index.
///
/// Numbers that can be compared without access to the entries are kept sorted without branches. Mispredicted
/// branches are the main cost of comparing ids.
struct Nearest<const N: usize> {
    head: u64,
    filter: Filter,
    now: Instant,
    keys: [u64; N],
    /// The lowest key that found no place in `keys`.
    runner_up: u64,
    passed: usize,
}

impl<const N: usize> Nearest<N> {
    const INDEX_BITS: u32 = 16;

    /// Adds the nodes of a bucket that may be among the closest.
    ///
    /// The nodes share `fixed` bits, are sorted by id, and start at index `start` of `entries`. Nodes that
    /// share further bits with the target are adjacent. At first, as many further bits are required as leave
    /// about N nodes to be expected, then one less at a time until N nodes have passed.
    fn add(&mut self, nodes: &[Entry], start: usize, fixed: u32) {
        let Some(first) = nodes.first() else { return };
        let prefix = !(u64::MAX >> fixed);
        // Where the target would be if it were in the range of this bucket: the same nodes are closest to it.
        let head = (first.id.head() & prefix) | (self.head & !prefix);
        let more = (nodes.len() / N).checked_ilog2().unwrap_or(0);
        let mut mask = !(u64::MAX >> (fixed + more));
        let is_near = |node: &Entry, mask: u64| (node.id.head() ^ head) & mask == 0;
        let mut low = if more == 0 { 0 } else { nodes.partition_point(|node| node.id.head() < head & mask) };
        let mut high = low;
        loop {
            while high < nodes.len() && is_near(&nodes[high], mask) {
                self.offer(&nodes[high], start + high);
                high += 1;
            }
            while low > 0 && is_near(&nodes[low - 1], mask) {
                low -= 1;
                self.offer(&nodes[low], start + low);
            }
            if self.passed >= N || (low == 0 && high == nodes.len()) {
                break;
            }
            mask <<= 1;
        }
    }

    #[inline(always)]
    fn offer(&mut self, node: &Entry, index: usize) {
        let passes = self.filter.passes(node, self.now);
        self.passed += usize::from(passes);
        let distance = (self.head ^ node.id.head()) >> Self::INDEX_BITS;
        let mut key = if passes { (distance << Self::INDEX_BITS) | index as u64 } else { u64::MAX };
        for slot in &mut self.keys {
            (*slot, key) = (key.min(*slot), key.max(*slot));
        }
        self.runner_up = self.runner_up.min(key);
    }

    const fn index(key: u64) -> usize {
        (key & !(u64::MAX << Self::INDEX_BITS)) as usize
    }

    /// Whether the keys cannot order the distances of two relevant nodes.
    fn has_tie(&self) -> bool {
        let following = self.keys.iter().skip(1).chain([&self.runner_up]);
        self.keys.iter().zip(following).any(|(&a, &b)| (a ^ b) >> Self::INDEX_BITS == 0 && b != u64::MAX)
    }
}
