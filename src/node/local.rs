//! Local addresses at which queries arrived: a response is sent from the address that was queried.
//!
//! A response that waits refers to its address by an index, which takes one byte instead of sixteen.

use core::net::IpAddr;

use crate::base::addr::{Endpoint, Family};

/// Maximum number of local addresses of waiting responses; most hosts have fewer.
pub(in crate::node) const MAX_LOCALS: usize = 8;

/// A local address, IPv4 in its mapped form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub(crate) struct Local([u8; 16]);

impl Local {
    pub(crate) const EMPTY: Self = Self([0; 16]);
}

/// The index of a local address, counted from 1; 0 for none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub(in crate::node) struct LocalIx(u8);

impl LocalIx {
    pub(in crate::node) const NONE: Self = Self(0);

    #[cfg(any(feature = "checkpoint", feature = "sim"))]
    pub(in crate::node) const fn is_consistent(self) -> bool {
        self.0 as usize <= MAX_LOCALS
    }

    /// Returns the bit of this index in a set of indices.
    pub(in crate::node) const fn bit(self) -> u32 {
        1 << self.0 >> 1
    }

    pub(in crate::node) fn address(self, locals: &[Local]) -> Option<IpAddr> {
        let Local(ip) = locals.get(usize::from(self.0).checked_sub(1)?)?;
        Some(Endpoint::v6(*ip, 0).ip())
    }
}

/// Returns the index of a local address, which is stored if it is new.
///
/// `used` returns the set of indices to which waiting responses refer; the others may be overwritten. An address from
/// which datagrams cannot be sent gets no index, nor does a new one while all indices are used.
pub(in crate::node) fn intern(
    locals: &mut [Local],
    used: impl FnOnce() -> u32,
    family: Family,
    local: IpAddr,
) -> LocalIx {
    let endpoint = match local.to_canonical() {
        IpAddr::V4(ip) if ip.is_broadcast() => return LocalIx::NONE,
        ip if ip.is_multicast() || ip.is_unspecified() => return LocalIx::NONE,
        IpAddr::V4(ip) => Endpoint::v4(ip.octets(), 0),
        IpAddr::V6(ip) => Endpoint::v6(ip.octets(), 0),
    };
    if endpoint.family() != family {
        return LocalIx::NONE;
    }
    let local = Local(*endpoint.ip_bytes());
    let place = locals.iter().position(|known| *known == local).or_else(|| {
        // Rare: a host has few addresses, and responses do not wait for long.
        let used = used();
        let free = (0..locals.len()).find(|place| used & 1_u32 << place == 0)?;
        locals[free] = local;
        Some(free)
    });
    place.map_or(LocalIx::NONE, |place| LocalIx(place as u8 + 1))
}
