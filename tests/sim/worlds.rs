//! The simulator itself: worlds do what their settings say, in the same way every time.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use dht_proto::sim::actors::Recorder;
use dht_proto::sim::{
    Actor, Bursts, Churn, Direction, Growth, Latency, Nat, NatKind, Network, Outbox, Presence, Profile,
    Returns, World,
};
use dht_proto::wire::{Body, Message, Method, Query};
use dht_proto::{Announce, Event, Family, Instant, Lookup, NodeId};

use crate::lab::{find, infohash, meet, ms, secs, village, world};

fn ping() -> Vec<u8> {
    let query = Query { id: NodeId::from_bytes([3; 20]), method: Method::Ping };
    let mut buf = [0; 128];
    let len = Message::new(b"aa", Body::Query(query)).emit(&mut buf).expect("a ping is short");
    buf[..len].to_vec()
}

#[test]
fn the_seed_decides_every_byte() {
    let mut network = Network::internet();
    (network.duplication, network.reordering, network.corruption) = (0.02, 0.02, 0.01);
    network.bursts = Some(Bursts { start: 0.01, stop: 0.2, loss: 0.9 });
    let run = |seed| {
        let mut world = World::new(seed, network.clone());
        let mut profile = Profile::default();
        profile.churn = Some(Churn { session: secs(60), absence: secs(10), returns: Returns::Renewed });
        let profile = Arc::new(profile);
        world.grow(40, &Growth::default(), |_, _| Arc::clone(&profile));
        world.run_for(secs(120));
        (world.transcript(), *world.counters())
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1).0, run(2).0);
}

#[test]
fn a_world_runs_the_same_twice() {
    let run = || {
        let (mut world, hosts) = village(5, 30);
        let mut network = Network::perfect();
        network.loss = 0.1;
        world.set_network(network);
        world.run_for(secs(300));
        let announce = Lookup::Announce(infohash(1), Announce::port(1));
        let report = find(&mut world, hosts[3], announce, None).0;
        (world.counters().sent, world.transcript(), report)
    };
    assert_eq!(run(), run());
}

#[test]
fn datagrams_are_lost_at_the_configured_rate() {
    for (loss, bursts) in [(0.1, None), (0.0, Some(Bursts { start: 0.1, stop: 0.4, loss: 0.5 }))] {
        let mut network = Network::perfect();
        (network.loss, network.bursts) = (loss, bursts);
        let (world, _) = world(1, network, 50);
        let counters = world.counters();
        let share = counters.lost as f64 / counters.sent as f64;
        // The loss takes a tenth of the queries, and a tenth of the answers to the rest.
        let expected = if bursts.is_some() { 0.19 } else { loss };
        assert!((share - expected).abs() < 0.02, "{share} of {}", counters.sent);
    }
}

/// A node behind a NAT pings a host. Afterwards three sources try to reach it: that host, the same host from
/// another port, and another host; and again after the mapping has expired.
#[test]
fn each_kind_of_nat_admits_the_datagrams_it_should() {
    for (kind, expected) in [
        (NatKind::FullCone, [true, true, true]),
        (NatKind::AddressRestricted, [true, true, false]),
        (NatKind::PortRestricted, [true, false, false]),
        (NatKind::Symmetric, [true, false, false]),
    ] {
        let mut world = World::new(1, Network::perfect());
        let mut profile = Profile::default();
        profile.nat = Some(Nat { kind, expiry: secs(10) });
        let host = world.add_alone(profile);
        let friend = world.next_address();
        let others = [friend, SocketAddr::new(friend.ip(), 7000), world.next_address()];
        let hosts = others.map(|addr| world.add_actor_at(addr, Recorder::default()));
        world.with_node(host, |node, now| node.ping(now, friend)).unwrap();
        world.run_for(secs(1));
        let seen = world.actor::<Recorder>(hosts[0]).unwrap().got[0].1;
        assert_eq!(seen.ip(), world.addr(host).ip());
        assert_eq!(seen == world.addr(host), kind != NatKind::Symmetric, "{kind:?} keeps the port");

        let answered = |world: &mut World| {
            let before = hosts.map(|host| world.actor::<Recorder>(host).unwrap().got.len());
            others.iter().for_each(|from| world.inject(*from, seen, &ping()));
            world.run_for(secs(1));
            let after = hosts.map(|host| world.actor::<Recorder>(host).unwrap());
            [0, 1, 2].map(|at| {
                after[at].got[before[at]..].iter().any(|(.., bytes)| bytes.windows(4).any(|it| it == b"y1:r"))
            })
        };
        // All at once, because an answer opens a mapping.
        assert_eq!(answered(&mut world), expected, "{kind:?}");
        world.run_for(secs(40));
        assert_eq!(answered(&mut world), [false; 3], "{kind:?}: closed by then");
        assert!(world.counters().blocked > 0);
    }
}

#[test]
fn two_hosts_behind_one_nat_cannot_reach_each_other_through_it() {
    let mut world = World::new(1, Network::perfect());
    let mut profile = Profile::default();
    profile.nat = Some(Nat::new(NatKind::FullCone));
    let first = world.add_alone(profile);
    let second = world.add_behind(first, Profile::default());
    let recorder = world.add_actor(Recorder::default());
    let outside = world.addr(recorder);
    for host in [first, second] {
        world.with_node(host, |node, now| node.ping(now, outside)).unwrap();
    }
    world.run_for(secs(1));
    let got: Vec<SocketAddr> =
        world.actor::<Recorder>(recorder).unwrap().got.iter().map(|(_, from, _)| *from).collect();
    assert_eq!(got.len(), 2);
    assert_eq!(got[0].ip(), got[1].ip());
    assert_ne!(got[0].port(), got[1].port());
    world.watch(first);
    world.with_node(first, |node, now| node.ping(now, got[1])).unwrap();
    world.run_for(secs(10));
    let failed = |event: &Event| matches!(event, Event::QueryDone { result: Err(_), .. });
    assert!(world.events(first).iter().any(|(_, event)| failed(event)));
}

#[test]
fn hosts_leave_and_return_under_churn() {
    let mut world = World::new(4, Network::internet());
    let mut profile = Profile::default();
    profile.churn = Some(Churn { session: secs(6000), absence: secs(3000), returns: Returns::Renewed });
    let (moving, staying) = (Arc::new(profile), Arc::new(Profile::default()));
    let hosts = world.grow(150, &Growth::default(), |index, _| {
        Arc::clone(if index % 10 == 0 { &staying } else { &moving })
    });
    let addr = world.addr(hosts[1]);
    let (mut up, mut looks) = (0, 0);
    for round in 0..12 {
        world.run_for(secs(1800));
        up += world.nodes().count();
        looks += 1;
        assert!(meet(&mut world, hosts[round * 10], hosts[140 - round * 10], round as u8), "{round}");
        world.check().unwrap();
    }
    // Two thirds of 135, and 15.
    assert!((90..120).contains(&(up / looks)), "{}", up / looks);
    assert_ne!(world.addr(hosts[1]), addr, "it returned at another address");
    let listed = |is_up: bool| {
        let living: Vec<SocketAddr> = world.nodes().map(|(host, _)| world.addr(host)).collect();
        world
            .nodes()
            .flat_map(|(_, node)| node.nodes(Family::V4))
            .filter(|info| living.contains(&info.addr) == is_up)
            .count()
    };
    let (living, dead) = (listed(true), listed(false));
    assert!(living > 2 * dead, "{living} entries are alive, {dead} are not");
}

#[test]
fn a_host_that_returns_as_itself_keeps_its_id_and_address() {
    let (mut world, hosts) = world(6, Network::perfect(), 30);
    let (id, addr) = (world.node(hosts[3]).unwrap().id(Family::V4), world.addr(hosts[3]));
    world.set_churn(hosts[3], Some(Churn { session: secs(5), absence: secs(5), returns: Returns::Same }));
    let left = world.run_until(|world| world.presence(hosts[3]) == Presence::Gone, secs(600));
    assert!(left && world.node(hosts[3]).is_none());
    assert!(world.run_until(|world| world.presence(hosts[3]) == Presence::Up, secs(600)));
    assert_eq!((world.node(hosts[3]).unwrap().id(Family::V4), world.addr(hosts[3])), (id, addr));
}

#[test]
fn a_renewed_host_keeps_only_its_address() {
    let (mut world, hosts) = world(6, Network::perfect(), 30);
    let (id, addr) = (world.node(hosts[3]).unwrap().id(Family::V4), world.addr(hosts[3]));
    world.kill(hosts[3]);
    world.restart(hosts[3]);
    world.run_for(secs(60));
    let node = world.node(hosts[3]).unwrap();
    assert_eq!(world.addr(hosts[3]), addr);
    assert!(node.id(Family::V4) != id && node.node_count(Family::V4) > 8);
    world.check().unwrap();
}

#[test]
fn sent_and_received_datagrams_are_captured() {
    let mut world = World::new(1, Network::perfect());
    let hosts = [0, 1].map(|_| world.add_alone(Profile::default()));
    let [a, b] = hosts.map(|host| world.addr(host));
    world.capture_all();
    world.with_node(hosts[0], |node, now| node.ping(now, b)).unwrap();
    world.run_for(ms(50));
    let [sent, got] = hosts.map(|host| world.take_captured(host).swap_remove(0));
    assert_eq!((sent.direction, sent.remote), (Direction::Sent, b));
    assert_eq!((got.direction, got.remote), (Direction::Received, a));
    assert_eq!(sent.bytes, got.bytes);
    assert!(world.take_captured(hosts[0]).is_empty());
}

#[test]
fn a_reset_nat_admits_no_old_mapping() {
    let mut world = World::new(1, Network::perfect());
    let mut profile = Profile::default();
    profile.nat = Some(Nat::new(NatKind::FullCone));
    let (host, friend) = (world.add_alone(profile), world.add_actor(Recorder::default()));
    let (outside, friend) = (world.addr(host), world.addr(friend));
    assert!(world.is_behind_nat(host));
    world.with_node(host, |node, now| node.ping(now, friend)).unwrap();
    world.reset_nat(host);
    world.inject(friend, outside, &ping());
    world.run_for(secs(1));
    assert_eq!(world.counters().blocked, 1);
}

#[test]
fn nodes_recover_from_outages_sleep_and_clock_jumps() {
    let (mut world, hosts) = world(7, Network::internet(), 80);
    let node_count = |world: &World, host| world.node(host).unwrap().node_count(Family::V4);
    let before = hosts[..3].iter().map(|host| node_count(&world, *host)).min().unwrap();
    world.cut(hosts[0], secs(600));
    world.sleep(hosts[1], secs(600));
    world.set_clock_ahead(hosts[2], secs(600));
    world.set_clock_back(hosts[3], secs(60));
    world.run_for(secs(300));
    assert_eq!(world.presence(hosts[0]), Presence::Offline);
    assert_eq!(world.presence(hosts[1]), Presence::Asleep);
    world.check().unwrap();
    world.run_for(secs(301));
    for (round, host) in hosts[..4].iter().enumerate() {
        assert_eq!(world.presence(*host), Presence::Up);
        assert!(node_count(&world, *host) * 2 > before, "the table survives it");
        assert!(meet(&mut world, hosts[20], *host, round as u8), "{round}");
    }
    world.check().unwrap();
}

#[test]
#[should_panic(expected = "livelock at")]
fn a_livelock_is_reported() {
    struct Echo;
    impl Actor for Echo {
        fn on_datagram(&mut self, _: Instant, from: SocketAddr, datagram: &[u8], out: &mut Outbox<'_>) {
            out.send(from, datagram);
        }
    }
    let mut network = Network::perfect();
    network.latency = Latency::Fixed { rtt: Duration::ZERO };
    let mut world = World::new(1, network);
    let hosts = [world.add_actor(Echo), world.add_actor(Echo)];
    let [a, b] = hosts.map(|host| world.addr(host));
    world.inject(a, b, b"over and over");
    world.run_for(secs(1));
}
