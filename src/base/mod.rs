//! Plain values and containers that every other folder uses, without any knowledge of the protocol.
//!
//! - `addr`: packed endpoints, families, subnets and reserved ranges
//! - `bloom`: the Bloom filter of a scrape (BEP 33)
//! - `hash`: a keyed hash for tables whose keys are chosen by strangers
//! - `id`: node ids, infohashes and the XOR metric
//! - `magnet`: magnet links
//! - `metrics`: structs of counters that can be iterated over by name
//! - `pool`: slots, free lists, lists and rings over slices
//! - `rng`: the random number generator of a node
//! - `rtt`: a decaying histogram of round-trip times
//! - `time`: instants in microseconds, and whole seconds in four bytes
//! - `trace`: log lines that cost nothing without the feature

pub(crate) mod addr;
pub(crate) mod bloom;
pub(crate) mod hash;
pub(crate) mod id;
pub(crate) mod magnet;
pub(crate) mod metrics;
pub(crate) mod pool;
pub(crate) mod rng;
pub(crate) mod rtt;
pub(crate) mod time;
pub(crate) mod trace;
