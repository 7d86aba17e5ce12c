//! Lookups: which nodes are queried, how answers are used, and that no node can delay them.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use dht_proto::wire::{ErrorCode, NodeWriter, PeerWriter, Response};
use dht_proto::{Announce, Event, Family, Lookup, LookupKind, LookupOptions, NodeId, QueryError};

use crate::stage;
use crate::stage::{RTT, Stage, addr, id, infohash, ms, secs, sibling};

const PEER: ([u8; 4], u16) = ([77, 1, 2, 3], 4242);

#[test]
fn l_01_a_lookup_finds_the_closest_hosts_of_a_hundred_in_few_queries() {
    let mut stage = Stage::joined(100);
    let begun = stage.now;
    let lookup = stage.act(|node, now| node.find_node(now, NodeId::from(infohash(3))).unwrap());
    let report = stage.finish(lookup);
    let found: Vec<_> = stage.node.lookup_nodes(lookup).map(|node| node.addr).collect();
    assert_eq!(found, stage.closest_to(infohash(3)));
    // It ends with the last answer of the closest, while queries to others may still be in flight.
    assert!(report.queried <= 24 && report.answered >= 8 && report.failed == 0, "{report:?}");
    assert!(report.duration >= RTT && report.duration <= RTT * 4, "{report:?}");
    assert_eq!(report.kind, LookupKind::FindNode);
    assert_eq!(stage.count(begun, |sent| sent.is_find_node()), report.queried as usize);
}

#[test]
fn l_01_a_chain_of_hosts_that_know_only_the_next_is_followed_to_its_end() {
    let mut stage = Stage::new(stage::config());
    for index in 1..=30 {
        stage.host(index);
        stage.at(index).lists = Some(vec![(sibling(NodeId::from(infohash(1)), index * 4), addr(index + 1))]);
        stage.at(index).id = sibling(NodeId::from(infohash(1)), (index - 1) * 4);
    }
    (stage.at(30).lists, stage.at(30).peers) = (Some(Vec::new()), vec![PEER.into()]);
    stage.act(|node, now| node.add_node(now, addr(1)).unwrap());
    stage.run(ms(200));
    let lookup = stage.act(|node, now| node.get_peers(now, infohash(1)).unwrap());
    let report = stage.finish(lookup);
    assert_eq!(stage.peers_of(lookup), [PEER.into()]);
    assert_eq!((report.queried, report.answered), (30, 30));
}

#[test]
fn l_03_the_parallelism_is_an_option() {
    for alpha in [1, 3, 30] {
        let mut stage = Stage::joined(60);
        let mut options = LookupOptions::default();
        options.alpha = alpha;
        let begun = stage.now;
        let lookup = Lookup::GetPeers(infohash(9));
        let lookup = stage.act(|node, now| node.lookup(now, lookup, &options).unwrap());
        let at_once = stage.count(begun, |sent| sent.is_get_peers());
        assert_eq!(at_once, usize::from(alpha).min(16), "and no more than twice K");
        stage.finish(lookup);
    }
}

#[test]
fn l_04_dead_nodes_do_not_count_as_answers() {
    let mut stage = Stage::joined(60);
    let near = stage.closest_to(infohash(5));
    for dead in &near[..4] {
        stage.hosts.get_mut(dead).unwrap().is_dead = true;
    }
    let lookup = stage.act(|node, now| node.get_peers(now, infohash(5)).unwrap());
    let report = stage.finish(lookup);
    let found: Vec<_> = stage.node.lookup_nodes(lookup).map(|node| node.addr).collect();
    assert_eq!(found.len(), 8);
    assert!(near[..4].iter().all(|dead| !found.contains(dead)));
    assert!(near[4..].iter().all(|live| found.contains(live)));
    assert!(report.duration < secs(2), "{report:?}");
}

#[test]
fn l_05_no_host_is_queried_twice_in_one_lookup() {
    let mut stage = Stage::joined(80);
    // Some hosts list every other host with an id of their own choice.
    for liar in 1..=10 {
        let lists =
            (1..=20).map(|index| (sibling(NodeId::from(infohash(2)), 8 + liar), addr(index))).collect();
        stage.at(liar).lists = Some(lists);
    }
    let begun = stage.now;
    let lookup = stage.act(|node, now| node.get_peers(now, infohash(2)).unwrap());
    stage.finish(lookup);
    let mut asked = BTreeMap::<_, u32>::new();
    for sent in stage.sent.iter().filter(|sent| sent.at >= begun && sent.is_get_peers()) {
        *asked.entry(sent.to).or_default() += 1;
    }
    assert!(asked.values().all(|&times| times == 1), "{asked:?}");
}

#[test]
fn all_twenty_nodes_of_a_long_answer_are_considered() {
    let mut stage = Stage::new(stage::config());
    (1..=60).for_each(|index| stage.host(index));
    stage.hosts.get_mut(&addr(1)).unwrap().is_listed = false;
    // The closest are listed last, and by no other host.
    let mut hosts: Vec<_> = (2..=21).map(|index| (id(index), addr(index))).collect();
    hosts.sort_by_key(|(id, _)| std::cmp::Reverse(id.distance(&NodeId::from(infohash(1)))));
    let best = hosts[19].1;
    for host in stage.hosts.values_mut() {
        host.lists = Some(Vec::new());
    }
    (stage.at(1).lists, stage.hosts.get_mut(&best).unwrap().peers) = (Some(hosts), vec![PEER.into()]);
    stage.act(|node, now| node.add_node(now, addr(1)).unwrap());
    stage.run(ms(90));
    let lookup = stage.act(|node, now| node.get_peers(now, infohash(1)).unwrap());
    stage.finish(lookup);
    assert_eq!(stage.peers_of(lookup), [PEER.into()]);
}

#[test]
fn l_08_one_slow_host_does_not_delay_a_lookup() {
    let mut stage = Stage::joined(60);
    let near = stage.closest_to(infohash(8));
    let slow = stage.hosts.get_mut(&near[0]).unwrap();
    (slow.rtt, slow.peers) = (secs(4), vec![PEER.into()]);
    let begun = stage.now;
    let lookup = stage.act(|node, now| node.get_peers(now, infohash(8)).unwrap());
    let report = stage.finish(lookup);
    assert!(stage.now - begun < secs(2), "{report:?}");
    assert_eq!(report.answered, report.queried - 1);
}

#[test]
fn l_08_a_late_answer_still_counts() {
    let mut stage = Stage::joined(20);
    let mut options = LookupOptions::default();
    options.stall = Some(ms(100));
    for host in stage.hosts.values_mut() {
        host.rtt = ms(900);
    }
    let near = stage.closest_to(infohash(8));
    stage.hosts.get_mut(&near[0]).unwrap().peers = vec![PEER.into()];
    let lookup = Lookup::GetPeers(infohash(8));
    let lookup = stage.act(|node, now| node.lookup(now, lookup, &options).unwrap());
    stage.finish(lookup);
    assert!(stage.node.stats().stalled > 0);
    assert_eq!(stage.peers_of(lookup), [PEER.into()]);
}

#[test]
fn l_08_a_lost_query_near_the_target_is_sent_again_under_a_new_transaction() {
    let mut stage = Stage::joined(40);
    let near = stage.closest_to(infohash(8));
    let lossy = stage.hosts.get_mut(&near[0]).unwrap();
    (lossy.loses, lossy.peers) = (1, vec![PEER.into()]);
    let begun = stage.now;
    let lookup = stage.act(|node, now| node.get_peers(now, infohash(8)).unwrap());
    let report = stage.finish(lookup);
    assert_eq!(stage.peers_of(lookup), [PEER.into()]);
    let is_try = |sent: &&stage::Sent| sent.at >= begun && sent.is_get_peers() && sent.to == near[0];
    let tries: Vec<_> = stage.sent.iter().filter(is_try).map(|sent| &sent.transaction).collect();
    assert_eq!(tries.len(), 2);
    assert_ne!(tries[0], tries[1]);
    assert_eq!((report.answered, report.failed), (report.queried, 0));
}

#[test]
fn l_09_an_unreachable_host_fails_at_once() {
    let mut stage = Stage::joined(40);
    let near = stage.closest_to(infohash(8));
    let mut options = LookupOptions::default();
    options.stall = Some(secs(30));
    options.timeout = secs(30);
    for addr in &near[..4] {
        stage.hosts.get_mut(addr).unwrap().is_dead = true;
    }
    let begun = stage.now;
    let lookup = Lookup::GetPeers(infohash(8));
    let lookup = stage.act(|node, now| node.lookup(now, lookup, &options).unwrap());
    stage.run(secs(1));
    assert_eq!(stage.report(lookup), None, "it waits for four");
    for addr in &near[..4] {
        stage.act(|node, now| node.handle_unreachable(now, *addr));
    }
    let report = stage.finish(lookup);
    assert!(stage.now - begun < secs(2));
    assert_eq!(report.failed, 4);
    assert_eq!(stage.node.stats().unreachable, 4);
}

#[test]
fn l_14_hosts_that_ignore_the_target_do_not_mislead_a_lookup() {
    let mut stage = Stage::joined(80);
    for index in 1..=80 {
        if index % 3 == 0 {
            let near_zero = stage.closest_hosts(NodeId::ZERO, addr(index));
            stage.at(index).lists = Some(near_zero);
        }
    }
    let lookup = stage.act(|node, now| node.find_node(now, NodeId::from(infohash(0xee))).unwrap());
    stage.finish(lookup);
    let found: Vec<_> = stage.node.lookup_nodes(lookup).map(|node| node.addr).collect();
    assert_eq!(found, stage.closest_to(infohash(0xee)));
}

#[test]
fn c_03_an_error_is_the_answer_of_a_live_node() {
    let mut stage = Stage::joined(30);
    let near = stage.node.closest_nodes(NodeId::from(infohash(8)), Family::V4).next().unwrap().addr;
    stage.hosts.get_mut(&near).unwrap().refuses = Some(202);
    let errors = stage.node.stats().errors_in.total();
    let timed_out = stage.node.stats().timed_out;
    let lookup = stage.act(|node, now| node.get_peers(now, infohash(8)).unwrap());
    let report = stage.finish(lookup);
    assert!(report.duration < ms(500) && report.failed == 1, "{report:?}");
    stage.run(secs(10));
    assert_eq!(stage.node.stats().errors_in.total(), errors + 1);
    assert_eq!(stage.node.stats().timed_out, timed_out, "an error is no timeout");
    assert!(stage.node.nodes(Family::V4).any(|node| node.addr == near));
}

/// Returns the result of a lookup that queries only one host, which answers with these fields.
fn single_answer(response: &Response<'_>) -> (Stage, dht_proto::LookupId) {
    let mut stage = Stage::new(stage::config());
    stage.host(1);
    let message = dht_proto::wire::Message::new(b"TTTT", dht_proto::wire::Body::Response(*response));
    let mut buf = [0; 1472];
    let size = message.emit(&mut buf).unwrap();
    stage.at(1).answers_with = Some(buf[..size].to_vec());
    let mut options = LookupOptions::default();
    options.only = Some(addr(1));
    let lookup = Lookup::GetPeers(infohash(1));
    let lookup = stage.act(|node, now| node.lookup(now, lookup, &options).unwrap());
    let report = stage.finish(lookup);
    assert_eq!((report.queried, report.answered), (1, 1));
    (stage, lookup)
}

#[test]
fn q_05_values_nodes_both_or_neither_are_accepted() {
    let (mut nodes_buf, mut peers_buf) = ([0; 64], [0; 64]);
    let mut nodes = NodeWriter::new(Family::V4, &mut nodes_buf);
    assert!(nodes.push(&id(2), addr(2)));
    let nodes = nodes.finish();
    let mut peers = PeerWriter::new(Family::V4, &mut peers_buf);
    assert!(peers.push(PEER.into()));
    let values = peers.finish();
    for (nodes, values) in
        [(Some(nodes), None), (None, Some(values)), (Some(nodes), Some(values)), (None, None)]
    {
        let mut response = Response::new(id(1));
        (response.nodes, response.values) = (nodes, values);
        let (stage, lookup) = single_answer(&response);
        assert_eq!(stage.node.lookup_nodes(lookup).count(), usize::from(nodes.is_some()));
        assert_eq!(stage.peers_of(lookup).len(), usize::from(values.is_some()));
    }
}

/// Returns the peers of a lookup that queries only one host, for an answer in bytes from `r` on.
fn peers_in(returns: &[u8]) -> Vec<SocketAddr> {
    let mut stage = Stage::joined(20);
    let near = stage.closest_to(infohash(1));
    let host = stage.hosts.get_mut(&near[0]).unwrap();
    let mut answer = b"d1:rd2:id20:".to_vec();
    answer.extend_from_slice(host.id.as_bytes());
    answer.extend_from_slice(returns);
    answer.extend_from_slice(b"e1:t4:TTTT1:y1:re");
    host.answers_with = Some(answer);
    let lookup = stage.act(|node, now| node.get_peers(now, infohash(1)).unwrap());
    let report = stage.finish(lookup);
    assert_eq!(report.failed, 0, "the answer is accepted");
    stage.peers_of(lookup)
}

#[test]
fn q_06_an_answer_with_nothing_but_a_token_is_valid() {
    assert_eq!(peers_in(b"5:token2:tt"), []);
}

#[test]
fn q_07_an_empty_list_of_values_is_valid() {
    assert_eq!(peers_in(b"6:valuesle"), []);
}

#[test]
fn q_08_values_in_one_string_are_read() {
    let peers = peers_in(b"6:valuesl12:\x4d\x01\x02\x03\x10\x92\x4d\x01\x02\x04\x10\x92e");
    assert_eq!(peers, [PEER.into(), SocketAddr::from(([77, 1, 2, 4], 4242))]);
}

#[test]
fn q_09_values_of_odd_lengths_are_skipped() {
    let peers = peers_in(b"6:valuesl1:x5:abcde6:\x4d\x01\x02\x03\x10\x927:abcdefg0:e");
    assert_eq!(peers, [PEER.into()]);
}

#[test]
fn a_peer_is_reported_once_however_many_nodes_return_it() {
    let mut stage = Stage::joined(40);
    for host in stage.hosts.values_mut() {
        host.peers = vec![PEER.into(), ([78, 1, 1, 1], 1).into()];
    }
    let lookup = stage.act(|node, now| node.get_peers(now, infohash(1)).unwrap());
    let report = stage.finish(lookup);
    assert_eq!((stage.peers_of(lookup).len(), report.peers), (2, 2));
}

#[test]
fn peers_are_reported_before_the_lookup_has_ended() {
    let mut stage = Stage::joined(40);
    let near = stage.closest_to(infohash(1));
    stage.hosts.get_mut(&near[7]).unwrap().peers = vec![PEER.into()];
    stage.hosts.get_mut(&near[0]).unwrap().is_dead = true;
    let lookup = stage.act(|node, now| node.get_peers(now, infohash(1)).unwrap());
    stage.finish(lookup);
    let place = |wanted: fn(&Event) -> bool| stage.events.iter().position(wanted).unwrap();
    let peer = place(|event| matches!(event, Event::Peer { .. }));
    let done = stage.events.iter().rposition(|event| matches!(event, Event::LookupDone { .. })).unwrap();
    assert!(peer < done);
    assert_eq!(stage.peers_of(lookup), [PEER.into()]);
}

#[test]
fn two_lookups_of_one_target_do_not_disturb_each_other() {
    let mut stage = Stage::joined(40);
    let near = stage.closest_to(infohash(1));
    stage.hosts.get_mut(&near[0]).unwrap().peers = vec![PEER.into()];
    let find = stage.act(|node, now| node.find_node(now, NodeId::from(infohash(1))).unwrap());
    let get = stage.act(|node, now| node.get_peers(now, infohash(1)).unwrap());
    let again = stage.act(|node, now| node.get_peers(now, infohash(1)).unwrap());
    let announce = stage.act(|node, now| node.announce(now, infohash(1), Announce::port(5)).unwrap());
    assert_eq!(stage.finish(find).kind, LookupKind::FindNode);
    stage.finish(get);
    stage.finish(again);
    assert_eq!(stage.finish(announce).acknowledged, 8);
    assert_eq!(stage.peers_of(find), []);
    assert_eq!(stage.peers_of(get), [PEER.into()]);
    assert_eq!(stage.peers_of(again), [PEER.into()]);
}

#[test]
fn a_ping_reports_the_id_or_the_reason_of_its_failure() {
    let mut stage = Stage::new(stage::config());
    (1..=3).for_each(|index| stage.host(index));
    stage.at(2).refuses = Some(201);
    stage.at(3).answers_with = Some(b"d1:rd2:id3:abce1:t4:TTTT1:y1:re".to_vec());
    let mut queries = Vec::new();
    for index in 1..=5 {
        queries.push(stage.act(|node, now| node.ping(now, addr(index)).unwrap()));
    }
    stage.act(|node, now| node.handle_unreachable(now, addr(5)));
    stage.run(secs(6));
    let result = |index: usize| {
        stage.events.iter().find_map(|event| match event {
            Event::QueryDone { query, result, .. } if *query == queries[index - 1] => Some(*result),
            _ => None,
        })
    };
    let pong = result(1).unwrap().unwrap();
    assert_eq!((pong.id, pong.rtt), (id(1), RTT));
    assert_eq!(result(2), Some(Err(QueryError::Refused(ErrorCode::GENERIC))));
    assert_eq!(result(3), Some(Err(QueryError::Malformed)));
    assert_eq!(result(4), Some(Err(QueryError::TimedOut)));
    assert_eq!(result(5), Some(Err(QueryError::Unreachable)));
    assert_eq!(stage.node.node_count(Family::V4), 1, "a node that answers is in the table");
}

#[test]
fn b43_02_queries_of_a_read_only_node_say_so() {
    for read_only in [false, true] {
        let mut config = stage::config();
        config.read_only = read_only;
        let mut stage = Stage::new(config);
        (1..=10).for_each(|index| stage.host(index));
        stage.act(|node, now| node.add_node(now, addr(1)).unwrap());
        stage.run(secs(1));
        let lookup = stage.act(|node, now| node.announce(now, infohash(1), Announce::port(5)).unwrap());
        assert_eq!(stage.finish(lookup).acknowledged, 8);
        assert!(stage.sent.iter().all(|sent| sent.read_only == read_only));
        let answer = stage.ask(addr(99), id(99), dht_proto::wire::Method::Ping);
        assert_eq!(answer.is_none(), read_only, "B43-01: and it answers no queries");
    }
}
