//! How many stored peers came from one source and from one network, in a fixed array of counters.
//!
//! Each source and each network adds to two counters, whose places follow from a secret, and the
//! smaller one bounds its true number from above (a count-min sketch). Where keys share counters
//! the estimate is too high, never too low: an honest source may be refused now and then, but no
//! source can pass its cap.

use super::Refusal;
use crate::base::addr::Endpoint;
use crate::base::hash::{Key, reduce};

/// What a source may have stored, over all swarms.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub(super) struct Caps {
    pub(super) per_source: u16,
    pub(super) per_network: u16,
}

/// Why another peer of this source is refused, if it is. An empty array refuses nothing.
pub(super) fn refusal(key: Key, counters: &[u16], caps: Caps, endpoint: Endpoint) -> Option<Refusal> {
    let estimate = |[a, b]: [usize; 2]| counters[a].min(counters[b]);
    // A counter must never overflow, or it would fall short afterwards.
    let is_spent = |[a, b]: [usize; 2]| counters[a].max(counters[b]) > u16::MAX - 4;
    places(key, counters.len(), endpoint).find_map(|(unit, place)| {
        let (cap, refusal) = match unit {
            Unit::Host => (caps.per_source, Refusal::Source),
            Unit::Subnet => (caps.per_network, Refusal::Network),
            Unit::Network => (caps.per_network.saturating_mul(2), Refusal::Network),
        };
        (estimate(place) >= cap || is_spent(place)).then_some(refusal)
    })
}

/// How many peers of the widest network of one owner are stored, over all swarms; never fewer than there
/// are, but none for a private network.
pub(super) fn of_network(key: Key, counters: &[u16], endpoint: Endpoint) -> u16 {
    let wide = places(key, counters.len(), endpoint).filter(|(unit, _)| !matches!(unit, Unit::Host)).last();
    wide.map_or(0, |(_, [a, b])| counters[a].min(counters[b]))
}

/// Counts a stored peer.
pub(super) fn add(key: Key, counters: &mut [u16], endpoint: Endpoint) {
    for place in places(key, counters.len(), endpoint).flat_map(|(_, place)| place) {
        counters[place] = counters[place].saturating_add(1);
    }
}

/// Takes back what `add` did.
pub(super) fn remove(key: Key, counters: &mut [u16], endpoint: Endpoint) {
    for place in places(key, counters.len(), endpoint).flat_map(|(_, place)| place) {
        counters[place] = counters[place].saturating_sub(1);
    }
}

/// What one owner may have.
#[derive(Clone, Copy, Debug)]
enum Unit {
    /// An IPv4 address or an IPv6 /64: whoever holds one IPv6 address holds its whole /64.
    Host,
    /// An IPv4 /24 or an IPv6 /56.
    Subnet,
    /// An IPv6 /48.
    Network,
}

/// Two counters for each unit that an address belongs to; a private one belongs to no network.
fn places(key: Key, len: usize, endpoint: Endpoint) -> impl Iterator<Item = (Unit, [usize; 2])> {
    let (is_v6, is_public) = (endpoint.as_v4().is_none(), !endpoint.is_private());
    let family = u32::from(is_v6);
    let host = endpoint.as_v4().map_or_else(|| endpoint.lan(), |ip| u32::from_be_bytes(ip).into());
    let subnet = is_public.then(|| (Unit::Subnet, endpoint.subnet(), 1));
    let network = (is_public && is_v6).then(|| (Unit::Network, endpoint.wide_subnet(), 2));
    let units = [Some((Unit::Host, host, 0)), subnet, network].into_iter().flatten().filter(move |_| len > 0);
    units.map(move |(unit, number, level)| {
        let hash = key.hash(number, level, family);
        (unit, [reduce(hash as u32, len), reduce((hash >> 32) as u32, len)])
    })
}
