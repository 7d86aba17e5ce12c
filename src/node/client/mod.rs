//! Lookups: how they start, the queries they send, and what their responses change.
//!
//! - `item`: items that are looked up and published (BEP 44)
//! - `phases`: the slots of all traversals, each in one list at a time
//! - `sample`: samples of infohashes (BEP 51)
//! - `scrape`: the size of a swarm (BEP 33)
//! - `start`: lookups started and cancelled, responses and failures
//! - `transmit`: datagrams made from state, events, and the next deadline
//! - `traversals`: how traversals begin, continue and end, and what they report

#[cfg(feature = "items")]
mod item;
pub(in crate::node) mod phases;
pub(in crate::node) mod sample;
pub(in crate::node) mod scrape;
pub(in crate::node) mod start;
mod transmit;
mod traversals;
