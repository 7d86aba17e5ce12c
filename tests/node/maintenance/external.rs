//! BEP 42: how a node learns its own address, the id that follows from it, and ids that do not match
//! the address of their node.

use std::net::{IpAddr, SocketAddr};

use dht_proto::errors::AddressRefused;
use dht_proto::state::State;
use dht_proto::wire::{Body, Message, Method, Query, Response, Want};
use dht_proto::{Announce, Config, Event, Family, Limits, Lookup, MAX_DATAGRAM, Node, NodeId, PutError};

use crate::stage;
use crate::stage::{Stage, What, addr, config, find_node, id, infohash, limits, secs, sibling};

const OURS: &str = "81.2.3.4:6881";
const OTHER: &str = "85.6.7.8:7000";

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn ip(text: &str) -> IpAddr {
    at(text).ip()
}

/// Configures hosts that all report this address to the node.
fn seen_at(stage: &mut Stage, seen: &str) {
    stage.hosts.values_mut().for_each(|host| host.sees = Some(at(seen)));
}

/// Creates a node that queries `count` hosts, each in its own subnet, which all report this address.
fn with_votes(config: Config, count: usize, seen: &str) -> Stage {
    let mut stage = Stage::new(config);
    (1..=count).for_each(|index| stage.host(index));
    seen_at(&mut stage, seen);
    for index in 1..=count {
        stage.act(|node, now| node.add_node(now, addr(index)).unwrap());
    }
    stage.run(secs(60));
    stage
}

fn external(stage: &Stage) -> Option<SocketAddr> {
    stage.node.external_addr(Family::V4)
}

fn own(stage: &Stage) -> NodeId {
    stage.node.id(Family::V4)
}

fn reported_addrs(stage: &Stage) -> Vec<SocketAddr> {
    let reported = stage.events.iter().filter_map(|event| match event {
        Event::ExternalAddr { addr } => Some(*addr),
        _ => None,
    });
    reported.collect()
}

fn reported_ids(stage: &Stage) -> Vec<(NodeId, NodeId)> {
    let reported = stage.events.iter().filter_map(|event| match event {
        Event::IdChanged { family: Family::V4, old, new } => Some((*old, *new)),
        _ => None,
    });
    reported.collect()
}

fn created(config: Config) -> NodeId {
    Stage::new(config).node.id(Family::V4)
}

/// Pings each host, and waits for the answers.
fn ping_all(stage: &mut Stage, hosts: impl IntoIterator<Item = usize>) {
    for index in hosts {
        let _ = stage.act(|node, now| node.ping(now, addr(index)).unwrap());
    }
    stage.run(secs(20));
}

#[test]
fn b42_09_b42_10_an_address_reported_by_sixteen_subnets_is_accepted_and_the_id_follows() {
    let few = with_votes(config(), 15, OURS);
    assert_eq!((external(&few), own(&few)), (None, created(config())));
    let stage = with_votes(config(), 40, OURS);
    assert_eq!(external(&stage), Some(at(OURS)));
    assert_eq!(reported_addrs(&stage), [at(OURS)], "reported once");
    let (old, new) = (created(config()), own(&stage));
    assert_eq!(reported_ids(&stage), [(old, new)]);
    assert!(new.is_secure_for(ip(OURS)) && !old.is_secure_for(ip(OURS)));
    assert_eq!(stage.sent.last().unwrap().id, new, "queries are sent with it");
    let searched = stage.sent.iter().any(|sent| sent.what == What::FindNode(new));
    assert!(searched, "its neighbours are looked up");
    assert!(stage.node.is_ready(Family::V4) && stage.node.node_count(Family::V4) > 30);
    // The address is that of most votes, not that of the first.
    assert!(stage.node.nodes(Family::V4).all(|node| node.id != new));
}

#[test]
fn b42_10_answers_have_the_new_id() {
    let mut stage = with_votes(config(), 40, OURS);
    let new = own(&stage);
    let reply = stage.ask(addr(900), id(900), Method::Ping).unwrap();
    let Body::Response(response) = Message::parse(&reply).unwrap().body else { panic!("no answer") };
    assert_eq!(response.id, new);
}

#[test]
fn b42_08_only_answers_to_our_queries_vote() {
    let mut stage = Stage::new(config());
    let mut buf = [0; MAX_DATAGRAM];
    for index in 1..200 {
        let bodies = [
            Body::Response(Response::new(id(index))),
            Body::Query(Query { id: id(index), method: Method::Ping }),
            Body::Query(Query { id: id(index), method: find_node(id(1)) }),
        ];
        for body in bodies {
            let message = Message { requester: Some(at(OURS)), ..Message::new(b"aaaa", body) };
            let size = message.emit(&mut buf).unwrap();
            stage.hear(addr(index), &buf[..size]);
        }
        stage.hear(addr(index), b"d1:eli201e1:xe2:ip6:\x51\x02\x03\x04\x1a\xe11:t4:aaaa1:y1:ee");
    }
    assert!(stage.node.stats().dropped.stray > 300, "{:?}", stage.node.stats().dropped);
    assert_eq!(external(&stage), None);
}

#[test]
fn b42_08_errors_vote_as_well() {
    let mut stage = Stage::new(config());
    (1..=20).for_each(|index| stage.host(index));
    seen_at(&mut stage, OURS);
    stage.hosts.values_mut().for_each(|host| host.refuses = Some(201));
    ping_all(&mut stage, 1..=20);
    assert_eq!(external(&stage), Some(at(OURS)));
}

#[test]
fn b42_08_a_subnet_has_one_vote_however_many_of_its_hosts_answer() {
    let neighbours = || (1..=60).map(|last| SocketAddr::from(([77, 7, 7, last], 6881)));
    let answers = |config: Config| {
        let mut stage = Stage::new(config);
        for (index, addr) in neighbours().enumerate() {
            stage.hosts.insert(addr, stage::Host { sees: Some(at(OURS)), ..stage::Host::honest(id(index)) });
            let _ = stage.act(|node, now| node.ping(now, addr).unwrap());
        }
        stage.run(secs(20));
        assert!(stage.node.stats().responses_in.total() >= 60);
        external(&stage)
    };
    assert_eq!(answers(config()), None);
    let mut each = config();
    each.source_limits = false;
    assert_eq!(answers(each), Some(at(OURS)), "where each endpoint is its own source");
}

#[test]
fn b42_09_impossible_addresses_are_ignored() {
    for seen in
        ["10.1.2.3:6881", "192.168.1.2:1", "127.0.0.1:6881", "100.64.1.1:5", "224.0.0.1:9", "[2a00::1]:6881"]
    {
        let stage = with_votes(config(), 40, seen);
        assert_eq!((external(&stage), own(&stage)), (None, created(config())), "{seen}");
    }
    // Private addresses are accepted in a private network; any id matches them.
    let mut private = config();
    private.address_policy = dht_proto::AddressPolicy::Any;
    let stage = with_votes(private.clone(), 40, "10.1.2.3:6881");
    assert_eq!((external(&stage), own(&stage)), (Some(at("10.1.2.3:6881")), created(private)));
}

#[test]
fn b42_09_a_minority_of_liars_does_not_change_the_address() {
    let mut stage = with_votes(config(), 100, OURS);
    let before = own(&stage);
    for index in (1..=100).filter(|index| index % 10 < 3) {
        stage.at(index).sees = Some(at(OTHER));
    }
    for _ in 0..200 {
        ping_all(&mut stage, 1..=100);
        stage.run(secs(700));
    }
    assert!(stage.node.stats().responses_in.total() > 20_000);
    assert_eq!((external(&stage), own(&stage)), (Some(at(OURS)), before));
    assert_eq!(reported_addrs(&stage).len(), 1);
}

#[test]
fn b42_10_t_05_after_a_change_of_address_old_tokens_are_not_used() {
    let mut stage = with_votes(config(), 60, OURS);
    let get = stage.act(|node, now| node.get_peers(now, infohash(1)).unwrap());
    stage.finish(get);
    seen_at(&mut stage, OTHER);
    ping_all(&mut stage, 1..=60);
    assert_eq!(external(&stage), Some(at(OTHER)));
    let since = stage.now;
    let announce = stage.act(|node, now| node.announce(now, infohash(1), Announce::port(7)).unwrap());
    let report = stage.finish(announce);
    assert!(stage.count(since, |sent| sent.is_get_peers()) >= 8, "it requests others");
    assert_eq!(report.acknowledged, 8);

    // Without a change they are used.
    let since = stage.now;
    let announce = stage.act(|node, now| node.announce(now, infohash(1), Announce::port(8)).unwrap());
    assert_eq!(stage.finish(announce).acknowledged, 8);
    assert_eq!(stage.count(since, |sent| sent.is_get_peers()), 0);
}

#[test]
fn b42_10_running_lookups_continue_after_a_change_of_address() {
    let mut stage = with_votes(config(), 60, OURS);
    let before = own(&stage);
    seen_at(&mut stage, OTHER);
    // Thirty-one subnets have reported it; the lookup brings the deciding vote.
    ping_all(&mut stage, 1..=31);
    assert_eq!(external(&stage), Some(at(OURS)));
    let stranger = addr(900);
    let kept = stage.act(|node, now| node.start_announcing(now, infohash(3), Announce::port(9)).unwrap());
    let (peer, port) = (stage.ask(stranger, id(900), get_peers(2)).unwrap(), 4242);
    let token = token_in(&peer);
    stage.ask(stranger, id(900), announce_peer(2, port, &token));
    let lookups = [
        stage.act(|node, now| node.get_peers(now, infohash(1)).unwrap()),
        stage.act(|node, now| node.announce(now, infohash(4), Announce::port(7)).unwrap()),
        stage.act(|node, now| node.find_node(now, id(7)).unwrap()),
    ];
    let reports = lookups.map(|lookup| stage.finish(lookup));
    assert_eq!(external(&stage), Some(at(OTHER)));
    assert!(own(&stage) != before && own(&stage).is_secure_for(ip(OTHER)));
    assert!(reports.iter().all(|report| report.answered >= 8), "{reports:?}");
    assert_eq!(reports[1].acknowledged, 8, "{:?}", reports[1]);
    assert!(stage.node.stored_peers(infohash(2)).eq([SocketAddr::new(stranger.ip(), port)]), "peers stay");
    assert!(stage.node.node_count(Family::V4) > 50, "so do nodes");
    let known: Vec<_> = stage.node.announcements().map(|kept| kept.id).collect();
    assert_eq!(known, [kept]);
}

#[test]
fn b42_10_announcements_are_repeated_from_the_new_address() {
    let mut stage = with_votes(config(), 60, OURS);
    stage.act(|node, now| node.start_announcing(now, infohash(3), Announce::port(9)).unwrap());
    stage.run(secs(30));
    let stored = stage.now;
    let announced = |stage: &Stage, since| stage.count(since, |sent| sent.is_announce());
    stage.run(secs(120));
    assert_eq!(announced(&stage, stored), 0, "it is not due for long");
    seen_at(&mut stage, OTHER);
    let moved = stage.now;
    ping_all(&mut stage, 1..=60);
    stage.run(secs(30));
    assert!(announced(&stage, moved) >= 8);
}

#[test]
fn b42_10_after_a_rebind_the_address_is_learned_again_and_a_matching_id_stays() {
    let mut stage = with_votes(config(), 60, OURS);
    let before = own(&stage);
    stage.act(|node, now| node.handle_rebind(now, Family::V4));
    assert_eq!(external(&stage), None);
    ping_all(&mut stage, 1..=16);
    assert_eq!((external(&stage), own(&stage)), (Some(at(OURS)), before));
    seen_at(&mut stage, OTHER);
    stage.act(|node, now| node.handle_rebind(now, Family::V4));
    ping_all(&mut stage, 1..=60);
    assert_eq!(external(&stage), Some(at(OTHER)));
    assert!(own(&stage).is_secure_for(ip(OTHER)));
}

#[test]
fn r_13_b42_10_an_id_is_kept_over_a_restart_while_it_fits() {
    let stage = with_votes(config(), 40, OURS);
    let (saved, before) = (stage.node.snapshot(0), own(&stage));
    let state = State::parse(&saved).unwrap();
    let mut config = config();
    config.id = state.id(Family::V4);
    let same = with_votes(config.clone(), 40, OURS);
    assert_eq!((own(&same), external(&same)), (before, Some(at(OURS))));
    assert!(reported_ids(&same).is_empty());
    let elsewhere = with_votes(config, 40, OTHER);
    assert!(own(&elsewhere) != before && own(&elsewhere).is_secure_for(ip(OTHER)));
}

#[test]
fn a_configured_id_stays() {
    let mut config = config();
    (config.id, config.secure_ids) = (Some(id(77)), false);
    let stage = with_votes(config, 40, OURS);
    assert_eq!((own(&stage), external(&stage)), (id(77), Some(at(OURS))));
    assert_eq!((reported_addrs(&stage).len(), reported_ids(&stage).len()), (1, 0));
}

#[test]
fn the_caller_may_set_the_address_before_any_vote() {
    let mut stage = Stage::new(config());
    for refused in ["10.0.0.1:1", "224.0.0.1:1", "[2a00::1]:1"] {
        let set = stage.act(|node, now| node.set_external_addr(now, at(refused)));
        assert_eq!(set, Err(AddressRefused), "{refused}");
    }
    stage.act(|node, now| node.set_external_addr(now, at("81.2.3.4:0")).unwrap());
    assert_eq!(external(&stage), Some(at("81.2.3.4:0")));
    assert!(own(&stage).is_secure_for(ip(OURS)));
    assert_eq!((reported_addrs(&stage).len(), reported_ids(&stage).len()), (1, 1));
    stage.act(|node, now| node.set_external_addr(now, at(OURS)).unwrap());
    assert_eq!(
        (external(&stage), reported_addrs(&stage).len()),
        (Some(at(OURS)), 1),
        "a new port alone is not reported"
    );
}

#[test]
fn each_family_has_its_own_external_address() {
    let mut both = config();
    both.ipv6 = true;
    let mut limits = limits();
    limits.nodes_v6 = 64;
    let mut stage = Stage::with_limits(both, &limits);
    stage.act(|node, now| node.set_external_addr(now, at("[2a00:5::7]:9")).unwrap());
    assert!(stage.node.id(Family::V6).is_secure_for(ip("[2a00:5::7]:9")));
    assert_eq!(external(&stage), None);
    let reported: Vec<_> =
        stage.events.iter().filter(|event| matches!(event, Event::IdChanged { .. })).collect();
    assert!(matches!(reported[..], [Event::IdChanged { family: Family::V6, .. }]), "{reported:?}");
}

#[test]
fn only_the_last_changes_are_reported_if_the_event_queue_is_small() {
    let mut tight = limits();
    tight.events = 2;
    let now = dht_proto::Instant::from_micros(1_000_000);
    let mut stage = Stage::on(Node::new(config(), &tight, [7; 32], now), now);
    (1..=40).for_each(|index| stage.host(index));
    (1..=40).for_each(|index| stage.node.add_node(stage.now, addr(index)).unwrap());
    stage.run(secs(60));
    stage.events.clear();
    // The events are not polled meanwhile.
    stage.node.set_external_addr(stage.now, at(OURS)).unwrap();
    stage.drain();
    assert_eq!((reported_addrs(&stage).len(), reported_ids(&stage).len()), (1, 1));
}

/// Creates a node among hosts close to the torrent: those of even index have ids that match their addresses.
fn mixed(enforce: bool) -> Stage {
    let mut config = config();
    config.enforce_secure_ids = enforce;
    let mut stage = Stage::new(config);
    for index in 1..=60 {
        let fits = index % 2 == 0;
        let id = if fits { NodeId::secure_for(addr(index).ip(), *id(index).as_bytes()) } else { id(index) };
        stage.hosts.insert(addr(index), stage::Host::honest(id));
    }
    // Next to the target, where no id matches its address.
    for index in 61..=64 {
        let beside = sibling(infohash(1).into(), 80 + index);
        stage.hosts.insert(addr(index), stage::Host::honest(beside));
    }
    for index in 1..=8 {
        stage.act(|node, now| node.add_node(now, addr(index)).unwrap());
    }
    stage.run(secs(60));
    stage
}

fn is_fit(addr: SocketAddr, stage: &Stage) -> bool {
    stage.hosts[&addr].id.is_secure_for(addr.ip())
}

fn announced_to(stage: &Stage, since: dht_proto::Instant) -> Vec<SocketAddr> {
    stage.sent.iter().filter(|sent| sent.at >= since && sent.is_announce()).map(|sent| sent.to).collect()
}

/// Returns the eight hosts closest to the torrent, of those with secure ids or of all.
fn closest(stage: &Stage, fit_only: bool) -> Vec<SocketAddr> {
    let mut hosts: Vec<_> =
        stage.hosts.iter().filter(|(addr, _)| !fit_only || is_fit(**addr, stage)).collect();
    hosts.sort_by_key(|(_, host)| host.id.distance(&infohash(1).into()));
    hosts.iter().take(8).map(|(addr, _)| **addr).collect()
}

fn sorted(mut addrs: Vec<SocketAddr>) -> Vec<SocketAddr> {
    addrs.sort();
    addrs.dedup();
    addrs
}

#[test]
fn b42_11_b42_13_with_enforcement_the_closest_nodes_with_secure_ids_receive_the_announce() {
    let mut stage = mixed(true);
    let since = stage.now;
    let announce = stage.act(|node, now| node.announce(now, infohash(1), Announce::port(7)).unwrap());
    let report = stage.finish(announce);
    assert_eq!((report.sent, report.acknowledged), (8, 8));
    assert_eq!(sorted(announced_to(&stage, since)), sorted(closest(&stage, true)));
    // Nodes whose ids do not match were queried all the same, and listed others.
    let asked = stage.count(since, |sent| sent.is_get_peers() && !is_fit(sent.to, &stage));
    assert!(asked >= 4, "{asked}");
}

#[test]
fn b42_11_with_enforcement_only_nodes_with_secure_ids_are_results() {
    let mut stage = mixed(true);
    let lookup = stage.node.find_node(stage.now, infohash(1).into()).unwrap();
    stage.drain();
    while stage.report(lookup).is_none() {
        assert!(stage.step(stage.now + secs(60)));
    }
    let found: Vec<_> = stage.node.lookup_nodes(lookup).map(|node| node.addr).collect();
    // Hosts list eight, with insecure ids among them, so not all hosts with secure ids need be found.
    assert!(found.len() >= 4 && found == closest(&stage, true)[..found.len()], "{found:?}");
}

#[test]
fn b42_11_with_enforcement_and_no_secure_ids_a_lookup_ends_without_results() {
    let mut config = config();
    config.enforce_secure_ids = true;
    let mut stage = Stage::new(config);
    (1..=30).for_each(|index| stage.host(index));
    (1..=8).for_each(|index| stage.node.add_node(stage.now, addr(index)).unwrap());
    stage.run(secs(60));
    assert!(stage.node.node_count(Family::V4) > 20, "they are in the table all the same");
    let announce = stage.act(|node, now| node.announce(now, infohash(1), Announce::port(7)).unwrap());
    let report = stage.finish(announce);
    assert_eq!((report.sent, report.acknowledged), (0, 0));
    assert!(matches!(report.stored(), Err(PutError::NoTokens { answered: 9.. })), "{report:?}");
}

#[test]
fn b42_15_by_default_ids_are_not_enforced() {
    let mut stage = mixed(false);
    let since = stage.now;
    let announce = stage.act(|node, now| node.announce(now, infohash(1), Announce::port(7)).unwrap());
    assert_eq!(stage.finish(announce).acknowledged, 8);
    assert_eq!(sorted(announced_to(&stage, since)), sorted(closest(&stage, false)));
    assert!(!Config::default().enforce_secure_ids);
}

#[test]
fn b42_12_queries_with_insecure_ids_are_answered_even_with_enforcement() {
    let mut stage = mixed(true);
    let (stranger, insecure) = (addr(900), id(900));
    assert!(!insecure.is_secure_for(stranger.ip()));
    assert!(stage.ask(stranger, insecure, Method::Ping).is_some());
    let nodes = stage.ask(stranger, insecure, find_node(id(3))).unwrap();
    let Body::Response(response) = Message::parse(&nodes).unwrap().body else { panic!("no answer") };
    assert_eq!(response.nodes.unwrap().len(), 8);
    let token = token_in(&stage.ask(stranger, insecure, get_peers(2)).unwrap());
    stage.ask(stranger, insecure, announce_peer(2, 4242, &token));
    assert_eq!(stage.node.stored_peers(infohash(2)).count(), 1);
}

#[test]
fn a_node_without_memory_for_voters_keeps_the_address_it_was_given() {
    let mut none = Limits::clone(&limits());
    none.voters = 0;
    let mut stage = Stage::with_limits(config(), &none);
    (1..=40).for_each(|index| stage.host(index));
    seen_at(&mut stage, OURS);
    ping_all(&mut stage, 1..=40);
    assert_eq!(external(&stage), None);
    stage.act(|node, now| node.set_external_addr(now, at(OTHER)).unwrap());
    let lookup = stage.act(|node, now| {
        node.lookup(now, Lookup::FindNode(id(1)), &dht_proto::LookupOptions::default()).unwrap()
    });
    stage.finish(lookup);
    assert_eq!(external(&stage), Some(at(OTHER)));
}

const fn get_peers(byte: u8) -> Method<'static> {
    let infohash = dht_proto::InfoHash::from_bytes([byte; 20]);
    Method::GetPeers { infohash, want: Want::NONE, noseed: false, scrape: false }
}

const fn announce_peer(byte: u8, port: u16, token: &[u8]) -> Method<'_> {
    let infohash = dht_proto::InfoHash::from_bytes([byte; 20]);
    Method::AnnouncePeer { infohash, port, implied_port: false, seed: false, token, name: None }
}

fn token_in(reply: &[u8]) -> Vec<u8> {
    let Body::Response(response) = Message::parse(reply).unwrap().body else { panic!("no answer") };
    response.token.unwrap().to_vec()
}
