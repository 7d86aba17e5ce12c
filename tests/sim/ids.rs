//! Ids that follow addresses (BEP 42), in worlds whose nodes learn their own addresses from others.

use std::net::SocketAddr;
use std::sync::Arc;

use dht_proto::sim::actors::{Liar, Lie};
use dht_proto::sim::{Growth, HostId, Nat, NatKind, Network, Profile, World};
use dht_proto::{Announce, Event, Family};

use crate::lab::{infohash, meet, secs};

/// Returns a profile whose id follows from its address (BEP 42), behind a NAT or not.
fn moving(nat: Option<NatKind>) -> Profile {
    let mut profile = Profile::default();
    profile.config.secure_ids = true;
    profile.nat = nat.map(Nat::new);
    profile
}

/// Whether a node knows its external address, and has an id that matches it.
fn knows_its_place(world: &World, host: HostId) -> bool {
    let (node, ip) = (world.node(host).unwrap(), world.addr(host).ip());
    let seen = node.external_addr(Family::V4).map(|addr| addr.ip());
    seen == Some(ip) && node.id(Family::V4).is_secure_for(ip)
}

/// Returns how often the id or address of a host has changed since it is watched.
fn changes(world: &World, host: HostId) -> usize {
    let is_change = |event: &Event| matches!(event, Event::ExternalAddr { .. } | Event::IdChanged { .. });
    world.events(host).iter().filter(|(_, event)| is_change(event)).count()
}

#[test]
fn b42_09_nodes_learn_their_external_addresses() {
    let mut world = World::new(11, Network::internet());
    let kinds = [None, Some(NatKind::PortRestricted), None, Some(NatKind::Symmetric)];
    let profiles = kinds.map(|kind| Arc::new(moving(kind)));
    let hosts = world.grow(120, &Growth::default(), |index, _| Arc::clone(&profiles[index % 4]));
    world.run_for(secs(900));
    for (index, host) in hosts.iter().enumerate() {
        assert!(knows_its_place(&world, *host), "{index}");
        let port = world.node(*host).unwrap().external_addr(Family::V4).unwrap().port();
        // Behind a symmetric NAT each host sees another address.
        assert_eq!(port, if index % 4 == 3 { 0 } else { world.addr(*host).port() });
    }
    // A new node has an id that does not match, and changes it once.
    for kind in kinds {
        let mut profile = moving(kind);
        profile.is_new = true;
        let host = world.add(profile);
        world.watch(host);
        assert!(!world.node(host).unwrap().id(Family::V4).is_secure_for(world.addr(host).ip()));
        world.run_for(secs(60));
        assert!(knows_its_place(&world, host));
        assert_eq!(changes(&world, host), 2);
        assert!(meet(&mut world, host, hosts[9], 1) && meet(&mut world, hosts[22], host, 2));
    }
    world.check().unwrap();
}

#[test]
fn b42_10_a_node_whose_address_changes_continues_with_another_id() {
    let mut world = World::new(12, Network::internet());
    let profile = Arc::new(moving(None));
    let hosts = world.grow(120, &Growth::default(), |_, _| Arc::clone(&profile));
    let movers = [hosts[7], world.add(moving(Some(NatKind::PortRestricted)))];
    world.run_for(secs(600));
    for (mover, byte) in movers.into_iter().zip(50..) {
        world.with_node(mover, |node, now| {
            node.start_announcing(now, infohash(byte), Announce::port(4242)).unwrap()
        });
        world.run_for(secs(60));
        assert!(knows_its_place(&world, mover));
        let (id, known) = {
            let node = world.node(mover).unwrap();
            (node.id(Family::V4), node.node_count(Family::V4))
        };
        world.watch(mover);
        world.readdress(mover);
        world.run_for(secs(900));

        assert!(knows_its_place(&world, mover));
        let node = world.node(mover).unwrap();
        assert!(node.id(Family::V4) != id && node.node_count(Family::V4) * 2 > known);
        assert_eq!(changes(&world, mover), 2);
        let peer = SocketAddr::new(world.addr(mover).ip(), 4242);
        let holders =
            world.nodes().filter(|(_, node)| node.stored_peers(infohash(byte)).any(|held| held == peer));
        assert!(holders.count() >= 8, "the announce is stored with the new address");
        assert!(meet(&mut world, mover, hosts[20], 1) && meet(&mut world, hosts[30], mover, 2));
    }
    world.check().unwrap();
}

/// Every other node has an id that does not match its address.
#[cfg(feature = "items")]
#[test]
fn b42_14_with_enforcement_items_are_put_to_nodes_with_secure_ids() {
    let mut world = World::new(14, Network::internet());
    let (fitting, misfit) = (Arc::new(moving(None)), Arc::new(Profile::default()));
    let hosts = world
        .grow(80, &Growth::default(), |index, _| Arc::clone(if index % 2 == 0 { &fitting } else { &misfit }));
    world.run_for(secs(60));
    let holders = |world: &mut World, enforce: bool, value: &[u8]| -> Vec<bool> {
        let mut profile = moving(None);
        profile.config.enforce_secure_ids = enforce;
        let publisher = world.add(profile);
        world.run_for(secs(60));
        hosts.iter().for_each(|host| world.watch(*host));
        let item = dht_proto::items::Item::immutable(value).unwrap();
        world.with_node(publisher, |node, now| node.put(now, &item, None).unwrap());
        world.run_for(secs(60));
        let is_stored =
            |event: &Event| matches!(event, Event::ItemStored { target, .. } if *target == item.target());
        let holds = |host: &&HostId| world.events(**host).iter().any(|(_, event)| is_stored(event));
        let fits =
            |host: &HostId| world.node(*host).unwrap().id(Family::V4).is_secure_for(world.addr(*host).ip());
        hosts.iter().filter(holds).map(fits).collect()
    };
    let fit = holders(&mut world, true, b"5:hello");
    assert!(fit.len() >= 8 && fit.iter().all(|fits| *fits), "{fit:?}");
    let all = holders(&mut world, false, b"5:world");
    assert!(all.len() >= 8 && !all.iter().all(|fits| *fits), "{all:?}");
    world.check().unwrap();
}

/// Three nodes in ten report the same false address to all others, for three hours.
#[test]
fn b42_09_thirty_percent_liars_among_voters_change_no_id() {
    let mut world = World::new(13, Network::internet());
    let profile = Arc::new(moving(None));
    let hosts = world.grow(200, &Growth::default(), |_, _| Arc::clone(&profile));
    world.run_for(secs(60));
    let place = world.next_address();
    let (liars, mut honest): (Vec<_>, Vec<_>) = hosts.into_iter().partition(|host| host.index() % 10 < 3);
    for host in &liars {
        let id = world.node(*host).unwrap().id(Family::V4);
        world.replace(*host, Liar { id, lie: Lie::Address(place) });
    }
    for _ in 0..20 {
        let mut profile = moving(None);
        profile.is_new = true;
        honest.push(world.add(profile));
    }
    // Among so many liars a new node is sure only after a while.
    world.run_for(secs(1800));
    for (host, byte) in honest.iter().zip(0_u8..) {
        assert!(knows_its_place(&world, *host), "{host:?}");
        world.watch(*host);
        for torrent in [byte, byte.wrapping_add(50), byte.wrapping_add(100)] {
            let announce = Announce::port(4242);
            world.with_node(*host, |node, now| {
                node.start_announcing(now, infohash(torrent), announce).unwrap()
            });
        }
    }
    let answers = |world: &World| -> u64 {
        honest.iter().map(|host| world.node(*host).unwrap().stats().responses_in.total()).sum()
    };
    let before = answers(&world);
    world.run_for(secs(3 * 3600));
    assert!(honest.iter().all(|host| knows_its_place(&world, *host) && changes(&world, *host) == 0));
    assert!(answers(&world) - before > 50_000, "{} answers", answers(&world) - before);
    let is_liar = |addr| liars.iter().any(|liar| world.addr(*liar) == addr);
    let entries: Vec<_> =
        honest.iter().flat_map(|host| world.node(*host).unwrap().nodes(Family::V4)).collect();
    let listed = entries.iter().filter(|entry| is_liar(entry.addr)).count();
    assert!(listed * 5 > entries.len(), "they are queried like others: {listed} of {}", entries.len());
    world.check().unwrap();
}
