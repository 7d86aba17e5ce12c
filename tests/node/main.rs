//! A node without sockets, in virtual time.
//!
//! - `server`: queries of other nodes
//! - `client`: lookups and queries of the node itself
//! - `maintenance`: what the node does by itself
//! - `persist`: saved states and checkpoints
//! - `captured`, `determinism`, `families`, `fuzz_corpus`, `random_worlds`: a node as a whole
#![allow(clippy::std_instead_of_core, clippy::unwrap_used, reason = "tests")]

#[path = "../common/mod.rs"]
mod common;
#[cfg(all(feature = "checkpoint", feature = "sim"))]
#[path = "../common/continued.rs"]
mod continued;
#[path = "../common/corpus.rs"]
mod corpus;
#[path = "../common/decoders.rs"]
mod decoders;
#[cfg(all(feature = "sim", any(feature = "net", feature = "smol", feature = "tokio")))]
#[path = "../common/handles.rs"]
mod handles;
#[path = "../common/links.rs"]
mod links;
#[path = "../common/roundtrip.rs"]
mod roundtrip;
#[cfg(all(feature = "checkpoint", feature = "sim"))]
#[path = "../common/saved.rs"]
mod saved;
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
mod random_worlds;
mod server;
