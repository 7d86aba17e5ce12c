//! Reputations of endpoints, remembered between lookups.
//!
//! A reputation records when the endpoint was last contacted, how often in a row it failed, how much of its
//! rate is used up, and whether it supports `get`.
//!
//! So a dead node that others still list costs one query, not one per lookup; an endpoint with an active
//! mapping in the home router counts as known; and no host is queried faster than it may accept, however many
//! lookups involve it.
//!
//! One rule decides, here and for the routing table, what an unanswered query means for a node. It counts as a
//! failure only if the node has answered nothing that was sent at or after that query, and if no other failure
//! has been counted since the query was sent: among many simultaneous queries some are lost, and those that are
//! lost together expire together. An unanswered query that a node need not support never counts as a failure.

use crate::base::addr::Endpoint;
use crate::base::hash::{Key, reduce};
use crate::base::rng::Rng;
use crate::base::time::Instant;
use crate::guard::rate::RateLimit;

/// Number of entries in which an endpoint may be stored.
const WAYS: usize = 4;

/// Minimum time for which home routers keep a UDP mapping after its last use.
///
/// RFC 4787 requires two minutes, but many routers keep mappings for one.
const MAPPING: u32 = 60 * TICKS;

/// Time for which lookups avoid an endpoint, for each failure in a row.
const PENALTY: u32 = 5 * 60 * TICKS;

/// Number of failures in a row that are attributed to packet loss.
const TOLERATED: u8 = 1;

/// Number of failures in a row from which further ones are not counted.
const MAX_FAILURES: u8 = 12;

/// Resolution of times, in ticks per second.
const TICKS: u32 = 16;

const TICK_MICROS: u64 = 1_000_000 / TICKS as u64;

/// Debt of one query: at a rate of one per second, a tick pays off one unit.
const QUERY: u32 = TICKS;

/// Largest burst that an entry can count.
const MAX_BURST: u32 = u8::MAX as u32 / QUERY;

/// Number of `get`s left unanswered, while other queries are answered, from which `get` is unsupported.
const DEAF: u8 = 3;

/// Minutes for which a node that does not support `get` is not sent any.
///
/// More than half the range of the six-bit counter, so that an age is never misinterpreted.
const DEAF_MINUTES: u32 = 30;

/// The reputation of one endpoint, in 12 bytes. Zeroed memory is an unused entry.
#[derive(Clone, Copy, Debug, Default)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub(crate) struct Reputation {
    /// A keyed hash of the endpoint, or 0 if unused.
    key: u32,
    /// Time of the last datagram sent to the endpoint, in ticks.
    contacted: u32,
    failures: u8,
    /// Queries sent this many ticks before `contacted`, or earlier, are settled.
    ///
    /// It no longer matters if they stay unanswered. The maximum value means that none is settled.
    settled: u8,
    /// Used part of the rate, as of `contacted`.
    debt: u8,
    /// Number of `get`s in a row that were ignored, with the minute of the last one in the upper bits.
    ignored: u8,
}

impl Reputation {
    pub(crate) const EMPTY: Self =
        Self { key: 0, contacted: 0, failures: 0, settled: 0, debt: 0, ignored: 0 };

    /// Returns the ticks since the last datagram was sent to the endpoint.
    const fn age(&self, now: Instant) -> u32 {
        tick(now).wrapping_sub(self.contacted)
    }

    fn debt(&self, limit: RateLimit, now: Instant) -> u32 {
        u32::from(self.debt).saturating_sub(self.age(now).saturating_mul(limit.per_sec.max(1)))
    }

    /// Whether anything sent at or after `sent` was answered, or a failure was counted since then.
    const fn is_settled(&self, sent: Instant) -> bool {
        let before = self.contacted.wrapping_sub(tick(sent));
        self.settled < u8::MAX && before >= self.settled as u32
    }

    fn settle(&mut self, sent: Instant) {
        let before = self.contacted.wrapping_sub(tick(sent)).min(u32::from(u8::MAX));
        self.settled = self.settled.min(before as u8);
    }

    /// Whether the node is known not to support `get`.
    const fn is_deaf(&self, now: Instant) -> bool {
        let age = (minute(now).wrapping_sub(self.ignored >> 2)) & 0x3f;
        self.ignored & 3 == DEAF && (age as u32) < DEAF_MINUTES && self.age(now) < DEAF_MINUTES * 60 * TICKS
    }

    const fn ignore(&mut self, count: u8, now: Instant) {
        self.ignored = count | (minute(now) << 2);
    }
}

/// The consequence for a node of a query that ended without a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Blame {
    /// The node has failed.
    Failed,
    /// None: the node has responded since, or this failure has already been counted.
    Nothing,
    /// The node may not support the query: another query must determine whether it is alive.
    Doubt,
}

/// Whether a datagram may be sent to an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leave {
    /// Allowed. `is_open` is whether one was sent there within the last minute.
    Now { is_open: bool },
    /// Not before this time, because the endpoint was queried a lot recently.
    At(Instant),
}

/// The head of the reputations: a set-associative table over the entries in the storage.
///
/// If its set is full, an endpoint replaces the one contacted longest ago. A collision of keys (one in 2^30)
/// costs a lookup one candidate for some minutes.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub(crate) struct Reputations {
    key: Key,
}

impl Reputations {
    pub(crate) fn new(rng: &mut Rng) -> Self {
        Self { key: Key::new(rng) }
    }

    /// Whether a datagram was sent to this endpoint within the last minute.
    pub(crate) fn is_open(&self, entries: &[Reputation], endpoint: Endpoint, now: Instant) -> bool {
        self.find(entries, endpoint).is_some_and(|contact| contact.age(now) < MAPPING)
    }

    /// Whether lookups should avoid this endpoint for now.
    pub(crate) fn is_suspect(&self, entries: &[Reputation], endpoint: Endpoint, now: Instant) -> bool {
        self.find(entries, endpoint).is_some_and(|contact| {
            contact.failures > TOLERATED
                && contact.age(now) < u32::from(contact.failures - TOLERATED) * PENALTY
        })
    }

    /// Whether the node at this endpoint is known not to support `get`.
    pub(crate) fn is_deaf(&self, entries: &[Reputation], endpoint: Endpoint, now: Instant) -> bool {
        self.find(entries, endpoint).is_some_and(|contact| contact.is_deaf(now))
    }

    /// Returns the number of endpoints with a reputation.
    pub(crate) fn count(entries: &[Reputation]) -> usize {
        entries.iter().filter(|entry| entry.key != 0).count()
    }

    /// Returns whether, or when, a datagram may be sent to this endpoint under the per-endpoint rate `limit`.
    pub(crate) fn leave(
        &self,
        entries: &[Reputation],
        endpoint: Endpoint,
        limit: RateLimit,
        now: Instant,
    ) -> Leave {
        let Some(contact) = self.find(entries, endpoint) else { return Leave::Now { is_open: false } };
        let room = limit.burst.clamp(1, MAX_BURST) * QUERY;
        let excess = (contact.debt(limit, now) + QUERY).saturating_sub(room);
        if excess == 0 || limit.per_sec == u32::MAX {
            return Leave::Now { is_open: contact.age(now) < MAPPING };
        }
        let wait = u64::from(excess.div_ceil(limit.per_sec.max(1)));
        Leave::At(Instant::from_micros((now.as_micros() / TICK_MICROS + wait) * TICK_MICROS))
    }

    /// Records that a datagram was sent.
    pub(crate) fn contacted(
        &self,
        entries: &mut [Reputation],
        endpoint: Endpoint,
        limit: RateLimit,
        now: Instant,
    ) {
        let (set, key) = self.place(entries, endpoint);
        let set = &mut entries[set];
        let at = set.iter().position(|contact| contact.key == key).or_else(|| {
            (0..set.len()).max_by_key(|&way| if set[way].key == 0 { u32::MAX } else { set[way].age(now) })
        });
        let Some(contact) = at.map(|way| &mut set[way]) else { return };
        if contact.key != key {
            *contact = Reputation { key, settled: u8::MAX, ..Reputation::EMPTY };
        } else if contact.ignored & 3 == DEAF && !contact.is_deaf(now) {
            // One more ignored `get` is enough to confirm that it still does not support it.
            contact.ignore(DEAF - 1, now);
        }
        contact.debt = (contact.debt(limit, now) + QUERY).min(u8::MAX.into()) as u8;
        contact.settled =
            u32::from(contact.settled).saturating_add(contact.age(now)).min(u8::MAX.into()) as u8;
        contact.contacted = tick(now);
    }

    /// Records that a query sent at `sent` ended without a response.
    ///
    /// `is_telling` is whether every live node would have answered it.
    pub(crate) fn failed(
        &self,
        entries: &mut [Reputation],
        endpoint: Endpoint,
        sent: Instant,
        is_telling: bool,
    ) -> Blame {
        let Some(contact) = self.find_mut(entries, endpoint) else {
            return if is_telling { Blame::Failed } else { Blame::Doubt };
        };
        if contact.is_settled(sent) {
            Blame::Nothing
        } else if is_telling {
            contact.failures = (contact.failures + 1).min(MAX_FAILURES);
            contact.settled = 0;
            Blame::Failed
        } else {
            Blame::Doubt
        }
    }

    /// Records that the endpoint answered a query sent at `sent`.
    pub(crate) fn answered(&self, entries: &mut [Reputation], endpoint: Endpoint, sent: Instant) {
        if let Some(contact) = self.find_mut(entries, endpoint) {
            contact.failures = 0;
            contact.settle(sent);
        }
    }

    /// Records that the endpoint answered another query, but not the `get` before it.
    pub(crate) fn ignored_get(&self, entries: &mut [Reputation], endpoint: Endpoint, now: Instant) {
        if let Some(contact) = self.find_mut(entries, endpoint) {
            contact.ignore(((contact.ignored & 3) + 1).min(DEAF), now);
        }
    }

    /// Records whether the endpoint supports `get`.
    ///
    /// It either answered one, or returned the error of a node that does not support it.
    pub(crate) fn heard_of_get(
        &self,
        entries: &mut [Reputation],
        endpoint: Endpoint,
        knows: bool,
        now: Instant,
    ) {
        if let Some(contact) = self.find_mut(entries, endpoint) {
            contact.ignore(if knows { 0 } else { DEAF }, now);
        }
    }

    fn find<'a>(&self, entries: &'a [Reputation], endpoint: Endpoint) -> Option<&'a Reputation> {
        let (set, key) = self.place(entries, endpoint);
        entries[set].iter().find(|contact| contact.key == key)
    }

    fn find_mut<'a>(&self, entries: &'a mut [Reputation], endpoint: Endpoint) -> Option<&'a mut Reputation> {
        let (set, key) = self.place(entries, endpoint);
        entries[set].iter_mut().find(|contact| contact.key == key)
    }

    /// Returns the set and the key of an endpoint. Without entries, the set is empty.
    fn place(&self, entries: &[Reputation], endpoint: Endpoint) -> (core::ops::Range<usize>, u32) {
        let hash = self.key.hash_endpoint(endpoint);
        let start = reduce(hash as u32, entries.len().div_ceil(WAYS)) * WAYS;
        (start..entries.len().min(start + WAYS), (hash >> 32) as u32 | 1)
    }
}

const fn tick(now: Instant) -> u32 {
    (now.as_micros() / TICK_MICROS) as u32
}

/// Returns the minute modulo 64.
const fn minute(now: Instant) -> u8 {
    (now.as_micros() / 60_000_000) as u8 & 0x3f
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use super::*;

    const LIMIT: RateLimit = RateLimit { per_sec: 3, burst: 4 };

    fn at(secs: u64) -> Instant {
        ms(secs * 1000)
    }

    fn ms(ms: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(ms)
    }

    /// The reputations of one node, and one endpoint.
    struct Rig {
        contacts: Reputations,
        entries: [Reputation; 16],
        endpoint: Endpoint,
    }

    impl Rig {
        fn new() -> Self {
            let (contacts, entries) = (Reputations::new(&mut Rng::new([7; 32])), [Reputation::default(); 16]);
            Self { contacts, entries, endpoint: Endpoint::v4([1, 2, 3, 4], 5) }
        }

        fn send(&mut self, now: Instant) {
            self.contacts.contacted(&mut self.entries, self.endpoint, LIMIT, now);
        }

        fn fail(&mut self, sent: Instant) -> Blame {
            self.contacts.failed(&mut self.entries, self.endpoint, sent, true)
        }

        fn ignore_get(&mut self, now: Instant) {
            self.contacts.ignored_get(&mut self.entries, self.endpoint, now);
        }

        fn answer(&mut self, sent: Instant) {
            self.contacts.answered(&mut self.entries, self.endpoint, sent);
        }

        fn is_suspect(&self, now: Instant) -> bool {
            self.contacts.is_suspect(&self.entries, self.endpoint, now)
        }

        fn is_deaf(&self, now: Instant) -> bool {
            self.contacts.is_deaf(&self.entries, self.endpoint, now)
        }

        /// Sends as often as is permitted, and returns how often that was.
        fn exhaust(&mut self, now: Instant) -> usize {
            let may = |rig: &Self| rig.contacts.leave(&rig.entries, rig.endpoint, LIMIT, now);
            (0..)
                .take_while(|_| matches!(may(self), Leave::Now { .. }).then(|| self.send(now)).is_some())
                .count()
        }
    }

    #[test]
    fn a_contact_is_open_for_a_minute() {
        let mut rig = Rig::new();
        let is_open = |rig: &Rig, now| rig.contacts.is_open(&rig.entries, rig.endpoint, now);
        assert!(!is_open(&rig, at(1)));
        rig.send(at(1));
        assert!(is_open(&rig, at(60)));
        assert!(!is_open(&rig, at(61)));
        assert!(!rig.contacts.is_open(&rig.entries, Endpoint::v4([1, 2, 3, 4], 6), at(1)));
    }

    #[test]
    fn repeated_failures_are_remembered_for_longer_each_time_and_forgiven_on_an_answer() {
        let mut rig = Rig::new();
        let fail_at = |rig: &mut Rig, secs| {
            rig.send(at(secs));
            assert_eq!(rig.fail(at(secs)), Blame::Failed);
        };
        fail_at(&mut rig, 0);
        assert!(!rig.is_suspect(at(5)));
        fail_at(&mut rig, 10);
        assert!(rig.is_suspect(at(309)));
        assert!(!rig.is_suspect(at(310)));
        fail_at(&mut rig, 310);
        assert!(rig.is_suspect(at(909)));
        rig.answer(at(310));
        assert!(!rig.is_suspect(at(320)));
    }

    #[test]
    fn what_expires_together_is_one_failure() {
        let mut rig = Rig::new();
        (0..20).for_each(|i| rig.send(ms(i * 100)));
        let verdicts: std::vec::Vec<_> = (0..20).map(|i| rig.fail(ms(i * 100))).collect();
        assert_eq!(verdicts[0], Blame::Failed);
        assert!(verdicts[1..].iter().all(|verdict| *verdict == Blame::Nothing), "{verdicts:?}");
        assert!(!rig.is_suspect(at(7)));
        rig.send(at(8));
        assert_eq!(rig.fail(at(8)), Blame::Failed, "it was sent after the last was counted");
    }

    #[test]
    fn silence_is_held_against_nobody_who_answered_something_sent_since() {
        let mut rig = Rig::new();
        (0..3).for_each(|i| rig.send(at(i)));
        rig.answer(at(1));
        assert_eq!(rig.fail(at(0)), Blame::Nothing);
        assert_eq!(rig.fail(at(1)), Blame::Nothing, "sent at the same time");
        assert_eq!(rig.fail(at(2)), Blame::Failed);
        // A response to a query sent long before only settles queries up to that time.
        rig.send(at(20));
        rig.answer(at(2));
        assert_eq!(rig.fail(at(20)), Blame::Failed);
    }

    #[test]
    fn a_query_that_need_not_be_known_is_no_failure_and_is_left_out_for_half_an_hour_once_ignored() {
        let mut rig = Rig::new();
        rig.send(at(0));
        let verdict = |rig: &mut Rig, sent| rig.contacts.failed(&mut rig.entries, rig.endpoint, sent, false);
        assert_eq!(verdict(&mut rig, at(0)), Blame::Doubt, "is anybody there?");
        rig.answer(at(0));
        assert_eq!(verdict(&mut rig, at(0)), Blame::Nothing);
        for round in 1..=3 {
            assert!(!rig.is_deaf(at(round * 10)));
            rig.ignore_get(at(round * 10 + 1));
        }
        assert!(rig.is_deaf(at(36)) && rig.is_deaf(at(29 * 60)));
        assert!(!rig.is_deaf(at(31 * 60)) && !rig.is_deaf(at(90 * 60)), "however long ago");
        assert!(!rig.is_suspect(at(36)));
        // It is sent one more `get`, and ignoring that is decisive.
        rig.send(at(31 * 60));
        assert!(!rig.is_deaf(at(31 * 60)));
        rig.ignore_get(at(31 * 60 + 1));
        assert!(rig.is_deaf(at(32 * 60)));
        rig.contacts.heard_of_get(&mut rig.entries, rig.endpoint, true, at(32 * 60));
        assert!(!rig.is_deaf(at(32 * 60)));
        rig.contacts.heard_of_get(&mut rig.entries, rig.endpoint, false, at(32 * 60));
        assert!(rig.is_deaf(at(32 * 60)), "it said so");
    }

    #[test]
    fn each_endpoint_is_sent_its_burst_and_then_its_rate() {
        for start in [0, 1, 999, 62_500] {
            let (mut rig, start) = (Rig::new(), at(5) + Duration::from_micros(start));
            assert_eq!(rig.exhaust(start), 4);
            let leave = rig.contacts.leave(&rig.entries, rig.endpoint, LIMIT, start);
            let Leave::At(next) = leave else { panic!("{leave:?}") };
            assert!(next > start && next - start <= Duration::from_millis(375), "{next:?}");
            assert_eq!(rig.exhaust(next), 1, "at the time it said, and not one more");
            let sent: usize = (1..=1000).map(|i| rig.exhaust(next + Duration::from_millis(i * 10))).sum();
            assert!((29..=31).contains(&sent), "{sent} in ten seconds");
            assert_eq!(rig.exhaust(next + Duration::from_secs(60)), 4);
        }
        let rig = Rig::new();
        let unlimited = RateLimit { per_sec: u32::MAX, burst: 1 };
        let mut entries = rig.entries;
        (0..99).for_each(|_| rig.contacts.contacted(&mut entries, rig.endpoint, unlimited, at(5)));
        assert_eq!(
            rig.contacts.leave(&entries, rig.endpoint, unlimited, at(5)),
            Leave::Now { is_open: true }
        );
        let mut other = Rig::new();
        assert_eq!(other.exhaust(at(5)), 4);
        other.endpoint = Endpoint::v4([1, 2, 3, 4], 6);
        assert_eq!(other.exhaust(at(5)), 4, "each for itself");
    }

    #[test]
    fn the_memory_is_bounded_and_forgets_the_oldest() {
        let contacts = Reputations::new(&mut Rng::new([7; 32]));
        let mut entries = [Reputation::default(); 4];
        let endpoint = |i: u8| Endpoint::v4([1, 1, 1, i], 1);
        (0..5).for_each(|i| contacts.contacted(&mut entries, endpoint(i), LIMIT, at(u64::from(i))));
        assert!(!contacts.is_open(&entries, endpoint(0), at(5)));
        assert!((1..5).all(|i| contacts.is_open(&entries, endpoint(i), at(5))));
        contacts.contacted(&mut [], endpoint(0), LIMIT, at(0));
        assert!(!contacts.is_suspect(&[], endpoint(0), at(0)));
        assert_eq!(size_of::<Reputation>(), 12);
    }
}
