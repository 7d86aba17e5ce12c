//! Simulated worlds of many nodes in virtual time.
#![cfg(feature = "sim")]
#![allow(clippy::std_instead_of_core, clippy::unwrap_used, reason = "tests")]

#[path = "../common/mod.rs"]
mod common;
#[path = "../../benches/worlds/day.rs"]
mod day;
#[path = "../../benches/worlds/hosts.rs"]
mod hosts;
#[path = "../../benches/worlds/internet.rs"]
mod internet;
#[path = "../common/lab.rs"]
mod lab;

mod addresses;
mod bootstrap;
mod bursts;
mod ids;
mod internet_like;
#[cfg(feature = "items")]
mod items;
mod lookups;
mod maintenance;
mod other_clients;
mod own_peers;
mod programs;
mod surveys;
mod sybils;
#[cfg(any(feature = "net", feature = "smol", feature = "tokio"))]
mod tasks;
mod worlds;
