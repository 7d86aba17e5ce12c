//! What callers hold of a running node, and what a node starts from.
//!
//! - `builder`: the description of a node before it starts, and its start in a thread
//! - `setup`: what every loop starts from
//! - `dht`: the owner of a node and the handles to it
//! - `calls`, `item_calls`, `items`: what a handle can be asked
//! - `lookup`: a lookup under way
//! - `recurring`: an announce or an item that is republished
//! - `crawl`: a crawl under way
//! - `cursor`: one reader among several of what the engine writes

#[cfg(feature = "net")]
pub(crate) mod builder;
pub(crate) mod calls;
#[cfg(feature = "net")]
pub(crate) mod crawl;
pub(crate) mod cursor;
#[cfg(feature = "net")]
pub(crate) mod dht;
#[cfg(feature = "items")]
pub(crate) mod item_calls;
#[cfg(all(feature = "net", feature = "items"))]
pub(crate) mod items;
#[cfg(feature = "net")]
pub(crate) mod lookup;
#[cfg(feature = "net")]
pub(crate) mod recurring;
pub(crate) mod setup;
