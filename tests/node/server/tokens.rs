//! Write tokens through a whole node: those that it issues, and those that it receives.

use std::net::SocketAddr;
use std::time::Duration;

use dht_proto::{Announce, Event, Family, InfoHash, Lookup, LookupOptions};

use crate::common;
use crate::common::addr;
use crate::common::raw::{
    ID, Lone, OWN, TARGET, addr6, announce, announce_with, compact, config, get_peers, join, node_list,
    socket, spread, unhurried, value_list,
};

const MINUTE: Duration = Duration::from_secs(60);

fn infohash() -> InfoHash {
    InfoHash::from_bytes(TARGET)
}

fn token_field(token: &[u8]) -> Vec<u8> {
    join(&[format!("5:token{}:", token.len()).as_bytes(), token])
}

/// Starts a lookup of the target that queries only `host`, which answers with these fields. Returns the query
/// that follows, if one does.
fn announced(lone: &mut Lone, host: SocketAddr, fields: &[u8]) -> Option<common::raw::Packet> {
    let lookup = Lookup::Announce(infohash(), Announce::port(4242));
    let (_, query) = lone.ask_only(lookup, host);
    assert_eq!(query.method(), "get_peers");
    lone.ignored(host, &query.answer(&ID, fields));
    lone.queries.pop()
}

#[test]
fn t_01_q_15_a_token_is_not_valid_for_another_ip() {
    let mut lone = Lone::new(config());
    let token = lone.token(socket("60.0.0.1:6881"), &TARGET);
    for thief in ["60.0.0.2:6881", "61.0.0.1:6881", "[2a00::1]:6881"] {
        assert_eq!(lone.refused(socket(thief), &announce(&TARGET, 1, &token)), 203);
    }
    assert_eq!(lone.node.infohash_count(), 0);
    let token6 = lone.token(socket("[2a00::1]:6881"), &TARGET);
    assert_eq!(lone.refused(socket("60.0.0.1:6881"), &announce(&TARGET, 1, &token6)), 203);
    assert_eq!(lone.refused(socket("[2a00::2]:6881"), &announce(&TARGET, 1, &token6)), 203);
    lone.accepted(socket("60.0.0.1:6881"), &announce(&TARGET, 1, &token));
    lone.accepted(socket("[2a00::1]:6881"), &announce(&TARGET, 1, &token6));
}

#[test]
fn t_03_a_token_is_valid_for_all_ports_and_ids_of_its_host_but_for_one_torrent() {
    let mut lone = Lone::new(config());
    let token = lone.token(socket("60.0.0.1:6881"), &TARGET);
    for byte in 0..20 {
        let mut other = TARGET;
        other[byte] ^= 1;
        assert_eq!(lone.refused(socket("60.0.0.1:6881"), &announce(&other, 1, &token)), 203);
    }
    let arguments = join(&[b"9:info_hash20:", &TARGET, b"4:porti9e", &token_field(&token)]);
    let other_id = common::raw::query_by(&spread(9), b"aa", "announce_peer", &arguments);
    lone.accepted(socket("60.0.0.1:1024"), &other_id);
    assert_eq!(lone.stored(&TARGET), [socket("60.0.0.1:9")]);
}

#[test]
fn q_15_q_16_t_07_a_wrong_token_gets_203_and_nothing_is_stored() {
    let mut lone = Lone::new(unhurried());
    let token = lone.token(addr(1), &TARGET);
    let mut wrong: Vec<Vec<u8>> = (0..64)
        .map(|bit| {
            let mut flipped = token.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            flipped
        })
        .collect();
    wrong.extend([b"x".to_vec(), vec![0; 8], vec![0xff; 20], vec![b'a'; 128], vec![b'a'; 900]]);
    wrong.extend([token[..7].to_vec(), [&token[..], b"x"].concat(), token.iter().rev().copied().collect()]);
    for wrong in wrong {
        assert_eq!(lone.refused(addr(1), &announce(&TARGET, 1, &wrong)), 203);
    }
    assert_eq!((lone.node.infohash_count(), lone.stats().responses_out.total()), (0, 1));
    assert!(!lone.events.iter().any(|event| matches!(event, Event::PeerStored { .. })));
}

#[test]
fn t_07_a_token_of_ours_with_nul_bytes_behind_it_is_accepted() {
    let mut lone = Lone::new(unhurried());
    for (index, padding) in [0, 1, 12, 24].into_iter().enumerate() {
        let host = addr(1 + index);
        let token = lone.token(host, &TARGET);
        lone.accepted(host, &announce(&TARGET, 1, &[&token[..], &vec![0; padding]].concat()));
    }
    let token = lone.token(addr(9), &TARGET);
    for wrong in [[&token[..], &[0; 25]].concat(), [&token[..], &[0, 0, 1]].concat()] {
        assert_eq!(lone.refused(addr(9), &announce(&TARGET, 1, &wrong)), 203);
    }
    assert_eq!(lone.stored(&TARGET).len(), 4);
}

#[test]
fn t_02_a_token_is_valid_for_at_least_five_minutes() {
    let mut lone = Lone::new(config());
    lone.wait(MINUTE * 5 - Duration::from_secs(2));
    let before_rotation = lone.token(addr(1), &TARGET);
    lone.wait(Duration::from_secs(4));
    let after_rotation = lone.token(addr(1), &TARGET);
    assert_ne!(before_rotation, after_rotation, "the secret rotates every five minutes");
    lone.accepted(addr(1), &announce(&TARGET, 1, &before_rotation));
    lone.wait(MINUTE * 5 - Duration::from_secs(4));
    lone.accepted(addr(1), &announce(&TARGET, 1, &before_rotation));
    lone.wait(Duration::from_secs(4));
    assert_eq!(lone.refused(addr(1), &announce(&TARGET, 1, &before_rotation)), 203);
    lone.accepted(addr(1), &announce(&TARGET, 1, &after_rotation));
}

#[test]
fn t_02_q_15_no_token_is_valid_for_more_than_ten_minutes() {
    for age in [0, 1, 100, 299, 301, 450] {
        let mut lone = Lone::new(config());
        lone.wait(Duration::from_secs(age));
        let token = lone.token(addr(1), &TARGET);
        lone.wait(MINUTE * 10);
        assert_eq!(lone.refused(addr(1), &announce(&TARGET, 1, &token)), 203, "from {age} s");
    }
}

#[test]
fn t_02_sleep_ages_tokens_too() {
    let mut lone = Lone::new(config());
    let token = lone.token(addr(1), &TARGET);
    lone.node.handle_resume(lone.now, MINUTE * 11);
    assert_eq!(lone.refused(addr(1), &announce(&TARGET, 1, &token)), 203);
}

#[test]
fn t_02_other_requests_do_not_invalidate_a_token() {
    let mut lone = Lone::new(unhurried());
    let token = lone.token(addr(1), &TARGET);
    for index in 0..3000 {
        lone.token(addr(100 + index), &spread(index));
    }
    lone.accepted(addr(1), &announce(&TARGET, 1, &token));
}

#[test]
fn t_09_no_token_can_be_derived_from_another() {
    let mut lone = Lone::new(unhurried());
    // A checksum over the address would give all these pairs the same difference.
    let difference = |lone: &mut Lone, infohash: &[u8; 20]| -> Vec<u8> {
        let [a, b] = ["60.0.0.1:1", "60.0.0.2:1"].map(|host| lone.token(socket(host), infohash));
        a.iter().zip(&b).map(|(a, b)| a ^ b).collect()
    };
    let mut differences: Vec<_> = (0..50).map(|index| difference(&mut lone, &spread(index))).collect();
    differences.sort();
    differences.dedup();
    assert_eq!(differences.len(), 50);
    let hosts: std::collections::BTreeSet<_> =
        (0..50).map(|index| lone.token(addr6(index), &TARGET)).collect();
    assert_eq!(hosts.len(), 50, "every byte of an IPv6 address counts");
}

#[test]
fn t_04_q_13_an_announce_sends_token_id_and_infohash_to_the_endpoint_that_gave_the_token() {
    for announce in [Announce::port(4242), Announce::implied(4242)] {
        let mut lone = Lone::new(config());
        let (lookup, query) = lone.ask_only(Lookup::Announce(infohash(), announce), addr(1));
        assert_eq!(query.string("a.info_hash"), Some(&TARGET[..]));
        lone.ignored(addr(1), &query.answer(&ID, b"5:token4:\x00e:\xff"));
        let sent = lone.query();
        assert_eq!((sent.to, sent.method()), (addr(1), "announce_peer"));
        assert_eq!(sent.string("a.token"), Some(&b"\x00e:\xff"[..]));
        assert_eq!(sent.string("a.info_hash"), Some(&TARGET[..]));
        assert_eq!(sent.string("a.id"), Some(&OWN[..]));
        assert_eq!(sent.int("a.port"), Some(4242), "also where it is implied");
        assert_eq!(sent.int("a.implied_port"), Some(i64::from(announce.implied_port)));
        assert_ne!(sent.string("t"), query.string("t"));

        lone.ignored(addr(1), &sent.answer(&ID, b""));
        assert!(lone.events.contains(&Event::Acknowledged { lookup, node: addr(1) }));
        let report = lone.events.iter().find_map(|event| match event {
            Event::LookupDone { report, .. } => Some(report),
            _ => None,
        });
        assert_eq!(report.map(|report| (report.sent, report.acknowledged)), Some((1, 1)));
    }
}

#[test]
fn t_04_an_announce_that_is_refused_is_not_acknowledged() {
    let mut lone = Lone::new(config());
    let sent = announced(&mut lone, addr(1), b"5:token1:x").expect("an announce");
    lone.ignored(addr(1), &sent.error(b"li203e9:bad tokene"));
    lone.wait(MINUTE);
    assert!(!lone.events.iter().any(|event| matches!(event, Event::Acknowledged { .. })));
    assert!(lone.events.iter().any(|event| matches!(
        event,
        Event::LookupDone { report, .. } if (report.sent, report.acknowledged) == (1, 0)
    )));
}

#[test]
fn t_06_tokens_of_1_to_128_bytes_are_returned_verbatim() {
    for len in [1, 4, 8, 20, 32, 127, 128] {
        let mut lone = Lone::new(config());
        let token: Vec<u8> = (0..len).map(|at| (at * 89) as u8).collect();
        let sent = announced(&mut lone, addr(1), &token_field(&token)).expect("an announce");
        assert_eq!(sent.string("a.token"), Some(&token[..]), "{len}");
    }
}

#[test]
fn t_06_e_30_a_token_longer_than_128_bytes_counts_as_absent() {
    for len in [129, 200, 900] {
        let mut lone = Lone::new(config());
        let peer = socket("60.9.9.9:5");
        let fields = join(&[&token_field(&vec![b'x'; len]), &value_list(&[peer])]);
        assert!(announced(&mut lone, addr(1), &fields).is_none(), "{len}");
        assert_eq!(lone.found(), [peer], "{len}");
        assert!(lone.knows(&ID, addr(1)));
    }
}

#[test]
fn t_06_t_10_an_answer_without_a_token_is_used_by_the_lookup_but_not_by_the_announce() {
    for none in ["", "5:token0:", "5:tokeni8e", "5:tokenl1:xe"] {
        let mut lone = Lone::new(config());
        let peer = socket("60.9.9.9:5");
        let fields = join(&[none.as_bytes(), &value_list(&[peer])]);
        assert!(announced(&mut lone, addr(1), &fields).is_none(), "{none}");
        assert_eq!(lone.found(), [peer], "{none}");
        assert!(lone.knows(&ID, addr(1)));
    }
}

#[test]
fn t_10_the_nodes_of_a_reply_without_a_token_are_queried() {
    let mut lone = Lone::new(config());
    lone.meet([(ID, addr(1))]);
    lone.node.announce(lone.now, infohash(), Announce::port(4242)).unwrap();
    let query = lone.query();
    lone.ignored(addr(1), &query.answer(&ID, &node_list(&[(TARGET, addr(2))])));
    let next = lone.query();
    assert_eq!((next.to, next.method()), (addr(2), "get_peers"));
    lone.ignored(addr(2), &next.answer(&TARGET, b"5:token2:ab"));
    let sent = lone.query();
    assert_eq!((sent.to, sent.method()), (addr(2), "announce_peer"));
}

#[test]
fn t_08_within_five_minutes_an_announce_needs_no_second_lookup() {
    for (pause, expected) in [(MINUTE * 4, "announce_peer"), (MINUTE * 5, "get_peers")] {
        let mut lone = Lone::new(config());
        lone.meet([(ID, addr(1))]);
        lone.node.get_peers(lone.now, infohash()).unwrap();
        let query = lone.query();
        lone.ignored(addr(1), &query.answer(&ID, b"5:token2:ab"));
        lone.wait(pause);
        lone.queries.clear();
        lone.node.announce(lone.now, infohash(), Announce::port(4242)).unwrap();
        lone.drain();
        let methods: Vec<_> = lone.queries.iter().map(|query| query.method().to_owned()).collect();
        assert_eq!(methods, [expected]);
    }
}

#[test]
fn t_08_an_announce_after_find_node_of_the_same_target_requests_tokens() {
    let mut lone = Lone::new(config());
    lone.meet([(ID, addr(1))]);
    lone.node.find_node(lone.now, dht_proto::NodeId::from_bytes(TARGET)).unwrap();
    let query = lone.query();
    lone.ignored(addr(1), &query.answer(&ID, b""));
    lone.node.announce(lone.now, infohash(), Announce::port(4242)).unwrap();
    assert_eq!(lone.query().method(), "get_peers");
}

#[test]
fn q_10_port_0_cannot_be_announced() {
    let mut lone = Lone::new(config());
    for announce in [Announce::port(0), Announce::implied(0)] {
        assert!(lone.node.announce(lone.now, infohash(), announce).is_err());
    }
    let lookup = Lookup::Announce(infohash(), Announce::port(0));
    assert!(lone.node.lookup(lone.now, lookup, &LookupOptions::default()).is_err());
    assert_eq!(lone.node.lookup_count(), 0);
}

#[test]
fn t_01_a_token_can_store_only_its_own_host() {
    let mut lone = Lone::new(config());
    let token = lone.token(addr(1), &TARGET);
    for extra in ["2:ip6:\u{1}\u{2}\u{3}\u{4}\u{5}\u{6}", "4:addr7:1.2.3.4"] {
        lone.accepted(addr(1), &announce_with(extra.as_bytes(), &TARGET, b"4:porti77e", &token));
    }
    let peer = SocketAddr::new(addr(1).ip(), 77);
    assert_eq!(lone.accepted(addr(2), &get_peers(&TARGET, b"")).values(), [compact(peer)]);
    assert_eq!(lone.node.peer_count(Family::V6), 0);
}
