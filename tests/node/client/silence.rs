//! Nodes that do not answer: no penalty where they need not know the query, a small one where they answer
//! others, and never so much that no node is queried any more.

use std::net::SocketAddr;

use crate::stage;
use crate::stage::{Stage, addr, id, infohash, ms, secs};

#[cfg(feature = "items")]
use dht_proto::items::Item;
use dht_proto::wire::Method;
use dht_proto::{Announce, Family, Instant, PutError};

fn table(stage: &Stage) -> usize {
    stage.node.node_count(Family::V4)
}

/// Returns the times at which the node sent a matching query to a host.
fn times(stage: &Stage, to: SocketAddr, counts: impl Fn(&stage::Sent) -> bool) -> Vec<Instant> {
    stage.sent.iter().filter(|sent| sent.to == to && counts(sent)).map(|sent| sent.at).collect()
}

#[cfg(feature = "items")]
fn is_get(sent: &stage::Sent) -> bool {
    matches!(sent.what, stage::What::Get(_))
}

/// Transmission, aria2, KTorrent and librqbit ignore `get`.
#[cfg(feature = "items")]
#[test]
fn a_node_that_ignores_item_queries_stays_in_the_table_and_rarely_receives_them() {
    let mut stage = Stage::joined(30);
    let known = table(&stage);
    stage.hosts.values_mut().for_each(|host| host.ignores_items = true);
    let begun = stage.now;
    for number in 0..10_u8 {
        let item = Item::immutable(&[b'2', b':', b'n', b'a' + number]).unwrap();
        let get = stage.act(|node, now| node.get_immutable(now, item.target())).unwrap();
        let report = stage.finish(get);
        assert!(report.answered > 0, "they list others: {report:?}");
        let put = stage.act(|node, now| node.put(now, &item, None)).unwrap();
        let stored = stage.finish(put).stored();
        assert!(matches!(stored, Err(PutError::NoTokens { answered: 1.. })), "{stored:?}");
        stage.run(secs(20));
    }
    assert!(table(&stage) >= known, "all of them are alive: {} of {known}", table(&stage));
    let hosts: Vec<_> = stage.hosts.keys().copied().collect();
    for host in hosts {
        assert!(times(&stage, host, is_get).len() <= 3, "{:?}", times(&stage, host, is_get));
    }
    assert_eq!(stage.count(begun, stage::Sent::is_announce), 0);
    // After half an hour one more `get` to each may find out whether they support it now.
    stage.hosts.values_mut().for_each(|host| host.ignores_items = false);
    stage.run(secs(31 * 60));
    let put = stage.act(|node, now| node.put(now, &Item::immutable(b"2:zz").unwrap(), None)).unwrap();
    assert_eq!(stage.finish(put).acknowledged, 8);
}

#[cfg(feature = "items")]
#[test]
fn an_item_is_found_and_put_among_many_nodes_that_ignore_item_queries() {
    let mut stage = Stage::joined(60);
    for index in 1..=60 {
        stage.at(index).ignores_items = index % 5 != 0;
    }
    let item = Item::immutable(b"2:ab").unwrap();
    let put = stage.act(|node, now| node.put(now, &item, None)).unwrap();
    let report = stage.finish(put);
    assert!(report.acknowledged >= 2, "{report:?}");
    stage.run(secs(60));
    let again = stage.act(|node, now| node.get_immutable(now, Item::immutable(b"2:ab").unwrap().target()));
    assert!(stage.finish(again.unwrap()).item.copies > 0);
}

#[test]
fn repetitions_to_a_silent_node_are_a_second_apart_after_the_first() {
    let mut stage = Stage::joined(60);
    let silent = stage.closest_to(infohash(1))[0];
    stage.at_addr(silent).is_dead = true;
    let lookup = stage.act(|node, now| node.announce(now, infohash(1), Announce::port(5)).unwrap());
    let report = stage.finish(lookup);
    assert!(report.duration < secs(2), "{report:?}");
    stage.run(secs(60));
    let times = times(&stage, silent, stage::Sent::is_get_peers);
    assert!((3..=5).contains(&times.len()), "{times:?}");
    let pauses: Vec<_> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(pauses[0] < ms(500) && pauses[1..].iter().all(|pause| *pause >= secs(1)), "{pauses:?}");
}

#[test]
fn a_lookup_costs_a_silent_node_no_more_than_one_failure() {
    let mut stage = Stage::joined(60);
    let silent = stage.closest_to(infohash(1))[0];
    stage.at_addr(silent).is_dead = true;
    let buckets = |stage: &Stage| -> usize { stage.node.buckets(Family::V4).map(|bucket| bucket.bad).sum() };
    let lookup = stage.act(|node, now| node.announce(now, infohash(1), Announce::port(5)).unwrap());
    stage.finish(lookup);
    // All queries of this lookup to it have timed out by then, and a ping is not due for two minutes.
    stage.run(secs(30));
    assert_eq!(buckets(&stage), 0);
    assert!(times(&stage, silent, |_| true).len() >= 3);
}

/// All entries of the table have failed twice and count as bad, while another node shows that the link is up.
#[test]
fn l_04_a_lookup_with_any_candidate_queries_one() {
    let mut stage = Stage::joined(12);
    stage.hosts.values_mut().for_each(|host| host.is_dead = true);
    let bad = |stage: &Stage| -> usize { stage.node.buckets(Family::V4).map(|bucket| bucket.bad).sum() };
    for byte in 1..=40 {
        stage.act(|node, now| node.get_peers(now, infohash(byte)).unwrap());
        for _ in 0..8 {
            stage.run(secs(1));
            stage.ask(addr(99), id(99), Method::Ping);
        }
        if bad(&stage) >= 8 {
            break;
        }
    }
    assert!(bad(&stage) >= 8, "{} are bad", bad(&stage));
    stage.hosts.values_mut().for_each(|host| host.is_dead = false);
    let begun = stage.now;
    let lookup = stage.act(|node, now| node.get_peers(now, infohash(99)).unwrap());
    let report = stage.finish(lookup);
    assert!(report.answered >= 8 && report.duration < secs(1), "{report:?}");
    assert!(stage.count(begun, stage::Sent::is_get_peers) >= 8);
}
