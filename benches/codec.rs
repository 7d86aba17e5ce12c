//! Times parsing and encoding, beside a serde bencode library that decodes the same bytes.

#[path = "common/serde_krpc.rs"]
mod serde_krpc;

use core::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use dht_proto::wire::{Body, CompactNodes, Message, Method, NodeWriter, PeerWriter, Query, Response, Want};
use dht_proto::{Family, InfoHash, NodeId};
use serde_krpc::SerdeMessage;

fn codec(criterion: &mut Criterion) {
    let mut nodes = [0; 8 * 26];
    let mut nodes = NodeWriter::new(Family::V4, &mut nodes);
    let mut peers = [0; 50 * 6];
    let mut peers = PeerWriter::new(Family::V4, &mut peers);
    for n in 1..=8 {
        assert!(nodes.push(&NodeId::from_bytes([n; 20]), ([n, 2, 3, 4], 6881).into()));
    }
    for n in 1..=50 {
        assert!(peers.push(([n, 2, 3, 4], 6881).into()));
    }
    let (nodes, values) = (Some(nodes.finish()), Some(peers.finish()));

    let (id, target) = (NodeId::from_bytes([1; 20]), NodeId::from_bytes([2; 20]));
    let infohash = InfoHash::from(target);
    let query = |method| Message {
        version: Some(b"dp01"),
        ..Message::new(b"abcd", Body::Query(Query { id, method }))
    };
    let reply = |response| Message {
        version: Some(b"dp01"),
        requester: Some(([1, 2, 3, 4], 6881).into()),
        ..Message::new(b"abcd", Body::Response(response))
    };
    let get_peers = Method::GetPeers { infohash, want: Want::NONE, noseed: false, scrape: false };
    let token = Some(b"aoeusnth".as_slice());
    let cases = [
        ("ping query", query(Method::Ping)),
        ("ping reply", reply(Response::new(id))),
        ("find_node query", query(Method::FindNode { target, want: Want::NONE })),
        ("find_node reply, 8 nodes", reply(Response { nodes, ..Response::new(id) })),
        ("get_peers query", query(get_peers)),
        (
            "get_peers reply, 8 nodes, 50 values",
            reply(Response { nodes, token, values, ..Response::new(id) }),
        ),
    ];
    for (name, message) in cases {
        let mut buf = [0; 1472];
        let len = message.emit(&mut buf).expect("fits");
        let datagram = &buf[..len];
        let mut group = criterion.benchmark_group(name);
        group.bench_function("parse", |bencher| bencher.iter(|| Message::parse(black_box(datagram))));
        group.bench_function("emit", |bencher| {
            let mut out = [0; 1472];
            bencher.iter(|| black_box(&message).emit(black_box(&mut out)));
        });
        group.bench_function("serde decode", |bencher| {
            bencher.iter(|| serde_bencode::from_bytes::<SerdeMessage>(black_box(datagram)).expect("decodes"));
        });
        group.finish();
    }
}

fn lists(criterion: &mut Criterion) {
    let mut buf = [0; 8 * 26];
    let nodes = [5, 3, 7, 1, 2, 8, 6, 4].map(|n| (NodeId::from_bytes([n; 20]), ([n, 2, 3, 4], 6881).into()));
    criterion.bench_function("pack 8 nodes", |bencher| {
        bencher.iter(|| {
            let mut writer = NodeWriter::new(Family::V4, black_box(&mut buf));
            black_box(&nodes).iter().all(|(id, addr)| writer.push(id, *addr))
        });
    });
    criterion.bench_function("unpack 8 nodes", |bencher| {
        bencher.iter(|| {
            for node in CompactNodes::new(Family::V4, black_box(&buf)) {
                black_box(node);
            }
        });
    });
}

criterion_group!(benches, codec, lists);
criterion_main!(benches);
