//! Scenarios written in bytes: they decide what comes, what is asked for and how time passes, and
//! after every step it is checked that the crate keeps what it promises.
//!
//! The fuzz targets and ordinary tests share these files, so that the corpora are replayed wherever
//! the tests run. Any bytes are a valid scenario; none are left over.
#![allow(dead_code, unreachable_pub, reason = "every user takes a part of it")]

pub mod forge;
pub mod node;
#[cfg(feature = "items")]
pub mod offer;
pub mod promises;
pub mod script;
