//! Queries of other nodes: what a node answers, and what it stores for others.
//!
//! - `memory`: the stores with their memory
//! - `own_peers`: announces of this node in its own store
//! - `part`: what a node needs of the server, if it has one
//! - `pending`: queries that are being answered, and their responses until they are polled
//! - `put`: items that others put (BEP 44)
//! - `query`: queries checked and admitted
//! - `reply`: responses made from state
//! - `store`: peers and items handed over by another node of the program

pub(in crate::node) mod memory;
mod own_peers;
pub(in crate::node) mod part;
pub(in crate::node) mod pending;
#[cfg(feature = "items")]
pub(in crate::node) mod put;
mod query;
pub(in crate::node) mod reply;
mod store;
