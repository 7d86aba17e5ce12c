//! Estimates of how many stored peers came from one source and one subnet, in a fixed array of counters.
//!
//! Each source and each subnet increments two counters at secret positions; the smaller one is an upper bound of
//! the true number (a count-min sketch). If keys share counters, the estimate is too high but never too low: an
//! honest source may occasionally be refused, but no source can exceed its cap.

use crate::base::addr::Endpoint;
use crate::base::hash::{Key, reduce};

/// The reason why an announced peer is not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Port 0 is unreachable.
    Port,
    /// The cap of its address is reached.
    Source,
    /// The cap of its subnet is reached.
    Subnet,
    /// The store is full, and nothing could be evicted.
    Full,
}

/// Maximum numbers of peers of one source and of one subnet, over all swarms.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub(super) struct Caps {
    pub(super) per_source: u16,
    pub(super) per_subnet: u16,
}

/// Returns the reason to refuse another peer of this source, if any; an empty array refuses nothing.
pub(super) fn refusal(key: Key, counters: &[u16], caps: Caps, endpoint: Endpoint) -> Option<Refusal> {
    let estimate = |[a, b]: [usize; 2]| counters[a].min(counters[b]);
    // A counter must not overflow, or it would be too low afterwards.
    let is_spent = |[a, b]: [usize; 2]| counters[a].max(counters[b]) > u16::MAX - 4;
    places(key, counters.len(), endpoint).find_map(|(unit, place)| {
        let (cap, refusal) = match unit {
            Unit::Host => (caps.per_source, Refusal::Source),
            Unit::Subnet => (caps.per_subnet, Refusal::Subnet),
            Unit::WideSubnet => (caps.per_subnet.saturating_mul(2), Refusal::Subnet),
        };
        (estimate(place) >= cap || is_spent(place)).then_some(refusal)
    })
}

/// Returns the number of peers stored from the widest subnet of an endpoint, over all swarms.
///
/// The number may be too high but never too low; it is 0 for private networks.
pub(super) fn in_wide_subnet(key: Key, counters: &[u16], endpoint: Endpoint) -> u16 {
    let wide = places(key, counters.len(), endpoint).filter(|(unit, _)| !matches!(unit, Unit::Host)).last();
    wide.map_or(0, |(_, [a, b])| counters[a].min(counters[b]))
}

/// Counts a stored peer.
pub(super) fn add(key: Key, counters: &mut [u16], endpoint: Endpoint) {
    for place in places(key, counters.len(), endpoint).flat_map(|(_, place)| place) {
        counters[place] = counters[place].saturating_add(1);
    }
}

/// Reverts [`add`].
pub(super) fn remove(key: Key, counters: &mut [u16], endpoint: Endpoint) {
    for place in places(key, counters.len(), endpoint).flat_map(|(_, place)| place) {
        counters[place] = counters[place].saturating_sub(1);
    }
}

/// The sets of addresses that a cap applies to, each with one owner.
#[derive(Clone, Copy, Debug)]
enum Unit {
    /// An IPv4 address or an IPv6 /64: the owner of one IPv6 address owns its whole /64.
    Host,
    /// An IPv4 /24 or an IPv6 /56.
    Subnet,
    /// An IPv6 /48.
    WideSubnet,
}

/// Returns two counters for each unit of an address; a private address has no subnets.
fn places(key: Key, len: usize, endpoint: Endpoint) -> impl Iterator<Item = (Unit, [usize; 2])> {
    let (is_v6, is_public) = (endpoint.as_v4().is_none(), !endpoint.is_private());
    let family = u32::from(is_v6);
    let host = endpoint.as_v4().map_or_else(|| endpoint.lan(), |ip| u32::from_be_bytes(ip).into());
    let subnet = is_public.then(|| (Unit::Subnet, endpoint.subnet(), 1));
    let wide = (is_public && is_v6).then(|| (Unit::WideSubnet, endpoint.wide_subnet(), 2));
    let units = [Some((Unit::Host, host, 0)), subnet, wide].into_iter().flatten().filter(move |_| len > 0);
    units.map(move |(unit, number, level)| {
        let hash = key.hash(number, level, family);
        (unit, [reduce(hash as u32, len), reduce((hash >> 32) as u32, len)])
    })
}
