//! What a node announces itself, asked for at that node.

use std::net::SocketAddr;
use std::time::Duration;

use dht_proto::{Announce, BootstrapKind, Family, InfoHash, Lookup, LookupOptions};

use crate::common;
use crate::common::raw::{Lone, TARGET, get_peers, spread};
use crate::common::{World, addr, config};

const HASH: InfoHash = InfoHash::from_bytes(TARGET);
const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

/// Another port of the `index`-th host.
fn port_of(index: usize, port: u16) -> SocketAddr {
    SocketAddr::new(addr(index).ip(), port)
}

fn only(host: SocketAddr) -> LookupOptions {
    let mut options = LookupOptions::default();
    options.only = Some(host);
    options
}

/// A node alone in the world.
fn alone() -> World {
    let mut world = World::new();
    world.add(addr(0), config(), 1, 0);
    world
}

/// The peers that the `index`-th node finds, which starts from the first one.
fn found_by(world: &mut World, index: usize) -> Vec<SocketAddr> {
    world.add(addr(index), config(), 2, index as u64);
    world.node(addr(index), |node, now| {
        node.add_bootstrap(now, addr(0), BootstrapKind::Node).unwrap();
    });
    world.run(SECOND);
    let lookup = world.node(addr(index), |node, now| node.get_peers(now, HASH).unwrap());
    let found = world.finish(addr(index), lookup).1;
    world.dead.insert(addr(index));
    found
}

#[test]
fn of_two_nodes_one_finds_what_the_other_has_announced_before() {
    for (announce, peer) in [
        (Announce::port(4242), port_of(0, 4242)),
        // As others see it.
        (Announce::implied(4242), addr(0)),
    ] {
        let mut world = alone();
        let lookup = world.node(addr(0), |node, now| node.announce(now, HASH, announce).unwrap());
        assert_eq!(world.finish(addr(0), lookup).0.acknowledged, 0, "nobody is there");
        assert_eq!(found_by(&mut world, 1), [peer]);
    }
}

#[test]
fn an_announce_of_ours_is_returned_for_as_long_as_one_of_others() {
    let mut world = alone();
    let lookup = world.node(addr(0), |node, now| node.announce(now, HASH, Announce::port(4242)).unwrap());
    world.finish(addr(0), lookup);
    world.run(SECOND * 44 * 60);
    assert_eq!(found_by(&mut world, 1), [port_of(0, 4242)]);
    world.run(SECOND * 60);
    assert_eq!(found_by(&mut world, 2), []);
}

#[test]
fn what_is_kept_up_is_returned_until_it_is_stopped() {
    let mut world = alone();
    let kept = world.node(addr(0), |node, now| node.keep_announced(now, HASH, Announce::port(1)).unwrap());
    world.run(HOUR);
    assert_eq!(found_by(&mut world, 1), [port_of(0, 1)]);
    let again = world.node(addr(0), |node, now| node.keep_announced(now, HASH, Announce::port(2)).unwrap());
    assert_eq!(again, kept);
    assert_eq!(found_by(&mut world, 2), [port_of(0, 2)], "under the port it has now");
    world.node(addr(0), |node, _| node.clear_peers());
    assert_eq!(found_by(&mut world, 3), [port_of(0, 2)], "it is none of the peers that announced to us");
    world.node(addr(0), |node, _| node.stop_announcing(kept));
    assert_eq!(found_by(&mut world, 4), []);
}

#[test]
fn a_cancelled_announce_that_nobody_has_is_not_returned() {
    for is_kept in [true, false] {
        let mut world = alone();
        world.node(addr(0), |node, now| {
            if is_kept {
                node.keep_announced(now, HASH, Announce::port(4242)).unwrap();
            }
            let lookup = node.announce(now, HASH, Announce::port(4242)).unwrap();
            assert!(node.cancel(lookup));
        });
        assert_eq!(found_by(&mut world, 1).is_empty(), !is_kept);
    }
}

#[test]
fn we_are_no_peer_that_announced_itself_to_us_nor_find_ourselves() {
    let mut world = alone();
    world.node(addr(0), |node, now| {
        node.set_external_addr(now, addr(0)).unwrap();
        node.announce(now, HASH, Announce::port(4242)).unwrap();
    });
    world.run(SECOND * 20);
    let node = &world.nodes[&addr(0)];
    assert_eq!((node.peer_count(Family::V4), node.peers(HASH).count()), (0, 0));
    let lookup = world.node(addr(0), |node, now| node.get_peers(now, HASH).unwrap());
    assert_eq!(world.finish(addr(0), lookup).1, []);
}

#[test]
fn b33_a_scrape_counts_us_among_seeds_or_downloaders() {
    let mut seed = Announce::port(1);
    seed.seed = true;
    for (announce, counted) in [(Announce::port(1), (0, 1)), (seed, (1, 0))] {
        let mut world = alone();
        world.node(addr(0), |node, now| node.keep_announced(now, HASH, announce).unwrap());
        world.add(addr(1), config(), 2, 1);
        world.node(addr(1), |node, now| node.add_bootstrap(now, addr(0), BootstrapKind::Node).unwrap());
        world.run(SECOND);
        // Not what was announced to the asker itself meanwhile.
        world.node(addr(1), |node, _| node.clear_peers());
        let options = only(addr(0));
        let lookup =
            world.node(addr(1), |node, now| node.lookup(now, Lookup::Scrape(HASH), &options).unwrap());
        let swarm = world.finish(addr(1), lookup).0.swarm.unwrap();
        assert_eq!((swarm.seeds, swarm.downloaders, swarm.sources), (counted.0, counted.1, 1));
    }
}

#[test]
fn who_does_not_know_its_address_names_none() {
    let mut lone = Lone::new(common::raw::config());
    lone.node.keep_announced(lone.now, HASH, Announce::port(4242)).unwrap();
    let values = |lone: &mut Lone| {
        let reply = lone.ask(addr(1), &get_peers(&TARGET, b""));
        (0..).map_while(|at| reply.string(&format!("r.values.{at}")).map(<[u8]>::to_vec)).collect::<Vec<_>>()
    };
    assert_eq!(values(&mut lone), Vec::<Vec<u8>>::new());
    lone.node.set_external_addr(lone.now, "81.2.3.4:0".parse().unwrap()).unwrap();
    assert_eq!(values(&mut lone), [b"\x51\x02\x03\x04\x10\x92".to_vec()]);
    // Where the port is implied and voters disagree on it, there is none to name.
    lone.node.keep_announced(lone.now, HASH, Announce::implied(4242)).unwrap();
    assert_eq!(values(&mut lone), Vec::<Vec<u8>>::new());
}

#[test]
fn a_thousand_announces_of_ours_are_all_returned() {
    let mut limits = common::limits();
    (limits.swarms, limits.peers_v4) = (2048, 8192);
    let mut world = alone();
    world.nodes.insert(addr(0), dht_proto::Node::new(config(), &limits, [1; 32], world.now));
    world.node(addr(0), |node, now| {
        node.set_external_addr(now, addr(0)).unwrap();
        for index in 0..1000 {
            node.keep_announced(now, InfoHash::from_bytes(spread(index)), Announce::port(1)).unwrap();
        }
    });
    world.add(addr(1), config(), 2, 1);
    for index in (0..1000).step_by(7) {
        let options = only(addr(0));
        let lookup = world.node(addr(1), |node, now| {
            node.lookup(now, Lookup::GetPeers(InfoHash::from_bytes(spread(index))), &options).unwrap()
        });
        assert_eq!(world.finish(addr(1), lookup).1, [port_of(0, 1)], "{index}");
        world.run(SECOND);
    }
}
