//! Queries of other nodes: the responses to them, and what is stored for others.
//!
//! - `memory`: the stores, each with its memory
//! - `own_peers`: announces of this node in its own store
//! - `part`: what a node needs of the server, if it has one
//! - `pending`: the senders of queries, and responses until they are polled
//! - `put`: items that others put (BEP 44)
//! - `query`: queries checked and admitted
//! - `reply`: responses made from state
//! - `store`: peers and items passed on by another node of the same program

pub(in crate::node) mod memory;
mod own_peers;
pub(in crate::node) mod part;
pub(in crate::node) mod pending;
#[cfg(feature = "items")]
pub(in crate::node) mod put;
mod query;
pub(in crate::node) mod reply;
mod store;
