//! Several addresses of one process (BEP 45), a node for each, among other nodes.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use dht_proto::sim::{HostId, World};
use dht_proto::{Announce, BootstrapKind, Family, InfoHash, Lookup, MAX_DATAGRAM, NodeId};

use crate::common::raw::{Packet, TARGET, announce, get_peers, socket};
use crate::common::{addr, config};
use crate::lab::{find, introduce, newcomer, secs, village};

const BASE: NodeId = NodeId::from_bytes([0x5a; 20]);

/// Creates thirty nodes, and two more of one process, one at each of its addresses.
fn world() -> (World, Vec<HostId>, [HostId; 2]) {
    let (mut world, hosts) = village(45, 30);
    let homes = [0, 1].map(|index| {
        let mut config = config();
        (config.id, config.secure_ids) = (Some(BASE.derived(index)), false);
        let home = newcomer(&mut world, addr(40 + index as usize), config);
        introduce(&mut world, home, hosts[0], BootstrapKind::Router);
        home
    });
    world.run_for(secs(30));
    (world, hosts, homes)
}

/// Returns what the node at `home` answers to another host.
fn ask(world: &mut World, home: HostId, from: SocketAddr, query: &[u8]) -> Packet {
    world.with_node(home, |node, now| {
        let mut buf = [0; MAX_DATAGRAM];
        node.handle_datagram(now, from, query);
        let transmit = node.poll_transmit(now, &mut buf).unwrap();
        Packet::checked(transmit.destination, &buf[..transmit.size])
    })
}

#[test]
fn b45_01_b45_02_b45_09_each_address_has_its_own_id_far_from_the_others() {
    let (world, _, homes) = world();
    let ids = homes.map(|home| world.node(home).unwrap().id(Family::V4));
    assert_eq!(ids[0].common_prefix_len(&ids[1]), 0);
    for (home, id) in homes.into_iter().zip(ids) {
        assert!(world.node(home).unwrap().is_ready(Family::V4));
        let addr = world.addr(home);
        let known = || world.nodes().flat_map(|(_, node)| node.nodes(Family::V4));
        assert!(known().any(|node| node.addr == addr), "{addr} is in some table");
        assert!(known().filter(|node| node.addr == addr).all(|node| node.id == id), "with its own id only");
    }
}

#[test]
fn b45_03_a_token_is_valid_only_at_the_address_that_issued_it() {
    let (mut world, _, homes) = world();
    let stranger = socket("99.0.0.1:6881");
    let answer = ask(&mut world, homes[0], stranger, &get_peers(&TARGET, b""));
    let token = answer.string("r.token").unwrap().to_vec();
    let refused = ask(&mut world, homes[1], stranger, &announce(&TARGET, 1, &token));
    assert_eq!(refused.int("e.0"), Some(203));
    let accepted = ask(&mut world, homes[0], stranger, &announce(&TARGET, 1, &token));
    assert_eq!(accepted.int("e.0"), None);
    let stored = homes.map(|home| world.node(home).unwrap().stored_peers(TARGET.into()).count());
    assert_eq!(stored, [1, 0]);
}

#[test]
fn b45_12_a_torrent_is_announced_from_each_address_by_its_own_lookup() {
    let (mut world, hosts, homes) = world();
    let infohash = InfoHash::from_bytes([0x77; 20]);
    for home in homes {
        let (report, _) = find(&mut world, home, Lookup::Announce(infohash, Announce::port(4242)), None);
        assert!(report.acknowledged >= 8, "{report:?}");
    }
    let (_, peers) = find(&mut world, hosts[20], Lookup::GetPeers(infohash), None);
    let wanted = homes.map(|home| SocketAddr::new(world.addr(home).ip(), 4242));
    assert_eq!(BTreeSet::from_iter(peers), BTreeSet::from(wanted));
}
