//! Our own addresses, as the system reports them with the datagrams that came to them: an answer leaves
//! from the one that was asked.
//!
//! An answer that waits refers to its address by a number, so that it takes one byte and not sixteen.

use core::net::IpAddr;

use crate::base::addr::{Endpoint, Family};
use crate::node::core::Core;
#[cfg(any(feature = "checkpoint", feature = "sim"))]
use crate::node::storage::MAX_LOCALS;
use crate::node::storage::sealed::Memory;

/// One of our addresses, IPv4 in its mapped form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub(crate) struct Local([u8; 16]);

impl Local {
    pub(crate) const EMPTY: Self = Self([0; 16]);
}

/// The place of one of our addresses, counted from 1; 0 for none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub(in crate::node) struct LocalIx(u8);

impl LocalIx {
    pub(in crate::node) const NONE: Self = Self(0);

    #[cfg(any(feature = "checkpoint", feature = "sim"))]
    pub(in crate::node) const fn is_consistent(self) -> bool {
        self.0 as usize <= MAX_LOCALS
    }

    pub(in crate::node) fn address(self, locals: &[Local]) -> Option<IpAddr> {
        let Local(ip) = locals.get(usize::from(self.0).checked_sub(1)?)?;
        Some(Endpoint::v6(*ip, 0).ip())
    }
}

impl Core {
    /// The place of an address of ours from now until no answer that waits refers to it. There is none
    /// for one that datagrams cannot leave from, and where answers that wait refer to all places.
    pub(in crate::node) fn intern(&self, m: &mut Memory<'_>, family: Family, local: IpAddr) -> LocalIx {
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
        let place = m.locals.iter().position(|known| *known == local).or_else(|| {
            // Seldom: a host has few addresses, and answers do not wait for long.
            let used = self.replies.iter(m.replies).fold(0, |used, reply| used | 1 << reply.local().0 >> 1);
            let free = (0..m.locals.len()).find(|place| used & 1_u32 << place == 0)?;
            m.locals[free] = local;
            Some(free)
        });
        place.map_or(LocalIx::NONE, |place| LocalIx(place as u8 + 1))
    }
}
