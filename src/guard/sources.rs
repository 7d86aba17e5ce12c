//! Sources of queries: their rates, verified addresses, and limits on amplification.
//!
//! The limits bound how many response bytes a sender of forged addresses can direct at their owners.

use core::time::Duration;

use crate::base::addr::Endpoint;
use crate::base::hash::{Key, reduce};
use crate::base::rng::Rng;
use crate::base::time::Instant;
use crate::guard::rate::RateLimit;
use crate::guard::volume::{Minute, Volume};
#[cfg(feature = "items")]
use crate::guard::volume::{TICKS, shift};

/// The limits that apply to sources.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub(crate) struct SourceRules {
    /// Rate of queries of one source. A rate below one per second counts as one.
    pub(crate) queries: RateLimit,
    /// Response bytes per minute to the unverified sources of one subnet.
    ///
    /// Responses of at most [`ALWAYS_ALLOWED`] times the size of the query are not counted.
    pub(crate) subnet_bytes: u32,
    /// Seconds for which an address counts as verified after proof.
    pub(crate) verified_secs: u16,
    /// Whether a source is a full endpoint, for cases in which many nodes share one host.
    ///
    /// Otherwise, a source is an IPv4 address or IPv6 /64: the holder of a /64 has more addresses than any
    /// table has slots.
    pub(crate) by_endpoint: bool,
}

impl Default for SourceRules {
    fn default() -> Self {
        Self {
            queries: RateLimit { per_sec: 5, burst: 50 },
            subnet_bytes: 16 * 1024,
            verified_secs: 15 * 60,
            by_endpoint: false,
        }
    }
}

/// One second in microseconds.
const SECOND: u32 = 1_000_000;

/// Multiple of the size of a query up to which a response may be sent to any source.
pub(crate) const ALWAYS_ALLOWED: usize = 3;

/// Budget per minute of all unverified sources together for longer responses, in budgets of one subnet.
const ALL_SUBNETS: u64 = 10;
/// Burst of the budget of all unverified sources together, in budgets of one subnet.
const ALL_SUBNETS_BURST: u64 = 4;
/// Divisor of the bytes received from unverified sources that yields the bytes added to their budget.
const EARNED_DIVISOR: u64 = 4;

/// A query to respond to: its sender and what limits the response.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request {
    pub(crate) by: Endpoint,
    /// The length of the query in bytes.
    pub(crate) len: usize,
    /// Whether the sender is known to receive what is sent to it.
    pub(crate) is_verified: bool,
    /// Whether the query is for an item.
    pub(crate) for_item: bool,
}

/// A response that has been written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sent {
    pub(crate) len: usize,
    /// Whether the response contains the value of an item.
    #[cfg_attr(not(feature = "items"), allow(dead_code, reason = "there is never one"))]
    pub(crate) has_item: bool,
}

/// Number of signature checks per minute up to which a wide subnet may use up the whole budget of checks.
#[cfg(feature = "items")]
const FEW_CHECKS: u32 = 4;

/// The decision on a query, and what is known of its source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// Within the rate; the source address may be forged.
    Unverified,
    /// Within the rate, from an address that has been proved to receive what is sent to it.
    Verified,
    /// Over the rate: the query must be dropped.
    Limited,
}

/// The recent sources and subnets, in slices owned by the storage.
///
/// Sources and subnets are each stored in a table of four-way sets: a key belongs to one set, and a newcomer
/// replaces the lowest-ranking entry of its set. The set is chosen by a keyed hash, so a sender of forged
/// addresses can flush the whole table but cannot target an entry. This gains it little:
///
/// - A verified source is replaced only if all four of its set are verified. Forged addresses never become
///   verified, so they occupy at most one slot of a full set.
/// - Among unverified sources, the one with the most unused rate is replaced first: one that floods stays in
///   the table and stays limited.
/// - Among subnets, the one that received the fewest bytes is replaced first, and the newcomer inherits its
///   count. So no subnet is ever undercounted, however many others pass through, and the number of slots
///   bounds the bytes that the node sends to unverified sources in total.
/// - Forged addresses of ever new subnets receive little more in total than [`ALWAYS_ALLOWED`] times what
///   they send: anything beyond is taken from one common budget.
/// - A verified address can be forged too. Its responses are complete, and bounded by its own query rate and
///   by the share of its subnet in the [`Volume`] of all responses.
///
/// Without slots for sources, every query is admitted as unverified. Without slots for subnets, responses to
/// unverified sources never exceed [`ALWAYS_ALLOWED`] times the query.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub(crate) struct Sources {
    /// Microseconds of the rate of a source that one query uses up.
    query_cost: u32,
    /// Copied from [`SourceRules`], like the next three fields.
    burst: u32,
    subnet_bytes: u32,
    verified_secs: u16,
    by_endpoint: bool,
    key: Key,
    volume: Volume,
    /// When the budget of all unverified sources together is full again (GCRA).
    excess_until: Instant,
}

impl Sources {
    /// Creates the state for these rules.
    ///
    /// `answer_bytes` limits the bytes of all responses per second, see [`Volume::new`].
    pub(crate) fn new(rules: SourceRules, answer_bytes: u32, rng: &mut Rng) -> Self {
        let query_cost = SECOND / rules.queries.per_sec.max(1);
        let volume = Volume::new(answer_bytes);
        let SourceRules { queries, subnet_bytes, verified_secs, by_endpoint } = rules;
        Self {
            query_cost,
            burst: queries.burst,
            subnet_bytes,
            verified_secs,
            by_endpoint,
            key: Key::new(rng),
            volume,
            excess_until: Instant::ZERO,
        }
    }

    /// Counts a query against its source and returns whether it is admitted.
    pub(crate) fn admit(&self, sources: &mut [Source], from: Endpoint, now: Instant) -> Admission {
        let tag = self.source_tag(from);
        let Some(source) = claim(sources, tag, |source| source.rank(now)) else {
            return Admission::Unverified;
        };
        if source.tag != tag {
            *source = Source { tag, ..Source::EMPTY };
        }
        let now_micros = now.as_micros();
        let busy_until = source.busy_until.as_micros().max(now_micros).saturating_add(self.query_cost.into());
        let burst = u64::from(self.query_cost) * u64::from(self.burst);
        if busy_until - now_micros > burst {
            return Admission::Limited;
        }
        source.busy_until = Instant::from_micros(busy_until);
        if now < source.verified_until { Admission::Verified } else { Admission::Unverified }
    }

    /// Counts an offense of a source as `queries` queries.
    #[cfg(feature = "items")]
    pub(crate) fn penalize(&self, sources: &mut [Source], from: Endpoint, queries: u32, now: Instant) {
        let tag = self.source_tag(from);
        let Some(source) = claim(sources, tag, |source| source.rank(now)).filter(|source| source.tag == tag)
        else {
            return;
        };
        // The source will be admitted again: an admitted source is in debt for no more than this beyond its burst.
        let cost = u64::from(self.query_cost) * u64::from(queries);
        let busy_until = source.busy_until.as_micros().max(now.as_micros()).saturating_add(cost);
        source.busy_until = Instant::from_micros(busy_until);
    }

    /// Records proof that the endpoint receives what is sent to it: a response, or a valid token.
    pub(crate) fn verify(&self, sources: &mut [Source], endpoint: Endpoint, now: Instant) {
        let tag = self.source_tag(endpoint);
        if let Some(source) = claim(sources, tag, |source| source.rank(now)) {
            if source.tag != tag {
                *source = Source { tag, ..Source::EMPTY };
            }
            source.busy_until = source.busy_until.max(now);
            source.verified_until = now + Duration::from_secs(self.verified_secs.into());
        }
    }

    /// Whether proof that an endpoint receives what is sent to it was recorded recently.
    #[cfg(test)]
    pub(crate) fn is_verified(&self, sources: &[Source], endpoint: Endpoint, now: Instant) -> bool {
        let tag = self.source_tag(endpoint);
        let set = set_of(sources.len(), tag);
        sources[set].iter().any(|source| source.tag == tag && now < source.verified_until)
    }

    /// Returns the maximum length of a response, or 0 if none may be sent.
    ///
    /// Must be called when the response is built, not when it is queued: only [`count`](Self::count) uses up
    /// the budget.
    #[inline]
    pub(crate) fn max_len(
        &self,
        subnets: &[Subnet],
        shares: &[Share],
        request: &Request,
        now: Instant,
    ) -> usize {
        if request.is_verified && !self.volume.is_busy(now) {
            return usize::MAX;
        }
        self.limited_max_len(subnets, shares, request, now)
    }

    #[inline(never)]
    fn limited_max_len(
        &self,
        subnets: &[Subnet],
        shares: &[Share],
        request: &Request,
        now: Instant,
    ) -> usize {
        let most = self.volume.max_len(now, || {
            let tag = self.subnet_tag(request.by);
            let set = &shares[set_of(shares.len(), tag)];
            let share = set.iter().find(|share| share.tag == tag);
            let received = |share: &Share| share.bytes.sum(now);
            // A subnet without a slot is assumed to have received as much as the one it would replace.
            share.map_or_else(|| set.iter().map(received).min().unwrap_or(0), received)
        });
        if request.is_verified {
            return most;
        }
        let always = ALWAYS_ALLOWED * request.len;
        if most <= always || request.for_item && self.had_item(subnets, request.by, now) {
            return most.min(always);
        }
        let excess = usize::try_from(self.excess_left(now)).unwrap_or(usize::MAX);
        most.min(self.reply_budget(subnets, request.by, request.len, now)).min(always.saturating_add(excess))
    }

    /// Counts a response.
    #[inline]
    pub(crate) fn count(
        &mut self,
        subnets: &mut [Subnet],
        shares: &mut [Share],
        request: &Request,
        sent: Sent,
        now: Instant,
    ) {
        self.volume.count(sent.len, now);
        if !request.is_verified || self.volume.is_busy(now) {
            self.count_limited(subnets, shares, request, sent, now);
        }
    }

    /// Counts a response against its subnet.
    #[inline(never)]
    fn count_limited(
        &mut self,
        subnets: &mut [Subnet],
        shares: &mut [Share],
        request: &Request,
        sent: Sent,
        now: Instant,
    ) {
        if self.volume.is_busy(now) {
            let tag = self.subnet_tag(request.by);
            if let Some(share) = claim(shares, tag, |share| share.bytes.sum(now)) {
                share.tag = tag;
                share.bytes.add(sent.len, now);
            }
        }
        if request.is_verified {
            return;
        }
        self.charge(subnets, request.by, request.len, sent.len, now);
        self.count_excess(request.len, sent.len, now);
        #[cfg(feature = "items")]
        if sent.has_item && sent.len > ALWAYS_ALLOWED * request.len {
            self.note_item(subnets, request.by, now);
        }
    }

    /// Returns the maximum length of a response to an unverified source that the budget of its subnet allows.
    fn reply_budget(&self, subnets: &[Subnet], to: Endpoint, query_len: usize, now: Instant) -> usize {
        let tag = self.subnet_tag(to);
        let set = set_of(subnets.len(), tag);
        let set = &subnets[set];
        let drawn = match set.iter().find(|subnet| subnet.tag == tag) {
            Some(subnet) => subnet.drawn(now),
            None => set.iter().map(|subnet| subnet.drawn(now)).min().unwrap_or(u64::MAX),
        };
        let rest = u64::from(self.subnet_bytes).saturating_sub(drawn) as usize;
        rest.max(ALWAYS_ALLOWED * query_len)
    }

    /// Counts a response to an unverified source against the budget of its subnet.
    ///
    /// Responses of at most [`ALWAYS_ALLOWED`] times the query are free: pings from a whole subnet must not
    /// use up what its lookups need.
    fn charge(&self, subnets: &mut [Subnet], to: Endpoint, query_len: usize, reply_len: usize, now: Instant) {
        if reply_len <= ALWAYS_ALLOWED * query_len {
            return;
        }
        let tag = self.subnet_tag(to);
        if let Some(subnet) = claim(subnets, tag, |subnet| subnet.drawn(now)) {
            subnet.tag = tag;
            subnet.draw(reply_len, now);
        }
    }

    /// Returns how many bytes all unverified sources may receive now.
    ///
    /// Responses of at most [`ALWAYS_ALLOWED`] times their queries are not counted.
    fn excess_left(&self, now: Instant) -> u64 {
        let debt = self.excess_until.as_micros().saturating_sub(now.as_micros());
        let burst = 60_000_000 / ALL_SUBNETS * ALL_SUBNETS_BURST;
        let bytes_per_burst = u64::from(self.subnet_bytes) * ALL_SUBNETS_BURST;
        bytes_per_burst * burst.saturating_sub(debt) / burst
    }

    fn count_excess(&mut self, query_len: usize, reply_len: usize, now: Instant) {
        let excess = reply_len.saturating_sub(ALWAYS_ALLOWED * query_len) as u64;
        if (excess == 0 && self.excess_until <= now) || self.subnet_bytes == 0 {
            return;
        }
        let micros = |bytes: u64| bytes * (60_000_000 / ALL_SUBNETS) / u64::from(self.subnet_bytes);
        let until = self.excess_until.max(now).as_micros().saturating_add(micros(excess));
        self.excess_until =
            Instant::from_micros(until.saturating_sub(micros(query_len as u64 / EARNED_DIVISOR)));
    }

    /// Whether an item was sent to an unverified source of this subnet within the last minute.
    fn had_item(&self, subnets: &[Subnet], by: Endpoint, now: Instant) -> bool {
        let tag = self.subnet_tag(by);
        let set = &subnets[set_of(subnets.len(), tag)];
        set.iter().any(|subnet| subnet.tag == tag && subnet.had_item(now))
    }

    #[cfg(feature = "items")]
    fn note_item(&self, subnets: &mut [Subnet], by: Endpoint, now: Instant) {
        let tag = self.subnet_tag(by);
        let set = set_of(subnets.len(), tag);
        if let Some(subnet) = subnets[set].iter_mut().find(|subnet| subnet.tag == tag) {
            subnet.advance(now);
            subnet.marks[0] |= HAD_ITEM;
        }
    }

    /// Counts a signature check against its wide subnet.
    ///
    /// Returns whether that subnet has caused more than [`FEW_CHECKS`] within the last minute.
    #[cfg(feature = "items")]
    pub(crate) fn count_check(&self, subnets: &mut [Subnet], from: Endpoint, now: Instant) -> bool {
        let tag = self.wide_subnet_tag(from);
        let Some(subnet) = claim(subnets, tag, |subnet| subnet.drawn(now)) else { return false };
        subnet.tag = tag;
        subnet.advance(now);
        subnet.marks[0] += u8::from(subnet.marks[0] & CHECKS < CHECKS);
        subnet.marks.iter().map(|&marks| u32::from(marks & CHECKS)).sum::<u32>() > FEW_CHECKS
    }

    fn source_tag(&self, from: Endpoint) -> u64 {
        match from.as_v4() {
            _ if self.by_endpoint => self.endpoint_tag(from),
            Some(ip) => self.tag(u32::from_be_bytes(ip).into(), 0),
            None => self.tag(from.lan(), 1),
        }
    }

    /// Returns a hash of the subnet of an endpoint, or of the endpoint itself if each is a source of its own.
    pub(crate) fn subnet_tag(&self, to: Endpoint) -> u64 {
        match to.as_v4() {
            _ if self.by_endpoint => self.endpoint_tag(to),
            _ if to.is_private() => self.endpoint_tag(to.with_port(0)),
            Some(ip) => self.tag((u32::from_be_bytes(ip) >> 8).into(), 2),
            None => self.tag(to.subnet(), 3),
        }
    }

    /// Returns a hash of the widest subnet that one customer is assigned, or of the endpoint itself.
    pub(crate) fn wide_subnet_tag(&self, by: Endpoint) -> u64 {
        match by.as_v4() {
            None if !self.by_endpoint && !by.is_private() => self.tag(by.wide_subnet(), 4),
            _ => self.subnet_tag(by),
        }
    }

    fn tag(&self, address: u64, kind: u32) -> u64 {
        self.key.hash(address, 0, kind).max(1)
    }

    fn endpoint_tag(&self, endpoint: Endpoint) -> u64 {
        self.key.hash_endpoint(endpoint).max(1)
    }
}

/// A recent source. Zeroed memory is a free slot.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub(crate) struct Source {
    /// A keyed hash of the source.
    ///
    /// It has 64 bits, because a collision would verify one source by the proof of another.
    tag: u64,
    /// The token bucket, stored as the time at which it is full again (GCRA).
    busy_until: Instant,
    verified_until: Instant,
}

impl Source {
    pub(crate) const EMPTY: Self = Self { tag: 0, busy_until: Instant::ZERO, verified_until: Instant::ZERO };

    fn rank(&self, now: Instant) -> u64 {
        const VERIFIED: u64 = 1 << 63;
        let seen = self.busy_until.as_micros() & !VERIFIED;
        if now < self.verified_until { seen | VERIFIED } else { seen }
    }
}

/// The response bytes that one subnet received recently. Zeroed memory is a free slot.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub(crate) struct Subnet {
    tag: u64,
    bytes: Minute,
    /// Number of signature checks in each of the intervals of `bytes`, and whether an item was sent in it.
    #[cfg(feature = "items")]
    marks: [u8; TICKS],
}

/// Bit of a mark that is set if an item was sent.
#[cfg(feature = "items")]
const HAD_ITEM: u8 = 0x80;
/// Bits of a mark that count signature checks.
#[cfg(feature = "items")]
const CHECKS: u8 = 0x7f;

impl Subnet {
    pub(crate) const EMPTY: Self = Self {
        tag: 0,
        bytes: Minute::EMPTY,
        #[cfg(feature = "items")]
        marks: [0; TICKS],
    };

    fn drawn(&self, now: Instant) -> u64 {
        self.bytes.sum(now)
    }

    fn draw(&mut self, bytes: usize, now: Instant) {
        self.advance(now);
        self.bytes.add(bytes, now);
    }

    /// Advances to the current interval.
    fn advance(&mut self, now: Instant) {
        #[cfg(feature = "items")]
        shift(&mut self.marks, self.bytes.past(now));
        self.bytes.advance(now);
    }

    #[cfg(feature = "items")]
    fn had_item(&self, now: Instant) -> bool {
        let current = TICKS.saturating_sub(self.bytes.past(now));
        self.marks[..current].iter().any(|marks| marks & HAD_ITEM != 0)
    }

    #[cfg(not(feature = "items"))]
    const fn had_item(&self, _: Instant) -> bool {
        false
    }
}

/// The response bytes sent to one subnet while responses are limited. Zeroed memory is a free slot.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub(crate) struct Share {
    tag: u64,
    bytes: Minute,
}

impl Share {
    pub(crate) const EMPTY: Self = Self { tag: 0, bytes: Minute::EMPTY };
}

trait Tagged {
    fn tag(&self) -> u64;
}

impl Tagged for Source {
    fn tag(&self) -> u64 {
        self.tag
    }
}

impl Tagged for Subnet {
    fn tag(&self) -> u64 {
        self.tag
    }
}

impl Tagged for Share {
    fn tag(&self) -> u64 {
        self.tag
    }
}

/// Returns the slot of `tag`, or otherwise the lowest-ranking one of its set; `None` without slots.
fn claim<T: Tagged>(slots: &mut [T], tag: u64, rank: impl Fn(&T) -> u64) -> Option<&mut T> {
    let range = set_of(slots.len(), tag);
    let set = &mut slots[range];
    match set.iter().position(|slot| slot.tag() == tag) {
        Some(at) => set.get_mut(at),
        None => set.iter_mut().min_by_key(|slot| rank(slot)),
    }
}

/// Number of slots in a set.
const WAYS: usize = 4;

/// Returns the range of slots in which `tag` may be. Up to three slots that do not fill a set stay unused.
fn set_of(len: usize, tag: u64) -> core::ops::Range<usize> {
    let sets = (len / WAYS).max(1);
    let start = reduce((tag >> 32) as u32, sets) * WAYS;
    start..(start + WAYS).min(len)
}

#[cfg(test)]
mod tests {
    use std::vec;
    use std::vec::Vec;

    use super::*;

    fn sources(rules: SourceRules) -> Sources {
        Sources::new(rules, u32::MAX, &mut Rng::new([5; 32]))
    }

    fn host(number: u32) -> Endpoint {
        let [a, b, c, d] = number.to_be_bytes();
        Endpoint::v4([a + 1, b, c, d], 6881)
    }

    fn ms(at: u64) -> Instant {
        Instant::from_micros(at * 1000)
    }

    #[test]
    fn c_08_a_source_may_query_50_times_at_once_and_then_5_times_a_second() {
        let (sources, mut slots) = (sources(SourceRules::default()), [Source::EMPTY; 64]);
        let mut admitted = |from, at| sources.admit(&mut slots, from, ms(at)) != Admission::Limited;
        assert_eq!((0..200).filter(|_| admitted(host(1), 1000)).count(), 50);
        assert!(admitted(host(2), 1000));
        assert!(!admitted(host(1), 1199));
        assert!(admitted(host(1), 1200));
        assert_eq!((1201..11_201).filter(|&at| admitted(host(1), at)).count(), 50);
        // Another port is the same source.
        assert!(!admitted(Endpoint::v4([1, 0, 0, 1], 7), 11_201));
        assert_eq!((0..200).filter(|_| admitted(host(1), 60_000)).count(), 50);
    }

    #[test]
    fn an_ipv6_64_is_one_source() {
        let (sources, mut slots) = (sources(SourceRules::default()), [Source::EMPTY; 64]);
        let admitted = (0..200).filter(|&last| {
            let mut ip = [0x2a; 16];
            ip[15] = last;
            sources.admit(&mut slots, Endpoint::v6(ip, 1), ms(0)) != Admission::Limited
        });
        assert_eq!(admitted.count(), 50);
    }

    #[test]
    fn without_source_limits_the_endpoint_is_the_source() {
        let rules = SourceRules { by_endpoint: true, ..SourceRules::default() };
        let (sources, mut slots) = (sources(rules), [Source::EMPTY; 1024]);
        let mut subnets = [Subnet::EMPTY; 1024];
        for port in 1..100 {
            let from = Endpoint::v4([127, 0, 0, 1], port);
            assert_eq!(sources.admit(&mut slots, from, ms(0)), Admission::Unverified);
            sources.charge(&mut subnets, from, 100, 1000, ms(0));
            assert!(sources.reply_budget(&subnets, from, 100, ms(0)) >= 16 * 1024 - 4000);
        }
        sources.verify(&mut slots, Endpoint::v4([127, 0, 0, 1], 5), ms(0));
        assert!(!sources.is_verified(&slots, Endpoint::v4([127, 0, 0, 1], 6), ms(0)));
    }

    #[test]
    fn proof_of_address_lasts_15_minutes() {
        let (sources, mut slots) = (sources(SourceRules::default()), [Source::EMPTY; 64]);
        assert_eq!(sources.admit(&mut slots, host(1), ms(0)), Admission::Unverified);
        assert!(!sources.is_verified(&slots, host(1), ms(0)));
        sources.verify(&mut slots, host(1), ms(1000));
        sources.verify(&mut slots, host(2), ms(1000));
        assert!(sources.is_verified(&slots, host(2), ms(1000)));
        assert_eq!(sources.admit(&mut slots, host(1), ms(900_999)), Admission::Verified);
        assert_eq!(sources.admit(&mut slots, host(1), ms(901_000)), Admission::Unverified);
        assert!(!sources.is_verified(&slots, host(2), ms(901_000)));
    }

    #[test]
    fn a_subnet_draws_16_kib_a_minute_and_then_three_times_what_it_sends() {
        let (sources, mut subnets) = (sources(SourceRules::default()), [Subnet::EMPTY; 64]);
        assert_eq!(sources.reply_budget(&subnets, host(1), 100, ms(0)), 16 * 1024);
        for number in 0..16 {
            // All hosts are in one /24.
            assert!(sources.reply_budget(&subnets, host(number), 100, ms(0)) >= 1024);
            sources.charge(&mut subnets, host(number), 100, 1024, ms(0));
        }
        assert_eq!(sources.reply_budget(&subnets, host(99), 100, ms(0)), 300);
        assert_eq!(sources.reply_budget(&subnets, host(99), 0, ms(0)), 0);
        assert_eq!(sources.reply_budget(&subnets, host(256), 100, ms(0)), 16 * 1024);
        assert_eq!(sources.reply_budget(&subnets, host(1), 100, ms(60_000)), 300);
        assert_eq!(sources.reply_budget(&subnets, host(1), 100, ms(80_000)), 16 * 1024);
    }

    #[test]
    fn short_replies_use_up_no_allowance() {
        let (sources, mut subnets) = (sources(SourceRules::default()), [Subnet::EMPTY; 64]);
        for _ in 0..1000 {
            sources.charge(&mut subnets, host(1), 100, 300, ms(0));
        }
        assert_eq!(sources.reply_budget(&subnets, host(1), 100, ms(0)), 16 * 1024);
        sources.charge(&mut subnets, host(1), 100, 301, ms(0));
        assert_eq!(sources.reply_budget(&subnets, host(1), 100, ms(0)), 16 * 1024 - 301);
    }

    #[test]
    fn an_ipv6_56_is_one_subnet() {
        let (sources, mut subnets) = (sources(SourceRules::default()), [Subnet::EMPTY; 64]);
        let in_subnet = |lan| {
            let mut ip = [0x2a; 16];
            ip[7] = lan;
            Endpoint::v6(ip, 1)
        };
        sources.charge(&mut subnets, in_subnet(1), 1, 16 * 1024, ms(0));
        assert_eq!(sources.reply_budget(&subnets, in_subnet(2), 100, ms(0)), 300);
        assert_eq!(sources.reply_budget(&subnets, host(1), 100, ms(0)), 16 * 1024);
    }

    #[test]
    fn h_30_an_ipv6_48_is_one_voter_and_a_private_network_as_many_as_it_has_hosts() {
        let sources = sources(SourceRules::default());
        let of = |text: &str| sources.wide_subnet_tag(text.parse::<core::net::SocketAddr>().unwrap().into());
        assert_eq!(of("[2a01:100:1:1::1]:1"), of("[2a01:100:1:ff00::7]:9"));
        assert_ne!(of("[2a01:100:1:1::1]:1"), of("[2a01:100:2:1::1]:1"));
        assert_eq!(of("99.1.2.3:1"), of("99.1.2.200:2"));
        assert_ne!(of("192.168.1.1:1"), of("192.168.1.2:1"));
        assert_eq!(of("192.168.1.1:1"), of("192.168.1.1:2"));
    }

    /// No minute, whenever it starts, exceeds the budget.
    #[test]
    fn the_minute_has_no_seams() {
        let (sources, mut subnets) = (sources(SourceRules::default()), [Subnet::EMPTY; 4]);
        let mut sent = Vec::new();
        for at in (0..600_000).step_by(250) {
            let budget = sources.reply_budget(&subnets, host(1), 50, ms(at));
            let reply = budget.min(700);
            sources.charge(&mut subnets, host(1), 50, reply, ms(at));
            if reply > 150 {
                sent.push((at, reply));
            }
            let in_a_minute = sent.iter().filter(|(then, _)| at - then < 60_000);
            assert!(in_a_minute.map(|(_, reply)| reply).sum::<usize>() <= 16 * 1024);
        }
        // Over time, the greater part of the budget can be used.
        assert!(sent.iter().map(|(_, reply)| reply).sum::<usize>() > 7 * 16 * 1024);
    }

    #[test]
    fn flushing_the_table_with_forged_subnets_frees_no_budget() {
        let (sources, mut subnets) = (sources(SourceRules::default()), [Subnet::EMPTY; 16]);
        let mut drawn = vec![0; 400];
        let mut all = 0;
        for round in 0..200 {
            for (subnet, drawn) in drawn.iter_mut().enumerate() {
                let victim = host(subnet as u32 * 256 + round);
                let reply = sources.reply_budget(&subnets, victim, 100, ms(0)).min(1000);
                sources.charge(&mut subnets, victim, 100, reply, ms(0));
                if reply > 300 {
                    *drawn += reply;
                    all += reply;
                }
            }
        }
        assert!(drawn.iter().all(|&bytes| bytes <= 16 * 1024));
        assert!(all <= subnets.len() * 16 * 1024, "{all}");
    }

    #[test]
    fn forged_sources_replace_no_more_than_one_verified_source_of_a_full_set() {
        let (sources, mut slots) = (sources(SourceRules::default()), [Source::EMPTY; 64]);
        for number in 0..64 {
            sources.verify(&mut slots, host(number), ms(0));
        }
        let verified = |slots: &[Source]| {
            (0..64).filter(|&number| sources.is_verified(slots, host(number), ms(1))).count()
        };
        let before = verified(&slots);
        for number in 0..100_000 {
            sources.admit(&mut slots, host(1_000_000 + number), ms(1));
        }
        let after = verified(&slots);
        assert!(before - after <= 16 && after >= before * 3 / 4, "{before} {after}");
    }

    #[test]
    fn a_flooding_source_stays_limited_while_others_pass_through() {
        let (sources, mut slots) = (sources(SourceRules::default()), [Source::EMPTY; 64]);
        let mut admitted = 0;
        for number in 0..10_000 {
            admitted += u32::from(sources.admit(&mut slots, host(1), ms(0)) != Admission::Limited);
            sources.admit(&mut slots, host(1000 + number), ms(0));
        }
        // It may lose its slot before its count is the highest, but not again and again.
        assert!(admitted < 100, "{admitted}");
    }

    #[test]
    fn without_slots_all_are_admitted_and_none_gets_more_than_three_times_its_query() {
        let sources = sources(SourceRules::default());
        for _ in 0..100 {
            assert_eq!(sources.admit(&mut [], host(1), ms(0)), Admission::Unverified);
        }
        sources.verify(&mut [], host(1), ms(0));
        assert!(!sources.is_verified(&[], host(1), ms(0)));
        assert_eq!(sources.reply_budget(&[], host(1), 100, ms(0)), 300);
        sources.charge(&mut [], host(1), 100, 1000, ms(0));
        // Fewer slots than a set make a smaller set.
        let mut one = [Source::EMPTY];
        sources.verify(&mut one, host(1), ms(0));
        assert_eq!(sources.admit(&mut one, host(1), ms(0)), Admission::Verified);
        let mut three = [Subnet::EMPTY; 3];
        sources.charge(&mut three, host(1), 100, 1000, ms(0));
        assert_eq!(sources.reply_budget(&three, host(1), 100, ms(0)), 16 * 1024 - 1000);
    }

    #[test]
    fn slots_and_metadata_are_small() {
        assert!(size_of::<Source>() <= 32 && size_of::<Subnet>() <= 32 && size_of::<Share>() <= 32);
        assert!(size_of::<Sources>() <= 64, "{}", size_of::<Sources>());
    }
}
