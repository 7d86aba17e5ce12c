//! How a node uses answers to its own queries: which ones it matches, and what it takes from
//! them.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use dht_proto::wire::ErrorCode;
use dht_proto::{Announce, Event, Family, InfoHash, Lookup, LookupReport, NodeId, QueryError, QueryId};

use crate::common::addr;
use crate::common::raw::{
    ID, Lone, OWN, Packet, TARGET, config, join, node_list, query as raw_query, socket, spread, value_list,
};

const HOST: &str = "60.1.1.1:6881";

fn pinged(lone: &mut Lone) -> (QueryId, Packet) {
    let id = lone.node.ping(lone.now, socket(HOST)).expect("a free slot");
    (id, lone.query())
}

/// Creates a node that has just pinged another, its first contact.
fn pinging() -> (Lone, QueryId, Packet) {
    let mut lone = Lone::new(config());
    let (id, ping) = pinged(&mut lone);
    (lone, id, ping)
}

/// Returns the outcome of a query to a single node.
fn outcome(lone: &mut Lone, query: QueryId) -> Option<Result<NodeId, QueryError>> {
    lone.drain();
    lone.events.iter().find_map(|event| match event {
        Event::QueryDone { query: id, result, .. } if *id == query => Some(result.map(|pong| pong.id)),
        _ => None,
    })
}

/// Queries one node for peers, which answers with these fields, and returns the peers found.
fn peers_in(lone: &mut Lone, host: SocketAddr, fields: &[u8]) -> Vec<SocketAddr> {
    let (_, query) = lone.ask_only(Lookup::GetPeers(InfoHash::from_bytes(TARGET)), host);
    lone.ignored(host, &query.answer(&ID, fields));
    assert!(reports(lone).len() == 1, "the answer ends the query");
    lone.found()
}

fn reports(lone: &Lone) -> Vec<LookupReport> {
    let reports = lone.events.iter().filter_map(|event| match event {
        Event::LookupDone { report, .. } => Some(*report),
        _ => None,
    });
    reports.collect()
}

#[test]
fn q_01_a_node_that_answers_a_ping_enters_the_table() {
    let (mut lone, id, ping) = pinging();
    assert_eq!((ping.method(), ping.to), ("ping", socket(HOST)));
    assert_eq!(ping.string("a.id"), Some(&OWN[..]));
    lone.now = lone.now + Duration::from_millis(80);
    lone.ignored(socket(HOST), &ping.answer(&ID, b""));
    let expected = Event::NodeAdded { id: NodeId::from_bytes(ID), addr: socket(HOST) };
    assert!(lone.events.contains(&expected));
    let rtt = lone.events.iter().find_map(|event| match event {
        Event::QueryDone { result: Ok(pong), .. } => Some(pong.rtt),
        _ => None,
    });
    assert_eq!(rtt, Some(Duration::from_millis(80)));
    assert_eq!(outcome(&mut lone, id), Some(Ok(NodeId::from_bytes(ID))));
    assert!(lone.knows(&ID, socket(HOST)));
    assert_eq!(lone.node.query_count(), 0);
}

#[test]
fn c_05_a_silent_node_times_out_once_and_does_not_enter_the_table() {
    let (mut lone, id, ping) = pinging();
    lone.wait(Duration::from_secs(4));
    assert_eq!(outcome(&mut lone, id), None);
    lone.wait(Duration::from_secs(2));
    assert_eq!(outcome(&mut lone, id), Some(Err(QueryError::TimedOut)));
    lone.events.clear();
    lone.ignored(socket(HOST), &ping.answer(&ID, b""));
    assert_eq!(outcome(&mut lone, id), None);
    assert_eq!((lone.node.node_count(Family::V4), lone.stats().dropped.stray), (0, 1));
}

#[test]
fn c_05_an_answer_in_time_leaves_no_timeout_behind() {
    let (mut lone, _, ping) = pinging();
    lone.ignored(socket(HOST), &ping.answer(&ID, b""));
    lone.wait(Duration::from_secs(30));
    let done = lone.events.iter().filter(|event| matches!(event, Event::QueryDone { .. }));
    assert_eq!(done.count(), 1);
}

#[test]
fn e_17_transaction_ids_are_unique_and_not_sequential() {
    let mut lone = Lone::new(config());
    let mut ids = Vec::new();
    for index in 0..90 {
        lone.node.ping(lone.now, addr(index)).unwrap();
        let id: [u8; 4] = lone.query().string("t").unwrap().try_into().unwrap();
        assert!(!id.contains(&0), "some nodes cut ids at a NUL byte");
        ids.push(u32::from_be_bytes(id));
    }
    let unique: BTreeSet<_> = ids.iter().collect();
    assert_eq!(unique.len(), ids.len());
    let steps: BTreeSet<_> = ids.windows(2).map(|pair| pair[1].wrapping_sub(pair[0])).collect();
    assert!(steps.len() > 80, "the next id cannot be derived from earlier ones");
}

#[test]
fn c_05_many_answers_in_any_order_are_matched_to_their_queries() {
    let mut lone = Lone::new(config());
    let pings: Vec<_> = (0..60)
        .map(|index| {
            let id = lone.node.ping(lone.now, addr(index)).unwrap();
            (index, id, lone.query())
        })
        .collect();
    for (index, _, ping) in pings.iter().rev() {
        lone.ignored(ping.to, &ping.answer(&spread(*index), b""));
    }
    for (index, id, _) in &pings {
        assert_eq!(outcome(&mut lone, *id), Some(Ok(NodeId::from_bytes(spread(*index)))));
    }
}

#[test]
fn e_20_an_answer_counts_only_from_the_endpoint_that_was_queried() {
    let (mut lone, id, ping) = pinging();
    let answer = ping.answer(&ID, b"");
    for (index, liar) in ["60.1.1.2:6881", "61.1.1.1:6881", "[2a00::1]:6881"].into_iter().enumerate() {
        lone.ignored(socket(liar), &answer);
        lone.ignored(socket(liar), &ping.error(b"li203e1:xe"));
        assert_eq!(lone.stats().dropped.stray, 2 * (index as u64 + 1));
    }
    lone.ignored(socket("60.1.1.1:6882"), &answer);
    assert_eq!(lone.stats().dropped.wrong_port, 1, "another port of the host is another endpoint");
    assert_eq!((lone.node.node_count(Family::V4), outcome(&mut lone, id)), (0, None));
    lone.ignored(socket(HOST), &answer);
    assert_eq!(outcome(&mut lone, id), Some(Ok(NodeId::from_bytes(ID))));
}

#[test]
fn e_20_an_answer_counts_only_with_its_transaction_and_only_once() {
    let (mut lone, id, ping) = pinging();
    let t = ping.string("t").unwrap().to_vec();
    let mut other = t.clone();
    other[3] ^= 1;
    let wrong: [&[u8]; 6] = [&other, &t[..3], &t[..1], &[&t[..], b"\0"].concat(), b"aa", &[0; 32]];
    for wrong in wrong {
        let len = format!("e1:t{}:", wrong.len());
        lone.ignored(socket(HOST), &join(&[b"d1:rd2:id20:", &ID, len.as_bytes(), wrong, b"1:y1:re"]));
    }
    assert_eq!((lone.stats().dropped.stray, outcome(&mut lone, id)), (6, None));
    lone.ignored(socket(HOST), &ping.answer(&ID, b""));
    lone.ignored(socket(HOST), &ping.answer(&ID, b""));
    assert_eq!((lone.stats().responses_in.total(), lone.stats().dropped.stray), (1, 7));
    let done = lone.events.iter().filter(|event| matches!(event, Event::QueryDone { .. })).count();
    assert_eq!(done, 1);
}

#[test]
fn e_22_e_23_errors_of_every_shape_end_the_query_with_their_code() {
    for (e, code) in [
        ("li201e23:A Generic Error Ocurrede", 201),
        ("li203e5:helloe", 203),
        ("li400e0:e", 400),
        ("li-7ee", -7),
        ("li204e3:\u{ff}xe", 204),
        ("5:hello", 0),
        ("l5:helloe", 0),
        ("l5:helloi203ee", 0),
        ("le", 0),
        ("i203e", 0),
        ("d4:codei203ee", 0),
        ("li99999999999999999999e1:xe", 0),
    ] {
        let (mut lone, id, ping) = pinging();
        lone.ignored(socket(HOST), &ping.error(e.as_bytes()));
        assert_eq!(outcome(&mut lone, id), Some(Err(QueryError::Refused(ErrorCode(code)))), "{e}");
        assert_eq!((lone.stats().errors_in.total(), lone.stats().timed_out), (1, 0));
        assert_eq!(lone.node.node_count(Family::V4), 0, "an error has no id of its sender");
    }
}

#[test]
fn e_24_a_reply_with_an_error_is_an_error() {
    let (mut lone, id, ping) = pinging();
    let t = ping.string("t").unwrap();
    lone.ignored(socket(HOST), &join(&[b"d1:eli203e3:bade1:t4:", t, b"1:y1:re"]));
    assert_eq!(outcome(&mut lone, id), Some(Err(QueryError::Refused(ErrorCode::PROTOCOL))));
}

#[test]
fn e_25_an_answer_without_a_valid_id_ends_the_query_and_adds_no_node() {
    for r in [
        &b"1:rde"[..],
        b"1:rd2:id0:e",
        b"1:rd2:id19:bcdefghij0123456789e",
        b"1:rd2:id21:abcdefghij0123456789ae",
        b"1:rd2:idi5ee",
        b"1:rle",
        b"",
    ] {
        let (mut lone, id, ping) = pinging();
        let t = ping.string("t").unwrap();
        lone.ignored(socket(HOST), &join(&[b"d", r, b"1:t4:", t, b"1:y1:re"]));
        assert_eq!(outcome(&mut lone, id), Some(Err(QueryError::Malformed)), "{}", r.escape_ascii());
        assert_eq!((lone.node.node_count(Family::V4), lone.stats().dropped.bad_reply), (0, 1));
    }
}

#[test]
fn r_14_an_answer_with_our_own_id_adds_no_node() {
    let (mut lone, id, ping) = pinging();
    lone.ignored(socket(HOST), &ping.answer(&OWN, b""));
    assert_eq!(outcome(&mut lone, id), Some(Err(QueryError::Malformed)));
    assert_eq!(lone.node.node_count(Family::V4), 0);
}

#[test]
fn e_12_e_26_b42_07_q_24_q_23_answers_with_unusual_fields_are_accepted() {
    for (ip, r, v) in [
        ("2:ip0:", "", ""),
        ("2:ip3:abc", "", "1:v3:1.0"),
        ("2:ip4:abcd", "1:pi6881e", "1:v0:"),
        ("2:ip6:abcdef", "1:p3:abc", "1:vi3e"),
        ("2:ip16:abcdefghijklmnop", "1:pi-1e", "1:v13:longer than 4"),
        ("2:ip18:abcdefghijklmnopqr", "5:nodes7:1234567", "1:vle"),
        ("2:ipi5e", "5:nodesi1e6:valuesi1e", ""),
        ("", "1:n4:name5:tokenle6:valuesd1:ai1ee", ""),
    ] {
        let (mut lone, id, ping) = pinging();
        let t = ping.string("t").unwrap();
        let (ip, r, v) = (ip.as_bytes(), r.as_bytes(), v.as_bytes());
        lone.ignored(socket(HOST), &join(&[b"d", ip, b"1:rd2:id20:", &ID, r, b"e1:t4:", t, v, b"1:y1:re"]));
        assert_eq!(outcome(&mut lone, id), Some(Ok(NodeId::from_bytes(ID))), "{}", r.escape_ascii());
        assert!(lone.knows(&ID, socket(HOST)));
    }
}

#[test]
fn l_09_queries_to_an_unreachable_host_fail_at_once_and_no_others() {
    let (mut lone, id, _) = pinging();
    let other = lone.node.ping(lone.now, addr(2)).unwrap();
    lone.query();
    lone.node.handle_unreachable(lone.now, socket(HOST));
    assert_eq!(outcome(&mut lone, id), Some(Err(QueryError::Unreachable)));
    assert_eq!((outcome(&mut lone, other), lone.node.query_count()), (None, 1));
}

#[test]
fn q_05_q_06_q_07_values_nodes_both_or_neither_are_valid_answers() {
    let peer = socket("60.9.9.9:5");
    let (values, nodes) = (value_list(&[peer]), node_list(&[(spread(1), addr(1))]));
    for (fields, found) in [
        (join(&[&nodes, &values]), vec![peer]),
        (values.clone(), vec![peer]),
        (nodes.clone(), vec![]),
        (join(&[b"5:token1:x"]), vec![]),
        (vec![], vec![]),
        (join(&[&nodes, b"5:token1:x6:valuesle"]), vec![]),
    ] {
        let mut lone = Lone::new(config());
        assert_eq!(peers_in(&mut lone, addr(9), &fields), found, "{}", fields.escape_ascii());
        assert!(lone.knows(&ID, addr(9)), "Q-06: a host that answers is a node");
    }
}

#[test]
fn q_08_q_09_old_and_unusual_forms_of_values_yield_their_peers() {
    let [a, b] = ["97.120.106.101:11893", "105.100.104.116:28269"].map(socket);
    for (values, found) in [
        ("6:valuesl12:axje.uidhtnme", vec![a, b]),
        ("6:values12:axje.uidhtnm", vec![a, b]),
        ("6:valuesl6:axje.u5:short7:toolong0:i5ele6:idhtnmd1:ai1eee", vec![a, b]),
        ("6:valuesl6:axje.u6:axje.ue", vec![a]),
        ("6:valuesl6:axje\0\0e", vec![]),
        ("6:values6:axje.u", vec![a]),
        ("6:valuesi6e", vec![]),
    ] {
        assert_eq!(peers_in(&mut Lone::new(config()), addr(9), values.as_bytes()), found, "{values}");
    }
}

#[test]
fn b5_06_q_02_node_lists_of_any_length_yield_their_complete_entries() {
    let list = node_list(&(0..20).map(|index| (spread(index), addr(index))).collect::<Vec<_>>());
    let packed = &list["5:nodes520:".len()..];
    for (len, expected) in [(0, 0), (25, 0), (26, 1), (51, 1), (53, 2), (16 * 26, 16), (520, 20)] {
        let mut lone = Lone::new(config());
        lone.meet([(ID, addr(99))]);
        lone.node.find_node(lone.now, NodeId::from_bytes(TARGET)).unwrap();
        let query = lone.query();
        let fields = join(&[format!("5:nodes{len}:").as_bytes(), &packed[..len]]);
        lone.ignored(addr(99), &query.answer(&ID, &fields));
        lone.drain();
        let asked: BTreeSet<_> = lone.queries.iter().map(|query| query.to).collect();
        // The K closest of a longer list are used.
        assert_eq!(asked.len(), expected.min(8), "{len}");
        assert_eq!(lone.node.node_count(Family::V4), 1, "a node that is only listed is not in the table yet");
    }
}

#[test]
fn l_07_an_answer_with_another_id_than_listed_is_not_used() {
    let mut lone = Lone::new(config());
    lone.meet([(ID, addr(99))]);
    let lookup = lone.node.get_peers(lone.now, InfoHash::from_bytes(TARGET)).unwrap();
    let query = lone.query();
    lone.ignored(addr(99), &query.answer(&ID, &node_list(&[(spread(1), addr(1))])));
    let query = lone.query();
    assert_eq!(query.to, addr(1));
    let lie = join(&[&node_list(&[(TARGET, addr(2))]), b"5:token1:x", &value_list(&[addr(3)])]);
    lone.ignored(addr(1), &query.answer(&TARGET, &lie));
    assert!(lone.queries.is_empty(), "its nodes are not queried");
    let reports = reports(&lone);
    assert_eq!((reports[0].queried, reports[0].answered, reports[0].failed), (2, 1, 1));
    let closest: Vec<_> = lone.node.lookup_nodes(lookup).map(|node| node.addr).collect();
    assert_eq!(closest, [addr(99)]);
    assert!(lone.found().is_empty());
    assert!(!lone.knows(&TARGET, addr(1)), "nor is it added to the table");
}

#[test]
fn r_16_an_entry_that_answers_with_another_id_is_removed() {
    let mut lone = Lone::new(config());
    lone.meet([(ID, socket(HOST))]);
    let (id, ping) = pinged(&mut lone);
    lone.ignored(socket(HOST), &ping.answer(&TARGET, b""));
    assert_eq!(outcome(&mut lone, id), Some(Ok(NodeId::from_bytes(TARGET))));
    assert_eq!(lone.node.node_count(Family::V4), 0);
    let removed = Event::NodeRemoved { id: NodeId::from_bytes(ID), addr: socket(HOST) };
    assert!(lone.events.contains(&removed));
}

#[test]
fn c_05_a_cancelled_query_is_forgotten() {
    let (mut lone, id, ping) = pinging();
    assert!(lone.node.cancel_query(id));
    assert!(!lone.node.cancel_query(id));
    lone.ignored(socket(HOST), &ping.answer(&ID, b""));
    assert_eq!((outcome(&mut lone, id), lone.stats().dropped.stray), (None, 1));
}

#[test]
fn lookups_of_the_same_target_receive_their_own_answers() {
    let mut lone = Lone::new(config());
    lone.meet([(ID, addr(1))]);
    let nodes = lone.node.find_node(lone.now, NodeId::from_bytes(TARGET)).unwrap();
    let find_node = lone.query();
    let peers = lone.node.get_peers(lone.now, InfoHash::from_bytes(TARGET)).unwrap();
    let get_peers = lone.query();
    assert_eq!((find_node.method(), get_peers.method()), ("find_node", "get_peers"));
    lone.ignored(addr(1), &get_peers.answer(&ID, &value_list(&[addr(9)])));
    lone.ignored(addr(1), &find_node.answer(&ID, &value_list(&[addr(8)])));
    let found: Vec<_> = lone.events.iter().filter(|event| matches!(event, Event::Peer { .. })).collect();
    assert_eq!(found, [&Event::Peer { lookup: peers, peer: addr(9) }]);
    let ended = lone.events.iter().filter_map(|event| match event {
        Event::LookupDone { lookup, .. } => Some(*lookup),
        _ => None,
    });
    assert_eq!(ended.collect::<BTreeSet<_>>(), BTreeSet::from([nodes, peers]));
}

#[test]
fn a_cancelled_lookup_frees_all_it_used() {
    let mut lone = Lone::new(config());
    lone.meet([(ID, addr(1))]);
    let lookup = lone.node.get_peers(lone.now, InfoHash::from_bytes(TARGET)).unwrap();
    let query = lone.query();
    assert!(lone.node.cancel(lookup));
    lone.ignored(addr(1), &query.answer(&ID, &value_list(&[addr(9)])));
    assert!(lone.found().is_empty() && lone.queries.is_empty());
    assert_eq!((lone.node.query_count(), lone.node.lookup_count()), (0, 0));
}

#[test]
fn e_17_e_27_e_18_b20_01_every_message_has_our_version_and_every_query_a_4_byte_transaction_id() {
    let mut named = config();
    named.version = *b"XY\x01\xff";
    let mut lone = Lone::new(named);
    lone.meet([(ID, addr(1))]);
    lone.node.ping(lone.now, addr(2)).unwrap();
    lone.node.find_node(lone.now, NodeId::from_bytes(TARGET)).unwrap();
    lone.node.announce(lone.now, InfoHash::from_bytes(TARGET), Announce::port(4242)).unwrap();
    lone.drain();
    let mut methods = BTreeSet::new();
    while let Some(query) = lone.queries.pop() {
        assert_eq!(query.string("t").map(<[u8]>::len), Some(4));
        assert_eq!(query.string("v"), Some(&b"XY\x01\xff"[..]));
        methods.insert(query.method().to_owned());
        lone.ignored(query.to, &query.answer(&ID, b"5:token2:ab"));
    }
    assert!(methods.into_iter().eq(["announce_peer", "find_node", "get_peers", "ping"]));

    let target = join(&[b"6:target20:", &TARGET]);
    let infohash = join(&[b"9:info_hash20:", &TARGET]);
    for (name, arguments, kind) in [
        ("ping", &b""[..], b'r'),
        ("find_node", &target, b'r'),
        ("get_peers", &infohash, b'r'),
        ("vote", &target, b'r'),
        ("vote", b"", b'e'),
        ("find_node", b"", b'e'),
        ("announce_peer", &infohash, b'e'),
    ] {
        let reply = lone.ask(addr(3), &raw_query(name, arguments));
        assert_eq!((reply.kind(), reply.string("v")), (kind, Some(&b"XY\x01\xff"[..])), "{name}");
    }
}

#[test]
fn b20_02_the_version_of_others_changes_nothing() {
    let lived = |v: &[u8]| {
        let mut lone = Lone::new(config());
        lone.meet([(ID, addr(1))]);
        lone.node.get_peers(lone.now, InfoHash::from_bytes(TARGET)).unwrap();
        let query = lone.query();
        let r = join(&[&node_list(&[(spread(1), addr(2))]), b"5:token2:ab", &value_list(&[addr(9)])]);
        let t = query.string("t").unwrap();
        lone.ignored(addr(1), &join(&[b"d1:rd2:id20:", &ID, &r, b"e1:t4:", t, v, b"1:y1:re"]));
        let asked = join(&[b"d1:ad2:id20:", &spread(3), b"e1:q4:ping1:t2:aa", v, b"1:y1:qe"]);
        let replies = lone.receive(addr(3), &asked);
        lone.wait(Duration::from_secs(120));
        format!("{replies:?} {:?} {:?}", lone.queries, lone.events)
    };
    let silent = lived(b"");
    for v in [
        &b"1:v4:LT\x02\x0b"[..],
        b"1:v4:UT\xa5\x1f",
        b"1:v4:ml\0\x0b",
        b"1:v4:dp\0\x01",
        b"1:v3:1.0",
        b"1:v0:",
        b"1:v4:\0\0\0\0",
        b"1:vi7e",
    ] {
        assert!(lived(v) == silent, "{}", v.escape_ascii());
    }
}

#[test]
fn q_14_peers_on_port_1_are_reported_with_their_port() {
    let peers = [socket("60.9.9.9:1"), socket("60.9.9.8:6881")];
    assert_eq!(peers_in(&mut Lone::new(config()), addr(9), &value_list(&peers)), peers);
}

#[test]
fn r_05_a_node_that_a_lookup_found_silent_is_not_listed_to_others() {
    let mut lone = Lone::new(config());
    lone.meet([(spread(1), addr(1)), (spread(2), addr(2))]);
    assert_eq!(lone.node.closest_nodes(NodeId::from_bytes(TARGET), Family::V4).count(), 2);
    // An earlier answer does not matter for later queries.
    lone.now = lone.now + Duration::from_millis(100);
    lone.node.find_node(lone.now, NodeId::from_bytes(TARGET)).unwrap();
    lone.drain();
    let answered = lone.queries.iter().position(|query| query.to == addr(2)).unwrap();
    let answered = lone.queries.remove(answered);
    lone.now = lone.now + Duration::from_millis(50);
    lone.ignored(addr(2), &answered.answer(&spread(2), b""));
    lone.wait(Duration::from_secs(8));
    assert!(lone.queries.iter().all(|query| query.method() == "find_node"), "no ping found it out");
    let good: Vec<_> = lone.node.closest_nodes(NodeId::from_bytes(TARGET), Family::V4).collect();
    assert_eq!(good.iter().map(|node| node.addr).collect::<Vec<_>>(), [addr(2)]);
}
