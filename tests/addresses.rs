//! Several addresses in one process (BEP 45): a node for each.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use common::raw::{Packet, TARGET, announce, get_peers, socket};
use common::{World, addr, config};
use dht_proto::{Announce, Family, InfoHash, MAX_DATAGRAM, NodeId};

const BASE: NodeId = NodeId::from_bytes([0x5a; 20]);

/// Thirty nodes, and two more that one process has, one at each of its addresses.
fn world() -> (World, [SocketAddr; 2]) {
    let mut world = World::with_nodes(30);
    let homes = [addr(40), addr(41)];
    for (index, home) in (0..).zip(homes) {
        let mut config = config();
        (config.id, config.secure_ids) = (Some(BASE.derived(index)), false);
        world.add(home, config, 100 + index as u8, 7);
        world.node(home, |node, now| node.add_bootstrap(now, addr(0)).unwrap());
    }
    world.run(Duration::from_secs(30));
    (world, homes)
}

/// What the node at `home` answers to a stranger.
fn ask(world: &mut World, home: SocketAddr, from: SocketAddr, query: &[u8]) -> Packet {
    let mut buf = [0; MAX_DATAGRAM];
    let now = world.now;
    let node = world.nodes.get_mut(&home).unwrap();
    node.handle_datagram(now, from, query);
    let transmit = node.poll_transmit(now, &mut buf).unwrap();
    Packet::checked(transmit.destination, &buf[..transmit.size])
}

#[test]
fn b45_01_b45_02_each_address_has_an_id_of_its_own_far_from_the_others() {
    let (world, homes) = world();
    let ids = homes.map(|home| world.nodes[&home].id(Family::V4));
    assert_eq!(ids[0].common_prefix_len(&ids[1]), 0);
    for (home, id) in homes.into_iter().zip(ids) {
        assert!(world.nodes[&home].is_ready(Family::V4));
        let knows = |at: &SocketAddr| world.nodes[at].nodes(Family::V4).any(|node| node.addr == home);
        assert!(world.nodes.keys().any(knows), "{home} is known to somebody");
        let known = world.nodes.values().flat_map(|node| node.nodes(Family::V4));
        assert!(known.filter(|node| node.addr == home).all(|node| node.id == id), "by its own id alone");
    }
}

#[test]
fn b45_03_a_token_serves_only_at_the_address_that_gave_it() {
    let (mut world, homes) = world();
    let stranger = socket("99.0.0.1:6881");
    let answer = ask(&mut world, homes[0], stranger, &get_peers(&TARGET, b""));
    let token = answer.string("r.token").unwrap().to_vec();
    let refused = ask(&mut world, homes[1], stranger, &announce(&TARGET, 1, &token));
    assert_eq!(refused.int("e.0"), Some(203));
    let accepted = ask(&mut world, homes[0], stranger, &announce(&TARGET, 1, &token));
    assert_eq!(accepted.int("e.0"), None);
    let stored = homes.map(|home| world.nodes[&home].peers(TARGET.into()).count());
    assert_eq!(stored, [1, 0]);
}

#[test]
fn b45_12_a_torrent_is_announced_from_each_address_by_a_lookup_of_its_own() {
    let (mut world, homes) = world();
    let infohash = InfoHash::from_bytes([0x77; 20]);
    for home in homes {
        let lookup = world.node(home, |node, now| node.announce(now, infohash, Announce::port(4242)));
        let (report, _) = world.finish(home, lookup.unwrap());
        assert!(report.acknowledged >= 8, "{report:?}");
    }
    let lookup = world.node(addr(20), |node, now| node.get_peers(now, infohash)).unwrap();
    let (_, peers) = world.finish(addr(20), lookup);
    let wanted = homes.map(|home| SocketAddr::new(home.ip(), 4242));
    assert_eq!(BTreeSet::from_iter(peers), BTreeSet::from(wanted));
}
