//! Invariants of every node, implemented independently of the crate.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use dht_proto::wire::{Body, Message, Method, ParseError};
use dht_proto::{AddressPolicy, Config, Instant};

/// Whether a datagram is within its bound: 1024 bytes (BEP 32), or with a stored value as
/// long as an Ethernet frame allows.
pub fn is_short(to: SocketAddr, datagram: &[u8]) -> bool {
    let has_value = match Message::parse(datagram).map(|message| message.body) {
        Ok(Body::Response(response)) => response.value.is_some(),
        Ok(Body::Query(query)) => matches!(query.method, Method::Put { .. }),
        _ => false,
    };
    datagram.len()
        <= if !has_value {
            1024
        } else if to.is_ipv4() {
            1472
        } else {
            1452
        }
}

/// Answers of up to this many times the query's size are sent to any host.
const FREE: usize = 3;

/// The most queries whose answers wait at a time.
const MAX_ASKED: usize = 256;

/// Whether a node with this policy may send to an address.
pub fn is_fit(policy: AddressPolicy, to: SocketAddr) -> bool {
    to.port() != 0
        && match to.ip() {
            IpAddr::V4(ip) => {
                let unicast = !matches!(ip.octets()[0], 0 | 224..);
                let private = ip.is_private() || ip.is_loopback() || ip.is_link_local();
                unicast && (policy == AddressPolicy::Any || !private)
            }
            IpAddr::V6(ip) => {
                let unicast = !ip.is_unspecified() && !ip.is_multicast() && ip.to_ipv4_mapped().is_none();
                unicast && (policy == AddressPolicy::Any || ip.segments()[0] & 0xe000 == 0x2000)
            }
        }
}

/// The traffic of a node to unverified hosts: a host receives no answer without a query, and an unverified
/// one no more bytes than are allowed.
pub struct Allowances {
    by_endpoint: bool,
    budget: usize,
    asked: VecDeque<Asked>,
    /// Sources that have proved that they receive what is sent to them.
    proven: BTreeSet<IpAddr>,
    proven_endpoints: BTreeSet<SocketAddr>,
    /// When each subnet was sent how many bytes beyond the free ones.
    drawn: BTreeMap<SocketAddr, VecDeque<(Instant, usize)>>,
}

/// A received query.
struct Asked {
    from: SocketAddr,
    transaction: Vec<u8>,
    len: usize,
    is_answered: bool,
}

impl Allowances {
    pub const fn new(config: &Config) -> Self {
        Self {
            by_endpoint: !config.source_limits,
            budget: config.unverified_bytes as usize,
            asked: VecDeque::new(),
            proven: BTreeSet::new(),
            proven_endpoints: BTreeSet::new(),
            drawn: BTreeMap::new(),
        }
    }

    /// Records a received datagram if it is a query.
    pub fn heard(&mut self, from: SocketAddr, datagram: &[u8]) {
        let transaction = match Message::parse_prefix(datagram) {
            Ok((Message { transaction, body: Body::Query(_), .. }, _)) => transaction.to_vec(),
            Err(ParseError::BadQuery { transaction, .. }) => transaction.to_vec(),
            _ => return,
        };
        self.asked.push_back(Asked { from, transaction, len: datagram.len(), is_answered: false });
        if self.asked.len() > MAX_ASKED {
            self.asked.pop_front();
        }
    }

    /// Records that an address answered a query of the node, or returned its token.
    pub fn proved(&mut self, addr: SocketAddr) {
        self.proven.insert(source(addr.ip()));
        self.proven_endpoints.insert(addr);
    }

    /// The clock of the node jumps: the traffic of the last minute is no longer known.
    pub fn forget_times(&mut self) {
        self.drawn.clear();
    }

    /// Checks an answer of the node.
    pub fn replied(&mut self, to: SocketAddr, transaction: &[u8], len: usize, now: Instant) {
        let mut asked: Vec<_> =
            self.asked.iter_mut().filter(|it| it.from == to && it.transaction == transaction).collect();
        // It cannot be known which of several queries was meant.
        let longest = asked.iter().map(|it| it.len).max();
        let open = asked.iter_mut().find(|it| !it.is_answered);
        open.unwrap_or_else(|| panic!("an answer to {to} without a query")).is_answered = true;
        let is_proven = if self.by_endpoint {
            self.proven_endpoints.contains(&to)
        } else {
            self.proven.contains(&source(to.ip()))
        };
        if is_proven || longest.is_some_and(|longest| len <= FREE * longest) {
            return;
        }
        let subnet = if self.by_endpoint { to } else { SocketAddr::new(subnet(to.ip()), 0) };
        let drawn = self.drawn.entry(subnet).or_default();
        drawn.push_back((now, len));
        while drawn.front().is_some_and(|(at, _)| now - *at >= Duration::from_secs(60)) {
            drawn.pop_front();
        }
        let drawn: usize = drawn.iter().map(|(_, len)| len).sum();
        assert!(drawn <= self.budget, "{to} was sent {drawn} bytes in a minute");
    }
}

/// Returns the unit of source limits: an IPv4 address or a /64.
fn source(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => ip,
        IpAddr::V6(ip) => {
            let [a, b, c, d, ..] = ip.segments();
            IpAddr::from([a, b, c, d, 0, 0, 0, 0])
        }
    }
}

/// Returns the subnet that shares one allowance of bytes: a /24 or a /56.
fn subnet(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(ip) => {
            let [a, b, c, _] = ip.octets();
            IpAddr::from([a, b, c, 0])
        }
        IpAddr::V6(ip) => {
            let [a, b, c, d, ..] = ip.segments();
            IpAddr::from([a, b, c, d & 0xff00, 0, 0, 0, 0])
        }
    }
}

/// Converts an IPv4-mapped endpoint, as dual-stack sockets report it, to IPv4.
pub fn canonical(addr: SocketAddr) -> SocketAddr {
    SocketAddr::new(addr.ip().to_canonical(), addr.port())
}

/// A hash over the output, to compare runs (FNV-1a).
#[derive(Clone, Copy)]
pub struct Transcript(pub u64);

impl Transcript {
    pub const fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    pub fn record(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        }
    }
}
