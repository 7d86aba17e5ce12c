//! The BitTorrent Mainline DHT as a synchronous sans-IO state machine.
//!
//! [`Node`] is a DHT node that never touches a socket, a clock, a thread or a file. It takes
//! datagrams and instants in and gives datagrams, events and deadlines out, so it fits any event
//! loop, runs by the thousand in virtual time, and needs neither `std` nor an allocator. For
//! programs with threads or tasks there are loops behind one handle, `net::Dht`: a thread (feature `net`), a task
//! of tokio (`tokio`), a future on `async-io` (`smol`).
//!
//! # The loop
//!
//! 1. Hand in what happened: [`handle_datagram`](Node::handle_datagram) for each datagram,
//!    [`handle_timeout`](Node::handle_timeout) when the time that the node asked for has come. Or
//!    give a command: [`get_peers`](Node::get_peers), [`announce`](Node::announce), …
//! 2. Send what [`poll_transmit`](Node::poll_transmit) makes, until it makes no more.
//! 3. Read what [`poll_event`](Node::poll_event) tells, until it tells no more.
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
//! let transmit = node.poll_transmit(now, &mut buf).expect("it asks the bootstrap host");
//! assert!(buf.starts_with(b"d1:ad2:id20:"));
//! assert_eq!(transmit.destination.port(), 6881);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A whole loop over a real socket is in the README, and the folder `examples` has one for each of many
//! runtimes. It is simplest to call [`Node::handle_timeout`] whenever nothing more has arrived: early calls are
//! harmless, but an answer that waits in the socket while its query expires counts as missing.
//!
//! # Use by a torrent engine
//!
//! - Peers tell their DHT port in a PORT message: give it to [`Node::add_node`], with the address
//!   of the connection (BEP 5, BEP 32). The same goes for the `nodes` of a torrent file.
//! - Every [`Event::Peer`] of a [`Node::get_peers`] lookup is a peer to connect to. Torrents with
//!   the private flag must not be looked up (BEP 27).
//! - [`Node::announce`] every 15 minutes or so. A lookup of the last five minutes is not repeated.
//! - [`Node::scrape`] tells how many peers a torrent has, without joining them (BEP 33): to decide
//!   which torrent to seed next.
//! - Over a restart: `Node::snapshot`, [`State`] and [`Node::restore`]. Adapters keep it in a file.
//!   With the feature `checkpoint` a node can also be moved to another process as it is, by
//!   `Node::checkpoint`.
//! - [`Node::keep_announced`] announces every 15 minutes until told otherwise, thousands of torrents
//!   evenly spread; [`Node::announce`] does it once. A lookup of the last five minutes is not repeated.
//! - "DHT off" in the settings is [`Node::set_enabled`]; a user behind a firewall may want
//!   [`Node::set_read_only`]; another network is [`Node::handle_rebind`], a wake-up
//!   [`Node::handle_resume`]. Each leaves id, table and kept announces as they are.
//! - A socket shared with uTP: [`wire::is_krpc`] tells which datagrams are for the node.
//!
//! # Several addresses
//!
//! A program with several addresses in one family runs a [`Node`] for each (BEP 45), on a socket that
//! is bound to it: tables and tokens are apart, and what one address suffers costs the others nothing. Their ids lie far apart of
//! themselves where they follow from the addresses ([`Config::secure_ids`]); else
//! [`NodeId::derived`] makes such ones. Over IPv6 no more than one address in each /64 is of use.
//!
//! A torrent is announced by each node on its own, since tokens are bound to addresses, best one
//! after the other; the nodes that the first lookup found ([`Node::lookup_nodes`]) help the next with
//! [`Node::add_node`]. To look something up or to put an item any one of them will do.
//!
//! What others store at one node may be stored at all of them, for whoever asks another one. No event
//! tells of what [`Node::store_peer`] and `Node::store_item` store, so nothing goes round:
//!
//! ```
//! # use dht_proto::{Config, Event, Instant, Limits, Node, NodeId};
//! /// Hands on what the node of this number was told.
//! fn share(nodes: &mut [Node], told: usize, event: Event, now: Instant) {
//!     for other in (0..nodes.len()).filter(|other| *other != told) {
//!         // An error says that this node has no room for it.
//!         let _ = match event {
//!             Event::PeerStored { infohash, peer, seed } => {
//!                 nodes[other].store_peer(now, infohash, peer, seed)
//!             }
//! #           #[cfg(feature = "items")]
//!             Event::ItemStored { target, node: from, .. } => match nodes[told].stored_item(target) {
//!                 Some(item) => nodes[other].store_item(now, &item, from),
//!                 None => Ok(()), // gone already
//!             },
//!             _ => Ok(()),
//!         };
//!     }
//! }
//! # let now = Instant::from_micros(0);
//! # let base = NodeId::from_bytes([0x5a; 20]);
//! # let mut nodes = Vec::from_iter((0..2).map(|index| {
//! #     let mut config = Config::default();
//! #     (config.id, config.secure_ids) = (Some(base.derived(index)), false);
//! #     Node::new(config, &Limits::default(), [7; 32], now)
//! # }));
//! # let (infohash, peer) = ([7; 20].into(), "67.215.246.10:6881".parse()?);
//! # share(&mut nodes, 0, Event::PeerStored { infohash, peer, seed: false }, now);
//! # assert_eq!([0, 1].map(|at: usize| nodes[at].peers(infohash).count()), [0, 1]);
//! # assert_eq!(nodes[1].poll_event(), None);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Architecture
//!
//! A file uses only files on lower floors; a test checks it.
//!
//! | floor | files |
//! |---|---|
//! | 0 vocabulary | `time`, `id` (ids and the XOR metric), `addr` (packed endpoints, reserved ranges), `rng`, `keyed` (hashes that strangers cannot aim), `magnet` (links), `trace` |
//! | 1 wire | [`wire`]: pure functions of bytes; `bloom` (the filters of a scrape) |
//! | 1 memory | `pool`: slots, free lists, lists, rings over slices |
//! | 2 parts | `table` (routing), `peers` (what others announced to us), `token`, `inflight` (queries under way), `rtt`, `lookup` (the iterative walk), `items` (values stored for others, found and published; feature `items`), `kept` (when announces are due), `scrape` and `sampling` (what other nodes store), `contacts` (what is remembered of endpoints), `density` (how many nodes there are), `limit` (rates), `sources` (who asks us, amplification), `volume` (bytes of all answers), `secure_id` and `external` (ids that fit an address, and which address is ours), `timer`, `stats` (counters, and how they are gone through) |
//! | 3 node | `storage` (`Heap`, [`Fixed`]), `config`, `event`, `state` (what outlives a restart, as bytes), `node` (`serve` answers, `search` asks, `walks` leads lookups, `keep` repeats announces, `upkeep` keeps house, `output` makes datagrams and events, `saved` saves and restores, `interrupt` stops and goes on, `identity` goes by our address, `mirror` stores what another node of the program was told, `checkpoint` writes all of it; `items` stores what others put, `publish` finds and puts items of our own; `scrape` and `sample` tell and learn which torrents there are) |
//! | 3 node | `crawl` (which torrents there are, asked from node to node; feature `alloc`) |
//! | 4 laboratory | `sim` (feature `sim`): worlds of nodes in virtual time |
//! | 4 adapters | `net` (`desk` does what all loops do, `ports` has their sockets, `blocking` and `tokio` wait), the `dht` tool: the only sockets, clocks and name look-ups |
//!
//! Every part is a plain struct over slices that the storage lends; it takes the time as an
//! argument, does no IO and has its own tests. A datagram is parsed into borrowed views
//! ([`wire::Message`]), changes state at once, and is answered later, when the answer is polled:
//! datagrams are made from state, into the caller's buffer, so a caller that forgets to poll loses
//! nothing but time.
//!
//! # What is bounded
//!
//! All memory is reserved at birth, as much as [`Limits`] say, and never grows.
//! Rates, budgets and lifetimes are in [`Config`], each default with its reason. What does not fit
//! is refused with an error to the user, or dropped and counted in [`Stats`] where it came from
//! the network. [`guide::security`] has what attackers do, and what is left of it.

#![no_std]
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

mod addr;
mod bloom;
mod config;
mod contacts;
#[cfg(feature = "alloc")]
mod crawl;
mod density;
mod event;
mod external;
mod full;
#[doc(hidden)]
pub mod fuzzing;
pub mod guide;
mod id;
mod inflight;
#[cfg(feature = "items")]
mod items;
mod kept;
mod keyed;
mod limit;
mod lookup;
mod magnet;
#[cfg(any(feature = "net", feature = "smol", feature = "tokio"))]
pub mod net;
mod node;
mod peers;
mod pool;
mod rng;
mod rtt;
mod sampling;
mod scrape;
mod secure_id;
#[cfg(feature = "sim")]
pub mod sim;
mod sources;
mod state;
mod stats;
mod storage;
mod table;
mod time;
mod timer;
mod token;
mod trace;
mod volume;
pub mod wire;

pub use addr::{AddressPolicy, Family};
pub use bloom::BloomFilter;
pub use config::{BootstrapKind, Config, Limits, MAX_DATAGRAM};
#[cfg(feature = "alloc")]
pub use crawl::{CrawlOptions, CrawlReport, Crawler, Found};
pub use density::NetworkSize;
#[cfg(feature = "items")]
pub use event::KeptItem;
pub use event::{
    Event, KeptAnnounce, KeptId, KeptRound, LookupId, LookupKind, LookupReport, NodeInfo, Pong, QueryError,
    QueryId, Refusals, Sample, StartError, StoreError, SwarmSize, Transmit,
};
pub use full::Limit;
pub use id::{Distance, ID_LEN, InfoHash, K, NodeId, ParseIdError};
#[cfg(feature = "items")]
pub use items::{
    Item, ItemError, ParseKeyError, ParseLinkError, PublicKey, PutObstacle, Salt, SecretKey, TorrentPointer,
    UpdatableTorrent,
};
pub use lookup::{Announce, Lookup, LookupOptions};
pub use magnet::MagnetLink;
#[cfg(feature = "checkpoint")]
pub use node::CheckpointError;
pub use node::Node;
#[cfg(feature = "items")]
pub use state::SavedItem;
pub use state::{BufferTooShort, Restored, SavedAnnounce, SavedNode, State, StateError};
#[cfg(feature = "items")]
pub use stats::ItemCounts;
pub use stats::{Drops, MethodCounts, Metric, Stats};
#[cfg(feature = "alloc")]
pub use storage::Heap;
#[doc(hidden)]
pub use storage::Lengths;
pub use storage::{Fixed, Storage};
pub use table::BucketInfo;
pub use time::Instant;

/// The code in the README compiles.
#[cfg(all(doctest, feature = "net", feature = "tokio"))]
#[doc = include_str!("../README.md")]
struct Readme;
