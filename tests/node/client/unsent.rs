//! Datagrams that the node's own system refuses to send are sent again, without penalty for their
//! destination.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use dht_proto::{Announce, BootstrapKind, Event, Family, NodeId, QueryError};

use crate::stage::{Stage, What, addr, config, id, infohash, ms, secs};

fn known(stage: &Stage) -> BTreeSet<SocketAddr> {
    stage.node.nodes(Family::V4).map(|node| node.addr).collect()
}

/// Returns the hosts to which the torrent was announced.
fn holders(stage: &Stage, byte: u8) -> BTreeSet<SocketAddr> {
    let announces = stage.sent.iter().filter(|sent| match sent.what {
        What::Announce { infohash: of, .. } => of == infohash(byte),
        _ => false,
    });
    announces.map(|sent| sent.to).collect()
}

/// Returns the 8 closest of so many hosts.
fn closest(byte: u8, count: usize) -> BTreeSet<SocketAddr> {
    let target = NodeId::from(infohash(byte));
    let mut hosts: Vec<_> = (1..=count).map(|index| (id(index).distance(&target), addr(index))).collect();
    hosts.sort_unstable();
    hosts.into_iter().take(8).map(|(_, addr)| addr).collect()
}

/// The cause may be a firewall, or a full table of connections.
#[test]
fn an_announce_reaches_all_nodes_though_every_third_send_fails() {
    let mut stage = Stage::joined(100);
    let before = known(&stage);
    stage.refuses = 33;
    for byte in 0..20 {
        let lookup = stage.act(|node, now| node.announce(now, infohash(byte), Announce::port(1)).unwrap());
        let report = stage.finish(lookup);
        assert!(report.acknowledged >= 8, "{report:?}");
        let held = holders(&stage, byte).intersection(&closest(byte, 100)).count();
        assert!(held >= 7, "{held} of 8");
    }
    let stats = stage.node.stats();
    assert!(stage.refused > 100 && stats.unsent == stage.refused as u64);
    assert_eq!((stats.unreachable, stats.timed_out), (0, 0));
    assert!(known(&stage).is_superset(&before), "no node is penalised");
}

#[test]
fn a_query_is_tried_four_times_with_growing_pauses_and_then_fails() {
    let mut stage = Stage::new(config());
    stage.host(1);
    stage.refuses = 100;
    let start = stage.now;
    let mut tries = Vec::new();
    stage.act(|node, now| node.ping(now, addr(1)).unwrap());
    while stage.events.is_empty() {
        if tries.len() < stage.refused {
            tries.push((stage.now - start).as_millis());
        }
        assert!(stage.step(start + secs(10)));
    }
    assert_eq!(tries, [0, 50, 200]);
    assert_eq!(stage.now - start, ms(650));
    let Event::QueryDone { result, .. } = stage.events[0] else { panic!("it has ended") };
    assert_eq!(result, Err(QueryError::Unreachable));
    assert_eq!(stage.node.stats().unsent, 4);
    // A query that is sent in between is treated like any other.
    let mut stage = Stage::new(config());
    stage.host(1);
    stage.refuses = 100;
    stage.act(|node, now| node.ping(now, addr(1)).unwrap());
    stage.refuses = 0;
    stage.run(secs(1));
    let is_answered = |event: &Event| matches!(event, Event::QueryDone { result: Ok(_), .. });
    assert!(stage.events.iter().any(is_answered), "{:?}", stage.events);
}

#[test]
fn without_a_network_a_node_tries_every_few_seconds_until_it_joins() {
    for (outage, tries, longest) in [(50, 8..20, 7), (3600, 200..300, 17)] {
        let mut stage = Stage::new(config());
        (1..=60).for_each(|index| stage.host(index));
        stage.refuses = 100;
        stage.act(|node, now| node.add_bootstrap(now, addr(1), BootstrapKind::Node).unwrap());
        stage.run(secs(outage));
        assert!(tries.contains(&stage.refused), "{} in {outage} s", stage.refused);
        stage.refuses = 0;
        stage.run(secs(longest));
        assert!(stage.node.is_ready(Family::V4));
    }
}

#[test]
fn a_node_whose_sends_fail_sends_little_and_keeps_its_table() {
    let mut stage = Stage::joined(100);
    let before = known(&stage);
    stage.refuses = 100;
    stage.run(secs(3600));
    assert!(stage.refused < 60 * 60 * 20, "{} in an hour", stage.refused);
    assert_eq!(known(&stage), before);
    stage.refuses = 0;
    let since = stage.now;
    stage.run(secs(20));
    assert!(stage.sent.iter().any(|sent| sent.at >= since));
}

#[test]
fn an_announcement_that_could_not_be_sent_is_repeated_at_once_when_the_network_is_back() {
    // Shorter and longer than the silence after which the link counts as down.
    for outage in [30, 300] {
        let mut stage = Stage::joined(100);
        stage.refuses = 100;
        stage.act(|node, now| node.start_announcing(now, infohash(1), Announce::port(1)).unwrap());
        stage.run(secs(outage));
        assert!(holders(&stage, 1).is_empty());
        stage.refuses = 0;
        stage.run(secs(25));
        assert!(holders(&stage, 1).len() >= 8, "after {outage} s");
    }
}

/// Destinations without a route do not affect others.
#[test]
fn a_destination_without_a_route_is_not_an_outage() {
    let mut stage = Stage::joined(20);
    let sent = stage.sent.len();
    for _ in 0..60 {
        stage.act(|node, now| node.handle_unsent(now, addr(1)));
        stage.act(|node, now| node.ping(now, addr(1)).unwrap());
        stage.act(|node, now| node.handle_unsent(now, addr(1)));
        stage.run(secs(10));
    }
    // It answers the second try each time, and the node works as usual.
    assert!(stage.sent.len() - sent < 1000, "{}", stage.sent.len() - sent);
    assert!(stage.node.is_ready(Family::V4));
}
