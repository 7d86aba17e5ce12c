//! What keeps the table true: pings of silent nodes and newcomers, refreshes of silent buckets.
//!
//! A bucket has at most one ping in flight, so a flood of newcomers costs no more than that; only while
//! few nodes are known is everybody who asks us pinged, as fast as the caller lets them. Nodes
//! are pinged up to four minutes before they would become questionable, each at an age that
//! depends on its id: those that came together do not all fall due together.

use core::time::Duration;

use super::{Bucket, Contact, Entry, HOPELESS, Place, QUESTIONABLE, Slots, Table, Trust};
use crate::base::id::{K, NodeId};
use crate::base::rng::Rng;
use crate::base::time::{Instant, Secs};

/// Least seconds between two pings to a node that has not failed.
pub(super) const MIN_INTERVAL: u32 = 60;
/// Seconds after which a ping of which nothing was heard, not even a failure, is forgotten.
const LOST: u32 = 60;
/// Seconds before the one retry of a node that a replacement waits for.
const RETRY: u32 = 10;
/// Seconds after which a NAT has closed the way that a datagram from behind it opened (Linux keeps
/// it for 180). Who answers a query that was sent later is reached by strangers as well.
pub(super) const MAPPING: u32 = 200;
/// Seconds that are doubled with each failure.
const BACKOFF: u32 = 60;
/// With fewer nodes than this, one that asks us is pinged without waiting for its NAT to close.
const FEW: usize = 32;
/// With fewer than this, it does not wait for other pings either. Not with more: it would let in
/// everybody behind a NAT, whom nobody else reaches.
const FIRST: usize = K;

impl Table {
    /// The next node to ping, which then counts as pinged: the caller owes [`Table::on_reply`],
    /// [`Table::on_failure`] or [`Table::ping_lost`].
    ///
    /// While few are known, those that asked us are pinged without regard to other pings in their
    /// buckets, if these have room, and once each before any of them is pinged again; but not while strangers have to
    /// `wait`.
    pub(crate) fn next_ping(
        &mut self,
        slots: &mut Slots<'_>,
        strangers_wait: bool,
        now: Instant,
    ) -> Option<Contact> {
        if self.ping_due > now {
            return None;
        }
        let secs = now.secs();
        let mut soonest = None;
        let stranger = self.newest_stranger(slots, secs);
        for bucket in (0..self.depth()).rev() {
            if slots.nodes().range(bucket).is_empty() && self.replacements(slots, bucket).is_empty() {
                continue;
            }
            if slots.buckets[bucket].due.since(secs) == 0 {
                self.forget_lost_ping(slots, bucket);
                let (slack, place) = self.most_overdue(slots, bucket, stranger.is_none(), secs).unzip();
                if let Some(place) = place
                    && slack <= Some(0)
                {
                    return Some(Self::start_ping(slots, bucket, place, secs));
                }
                if stranger.is_some() {
                    continue;
                }
                let wait = slack.map_or(QUESTIONABLE, |slack| slack as u32);
                slots.buckets[bucket].due = secs.after(wait);
            }
            let wait = slots.buckets[bucket].due.since(secs);
            soonest = Some(soonest.map_or(wait, |soonest: u32| soonest.min(wait)));
        }
        if let Some(index) = stranger {
            // It stays due: there may be more of them.
            if strangers_wait {
                return None;
            }
            let entry = &mut slots.replacements[index];
            entry.tried = secs;
            return Some(entry.contact());
        }
        self.ping_due = soonest.map_or(Instant::NEVER, |wait| second_after(now, wait));
        None
    }

    /// When [`Table::next_ping`] is worth the next call; later than the last call that gave `None`.
    pub(crate) fn ping_due(&self) -> Option<Instant> {
        (self.ping_due != Instant::NEVER).then_some(self.ping_due)
    }

    /// A ping was not sent, or its failure says nothing about the node.
    pub(crate) fn ping_lost(&mut self, slots: &mut Slots<'_>, contact: Contact, now: Instant) {
        if let Some(place) = self.find(slots, contact) {
            let was_pinging = core::mem::take(&mut slots.at(place).pinging);
            self.end_ping(slots, self.bucket_of(&contact.id), was_pinging, now);
        }
    }

    /// A target to look up, in the range of a bucket where nothing changed for 15 minutes: one of
    /// those down to the first empty one behind the last node. Anywhere, while one network swamps the table.
    pub(crate) fn next_refresh(
        &mut self,
        buckets: &mut [Bucket],
        rng: &mut Rng,
        now: Instant,
    ) -> Option<NodeId> {
        if self.refresh_due > now {
            return None;
        }
        if self.takes_exploration(now) {
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

    /// When [`Table::next_refresh`] is worth the next call; later than the last call that gave
    /// `None`.
    pub(crate) fn refresh_due(&self) -> Option<Instant> {
        (self.refresh_due != Instant::NEVER).then_some(self.refresh_due)
    }

    /// Looks at a bucket again in `wait` seconds, if not before.
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

    /// Whether so few nodes are known that everybody who asks us is of use.
    pub(super) const fn has_few(&self) -> bool {
        self.len() < FIRST
    }

    /// Seconds for which a node that queried us is left alone.
    pub(super) const fn verification_delay(&self) -> u32 {
        if self.len() < FEW { 0 } else { MAPPING }
    }

    /// Of the nodes that asked us, were not pinged yet and have room in their buckets, the one heard last,
    /// while few are known.
    fn newest_stranger(&self, slots: &Slots<'_>, now: Secs) -> Option<usize> {
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

    /// The entry of a bucket whose ping has been due for longest, or will be first, and in how many
    /// seconds. Replacements count where the bucket needs one, if they count at all.
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
                slack(entry, now)
            };
            (slack, Place::Entry(index))
        });
        let replacements = self
            .replacements(slots, bucket)
            .filter(|&index| needs_replacement && !slots.replacements[index].is_ready());
        let replacements = replacements.map(|index| {
            let entry = &slots.replacements[index];
            let delay = remaining(self.verification_delay(), entry.heard, now);
            (delay.max(remaining(backoff(entry), entry.tried, now)), Place::Replacement(index))
        });
        entries.chain(replacements).min_by_key(|&(slack, _)| slack)
    }

    /// How many buckets are kept fresh.
    pub(crate) fn relevant_depth(&self) -> usize {
        let filled = (u32::BITS - self.occupied.leading_zeros()) as usize;
        if filled == 0 { 0 } else { (filled + 1).min(self.depth()) }
    }

    /// A point in a bucket's range, uniformly at random.
    fn random_id(&self, bucket: usize, rng: &mut Rng) -> NodeId {
        // The last bucket has all that is nearer, too: half of its range shares one more bit, a
        // quarter two, and so on.
        let nearer = if bucket + 1 < self.depth() { 0 } else { rng.u32().leading_zeros() };
        self.own.sibling(bucket as u32 + nearer, &rng.id())
    }
}

/// Seconds until an entry in a bucket is to be pinged.
pub(super) fn wait(entry: &Entry, now: Secs) -> u32 {
    slack(entry, now).max(0) as u32
}

/// The same, negative where it is overdue.
fn slack(entry: &Entry, now: Secs) -> i64 {
    if entry.failures > 0 {
        return remaining(backoff(entry), entry.tried, now);
    }
    let [.., last] = *entry.id.as_bytes();
    let age = QUESTIONABLE - u32::from(last);
    let due = match entry.trust {
        _ if entry.suspect => 0,
        Trust::Reachable => remaining(age, entry.heard, now),
        // Its queries may be all that lets ours in.
        _ => remaining(age, entry.answered, now).max(remaining(MAPPING, entry.heard, now)),
    };
    due.max(remaining(MIN_INTERVAL, entry.tried, now))
}

fn backoff(entry: &Entry) -> u32 {
    BACKOFF << entry.failures.min(HOPELESS)
}

/// What is left of `span` seconds since `then`, negative where they are over.
fn remaining(span: u32, then: Secs, now: Secs) -> i64 {
    i64::from(span) - i64::from(now.since(then))
}

/// The start of the second that is `wait` seconds after that of `now`.
pub(super) fn second_after(now: Instant, wait: u32) -> Instant {
    Instant::from_micros(now.as_micros() / 1_000_000 * 1_000_000) + Duration::from_secs(wait.into())
}
