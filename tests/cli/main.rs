//! The `dht` tool, run as a program: its commands, its output and its exit codes.
#![cfg(feature = "cli")]
#![allow(clippy::std_instead_of_core, clippy::unwrap_used, reason = "tests")]

#[path = "../common/mod.rs"]
mod common;

mod commands;
mod ends;
mod items;
mod worlds;
