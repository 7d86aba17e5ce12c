//! Worlds of the laboratory, for the tests that live in them.
#![allow(dead_code, unreachable_pub, reason = "every test uses a part of it")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use dht_proto::sim::{Growth, HostId, Network, Profile, World};
use dht_proto::{Announce, InfoHash, Lookup};

pub const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

pub const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

pub fn infohash(byte: u8) -> InfoHash {
    InfoHash::from_bytes([byte; 20])
}

/// A world of so many nodes that have all joined.
pub fn world(seed: u64, network: Network, nodes: usize) -> (World, Vec<HostId>) {
    let mut world = World::new(seed, network);
    let profile = Arc::new(Profile::default());
    let hosts = world.grow(nodes, &Growth::default(), |_, _| Arc::clone(&profile));
    world.run_for(secs(60));
    (world, hosts)
}

/// Announces at one node and looks at another: whether the peer was found.
pub fn meet(world: &mut World, announcer: HostId, seeker: HostId, byte: u8) -> bool {
    let announce = Lookup::Announce(infohash(byte), Announce::port(1000 + u16::from(byte)));
    world.lookup(announcer, announce);
    let search = world.lookup(seeker, Lookup::GetPeers(infohash(byte)));
    let peer = SocketAddr::new(world.addr(announcer).ip(), 1000 + u16::from(byte));
    search.peers.iter().any(|(_, found)| *found == peer)
}
