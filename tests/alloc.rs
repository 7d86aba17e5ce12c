//! Memory of a node: nothing is allocated after its creation, and its size is bounded.
#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::mem::size_of;
use std::net::SocketAddr;
use std::time::Duration;

use common::{addr, config};
#[cfg(feature = "items")]
use dht_proto::items::{Item, Salt, SecretKey};
use dht_proto::wire::{Body, Message, Method, NodeWriter, PeerWriter, Query, Response, Want};
#[cfg(feature = "items")]
use dht_proto::wire::{MAX_VALUE_LEN, PutItem};
use dht_proto::{
    Announce, BootstrapKind, Config, Family, Fixed, InfoHash, Instant, Limits, MAX_DATAGRAM, Node, NodeId,
    Storage,
};

/// Counts the calls of each thread to the system's allocator.
struct Counting;

thread_local! {
    static CALLS: Cell<u64> = const { Cell::new(0) };
}

fn count() {
    CALLS.with(|calls| calls.set(calls.get() + 1));
}

// SAFETY: every call is passed on unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        unsafe { System.realloc(ptr, layout, size) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        count();
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Counts the calls of `act` to the allocator.
fn calls<T>(act: impl FnOnce() -> T) -> (u64, T) {
    let before = CALLS.get();
    let result = act();
    (CALLS.get() - before, result)
}

/// A network that answers most queries of the node. It is not a world of the simulator, because what that
/// allocates would be counted.
struct Crowd<S: Storage> {
    node: Node<S>,
    now: Instant,
    rng: u64,
    /// Answers to queries of the node, on their way to it.
    answers: [(SocketAddr, usize, [u8; MAX_DATAGRAM]); 64],
    len: usize,
    sent: u64,
    events: u64,
    /// Items that both sides store and look up (BEP 44).
    #[cfg(feature = "items")]
    items: [Item; ITEMS],
    /// Items that were found.
    #[cfg(feature = "items")]
    found: u64,
}

impl<S: Storage> Crowd<S> {
    fn new(node: Node<S>) -> Self {
        Self {
            node,
            now: Instant::from_micros(1),
            rng: 1,
            answers: [(addr(0), 0, [0; MAX_DATAGRAM]); 64],
            len: 0,
            sent: 0,
            events: 0,
            #[cfg(feature = "items")]
            items: items(),
            #[cfg(feature = "items")]
            found: 0,
        }
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.rng = self.rng.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.rng >> 33) % bound
    }

    fn id(&mut self) -> NodeId {
        NodeId::from_bytes(std::array::from_fn(|_| self.below(256) as u8))
    }

    fn host(&mut self) -> SocketAddr {
        addr(self.below(2000) as usize)
    }

    /// Returns the id of a host.
    fn id_of(host: SocketAddr) -> NodeId {
        let SocketAddr::V4(host) = host else { return NodeId::ZERO };
        let mut hash = u64::from(host.ip().to_bits());
        NodeId::from_bytes(std::array::from_fn(|_| {
            hash = (hash ^ (hash >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            (hash >> 56) as u8
        }))
    }

    fn deliver(&mut self, from: SocketAddr, message: &Message<'_>) {
        let mut bytes = [0; 1500];
        let len = message.emit(&mut bytes).expect("it fits");
        self.node.handle_datagram(self.now, from, &bytes[..len]);
    }

    /// Sends everything the node has to send; nine of ten hosts answer.
    fn drain(&mut self) {
        let mut buf = [0; MAX_DATAGRAM];
        while let Some(transmit) = self.node.poll_transmit(self.now, &mut buf) {
            self.sent += 1;
            let message = Message::parse(&buf[..transmit.size]).expect("it parses");
            let Body::Query(query) = message.body else { continue };
            if self.len == self.answers.len() || transmit.destination.port() != 6881 || self.below(10) == 0 {
                continue;
            }
            let (mut nodes, mut peers) = ([0; 8 * 26], [0; 4 * 6]);
            let mut nodes = NodeWriter::new(Family::V4, &mut nodes);
            let mut peers = PeerWriter::new(Family::V4, &mut peers);
            for _ in 0..8 {
                let host = self.host();
                nodes.push(&Self::id_of(host), host);
            }
            peers.push(self.host());
            #[cfg(feature = "items")]
            let key;
            let mut response = Response::new(Self::id_of(transmit.destination));
            match query.method {
                Method::FindNode { .. } => response.nodes = Some(nodes.finish()),
                Method::GetPeers { .. } => {
                    (response.nodes, response.values) = (Some(nodes.finish()), Some(peers.finish()));
                    response.token = Some(b"a token");
                }
                #[cfg(feature = "items")]
                Method::Get { target, .. } => {
                    response.nodes = Some(nodes.finish());
                    response.token = Some(b"a token");
                    // One of two versions, and rarely a forgery.
                    let (first, is_forged) = (self.below(ITEMS as u64) as usize, self.below(16) == 0);
                    let mut items = self.items.iter().cycle().skip(first).take(ITEMS);
                    if let Some(item) = items.find(|item| item.target() == target) {
                        (response.value, response.seq) = (Some(item.value()), item.seq());
                        key = item.key().map(|key| *key.as_bytes());
                        response.key = key.as_ref();
                        response.signature = if is_forged { Some(&[9; 64]) } else { item.signature() };
                    }
                }
                _ => {}
            }
            let answer = Message::new(message.transaction, Body::Response(response));
            let mail = &mut self.answers[self.len];
            (mail.0, mail.1) = (transmit.destination, answer.emit(&mut mail.2).expect("it fits"));
            self.len += 1;
        }
        while self.node.poll_event().is_some() {
            self.events += 1;
        }
    }

    /// Lets time pass: timers fire, and answers arrive.
    fn tick(&mut self, time: Duration) {
        self.now = self.now + time;
        self.node.handle_timeout(self.now);
        self.drain();
        for at in 0..std::mem::take(&mut self.len) {
            let (from, len, bytes) = self.answers[at];
            self.node.handle_datagram(self.now, from, &bytes[..len]);
        }
        self.drain();
    }

    /// Sends a query of a host to the node, and returns the token in the answer, if there is one.
    fn ask(&mut self, from: SocketAddr, method: Method<'_>) -> Option<[u8; 8]> {
        let id = Self::id_of(from);
        self.deliver(from, &Message::new(b"abcd", Body::Query(Query { id, method })));
        let (mut buf, mut token) = ([0; MAX_DATAGRAM], None);
        while let Some(transmit) = self.node.poll_transmit(self.now, &mut buf) {
            self.sent += 1;
            let message = Message::parse(&buf[..transmit.size]).expect("it parses");
            if let Body::Response(response) = message.body {
                token = response.token.and_then(|token| token.try_into().ok()).or(token);
            }
        }
        token
    }

    /// A host sends every query, announces itself and stores an item with the tokens that it
    /// received, and floods the node.
    fn load(&mut self) {
        let (from, target) = (self.host(), self.id());
        let infohash = InfoHash::from_bytes([self.below(40) as u8; 20]);
        let methods = [
            Method::Ping,
            Method::FindNode { target, want: Want::BOTH },
            Method::GetPeers { infohash, want: Want::NONE, noseed: false, scrape: true },
            Method::SampleInfohashes { target, want: Want::NONE },
        ];
        for method in methods {
            if let Some(token) = self.ask(from, method) {
                let (port, name) = (1 + self.below(60_000) as u16, None);
                let (implied_port, seed, token) = (false, false, &token[..]);
                self.ask(from, Method::AnnouncePeer { infohash, port, implied_port, seed, token, name });
            }
        }
        #[cfg(feature = "items")]
        self.store(from);
        let id = Self::id_of(from);
        for n in 0..60 {
            self.node.handle_datagram(self.now, from, &[b'd', b'1', n, b':', 0xff, 0, 0, 0, 0, 0, 0, n]);
            self.deliver(from, &Message::new(b"pq", Body::Query(Query { id, method: Method::Ping })));
        }
        self.drain();
    }

    /// Ten hours of everything that a node can do.
    fn run(&mut self) {
        for round in 0..2000_u64 {
            let host = self.host();
            let _ = self.node.add_node(self.now, host);
            let _ = self.node.add_bootstrap(self.now, host, BootstrapKind::Router);
            let query = self.node.ping(self.now, host);
            let target = self.id();
            let sampled = self.node.sample_infohashes(self.now, host, target);
            let lookup = match round % 4 {
                0 => self.node.find_node(self.now, target),
                3 => self.node.scrape(self.now, target.into()),
                1 => self.node.get_peers(self.now, target.into()),
                _ => self.node.announce(self.now, target.into(), Announce::port(6881)),
            };
            #[cfg(feature = "items")]
            self.publish(round);
            let kept = self.node.start_announcing(self.now, target.into(), Announce::port(6881));
            if round % 4 == 0 {
                self.drain();
                self.node.handle_unreachable(self.now, host);
            }
            for _ in 0..8 {
                self.tick(Duration::from_millis(50));
            }
            self.load();
            if let (Ok(query), 0) = (sampled, round % 11) {
                assert!(self.node.samples(query).count() <= 64);
                self.node.cancel_query(query);
            }
            if let (Ok(query), 0) = (query, round % 7) {
                self.node.cancel_query(query);
            }
            if let (Ok(lookup), 0) = (lookup, round % 5) {
                self.node.cancel(lookup);
            }
            if let (Ok(kept), 0) = (kept, round % 3) {
                assert!(self.node.stop_announcing(kept));
            }
            let listed = self.node.announcements().count();
            #[cfg(feature = "items")]
            let listed = listed + self.node.publications().count();
            assert_eq!(listed, self.node.publication_count());
            let closest = self.node.closest_nodes(target, Family::V4).count();
            let known = self.node.nodes(Family::V4).count();
            assert!(closest <= known);
            self.node.poll_timeout();
            self.tick(Duration::from_secs(18));
            if round % 500 == 499 {
                self.node.handle_resume(self.now, Duration::from_secs(3600));
                self.node.clear_peers();
            }
        }
    }
}

#[cfg(feature = "items")]
impl<S: Storage> Crowd<S> {
    /// A host gets and puts an item, sometimes with a wrong signature or in place of an older version.
    fn store(&mut self, from: SocketAddr) {
        let mut item = self.items[self.below(ITEMS as u64) as usize].clone();
        if self.below(2) == 0 {
            let mut value = *b"20:unlike all the rest.";
            value[3..].copy_from_slice(self.id().as_bytes());
            item = Item::immutable(&value).expect("it is valid");
        }
        let (target, seq) = (item.target(), (self.below(4) == 0).then_some(2));
        let Some(token) = self.ask(from, Method::Get { target, seq, want: Want::BOTH }) else { return };
        let is_forged = self.below(16) == 0;
        let cas = (self.below(4) == 0).then_some(1);
        let (value, key, salt) = (item.value(), item.key().map(|key| *key.as_bytes()), item.salt());
        let put = match (&key, item.seq(), item.signature()) {
            (Some(key), Some(seq), Some(sound)) => {
                let signature = if is_forged { &[9; 64] } else { sound };
                PutItem::Mutable { value, key, seq, signature, salt: salt.as_bytes(), cas }
            }
            _ => PutItem::Immutable { value, seq: None },
        };
        self.ask(from, Method::Put { token: &token, target: None, item: put });
    }

    /// The node looks up an item or puts it, and publishes it for a while.
    fn publish(&mut self, round: u64) {
        let item = self.items[round as usize % ITEMS].clone();
        let lookup = match item.key() {
            _ if round.is_multiple_of(3) => {
                self.node.put(self.now, &item, item.seq().filter(|_| round.is_multiple_of(2)))
            }
            Some(key) => self.node.get_mutable(self.now, key, item.salt()),
            None => self.node.get_immutable(self.now, item.target()),
        };
        let kept = self.node.start_publishing(self.now, &item);
        for _ in 0..8 {
            self.tick(Duration::from_millis(50));
        }
        if let Ok(lookup) = lookup {
            self.found += u64::from(self.node.item(lookup).is_some());
            self.node.cancel(lookup);
        }
        if let (Ok(kept), 0) = (kept, round % 7) {
            assert!(self.node.published_item(kept).is_some() && self.node.stop_publishing(kept));
        }
        assert_eq!(self.node.stored_items().count(), self.node.item_count());
        assert!(self.node.publications().count() < ITEMS, "two of them have one target");
        if round % 500 == 250 {
            self.node.clear_items();
        }
    }
}

#[cfg(feature = "items")]
const ITEMS: usize = 4;

/// Two versions of one item, the longest possible item, and an immutable one.
#[cfg(feature = "items")]
fn items() -> [Item; ITEMS] {
    let secret = SecretKey::from_bytes(&[9; 32]);
    let mut longest = [b'x'; MAX_VALUE_LEN];
    longest[..4].copy_from_slice(b"996:");
    [
        Item::sign(&secret, Salt::new(b"a salt").unwrap(), 1, b"5:first"),
        Item::sign(&secret, Salt::new(b"a salt").unwrap(), 2, b"6:second"),
        Item::sign(&secret, Salt::NONE, 7, &longest),
        Item::immutable(b"12:Hello World!"),
    ]
    .map(|item| item.expect("it is valid"))
}

#[test]
fn nothing_allocates_after_a_node_is_created() {
    let mut limits = Limits::default();
    (limits.inflight, limits.traversals, limits.swarms) = (64, 8, 16);
    (limits.nodes_v4, limits.sources, limits.peers_v4, limits.publications) = (120, 64, 200, 100);
    #[cfg(feature = "items")]
    {
        (limits.items.stored, limits.items.chunks, limits.items.own, limits.items.own_chunks) =
            (8, 12, 8, 40);
    }
    let (creation, node) = calls(|| Node::new(config(), &limits, [7; 32], Instant::ZERO));
    assert!(creation > 10, "the allocator counts");
    let mut crowd = Box::new(Crowd::new(node));
    let (count, ()) = calls(|| crowd.run());
    let stats = crowd.node.stats();
    println!("{} sent, {} events, {stats:#?}", crowd.sent, crowd.events);
    assert_eq!(count, 0, "calls of the allocator after creation");

    // Enough has happened for the test to mean something.
    assert!(crowd.node.node_count(Family::V4) > 60 && crowd.events > 5000);
    assert!(
        stats.responses_in.total() > 10_000
            && stats.timed_out > 1000
            && stats.queries_in.announce_peer > 1000
    );
    assert!(stats.queries_out.announce_peer > 1000 && stats.unreachable > 10);
    assert!(stats.queries_in.sample_infohashes > 1000 && stats.queries_out.sample_infohashes > 1000);
    #[cfg(feature = "items")]
    {
        let items = stats.items;
        assert!(items.stored > 100 && items.refreshed > 100 && items.evicted > 100);
        assert!(items.bad_signature > 10 && items.bad_find > 100);
        assert!(stats.queries_out.put > 1000 && crowd.found > 500, "{} found", crowd.found);
    }
    assert!(stats.dropped.malformed > 1000 && stats.dropped.rate > 1000 && stats.stalled > 1000);
}

#[test]
fn a_node_in_a_static_never_allocates_at_all() {
    const LIMITS: Limits = {
        let mut limits = Limits::CLIENT;
        (limits.traversals, limits.scrapes, limits.samplings) = (4, 1, 1);
        #[cfg(feature = "items")]
        {
            (limits.items.own, limits.items.own_chunks) = (8, 40);
        }
        limits
    };
    let mut memory = Box::new(<dht_proto::fixed!(LIMITS)>::new());
    let mut config = config();
    config.read_only = true;
    let mut crowd = Box::new(None);
    let (count, ()) = calls(|| {
        let node = Node::with_storage(config, &mut *memory, [7; 32], Instant::ZERO);
        *crowd = Some(Crowd::new(node));
        crowd.as_mut().as_mut().unwrap().run();
    });
    assert_eq!(count, 0);
    let crowd = crowd.unwrap();
    assert!(crowd.node.stats().responses_in.total() > 5000, "{:#?}", crowd.node.stats());
    assert!(crowd.node.node_count(Family::V4) > 30, "{}", crowd.node.node_count(Family::V4));
    assert!(crowd.node.stats().queries_out.sample_infohashes > 1000);
    #[cfg(feature = "items")]
    assert!(crowd.node.stats().queries_out.put > 1000 && crowd.found > 500, "{} found", crowd.found);
}

#[test]
fn a_node_is_small() {
    let core = size_of::<Node<&mut Fixed>>() - size_of::<&mut Fixed>();
    let client = core + size_of::<Fixed>();
    println!("core {core}, client {client}, config {}", size_of::<Config>());
    // The counters (432), the families (352) and the configuration (248) are most of it.
    assert!(core <= 2048, "the core takes {core} bytes");
    assert!(client <= 16 * 1024, "a read-only client takes {client} bytes");
}
