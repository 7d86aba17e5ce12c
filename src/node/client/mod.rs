//! Lookups: how they start, the queries they send, and what their responses change.
//!
//! - `item`: items that lookups seek and publish (BEP 44)
//! - `sample`: samples of infohashes (BEP 51)
//! - `scrape`: the size of a swarm (BEP 33)
//! - `start`: lookups started and cancelled, responses and failures
//! - `transmit`: datagrams made from state, and the next deadline
//! - `traversals`: the traversals of a lookup, one in each family

#[cfg(feature = "items")]
mod item;
mod sample;
mod scrape;
pub(in crate::node) mod start;
mod transmit;
pub(in crate::node) mod traversals;
