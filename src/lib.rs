#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    warn(
        clippy::alloc_instead_of_core,
        clippy::std_instead_of_alloc,
        clippy::std_instead_of_core,
        clippy::unwrap_used
    )
)]
//! The BitTorrent Mainline DHT as a synchronous sans-IO state machine.

#[cfg(feature = "alloc")]
extern crate alloc;
#[cfg(any(feature = "std", test))]
extern crate std;

mod addr;
mod config;
mod contacts;
mod event;
mod id;
mod inflight;
mod keyed;
mod limit;
mod lookup;
mod node;
mod peers;
mod pool;
mod rng;
mod rtt;
mod storage;
mod table;
mod time;
mod timer;
mod token;
mod trace;

pub mod wire;
pub use addr::{AddressPolicy, Family};
pub use config::{Config, Limits, MAX_DATAGRAM};
pub use event::{
    Drops, Event, LookupId, LookupKind, LookupReport, MethodCounts, NodeInfo, Pong, QueryError, QueryId,
    StartError, Stats, Transmit,
};
pub use id::{Distance, ID_LEN, InfoHash, K, NodeId, ParseIdError};
pub use lookup::{Announce, Lookup, LookupOptions};
pub use node::Node;
#[cfg(feature = "alloc")]
pub use storage::Heap;
pub use storage::{Fixed, Storage};
pub use time::Instant;
