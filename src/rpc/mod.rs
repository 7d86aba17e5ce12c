//! The node's own queries: which of them are in flight, and how the endpoints they were sent to have behaved.
//!
//! - `inflight`: queries in flight, their deadlines, and the matching of responses to queries
//! - `reputation`: failures, rates and abilities of endpoints, remembered between lookups

pub(crate) mod inflight;
pub(crate) mod reputation;
