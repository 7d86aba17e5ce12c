//! Items that a node looks up and publishes (BEP 44), among scripted hosts.

use std::net::SocketAddr;
use std::time::Duration;

use dht_proto::errors::{Limit, PublishError};
use dht_proto::items::{Item, Salt, SecretKey, TorrentPointer, UpdatableTorrent};
use dht_proto::wire::{Body, ErrorCode, Message, Method, PutItem, Want};
use dht_proto::{
    Config, Event, Limits, LookupId, LookupKind, LookupOptions, LookupReport, NodeId, PutError, StartError,
};

use crate::common::items::{VALUE, secret, signed};
use crate::stage;
use crate::stage::{Copied, Put, Stage, addr, config, limits, ms, secs};

/// Converts an item to the form in which hosts store it.
fn copied(item: &Item) -> Copied {
    let key = item.key().map(|key| *key.as_bytes());
    let signed = key.map(|key| (key, item.seq().unwrap(), *item.signature().unwrap()));
    Copied { value: item.value().to_vec(), signed }
}

/// Returns the hosts by their distance to a target, closest first.
fn closest(stage: &Stage, target: NodeId) -> Vec<SocketAddr> {
    stage.closest_hosts(target, addr(0)).into_iter().map(|(_, addr)| addr).collect()
}

/// Gives copies of an item to the `count` hosts closest to its target.
fn give(stage: &mut Stage, item: &Item, count: usize) {
    for at in closest(stage, item.target()).into_iter().take(count) {
        stage.hosts.get_mut(&at).unwrap().item = Some(copied(item));
    }
}

fn holders(stage: &Stage, item: &Item) -> Vec<SocketAddr> {
    let copy = Some(copied(item));
    stage.hosts.iter().filter(|(_, host)| host.item == copy).map(|(addr, _)| *addr).collect()
}

fn puts(stage: &Stage) -> Vec<(SocketAddr, Put)> {
    stage.sent.iter().filter_map(|sent| Some((sent.to, sent.put()?.clone()))).collect()
}

fn get_mutable(stage: &mut Stage) -> (LookupId, LookupReport) {
    let salt = Salt::new(b"salt").unwrap();
    let lookup = stage.act(|node, now| node.get_mutable(now, secret().public(), salt)).unwrap();
    (lookup, stage.finish(lookup))
}

fn joined_with(config: Config, limits: &Limits, hosts: usize) -> Stage {
    let mut stage = Stage::with_limits(config, limits);
    stage.join(hosts);
    stage
}

/// Another host puts an immutable item to the node.
fn store(stage: &mut Stage, from: SocketAddr, item: &Item) {
    let (id, target) = (stage::id(900), item.target());
    let reply = stage.ask(from, id, Method::Get { target, seq: None, want: Want::NONE }).unwrap();
    let Ok(Body::Response(response)) = Message::parse(&reply).map(|message| message.body) else {
        panic!("an answer")
    };
    let item = PutItem::Immutable { value: item.value(), seq: None };
    stage.ask(from, id, Method::Put { token: response.token.unwrap(), target: None, item }).unwrap();
}

/// Publishes an item, and waits until it has been put once.
fn keep(stage: &mut Stage, item: &Item) -> LookupReport {
    let kept = stage.act(|node, now| node.start_publishing(now, item)).unwrap();
    let before = rounds(stage).len();
    stage.run(secs(60));
    assert!(stage.act(|node, _| node.stop_publishing(kept)));
    assert_eq!(rounds(stage).len(), before + 1);
    rounds(stage).pop().unwrap()
}

/// Returns the reports of republishes.
fn rounds(stage: &Stage) -> Vec<LookupReport> {
    let done = stage.events.iter().filter_map(|event| match event {
        Event::LookupDone { report, .. } if report.publication.is_some() => Some(*report),
        _ => None,
    });
    done.collect()
}

fn put(stage: &mut Stage, item: &Item, cas: Option<i64>) -> LookupReport {
    let lookup = stage.act(|node, now| node.put(now, item, cas)).unwrap();
    stage.finish(lookup)
}

#[test]
fn b44_02_b44_04_b44_30_an_immutable_item_is_put_to_the_closest_under_their_own_tokens() {
    let mut stage = Stage::joined(60);
    for (index, host) in stage.hosts.values_mut().enumerate() {
        host.token = Some(format!("token {index}").into_bytes());
    }
    let item = Item::immutable(VALUE).unwrap();
    let report = put(&mut stage, &item, None);
    assert_eq!((report.kind, report.target), (LookupKind::Put, item.target()));
    assert_eq!((report.sent, report.acknowledged, report.refused.total), (8, 8, 0));
    let mut nearest = closest(&stage, item.target());
    nearest.sort_unstable();
    assert_eq!(holders(&stage, &item), nearest, "each received its own token");
    let puts = puts(&stage);
    assert!(puts.iter().all(|(_, put)| put.target == Some(item.target()) && put.stray_seq.is_none()));
    assert_eq!(stage.node.stats().queries_out.put, 8);
}

#[test]
fn b44_27_a_value_counts_only_under_its_own_hash_and_ends_the_lookup() {
    let mut stage = Stage::joined(60);
    let item = Item::immutable(VALUE).unwrap();
    let nearest = closest(&stage, item.target());
    let forged = Copied { value: b"12:Hello world?".to_vec(), signed: None };
    stage.hosts.values_mut().for_each(|host| host.item = Some(forged.clone()));
    stage.hosts.get_mut(&nearest[5]).unwrap().item = Some(copied(&item));
    let lookup = stage.act(|node, now| node.get_immutable(now, item.target())).unwrap();
    let report = stage.finish(lookup);
    assert_eq!(stage.node.item(lookup), Some(item));
    assert_eq!((report.kind, report.item.copies, report.item.seq), (LookupKind::Get, 1, None));
    assert!(stage.node.stats().items.bad_find > 3);
    let found = Event::ItemFound { lookup, node: Some(nearest[5]), seq: None };
    assert!(stage.events.contains(&found));

    stage.hosts.get_mut(&nearest[5]).unwrap().item = None;
    let lookup = stage.act(|node, now| node.get_immutable(now, NodeId::from_bytes([9; 20]))).unwrap();
    stage.finish(lookup);
    assert_eq!(stage.node.item(lookup), None);
}

#[test]
fn b44_29_the_highest_valid_seq_wins_and_every_newer_version_is_reported() {
    for order in [[1, 5, 3], [5, 3, 1], [3, 1, 5]] {
        let mut stage = Stage::joined(60);
        let nearest = closest(&stage, signed(1, VALUE).target());
        for (at, seq) in nearest.iter().zip(order) {
            stage.hosts.get_mut(at).unwrap().item = Some(copied(&signed(seq, VALUE)));
        }
        let (lookup, report) = get_mutable(&mut stage);
        assert_eq!(stage.node.item(lookup), Some(signed(5, VALUE)));
        assert_eq!((report.item.seq, report.item.copies), (Some(5), 1));
        for (at, seq) in nearest.iter().zip(order) {
            let found = Event::ItemFound { lookup, node: Some(*at), seq: Some(seq) };
            assert!(stage.events.contains(&found), "{order:?} {seq}");
        }
    }
}

#[test]
fn b44_28_only_what_the_key_signed_with_our_own_salt_is_found() {
    let good = signed(1, VALUE);
    let Copied { value, signed: Some((key, seq, signature)) } = copied(&good) else { unreachable!() };
    let other = Item::sign(&SecretKey::from_bytes(&[8; 32]), Salt::new(b"salt").unwrap(), 9, VALUE).unwrap();
    let other_salt = Item::sign(&secret(), Salt::new(b"pepper").unwrap(), 9, VALUE).unwrap();
    let mut broken = signature;
    broken[9] ^= 1;
    for bad in [
        Copied { value: value.clone(), signed: Some((key, seq, broken)) },
        Copied { value: value.clone(), signed: Some((key, seq + 1, signature)) },
        Copied { value: b"12:Hello World?".to_vec(), signed: Some((key, seq, signature)) },
        Copied { value: value.clone(), signed: Some((key, -1, signature)) },
        Copied { value, signed: None },
        copied(&other),
        copied(&other_salt),
    ] {
        let mut stage = Stage::joined(60);
        stage.hosts.values_mut().for_each(|host| host.item = Some(bad.clone()));
        let (lookup, report) = get_mutable(&mut stage);
        assert_eq!(
            (stage.node.item(lookup), report.item.seq, report.item.copies),
            (None, None, 0),
            "{bad:?}"
        );
        assert!(stage.node.stats().items.bad_find >= 8);
    }
}

#[test]
fn b44_14_b44_30_b44_16_cas_goes_to_nodes_that_returned_data_only() {
    let mut stage = Stage::joined(60);
    let (old, new) = (signed(0, VALUE), signed(1, b"3:new"));
    give(&mut stage, &old, 3);
    let before = holders(&stage, &old);
    let report = put(&mut stage, &new, Some(0));
    assert_eq!(report.acknowledged, 8);
    for (to, put) in puts(&stage) {
        let expected = before.contains(&to).then_some(0);
        assert_eq!(put.cas, expected, "{to}: B44-16 zero is a valid number");
    }
}

#[test]
fn nodes_with_an_older_version_store_what_replaces_the_newest() {
    let mut stage = Stage::joined(60);
    let nearest = closest(&stage, signed(1, VALUE).target());
    give(&mut stage, &signed(1, b"3:old"), 8);
    for at in &nearest[..3] {
        stage.hosts.get_mut(at).unwrap().item = Some(copied(&signed(2, VALUE)));
    }
    let report = put(&mut stage, &signed(3, b"3:new"), Some(2));
    assert_eq!((report.acknowledged, report.item.seq, report.item.copies), (8, Some(2), 3));
    for (to, put) in puts(&stage) {
        assert_eq!(put.cas, nearest[..3].contains(&to).then_some(2), "{to}");
    }
    let report = put(&mut stage, &signed(4, b"4:more"), Some(3));
    assert_eq!((report.acknowledged, report.item.seq, report.item.copies), (8, Some(3), 8));
    assert!(puts(&stage).iter().skip(8).all(|(_, put)| put.cas == Some(3)));
}

#[test]
fn b44_14_a_put_whose_cas_is_not_the_newest_version_is_not_sent() {
    let mut stage = Stage::joined(60);
    give(&mut stage, &signed(7, b"3:new"), 3);
    for cas in [6, 8] {
        let report = put(&mut stage, &signed(9, VALUE), Some(cas));
        assert_eq!((report.acknowledged, report.sent, report.item.seq), (0, 0, Some(7)));
        assert_eq!((report.refused.total, report.refused.cas_mismatch), (3, 3), "which would refuse");
        assert_eq!(report.refused.last, Some(ErrorCode::CAS_MISMATCH));
        assert_eq!(report.stored(), Err(PutError::CasMismatch { found: 7 }));
        assert_eq!(puts(&stage), []);
    }
    assert_eq!(put(&mut stage, &signed(9, VALUE), Some(7)).acknowledged, 8);
    // B44-15: where no version is stored, the item is stored.
    let mut stage = Stage::joined(60);
    assert_eq!(put(&mut stage, &signed(9, VALUE), Some(7)).acknowledged, 8);
}

#[test]
fn b44_13_a_refusal_by_a_node_that_stores_the_same_item_counts_as_stored() {
    let mut stage = Stage::joined(60);
    let item = signed(4, VALUE);
    give(&mut stage, &item, 2);
    let nearest = closest(&stage, item.target());
    // The third refuses as well, but does not return what it stores.
    for at in &nearest[..3] {
        stage.hosts.get_mut(at).unwrap().refuses_announces = Some(302);
    }
    let report = put(&mut stage, &item, None);
    assert_eq!((report.acknowledged, report.refused.seq_too_low), (7, 1));
    assert_eq!((report.stored().map(|stored| stored.acknowledged), holders(&stage, &item).len()), (Ok(7), 7));
}

#[test]
fn b44_13_b44_14_b44_35_refusals_are_reported_by_code_and_only_those_unrelated_to_versions_move_on_to_farther_nodes()
 {
    let mut stage = Stage::joined(60);
    let item = signed(4, VALUE);
    let nearest = closest(&stage, item.target());
    for (at, code) in nearest.iter().zip([301, 302, 302, 400, 205]) {
        stage.hosts.get_mut(at).unwrap().refuses_announces = Some(code);
    }
    let report = put(&mut stage, &item, Some(3));
    let refused = report.refused;
    assert_eq!((refused.total, refused.cas_mismatch, refused.seq_too_low), (5, 1, 2));
    assert!(refused.last.is_some() && report.stored().is_ok());
    assert_eq!((report.sent, report.acknowledged), (10, 5), "two of the next closest store it");
}

#[test]
fn an_item_is_published_again_after_the_interval_of_the_configuration() {
    for (interval, least) in [(secs(600), secs(600)), (ms(1), secs(60))] {
        let mut stage = Stage::new(config().publish_interval(interval));
        stage.join(60);
        let item = signed(4, VALUE);
        stage.act(|node, now| node.start_publishing(now, &item).unwrap());
        stage.run(secs(30));
        assert_eq!(rounds(&stage).len(), 1);
        // A tenth is left to chance.
        stage.run(least * 8 / 10 - secs(30));
        assert_eq!(rounds(&stage).len(), 1, "not before it is due");
        stage.run(least * 4 / 10 + secs(20));
        assert!(rounds(&stage).len() >= 2, "{least:?}: {}", rounds(&stage).len());
    }
}

#[test]
fn b44_13_a_put_that_is_refused_because_of_another_version_is_not_sent_to_farther_nodes() {
    for (code, cas) in [(302, None), (301, Some(3))] {
        let mut stage = Stage::joined(60);
        let item = signed(4, VALUE);
        // They do not return what they store.
        for at in closest(&stage, item.target()) {
            stage.hosts.get_mut(&at).unwrap().refuses_announces = Some(code);
        }
        let report = put(&mut stage, &item, cas);
        assert_eq!((report.sent, report.acknowledged, report.refused.total), (8, 0, 8));
        assert_eq!(report.refused.last, Some(ErrorCode(code)));
        assert_eq!(report.stored(), Err(PutError::Refused(ErrorCode(code))));
        assert!(report.stored().is_err_and(PutError::is_other_version), "whoever put it looks again");
        stage.run(secs(60));
        assert_eq!((puts(&stage).len(), holders(&stage, &item)), (8, vec![]));
    }
}

#[test]
fn b44_17_a_put_that_is_older_than_a_stored_version_is_not_sent() {
    let mut stage = Stage::joined(60);
    let stale = signed(4, VALUE);
    let nearest = closest(&stage, stale.target());
    stage.hosts.get_mut(&nearest[7]).unwrap().item = Some(copied(&signed(9, b"3:new")));
    for is_kept in [false, true] {
        let report = if is_kept { keep(&mut stage, &stale) } else { put(&mut stage, &stale, None) };
        assert_eq!((report.item.seq, report.item.copies, report.acknowledged), (Some(9), 1, 0));
        assert_eq!(report.stored(), Err(PutError::Superseded { newest: 9 }));
        stage.run(secs(60));
        assert_eq!(puts(&stage), []);
    }
}

#[test]
fn b44_13_a_put_of_another_value_with_a_stored_sequence_number_is_not_sent() {
    let (first, second) = (signed(5, b"1:A"), signed(5, b"1:B"));
    let conflict = PutError::Conflict { seq: 5 };
    // Put by this node before, put by another one, or found by this node before.
    for case in 0..3 {
        let mut stage = Stage::joined(60);
        if case == 0 {
            assert_eq!(put(&mut stage, &first, None).acknowledged, 8);
            // No node stores it any more, but it was there.
            stage.hosts.values_mut().for_each(|host| host.item = None);
        } else {
            give(&mut stage, &first, 8);
        }
        if case == 2 {
            get_mutable(&mut stage);
        }
        let sent = puts(&stage).len();
        for is_kept in [false, true] {
            let report = if is_kept { keep(&mut stage, &second) } else { put(&mut stage, &second, None) };
            assert_eq!(
                (report.stored(), report.item.seq, report.acknowledged),
                (Err(conflict), Some(5), 0),
                "{case}"
            );
            assert_eq!((puts(&stage).len(), report.refused.total), (sent, 0));
        }
        let report = put(&mut stage, &first, None);
        assert_eq!(
            report.stored().map(|stored| stored.acknowledged),
            Ok(8),
            "{case}: the value that is stored"
        );
    }
}

#[test]
fn a_put_stops_at_the_first_node_that_holds_something_newer() {
    let mut stage = Stage::joined(60);
    stage.hosts.values_mut().for_each(|host| host.storing = ms(1500));
    let item = signed(4, VALUE);
    let at = closest(&stage, item.target())[0];
    let slow = stage.hosts.get_mut(&at).unwrap();
    // It is queried again after it has listed other nodes, and answers when it already counts as silent.
    (slow.item, slow.rtt, slow.loses) = (Some(copied(&signed(9, b"3:new"))), ms(1500), 1);
    let report = put(&mut stage, &item, None);
    assert!(report.acknowledged >= 8, "{report:?}");
    assert_eq!(report.stored(), Err(PutError::Superseded { newest: 9 }), "though they have taken it");
    let sent = puts(&stage).len();
    stage.run(secs(60));
    assert!(stage.events.iter().any(|event| matches!(event, Event::ItemFound { seq: Some(9), .. })));
    assert_eq!(puts(&stage).len(), sent);
    assert!(puts(&stage).iter().all(|(to, _)| *to != at));
}

#[test]
fn b44_29_a_get_and_the_lookup_before_a_put_wait_for_the_closest_until_they_time_out() {
    let (old, new) = (signed(3, b"3:old"), signed(9, b"3:new"));
    let stage = || {
        let mut stage = Stage::joined(60);
        stage.hosts.values_mut().for_each(|host| (host.item, host.rtt) = (Some(copied(&old)), ms(100)));
        let at = closest(&stage, old.target())[0];
        let slow = stage.hosts.get_mut(&at).unwrap();
        (slow.item, slow.rtt) = (Some(copied(&new)), ms(1200));
        (stage, at)
    };
    let (mut slow, _) = stage();
    let (lookup, report) = get_mutable(&mut slow);
    assert_eq!((slow.node.item(lookup), report.item.seq), (Some(new.clone()), Some(9)));
    let seqs = |event: &Event| if let Event::ItemFound { seq, .. } = event { *seq } else { None };
    let seqs: Vec<i64> = slow.events.iter().filter_map(seqs).collect();
    assert_eq!((seqs.first(), seqs.last()), (Some(&3), Some(&9)), "other versions are reported before");
    assert!(report.duration < ms(1500));
    let (mut slow, _) = stage();
    let report = put(&mut slow, &signed(4, VALUE), None);
    assert_eq!((report.stored(), puts(&slow).len()), (Err(PutError::Superseded { newest: 9 }), 0));
    // No node is waited for longer.
    let (mut dead, at) = stage();
    dead.hosts.get_mut(&at).unwrap().is_dead = true;
    let (_, report) = get_mutable(&mut dead);
    assert_eq!(report.item.seq, Some(3));
    assert!((secs(5)..ms(5500)).contains(&report.duration), "{:?}", report.duration);
    let report = put(&mut dead, &signed(4, VALUE), report.item.seq);
    assert!(report.acknowledged == 8 && report.duration < secs(1), "nor again: {report:?}");
}

/// Slow hosts, such as those that check signatures slowly.
#[test]
fn a_put_is_not_reported_as_stored_nowhere_while_nodes_may_confirm_it() {
    let mut stage = Stage::joined(60);
    stage.hosts.values_mut().for_each(|host| host.storing = ms(1500));
    let item = signed(1, VALUE);
    let report = put(&mut stage, &item, None);
    assert!(report.acknowledged >= 8 && report.refused.total == 0, "{report:?}");
    // No host ever confirms: then the report says that nothing is stored.
    let mut stage = Stage::joined(60);
    stage.hosts.values_mut().for_each(|host| host.storing = secs(3600));
    let begun = stage.now;
    let report = put(&mut stage, &signed(1, VALUE), None);
    assert_eq!(report.acknowledged, 0);
    assert!(stage.now - begun < secs(30), "{:?}", stage.now - begun);
}

#[test]
fn a_put_of_an_immutable_item_uses_the_tokens_of_an_earlier_lookup() {
    let mut stage = Stage::joined(60);
    let item = Item::immutable(VALUE).unwrap();
    assert_eq!(put(&mut stage, &item, None).acknowledged, 8);
    let since = stage.now;
    let report = put(&mut stage, &item, Some(3));
    assert_eq!((report.acknowledged, report.queried), (8, 0), "it has no number to compare");
    assert_eq!(stage.count(since, |sent| matches!(sent.what, stage::What::Get(_))), 0);
}

#[test]
fn a_put_of_a_mutable_item_queries_the_nodes_of_an_earlier_lookup_again() {
    for cas in [None, Some(1)] {
        let mut stage = Stage::joined(60);
        give(&mut stage, &signed(1, VALUE), 8);
        let (_, report) = get_mutable(&mut stage);
        let next = signed(report.item.seq.unwrap() + 1, b"4:next");
        let asked = report.queried;
        let report = put(&mut stage, &next, cas);
        assert_eq!((report.acknowledged, report.item.seq, report.item.copies), (8, Some(1), 8));
        assert!(
            (8..=14).contains(&report.queried) && report.queried <= asked,
            "{} of {asked}",
            report.queried
        );
        assert!(puts(&stage).iter().all(|(_, put)| put.cas == cas));
    }
}

#[test]
fn b44_14_a_put_with_cas_sees_what_was_stored_since_the_last_lookup() {
    let mut stage = Stage::joined(60);
    give(&mut stage, &signed(1, VALUE), 7);
    let (_, report) = get_mutable(&mut stage);
    // Another node was faster, except at the eighth host.
    give(&mut stage, &signed(2, b"5:other"), 7);
    let report = put(&mut stage, &signed(2, b"4:next"), report.item.seq);
    assert_eq!(report.stored(), Err(PutError::CasMismatch { found: 2 }));
    assert_eq!((report.acknowledged, report.refused.cas_mismatch, puts(&stage).len()), (0, 7, 0));
}

#[test]
fn b44_21_a_node_that_requires_a_seq_receives_one_if_configured() {
    for wished in [false, true] {
        let mut config = config();
        config.items.retry_with_seq = wished;
        let mut stage = joined_with(config, &limits(), 60);
        stage.hosts.values_mut().for_each(|host| host.wants_seq = true);
        let item = Item::immutable(VALUE).unwrap();
        let report = put(&mut stage, &item, None);
        if wished {
            assert_eq!((report.acknowledged, report.refused.total), (8, 0));
            assert_eq!(puts(&stage).len(), 16);
        } else {
            assert_eq!(report.acknowledged, 0);
            assert!(puts(&stage).iter().all(|(_, put)| put.stray_seq.is_none()));
        }
        // A mutable item has its own sequence number.
        stage.hosts.values_mut().for_each(|host| host.refuses_announces = Some(203));
        let sent = puts(&stage).len();
        let refused = put(&mut stage, &signed(1, VALUE), None).refused.total;
        assert_eq!(puts(&stage).len() - sent, refused as usize);
    }
}

#[test]
fn e_30_b44_09_the_longest_item_is_put_whole_whatever_its_other_fields() {
    let mut stage = Stage::joined(60);
    stage.hosts.values_mut().for_each(|host| host.token = Some(vec![b't'; 128]));
    let value = [&b"996:"[..], &[b'x'; 996]].concat();
    let item = Item::sign(&secret(), Salt::new(&[b's'; 64]).unwrap(), i64::MAX, &value).unwrap();
    give(
        &mut stage,
        &Item::sign(&secret(), Salt::new(&[b's'; 64]).unwrap(), i64::MAX - 1, &value).unwrap(),
        8,
    );
    // The datagram has no room for nodes beside it.
    let holders_before = closest(&stage, item.target());
    holders_before.iter().for_each(|at| stage.hosts.get_mut(at).unwrap().lists = Some(Vec::new()));
    let report = put(&mut stage, &item, Some(i64::MAX - 1));
    assert_eq!((report.acknowledged, holders(&stage, &item).len()), (8, 8));
}

#[test]
fn b44_31_b46_03_a_publication_is_put_every_hour_until_it_is_stopped() {
    let mut stage = Stage::joined(60);
    let item = signed(1, VALUE);
    let kept = stage.act(|node, now| node.start_publishing(now, &item)).unwrap();
    stage.run(secs(60));
    assert_eq!(holders(&stage, &item).len(), 8);
    let rounds = |stage: &Stage| rounds(stage).len();
    assert_eq!(rounds(&stage), 1);
    for hour in 2..6 {
        stage.run(secs(3600));
        stage.hosts.values_mut().for_each(|host| host.item = None);
        assert!((hour - 1..=hour + 1).contains(&rounds(&stage)), "{} after {hour} hours", rounds(&stage));
    }
    stage.run(secs(4000));
    assert!(holders(&stage, &item).len() >= 8, "lost copies are put again");
    assert_eq!(stage.node.published_item(kept), Some(item.clone()));
    let info = stage.node.publications().next().unwrap();
    assert_eq!((info.id, info.target, info.seq, info.is_spared), (kept, item.target(), Some(1), false));

    assert!(stage.act(|node, _| node.stop_publishing(kept)));
    assert!(!stage.node.stop_publishing(kept) && stage.node.published_item(kept).is_none());
    let sent = puts(&stage).len();
    stage.run(secs(8000));
    assert_eq!(puts(&stage).len(), sent);
}

#[test]
fn b44_32_a_republish_sends_no_put_where_more_than_eight_nodes_and_all_of_the_closest_store_the_item() {
    let item = signed(1, VALUE);
    let all_but = |missing: usize| {
        let mut stage = Stage::joined(60);
        let kept = stage.act(|node, now| node.start_publishing(now, &item)).unwrap();
        stage.run(secs(60));
        stage.hosts.values_mut().for_each(|host| host.item = Some(copied(&item)));
        for at in closest(&stage, item.target()).into_iter().take(missing) {
            stage.hosts.get_mut(&at).unwrap().item = None;
        }
        let before = puts(&stage).len();
        let ended = stage.node.publications().next().unwrap().last.unwrap().ended;
        while stage.node.publications().next().unwrap().last.unwrap().ended == ended {
            stage.run(secs(10));
        }
        assert_eq!(stage.node.publications().next().unwrap().id, kept);
        let is_spared = stage.node.publications().next().unwrap().is_spared;
        (puts(&stage).len() - before, is_spared, stage)
    };
    let (sent, is_spared, mut stage) = all_but(0);
    assert_eq!((sent, is_spared), (0, true));
    // If every publisher relied on the others, it would expire: the next republish puts it in any case.
    stage.run(secs(45 * 60));
    assert!(puts(&stage).len() >= 16);
    assert!(!stage.node.publications().next().unwrap().is_spared);

    let (sent, is_spared, _) = all_but(1);
    assert!(sent > 0 && !is_spared, "one of the closest lacks it");
}

#[test]
fn b44_32_copies_of_another_value_under_the_same_number_do_not_count() {
    let mut stage = Stage::joined(60);
    stage.act(|node, now| node.start_publishing(now, &signed(5, VALUE))).unwrap();
    stage.run(secs(60));
    stage.hosts.values_mut().for_each(|host| host.item = Some(copied(&signed(5, b"5:other"))));
    let sent = puts(&stage).len();
    stage.run(secs(3600 + 600));
    let round = rounds(&stage).pop().unwrap();
    assert_eq!((round.stored(), round.item.copies), (Err(PutError::Conflict { seq: 5 }), 0));
    assert_eq!((puts(&stage).len(), stage.node.publications().next().unwrap().is_spared), (sent, true));
    // The copies expire, and the item is put again.
    stage.hosts.values_mut().for_each(|host| host.item = None);
    stage.run(secs(3600));
    assert!(holders(&stage, &signed(5, VALUE)).len() >= 8);
}

#[test]
fn b44_32_copies_of_an_older_version_do_not_count_when_a_newer_one_is_found() {
    let item = signed(5, VALUE);
    // All store an older version, except for one with a conflicting value, which answers first, in the
    // middle, or last.
    for (rank, delay) in (8..16).flat_map(|rank| (0..8).map(move |delay| (rank, delay))) {
        let mut stage = Stage::joined(60);
        stage.act(|node, now| node.start_publishing(now, &item)).unwrap();
        stage.run(secs(60));
        stage.hosts.values_mut().for_each(|host| host.item = Some(copied(&signed(4, b"3:old"))));
        let mut hosts: Vec<_> = stage.hosts.values_mut().collect();
        hosts.sort_by_key(|host| host.id.distance(&item.target()));
        hosts[rank].item = Some(copied(&signed(5, b"5:other")));
        hosts[rank].rtt = hosts[rank].rtt * (2 + delay) / 2;
        stage.run(secs(3600 + 600));
        let last = rounds(&stage).pop().unwrap();
        let is_stopped = last.stored() == Err(PutError::Conflict { seq: 5 }) && last.acknowledged == 0;
        assert!((is_stopped && last.item.copies == 0) || last.acknowledged >= 8, "{rank}, {delay}: {last:?}");
    }
}

#[test]
fn b44_32_eight_copies_are_not_enough() {
    let mut stage = Stage::joined(60);
    let item = signed(1, VALUE);
    stage.act(|node, now| node.start_publishing(now, &item)).unwrap();
    stage.run(secs(3600 + 600));
    assert!(puts(&stage).len() >= 16, "the eight that this node put");
}

#[test]
fn b44_33_b46_03_a_found_item_can_be_republished_by_any_node_with_its_original_signature() {
    let mut stage = Stage::joined(60);
    let item = signed(6, VALUE);
    give(&mut stage, &item, 2);
    let (lookup, _) = get_mutable(&mut stage);
    let found = stage.node.item(lookup).unwrap();
    stage.act(|node, now| node.start_publishing(now, &found)).unwrap();
    stage.run(secs(60));
    assert!(holders(&stage, &item).len() >= 8);
}

#[test]
fn a_publication_is_replaced_by_a_newer_version_and_never_by_an_older_one() {
    let mut stage = Stage::joined(60);
    let kept = stage.act(|node, now| node.start_publishing(now, &signed(5, VALUE))).unwrap();
    assert_eq!(stage.act(|node, now| node.start_publishing(now, &signed(5, VALUE))), Ok(kept));
    for stale in [signed(4, VALUE), signed(5, b"5:other")] {
        assert_eq!(stage.act(|node, now| node.start_publishing(now, &stale)), Err(PublishError::StaleItem));
    }
    stage.run(secs(60));
    assert_eq!(stage.act(|node, now| node.start_publishing(now, &signed(6, b"3:new"))), Ok(kept));
    stage.run(secs(60));
    assert_eq!(holders(&stage, &signed(6, b"3:new")).len(), 8);
    assert_eq!(stage.node.publications().count(), 1);
}

#[test]
fn a_publication_that_was_superseded_stops_and_reports_it() {
    let mut stage = Stage::joined(60);
    stage.act(|node, now| node.start_publishing(now, &signed(5, VALUE))).unwrap();
    stage.run(secs(60));
    give(&mut stage, &signed(7, b"3:new"), 8);
    let sent = puts(&stage).len();
    stage.run(secs(5 * 3600));
    let kept = stage.node.publications().next().unwrap();
    assert_eq!((kept.seq, kept.newest, kept.is_spared), (Some(5), Some(7), true));
    assert_eq!(puts(&stage).len(), sent);
}

#[test]
fn the_memory_for_own_items_is_bounded_and_completed_lookups_free_theirs() {
    let mut limits: Limits = limits();
    (limits.items.own, limits.items.own_chunks, limits.publications) = (3, 24, 3);
    let mut stage = joined_with(config(), &limits, 20);
    for index in 0..9_u8 {
        let target = NodeId::from_bytes([index; 20]);
        let lookup = stage.act(|node, now| node.get_immutable(now, target)).unwrap();
        stage.finish(lookup);
    }
    for index in 0..3_u8 {
        let item = Item::immutable(format!("i{index}e").as_bytes()).unwrap();
        stage.act(|node, now| node.start_publishing(now, &item)).unwrap();
    }
    let more = Item::immutable(b"i9e").unwrap();
    let full = PublishError::Full { limit: Limit::PublishedItems, size: 3 };
    assert_eq!(stage.act(|node, now| node.start_publishing(now, &more)), Err(full));
    // Publications free no memory, so waiting for a slot would be in vain.
    let none = StartError::TooSmall { limit: Limit::OwnItems, size: 0 };
    assert_eq!(stage.act(|node, now| node.put(now, &more, None)), Err(none));
    let kept = stage.node.publications().next().unwrap().id;
    assert!(stage.act(|node, _| node.stop_publishing(kept)));
    assert!(stage.act(|node, now| node.put(now, &more, None)).is_ok());
    let big = Item::immutable(&[&b"900:"[..], &[b'x'; 900]].concat()).unwrap();
    let kept = stage.node.publications().next().unwrap().id;
    assert!(stage.act(|node, _| node.stop_publishing(kept)));
    assert!(stage.act(|node, now| node.start_publishing(now, &big)).is_ok(), "chunks are freed as well");
}

#[test]
fn publications_leave_a_quarter_of_the_memory_to_lookups() {
    let item = |index: u8, len: usize| {
        let value = vec![index; len];
        Item::immutable(&[format!("{len}:").as_bytes(), &value].concat()).unwrap()
    };
    // Sizes at which either slots or chunks run out: 16 slots and 128 chunks, or 64 and 64.
    let (of_slots, of_chunks) = ((Limit::PublishedItems, 12), (Limit::PublishedChunks, 48));
    for (slots, chunks, len, most, (limit, size)) in
        [(16, 128, 100, 12, of_slots), (64, 64, 996, 6, of_chunks), (64, 64, 300, 16, of_chunks)]
    {
        let full = PublishError::Full { limit, size };
        let mut limits: Limits = limits();
        (limits.items.own, limits.items.own_chunks, limits.publications) = (slots, chunks, 64);
        let mut stage = joined_with(config(), &limits, 20);
        let keep =
            |stage: &mut Stage, index| stage.act(|node, now| node.start_publishing(now, &item(index, len)));
        for index in 0..most {
            keep(&mut stage, index).unwrap();
        }
        assert_eq!(keep(&mut stage, most), Err(full));
        assert_eq!(stage.node.publications().count(), usize::from(most));
        for _ in 0..3 {
            let target = NodeId::from_bytes([7; 20]);
            let lookup = stage.act(|node, now| node.get_immutable(now, target)).unwrap();
            stage.finish(lookup);
            put(&mut stage, &item(99, 996), None);
        }
        assert_eq!(keep(&mut stage, most), Err(full), "the rest is for lookups");
    }
}

#[test]
fn the_default_limits_have_room_for_a_hundred_publications_of_a_thousand_bytes() {
    let mut stage = joined_with(config(), &Limits::default(), 40);
    for index in 0..100_u8 {
        let item = Item::immutable(&[&b"996:"[..], &[index; 996]].concat()).unwrap();
        assert_eq!(item.value().len(), 1000);
        stage.act(|node, now| node.start_publishing(now, &item)).unwrap();
    }
    stage.run(secs(300));
    let items: Vec<_> = stage.node.publications().collect();
    assert_eq!(items.len(), 100);
    assert!(items.iter().all(|item| item.last.is_some_and(|last| last.acknowledged == 8)));
}

#[test]
fn a_publication_changes_within_its_own_share_of_memory() {
    let mut limits: Limits = limits();
    (limits.items.own, limits.items.own_chunks, limits.publications) = (4, 32, 4);
    let mut stage = joined_with(config(), &limits, 20);
    for index in 0..2_u8 {
        let other = Item::immutable(format!("i{index}e").as_bytes()).unwrap();
        stage.act(|node, now| node.start_publishing(now, &other)).unwrap();
    }
    for seq in 1..5 {
        stage.act(|node, now| node.start_publishing(now, &signed(seq, VALUE))).unwrap();
    }
    let more = Item::immutable(b"i9e").unwrap();
    let full = PublishError::Full { limit: Limit::PublishedItems, size: 3 };
    assert_eq!(stage.act(|node, now| node.start_publishing(now, &more)), Err(full));
}

#[test]
fn an_item_in_the_own_store_is_found_at_once() {
    let mut stage = Stage::joined(30);
    let item = Item::immutable(VALUE).unwrap();
    store(&mut stage, addr(900), &item);
    let lookup = stage.act(|node, now| node.get_immutable(now, item.target())).unwrap();
    assert!(stage.report(lookup).is_some(), "without any query");
    assert!(stage.events.contains(&Event::ItemFound { lookup, node: None, seq: None }));
    assert_eq!(stage.node.item(lookup), Some(item));
}

#[test]
fn a_get_and_a_put_can_address_a_single_node() {
    let mut stage = Stage::joined(30);
    let item = signed(1, VALUE);
    let mut options = LookupOptions::default();
    options.only = Some(addr(3));
    let lookup = stage.act(|node, now| node.put_with(now, &item, None, &options)).unwrap();
    assert_eq!(stage.finish(lookup).acknowledged, 1);
    assert_eq!(holders(&stage, &item), [addr(3)]);
}

#[test]
fn b46_01_b46_02_a_link_is_followed_to_the_peers_of_its_torrent() {
    let mut stage = Stage::joined(60);
    let infohash = stage::infohash(0x42);
    let link: UpdatableTorrent =
        format!("magnet:?xs=urn:btpk:{}&s=73616c74", secret().public()).parse().unwrap();
    let item = signed(3, &TorrentPointer::new(infohash).to_value());
    assert_eq!(link.target(), item.target());
    assert_eq!(put(&mut stage, &item, None).acknowledged, 8);
    stage.at(5).peers = vec![SocketAddr::from(([90, 0, 0, 1], 51413))];
    stage.run(Duration::from_secs(1000));

    let lookup = stage.act(|node, now| node.get_mutable(now, link.key, link.salt)).unwrap();
    stage.finish(lookup);
    let pointer = TorrentPointer::from_value(stage.node.item(lookup).unwrap().value()).unwrap();
    let lookup = stage.act(|node, now| node.get_peers(now, pointer.infohash())).unwrap();
    stage.finish(lookup);
    assert_eq!(pointer.infohash(), infohash);
    assert_eq!(stage.peers_of(lookup).len(), 1);
}
