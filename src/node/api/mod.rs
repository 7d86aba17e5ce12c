//! The public surface of a node besides its loop: commands, getters, and the types of both.
//!
//! - `commands`: starting and stopping lookups, publications, families
//! - `config`: settings and their defaults
//! - `error`: errors of commands, and the limits that a call can exceed
//! - `event`: what a node reports
//! - `getters`: the state of a node, to read
//! - `ids`: ids of lookups, queries and publications
//! - `limits`: capacities and their defaults
//! - `report`: results of lookups and queries
//! - `stats`: counters

mod commands;
pub(crate) mod config;
pub(crate) mod error;
pub(crate) mod event;
mod getters;
pub(crate) mod ids;
pub(crate) mod limits;
pub(crate) mod report;
pub(crate) mod stats;
