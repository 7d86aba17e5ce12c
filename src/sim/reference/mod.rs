//! Models of other clients' lookups, to compare with in the same world.
//!
//! Each is written from a description of the client's behaviour. What a lookup did is read off its
//! datagrams, as it is for a node of this crate ([`Trail`](super::Trail)). The bench `compare`
//! prints the figures, `dht sim --compare` draws them.
//!
//! - `driver`: runs an algorithm as a host
//! - `lockstep`: jstorrent, and many a textbook
//! - `libtorrent`: libtorrent 2.1
//! - `jech`: jech's `dht.c`, of Transmission
//!
//! ```
//! use dht_proto::sim::reference::{self, Client};
//! use dht_proto::sim::scripted::ScriptedNetwork;
//!
//! let outcome = reference::run(&ScriptedNetwork::default(), 1, Client::Libtorrent);
//! assert!(outcome.done.is_some_and(|at| at.as_millis() < 500));
//! ```

mod driver;
mod jech;
mod libtorrent;
mod lockstep;

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::time::Duration;

use self::driver::{Algorithm, Driver};
use self::jech::Jech;
use self::libtorrent::Libtorrent;
use self::lockstep::Lockstep;
use super::actors::Contact;
use super::hosts::HostId;
use super::rng::SimRng;
use super::scripted::{Outcome, ScriptedNetwork, Stage};
use super::world::World;
use crate::base::addr::Family;
use crate::base::id::InfoHash;
use crate::base::time::Instant;

/// A client whose lookup is modelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Client {
    /// jstorrent: rounds of three queries, each of which waits for the slowest.
    LockStep,
    /// libtorrent 2.1, of qBittorrent and Deluge.
    Libtorrent,
    /// `dht.c` by Juliusz Chroboczek, of Transmission.
    Jech,
}

impl Client {
    /// All clients, in the order in which tables list them.
    pub const ALL: [Self; 3] = [Self::LockStep, Self::Libtorrent, Self::Jech];

    /// The name that tables and pictures show.
    pub const fn name(self) -> &'static str {
        match self {
            Self::LockStep => "lock-step",
            Self::Libtorrent => "libtorrent",
            Self::Jech => "jech",
        }
    }

    fn algorithm(self) -> Box<dyn Algorithm> {
        match self {
            Self::LockStep => Box::new(Lockstep::default()),
            Self::Libtorrent => Box::new(Libtorrent::default()),
            Self::Jech => Box::new(Jech::default()),
        }
    }
}

/// The whole routing table of a node.
///
/// # Panics
///
/// If the host runs no node.
pub fn table(world: &World, host: HostId) -> Vec<Contact> {
    let node = world.node(host).expect("it runs a node");
    node.nodes(Family::V4).map(|node| (node.id, node.addr)).collect()
}

/// Adds a host that looks up a torrent as this client would, from this routing table.
///
/// It announces itself at the end if `announces` is set. It starts with the next step of the world,
/// and its datagrams are [captured](World::capture).
pub fn launch(
    world: &mut World,
    client: Client,
    table: Vec<Contact>,
    infohash: InfoHash,
    announces: bool,
) -> HostId {
    let id = world.rng().id();
    let rng = SimRng::new(world.rng().bits());
    let host = world.add_actor(Driver::new(client.algorithm(), id, table, infohash, announces, rng));
    world.capture(host);
    host
}

/// Replaces a node by a client that looks up a torrent at once, from the node's routing table.
///
/// Its datagrams are [captured](World::capture).
///
/// # Panics
///
/// If the host runs no node.
pub fn stand_in(world: &mut World, host: HostId, client: Client, infohash: InfoHash) {
    let id = world.node(host).expect("a node to stand in for").id(Family::V4);
    let table = table(world, host);
    let rng = SimRng::new(world.rng().bits());
    let driver = Driver::new(client.algorithm(), id, table, infohash, false, rng);
    world.capture(host);
    world.replace(host, driver);
}

/// When the lookup of a [launched](launch) host finished, by the client's own judgement.
pub fn finished_at(world: &World, host: HostId) -> Option<Instant> {
    world.actor::<Driver>(host).and_then(Driver::finished_at)
}

/// Runs a client on the network that a node of this crate has with this seed.
///
/// Dead hosts are the same, and the client starts from the table that the node had filled.
pub fn run(network: &ScriptedNetwork, seed: u64, client: Client) -> Outcome {
    let stage = network.build(seed);
    let table = table(&stage.world, stage.node);
    run_from(stage, table, client)
}

/// Runs a client on a network that is ready, from a given routing table.
pub fn run_from(mut stage: Stage, table: Vec<Contact>, client: Client) -> Outcome {
    let world = &mut stage.world;
    world.kill(stage.node);
    // A client whose clock counts whole seconds starts at any time within one.
    let pause = world.rng().up_to(Duration::from_secs(1));
    world.run_for(pause);
    let started = world.now();
    let host = launch(world, client, table, stage.target, true);
    world.run_until(|world| finished_at(world, host).is_some(), TIME_LIMIT);
    let done = finished_at(world, host).map(|at| at - started);
    stage.measure(host, started, done)
}

/// Longer than any lookup that ends.
const TIME_LIMIT: Duration = Duration::from_secs(600);
