//! Hostile senders: garbage, forgeries, floods, and lists of invented nodes.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use dht_proto::{AddressPolicy, Event, Family, InfoHash, Limits, Lookup, NodeId};

use crate::common::addr;
use crate::common::raw::{
    ID, Lone, OWN, OWN_V6, TARGET, addr6, announce, compact, config, crowd, find_node, get_peers, join,
    node_list, query, query_by, socket, spread, stingy, unhurried, value_list,
};

const PING: &[u8] = b"d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t2:aa1:y1:qe";
const HOST: &str = "60.1.1.1:6881";

/// Addresses that do not exist on the public network.
const RESERVED: [&str; 20] = [
    "8.8.8.8:0",
    "0.0.0.0:6881",
    "0.1.2.3:6881",
    "10.0.0.1:6881",
    "100.64.0.1:6881",
    "127.0.0.1:6881",
    "169.254.1.1:6881",
    "172.16.0.1:6881",
    "192.168.1.1:6881",
    "192.0.2.1:6881",
    "224.0.0.1:6881",
    "255.255.255.255:6881",
    "[2a00::1]:0",
    "[::]:6881",
    "[::1]:6881",
    "[::9.9.9.9]:6881",
    "[fe80::1]:6881",
    "[fd00::1]:6881",
    "[ff02::1]:6881",
    "[2001:db8::1]:6881",
];

#[test]
fn e_02_e_03_e_13_e_14_e_19_invalid_messages_are_counted_and_never_answered() {
    let garbage: &[&[u8]] = &[
        b"",
        b"d",
        b"de",
        b"d1:y1:qe",
        b"hello, world",
        b"\x41\x02\x12\x34\0\0\0\0\0\0\0\0\0\x10\0\0\0\0\0\0",
        b"l1:ad2:id20:abcdefghij01234567891:q4:pinge",
        b"i123456789012e",
        b" d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t2:aa1:y1:qe",
        b"d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:y1:qe",
        b"d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t0:1:y1:qe",
        b"d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:ti7e1:y1:qe",
        b"d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:tl2:aae1:y1:qe",
        b"d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t2:aae",
        b"d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t2:aa1:y1:xe",
        b"d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t2:aa1:y5:querye",
        b"d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t2:aa1:yi1ee",
        b"d1:ad2:id20:abcdefghij0123456789e1:t2:aa1:y1:qe",
        b"d1:ad2:id20:abcdefghij0123456789e1:qi4e1:t2:aa1:y1:qe",
        b"d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t2:aa1:y1:q",
        b"d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t99999999999999999999:aa1:y1:qe",
        b"d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t4294967297:aa1:y1:qe",
        b"d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t-2:aa1:y1:qe",
        b"di1e2:aa1:q4:ping1:t2:aa1:y1:qe",
    ];
    let mut lone = Lone::new(unhurried());
    for (count, datagram) in garbage.iter().enumerate() {
        lone.ignored(socket(HOST), datagram);
        assert_eq!(lone.stats().dropped.malformed, count as u64 + 1, "{}", datagram.escape_ascii());
    }
    assert!(lone.queries.is_empty(), "garbage causes no ping");
}

#[test]
fn e_32_damaged_messages_break_no_invariant() {
    let mut lone = Lone::new(unhurried());
    lone.meet(crowd(Family::V4, 10));
    let token = lone.token(addr(500), &TARGET);
    lone.queries.clear();
    lone.node.ping(lone.now, socket(HOST)).unwrap();
    let ping = lone.query();
    let messages = [
        PING.to_vec(),
        get_peers(&TARGET, b"4:wantl2:n42:n6e"),
        announce(&TARGET, 6881, &token),
        ping.answer(&ID, &join(&[&node_list(&[(TARGET, addr(1))]), &value_list(&[addr(2)])])),
        ping.error(b"li203e3:bade"),
    ];
    for message in &messages {
        for at in 0..message.len() {
            assert!(lone.receive(addr(500), &message[..at]).is_empty(), "a truncated one is not a message");
            for byte in [0, b'0', b'9', b'd', b'e', b'i', b'l', b':', b'-', 0xff, message[at] ^ 1] {
                let mut damaged = message.clone();
                damaged[at] = byte;
                assert!(lone.receive(addr(500), &damaged).len() <= 1, "at most one answer");
            }
        }
    }
    assert_eq!(lone.accepted(addr(500), PING).string("r.id"), Some(&OWN[..]));
}

#[test]
fn e_09_e_11_e_29_deep_and_huge_datagrams_are_dropped() {
    let mut lone = Lone::new(unhurried());
    for container in ["l", "d1:a", "ld1:al", "d1:ai1e1:bl"] {
        for count in [40, 10_000, 60_000 / container.len()] {
            let deep = join(&[b"d1:a", container.repeat(count).as_bytes()]);
            lone.ignored(socket(HOST), &deep);
            let closed =
                join(&[b"d1:x", "l".repeat(count).as_bytes(), "e".repeat(count).as_bytes(), &PING[1..]]);
            lone.ignored(socket(HOST), &closed);
        }
    }
    let many = join(&[b"d1:xl", "0:".repeat(30_000).as_bytes(), b"e", &PING[1..]]);
    lone.ignored(socket(HOST), &many);
    assert_eq!(lone.stats().dropped.malformed, lone.stats().datagrams_in);

    for len in [1500, 60_000, 65_507 - PING.len() - 9] {
        let padded = join(&[b"d1:!", format!("{len}:").as_bytes(), &vec![b'x'; len], &PING[1..]]);
        assert!(padded.len() <= 65_507);
        lone.accepted(socket(HOST), &padded);
    }
    let digits = join(&[b"d1:!i", "9".repeat(60_000).as_bytes(), b"e", &PING[1..]]);
    lone.accepted(socket(HOST), &digits);
}

#[test]
fn e_20_e_21_unsolicited_answers_and_errors_are_never_answered() {
    let mut lone = Lone::new(unhurried());
    for index in 0..40 {
        let stray =
            join(&[b"d1:rd2:id20:", &spread(index), &node_list(&[(TARGET, addr(7))]), b"e1:t4:abcd1:y1:re"]);
        lone.ignored(addr(index), &stray);
        lone.ignored(addr(index), b"d1:eli202e5:helloe1:t4:abcd1:y1:ee");
        lone.ignored(addr(index), b"d1:rde1:t2:aa1:y1:re");
    }
    assert_eq!(lone.stats().dropped.stray, 120);
    assert!(lone.queries.is_empty());
    assert_eq!(lone.node.node_count(Family::V4), 0, "an unsolicited answer proves nothing");
    lone.wait(Duration::from_secs(120));
    assert!(lone.queries.is_empty());
}

#[test]
fn e_21_answers_and_errors_are_never_answered_whatever_they_contain() {
    let query = b"1:ad2:id20:abcdefghij01234567896:target20:mnopqrstuvwxyz123456e1:q9:find_node";
    for body in
        ["1:rd2:id20:abcdefghij0123456789e", "1:rd2:id3:abce", "1:rde", "1:eli203e3:bade", "1:e5:helloe", ""]
    {
        for kind in ["1:y1:r", "1:y1:e"] {
            for more in [&b""[..], query] {
                let mut lone = Lone::new(config());
                lone.node.ping(lone.now, socket(HOST)).unwrap();
                let ping = lone.query();
                let with =
                    |t: &[u8]| join(&[b"d", body.as_bytes(), more, b"1:t4:", t, kind.as_bytes(), b"e"]);
                lone.ignored(addr(2), &with(b"abcd"));
                for _ in 0..2 {
                    lone.ignored(socket(HOST), &with(ping.string("t").unwrap()));
                }
                lone.wait(Duration::from_secs(60));
                let stats = lone.stats();
                assert_eq!((stats.responses_out.total(), stats.errors_out.total()), (0, 0), "{body} {kind}");
            }
        }
    }
}

#[test]
fn e_20_unsolicited_answers_add_no_peers_or_nodes_to_a_running_lookup() {
    let mut lone = Lone::new(config());
    let (_, query) = lone.ask_only(Lookup::GetPeers(InfoHash::from_bytes(TARGET)), addr(1));
    let lie = query.answer(&ID, &join(&[&node_list(&[(TARGET, addr(7))]), &value_list(&[addr(8)])]));
    for liar in [addr(2), SocketAddr::new(addr(1).ip(), 1), addr6(1)] {
        lone.ignored(liar, &lie);
    }
    assert!(lone.found().is_empty());
    lone.ignored(addr(1), &query.answer(&ID, &value_list(&[addr(9)])));
    assert_eq!(lone.found(), [addr(9)]);
    lone.ignored(addr(1), &lie);
    assert!(lone.found().is_empty(), "an answer counts once");
}

#[test]
fn q_19_queries_with_our_own_id_are_ignored() {
    let mut lone = Lone::new(config());
    for (id, from) in [(OWN, addr(1)), (OWN_V6, addr6(1)), (OWN_V6, addr(1)), (OWN, addr6(1))] {
        lone.ignored(from, &query_by(&id, b"aa", "ping", b""));
        lone.ignored(from, &query_by(&id, b"aa", "find_node", b""));
    }
    assert_eq!(lone.stats().dropped.own_id, 8);
    assert!(lone.queries.is_empty());
}

#[test]
fn q_19_r_14_b5_10_our_own_query_that_returns_ends_and_reveals_our_own_address() {
    let mut lone = Lone::new(config());
    lone.node.ping(lone.now, socket(HOST)).unwrap();
    let ping = lone.query();
    lone.ignored(socket(HOST), &ping.bytes);
    assert_eq!((lone.node.query_count(), lone.node.node_count(Family::V4)), (0, 0));
    // From now on no host can make the node query itself.
    lone.meet([(ID, addr(1))]);
    lone.node.find_node(lone.now, NodeId::from_bytes(TARGET)).unwrap();
    let query = lone.query();
    lone.ignored(addr(1), &query.answer(&ID, &node_list(&[(TARGET, socket(HOST))])));
    assert!(lone.queries.is_empty());
}

#[test]
fn e_04_b5_08_datagrams_from_reserved_addresses_are_dropped_unparsed() {
    let mut lone = Lone::new(config());
    for (count, reserved) in RESERVED.into_iter().enumerate() {
        lone.ignored(socket(reserved), PING);
        assert_eq!(lone.stats().dropped.address, count as u64 + 1, "{reserved}");
        assert!(lone.node.ping(lone.now, socket(reserved)).is_err(), "{reserved}");
        assert!(lone.node.add_node(lone.now, socket(reserved)).is_err(), "{reserved}");
    }
    let mut lenient = config();
    lenient.address_policy = AddressPolicy::Any;
    let mut lone = Lone::new(lenient);
    lone.accepted(socket("127.0.0.1:6881"), PING);
    lone.accepted(socket("[::1]:6881"), PING);
    for never in ["127.0.0.1:0", "0.0.0.0:6881", "224.0.0.1:6881", "255.255.255.255:6881", "[ff02::1]:6881"] {
        lone.ignored(socket(never), PING);
    }
}

#[test]
fn e_04_datagrams_from_port_0_are_dropped() {
    for policy in [AddressPolicy::Public, AddressPolicy::Any] {
        let mut config = config();
        config.address_policy = policy;
        let mut lone = Lone::new(config);
        let token = lone.token(socket(HOST), &TARGET);
        lone.queries.clear();
        lone.node.ping(lone.now, socket(HOST)).unwrap();
        let ping = lone.query();
        let under_way = lone.node.query_count();
        let messages = [
            PING.to_vec(),
            find_node(&TARGET, b""),
            get_peers(&TARGET, b""),
            announce(&TARGET, 6881, &token),
            query("vote", b""),
            query("find_node", b""),
            ping.answer(&ID, b""),
            ping.error(b"li203e3:bade"),
            b"neither bencode nor KRPC".to_vec(),
        ];
        for message in &messages {
            lone.ignored(SocketAddr::new(socket(HOST).ip(), 0), message);
            lone.ignored(socket("[2a00::1]:0"), message);
        }
        let stats = lone.stats();
        assert_eq!(stats.dropped.address, 2 * messages.len() as u64);
        assert_eq!((stats.dropped.malformed, stats.dropped.wrong_port), (0, 0), "nor are they parsed");
        assert_eq!((lone.node.query_count(), lone.node.infohash_count()), (under_way, 0));
        assert!(lone.queries.is_empty());
    }
}

#[test]
fn b5_08_b5_10_reserved_and_own_entries_of_node_lists_are_never_contacted() {
    let mut lone = Lone::new(config());
    lone.meet([(ID, addr(1))]);
    lone.node.find_node(lone.now, NodeId::from_bytes(TARGET)).unwrap();
    let query = lone.query();
    let reserved = RESERVED.map(socket);
    let of = |v4: bool| -> Vec<_> {
        let nodes = reserved.iter().enumerate().filter(|(_, addr)| addr.is_ipv4() == v4);
        nodes.map(|(index, addr)| (spread(index), *addr)).collect()
    };
    let mut v4 = of(true);
    v4.push((OWN, addr(5)));
    let mut v6 = of(false);
    v6.push((spread(40), socket("[::ffff:60.0.0.9]:6881")));
    lone.ignored(addr(1), &query.answer(&ID, &join(&[&node_list(&v4), &node_list(&v6)])));
    lone.wait(Duration::from_secs(30));
    assert!(lone.queries.iter().all(|query| query.to == addr(1)), "{:?}", lone.queries);
    assert_eq!(lone.stats().contacts_refused, v4.len() as u64 + v6.len() as u64);
}

#[test]
fn b5_08_reserved_peers_are_not_reported() {
    let mut lone = Lone::new(config());
    let (_, query) = lone.ask_only(Lookup::GetPeers(InfoHash::from_bytes(TARGET)), addr(1));
    let mut values = RESERVED.map(socket).to_vec();
    values.push(addr(9));
    lone.ignored(addr(1), &query.answer(&ID, &value_list(&values)));
    assert_eq!(lone.found(), [addr(9)]);
}

#[test]
fn b5_08_private_addresses_are_used_if_the_policy_allows_them() {
    let mut lenient = config();
    lenient.address_policy = AddressPolicy::Any;
    let mut lone = Lone::new(lenient);
    lone.meet([(ID, addr(1))]);
    lone.node.get_peers(lone.now, InfoHash::from_bytes(TARGET)).unwrap();
    let query = lone.query();
    let private = ["10.0.0.1:6881", "192.168.1.1:6881", "127.0.0.1:6881"].map(socket);
    let never = ["224.0.0.1:6881", "0.0.0.0:6881", "255.255.255.255:6881", "10.0.0.2:0"].map(socket);
    let all = || private.into_iter().chain(never);
    let nodes: Vec<_> = all().enumerate().map(|(index, addr)| (spread(index), addr)).collect();
    let values: Vec<_> = all().collect();
    lone.ignored(addr(1), &query.answer(&ID, &join(&[&node_list(&nodes), &value_list(&values)])));
    let asked: BTreeSet<_> = lone.queries.iter().map(|query| query.to).collect();
    assert_eq!(asked, BTreeSet::from(private));
    assert_eq!(lone.found(), private);
}

#[test]
fn l_05_r_15_one_host_listed_with_72_ids_is_queried_once_and_has_one_entry_at_most() {
    let mut lone = Lone::new(config());
    lone.meet([(ID, addr(1))]);
    lone.node.find_node(lone.now, NodeId::from_bytes(TARGET)).unwrap();
    let query = lone.query();
    let listed: Vec<_> = (0..30).map(|index| (spread(index), socket(HOST))).collect();
    lone.ignored(addr(1), &query.answer(&ID, &node_list(&listed)));
    lone.drain();
    let asked = std::mem::take(&mut lone.queries);
    assert_eq!(asked.iter().filter(|query| query.to == socket(HOST)).count(), 1);
    for query in asked {
        lone.ignored(query.to, &query.answer(&spread(3), b""));
    }
    lone.wait(Duration::from_secs(10));
    let entries = lone.node.nodes(Family::V4).filter(|node| node.addr == socket(HOST)).count();
    assert!(entries <= 1);
}

#[test]
fn r_15_r_17_a_query_never_moves_a_known_id() {
    let mut lone = Lone::new(config());
    lone.meet([(ID, socket(HOST))]);
    for thief in ["60.1.1.1:6882", "61.0.0.1:6881", "62.0.0.1:1024"] {
        lone.accepted(socket(thief), PING);
        lone.accepted(socket(thief), &get_peers(&TARGET, b""));
        let reply = lone.accepted(addr(2), &find_node(&ID, b""));
        assert_eq!(reply.string("r.nodes"), Some(&join(&[&ID, &compact(socket(HOST))])[..]));
    }
    // A forged answer or error does not remove a node either.
    lone.ignored(socket("61.0.0.1:6881"), &join(&[b"d1:rd2:id20:", &ID, b"e1:t4:abcd1:y1:re"]));
    assert!(lone.knows(&ID, socket(HOST)));
    assert!(!lone.events.iter().any(|event| matches!(event, Event::NodeRemoved { .. })));
}

#[test]
fn r_17_r_18_a_query_keeps_a_known_node_good_but_not_from_another_address() {
    for (from, listed) in [(HOST, 1), ("61.0.0.1:6881", 0), ("60.1.1.1:6882", 0)] {
        let mut lone = Lone::new(config());
        lone.meet([(ID, socket(HOST))]);
        lone.now = lone.now + Duration::from_secs(600);
        lone.accepted(socket(from), PING);
        lone.now = lone.now + Duration::from_secs(600);
        assert_eq!(lone.accepted(addr(2), &find_node(&ID, b"")).nodes().len(), listed, "{from}");
    }
}

#[test]
fn r_17_r_09_nodes_that_only_query_do_not_fill_the_table() {
    let mut lone = Lone::new(unhurried());
    for index in 0..500 {
        lone.accepted(addr(index), &query_by(&spread(index), b"aa", "ping", b""));
    }
    assert_eq!(lone.node.node_count(Family::V4), 0);
    let pinged: BTreeSet<_> = lone.queries.iter().map(|query| query.to).collect();
    assert_eq!(pinged.len(), lone.queries.len());
    // While few are known all are pinged, but half of the burst of new endpoints is left to lookups.
    assert!(pinged.len() <= 50, "R-09: new nodes are pinged only within that burst: {}", pinged.len());
}

#[test]
fn e_28_an_id_that_looks_like_a_reply_is_only_an_id() {
    let mut lone = Lone::new(config());
    for id in [b"1:y1:r1:t2:aaxxxxxxx", b"e1:t2:aa1:y1:rexxxxx"] {
        let reply = lone.accepted(addr(1), &query_by(id, b"aa", "ping", b""));
        assert_eq!(reply.string("r.id"), Some(&OWN[..]));
    }
    assert_eq!(lone.stats().queries_in.ping, 2);
}

#[test]
fn c_08_one_source_is_limited_to_its_rate_and_others_are_answered() {
    let mut lone = Lone::new(config());
    let answers = (0..1000).map(|_| lone.receive(addr(1), PING).len()).sum::<usize>();
    assert_eq!((answers, lone.stats().dropped.rate), (50, 950));
    for index in 2..20 {
        lone.accepted(addr(index), PING);
    }
    // Another port is the same source, and invalid queries count as well.
    lone.ignored(SocketAddr::new(addr(1).ip(), 1), PING);
    lone.ignored(addr(1), &query("find_node", b""));
    lone.now = lone.now + Duration::from_millis(200);
    lone.accepted(addr(1), PING);
    lone.ignored(addr(1), PING);
    lone.now = lone.now + Duration::from_secs(60);
    let answers = (0..1000).map(|_| lone.receive(addr(1), PING).len()).sum::<usize>();
    assert_eq!(answers, 50, "an unused rate does not accumulate");
}

#[test]
fn a_flood_between_two_polls_costs_no_other_source_its_answer() {
    let mut lone = Lone::new(config());
    for _ in 0..10_000 {
        lone.node.handle_datagram(lone.now, addr(1), PING);
    }
    lone.node.handle_datagram(lone.now, addr(2), PING);
    let replies = lone.drain();
    assert_eq!(replies.len(), 51);
    assert_eq!(replies[50].to, addr(2));
    assert_eq!(lone.stats().dropped.overflow, 0);
}

#[test]
fn answers_to_a_forged_source_are_not_amplified() {
    let mut lone = Lone::new(unhurried_but_bounded());
    lone.meet(crowd(Family::V4, 20));
    for index in 0..100 {
        // Each in its own subnet, however wide: all are listed.
        lone.store(addr(256 * (8 + index)), &TARGET);
    }
    let asked = get_peers(&TARGET, b"");
    let (mut bytes_in, mut bytes_out) = (0, 0);
    for index in 0..2000 {
        let victim = SocketAddr::from(([70, 1, 1, (index % 250) as u8 + 1], 53));
        bytes_in += asked.len();
        bytes_out += lone.receive(victim, &asked).iter().map(|reply| reply.bytes.len()).sum::<usize>();
    }
    assert!(bytes_out > 16 * 1024, "{bytes_out}");
    assert!(bytes_out <= 16 * 1024 + 1024 + 3 * bytes_in, "{bytes_out} for {bytes_in}");

    // The subnet has used up its allowance; a verified host in it gets an answer all the same.
    let honest = socket("70.1.1.1:53");
    let reply = lone.accepted(honest, &asked);
    assert!(reply.bytes.len() <= 3 * asked.len());
    let token = reply.string("r.token").unwrap().to_vec();
    lone.accepted(honest, &announce(&TARGET, 1, &token));
    assert!(lone.accepted(honest, &asked).bytes.len() > 900);
    assert!(lone.accepted(socket("70.1.2.1:53"), &asked).bytes.len() > 900, "other networks are not hurt");
    lone.now = lone.now + Duration::from_secs(90);
    assert!(lone.accepted(socket("70.1.1.2:53"), &asked).bytes.len() > 900, "nor is this one for ever");
}

fn unhurried_but_bounded() -> dht_proto::Config {
    let mut config = unhurried();
    config.unverified_bytes = 16 * 1024;
    config
}

#[test]
fn a_node_that_answered_us_counts_as_verified() {
    let mut lone = Lone::new(stingy());
    lone.meet(crowd(Family::V4, 20));
    let asked = find_node(&TARGET, b"");
    assert!(lone.accepted(addr(500), &asked).nodes().len() < 8);
    assert_eq!(lone.accepted(addr(5), &asked).nodes().len(), 8);
}

#[test]
fn one_host_cannot_fill_the_store() {
    let mut lone = Lone::with_limits(unhurried(), &Limits::default());
    for index in 0..300 {
        let infohash = spread(index);
        let token = lone.token(addr(1), &infohash);
        lone.ask(addr(1), &announce(&infohash, 1000 + index as i64, &token));
    }
    assert!(lone.node.peer_count(Family::V4) <= 128, "{}", lone.node.peer_count(Family::V4));
    for index in 2..50 {
        lone.store(addr(index), &TARGET);
    }
    assert_eq!(lone.stored(&TARGET).len(), 48, "others still have room");

    for index in 0..300 {
        lone.store(SocketAddr::new(addr(400).ip(), 1000 + index), &ID);
    }
    assert_eq!(lone.stored(&ID).len(), 1, "and one torrent has one peer at an address");
}

#[test]
fn c_03_a_host_beyond_its_share_receives_an_error() {
    let mut lone = Lone::with_limits(unhurried(), &Limits::default());
    let mut last = b'r';
    for index in 0..300 {
        let token = lone.token(addr(1), &spread(index));
        let reply = lone.ask(addr(1), &announce(&spread(index), 1, &token));
        let stored = !lone.stored(&spread(index)).is_empty();
        assert_eq!(reply.kind() == b'r', stored, "an acknowledgement means that the peer is stored");
        last = reply.kind();
    }
    assert_eq!(last, b'e');
}
