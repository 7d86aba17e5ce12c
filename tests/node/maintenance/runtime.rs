//! Changes while a node runs: disabled and enabled, read-only, another socket, sleep.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use dht_proto::errors::ContactError;
use dht_proto::wire::Method;
use dht_proto::{
    Announce, BootstrapKind, Event, Family, Instant, Lookup, LookupOptions, NodeId, PublicationId,
    QueryError, StartError,
};

use crate::stage::{RTT, Sent, Stage, What, addr, config, find_node, id, infohash, ms, secs};

/// The most new endpoints in one second: the burst, and the rate of that second.
const BURST: usize = 125;

fn set_enabled(stage: &mut Stage, enabled: bool) {
    stage.act(|node, now| node.set_enabled(now, Family::V4, enabled));
}

fn rebind(stage: &mut Stage) {
    stage.act(|node, now| node.handle_rebind(now, Family::V4));
}

fn sleep(stage: &mut Stage, seconds: u64) {
    stage.act(|node, now| node.handle_resume(now, secs(seconds)));
}

fn known(stage: &Stage) -> BTreeSet<SocketAddr> {
    stage.node.nodes(Family::V4).map(|node| node.addr).collect()
}

fn readies(stage: &Stage) -> usize {
    stage.events.iter().filter(|event| matches!(event, Event::Ready { .. })).count()
}

/// Returns the result of the only ping that the test has sent.
fn pong(stage: &Stage) -> Option<Result<NodeId, QueryError>> {
    stage.events.iter().find_map(|event| match event {
        Event::QueryDone { result, .. } => Some(result.map(|pong| pong.id)),
        _ => None,
    })
}

fn keep(stage: &mut Stage, byte: u8) -> PublicationId {
    stage.act(|node, now| node.start_announcing(now, infohash(byte), Announce::port(4242)).unwrap())
}

/// Returns the hosts to which a torrent was announced from `since` on.
fn holders(stage: &Stage, byte: u8, since: Instant) -> usize {
    let is_it = |sent: &&Sent| match &sent.what {
        What::Announce { infohash: of, .. } => sent.at >= since && *of == infohash(byte),
        _ => false,
    };
    stage.sent.iter().filter(is_it).map(|sent| sent.to).collect::<BTreeSet<_>>().len()
}

/// Returns the most hosts that were queried within one second of the two minutes from `since` on.
fn most_at_once(stage: &Stage, since: Instant) -> usize {
    let within = |second| {
        let from = since + secs(second);
        let sent = stage.sent.iter().filter(|sent| sent.at >= from && sent.at < from + secs(1));
        sent.map(|sent| sent.to).collect::<BTreeSet<_>>().len()
    };
    (0..120).map(within).max().unwrap()
}

#[test]
fn c_17_a_disabled_node_sends_and_accepts_nothing_and_keeps_its_state() {
    let mut stage = Stage::joined(60);
    keep(&mut stage, 1);
    stage.run(secs(60));
    let (before, own) = (known(&stage), stage.node.id(Family::V4));
    set_enabled(&mut stage, false);
    assert!(!stage.node.is_enabled(Family::V4) && !stage.node.is_ready(Family::V4));
    let (sent, dropped) = (stage.sent.len(), stage.node.stats().dropped.address);
    for _ in 0..8 {
        assert_eq!(stage.ask(addr(900), id(900), find_node(id(3))), None);
        stage.run(secs(3600));
    }
    assert_eq!(stage.sent.len(), sent, "not a datagram in eight hours");
    assert_eq!(stage.node.stats().dropped.address, dropped + 8);
    assert_eq!((known(&stage), stage.node.id(Family::V4)), (before, own));
}

#[test]
fn a_waiting_answer_is_not_sent_after_disabling() {
    for read_only in [false, true] {
        let mut stage = Stage::joined(20);
        let mut buf = [0; dht_proto::MAX_DATAGRAM];
        let ping = b"d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t2:aa1:y1:qe";
        stage.node.handle_datagram(stage.now, addr(900), ping);
        if read_only {
            stage.node.set_read_only(stage.now, true);
        } else {
            stage.node.set_enabled(stage.now, Family::V4, false);
        }
        let replies = stage.replies.len();
        stage.drain();
        assert_eq!(stage.replies.len(), replies);
        let dropped = stage.node.stats().dropped;
        assert_eq!((dropped.read_only, dropped.overflow), (read_only.into(), (!read_only).into()));
        assert!(stage.node.poll_transmit(stage.now, &mut buf).is_none());
    }
}

#[test]
fn c_17_lookups_and_queries_end_when_the_node_is_disabled_without_penalty_for_other_nodes() {
    let mut stage = Stage::joined(100);
    stage.at(100).is_dead = true;
    stage.act(|node, now| node.ping(now, addr(100)).unwrap());
    let lookup = stage.act(|node, now| node.get_peers(now, infohash(1)).unwrap());
    stage.run(RTT + ms(1));
    let before = known(&stage);
    assert!(stage.node.query_count() > 1 && stage.report(lookup).is_none());
    set_enabled(&mut stage, false);
    assert_eq!(pong(&stage), Some(Err(QueryError::Disabled)));
    let report = stage.report(lookup).expect("it has ended");
    assert!(report.answered > 0 && report.failed == 0, "{report:?}");
    assert_eq!((stage.node.query_count(), stage.node.lookup_count()), (0, 0));
    let stats = stage.node.stats();
    assert!(stats.interrupted > 1 && stats.timed_out == 0);
    stage.run(secs(30));
    set_enabled(&mut stage, true);
    assert_eq!(known(&stage), before);
}

#[test]
fn commands_to_a_disabled_node_fail_but_publications_are_accepted() {
    let mut stage = Stage::joined(60);
    set_enabled(&mut stage, false);
    let (now, node) = (stage.now, &mut stage.node);
    let disabled = StartError::Disabled;
    assert_eq!(node.ping(now, addr(1)), Err(ContactError::Disabled));
    assert_eq!(node.add_node(now, addr(1)), Err(ContactError::Disabled));
    assert_eq!(node.find_node(now, id(1)), Err(disabled));
    assert_eq!(node.get_peers(now, infohash(1)), Err(disabled));
    assert_eq!(node.announce(now, infohash(1), Announce::port(1)), Err(disabled));
    assert_eq!(node.bootstrap(now), Err(disabled));
    let mut options = LookupOptions::default();
    options.only = Some(addr(1));
    assert_eq!(node.lookup(now, Lookup::FindNode(id(1)), &options), Err(disabled));
    assert_eq!(node.ping(now, ([10, 0, 0, 1], 1).into()), Err(ContactError::AddressRefused));
    assert_eq!(node.add_bootstrap(now, addr(7), BootstrapKind::Router), Ok(()));
    keep(&mut stage, 1);
    stage.run(secs(60));
    let enabled = stage.now;
    set_enabled(&mut stage, true);
    stage.run(secs(60));
    assert_eq!(holders(&stage, 1, enabled), 8);
}

#[test]
fn c_17_a_node_that_is_enabled_again_joins_from_its_table_and_announces_again() {
    let mut stage = Stage::joined(100);
    for byte in 1..=5 {
        keep(&mut stage, byte * 40);
    }
    stage.run(secs(300));
    let before = known(&stage).len();
    set_enabled(&mut stage, false);
    stage.run(secs(2 * 3600));
    let (enabled, reported) = (stage.now, readies(&stage));
    set_enabled(&mut stage, true);
    stage.run(secs(120));
    assert!(stage.node.is_enabled(Family::V4) && stage.node.is_ready(Family::V4));
    assert_eq!(readies(&stage), reported + 1);
    for byte in 1..=5 {
        assert_eq!(holders(&stage, byte * 40, enabled), 8);
    }
    assert!(known(&stage).len() >= before);
    assert_eq!(stage.node.closest_nodes(NodeId::ZERO, Family::V4).count(), 8, "they were pinged");
    assert!(most_at_once(&stage, enabled) <= BURST, "and not all at once");
}

#[test]
fn an_interrupted_republish_is_the_first_when_the_node_is_enabled() {
    let mut stage = Stage::joined(100);
    let kept = keep(&mut stage, 1);
    stage.run(ms(100));
    assert!(stage.node.announcements().next().unwrap().round.is_some());
    set_enabled(&mut stage, false);
    let state = stage.node.announcements().next().unwrap();
    assert_eq!((state.id, state.round, state.last), (kept, None, None), "it has not failed");
    assert!(
        !stage.events.iter().any(|event| {
            matches!(event, Event::LookupDone { report, .. } if report.publication.is_some())
        })
    );
    let enabled = stage.now;
    set_enabled(&mut stage, true);
    stage.run(secs(30));
    assert_eq!(holders(&stage, 1, enabled), 8);
}

#[test]
fn c_17_enabling_an_enabled_node_changes_nothing() {
    let transcript = |repeats: usize| {
        let mut stage = Stage::joined(60);
        let lookup = stage.act(|node, now| node.get_peers(now, infohash(1)).unwrap());
        for enabled in [true, false, true, false, true] {
            for _ in 0..repeats {
                set_enabled(&mut stage, enabled);
                stage.act(|node, now| node.set_read_only(now, !enabled));
                // It is disabled in the config, and stays disabled.
                stage.act(|node, now| node.set_enabled(now, Family::V6, enabled));
                assert!(!stage.node.is_enabled(Family::V6));
            }
            stage.run(secs(7));
        }
        assert!(stage.report(lookup).is_some());
        (stage.transcript, stage.events)
    };
    assert_eq!(transcript(1), transcript(3));
}

#[test]
fn a_lookup_continues_in_one_family_when_the_other_is_disabled() {
    let mut config = config();
    config.ipv6 = true;
    let mut stage = Stage::new(config);
    (1..=60).for_each(|index| stage.host(index));
    (1..=8).for_each(|index| stage.node.add_node(stage.now, addr(index)).unwrap());
    stage.run(secs(60));
    let (kept, lookup) =
        (keep(&mut stage, 2), stage.act(|node, now| node.get_peers(now, infohash(1)).unwrap()));
    stage.run(RTT / 2);
    stage.act(|node, now| node.set_enabled(now, Family::V6, false));
    let v6 = SocketAddr::from(([0x2a00, 1, 0, 0, 0, 0, 0, 1], 6881));
    assert_eq!(stage.act(|node, now| node.ping(now, v6)), Err(ContactError::Disabled));
    assert!(stage.report(lookup).is_none() && stage.node.is_enabled(Family::V4));
    assert!(stage.finish(lookup).answered >= 8);
    stage.run(secs(30));
    let round = stage.node.announcements().find(|state| state.id == kept).unwrap().last.unwrap();
    assert_eq!(round.acknowledged, 8);
}

#[test]
fn b43_01_b43_02_read_only_is_switched_on_and_off() {
    let mut stage = Stage::joined(60);
    for (round, read_only) in [true, true, false, false, true].into_iter().enumerate() {
        stage.act(|node, now| node.set_read_only(now, read_only));
        assert_eq!(stage.node.is_read_only(), read_only);
        let (stranger, dropped) = (800 + round, stage.node.stats().dropped.read_only);
        let reply = stage.ask(addr(stranger), id(stranger), Method::Ping);
        assert_eq!(
            (reply.is_none(), stage.node.stats().dropped.read_only - dropped),
            (read_only, read_only.into())
        );
        let changed = stage.now;
        let lookup = stage.act(|node, now| node.announce(now, infohash(1), Announce::port(1)).unwrap());
        assert_eq!(stage.finish(lookup).acknowledged, 8);
        stage.run(secs(600));
        assert!(stage.count(changed, |_| true) > 8);
        assert!(stage.sent.iter().filter(|sent| sent.at >= changed).all(|sent| sent.read_only == read_only));
        let pinged = stage.count(changed, |sent| sent.to == addr(stranger) && sent.is_ping());
        assert_eq!(pinged == 0, read_only, "a host that is not answered is not added either");
    }
}

#[test]
fn t_05_a_rebound_node_keeps_id_and_table_and_forgets_its_tokens() {
    let mut stage = Stage::joined(100);
    let first = stage.act(|node, now| node.announce(now, infohash(1), Announce::port(1)).unwrap());
    stage.finish(first);
    stage.run(secs(5));
    let (before, own, reported) = (known(&stage), stage.node.id(Family::V4), readies(&stage));
    rebind(&mut stage);
    let rebound = stage.now;
    let second = stage.act(|node, now| node.announce(now, infohash(1), Announce::port(1)).unwrap());
    assert_eq!(stage.finish(second).acknowledged, 8);
    assert!(stage.count(rebound, Sent::is_get_peers) >= 8, "tokens are requested again");
    stage.run(secs(60));
    assert!(known(&stage).is_superset(&before) && stage.node.id(Family::V4) == own);
    assert_eq!(readies(&stage), reported + 1);
    assert!(stage.count(rebound, |sent| sent.what == What::FindNode(own)) >= 8, "it looks up its neighbours");
}

#[test]
fn t_05_an_announce_that_is_rebound_on_its_way_uses_no_token_of_the_old_address() {
    let mut stage = Stage::joined(100);
    let lookup = stage.act(|node, now| node.announce(now, infohash(1), Announce::port(1)).unwrap());
    while stage.count(Instant::ZERO, Sent::is_announce) < 3 {
        stage.step(stage.now + secs(1));
    }
    stage.hosts.values_mut().for_each(|host| host.token = Some(b"another".to_vec()));
    rebind(&mut stage);
    let rebound = stage.now;
    let report = stage.finish(lookup);
    assert_eq!((report.acknowledged, report.failed), (8, 0));
    assert!(report.acknowledged <= report.sent && report.answered <= report.queried);
    let is_old = |sent: &Sent| matches!(&sent.what, What::Announce { token, .. } if token == b"token");
    assert_eq!(stage.count(rebound + RTT, is_old), 0);
}

#[test]
fn c_18_a_rebound_node_repeats_its_queries_and_announces() {
    let mut stage = Stage::joined(100);
    let kept = keep(&mut stage, 1);
    stage.run(secs(120));
    let due = stage.node.announcements().next().unwrap().due.unwrap();
    assert!(due > stage.now + secs(600));
    stage.at(50).rtt = secs(3);
    stage.act(|node, now| node.ping(now, addr(50)).unwrap());
    stage.run(ms(20));
    let rebound = stage.now;
    stage.at(50).rtt = RTT;
    rebind(&mut stage);
    stage.run(secs(60));
    assert_eq!(pong(&stage), Some(Ok(id(50))));
    assert_eq!(stage.count(rebound, |sent| sent.to == addr(50) && sent.is_ping()), 1);
    assert_eq!(holders(&stage, 1, rebound), 8);
    assert_eq!(stage.node.announcements().next().unwrap().id, kept);
}

#[test]
fn c_15_queries_interrupted_by_sleep_are_repeated_and_not_counted_as_failures() {
    for seconds in [6, 3600] {
        let mut stage = Stage::joined(100);
        let before = known(&stage);
        stage.act(|node, now| node.ping(now, addr(50)).unwrap());
        let get_peers = stage.act(|node, now| node.get_peers(now, infohash(1)).unwrap());
        let announce = stage.act(|node, now| node.announce(now, infohash(99), Announce::port(1)).unwrap());
        while stage.count(Instant::ZERO, Sent::is_announce) < 3 {
            stage.step(stage.now + secs(1));
        }
        let other = stage.act(|node, now| node.find_node(now, id(7777)).unwrap());
        assert!(stage.node.query_count() > 3);
        // What arrives meanwhile is lost, and tokens of an hour ago are invalid.
        stage.is_offline = true;
        let timed_out = stage.node.stats().timed_out;
        stage.run(ms(200));
        stage.is_offline = false;
        if seconds == 3600 {
            stage.hosts.values_mut().for_each(|host| host.token = Some(b"another".to_vec()));
        }
        sleep(&mut stage, seconds);
        assert!(stage.node.stats().interrupted > 3);
        for lookup in [get_peers, announce, other] {
            let report = stage.finish(lookup);
            assert_eq!(report.failed, 0, "{report:?}");
            assert!(report.answered >= 8 && report.answered <= report.queried);
            assert_eq!(report.acknowledged, if lookup == announce { 8 } else { 0 });
        }
        stage.run(secs(20));
        assert_eq!(pong(&stage), Some(Ok(id(50))));
        assert_eq!(stage.node.stats().timed_out, timed_out);
        assert!(known(&stage).is_superset(&before));
        assert!(!stage.events.iter().any(|event| matches!(event, Event::NodeRemoved { .. })));
    }
}

#[test]
fn c_15_a_resumed_host_checks_its_nodes_one_by_one() {
    let mut stage = Stage::joined(300);
    stage.run(secs(60));
    let (resumed, count) = (stage.now, stage.node.node_count(Family::V4));
    sleep(&mut stage, 3600);
    stage.run(secs(120));
    let asked: BTreeSet<_> =
        stage.sent.iter().filter(|sent| sent.at >= resumed).map(|sent| sent.to).collect();
    assert!(asked.len() * 10 >= count * 9, "{} of {count}", asked.len());
    assert!(most_at_once(&stage, resumed) <= BURST);
}
