//! Maintenance: what a node does by itself, by the clock.
//!
//! - `address`: the external address and the id that follows from it
//! - `announcer`: announces and items that are republished until they are stopped
//! - `bootstrap`: joining, failures of nodes, bucket refresh, token rotation, expiry
//! - `joining`: how far a family has come in joining its DHT
//! - `lifecycle`: sleep, changes of the network, disabling and enabling
//! - `timers`: the deadlines of maintenance

mod address;
pub(in crate::node) mod announcer;
mod bootstrap;
pub(in crate::node) mod joining;
mod lifecycle;
pub(in crate::node) mod timers;
