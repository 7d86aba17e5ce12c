//! What outlives a process.
//!
//! - `checkpoint`: a whole node as bytes (feature `checkpoint`)
//! - `format`: the bytes of a snapshot, and those of other clients
//! - `invariants`: what must hold of a node whatever happened
//! - `snapshot`: id, nodes and announces, saved and restored

#[cfg(feature = "checkpoint")]
pub(in crate::node) mod checkpoint;
pub(crate) mod format;
mod invariants;
mod snapshot;
