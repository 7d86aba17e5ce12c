//! Our own queries: which are in flight, and how the endpoints they went to have behaved.
//!
//! - `inflight`: queries in flight, their deadlines, and which response belongs to which
//! - `reputation`: failures, rates and abilities of endpoints, remembered between lookups

pub(crate) mod inflight;
pub(crate) mod reputation;
