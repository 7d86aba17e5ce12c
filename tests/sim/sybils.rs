//! Lookups under attack, and the estimate of the network's size by which they notice. The bench `attacks`
//! prints the same at length.

use std::rc::Rc;
use std::sync::Arc;

use dht_proto::sim::actors::{Contact, Honest, SybilStrategy};
use dht_proto::sim::sybil::{Outcome, SybilAttack};
use dht_proto::sim::{Growth, Network, Profile, SimRng, World};
use dht_proto::state::State;
use dht_proto::stats::NetworkSize;
use dht_proto::{BootstrapKind, Config, Family, InfoHash, Instant, Limits, Lookup, Node, NodeId};

use crate::lab::secs;

const SEEDS: u64 = 3;

/// Returns a smaller attack than that of the bench.
fn attack(attackers: usize, strategy: SybilStrategy) -> SybilAttack {
    SybilAttack { honest: 1000, attackers, strategy, ..SybilAttack::default() }
}

fn outcomes(attack: &SybilAttack) -> Vec<Outcome> {
    (1..=SEEDS).map(|seed| attack.run(seed)).collect()
}

/// Checks that every lookup finds the peer, and that announces are stored at `least` honest hosts.
fn assert_held(attack: &SybilAttack, least: usize) {
    for outcome in outcomes(attack) {
        assert!(outcome.found && outcome.honest_announces >= least, "{outcome:?} of {attack:?}");
    }
}

fn secure(mut attack: SybilAttack) -> SybilAttack {
    attack.config.enforce_secure_ids = true;
    attack
}

fn is_near(size: NetworkSize, nodes: u64) -> bool {
    size.nodes.abs_diff(nodes) <= 3 * size.standard_error
}

#[test]
fn h_01_eight_sybils_of_one_subnet_hide_no_peer() {
    assert_held(&SybilAttack { is_one_subnet: true, ..attack(8, SybilStrategy::Mutual) }, 8);
}

#[test]
fn h_02_sybils_that_list_each_other_hide_no_peer() {
    for attackers in [8, 20] {
        assert_held(&attack(attackers, SybilStrategy::Mutual), 8);
    }
}

#[test]
fn h_02_sybils_that_list_nonexistent_nodes_hide_no_peer() {
    for attackers in [8, 20] {
        let attack = attack(attackers, SybilStrategy::Junk);
        assert_held(&attack, 8);
        // They do not cause many datagrams either.
        assert!(outcomes(&attack).iter().all(|outcome| outcome.datagrams < 150));
    }
}

#[test]
fn h_02_silent_sybils_hide_no_peer() {
    for attackers in [8, 20] {
        assert_held(&attack(attackers, SybilStrategy::Silent), 8);
    }
}

/// Nodes that honest ones list beside silent Sybils are queried too, even if those listed first were all
/// silent.
#[test]
fn h_02_honest_nodes_that_list_silent_sybils_are_used() {
    let silent = SybilAttack { attackers: 300, strategy: SybilStrategy::Silent, ..SybilAttack::default() };
    for seed in [24, 43, 57, 58] {
        let outcome = silent.run(seed);
        assert!(outcome.found && outcome.honest_announces >= 12, "{outcome:?}");
    }
}

#[test]
fn h_02_sybils_with_secure_ids_hide_no_peer_under_enforcement() {
    for strategy in [SybilStrategy::Mutual, SybilStrategy::Junk, SybilStrategy::Silent] {
        assert_held(&secure(attack(8, strategy)), 8);
    }
}

/// Sybils that are too few to be suspicious leave room for honest nodes.
#[test]
fn h_03_sybils_too_few_to_be_detected_do_not_hide_a_torrent() {
    let careful = SybilAttack { cautious: Some(4.0), ..attack(0, SybilStrategy::Mutual) };
    for outcome in outcomes(&careful) {
        assert!(outcome.found && outcome.honest_announces >= 2, "{outcome:?}");
    }
}

#[test]
fn h_04_liars_that_list_a_victim_cause_at_most_four_datagrams_to_it() {
    for is_subnet in [false, true] {
        for attackers in [1, 20] {
            for outcome in outcomes(&attack(attackers, SybilAttack::victim(is_subnet))) {
                let sent = outcome.to_victim[usize::from(is_subnet)];
                assert!(sent <= 4, "{sent} of {attackers} liars");
            }
        }
    }
}

#[test]
fn h_05_a_lookup_reports_the_probability_that_its_closest_nodes_are_as_close_by_chance() {
    let crowding = |attack: &SybilAttack, seed| {
        let mut stage = attack.build(seed);
        let lookup = stage.world.lookup(stage.client, Lookup::GetPeers(stage.infohash));
        let report = lookup.report().expect("it has ended");
        let [size, _] = report.network_size;
        assert!(size.is_some_and(|size| is_near(size, 1000)), "{size:?}");
        report.crowding.expect("the size of the network is known")
    };
    for seed in 1..=SEEDS {
        assert!(crowding(&attack(8, SybilStrategy::Mutual), seed) < 1000);
        assert!(crowding(&attack(0, SybilStrategy::Mutual), seed) > 10_000);
    }
}

/// Without an attack the defence costs nothing.
#[test]
fn h_05_without_an_attack_no_region_is_searched() {
    for outcome in outcomes(&attack(0, SybilStrategy::Mutual)) {
        assert!(outcome.found && outcome.honest_announces == 8 && outcome.datagrams <= 32, "{outcome:?}");
    }
}

/// Returns the estimates of the network's size by nodes of a world.
fn sizes(count: usize, seed: u64) -> Vec<NetworkSize> {
    let mut world = World::new(seed, Network::internet());
    let (small, whole) = (Arc::new(Profile::of_world(count)), Arc::new(Profile::default()));
    let is_whole = |index: usize| index.is_multiple_of(count / 25);
    let hosts = world.grow(count, &Growth::default(), |index, _| {
        Arc::clone(if is_whole(index) { &whole } else { &small })
    });
    world.run_for(secs(1800));
    let asked: Vec<_> = hosts.iter().copied().filter(|host| is_whole(host.index())).collect();
    for round in 0..12 {
        for (at, host) in asked.iter().enumerate() {
            let target =
                InfoHash::from_bytes(std::array::from_fn(|byte| (at * 97 + round * 41 + byte * 7) as u8));
            world.start(*host, Lookup::GetPeers(target)).expect("it starts");
        }
        world.settle(secs(60));
    }
    let size = |host: &_| world.node(*host).and_then(|node| node.network_size(Family::V4));
    asked.iter().filter_map(size).collect()
}

fn assert_known(count: usize, seed: u64) {
    let sizes = sizes(count, seed);
    assert!(sizes.len() >= 20, "{} of {count}", sizes.len());
    let mean = sizes.iter().map(|size| size.nodes).sum::<u64>() as f64 / sizes.len() as f64;
    println!("{count}: {mean:.0} in the mean, {:?} the first", sizes[0]);
    assert!((mean / count as f64 - 1.0).abs() < 0.25, "{mean} of {count}: {sizes:?}");
    // Estimates of nodes that joined when the world was small still reflect that.
    let is_near = |size: &NetworkSize| (size.nodes as f64 / count as f64 - 1.0).abs() < 0.65;
    assert!(sizes.iter().all(is_near), "{sizes:?}");
}

#[test]
fn h_06_nodes_estimate_the_size_of_the_network() {
    assert_known(100, 1);
    assert_known(400, 2);
}

/// Creates hosts that know each other, so that lookups find the closest ones.
#[test]
fn h_06_new_nodes_estimate_the_size_of_any_network_after_sixteen_lookups() {
    for (count, seed) in [(100, 3), (1000, 4), (10_000, 5), (100_000, 6)] {
        let mut world = World::new(seed, Network::internet());
        let mut rng = SimRng::new(seed);
        let hosts: Rc<[Contact]> = (0..count).map(|_| (rng.id(), world.next_address())).collect();
        for (id, addr) in hosts.iter() {
            world.add_actor_at(*addr, Honest::new(*id, Rc::clone(&hosts)));
        }
        let newcomer = world.add_alone(Profile::default());
        let join = |node: &mut Node, now| node.add_bootstrap(now, hosts[0].1, BootstrapKind::Node);
        world.with_node(newcomer, join).expect("there is room");
        world.run_for(secs(60));
        for _ in 0..16 {
            world.lookup(newcomer, Lookup::GetPeers(InfoHash::from(rng.id())));
        }
        let size = world.node(newcomer).and_then(|node| node.network_size(Family::V4)).expect("it is known");
        assert!(is_near(size, count as u64), "{size:?} of {count}");
        assert!(size.standard_error * 4 < size.nodes, "{size:?}");
    }
}

#[test]
fn h_06_attacked_targets_do_not_shift_the_estimate() {
    let attack = attack(100, SybilStrategy::Mutual);
    let mut stage = attack.build(1);
    let size = |world: &World| world.node(stage.client).and_then(|node| node.network_size(Family::V4));
    let before = size(&stage.world).expect("it has joined");
    for _ in 0..20 {
        stage.world.lookup(stage.client, Lookup::GetPeers(stage.infohash));
    }
    assert_eq!(size(&stage.world), Some(before));
    // Lookups of other targets improve the estimate.
    for target in 1..=20 {
        stage.world.lookup(stage.client, Lookup::FindNode(NodeId::from_bytes([target * 11; 20])));
    }
    let after = size(&stage.world).expect("it was known");
    assert!(is_near(after, 1000) && after.standard_error < before.standard_error, "{before:?} {after:?}");
}

#[test]
fn h_06_the_estimate_survives_a_restart() {
    let stage = attack(0, SybilStrategy::Mutual).build(1);
    let node = stage.world.node(stage.client).expect("it is there");
    let size = node.network_size(Family::V4).expect("it has joined");
    let bytes = node.snapshot(0);
    let state = State::parse(&bytes).expect("it was written just now");
    assert_eq!((state.network_size(Family::V4), state.network_size(Family::V6)), (Some(size), None));
    let now = Instant::ZERO;
    let mut heir = Node::new(Config::default(), &Limits::default(), [7; 32], now);
    assert_eq!(heir.network_size(Family::V4), None);
    heir.restore(now, &state, secs(60));
    let restored = heir.network_size(Family::V4).expect("it is restored");
    assert!(restored.nodes.abs_diff(size.nodes) <= 2, "{restored:?} {size:?}");
    assert!(restored.standard_error + 1 >= size.standard_error, "{restored:?} {size:?}");
    assert_eq!(heir.network_size(Family::V6), None);
    // Older states have no estimate.
    let old = State::parse(b"d2:id20:aaaaaaaaaaaaaaaaaaaa5:nodes0:e").expect("of another client");
    assert_eq!(old.network_size(Family::V4), None);
}
