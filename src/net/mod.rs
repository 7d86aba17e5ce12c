//! Running a [`Node`](crate::Node) on real sockets: what the core leaves out, in one thread or one
//! task.
//!
//! [`Dht`] is the handle to use from ordinary blocking code (feature `net`). It can be cloned and
//! shared; the thread behind it has the sockets and the node. `tokio::Dht` is its like for
//! asynchronous code (feature `tokio`).
//!
#![cfg_attr(feature = "net", doc = "```no_run")]
#![cfg_attr(not(feature = "net"), doc = "```ignore")]
//! use dht_proto::net::Dht;
//!
//! let owner = Dht::builder().spawn()?;
//! let dht = owner.dht(); // to be cloned and given to whoever needs it
//! dht.wait_ready(core::time::Duration::from_secs(20))?;
//! for peer in dht.get_peers("5fbfbff10c5d6a4ec8a88e4c6ab4c28b95eee401".parse()?)? {
//!     println!("{peer}"); // as soon as it is found
//! }
//! # Ok::<(), Box<dyn core::error::Error>>(())
//! ```
//!
//! # Owner and borrowers
//!
//! The [`Owner`] alone decides how long the node lives. A [`Dht`] is borrowed: it neither keeps the
//! node running nor ends it. A borrower that stops ends its own announces, and its own share of
//! lookups; its calls fail with [`CallError::Closed`] once the node is gone.
//!
//! # What there is to see
//!
//! [`Dht::metrics`] reads all counters and levels at once, for a monitor; [`Dht::subscribe`] tells what
//! the node does on its own account. With the feature `tracing` the adapters tell a subscriber of the
//! `tracing` crate of starts, ends and trouble, at `DEBUG` of lookups, at `TRACE` of each datagram. The
//! core speaks to the `log` crate instead, if its feature `log` is on; subscribers take that in by
//! `tracing-log`.
//!
//! # Several addresses
//!
//! A program with several addresses in one family has a [`Dht`] for each (BEP 45), bound to it
//! ([`Builder::bind`]): every one answers from its own socket, with tokens of its own. Ids that lie far
//! apart come of themselves with [`Config::secure_ids`](crate::Config::secure_ids), else from
//! [`NodeId::derived`](crate::NodeId::derived). What others store at one of them goes to another by
//! [`Dht::subscribe`], in a thread of the program's:
//!
#![cfg_attr(all(feature = "net", feature = "items"), doc = "```no_run")]
#![cfg_attr(not(all(feature = "net", feature = "items")), doc = "```ignore")]
//! use dht_proto::Event;
//! use dht_proto::net::{CallError, Dht, Notice};
//!
//! fn share(told: &Dht, other: &Dht) -> Result<(), CallError> {
//!     for notice in told.subscribe()? {
//!         let stored = match notice {
//!             Notice::Node(Event::PeerStored { infohash, peer, seed }) => {
//!                 other.store_peer(infohash, peer, seed)
//!             }
//!             Notice::Node(Event::ItemStored { target, node: from, .. }) => {
//!                 let item = told.stored_item(target)?;
//!                 item.map_or(Ok(()), |item| other.store_item(&item, from))
//!             }
//!             _ => Ok(()),
//!         };
//!         match stored {
//!             Ok(()) | Err(CallError::Store(_)) => {} // stored, or no room for it
//!             Err(error) => return Err(error),
//!         }
//!     }
//!     Ok(())
//! }
//! ```
//!
//! # What an adapter must do
//!
//! The core decides everything about the protocol. Whoever brings its own event loop has these
//! duties left, and this module is one way of doing them:
//!
//! 1. **One clock.** A monotonic one, turned into [`Instant`](crate::Instant) by [`Clock`].
//! 2. **One socket for each family**, the IPv6 one with `IPV6_V6ONLY`, and
//!    [`Config::ipv4`](crate::Config::ipv4) and [`Config::ipv6`](crate::Config::ipv6) set to what
//!    there is.
//! 3. **Whole datagrams in.** The receive buffer holds the largest UDP payload, because a datagram
//!    cut short is a malformed one.
//! 4. **Drain after every input**: send what `poll_transmit` gives, then take what `poll_event`
//!    gives, then sleep until `poll_timeout` or the next packet, whichever is first.
//! 5. **Keep one datagram at most.** When the socket is full, hold the one in hand and stop
//!    polling; the core keeps the rest as state, not as bytes.
//! 6. **Report what the system says**: a destination that cannot be reached
//!    (`handle_unreachable`), a sleep of the host (`handle_resume`, see [`SleepWatch`]). Here that
//!    is a send that the system refuses; ICMP errors about datagrams under way reach an
//!    unconnected socket on few systems, and never with the address they are about.
//! 7. **Resolve bootstrap names** ([`BOOTSTRAP_HOSTS`], [`resolve`]), all their addresses, off the
//!    loop, and again when it fails. Those of that list are routers
//!    ([`BootstrapKind`](crate::BootstrapKind)), what the user names beside them are nodes.
//! 8. **Save** the node's state every few minutes and at the end, off the loop, and give it back at
//!    the start ([`StateFile`]).
//! 9. **Survive.** No socket error ends the loop. One that fails for good is opened again, at the
//!    same port if possible, ever more seldom if that fails (`set_enabled` tells the node while there
//!    is none), and `handle_rebind` tells it of another address or network.

#[cfg(feature = "net")]
mod blocking;
mod board;
#[cfg(feature = "net")]
mod builder;
mod calls;
mod clock;
#[cfg(feature = "net")]
mod crawl;
mod crawling;
mod desk;
mod error;
mod events;
#[cfg(feature = "net")]
mod handle;
#[cfg(feature = "items")]
mod item_calls;
#[cfg(all(feature = "net", feature = "items"))]
mod items;
#[cfg(feature = "net")]
mod keep;
mod metrics;
mod ports;
mod progress;
mod reader;
mod resolve;
mod rounds;
mod saver;
#[cfg(feature = "net")]
mod search;
mod setup;
mod socket;
mod state;
mod stats;
#[cfg(feature = "tokio")]
pub mod tokio;
mod trace;
mod watched;

#[cfg(feature = "net")]
pub use builder::Builder;
pub use clock::{Clock, SleepWatch};
#[cfg(feature = "net")]
pub use crawl::Crawl;
pub use error::{CallError, SpawnError};
#[cfg(feature = "net")]
pub use events::Events;
pub use events::Notice;
#[cfg(feature = "net")]
pub use handle::{Dht, Owner};
#[cfg(all(feature = "net", feature = "items"))]
pub use keep::Publication;
#[cfg(feature = "net")]
pub use keep::{Announcement, Upkeep};
pub use metrics::{FamilyLevels, FamilyMetrics, Levels, Metrics};
pub use progress::{Outcome, Sampled};
pub use resolve::{BOOTSTRAP_HOSTS, resolve};
pub use rounds::Round;
#[cfg(feature = "net")]
pub use search::Search;
pub use state::{Loaded, SAVE_INTERVAL, SavedState, StateFile, StateFileError};
pub use stats::LoopStats;
