//! Adversaries, each of which misbehaves in one way.

use alloc::rc::Rc;
use alloc::vec::Vec;
use core::array;
use core::net::{Ipv4Addr, SocketAddr};
use core::time::Duration;

use super::actor::{Actor, Outbox};
use super::messages::{Contact, Reply, closest, near, query_in, target_of};
use crate::base::addr::Endpoint;
use crate::base::id::{InfoHash, K, NodeId};
use crate::base::time::Instant;
use crate::sim::rng::mix;
use crate::wire::{Body, Message, Method, Query, Want};

/// A node that sends false responses.
pub struct Liar {
    /// The node id under which others list it.
    pub id: NodeId,
    /// What is false in its responses.
    pub lie: Lie,
}

/// What is false in the responses of a [`Liar`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Lie {
    /// The id: another one in each response.
    OtherIds,
    /// The nodes: they do not exist, and each is closer to the target than any that does.
    CloserNodes,
    /// The nodes: the querying node itself, close to the target.
    Asker,
    /// The nodes: at impossible addresses, which are private, loopback or multicast, or have port 0.
    Reserved,
    /// The peers: they do not exist.
    Peers,
    /// The address of the querying node (BEP 42): it is reported to be this one.
    Address(SocketAddr),
}

impl Actor for Liar {
    fn on_datagram(&mut self, _: Instant, from: SocketAddr, datagram: &[u8], out: &mut Outbox<'_>) {
        let Some((transaction, query)) = query_in(datagram) else { return };
        let target = target_of(&query);
        let (mut id, mut nodes, mut peers) = (self.id, Vec::new(), Vec::new());
        let rng = out.rng();
        match (self.lie, target) {
            (Lie::OtherIds, _) => id = rng.id(),
            (Lie::CloserNodes, Some(target)) => {
                nodes.extend((0..K).map(|_| (near(target, rng.id(), 64), unused_addr(rng.bits()))));
            }
            (Lie::Asker, Some(target)) => nodes.push((near(target, rng.id(), 64), from)),
            (Lie::Reserved, Some(target)) => {
                nodes.extend(RESERVED.map(|addr| (near(target, rng.id(), 64), addr)));
            }
            (Lie::Peers, _) if matches!(query.method, Method::GetPeers { .. }) => {
                peers.extend((0..20).map(|_| unused_addr(rng.bits())));
            }
            _ => {}
        }
        let mut response = Reply { nodes: &nodes, peers: &peers, ..Reply::plain(id) };
        if let Lie::Address(addr) = self.lie {
            response.requester = Some(addr);
        }
        response.send(out, from, transaction);
    }
}

/// A node that always has an id next to the target of the query.
///
/// It lists its accomplices, under ids as close, so that they store every torrent.
pub struct IdChaser {
    /// The addresses of its accomplices.
    pub accomplices: Vec<SocketAddr>,
}

impl Actor for IdChaser {
    fn on_datagram(&mut self, _: Instant, from: SocketAddr, datagram: &[u8], out: &mut Outbox<'_>) {
        let Some((transaction, query)) = query_in(datagram) else { return };
        let target = target_of(&query).unwrap_or(query.id);
        let next_to = |addr: SocketAddr| near(target, id_for(addr), 144);
        let nodes: Vec<Contact> = self.accomplices.iter().map(|addr| (next_to(*addr), *addr)).collect();
        let nodes = &nodes[..nodes.len().min(K)];
        Reply { nodes, ..Reply::plain(next_to(out.addr())) }.send(out, from, transaction);
    }
}

/// A node with an id next to a target, one of many that hide what is stored there.
///
/// It acknowledges every announce, and returns no peers.
pub struct Sybil {
    /// The node id.
    pub id: NodeId,
    /// All Sybils.
    pub accomplices: Rc<[Contact]>,
    /// Which nodes it lists.
    pub strategy: SybilStrategy,
}

/// Which nodes a [`Sybil`] lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SybilStrategy {
    /// The accomplices only.
    Mutual,
    /// Eight nodes that do not exist, closer to the target than any that does.
    Junk,
    /// None: it never responds.
    Silent,
    /// A victim, eight times, under ids close to the target.
    Victim {
        /// The address of the victim.
        ip: Ipv4Addr,
        /// Lists addresses of its /24 instead of ports of this address.
        is_subnet: bool,
    },
}

impl Actor for Sybil {
    fn on_datagram(&mut self, _: Instant, from: SocketAddr, datagram: &[u8], out: &mut Outbox<'_>) {
        let Some((transaction, query)) = query_in(datagram) else { return };
        let target = target_of(&query);
        let rng = out.rng();
        let nodes: Vec<Contact> = match (self.strategy, target) {
            (SybilStrategy::Silent, _) => return,
            (_, None) => Vec::new(),
            (SybilStrategy::Mutual, Some(target)) => closest(&self.accomplices, target),
            (SybilStrategy::Junk, Some(target)) => {
                (0..K).map(|_| (near(target, rng.id(), 64), unused_addr(rng.bits()))).collect()
            }
            (SybilStrategy::Victim { ip, is_subnet }, Some(target)) => {
                let [a, b, c, _] = ip.octets();
                let at = |n: u8| {
                    if is_subnet { ([a, b, c, n], 6881).into() } else { (ip, 1024 + u16::from(n)).into() }
                };
                (0..K)
                    .map(|_| {
                        let n = 1 + rng.below(250) as u8;
                        (near(target, rng.id(), 64), at(n))
                    })
                    .collect()
            }
        };
        Reply { nodes: &nodes, ..Reply::plain(self.id) }.send(out, from, transaction);
    }
}

/// A node that fills a node's peer store by announcing one port after the other.
pub struct PortFiller {
    /// The node id.
    pub id: NodeId,
    /// The node whose store it fills.
    pub victim: SocketAddr,
    /// The torrent it announces.
    pub infohash: InfoHash,
    /// Time between two announces.
    pub interval: Duration,
    token: Vec<u8>,
    port: u16,
    next: Instant,
}

impl PortFiller {
    /// Creates an adversary that starts at once.
    pub const fn new(id: NodeId, victim: SocketAddr, infohash: InfoHash, interval: Duration) -> Self {
        Self { id, victim, infohash, interval, token: Vec::new(), port: 0, next: Instant::ZERO }
    }
}

impl Actor for PortFiller {
    fn on_datagram(&mut self, _: Instant, from: SocketAddr, datagram: &[u8], out: &mut Outbox<'_>) {
        if let Some((transaction, _)) = query_in(datagram) {
            return Reply::plain(self.id).send(out, from, transaction);
        }
        if let Ok(Message { body: Body::Response(response), .. }) = Message::parse(datagram)
            && let Some(token) = response.token
        {
            self.token = token.to_vec();
        }
    }

    fn on_wake(&mut self, now: Instant, out: &mut Outbox<'_>) {
        self.next = now + self.interval;
        let infohash = self.infohash;
        // A token is needed first, and a new one every 256 announces.
        let method = if self.token.is_empty() || self.port % 256 == 255 {
            Method::GetPeers { infohash, want: Want::NONE, noseed: false, scrape: false }
        } else {
            let (port, token) = (self.port.max(1), &*self.token);
            Method::AnnouncePeer { infohash, port, implied_port: false, seed: false, token, name: None }
        };
        self.port = self.port.wrapping_add(u16::from(!self.token.is_empty()));
        let query = Query { id: self.id, method };
        out.send_message(self.victim, &Message::new(b"pf", Body::Query(query)));
    }

    fn next_wake(&self) -> Option<Instant> {
        Some(self.next)
    }
}

/// A node that sends bursts of queries without end.
pub struct Flooder {
    /// The node id.
    pub id: NodeId,
    /// The node it queries.
    pub victim: SocketAddr,
    /// Time between two bursts.
    pub interval: Duration,
    /// Queries of each burst.
    pub burst: usize,
    next: Instant,
}

impl Flooder {
    /// Creates an adversary that starts at once.
    pub const fn new(id: NodeId, victim: SocketAddr, interval: Duration, burst: usize) -> Self {
        Self { id, victim, interval, burst, next: Instant::ZERO }
    }
}

impl Actor for Flooder {
    fn on_datagram(&mut self, _: Instant, from: SocketAddr, datagram: &[u8], out: &mut Outbox<'_>) {
        if let Some((transaction, _)) = query_in(datagram) {
            Reply::plain(self.id).send(out, from, transaction);
        }
    }

    fn on_wake(&mut self, now: Instant, out: &mut Outbox<'_>) {
        self.next = now + self.interval;
        for _ in 0..self.burst {
            let target = out.rng().id();
            out.send_message(self.victim, &find_node(self.id, target));
        }
    }

    fn next_wake(&self) -> Option<Instant> {
        Some(self.next)
    }
}

/// A host that makes others flood a victim, by queries with the victim's address as source.
pub struct Reflector {
    /// The address that receives the responses.
    pub victim: SocketAddr,
    /// The nodes it queries, in turn.
    pub mirrors: Vec<SocketAddr>,
    /// Time between two queries.
    pub interval: Duration,
    sent: usize,
    next: Instant,
}

impl Reflector {
    /// Creates an adversary that starts at once.
    pub const fn new(victim: SocketAddr, mirrors: Vec<SocketAddr>, interval: Duration) -> Self {
        Self { victim, mirrors, interval, sent: 0, next: Instant::ZERO }
    }
}

impl Actor for Reflector {
    fn on_datagram(&mut self, _: Instant, _: SocketAddr, _: &[u8], _: &mut Outbox<'_>) {}

    fn on_wake(&mut self, now: Instant, out: &mut Outbox<'_>) {
        self.next = now + self.interval;
        let Some(mirror) = self.mirrors.get(self.sent % self.mirrors.len().max(1)).copied() else { return };
        self.sent += 1;
        let (id, target) = (out.rng().id(), out.rng().id());
        let mut buf = [0; 256];
        if let Some(len) = find_node(id, target).emit(&mut buf) {
            out.send_as(self.victim, mirror, &buf[..len]);
        }
    }

    fn next_wake(&self) -> Option<Instant> {
        (!self.mirrors.is_empty()).then_some(self.next)
    }
}

const fn find_node(id: NodeId, target: NodeId) -> Message<'static> {
    Message::new(b"fn", Body::Query(Query { id, method: Method::FindNode { target, want: Want::NONE } }))
}

/// Derives an id from an address, so that accomplices agree on each other's ids.
fn id_for(addr: SocketAddr) -> NodeId {
    let (high, low) = Endpoint::from(addr).halves();
    let word = mix(mix(low ^ u64::from(addr.port()) << 48) ^ high).to_be_bytes();
    NodeId::from_bytes(array::from_fn(|at| word[at % 8]))
}

/// Maps random bits to a public address without a host.
fn unused_addr(bits: u64) -> SocketAddr {
    let [a, b, c, ..] = bits.to_le_bytes();
    SocketAddr::from(([140, a, b, c], 6881))
}

const RESERVED: [SocketAddr; 8] = {
    const fn v4(ip: [u8; 4], port: u16) -> SocketAddr {
        let [a, b, c, d] = ip;
        SocketAddr::new(core::net::IpAddr::V4(Ipv4Addr::new(a, b, c, d)), port)
    }
    [
        v4([10, 0, 0, 1], 6881),
        v4([127, 0, 0, 1], 6881),
        v4([192, 168, 1, 1], 6881),
        v4([224, 0, 0, 1], 6881),
        v4([255, 255, 255, 255], 6881),
        v4([0, 0, 0, 0], 6881),
        v4([169, 254, 1, 1], 6881),
        v4([8, 8, 8, 8], 0),
    ]
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::rng::SimRng;

    #[test]
    fn id_chasers_are_next_to_the_target_and_next_to_each_other() {
        let (target, [a, b]) = (SimRng::new(1).id(), [1, 2].map(unused_addr).map(id_for));
        assert_ne!(a, b);
        assert_eq!(near(target, a, 144).common_prefix_len(&target), 144);
    }
}
