//! The way of a lookup: how it starts, the queries it sends, and what comes back.
//!
//! - `item`: items that our lookups seek and publish (BEP 44)
//! - `sample`: samples of infohashes (BEP 51)
//! - `scrape`: the size of a swarm (BEP 33)
//! - `start`: lookups started, queued and reported
//! - `transmit`: datagrams made from state, and the next deadline
//! - `traversals`: the traversals of a lookup, one in each family

#[cfg(feature = "items")]
mod item;
mod sample;
mod scrape;
pub(in crate::node) mod start;
mod transmit;
pub(in crate::node) mod traversals;
