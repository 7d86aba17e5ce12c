//! A node without sockets, in virtual time: what it answers, asks, keeps and forgets.
//!
//! - `server`: queries of others
//! - `client`: lookups and queries of its own
//! - `maintenance`: what it does by itself
//! - `persist`: what outlives it
//! - `captured`, `determinism`, `families`, `fuzz_corpus`, `random_lives`: a node as a whole
#![allow(clippy::std_instead_of_core, clippy::unwrap_used, reason = "tests")]

#[path = "../common/mod.rs"]
mod common;
#[path = "../common/lives.rs"]
mod lives;
#[cfg(all(feature = "checkpoint", feature = "sim"))]
#[path = "../common/reborn.rs"]
mod reborn;
#[path = "../common/roundtrip.rs"]
mod roundtrip;
#[path = "../common/scenario/mod.rs"]
mod scenario;
#[path = "../common/stage.rs"]
mod stage;
#[cfg(feature = "sim")]
#[path = "../common/world/mod.rs"]
mod world;

mod captured;
mod client;
mod determinism;
mod families;
mod fuzz_corpus;
mod maintenance;
mod persist;
#[cfg(feature = "sim")]
mod random_lives;
mod server;
