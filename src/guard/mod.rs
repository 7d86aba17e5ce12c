//! Limits on what strangers can make a node do or believe.
//!
//! - `external`: the external address of the node, as reported by other nodes
//! - `rate`: token buckets
//! - `secure_id`: ids derived from addresses (BEP 42)
//! - `sources`: query rates and amplification limits per source
//! - `volume`: the limit on the bytes of all responses

pub(crate) mod external;
pub(crate) mod rate;
pub(crate) mod secure_id;
pub(crate) mod sources;
pub(crate) mod volume;
