//! Runs a [`Node`](crate::Node) on real sockets, in a thread or a task: all that the core leaves out.
//!
//! [`Dht`] owns a running node, and each part of a program that uses it has a [`DhtHandle`]. Both are the same for
//! every loop: a thread ([`Builder::spawn`](Builder), feature `net`), a task of a tokio runtime
//! (`Builder::spawn_tokio`, feature `tokio`), or a future for any other executor (`Builder::build_smol`, feature
//! `smol`).
//!
#![cfg_attr(feature = "net", doc = "```no_run")]
#![cfg_attr(not(feature = "net"), doc = "```ignore")]
//! use dht_proto::net::Dht;
//!
//! let dht = Dht::builder().spawn()?;
//! let handle = dht.handle(); // clones can be passed to all parts of the program
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
//! # Blocking and awaiting
//!
//! No call to a handle blocks, and none fails at once: the result is read from what it returns.
//!
//! | call | returns | blocking | asynchronous |
//! |---|---|---|---|
//! | a query, a getter, a command | [`Call`] | `wait`, `wait_timeout` | `.await` |
//! | a lookup, an announce, a put | [`LookupHandle`] | `for … in`, `recv_timeout`, `wait` | `recv().await`, `Stream`, `.await` |
//! | a publication | [`Recurring`] | `for … in`, `recv_timeout` | `recv().await`, `Stream` |
//! | a crawl, a subscription | [`Crawl`], [`NetEvents`] | `for … in`, `recv_timeout` | `recv().await`, `Stream` |
//!
//! If the node refuses to start something, the first read returns the error ([`CallError::Start`],
//! [`CallError::QueueFull`], [`CallError::Busy`], [`CallError::Closed`]). Dropping the returned value cancels the
//! operation, or ends this caller's share of it.
//!
//! Blocking in asynchronous code delays other tasks, and deadlocks if the node is one of them. Within a tokio runtime
//! debug builds panic instead, with a message that says what to await.
//!
//! # Owner and handles
//!
//! The [`Dht`] alone determines the lifetime of the node; a [`DhtHandle`] neither keeps it running nor ends it. A
//! caller that drops what a call returned ends its own announces and its own share of lookups. Once the node has
//! ended, calls fail with [`CallError::Closed`].
//!
//! # Observability
//!
//! [`DhtHandle::metrics`] reads all counters and gauges at once, for a monitor; [`DhtHandle::subscribe`] yields the
//! events of the node that no call waits for. With the feature `tracing` the adapters report to a subscriber of the
//! `tracing` crate: starts, ends and problems, lookups at `DEBUG`, and each datagram at `TRACE`. The core logs to the
//! `log` crate, if its feature `log` is on; `tracing-log` passes that on to a subscriber.
//!
//! # Many calls at once
//!
//! The slots of a node for lookups, queries, scrapes and items are limited ([`Limits`](crate::Limits)): by default
//! there is room for 32 lookups in both families ([`Limits::lookups`](crate::Limits::lookups)). Calls that find no
//! free slot wait for one, first come, first served. Up to 4096 may wait ([`Builder::queue`]); past that they fail with
//! [`CallError::QueueFull`]. A call that is dropped while it waits never starts. So fifty torrents, a hundred keys or
//! five hundred [`DhtHandle::get_peers`] may be started at once; the report of a lookup that waits is all zeros.
//! Publications continue in the meantime.
//!
//! A lookup yields no more peers than the node remembers for it, 512 in each family
//! ([`LookupReport::more_peers`](crate::LookupReport::more_peers)). For a swarm of thousands raise
//! [`Limits::peers_per_lookup`](field@crate::Limits::peers_per_lookup) with [`Builder::limits`]; to get fewer, pass
//! [`LookupOptions::max_peers`](field@crate::LookupOptions::max_peers) to [`DhtHandle::lookup`].
//!
//! # Several addresses
//!
//! A program with several addresses in one family runs a [`Dht`] for each (BEP 45), bound to it ([`Builder::bind`]),
//! so that each answers from its own socket, with tokens of its own. Their ids lie far apart with
//! [`Config::secure_ids`](field@crate::Config::secure_ids), or if they are made by
//! [`NodeId::derived`](crate::NodeId::derived). A thread that [subscribes](DhtHandle::subscribe) to one of them can
//! store at another what is stored there:
//!
#![cfg_attr(all(feature = "net", feature = "items"), doc = "```no_run")]
#![cfg_attr(not(all(feature = "net", feature = "items")), doc = "```ignore")]
//! use dht_proto::Event;
//! use dht_proto::net::{CallError, DhtHandle, NetEvent};
//!
//! fn share(from: &DhtHandle, to: &DhtHandle) -> Result<(), CallError> {
//!     for event in from.subscribe() {
//!         let stored = match event {
//!             NetEvent::Node(Event::PeerStored { infohash, peer, seed }) => {
//!                 to.store_peer(infohash, peer, seed).wait()
//!             }
//!             NetEvent::Node(Event::ItemStored { target, node, .. }) => {
//!                 let item = from.stored_item(target).wait()?;
//!                 item.map_or(Ok(()), |item| to.store_item(&item, node).wait())
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
//! The core decides everything about the protocol. An event loop of another kind has the following duties, of which
//! this module is one implementation:
//!
//! 1. **One clock.** A monotonic one, converted to [`Instant`](crate::Instant) by [`Clock`].
//! 2. **One socket for each family**, for IPv6 with `IPV6_V6ONLY`. [`Config::ipv4`](field@crate::Config::ipv4) and
//!    [`Config::ipv6`](field@crate::Config::ipv6) say which families there are.
//! 3. **Whole datagrams in.** The receive buffer holds the largest UDP payload, because a datagram
//!    cut short is malformed. If a socket is bound to all of several addresses, `handle_datagram_at` takes the
//!    address that a datagram came to, and the response leaves from there (`Transmit::source`).
//! 4. **Datagrams before deadlines.** Call `handle_timeout` once the socket is empty, or after as many datagrams as
//!    keep a flood from delaying it. Otherwise a query expires although its response waits in the socket.
//! 5. **Drain after every input**: send the datagrams of `poll_transmit`, take the events of `poll_event`, then sleep
//!    until `poll_timeout` or the next packet, whichever is first.
//! 6. **Buffer few datagrams.** When the socket is full, hold those that have been written, one or a batch, and stop
//!    polling; the core keeps the rest as state, not as bytes.
//! 7. **Report errors of the system**: a datagram that it did not send for a local reason (`handle_unsent`: no network,
//!    no buffers, a firewall), a destination that cannot be reached (`handle_unreachable`: no such host), a sleep of
//!    the host (`handle_resume`, see [`SleepWatch`]). A turn that starts seconds late also follows a sleep, of length
//!    zero. ICMP errors about datagrams in flight are reported to an unconnected socket on few systems only, and never
//!    with the address that they concern.
//! 8. **Resolve bootstrap names** ([`BOOTSTRAP_HOSTS`], [`resolve`]): all their addresses, outside of the loop and in
//!    parallel; again while the DHT is not joined, and on another network, because the first answer may be that of a
//!    captive portal. The hosts of that list are routers ([`BootstrapKind`](crate::BootstrapKind)), those that the user
//!    adds are nodes.
//! 9. **Save** the state of the node every few minutes and at the end, outside of the loop, and restore it at the start
//!    ([`StateFile`]).
//! 10. **Survive.** No socket error ends the loop. A socket that fails permanently is opened again, at the same port if
//!     possible, at growing intervals while that fails. `set_enabled` disables the family while it has no socket,
//!     `handle_rebind` reports another address or network.
//!
//! # Files
//!
//! - `handle`: the callers' side of a running node, one set of types for every loop
//! - `engine`: the part of a loop that does not depend on how the loop waits
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
