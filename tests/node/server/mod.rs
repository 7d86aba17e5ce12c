//! Queries of others: what a node answers, stores and refuses.
//!
//! - `answers`: each query of BEP 5, well-formed or sloppy, and its reply read by another decoder
//! - `floods`: bounds on what is sent in answer, and who is still served
//! - `hostile`: garbage, forgeries, and lists of invented nodes
//! - `items`: items that others put and get (BEP 44)
//! - `samples`: samples of the infohashes it stores (BEP 51)
//! - `tokens`: write tokens, those it gives out and those it is given

mod answers;
mod floods;
mod hostile;
#[cfg(feature = "items")]
mod items;
mod samples;
mod tokens;
