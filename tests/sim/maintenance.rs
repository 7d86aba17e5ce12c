//! Announcements over hours: under churn, through sleep, and after nodes were
//! disabled.

use std::net::SocketAddr;
use std::sync::Arc;

use dht_proto::sim::actors::Recorder;
use dht_proto::sim::{Churn, Growth, Network, Profile, Returns, World};
use dht_proto::wire::{Body, Message, Method, Query};
use dht_proto::{Announce, Event, Family, NodeId};

use crate::lab::{infohash, meet, secs, world};

#[test]
fn l_10_an_announcement_stays_at_the_closest_nodes_under_churn() {
    let mut world = World::new(9, Network::internet());
    let mut profile = Profile::default();
    profile.churn = Some(Churn { session: secs(6000), absence: secs(3000), returns: Returns::Renewed });
    let (coming, staying) = (Arc::new(profile), Arc::new(Profile::default()));
    let hosts = world
        .grow(200, &Growth::default(), |index, _| Arc::clone(if index == 50 { &staying } else { &coming }));
    world.run_for(secs(1800));
    let announcer = hosts[50];
    let peer = SocketAddr::new(world.addr(announcer).ip(), 4242);
    world.with_node(announcer, |node, now| {
        node.start_announcing(now, infohash(1), Announce::port(4242)).unwrap()
    });
    let target = NodeId::from(infohash(1));
    let mut counts = Vec::new();
    for _ in 0..60 {
        world.run_for(secs(300));
        let others = world.nodes().filter(|(host, _)| *host != announcer).map(|(_, node)| node);
        let mut living: Vec<_> = others.collect();
        living.sort_by_key(|node| node.id(Family::V4).distance(&target));
        let holds = |node: &&&dht_proto::Node| node.stored_peers(infohash(1)).any(|stored| stored == peer);
        counts.push(living.iter().take(8).filter(holds).count());
    }
    let mean = counts.iter().sum::<usize>() as f64 / counts.len() as f64;
    println!("of the eight closest {mean:.1} hold it on average: {counts:?}");
    assert!(mean > 7.0 && counts.iter().all(|&count| count >= 5), "{counts:?}");
    world.check().unwrap();
}

#[test]
fn c_11_announces_are_republished_in_both_families() {
    let mut profile = Profile::default();
    profile.config.ipv6 = true;
    let profile = Arc::new(profile);
    let mut world = World::new(4, Network::internet());
    let hosts = world.grow(60, &Growth::default(), |_, _| Arc::clone(&profile));
    world.run_for(secs(120));
    world.watch(hosts[7]);
    for byte in 0..20 {
        world.with_node(hosts[7], |node, now| {
            node.start_announcing(now, infohash(byte), Announce::port(4242)).unwrap();
        });
    }
    world.run_for(secs(3600));
    for byte in 0..20 {
        for family in Family::ALL {
            let own = SocketAddr::new(world.addr_in(hosts[7], family).unwrap().ip(), 4242);
            let holders =
                world.nodes().filter(|(_, node)| node.stored_peers(infohash(byte)).any(|peer| peer == own));
            assert!(holders.count() >= 8, "{byte} {family:?}");
        }
    }
    let is_round =
        |event: &Event| matches!(event, Event::LookupDone { report, .. } if report.publication.is_some());
    let rounds = world.events(hosts[7]).iter().filter(|(_, event)| is_round(event)).count();
    assert!((90..=110).contains(&rounds), "{rounds}");
    world.check().unwrap();
}

/// A host that sleeps while much is running, and its effect on nodes that have it in their tables.
#[test]
fn c_15_stored_data_ages_during_sleep_and_work_continues_afterwards() {
    let (mut world, hosts) = world(11, Network::internet(), 120);
    let sleeper = hosts[30];
    world.watch(sleeper);
    world.with_node(sleeper, |node, now| {
        node.start_announcing(now, infohash(1), Announce::port(4242)).unwrap();
    });
    // Another host announces to the sleeping one, with a token that it issued.
    let stranger = world.add_actor(Recorder::default());
    let (from, to) = (world.addr(stranger), world.addr(sleeper));
    let id = NodeId::from_bytes([9; 20]);
    let ask = |world: &mut World, method| {
        let mut buf = [0; 256];
        let len = Message::new(b"aa", Body::Query(Query { id, method })).emit(&mut buf).unwrap();
        let is_answer = |bytes: &[u8]| Message::parse(bytes).is_ok_and(|it| it.transaction == b"aa");
        let before = world.actor::<Recorder>(stranger).unwrap().got.len();
        // Datagrams get lost.
        let answer = (0..5).find_map(|_| {
            world.inject(from, to, &buf[..len]);
            world.run_for(secs(1));
            let got = world.actor::<Recorder>(stranger).unwrap().got[before..].iter();
            got.map(|(.., bytes)| bytes.clone()).find(|bytes| is_answer(bytes))
        });
        answer.expect("an answer")
    };
    let get_peers = Method::GetPeers {
        infohash: infohash(2),
        want: dht_proto::wire::Want::NONE,
        noseed: false,
        scrape: false,
    };
    let answer = ask(&mut world, get_peers);
    let token = match Message::parse(&answer).unwrap().body {
        Body::Response(response) => response.token.expect("a token").to_vec(),
        _ => panic!("{}", answer.escape_ascii()),
    };
    let announce = |token| Method::AnnouncePeer {
        infohash: infohash(2),
        port: 7777,
        implied_port: false,
        seed: false,
        token,
        name: None,
    };
    let answer = ask(&mut world, announce(&token));
    assert!(matches!(Message::parse(&answer).unwrap().body, Body::Response(_)));
    assert_eq!(world.node(sleeper).unwrap().stored_peers(infohash(2)).count(), 1);
    world.run_for(secs(60));

    let (lookup, ping) = world.with_node(sleeper, |node, now| {
        (node.get_peers(now, infohash(3)).unwrap(), node.ping(now, from).unwrap())
    });
    let counted = *world.node(sleeper).unwrap().stats();
    let known = world.node(sleeper).unwrap().node_count(Family::V4);
    world.sleep(sleeper, secs(3 * 3600));
    world.run_for(secs(3 * 3600));
    let woken = world.now();
    world.run_for(secs(120));
    let node = world.node(sleeper).unwrap();

    // Peers and tokens are as old as they are by the clock of the others.
    assert_eq!(node.stored_peers(infohash(2)).count(), 0);
    // Queries in flight were repeated, and no node was penalised.
    let events = || world.events(sleeper).iter().filter(|(at, _)| *at >= woken).map(|(_, event)| event);
    let report = events().find_map(|event| match event {
        Event::LookupDone { lookup: id, report } if *id == lookup => Some(*report),
        _ => None,
    });
    assert!(report.unwrap().answered >= 8);
    // It is not answered; its five seconds count from the waking.
    assert!(events().any(|event| matches!(event, Event::QueryDone { query, .. } if *query == ping)));
    assert!(node.stats().interrupted > counted.interrupted);
    assert!(node.node_count(Family::V4) * 10 >= known * 9);
    // The questionable nodes were pinged, and the announce is stored again.
    assert_eq!(node.closest_nodes(node.id(Family::V4), Family::V4).count(), 8);
    let own = SocketAddr::new(to.ip(), 4242);
    let holders = world.nodes().filter(|(_, node)| node.stored_peers(infohash(1)).any(|peer| peer == own));
    assert!(holders.count() >= 7);
    let answer = ask(&mut world, announce(&token));
    assert!(matches!(Message::parse(&answer).unwrap().body, Body::Error(_)), "the token is hours old");
    world.check().unwrap();
}

#[test]
fn c_17_a_node_that_was_disabled_for_hours_announces_and_is_found_again() {
    let (mut world, hosts) = world(12, Network::internet(), 120);
    let host = hosts[30];
    for byte in 0..10 {
        world.with_node(host, |node, now| {
            node.start_announcing(now, infohash(byte), Announce::port(4242)).unwrap();
        });
    }
    world.run_for(secs(300));
    let own = SocketAddr::new(world.addr(host).ip(), 4242);
    let holders = |world: &World, byte| {
        world.nodes().filter(|(_, node)| node.stored_peers(infohash(byte)).any(|peer| peer == own)).count()
    };
    assert!((0..10).all(|byte| holders(&world, byte) >= 7));
    for _ in 0..2 {
        world.with_node(host, |node, now| node.set_enabled(now, Family::V4, false));
    }
    let sent = world.node(host).unwrap().stats().datagrams_out;
    world.run_for(secs(3 * 3600));
    assert_eq!(world.node(host).unwrap().stats().datagrams_out, sent);
    assert!((0..10).all(|byte| holders(&world, byte) == 0), "others have forgotten it");
    let addr = world.addr(host);
    let lists = |world: &World| {
        world.nodes().filter(|(_, node)| node.nodes(Family::V4).any(|info| info.addr == addr)).count()
    };
    assert_eq!(lists(&world), 0);
    for _ in 0..2 {
        world.with_node(host, |node, now| node.set_enabled(now, Family::V4, true));
    }
    world.run_for(secs(300));
    assert!((0..10).all(|byte| holders(&world, byte) >= 7));
    assert!(lists(&world) >= 8, "{}", lists(&world));
    assert!(meet(&mut world, hosts[3], host, 77));
    world.check().unwrap();
}
