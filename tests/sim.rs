//! The laboratory itself: its worlds do to nodes what they say, the same way every time.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use dht_proto::sim::cast::{Flooder, Honest, IdChaser, Liar, Lie, PortFiller, Recorder, Reflector};
use dht_proto::sim::toy::{Outcome, Toy};
use dht_proto::sim::{
    Actor, Bursts, Churn, Direction, Growth, HostId, Latency, Nat, NatKind, Network, Outbox, Presence,
    Profile, Returns, Sample, World,
};
use dht_proto::wire::{Body, Message, Method, Query};
use dht_proto::{Announce, Config, Event, Family, InfoHash, Instant, Lookup, NodeId};

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn infohash(byte: u8) -> InfoHash {
    InfoHash::from_bytes([byte; 20])
}

/// A world of so many nodes that have all joined.
fn world(seed: u64, network: Network, nodes: usize) -> (World, Vec<HostId>) {
    let mut world = World::new(seed, network);
    let profile = Arc::new(Profile::default());
    let hosts = world.grow(nodes, &Growth::default(), |_, _| Arc::clone(&profile));
    world.run_for(secs(60));
    (world, hosts)
}

/// Announces at one node and looks at another: whether the peer was found.
fn meet(world: &mut World, announcer: HostId, seeker: HostId, byte: u8) -> bool {
    let announce = Lookup::Announce(infohash(byte), Announce::port(1000 + u16::from(byte)));
    world.lookup(announcer, announce);
    let search = world.lookup(seeker, Lookup::GetPeers(infohash(byte)));
    let peer = SocketAddr::new(world.addr(announcer).ip(), 1000 + u16::from(byte));
    search.peers.iter().any(|(_, found)| *found == peer)
}

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
fn lookups_succeed_in_a_world_like_the_internet() {
    let (mut world, hosts) = world(1, Network::internet(), 300);
    for round in 0..20 {
        let (announcer, seeker) = (hosts[round * 7], hosts[299 - round * 11]);
        let lookup = Lookup::Announce(infohash(round as u8), Announce::port(9));
        let announce = world.lookup(announcer, lookup);
        let report = announce.report().expect("it has ended");
        assert!(announce.stored.len() >= 8 && report.acknowledged >= 7, "{announce:?}");
        assert!(announce.stored_at(8) <= announce.done.map(|(at, _)| at));
        let search = world.lookup(seeker, Lookup::GetPeers(infohash(round as u8)));
        assert!(search.first_peer().is_some_and(|at| at < secs(1)), "{search:?}");
        world.check().unwrap();
    }
    let counters = *world.counters();
    assert!(counters.delivered + counters.lost <= counters.sent);
    assert_eq!((counters.unclaimed, counters.cut, counters.blocked), (0, 0, 0));
}

#[test]
fn small_nodes_do_their_part() {
    let mut world = World::new(5, Network::internet());
    let (small, large) = (Arc::new(Profile::of_world(400)), Arc::new(Profile::default()));
    let hosts = world
        .grow(400, &Growth::default(), |index, _| Arc::clone(if index % 40 == 7 { &large } else { &small }));
    world.run_for(secs(60));
    for round in 0..9 {
        assert!(meet(&mut world, hosts[7 + 40 * round], hosts[367 - 40 * round], round as u8), "{round}");
    }
    world.check().unwrap();
}

#[test]
#[ignore = "takes minutes and 1.2 GB; to be run by hand, with --release"]
fn a_hundred_thousand_nodes_find_each_other() {
    let mut world = World::new(6, Network::internet());
    let (small, large) = (Arc::new(Profile::of_world(100_000)), Arc::new(Profile::default()));
    let is_large = |index: usize| index.is_multiple_of(1000);
    let hosts = world.grow(100_000, &Growth::default(), |index, _| {
        Arc::clone(if is_large(index) { &large } else { &small })
    });
    world.run_for(secs(60));
    assert!(hosts.iter().all(|&host| world.node(host).unwrap().is_ready(Family::V4)));
    // A node costs the same in a small world and in a large one, but for the logarithm.
    assert!(world.counters().sent < 250 * 100_000, "{:?}", world.counters());
    let seekers: Vec<_> = hosts.iter().copied().filter(|host| is_large(host.index())).collect();
    for round in 0..50 {
        assert!(meet(&mut world, seekers[round], seekers[99 - round], round as u8), "{round}");
    }
    world.check().unwrap();
}

#[test]
fn losses_are_as_frequent_as_they_should_be() {
    for (loss, bursts) in [(0.1, None), (0.0, Some(Bursts { start: 0.1, stop: 0.4, loss: 0.5 }))] {
        let mut network = Network::perfect();
        (network.loss, network.bursts) = (loss, bursts);
        let (world, _) = world(1, network, 50);
        let counters = world.counters();
        let share = counters.lost as f64 / counters.sent as f64;
        // A burst takes a tenth of what goes out, and a tenth of what then comes in.
        let expected = if bursts.is_some() { 0.19 } else { loss };
        assert!((share - expected).abs() < 0.02, "{share} of {}", counters.sent);
    }
}

#[test]
fn duplicates_overtaking_and_corruption_hurt_nobody() {
    let mut network = Network::internet();
    (network.duplication, network.reordering, network.corruption) = (0.1, 0.2, 0.05);
    let (mut world, hosts) = world(3, network, 100);
    let found =
        (0..20).filter(|&round| meet(&mut world, hosts[round], hosts[99 - round], round as u8)).count();
    assert!(found >= 19, "{found}");
    let counters = world.counters();
    let share = |count: u64| count as f64 / counters.sent as f64;
    assert!((share(counters.duplicated) - 0.1).abs() < 0.01, "{counters:?}");
    assert!((share(counters.corrupted) - 0.05).abs() < 0.01, "{counters:?}");
    world.check().unwrap();
}

/// A node behind a translator pings a friend. Who can then reach it: the friend, the friend from
/// another port, a stranger? And who, after the expiry?
#[test]
fn translators_let_in_what_their_kind_does() {
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
        // All at once, because an answer opens a way.
        assert_eq!(answered(&mut world), expected, "{kind:?}");
        world.run_for(secs(40));
        assert_eq!(answered(&mut world), [false; 3], "{kind:?}: closed by then");
        assert!(world.counters().blocked > 0);
    }
}

#[test]
fn nodes_behind_translators_find_each_other_over_the_others() {
    let mut world = World::new(2, Network::internet());
    let kinds =
        [None, Some(NatKind::FullCone), None, Some(NatKind::PortRestricted), None, Some(NatKind::Symmetric)];
    let profiles = kinds.map(|kind| {
        let mut profile = Profile::default();
        profile.nat = kind.map(Nat::new);
        Arc::new(profile)
    });
    let hosts = world.grow(240, &Growth::default(), |index, _| Arc::clone(&profiles[index % 6]));
    world.run_for(secs(600));
    let found = (0..24)
        .filter(|&round| meet(&mut world, hosts[10 * round + round % 6], hosts[239 - 9 * round], round as u8))
        .count();
    assert!(found >= 23, "{found}");
    world.check().unwrap();
}

#[test]
fn two_hosts_share_a_translator_and_cannot_talk_through_it() {
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
fn the_dead_hold_nobody_up() {
    let (mut world, hosts) = world(1, Network::internet(), 200);
    let killed = world.kill_share(0.4);
    assert!((60..100).contains(&killed), "{killed}");
    let living: Vec<HostId> =
        hosts.into_iter().filter(|host| world.presence(*host) == Presence::Up).collect();
    for round in 0..20 {
        assert!(meet(&mut world, living[round], living[living.len() - 1 - round], round as u8), "{round}");
    }
    assert!(world.counters().cut > 0);
    world.check().unwrap();
}

#[test]
fn hosts_come_and_go() {
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
    assert_ne!(world.addr(hosts[1]), addr, "it came back elsewhere");
    let listed = |is_up: bool| {
        let living: Vec<SocketAddr> = world.nodes().map(|(host, _)| world.addr(host)).collect();
        world
            .nodes()
            .flat_map(|(_, node)| node.nodes(Family::V4))
            .filter(|info| living.contains(&info.addr) == is_up)
            .count()
    };
    let (living, dead) = (listed(true), listed(false));
    assert!(living > 2 * dead, "{living} entries live, {dead} do not");
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
fn a_host_that_starts_anew_keeps_its_address_alone() {
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
fn what_nodes_send_and_get_is_captured() {
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
fn a_reset_translator_lets_nobody_in() {
    let mut world = World::new(1, Network::perfect());
    let mut profile = Profile::default();
    profile.nat = Some(Nat::new(NatKind::FullCone));
    let (host, friend) = (world.add_alone(profile), world.add_actor(Recorder::default()));
    let (outside, friend) = (world.addr(host), world.addr(friend));
    assert!(world.is_translated(host));
    world.with_node(host, |node, now| node.ping(now, friend)).unwrap();
    world.reset_nat(host);
    world.inject(friend, outside, &ping());
    world.run_for(secs(1));
    assert_eq!(world.counters().blocked, 1);
}

#[test]
fn outages_sleep_and_jumping_clocks_pass() {
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
        assert!(node_count(&world, *host) * 2 > before, "the table outlives it");
        assert!(meet(&mut world, hosts[20], *host, round as u8), "{round}");
    }
    world.check().unwrap();
}

/// Every kind of villain at once, one in five of all hosts.
#[test]
fn villains_are_coped_with() {
    let (mut world, hosts) = world(8, Network::internet(), 80);
    let addrs: Vec<SocketAddr> = hosts.iter().map(|host| world.addr(*host)).collect();
    let victim = addrs[5];
    let mut villains = Vec::new();
    for lie in [Lie::OtherIds, Lie::CloserNodes, Lie::Asker, Lie::Reserved, Lie::Peers] {
        for _ in 0..3 {
            let id = world.dice().id();
            villains.push(world.add_actor(Liar { id, lie }));
        }
    }
    let accomplices = vec![world.next_address(), world.next_address()];
    for addr in accomplices.clone() {
        villains.push(world.add_actor_at(addr, IdChaser { accomplices: accomplices.clone() }));
    }
    let id = world.dice().id();
    villains.push(world.add_actor(PortFiller::new(id, victim, infohash(99), ms(100))));
    villains.push(world.add_actor(Flooder::new(id, victim, ms(100), 20)));
    let target = world.add_actor(Recorder::default());
    let target_addr = world.addr(target);
    let reflector = world.add_actor(Reflector::new(target_addr, addrs.clone(), ms(10)));
    let honest = Honest::new(world.dice().id(), addrs.iter().map(|addr| (id, *addr)).collect::<Vec<_>>());
    let honest = world.add_actor(honest);
    for villain in villains {
        let addr = world.addr(villain);
        for host in &hosts[..40] {
            let _ = world.with_node(*host, |node, now| node.add_node(now, addr));
        }
    }
    let honest_addr = world.addr(honest);
    world.with_node(hosts[0], |node, now| node.add_node(now, honest_addr)).unwrap();
    world.run_for(secs(120));
    world.check().unwrap();
    assert!(world.actor::<Honest>(honest).unwrap().queries > 0);

    let found =
        (0..20).filter(|&round| meet(&mut world, hosts[round], hosts[79 - round], round as u8)).count();
    assert!(found >= 19, "{found}");
    let stored = world.node(hosts[5]).unwrap().peers(infohash(99)).count();
    assert!(stored <= 1, "one IP address fills one place: {stored}");
    let stats = world.node(hosts[5]).unwrap().stats();
    assert!(stats.dropped.rate > 1000, "the flood is not answered: {:?}", stats.dropped);
    assert!(!world.actor::<Recorder>(target).unwrap().got.is_empty(), "{reflector:?} reflects");
    world.check().unwrap();
}

#[test]
#[should_panic(expected = "no rest at")]
fn a_livelock_is_told() {
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

#[test]
fn both_families_work_at_once() {
    let mut world = World::new(9, Network::internet());
    let mut profile = Profile::default();
    profile.config = Config::default();
    let profile = Arc::new(profile);
    let hosts = world.grow(60, &Growth::default(), |_, _| Arc::clone(&profile));
    world.run_for(secs(60));
    for host in &hosts[..10] {
        let node = world.node(*host).unwrap();
        assert!(node.is_ready(Family::V4) && node.is_ready(Family::V6));
        assert!(world.addr_in(*host, Family::V6).is_some());
    }
    world.lookup(hosts[1], Lookup::Announce(infohash(1), Announce::port(5)));
    let search = world.lookup(hosts[50], Lookup::GetPeers(infohash(1)));
    let found = |is_v6: bool| search.peers.iter().any(|(_, peer)| peer.is_ipv6() == is_v6);
    assert!(found(false) && found(true), "{search:?}");
    world.check().unwrap();
}

/// The figures that the lookup is held to, over a few seeds.
#[test]
fn the_toy_network_gives_the_known_figures() {
    let median = |toy: &Toy, figure: fn(&Outcome) -> Option<Duration>| {
        let all = (1..=15).map(|seed| Some(figure(&toy.run(seed)).expect("it comes")));
        Sample::of(all).quantile(0.5).expect("there are some")
    };
    let alive = Toy::default();
    assert!(median(&alive, |outcome| outcome.first_value) <= ms(160));
    assert!(median(&alive, |outcome| outcome.acknowledged_at_8) <= ms(350));
    let half_dead = Toy { dead: 0.4, ..Toy::default() };
    assert!(median(&half_dead, |outcome| outcome.first_value) <= ms(250));
    assert!(median(&half_dead, |outcome| outcome.acknowledged_at_8) <= secs(1));
    assert!(median(&half_dead, |outcome| outcome.done) <= secs(2));
    let deep = Toy { depth: 22, ..Toy::hard() };
    let outcome = deep.run(1);
    assert_eq!(outcome, deep.run(1));
    assert!(outcome.asked > 20 && outcome.datagrams > 20, "{outcome:?}");
    let stage = deep.build(1);
    assert!(stage.world.node(stage.node).is_some_and(|node| node.node_count(Family::V4) > 20));
}

#[test]
fn l_10_a_kept_announce_stays_with_the_closest_while_nodes_come_and_go() {
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
        node.keep_announced(now, infohash(1), Announce::port(4242)).unwrap()
    });
    let target = NodeId::from(infohash(1));
    let mut counts = Vec::new();
    for _ in 0..60 {
        world.run_for(secs(300));
        let others = world.nodes().filter(|(host, _)| *host != announcer).map(|(_, node)| node);
        let mut living: Vec<_> = others.collect();
        living.sort_by_key(|node| node.id(Family::V4).distance(&target));
        let holds = |node: &&&dht_proto::Node| node.peers(infohash(1)).any(|stored| stored == peer);
        counts.push(living.iter().take(8).filter(holds).count());
    }
    let mean = counts.iter().sum::<usize>() as f64 / counts.len() as f64;
    println!("of the eight closest {mean:.1} hold it on average: {counts:?}");
    assert!(mean > 7.0 && counts.iter().all(|&count| count >= 5), "{counts:?}");
    world.check().unwrap();
}

/// A profile whose id follows from its address (BEP 42), behind a translator or not.
fn moving(nat: Option<NatKind>) -> Profile {
    let mut profile = Profile::default();
    profile.config.secure_ids = true;
    profile.nat = nat.map(Nat::new);
    profile
}

/// Whether a node knows where others see it, and has an id that fits.
fn knows_its_place(world: &World, host: HostId) -> bool {
    let (node, ip) = (world.node(host).unwrap(), world.addr(host).ip());
    let seen = node.external_addr(Family::V4).map(|addr| addr.ip());
    seen == Some(ip) && node.id(Family::V4).is_secure_for(ip)
}

/// How often the id or address of a host has changed since it is watched.
fn changes(world: &World, host: HostId) -> usize {
    let is_change = |event: &Event| matches!(event, Event::ExternalAddr { .. } | Event::IdChanged { .. });
    world.events(host).iter().filter(|(_, event)| is_change(event)).count()
}

#[test]
fn b42_09_nodes_learn_where_others_see_them() {
    let mut world = World::new(11, Network::internet());
    let kinds = [None, Some(NatKind::PortRestricted), None, Some(NatKind::Symmetric)];
    let profiles = kinds.map(|kind| Arc::new(moving(kind)));
    let hosts = world.grow(120, &Growth::default(), |index, _| Arc::clone(&profiles[index % 4]));
    world.run_for(secs(900));
    for (index, host) in hosts.iter().enumerate() {
        assert!(knows_its_place(&world, *host), "{index}");
        let port = world.node(*host).unwrap().external_addr(Family::V4).unwrap().port();
        // Everybody sees another one behind a symmetric translator.
        assert_eq!(port, if index % 4 == 3 { 0 } else { world.addr(*host).port() });
    }
    // Whoever is new has an id that does not fit, and changes it once.
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
fn b42_10_a_node_that_gets_another_address_goes_on_under_another_id() {
    let mut world = World::new(12, Network::internet());
    let profile = Arc::new(moving(None));
    let hosts = world.grow(120, &Growth::default(), |_, _| Arc::clone(&profile));
    let movers = [hosts[7], world.add(moving(Some(NatKind::PortRestricted)))];
    world.run_for(secs(600));
    for (mover, byte) in movers.into_iter().zip(50..) {
        world.with_node(mover, |node, now| {
            node.keep_announced(now, infohash(byte), Announce::port(4242)).unwrap()
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
        let holders = world.nodes().filter(|(_, node)| node.peers(infohash(byte)).any(|held| held == peer));
        assert!(holders.count() >= 8, "the announce stands under the new address");
        assert!(meet(&mut world, mover, hosts[20], 1) && meet(&mut world, hosts[30], mover, 2));
    }
    world.check().unwrap();
}

/// Every other node has an id that does not fit its address.
#[cfg(feature = "items")]
#[test]
fn b42_14_where_ids_are_enforced_items_are_put_to_nodes_that_fit() {
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
        let item = dht_proto::Item::immutable(value).unwrap();
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

/// Three in ten tell everybody the same false address, for three hours.
#[test]
fn b42_09_votes_by_thirty_percent_liars_move_no_id() {
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
    // Among so many liars a newcomer is sure only after a while.
    world.run_for(secs(1800));
    for (host, byte) in honest.iter().zip(0_u8..) {
        assert!(knows_its_place(&world, *host), "{host:?}");
        world.watch(*host);
        for torrent in [byte, byte.wrapping_add(50), byte.wrapping_add(100)] {
            let announce = Announce::port(4242);
            world
                .with_node(*host, |node, now| node.keep_announced(now, infohash(torrent), announce).unwrap());
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
    assert!(listed * 5 > entries.len(), "they are asked as others are: {listed} of {}", entries.len());
    world.check().unwrap();
}

#[test]
fn announces_are_kept_up_in_both_families() {
    let mut profile = Profile::default();
    profile.config.ipv6 = true;
    let profile = Arc::new(profile);
    let mut world = World::new(4, Network::internet());
    let hosts = world.grow(60, &Growth::default(), |_, _| Arc::clone(&profile));
    world.run_for(secs(120));
    world.watch(hosts[7]);
    for byte in 0..20 {
        world.with_node(hosts[7], |node, now| {
            node.keep_announced(now, infohash(byte), Announce::port(4242)).unwrap();
        });
    }
    world.run_for(secs(3600));
    for byte in 0..20 {
        for family in Family::ALL {
            let own = SocketAddr::new(world.addr_in(hosts[7], family).unwrap().ip(), 4242);
            let holders =
                world.nodes().filter(|(_, node)| node.peers(infohash(byte)).any(|peer| peer == own));
            assert!(holders.count() >= 8, "{byte} {family:?}");
        }
    }
    let is_round = |event: &Event| matches!(event, Event::LookupDone { report, .. } if report.kept.is_some());
    let rounds = world.events(hosts[7]).iter().filter(|(_, event)| is_round(event)).count();
    assert!((90..=110).contains(&rounds), "{rounds}");
    world.check().unwrap();
}

/// What becomes of a host that sleeps on in the middle of things, and of those who know it.
#[test]
fn sleep_ages_what_a_node_holds_and_its_work_goes_on_afterwards() {
    let (mut world, hosts) = world(11, Network::internet(), 120);
    let sleeper = hosts[30];
    world.watch(sleeper);
    world.with_node(sleeper, |node, now| {
        node.keep_announced(now, infohash(1), Announce::port(4242)).unwrap();
    });
    // Somebody announces to the sleeper itself, with a token of its own.
    let stranger = world.add_actor(Recorder::default());
    let (from, to) = (world.addr(stranger), world.addr(sleeper));
    let id = NodeId::from_bytes([9; 20]);
    let ask = |world: &mut World, method| {
        let mut buf = [0; 256];
        let len = Message::new(b"aa", Body::Query(Query { id, method })).emit(&mut buf).unwrap();
        world.inject(from, to, &buf[..len]);
        world.run_for(secs(1));
        let got = world.actor::<Recorder>(stranger).unwrap().got.iter().rev();
        let is_answer = |bytes: &[u8]| Message::parse(bytes).is_ok_and(|it| it.transaction == b"aa");
        got.map(|(.., bytes)| bytes.clone()).find(|bytes| is_answer(bytes)).expect("an answer")
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
    assert_eq!(world.node(sleeper).unwrap().peers(infohash(2)).count(), 1);
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
    assert_eq!(node.peers(infohash(2)).count(), 0);
    // What was under way was asked again, and held against nobody.
    let events = || world.events(sleeper).iter().filter(|(at, _)| *at >= woken).map(|(_, event)| event);
    let report = events().find_map(|event| match event {
        Event::LookupDone { lookup: id, report } if *id == lookup => Some(*report),
        _ => None,
    });
    assert!(report.unwrap().answered >= 8);
    // Nobody answers it; its five seconds count from the waking.
    assert!(events().any(|event| matches!(event, Event::QueryDone { query, .. } if *query == ping)));
    assert!(node.stats().interrupted > counted.interrupted);
    assert!(node.node_count(Family::V4) * 10 >= known * 9);
    // The questionable were checked, and the announce stands again.
    assert_eq!(node.closest_nodes(node.id(Family::V4), Family::V4).count(), 8);
    let own = SocketAddr::new(to.ip(), 4242);
    let holders = world.nodes().filter(|(_, node)| node.peers(infohash(1)).any(|peer| peer == own));
    assert!(holders.count() >= 7);
    let answer = ask(&mut world, announce(&token));
    assert!(matches!(Message::parse(&answer).unwrap().body, Body::Error(_)), "the token is hours old");
    world.check().unwrap();
}

#[test]
fn a_node_that_was_switched_off_for_hours_is_announced_and_found_again() {
    let (mut world, hosts) = world(12, Network::internet(), 120);
    let host = hosts[30];
    for byte in 0..10 {
        world.with_node(host, |node, now| {
            node.keep_announced(now, infohash(byte), Announce::port(4242)).unwrap();
        });
    }
    world.run_for(secs(300));
    let own = SocketAddr::new(world.addr(host).ip(), 4242);
    let holders = |world: &World, byte| {
        world.nodes().filter(|(_, node)| node.peers(infohash(byte)).any(|peer| peer == own)).count()
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
