//! Trust in other nodes: forged answers, false listings and invented hosts gain nothing.

use std::net::SocketAddr;

use dht_proto::wire::{Body, Message, Method, NodeWriter, Response};
use dht_proto::{Announce, Event, Family, LookupOptions, NodeId};

use crate::stage;
use crate::stage::{RTT, Stage, addr, id, infohash, ms, secs, sibling};

const PEER: ([u8; 4], u16) = ([77, 1, 2, 3], 4242);

fn holds(stage: &Stage, addr: SocketAddr) -> bool {
    stage.node.nodes(Family::V4).any(|node| node.addr == addr)
}

/// Returns an answer of a host with this id that lists one node.
fn answer(transaction: &[u8], id: NodeId, listed: (NodeId, SocketAddr)) -> Vec<u8> {
    let (mut nodes, mut buf) = ([0; 64], [0; 1472]);
    let mut nodes = NodeWriter::new(Family::V4, &mut nodes);
    assert!(nodes.push(&listed.0, listed.1));
    let response = Response { nodes: Some(nodes.finish()), ..Response::new(id) };
    let size = Message::new(transaction, Body::Response(response)).emit(&mut buf).unwrap();
    buf[..size].to_vec()
}

#[test]
fn e_20_an_answer_from_another_host_or_port_is_not_used() {
    let mut stage = Stage::joined(40);
    let near = stage.closest_to(infohash(1));
    let lookup = stage.act(|node, now| node.get_peers(now, infohash(1)).unwrap());
    let sent = stage.sent.last().unwrap().clone();
    let (count, dropped) = (stage.node.node_count(Family::V4), stage.node.stats().dropped);
    let (bait, forged) = (addr(900), id(901));
    let datagram = answer(&sent.transaction, forged, (NodeId::from(infohash(1)), bait));
    stage.hear(addr(901), &datagram);
    let mut other_port = sent.to;
    other_port.set_port(1);
    stage.hear(other_port, &datagram);
    let guessed = answer(b"aaaa", forged, (NodeId::from(infohash(1)), bait));
    stage.hear(sent.to, &guessed);
    assert_eq!(stage.node.stats().dropped.stray, dropped.stray + 2);
    assert_eq!(stage.node.stats().dropped.wrong_port, dropped.wrong_port + 1);
    assert_eq!(stage.node.node_count(Family::V4), count, "unsolicited answers add no node to the table");
    stage.finish(lookup);
    assert!(stage.sent.iter().all(|sent| sent.to != bait));
    let found: Vec<_> = stage.node.lookup_nodes(lookup).map(|node| node.addr).collect();
    assert_eq!(found, near, "the true answer still counts");
}

#[test]
fn e_20_a_second_answer_to_a_query_is_unsolicited() {
    let mut stage = Stage::joined(20);
    stage.act(|node, now| node.ping(now, addr(3)).unwrap());
    let sent = stage.sent.last().unwrap().clone();
    stage.run(RTT * 2);
    let stray = stage.node.stats().dropped.stray;
    let datagram = answer(&sent.transaction, id(3), (id(900), addr(900)));
    stage.hear(addr(3), &datagram);
    assert_eq!(stage.node.stats().dropped.stray, stray + 1);
}

#[test]
fn f_01_transaction_ids_cannot_be_guessed_from_those_before() {
    let mut stage = Stage::new(stage::config());
    for index in 1..=80 {
        stage.act(|node, now| node.ping(now, addr(index)).unwrap());
    }
    let number = |bytes: &[u8]| u32::from_be_bytes(bytes.try_into().unwrap());
    let ids: Vec<_> = stage.sent.iter().map(|sent| number(&sent.transaction)).collect();
    let steps: std::collections::BTreeSet<_> = ids.windows(2).map(|p| p[1].wrapping_sub(p[0])).collect();
    assert_eq!((ids.len(), steps.len()), (80, 79), "no counter");
}

#[test]
fn f_06_nodes_that_others_list_are_not_in_the_table_before_they_answer() {
    let mut stage = Stage::new(stage::config());
    stage.host(1);
    stage.at(1).lists = Some((100..108).map(|index| (id(index), addr(index))).collect());
    stage.act(|node, now| node.add_node(now, addr(1)).unwrap());
    stage.run(secs(30));
    assert!((100..108).any(|index| stage.sent.iter().any(|sent| sent.to == addr(index))));
    assert_eq!(stage.node.node_count(Family::V4), 1);
    assert!(
        !stage.events.iter().any(|e| matches!(e, Event::NodeAdded { addr, .. } if *addr != stage::addr(1)))
    );
}

#[test]
fn r_15_one_host_with_many_invented_ids_has_one_entry_at_most() {
    let mut stage = Stage::joined(30);
    stage.host(900);
    for index in 1..=30 {
        let invented = (0..8).map(|n| (id(1000 + index * 8 + n), addr(900))).collect();
        stage.at(index).lists = Some(invented);
    }
    for byte in 0..20 {
        let lookup = stage.act(|node, now| node.get_peers(now, infohash(byte * 12)).unwrap());
        stage.finish(lookup);
    }
    let entries = stage.node.nodes(Family::V4).filter(|node| node.addr == addr(900));
    assert!(entries.count() <= 1);
    assert!(stage.node.nodes(Family::V4).all(|node| node.addr != addr(900) || node.id == id(900)));
}

#[test]
fn b5_10_r_14_our_own_query_that_returns_reveals_our_own_address() {
    let mut stage = Stage::joined(30);
    let own = stage.node.id(Family::V4);
    // Another node lists our own address with an invented id.
    let here = addr(800);
    stage.act(|node, now| node.ping(now, here).unwrap());
    let transaction = stage.sent.last().unwrap().transaction.clone();
    let mut buf = [0; 256];
    let query = dht_proto::wire::Query { id: own, method: Method::Ping };
    let size = Message::new(&transaction, Body::Query(query)).emit(&mut buf).unwrap();
    let replies = stage.replies.len();
    stage.hear(here, &buf[..size]);
    assert_eq!(stage.replies.len(), replies, "it is not answered");
    let stats = stage.node.stats();
    assert_eq!((stats.dropped.own_id, stats.dropped.total(), stats.reflected), (1, 1, 1));
    stage.run(ms(1));
    let near = stage.closest_to(infohash(1));
    stage.hosts.get_mut(&near[0]).unwrap().lists = Some(vec![(sibling(NodeId::from(infohash(1)), 80), here)]);
    let begun = stage.now;
    let lookup = stage.act(|node, now| node.get_peers(now, infohash(1)).unwrap());
    stage.finish(lookup);
    assert_eq!(stage.count(begun, |sent| sent.to == here), 0, "R-14: nor queried again");
}

#[test]
fn r_14_q_19_a_query_with_our_id_proves_nothing() {
    let mut stage = Stage::joined(30);
    let own = stage.node.id(Family::V4);
    let victim = stage.node.nodes(Family::V4).next().unwrap().addr;
    assert_eq!(stage.ask(victim, own, Method::Ping), None);
    let begun = stage.now;
    let mut options = LookupOptions::default();
    options.only = Some(victim);
    let lookup = dht_proto::Lookup::GetPeers(infohash(1));
    let lookup = stage.act(|node, now| node.lookup(now, lookup, &options).unwrap());
    assert_eq!(stage.finish(lookup).answered, 1, "that host is not mistaken for this node");
    assert!(holds(&stage, victim) && stage.count(begun, |_| true) >= 1);
}

#[test]
fn l_07_one_liar_does_not_hide_the_peers() {
    let mut stage = Stage::joined(60);
    let near = stage.closest_to(infohash(4));
    stage.hosts.get_mut(&near[0]).unwrap().peers = vec![PEER.into()];
    let liar = stage.hosts.get_mut(&near[1]).unwrap();
    let fake = |index: usize| (sibling(NodeId::from(infohash(4)), 100 + index), addr(5000 + index));
    liar.lists = Some((0..32).map(fake).collect());
    let lookup = stage.act(|node, now| node.announce(now, infohash(4), Announce::port(1)).unwrap());
    let report = stage.finish(lookup);
    assert_eq!(stage.peers_of(lookup), [PEER.into()]);
    assert_eq!(report.acknowledged, 8, "{report:?}");
    assert!(report.duration < secs(4), "{report:?}");
}

#[test]
fn l_07_several_liars_do_not_displace_all_other_candidates() {
    for liars in 2..=6 {
        let mut stage = Stage::joined(300);
        let near = stage.closest_to(infohash(4));
        stage.hosts.get_mut(&near[0]).unwrap().peers = vec![PEER.into()];
        let asked_first: Vec<_> = stage.node.closest_nodes(NodeId::from(infohash(4)), Family::V4).collect();
        for (index, liar) in asked_first.iter().take(liars).enumerate() {
            let fake = |n: usize| {
                let id = sibling(sibling(NodeId::from(infohash(4)), 60 + n), 100 + index);
                (id, addr(50_000 + 100 * index + n))
            };
            let host = stage.hosts.get_mut(&liar.addr).unwrap();
            (host.rtt, host.lists) = (ms(20), Some((0..32).map(fake).collect()));
        }
        let lookup = stage.act(|node, now| node.announce(now, infohash(4), Announce::port(1)).unwrap());
        let report = stage.finish(lookup);
        assert_eq!(stage.peers_of(lookup), [PEER.into()], "{liars} liars");
        // More than the 8 closest, because so many nodes next to the target look like an attack.
        assert!(report.acknowledged >= 8, "{report:?}");
    }
}

#[test]
fn l_07_an_answer_with_another_id_is_not_used() {
    let mut stage = Stage::joined(40);
    let near = stage.closest_to(infohash(6));
    let liar = stage.hosts.get_mut(&near[0]).unwrap();
    liar.calls_itself = Some(NodeId::from(infohash(6)));
    liar.peers = vec![PEER.into()];
    let lookup = stage.act(|node, now| node.get_peers(now, infohash(6)).unwrap());
    let report = stage.finish(lookup);
    assert_eq!(stage.peers_of(lookup), []);
    assert!(stage.node.lookup_nodes(lookup).all(|node| node.addr != near[0]));
    assert!(stage.node.nodes(Family::V4).all(|node| node.id != NodeId::from(infohash(6))));
    assert!(report.failed >= 1);
}

#[test]
fn l_07_a_host_that_was_listed_with_a_false_id_is_not_penalised() {
    let mut stage = Stage::joined(300);
    let near = stage.closest_to(infohash(4));
    assert!(stage.node.nodes(Family::V4).all(|node| node.addr != near[0]), "not found by way of the table");
    stage.hosts.get_mut(&near[0]).unwrap().peers = vec![PEER.into()];
    // A node that is queried first, and whose answer arrives first.
    let liar = stage.node.closest_nodes(NodeId::from(infohash(4)), Family::V4).next().unwrap().addr;
    let liar = stage.hosts.get_mut(&liar).unwrap();
    liar.rtt = ms(10);
    let fake = |(index, addr): (usize, &SocketAddr)| (sibling(NodeId::from(infohash(4)), 100 + index), *addr);
    liar.lists = Some(near.iter().enumerate().map(fake).collect());
    for _ in 0..5 {
        let lookup = stage.act(|node, now| node.get_peers(now, infohash(4)).unwrap());
        stage.finish(lookup);
        assert_eq!(stage.peers_of(lookup), [PEER.into()]);
        stage.run(secs(20));
    }
}

#[test]
fn b5_10_our_own_id_and_reserved_addresses_are_not_queried() {
    let mut stage = Stage::joined(20);
    let own = stage.node.id(Family::V4);
    let near = stage.closest_to(infohash(1));
    let loopback = SocketAddr::from(([127, 0, 0, 1], 6881));
    let private = SocketAddr::from(([10, 0, 0, 1], 6881));
    let lists = vec![(own, addr(900)), (id(901), loopback), (id(902), private), (id(903), addr(903))];
    stage.hosts.get_mut(&near[0]).unwrap().lists = Some(lists);
    let refused = stage.node.stats().contacts_refused;
    let lookup = stage.act(|node, now| node.get_peers(now, infohash(1)).unwrap());
    stage.finish(lookup);
    assert!(!stage.sent.iter().any(|sent| [addr(900), loopback, private].contains(&sent.to)));
    assert_eq!(stage.node.stats().contacts_refused, refused + 3);
}
