//! Sources of queries: how often each may ask, which has proved its address, and how many bytes a
//! forged address can draw towards its owner.

use core::time::Duration;

use crate::addr::Endpoint;
use crate::keyed::{Key, reduce};
use crate::limit::RateLimit;
use crate::rng::Rng;
use crate::time::Instant;
use crate::volume::{Minute, Volume};
#[cfg(feature = "items")]
use crate::volume::{TICKS, shift};

/// What a source may do.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub(crate) struct SourceRules {
    /// Queries from one source; a rate below one a second counts as one.
    pub(crate) queries: RateLimit,
    /// Bytes of replies a minute to the unverified sources of one site, beyond replies of at most
    /// [`ALWAYS_ALLOWED`] times the query's size.
    pub(crate) site_bytes: u32,
    /// For how long an address counts as genuine after proof.
    pub(crate) verified_secs: u16,
    /// Tell sources apart by full endpoint, where many nodes share one host. Else by IPv4 address
    /// or IPv6 /64: the holder of a /64 has more addresses than any table.
    pub(crate) by_endpoint: bool,
}

impl Default for SourceRules {
    fn default() -> Self {
        Self {
            queries: RateLimit { per_sec: 5, burst: 50 },
            site_bytes: 16 * 1024,
            verified_secs: 15 * 60,
            by_endpoint: false,
        }
    }
}

/// In microseconds.
const SECOND: u32 = 1_000_000;

/// Replies up to this multiple of the query's size go to anyone.
pub(crate) const ALWAYS_ALLOWED: usize = 3;

/// What all unverified sources together draw beyond that in a minute, in allowances of one site, and
/// what they draw of it at once.
const ALL_SITES: u64 = 10;
const ALL_SITES_BURST: u64 = 4;
/// This part of what they sent they draw beyond that at any rate, so that the more who ask the less is left
/// for forgers to gain.
const EARNED: u64 = 4;

/// Whom an answer goes to, and what was asked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    pub(crate) by: Endpoint,
    /// The length of the query.
    pub(crate) len: usize,
    pub(crate) is_verified: bool,
    pub(crate) for_item: bool,
}

/// Checks of signatures in a minute up to which a network may use all that are left.
#[cfg(feature = "items")]
const FEW_CHECKS: u32 = 4;

/// Whether a query is answered, and what is known of where it came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// Within its rate; the source address may be forged.
    Unverified,
    /// Within its rate, from an address that has proved that it receives what is sent to it.
    Verified,
    /// Over its rate: drop the query.
    Limited,
}

/// The recent sources and sites, in two slices owned by the storage.
///
/// Both are tables of four-way sets: a key belongs to one set, and a newcomer replaces the least
/// worthy of its four. The set follows from a secret, so a sender of forged addresses can wash
/// through the whole table but cannot aim. What it gains is little:
///
/// - A verified source is replaced only while all four of its set are verified. Forged addresses
///   never become verified, so they take one slot of a full set at most.
/// - Among unverified sources the one with the most unused rate goes first: one that floods stays
///   and stays limited.
/// - Among sites the one that drew the fewest bytes goes first, and the newcomer takes over its
///   count. No site is ever counted short, however many others wash through, and the number of
///   slots bounds what the node sends to unverified sources in all.
/// - Forged addresses of ever new sites draw little more together than [`ALWAYS_ALLOWED`] times what
///   they send: what goes beyond comes out of one allowance of all.
/// - An address that we verified can be forged too. Its replies are in full, and bounded by its
///   own rate of queries and by the share of its site in the [`Volume`] of all answers.
///
/// Without slots for sources every query is admitted as unverified; without slots for sites the
/// replies to the unverified never pass [`ALWAYS_ALLOWED`] times the query.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub(crate) struct Sources {
    /// Microseconds of a source's rate that one query uses up.
    query_cost: u32,
    /// As in [`SourceRules`], like the next three.
    burst: u32,
    site_bytes: u32,
    verified_secs: u16,
    by_endpoint: bool,
    key: Key,
    volume: Volume,
    /// When what all unverified sources drew beyond what is always allowed is forgotten.
    excess_until: Instant,
}

impl Sources {
    /// `answer_bytes`: of all answers in a second, as [`Volume::new`] takes them.
    pub(crate) fn new(rules: SourceRules, answer_bytes: u32, rng: &mut Rng) -> Self {
        let query_cost = SECOND / rules.queries.per_sec.max(1);
        let volume = Volume::new(answer_bytes);
        let SourceRules { queries, site_bytes, verified_secs, by_endpoint } = rules;
        Self {
            query_cost,
            burst: queries.burst,
            site_bytes,
            verified_secs,
            by_endpoint,
            key: Key::new(rng),
            volume,
            excess_until: Instant::ZERO,
        }
    }

    /// Counts a query against its source.
    pub(crate) fn admit(&self, sources: &mut [Source], from: Endpoint, now: Instant) -> Admission {
        let tag = self.source_tag(from);
        let Some(source) = claim(sources, tag, |source| source.worth(now)) else {
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

    /// Counts a misdeed of a source as so many queries.
    #[cfg(feature = "items")]
    pub(crate) fn penalize(&self, sources: &mut [Source], from: Endpoint, queries: u32, now: Instant) {
        let tag = self.source_tag(from);
        let Some(source) = claim(sources, tag, |source| source.worth(now)).filter(|source| source.tag == tag)
        else {
            return;
        };
        // It is heard again: whoever was admitted is in debt for no more than this beyond its burst.
        let cost = u64::from(self.query_cost) * u64::from(queries);
        let busy_until = source.busy_until.as_micros().max(now.as_micros()).saturating_add(cost);
        source.busy_until = Instant::from_micros(busy_until);
    }

    /// Notes proof that packets sent to this endpoint arrive: it answered a query of ours, or
    /// returned a valid token.
    pub(crate) fn verify(&self, sources: &mut [Source], endpoint: Endpoint, now: Instant) {
        let tag = self.source_tag(endpoint);
        if let Some(source) = claim(sources, tag, |source| source.worth(now)) {
            if source.tag != tag {
                *source = Source { tag, ..Source::EMPTY };
            }
            source.busy_until = source.busy_until.max(now);
            source.verified_until = now + Duration::from_secs(self.verified_secs.into());
        }
    }

    /// Whether there was such proof lately.
    #[cfg(test)]
    pub(crate) fn is_verified(&self, sources: &[Source], endpoint: Endpoint, now: Instant) -> bool {
        let tag = self.source_tag(endpoint);
        let set = set_of(sources.len(), tag);
        sources[set].iter().any(|source| source.tag == tag && now < source.verified_until)
    }

    /// How long an answer may be; 0 if there is to be none. Ask when it is made, not when it is put in a
    /// queue: only [`count`](Self::count) uses up what is allowed.
    #[inline]
    pub(crate) fn most(&self, sites: &[Site], shares: &[Share], asked: &Asked, now: Instant) -> usize {
        if asked.is_verified && !self.volume.is_busy(now) {
            return usize::MAX;
        }
        self.most_of_what_is_left(sites, shares, asked, now)
    }

    #[inline(never)]
    fn most_of_what_is_left(&self, sites: &[Site], shares: &[Share], asked: &Asked, now: Instant) -> usize {
        let most = self.volume.most(now, || {
            let tag = self.site_tag(asked.by);
            let set = &shares[set_of(shares.len(), tag)];
            let own = set.iter().find(|share| share.tag == tag);
            let drawn = |share: &Share| share.bytes.sum(now);
            own.map_or_else(|| set.iter().map(drawn).min().unwrap_or(0), drawn)
        });
        if asked.is_verified {
            return most;
        }
        let always = ALWAYS_ALLOWED * asked.len;
        if most <= always || asked.for_item && self.had_item(sites, asked.by, now) {
            return most.min(always);
        }
        let excess = usize::try_from(self.excess_left(now)).unwrap_or(usize::MAX);
        most.min(self.reply_budget(sites, asked.by, asked.len, now)).min(always.saturating_add(excess))
    }

    /// Counts an answer; `has_item` if it carries a stored value.
    #[inline]
    pub(crate) fn count(
        &mut self,
        sites: &mut [Site],
        shares: &mut [Share],
        asked: &Asked,
        sent: (usize, bool),
        now: Instant,
    ) {
        self.volume.take(sent.0, now);
        if !asked.is_verified || self.volume.is_busy(now) {
            self.count_apart(sites, shares, asked, sent, now);
        }
    }

    /// Counts an answer for its network.
    #[inline(never)]
    fn count_apart(
        &mut self,
        sites: &mut [Site],
        shares: &mut [Share],
        asked: &Asked,
        (len, has_item): (usize, bool),
        now: Instant,
    ) {
        if self.volume.is_busy(now) {
            let tag = self.site_tag(asked.by);
            if let Some(share) = claim(shares, tag, |share| share.bytes.sum(now)) {
                share.tag = tag;
                share.bytes.add(len, now);
            }
        }
        if asked.is_verified {
            return;
        }
        self.charge(sites, asked.by, asked.len, len, now);
        self.count_excess(asked.len, len, now);
        #[cfg(feature = "items")]
        if has_item && len > ALWAYS_ALLOWED * asked.len {
            self.note_item(sites, asked.by, now);
        }
        #[cfg(not(feature = "items"))]
        let _ = has_item;
    }

    /// How long a reply to an unverified source may be, as far as its site is concerned.
    fn reply_budget(&self, sites: &[Site], to: Endpoint, query_len: usize, now: Instant) -> usize {
        let tag = self.site_tag(to);
        let set = set_of(sites.len(), tag);
        let set = &sites[set];
        let drawn = match set.iter().find(|site| site.tag == tag) {
            Some(site) => site.drawn(now),
            None => set.iter().map(|site| site.drawn(now)).min().unwrap_or(u64::MAX),
        };
        let rest = u64::from(self.site_bytes).saturating_sub(drawn) as usize;
        rest.max(ALWAYS_ALLOWED * query_len)
    }

    /// Counts a reply that went to an unverified source. One of at most [`ALWAYS_ALLOWED`] times
    /// the query is free: pings of a whole site must not use up what its lookups need.
    fn charge(&self, sites: &mut [Site], to: Endpoint, query_len: usize, reply_len: usize, now: Instant) {
        if reply_len <= ALWAYS_ALLOWED * query_len {
            return;
        }
        let tag = self.site_tag(to);
        if let Some(site) = claim(sites, tag, |site| site.drawn(now)) {
            site.tag = tag;
            site.draw(reply_len, now);
        }
    }

    /// What all unverified sources may draw beyond [`ALWAYS_ALLOWED`] times their queries now.
    fn excess_left(&self, now: Instant) -> u64 {
        let debt = self.excess_until.as_micros().saturating_sub(now.as_micros());
        let burst = 60_000_000 / ALL_SITES * ALL_SITES_BURST;
        let bytes_per_burst = u64::from(self.site_bytes) * ALL_SITES_BURST;
        bytes_per_burst * burst.saturating_sub(debt) / burst
    }

    fn count_excess(&mut self, query_len: usize, reply_len: usize, now: Instant) {
        let excess = reply_len.saturating_sub(ALWAYS_ALLOWED * query_len) as u64;
        if (excess == 0 && self.excess_until <= now) || self.site_bytes == 0 {
            return;
        }
        let micros = |bytes: u64| bytes * (60_000_000 / ALL_SITES) / u64::from(self.site_bytes);
        let until = self.excess_until.max(now).as_micros().saturating_add(micros(excess));
        self.excess_until = Instant::from_micros(until.saturating_sub(micros(query_len as u64 / EARNED)));
    }

    /// Whether a site that proved nothing was sent an item within the last minute.
    fn had_item(&self, sites: &[Site], by: Endpoint, now: Instant) -> bool {
        let tag = self.site_tag(by);
        let set = &sites[set_of(sites.len(), tag)];
        set.iter().any(|site| site.tag == tag && site.had_item(now))
    }

    #[cfg(feature = "items")]
    fn note_item(&self, sites: &mut [Site], by: Endpoint, now: Instant) {
        let tag = self.site_tag(by);
        let set = set_of(sites.len(), tag);
        if let Some(site) = sites[set].iter_mut().find(|site| site.tag == tag) {
            site.turn(now);
            site.marks[0] |= HAD_ITEM;
        }
    }

    /// Counts a check of a signature against its network. Returns whether that has had more than
    /// [`FEW_CHECKS`] within the last minute.
    #[cfg(feature = "items")]
    pub(crate) fn count_check(&self, sites: &mut [Site], from: Endpoint, now: Instant) -> bool {
        let tag = self.voter_tag(from);
        let Some(site) = claim(sites, tag, |site| site.drawn(now)) else { return false };
        site.tag = tag;
        site.turn(now);
        site.marks[0] += u8::from(site.marks[0] & CHECKS < CHECKS);
        site.marks.iter().map(|&marks| u32::from(marks & CHECKS)).sum::<u32>() > FEW_CHECKS
    }

    fn source_tag(&self, from: Endpoint) -> u64 {
        match from.as_v4() {
            _ if self.by_endpoint => self.endpoint_tag(from),
            Some(ip) => self.tag(u32::from_be_bytes(ip).into(), 0),
            None => self.tag(from.subnet(), 1),
        }
    }

    /// A hash of the network that an endpoint is in, or of itself where each is a source of its own.
    pub(crate) fn site_tag(&self, to: Endpoint) -> u64 {
        match to.as_v4() {
            _ if self.by_endpoint => self.endpoint_tag(to),
            _ if to.is_private() => self.endpoint_tag(to.with_port(0)),
            Some(ip) => self.tag((u32::from_be_bytes(ip) >> 8).into(), 2),
            None => self.tag(to.site(), 3),
        }
    }

    /// A hash of who has one vote: the widest network that one customer is given.
    pub(crate) fn voter_tag(&self, by: Endpoint) -> u64 {
        match by.as_v4() {
            None if !self.by_endpoint && !by.is_private() => self.tag(by.wide_subnet(), 4),
            _ => self.site_tag(by),
        }
    }

    fn tag(&self, network: u64, kind: u32) -> u64 {
        self.key.hash(network, 0, kind).max(1)
    }

    fn endpoint_tag(&self, endpoint: Endpoint) -> u64 {
        self.key.hash_endpoint(endpoint).max(1)
    }
}

/// One recent source. Zeroed memory is a free slot.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub(crate) struct Source {
    /// A keyed hash of the source: 64 bits, because a clash would lend one source's proof to another.
    tag: u64,
    /// The rate, as the time at which it would be unused again.
    busy_until: Instant,
    verified_until: Instant,
}

impl Source {
    pub(crate) const EMPTY: Self = Self { tag: 0, busy_until: Instant::ZERO, verified_until: Instant::ZERO };

    fn worth(&self, now: Instant) -> u64 {
        const VERIFIED: u64 = 1 << 63;
        let seen = self.busy_until.as_micros() & !VERIFIED;
        if now < self.verified_until { seen | VERIFIED } else { seen }
    }
}

/// The bytes that one site drew lately. Zeroed memory is a free slot.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub(crate) struct Site {
    tag: u64,
    bytes: Minute,
    /// Checks of signatures in the same intervals, and whether an item was sent in them.
    #[cfg(feature = "items")]
    marks: [u8; TICKS],
}

/// What marks say of an interval.
#[cfg(feature = "items")]
const HAD_ITEM: u8 = 0x80;
#[cfg(feature = "items")]
const CHECKS: u8 = 0x7f;

impl Site {
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
        self.turn(now);
        self.bytes.add(bytes, now);
    }

    /// Goes on to the interval of now.
    fn turn(&mut self, now: Instant) {
        #[cfg(feature = "items")]
        shift(&mut self.marks, self.bytes.past(now));
        self.bytes.turn(now);
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

/// The bytes of all answers to one site while answers are short. Zeroed memory is a free slot.
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

impl Tagged for Site {
    fn tag(&self) -> u64 {
        self.tag
    }
}

impl Tagged for Share {
    fn tag(&self) -> u64 {
        self.tag
    }
}

/// The slot of `tag`, or else the one in its set that is worth least. `None` without slots.
fn claim<T: Tagged>(slots: &mut [T], tag: u64, worth: impl Fn(&T) -> u64) -> Option<&mut T> {
    let range = set_of(slots.len(), tag);
    let set = &mut slots[range];
    match set.iter().position(|slot| slot.tag() == tag) {
        Some(at) => set.get_mut(at),
        None => set.iter_mut().min_by_key(|slot| worth(slot)),
    }
}

const WAYS: usize = 4;

/// The positions where `tag` may be. Up to three slots that fill no set stay unused.
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
    fn c_08_a_source_may_ask_50_times_at_once_and_then_5_times_a_second() {
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
        let mut sites = [Site::EMPTY; 1024];
        for port in 1..100 {
            let from = Endpoint::v4([127, 0, 0, 1], port);
            assert_eq!(sources.admit(&mut slots, from, ms(0)), Admission::Unverified);
            sources.charge(&mut sites, from, 100, 1000, ms(0));
            assert!(sources.reply_budget(&sites, from, 100, ms(0)) >= 16 * 1024 - 4000);
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
    fn a_site_draws_16_kib_a_minute_and_then_three_times_what_it_sends() {
        let (sources, mut sites) = (sources(SourceRules::default()), [Site::EMPTY; 64]);
        assert_eq!(sources.reply_budget(&sites, host(1), 100, ms(0)), 16 * 1024);
        for number in 0..16 {
            // All of one /24.
            assert!(sources.reply_budget(&sites, host(number), 100, ms(0)) >= 1024);
            sources.charge(&mut sites, host(number), 100, 1024, ms(0));
        }
        assert_eq!(sources.reply_budget(&sites, host(99), 100, ms(0)), 300);
        assert_eq!(sources.reply_budget(&sites, host(99), 0, ms(0)), 0);
        assert_eq!(sources.reply_budget(&sites, host(256), 100, ms(0)), 16 * 1024);
        assert_eq!(sources.reply_budget(&sites, host(1), 100, ms(60_000)), 300);
        assert_eq!(sources.reply_budget(&sites, host(1), 100, ms(80_000)), 16 * 1024);
    }

    #[test]
    fn short_replies_use_up_no_allowance() {
        let (sources, mut sites) = (sources(SourceRules::default()), [Site::EMPTY; 64]);
        for _ in 0..1000 {
            sources.charge(&mut sites, host(1), 100, 300, ms(0));
        }
        assert_eq!(sources.reply_budget(&sites, host(1), 100, ms(0)), 16 * 1024);
        sources.charge(&mut sites, host(1), 100, 301, ms(0));
        assert_eq!(sources.reply_budget(&sites, host(1), 100, ms(0)), 16 * 1024 - 301);
    }

    #[test]
    fn an_ipv6_56_is_one_site() {
        let (sources, mut sites) = (sources(SourceRules::default()), [Site::EMPTY; 64]);
        let in_subnet = |subnet| {
            let mut ip = [0x2a; 16];
            ip[7] = subnet;
            Endpoint::v6(ip, 1)
        };
        sources.charge(&mut sites, in_subnet(1), 1, 16 * 1024, ms(0));
        assert_eq!(sources.reply_budget(&sites, in_subnet(2), 100, ms(0)), 300);
        assert_eq!(sources.reply_budget(&sites, host(1), 100, ms(0)), 16 * 1024);
    }

    #[test]
    fn h_30_an_ipv6_48_is_one_voter_and_a_private_network_as_many_as_it_has_hosts() {
        let sources = sources(SourceRules::default());
        let of = |text: &str| sources.voter_tag(text.parse::<core::net::SocketAddr>().unwrap().into());
        assert_eq!(of("[2a01:100:1:1::1]:1"), of("[2a01:100:1:ff00::7]:9"));
        assert_ne!(of("[2a01:100:1:1::1]:1"), of("[2a01:100:2:1::1]:1"));
        assert_eq!(of("99.1.2.3:1"), of("99.1.2.200:2"));
        assert_ne!(of("192.168.1.1:1"), of("192.168.1.2:1"));
        assert_eq!(of("192.168.1.1:1"), of("192.168.1.1:2"));
    }

    /// No minute, wherever it begins, sees more than the allowance.
    #[test]
    fn the_minute_has_no_seams() {
        let (sources, mut sites) = (sources(SourceRules::default()), [Site::EMPTY; 4]);
        let mut sent = Vec::new();
        for at in (0..600_000).step_by(250) {
            let budget = sources.reply_budget(&sites, host(1), 50, ms(at));
            let reply = budget.min(700);
            sources.charge(&mut sites, host(1), 50, reply, ms(at));
            if reply > 150 {
                sent.push((at, reply));
            }
            let in_a_minute = sent.iter().filter(|(then, _)| at - then < 60_000);
            assert!(in_a_minute.map(|(_, reply)| reply).sum::<usize>() <= 16 * 1024);
        }
        // And over time the greater part of it can be used.
        assert!(sent.iter().map(|(_, reply)| reply).sum::<usize>() > 7 * 16 * 1024);
    }

    #[test]
    fn washing_the_table_with_forged_sites_frees_no_allowance() {
        let (sources, mut sites) = (sources(SourceRules::default()), [Site::EMPTY; 16]);
        let mut drawn = vec![0; 400];
        let mut all = 0;
        for round in 0..200 {
            for (site, drawn) in drawn.iter_mut().enumerate() {
                let victim = host(site as u32 * 256 + round);
                let reply = sources.reply_budget(&sites, victim, 100, ms(0)).min(1000);
                sources.charge(&mut sites, victim, 100, reply, ms(0));
                if reply > 300 {
                    *drawn += reply;
                    all += reply;
                }
            }
        }
        assert!(drawn.iter().all(|&bytes| bytes <= 16 * 1024));
        assert!(all <= sites.len() * 16 * 1024, "{all}");
    }

    #[test]
    fn forged_sources_wash_out_no_more_than_one_verified_source_of_a_full_set() {
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
    fn a_flooding_source_stays_limited_while_others_wash_through() {
        let (sources, mut slots) = (sources(SourceRules::default()), [Source::EMPTY; 64]);
        let mut admitted = 0;
        for number in 0..10_000 {
            admitted += u32::from(sources.admit(&mut slots, host(1), ms(0)) != Admission::Limited);
            sources.admit(&mut slots, host(1000 + number), ms(0));
        }
        // It may lose its place before it stands out, but not again and again.
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
        let mut three = [Site::EMPTY; 3];
        sources.charge(&mut three, host(1), 100, 1000, ms(0));
        assert_eq!(sources.reply_budget(&three, host(1), 100, ms(0)), 16 * 1024 - 1000);
    }

    #[test]
    fn slots_and_metadata_are_small() {
        assert!(size_of::<Source>() <= 32 && size_of::<Site>() <= 32 && size_of::<Share>() <= 32);
        assert!(size_of::<Sources>() <= 64, "{}", size_of::<Sources>());
    }
}
