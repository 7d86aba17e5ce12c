//! Persistence: what outlives a process.
//!
//! - `checkpoint`: a whole node as bytes (feature `checkpoint`)
//! - `format`: the bytes of a snapshot, and those of other clients
//! - `invariants`: what is true of a node at any time
//! - `snapshot`: ids, nodes and publications, saved and restored

#[cfg(feature = "checkpoint")]
pub(in crate::node) mod checkpoint;
pub(crate) mod format;
#[cfg(any(feature = "checkpoint", feature = "sim"))]
mod invariants;
mod snapshot;
