//! Samples of infohashes (BEP 51) that a node answers with, as raw datagrams.

use std::collections::BTreeSet;

use dht_proto::Family;

use crate::common;
use crate::common::raw::{
    ID, Lone, MAX_SIZE, Packet, TARGET, addr6, crowd, join, query, query_by, stingy, unhurried,
};
use crate::common::stranger;
use crate::stage::secs;

fn torrent(index: usize) -> [u8; 20] {
    let mut infohash = [0x77; 20];
    infohash[..2].copy_from_slice(&(index as u16).to_be_bytes());
    infohash
}

fn sample_query(target: &[u8; 20], more: &[u8]) -> Vec<u8> {
    query("sample_infohashes", &join(&[b"6:target20:", target, more]))
}

/// Creates a node that stores peers of `count` torrents, and knows 30 nodes of each family.
fn storing(torrents: usize) -> Lone {
    let mut limits = common::raw::limits();
    (limits.swarms, limits.peers_v4) = (1000, 4000);
    let mut lone = Lone::with_limits(unhurried(), &limits);
    Family::ALL.into_iter().for_each(|family| lone.meet(crowd(family, 30)));
    (0..torrents).for_each(|index| lone.store(stranger(index), &torrent(index)));
    lone
}

/// Returns the infohashes in an answer, which must be distinct.
fn samples(reply: &Packet) -> Vec<[u8; 20]> {
    let (samples, rest) = reply.string("r.samples").expect("always there").as_chunks();
    assert!(rest.is_empty());
    assert_eq!(samples.iter().collect::<BTreeSet<_>>().len(), samples.len());
    samples.to_vec()
}

fn ask(lone: &mut Lone) -> (Vec<[u8; 20]>, i64, i64) {
    let reply = lone.accepted(stranger(999), &sample_query(&TARGET, b""));
    (samples(&reply), reply.int("r.num").unwrap(), reply.int("r.interval").unwrap())
}

#[test]
fn b51_01_b51_02_the_answer_has_all_fields_even_where_nothing_is_stored() {
    let mut lone = storing(0);
    let reply = lone.accepted(stranger(1), &sample_query(&TARGET, b""));
    assert_eq!(reply.string("r.samples"), Some(&b""[..]));
    assert_eq!((reply.int("r.num"), reply.int("r.interval")), (Some(0), Some(300)));
    assert_eq!((reply.nodes().len(), reply.at("r.nodes6"), reply.at("r.token")), (8, None, None));
    let reply = lone.accepted(addr6(500), &sample_query(&TARGET, b""));
    assert_eq!((reply.at("r.nodes"), reply.nodes6().len()), (None, 8));
    let reply = lone.accepted(stranger(1), &sample_query(&TARGET, b"4:wantl2:n42:n6e"));
    assert_eq!((reply.nodes().len(), reply.nodes6().len()), (8, 8));
}

#[test]
fn b51_05_b51_10_if_all_infohashes_fit_every_torrent_with_peers_is_returned() {
    let mut lone = storing(10);
    let (sampled, num, interval) = ask(&mut lone);
    assert_eq!(BTreeSet::from_iter(sampled), (0..10).map(torrent).collect());
    assert_eq!((num, interval), (10, 300));
    lone.store(stranger(10), &torrent(10));
    let (sampled, num, _) = ask(&mut lone);
    assert_eq!((sampled.len(), num), (11, 11), "one more at once");
    // Looked-up torrents are not stored, and expired ones are not returned.
    lone.token(stranger(1), &torrent(500));
    lone.wait(secs(46 * 60));
    let (sampled, num, _) = ask(&mut lone);
    assert_eq!((sampled.len(), num), (0, 0));
}

#[test]
fn b51_03_b51_04_if_not_all_fit_a_random_subset_is_returned_that_stays_the_same_for_the_interval() {
    let mut lone = storing(200);
    let (first, num, interval) = ask(&mut lone);
    assert!(
        first.len() >= 25 && first.iter().all(|sampled| (0..200).any(|index| torrent(index) == *sampled))
    );
    assert_eq!((num, interval), (200, 300));
    lone.store(stranger(300), &torrent(300));
    for passed in [1, 100, 198] {
        lone.wait(secs(passed));
        let (again, ..) = ask(&mut lone);
        assert_eq!(again, first, "another query returns the same");
    }
    let (_, num, left) = ask(&mut lone);
    assert_eq!((num, left), (201, 1), "it reports when it will change");
    lone.wait(secs(1));
    let (second, _, interval) = ask(&mut lone);
    assert_ne!(second, first);
    assert_eq!(interval, 300);

    // Over time each is sampled about equally often.
    let mut sampled = std::collections::BTreeMap::new();
    for _ in 0..60 {
        lone.wait(secs(300));
        (0..200).for_each(|index| {
            let token = lone.token(stranger(index), &torrent(index));
            lone.accepted(stranger(index), &common::raw::announce(&torrent(index), 6881, &token));
        });
        for infohash in ask(&mut lone).0 {
            *sampled.entry(infohash).or_insert(0) += 1;
        }
    }
    let expected = 60 * first.len() / 201;
    assert!(sampled.len() >= 199, "{}", sampled.len());
    assert!(sampled.values().all(|&times| times < 3 * expected), "{sampled:?}");
}

#[test]
fn b51_04_no_interval_is_so_long_that_most_of_the_subset_expires_in_it() {
    let mut config = unhurried();
    (config.sample_interval, config.peer_ttl) = (secs(6 * 3600), secs(1200));
    let mut limits = common::raw::limits();
    (limits.swarms, limits.peers_v4) = (1000, 4000);
    let mut lone = Lone::with_limits(config, &limits);
    // One every six seconds, each announced once.
    let mut sampled = Vec::new();
    for index in 0..600 {
        lone.store(stranger(index), &torrent(index));
        lone.wait(secs(6));
        if index % 10 == 9 && index >= 200 {
            let (samples, num, left) = ask(&mut lone);
            assert!((1..=600).contains(&left) && num >= 200, "{num} {left}");
            sampled.push(samples.len());
        }
    }
    let most = *sampled.iter().max().unwrap();
    assert!(most >= 40 && sampled.iter().all(|&sampled| 3 * sampled >= most), "{sampled:?}");
}

#[test]
fn b51_09_the_target_selects_the_nodes_but_not_the_sample() {
    let mut lone = storing(200);
    let answers = [TARGET, [0; 20], [0xff; 20]].map(|target| {
        let reply = lone.accepted(stranger(999), &sample_query(&target, b""));
        (samples(&reply), reply.nodes())
    });
    assert!(answers.iter().all(|(sampled, _)| *sampled == answers[0].0));
    assert!(answers[0].1 != answers[1].1 && answers[1].1 != answers[2].1);
}

#[test]
fn b51_04_an_answer_fits_its_datagram_and_fills_it() {
    let mut lone = storing(200);
    let mut lens = Vec::new();
    for (from, want) in [
        (stranger(999), &b""[..]),
        (stranger(999), b"4:wantl2:n42:n6e"),
        (addr6(999), b""),
        (addr6(999), b"4:wantl2:n42:n6e"),
    ] {
        for t in [&b"a"[..], &[7; 32]] {
            let arguments = join(&[b"6:target20:", &TARGET, want]);
            let reply = lone.accepted(from, &query_by(&ID, t, "sample_infohashes", &arguments));
            assert!((MAX_SIZE - 32..=MAX_SIZE).contains(&reply.bytes.len()), "{}", reply.bytes.len());
            lens.push(samples(&reply));
        }
    }
    let longest = lens.iter().max_by_key(|sampled| sampled.len()).unwrap();
    assert!(lens.iter().all(|sampled| longest.starts_with(sampled)), "less room, less of the same");
    assert!((25..=45).contains(&longest.len()) && lens.iter().all(|sampled| sampled.len() >= 10));
}

#[test]
fn b51_02_an_unverified_address_gets_at_most_three_times_its_query_but_always_a_sample() {
    let mut lone = Lone::new(stingy());
    lone.meet(crowd(Family::V4, 30));
    (0..40).for_each(|index| lone.store(stranger(index), &torrent(index)));
    let asked = sample_query(&TARGET, b"");
    let reply = lone.accepted(stranger(999), &asked);
    assert!(reply.bytes.len() <= 3 * asked.len());
    assert!(reply.at("r.samples").is_some() && !reply.nodes().is_empty());
}
