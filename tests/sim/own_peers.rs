//! Queries to a node for torrents that it announces itself.

use std::net::SocketAddr;

use dht_proto::sim::{HostId, Network, Profile, World};
use dht_proto::{Announce, BootstrapKind, Family, InfoHash, Lookup};

use crate::common;
use crate::common::raw::{TARGET, spread};
use crate::common::{addr, config};
use crate::lab::{find, introduce, newcomer, secs, village};

const HASH: InfoHash = InfoHash::from_bytes(TARGET);

/// Returns another port of the `index`-th host.
fn port_of(index: usize, port: u16) -> SocketAddr {
    SocketAddr::new(addr(index).ip(), port)
}

/// Creates a world with a single node.
fn alone() -> (World, HostId) {
    let (world, hosts) = village(1, 1);
    (world, hosts[0])
}

/// Adds a second node, which bootstraps from the first.
fn visitor(world: &mut World, index: usize, home: HostId) -> HostId {
    let visitor = newcomer(world, addr(index), config());
    introduce(world, visitor, home, BootstrapKind::Node);
    world.run_for(secs(1));
    visitor
}

/// Returns the peers that the `index`-th node finds, which bootstraps from the first and leaves again.
fn found_by(world: &mut World, index: usize, home: HostId) -> Vec<SocketAddr> {
    let visitor = visitor(world, index, home);
    let found = find(world, visitor, Lookup::GetPeers(HASH), None).1;
    world.kill(visitor);
    found
}

#[test]
fn of_two_nodes_one_finds_what_the_other_announced_earlier() {
    for (announce, peer) in [
        (Announce::port(4242), port_of(0, 4242)),
        // As seen by others.
        (Announce::implied(4242), addr(0)),
    ] {
        let (mut world, home) = alone();
        let announce = find(&mut world, home, Lookup::Announce(HASH, announce), None).0;
        assert_eq!(announce.acknowledged, 0, "there is no other node");
        assert_eq!(found_by(&mut world, 1, home), [peer]);
    }
}

#[test]
fn our_own_announce_is_returned_as_long_as_those_of_others() {
    let (mut world, home) = alone();
    find(&mut world, home, Lookup::Announce(HASH, Announce::port(4242)), None);
    world.run_for(secs(44 * 60));
    assert_eq!(found_by(&mut world, 1, home), [port_of(0, 4242)]);
    world.run_for(secs(60));
    assert_eq!(found_by(&mut world, 2, home), []);
}

#[test]
fn an_announcement_is_returned_until_it_is_stopped() {
    let (mut world, home) = alone();
    let keep = |world: &mut World, port| {
        world.with_node(home, |node, now| node.start_announcing(now, HASH, Announce::port(port)).unwrap())
    };
    let kept = keep(&mut world, 1);
    world.run_for(secs(3600));
    assert_eq!(found_by(&mut world, 1, home), [port_of(0, 1)]);
    assert_eq!(keep(&mut world, 2), kept);
    assert_eq!(found_by(&mut world, 2, home), [port_of(0, 2)], "with its present port");
    world.with_node(home, |node, _| node.clear_peers());
    assert_eq!(
        found_by(&mut world, 3, home),
        [port_of(0, 2)],
        "it is not among the peers that announced to us"
    );
    world.with_node(home, |node, _| node.stop_announcing(kept));
    assert_eq!(found_by(&mut world, 4, home), []);
}

#[test]
fn a_cancelled_announce_that_no_node_stored_is_not_returned() {
    for is_kept in [true, false] {
        let (mut world, home) = alone();
        world.with_node(home, |node, now| {
            if is_kept {
                node.start_announcing(now, HASH, Announce::port(4242)).unwrap();
            }
            let lookup = node.announce(now, HASH, Announce::port(4242)).unwrap();
            assert!(node.cancel(lookup));
        });
        assert_eq!(found_by(&mut world, 1, home).is_empty(), !is_kept);
    }
}

#[test]
fn our_own_announce_is_neither_counted_as_stored_nor_found_by_ourselves() {
    let (mut world, home) = alone();
    world.with_node(home, |node, now| {
        node.set_external_addr(now, addr(0)).unwrap();
        node.announce(now, HASH, Announce::port(4242)).unwrap();
    });
    world.run_for(secs(20));
    let node = world.node(home).unwrap();
    assert_eq!((node.peer_count(Family::V4), node.stored_peers(HASH).count()), (0, 0));
    assert_eq!(find(&mut world, home, Lookup::GetPeers(HASH), None).1, []);
}

#[test]
fn b33_a_scrape_counts_us_among_seeds_or_downloaders() {
    let mut seed = Announce::port(1);
    seed.seed = true;
    for (announce, counted) in [(Announce::port(1), (0, 1)), (seed, (1, 0))] {
        let (mut world, home) = alone();
        world.with_node(home, |node, now| node.start_announcing(now, HASH, announce).unwrap());
        let visitor = visitor(&mut world, 1, home);
        // Without what was announced to the querying node meanwhile.
        world.with_node(visitor, |node, _| node.clear_peers());
        let swarm = find(&mut world, visitor, Lookup::Scrape(HASH), Some(home)).0.swarm.unwrap();
        assert_eq!((swarm.seeds, swarm.downloaders, swarm.sources), (counted.0, counted.1, 1));
    }
}

#[test]
fn a_thousand_of_our_own_announces_are_returned() {
    let mut profile = Profile::default();
    (profile.config, profile.limits, profile.is_new) = (config(), common::limits(), true);
    (profile.limits.swarms, profile.limits.peers_v4) = (2048, 8192);
    let mut world = World::new(1, Network::perfect());
    let home = world.add_at(addr(0), profile);
    world.with_node(home, |node, now| {
        node.set_external_addr(now, addr(0)).unwrap();
        for index in 0..1000 {
            node.start_announcing(now, InfoHash::from_bytes(spread(index)), Announce::port(1)).unwrap();
        }
    });
    let visitor = newcomer(&mut world, addr(1), config());
    for index in (0..1000).step_by(7) {
        let lookup = Lookup::GetPeers(InfoHash::from_bytes(spread(index)));
        assert_eq!(find(&mut world, visitor, lookup, Some(home)).1, [port_of(0, 1)], "{index}");
        world.run_for(secs(1));
    }
}
