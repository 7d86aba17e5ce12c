//! Scrapes, samples and crawls over real sockets on loopback, by callers that block and by tasks.

use std::collections::BTreeSet;
use std::net::{SocketAddr, UdpSocket};
use std::thread;
use std::time::Duration;

use dht_proto::crawl::CrawlOptions;
use dht_proto::errors::{ContactError, Limit};
use dht_proto::net::{CallError, Dht, DhtHandle};
use dht_proto::{Announce, Config, Family, InfoHash, LookupKind, NodeId};
use futures_core::Stream as _;
use tokio::time::timeout;

use crate::common::net::blocking::{addr, builder, network};
use crate::common::net::tasks::soon;
use crate::common::net::{HASH, LOOPBACK, PATIENCE, limits};
use crate::common::raw::{ID, Packet, join};

fn torrents() -> impl Iterator<Item = InfoHash> {
    (1..=5).map(|byte| InfoHash::from_bytes([byte * 40; 20]))
}

/// Starts nodes that all store a peer of each torrent.
fn storing_network() -> Vec<Dht> {
    let nodes = network(6);
    for torrent in torrents() {
        let mut announcing = nodes[1].announce(torrent, Announce::port(7777));
        assert!(announcing.wait_timeout(PATIENCE).unwrap().report.acknowledged > 0);
    }
    nodes
}

fn quick() -> CrawlOptions {
    let mut options = CrawlOptions::default();
    options.spacing = Duration::from_millis(5);
    options
}

/// Adds a host to the table of the node that answers nothing from now on.
fn known_hole(dht: &DhtHandle) -> (UdpSocket, SocketAddr) {
    let socket = UdpSocket::bind(LOOPBACK).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let hole = socket.local_addr().unwrap();
    dht.add_node(hole).wait().unwrap();
    let (ping, from) = hear(&socket, "ping");
    socket.send_to(&ping.answer(&ID, b""), from).unwrap();
    while dht.node_count(Family::V4).wait().unwrap() == 0 {
        thread::sleep(Duration::from_millis(1));
    }
    (socket, hole)
}

/// Returns the next query of this method.
fn hear(socket: &UdpSocket, method: &str) -> (Packet, SocketAddr) {
    let mut buffer = [0; 1500];
    loop {
        let (len, from) = socket.recv_from(&mut buffer).unwrap();
        let query = Packet::checked(socket.local_addr().unwrap(), &buffer[..len]);
        if query.method() == method {
            return (query, from);
        }
    }
}

fn answer_sample(socket: &UdpSocket) {
    let (query, from) = hear(socket, "sample_infohashes");
    let fields = join(&[b"8:intervali60e3:numi9e7:samples20:", HASH.as_bytes()]);
    socket.send_to(&query.answer(&ID, &fields), from).unwrap();
}

#[test]
fn a_scrape_counts_the_peers_of_a_torrent() {
    let nodes = storing_network();
    let torrent = torrents().next().unwrap();
    let mut scrape = nodes[4].scrape(torrent);
    assert_eq!(scrape.iter().count(), 0, "it yields no peers");
    let report = scrape.wait_timeout(PATIENCE).unwrap().report;
    let swarm = report.swarm.unwrap();
    assert_eq!((report.kind, swarm.seeds, swarm.downloaders), (LookupKind::Scrape, 0, 1));
    assert!(swarm.sources > 0);
    let nobody = nodes[4].scrape(HASH).wait_timeout(PATIENCE).unwrap().report.swarm.unwrap();
    assert_eq!((nobody.seeds, nobody.downloaders, nobody.sources), (0, 0, 0));
}

#[test]
fn a_node_returns_a_sample_of_its_infohashes() {
    let nodes = storing_network();
    let sampled = nodes[4].sample_infohashes(addr(&nodes[2]), NodeId::ZERO).wait().unwrap();
    assert_eq!(sampled.sample.id, nodes[2].id(Family::V4).wait().unwrap());
    assert!(sampled.sample.is_supported && sampled.sample.stored == 5);
    assert_eq!(BTreeSet::from_iter(sampled.infohashes), torrents().collect());
    assert!(!sampled.nodes.is_empty() && sampled.sample.interval > Duration::ZERO);
    let refused = nodes[4].sample_infohashes("127.0.0.1:0".parse().unwrap(), NodeId::ZERO).wait();
    assert_eq!(refused, Err(CallError::Contact(ContactError::AddressRefused)));
}

#[test]
fn a_crawl_yields_every_torrent_once_and_ends_with_the_thread() {
    let mut nodes = storing_network();
    let mut crawl = nodes[4].crawl(quick());
    let found: BTreeSet<_> = crawl.iter().take(5).map(|found| found.infohash).collect();
    assert_eq!(found, torrents().collect());
    assert_eq!(crawl.recv_timeout(Duration::from_millis(50)), Err(CallError::TimedOut));
    let report = crawl.report();
    assert!(report.asked > 0 && report.found == 5, "{report:?}");
    nodes.remove(4).shutdown().wait().unwrap();
    assert_eq!(crawl.into_iter().count(), 0);
}

#[test]
fn a_dropped_crawl_cancels_its_queries() {
    let mut limits = limits();
    limits.samplings = 1;
    let dht = builder().limits(limits).queue(0).spawn().unwrap();
    let (socket, hole) = known_hole(&dht);
    let crawl = dht.crawl(quick());
    hear(&socket, "sample_infohashes");
    let ask = || dht.sample_infohashes(hole, NodeId::ZERO).wait();
    let full = ContactError::Full { limit: Limit::Samplings, size: 1 };
    assert_eq!(ask(), Err(CallError::Contact(full)));
    drop(crawl);
    let sampled = thread::scope(|scope| {
        let asking = scope.spawn(ask);
        answer_sample(&socket);
        asking.join().unwrap().unwrap()
    });
    assert_eq!((sampled.infohashes, sampled.sample.stored), (vec![HASH], 9));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_scrape_sample_and_crawl_as_threads_do() {
    let nodes = tokio::task::block_in_place(storing_network);
    let start = addr(&nodes[0]).to_string();
    let owner = Dht::builder().config(Config::private()).limits(limits()).bind(LOOPBACK);
    let owner = owner.bootstrap([&start]).spawn_tokio().unwrap();
    assert_eq!(soon(owner.ready()).await, Ok(()));

    let torrent = torrents().next().unwrap();
    let scrape = owner.scrape(torrent);
    let swarm = soon(scrape).await.unwrap().report.swarm.unwrap();
    assert_eq!((swarm.seeds, swarm.downloaders), (0, 1));

    let sampled = timeout(PATIENCE, owner.sample_infohashes(addr(&nodes[2]), NodeId::ZERO));
    assert_eq!(BTreeSet::from_iter(sampled.await.unwrap().unwrap().infohashes), torrents().collect());

    let mut crawl = owner.crawl(quick());
    let mut found = BTreeSet::new();
    for _ in torrents() {
        let next = std::future::poll_fn(|cx| std::pin::Pin::new(&mut crawl).poll_next(cx));
        found.insert(timeout(PATIENCE, next).await.unwrap().unwrap().infohash);
    }
    assert_eq!(found, torrents().collect());
    assert_eq!(crawl.report().found, 5);
    soon(owner.shutdown()).await.unwrap();
    assert_eq!(soon(crawl.recv()).await, Err(CallError::Closed));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_for_a_sample_that_is_dropped_is_cancelled() {
    let mut limits = limits();
    limits.samplings = 1;
    let owner = Dht::builder().config(Config::private()).limits(limits).bind(LOOPBACK).queue(0);
    let owner = owner.bootstrap::<String>([]).spawn_tokio().unwrap();
    let socket = UdpSocket::bind(LOOPBACK).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let hole = socket.local_addr().unwrap();
    let dht = owner.handle();
    let asking = tokio::spawn(async move { dht.sample_infohashes(hole, NodeId::ZERO).await });
    let (socket, _) = tokio::task::spawn_blocking(move || {
        let heard = hear(&socket, "sample_infohashes");
        (socket, heard)
    })
    .await
    .unwrap();
    let full = owner.sample_infohashes(hole, NodeId::ZERO).await;
    let limit = Limit::Samplings;
    assert_eq!(full, Err(CallError::Contact(ContactError::Full { limit, size: 1 })));
    asking.abort();
    assert!(asking.await.unwrap_err().is_cancelled());
    let answering = tokio::task::spawn_blocking(move || answer_sample(&socket));
    let sampled = timeout(PATIENCE, owner.sample_infohashes(hole, NodeId::ZERO)).await.unwrap();
    assert_eq!(sampled.unwrap().infohashes, [HASH]);
    answering.await.unwrap();
}
