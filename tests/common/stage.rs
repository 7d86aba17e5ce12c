//! One real node among scripted hosts, in virtual time: everything that the node sends is recorded
//! in parsed form, and what comes back is up to the test.
//!
//! A [`World`](dht_proto::sim::World) has many nodes and one way to drive them. Here one node is driven by
//! hand: in memory of any kind, with a system that refuses to send, with time that goes back, with commands
//! whose output is polled later.
#![allow(dead_code, unreachable_pub, reason = "every test uses a part of it")]
#![allow(clippy::unwrap_in_result, reason = "what fails here fails a test")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use dht_proto::stats::BloomFilter;
use dht_proto::wire::{
    Body, ErrorCode, ErrorReply, Message, Method, NodeWriter, PeerWriter, PutItem, Query, Response, Want,
};
use dht_proto::{
    Config, Event, Family, Heap, InfoHash, Instant, Limits, LookupId, LookupReport, MAX_DATAGRAM, Node,
    NodeId, Storage,
};

pub use crate::common::{addr, config};

/// The round-trip time, unless a host has another one.
pub const RTT: Duration = Duration::from_millis(80);

pub const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

pub const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A scripted host: by default an honest one that lists the eight hosts closest to any target.
pub struct Host {
    pub id: NodeId,
    /// Whether it answers with another id than it is listed with.
    pub calls_itself: Option<NodeId>,
    pub rtt: Duration,
    /// How long storing takes, in addition to the round trip.
    pub storing: Duration,
    pub is_dead: bool,
    /// Whether it ignores queries for items, as Transmission does.
    pub ignores_items: bool,
    /// How many queries to it are lost before one arrives.
    pub loses: u32,
    /// Whether other hosts list it.
    pub is_listed: bool,
    pub token: Option<Vec<u8>>,
    pub peers: Vec<SocketAddr>,
    /// The seeds and downloaders that it returns to scrapes (BEP 33).
    pub filters: Option<[BloomFilter; 2]>,
    /// The sample that it returns (BEP 51): interval, number and infohashes.
    pub sample: Option<(i64, i64, Vec<[u8; 20]>)>,
    /// The hosts that it lists instead of the closest.
    pub lists: Option<Vec<(NodeId, SocketAddr)>>,
    /// The error with which it answers announces.
    pub refuses_announces: Option<i64>,
    /// The error with which it answers everything.
    pub refuses: Option<i64>,
    /// Whether it answers with `ro` (BEP 43).
    pub read_only: bool,
    /// The external address that it reports to the node (BEP 42).
    pub sees: Option<SocketAddr>,
    /// The whole answer, in which `TTTT` stands for the transaction id.
    pub answers_with: Option<Vec<u8>>,
    /// Ports that were announced to it with one of its tokens.
    pub stored: Vec<u16>,
    /// The item that was put to it, or that a test gave it.
    pub item: Option<Copied>,
    /// Whether it refuses immutable puts without `seq`, as anacrolix/dht does.
    pub wants_seq: bool,
}

/// A query that the node sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    pub at: Instant,
    pub to: SocketAddr,
    pub id: NodeId,
    pub read_only: bool,
    pub transaction: Vec<u8>,
    pub what: What,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    Ping,
    FindNode(NodeId),
    GetPeers(InfoHash),
    Scrape(InfoHash),
    Sample(NodeId),
    Announce { infohash: InfoHash, port: u16, implied: bool, token: Vec<u8> },
    Get(NodeId),
    Put(Put),
    Other,
}

/// The arguments of a put of the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Put {
    pub target: Option<NodeId>,
    pub token: Vec<u8>,
    pub copy: Copied,
    pub salt: Vec<u8>,
    pub cas: Option<i64>,
    /// The sequence number in a put of an immutable item.
    pub stray_seq: Option<i64>,
}

/// An item as a host stores it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copied {
    pub value: Vec<u8>,
    /// Key, number and signature.
    pub signed: Option<([u8; 32], i64, [u8; 64])>,
}

pub struct Stage<S: Storage = Heap> {
    pub now: Instant,
    pub node: Node<S>,
    pub hosts: BTreeMap<SocketAddr, Host>,
    pub events: Vec<Event>,
    pub sent: Vec<Sent>,
    /// Answers of the node to queries of other hosts.
    pub replies: Vec<(SocketAddr, Vec<u8>)>,
    /// Every datagram that the node sent, with its destination.
    pub transcript: Vec<u8>,
    /// Whether the link of the node is down: nothing arrives anywhere.
    pub is_offline: bool,
    /// The percentage of datagrams that the node's own system refuses to send.
    pub refuses: u64,
    /// How many datagrams the system has refused.
    pub refused: usize,
    queue: BTreeMap<(Instant, u64), (SocketAddr, Vec<u8>)>,
    serial: u64,
}

impl Stage {
    pub fn new(config: Config) -> Self {
        Self::with_limits(config, &limits())
    }

    pub fn with_limits(config: Config, limits: &Limits) -> Self {
        let now = Instant::from_micros(1_000_000);
        Self::on(Node::new(config, limits, [7; 32], now), now)
    }

    /// Creates a node that has joined a DHT of `count` honest hosts, through the first few.
    pub fn joined(count: usize) -> Self {
        let mut stage = Self::new(config());
        stage.join(count);
        stage
    }
}

impl<S: Storage> Stage<S> {
    pub fn on(node: Node<S>, now: Instant) -> Self {
        Self {
            now,
            node,
            hosts: BTreeMap::new(),
            events: Vec::new(),
            sent: Vec::new(),
            replies: Vec::new(),
            transcript: Vec::new(),
            is_offline: false,
            refuses: 0,
            refused: 0,
            queue: BTreeMap::new(),
            serial: 0,
        }
    }

    /// Lets the node join a DHT of `count` new honest hosts, through the first few.
    pub fn join(&mut self, count: usize) {
        (1..=count).for_each(|index| self.host(index));
        for index in 1..=count.min(8) {
            self.node.add_node(self.now, addr(index)).unwrap();
        }
        self.run(secs(60));
        assert!(self.node.is_ready(Family::V4));
    }

    /// Adds an honest host with the [`addr`] and [`id`] of `index`.
    pub fn host(&mut self, index: usize) {
        self.hosts.insert(addr(index), Host::honest(id(index)));
    }

    pub fn at(&mut self, index: usize) -> &mut Host {
        self.at_addr(addr(index))
    }

    pub fn at_addr(&mut self, addr: SocketAddr) -> &mut Host {
        self.hosts.get_mut(&addr).expect("there is a host")
    }

    /// Does something with the node, and delivers what it sends.
    pub fn act<T>(&mut self, act: impl FnOnce(&mut Node<S>, Instant) -> T) -> T {
        let result = act(&mut self.node, self.now);
        self.drain();
        result
    }

    /// Delivers a datagram to the node.
    pub fn hear(&mut self, from: SocketAddr, datagram: &[u8]) {
        self.node.handle_datagram(self.now, from, datagram);
        self.drain();
    }

    /// Delivers a query from a host that is not on the stage, and returns the answer.
    pub fn ask(&mut self, from: SocketAddr, id: NodeId, method: Method<'_>) -> Option<Vec<u8>> {
        let mut buf = [0; MAX_DATAGRAM];
        let size = Message::new(b"aa", Body::Query(Query { id, method })).emit(&mut buf).unwrap();
        let before = self.replies.len();
        self.hear(from, &buf[..size]);
        self.replies[before..].iter().find(|(to, _)| *to == from).map(|(_, reply)| reply.clone())
    }

    pub fn run(&mut self, time: Duration) {
        let end = self.now + time;
        let mut steps = 0_u64;
        self.drain();
        while self.step(end) {
            steps += 1;
            assert!(steps < 5_000_000, "the node does not come to rest");
        }
        self.now = end;
    }

    /// Runs until a lookup has ended, and returns its report.
    pub fn finish(&mut self, lookup: LookupId) -> LookupReport {
        let end = self.now + secs(60);
        self.drain();
        loop {
            if let Some(report) = self.report(lookup) {
                return report;
            }
            assert!(self.step(end), "the lookup ends");
        }
    }

    pub fn report(&self, lookup: LookupId) -> Option<LookupReport> {
        self.events.iter().find_map(|event| match event {
            Event::LookupDone { lookup: id, report } if *id == lookup => Some(*report),
            _ => None,
        })
    }

    pub fn peers_of(&self, lookup: LookupId) -> Vec<SocketAddr> {
        let peers = self.events.iter().filter_map(|event| match event {
            Event::Peer { lookup: id, peer } if *id == lookup => Some(*peer),
            _ => None,
        });
        peers.collect()
    }

    /// Counts the queries of a kind that were sent from `since` on.
    pub fn count(&self, since: Instant, is_wanted: impl Fn(&Sent) -> bool) -> usize {
        self.sent.iter().filter(|sent| sent.at >= since && is_wanted(sent)).count()
    }

    /// Lets the next thing before `end` happen; returns false if nothing does.
    pub fn step(&mut self, end: Instant) -> bool {
        let timer = self.node.poll_timeout();
        let packet = self.queue.keys().next().copied();
        match packet {
            Some(key) if key.0 <= end && timer.is_none_or(|timer| key.0 <= timer) => {
                let (from, datagram) = self.queue.remove(&key).expect("it was there");
                self.now = self.now.max(key.0);
                if !self.is_offline {
                    self.node.handle_datagram(self.now, from, &datagram);
                }
            }
            _ => {
                let Some(due) = timer.filter(|due| *due <= end) else { return false };
                self.now = self.now.max(due);
                let refused = self.refused;
                self.node.handle_timeout(self.now);
                self.drain();
                let next = self.node.poll_timeout();
                // A refused datagram may leave something to do at once.
                let is_past = self.refused == refused && next.is_some_and(|next| next <= self.now);
                assert!(!is_past, "a drained node asks for the past");
            }
        }
        self.drain();
        true
    }

    pub fn drain(&mut self) {
        let mut buf = [0; MAX_DATAGRAM];
        loop {
            while let Some(transmit) = self.node.poll_transmit(self.now, &mut buf) {
                if self.is_refused() {
                    self.node.handle_unsent(self.now, transmit.destination);
                    continue;
                }
                self.transcript.extend_from_slice(transmit.destination.to_string().as_bytes());
                self.transcript.extend_from_slice(&buf[..transmit.size]);
                self.deliver(transmit.destination, &buf[..transmit.size]);
            }
            match self.node.poll_event() {
                Some(event) => self.events.push(event),
                None => return,
            }
        }
    }

    fn is_refused(&mut self) -> bool {
        if self.refuses == 0 {
            return false;
        }
        self.serial += 1;
        // The choice is the same in each run.
        let is_refused = self.serial.wrapping_mul(0x9e37_79b9_7f4a_7c15) / (1 << 32) % 100 < self.refuses;
        self.refused += usize::from(is_refused);
        is_refused
    }

    fn deliver(&mut self, to: SocketAddr, datagram: &[u8]) {
        let message = Message::parse(datagram).expect("the node sends well-formed messages");
        let Body::Query(query) = message.body else {
            return self.replies.push((to, datagram.to_vec()));
        };
        let what = match query.method {
            Method::Ping => What::Ping,
            Method::FindNode { target, .. } => What::FindNode(target),
            Method::GetPeers { infohash, scrape: true, .. } => What::Scrape(infohash),
            Method::GetPeers { infohash, .. } => What::GetPeers(infohash),
            Method::SampleInfohashes { target, .. } => What::Sample(target),
            Method::AnnouncePeer { infohash, port, implied_port: implied, token, .. } => {
                What::Announce { infohash, port, implied, token: token.to_vec() }
            }
            Method::Get { target, .. } => What::Get(target),
            Method::Put { token, target, item } => What::Put(Put::new(token, target, &item)),
            _ => What::Other,
        };
        let (at, id, read_only) = (self.now, query.id, message.read_only);
        let transaction = message.transaction.to_vec();
        self.sent.push(Sent { at, to, id, read_only, transaction, what: what.clone() });
        if self.is_offline {
            return;
        }
        if let Some((rtt, answer)) = self.answer(to, message.transaction, &what) {
            self.serial += 1;
            self.queue.insert((self.now + rtt, self.serial), (to, answer));
        }
    }

    fn answer(&mut self, at: SocketAddr, transaction: &[u8], what: &What) -> Option<(Duration, Vec<u8>)> {
        let target = match what {
            What::FindNode(target) | What::Get(target) | What::Sample(target) => *target,
            What::GetPeers(infohash) | What::Scrape(infohash) => NodeId::from_bytes(*infohash.as_bytes()),
            _ => NodeId::ZERO,
        };
        let lists_hosts = !matches!(what, What::Ping | What::Announce { .. } | What::Put(_) | What::Other);
        let closest = if lists_hosts { self.closest_hosts(target, at) } else { Vec::new() };
        let host = self.hosts.get_mut(&at).filter(|host| !host.is_dead)?;
        if host.ignores_items && matches!(what, What::Get(_) | What::Put(_)) {
            return None;
        }
        if host.loses > 0 {
            host.loses -= 1;
            return None;
        }
        if let Some(template) = &host.answers_with {
            let at = template.windows(4).position(|bytes| bytes == b"TTTT").expect("a transaction id");
            let mut answer = template.clone();
            answer[at..at + 4].copy_from_slice(transaction);
            return Some((host.rtt, answer));
        }
        let mut response = Response::new(host.calls_itself.unwrap_or(host.id));
        let (mut nodes_buf, mut peers_buf) = ([0; 1024], [0; 1024]);
        let mut refused = host.refuses;
        match what {
            What::FindNode(_) | What::GetPeers(_) | What::Get(_) | What::Scrape(_) | What::Sample(_) => {
                let mut nodes = NodeWriter::new(Family::V4, &mut nodes_buf);
                for (id, addr) in host.lists.as_ref().unwrap_or(&closest) {
                    nodes.push(id, *addr);
                }
                response.nodes = Some(nodes.finish());
            }
            What::Announce { port, token, .. } => {
                refused = refused.or(host.refuses_announces);
                if host.token.as_ref() != Some(token) {
                    refused = refused.or(Some(203));
                } else if refused.is_none() && !host.stored.contains(port) {
                    host.stored.push(*port);
                }
            }
            What::Put(put) => {
                refused = refused.or(host.refuses_announces);
                if host.token.as_ref() != Some(&put.token) || (host.wants_seq && put.stray_seq.is_none()) {
                    refused = refused.or(Some(203));
                } else if refused.is_none() {
                    host.item = Some(put.copy.clone());
                }
            }
            What::Ping | What::Other => {}
        }
        if let (What::Scrape(_), Some([seeds, others])) = (what, &host.filters) {
            (response.seeds, response.peers) = (Some(seeds.as_bytes()), Some(others.as_bytes()));
        }
        if let (What::Sample(_), Some((interval, num, samples))) = (what, &host.sample) {
            (response.interval, response.num) = (Some(*interval), Some(*num));
            response.samples = Some(samples);
        }
        if let (What::Get(_), Some(Copied { value, signed })) = (what, &host.item) {
            response.value = Some(value);
            if let Some((key, seq, signature)) = signed {
                (response.key, response.seq, response.signature) = (Some(key), Some(*seq), Some(signature));
            }
        }
        if matches!(what, What::GetPeers(_) | What::Scrape(_) | What::Get(_)) {
            response.token = host.token.as_deref();
        }
        if matches!(what, What::GetPeers(_) | What::Scrape(_)) && !host.peers.is_empty() {
            let mut peers = PeerWriter::new(Family::V4, &mut peers_buf);
            host.peers.iter().for_each(|peer| assert!(peers.push(*peer)));
            response.values = Some(peers.finish());
        }
        let body = match refused {
            Some(code) => Body::Error(ErrorReply { code: ErrorCode(code), message: b"no" }),
            None => Body::Response(response),
        };
        let mut buf = [0; MAX_DATAGRAM];
        let (read_only, requester) = (host.read_only, host.sees);
        let message = Message { read_only, requester, ..Message::new(transaction, body) };
        let size = message.emit(&mut buf).expect("answers are short");
        let stores = matches!(what, What::Announce { .. } | What::Put(_));
        let storing = if stores { host.storing } else { Duration::ZERO };
        Some((host.rtt + storing, buf[..size].to_vec()))
    }

    /// Returns the eight listed hosts that are closest to a target, without the queried one.
    pub fn closest_hosts(&self, target: NodeId, without: SocketAddr) -> Vec<(NodeId, SocketAddr)> {
        let listed = self.hosts.iter().filter(|(addr, host)| host.is_listed && **addr != without);
        let mut hosts: Vec<_> = listed.map(|(addr, host)| (host.id, *addr)).collect();
        hosts.sort_by_cached_key(|(id, _)| id.distance(&target));
        hosts.truncate(8);
        hosts
    }

    /// Returns the hosts by their distance to a torrent, closest first.
    pub fn closest_to(&self, torrent: InfoHash) -> Vec<SocketAddr> {
        self.closest_hosts(torrent.into(), addr(0)).into_iter().map(|(_, addr)| addr).collect()
    }
}

impl Host {
    pub fn honest(id: NodeId) -> Self {
        Self {
            id,
            calls_itself: None,
            rtt: RTT,
            storing: Duration::ZERO,
            is_dead: false,
            ignores_items: false,
            loses: 0,
            is_listed: true,
            token: Some(b"token".to_vec()),
            peers: Vec::new(),
            filters: None,
            sample: None,
            lists: None,
            refuses_announces: None,
            refuses: None,
            read_only: false,
            sees: None,
            answers_with: None,
            stored: Vec::new(),
            item: None,
            wants_seq: false,
        }
    }
}

impl Put {
    fn new(token: &[u8], target: Option<NodeId>, item: &PutItem<'_>) -> Self {
        let (copy, salt, cas, stray_seq) = match *item {
            PutItem::Immutable { value, seq } => {
                (Copied { value: value.to_vec(), signed: None }, Vec::new(), None, seq)
            }
            PutItem::Mutable { value, key, seq, signature, salt, cas } => {
                let signed = Some((*key, seq, *signature));
                (Copied { value: value.to_vec(), signed }, salt.to_vec(), cas, None)
            }
        };
        Self { target, token: token.to_vec(), copy, salt, cas, stray_seq }
    }
}

impl Sent {
    pub const fn put(&self) -> Option<&Put> {
        if let What::Put(put) = &self.what { Some(put) } else { None }
    }

    pub fn is_ping(&self) -> bool {
        self.what == What::Ping
    }

    pub fn is_get_peers(&self) -> bool {
        matches!(self.what, What::GetPeers(_))
    }

    pub fn is_find_node(&self) -> bool {
        matches!(self.what, What::FindNode(_))
    }

    pub fn is_announce(&self) -> bool {
        matches!(self.what, What::Announce { .. })
    }
}

/// Returns the id of the `index`-th host: spread evenly, as good as random.
pub fn id(index: usize) -> NodeId {
    let mut state = index as u64;
    let mut bytes = [0; 20];
    for chunk in bytes.chunks_mut(4) {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = state;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        chunk.copy_from_slice(&(word >> 32).to_be_bytes()[4..]);
    }
    NodeId::from_bytes(bytes)
}

/// Returns an id that shares the first `bits` bits with `id`, and differs in the next.
pub fn sibling(id: NodeId, bits: usize) -> NodeId {
    let mut bytes = *id.as_bytes();
    bytes[bits / 8] ^= 0x80 >> (bits % 8);
    NodeId::from_bytes(bytes)
}

pub fn infohash(byte: u8) -> InfoHash {
    InfoHash::from_bytes([byte; 20])
}

pub fn limits() -> Limits {
    let mut limits = Limits::default();
    (limits.swarms, limits.peers_v4, limits.peers_v6, limits.nodes_v6) = (64, 256, 0, 0);
    (limits.traversals, limits.events) = (16, 512);
    #[cfg(feature = "items")]
    {
        (limits.items.stored, limits.items.chunks, limits.items.own, limits.items.own_chunks) =
            (8, 32, 16, 128);
    }
    limits
}

pub const fn find_node(target: NodeId) -> Method<'static> {
    Method::FindNode { target, want: Want::NONE }
}
