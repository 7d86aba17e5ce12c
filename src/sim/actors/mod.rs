//! Scripted hosts: honest nodes, and adversaries that a node has to cope with.
//!
//! - `actor`: the trait [`Actor`], and the [`Outbox`] through which a script sends
//! - `messages`: parts that scripts share: contacts, queries, responses
//! - `honest`: a node that responds, and a host that only records
//! - `adversaries`: liars, Sybils, flooders
//!
//! All but [`Reflector`] and [`Recorder`] respond to queries, so that nodes take them into tables and
//! lookups.

mod actor;
mod adversaries;
mod honest;
mod messages;

pub use self::actor::{Actor, Outbox};
pub use self::adversaries::{Flooder, IdChaser, Liar, Lie, PortFiller, Reflector, Sybil, SybilStrategy};
pub use self::honest::{Honest, Recorder};
pub use self::messages::{Contact, closest, near, query_in, target_of};
