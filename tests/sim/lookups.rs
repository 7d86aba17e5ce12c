//! Lookups among real nodes in virtual time: they find what was announced, whatever the network, dead
//! nodes and adversaries do.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use dht_proto::sim::actors::{Flooder, Honest, IdChaser, Liar, Lie, PortFiller, Recorder, Reflector};
use dht_proto::sim::scripted::{Outcome, ScriptedNetwork};
use dht_proto::sim::{Growth, HostId, Nat, NatKind, Network, Presence, Profile, Quantiles, World};
use dht_proto::{Announce, Config, Family, Lookup, LookupKind, NodeId};

use crate::lab::{find, infohash, meet, ms, secs, village, world};

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
        let lookup = world.lookup(seeker, Lookup::GetPeers(infohash(round as u8)));
        assert!(lookup.first_peer().is_some_and(|at| at < secs(1)), "{lookup:?}");
        world.check().unwrap();
    }
    let counters = *world.counters();
    assert!(counters.delivered + counters.lost <= counters.sent);
    assert_eq!((counters.unclaimed, counters.cut, counters.blocked), (0, 0, 0));
}

#[test]
fn nodes_with_small_limits_store_and_answer() {
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
    // The cost of a node grows only with the logarithm of the size of the world.
    assert!(world.counters().sent < 250 * 100_000, "{:?}", world.counters());
    let seekers: Vec<_> = hosts.iter().copied().filter(|host| is_large(host.index())).collect();
    for round in 0..50 {
        assert!(meet(&mut world, seekers[round], seekers[99 - round], round as u8), "{round}");
    }
    world.check().unwrap();
}

#[test]
fn lookups_succeed_despite_duplicated_reordered_and_corrupted_datagrams() {
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

#[test]
fn nodes_behind_nats_find_each_other_through_the_others() {
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
fn dead_nodes_do_not_delay_lookups() {
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

/// Every kind of adversary at once, one in five of all hosts.
#[test]
fn lookups_succeed_among_adversaries() {
    let (mut world, hosts) = world(8, Network::internet(), 80);
    let addrs: Vec<SocketAddr> = hosts.iter().map(|host| world.addr(*host)).collect();
    let victim = addrs[5];
    let mut adversaries = Vec::new();
    for lie in [Lie::OtherIds, Lie::CloserNodes, Lie::Asker, Lie::Reserved, Lie::Peers] {
        for _ in 0..3 {
            let id = world.rng().id();
            adversaries.push(world.add_actor(Liar { id, lie }));
        }
    }
    let accomplices = vec![world.next_address(), world.next_address()];
    for addr in accomplices.clone() {
        adversaries.push(world.add_actor_at(addr, IdChaser { accomplices: accomplices.clone() }));
    }
    let id = world.rng().id();
    adversaries.push(world.add_actor(PortFiller::new(id, victim, infohash(99), ms(100))));
    adversaries.push(world.add_actor(Flooder::new(id, victim, ms(100), 20)));
    let target = world.add_actor(Recorder::default());
    let target_addr = world.addr(target);
    let reflector = world.add_actor(Reflector::new(target_addr, addrs.clone(), ms(10)));
    let honest = Honest::new(world.rng().id(), addrs.iter().map(|addr| (id, *addr)).collect::<Vec<_>>());
    let honest = world.add_actor(honest);
    for adversary in adversaries {
        let addr = world.addr(adversary);
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
    let stored = world.node(hosts[5]).unwrap().stored_peers(infohash(99)).count();
    assert!(stored <= 1, "one IP address has one entry: {stored}");
    let stats = world.node(hosts[5]).unwrap().stats();
    assert!(stats.dropped.rate > 1000, "the flood is not answered: {:?}", stats.dropped);
    assert!(!world.actor::<Recorder>(target).unwrap().got.is_empty(), "{reflector:?} reflects");
    world.check().unwrap();
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
    let lookup = world.lookup(hosts[50], Lookup::GetPeers(infohash(1)));
    let found = |is_v6: bool| lookup.peers.iter().any(|(_, peer)| peer.is_ipv6() == is_v6);
    assert!(found(false) && found(true), "{lookup:?}");
    world.check().unwrap();
}

/// The figures that the lookup must reach, over a few seeds.
#[test]
fn the_scripted_network_gives_the_known_figures() {
    let median = |network: &ScriptedNetwork, figure: fn(&Outcome) -> Option<Duration>| {
        let all = (1..=15).map(|seed| Some(figure(&network.run(seed)).expect("it comes")));
        Quantiles::of(all).quantile(0.5).expect("there are some")
    };
    let alive = ScriptedNetwork::default();
    assert!(median(&alive, |outcome| outcome.first_peer) <= ms(160));
    assert!(median(&alive, |outcome| outcome.acknowledged_at_8) <= ms(350));
    let half_dead = ScriptedNetwork { dead: 0.4, ..ScriptedNetwork::default() };
    assert!(median(&half_dead, |outcome| outcome.first_peer) <= ms(250));
    assert!(median(&half_dead, |outcome| outcome.acknowledged_at_8) <= secs(1));
    assert!(median(&half_dead, |outcome| outcome.done) <= secs(2));
    let deep = ScriptedNetwork::deep();
    let outcome = deep.run(1);
    assert_eq!(outcome, deep.run(1));
    assert!(outcome.queried > 20 && outcome.datagrams > 20, "{outcome:?}");
    let stage = deep.build(1);
    assert!(stage.world.node(stage.node).is_some_and(|node| node.node_count(Family::V4) > 20));
}

#[test]
fn c_03_a_node_joins_announces_and_is_found() {
    let (mut world, hosts) = village(3, 60);
    world.run_for(secs(120));
    let announce = Lookup::Announce(infohash(7), Announce::port(4242));
    let (report, _) = find(&mut world, hosts[5], announce, None);
    assert_eq!((report.acknowledged, report.kind), (8, LookupKind::Announce));
    let (report, peers) = find(&mut world, hosts[40], Lookup::GetPeers(infohash(7)), None);
    assert_eq!(peers, [SocketAddr::new(world.addr(hosts[5]).ip(), 4242)]);
    assert_eq!(
        (report.peers, report.kind, report.target),
        (1, LookupKind::GetPeers, NodeId::from(infohash(7)))
    );
}

#[test]
fn l_04_through_dead_hosts_and_loss_lookups_end_soon_and_find_the_peer() {
    let (mut world, hosts) = village(4, 80);
    world.run_for(secs(90));
    let announce = Lookup::Announce(infohash(9), Announce::port(4242));
    assert_eq!(find(&mut world, hosts[50], announce, None).0.acknowledged, 8);
    let searchers: Vec<_> = (0..10).map(|index| index * 8 + 3).collect();
    let dies = |index: &usize| index * 37 % 100 < 50 && !searchers.contains(index);
    let dead: Vec<_> = (0..80).filter(dies).collect();
    assert!(dead.len() >= 32, "four of ten");
    dead.into_iter().for_each(|index| world.kill(hosts[index]));
    for loss in [10, 20] {
        let mut network = Network::perfect();
        network.loss = f64::from(loss) / 100.0;
        world.set_network(network);
        let mut found = 0;
        for searcher in &searchers {
            let get = Lookup::GetPeers(infohash(9));
            let (report, peers) = find(&mut world, hosts[*searcher], get, None);
            found += usize::from(peers.iter().any(|peer| peer.port() == 4242));
            assert!(report.duration < secs(3), "{report:?}: the timeout alone is 5 s");
        }
        assert!(found >= 9, "{found} of 10 at {loss} %");
    }
}
