//! The callers' side of a running node: one set of types for every loop, to block on or to await.
//!
//! - `builder`: the configuration of a node before it starts
//! - `dht`: the owner of a node and the handles to it
//! - `items`: the methods of a handle that concern items
//! - `call`: the result of one call
//! - `lookup`: a lookup in progress
//! - `recurring`: an announce or an item that is republished
//! - `crawl`: a crawl in progress
//! - `events`: a subscription
//! - `iter`: a blocking iterator over what a handle yields

pub(crate) mod builder;
pub(crate) mod call;
pub(crate) mod crawl;
pub(crate) mod dht;
pub(crate) mod events;
#[cfg(feature = "items")]
mod items;
pub(crate) mod iter;
pub(crate) mod lookup;
pub(crate) mod recurring;
