//! Running a [`Node`](crate::Node) on real sockets: what the core leaves out, in a thread or a task.
//!
//! [`Dht`] owns a running node, [`DhtHandle`] is given to whoever uses it. They are the same whichever loop runs the
//! node: a thread ([`Builder::spawn`](Builder), feature `net`), a task of a tokio runtime (`Builder::spawn_tokio`,
//! feature `tokio`), or a future for any other executor (`Builder::build_smol`, feature `smol`).
//!
#![cfg_attr(feature = "net", doc = "```no_run")]
#![cfg_attr(not(feature = "net"), doc = "```ignore")]
//! use dht_proto::net::Dht;
//!
//! let dht = Dht::builder().spawn()?;
//! let handle = dht.handle(); // to be cloned and given to whoever needs it
//! handle.ready().wait_timeout(core::time::Duration::from_secs(20))?;
//! for peer in handle.get_peers("5fbfbff10c5d6a4ec8a88e4c6ab4c28b95eee401".parse()?) {
//!     println!("{peer}"); // as soon as it is found
//! }
//! # Ok::<(), Box<dyn core::error::Error>>(())
//! ```
//!
#![cfg_attr(feature = "tokio", doc = "```no_run")]
#![cfg_attr(not(feature = "tokio"), doc = "```ignore")]
//! # async fn run() -> Result<(), Box<dyn core::error::Error>> {
//! use dht_proto::net::Dht;
//!
//! let dht = Dht::builder().spawn_tokio()?;
//! let mut peers = dht.get_peers("5fbfbff10c5d6a4ec8a88e4c6ab4c28b95eee401".parse()?);
//! while let Some(peer) = peers.recv().await? {
//!     println!("{peer}"); // as soon as it is found
//! }
//! dht.shutdown().await?;
//! # Ok(())
//! # }
//! ```
//!
//! # To wait and to await
//!
//! No call to a handle blocks, and none fails where it is made. What comes back stands for what is under way:
//!
//! | from | comes | to block on | to await |
//! |---|---|---|---|
//! | a query, a getter, a command | [`Call`] | `wait`, `wait_timeout` | `.await` |
//! | a lookup, an announce, a put | [`LookupHandle`] | `for … in`, `recv_timeout`, `wait` | `recv().await`, `Stream`, `.await` |
//! | what is republished | [`Recurring`] | `for … in`, `recv_timeout` | `recv().await`, `Stream` |
//! | a crawl, a subscription | [`Crawl`], [`NetEvents`] | `for … in`, `recv_timeout` | `recv().await`, `Stream` |
//!
//! A start that is refused ([`CallError::Start`], [`CallError::QueueFull`], [`CallError::Busy`],
//! [`CallError::Closed`]) says so at the first read. Dropping what came back cancels it, or this caller's share of it.
//!
//! To block in asynchronous code holds up other tasks, and may hold up the node itself for ever. Within a tokio
//! runtime a debug build panics there, with a message that says what to await instead.
//!
//! # Owner and handles
//!
//! The [`Dht`] alone decides how long the node lives. A [`DhtHandle`] neither keeps the
//! node running nor ends it. A caller that stops ends its own announces, and its own share of
//! lookups; its calls fail with [`CallError::Closed`] once the node is gone.
//!
//! # Observability
//!
//! [`DhtHandle::metrics`] reads all counters and levels at once, for a monitor; [`DhtHandle::subscribe`] yields what
//! the node does on its own account. With the feature `tracing` the adapters report to a subscriber of the
//! `tracing` crate starts, ends and trouble, at `DEBUG` lookups, at `TRACE` each datagram. The
//! core speaks to the `log` crate instead, if its feature `log` is on; subscribers take that in by
//! `tracing-log`.
//!
//! # Many calls at once
//!
//! A node has so many slots for lookups, queries, scrapes and items ([`Limits`](crate::Limits)); by default there is
//! room for 32 lookups in both families ([`Limits::lookups`](crate::Limits::lookups)). Calls that find none wait for
//! it in the order in which they came,
//! up to 4096 of them ([`Builder::queue`]; past that they fail with [`CallError::QueueFull`]), and what is
//! given up meanwhile never begins. So fifty torrents, a hundred keys or five hundred [`DhtHandle::get_peers`] may be
//! asked for at once: a lookup that waits reports zeros. What is kept up goes on beside them.
//!
//! A lookup yields no more peers than the node remembers for it, 512 in each family
//! ([`LookupReport::more_peers`](crate::LookupReport::more_peers)). For a swarm of thousands raise
//! [`Limits::peers_per_lookup`](field@crate::Limits::peers_per_lookup) by [`Builder::limits`]; a call that wants fewer
//! says so by [`LookupOptions::max_peers`](field@crate::LookupOptions::max_peers) and [`DhtHandle::lookup`].
//!
//! # Several addresses
//!
//! A program with several addresses in one family has a [`Dht`] for each (BEP 45), bound to it
//! ([`Builder::bind`]): every one answers from its own socket, with tokens of its own. Ids that lie far
//! apart come of themselves with [`Config::secure_ids`](field@crate::Config::secure_ids), else from
//! [`NodeId::derived`](crate::NodeId::derived). What others store at one of them goes to another by
//! [`DhtHandle::subscribe`], in a thread of the program's:
//!
#![cfg_attr(all(feature = "net", feature = "items"), doc = "```no_run")]
#![cfg_attr(not(all(feature = "net", feature = "items")), doc = "```ignore")]
//! use dht_proto::Event;
//! use dht_proto::net::{CallError, DhtHandle, NetEvent};
//!
//! fn share(told: &DhtHandle, other: &DhtHandle) -> Result<(), CallError> {
//!     for event in told.subscribe() {
//!         let stored = match event {
//!             NetEvent::Node(Event::PeerStored { infohash, peer, seed }) => {
//!                 other.store_peer(infohash, peer, seed).wait()
//!             }
//!             NetEvent::Node(Event::ItemStored { target, node: from, .. }) => {
//!                 let item = told.stored_item(target).wait()?;
//!                 item.map_or(Ok(()), |item| other.store_item(&item, from).wait())
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
//!    [`Config::ipv4`](field@crate::Config::ipv4) and [`Config::ipv6`](field@crate::Config::ipv6) set to what
//!    there is.
//! 3. **Whole datagrams in.** The receive buffer holds the largest UDP payload, because a datagram
//!    cut short is a malformed one. On a host with several addresses whose socket is bound to all of
//!    them, `handle_datagram_at` says to which one each came, and an answer leaves from there
//!    (`Transmit::source`).
//! 4. **What has arrived comes before deadlines**: `handle_timeout` once reading finds nothing, or after
//!    so many datagrams that a stream of them would hold it up. An answer that waits in the socket while
//!    its query expires counts as missing.
//! 5. **Drain after every input**: send what `poll_transmit` gives, then take what `poll_event`
//!    gives, then sleep until `poll_timeout` or the next packet, whichever is first.
//! 6. **Keep few datagrams.** When the socket is full, hold those that have been written, one or a batch, and stop
//!    polling; the core keeps the rest as state, not as bytes.
//! 7. **Report what the system says**: that it does not send, for a reason of its own
//!    (`handle_unsent`: no network, no buffers, a firewall), that a destination cannot be reached
//!    (`handle_unreachable`: no host there), that the host slept (`handle_resume`, see [`SleepWatch`]).
//!    A turn that comes seconds after it was due follows a sleep as well, of no length. ICMP errors
//!    about datagrams under way reach an unconnected socket on few systems, and never with the address
//!    they are about.
//! 8. **Resolve bootstrap names** ([`BOOTSTRAP_HOSTS`], [`resolve`]), all their addresses, off the
//!    loop and side by side, and again while the DHT is not joined and on another network: the first answer
//!    may be that of a captive portal. Those of that list are routers
//!    ([`BootstrapKind`](crate::BootstrapKind)), what the user names beside them are nodes.
//! 9. **Save** the node's state every few minutes and at the end, off the loop, and give it back at
//!    the start ([`StateFile`]).
//! 10. **Survive.** No socket error ends the loop. One that fails for good is opened again, at the
//!     same port if possible, ever more seldom if that fails (`set_enabled` tells the node while there
//!     is none), and `handle_rebind` tells it of another address or network.

//!
//! # Files
//!
//! - `handle`: what callers have of a running node: one set of types for every loop
//! - `engine`: what a loop does that has nothing to do with how it waits
//! - `sockets`: UDP sockets, opened, reopened and moved, and one turn of a loop on them
//! - `state`: the state file
//! - `thread`, `tokio`, `smol`: the loops
//! - `simulated`, `virtual_time`: the loop of a node in a simulated world, and its clock
//! - `external`: datagrams by hand, without a socket
//! - `testnet`: a network on loopback for tests
//! - `clock`, `resolve`, `error`, `io_error`, `counters`, `metrics`, `trace`: time, names, errors, and observability

mod clock;
mod counters;
mod engine;
mod error;
mod external;
mod handle;
mod io_error;
mod metrics;
mod resolve;
#[cfg(feature = "sim")]
pub(crate) mod simulated;
#[cfg(feature = "smol")]
mod smol;
mod sockets;
mod state;
mod testnet;
#[cfg(feature = "net")]
mod thread;
#[cfg(feature = "tokio")]
mod tokio;
mod trace;
#[cfg(feature = "sim")]
mod virtual_time;

pub use clock::{Clock, SleepWatch};
pub use counters::LoopStats;
pub use engine::events::{BootstrapRefusal, NetEvent};
pub use engine::lookups::{Outcome, Sampled};
pub use engine::publications::Republished;
pub use error::{CallError, SpawnError};
pub use external::{External, Outgoing};
pub use handle::builder::Builder;
pub use handle::call::Call;
pub use handle::crawl::Crawl;
pub use handle::dht::{Dht, DhtHandle};
pub use handle::events::NetEvents;
pub use handle::iter::Iter;
pub use handle::lookup::{Finish, LookupHandle};
#[cfg(feature = "items")]
pub use handle::recurring::Publication;
pub use handle::recurring::{Announcement, Recurring};
pub use io_error::IoError;
pub use metrics::{FamilyLevels, FamilyMetrics, Levels, Metrics};
pub use resolve::{BOOTSTRAP_HOSTS, resolve};
pub use state::file::{Loaded, SAVE_INTERVAL, SavedState, StateFile, StateFileError};
pub use state::lock::StateLock;
pub use testnet::Testnet;
