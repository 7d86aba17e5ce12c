//! What a node stores for others, and the tokens that permit it.
//!
//! - `items`: immutable and mutable items, those of others and our own (BEP 44)
//! - `peers`: the peers that were announced to us (BEP 5)
//! - `token`: the tokens that `get_peers` and `get` hand out

#[cfg(feature = "items")]
pub(crate) mod items;
pub(crate) mod peers;
pub(crate) mod token;
