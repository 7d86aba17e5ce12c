//! Maintenance: what a node does by itself, by the clock.
//!
//! - `address`: the external address and the id that follows from it
//! - `announcer`: announces and items that are republished until they are stopped
//! - `bootstrap`: joining, bucket refresh, token rotation, expiry
//! - `lifecycle`: sleep, other networks, disabling and enabling
//! - `timers`: the deadlines of maintenance

mod address;
pub(in crate::node) mod announcer;
pub(in crate::node) mod bootstrap;
mod lifecycle;
pub(in crate::node) mod timers;
