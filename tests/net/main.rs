//! The adapters, over real sockets on loopback.
#![cfg(feature = "net")]
#![allow(clippy::std_instead_of_core, clippy::unwrap_used, reason = "tests")]

#[path = "../common/mod.rs"]
mod common;

mod announcements;
mod handle;
#[cfg(feature = "items")]
mod items;
#[cfg(all(feature = "sim", feature = "tokio"))]
mod leaks;
mod persist;
#[cfg(all(feature = "tokio", feature = "items"))]
mod queue;
mod sockets;
#[cfg(feature = "tokio")]
mod surveys;
#[cfg(feature = "tokio")]
mod task;
mod testnet;
mod thread;
