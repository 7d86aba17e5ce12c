//! How many stored peers came from one source and from one network, in a fixed array of counters.
//!
//! Each source and each network adds to two counters, whose places follow from a secret, and the
//! smaller one bounds its true number from above (a count-min sketch). Where keys share counters
//! the estimate is too high, never too low: an honest source may be refused now and then, but no
//! source can pass its cap.

use super::Refusal;
use crate::addr::Endpoint;
use crate::keyed::{Key, reduce};

/// What a source may have stored, over all swarms.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub(super) struct Caps {
    pub(super) per_source: u16,
    pub(super) per_network: u16,
}

/// Why another peer of this source is refused, if it is. An empty array refuses nothing.
pub(super) fn refusal(key: Key, counters: &[u16], caps: Caps, endpoint: Endpoint) -> Option<Refusal> {
    let [source, network] = places(key, counters.len(), endpoint)?;
    let estimate = |[a, b]: [usize; 2]| counters[a].min(counters[b]);
    // A counter must never overflow, or it would fall short afterwards.
    let is_spent = |[a, b]: [usize; 2]| counters[a].max(counters[b]) > u16::MAX - 4;
    if estimate(source) >= caps.per_source || is_spent(source) {
        Some(Refusal::Source)
    } else if estimate(network) >= caps.per_network || is_spent(network) {
        Some(Refusal::Network)
    } else {
        None
    }
}

/// How many peers of a network are stored, over all swarms; never fewer than there are.
pub(super) fn of_network(key: Key, counters: &[u16], endpoint: Endpoint) -> u16 {
    places(key, counters.len(), endpoint).map_or(0, |[_, [a, b]]| counters[a].min(counters[b]))
}

/// Counts a stored peer.
pub(super) fn add(key: Key, counters: &mut [u16], endpoint: Endpoint) {
    for place in places(key, counters.len(), endpoint).into_iter().flatten().flatten() {
        counters[place] = counters[place].saturating_add(1);
    }
}

/// Takes back what `add` did.
pub(super) fn remove(key: Key, counters: &mut [u16], endpoint: Endpoint) {
    for place in places(key, counters.len(), endpoint).into_iter().flatten().flatten() {
        counters[place] = counters[place].saturating_sub(1);
    }
}

/// Two counters for the source, an IPv4 address or an IPv6 /64, and two for its network, a /24 or
/// a /56: whoever holds one IPv6 address holds its whole /64.
fn places(key: Key, len: usize, endpoint: Endpoint) -> Option<[[usize; 2]; 2]> {
    if len == 0 {
        return None;
    }
    let (source, family) = match endpoint.as_v4() {
        Some(ip) => (u32::from_be_bytes(ip).into(), 0),
        None => (endpoint.subnet(), 1),
    };
    let place = |hash: u64| [reduce(hash as u32, len), reduce((hash >> 32) as u32, len)];
    Some([place(key.hash(source, 0, family)), place(key.hash(endpoint.site(), 1, family))])
}
