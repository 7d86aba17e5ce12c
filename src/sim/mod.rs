//! The laboratory: worlds of nodes in virtual time.

mod actor;
pub mod cast;
mod check;
mod dice;
mod fate;
mod grow;
mod host;
mod nat;
mod network;
mod queue;
mod search;
pub mod toy;
mod wire;
mod world;

pub use actor::{Actor, Outbox};
pub use check::{Fault, Violation};
pub use dice::Dice;
pub use grow::Growth;
pub use host::{Churn, HostId, Presence, Profile, Returns, limits, roomy_limits};
pub use nat::{Nat, NatKind};
pub use network::{Bursts, Latency, Network};
pub use search::{Search, SearchId};
pub use wire::Counters;
pub use world::World;
