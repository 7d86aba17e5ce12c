//! What callers have of a running node: one set of types for every loop, to block on or to await.
//!
//! - `builder`: what a node starts from
//! - `dht`: the owner of a node and the handles to it
//! - `items`: what can be asked about items
//! - `call`: the result of one call
//! - `lookup`: a lookup under way
//! - `recurring`: an announce or an item that is republished
//! - `crawl`: a crawl under way
//! - `events`: a subscription
//! - `iter`: blocking for one item after the other

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
