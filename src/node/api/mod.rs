//! The public surface of a node besides its loop: commands, getters, and the types of both.
//!
//! - `commands`: what a user has the node do
//! - `config`: settings and their defaults, sizes
//! - `event`: what a node reports, and the errors of commands
//! - `getters`: what can be asked of it at any time
//! - `limits`: which limit a call has run into
//! - `stats`: what a node counts

mod commands;
pub(crate) mod config;
pub(crate) mod event;
mod getters;
pub(crate) mod limits;
pub(crate) mod stats;
