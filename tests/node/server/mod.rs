//! Queries of other nodes: what a node answers, stores and refuses.
//!
//! - `answers`: each query of BEP 5, strict or not, and its reply as another decoder reads it
//! - `floods`: bounds on what is sent in answer, and which hosts still get answers
//! - `hostile`: garbage, forgeries, and lists of invented nodes
//! - `items`: items that others put and get (BEP 44)
//! - `samples`: samples of the infohashes it stores (BEP 51)
//! - `tokens`: write tokens, those that it issues and those that it receives

mod answers;
mod floods;
mod hostile;
#[cfg(feature = "items")]
mod items;
mod samples;
mod tokens;
