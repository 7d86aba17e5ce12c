//! A single node driven by hand-written datagrams, and an independent decoder of what it sends.

use std::net::SocketAddr;
use std::time::Duration;

use bencode_rs::{Value, parse_all};
use dht_proto::stats::Stats;
use dht_proto::{
    Config, Event, Family, InfoHash, Instant, Limits, Lookup, LookupId, LookupOptions, MAX_DATAGRAM, Node,
    NodeId, RateLimit,
};

/// The ids of the node under test.
pub const OWN: [u8; 20] = [0xaa; 20];
pub const OWN_V6: [u8; 20] = [0xa6; 20];
/// The id of another node, from BEP 5, and a target.
pub const ID: [u8; 20] = *b"abcdefghij0123456789";
pub const TARGET: [u8; 20] = *b"mnopqrstuvwxyz123456";

/// The bound of a datagram in BEP 32; one with a stored value may be as long as an Ethernet frame allows.
pub const MAX_SIZE: usize = 1024;

/// A node whose datagrams are all decoded and checked before a test sees them.
pub struct Lone {
    pub node: Node,
    pub now: Instant,
    /// The queries that the node sent, oldest first, until a test takes them.
    pub queries: Vec<Packet>,
    /// The events of the node, likewise.
    pub events: Vec<Event>,
}

/// A datagram that the node sent.
#[derive(Clone, Debug)]
pub struct Packet {
    pub to: SocketAddr,
    pub bytes: Vec<u8>,
    root: Value,
}

/// A configuration for both families, with fixed ids.
pub fn config() -> Config {
    let mut config = Config::default();
    (config.id, config.id_v6) = (Some(NodeId::from_bytes(OWN)), Some(NodeId::from_bytes(OWN_V6)));
    config
}

/// A configuration without limits on the queries of one host and the answers to it.
pub fn unhurried() -> Config {
    let mut config = config();
    config.queries_per_source = RateLimit::new(1_000_000, 1_000_000);
    (config.unverified_bytes, config.answer_bytes) = (u32::MAX, u32::MAX);
    config
}

/// A configuration in which no answer to an unverified host is longer than three times its query.
pub fn stingy() -> Config {
    let mut config = unhurried();
    config.unverified_bytes = 0;
    config
}

pub fn limits() -> Limits {
    let mut limits = super::limits();
    limits.nodes_v6 = 400;
    limits
}

impl Lone {
    pub fn new(config: Config) -> Self {
        Self::with_limits(config, &limits())
    }

    pub fn with_limits(config: Config, limits: &Limits) -> Self {
        let now = Instant::from_micros(1_000_000);
        let node = Node::new(config, limits, [3; 32], now);
        Self { node, now, queries: Vec::new(), events: Vec::new() }
    }

    /// Passes in a datagram and returns the answers of the node; its own queries go to the log.
    pub fn receive(&mut self, from: SocketAddr, datagram: &[u8]) -> Vec<Packet> {
        self.node.handle_datagram(self.now, from, datagram);
        self.drain()
    }

    /// Returns the only answer to a query, of any kind.
    #[track_caller]
    pub fn ask(&mut self, from: SocketAddr, query: &[u8]) -> Packet {
        let mut replies = self.receive(from, query);
        assert_eq!(replies.len(), 1, "one answer to {}", query.escape_ascii());
        let reply = replies.remove(0);
        assert_eq!(reply.to, canonical(from));
        reply
    }

    /// Returns the only answer to a query, which must not be an error.
    #[track_caller]
    pub fn accepted(&mut self, from: SocketAddr, query: &[u8]) -> Packet {
        let reply = self.ask(from, query);
        assert_eq!(reply.kind(), b'r', "{} to {}", reply.bytes.escape_ascii(), query.escape_ascii());
        reply
    }

    /// Returns the code of the error that answers a query.
    #[track_caller]
    pub fn refused(&mut self, from: SocketAddr, query: &[u8]) -> i64 {
        let reply = self.ask(from, query);
        assert_eq!(reply.kind(), b'e', "{} to {}", reply.bytes.escape_ascii(), query.escape_ascii());
        reply.int("e.0").expect("a code")
    }

    /// Passes in a datagram that must not be answered.
    #[track_caller]
    pub fn ignored(&mut self, from: SocketAddr, datagram: &[u8]) {
        let replies = self.receive(from, datagram);
        assert!(replies.is_empty(), "{} to {}", replies[0].bytes.escape_ascii(), datagram.escape_ascii());
    }

    /// Lets time pass, with all timers.
    pub fn wait(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(due) = self.node.poll_timeout().filter(|&due| due <= end) {
            self.now = self.now.max(due);
            self.node.handle_timeout(self.now);
            assert!(self.drain().is_empty(), "there is no answer without a query");
            let next = self.node.poll_timeout();
            assert!(next.is_none_or(|next| next > self.now), "a drained node has a deadline in the past");
        }
        self.now = end;
    }

    /// Polls everything that the node sends; queries go to the log.
    pub fn drain(&mut self) -> Vec<Packet> {
        let mut buf = [0; MAX_DATAGRAM];
        let mut replies = Vec::new();
        while let Some(transmit) = self.node.poll_transmit(self.now, &mut buf) {
            let packet = Packet::checked(transmit.destination, &buf[..transmit.size]);
            if packet.kind() == b'q' { self.queries.push(packet) } else { replies.push(packet) }
        }
        self.events.extend(std::iter::from_fn(|| self.node.poll_event()));
        replies
    }

    /// Returns the only query that was sent since the log was last taken.
    #[track_caller]
    pub fn query(&mut self) -> Packet {
        assert!(self.drain().is_empty());
        assert_eq!(self.queries.len(), 1, "{:?}", self.queries);
        self.queries.remove(0)
    }

    /// Adds nodes to the table: each is pinged and answers.
    pub fn meet(&mut self, nodes: impl IntoIterator<Item = ([u8; 20], SocketAddr)>) {
        for (id, addr) in nodes {
            self.node.add_node(self.now, addr).expect("room for a ping");
            assert!(self.drain().is_empty());
            let at = self.queries.iter().rposition(|query| query.to == addr).expect("it is pinged");
            let ping = self.queries.remove(at);
            self.ignored(addr, &ping.answer(&id, b""));
        }
        self.queries.clear();
        self.events.clear();
    }

    /// Returns the token for a host and a torrent.
    #[track_caller]
    pub fn token(&mut self, from: SocketAddr, infohash: &[u8; 20]) -> Vec<u8> {
        let reply = self.accepted(from, &get_peers(infohash, b""));
        reply.string("r.token").expect("a token").to_vec()
    }

    /// Announces a peer at its own port, with a valid token.
    #[track_caller]
    pub fn store(&mut self, peer: SocketAddr, infohash: &[u8; 20]) {
        let token = self.token(peer, infohash);
        self.accepted(peer, &announce(infohash, peer.port().into(), &token));
    }

    pub fn stored(&self, infohash: &[u8; 20]) -> Vec<SocketAddr> {
        self.node.stored_peers(InfoHash::from_bytes(*infohash)).collect()
    }

    /// Starts a lookup that queries one node only, and returns it with its query.
    #[track_caller]
    pub fn ask_only(&mut self, lookup: Lookup, to: SocketAddr) -> (LookupId, Packet) {
        let mut options = LookupOptions::default();
        options.only = Some(to);
        let id = self.node.lookup(self.now, lookup, &options).expect("a free slot");
        (id, self.query())
    }

    /// Returns the peers that lookups reported since events were last taken.
    pub fn found(&mut self) -> Vec<SocketAddr> {
        let peers = self.events.iter().filter_map(|event| match event {
            Event::Peer { peer, .. } => Some(*peer),
            _ => None,
        });
        let peers = peers.collect();
        self.events.clear();
        peers
    }

    /// Whether exactly this node is in the routing table.
    pub fn knows(&self, id: &[u8; 20], addr: SocketAddr) -> bool {
        let family = Family::of(&addr);
        self.node.nodes(family).any(|node| node.id.as_bytes() == id && node.addr == addr)
    }

    pub fn stats(&self) -> &Stats {
        self.node.stats()
    }
}

impl Packet {
    /// Reads a datagram with a decoder that shares nothing with the crate, and checks what holds
    /// for every datagram that leaves a node.
    #[track_caller]
    pub fn checked(to: SocketAddr, bytes: &[u8]) -> Self {
        let text = bytes.escape_ascii();
        let mut values = parse_all(bytes).expect("bencode");
        assert_eq!(values.len(), 1, "E-05: nothing follows the message: {text}");
        let packet = Self { to, bytes: bytes.to_vec(), root: values.remove(0) };
        let has_value = ["r.v", "a.v"].iter().any(|value| packet.at(value).is_some());
        let most = if !has_value {
            MAX_SIZE
        } else if to.is_ipv4() {
            1472
        } else {
            1452
        };
        assert!(bytes.len() <= most, "E-30: {} bytes", bytes.len());
        let mut again = Vec::new();
        encode(&packet.root, &mut again);
        assert_eq!(again, bytes, "E-01: not canonical: {text}");

        assert_ne!(to.port(), 0, "E-04");
        assert_eq!(packet.string("v").map(<[u8]>::len), Some(4), "E-18, E-27: {text}");
        assert!(packet.string("t").is_some_and(|t| !t.is_empty()), "E-13: {text}");
        match packet.kind() {
            b'q' => {
                assert_eq!(packet.string("t").map(<[u8]>::len), Some(4), "E-17: {text}");
                assert_eq!(packet.string("a.id").map(<[u8]>::len), Some(20), "{text}");
                assert_eq!(packet.string("ip"), None, "{text}");
            }
            b'r' => {
                assert_eq!(packet.string("r.id").map(<[u8]>::len), Some(20), "{text}");
                assert_eq!(packet.string("ip"), Some(&compact(to)[..]), "B42-06: {text}");
                for (list, size) in [("r.nodes", 26), ("r.nodes6", 38)] {
                    let len = packet.string(list).unwrap_or_default().len();
                    assert!(len.is_multiple_of(size) && len <= 8 * size, "B5-06, B5-07: {list} of {len}");
                }
                let size = if to.is_ipv4() { 6 } else { 18 };
                assert!(packet.values().iter().all(|peer| peer.len() == size), "B32-12: {text}");
            }
            b'e' => {
                assert_eq!(packet.string("ip"), Some(&compact(to)[..]), "B42-06: {text}");
                assert!(packet.int("e.0").is_some() && packet.string("e.1").is_some(), "{text}");
            }
            _ => panic!("E-14: {text}"),
        }
        packet
    }

    /// `q`, `r` or `e`.
    pub fn kind(&self) -> u8 {
        match self.string("y") {
            Some([kind]) => *kind,
            other => panic!("no kind: {other:?}"),
        }
    }

    /// Returns the value at a path of keys and positions, such as `e.0`.
    pub fn at(&self, path: &str) -> Option<&Value> {
        path.split('.').try_fold(&self.root, |value, step| match value {
            Value::Dictionary(entries) => {
                let key = Value::ByteString(step.as_bytes().to_vec());
                entries.iter().find(|(name, _)| *name == key).map(|(_, value)| value)
            }
            Value::List(members) => members.get(step.parse::<usize>().ok()?),
            _ => None,
        })
    }

    pub fn string(&self, path: &str) -> Option<&[u8]> {
        match self.at(path) {
            Some(Value::ByteString(bytes)) => Some(bytes),
            _ => None,
        }
    }

    pub fn int(&self, path: &str) -> Option<i64> {
        match self.at(path) {
            Some(Value::Integer(value)) => Some(*value),
            _ => None,
        }
    }

    /// Returns the name of the method of a query.
    pub fn method(&self) -> &str {
        str::from_utf8(self.string("q").expect("a query")).expect("ASCII")
    }

    /// Returns the compact peers of a reply.
    pub fn values(&self) -> Vec<Vec<u8>> {
        let Some(Value::List(members)) = self.at("r.values") else { return Vec::new() };
        let peers = members.iter().map(|member| match member {
            Value::ByteString(bytes) => bytes.clone(),
            other => panic!("no peer: {other:?}"),
        });
        peers.collect()
    }

    /// Returns the ids in `nodes`.
    pub fn nodes(&self) -> Vec<[u8; 20]> {
        ids(self.string("r.nodes").unwrap_or_default(), 26)
    }

    /// Returns the ids in `nodes6`.
    pub fn nodes6(&self) -> Vec<[u8; 20]> {
        ids(self.string("r.nodes6").unwrap_or_default(), 38)
    }

    /// Returns a reply to this query, with more fields after the id.
    pub fn answer(&self, id: &[u8; 20], fields: &[u8]) -> Vec<u8> {
        let t = self.string("t").expect("a query has one");
        join(&[b"d1:rd2:id20:", id, fields, b"e1:t4:", t, b"1:y1:re"])
    }

    /// Returns an error that refuses this query; `e` is bencoded.
    pub fn error(&self, e: &[u8]) -> Vec<u8> {
        let t = self.string("t").expect("a query has one");
        join(&[b"d1:e", e, b"1:t4:", t, b"1:y1:ee"])
    }
}

/// Concatenates the pieces of a datagram.
pub fn join(pieces: &[&[u8]]) -> Vec<u8> {
    pieces.concat()
}

/// Returns a query with transaction `aa`, its arguments bencoded after the id.
pub fn query(name: &str, arguments: &[u8]) -> Vec<u8> {
    query_by(&ID, b"aa", name, arguments)
}

pub fn query_by(id: &[u8; 20], t: &[u8], name: &str, arguments: &[u8]) -> Vec<u8> {
    let (q, t_len) = (format!("e1:q{}:{name}1:t", name.len()), format!("{}:", t.len()));
    join(&[b"d1:ad2:id20:", id, arguments, q.as_bytes(), t_len.as_bytes(), t, b"1:y1:qe"])
}

pub fn find_node(target: &[u8; 20], more: &[u8]) -> Vec<u8> {
    query("find_node", &join(&[b"6:target20:", target, more]))
}

pub fn get_peers(infohash: &[u8; 20], more: &[u8]) -> Vec<u8> {
    query("get_peers", &join(&[b"9:info_hash20:", infohash, more]))
}

pub fn announce(infohash: &[u8; 20], port: i64, token: &[u8]) -> Vec<u8> {
    announce_with(b"", infohash, format!("4:porti{port}e").as_bytes(), token)
}

/// Returns an announce with arguments before the infohash, and between it and the token.
pub fn announce_with(first: &[u8], infohash: &[u8; 20], middle: &[u8], token: &[u8]) -> Vec<u8> {
    let len = format!("5:token{}:", token.len());
    query("announce_peer", &join(&[first, b"9:info_hash20:", infohash, middle, len.as_bytes(), token]))
}

/// Returns a compact node list under its key.
pub fn node_list(nodes: &[([u8; 20], SocketAddr)]) -> Vec<u8> {
    let v4 = nodes.first().is_none_or(|(_, addr)| addr.is_ipv4());
    let packed: Vec<u8> = nodes.iter().flat_map(|(id, addr)| [&id[..], &compact(*addr)].concat()).collect();
    let key = if v4 { "5:nodes" } else { "6:nodes6" };
    [format!("{key}{}:", packed.len()).as_bytes(), &packed].concat()
}

/// Returns a list of compact peers under its key.
pub fn value_list(peers: &[SocketAddr]) -> Vec<u8> {
    let members = peers.iter().map(|&peer| {
        let peer = compact(peer);
        [format!("{}:", peer.len()).as_bytes(), &peer].concat()
    });
    [b"6:valuesl".to_vec(), members.collect::<Vec<_>>().concat(), b"e".to_vec()].concat()
}

/// Returns an address and port in 6 or 18 bytes.
pub fn compact(addr: SocketAddr) -> Vec<u8> {
    let port = addr.port().to_be_bytes();
    match addr {
        SocketAddr::V4(addr) => [&addr.ip().octets()[..], &port].concat(),
        SocketAddr::V6(addr) => [&addr.ip().octets()[..], &port].concat(),
    }
}

pub fn socket(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

/// Returns the address of the `index`-th IPv6 host, each in a subnet of its own.
pub fn addr6(index: usize) -> SocketAddr {
    SocketAddr::from(([0x2a00, index as u16 + 1, 0, 0, 0, 0, 0, 1], 6881))
}

/// Returns the `index`-th of many ids, evenly spread.
pub fn spread(index: usize) -> [u8; 20] {
    let mut id = [0x11; 20];
    (id[0], id[1], id[2]) = ((index * 37) as u8, (index >> 8) as u8, index as u8);
    id
}

/// Returns `count` nodes of one family.
pub fn crowd(family: Family, count: usize) -> impl Iterator<Item = ([u8; 20], SocketAddr)> {
    (0..count).map(move |index| match family {
        Family::V4 => (spread(index), super::addr(index)),
        Family::V6 => (spread(index), addr6(index)),
    })
}

/// Converts an IPv4-mapped address to IPv4.
pub fn canonical(addr: SocketAddr) -> SocketAddr {
    SocketAddr::new(addr.ip().to_canonical(), addr.port())
}

fn ids(packed: &[u8], size: usize) -> Vec<[u8; 20]> {
    packed.chunks_exact(size).map(|node| *node.first_chunk().expect("20 bytes")).collect()
}

/// Encodes a value as canonical bencode, to compare it with what was sent. Keys out of order fail here.
fn encode(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Integer(value) => out.extend(format!("i{value}e").bytes()),
        Value::ByteString(bytes) => {
            out.extend(format!("{}:", bytes.len()).bytes());
            out.extend(bytes);
        }
        Value::List(members) => {
            out.push(b'l');
            members.iter().for_each(|member| encode(member, out));
            out.push(b'e');
        }
        Value::Dictionary(entries) => {
            assert!(entries.is_sorted_by(|(a, _), (b, _)| a < b), "keys are sorted and unique");
            out.push(b'd');
            for (key, value) in entries {
                assert!(matches!(key, Value::ByteString(_)), "a key is a string");
                encode(key, out);
                encode(value, out);
            }
            out.push(b'e');
        }
    }
}
