//! What every node promises, said anew and not taken from the crate.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use dht_proto::wire::{Body, Message, Method, ParseError};
use dht_proto::{AddressPolicy, Config, Instant};

/// Whether a datagram is no longer than it may be: 1024 bytes (BEP 32), or with a stored value as
/// long as Ethernet takes.
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

/// An answer of up to this many times the query's size goes to anyone.
const FREE: usize = 3;

/// Answers to more queries than this never wait.
const MAX_ASKED: usize = 256;

/// Whether a node of this policy may send there.
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

/// What strangers drew from a node: nobody gets an answer who did not ask, and nobody who is not
/// known to be there draws more than the node may send.
pub struct Allowances {
    by_endpoint: bool,
    budget: usize,
    asked: VecDeque<Asked>,
    /// Sources that have proved that they get what is sent to them.
    proven: BTreeSet<IpAddr>,
    proven_endpoints: BTreeSet<SocketAddr>,
    /// When a site drew how many bytes beyond what is free.
    drawn: BTreeMap<SocketAddr, VecDeque<(Instant, usize)>>,
}

/// A query that came.
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

    /// A datagram came; what is no query asks for nothing.
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

    /// An address answered a query of the node, or showed a token of it.
    pub fn proved(&mut self, addr: SocketAddr) {
        self.proven.insert(source(addr.ip()));
        self.proven_endpoints.insert(addr);
    }

    /// The clock of the node jumps: how much was drawn in the last minute is not known any more.
    pub fn forget_times(&mut self) {
        self.drawn.clear();
    }

    /// The node answers.
    pub fn replied(&mut self, to: SocketAddr, transaction: &[u8], len: usize, now: Instant) {
        let mut asked: Vec<_> =
            self.asked.iter_mut().filter(|it| it.from == to && it.transaction == transaction).collect();
        // Which of several was meant nobody can tell.
        let longest = asked.iter().map(|it| it.len).max();
        let open = asked.iter_mut().find(|it| !it.is_answered);
        open.unwrap_or_else(|| panic!("an answer to {to}, who did not ask")).is_answered = true;
        let is_proven = if self.by_endpoint {
            self.proven_endpoints.contains(&to)
        } else {
            self.proven.contains(&source(to.ip()))
        };
        if is_proven || longest.is_some_and(|longest| len <= FREE * longest) {
            return;
        }
        let site = if self.by_endpoint { to } else { SocketAddr::new(site(to.ip()), 0) };
        let drawn = self.drawn.entry(site).or_default();
        drawn.push_back((now, len));
        while drawn.front().is_some_and(|(at, _)| now - *at >= Duration::from_secs(60)) {
            drawn.pop_front();
        }
        let drawn: usize = drawn.iter().map(|(_, len)| len).sum();
        assert!(drawn <= self.budget, "{to} has drawn {drawn} bytes in a minute");
    }
}

/// What counts as one source where sources are limited: an IPv4 address or a /64.
fn source(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => ip,
        IpAddr::V6(ip) => {
            let [a, b, c, d, ..] = ip.segments();
            IpAddr::from([a, b, c, d, 0, 0, 0, 0])
        }
    }
}

/// What shares one allowance of bytes there: a /24 or a /56.
fn site(ip: IpAddr) -> IpAddr {
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

/// The same endpoint of IPv4 whatever family a socket told it in.
pub fn canonical(addr: SocketAddr) -> SocketAddr {
    SocketAddr::new(addr.ip().to_canonical(), addr.port())
}

/// A hash over what came out, to compare runs (FNV-1a).
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
