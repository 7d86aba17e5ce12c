//! Times gets and puts of items (BEP 44), also during a flood of 100,000 puts a second.
//!
//! Each put of the flood has a valid token, 1000 bytes and a wrong signature.
//!
//! `ordinary/quiet` and `ordinary/flooded` time the same ordinary queries, the second between the puts
//! of the flood; `flood/second` is the time that the node spends on one second of the flood.

#[path = "common/datagrams.rs"]
mod datagrams;

use std::hint::black_box;
use std::net::SocketAddr;
use std::time::{Duration, Instant as Clock};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use datagrams::{encode, host};
use dht_proto::items::{Item, Salt, SecretKey};
use dht_proto::wire::{Body, Message, Method, PutItem, Response, Want};
use dht_proto::{Config, Instant, Limits, MAX_DATAGRAM, Node, NodeId, RateLimit};

/// Hosts that flood, each in a subnet of its own.
const FLOODERS: usize = 20_000;

/// Puts in a second of the flood.
const FLOOD: usize = 100_000;

/// Puts between two ordinary queries: those are 1000 a second.
const BETWEEN: usize = 100;

struct Bench {
    node: Node,
    now: Instant,
    buf: [u8; MAX_DATAGRAM],
}

impl Bench {
    /// Creates a node that knows a hundred others.
    fn new(adjust: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::default();
        config.ipv6 = false;
        adjust(&mut config);
        let now = Instant::from_micros(1_000_000);
        let node = Node::new(config, &Limits::default(), [7; 32], now);
        let mut bench = Self { node, now, buf: [0; MAX_DATAGRAM] };
        for index in 0..100 {
            let at = host(100_000 + index);
            bench.node.add_node(now, at).expect("there is room");
            while let Some(transmit) = bench.node.poll_transmit(bench.now, &mut bench.buf) {
                let query = Message::parse(&bench.buf[..transmit.size]).expect("a query");
                let body = Body::Response(Response::new(id(transmit.destination)));
                let answer = encode(&Message::new(query.transaction, body));
                bench.now = bench.now + Duration::from_millis(20);
                bench.node.handle_datagram(bench.now, transmit.destination, &answer);
            }
            while bench.node.poll_event().is_some() {}
        }
        bench
    }

    /// Passes in a query, and returns the length of the response.
    fn answer(&mut self, from: SocketAddr, query: &[u8]) -> usize {
        self.node.handle_datagram(self.now, from, query);
        let mut size = 0;
        while let Some(transmit) = self.node.poll_transmit(self.now, &mut self.buf) {
            if transmit.destination == from {
                size = transmit.size;
            }
        }
        while self.node.poll_event().is_some() {}
        size
    }

    fn token(&mut self, from: SocketAddr, target: NodeId) -> Vec<u8> {
        let size = self.answer(from, &query(Method::Get { target, seq: None, want: Want::NONE }));
        let Ok(Message { body: Body::Response(response), .. }) = Message::parse(&self.buf[..size]) else {
            panic!("an answer")
        };
        response.token.expect("a token").to_vec()
    }

    fn put(&mut self, from: SocketAddr, item: &Item, signature: Option<&[u8; 64]>) -> Vec<u8> {
        let token = self.token(from, item.target());
        put(item, &token, signature)
    }
}

fn id(host: SocketAddr) -> NodeId {
    let SocketAddr::V4(host) = host else { return NodeId::ZERO };
    let mut hash = u64::from(host.ip().to_bits());
    NodeId::from_bytes(std::array::from_fn(|_| {
        hash = (hash ^ (hash >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (hash >> 56) as u8
    }))
}

/// Encodes a query, with a fixed sender id.
fn query(method: Method<'_>) -> Vec<u8> {
    datagrams::query(NodeId::from_bytes([9; 20]), method)
}

fn put(item: &Item, token: &[u8], signature: Option<&[u8; 64]>) -> Vec<u8> {
    let key = item.key().map(|key| *key.as_bytes());
    let (value, salt) = (item.value(), item.salt());
    let put = match &key {
        None => PutItem::Immutable { value, seq: None },
        Some(key) => PutItem::Mutable {
            value,
            key,
            seq: item.seq().expect("it is mutable"),
            signature: signature.or_else(|| item.signature()).expect("it is mutable"),
            salt: salt.as_bytes(),
            cas: None,
        },
    };
    query(Method::Put { token, target: None, item: put })
}

fn big(seq: i64) -> Item {
    let value = [&b"996:"[..], &[b'x'; 996]].concat();
    Item::sign(&SecretKey::from_bytes(&[7; 32]), Salt::NONE, seq, &value).expect("it is sound")
}

fn unhurried(config: &mut Config) {
    config.queries_per_source = RateLimit::new(1_000_000, u32::MAX);
    (config.unverified_bytes, config.answer_bytes) = (u32::MAX, u32::MAX);
    (config.items.signature_checks, config.items.bad_signature_cost) = (u16::MAX, 0);
}

fn costs(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("item");
    let mut bench = Bench::new(unhurried);
    let item = big(1);
    let put = bench.put(host(1), &item, None);
    bench.answer(host(1), &put);
    assert_eq!(bench.node.item_count(), 1);
    let get = query(Method::Get { target: item.target(), seq: None, want: Want::NONE });
    assert!(bench.answer(host(1), &get) > 1200);
    group.bench_function("get", |b| b.iter(|| bench.answer(host(1), black_box(&get))));
    group.bench_function("put/the same again", |b| b.iter(|| bench.answer(host(1), black_box(&put))));
    let wrong = bench.put(host(1), &big(2), Some(&[9; 64]));
    group.bench_function("put/signature checked", |b| {
        b.iter(|| {
            bench.now = bench.now + Duration::from_millis(1);
            bench.answer(host(1), black_box(&wrong))
        });
    });
    let unverified = bench.node.stats().items.unchecked;
    assert_eq!(unverified, 0);
    let immutable: Vec<Vec<u8>> = (0..4096)
        .map(|index| {
            let value = [&b"996:"[..], format!("{index:0996}").as_bytes()].concat();
            bench.put(host(index), &Item::immutable(&value).expect("it is sound"), None)
        })
        .collect();
    let mut at = 0;
    group.bench_function("put/immutable into a full store", |b| {
        b.iter(|| {
            at = (at + 1) % immutable.len();
            bench.answer(host(at), black_box(&immutable[at]))
        });
    });
}

fn flood(criterion: &mut Criterion) {
    // The tokens are requested all at once, which the bound on all answers would prevent.
    let mut bench = Bench::new(|config| config.answer_bytes = u32::MAX);
    let item = big(5);
    let tokens: Vec<Vec<u8>> = (0..FLOODERS).map(|index| bench.token(host(index), item.target())).collect();
    // A received datagram is in the cache: the system has just written it there.
    let mut datagram = put(&item, &tokens[0], Some(&[9; 64]));
    let place = datagram.windows(7).position(|bytes| bytes == b"token8:").expect("a token") + 7;
    let find = query(Method::FindNode { target: NodeId::from_bytes([5; 20]), want: Want::NONE });
    let ping = query(Method::Ping);
    let mut at = 0;
    let mut one = |bench: &mut Bench| {
        at = (at + 1) % tokens.len();
        datagram[place..place + 8].copy_from_slice(&tokens[at]);
        bench.now = bench.now + Duration::from_secs(1) / FLOOD as u32;
        black_box(bench.answer(host(at), &datagram))
    };
    let mut asker = 0;
    let mut timed = |bench: &mut Bench| {
        // Timers are not part of the answer.
        bench.answer(host(300_000 + asker), &ping);
        asker = (asker + 1) % 10_000;
        let (from, begun) = (host(200_000 + asker), Clock::now());
        black_box(bench.answer(from, black_box(&find)));
        begun.elapsed()
    };

    let mut group = criterion.benchmark_group("ordinary");
    group.bench_function("quiet", |b| {
        b.iter_custom(|count| {
            let mut total = Duration::ZERO;
            for _ in 0..count {
                bench.now = bench.now + Duration::from_millis(1);
                total += timed(&mut bench);
            }
            total
        });
    });
    group.bench_function("flooded", |b| {
        b.iter_custom(|count| {
            let mut total = Duration::ZERO;
            for _ in 0..count {
                (0..BETWEEN).for_each(|_| _ = one(&mut bench));
                total += timed(&mut bench);
            }
            total
        });
    });
    group.finish();

    let mut group = criterion.benchmark_group("flood");
    group.throughput(Throughput::Elements(FLOOD as u64)).sample_size(10);
    group.bench_function("second", |b| {
        b.iter(|| (0..FLOOD).for_each(|_| _ = one(&mut bench)));
    });
    let (counts, puts) = (bench.node.stats().items, bench.node.stats().queries_in.put);
    // A filter may leave the flood out.
    assert!(counts.stored == 0 && (counts.checked > 0 || puts == 0), "{counts:?}");
    println!("signatures checked {}, puts sent on {}", counts.checked, counts.unchecked);
}

criterion_group!(benches, costs, flood);
criterion_main!(benches);
