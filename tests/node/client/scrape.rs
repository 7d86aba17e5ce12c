//! Scrapes (BEP 33): answered as raw datagrams, and made from the answers of scripted nodes. Tests are named
//! after the rows of the requirements they check.

use std::net::{IpAddr, SocketAddr};

use dht_proto::errors::Limit;
use dht_proto::report::SwarmSize;
use dht_proto::stats::BloomFilter;
use dht_proto::{Family, InfoHash, Lookup, LookupKind, LookupReport, NodeId, StartError};

use crate::common;
use crate::common::raw::{
    ID, Lone, MAX_SIZE, Packet, TARGET, addr6, announce_with, compact, config, crowd, get_peers, join,
    node_list, query_by, stingy, unhurried, value_list,
};
use crate::common::{addr, stranger};
use crate::stage;
use crate::stage::Stage;

const HASH: InfoHash = InfoHash::from_bytes(TARGET);

/// Announces a peer at its own port, as a seed or not.
fn store(lone: &mut Lone, peer: SocketAddr, seed: bool) {
    let token = lone.token(peer, &TARGET);
    let middle = format!("4:porti{}e4:seedi{}e", peer.port(), u8::from(seed));
    lone.accepted(peer, &announce_with(b"", &TARGET, middle.as_bytes(), &token));
}

fn scrape() -> Vec<u8> {
    get_peers(&TARGET, b"6:scrapei1e")
}

/// Returns the filters of seeds and of downloaders in an answer.
fn filters_in(reply: &Packet) -> Option<[BloomFilter; 2]> {
    let filter =
        |key: &str| reply.string(key).map(|bytes| BloomFilter::from_bytes(bytes.try_into().unwrap()));
    Some([filter("r.BFsd")?, filter("r.BFpe")?])
}

fn filter_of(ips: impl IntoIterator<Item = IpAddr>) -> BloomFilter {
    let mut filter = BloomFilter::EMPTY;
    ips.into_iter().for_each(|ip| filter.insert(ip));
    filter
}

/// Returns the fields of an answer with these filters.
fn filter_fields(seeds: &BloomFilter, others: &BloomFilter) -> Vec<u8> {
    join(&[b"4:BFpe256:", others.as_bytes(), b"4:BFsd256:", seeds.as_bytes()])
}

fn hosts(range: std::ops::Range<usize>) -> impl Iterator<Item = IpAddr> {
    range.map(|index| addr(index).ip())
}

/// Scrapes one node, which answers with `before` and `after` its id, and returns the report.
fn scrape_one(lone: &mut Lone, before: &[u8], after: &[u8]) -> LookupReport {
    let (lookup, query) = lone.ask_only(Lookup::Scrape(HASH), addr(1));
    assert_eq!((query.method(), query.int("a.scrape"), query.at("a.noseed")), ("get_peers", Some(1), None));
    let transaction = query.string("t").unwrap();
    let answer = join(&[
        b"d1:rd",
        before,
        b"2:id20:",
        &common::raw::spread(1),
        after,
        b"e1:t4:",
        transaction,
        b"1:y1:re",
    ]);
    lone.ignored(addr(1), &answer);
    let report = lone.events.iter().find_map(|event| match event {
        dht_proto::Event::LookupDone { lookup: done, report } if *done == lookup => Some(*report),
        _ => None,
    });
    lone.events.clear();
    report.expect("it has ended")
}

fn size_of(report: &LookupReport) -> (u32, u32, u32, u32) {
    let SwarmSize { seeds, downloaders, sources, refused, .. } = report.swarm.expect("it is a scrape");
    (seeds, downloaders, sources, refused)
}

#[test]
fn b33_08_b33_09_a_scrape_is_answered_with_both_filters_or_none() {
    let mut lone = Lone::new(unhurried());
    let reply = lone.accepted(stranger(1), &scrape());
    assert!(reply.at("r.BFsd").is_none() && reply.at("r.BFpe").is_none(), "nothing is stored");

    store(&mut lone, stranger(1), true);
    let reply = lone.accepted(stranger(2), &scrape());
    assert_eq!(filters_in(&reply), Some([filter_of([stranger(1).ip()]), BloomFilter::EMPTY]));
    assert!(reply.at("r.BFse").is_none());

    let (seeds, others): (Vec<_>, Vec<_>) = (2..40).map(stranger).partition(|peer| {
        peer.port() % 2 == 1 && matches!(peer.ip(), IpAddr::V4(ip) if ip.octets()[2] % 3 == 0)
    });
    seeds.iter().for_each(|peer| store(&mut lone, *peer, true));
    others.iter().for_each(|peer| store(&mut lone, *peer, false));
    store(&mut lone, addr6(7), false);
    assert!(!seeds.is_empty() && !others.is_empty());
    let seeds = filter_of(seeds.iter().map(SocketAddr::ip).chain([stranger(1).ip()]));
    let others = filter_of(others.iter().map(SocketAddr::ip).chain([addr6(7).ip()]));
    for from in [stranger(50), addr6(50)] {
        let reply = lone.accepted(from, &scrape());
        assert_eq!(filters_in(&reply), Some([seeds, others]), "both families are in both answers");
    }
    // A peer that has finished is a seed from then on.
    store(&mut lone, addr6(7), true);
    let [after, _] = filters_in(&lone.accepted(stranger(50), &scrape())).unwrap();
    assert!(after.contains(addr6(7).ip()) && !seeds.contains(addr6(7).ip()));
}

#[test]
fn b33_18_any_integer_but_0_requests_a_scrape() {
    let mut lone = Lone::new(unhurried());
    store(&mut lone, stranger(1), true);
    for (flag, wanted) in [("i1e", true), ("i-7e", true), ("i0e", false), ("1:1", false)] {
        let reply = lone.accepted(stranger(2), &get_peers(&TARGET, format!("6:scrape{flag}").as_bytes()));
        assert_eq!(filters_in(&reply).is_some(), wanted, "{flag}");
    }
    assert!(filters_in(&lone.accepted(stranger(2), &get_peers(&TARGET, b""))).is_none());
}

#[test]
fn b33_11_filters_come_with_peers_nodes_and_a_token_within_1024_bytes() {
    let mut lone = Lone::new(unhurried());
    Family::ALL.into_iter().for_each(|family| lone.meet(crowd(family, 30)));
    (0..60).for_each(|index| store(&mut lone, stranger(index), index % 2 == 0));
    (0..60).for_each(|index| store(&mut lone, addr6(1000 + index), index % 2 == 0));
    // The longest transaction id, and both families wanted.
    for (from, nodes, nodes6, most) in [(stranger(90), 8, 0, 20), (addr6(90), 0, 5, 8)] {
        let query = join(&[b"9:info_hash20:", &TARGET, b"6:scrapei1e4:wantl2:n42:n6e"]);
        for t in [&b"aa"[..], &[7; 32]] {
            let reply = lone.accepted(from, &query_by(&ID, t, "get_peers", &query));
            assert!(reply.bytes.len() <= MAX_SIZE && filters_in(&reply).is_some());
            assert!(reply.string("r.token").is_some());
            assert_eq!((reply.nodes().len(), reply.nodes6().len()), (nodes, nodes6));
            let values = reply.values().len();
            assert!((most - 4..=most + 4).contains(&values), "{values} values to {from}");
        }
    }
}

#[test]
fn b33_11_a_scrape_from_an_unverified_address_is_not_amplified() {
    let mut lone = Lone::new(stingy());
    lone.meet(crowd(Family::V4, 30));
    store(&mut lone, stranger(1), true);
    let reply = lone.accepted(stranger(2), &scrape());
    assert!(reply.bytes.len() <= 3 * scrape().len());
    assert!(reply.at("r.BFsd").is_none() && reply.at("r.BFpe").is_none(), "both or none");
    assert!(reply.string("r.token").is_some() && !reply.nodes().is_empty());
    // A verified node receives all of it.
    let reply = lone.accepted(stranger(1), &scrape());
    assert!(filters_in(&reply).is_some());
}

#[test]
fn b33_15_a_full_swarm_replaces_its_oldest_peers_and_still_returns_tokens() {
    let mut config = unhurried();
    config.peers_per_swarm = 20;
    let mut lone = Lone::new(config);
    (0..60).for_each(|index| store(&mut lone, stranger(index), false));
    let reply = lone.accepted(stranger(99), &scrape());
    assert!(reply.string("r.token").is_some());
    let [_, others] = filters_in(&reply).unwrap();
    assert_eq!(others, filter_of(lone.stored(&TARGET).iter().map(SocketAddr::ip)));
    assert_eq!(lone.stored(&TARGET).len(), 20);
    assert!(lone.stored(&TARGET).contains(&stranger(59)));
}

#[test]
fn b33_15_no_limit_allows_a_swarm_more_peers_than_a_filter_can_count() {
    let mut config = unhurried();
    config.peers_per_swarm = u16::MAX;
    let mut limits = common::raw::limits();
    limits.peers_v4 = 8000;
    let mut lone = Lone::with_limits(config, &limits);
    (0..3100).for_each(|index| store(&mut lone, stranger(index), false));
    assert_eq!(lone.stored(&TARGET).len(), 3000);
    let [_, others] = filters_in(&lone.accepted(stranger(1), &scrape())).unwrap();
    assert!(others.is_plausible() && (others.estimate() - 3000.0).abs() < 300.0, "{others:?}");
}

#[test]
fn b33_09_b33_12_filters_are_read_under_both_names_and_only_at_their_length() {
    let mut lone = Lone::new(config());
    let (seeds, others) = (filter_of(hosts(0..30)), filter_of(hosts(100..150)));
    let report = scrape_one(&mut lone, &filter_fields(&seeds, &others), b"");
    assert_eq!((report.kind, size_of(&report)), (LookupKind::Scrape, (30, 50, 1, 0)));
    let of_mldht = join(&[b"4:BFpe256:", others.as_bytes(), b"4:BFse256:", seeds.as_bytes()]);
    assert_eq!(size_of(&scrape_one(&mut lone, &of_mldht, b"")), (30, 50, 1, 0));
    let short = join(&[b"4:BFpe255:", &others.as_bytes()[1..], b"4:BFsd256:", seeds.as_bytes()]);
    assert_eq!(size_of(&scrape_one(&mut lone, &short, b"")), (30, 0, 1, 0));
    let long = join(&[b"4:BFpe257:", others.as_bytes(), b"x4:BFsd0:"]);
    assert_eq!(size_of(&scrape_one(&mut lone, &long, b"")), (0, 0, 0, 0));
}

#[test]
fn b33_10_b33_18_an_answer_may_lack_values_and_a_token() {
    let mut lone = Lone::new(config());
    let fields = filter_fields(&filter_of(hosts(0..10)), &BloomFilter::EMPTY);
    let nodes = node_list(&[([9; 20], addr(9))]);
    let report = scrape_one(&mut lone, &fields, &nodes);
    assert_eq!((report.answered, report.peers, size_of(&report)), (1, 0, (10, 0, 1, 0)));
}

#[test]
fn b33_13_implausible_filters_are_refused_together_with_the_peers_of_their_answer() {
    let mut lone = Lone::new(config());
    let full = BloomFilter::from_bytes([0xff; 256]);
    let peers = value_list(&[addr(5), addr(6)]);
    let report = scrape_one(&mut lone, &filter_fields(&full, &full), &peers);
    assert_eq!((report.peers, size_of(&report)), (0, (0, 0, 0, 1)));
    // Peers that are in neither filter.
    let report = scrape_one(&mut lone, &filter_fields(&filter_of(hosts(0..6)), &BloomFilter::EMPTY), &peers);
    assert_eq!((report.peers, size_of(&report)), (0, (0, 0, 0, 1)));
    let report = scrape_one(&mut lone, &filter_fields(&filter_of(hosts(0..7)), &BloomFilter::EMPTY), &peers);
    assert_eq!((report.peers, size_of(&report)), (2, (7, 0, 1, 0)));
}

#[test]
fn b33_14_b33_10_the_peers_of_an_answer_without_filters_are_counted() {
    let mut lone = Lone::new(config());
    let peers: Vec<_> = (5..25).map(addr).collect();
    let report = scrape_one(&mut lone, b"", &value_list(&peers));
    assert_eq!((report.peers, size_of(&report)), (20, (0, 20, 0, 0)));
    assert!(lone.found().is_empty(), "a scrape reports no peers");
}

#[test]
fn b33_14_peers_without_filters_are_counted_beyond_those_that_a_lookup_stores() {
    let mut limits = common::raw::limits();
    limits.peers_per_lookup = 10;
    let mut lone = Lone::with_limits(config(), &limits);
    let peers: Vec<_> = (5..105).map(addr).collect();
    let report = scrape_one(&mut lone, b"", &value_list(&peers));
    let (seeds, downloaders, ..) = size_of(&report);
    assert_eq!((report.peers, seeds, lone.stats().peers_lost), (10, 0, 0));
    assert!((97..=103).contains(&downloaders), "{report:?}");
}

#[test]
fn b33_14_known_seeds_without_filters_count_as_seeds_in_any_order_of_answers() {
    let mut stage = Stage::joined(40);
    let closest = stage.closest_to(HASH);
    let (seeds, others) = (filter_of(hosts(500..510)), filter_of(hosts(520..530)));
    stage.at_addr(closest[0]).filters = Some([seeds, others]);
    // These answer first.
    for node in &closest[1..4] {
        stage.at_addr(*node).peers = (505..510).chain(525..540).map(addr).collect();
        stage.at_addr(*node).rtt = stage::ms(10);
    }
    let lookup = stage.act(|node, now| node.scrape(now, HASH).unwrap());
    let report = stage.finish(lookup);
    assert_eq!(size_of(&report), (10, 20, 1, 0));
}

#[test]
fn b33_04_a_scrape_unites_the_filters_of_all_nodes_with_our_own_peers() {
    let mut stage = Stage::joined(40);
    for (at, node) in stage.closest_to(HASH).into_iter().enumerate() {
        let (seeds, others) = (hosts(500 + at..520 + at), hosts(600 + 10 * at..620 + 10 * at));
        stage.at_addr(node).filters = Some([filter_of(seeds), filter_of(others)]);
    }
    let lookup = stage.act(|node, now| node.scrape(now, HASH).unwrap());
    let so_far = stage.node.lookup_report(lookup).expect("it is running");
    assert_eq!(size_of(&so_far), (0, 0, 0, 0));
    let report = stage.finish(lookup);
    let (seeds, downloaders, sources, refused) = size_of(&report);
    assert!((26..=28).contains(&seeds) && (87..=93).contains(&downloaders), "{report:?}");
    assert_eq!((sources, refused), (8, 0));
    assert!(stage.peers_of(lookup).is_empty());
    assert!(stage.sent.iter().all(|sent| !sent.is_announce()));

    // Peers in the own store are counted as well.
    let token = |reply: Vec<u8>| {
        let at = reply.windows(8).position(|bytes| bytes == b"5:token8").unwrap() + 9;
        reply[at..at + 8].to_vec()
    };
    let (peer, id) = (addr(7000), NodeId::from_bytes([5; 20]));
    let asked = dht_proto::wire::Method::GetPeers {
        infohash: HASH,
        want: dht_proto::wire::Want::NONE,
        noseed: false,
        scrape: false,
    };
    let token = token(stage.ask(peer, id, asked).unwrap());
    let announce = dht_proto::wire::Method::AnnouncePeer {
        infohash: HASH,
        port: 9,
        implied_port: false,
        seed: true,
        token: &token,
        name: None,
    };
    stage.ask(peer, id, announce).unwrap();
    let lookup = stage.act(|node, now| node.scrape(now, HASH).unwrap());
    assert_eq!(size_of(&stage.finish(lookup)).0, seeds + 1);
}

#[test]
fn b33_16_an_announce_goes_to_the_closest_nodes_that_gave_a_token() {
    let mut stage = Stage::joined(40);
    let closest = stage.closest_to(HASH);
    for at in [0, 2, 5] {
        stage.at_addr(closest[at]).token = None;
    }
    let announce = dht_proto::Announce::port(6881);
    let lookup = stage.act(|node, now| node.announce(now, HASH, announce).unwrap());
    let report = stage.finish(lookup);
    assert_eq!(report.acknowledged, 8);
    for (at, node) in closest.iter().enumerate() {
        assert_eq!(stage.at_addr(*node).stored.is_empty(), [0, 2, 5].contains(&at), "{at}");
    }
}

#[test]
fn b33_17_concurrent_scrapes_are_limited() {
    let mut stage = Stage::joined(40);
    let scrapes: Vec<_> =
        (0..4).map(|byte| stage.node.scrape(stage.now, stage::infohash(byte)).unwrap()).collect();
    let full = StartError::Full { limit: Limit::Scrapes, size: 4 };
    assert_eq!(stage.node.scrape(stage.now, HASH), Err(full));
    assert!(stage.node.get_peers(stage.now, HASH).is_ok(), "other lookups are not affected");
    assert!(stage.node.cancel(scrapes[0]));
    let again = stage.node.scrape(stage.now, HASH).unwrap();
    scrapes[1..].iter().for_each(|scrape| assert!(stage.finish(*scrape).swarm.is_some()));
    stage.finish(again);
    assert!(!stage.node.cancel(again));
    for _ in 0..20 {
        let scrape = stage.act(|node, now| node.scrape(now, HASH).unwrap());
        stage.finish(scrape);
    }
}

#[test]
fn the_tokens_of_a_scrape_are_used_by_an_announce() {
    let mut stage = Stage::joined(40);
    let scrape = stage.act(|node, now| node.scrape(now, HASH).unwrap());
    stage.finish(scrape);
    stage.sent.clear();
    let announce = dht_proto::Announce::port(6881);
    let lookup = stage.act(|node, now| node.announce(now, HASH, announce).unwrap());
    let report = stage.finish(lookup);
    assert_eq!(report.acknowledged, 8);
    assert!(report.swarm.is_none() && stage.sent.iter().all(|sent| !sent.is_get_peers()));
}

#[test]
fn b33_02_peers_that_differ_only_in_port_are_one_peer_in_the_filter() {
    let mut lone = Lone::new(config());
    let peers = value_list(&[addr(5), SocketAddr::new(addr(5).ip(), 9)]);
    assert!(compact(addr(5)).len() == 6);
    let report = scrape_one(&mut lone, b"", &peers);
    assert_eq!((report.peers, size_of(&report)), (2, (0, 1, 0, 0)));
}
