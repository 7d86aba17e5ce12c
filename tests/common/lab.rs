//! Simulated worlds for tests.
#![allow(dead_code, unreachable_pub, reason = "every test uses a part of it")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use dht_proto::sim::{Growth, HostId, Network, Profile, World};
use dht_proto::{Announce, BootstrapKind, Config, InfoHash, Lookup, LookupOptions, LookupReport};

use crate::common;

pub const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

pub const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

pub fn infohash(byte: u8) -> InfoHash {
    InfoHash::from_bytes([byte; 20])
}

/// Creates a world of `count` nodes that have all joined.
pub fn world(seed: u64, network: Network, nodes: usize) -> (World, Vec<HostId>) {
    let mut world = World::new(seed, network);
    let profile = Arc::new(Profile::default());
    let hosts = world.grow(nodes, &Growth::default(), |_, _| Arc::clone(&profile));
    world.run_for(secs(60));
    (world, hosts)
}

/// Announces at one node and looks up at another; returns whether the peer was found.
pub fn meet(world: &mut World, announcer: HostId, seeker: HostId, byte: u8) -> bool {
    let announce = Lookup::Announce(infohash(byte), Announce::port(1000 + u16::from(byte)));
    world.lookup(announcer, announce);
    let search = world.lookup(seeker, Lookup::GetPeers(infohash(byte)));
    let peer = SocketAddr::new(world.addr(announcer).ip(), 1000 + u16::from(byte));
    search.peers.iter().any(|(_, found)| *found == peer)
}

/// Creates a perfect network of `count` hosts that all bootstrap from the first.
pub fn village(seed: u64, count: usize) -> (World, Vec<HostId>) {
    let mut world = World::new(seed, Network::perfect());
    let hosts: Vec<HostId> =
        (0..count).map(|index| newcomer(&mut world, common::addr(index), common::config())).collect();
    for host in hosts.iter().skip(1) {
        introduce(&mut world, *host, hosts[0], BootstrapKind::Router);
    }
    (world, hosts)
}

/// Adds a host at this address whose node has no contacts and does not know its address.
pub fn newcomer(world: &mut World, at: SocketAddr, config: Config) -> HostId {
    let mut profile = Profile::default();
    (profile.config, profile.limits, profile.is_new) = (config, common::limits(), true);
    world.add_at(at, profile)
}

/// Adds a host to the contacts of another.
pub fn introduce(world: &mut World, host: HostId, other: HostId, kind: BootstrapKind) {
    let addr = world.addr(other);
    world.with_node(host, |node, now| node.add_bootstrap(now, addr, kind).unwrap());
}

/// Runs a lookup, at only one host if one is given, and returns its report and the peers it found.
pub fn find(
    world: &mut World,
    at: HostId,
    lookup: Lookup,
    only: Option<HostId>,
) -> (LookupReport, Vec<SocketAddr>) {
    let options = only.map(|host| {
        let mut options = LookupOptions::default();
        options.only = Some(world.addr(host));
        options
    });
    let search = world.start_with(at, lookup, options.as_ref()).unwrap();
    assert!(world.settle(secs(60)), "the lookup ends");
    let search = world.take_record(search).unwrap();
    let peers = search.peers.iter().map(|(_, peer)| *peer).collect();
    (search.report().expect("its host has not left"), peers)
}
