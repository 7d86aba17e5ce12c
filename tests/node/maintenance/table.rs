//! Maintenance of the routing table: pings, refreshes and removals, and their bounds.

use std::collections::{BTreeMap, BTreeSet};

use dht_proto::wire::Method;
use dht_proto::{Event, Family, InfoHash, Lookup, LookupOptions, NodeId};

use crate::stage;
use crate::stage::{RTT, Sent, Stage, What, addr, find_node, id, infohash, ms, secs, sibling};

fn holds(stage: &Stage, index: usize) -> bool {
    stage.node.nodes(Family::V4).any(|node| node.addr == addr(index))
}

fn removed(stage: &Stage, index: usize) -> usize {
    let is_removal =
        |event: &&Event| matches!(event, Event::NodeRemoved { addr, .. } if *addr == stage::addr(index));
    stage.events.iter().filter(is_removal).count()
}

/// Adds a host in the half of the id space that is far from the node, where buckets are wide.
fn far_host(stage: &Stage) -> usize {
    let own = stage.node.id(Family::V4);
    (1..).find(|&index| own.common_prefix_len(&id(index)) == 0 && holds(stage, index)).unwrap()
}

#[test]
fn nodes_added_and_removed_are_reported() {
    let mut stage = Stage::joined(60);
    stage.at(20).is_dead = true;
    let dead = far_host(&stage);
    stage.at(dead).is_dead = true;
    stage.run(secs(3 * 3600));
    let mut known = BTreeSet::new();
    for event in &stage.events {
        match event {
            Event::NodeAdded { addr, .. } => assert!(known.insert(*addr), "{addr} was added twice"),
            Event::NodeRemoved { addr, .. } => assert!(known.remove(addr), "{addr} was not there"),
            _ => {}
        }
    }
    let held: BTreeSet<_> = stage.node.nodes(Family::V4).map(|node| node.addr).collect();
    assert_eq!(known, held);
    assert_eq!(stage.node.stats().events_lost, 0);
}

#[test]
fn f_03_dead_nodes_leave_the_table() {
    let mut stage = Stage::joined(60);
    let dead = far_host(&stage);
    stage.at(dead).is_dead = true;
    stage.run(secs(3 * 3600));
    assert!(!holds(&stage, dead));
    assert_eq!(removed(&stage, dead), 1);
    assert!(stage.node.node_count(Family::V4) >= 20, "and no other");
}

#[test]
fn f_03_dead_nodes_leave_a_tiny_table_as_well() {
    let mut stage = Stage::joined(3);
    assert!(holds(&stage, 2));
    stage.at(2).is_dead = true;
    stage.run(secs(4 * 3600));
    assert!(!holds(&stage, 2));
    assert!(holds(&stage, 1) && holds(&stage, 3));
}

#[test]
fn a_first_node_pings_a_reachable_contact_at_once_however_many_were_unreachable() {
    for (strangers, pause) in [(10, ms(0)), (20, ms(0)), (20, ms(200)), (20, secs(1)), (40, secs(3))] {
        let mut stage = Stage::new(stage::config());
        for index in 1..=strangers {
            stage.ask(addr(index), id(index), Method::Ping).unwrap();
            stage.run(pause);
        }
        stage.host(strangers + 1);
        let begun = stage.now;
        stage.ask(addr(strangers + 1), id(strangers + 1), Method::Ping).unwrap();
        let pings = stage.count(begun, |sent| sent.is_ping() && sent.to == addr(strangers + 1));
        assert_eq!(pings, 1, "after {strangers} unknown hosts, one each {pause:?}");
        stage.run(RTT);
        assert!(holds(&stage, strangers + 1));
    }
}

#[test]
fn a_flood_of_unknown_senders_leaves_half_of_the_allowance_to_lookups() {
    let mut stage = Stage::new(stage::config());
    stage.host(1);
    for index in 2..=1000 {
        stage.ask(addr(index), id(index), Method::Ping).unwrap();
    }
    let pinged = stage.count(stage.now, Sent::is_ping);
    assert!((20..=50).contains(&pinged), "{pinged} of a burst of a hundred");
    let begun = stage.now;
    let mut options = LookupOptions::default();
    options.only = Some(addr(1));
    stage.act(|node, now| node.lookup(now, Lookup::FindNode(NodeId::ZERO), &options).unwrap());
    assert_eq!(stage.count(begun, |sent| sent.to == addr(1)), 1);
}

#[test]
fn c_02_silent_nodes_are_pinged_before_they_become_questionable() {
    let mut stage = Stage::joined(60);
    let begun = stage.now;
    for _ in 0..20 {
        stage.run(secs(180));
        let good: usize = stage.node.closest_nodes(NodeId::ZERO, Family::V4).count();
        assert_eq!(good, 8, "there are always good nodes to list");
    }
    let count = stage.node.node_count(Family::V4);
    let pings = stage.count(begun, Sent::is_ping);
    assert!(pings <= count * 6, "{pings} pings in an hour to {count} nodes");
}

#[test]
fn r_11_quiet_buckets_are_refreshed_with_targets_in_their_range() {
    let mut stage = Stage::joined(200);
    stage.run(secs(60));
    // The nodes of one bucket are alive, but none is replaced: pings do not count if all are silent.
    let own = stage.node.id(Family::V4);
    stage.hosts.values_mut().filter(|host| own.common_prefix_len(&host.id) == 1).for_each(|host| {
        host.is_dead = true;
    });
    let begun = stage.now;
    stage.run(secs(1800));
    let targets: Vec<_> = stage
        .sent
        .iter()
        .filter(|sent| sent.at >= begun)
        .filter_map(|sent| match sent.what {
            What::FindNode(target) => Some((own.common_prefix_len(&target), target)),
            _ => None,
        })
        .collect();
    let in_bucket: BTreeSet<_> = targets.iter().filter(|(bits, _)| *bits == 1).map(|(_, t)| *t).collect();
    assert!(!in_bucket.is_empty() && in_bucket.len() <= 2, "{in_bucket:?}: every 15 minutes");
}

#[test]
fn r_10_a_bucket_in_use_is_not_refreshed() {
    let mut stage = Stage::joined(200);
    stage.run(secs(600));
    let begun = stage.now;
    let own = stage.node.id(Family::V4);
    for round in 0..20 {
        let mut target = *sibling(own, 0).as_bytes();
        target[19] = round;
        let lookup = stage.act(|node, now| node.get_peers(now, InfoHash::from_bytes(target)).unwrap());
        stage.finish(lookup);
        stage.run(secs(90));
    }
    let refreshes = stage.count(
        begun,
        |sent| matches!(sent.what, What::FindNode(target) if own.common_prefix_len(&target) == 0),
    );
    assert_eq!(refreshes, 0);
}

#[test]
fn r_15_and_r_18_a_known_id_does_not_move_to_another_address() {
    let mut stage = Stage::joined(40);
    let known = far_host(&stage);
    // An unknown host uses the id of a known one.
    stage.hosts.insert(addr(900), stage::Host::honest(id(known)));
    stage.ask(addr(900), id(known), Method::Ping);
    stage.act(|node, now| node.add_node(now, addr(900)).unwrap());
    stage.run(secs(120));
    assert!(holds(&stage, known) && !holds(&stage, 900));
}

#[test]
fn r_16_b45_08_a_node_that_changes_its_id_leaves_and_its_new_id_is_not_kept() {
    let mut stage = Stage::joined(40);
    let changed = far_host(&stage);
    stage.at(changed).id = id(901);
    stage.act(|node, now| node.ping(now, addr(changed)).unwrap());
    stage.run(secs(1));
    assert!(!holds(&stage, changed));
    assert_eq!(removed(&stage, changed), 1);
}

#[test]
fn r_17_a_query_alone_adds_no_node_to_the_table() {
    let mut stage = Stage::joined(40);
    let before = stage.node.node_count(Family::V4);
    for index in 1000..1100 {
        assert!(stage.ask(addr(index), id(index), find_node(id(index))).is_some());
    }
    stage.run(secs(300));
    assert_eq!(stage.node.node_count(Family::V4), before, "none of them answers a ping");
}

#[test]
fn r_21_a_newcomer_is_pinged_at_once_while_few_are_known_and_later_otherwise() {
    for (count, at_once) in [(10, true), (300, false)] {
        let mut stage = Stage::joined(count);
        assert_eq!(stage.node.node_count(Family::V4) < 32, at_once);
        stage.run(secs(300));
        let own = stage.node.id(Family::V4);
        let newcomer = (1000..).find(|&index| own.common_prefix_len(&id(index)) == 0).unwrap();
        stage.host(newcomer);
        stage.at(newcomer).is_listed = false;
        let begun = stage.now;
        stage.ask(addr(newcomer), id(newcomer), Method::Ping);
        stage.run(secs(20));
        assert_eq!(stage.count(begun, |sent| sent.to == addr(newcomer)) > 0, at_once);
        stage.run(secs(if at_once { 80 } else { 200 }));
        assert_eq!(stage.count(begun, |sent| sent.to == addr(newcomer)), 1);
        assert!(holds(&stage, newcomer));
    }
}

#[test]
fn b43_03_a_read_only_host_is_answered_but_neither_pinged_nor_kept() {
    let mut stage = Stage::joined(10);
    stage.host(900);
    (stage.at(900).is_listed, stage.at(900).read_only) = (false, true);
    let mut query = b"d1:ad2:id20:".to_vec();
    query.extend_from_slice(id(900).as_bytes());
    query.extend_from_slice(b"e1:q4:ping2:roi1e1:t2:aa1:y1:qe");
    let begun = stage.now;
    stage.hear(addr(900), &query);
    assert_eq!(stage.replies.last().unwrap().0, addr(900));
    stage.run(secs(300));
    assert_eq!(stage.count(begun, |sent| sent.to == addr(900)), 0);
    stage.act(|node, now| node.add_node(now, addr(900)).unwrap());
    stage.run(secs(10));
    assert!(!holds(&stage, 900), "B43-04: `ro` in an answer");
}

#[test]
fn b43_04_a_node_that_becomes_read_only_leaves_the_table() {
    let mut stage = Stage::joined(40);
    let node = far_host(&stage);
    stage.at(node).read_only = true;
    stage.run(secs(3600));
    assert!(!holds(&stage, node));
    assert!(stage.count(stage.now, |_| true) == 0 && removed(&stage, node) == 1);
}

#[test]
fn r_09_queries_of_unknown_nodes_cause_no_storm_of_pings() {
    let mut stage = Stage::joined(300);
    stage.run(secs(600));
    let begun = stage.now;
    let before = stage.node.node_count(Family::V4);
    // Ten thousand hosts in a quarter of an hour, none of which answers.
    for index in 0..10_000 {
        stage.ask(addr(2000 + index), id(2000 + index), find_node(id(index)));
        stage.run(ms(90));
    }
    let pings = stage.count(begun, Sent::is_ping);
    assert!(pings < 1500, "{pings} pings: more than one in flight in each bucket");
    assert!(stage.node.node_count(Family::V4) * 10 >= before * 9, "and no entry is evicted");
}

/// The nodes of the full bucket are silent in turn, so that there is always one to be pinged.
#[test]
fn r_09_a_full_bucket_has_at_most_one_ping_in_flight() {
    let mut small = stage::limits();
    (small.nodes_v4, small.replacements) = (64, 64);
    let mut stage = Stage::with_limits(stage::config(), &small);
    (1..=200).for_each(|index| stage.host(index));
    (1..=8).for_each(|index| stage.node.add_node(stage.now, addr(index)).unwrap());
    stage.run(secs(900));
    let own = stage.node.id(Family::V4);
    let is_far = |id: &NodeId| own.common_prefix_len(id) == 0;
    let far = |stage: &Stage| stage.node.nodes(Family::V4).filter(|node| is_far(&node.id)).count();
    assert_eq!(far(&stage), 8);
    let (begun, mut died) = (stage.now, BTreeMap::new());
    for index in (1000..20_000).filter(|index| is_far(&id(*index))) {
        // One new host in three answers; sometimes a known one stops answering.
        if index % 3 == 0 {
            stage.host(index);
            stage.at(index).is_listed = false;
        }
        if index % 500 == 0 {
            let known = stage.node.nodes(Family::V4).find(|node| is_far(&node.id)).expect("it is full");
            stage.hosts.get_mut(&known.addr).expect("it answered").is_dead = true;
            died.insert(known.addr, stage.now);
        }
        stage.ask(addr(index), id(index), find_node(id(index)));
        stage.run(ms(300));
    }
    let (mut free, mut pings) = (begun, 0);
    for ping in stage.sent.iter().filter(|sent| sent.at >= begun && sent.is_ping()) {
        let host = stage.hosts.get(&ping.to);
        // All hosts that never answer are in it.
        if host.is_none_or(|host| is_far(&host.id)) {
            assert!(ping.at >= free, "{ping:?} before {free:?}");
            let is_answered =
                host.is_some() && died.get(&ping.to).is_none_or(|died| ping.at + RTT / 2 < *died);
            free = ping.at + if is_answered { RTT } else { secs(5) };
            pings += 1;
        }
    }
    assert!(pings > 20, "{pings}");
    assert_eq!(far(&stage), 8);
}

#[test]
fn an_unknown_node_that_never_answers_is_not_pinged_for_ever() {
    let mut stage = Stage::new(stage::config());
    stage.ask(addr(7), id(7), Method::Ping);
    let begun = stage.now;
    stage.run(secs(12 * 3600));
    let pings = stage.count(begun, |sent| sent.to == addr(7) && sent.is_ping());
    assert!((1..=8).contains(&pings), "{pings} pings, though no other node answered either");
}

#[test]
fn r_20_b45_10_nodes_are_not_penalised_for_our_own_outage() {
    let mut stage = Stage::joined(100);
    let before: BTreeSet<_> = stage.node.nodes(Family::V4).map(|node| node.addr).collect();
    stage.is_offline = true;
    let begun = stage.now;
    stage.run(secs(2 * 3600));
    let after: BTreeSet<_> = stage.node.nodes(Family::V4).map(|node| node.addr).collect();
    assert_eq!(before, after);
    assert!(stage.node.stats().excused > 0);
    let (pings, all) = (stage.count(begun, Sent::is_ping), stage.count(begun, |_| true));
    assert!(pings <= 2 * 360 + 60, "{pings} pings: one in ten seconds after the first minute");
    assert!(all < 2 * 1800, "{all} queries in two hours without any answer");
    stage.is_offline = false;
    stage.run(secs(1200));
    assert_eq!(stage.node.closest_nodes(NodeId::ZERO, Family::V4).count(), 8);
}

#[test]
fn r_20_a_failure_counts_if_other_nodes_have_answered_since() {
    let mut stage = Stage::joined(100);
    let dead = far_host(&stage);
    stage.at(dead).is_dead = true;
    let excused = stage.node.stats().excused;
    stage.act(|node, now| node.ping(now, addr(dead)).unwrap());
    stage.act(|node, now| node.ping(now, addr(1)).unwrap());
    stage.run(secs(6));
    assert_eq!(stage.node.stats().excused, excused);
    assert_eq!(stage.node.stats().timed_out, 1);
}

#[test]
fn c_15_a_resumed_host_pings_the_nodes_of_its_table() {
    let mut stage = Stage::joined(60);
    stage.run(secs(30));
    let count = stage.node.node_count(Family::V4);
    assert_eq!(stage.node.closest_nodes(NodeId::ZERO, Family::V4).count(), 8);
    let begun = stage.now;
    stage.node.handle_resume(stage.now, secs(3600));
    assert_eq!(stage.node.closest_nodes(NodeId::ZERO, Family::V4).count(), 0, "all are questionable");
    stage.run(secs(60));
    let asked: BTreeSet<_> = stage.sent.iter().filter(|s| s.at >= begun).map(|s| s.to).collect();
    assert!(asked.len() * 10 >= count * 9, "{} of {count}", asked.len());
    assert_eq!(stage.node.closest_nodes(NodeId::ZERO, Family::V4).count(), 8);
    assert!(stage.node.node_count(Family::V4) >= count, "no node is penalised for sleep");
    // The clock of the caller continues as before.
    assert!(stage.node.poll_timeout().unwrap() < stage.now + secs(3600));
}

#[test]
fn t_05_t_08_a_resumed_host_does_not_use_old_tokens() {
    let mut stage = Stage::joined(60);
    let first = stage.act(|node, now| node.get_peers(now, infohash(1)).unwrap());
    stage.finish(first);
    stage.act(|node, now| node.handle_resume(now, secs(600)));
    stage.run(secs(60));
    let begun = stage.now;
    let second =
        stage.act(|node, now| node.announce(now, infohash(1), dht_proto::Announce::port(1)).unwrap());
    assert_eq!(stage.finish(second).acknowledged, 8);
    assert!(stage.count(begun, Sent::is_get_peers) >= 8);
}

#[test]
fn l_09_an_unreachable_node_fails_without_its_timeout() {
    let mut stage = Stage::joined(100);
    let gone = far_host(&stage);
    stage.at(gone).is_dead = true;
    stage.act(|node, now| node.ping(now, addr(gone)).unwrap());
    let open = stage.node.query_count();
    stage.run(ms(500));
    stage.act(|node, now| node.handle_unreachable(now, addr(gone)));
    assert_eq!(stage.node.query_count(), open - 1);
    stage.act(|node, now| node.handle_unreachable(now, addr(gone)));
    stage.act(|node, now| node.handle_unreachable(now, addr(4711)));
    assert_eq!(stage.node.stats().unreachable, 1, "no query was sent to them");
}

#[test]
fn the_budget_of_new_endpoints_limits_every_lookup() {
    let mut stage = Stage::joined(20);
    stage.run(secs(60));
    // Every host lists eight unknown hosts.
    let mut next = 10_000;
    let mut fresh = |count: usize| {
        next += count;
        (next - count..next).map(|index| (id(index), addr(index))).collect::<Vec<_>>()
    };
    for index in 1..=20 {
        stage.at(index).lists = Some(fresh(32));
    }
    let begun = stage.now;
    let mut options = LookupOptions::default();
    (options.alpha, options.k) = (255, 16);
    for byte in 0..10 {
        let lookup = Lookup::GetPeers(infohash(byte * 25));
        stage.act(|node, now| node.lookup(now, lookup, &options).unwrap());
    }
    for _ in 0..8 {
        stage.run(secs(1));
        let asked: BTreeSet<_> = stage.sent.iter().filter(|s| s.at >= begun).map(|s| s.to).collect();
        let known = 20;
        let allowed = known + 100 + 25 * (stage.now - begun).as_secs() as usize;
        assert!(asked.len() <= allowed, "{} in {:?}", asked.len(), stage.now - begun);
    }
    let asked: BTreeSet<_> = stage.sent.iter().filter(|s| s.at >= begun).map(|s| s.to).collect();
    assert!(asked.len() > 100, "{}: the burst is used", asked.len());
}

#[test]
fn a_node_of_a_port_message_is_pinged_and_kept_if_it_answers() {
    let mut stage = Stage::joined(10);
    stage.host(900);
    stage.at(900).is_listed = false;
    stage.act(|node, now| node.add_node(now, addr(900)).unwrap());
    assert!(stage.sent.iter().any(|sent| sent.to == addr(900) && sent.is_ping()));
    assert!(!holds(&stage, 900));
    stage.run(RTT * 2);
    assert!(holds(&stage, 900));
    stage.act(|node, now| node.add_node(now, addr(901)).unwrap());
    stage.run(secs(10));
    assert!(!holds(&stage, 901));
    let refused = stage.act(|node, now| node.add_node(now, ([192, 168, 1, 1], 6881).into()));
    assert_eq!(refused, Err(dht_proto::errors::ContactError::AddressRefused));
}

#[test]
fn an_idle_node_sends_little_in_an_hour() {
    let mut stage = Stage::joined(300);
    stage.run(secs(600));
    let begun = stage.now;
    stage.run(secs(3600));
    let (nodes, sent) = (stage.node.node_count(Family::V4), stage.count(begun, |_| true));
    assert!(sent < nodes * 12, "{sent} queries in an hour for {nodes} nodes");
}
