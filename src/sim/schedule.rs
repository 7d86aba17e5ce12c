//! The schedule of a world: its events in order of time.

use alloc::vec::Vec;
use core::mem;

use crate::base::time::Instant;

/// An event of a world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SimEvent {
    /// A datagram arrives: its index among the packets.
    Deliver(u32),
    /// A host is woken.
    Wake(u32),
    /// The session of a host ends.
    Leave(u32),
    /// The outage, sleep or absence of a host ends.
    Return(u32),
}

/// Most entries for which an empty bucket keeps memory.
const MAX_SPARE: usize = 4096;

/// A priority queue for times that only grow (a radix heap).
///
/// Entries lie in buckets by the highest bit in which they differ from the last time popped, and
/// move down a few times each, a whole bucket at once. So millions of entries cost few cache misses,
/// and entries of one time are popped in the order in which they were pushed.
pub(super) struct Schedule {
    /// Bucket 0 holds the entries of `last`.
    buckets: [Vec<(Instant, SimEvent)>; 65],
    /// Entries of bucket 0 that were popped already.
    taken: usize,
    last: Instant,
}

impl Schedule {
    pub(super) fn new(now: Instant) -> Self {
        Self { buckets: [const { Vec::new() }; 65], taken: 0, last: now }
    }

    pub(super) fn push(&mut self, at: Instant, what: SimEvent) {
        let at = at.max(self.last);
        self.buckets[self.bucket(at)].push((at, what));
    }

    /// Pops the first entry, if its time is no later than `limit`.
    pub(super) fn pop(&mut self, limit: Instant) -> Option<(Instant, SimEvent)> {
        if self.taken == self.buckets[0].len() {
            self.buckets[0].clear();
            self.taken = 0;
            self.advance(limit)?;
        }
        if self.last > limit {
            return None;
        }
        let entry = self.buckets[0][self.taken];
        self.taken += 1;
        Some(entry)
    }

    /// Number of scheduled events.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.buckets.iter().map(Vec::len).sum::<usize>() - self.taken
    }

    /// Refills bucket 0.
    fn advance(&mut self, limit: Instant) -> Option<()> {
        let lowest = self.buckets.iter().position(|bucket| !bucket.is_empty())?;
        let first = self.buckets[lowest].iter().map(|(at, _)| *at).min()?;
        if first > limit {
            return None;
        }
        self.last = first;
        let mut entries = mem::take(&mut self.buckets[lowest]);
        for (at, what) in entries.drain(..) {
            let bucket = self.bucket(at);
            self.buckets[bucket].push((at, what));
        }
        // Its memory is kept for later entries, unless it is large: it would be idle in most buckets.
        if entries.capacity() <= MAX_SPARE {
            self.buckets[lowest] = entries;
        }
        Some(())
    }

    const fn bucket(&self, at: Instant) -> usize {
        64 - (at.as_micros() ^ self.last.as_micros()).leading_zeros() as usize
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::rng::SimRng;
    use super::*;

    #[test]
    fn entries_come_out_by_time_and_then_in_order() {
        let mut rng = SimRng::new(1);
        let mut now = Instant::from_micros(1_000_000);
        let mut schedule = Schedule::new(now);
        let mut model = BTreeMap::new();
        for serial in 0..20_000 {
            if rng.chance(0.6) {
                let spread = [1, 10, 1000, 10_000_000][rng.below(4)];
                let at = Instant::from_micros(now.as_micros() + rng.below(spread) as u64);
                schedule.push(at, SimEvent::Wake(serial));
                model.insert((at, serial), SimEvent::Wake(serial));
            } else {
                let limit = Instant::from_micros(now.as_micros() + rng.below(2_000_000) as u64);
                let first = model.first_key_value().filter(|((at, _), _)| *at <= limit);
                let expected = first.map(|(key, what)| (*key, *what));
                let popped = schedule.pop(limit);
                assert_eq!(popped, expected.map(|((at, _), what)| (at, what)));
                now = now.max(expected.map_or(limit, |((at, _), _)| at));
                expected.inspect(|(key, _)| assert!(model.remove(key).is_some()));
            }
        }
    }
}
