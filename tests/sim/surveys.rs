//! Scrapes and crawls in worlds of real nodes: their results compared with the truth.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use dht_proto::crawl::CrawlOptions;
use dht_proto::report::SwarmSize;
use dht_proto::sim::actors::{Liar, Lie};
use dht_proto::sim::{Actor, Growth, HostId, Network, Outbox, Profile, World};
use dht_proto::wire::{Body, Message, Method, Query, Response, Want};
use dht_proto::{Family, InfoHash, Instant, Lookup, NodeId};

use crate::lab::secs;

fn infohash(index: usize) -> InfoHash {
    let mut bytes = [index as u8; 20];
    // Well spread, because a torrent is stored near its infohash.
    let word = (index as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    bytes[..8].copy_from_slice(&word.wrapping_mul(0xbf58_476d_1ce4_e5b9).to_be_bytes());
    InfoHash::from_bytes(bytes)
}

/// Creates a world of `count` nodes that have all joined, with room for many peers and torrents.
fn world(seed: u64, nodes: usize) -> (World, Vec<HostId>) {
    let mut world = World::new(seed, Network::internet());
    let mut profile = Profile::default();
    (profile.limits.peers_v4, profile.limits.swarms) = (4096, 512);
    let profile = Arc::new(profile);
    let hosts = world.grow(nodes, &Growth::default(), |_, _| Arc::clone(&profile));
    world.run_for(secs(120));
    (world, hosts)
}

/// A peer that announces itself once to each of some nodes.
struct Peer {
    infohash: InfoHash,
    seed: bool,
    nodes: Vec<SocketAddr>,
    at: Option<Instant>,
}

impl Peer {
    fn query<'a>(&self, transaction: &'a [u8], method: Method<'a>) -> Message<'a> {
        let id = NodeId::from(infohash(self.nodes.len()));
        Message { read_only: true, ..Message::new(transaction, Body::Query(Query { id, method })) }
    }
}

impl Actor for Peer {
    fn on_datagram(&mut self, _: Instant, from: SocketAddr, datagram: &[u8], out: &mut Outbox<'_>) {
        let Ok(Message { body: Body::Response(response), .. }) = Message::parse(datagram) else { return };
        let Response { token: Some(token), .. } = response else { return };
        let (infohash, seed) = (self.infohash, self.seed);
        let announce =
            Method::AnnouncePeer { infohash, port: 6881, implied_port: false, seed, token, name: None };
        out.send_message(from, &self.query(b"an", announce));
    }

    fn on_wake(&mut self, _: Instant, out: &mut Outbox<'_>) {
        self.at = None;
        let get =
            Method::GetPeers { infohash: self.infohash, want: Want::NONE, noseed: false, scrape: false };
        self.nodes.iter().for_each(|node| out.send_message(*node, &self.query(b"gp", get)));
    }

    fn next_wake(&self) -> Option<Instant> {
        self.at
    }
}

/// Returns the addresses of the nodes closest to a torrent.
fn closest(world: &World, infohash: InfoHash) -> Vec<SocketAddr> {
    let target = NodeId::from(infohash);
    let mut nodes: Vec<_> =
        world.nodes().map(|(host, node)| (node.id(Family::V4).distance(&target), world.addr(host))).collect();
    nodes.sort_unstable();
    nodes.into_iter().take(8).map(|(_, addr)| addr).collect()
}

/// Lets `count` peers join a torrent within ten seconds, every fourth of them as a seed.
fn fill(world: &mut World, infohash: InfoHash, peers: usize) {
    let nodes = closest(world, infohash);
    for index in 0..peers {
        let at = Some(world.now() + secs(10) * index as u32 / peers as u32);
        world.add_actor(Peer { infohash, seed: index % 4 == 0, nodes: nodes.clone(), at });
    }
}

/// Returns the standard error of an estimate of `count` addresses, with two bits each in a filter of 2048.
fn standard_error(count: usize) -> f64 {
    let load = 2.0 * count as f64 / 2048.0;
    (2048.0 * (load.exp() - load - 1.0)).sqrt() / 2.0
}

#[test]
fn b33_03_scrapes_estimate_swarms_of_10_100_and_1000_peers_within_the_error_of_the_filter() {
    let (mut world, hosts) = world(1, 300);
    let sizes: Vec<usize> = [10; 8].into_iter().chain([100; 8]).chain([1000; 3]).collect();
    for (index, &peers) in sizes.iter().enumerate() {
        fill(&mut world, infohash(index), peers);
    }
    // Until the many unknown addresses that asked for tokens are forgotten: while there are too many, no
    // other unknown address gets more than three times what it sends, and so no filters.
    world.run_for(secs(120));
    let mut squares = 0.0;
    for (index, &peers) in sizes.iter().enumerate() {
        let scrape = world.lookup(hosts[7 + index], Lookup::Scrape(infohash(index)));
        let size = scrape.report().and_then(|report| report.swarm).expect("it has counted");
        let SwarmSize { seeds, downloaders, sources, refused, .. } = size;
        println!("{peers}: {size:?}");
        assert!(scrape.peers.is_empty() && sources >= 3 && refused == 0, "{scrape:?}");
        let all_seeds = peers.div_ceil(4);
        for (count, estimate) in [(all_seeds, seeds), (peers - all_seeds, downloaders)] {
            let error = (f64::from(estimate) - count as f64).abs();
            // Half for the rounding.
            let sigma = standard_error(count).max(0.5);
            assert!(error <= 0.5 + 3.5 * sigma, "{estimate} instead of {count}");
            squares += (error / sigma).powi(2) / (2.0 * sizes.len() as f64);
        }
    }
    assert!(squares < 2.0, "the errors are as large as expected: {squares}");
    world.check().unwrap();
}

/// Returns all torrents of which some node stores peers.
fn stored(world: &World) -> BTreeSet<InfoHash> {
    world.nodes().flat_map(|(_, node)| node.infohashes()).collect()
}

/// Returns the share of them that a crawl found within a time.
fn coverage(world: &World, crawler: HostId, within: Duration) -> f64 {
    let found = world.crawled(crawler).iter().take_while(|(at, _)| *at <= within);
    let found: BTreeSet<_> = found.map(|(_, infohash)| *infohash).collect();
    let stored = stored(world);
    found.intersection(&stored).count() as f64 / stored.len() as f64
}

#[test]
fn b51_06_a_crawl_finds_nearly_all_torrents_despite_dead_nodes_and_liars_and_respects_intervals() {
    let (mut world, hosts) = world(11, 300);
    let ids: Vec<_> = (0..30).map(|_| world.rng().id()).collect();
    for (index, id) in ids.into_iter().enumerate() {
        let lie = [Lie::OtherIds, Lie::CloserNodes, Lie::Reserved][index % 3];
        let liar = world.add_actor(Liar { id, lie });
        let addr = world.addr(liar);
        for at in 0..10 {
            world.with_node(hosts[(index * 10 + at) % 300], |node, now| node.add_node(now, addr).unwrap());
        }
    }
    // 40 torrents for each node: more than fit into one answer.
    (0..1500).for_each(|index| fill(&mut world, infohash(index), 1));
    world.run_for(secs(60));
    let dead: Vec<_> = hosts.iter().copied().filter(|host| host.index() % 5 == 2).collect();
    dead.iter().for_each(|&host| world.kill(host));
    let crawler = hosts[100];
    let before: Vec<_> = hosts
        .iter()
        .map(|&host| world.node(host).map_or(0, |node| node.stats().queries_in.sample_infohashes))
        .collect();
    let mut options = CrawlOptions::default();
    options.spacing = Duration::from_millis(50);
    world.crawl(crawler, options);
    world.run_for(secs(1500));

    let shares = [15, 60, 300, 600, 1500].map(|at| coverage(&world, crawler, secs(at)));
    let report = world.crawl_report(crawler).unwrap();
    println!("found after 15, 60, 300, 600 and 1500 s: {shares:.3?}, {report:?}");
    assert!(shares[0] > 0.3 && shares[1] > 0.9 && shares[4] > 0.99);
    assert!(world.crawled(crawler).iter().all(|(_, found)| (0..1500).any(|index| infohash(index) == *found)));
    // Intervals of five minutes, of which a part had passed at the first query.
    // With any seed, one or two of 240 nodes may not be listed by any other.
    let mut missed = 0;
    for (host, before) in hosts.iter().zip(before).filter(|(host, _)| **host != crawler) {
        if let Some(node) = world.node(*host) {
            let asked = node.stats().queries_in.sample_infohashes - before;
            assert!(asked <= 6, "{host:?} {asked}");
            missed += usize::from(asked == 0);
        }
    }
    assert!(missed <= 2, "{missed}");
    assert!(report.failed >= dead.len() as u64 && report.asked <= 1 + 1500 * 20);
    world.check().unwrap();
}

#[test]
fn a_crawl_of_one_seed_is_the_same_twice() {
    let run = || {
        let (mut world, hosts) = world(3, 60);
        (0..100).for_each(|index| fill(&mut world, infohash(index), 1));
        world.run_for(secs(30));
        world.crawl(hosts[5], CrawlOptions::default());
        world.run_for(secs(120));
        (world.transcript(), world.crawled(hosts[5]).to_vec())
    };
    let (transcript, found) = run();
    assert!(found.len() > 90);
    assert!((transcript, found) == run());
}
