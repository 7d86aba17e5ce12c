//! Nodes that join through one another.

use std::net::SocketAddr;

use dht_proto::{Announce, BootstrapKind, Family, Lookup};

use crate::common::{addr, config};
use crate::lab::{find, infohash, introduce, newcomer, secs, village};

#[test]
fn four_nodes_that_bootstrap_from_each_other_verify_and_find_each_other() {
    let (mut world, first) = village(9, 1);
    let more = (1..4).map(|index| newcomer(&mut world, addr(index), config()));
    let hosts: Vec<_> = first.into_iter().chain(more.collect::<Vec<_>>()).collect();
    for host in &hosts {
        for other in hosts.iter().filter(|other| *other != host) {
            introduce(&mut world, *host, *other, BootstrapKind::Node);
        }
    }
    world.run_for(secs(10));
    for (_, node) in world.nodes() {
        assert_eq!(node.node_count(Family::V4), 3);
    }
    for (index, host) in hosts.iter().enumerate() {
        let (torrent, port) = (infohash(index as u8), 7000 + index as u16);
        let announce = Lookup::Announce(torrent, Announce::port(port));
        assert_eq!(find(&mut world, *host, announce, None).0.acknowledged, 3);
        for other in hosts.iter().filter(|other| *other != host) {
            let peer = SocketAddr::new(addr(index).ip(), port);
            assert_eq!(find(&mut world, *other, Lookup::GetPeers(torrent), None).1, [peer]);
        }
    }
}

#[test]
fn c_10_a_hundred_nodes_find_each_other_through_one() {
    let (mut world, hosts) = village(10, 100);
    world.run_for(secs(60));
    for host in &hosts[1..] {
        let (at, node) = (world.addr(*host), world.node(*host).unwrap());
        assert!(node.is_ready(Family::V4), "{at}");
        assert!(node.node_count(Family::V4) >= 8, "{at} knows {}", node.node_count(Family::V4));
    }
}
