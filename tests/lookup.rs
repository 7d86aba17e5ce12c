//! Lookups and announces through a world of real nodes.

mod common;

use std::time::Duration;

use common::{World, addr};
use dht_proto::{Announce, Family, InfoHash};

#[test]
fn a_node_joins_announces_and_is_found() {
    let mut world = World::with_nodes(60);
    world.run(Duration::from_secs(120));
    let known: Vec<usize> = world.nodes.values().map(|node| node.node_count(Family::V4)).collect();
    println!("{known:?} sent {}", world.sent);
    let infohash = InfoHash::from_bytes([7; 20]);
    let lookup = world.node(addr(5), |node, now| node.announce(now, infohash, Announce::port(4242)).unwrap());
    let (report, _) = world.finish(addr(5), lookup);
    println!("{report:?}");
    assert_eq!(report.acknowledged, 8);
    let lookup = world.node(addr(40), |node, now| node.get_peers(now, infohash).unwrap());
    let (report, peers) = world.finish(addr(40), lookup);
    println!("{report:?}");
    assert_eq!(peers, [std::net::SocketAddr::from(([60, 0, 5, 1], 4242))]);
}
