//! Scenarios encoded in bytes: these determine what arrives, what the user does and how time passes, and
//! after every step the invariants of the crate are checked.
//!
//! The fuzz targets and ordinary tests share these files, so that the corpora are replayed wherever
//! the tests run. Any bytes are a valid scenario; none are left over.
#![allow(dead_code, unreachable_pub, reason = "every user takes a part of it")]

pub mod forge;
pub mod invariants;
pub mod node;
#[cfg(feature = "items")]
pub mod offer;
pub mod script;
