//! A node under direct attack, without a network: each datagram is passed in by hand.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use dht_proto::sim::SimRng;
use dht_proto::wire::{Body, Message, Method, Response, Want};
use dht_proto::{Config, Event, InfoHash, Instant, Limits, MAX_DATAGRAM, Node, NodeId};

use crate::datagrams::{self, encode};

/// A name for some attackers, and the address of each.
pub(crate) type Crowd = (&'static str, fn(u32) -> SocketAddr);

/// The node, the time, and the bytes received and sent.
pub(crate) struct Target {
    pub(crate) node: Node,
    pub(crate) now: Instant,
    pub(crate) rng: SimRng,
    pub(crate) bytes_in: usize,
    pub(crate) bytes_out: usize,
    pub(crate) events: Vec<Event>,
    buf: [u8; MAX_DATAGRAM],
}

impl Target {
    /// Creates a node that knows `honest` verified hosts.
    pub(crate) fn new(known: usize, limits: &Limits, adjust: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::default();
        adjust(&mut config);
        let now = Instant::from_micros(1_000_000_000);
        let node = Node::new(config, limits, [7; 32], now);
        let mut target = Self {
            node,
            now,
            rng: SimRng::new(7),
            bytes_in: 0,
            bytes_out: 0,
            events: Vec::new(),
            buf: [0; MAX_DATAGRAM],
        };
        for index in 0..known {
            target.verify(datagrams::host(1_000_000 + index));
        }
        target.forget();
        target
    }

    /// Makes a host respond to a ping of the node.
    pub(crate) fn verify(&mut self, host: SocketAddr) {
        self.verify_as(host, None);
    }

    /// Makes a host respond to a ping of the node, and report `requester` as its address (BEP 42).
    pub(crate) fn verify_as(&mut self, host: SocketAddr, requester: Option<SocketAddr>) {
        let _ = self.node.add_node(self.now, host);
        let mut queries = Vec::new();
        while let Some(transmit) = self.node.poll_transmit(self.now, &mut self.buf) {
            queries.push((transmit.destination, self.buf[..transmit.size].to_vec()));
        }
        self.pass(Duration::from_millis(40));
        for (to, query) in queries {
            if let Ok(query) = Message::parse(&query) {
                let body = Body::Response(Response::new(id_of(to)));
                let answer = encode(&Message { requester, ..Message::new(query.transaction, body) });
                self.node.handle_datagram(self.now, to, &answer);
            }
        }
        self.drain(None);
    }

    /// Resets counts and events.
    pub(crate) fn forget(&mut self) {
        (self.bytes_in, self.bytes_out) = (0, 0);
        self.events.clear();
    }

    /// Passes in a datagram, and returns the response to it.
    pub(crate) fn ask(&mut self, from: SocketAddr, datagram: &[u8]) -> Option<Vec<u8>> {
        self.bytes_in += datagram.len();
        self.node.handle_datagram(self.now, from, datagram);
        self.drain(Some(from))
    }

    /// Advances time.
    pub(crate) fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(due) = self.node.poll_timeout().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.node.handle_timeout(self.now);
            self.drain(None);
        }
        self.now = end;
    }

    pub(crate) fn token(&mut self, from: SocketAddr, infohash: InfoHash) -> Option<Vec<u8>> {
        let method = Method::GetPeers { infohash, want: Want::NONE, noseed: false, scrape: false };
        token_in(&self.ask(from, &query(method))?)
    }

    /// Requests a token, and announces with it.
    pub(crate) fn announce(&mut self, from: SocketAddr, infohash: InfoHash, port: u16) {
        let Some(token) = self.token(from, infohash) else { return };
        let method = Method::AnnouncePeer {
            infohash,
            port,
            implied_port: false,
            seed: false,
            token: &token,
            name: None,
        };
        self.ask(from, &query(method));
    }

    /// Drains the node, and returns the last datagram to `to`.
    fn drain(&mut self, to: Option<SocketAddr>) -> Option<Vec<u8>> {
        let mut answer = None;
        while let Some(transmit) = self.node.poll_transmit(self.now, &mut self.buf) {
            if Some(transmit.destination) == to {
                self.bytes_out += transmit.size;
                answer = Some(self.buf[..transmit.size].to_vec());
            }
        }
        while let Some(event) = self.node.poll_event() {
            self.events.push(event);
        }
        answer
    }
}

/// Encodes a query, with a fixed sender id.
pub(crate) fn query(method: Method<'_>) -> Vec<u8> {
    datagrams::query(NodeId::from_bytes([9; 20]), method)
}

pub(crate) fn token_in(answer: &[u8]) -> Option<Vec<u8>> {
    match Message::parse(answer).ok()?.body {
        Body::Response(response) => response.token.map(<[u8]>::to_vec),
        _ => None,
    }
}

/// Derives an id from an address.
pub(crate) fn id_of(host: SocketAddr) -> NodeId {
    let bits = match host {
        SocketAddr::V4(host) => u64::from(host.ip().to_bits()),
        SocketAddr::V6(host) => {
            (host.ip().to_bits() >> 64) as u64 ^ (host.ip().to_bits() as u64).rotate_left(32)
        }
    };
    SimRng::new(bits ^ u64::from(host.port()) << 48).id()
}

/// The `index`-th honest host: each of the first 256 in a /16 of its own.
pub(crate) fn spread(index: usize) -> SocketAddr {
    datagrams::host(index * 257)
}

/// The `index`-th address of a network with this many leading bits.
pub(crate) fn in_network(network: Ipv4Addr, bits: u32, index: u32) -> SocketAddr {
    let size = 1_u32 << (32 - bits);
    let ip = Ipv4Addr::from_bits(network.to_bits() + index % size);
    SocketAddr::new(ip.into(), 6881 + (index / size) as u16)
}

/// The `index`-th /64 of an IPv6 network.
pub(crate) fn in_delegation(network: Ipv6Addr, index: u64) -> SocketAddr {
    let ip = Ipv6Addr::from_bits(network.to_bits() | u128::from(index) << 64 | 1);
    SocketAddr::new(ip.into(), 6881)
}
