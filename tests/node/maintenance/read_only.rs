//! Read-only nodes (BEP 43): being one, and meeting one.

use std::time::Duration;

use dht_proto::{Announce, BootstrapKind, Config, Event, Family, InfoHash, NodeId, QueryError};

use crate::common::addr;
use crate::common::raw::{
    ID, Lone, OWN, TARGET, addr6, announce, config, find_node, get_peers, join, query, spread, value_list,
};

const PING: &[u8] = b"d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t2:aa1:y1:qe";

fn read_only() -> Config {
    let mut config = config();
    config.read_only = true;
    config
}

/// Returns a ping with a field between `q` and `t`.
fn ping_with(id: &[u8; 20], field: &str) -> Vec<u8> {
    join(&[b"d1:ad2:id20:", id, b"e1:q4:ping", field.as_bytes(), b"1:t2:aa1:y1:qe"])
}

#[test]
fn b43_01_a_read_only_node_answers_nothing_not_even_with_an_error() {
    let mut lone = Lone::new(read_only());
    lone.meet([(spread(1), addr(1))]);
    let queries = [
        PING.to_vec(),
        find_node(&TARGET, b""),
        get_peers(&TARGET, b""),
        announce(&TARGET, 6881, b"12345678"),
        query("vote", b""),
        query("vote", b"6:target20:mnopqrstuvwxyz123456"),
        query("find_node", b""),
        query("get_peers", b"9:info_hash3:abc"),
        b"d1:q4:ping1:t2:aa1:y1:qe".to_vec(),
    ];
    for (count, query) in queries.iter().enumerate() {
        for from in [addr(1), addr(2), addr6(2)] {
            lone.ignored(from, query);
        }
        assert_eq!(lone.stats().dropped.read_only, 3 * (count as u64 + 1));
    }
    assert_eq!((lone.stats().responses_out.total(), lone.stats().errors_out.total()), (0, 0));
    assert!(lone.queries.is_empty(), "a host that queries a read-only node is not pinged either");
}

#[test]
fn b43_02_every_query_of_a_read_only_node_says_so() {
    let mut lone = Lone::new(read_only());
    lone.meet([(ID, addr(1))]);
    let mut methods = Vec::new();
    lone.node.ping(lone.now, addr(2)).unwrap();
    lone.node.find_node(lone.now, NodeId::from_bytes(TARGET)).unwrap();
    lone.node.announce(lone.now, InfoHash::from_bytes(TARGET), Announce::port(4242)).unwrap();
    lone.drain();
    while let Some(sent) = lone.queries.pop() {
        assert_eq!(sent.int("ro"), Some(1), "{}", sent.method());
        let text = sent.bytes.escape_ascii().to_string();
        assert!(text.contains(&format!("{}2:roi1e1:t4:", sent.method())), "it stands in its place: {text}");
        methods.push(sent.method().to_owned());
        lone.ignored(sent.to, &sent.answer(&ID, b"5:token2:ab"));
    }
    methods.sort();
    assert_eq!(methods, ["announce_peer", "find_node", "get_peers", "ping"]);
}

#[test]
fn b43_02_a_node_that_answers_never_sends_ro() {
    let mut lone = Lone::new(config());
    lone.node.ping(lone.now, addr(2)).unwrap();
    assert_eq!(lone.query().at("ro"), None);
    assert_eq!(lone.accepted(addr(1), PING).at("ro"), None);
    assert_eq!(lone.ask(addr(1), &query("vote", b"")).at("ro"), None);
}

#[test]
fn b43_01_a_read_only_node_still_looks_up_announces_and_learns() {
    let mut lone = Lone::new(read_only());
    lone.node.add_bootstrap(lone.now, addr(1), BootstrapKind::Router).unwrap();
    let lookup = lone.node.announce(lone.now, InfoHash::from_bytes(TARGET), Announce::port(4242)).unwrap();
    lone.drain();
    for _ in 0..3 {
        for sent in std::mem::take(&mut lone.queries) {
            let fields = join(&[b"5:token2:ab", &value_list(&[addr(9)])]);
            lone.ignored(sent.to, &sent.answer(&ID, &fields));
        }
    }
    assert!(lone.events.contains(&Event::Peer { lookup, peer: addr(9) }));
    assert!(lone.events.contains(&Event::Acknowledged { lookup, node: addr(1) }));
    assert!(lone.knows(&ID, addr(1)));
}

#[test]
fn b43_03_b43_04_a_query_with_ro_is_answered_but_its_sender_not_added() {
    for ro in ["2:roi1e", "2:roi2e", "2:roi-1e"] {
        let mut lone = Lone::new(config());
        assert_eq!(lone.accepted(addr(1), &ping_with(&ID, ro)).string("r.id"), Some(&OWN[..]));
        lone.wait(Duration::from_secs(180));
        assert!(lone.queries.is_empty(), "{ro}");
    }
}

#[test]
fn b43_03_a_read_only_node_may_announce() {
    let mut lone = Lone::new(config());
    let token = lone.token(addr(1), &TARGET);
    let mut asked = announce(&TARGET, 4242, &token);
    let at = asked.windows(3).rposition(|window| window == b"1:t").unwrap();
    asked.splice(at..at, *b"2:roi1e");
    lone.accepted(addr(1), &asked);
    assert_eq!(lone.stored(&TARGET).len(), 1);
}

#[test]
fn b43_04_ro_of_0_or_of_another_type_is_ignored() {
    for ro in ["", "2:roi0e", "2:ro1:1", "2:role", "2:rode", "2:roi99999999999999999999e"] {
        let mut lone = Lone::new(config());
        lone.accepted(addr(1), &ping_with(&ID, ro));
        let ping = lone.query();
        assert_eq!((ping.to, ping.method()), (addr(1), "ping"), "{ro}");
        lone.ignored(addr(1), &ping.answer(&ID, b""));
        assert!(lone.knows(&ID, addr(1)), "{ro}");
    }
}

#[test]
fn b43_04_an_answer_with_ro_completes_the_query_but_adds_no_node() {
    for (ro, known) in [("2:roi1e", 0), ("2:roi0e", 1)] {
        let mut lone = Lone::new(config());
        lone.node.ping(lone.now, addr(1)).unwrap();
        let ping = lone.query();
        let t = ping.string("t").unwrap();
        lone.ignored(addr(1), &join(&[b"d1:rd2:id20:", &ID, b"e", ro.as_bytes(), b"1:t4:", t, b"1:y1:re"]));
        let done = lone.events.iter().any(|event| matches!(event, Event::QueryDone { result: Ok(_), .. }));
        assert!(done, "{ro}");
        assert_eq!(lone.node.node_count(Family::V4), known, "{ro}");
    }
}

#[test]
fn b43_04_a_known_node_that_turns_read_only_leaves_the_table() {
    let mut lone = Lone::new(config());
    lone.meet([(ID, addr(1)), (spread(1), addr(2))]);
    lone.node.ping(lone.now, addr(1)).unwrap();
    let ping = lone.query();
    let t = ping.string("t").unwrap();
    lone.ignored(addr(1), &join(&[b"d1:rd2:id20:", &ID, b"e2:roi1e1:t4:", t, b"1:y1:re"]));
    assert!(!lone.knows(&ID, addr(1)) && lone.knows(&spread(1), addr(2)));
    assert!(lone.events.contains(&Event::NodeRemoved { id: NodeId::from_bytes(ID), addr: addr(1) }));
    assert_eq!(lone.accepted(addr(3), &find_node(&ID, b"")).nodes(), [spread(1)]);
}

#[test]
fn b43_01_the_queries_of_a_node_to_a_read_only_one_time_out() {
    let mut lone = Lone::new(config());
    let mut other = Lone::new(read_only());
    lone.node.ping(lone.now, addr(1)).unwrap();
    let ping = lone.query();
    other.ignored(addr(2), &ping.bytes);
    lone.wait(Duration::from_secs(6));
    let result = lone.events.iter().find_map(|event| match event {
        Event::QueryDone { result, .. } => Some(*result),
        _ => None,
    });
    assert_eq!(result, Some(Err(QueryError::TimedOut)));
}

#[test]
fn b43_06_the_counters_show_whether_queries_reach_a_node_read_only_or_not() {
    for config in [config(), read_only()] {
        let mut lone = Lone::new(config);
        lone.meet([(spread(1), addr(1)), (spread(2), addr(2))]);
        let (responses, asked) = (lone.stats().responses_in.total(), lone.stats().queries_in);
        assert_eq!((responses, asked.ping), (2, 0), "answers arrive through every NAT");
        lone.receive(addr(3), PING);
        assert_eq!(lone.stats().queries_in.ping, 1, "unsolicited queries do not");
    }
}
