//! Times a node, bytes in to bytes out: responses to queries, and a whole lookup.
//!
//! Each response is timed beside a serde bencode library that only decodes the same query. The node
//! has a full routing table and stored peers, both filled as the network would fill them. Targets are
//! random, so that branches are not predictable. `instructions` counts what is executed, without noise.

#[path = "common/datagrams.rs"]
mod datagrams;
#[path = "common/serde_krpc.rs"]
mod serde_krpc;
#[path = "common/server.rs"]
mod server;

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use datagrams::{host, query};
use dht_proto::InfoHash;
use dht_proto::wire::{Method, Want};
use serde_krpc::SerdeMessage;
use server::{Bench, Network, Rng, TORRENTS, find_node, get_peers, sample_infohashes};

fn answers(criterion: &mut Criterion) {
    let mut bench = Bench::new();
    let cases = [
        ("ping", bench.queries(|_| Method::Ping)),
        ("find_node, 8 nodes", bench.queries(|bench| find_node(bench.rng.id()))),
        ("get_peers, token and 8 nodes", bench.queries(|bench| get_peers(bench.rng.id().into()))),
        (
            "sample_infohashes, 8 nodes and 31 of 256",
            bench.queries(|bench| sample_infohashes(bench.rng.id())),
        ),
        (
            "get_peers, token, 8 nodes and 50 values",
            bench.queries(|bench| get_peers(bench.torrents[bench.rng.below(TORRENTS)])),
        ),
    ];
    for (name, queries) in &cases {
        let mut group = criterion.benchmark_group(*name);
        group.throughput(Throughput::Elements(1));
        let mut next = queries.iter().cycle();
        group.bench_function("answer", |bencher| {
            bencher.iter(|| {
                let (from, datagram) = next.next().expect("a cycle");
                bench.serve(black_box(*from), black_box(datagram))
            });
        });
        let mut next = queries.iter().cycle();
        group.bench_function("serde decode", |bencher| {
            bencher.iter(|| {
                let (_, datagram) = next.next().expect("a cycle");
                serde_bencode::from_bytes::<SerdeMessage>(black_box(datagram)).expect("it decodes")
            });
        });
        group.finish();
        let sizes = queries.iter().map(|(from, datagram)| bench.serve(*from, datagram));
        assert!(sizes.min() >= Some(50), "every query is answered");
    }
    let stats = bench.node.stats();
    assert_eq!(stats.dropped, dht_proto::stats::Stats::default().dropped, "nothing is refused");
}

/// Scrapes torrents of several sizes: the filters are built from all peers each time (BEP 33).
fn scrapes(criterion: &mut Criterion) {
    let mut bench = Bench::new();
    let mut group = criterion.benchmark_group("get_peers, both filters");
    for peers in [50, 500, 3000] {
        let infohash = bench.rng.id().into();
        for peer in 0..peers {
            let id = bench.rng.id();
            bench.announce(infohash, (id, host(10_000 + peer)));
        }
        assert_eq!(bench.node.stored_peers(infohash).count(), peers.min(2000));
        let scrape = Method::GetPeers { infohash, want: Want::NONE, noseed: false, scrape: true };
        let (id, from) = bench.askers[0];
        let datagram = query(id, scrape);
        assert!(bench.serve(from, &datagram) > 900);
        group.bench_function(format!("of {} peers", peers.min(2000)), |bencher| {
            bencher.iter(|| bench.serve(black_box(from), black_box(&datagram)));
        });
    }
    group.finish();
}

fn lookup(criterion: &mut Criterion) {
    let mut rng = Rng(2);
    let mut bench = Bench::new();
    let mut network = Network::around(&bench, 2000, &mut rng);
    let targets: Vec<InfoHash> = (0..64).map(|_| rng.id().into()).collect();
    let mut next = targets.iter().cycle();
    let (mut runs, mut queried) = (0_u64, 0_u64);
    criterion.bench_function("get_peers lookup in a network of 2400 nodes", |bencher| {
        bencher.iter(|| {
            let report = network.lookup(&mut bench, *next.next().expect("a cycle"));
            (runs, queried) = (runs + 1, queried + u64::from(report.queried));
        });
    });
    println!("{:.1} queries in a lookup", queried as f64 / runs as f64);
}

criterion_group!(benches, answers, scrapes, lookup);
criterion_main!(benches);
