//! What a node stores, and the tokens that authorize other nodes to store it.
//!
//! - `items`: immutable and mutable items, those of others and our own (BEP 44)
//! - `peers`: the peers that were announced to this node (BEP 5)
//! - `token`: the tokens issued in responses to `get_peers` and `get`

#[cfg(feature = "items")]
pub(crate) mod items;
pub(crate) mod peers;
pub(crate) mod token;
