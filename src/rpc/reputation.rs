//! Reputations of endpoints, remembered between lookups.
//!
//! A reputation records when the endpoint was last contacted, how often in a row it failed, how much of its
//! rate is used up, and whether it supports `get`.
//!
//! With it, a dead node that others still list costs one query, not one per lookup; an endpoint for which the home
//! router has a mapping does not count as new; and no host is queried faster than it may accept, however many
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

/// Number of ticks per second, the resolution of times.
const TICKS: u32 = 16;

const TICK_MICROS: u64 = 1_000_000 / TICKS as u64;

/// Debt of one query: at a rate of one per second, a tick pays off one unit.
const QUERY: u32 = TICKS;

/// Largest burst that an entry can count.
const MAX_BURST: u32 = u8::MAX as u32 / QUERY;

/// Number of `get`s in a row left unanswered, while other queries are answered, from which `get` is unsupported.
const UNSUPPORTED: u8 = 3;

/// Minutes for which a node that does not support `get` is not sent any.
///
/// More than half the range of the six-bit counter, so that an age is never misinterpreted.
const UNSUPPORTED_MINUTES: u32 = 30;

/// The reputation of one endpoint, in 12 bytes. Zeroed memory is an unused entry.
#[derive(Clone, Copy, Debug, Default)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub(crate) struct Reputation {
    /// A keyed hash of the endpoint, or 0 if unused.
    key: u32,
    /// Time of the last datagram sent to the endpoint, in ticks.
    contacted: u32,
    failures: u8,
    /// Queries sent this many ticks before `contacted`, or earlier, may stay unanswered without counting.
    ///
    /// The maximum value means that there are none.
    excused: u8,
    /// Used part of the rate, as of `contacted`.
    debt: u8,
    /// Number of `get`s in a row that were ignored, with the minute of the last one in the upper bits.
    ignored: u8,
}

impl Reputation {
    pub(crate) const EMPTY: Self =
        Self { key: 0, contacted: 0, failures: 0, excused: 0, debt: 0, ignored: 0 };

    /// Returns the ticks since the last datagram was sent to the endpoint.
    const fn age(&self, now: Instant) -> u32 {
        tick(now).wrapping_sub(self.contacted)
    }

    fn debt(&self, limit: RateLimit, now: Instant) -> u32 {
        u32::from(self.debt).saturating_sub(self.age(now).saturating_mul(limit.per_sec.max(1)))
    }

    /// Whether anything sent at or after `sent` was answered, or a failure was counted since then.
    const fn is_excused(&self, sent: Instant) -> bool {
        let before = self.contacted.wrapping_sub(tick(sent));
        self.excused < u8::MAX && before >= self.excused as u32
    }

    /// Excuses queries sent at `sent` or before.
    fn excuse(&mut self, sent: Instant) {
        let before = self.contacted.wrapping_sub(tick(sent)).min(u32::from(u8::MAX));
        self.excused = self.excused.min(before as u8);
    }

    /// Whether the node is known not to support `get`.
    const fn lacks_get(&self, now: Instant) -> bool {
        let age = (minute(now).wrapping_sub(self.ignored >> 2)) & 0x3f;
        self.ignored & 3 == UNSUPPORTED
            && (age as u32) < UNSUPPORTED_MINUTES
            && self.age(now) < UNSUPPORTED_MINUTES * 60 * TICKS
    }

    /// Sets the number of ignored `get`s.
    const fn set_ignored(&mut self, count: u8, now: Instant) {
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
    Suspect,
}

/// Whether, or when, a datagram may be sent to an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Clearance {
    /// At once. `has_mapping` is whether one was sent there within the last minute.
    Now { has_mapping: bool },
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

    /// Whether a datagram was sent to this endpoint within the last minute, so that routers have a mapping for it.
    pub(crate) fn has_mapping(&self, entries: &[Reputation], endpoint: Endpoint, now: Instant) -> bool {
        self.find(entries, endpoint).is_some_and(|reputation| reputation.age(now) < MAPPING)
    }

    /// Whether lookups should avoid this endpoint for now.
    pub(crate) fn is_suspect(&self, entries: &[Reputation], endpoint: Endpoint, now: Instant) -> bool {
        self.find(entries, endpoint).is_some_and(|reputation| {
            reputation.failures > TOLERATED
                && reputation.age(now) < u32::from(reputation.failures - TOLERATED) * PENALTY
        })
    }

    /// Whether the node at this endpoint is known not to support `get`.
    pub(crate) fn lacks_get(&self, entries: &[Reputation], endpoint: Endpoint, now: Instant) -> bool {
        self.find(entries, endpoint).is_some_and(|reputation| reputation.lacks_get(now))
    }

    /// Returns the number of endpoints with a reputation.
    pub(crate) fn count(entries: &[Reputation]) -> usize {
        entries.iter().filter(|entry| entry.key != 0).count()
    }

    /// Returns whether, or when, a datagram may be sent to this endpoint under the per-endpoint rate `limit`.
    pub(crate) fn clearance(
        &self,
        entries: &[Reputation],
        endpoint: Endpoint,
        limit: RateLimit,
        now: Instant,
    ) -> Clearance {
        let Some(reputation) = self.find(entries, endpoint) else {
            return Clearance::Now { has_mapping: false };
        };
        let room = limit.burst.clamp(1, MAX_BURST) * QUERY;
        let excess = (reputation.debt(limit, now) + QUERY).saturating_sub(room);
        if excess == 0 || limit.per_sec == u32::MAX {
            return Clearance::Now { has_mapping: reputation.age(now) < MAPPING };
        }
        let wait = u64::from(excess.div_ceil(limit.per_sec.max(1)));
        Clearance::At(Instant::from_micros((now.as_micros() / TICK_MICROS + wait) * TICK_MICROS))
    }

    /// Records that a datagram was sent.
    pub(crate) fn on_contact(
        &self,
        entries: &mut [Reputation],
        endpoint: Endpoint,
        limit: RateLimit,
        now: Instant,
    ) {
        let (set, key) = self.locate(entries, endpoint);
        let set = &mut entries[set];
        let at = set.iter().position(|reputation| reputation.key == key).or_else(|| {
            (0..set.len()).max_by_key(|&way| if set[way].key == 0 { u32::MAX } else { set[way].age(now) })
        });
        let Some(reputation) = at.map(|way| &mut set[way]) else { return };
        if reputation.key != key {
            *reputation = Reputation { key, excused: u8::MAX, ..Reputation::EMPTY };
        } else if reputation.ignored & 3 == UNSUPPORTED && !reputation.lacks_get(now) {
            // One more ignored `get` is enough to confirm that it still does not support it.
            reputation.set_ignored(UNSUPPORTED - 1, now);
        }
        reputation.debt = (reputation.debt(limit, now) + QUERY).min(u8::MAX.into()) as u8;
        reputation.excused =
            u32::from(reputation.excused).saturating_add(reputation.age(now)).min(u8::MAX.into()) as u8;
        reputation.contacted = tick(now);
    }

    /// Records that a query sent at `sent` ended without a response.
    ///
    /// `is_conclusive` is whether every live node would have responded.
    pub(crate) fn on_failure(
        &self,
        entries: &mut [Reputation],
        endpoint: Endpoint,
        sent: Instant,
        is_conclusive: bool,
    ) -> Blame {
        let Some(reputation) = self.find_mut(entries, endpoint) else {
            return if is_conclusive { Blame::Failed } else { Blame::Suspect };
        };
        if reputation.is_excused(sent) {
            Blame::Nothing
        } else if is_conclusive {
            reputation.failures = (reputation.failures + 1).min(MAX_FAILURES);
            reputation.excused = 0;
            Blame::Failed
        } else {
            Blame::Suspect
        }
    }

    /// Records that the endpoint answered a query sent at `sent`.
    pub(crate) fn on_response(&self, entries: &mut [Reputation], endpoint: Endpoint, sent: Instant) {
        if let Some(reputation) = self.find_mut(entries, endpoint) {
            reputation.failures = 0;
            reputation.excuse(sent);
        }
    }

    /// Records that the endpoint answered another query, but not the `get` before it.
    pub(crate) fn on_get_ignored(&self, entries: &mut [Reputation], endpoint: Endpoint, now: Instant) {
        if let Some(reputation) = self.find_mut(entries, endpoint) {
            reputation.set_ignored(((reputation.ignored & 3) + 1).min(UNSUPPORTED), now);
        }
    }

    /// Records whether the endpoint supports `get`.
    ///
    /// It either responded to one, or with the error of a node that does not support it.
    pub(crate) fn on_get_support(
        &self,
        entries: &mut [Reputation],
        endpoint: Endpoint,
        is_supported: bool,
        now: Instant,
    ) {
        if let Some(reputation) = self.find_mut(entries, endpoint) {
            reputation.set_ignored(if is_supported { 0 } else { UNSUPPORTED }, now);
        }
    }

    fn find<'a>(&self, entries: &'a [Reputation], endpoint: Endpoint) -> Option<&'a Reputation> {
        let (set, key) = self.locate(entries, endpoint);
        entries[set].iter().find(|reputation| reputation.key == key)
    }

    fn find_mut<'a>(&self, entries: &'a mut [Reputation], endpoint: Endpoint) -> Option<&'a mut Reputation> {
        let (set, key) = self.locate(entries, endpoint);
        entries[set].iter_mut().find(|reputation| reputation.key == key)
    }

    /// Returns the set and the key of an endpoint. Without entries, the set is empty.
    fn locate(&self, entries: &[Reputation], endpoint: Endpoint) -> (core::ops::Range<usize>, u32) {
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
        reputations: Reputations,
        entries: [Reputation; 16],
        endpoint: Endpoint,
    }

    impl Rig {
        fn new() -> Self {
            let (reputations, entries) =
                (Reputations::new(&mut Rng::new([7; 32])), [Reputation::default(); 16]);
            Self { reputations, entries, endpoint: Endpoint::v4([1, 2, 3, 4], 5) }
        }

        fn send(&mut self, now: Instant) {
            self.reputations.on_contact(&mut self.entries, self.endpoint, LIMIT, now);
        }

        fn fail(&mut self, sent: Instant) -> Blame {
            self.reputations.on_failure(&mut self.entries, self.endpoint, sent, true)
        }

        fn ignore_get(&mut self, now: Instant) {
            self.reputations.on_get_ignored(&mut self.entries, self.endpoint, now);
        }

        fn answer(&mut self, sent: Instant) {
            self.reputations.on_response(&mut self.entries, self.endpoint, sent);
        }

        fn is_suspect(&self, now: Instant) -> bool {
            self.reputations.is_suspect(&self.entries, self.endpoint, now)
        }

        fn lacks_get(&self, now: Instant) -> bool {
            self.reputations.lacks_get(&self.entries, self.endpoint, now)
        }

        /// Sends as often as is permitted, and returns how often that was.
        fn exhaust(&mut self, now: Instant) -> usize {
            let may = |rig: &Self| rig.reputations.clearance(&rig.entries, rig.endpoint, LIMIT, now);
            (0..)
                .take_while(|_| matches!(may(self), Clearance::Now { .. }).then(|| self.send(now)).is_some())
                .count()
        }
    }

    #[test]
    fn a_mapping_lasts_for_a_minute() {
        let mut rig = Rig::new();
        let is_open = |rig: &Rig, now| rig.reputations.has_mapping(&rig.entries, rig.endpoint, now);
        assert!(!is_open(&rig, at(1)));
        rig.send(at(1));
        assert!(is_open(&rig, at(60)));
        assert!(!is_open(&rig, at(61)));
        assert!(!rig.reputations.has_mapping(&rig.entries, Endpoint::v4([1, 2, 3, 4], 6), at(1)));
    }

    #[test]
    fn repeated_failures_are_remembered_for_longer_each_time_until_a_response() {
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
    fn queries_that_expire_together_are_one_failure() {
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
    fn an_unanswered_query_does_not_count_after_a_response_to_a_later_one() {
        let mut rig = Rig::new();
        (0..3).for_each(|i| rig.send(at(i)));
        rig.answer(at(1));
        assert_eq!(rig.fail(at(0)), Blame::Nothing);
        assert_eq!(rig.fail(at(1)), Blame::Nothing, "sent at the same time");
        assert_eq!(rig.fail(at(2)), Blame::Failed);
        // A response to a query sent long before only excuses queries up to that time.
        rig.send(at(20));
        rig.answer(at(2));
        assert_eq!(rig.fail(at(20)), Blame::Failed);
    }

    #[test]
    fn an_unsupported_get_is_no_failure_and_is_not_sent_for_half_an_hour_once_ignored() {
        let mut rig = Rig::new();
        rig.send(at(0));
        let verdict =
            |rig: &mut Rig, sent| rig.reputations.on_failure(&mut rig.entries, rig.endpoint, sent, false);
        assert_eq!(verdict(&mut rig, at(0)), Blame::Suspect, "is anybody there?");
        rig.answer(at(0));
        assert_eq!(verdict(&mut rig, at(0)), Blame::Nothing);
        for round in 1..=3 {
            assert!(!rig.lacks_get(at(round * 10)));
            rig.ignore_get(at(round * 10 + 1));
        }
        assert!(rig.lacks_get(at(36)) && rig.lacks_get(at(29 * 60)));
        assert!(!rig.lacks_get(at(31 * 60)) && !rig.lacks_get(at(90 * 60)), "however long ago");
        assert!(!rig.is_suspect(at(36)));
        // It is sent one more `get`, and ignoring that is decisive.
        rig.send(at(31 * 60));
        assert!(!rig.lacks_get(at(31 * 60)));
        rig.ignore_get(at(31 * 60 + 1));
        assert!(rig.lacks_get(at(32 * 60)));
        rig.reputations.on_get_support(&mut rig.entries, rig.endpoint, true, at(32 * 60));
        assert!(!rig.lacks_get(at(32 * 60)));
        rig.reputations.on_get_support(&mut rig.entries, rig.endpoint, false, at(32 * 60));
        assert!(rig.lacks_get(at(32 * 60)), "it said so");
    }

    #[test]
    fn each_endpoint_is_sent_its_burst_and_then_its_rate() {
        for start in [0, 1, 999, 62_500] {
            let (mut rig, start) = (Rig::new(), at(5) + Duration::from_micros(start));
            assert_eq!(rig.exhaust(start), 4);
            let clearance = rig.reputations.clearance(&rig.entries, rig.endpoint, LIMIT, start);
            let Clearance::At(next) = clearance else { panic!("{clearance:?}") };
            assert!(next > start && next - start <= Duration::from_millis(375), "{next:?}");
            assert_eq!(rig.exhaust(next), 1, "at the time it said, and not one more");
            let sent: usize = (1..=1000).map(|i| rig.exhaust(next + Duration::from_millis(i * 10))).sum();
            assert!((29..=31).contains(&sent), "{sent} in ten seconds");
            assert_eq!(rig.exhaust(next + Duration::from_secs(60)), 4);
        }
        let rig = Rig::new();
        let unlimited = RateLimit { per_sec: u32::MAX, burst: 1 };
        let mut entries = rig.entries;
        (0..99).for_each(|_| rig.reputations.on_contact(&mut entries, rig.endpoint, unlimited, at(5)));
        assert_eq!(
            rig.reputations.clearance(&entries, rig.endpoint, unlimited, at(5)),
            Clearance::Now { has_mapping: true }
        );
        let mut other = Rig::new();
        assert_eq!(other.exhaust(at(5)), 4);
        other.endpoint = Endpoint::v4([1, 2, 3, 4], 6);
        assert_eq!(other.exhaust(at(5)), 4, "each for itself");
    }

    #[test]
    fn the_memory_is_bounded_and_forgets_the_oldest() {
        let reputations = Reputations::new(&mut Rng::new([7; 32]));
        let mut entries = [Reputation::default(); 4];
        let endpoint = |i: u8| Endpoint::v4([1, 1, 1, i], 1);
        (0..5).for_each(|i| reputations.on_contact(&mut entries, endpoint(i), LIMIT, at(u64::from(i))));
        assert!(!reputations.has_mapping(&entries, endpoint(0), at(5)));
        assert!((1..5).all(|i| reputations.has_mapping(&entries, endpoint(i), at(5))));
        reputations.on_contact(&mut [], endpoint(0), LIMIT, at(0));
        assert!(!reputations.is_suspect(&[], endpoint(0), at(0)));
        assert_eq!(size_of::<Reputation>(), 12);
    }
}
