//! Answers of a node: queries as raw datagrams, and their replies as another decoder reads them.
//! Tests are named after the rows of the requirements they check.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use bencode_rs::Value;
use dht_proto::stats::MethodCounts;
use dht_proto::{Announce, Config, Event, Family, InfoHash, MAX_DATAGRAM, NodeId};

use crate::common::raw::{
    ID, Lone, MAX_SIZE, OWN, TARGET, addr6, announce, announce_with, compact, config, crowd, find_node,
    get_peers, join, query, query_by, socket, spread, stingy, unhurried,
};
use crate::common::{addr, stranger};

const PING: &[u8] = b"d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t2:aa1:y1:qe";

/// Returns the `count` of `ids` that are closest to `target`, closest first.
fn closest(ids: impl Iterator<Item = [u8; 20]>, target: &[u8; 20], count: usize) -> Vec<[u8; 20]> {
    let mut ids: Vec<_> = ids.collect();
    ids.sort_by_key(|id| id.iter().zip(target).map(|(a, b)| a ^ b).collect::<Vec<_>>());
    ids.truncate(count);
    ids
}

/// Creates a node that knows 20 others in each of these families.
fn knowing_20(config: Config, families: &[Family]) -> Lone {
    let mut lone = Lone::new(config);
    families.iter().for_each(|family| lone.meet(crowd(*family, 20)));
    lone
}

/// Creates such a node with these peers, in which no answer to an unverified host is longer than 3 queries.
fn stingy_with(peers: impl Iterator<Item = SocketAddr>) -> Lone {
    let mut lone = knowing_20(stingy(), &Family::ALL);
    peers.for_each(|peer| lone.store(peer, &TARGET));
    lone
}

/// Returns how many nodes, nodes6 and values answer a query with this padding, within 3 times its length.
#[track_caller]
fn padded_get_peers(lone: &mut Lone, from: SocketAddr, pad: usize) -> (usize, usize, usize) {
    let padding = format!("1:x{pad}:{}", "x".repeat(pad));
    let asked = get_peers(&TARGET, &join(&[b"4:wantl2:n42:n6e", padding.as_bytes()]));
    let reply = lone.accepted(from, &asked);
    assert!(reply.bytes.len() <= 3 * asked.len(), "no amplification");
    assert!(reply.string("r.token").is_some());
    (reply.nodes().len(), reply.nodes6().len(), reply.values().len())
}

/// Returns the address of the `index`-th host, each in the network of another provider.
fn elsewhere(index: usize) -> SocketAddr {
    stranger(index << 8)
}

/// Returns the peers in an answer, which must be distinct.
#[track_caller]
fn sample(lone: &mut Lone, from: SocketAddr) -> Vec<Vec<u8>> {
    let values = lone.accepted(from, &get_peers(&TARGET, b"")).values();
    let unique: BTreeSet<_> = values.iter().collect();
    assert_eq!(unique.len(), values.len());
    values
}

#[test]
fn q_01_e_27_b42_06_b20_01_e_18_b42_12_a_ping_is_answered_with_our_id_its_address_and_our_version() {
    let mut lone = Lone::new(config());
    let reply = lone.accepted(socket("60.1.2.3:6881"), PING);
    let expected =
        join(&[b"d2:ip6:\x3c\x01\x02\x03\x1a\xe11:rd2:id20:", &OWN[..], b"e1:t2:aa1:v4:dp\x00\x011:y1:re"]);
    assert_eq!(reply.bytes, expected);

    let mut other = config();
    other.version = *b"XY\xff\x00";
    let reply = Lone::new(other).accepted(stranger(1), PING);
    assert_eq!(reply.string("v"), Some(&b"XY\xff\x00"[..]));
}

#[test]
fn e_15_e_16_transaction_ids_of_1_to_32_bytes_are_echoed_with_every_kind_of_answer() {
    let mut lone = Lone::new(unhurried());
    for len in 1..=32 {
        let t: Vec<u8> = (0..len).map(|at| [0, 0xff, b'e', b':'][at % 4]).collect();
        for (name, arguments) in
            [("ping", &b""[..]), ("find_node", b"6:target20:mnopqrstuvwxyz123456"), ("get_peers", b"")]
        {
            let reply = lone.ask(stranger(1), &query_by(&ID, &t, name, arguments));
            assert_eq!(reply.string("t"), Some(&t[..]), "{name}");
        }
    }
    lone.ignored(stranger(1), &query_by(&ID, &[7; 33], "ping", b""));
    assert_eq!(lone.stats().dropped.malformed, 1);
}

#[test]
fn q_27_an_answer_goes_to_the_endpoint_of_the_query() {
    let mut lone = Lone::new(config());
    for from in ["60.0.0.1:1", "60.0.0.1:65535", "[2a00::9]:53"] {
        assert_eq!(lone.accepted(socket(from), PING).to, socket(from));
    }
}

#[test]
fn q_27_an_answer_leaves_from_the_address_that_was_queried_if_known() {
    let mut lone = Lone::new(config());
    let mut ask = |locals: &[Option<&str>]| {
        for (port, local) in (1..).zip(locals) {
            let from =
                SocketAddr::new(if port % 2 == 0 { "2a00::9" } else { "60.0.0.1" }.parse().unwrap(), port);
            let local = local.map(|local| local.parse().unwrap());
            lone.node.handle_datagram_at(lone.now, from, local, PING);
        }
        let (mut buf, mut sources) = ([0; MAX_DATAGRAM], Vec::new());
        while let Some(transmit) = lone.node.poll_transmit(lone.now, &mut buf) {
            if buf[..transmit.size].ends_with(b"1:y1:re") {
                sources.push(transmit.source.map(|source| source.to_string()));
            }
        }
        sources
    };
    let expected =
        |sources: &[&str]| sources.iter().map(|source| Some(source.to_string())).collect::<Vec<_>>();
    // Queries in both families, all before the first is answered.
    let ours = ["60.9.9.1", "2a00::1", "60.9.9.2", "2a00::2", "60.9.9.1", "2a00::2", "::ffff:60.9.9.2"];
    let asked = ours.map(Some);
    assert_eq!(ask(&asked), expected(&[&ours[..6], &["60.9.9.2"]].concat()));
    assert_eq!(ask(&[None, Some("2a00::3")]), [None, Some("2a00::3".to_owned())]);
    // Nothing can be sent from these.
    let nowhere = ["255.255.255.255", "ff02::1", "224.0.0.1", "60.9.9.1", "0.0.0.0", "::"];
    assert_eq!(ask(&nowhere.map(Some)), vec![None; nowhere.len()]);
    // More at once than there are slots: the system chooses the address.
    let many: Vec<String> = (0..10).map(|at| format!("2a00::{at:x}")).collect();
    let mut asked = vec![None; 20];
    for (at, local) in many.iter().enumerate() {
        asked[2 * at + 1] = Some(local.as_str());
    }
    let sources = ask(&asked);
    let known = sources.iter().flatten().count();
    assert_eq!((sources.len(), known), (20, 8));
    assert_eq!(ask(&[None, Some("2a00::ffff")])[1].as_deref(), Some("2a00::ffff"), "there is room again");
}

#[test]
fn q_02_r_05_b5_07_find_node_lists_exactly_the_8_closest_nodes_that_answered_us() {
    let mut lone = Lone::new(config());
    lone.meet(crowd(Family::V4, 60));
    for target in [TARGET, OWN, [0; 20], [0xff; 20], spread(17)] {
        let reply = lone.accepted(stranger(1), &find_node(&target, b""));
        assert_eq!(reply.nodes(), closest((0..60).map(spread), &target, 8));
        assert_eq!(reply.at("r.token"), None);
        assert_eq!(reply.at("r.nodes6"), None);
    }
}

#[test]
fn q_02_a_known_target_is_listed_first_and_then_its_neighbours() {
    let mut lone = knowing_20(config(), &[Family::V4]);
    let reply = lone.accepted(stranger(1), &find_node(&spread(5), b""));
    assert_eq!(reply.nodes().len(), 8);
    let first = join(&[&spread(5)[..], &compact(addr(5))]);
    assert_eq!(reply.string("r.nodes").unwrap()[..26], first);
}

#[test]
fn q_02_a_node_with_an_empty_table_sends_an_empty_list() {
    let reply = Lone::new(config()).accepted(stranger(1), &find_node(&TARGET, b""));
    assert_eq!(reply.string("r.nodes"), Some(&b""[..]));
}

#[test]
fn r_05_nodes_that_only_queried_us_or_stopped_answering_are_not_listed() {
    let mut lone = Lone::new(config());
    lone.accepted(stranger(1), PING);
    assert_eq!(lone.accepted(stranger(2), &find_node(&ID, b"")).nodes(), [[0; 20]; 0]);

    lone.meet([(spread(1), addr(1))]);
    assert_eq!(lone.accepted(stranger(2), &find_node(&ID, b"")).nodes(), [spread(1)]);
    lone.wait(Duration::from_secs(16 * 60));
    assert_eq!(lone.accepted(stranger(2), &find_node(&ID, b"")).nodes(), [[0; 20]; 0]);
}

#[test]
fn q_03_t_07_get_peers_returns_a_token_and_nodes_if_no_peer_is_known() {
    let mut lone = knowing_20(config(), &[Family::V4]);
    let reply = lone.accepted(stranger(1), &get_peers(&TARGET, b""));
    assert!((4..=20).contains(&reply.string("r.token").unwrap().len()), "T-07");
    assert_eq!(reply.nodes(), closest((0..20).map(spread), &TARGET, 8));
    assert_eq!(reply.at("r.values"), None);
}

#[test]
fn q_04_q_05_an_announced_peer_is_returned_beside_nodes() {
    let mut lone = knowing_20(config(), &[Family::V4]);
    let token = lone.token(stranger(1), &TARGET);
    let reply = lone.accepted(stranger(1), &announce(&TARGET, 4242, &token));
    assert_eq!(reply.at("r").map(|r| matches!(r, Value::Dictionary(r) if r.len() == 1)), Some(true));
    let peer = SocketAddr::new(stranger(1).ip(), 4242);
    assert_eq!(lone.stored(&TARGET), [peer]);
    let event = Event::PeerStored { infohash: InfoHash::from_bytes(TARGET), peer, seed: false };
    assert!(lone.events.contains(&event));

    let reply = lone.accepted(stranger(2), &get_peers(&TARGET, b""));
    assert_eq!(reply.values(), [compact(peer)]);
    assert_eq!(reply.nodes().len(), 8);
    assert!(reply.string("r.token").is_some());
    assert!(lone.accepted(stranger(2), &get_peers(&ID, b"")).values().is_empty());
}

#[test]
fn q_10_invalid_ports_get_203_and_nothing_is_stored() {
    let mut lone = Lone::new(config());
    let token = lone.token(stranger(1), &TARGET);
    for port in [
        "4:porti0e",
        "4:porti-1e",
        "4:porti65536e",
        "4:porti70000e",
        "4:porti18446744073709551617e",
        "4:port4:6881",
        "",
        "4:porti0e4:seedi1e",
    ] {
        assert_eq!(lone.refused(stranger(1), &announce_with(b"", &TARGET, port.as_bytes(), &token)), 203);
        assert_eq!(
            lone.refused(
                stranger(1),
                &announce_with(b"12:implied_porti0e", &TARGET, port.as_bytes(), &token)
            ),
            203
        );
    }
    assert_eq!((lone.node.infohash_count(), lone.node.peer_count(Family::V4)), (0, 0));
    for port in [1, 65535] {
        lone.accepted(stranger(1), &announce(&TARGET, port.into(), &token));
        assert_eq!(lone.stored(&TARGET), [SocketAddr::new(stranger(1).ip(), port)]);
    }
}

#[test]
fn q_11_q_12_any_implied_port_but_0_takes_the_source_port_and_needs_no_other() {
    for (implied, port) in [
        ("12:implied_porti1e", "4:porti4242e"),
        ("12:implied_porti2e", "4:porti4242e"),
        ("12:implied_porti-1e", "4:porti4242e"),
        ("12:implied_porti1e", "4:porti0e"),
        ("12:implied_porti1e", "4:porti70000e"),
        ("12:implied_porti1e", ""),
    ] {
        let mut lone = Lone::new(config());
        let token = lone.token(stranger(1), &TARGET);
        lone.accepted(stranger(1), &announce_with(implied.as_bytes(), &TARGET, port.as_bytes(), &token));
        assert_eq!(lone.stored(&TARGET), [stranger(1)], "{implied} {port}");
    }
    for implied in ["", "12:implied_porti0e", "12:implied_port1:1"] {
        let mut lone = Lone::new(config());
        let token = lone.token(stranger(1), &TARGET);
        lone.accepted(stranger(1), &announce_with(implied.as_bytes(), &TARGET, b"4:porti4242e", &token));
        assert_eq!(lone.stored(&TARGET)[0].port(), 4242, "{implied}");
    }
}

#[test]
fn b33_06_another_announce_of_the_same_ip_changes_its_port_and_adds_no_peer() {
    let mut lone = Lone::new(unhurried());
    let token = lone.token(stranger(1), &TARGET);
    for port in 1000..1300_i64 {
        let id = spread(port as usize);
        let port = format!("4:porti{port}e5:token8:");
        let arguments = join(&[b"9:info_hash20:", &TARGET, port.as_bytes(), &token]);
        lone.accepted(stranger(1), &query_by(&id, b"aa", "announce_peer", &arguments));
    }
    assert_eq!(lone.stored(&TARGET), [SocketAddr::new(stranger(1).ip(), 1299)]);
    assert_eq!(lone.accepted(stranger(2), &get_peers(&TARGET, b"")).values().len(), 1);
}

#[test]
fn b33_07_noseed_excludes_seeds() {
    let mut lone = Lone::new(config());
    for index in 0..6 {
        let token = lone.token(stranger(index), &TARGET);
        let seed = if index < 4 { "4:porti6881e4:seedi1e" } else { "4:porti6881e4:seedi0e" };
        lone.accepted(stranger(index), &announce_with(b"", &TARGET, seed.as_bytes(), &token));
    }
    let mut values = lone.accepted(stranger(9), &get_peers(&TARGET, b"6:noseedi1e")).values();
    values.sort();
    assert_eq!(values, [4, 5].map(|index| compact(stranger(index))));
    assert_eq!(lone.accepted(stranger(9), &get_peers(&TARGET, b"6:noseedi0e")).values().len(), 6);
}

#[test]
fn q_17_q_18_e_31_bad_arguments_get_203_with_their_own_transaction() {
    let mut lone = Lone::new(unhurried());
    let token = lone.token(stranger(1), &TARGET);
    let token = join(&[b"5:token8:", &token]);
    for (name, arguments) in [
        ("find_node", &b""[..]),
        ("find_node", b"6:target19:nopqrstuvwxyz123456"),
        ("find_node", b"6:target21:lmnopqrstuvwxyz123456"),
        ("find_node", b"6:targeti20e"),
        ("find_node", b"6:targetl20:mnopqrstuvwxyz123456e"),
        ("find_node", b"9:info_hash20:mnopqrstuvwxyz123456"),
        ("get_peers", b""),
        ("get_peers", b"9:info_hash0:"),
        ("get_peers", b"9:info_hash40:mnopqrstuvwxyz123456mnopqrstuvwxyz123456"),
        ("get_peers", b"6:target20:mnopqrstuvwxyz123456"),
        ("announce_peer", b"4:porti1e"),
        ("announce_peer", b"9:info_hash20:mnopqrstuvwxyz1234564:porti1e"),
        ("announce_peer", b"9:info_hash20:mnopqrstuvwxyz1234564:porti1e5:token0:"),
        ("announce_peer", b"9:info_hash20:mnopqrstuvwxyz1234564:porti1e5:tokeni8e"),
        ("announce_peer", &join(&[b"9:info_hash19:nopqrstuvwxyz1234564:porti1e", &token])),
        ("get", b""),
        ("sample_infohashes", b"6:target1:x"),
    ] {
        let reply = lone.ask(stranger(1), &query_by(&ID, b"\0xyz", name, arguments));
        assert_eq!(
            (reply.kind(), reply.int("e.0")),
            (b'e', Some(203)),
            "{name} {}",
            arguments.escape_ascii()
        );
        assert_eq!(reply.string("t"), Some(&b"\0xyz"[..]));
    }
    assert_eq!(lone.node.infohash_count(), 0);
    assert_eq!(lone.stats().dropped.malformed, 0);
}

#[test]
fn q_18_b5_01_a_query_without_a_valid_id_gets_203_and_its_sender_is_not_even_pinged() {
    let mut lone = Lone::new(config());
    for (name, arguments) in [
        ("ping", &b"d"[..]),
        ("ping", b"d2:id0:"),
        ("ping", b"d2:id19:bcdefghij0123456789"),
        ("ping", b"d2:id21:abcdefghij0123456789a"),
        ("ping", b"d2:idi20e"),
        ("find_node", b"d6:target20:mnopqrstuvwxyz123456"),
        ("get_peers", b"d9:info_hash20:mnopqrstuvwxyz123456"),
    ] {
        let tail = format!("e1:q{}:{name}1:t2:aa1:y1:qe", name.len());
        assert_eq!(lone.refused(stranger(1), &join(&[b"d1:a", arguments, tail.as_bytes()])), 203);
    }
    // Arguments that are not a dictionary count as absent.
    for arguments in ["1:ai1e", "1:a4:ping", "1:ale", ""] {
        assert_eq!(lone.refused(stranger(1), format!("d{arguments}1:q4:ping1:t2:aa1:y1:qe").as_bytes()), 203);
    }
    assert!(lone.queries.is_empty());
    assert_eq!(lone.stats().errors_out.total(), 11);
    lone.accepted(stranger(1), PING);
    assert_eq!(lone.queries.len(), 1, "a well-formed query makes its sender worth a ping");
}

#[test]
fn q_20_the_all_zero_id_is_answered_but_never_enters_the_table() {
    let mut lone = Lone::new(config());
    lone.accepted(stranger(1), &query_by(&[0; 20], b"aa", "ping", b""));
    lone.drain();
    assert!(lone.queries.is_empty());
    lone.meet([([0; 20], stranger(2))]);
    assert_eq!(lone.node.node_count(Family::V4), 0);
}

#[test]
fn q_21_an_unknown_method_without_target_gets_204() {
    let mut lone = Lone::new(config());
    for (name, arguments) in [
        ("vote", &b""[..]),
        ("", b""),
        ("PING", b""),
        ("ping\0", b""),
        ("find_nodes", b"6:target19:nopqrstuvwxyz123456"),
        ("announce_peers", b"6:targeti1e"),
    ] {
        assert_eq!(lone.refused(stranger(1), &query(name, arguments)), 204, "{name}");
    }
    assert_eq!(lone.refused(stranger(1), b"d1:q4:vote1:t2:aa1:y1:qe"), 204);
    assert_eq!((lone.stats().queries_in.other, lone.stats().bad_queries), (7, 1));
}

#[test]
fn q_22_an_unknown_method_with_a_target_is_answered_like_find_node() {
    let mut lone = knowing_20(config(), &[Family::V4]);
    let expected = closest((0..20).map(spread), &TARGET, 8);
    for (name, key) in [("vote", "6:target"), ("vote", "9:info_hash"), ("get", "6:target")] {
        let reply = lone.accepted(stranger(1), &query(name, &join(&[key.as_bytes(), b"20:", &TARGET])));
        assert_eq!(reply.nodes(), expected, "{name} {key}");
    }
    let want = join(&[b"6:target20:", &TARGET, b"4:wantl2:n6e"]);
    let reply = lone.accepted(stranger(1), &query("vote", &want));
    assert_eq!((reply.at("r.nodes"), reply.string("r.nodes6")), (None, Some(&b""[..])));
}

/// Nodes of the `mainline` crate send a `get` before each announce.
#[test]
fn a_token_from_a_get_is_valid_for_an_announce() {
    let mut lone = Lone::new(config());
    let get = query("get", &join(&[b"6:target20:", &TARGET]));
    let token = lone.accepted(stranger(1), &get).string("r.token").expect("a token").to_vec();
    lone.accepted(stranger(1), &announce(&TARGET, 6881, &token));
    assert_eq!(lone.stored(&TARGET).len(), 1);
}

#[test]
fn q_21_a_put_is_never_answered_as_if_it_were_stored() {
    let mut lone = Lone::new(config());
    let token = lone.token(stranger(1), &TARGET);
    for target in [&b""[..], b"6:target20:mnopqrstuvwxyz123456"] {
        let put = join(&[target, b"5:token8:", &token, b"1:v5:hello"]);
        // With items the target is wrong or the token belongs to another one; without items there are no
        // puts.
        let code = if cfg!(feature = "items") { 203 } else { 204 };
        assert_eq!(lone.refused(stranger(1), &query("put", &put)), code);
    }
    assert_eq!(lone.refused(stranger(1), &query("put", b"1:v5:hello")), 203);
}

#[test]
fn q_23_b33_05_optional_arguments_of_any_type_do_not_prevent_an_announce() {
    let mut lone = Lone::new(config());
    let token = lone.token(stranger(1), &TARGET);
    for middle in [
        "1:n4:name4:porti7e4:seedi1e",
        "4:name4:\u{ff}\u{fe}4:porti7e4:seedi0e",
        "1:ni5e4:porti7e4:seed3:yes",
        "4:porti7e4:zorkd1:ai1ee",
    ] {
        lone.accepted(stranger(1), &announce_with(b"", &TARGET, middle.as_bytes(), &token));
    }
    assert_eq!(lone.stored(&TARGET).len(), 1);
}

#[test]
fn e_05_e_06_e_07_e_08_e_12_e_26_queries_that_deviate_from_strict_bencode_are_answered() {
    let mut lone = Lone::new(config());
    for sloppy in [
        &b"d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t2:aa1:y1:qe\r\n"[..],
        b"d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t2:aa1:y1:qed1:y1:re",
        b"d1:y1:q1:t2:aa1:q4:ping1:ad2:id20:abcdefghij0123456789ee",
        b"d1:ad2:id20:abcdefghij01234567892:id3:xyze1:q4:ping1:q9:find_node1:t2:aa1:t1:b1:y1:q1:y1:re",
        b"d01:ad2:id020:abcdefghij01234567891:xi-0ee1:q4:ping1:t02:aa1:xi007e1:y1:qe",
        b"d1:ad2:id20:abcdefghij01234567893:abcd1:xleee1:q4:ping1:t2:aa1:v3:1.01:y1:q1:zlee",
        b"d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t2:aa1:vi7e1:y1:qe",
        b"d1:ad2:id20:abcdefghij0123456789e2:ip3:abc1:q4:ping2:roi99999999999999999999e1:t2:aa1:y1:qe",
    ] {
        let reply = lone.accepted(stranger(1), sloppy);
        assert_eq!(reply.string("t"), Some(&b"aa"[..]), "{}", sloppy.escape_ascii());
        assert_eq!(reply.string("r.id"), Some(&OWN[..]));
    }
    assert_eq!((lone.stats().queries_in.ping, lone.stats().trailing), (8, 2));
}

#[test]
fn e_28_the_fields_of_an_answer_are_where_a_search_for_substrings_finds_them() {
    let mut lone = knowing_20(config(), &Family::ALL);
    lone.store(stranger(1), &TARGET);
    lone.store(addr6(1000), &TARGET);
    let want = get_peers(&TARGET, b"4:wantl2:n42:n6e");
    let lists = ["1:rd2:id20:", "5:nodes208:", "6:nodes6304:", "5:token8:", "1:t2:aa", "1:v4:", "1:y1:r"];
    for (from, peers) in [(stranger(2), "6:valuesl6:"), (addr6(1001), "6:valuesl18:")] {
        let reply = lone.accepted(from, &want);
        for field in lists.into_iter().chain([peers]) {
            assert!(reply.bytes.windows(field.len()).any(|bytes| bytes == field.as_bytes()), "{field}");
        }
    }
    let error = lone.ask(stranger(2), &query("vote", b""));
    for field in ["1:eli204e", "1:t2:aa", "1:y1:e"] {
        assert!(error.bytes.windows(field.len()).any(|bytes| bytes == field.as_bytes()), "{field}");
    }
}

#[test]
fn e_30_q_25_b32_15_a_full_reply_fills_1024_bytes_and_no_more() {
    let mut lone = knowing_20(unhurried(), &Family::ALL);
    for index in 0..200 {
        lone.store(elsewhere(index), &TARGET);
        lone.store(addr6(1000 + index), &TARGET);
    }
    for t_len in 1..=32 {
        let both = join(&[b"9:info_hash20:", &TARGET, b"4:wantl2:n42:n6e"]);
        for (from, size) in [(stranger(500), 8), (addr6(500), 21)] {
            let reply = lone.accepted(from, &query_by(&ID, &[7; 32][..t_len], "get_peers", &both));
            assert_eq!((reply.nodes().len(), reply.nodes6().len()), (8, 8));
            let len = reply.bytes.len();
            assert!(len <= MAX_SIZE && len + size > MAX_SIZE, "{len} bytes: another peer would fit");
        }
    }
    let reply = lone.accepted(stranger(500), &get_peers(&TARGET, b""));
    assert!(reply.values().len() > 50, "nodes of the other family make room for peers");
}

#[test]
fn q_25_h_23_peers_are_cut_first_then_nodes_of_the_other_family_then_nodes_but_never_the_token() {
    let mut lone = stingy_with((0..20).map(stranger));
    let (mut states, mut stages) = (Vec::new(), BTreeSet::new());
    for pad in 0..250 {
        let (nodes, nodes6, values) = padded_get_peers(&mut lone, stranger(500), pad);
        assert!(nodes6 == 8 || values <= 10, "all but a few peers are cut first: {nodes} {nodes6} {values}");
        assert!(values >= 4, "a few stay: {nodes} {nodes6} {values}");
        assert!(nodes6 == 0 || nodes == 8, "the other family is cut next: {nodes} {nodes6}");
        stages.insert((values > 10, nodes6 > 0));
        states.push((nodes, nodes6));
    }
    assert!(states.is_sorted(), "more room, more answer");
    assert_eq!(stages.len(), 3, "every stage occurs: {stages:?}");
    let reply = lone.accepted(stranger(500), &get_peers(&TARGET, b""));
    assert_eq!((reply.nodes().len(), reply.values().len()), (5, 6), "nodes make room for a few of them");
    assert!(reply.string("r.token").is_some());
}

#[test]
fn q_25_over_ipv6_the_ipv4_nodes_are_cut_before_the_ipv6_nodes() {
    let mut lone = stingy_with((1000..1020).map(addr6));
    let (mut states, mut stages) = (Vec::new(), BTreeSet::new());
    for pad in 0..250 {
        let (nodes, nodes6, values) = padded_get_peers(&mut lone, addr6(2000), pad);
        assert!(nodes == 8 || values <= 6, "all but a few peers are cut first: {nodes} {nodes6} {values}");
        assert!(values >= 4 || nodes + nodes6 <= 2, "a few stay: {nodes} {nodes6} {values}");
        assert!(nodes == 0 || nodes6 == 8, "the other family is cut next: {nodes} {nodes6}");
        stages.insert((values > 6, nodes > 0));
        states.push((nodes6, nodes));
    }
    assert!(states.is_sorted(), "more room, more answer");
    assert_eq!(stages.len(), 3, "every stage occurs: {stages:?}");
}

#[test]
fn q_26_more_peers_than_fit_are_sampled_at_random_without_repetition() {
    let mut lone = Lone::new(unhurried());
    for index in 0..200 {
        lone.store(elsewhere(index), &TARGET);
    }
    let (mut seen, mut samples) = (BTreeSet::new(), BTreeSet::new());
    for _ in 0..30 {
        let values = sample(&mut lone, stranger(500));
        assert!(values.len() > 90, "{}", values.len());
        seen.extend(values.iter().cloned());
        samples.insert(values);
    }
    // Two of 200 samples may be equal by chance.
    assert!(samples.len() > 20, "{}", samples.len());
    let stored: BTreeSet<_> = (0..200).map(|index| compact(elsewhere(index))).collect();
    assert_eq!(seen, stored);
}

#[test]
fn q_26_ipv6_peers_are_sampled_as_well() {
    let mut lone = Lone::new(unhurried());
    for index in 0..100 {
        lone.store(addr6(1000 + index), &TARGET);
    }
    let mut seen = BTreeSet::new();
    for _ in 0..60 {
        let values = sample(&mut lone, addr6(2000));
        assert!((20..100).contains(&values.len()), "{}", values.len());
        seen.extend(values);
    }
    assert_eq!(seen, (0..100).map(|index| compact(addr6(1000 + index))).collect());
}

#[test]
fn l_10_an_announce_keeps_a_peer_for_45_minutes_and_the_next_renews_it() {
    let mut lone = Lone::new(config());
    lone.store(stranger(1), &TARGET);
    for _ in 0..4 {
        lone.wait(Duration::from_secs(44 * 60));
        assert_eq!(lone.accepted(stranger(2), &get_peers(&TARGET, b"")).values().len(), 1);
        lone.store(stranger(1), &TARGET);
    }
    lone.wait(Duration::from_secs(46 * 60));
    assert!(lone.accepted(stranger(2), &get_peers(&TARGET, b"")).values().is_empty());
}

#[test]
fn c_13_every_byte_in_and_out_is_counted() {
    let mut lone = Lone::new(config());
    let token = lone.token(stranger(1), &TARGET);
    let (mut bytes_in, mut bytes_out) = (lone.stats().bytes_in, lone.stats().bytes_out);
    for query in
        [PING, b"garbage", &find_node(&TARGET, b""), &announce(&TARGET, 1, &token), &query("vote", b"")]
    {
        lone.queries.clear();
        let replies = lone.receive(stranger(1), query);
        bytes_in += query.len() as u64;
        bytes_out += replies.iter().chain(&lone.queries).map(|packet| packet.bytes.len() as u64).sum::<u64>();
        assert_eq!((lone.stats().bytes_in, lone.stats().bytes_out), (bytes_in, bytes_out));
    }
}

#[test]
fn l_10_peers_are_not_returned_after_they_expire_or_the_store_is_cleared() {
    let mut lone = Lone::new(config());
    lone.store(stranger(1), &TARGET);
    lone.wait(Duration::from_secs(44 * 60));
    assert_eq!(lone.accepted(stranger(2), &get_peers(&TARGET, b"")).values().len(), 1);
    lone.wait(Duration::from_secs(2 * 60));
    let reply = lone.accepted(stranger(2), &get_peers(&TARGET, b""));
    assert!(reply.values().is_empty());

    lone.store(stranger(1), &TARGET);
    lone.node.clear_peers();
    assert!(lone.accepted(stranger(2), &get_peers(&TARGET, b"")).values().is_empty());
    assert_eq!((lone.node.infohash_count(), lone.node.peer_count(Family::V4)), (0, 0));
}

#[test]
fn c_13_every_kind_of_query_and_answer_is_counted() {
    let mut lone = Lone::new(config());
    let token = lone.token(stranger(1), &TARGET);
    let target: &[u8] = b"6:target20:mnopqrstuvwxyz123456";
    let queries = [
        PING.to_vec(),
        find_node(&TARGET, b""),
        announce(&TARGET, 1, &token),
        announce(&TARGET, 1, b"no token"),
        query("get", target),
        query("put", b"5:token1:x1:v1:y"),
        query("sample_infohashes", target),
        query("sample_infohashes", b""),
        query("vote", b""),
    ];
    queries.iter().for_each(|query| drop(lone.ask(stranger(1), query)));
    let stats = lone.stats();
    // ping, find_node, get_peers, announce_peer, get, put, sample_infohashes, others
    let of = |counts: MethodCounts| counts.metrics().map(|metric| metric.value).collect::<Vec<_>>();
    assert_eq!(of(stats.queries_in), [1, 1, 1, 2, 1, 1, 2, 1]);
    assert_eq!(of(stats.responses_out), [1, 1, 1, 1, 1, 0, 1, 0]);
    assert_eq!(of(stats.errors_out), [0, 0, 0, 1, 0, 1, 1, 1]);
    assert_eq!((stats.bad_queries, stats.datagrams_in, stats.dropped.total()), (1, 10, 0));
    assert_eq!(stats.datagrams_out, 10 + lone.queries.len() as u64);
    assert_eq!(lone.node.id(Family::V4), NodeId::from_bytes(OWN));
}

#[test]
fn a_node_that_does_not_know_its_address_reports_none() {
    let mut lone = Lone::new(config());
    let infohash = InfoHash::from_bytes(TARGET);
    lone.node.start_announcing(lone.now, infohash, Announce::port(4242)).unwrap();
    let values = |lone: &mut Lone| {
        let reply = lone.ask(addr(1), &get_peers(&TARGET, b""));
        (0..).map_while(|at| reply.string(&format!("r.values.{at}")).map(<[u8]>::to_vec)).collect::<Vec<_>>()
    };
    assert_eq!(values(&mut lone), Vec::<Vec<u8>>::new());
    lone.node.set_external_addr(lone.now, "81.2.3.4:0".parse().unwrap()).unwrap();
    assert_eq!(values(&mut lone), [b"\x51\x02\x03\x04\x10\x92".to_vec()]);
    // If the port is implied and voters disagree on it, none is reported.
    lone.node.start_announcing(lone.now, infohash, Announce::implied(4242)).unwrap();
    assert_eq!(values(&mut lone), Vec::<Vec<u8>>::new());
}
