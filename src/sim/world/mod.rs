//! A world: hosts and the network between them, in virtual time.
//!
//! A file uses only those that come before it:
//!
//! - `records`: the course of each tracked lookup
//! - `crawl`: a crawl as a program
//! - `core`: [`World`], and how the output of a host is drained
//! - `view`: getters and settings
//! - `addresses`: which address a host gets
//! - `programs`: programs on hosts, crawls among them
//! - `lifecycle`: starts, departures, churn, outages, sleep, clock jumps
//! - `population`: how hosts join
//! - `run`: the event loop
//! - `lookups`: lookups of the nodes
//! - `tasks`: tasks on hosts, and handles to their nodes
//! - `growth`: large worlds, whose nodes join one after the other
//! - `invariants`: what must be true at any time

mod addresses;
mod core;
mod crawl;
mod growth;
mod invariants;
mod lifecycle;
mod lookups;
mod population;
mod programs;
mod records;
mod run;
#[cfg(any(feature = "net", feature = "smol", feature = "tokio"))]
mod tasks;
mod view;

pub use self::core::World;
pub use self::growth::Growth;
pub use self::invariants::{Fault, Violation};
pub use self::records::{LookupRecord, RecordId};
