//! The laboratory: worlds of nodes in virtual time, from two to a million, each decided by one seed
//! (feature `sim`).
//!
//! A [`World`] holds real nodes and lets datagrams go to and fro between them through a [`Network`]
//! that delays, loses, doubles, reorders and corrupts them. Hosts may sit behind address
//! translators ([`Nat`]), come and go ([`Churn`]), be cut off, sleep, or have clocks that jump.
//! Beside them live scripted hosts ([`Actor`], and a [`actors`] of villains). What a host says and
//! hears can be [captured](World::capture), and a [`Trail`] read off it that tells how a lookup went.
//! There is no clock and no socket: time jumps from one happening to the next.
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
//! let search = world.lookup(hosts[40], Lookup::GetPeers(infohash));
//! assert!(search.first_peer().is_some_and(|at| at < Duration::from_secs(1)));
//! world.check().expect("nothing is as it must not be");
//! ```
//!
//! # What is the same each time
//!
//! Two runs of one seed with the same calls send the same bytes at the same instants, on every
//! machine; [`World::transcript`] is a hash over all of them. Another seed gives another world: other
//! ids, other distances, other losses.
//!
//! # How large
//!
//! A step costs the same however many hosts there are: what is to happen waits in a radix heap, who
//! lives at an address is found by hashing, the distance between two hosts follows from their
//! addresses, and datagrams lie in buffers that are used again. [`limits`] are the least with which
//! nodes make a DHT; [`World::grow`] has them join without burdening anybody. The example
//! `big_world` measures it:
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
//! (Seed 1, [`Network::internet`]; the times are those of the world, the last five minutes without
//! newcomers.) One core of a 2020s server works off 600,000 happenings a second among 1000 nodes, and
//! 400,000 among 10,000, whose memory is no longer in its caches; 200,000 among a million. A world of
//! 100,000 takes 25 million of them to get there, one of a million 228 million, which is 20 minutes.
//! The process took 14.6 GB at its peak for a million.
//!
//! # What it shows
//!
//! Three worlds are measured by the bench `worlds`, each by one command; the first two beside
//! libtorrent's traversal, which starts from the same tables in the same world:
//!
//! ```text
//! cargo bench --features sim --bench worlds -- internet
//! cargo bench --features sim --bench worlds -- lossy
//! cargo bench --features sim --bench worlds -- day
//! ```
//!
//! | world | | found | first peer, median | 99th percentile | queries |
//! |---|---|---|---|---|---|
//! | 10,000 nodes, half behind NATs, 30 % of all contacts dead, 2 % loss | ours | 100 % | 156 ms | 332 ms | 27.6 |
//! | | libtorrent | 100 % | 159 ms | 1302 ms | 26.0 |
//! | 1000 nodes, 30 % loss, duplicates, overtaking and corruption | ours | 99.8 % | 152 ms | 381 ms | 29.0 |
//! | | libtorrent | 98.5 % | 151 ms | never | 27.4 |
//!
//! (Five seeds of 200 lookups; a query that is sent twice counts twice.) Over a day among 1000 nodes
//! that stay for 100 minutes (median), half of them behind NATs, never less than 90 % of the contacts
//! in all tables stand for a node that is there and that strangers reach, at 23 datagrams a minute for
//! each node, answers included; with the least [`limits`] 91 %, at 10.
//!
//! # What it is not
//!
//! There is no bandwidth and no queue in the network: a datagram never waits for another. Distances
//! know no geography, so two near hosts need not be equally far from a third.

pub mod actors;
mod hosts;
mod quantiles;
pub mod reference;
mod rng;
mod schedule;
pub mod scripted;
pub mod sybil;
mod trail;
mod transport;
mod world;

pub use self::actors::{Actor, Outbox};
pub use self::hosts::{Churn, HostId, Presence, Profile, Returns, limits, roomy_limits};
pub use self::quantiles::Quantiles;
pub use self::rng::SimRng;
pub use self::trail::{Sighting, Trail};
pub use self::transport::{Bursts, Captured, Counters, Direction, Latency, Nat, NatKind, Network};
pub use self::world::{Fault, Growth, LookupRecord, RecordId, Violation, World};
