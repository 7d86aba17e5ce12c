//! The BitTorrent Mainline DHT as a synchronous sans-IO state machine.
//!
//! [`Node`] is a DHT node that never touches a socket, a clock, a thread or a file. Datagrams and instants go in;
//! datagrams, events and deadlines come out. So it fits any event loop, runs by the thousand in virtual time, and
//! needs neither `std` nor an allocator.
//!
//! For programs with threads or tasks there are loops behind one handle, `net::Dht`: a thread (feature `net`), a
//! task of tokio (`tokio`), a future on `async-io` (`smol`).
//!
//! # The loop
//!
//! 1. Pass in what happened: [`handle_datagram`](Node::handle_datagram) for each datagram, and
//!    [`handle_timeout`](Node::handle_timeout) at the deadline that the node asked for; or call a command such as
//!    [`get_peers`](Node::get_peers) or [`announce`](Node::announce).
//! 2. Send what [`poll_transmit`](Node::poll_transmit) writes, until it writes nothing more.
//! 3. Read what [`poll_event`](Node::poll_event) returns, until it returns nothing more.
//! 4. Wait for a datagram, but no longer than until [`poll_timeout`](Node::poll_timeout).
//!
//! ```
//! use dht_proto::{BootstrapKind, Config, Instant, Limits, MAX_DATAGRAM, Node};
//!
//! let now = Instant::from_micros(0); // from your clock
//! let mut node = Node::new(Config::default(), &Limits::default(), [7; 32], now);
//! node.add_bootstrap(now, "67.215.246.10:6881".parse()?, BootstrapKind::Router)?;
//! node.handle_timeout(now);
//! let mut buf = [0; MAX_DATAGRAM];
//! let transmit = node.poll_transmit(now, &mut buf).expect("a query to the bootstrap host");
//! assert!(buf.starts_with(b"d1:ad2:id20:"));
//! assert_eq!(transmit.destination.port(), 6881);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The folder `examples` has whole loops over real sockets, and [`guide::embedding`] what else a loop may do.
//!
//! # Where to read on
//!
//! - [`guide::architecture`]: the parts of a node, and where a change belongs
//! - [`guide::embedding`]: loops, torrent engines, several addresses
//! - [`guide::errors`]: which errors there are, and what to do
//! - [`guide::security`]: attacks, defences, and what is left of each attack
//! - [`guide::testing`]: your own program on a private network, or in virtual time
//! - [`guide::glossary`]: terms, and what other implementations call them
//!
//! At the root is what every program needs; the rest lies in modules by subject: [`report`], [`errors`], [`stats`],
//! [`state`], [`ids`], [`wire`], and, by features, `items`, `crawl`, `net` and `sim`.
//!
//! All memory is reserved when a node is created, as much as [`Limits`] say, and never grows. Rates, budgets and
//! lifetimes are in [`Config`], each default with its reason. What does not fit is an error for the caller, or is
//! dropped and counted in [`Stats`](stats::Stats) where it came from the network.

#![no_std]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code, unused_must_use)]
#![cfg_attr(
    not(test),
    warn(
        clippy::alloc_instead_of_core,
        clippy::std_instead_of_alloc,
        clippy::std_instead_of_core,
        clippy::unwrap_used
    )
)]

#[cfg(feature = "alloc")]
extern crate alloc;
#[cfg(any(feature = "std", test))]
extern crate std;

mod base;
#[cfg(feature = "alloc")]
pub mod crawl;
mod guard;
pub mod guide;
mod lookup;
#[cfg(any(feature = "net", feature = "smol", feature = "tokio"))]
pub mod net;
mod node;
mod rpc;
#[cfg(feature = "sim")]
pub mod sim;
mod store;
mod subjects;
mod table;
pub mod wire;

pub use subjects::{errors, ids, report, state, stats};

#[cfg(feature = "items")]
pub use subjects::items;

pub use base::addr::{AddressPolicy, Family};
pub use base::id::{InfoHash, NodeId};
pub use base::time::Instant;
pub use guard::rate::RateLimit;
pub use lookup::{Announce, Lookup, LookupKind, LookupOptions};
pub use node::Node;
pub use node::api::config::{BootstrapKind, Config, MAX_DATAGRAM};
pub use node::api::error::{PutError, QueryError, StartError};
pub use node::api::event::{Event, Transmit};
pub use node::api::ids::{LookupId, PublicationId, QueryId};
pub use node::api::limits::Limits;
pub use node::api::report::{LookupReport, Stored};
#[cfg(feature = "alloc")]
pub use node::storage::Heap;
#[doc(hidden)]
pub use node::storage::Lengths;
pub use node::storage::{Fixed, Storage};

/// The code in the README compiles.
#[cfg(all(doctest, feature = "net", feature = "tokio"))]
#[doc = include_str!("../README.md")]
struct Readme;
