//! Lookups and queries that have ended: their ids are invalid, and all they used is freed.

use std::collections::BTreeSet;

use dht_proto::errors::{ContactError, Limit};
use dht_proto::{Announce, BootstrapKind, Event, Family, Limits, LookupId, StartError};
use proptest::prelude::*;

use crate::stage;
use crate::stage::{Stage, addr, infohash, ms, secs};

fn get_peers(stage: &mut Stage, byte: u8) -> LookupId {
    stage.act(|node, now| node.get_peers(now, infohash(byte)).unwrap())
}

/// Lets everything that is running end.
fn settle(stage: &mut Stage) {
    stage.run(secs(6));
    assert_eq!(stage.node.query_count(), 0);
}

/// Lets everything end without answers, and without polling events meanwhile.
fn end_unheard(stage: &mut Stage) {
    let mut buf = [0; dht_proto::MAX_DATAGRAM];
    for _ in 0..40 {
        while stage.node.poll_transmit(stage.now, &mut buf).is_some() {}
        stage.now = stage.now + secs(1);
        stage.node.handle_timeout(stage.now);
    }
}

fn mentions(event: &Event, lookup: LookupId) -> bool {
    match event {
        Event::Peer { lookup: id, .. }
        | Event::Acknowledged { lookup: id, .. }
        | Event::LookupDone { lookup: id, .. } => *id == lookup,
        _ => false,
    }
}

#[test]
fn a_lookup_that_has_ended_cannot_be_cancelled() {
    let mut stage = Stage::joined(40);
    let lookup = get_peers(&mut stage, 1);
    stage.finish(lookup);
    assert!(!stage.node.cancel(lookup));
    assert!(stage.node.lookup_nodes(lookup).count() == 8, "but its nodes are there until the next input");
    let next = get_peers(&mut stage, 2);
    assert_ne!(lookup, next);
    assert!(!stage.node.cancel(lookup), "the id of an ended lookup is not that of a later one");
    assert_eq!(stage.node.lookup_count(), 1);
    assert!(stage.node.cancel(next));
    assert!(!stage.node.cancel(next));
}

#[test]
fn every_lookup_has_an_id_of_its_own() {
    let mut stage = Stage::joined(20);
    let mut ids = BTreeSet::new();
    for _ in 0..100 {
        let lookup = get_peers(&mut stage, 1);
        assert!(ids.insert(lookup));
        assert!(stage.node.cancel(lookup));
    }
    for _ in 0..20 {
        let lookup = stage.act(|node, now| node.announce(now, infohash(1), Announce::port(1)).unwrap());
        assert!(ids.insert(lookup), "also of one that reuses tokens");
        stage.finish(lookup);
    }
}

#[test]
fn a_cancelled_lookup_reports_nothing_and_frees_all_it_used() {
    let mut stage = Stage::joined(40);
    stage.hosts.values_mut().for_each(|host| host.peers = vec![addr(99)]);
    let asked = stage.now;
    let lookup = stage.act(|node, now| node.announce(now, infohash(1), Announce::port(1)).unwrap());
    stage.run(ms(30));
    assert!(stage.node.query_count() >= 8);
    assert!(stage.node.cancel(lookup));
    assert_eq!(stage.node.lookup_count(), 0);
    let sent = stage.count(asked, |sent| sent.is_get_peers());
    settle(&mut stage);
    assert_eq!(stage.count(asked, |sent| sent.is_get_peers()), sent, "it sends no more queries");
    assert!(!stage.events.iter().any(|event| mentions(event, lookup)));
    assert_eq!(stage.node.lookup_nodes(lookup).count(), 0);
}

#[test]
fn a_lookup_can_be_cancelled_before_its_first_query_and_after_its_last() {
    let mut stage = Stage::joined(40);
    let lookup = stage.node.get_peers(stage.now, infohash(1)).unwrap();
    assert!(stage.node.cancel(lookup));
    settle(&mut stage);
    let lookup = stage.node.get_peers(stage.now, infohash(2)).unwrap();
    end_unheard(&mut stage);
    assert_eq!(stage.node.lookup_count(), 0);
    assert!(stage.node.cancel(lookup), "its end was not reported yet");
    stage.drain();
    assert!(!stage.events.iter().any(|event| mentions(event, lookup)));
}

#[test]
fn a_cancelled_bootstrap_does_not_end_maintenance() {
    let mut stage = Stage::joined(20);
    let lookup = stage.act(|node, now| node.bootstrap(now).unwrap());
    assert!(stage.node.cancel(lookup));
    stage.run(secs(1));
    let begun = stage.now;
    stage.run(secs(1200));
    assert!(stage.count(begun, |sent| sent.is_find_node()) > 0);
}

#[test]
fn a_cancelled_lookup_discards_its_peers_that_were_not_polled() {
    let mut stage = Stage::joined(40);
    stage.hosts.values_mut().for_each(|host| host.peers = vec![addr(99)]);
    let first = get_peers(&mut stage, 1);
    stage.finish(first);
    // It continues from the first lookup, whose peers it reports at once.
    let announce = Announce::port(1);
    let second = stage.node.announce(stage.now, infohash(1), announce).unwrap();
    assert_eq!(stage.node.poll_timeout(), Some(stage.now));
    assert!(stage.node.cancel(second));
    assert_eq!(stage.node.poll_event(), None);
    assert!(stage.node.poll_timeout().unwrap() > stage.now, "there is nothing to poll");
}

#[test]
fn a_cancelled_lookup_that_waited_for_contacts_stays_cancelled() {
    let mut stage = Stage::new(stage::config());
    (1..=20).for_each(|index| stage.host(index));
    let lookup = get_peers(&mut stage, 1);
    assert!(stage.node.cancel(lookup));
    stage.act(|node, now| node.add_node(now, addr(1)).unwrap());
    stage.run(secs(30));
    assert_eq!(stage.count(dht_proto::Instant::ZERO, |sent| sent.is_get_peers()), 0);
    assert!(!stage.events.iter().any(|event| mentions(event, lookup)));
}

#[test]
fn the_id_of_a_query_is_invalid_after_its_end() {
    let mut stage = Stage::joined(10);
    let ping = stage.act(|node, now| node.ping(now, addr(1)).unwrap());
    stage.run(secs(1));
    assert!(
        stage.events.iter().any(|event| matches!(event, Event::QueryDone { query, .. } if *query == ping))
    );
    assert!(!stage.node.cancel_query(ping));
    let other = stage.act(|node, now| node.ping(now, addr(2)).unwrap());
    assert_ne!(ping, other);
    assert!(!stage.node.cancel_query(ping));
    assert!(stage.node.cancel_query(other));
    assert!(!stage.node.cancel_query(other));
    let count = stage.events.len();
    settle(&mut stage);
    assert!(!stage.events[count..].iter().any(|event| matches!(event, Event::QueryDone { .. })));
}

#[test]
fn a_completed_query_that_is_not_polled_can_be_cancelled_and_is_not_lost() {
    let mut stage = Stage::joined(10);
    let kept = stage.act(|node, now| node.ping(now, addr(77)).unwrap());
    let dropped = stage.act(|node, now| node.ping(now, addr(78)).unwrap());
    stage.now = stage.now + secs(30);
    stage.node.handle_timeout(stage.now);
    assert!(stage.node.cancel_query(dropped));
    stage.drain();
    let done = |id| {
        stage.events.iter().filter(|e| matches!(e, Event::QueryDone { query, .. } if *query == id)).count()
    };
    assert_eq!((done(kept), done(dropped)), (1, 0));
}

#[test]
fn completions_wait_until_they_are_polled() {
    let mut limits = stage::limits();
    limits.events = 1;
    let mut stage = Stage::with_limits(stage::config(), &limits);
    stage.act(|node, now| node.add_bootstrap(now, addr(1), BootstrapKind::Router).unwrap());
    let begin = |byte| stage.node.get_peers(stage.now, infohash(byte)).unwrap();
    let lookups: Vec<_> = (0..10).map(begin).collect();
    let pings: Vec<_> = (2..12).map(|index| stage.node.ping(stage.now, addr(index)).unwrap()).collect();
    end_unheard(&mut stage);
    assert_eq!(stage.node.poll_timeout(), Some(stage.now), "there is something to poll");
    stage.drain();
    for lookup in lookups {
        let done = stage.events.iter().filter(|event| mentions(event, lookup));
        assert_eq!(done.count(), 1);
    }
    for ping in pings {
        let is_done = |event: &&Event| matches!(event, Event::QueryDone { query, .. } if *query == ping);
        assert_eq!(stage.events.iter().filter(is_done).count(), 1);
    }
}

#[test]
fn too_many_lookups_are_refused_until_one_has_ended() {
    let mut stage = Stage::joined(40);
    stage.run(secs(5));
    let mut lookups = Vec::new();
    let refused = loop {
        match stage.act(|node, now| node.get_peers(now, infohash(lookups.len() as u8))) {
            Ok(lookup) => lookups.push(lookup),
            Err(error) => break error,
        }
    };
    let full = StartError::Full { limit: Limit::Traversals, size: stage::limits().traversals };
    assert_eq!((refused, lookups.len()), (full, stage::limits().traversals));
    let refused = stage.act(|node, now| node.announce(now, infohash(99), Announce::port(1)));
    assert_eq!(refused, Err(full));
    assert!(stage.node.cancel(lookups[3]));
    let again = get_peers(&mut stage, 99);
    for lookup in lookups.into_iter().filter(|lookup| stage.report(*lookup).is_none()).collect::<Vec<_>>() {
        stage.node.cancel(lookup);
    }
    stage.finish(again);
}

#[test]
fn too_many_queries_are_refused_until_one_has_ended() {
    let mut limits = stage::limits();
    limits.inflight = 4;
    let mut stage = Stage::with_limits(stage::config(), &limits);
    for index in 1..=4 {
        stage.act(|node, now| node.ping(now, addr(index)).unwrap());
    }
    assert_eq!(
        stage.act(|node, now| node.ping(now, addr(5))),
        Err(ContactError::Full { limit: Limit::Queries, size: 4 })
    );
    settle(&mut stage);
    assert_eq!(stage.events.len(), 4);
    stage.act(|node, now| node.ping(now, addr(5)).unwrap());
}

#[test]
fn lookups_share_a_small_number_of_query_slots() {
    let mut limits = stage::limits();
    limits.inflight = 3;
    let mut stage = Stage::with_limits(stage::config(), &limits);
    (1..=40).for_each(|index| stage.host(index));
    stage.act(|node, now| node.add_node(now, addr(1)).unwrap());
    stage.run(secs(60));
    let lookups: Vec<_> = (0..5).map(|byte| get_peers(&mut stage, byte)).collect();
    for lookup in lookups {
        let report = stage.finish(lookup);
        assert!(report.answered >= 8, "{report:?}");
        assert!(stage.node.query_count() <= 3);
    }
}

#[test]
fn a_thousand_lookups_cancelled_at_random_moments_leak_nothing() {
    let mut stage = Stage::joined(60);
    for index in 1..=60 {
        stage.at(index).is_dead = index % 4 == 0;
        stage.at(index).peers = vec![addr(index)];
    }
    let (mut rng, mut cancelled, mut refused) = (7_u64, Vec::new(), 0);
    for round in 0..1000_u32 {
        rng = rng.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let torrent = infohash((rng >> 40) as u8);
        let started = stage.act(|node, now| match round % 3 {
            0 => node.get_peers(now, torrent),
            1 => node.announce(now, torrent, Announce::port(1)),
            _ => node.bootstrap(now),
        });
        stage.run(ms((rng >> 33) % 250));
        match started {
            Ok(lookup) if stage.node.cancel(lookup) => {
                cancelled.push((lookup, stage.events.len()));
            }
            Ok(lookup) => assert!(stage.report(lookup).is_some()),
            Err(error) => refused += u32::from(matches!(error, StartError::Full { .. })),
        }
    }
    assert!(cancelled.len() > 300, "{}", cancelled.len());
    assert_eq!(refused, 0, "cancelled lookups free their slots");
    settle_maintenance(&mut stage);
    for (lookup, at) in cancelled {
        assert!(!stage.events[at..].iter().any(|event| mentions(event, lookup)));
    }
    let lookup = get_peers(&mut stage, 1);
    assert!(stage.finish(lookup).answered >= 8);
}

/// Lets everything end, also maintenance.
fn settle_maintenance(stage: &mut Stage) {
    for _ in 0..100 {
        stage.run(secs(6));
        if stage.node.query_count() == 0 && stage.node.lookup_count() == 0 {
            return;
        }
    }
    panic!("{} queries and {} lookups stay", stage.node.query_count(), stage.node.lookup_count());
}

/// Actions of a user, with a number that selects their object.
#[derive(Clone, Copy, Debug)]
enum Act {
    Get(u8),
    Announce(u8),
    Ping(u8),
    Cancel(usize),
    CancelQuery(usize),
    Unreachable(u8),
    Wait(u16),
}

fn acts() -> impl Strategy<Value = Act> {
    prop_oneof![
        any::<u8>().prop_map(|n| Act::Get(n % 4)),
        any::<u8>().prop_map(|n| Act::Announce(n % 4)),
        any::<u8>().prop_map(Act::Ping),
        any::<usize>().prop_map(Act::Cancel),
        any::<usize>().prop_map(Act::CancelQuery),
        any::<u8>().prop_map(Act::Unreachable),
        (0_u16..3000).prop_map(Act::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn c_05_everything_ends_once(script in proptest::collection::vec(acts(), 1..60), inflight in 3_usize..40) {
        ends_once(script, inflight)?;
    }
}

/// A case that the test above once found.
#[test]
fn c_05_four_lookups_that_share_three_queries_end_once() {
    ends_once(vec![Act::Get(0); 4], 3).unwrap();
}

/// Checks that everything that was not cancelled ends exactly once.
fn ends_once(script: Vec<Act>, inflight: usize) -> Result<(), TestCaseError> {
    let mut limits: Limits = stage::limits();
    (limits.inflight, limits.traversals) = (inflight, 4);
    let mut stage = Stage::with_limits(stage::config(), &limits);
    for index in 1..=40 {
        stage.host(index);
        stage.at(index).is_dead = index % 5 == 0;
    }
    stage.act(|node, now| node.add_bootstrap(now, addr(1), BootstrapKind::Router).unwrap());
    let (mut lookups, mut queries) = (Vec::new(), Vec::new());
    let (mut cancelled, mut cancelled_queries) = (BTreeSet::new(), BTreeSet::new());
    for act in script {
        match act {
            Act::Get(n) => lookups.extend(stage.act(|node, now| node.get_peers(now, infohash(n)))),
            Act::Announce(n) => {
                let announce = Announce::port(1);
                lookups.extend(stage.act(|node, now| node.announce(now, infohash(n), announce)));
            }
            Act::Ping(n) => queries.extend(stage.act(|node, now| node.ping(now, addr(n.into())))),
            Act::Cancel(n) if !lookups.is_empty() => {
                let lookup = lookups[n % lookups.len()];
                let was_open = stage.report(lookup).is_none() && !cancelled.contains(&lookup);
                prop_assert_eq!(stage.act(|node, _| node.cancel(lookup)), was_open);
                if was_open {
                    cancelled.insert(lookup);
                }
            }
            Act::CancelQuery(n) if !queries.is_empty() => {
                let query = queries[n % queries.len()];
                if stage.act(|node, _| node.cancel_query(query)) {
                    prop_assert!(cancelled_queries.insert(query));
                }
            }
            Act::Unreachable(n) => stage.act(|node, now| node.handle_unreachable(now, addr(n.into()))),
            Act::Wait(n) => stage.run(ms(n.into())),
            Act::Cancel(_) | Act::CancelQuery(_) => {}
        }
    }
    stage.run(secs(120));
    for lookup in lookups {
        let done = |e: &&Event| matches!(e, Event::LookupDone { lookup: id, .. } if *id == lookup);
        let count = stage.events.iter().filter(done).count();
        prop_assert_eq!(count, usize::from(!cancelled.contains(&lookup)));
    }
    for query in queries {
        let done = |e: &&Event| matches!(e, Event::QueryDone { query: id, .. } if *id == query);
        let count = stage.events.iter().filter(done).count();
        prop_assert_eq!(count, usize::from(!cancelled_queries.contains(&query)));
    }
    settle_maintenance(&mut stage);
    prop_assert!(stage.node.node_count(Family::V4) <= 400);
    Ok(())
}
