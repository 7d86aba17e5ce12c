//! Maintenance of the table: pings of silent nodes and newcomers, refreshes of silent buckets.
//!
//! A bucket has at most one ping in flight, so a flood of newcomers costs no more than that. Only while few
//! nodes are known is every querying node pinged, as fast as the caller permits. Nodes are pinged up to four
//! minutes before they would become questionable, each at an age that depends on its id, so that nodes added
//! together do not all become due together.

use core::time::Duration;

use super::entry::{MAPPING, QUESTIONABLE, remaining};
use super::{Bucket, Contact, Place, Slots, Table};
use crate::base::id::{K, NodeId};
use crate::base::rng::Rng;
use crate::base::time::{Instant, Secs};

/// Seconds after which a ping without any reported result is discarded.
const LOST: u32 = 60;
/// Seconds before the only retry of a node for which a replacement is ready.
const RETRY: u32 = 10;
/// Number of nodes below which a querying node is pinged without waiting for its NAT mapping to close.
const NO_DELAY: usize = 32;
/// Number of nodes below which the pings of querying nodes do not wait for other pings either.
///
/// Not higher, because nodes behind a NAT, which no other node can reach, would all be admitted.
const FEW: usize = K;

impl Table {
    /// Returns the next node to ping, which then counts as pinged.
    ///
    /// The caller must report the result by [`Table::on_response`], [`Table::on_failure`] or
    /// [`Table::ping_lost`]. While few nodes are known, querying nodes are pinged regardless of other pings
    /// in their buckets, if these have room, and each of them once before any of them is pinged again,
    /// unless `defer_unverified` is set.
    pub(crate) fn next_ping(
        &mut self,
        slots: &mut Slots<'_>,
        defer_unverified: bool,
        now: Instant,
    ) -> Option<Contact> {
        if self.ping_due > now {
            return None;
        }
        let secs = now.secs();
        let mut soonest = None;
        let unverified = self.newest_unverified(slots, secs);
        for bucket in (0..self.depth()).rev() {
            if slots.nodes().range(bucket).is_empty() && self.replacements(slots, bucket).is_empty() {
                continue;
            }
            if slots.buckets[bucket].due.since(secs) == 0 {
                self.forget_lost_ping(slots, bucket);
                let (slack, place) = self.most_overdue(slots, bucket, unverified.is_none(), secs).unzip();
                if let Some(place) = place
                    && slack <= Some(0)
                {
                    return Some(Self::start_ping(slots, bucket, place, secs));
                }
                if unverified.is_some() {
                    continue;
                }
                let wait = slack.map_or(QUESTIONABLE, |slack| slack as u32);
                slots.buckets[bucket].due = secs.after(wait);
            }
            let wait = slots.buckets[bucket].due.since(secs);
            soonest = Some(soonest.map_or(wait, |soonest: u32| soonest.min(wait)));
        }
        if let Some(index) = unverified {
            // The ping stays due, because there may be more such nodes.
            if defer_unverified {
                return None;
            }
            let entry = &mut slots.replacements[index];
            entry.tried = secs;
            return Some(entry.contact());
        }
        self.ping_due = soonest.map_or(Instant::NEVER, |wait| second_after(now, wait));
        None
    }

    /// Returns when to call [`Table::next_ping`] next: later than the last call that returned `None`.
    pub(crate) fn ping_due(&self) -> Option<Instant> {
        (self.ping_due != Instant::NEVER).then_some(self.ping_due)
    }

    /// Records that a ping was not sent, or that its failure is not the fault of the node.
    pub(crate) fn ping_lost(&mut self, slots: &mut Slots<'_>, contact: Contact, now: Instant) {
        if let Some(place) = self.find(slots, contact) {
            let was_pinging = core::mem::take(&mut slots.at(place).pinging);
            self.end_ping(slots, self.bucket_of(&contact.id), was_pinging, now);
        }
    }

    /// Returns a target to look up, in the range of a bucket in which nothing has changed for 15 minutes.
    ///
    /// Buckets are refreshed down to the first empty one after the last node. While the nodes of one
    /// subnet crowd the table, the target is random.
    pub(crate) fn next_refresh(
        &mut self,
        buckets: &mut [Bucket],
        rng: &mut Rng,
        now: Instant,
    ) -> Option<NodeId> {
        if self.refresh_due > now {
            return None;
        }
        if self.start_exploration(now) {
            return Some(rng.id());
        }
        let mut soonest = QUESTIONABLE;
        for (bucket, head) in buckets.iter_mut().enumerate().take(self.relevant_depth()) {
            let age = now.secs().since(head.changed);
            if age >= QUESTIONABLE {
                head.changed = now.secs();
                return Some(self.random_id(bucket, rng));
            }
            soonest = soonest.min(QUESTIONABLE - age);
        }
        self.refresh_due = if self.is_empty() { Instant::NEVER } else { second_after(now, soonest) };
        None
    }

    /// Returns when to call [`Table::next_refresh`] next: later than the last call that returned `None`.
    pub(crate) fn refresh_due(&self) -> Option<Instant> {
        (self.refresh_due != Instant::NEVER).then_some(self.refresh_due)
    }

    /// Schedules the next check of a bucket in `wait` seconds, if not earlier.
    pub(super) fn wake(&mut self, slots: &mut Slots<'_>, bucket: usize, wait: u32, now: Instant) {
        let due = now.secs().after(wait);
        let bucket = &mut slots.buckets[bucket];
        if !bucket.pinging {
            if bucket.due.since(due) > 0 {
                bucket.due = due;
            }
            self.ping_due = self.ping_due.min(second_after(now, wait));
        }
    }

    pub(super) fn end_ping(&mut self, slots: &mut Slots<'_>, bucket: usize, was_pinging: bool, now: Instant) {
        if was_pinging {
            slots.buckets[bucket].pinging = false;
            self.wake(slots, bucket, 0, now);
        }
    }

    /// Whether so few nodes are known that every querying node is of use.
    pub(super) const fn has_few(&self) -> bool {
        self.len() < FEW
    }

    /// Returns the number of seconds that must pass before a querying node is pinged.
    pub(super) const fn verification_delay(&self) -> u32 {
        if self.len() < NO_DELAY { 0 } else { MAPPING }
    }

    /// Returns the most recent querying node that has not been pinged and has room in its bucket.
    ///
    /// `None` unless few nodes are known.
    fn newest_unverified(&self, slots: &Slots<'_>, now: Secs) -> Option<usize> {
        let buckets = 0..if self.has_few() { self.depth() } else { 0 };
        let with_room = buckets.filter(|&bucket| !slots.buckets[bucket].is_full());
        let replacements = with_room.flat_map(|bucket| self.replacements(slots, bucket));
        let untried = replacements.filter(|&index| slots.replacements[index].is_untried());
        untried.min_by_key(|&index| now.since(slots.replacements[index].heard))
    }

    fn start_ping(slots: &mut Slots<'_>, bucket: usize, place: Place, now: Secs) -> Contact {
        let head = &mut slots.buckets[bucket];
        (head.pinging, head.due) = (true, now.after(LOST));
        let entry = slots.at(place);
        (entry.pinging, entry.tried) = (true, now);
        entry.contact()
    }

    fn forget_lost_ping(&self, slots: &mut Slots<'_>, bucket: usize) {
        if core::mem::take(&mut slots.buckets[bucket].pinging) {
            let (entries, replacements) = (slots.nodes().range(bucket), self.replacements(slots, bucket));
            let entries = slots.entries[entries].iter_mut().chain(&mut slots.replacements[replacements]);
            entries.for_each(|entry| entry.pinging = false);
        }
    }

    /// Returns the entry of a bucket whose ping has been due longest or is due next, and in how many seconds.
    ///
    /// Replacements are considered if the bucket needs one and `with_replacements` is set.
    pub(super) fn most_overdue(
        &self,
        slots: &Slots<'_>,
        bucket: usize,
        with_replacements: bool,
        now: Secs,
    ) -> Option<(i64, Place)> {
        let entries = &slots.entries[slots.nodes().range(bucket)];
        let is_wanted = self.verified_replacement(slots, bucket, now).is_some();
        let is_short = !slots.buckets[bucket].is_full() || entries.iter().any(|entry| entry.failures > 0);
        let needs_replacement = with_replacements && is_short;
        let entries = slots.nodes().range(bucket).map(|index| {
            let entry = &slots.entries[index];
            let slack = if is_wanted && entry.failures > 0 {
                remaining(RETRY, entry.tried, now)
            } else {
                entry.slack(now)
            };
            (slack, Place::Entry(index))
        });
        let replacements = self
            .replacements(slots, bucket)
            .filter(|&index| needs_replacement && !slots.replacements[index].is_ready());
        let replacements = replacements.map(|index| {
            let entry = &slots.replacements[index];
            let delay = remaining(self.verification_delay(), entry.heard, now);
            (delay.max(remaining(entry.backoff(), entry.tried, now)), Place::Replacement(index))
        });
        entries.chain(replacements).min_by_key(|&(slack, _)| slack)
    }

    /// Returns the number of buckets that are refreshed.
    pub(crate) fn relevant_depth(&self) -> usize {
        let filled = (u32::BITS - self.occupied.leading_zeros()) as usize;
        if filled == 0 { 0 } else { (filled + 1).min(self.depth()) }
    }

    /// Returns a uniformly random id in the range of a bucket.
    fn random_id(&self, bucket: usize, rng: &mut Rng) -> NodeId {
        // The last bucket also covers everything nearer: half of its range shares one more bit, a quarter
        // two, and so on.
        let nearer = if bucket + 1 < self.depth() { 0 } else { rng.u32().leading_zeros() };
        self.own.sibling(bucket as u32 + nearer, &rng.id())
    }
}

/// Returns the start of the second that is `wait` seconds after the second of `now`.
pub(super) fn second_after(now: Instant, wait: u32) -> Instant {
    Instant::from_micros(now.as_micros() / 1_000_000 * 1_000_000) + Duration::from_secs(wait.into())
}
