//! Joining the DHT: from nothing, through bootstrap hosts, and again after an outage.

use dht_proto::errors::{ContactError, Limit};
use dht_proto::wire::{Body, Message, Method};
use dht_proto::{Announce, BootstrapKind, Event, Family, LookupKind, LookupReport, Node, NodeId};

use crate::stage;
use crate::stage::{Stage, What, addr, find_node, id, infohash, ms, secs, sibling};

/// Creates a node with hosts 1 and 2 as its bootstrap hosts.
fn new_node(hosts: usize) -> Stage {
    let mut stage = Stage::new(stage::config());
    (1..=hosts).for_each(|index| stage.host(index));
    for index in [1, 2] {
        stage.act(|node, now| node.add_bootstrap(now, addr(index), BootstrapKind::Router).unwrap());
    }
    stage
}

fn bootstraps(stage: &Stage) -> Vec<LookupReport> {
    let reports = stage.events.iter().filter_map(|event| match event {
        Event::LookupDone { report, .. } if report.kind == LookupKind::Bootstrap => Some(*report),
        _ => None,
    });
    reports.collect()
}

fn count_ready(stage: &Stage) -> usize {
    stage.events.iter().filter(|event| matches!(event, Event::Ready { family: Family::V4 })).count()
}

fn holds(stage: &Stage, index: usize) -> bool {
    stage.node.nodes(Family::V4).any(|node| node.addr == addr(index))
}

#[test]
fn r_12_b45_09_a_new_node_looks_up_its_own_id_and_is_ready() {
    let mut stage = new_node(50);
    assert!(!stage.node.is_ready(Family::V4));
    stage.run(ms(10));
    let own = stage.node.id(Family::V4);
    let first = &stage.sent[0];
    assert_eq!((&first.what, first.to), (&What::FindNode(own), addr(1)));
    stage.run(secs(30));
    assert!(stage.node.is_ready(Family::V4));
    assert_eq!(count_ready(&stage), 1);
    assert!(stage.node.node_count(Family::V4) >= 20, "{}", stage.node.node_count(Family::V4));
    for (_, addr) in stage.closest_hosts(own, addr(0)) {
        let is_bootstrap = [stage::addr(1), stage::addr(2)].contains(&addr);
        assert!(is_bootstrap || stage.node.nodes(Family::V4).any(|node| node.addr == addr), "{addr}");
    }
}

#[test]
fn c_10_a_bootstrap_reports_its_statistics() {
    let mut stage = new_node(40);
    stage.at(2).is_dead = true;
    stage.run(secs(30));
    let report = bootstraps(&stage)[0];
    assert_eq!(report.target, stage.node.id(Family::V4));
    assert!(report.queried >= report.answered + report.failed);
    assert!(report.answered >= 8 && report.peers == 0, "{report:?}");
    assert!(report.duration > ms(80) && report.duration < secs(8), "{report:?}");
}

#[test]
fn c_10_a_user_may_bootstrap_too() {
    let mut stage = Stage::joined(40);
    let lookup = stage.act(|node, now| node.bootstrap(now).unwrap());
    let report = stage.finish(lookup);
    assert_eq!((report.kind, report.failed), (LookupKind::Bootstrap, 0));
    assert!(report.answered >= 8);
    assert_eq!(count_ready(&stage), 1, "ready once");
}

#[test]
fn r_19_bootstrap_hosts_leave_the_table_once_another_node_is_known() {
    for (hosts, most) in [(100, 0), (20, 15)] {
        let mut stage = new_node(hosts);
        for index in [1, 2] {
            stage.at(index).is_listed = false;
        }
        stage.run(secs(120));
        assert!(stage.node.node_count(Family::V4) >= 8);
        assert!(!holds(&stage, 1) && !holds(&stage, 2));
        let begun = stage.now;
        stage.run(secs(3600));
        let asked = stage.count(begun, |sent| sent.to == addr(1));
        assert!(asked <= most, "{asked}: every four minutes, while so few are known");
    }
}

#[test]
fn a_bootstrap_host_that_is_added_as_a_node_enters_the_table() {
    let mut stage = Stage::new(stage::config());
    (1..=3).for_each(|index| stage.host(index));
    for (index, kind) in [(1, BootstrapKind::Router), (2, BootstrapKind::Node), (3, BootstrapKind::Node)] {
        stage.at(index).is_listed = false;
        stage.act(|node, now| node.add_bootstrap(now, addr(index), kind).unwrap());
    }
    stage.run(secs(30));
    assert!(holds(&stage, 2) && holds(&stage, 3) && !holds(&stage, 1));
    let answer = stage.ask(addr(99), id(99), find_node(NodeId::ZERO)).unwrap();
    let Body::Response(response) = Message::parse(&answer).unwrap().body else { panic!() };
    assert_eq!(response.nodes.map(|nodes| nodes.len()), Some(2), "and is listed");
    // Once it is added as a router, it is spared from then on, and a later call does not undo that.
    for kind in [BootstrapKind::Router, BootstrapKind::Node] {
        stage.act(|node, now| node.add_bootstrap(now, addr(2), kind).unwrap());
        stage.run(secs(600));
        assert!(!holds(&stage, 2) && holds(&stage, 3));
    }
}

#[test]
fn a_bootstrap_host_that_is_added_while_a_bootstrap_fails_is_queried_at_once() {
    for kind in [BootstrapKind::Router, BootstrapKind::Node] {
        let mut stage = Stage::new(stage::config());
        (1..=40).for_each(|index| stage.host(index));
        stage.at(1).is_dead = true;
        stage.act(|node, now| node.add_bootstrap(now, addr(1), kind).unwrap());
        let get_peers = stage.act(|node, now| node.get_peers(now, infohash(1)).unwrap());
        // While its answer is awaited, and after the query has stalled.
        for (index, wait) in [(2, ms(1)), (3, secs(4))] {
            stage.run(wait);
            stage.at(index).is_dead = index == 2;
            let begun = stage.now;
            stage.act(|node, now| node.add_bootstrap(now, addr(index), kind).unwrap());
            let asked = stage.sent.iter().filter(|sent| sent.at == begun && sent.to == addr(index));
            assert!(asked.count() >= 2, "by the bootstrap, and by a lookup without answers");
        }
        stage.run(secs(1));
        assert!(stage.node.is_ready(Family::V4));
        stage.finish(get_peers);
    }
}

#[test]
fn a_first_node_is_queried_at_once_after_a_failed_bootstrap() {
    let mut stage = new_node(30);
    for index in [1, 2] {
        stage.at(index).is_dead = true;
    }
    for round in 0..60 {
        // Others answer all the time, so the link was never down.
        stage.run(secs(20));
        stage.ask(addr(1000), id(1000), Method::Ping);
        assert!(round > 0 || !stage.node.is_ready(Family::V4));
    }
    stage.act(|node, now| node.add_node(now, addr(3)).unwrap());
    stage.run(secs(1));
    assert!(stage.node.is_ready(Family::V4));
}

#[test]
fn a_request_to_rejoin_while_a_bootstrap_fails_starts_another_at_once() {
    let mut stage = new_node(30);
    for index in [1, 2] {
        stage.at(index).is_dead = true;
    }
    stage.run(ms(100));
    stage.act(|node, now| node.clear_nodes(now));
    let mut since = stage.now;
    while bootstraps(&stage).is_empty() {
        since = stage.now;
        stage.run(ms(10));
    }
    stage.run(ms(10));
    assert_eq!(stage.count(since, |sent| sent.to == addr(1)), 1, "at once instead of after five seconds");
}

#[test]
fn nodes_that_were_found_lying_do_not_end_bootstrap_for_ever() {
    let mut stage = Stage::new(stage::config());
    (1..=60).for_each(|index| stage.host(index));
    let own = stage.node.id(Family::V4);
    let liars: Vec<_> = (2..=9).map(|index| (sibling(own, 24 + index), addr(index))).collect();
    for (index, (id, _)) in (2..=9).zip(&liars) {
        (stage.at(index).id, stage.at(index).is_listed) = (*id, false);
        stage.at(index).lists = Some(liars.clone());
    }
    stage.at(1).is_dead = true;
    stage.at(1).rtt = secs(1);
    stage.act(|node, now| node.add_bootstrap(now, addr(1), BootstrapKind::Router).unwrap());
    for (_, addr) in &liars {
        stage.act(|node, now| node.add_node(now, *addr).unwrap());
    }
    stage.run(secs(1200));
    assert_eq!(stage.node.node_count(Family::V4), 8, "the host has timed out, and only the liars are known");
    stage.at(1).is_dead = false;
    stage.run(secs(600));
    assert!(stage.node.node_count(Family::V4) >= 20, "{}", stage.node.node_count(Family::V4));
}

#[test]
fn r_19_bootstrap_hosts_that_others_list_do_not_enter_the_table_either() {
    let mut stage = new_node(40);
    stage.run(secs(600));
    assert!(!holds(&stage, 1) && !holds(&stage, 2));
}

#[test]
fn r_19_a_bootstrap_host_that_is_the_only_known_node_is_kept_but_never_listed() {
    let mut stage = new_node(2);
    stage.at(2).is_dead = true;
    stage.run(secs(30));
    assert!(holds(&stage, 1));
    let answer = stage.ask(addr(99), id(99), find_node(NodeId::ZERO)).unwrap();
    let Body::Response(response) = Message::parse(&answer).unwrap().body else { panic!() };
    let listed: Vec<_> = response.nodes.iter().flat_map(|nodes| nodes.iter()).collect();
    assert_eq!(listed, []);
}

#[test]
fn r_19_a_bootstrap_host_that_queries_us_does_not_enter_the_table() {
    let mut stage = new_node(40);
    stage.run(secs(60));
    let begun = stage.now;
    for _ in 0..20 {
        stage.ask(addr(1), id(1), find_node(NodeId::ZERO));
        stage.run(secs(60));
    }
    assert!(!holds(&stage, 1));
    assert_eq!(stage.count(begun, |sent| sent.is_ping() && sent.to == addr(1)), 0, "nor is it pinged");
}

#[test]
fn r_19_a_node_that_is_later_added_as_a_bootstrap_host_leaves_the_table() {
    let mut stage = Stage::joined(40);
    let known = stage.node.nodes(Family::V4).next().unwrap().addr;
    stage.act(|node, now| node.add_bootstrap(now, known, BootstrapKind::Router).unwrap());
    stage.run(secs(600));
    assert!(stage.node.nodes(Family::V4).all(|node| node.addr != known));
    // Unless it is the only known node.
    let mut stage = Stage::joined(1);
    stage.act(|node, now| node.add_bootstrap(now, addr(1), BootstrapKind::Router).unwrap());
    stage.run(secs(600));
    assert!(holds(&stage, 1));
    stage.host(5);
    stage.act(|node, now| node.add_node(now, addr(5)).unwrap());
    stage.run(secs(10));
    assert!(holds(&stage, 5) && !holds(&stage, 1));
}

#[test]
fn l_12_a_bootstrap_without_answers_is_retried_after_growing_pauses() {
    let mut stage = new_node(20);
    let begun = stage.now;
    stage.hosts.values_mut().for_each(|host| host.is_dead = true);
    stage.run(secs(3600));
    let failed = bootstraps(&stage);
    assert!(failed.len() >= 15, "{} in an hour: at least every four minutes", failed.len());
    assert!(failed.len() <= 24, "{} in an hour", failed.len());
    assert!(failed.iter().all(|report| report.answered == 0 && report.failed == 2));
    let soon = stage.sent.iter().filter(|sent| sent.at < begun + secs(60));
    assert!(soon.count() >= 8, "several tries in the first minute");
    assert!(!stage.node.is_ready(Family::V4));
    stage.hosts.values_mut().for_each(|host| host.is_dead = false);
    stage.run(secs(300));
    assert!(stage.node.is_ready(Family::V4));
}

#[test]
fn l_12_a_table_of_few_nodes_is_refilled_from_time_to_time() {
    let mut stage = new_node(20);
    stage.run(secs(3600));
    let count = bootstraps(&stage).len();
    assert!((13..=17).contains(&count), "{count}: every four minutes");
    let mut stage = new_node(100);
    stage.run(secs(3600));
    assert!(bootstraps(&stage).len() <= 2, "but not where many are known");
}

#[test]
fn a_node_bootstraps_though_one_of_two_hosts_is_dead() {
    let mut stage = new_node(40);
    stage.at(1).is_dead = true;
    stage.run(secs(20));
    assert!(stage.node.is_ready(Family::V4));
    assert!(stage.node.node_count(Family::V4) >= 20);
}

#[test]
fn nodes_behind_a_second_hop_are_found() {
    // The bootstrap hosts know only host 3, and only that knows the others.
    let mut stage = new_node(40);
    for index in [1, 2] {
        stage.at(index).lists = Some(vec![(id(3), addr(3))]);
    }
    stage.run(secs(30));
    assert!(stage.node.node_count(Family::V4) >= 20);
}

#[test]
fn a_bootstrap_host_may_list_itself_us_and_the_same_node_twice() {
    let mut stage = new_node(20);
    let own = stage.node.id(Family::V4);
    let lists = vec![(id(1), addr(1)), (own, addr(777)), (id(3), addr(3)), (id(3), addr(3))];
    stage.at(1).lists = Some(lists);
    stage.run(secs(30));
    assert!(stage.node.node_count(Family::V4) >= 8);
    assert!(!stage.sent.iter().any(|sent| sent.to == addr(777)));
    assert!(stage.node.nodes(Family::V4).all(|node| node.id != own));
}

#[test]
fn a_node_without_bootstrap_hosts_sends_nothing() {
    let mut stage = Stage::new(stage::config());
    stage.run(secs(7200));
    assert_eq!((stage.sent.len(), stage.events.len()), (0, 0));
    let lookup = stage.act(|node, now| node.bootstrap(now).unwrap());
    let report = stage.finish(lookup);
    assert_eq!((report.queried, report.answered), (0, 0));
    stage.host(1);
    stage.act(|node, now| node.add_node(now, addr(1)).unwrap());
    stage.run(secs(10));
    assert!(stage.node.is_ready(Family::V4), "one node is enough to join");
}

#[test]
fn a_first_node_ends_the_pause_between_bootstraps() {
    let mut stage = new_node(30);
    for index in [1, 2] {
        stage.at(index).is_dead = true;
    }
    stage.run(secs(1500));
    stage.act(|node, now| node.add_node(now, addr(3)).unwrap());
    stage.run(secs(2));
    assert!(stage.node.is_ready(Family::V4));
}

#[test]
fn bootstrap_addresses_are_checked_and_counted() {
    let mut stage = Stage::new(stage::config());
    let add =
        |stage: &mut Stage, addr| stage.act(|node, now| node.add_bootstrap(now, addr, BootstrapKind::Router));
    assert_eq!(add(&mut stage, ([127, 0, 0, 1], 1).into()), Err(ContactError::AddressRefused));
    assert_eq!(add(&mut stage, "[2a00::1]:1".parse().unwrap()), Err(ContactError::AddressRefused));
    for index in 1..=32 {
        assert_eq!(add(&mut stage, addr(index)), Ok(()));
    }
    assert_eq!(add(&mut stage, addr(5)), Ok(()), "known");
    assert_eq!(add(&mut stage, addr(33)), Err(ContactError::Full { limit: Limit::Bootstraps, size: 32 }));
}

#[test]
fn a_removed_bootstrap_host_frees_its_slot_and_is_not_queried() {
    let mut stage = Stage::new(stage::config());
    for index in 1..=32 {
        stage.act(|node, now| node.add_bootstrap(now, addr(index), BootstrapKind::Node).unwrap());
    }
    assert!(stage.node.remove_bootstrap(addr(7)) && !stage.node.remove_bootstrap(addr(7)));
    stage.act(|node, now| node.add_bootstrap(now, addr(33), BootstrapKind::Node).unwrap());
    let full = ContactError::Full { limit: Limit::Bootstraps, size: 32 };
    assert_eq!(stage.act(|node, now| node.add_bootstrap(now, addr(34), BootstrapKind::Node)), Err(full));
    stage.run(secs(30));
    let is_asked = |index| stage.sent.iter().any(|sent| sent.to == addr(index));
    assert!(is_asked(33) && is_asked(6) && is_asked(8) && !is_asked(7));

    // The only known node must not count as one of many.
    let mut stage = new_node(1);
    stage.run(secs(5));
    assert!(holds(&stage, 1) && !stage.node.remove_bootstrap(addr(1)));
    assert!(stage.node.remove_bootstrap(addr(2)));
}

#[test]
fn c_19_a_lookup_before_any_contact_is_known_waits_for_one() {
    let mut stage = Stage::new(stage::config());
    (1..=40).for_each(|index| stage.host(index));
    let peer = ([77, 1, 1, 1], 1).into();
    stage.hosts.values_mut().for_each(|host| host.peers = vec![peer]);
    let get = stage.act(|node, now| node.get_peers(now, infohash(1)).unwrap());
    let announce = stage.act(|node, now| node.announce(now, infohash(2), Announce::port(1)).unwrap());
    stage.run(secs(5));
    assert_eq!(stage.node.lookup_count(), 2);
    stage.act(|node, now| node.add_bootstrap(now, addr(1), BootstrapKind::Router).unwrap());
    assert_eq!(stage.finish(announce).acknowledged, 8);
    stage.finish(get);
    assert_eq!(stage.peers_of(get), [peer]);
}

#[test]
fn c_19_a_lookup_waits_for_a_node_that_answers_a_ping_as_well() {
    let mut stage = Stage::new(stage::config());
    (1..=40).for_each(|index| stage.host(index));
    let announce = stage.act(|node, now| node.announce(now, infohash(2), Announce::port(1)).unwrap());
    stage.run(secs(9));
    stage.act(|node, now| node.add_node(now, addr(1)).unwrap());
    assert_eq!(stage.finish(announce).acknowledged, 8);
}

#[test]
fn a_lookup_without_candidates_ends_with_an_empty_report() {
    let mut stage = Stage::new(stage::config());
    let begun = stage.now;
    let first = stage.act(|node, now| node.get_peers(now, infohash(1)).unwrap());
    stage.run(secs(6));
    let second = stage.act(|node, now| node.get_peers(now, infohash(2)).unwrap());
    let report = stage.finish(first);
    assert_eq!(stage.now - begun, secs(10), "a later lookup does not delay it");
    assert_eq!((report.queried, report.peers, report.duration), (0, 0, secs(10)));
    stage.finish(second);
    assert_eq!(stage.now - begun, secs(16));
    assert_eq!(stage.node.lookup_count(), 0);
}

#[test]
fn a_lookup_whose_bootstrap_hosts_are_dead_ends() {
    let mut stage = new_node(2);
    stage.hosts.values_mut().for_each(|host| host.is_dead = true);
    let begun = stage.now;
    let lookup = stage.act(|node, now| node.get_peers(now, infohash(1)).unwrap());
    let report = stage.finish(lookup);
    assert_eq!((report.queried, report.failed), (2, 2));
    assert!(stage.now - begun <= secs(10));
}

#[test]
fn r_13_saved_nodes_are_unverified_until_they_answer() {
    let stage = Stage::joined(40);
    let saved: Vec<_> = stage.node.nodes(Family::V4).map(|node| node.addr).collect();
    let mut restored = Stage::new(stage::config());
    (1..=40).for_each(|index| restored.host(index));
    let dead = saved[3];
    restored.hosts.get_mut(&dead).unwrap().is_dead = true;
    for addr in &saved {
        restored.act(|node, now| node.add_node(now, *addr).unwrap());
    }
    assert_eq!(restored.node.node_count(Family::V4), 0);
    restored.run(secs(10));
    assert!(restored.node.is_ready(Family::V4));
    for addr in saved.iter().filter(|addr| **addr != dead) {
        assert!(restored.node.nodes(Family::V4).any(|node| node.addr == *addr), "{addr}");
    }
    assert!(restored.node.nodes(Family::V4).all(|node| node.addr != dead));
}

#[test]
fn a_node_looks_up_its_neighbours_even_if_many_nodes_answer_at_once() {
    let mut stage = Stage::new(stage::config());
    (1..=60).for_each(|index| stage.host(index));
    for index in 1..=50 {
        stage.act(|node, now| node.add_node(now, addr(index)).unwrap());
    }
    stage.run(secs(2));
    let own = stage.node.id(Family::V4);
    assert!(stage.node.is_ready(Family::V4));
    assert!(stage.sent.iter().any(|sent| sent.what == What::FindNode(own)));
}

#[test]
fn r_12_the_first_node_starts_a_lookup_of_our_own_id() {
    for reported in [true, false] {
        let mut stage = Stage::new(stage::config());
        stage.host(1);
        if reported {
            stage.act(|node, now| node.add_node(now, addr(1)).unwrap());
        } else {
            stage.ask(addr(1), id(1), Method::Ping).unwrap();
        }
        stage.run(secs(10));
        let own = stage.node.id(Family::V4);
        let methods: Vec<_> = stage.sent.iter().map(|sent| &sent.what).take(2).collect();
        assert_eq!(methods, [&What::Ping, &What::FindNode(own)], "reported: {reported}");
    }
}

#[test]
fn r_13_a_restored_node_has_its_id_and_its_nodes() {
    let stage = Stage::joined(40);
    let own = stage.node.id(Family::V4);
    let mut config = stage::config();
    config.id = Some(own);
    // Another seed, so that no id is drawn twice.
    let mut restored = Stage::on(Node::new(config, &stage::limits(), [8; 32], stage.now), stage.now);
    (1..=40).for_each(|index| restored.host(index));
    for node in stage.node.nodes(Family::V4) {
        restored.act(|restored, now| restored.add_node(now, node.addr).unwrap());
    }
    // Entries that a damaged file may contain.
    for bad in [([0, 0, 0, 0], 6881), ([127, 0, 0, 1], 6881), ([60, 0, 1, 1], 0), ([224, 0, 0, 1], 1)] {
        let added = restored.act(|node, now| node.add_node(now, bad.into()));
        assert_eq!(added, Err(ContactError::AddressRefused));
    }
    assert_eq!(restored.node.id(Family::V4), own);
    let listed = |stage: &mut Stage| {
        let answer = stage.ask(addr(99), id(99), find_node(NodeId::ZERO)).unwrap();
        let Body::Response(response) = Message::parse(&answer).unwrap().body else { panic!() };
        assert_eq!(response.id, own);
        response.nodes.map_or(0, |nodes| nodes.len())
    };
    assert_eq!(listed(&mut restored), 0, "no node has answered yet");
    restored.run(secs(10));
    assert_eq!(listed(&mut restored), 8);
}

#[test]
fn r_20_a_small_table_is_refilled_after_an_outage() {
    let mut stage = new_node(25);
    stage.run(secs(400));
    let nodes = stage.node.node_count(Family::V4);
    stage.is_offline = true;
    stage.run(secs(3600));
    assert_eq!(stage.node.node_count(Family::V4), nodes, "no node is penalised for our own outage");
    let (done, ready) = (bootstraps(&stage).len(), count_ready(&stage));
    stage.is_offline = false;
    stage.run(secs(250));
    assert!(bootstraps(&stage)[done..].iter().any(|report| report.answered >= 8));
    assert_eq!(count_ready(&stage), ready + 1);
}
