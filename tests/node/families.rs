//! IPv4 and IPv6: two DHTs in one node (BEP 32).

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use dht_proto::{Announce, BootstrapKind, Config, Event, Family, InfoHash, Lookup, NodeId};

use crate::common::addr;
use crate::common::raw::{
    ID, Lone, OWN, OWN_V6, TARGET, addr6, announce, compact, config, crowd, find_node, get_peers, join,
    node_list, query, socket, spread, value_list,
};

const PING: &[u8] = b"d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t2:aa1:y1:qe";

/// Returns the address of a host that is not a node of the test.
fn v4() -> SocketAddr {
    addr(10_000)
}

fn v6() -> SocketAddr {
    addr6(10_000)
}

/// Creates a node that knows `count` nodes in each family, with the same ids.
fn acquainted(count: usize) -> Lone {
    let mut lone = Lone::new(config());
    lone.meet(crowd(Family::V4, count));
    lone.meet(crowd(Family::V6, count));
    lone
}

/// Returns which lists a reply has: `nodes`, `nodes6`.
fn lists(lone: &mut Lone, from: SocketAddr, want: &str) -> (bool, bool) {
    let reply = lone.accepted(from, &find_node(&TARGET, want.as_bytes()));
    assert!(reply.nodes().len() == 8 || reply.at("r.nodes").is_none());
    assert!(reply.nodes6().len() == 8 || reply.at("r.nodes6").is_none());
    (reply.at("r.nodes").is_some(), reply.at("r.nodes6").is_some())
}

#[test]
fn b32_02_b5_03_each_family_has_an_id_of_its_own_unless_both_are_set_alike() {
    let mut lone = Lone::new(config());
    assert_eq!(lone.accepted(v4(), PING).string("r.id"), Some(&OWN[..]));
    assert_eq!(lone.accepted(v6(), PING).string("r.id"), Some(&OWN_V6[..]));
    lone.queries.clear();
    lone.node.ping(lone.now, addr6(1)).unwrap();
    assert_eq!(lone.query().string("a.id"), Some(&OWN_V6[..]));

    let drawn = Lone::new(Config::default());
    assert_ne!(drawn.node.id(Family::V4), drawn.node.id(Family::V6));
    let mut alike = config();
    alike.id_v6 = alike.id;
    assert_eq!(Lone::new(alike).accepted(v6(), PING).string("r.id"), Some(&OWN[..]));
}

#[test]
fn b32_01_b32_03_b32_07_each_family_has_a_table_of_its_own() {
    let mut lone = Lone::new(config());
    lone.meet([(spread(1), addr(1)), (spread(2), addr(2)), (spread(1), addr6(1))]);
    assert_eq!((lone.node.node_count(Family::V4), lone.node.node_count(Family::V6)), (2, 1));

    let reply = lone.accepted(v4(), &find_node(&spread(1), b""));
    assert_eq!(reply.nodes(), [spread(1), spread(2)]);
    assert_eq!(reply.at("r.nodes6"), None);
    let reply = lone.accepted(v6(), &find_node(&spread(1), b""));
    assert_eq!(reply.string("r.nodes6"), Some(&join(&[&spread(1), &compact(addr6(1))])[..]));
    assert_eq!(reply.at("r.nodes"), None);
}

#[test]
fn b32_01_b32_14_b32_12_each_family_has_a_store_of_its_own() {
    let mut lone = Lone::new(config());
    lone.store(v4(), &TARGET);
    lone.store(v6(), &TARGET);
    assert_eq!((lone.node.peer_count(Family::V4), lone.node.peer_count(Family::V6)), (1, 1));
    for want in ["", "4:wantl2:n4e", "4:wantl2:n6e", "4:wantl2:n42:n6e"] {
        let over = |lone: &mut Lone, from| lone.accepted(from, &get_peers(&TARGET, want.as_bytes())).values();
        assert_eq!(over(&mut lone, addr(1)), [compact(v4())], "B32-12: {want} does not govern values");
        assert_eq!(over(&mut lone, addr6(1)), [compact(v6())], "B32-12: {want} does not govern values");
    }
}

#[test]
fn b32_01_q_16_b32_12_peers_are_not_stored_in_the_other_family() {
    let mut lone = Lone::new(config());
    lone.store(v4(), &TARGET);
    assert!(lone.accepted(v6(), &get_peers(&TARGET, b"4:wantl2:n4e")).values().is_empty());
    let token = lone.token(v6(), &TARGET);
    assert_eq!(lone.refused(v4(), &announce(&TARGET, 1, &token)), 203);
}

#[test]
fn b32_04_b32_06_b5_07_want_chooses_the_lists_whatever_the_family_of_the_query() {
    let mut lone = acquainted(20);
    for from in [v4(), v6()] {
        assert_eq!(lists(&mut lone, from, "4:wantl2:n4e"), (true, false));
        assert_eq!(lists(&mut lone, from, "4:wantl2:n6e"), (false, true));
        assert_eq!(lists(&mut lone, from, "4:wantl2:n42:n6e"), (true, true));
        assert_eq!(lists(&mut lone, from, "4:wantl2:n62:n42:n6e"), (true, true));
        let reply = lone.accepted(from, &get_peers(&TARGET, b"4:wantl2:n42:n6e"));
        assert_eq!((reply.nodes().len(), reply.nodes6().len()), (8, 8));
        assert!(reply.string("r.token").is_some());
    }
}

#[test]
fn b32_05_unknown_members_of_want_are_ignored() {
    let mut lone = acquainted(20);
    for junk in ["2:n4i5e", "2:n42:n52:N6", "i6e2:n4", "l2:n6e2:n4", "d2:n6i1ee2:n4", "0:3:n662:n41:n"] {
        assert_eq!(lists(&mut lone, v6(), &format!("4:wantl{junk}e")), (true, false), "{junk}");
    }
    let long = format!("4:wantl{}2:n6e", "2:n4".repeat(400));
    assert_eq!(lists(&mut lone, v4(), &long), (true, true));
}

#[test]
fn b32_08_b32_09_b32_07_a_want_without_a_known_family_counts_as_absent() {
    let mut lone = acquainted(20);
    for nothing in [
        "",
        "4:wantle",
        "4:wantl2:n5e",
        "4:wantli4ee",
        "4:want2:n6",
        "4:wanti6e",
        "4:wantd2:n6i1ee",
        "4:want0:",
    ] {
        assert_eq!(lists(&mut lone, v4(), nothing), (true, false), "{nothing}");
        assert_eq!(lists(&mut lone, v6(), nothing), (false, true), "{nothing}");
    }
}

#[test]
fn b32_06_q_22_b32_04_unknown_methods_with_a_target_respect_want_too() {
    let mut lone = acquainted(20);
    for name in ["get", "sample_infohashes", "vote"] {
        let asked = query(name, &join(&[b"6:target20:", &TARGET, b"4:wantl2:n42:n6e"]));
        let reply = lone.accepted(v4(), &asked);
        assert_eq!((reply.nodes().len(), reply.nodes6().len()), (8, 8), "{name}");
    }
}

#[test]
fn b32_10_a_disabled_family_is_neither_answered_nor_queried_nor_listed() {
    let mut single = config();
    single.ipv6 = false;
    let mut lone = Lone::new(single);
    lone.meet(crowd(Family::V4, 20));
    lone.ignored(v6(), PING);
    assert_eq!(lone.stats().dropped.address, 1);
    assert!(lone.node.ping(lone.now, addr6(1)).is_err());
    assert!(lone.node.add_bootstrap(lone.now, addr6(1), BootstrapKind::Router).is_err());
    assert!(lone.accepted(v4(), &find_node(&TARGET, b"4:wantl2:n6e")).nodes6().is_empty());
    assert_eq!(lists(&mut lone, v4(), "4:wantl2:n4e"), (true, false));

    lone.node.find_node(lone.now, NodeId::from_bytes(TARGET)).unwrap();
    lone.drain();
    for query in std::mem::take(&mut lone.queries) {
        assert_eq!(query.at("a.want"), None, "B32-10");
        lone.ignored(query.to, &query.answer(&ID, &node_list(&[(spread(9), addr6(9))])));
    }
    lone.wait(Duration::from_secs(30));
    assert!(lone.queries.iter().all(|query| query.to.is_ipv4()));
}

#[test]
fn b32_10_b32_11_both_families_are_requested_only_while_few_nodes_of_the_other_are_known() {
    let want = |lone: &mut Lone| -> BTreeSet<(bool, bool)> {
        lone.node.find_node(lone.now, NodeId::from_bytes(TARGET)).unwrap();
        lone.drain();
        let queries = std::mem::take(&mut lone.queries);
        for query in queries.iter().filter(|query| query.at("a.want").is_some()) {
            assert!(query.bytes.windows(16).any(|bytes| bytes == b"4:wantl2:n42:n6e"));
        }
        queries.iter().map(|query| (query.to.is_ipv4(), query.at("a.want").is_some())).collect()
    };
    let mut lone = Lone::new(config());
    lone.meet(crowd(Family::V4, 40));
    assert_eq!(want(&mut lone), [(true, true)].into());
    lone.meet(crowd(Family::V6, 40));
    assert_eq!(want(&mut lone), [(true, false), (false, false)].into());
}

#[test]
fn b32_13_values_of_both_families_in_one_list_are_all_found() {
    let mixed = [socket("60.9.9.9:5"), socket("[2a00::9]:6"), socket("60.9.9.8:7")];
    for from in [addr(1), addr6(1)] {
        let mut lone = Lone::new(config());
        let (_, query) = lone.ask_only(Lookup::GetPeers(InfoHash::from_bytes(TARGET)), from);
        lone.ignored(from, &query.answer(&ID, &value_list(&mixed)));
        assert_eq!(lone.found(), mixed);
    }
}

#[test]
fn b32_17_a_mapped_source_is_an_ipv4_source() {
    let mut lone = Lone::new(config());
    lone.meet(crowd(Family::V4, 20));
    let mapped = socket("[::ffff:60.1.2.3]:6881");
    let reply = lone.accepted(mapped, &find_node(&TARGET, b""));
    assert_eq!((reply.to, reply.string("ip").map(<[u8]>::len)), (socket("60.1.2.3:6881"), Some(6)));
    assert_eq!((reply.string("r.id"), reply.nodes().len()), (Some(&OWN[..]), 8));
    lone.store(mapped, &TARGET);
    assert_eq!(lone.stored(&TARGET), [socket("60.1.2.3:6881")]);
    assert_eq!((lone.node.peer_count(Family::V4), lone.node.peer_count(Family::V6)), (1, 0));

    lone.queries.clear();
    lone.node.ping(lone.now, mapped).unwrap();
    let ping = lone.query();
    assert_eq!(ping.to, socket("60.1.2.3:6881"));
    lone.ignored(mapped, &ping.answer(&ID, b""));
    assert!(lone.knows(&ID, socket("60.1.2.3:6881")));
    lone.ignored(socket("[::ffff:10.0.0.1]:6881"), PING);
}

#[test]
fn b5_09_mapped_addresses_in_nodes6_are_dropped() {
    let mut lone = Lone::new(config());
    lone.meet([(ID, addr6(1))]);
    lone.node.find_node(lone.now, NodeId::from_bytes(TARGET)).unwrap();
    let asked = lone.query();
    let listed = [(spread(1), socket("[::ffff:60.0.0.9]:6881")), (spread(2), addr6(2))];
    lone.ignored(addr6(1), &asked.answer(&ID, &node_list(&listed)));
    assert_eq!(lone.query().to, addr6(2));
    assert_eq!(lone.stats().contacts_refused, 1);
}

#[test]
fn b5_08_b5_09_mapped_addresses_in_values_are_dropped() {
    let mut lone = Lone::new(config());
    let (_, query) = lone.ask_only(Lookup::GetPeers(InfoHash::from_bytes(TARGET)), addr6(1));
    let values = ["[::ffff:60.0.0.9]:6881", "[::60.0.0.9]:6881", "[2a00::9]:6881"].map(socket);
    lone.ignored(addr6(1), &query.answer(&ID, &value_list(&values)));
    assert_eq!(lone.found(), [socket("[2a00::9]:6881")]);
    assert_eq!(lone.stats().contacts_refused, 2);
}

#[test]
fn b32_18_nodes_of_the_other_family_enter_the_table_only_after_a_ping() {
    let mut lone = Lone::new(config());
    lone.meet([(ID, addr(1))]);
    let lookup = lone.node.find_node(lone.now, NodeId::from_bytes(TARGET)).unwrap();
    let asked = lone.query();
    let listed: Vec<_> = (0..4).map(|index| (spread(index), addr6(index))).collect();
    lone.ignored(addr(1), &asked.answer(&ID, &node_list(&listed)));
    assert_eq!(lone.node.node_count(Family::V6), 0);
    let pings = std::mem::take(&mut lone.queries);
    assert!(pings.iter().all(|ping| ping.method() == "ping" && ping.string("a.id") == Some(&OWN_V6)));
    let pinged: BTreeSet<_> = pings.iter().map(|ping| ping.to).collect();
    assert_eq!(pinged, listed.iter().map(|(_, addr)| *addr).collect());
    lone.ignored(addr6(2), &pings[2].answer(&spread(2), b""));
    lone.ignored(addr6(3), &pings[3].answer(&TARGET, b""));
    let known: Vec<_> = lone.node.nodes(Family::V6).map(|node| node.addr).collect();
    assert_eq!(known, [addr6(2)], "not the one that answered with another id");
    assert!(lone.node.lookup_nodes(lookup).all(|node| node.addr.is_ipv4()));
}

#[test]
fn b32_18_b32_11_a_bootstrap_in_one_family_leads_into_the_other() {
    let mut lone = Lone::new(config());
    lone.node.add_bootstrap(lone.now, addr(1), BootstrapKind::Router).unwrap();
    lone.wait(Duration::from_millis(1));
    let asked = lone.query();
    assert!(asked.at("a.want").is_some());
    lone.ignored(addr(1), &asked.answer(&ID, &node_list(&[(spread(7), addr6(7))])));
    lone.wait(Duration::from_millis(1));
    let ping = lone.queries.remove(lone.queries.iter().position(|query| query.to == addr6(7)).unwrap());
    lone.ignored(addr6(7), &ping.answer(&spread(7), b""));
    assert_eq!(lone.node.node_count(Family::V6), 1);
    lone.wait(Duration::from_millis(1));
    assert!(lone.queries.iter().any(|query| query.to == addr6(7) && query.method() == "find_node"));
}

#[test]
fn b32_18_only_as_many_nodes_of_the_other_family_are_pinged_as_are_needed() {
    let mut lone = Lone::new(config());
    lone.meet(crowd(Family::V4, 1));
    let foreign = |lone: &mut Lone, listed: &[([u8; 20], SocketAddr)]| {
        let (_, asked) = lone.ask_only(Lookup::FindNode(NodeId::from_bytes(TARGET)), addr(0));
        lone.ignored(addr(0), &asked.answer(&spread(0), &node_list(listed)));
        let pinged: Vec<_> = lone.queries.drain(..).map(|query| query.to).collect();
        pinged
    };
    let many: Vec<_> = crowd(Family::V6, 20).collect();
    assert_eq!(foreign(&mut lone, &many).len(), 8);
    assert_eq!(foreign(&mut lone, &many[..8]).len(), 0, "not twice within a minute");
    let one_host: Vec<_> = (0..8).map(|index| (spread(index), addr6(99))).collect();
    assert_eq!(foreign(&mut lone, &one_host), [addr6(99)]);
    lone.meet(crowd(Family::V6, 40));
    assert_eq!(foreign(&mut lone, &[(spread(90), addr6(90))]), [], "enough are known");
}

#[test]
fn b32_14_t_04_an_announce_is_sent_in_both_families_each_with_its_own_tokens() {
    let mut lone = Lone::new(config());
    lone.meet([(spread(1), addr(1)), (spread(1), addr6(1))]);
    let infohash = InfoHash::from_bytes(TARGET);
    let lookup = lone.node.announce(lone.now, infohash, Announce::port(4242)).unwrap();
    lone.drain();
    for asked in std::mem::take(&mut lone.queries) {
        let token = if asked.to.is_ipv4() { "5:token2:v4" } else { "5:token2:v6" };
        lone.ignored(asked.to, &asked.answer(&spread(1), token.as_bytes()));
    }
    let sent = std::mem::take(&mut lone.queries);
    assert_eq!(sent.len(), 2);
    for sent in sent {
        let (token, id) = if sent.to.is_ipv4() { (b"v4", OWN) } else { (b"v6", OWN_V6) };
        assert_eq!((sent.string("a.token"), sent.string("a.id")), (Some(&token[..]), Some(&id[..])));
        lone.ignored(sent.to, &sent.answer(&spread(1), b""));
    }
    let acknowledged = lone
        .events
        .iter()
        .filter(|event| matches!(event, Event::Acknowledged { lookup: id, .. } if *id == lookup));
    assert_eq!(acknowledged.count(), 2);
}

#[test]
fn l_13_bootstrap_hosts_of_both_families_are_queried_each_in_its_own_dht() {
    let mut lone = Lone::new(config());
    // As if a name had resolved to two addresses of each family.
    let hosts = [addr(1), addr(2), addr6(1), addr6(2)];
    for host in hosts {
        lone.node.add_bootstrap(lone.now, host, BootstrapKind::Router).unwrap();
    }
    lone.wait(Duration::from_millis(1));
    let asked: BTreeSet<_> = lone.queries.iter().map(|query| query.to).collect();
    assert_eq!(asked, BTreeSet::from(hosts));
    for query in &lone.queries {
        let own = if query.to.is_ipv4() { OWN } else { OWN_V6 };
        assert_eq!(query.method(), "find_node");
        assert_eq!((query.string("a.id"), query.string("a.target")), (Some(&own[..]), Some(&own[..])));
    }
}
