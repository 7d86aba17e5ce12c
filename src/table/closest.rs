//! The nodes closest to a target, in exact XOR order.

use heapless::Vec;

use super::{Entry, Table};
use crate::id::NodeId;
use crate::time::Instant;

/// Which nodes an answer is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Filter {
    /// Good ones: what others may be told.
    Good,
    /// All but bad ones: where our own lookups may start.
    Live,
}

impl Table {
    /// The `N` nodes closest to `target`, closest first.
    ///
    /// No node of one bucket lies between two of another, so buckets are taken whole, one by one.
    /// Let `x` be the XOR of target and own id. A node of bucket `i` differs from the target where
    /// `x` has a one before bit `i`, and at bit `i` where it has a zero. So the buckets at the ones
    /// of `x` come first, in ascending order, each closer than all that is deeper; then the last
    /// bucket, which goes on towards our id; then those at the zeros, backwards.
    pub(crate) fn closest<'e, const N: usize>(
        &self,
        main: &'e [Entry],
        target: &NodeId,
        filter: Filter,
        now: Instant,
    ) -> Vec<&'e Entry, N> {
        let mut nearest = Nearest { target, filter, now, keys: [0; N], entries: Vec::new() };
        let last = 1_u32 << (self.depth() - 1);
        let ones = (self.own.head() ^ target.head()).reverse_bits() as u32;
        let mut ascending = self.occupied & (last | (ones & (last - 1)));
        while ascending != 0 && !nearest.entries.is_full() {
            let bucket = ascending.trailing_zeros();
            nearest.take(&main[self.main(bucket as usize)]);
            ascending ^= 1 << bucket;
        }
        let mut descending = self.occupied & !ones & (last - 1);
        while descending != 0 && !nearest.entries.is_full() {
            let bucket = descending.ilog2();
            nearest.take(&main[self.main(bucket as usize)]);
            descending ^= 1 << bucket;
        }
        nearest.entries
    }
}

/// The closest nodes so far, closest first.
struct Nearest<'t, 'e, const N: usize> {
    target: &'t NodeId,
    filter: Filter,
    now: Instant,
    /// The first 64 bits of the distances of `entries`.
    keys: [u64; N],
    entries: Vec<&'e Entry, N>,
}

impl<'e, const N: usize> Nearest<'_, 'e, N> {
    /// Takes what it can use from one bucket, which is sorted by id.
    ///
    /// Around the place of the target, nodes that share exactly `n` bits with it are neighbours,
    /// and all on one side, as they are equal in bit `n`. So a window that grows on the side that
    /// shares more bits meets all that share `n` bits before any that shares less.
    fn take(&mut self, nodes: &'e [Entry]) {
        let head = self.target.head();
        let place = nodes.partition_point(|node| {
            node.id.head() < head || (node.id.head() == head && node.id < *self.target)
        });
        let (below, above) = nodes.split_at(place);
        let (mut below, mut above) = (below.iter().rev().peekable(), above.iter().peekable());
        while !self.entries.is_full() {
            let left = below.peek().map(|node| self.shared_bits(node));
            let right = above.peek().map(|node| self.shared_bits(node));
            let Some(shared) = left.max(right) else { break };
            if left > right {
                while let Some(node) = below.next_if(|node| self.shared_bits(node) == shared) {
                    self.offer(node);
                }
            } else {
                while let Some(node) = above.next_if(|node| self.shared_bits(node) == shared) {
                    self.offer(node);
                }
            }
        }
    }

    fn shared_bits(&self, node: &Entry) -> u32 {
        match (self.target.head() ^ node.id.head()).leading_zeros() {
            u64::BITS => self.target.common_prefix_len(&node.id),
            bits => bits,
        }
    }

    /// Inserts a node where its distance belongs, if the filter lets it pass.
    fn offer(&mut self, node: &'e Entry) {
        let passes = match self.filter {
            Filter::Good => node.is_good(self.now),
            Filter::Live => !node.is_bad(),
        };
        if !passes {
            return;
        }
        let key = self.target.head() ^ node.id.head();
        let len = self.entries.len();
        let is_closer = |other_key: u64, other: &Entry| {
            key < other_key
                || (key == other_key && self.target.distance(&node.id) < self.target.distance(&other.id))
        };
        let mut at = len;
        while at > 0 && is_closer(self.keys[at - 1], self.entries[at - 1]) {
            at -= 1;
        }
        if at == N {
            return;
        }
        if len == N {
            self.entries.pop();
        }
        let len = self.entries.len();
        self.keys.copy_within(at..len, at + 1);
        self.keys[at] = key;
        let _ = self.entries.insert(at, node);
    }
}
