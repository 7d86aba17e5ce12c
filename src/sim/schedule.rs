//! What is to happen, and when.

use alloc::vec::Vec;
use core::mem;

use crate::time::Instant;

/// Something that is to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SimEvent {
    /// A datagram of the [`Packets`] arrives.
    Deliver(u32),
    /// A host wants to be woken.
    Wake(u32),
    /// The session of a host ends.
    Leave(u32),
    /// The outage, sleep or absence of a host ends.
    Return(u32),
}

/// Room for so many entries is kept in an empty bucket.
const MAX_SPARE: usize = 4096;

/// A priority schedule for times that only grow (a radix heap): entries lie in buckets by the highest
/// bit in which they differ from the last time taken out, and move down a few times each, always
/// whole buckets at once. Millions of entries cost no cache misses, and entries of one time come
/// out in the order they went in.
pub(super) struct Schedule {
    /// Bucket 0 holds the entries of `last`.
    buckets: [Vec<(Instant, SimEvent)>; 65],
    /// How many entries of bucket 0 are gone already.
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

    /// Takes out what comes first, if it comes no later than `limit`.
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

    /// How much waits.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.buckets.iter().map(Vec::len).sum::<usize>() - self.taken
    }

    /// Fills bucket 0 anew.
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
        // Its room is kept for the next ones, but not that of many: so much would be idle in most buckets.
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
