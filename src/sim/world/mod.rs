//! A world: hosts and the network between them, in virtual time.
//!
//! A file uses only those that come before it:
//!
//! - `records`: the lookups that a world follows, and how each went
//! - `crawl`: a crawl that a world drives
//! - `core`: [`World`], and what a host has to say
//! - `view`: what can be seen of a world, and its settings
//! - `addresses`: which address a host gets
//! - `lifecycle`: birth and death, churn, outages, sleep, clocks that jump
//! - `population`: how hosts join
//! - `run`: the passing of time
//! - `lookups`: lookups and crawls of the nodes
//! - `growth`: many nodes join one after the other
//! - `invariants`: what must be true at any time

mod addresses;
mod core;
mod crawl;
mod growth;
mod invariants;
mod lifecycle;
mod lookups;
mod population;
mod records;
mod run;
mod view;

pub use self::core::World;
pub use self::growth::Growth;
pub use self::invariants::{Fault, Violation};
pub use self::records::{LookupRecord, RecordId};
