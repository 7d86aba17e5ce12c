//! Announces: their destinations and tokens, and failures.

use std::net::SocketAddr;

use dht_proto::wire::ErrorCode;
use dht_proto::{
    Announce, Event, Family, Lookup, LookupId, LookupKind, LookupOptions, NodeId, PutError, StartError,
};

use crate::stage;
use crate::stage::{Stage, What, addr, infohash, ms, secs};

fn announce(stage: &mut Stage, port: u16) -> LookupId {
    stage.act(|node, now| node.announce(now, infohash(1), Announce::port(port)).unwrap())
}

/// Returns the eight hosts closest to the torrent.
fn closest(stage: &Stage) -> Vec<SocketAddr> {
    stage.closest_to(infohash(1))
}

/// Returns the hosts that store this port.
fn holders(stage: &Stage, port: u16) -> Vec<SocketAddr> {
    let hosts = stage.hosts.iter().filter(|(_, host)| host.stored.contains(&port));
    hosts.map(|(addr, _)| *addr).collect()
}

fn sorted(mut addrs: Vec<SocketAddr>) -> Vec<SocketAddr> {
    addrs.sort();
    addrs
}

#[test]
fn l_02_the_eight_closest_store_an_announce_and_acknowledge_it() {
    let mut stage = Stage::joined(100);
    let lookup = announce(&mut stage, 4242);
    let report = stage.finish(lookup);
    assert_eq!(holders(&stage, 4242), sorted(closest(&stage)));
    assert_eq!((report.kind, report.sent, report.acknowledged), (LookupKind::Announce, 8, 8));
    let acknowledged = stage.events.iter().filter_map(|event| match event {
        Event::Acknowledged { lookup: id, node } if *id == lookup => Some(*node),
        _ => None,
    });
    assert_eq!(sorted(acknowledged.collect()), sorted(closest(&stage)));
    assert!(matches!(stage.events.last(), Some(Event::LookupDone { .. })), "the end comes last");
}

#[test]
fn t_04_the_announce_carries_the_token_torrent_and_id_of_its_lookup() {
    let mut stage = Stage::joined(60);
    for (addr, host) in &mut stage.hosts {
        host.token = Some(format!("token of {addr}").into_bytes());
    }
    let begun = stage.now;
    let lookup = announce(&mut stage, 4242);
    assert_eq!(stage.finish(lookup).acknowledged, 8);
    let id = stage.node.id(Family::V4);
    for sent in stage.sent.iter().filter(|sent| sent.at >= begun && !sent.is_ping() && !sent.is_find_node()) {
        assert_eq!(sent.id, id);
        match &sent.what {
            What::GetPeers(torrent) => assert_eq!(*torrent, infohash(1)),
            What::Announce { infohash: torrent, port, implied, token } => {
                assert_eq!(*torrent, infohash(1));
                assert_eq!((*port, *implied), (4242, false));
                assert_eq!(*token, format!("token of {}", sent.to).into_bytes());
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn an_announce_goes_out_before_the_lookup_has_ended() {
    let mut stage = Stage::joined(60);
    let near = closest(&stage);
    stage.hosts.get_mut(&near[7]).unwrap().is_dead = true;
    let begun = stage.now;
    let lookup = announce(&mut stage, 4242);
    stage.finish(lookup);
    let sent = |addr: SocketAddr| {
        let sent = stage.sent.iter().find(|sent| sent.at >= begun && sent.to == addr && sent.is_announce());
        sent.map(|sent| sent.at - begun)
    };
    let (first, end) = (sent(near[0]).unwrap(), stage.now - begun);
    assert!(first + ms(100) < end, "{first:?} {end:?}: only the end has to wait for the dead one");
    assert_eq!(sent(near[7]), None);
}

#[test]
fn t_08_tokens_are_reused_by_a_second_announce_within_five_minutes() {
    let mut stage = Stage::joined(60);
    let first = stage.act(|node, now| node.get_peers(now, infohash(1)).unwrap());
    stage.finish(first);
    let asked = stage.now;
    stage.run(secs(200));
    for port in [4242, 4343] {
        let begun = stage.now;
        let lookup = announce(&mut stage, port);
        let report = stage.finish(lookup);
        assert_eq!((report.acknowledged, report.queried), (8, 0));
        assert_eq!(stage.count(begun, |sent| sent.is_get_peers()), 0, "no second lookup");
        assert_eq!(holders(&stage, port), sorted(closest(&stage)));
        stage.run(secs(10));
    }
    stage.run(secs(290) - (stage.now - asked));
    let begun = stage.now;
    let lookup = announce(&mut stage, 4444);
    assert_eq!(stage.finish(lookup).acknowledged, 8);
    assert_eq!(stage.count(begun, |sent| sent.is_get_peers()), 0, "reusing the lookup did not end it early");
    stage.run(secs(301) - (stage.now - asked));
    let begun = stage.now;
    let lookup = announce(&mut stage, 4545);
    assert_eq!(stage.finish(lookup).acknowledged, 8);
    assert!(stage.count(begun, |sent| sent.is_get_peers()) >= 8, "nor prolong it: this is a new lookup");
}

#[test]
fn t_08_t_04_tokens_of_another_torrent_or_method_are_not_reused() {
    let mut stage = Stage::joined(60);
    let other = stage.act(|node, now| node.get_peers(now, infohash(2)).unwrap());
    stage.finish(other);
    let find = stage.act(|node, now| node.find_node(now, NodeId::from_bytes([1; 20])).unwrap());
    stage.finish(find);
    let lookup = announce(&mut stage, 4242);
    let report = stage.finish(lookup);
    assert!(report.queried >= 8);
    assert_eq!(report.acknowledged, 8, "an announce after a find_node of its target does not hang");
}

#[test]
fn t_08_peers_found_before_are_found_again_by_an_announce_without_a_lookup() {
    let mut stage = Stage::joined(60);
    let near = closest(&stage);
    let peer = SocketAddr::from(([77, 1, 1, 1], 1));
    stage.hosts.get_mut(&near[0]).unwrap().peers = vec![peer];
    let first = stage.act(|node, now| node.get_peers(now, infohash(1)).unwrap());
    stage.finish(first);
    let second = announce(&mut stage, 4242);
    let report = stage.finish(second);
    assert_eq!((stage.peers_of(second), report.peers, report.queried), (vec![peer], 1, 0));
}

#[test]
fn refused_tokens_are_replaced_by_a_full_lookup() {
    let mut stage = Stage::joined(60);
    let first = announce(&mut stage, 4242);
    stage.finish(first);
    for host in stage.hosts.values_mut() {
        host.token = Some(b"another".to_vec());
    }
    let begun = stage.now;
    let lookup = announce(&mut stage, 4343);
    let report = stage.finish(lookup);
    assert_eq!(holders(&stage, 4343), sorted(closest(&stage)));
    assert_eq!((report.sent, report.acknowledged), (8, 8));
    assert!(stage.count(begun, |sent| sent.is_get_peers()) >= 8);
}

#[test]
fn a_refused_announce_goes_to_the_next_closest() {
    let mut stage = Stage::joined(60);
    let near = closest(&stage);
    for (refusing, code) in [(near[0], 203), (near[3], 202)] {
        stage.hosts.get_mut(&refusing).unwrap().refuses_announces = Some(code);
    }
    let lookup = announce(&mut stage, 4242);
    let report = stage.finish(lookup);
    let holders = holders(&stage, 4242);
    assert_eq!((report.acknowledged, report.sent, holders.len()), (8, 10, 8));
    assert!(!holders.contains(&near[0]) && !holders.contains(&near[3]));
    assert!(report.duration < secs(2), "a refusal is not a timeout: {report:?}");
}

#[test]
fn an_announce_that_all_nodes_refuse_ends() {
    let mut stage = Stage::joined(60);
    for host in stage.hosts.values_mut() {
        host.refuses_announces = Some(203);
    }
    let lookup = announce(&mut stage, 4242);
    let report = stage.finish(lookup);
    assert_eq!((report.acknowledged, report.sent), (0, 16));
    assert_eq!(report.stored(), Err(PutError::Refused(ErrorCode::PROTOCOL)));
    let again = announce(&mut stage, 4242);
    assert!(stage.finish(again).stored().is_err(), "so does one with the tokens of the first");
}

#[test]
fn a_lost_announce_is_sent_once_more() {
    let mut stage = Stage::joined(60);
    let near = closest(&stage);
    let first = stage.act(|node, now| node.get_peers(now, infohash(1)).unwrap());
    stage.finish(first);
    for addr in &near[..3] {
        stage.hosts.get_mut(addr).unwrap().loses = 1;
    }
    let begun = stage.now;
    let lookup = announce(&mut stage, 4242);
    let report = stage.finish(lookup);
    assert_eq!(report.acknowledged, 8);
    assert!((9..=11).contains(&report.sent), "more than 8, in case it is lost again: {report:?}");
    let holders = holders(&stage, 4242);
    assert!(near.iter().all(|addr| holders.contains(addr)), "the closest store it: {holders:?}");
    for addr in &near[..3] {
        assert_eq!(stage.count(begun, |sent| sent.to == *addr && sent.is_announce()), 2);
    }
    assert!(report.duration < secs(3), "{report:?}");
}

#[test]
fn an_announce_ends_in_time_though_one_of_the_closest_nodes_has_died() {
    let mut stage = Stage::joined(60);
    let near = closest(&stage);
    let first = stage.act(|node, now| node.get_peers(now, infohash(1)).unwrap());
    stage.finish(first);
    stage.hosts.get_mut(&near[0]).unwrap().is_dead = true;
    let lookup = announce(&mut stage, 4242);
    let report = stage.finish(lookup);
    assert!(report.acknowledged >= 7, "{report:?}");
    assert!(report.duration < secs(4), "{report:?}");
}

#[test]
fn t_10_nodes_without_a_token_are_passed_over() {
    let mut stage = Stage::joined(60);
    let near = closest(&stage);
    for addr in &near[..3] {
        stage.hosts.get_mut(addr).unwrap().token = None;
    }
    let begun = stage.now;
    let lookup = announce(&mut stage, 4242);
    let report = stage.finish(lookup);
    assert_eq!(report.acknowledged, 8);
    assert_eq!(stage.count(begun, |sent| sent.is_announce() && near[..3].contains(&sent.to)), 0);
    let found: Vec<_> = stage.node.lookup_nodes(lookup).map(|node| node.addr).collect();
    assert_eq!(found, near, "but they are the closest nodes all the same");
}

#[test]
fn t_10_the_nodes_that_a_tokenless_answer_lists_are_used() {
    let mut stage = Stage::new(stage::config());
    (1..=20).for_each(|index| stage.host(index));
    stage.at(1).token = None;
    stage.act(|node, now| node.add_node(now, addr(1)).unwrap());
    stage.run(ms(85));
    let lookup = announce(&mut stage, 4242);
    assert_eq!(stage.finish(lookup).acknowledged, 8);
}

#[test]
fn q_13_the_port_may_be_implied() {
    let mut stage = Stage::joined(40);
    let lookup = stage.act(|node, now| node.announce(now, infohash(1), Announce::implied(4242)).unwrap());
    stage.finish(lookup);
    let announces: Vec<_> = stage.sent.iter().filter(|sent| sent.is_announce()).collect();
    assert_eq!(announces.len(), 8);
    for sent in announces {
        assert!(matches!(sent.what, What::Announce { port: 4242, implied: true, .. }), "{sent:?}");
    }
}

#[test]
fn q_10_port_zero_cannot_be_announced() {
    let mut stage = Stage::joined(20);
    let refused = stage.act(|node, now| node.announce(now, infohash(1), Announce::port(0)));
    assert_eq!(refused, Err(StartError::PortZero));
    assert_eq!(stage.node.lookup_count(), 0);
}

#[test]
fn a_single_node_can_be_announced_to() {
    let mut stage = Stage::joined(40);
    let mut options = LookupOptions::default();
    options.only = Some(addr(17));
    let what = Lookup::Announce(infohash(1), Announce::port(4242));
    let lookup = stage.act(|node, now| node.lookup(now, what, &options).unwrap());
    let report = stage.finish(lookup);
    assert_eq!((report.queried, report.acknowledged), (1, 1));
    assert_eq!(holders(&stage, 4242), [addr(17)]);
    // A query to a single node is not a lookup that an announce can continue from.
    let lookup = announce(&mut stage, 4343);
    assert_eq!(stage.finish(lookup).acknowledged, 8);
}

#[test]
fn a_single_announce_that_fails_ends() {
    for (is_dead, refuses) in [(true, None), (false, Some(203))] {
        let mut stage = Stage::joined(20);
        (stage.at(17).is_dead, stage.at(17).refuses_announces) = (is_dead, refuses);
        let mut options = LookupOptions::default();
        options.only = Some(addr(17));
        let what = Lookup::Announce(infohash(1), Announce::port(4242));
        let lookup = stage.act(|node, now| node.lookup(now, what, &options).unwrap());
        let report = stage.finish(lookup);
        assert_eq!((report.queried, report.acknowledged), (1, 0));
        assert!(report.duration <= secs(5));
    }
}

#[test]
fn many_torrents_can_be_announced_at_once() {
    let mut stage = Stage::joined(100);
    let lookups: Vec<_> = (1..=12)
        .map(|byte| stage.act(|node, now| node.announce(now, infohash(byte), Announce::port(4242)).unwrap()))
        .collect();
    for lookup in lookups {
        assert_eq!(stage.finish(lookup).acknowledged, 8);
    }
}
