//! The public surface of a node besides its loop: commands, getters, and the types of both.
//!
//! - `commands`: what a user has the node do
//! - `config`: settings and their defaults, sizes
//! - `error`: errors of commands, and which limit a call has run into
//! - `event`: what a node reports
//! - `getters`: what can be asked of it at any time
//! - `stats`: what a node counts

mod commands;
pub(crate) mod config;
pub(crate) mod error;
pub(crate) mod event;
mod getters;
pub(crate) mod stats;
