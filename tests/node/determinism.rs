//! Determinism: the same seed and inputs give the same bytes, whatever the memory of the node.

use dht_proto::{
    Announce, BootstrapKind, Event, Family, Fixed, Heap, Instant, Limits, Node, NodeId, Storage, fixed,
};

use crate::stage;
use crate::stage::{Stage, addr, find_node, id, infohash, ms, secs};

/// Runs a condensed day of a node: it joins, answers, looks up, announces, loses hosts, goes offline.
fn run_day<S: Storage>(stage: &mut Stage<S>) {
    (1..=60).for_each(|index| stage.host(index));
    stage.act(|node, now| node.add_bootstrap(now, addr(1), BootstrapKind::Router).unwrap());
    stage.run(secs(20));
    for index in 1000..1040 {
        stage.ask(addr(index), id(index), find_node(id(index + 1)));
        stage.run(ms(130));
    }
    let get = stage.act(|node, now| node.get_peers(now, infohash(1)).unwrap());
    stage.finish(get);
    (2..=20).for_each(|index| stage.at(index).is_dead = true);
    let announce = stage.act(|node, now| node.announce(now, infohash(2), Announce::port(7)).unwrap());
    stage.finish(announce);
    stage.act(|node, now| node.ping(now, addr(30)).unwrap());
    stage.hear(addr(31), b"d1:rd2:id3:abce1:t4:aaaa1:y1:re");
    stage.hear(addr(31), b"garbage that is no message");
    stage.run(secs(1200));
    stage.is_offline = true;
    stage.run(secs(600));
    stage.is_offline = false;
    stage.node.handle_resume(stage.now, secs(100));
    stage.run(secs(600));
}

/// Small limits, for both kinds of memory.
const LIMITS: Limits = {
    let mut limits = Limits::CLIENT;
    (limits.nodes_v4, limits.replacements) = (128, 64);
    (limits.inflight, limits.traversals, limits.peers_per_lookup) = (64, 4, 64);
    (limits.swarms, limits.peers_v4) = (16, 64);
    (limits.sources, limits.reputations, limits.replies) = (64, 128, 16);
    limits.events = 32;
    limits
};

const NOTHING: Limits = {
    let mut limits = Limits::CLIENT;
    (limits.nodes_v4, limits.replacements, limits.inflight, limits.traversals) = (0, 0, 0, 0);
    (limits.candidates_per_lookup, limits.tokens_per_lookup, limits.peers_per_lookup) = (0, 0, 0);
    (limits.reputations, limits.replies, limits.events, limits.bootstraps) = (0, 0, 0, 0);
    (limits.publications, limits.voters) = (0, 0);
    limits
};

const START: Instant = Instant::from_micros(1_000_000);

/// Returns what a node in this memory sent and reported.
fn output_in<S: Storage>(storage: S) -> (Vec<u8>, Vec<Event>) {
    let node = Node::with_storage(stage::config(), storage, [7; 32], START);
    let mut stage = Stage::on(node, START);
    run_day(&mut stage);
    assert!(stage.transcript.len() > 10_000, "it sent something");
    (stage.transcript, stage.events)
}

fn output_of(seed: u8) -> (Vec<u8>, Vec<Event>) {
    let node = Node::new(stage::config(), &LIMITS, [seed; 32], START);
    let mut stage = Stage::on(node, START);
    run_day(&mut stage);
    (stage.transcript, stage.events)
}

#[test]
fn the_same_seed_and_inputs_give_the_same_bytes_and_events() {
    let (bytes, events) = output_of(1);
    let (again, events_again) = output_of(1);
    assert!(bytes == again && events == events_again);
}

#[test]
fn b5_03_another_seed_gives_other_ids_and_transactions() {
    let (one, _) = output_of(1);
    let (other, _) = output_of(2);
    assert!(one != other);
    let node = |seed| Node::new(stage::config(), &LIMITS, [seed; 32], START).id(Family::V4);
    assert_ne!(node(1), node(2));
}

#[test]
fn a_node_behaves_the_same_on_the_heap_in_fixed_memory_and_in_borrowed_memory() {
    let heap = output_in(Heap::new(&LIMITS));
    let mut fixed = Box::new(<fixed!(LIMITS)>::new());
    assert!(output_in(&mut *fixed) == heap, "a borrow of fixed memory");
    assert!(output_in(&mut *fixed) == heap, "the same memory, used before");
    assert!(output_in(<fixed!(LIMITS)>::new()) == heap, "fixed memory of its own");
    let mut borrowed = Heap::new(&LIMITS);
    assert!(output_in(&mut borrowed) == heap, "a borrow of the heap");
}

#[test]
fn a_node_works_with_the_smallest_memory() {
    // With only a few slots a lookup still works, and nothing panics.
    const LEAST: Limits = {
        let mut limits = NOTHING;
        (limits.nodes_v4, limits.inflight, limits.traversals) = (8, 2, 2);
        (limits.candidates_per_lookup, limits.tokens_per_lookup, limits.peers_per_lookup) = (8, 2, 4);
        (limits.replies, limits.events, limits.bootstraps) = (1, 1, 1);
        limits
    };
    let node = Node::with_storage(stage::config(), <fixed!(LEAST)>::new(), [7; 32], START);
    let mut stage = Stage::on(node, START);
    (1..=60).for_each(|index| stage.host(index));
    stage.at(5).peers = vec![addr(99)];
    stage.hosts.values_mut().for_each(|host| host.peers = vec![addr(99)]);
    stage.act(|node, now| node.add_bootstrap(now, addr(1), BootstrapKind::Router).unwrap());
    stage.run(secs(60));
    assert!(stage.node.is_ready(Family::V4));
    let get = stage.act(|node, now| node.get_peers(now, infohash(1)).unwrap());
    let report = stage.finish(get);
    assert_eq!(stage.peers_of(get), [addr(99)]);
    assert!(report.answered >= 8, "{report:?}");
    assert!(stage.ask(addr(900), id(900), find_node(NodeId::ZERO)).is_some());
}

#[test]
fn a_node_without_memory_for_responses_stays_read_only() {
    let node = Node::with_storage(stage::config(), <Fixed>::new(), [7; 32], START);
    let mut stage = Stage::on(node, START);
    assert!(stage.node.is_read_only());
    stage.act(|node, now| node.set_read_only(now, false));
    assert!(stage.node.is_read_only());
    stage.join(60);
    assert_eq!(stage.ask(addr(900), id(900), find_node(NodeId::ZERO)), None);
    assert_eq!(stage.node.stats().dropped.read_only, 1);
    let announce = stage.act(|node, now| node.announce(now, infohash(1), Announce::port(1)).unwrap());
    assert!(stage.finish(announce).acknowledged >= 8);
    assert!(stage.sent.iter().all(|sent| sent.read_only));
}

#[test]
fn a_node_without_any_memory_does_nothing_and_does_not_panic() {
    let node = Node::with_storage(stage::config(), <fixed!(NOTHING)>::new(), [7; 32], START);
    let mut stage = Stage::on(node, START);
    (1..=9).for_each(|index| stage.host(index));
    assert!(stage.act(|node, now| node.add_bootstrap(now, addr(1), BootstrapKind::Router)).is_err());
    assert!(stage.act(|node, now| node.add_node(now, addr(1))).is_err());
    assert!(stage.act(|node, now| node.ping(now, addr(1))).is_err());
    assert!(stage.act(|node, now| node.get_peers(now, infohash(1))).is_err());
    assert!(stage.act(|node, now| node.announce(now, infohash(1), Announce::port(1))).is_err());
    assert!(stage.act(|node, now| node.bootstrap(now)).is_err());
    assert_eq!(stage.ask(addr(900), id(900), find_node(NodeId::ZERO)), None);
    stage.act(|node, now| node.handle_unreachable(now, addr(1)));
    stage.run(secs(3600));
    assert_eq!(stage.sent.len(), 0);
}

#[test]
fn a_time_before_the_last_one_counts_as_the_last_one() {
    let mut stage = Stage::joined(40);
    let later = stage.now;
    stage.node.handle_timeout(Instant::ZERO);
    stage.node.handle_datagram(
        Instant::ZERO,
        addr(900),
        b"d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t2:aa1:y1:qe",
    );
    stage.drain();
    assert_eq!(stage.replies.len(), 1);
    let lookup = stage.node.get_peers(Instant::ZERO, infohash(1)).unwrap();
    let report = stage.finish(lookup);
    assert!(report.duration < secs(1) && stage.now > later, "{report:?}");
}
