//! A node as a server: a full routing table, stored peers, and hosts that query it.

use std::collections::{BTreeMap, VecDeque};
use std::hint::black_box;
use std::net::SocketAddr;

use dht_proto::wire::{Body, Message, Method, NodeWriter, Query, Response, Want};
use dht_proto::{
    Config, Event, Family, InfoHash, Instant, Limits, LookupReport, MAX_DATAGRAM, Node, NodeId, RateLimit,
};

use crate::datagrams::{encode, host, query};

/// A fixed time: nothing ages, and no limit recovers during a measurement.
pub(crate) const NOW: Instant = Instant::from_micros(1_000_000);

/// The capacity of every bucket of a table of 400 nodes.
pub(crate) const BUCKETS: [usize; 24] =
    [128, 64, 32, 16, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8];

/// Hosts that send queries, each of which has responded to a ping.
pub(crate) const ASKERS: usize = 256;

/// Number of torrents with stored peers, and of peers in each.
pub(crate) const TORRENTS: usize = 256;
pub(crate) const PEERS: usize = 50;

/// Number of different queries, enough that the branch predictor does not learn them.
pub(crate) const QUERIES: usize = 4096;

pub(crate) const OWN: NodeId = NodeId::from_bytes(*b"the node we measure.");

/// A random number generator whose stream is the same in every run.
pub(crate) struct Rng(pub(crate) u64);

impl Rng {
    pub(crate) fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.roll() % bound as u64) as usize
    }

    pub(crate) fn id(&mut self) -> NodeId {
        let [a, b, c] = [self.roll(), self.roll(), self.roll()].map(u64::to_le_bytes);
        let mut bytes = [0; 20];
        bytes[..8].copy_from_slice(&a);
        bytes[8..16].copy_from_slice(&b);
        bytes[16..].copy_from_slice(&c[..4]);
        NodeId::from_bytes(bytes)
    }

    /// An id that shares exactly the first `bits` bits with `id`.
    pub(crate) fn id_in_bucket(&mut self, id: &NodeId, bits: usize) -> NodeId {
        let mut bytes = *self.id().as_bytes();
        for (at, (byte, own)) in bytes.iter_mut().zip(id.as_bytes()).enumerate() {
            let mask = !(0xff_u16 >> bits.saturating_sub(at * 8).min(8)) as u8;
            *byte = (*byte & !mask) | (own & mask);
        }
        let bit = 0x80 >> (bits % 8);
        bytes[bits / 8] = (bytes[bits / 8] & !bit) | (!id.as_bytes()[bits / 8] & bit);
        NodeId::from_bytes(bytes)
    }
}

pub(crate) fn find_node(target: NodeId) -> Method<'static> {
    Method::FindNode { target, want: Want::NONE }
}

pub(crate) fn get_peers(infohash: InfoHash) -> Method<'static> {
    Method::GetPeers { infohash, want: Want::NONE, noseed: false, scrape: false }
}

pub(crate) fn sample_infohashes(target: NodeId) -> Method<'static> {
    Method::SampleInfohashes { target, want: Want::NONE }
}

/// A node with the memory of a server, and without rate limits.
pub(crate) fn server() -> Node {
    let mut config = Config::default();
    (config.id, config.ipv6) = (Some(OWN), false);
    config.queries_per_source = RateLimit::new(1_000_000, u32::MAX);
    config.new_endpoints = RateLimit::new(1_000_000, u32::MAX);
    config.queries_per_node.per_sec = u32::MAX;
    (config.unverified_bytes, config.answer_bytes) = (u32::MAX, u32::MAX);
    let mut limits = Limits::default();
    limits.sources = 16_384;
    Node::new(config, &limits, [7; 32], NOW)
}

/// A node with a full table and stored peers, which the hosts that query it have verified.
pub(crate) struct Bench {
    pub(crate) node: Node,
    /// The hosts that send queries, in order of address.
    pub(crate) askers: Vec<(NodeId, SocketAddr)>,
    pub(crate) torrents: Vec<InfoHash>,
    pub(crate) rng: Rng,
    pub(crate) buf: [u8; MAX_DATAGRAM],
}

impl Bench {
    pub(crate) fn new() -> Self {
        let mut bench = Self {
            node: server(),
            askers: Vec::new(),
            torrents: Vec::new(),
            rng: Rng(1),
            buf: [0; MAX_DATAGRAM],
        };
        let mut hosts = (1..).map(host);
        for (bucket, &capacity) in BUCKETS.iter().enumerate() {
            for _ in 0..capacity {
                let id = bench.rng.id_in_bucket(&OWN, bucket);
                bench.meet(id, hosts.next().expect("endless"));
            }
        }
        assert_eq!(bench.node.node_count(Family::V4), 400, "the table is full");
        for addr in hosts.take(ASKERS) {
            let id = bench.rng.id();
            bench.meet(id, addr);
            bench.askers.push((id, addr));
        }
        assert_eq!(bench.node.node_count(Family::V4), 400);
        bench.torrents = (0..TORRENTS).map(|_| bench.rng.id().into()).collect();
        for at in 0..TORRENTS {
            for peer in 0..PEERS {
                bench.announce(bench.torrents[at], bench.askers[(at + peer * 5) % ASKERS]);
            }
            assert_eq!(bench.node.stored_peers(bench.torrents[at]).count(), PEERS);
        }
        bench
    }

    /// Pings a host, which responds.
    pub(crate) fn meet(&mut self, id: NodeId, addr: SocketAddr) {
        self.node.add_node(NOW, addr).expect("there is room");
        while let Some(transmit) = self.node.poll_transmit(NOW, &mut self.buf) {
            let ping = Message::parse(&self.buf[..transmit.size]).expect("it parses");
            let pong = encode(&Message::new(ping.transaction, Body::Response(Response::new(id))));
            assert_eq!(transmit.destination, addr);
            self.node.handle_datagram(NOW, addr, &pong);
        }
        while self.node.poll_event().is_some() {}
    }

    /// Announces a peer, which first requests a token.
    pub(crate) fn announce(&mut self, infohash: InfoHash, (id, addr): (NodeId, SocketAddr)) {
        let announce = self.announce_query(infohash, (id, addr));
        self.serve(addr, &announce);
    }

    /// Returns the announce of a peer, with a token that it requests here.
    pub(crate) fn announce_query(&mut self, infohash: InfoHash, (id, addr): (NodeId, SocketAddr)) -> Vec<u8> {
        let size = self.serve(addr, &query(id, get_peers(infohash)));
        let Body::Response(Response { token: Some(token), .. }) =
            Message::parse(&self.buf[..size]).expect("it parses").body
        else {
            panic!("an answer with a token")
        };
        let (port, implied_port, seed, name) = (6881, false, false, None);
        query(id, Method::AnnouncePeer { infohash, port, implied_port, seed, token, name })
    }

    /// Passes in one datagram as a caller does, and returns the length of the response.
    #[inline(never)]
    pub(crate) fn serve(&mut self, from: SocketAddr, datagram: &[u8]) -> usize {
        let mut size = 0;
        self.node.handle_datagram(NOW, from, datagram);
        while let Some(transmit) = self.node.poll_transmit(NOW, &mut self.buf) {
            size = transmit.size;
        }
        while self.node.poll_event().is_some() {}
        black_box(self.node.poll_timeout());
        size
    }

    pub(crate) fn queries(
        &mut self,
        mut method: impl FnMut(&mut Self) -> Method<'static>,
    ) -> Vec<(SocketAddr, Vec<u8>)> {
        let mut queries = Vec::new();
        for _ in 0..QUERIES {
            let (id, addr) = self.askers[self.rng.below(ASKERS)];
            let method = method(self);
            queries.push((addr, query(id, method)));
        }
        queries
    }
}

/// A network of honest nodes that respond at once, for lookups.
pub(crate) struct Network {
    pub(crate) nodes: BTreeMap<SocketAddr, NodeId>,
    /// Encoded responses, with the offset of their transaction id.
    pub(crate) answers: BTreeMap<(NodeId, SocketAddr), (Vec<u8>, usize)>,
}

impl Network {
    /// Creates a network of the nodes that a server knows, and `more` others.
    pub(crate) fn around(bench: &Bench, more: usize, rng: &mut Rng) -> Self {
        let known = bench.node.nodes(Family::V4).map(|node| (node.addr, node.id));
        let mut network = Self { nodes: known.collect(), answers: BTreeMap::new() };
        network.nodes.extend((2000..2000 + more).map(|index| (host(index), rng.id())));
        network
    }

    /// Runs a whole lookup of the server, and returns its report.
    pub(crate) fn lookup(&mut self, bench: &mut Bench, infohash: InfoHash) -> LookupReport {
        let mut queue = VecDeque::new();
        let lookup = bench.node.get_peers(NOW, infohash).expect("there is room");
        loop {
            while let Some(transmit) = bench.node.poll_transmit(NOW, &mut bench.buf) {
                let to = transmit.destination;
                queue.push_back((to, self.answer(to, &bench.buf[..transmit.size]).to_vec()));
            }
            while let Some(event) = bench.node.poll_event() {
                if let Event::LookupDone { lookup: done, report } = event
                    && done == lookup
                {
                    assert_eq!(report.failed, 0);
                    return report;
                }
            }
            black_box(bench.node.poll_timeout());
            let (from, answer) = queue.pop_front().expect("a lookup ends when all have answered");
            bench.node.handle_datagram(NOW, from, &answer);
        }
    }

    pub(crate) fn answer(&mut self, to: SocketAddr, datagram: &[u8]) -> &[u8] {
        let Message { transaction, body, .. } = Message::parse(datagram).expect("it parses");
        let target = match body {
            Body::Query(Query { method: Method::FindNode { target, .. }, .. }) => target,
            Body::Query(Query { method: Method::GetPeers { infohash, .. }, .. }) => infohash.into(),
            other => panic!("not asked by a lookup: {other:?}"),
        };
        let (bytes, at) = self.answers.entry((target, to)).or_insert_with(|| {
            // Nobody knows the whole network: each node a share of its own, and those near itself.
            let id = self.nodes[&to];
            let knows = |&(addr, other): &(&SocketAddr, &NodeId)| {
                let share = addr.port() ^ to.port() ^ u16::from(other.as_bytes()[19] ^ id.as_bytes()[19]);
                share.is_multiple_of(16) || id.common_prefix_len(other) >= 6
            };
            let mut known: Vec<_> = self.nodes.iter().filter(knows).collect();
            known.sort_by_key(|(_, id)| id.distance(&target));
            let mut packed = [0; 8 * 26];
            let mut nodes = NodeWriter::new(Family::V4, &mut packed);
            known.iter().take(8).for_each(|(addr, id)| assert!(nodes.push(id, **addr)));
            let response =
                Response { nodes: Some(nodes.finish()), token: Some(b"aoeusnth"), ..Response::new(id) };
            let bytes = encode(&Message::new(b"TXID", Body::Response(response)));
            let at = bytes.windows(4).rposition(|window| window == b"TXID").expect("it is there");
            (bytes, at)
        });
        bytes[*at..*at + 4].copy_from_slice(transaction);
        bytes
    }
}
