//! Limits on what strangers can make a node do or believe.
//!
//! - `external`: our own address, as other nodes report it
//! - `rate`: token buckets
//! - `secure_id`: ids that follow from addresses (BEP 42)
//! - `sources`: rates and amplification by source of queries
//! - `volume`: the bound on the bytes of all responses

pub(crate) mod external;
pub(crate) mod rate;
pub(crate) mod secure_id;
pub(crate) mod sources;
pub(crate) mod volume;
