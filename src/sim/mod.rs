//! A simulator: worlds of nodes in virtual time, from two to a million, each determined by one seed
//! (feature `sim`).
//!
//! A [`World`] runs real nodes and carries datagrams between them through a [`Network`] that delays,
//! loses, duplicates, reorders and corrupts them. Hosts may be behind NATs ([`Nat`]), leave and
//! return ([`Churn`]), lose their link, sleep, or have clocks that jump. Scripted hosts ([`Actor`])
//! take part too, honest ones and adversaries ([`actors`]). What a host sends and receives can be
//! [captured](World::capture), and a [`Trail`] read off it shows how a lookup went. There is no clock
//! and no socket: time jumps from one event to the next.
//!
//! ```
//! use std::time::Duration;
//!
//! use dht_proto::sim::{Growth, Network, Profile, World};
//! use dht_proto::{Announce, InfoHash, Lookup};
//! use std::sync::Arc;
//!
//! let mut world = World::new(42, Network::internet());
//! let profile = Arc::new(Profile::default());
//! let hosts = world.grow(50, &Growth::default(), |_, _| Arc::clone(&profile));
//! world.run_for(Duration::from_secs(60));
//!
//! let infohash = InfoHash::from_bytes([7; 20]);
//! let announce = world.lookup(hosts[3], Lookup::Announce(infohash, Announce::port(6881)));
//! assert!(announce.stored_at(8).is_some());
//! let get = world.lookup(hosts[40], Lookup::GetPeers(infohash));
//! assert!(get.first_peer().is_some_and(|at| at < Duration::from_secs(1)));
//! world.check().expect("no invariant is violated");
//! ```
//!
//! # Programs
//!
//! A host may run a program that uses its node, and that is started again with the host. A [`Program`] is called with
//! the [`Node`](crate::Node) itself ([`World::add_program`]). With one of the features `net`, `tokio` and `smol` there
//! are tasks as well: futures that use the node by the same handle, `net::DhtHandle`, as over sockets, and sleep by the
//! clock of their host (`World::add_task`). They are polled in the order in which they are woken, so that the seed
//! decides determines what they do too. [`guide::testing`](crate::guide::testing) has examples.
//!
//! # Files
//!
//! A file uses only those that come before it:
//!
//! - `rng`: the random number generator
//! - `quantiles`: quantiles of measurements
//! - `schedule`: scheduled events, in order of time
//! - `transport/`: how datagrams get from host to host: the network, NATs, captures
//! - `actors/`: scripted hosts
//! - `program`: programs that use the node of their host
//! - `hosted`: the interface between a world and a node
//! - `hosts`: what a host runs, and its profile
//! - `tasks/`: programs that use their node by a handle
//! - `trail`: how a lookup went, read off captured datagrams
//! - `world/`: the world, its hosts and its event loop
//! - `scripted`: a small scripted network, to measure lookups
//! - `sybil`: a Sybil attack on a torrent
//! - `reference/`: models of other clients' lookups
//!
//! # Determinism
//!
//! Two runs of one seed with the same calls send the same bytes at the same times, on every machine;
//! [`World::transcript`] is a hash over all of them. Another seed gives another world: other ids,
//! other distances, other losses.
//!
//! # Scale
//!
//! A step costs the same however many hosts there are: events are scheduled in a radix heap, the host
//! at an address is found by hashing, the distance between two hosts follows from their addresses, and
//! datagrams lie in buffers that are reused. [`limits`] are the smallest with which nodes form a DHT;
//! [`World::grow`] lets them join without overloading any. The example `big_world` measures it:
//!
//! ```text
//! cargo run --release --features sim --example big_world -- 1000000
//! ```
//!
//! | nodes | all are known after | datagrams sent by each | lookups that succeed | first peer | queries |
//! |---|---|---|---|---|---|
//! | 1000 | 449 s | 131 | 200 of 200 | 42 ms | 15 |
//! | 10,000 | 516 s | 166 | 200 of 200 | 86 ms | 23 |
//! | 100,000 | 582 s | 173 | 200 of 200 | 148 ms | 30 |
//! | 1,000,000 | 648 s | 162 | 200 of 200 | 165 ms | 32 |
//!
//! (Seed 1, [`Network::internet`]; the times are virtual, the last five minutes without new nodes.) One
//! core of a 2020s server processes 600,000 events a second among 1000 nodes, 400,000 among 10,000,
//! whose memory no longer fits its caches, and 200,000 among a million. A world of 100,000 takes 25
//! million events to get there, one of a million 228 million, which is 20 minutes. The process took
//! 14.6 GB at its peak for a million.
//!
//! # Results
//!
//! The bench `worlds` measures three worlds, each with one command; the first two beside libtorrent's
//! traversal, which starts from the same tables in the same world:
//!
//! ```text
//! cargo bench --features sim --bench worlds -- internet
//! cargo bench --features sim --bench worlds -- lossy
//! cargo bench --features sim --bench worlds -- day
//! ```
//!
//! | world | | found | first peer, median | 99th percentile | queries |
//! |---|---|---|---|---|---|
//! | 10,000 nodes, half behind NATs, 30 % of all contacts dead, 2 % loss | this crate | 100 % | 156 ms | 332 ms | 27.6 |
//! | | libtorrent | 100 % | 159 ms | 1302 ms | 26.0 |
//! | 1000 nodes, 30 % loss, duplicates, reordering and corruption | this crate | 99.8 % | 152 ms | 381 ms | 29.0 |
//! | | libtorrent | 98.5 % | 151 ms | never | 27.4 |
//!
//! (Five seeds of 200 lookups; a query that is sent twice counts twice.) Over a day among 1000 nodes
//! with a median session of 100 minutes, half of them behind NATs, never less than 90 % of the contacts
//! in all tables stand for a node that is up and that strangers reach, at 23 datagrams a minute for
//! each node, responses included; with the smallest [`limits`] 91 %, at 10.
//!
//! # Limitations
//!
//! There is no bandwidth and no queue in the network: a datagram never waits for another. Distances
//! have no geography: two hosts near each other may lie at different distances from a third.

pub mod actors;
mod hosted;
mod hosts;
mod program;
mod quantiles;
pub mod reference;
mod rng;
mod schedule;
pub mod scripted;
pub mod sybil;
#[cfg(any(feature = "net", feature = "smol", feature = "tokio"))]
mod tasks;
mod trail;
mod transport;
mod world;

pub use self::actors::{Actor, Outbox};
pub use self::hosts::{Churn, HostId, Presence, Profile, Returns, limits, roomy_limits};
pub use self::program::Program;
pub use self::quantiles::Quantiles;
pub use self::rng::SimRng;
#[cfg(any(feature = "net", feature = "smol", feature = "tokio"))]
pub use self::tasks::{SimClock, Sleep};
pub use self::trail::{Sighting, Trail};
pub use self::transport::{Bursts, Captured, Counters, Direction, Latency, Nat, NatKind, Network};
pub use self::world::{Fault, Growth, LookupRecord, RecordId, Violation, World};
