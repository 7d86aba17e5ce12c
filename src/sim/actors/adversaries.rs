//! Hosts of a few lines each: honest ones, and those that a node has to cope with.
//!
//! All but [`Reflector`] and [`Recorder`] answer queries, so that they come into tables and lookups
//! like anybody else.

use alloc::rc::Rc;
use alloc::vec::Vec;
use core::array;
use core::net::{Ipv4Addr, SocketAddr};
use core::time::Duration;

use super::actor::{Actor, Outbox};
use super::dice::mix;
use crate::addr::{Endpoint, Family};
use crate::id::{InfoHash, K, NodeId};
use crate::time::Instant;
use crate::wire::{
    Body, Message, Method, NODE4_LEN, NodeWriter, PEER4_LEN, PeerWriter, Query, Response, Want,
};

/// A node's id and where it is.
pub type Contact = (NodeId, SocketAddr);

/// The token that all of these hand out.
const TOKEN: &[u8] = b"cast";

/// An answering machine: it lists the closest of a fixed set of IPv4 contacts and hands out fixed
/// peers. It asks nobody anything. Slow or unreliable, if need be.
pub struct Honest {
    /// Its id.
    pub id: NodeId,
    /// Whom it may list. Sharing them costs nothing.
    pub contacts: Rc<[Contact]>,
    /// The peers in its answers to `get_peers`, at most 50, whatever the torrent.
    pub peers: Vec<SocketAddr>,
    /// Share of queries that it answers, `0.0..=1.0`.
    pub diligence: f64,
    /// Each answer waits for this long.
    pub delay: Duration,
    /// The announces that came, and when.
    pub stored: Vec<(Instant, InfoHash, SocketAddr)>,
    /// The queries that came.
    pub queries: usize,
}

impl Honest {
    /// One that knows these and answers at once.
    pub fn new(id: NodeId, contacts: impl Into<Rc<[Contact]>>) -> Self {
        Self {
            id,
            contacts: contacts.into(),
            peers: Vec::new(),
            diligence: 1.0,
            delay: Duration::ZERO,
            stored: Vec::new(),
            queries: 0,
        }
    }

    /// One that leaves some queries unanswered: it answers this share of them.
    pub fn dropper(id: NodeId, contacts: impl Into<Rc<[Contact]>>, diligence: f64) -> Self {
        Self { diligence, ..Self::new(id, contacts) }
    }

    /// One that takes its time.
    pub fn slow(id: NodeId, contacts: impl Into<Rc<[Contact]>>, delay: Duration) -> Self {
        Self { delay, ..Self::new(id, contacts) }
    }
}

impl Actor for Honest {
    fn on_datagram(&mut self, now: Instant, from: SocketAddr, datagram: &[u8], out: &mut Outbox<'_>) {
        let Some((transaction, query)) = query_in(datagram) else { return };
        self.queries += 1;
        if self.diligence < 1.0 && !out.dice().chance(self.diligence) {
            return;
        }
        let nodes = target_of(&query).map_or_else(Vec::new, |target| closest(&self.contacts, target));
        let mut peers: &[SocketAddr] = &[];
        match query.method {
            Method::GetPeers { .. } => peers = &self.peers,
            Method::AnnouncePeer { infohash, port, implied_port, token, .. } if token == TOKEN => {
                let port = if implied_port { from.port() } else { port };
                self.stored.push((now, infohash, SocketAddr::new(from.ip(), port)));
            }
            _ => {}
        }
        let answer = Answer { delay: self.delay, nodes: &nodes, peers, ..Answer::plain(self.id) };
        answer.send(out, from, transaction);
    }
}

/// A liar.
pub struct Liar {
    /// The id under which others list it.
    pub id: NodeId,
    /// What it lies about.
    pub lie: Lie,
}

/// What a liar says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Lie {
    /// It answers under another id each time.
    OtherIds,
    /// It lists nodes that do not exist, each closer to the target than any that does.
    CloserNodes,
    /// It lists the asker itself, close to the target.
    Asker,
    /// It lists nodes at addresses where there can be none: private, loopback, multicast, port 0.
    Reserved,
    /// It hands out peers that do not exist.
    Peers,
    /// It tells everybody that this is their address (BEP 42).
    Address(SocketAddr),
}

impl Actor for Liar {
    fn on_datagram(&mut self, _: Instant, from: SocketAddr, datagram: &[u8], out: &mut Outbox<'_>) {
        let Some((transaction, query)) = query_in(datagram) else { return };
        let target = target_of(&query);
        let (mut id, mut nodes, mut peers) = (self.id, Vec::new(), Vec::new());
        let dice = out.dice();
        match (self.lie, target) {
            (Lie::OtherIds, _) => id = dice.id(),
            (Lie::CloserNodes, Some(target)) => {
                nodes.extend((0..K).map(|_| (near(target, dice.id(), 64), anywhere(dice.bits()))));
            }
            (Lie::Asker, Some(target)) => nodes.push((near(target, dice.id(), 64), from)),
            (Lie::Reserved, Some(target)) => {
                nodes.extend(RESERVED.map(|addr| (near(target, dice.id(), 64), addr)));
            }
            (Lie::Peers, _) if matches!(query.method, Method::GetPeers { .. }) => {
                peers.extend((0..20).map(|_| anywhere(dice.bits())));
            }
            _ => {}
        }
        let mut answer = Answer { nodes: &nodes, peers: &peers, ..Answer::plain(id) };
        if let Lie::Address(addr) = self.lie {
            answer.requester = Some(addr);
        }
        answer.send(out, from, transaction);
    }
}

/// One that wants to be where a torrent's peers are kept: whatever is asked of it, it has an id
/// next to the target, and so have its accomplices, whom it lists.
pub struct IdChaser {
    /// Where the others of its kind are.
    pub accomplices: Vec<SocketAddr>,
}

impl Actor for IdChaser {
    fn on_datagram(&mut self, _: Instant, from: SocketAddr, datagram: &[u8], out: &mut Outbox<'_>) {
        let Some((transaction, query)) = query_in(datagram) else { return };
        let target = target_of(&query).unwrap_or(query.id);
        let next_to = |addr: SocketAddr| near(target, likeness(addr), 144);
        let nodes: Vec<Contact> = self.accomplices.iter().map(|addr| (next_to(*addr), *addr)).collect();
        let nodes = &nodes[..nodes.len().min(K)];
        Answer { nodes, ..Answer::plain(next_to(out.addr())) }.send(out, from, transaction);
    }
}

/// One of many next to a target, who hide what others store there: it confirms every announce and
/// names no peer.
pub struct Sybil {
    /// Its id.
    pub id: NodeId,
    /// All of its kind.
    pub accomplices: Rc<[Contact]>,
    /// Whom it names.
    pub guile: Guile,
}

/// Whom a [`Sybil`] names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Guile {
    /// Its accomplices, and nobody else.
    Mutual,
    /// Eight nodes that do not exist, closer to the target than any that does.
    Junk,
    /// Nobody: it never answers.
    Silent,
    /// Eight times a victim, under ids close to the target.
    Victim {
        /// The address of the victim.
        ip: Ipv4Addr,
        /// Addresses of its /24, instead of ports of this one.
        is_network: bool,
    },
}

impl Actor for Sybil {
    fn on_datagram(&mut self, _: Instant, from: SocketAddr, datagram: &[u8], out: &mut Outbox<'_>) {
        let Some((transaction, query)) = query_in(datagram) else { return };
        let target = target_of(&query);
        let dice = out.dice();
        let nodes: Vec<Contact> = match (self.guile, target) {
            (Guile::Silent, _) => return,
            (_, None) => Vec::new(),
            (Guile::Mutual, Some(target)) => closest(&self.accomplices, target),
            (Guile::Junk, Some(target)) => {
                (0..K).map(|_| (near(target, dice.id(), 64), anywhere(dice.bits()))).collect()
            }
            (Guile::Victim { ip, is_network }, Some(target)) => {
                let [a, b, c, _] = ip.octets();
                let at = |n: u8| {
                    if is_network { ([a, b, c, n], 6881).into() } else { (ip, 1024 + u16::from(n)).into() }
                };
                (0..K)
                    .map(|_| {
                        let n = 1 + dice.below(250) as u8;
                        (near(target, dice.id(), 64), at(n))
                    })
                    .collect()
            }
        };
        Answer { nodes: &nodes, ..Answer::plain(self.id) }.send(out, from, transaction);
    }
}

/// One that wants to fill a node's store: it announces one port after the other.
pub struct PortFiller {
    /// Its id.
    pub id: NodeId,
    /// Whose store it fills.
    pub victim: SocketAddr,
    /// Under which torrent.
    pub infohash: InfoHash,
    /// The time between two announces.
    pub interval: Duration,
    token: Vec<u8>,
    port: u16,
    next: Instant,
}

impl PortFiller {
    /// One that begins at once.
    pub const fn new(id: NodeId, victim: SocketAddr, infohash: InfoHash, interval: Duration) -> Self {
        Self { id, victim, infohash, interval, token: Vec::new(), port: 0, next: Instant::ZERO }
    }
}

impl Actor for PortFiller {
    fn on_datagram(&mut self, _: Instant, from: SocketAddr, datagram: &[u8], out: &mut Outbox<'_>) {
        if let Some((transaction, _)) = query_in(datagram) {
            return Answer::plain(self.id).send(out, from, transaction);
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
        // A token first, and now and then a new one.
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

/// One that asks without end.
pub struct Flooder {
    /// Its id.
    pub id: NodeId,
    /// Whom it asks.
    pub victim: SocketAddr,
    /// The time between two floods.
    pub interval: Duration,
    /// The queries in each.
    pub burst: usize,
    next: Instant,
}

impl Flooder {
    /// One that begins at once.
    pub const fn new(id: NodeId, victim: SocketAddr, interval: Duration, burst: usize) -> Self {
        Self { id, victim, interval, burst, next: Instant::ZERO }
    }
}

impl Actor for Flooder {
    fn on_datagram(&mut self, _: Instant, from: SocketAddr, datagram: &[u8], out: &mut Outbox<'_>) {
        if let Some((transaction, _)) = query_in(datagram) {
            Answer::plain(self.id).send(out, from, transaction);
        }
    }

    fn on_wake(&mut self, now: Instant, out: &mut Outbox<'_>) {
        self.next = now + self.interval;
        for _ in 0..self.burst {
            let target = out.dice().id();
            out.send_message(self.victim, &find_node(self.id, target));
        }
    }

    fn next_wake(&self) -> Option<Instant> {
        Some(self.next)
    }
}

/// One that has others flood a victim: it asks them in the victim's name.
pub struct Reflector {
    /// Who gets the answers.
    pub victim: SocketAddr,
    /// Who is asked, in turn.
    pub mirrors: Vec<SocketAddr>,
    /// The time between two queries.
    pub interval: Duration,
    sent: usize,
    next: Instant,
}

impl Reflector {
    /// One that begins at once.
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
        let (id, target) = (out.dice().id(), out.dice().id());
        let mut buf = [0; 256];
        if let Some(len) = find_node(id, target).emit(&mut buf) {
            out.send_as(self.victim, mirror, &buf[..len]);
        }
    }

    fn next_wake(&self) -> Option<Instant> {
        (!self.mirrors.is_empty()).then_some(self.next)
    }
}

/// One that keeps all it gets, and says nothing.
#[derive(Default)]
pub struct Recorder {
    /// When something came, from whom, and what.
    pub got: Vec<(Instant, SocketAddr, Vec<u8>)>,
}

impl Actor for Recorder {
    fn on_datagram(&mut self, now: Instant, from: SocketAddr, datagram: &[u8], _: &mut Outbox<'_>) {
        self.got.push((now, from, datagram.to_vec()));
    }
}

/// The query in a datagram, and its transaction id.
pub fn query_in(datagram: &[u8]) -> Option<(&[u8], Query<'_>)> {
    match Message::parse(datagram) {
        Ok(Message { transaction, body: Body::Query(query), .. }) => Some((transaction, query)),
        _ => None,
    }
}

/// What a query aims at, if it wants nodes.
pub const fn target_of(query: &Query<'_>) -> Option<NodeId> {
    match query.method {
        Method::FindNode { target, .. } | Method::SampleInfohashes { target, .. } => Some(target),
        Method::GetPeers { infohash, .. } => Some(NodeId::from_bytes(*infohash.as_bytes())),
        _ => None,
    }
}

/// The [`K`] contacts that are closest to a target, closest first.
pub fn closest(contacts: &[Contact], target: NodeId) -> Vec<Contact> {
    let mut closest: Vec<Contact> = Vec::with_capacity(K + 1);
    for contact in contacts {
        let distance = contact.0.distance(&target);
        let at = closest.partition_point(|(id, _)| id.distance(&target) < distance);
        if at < K {
            closest.truncate(K - 1);
            closest.insert(at, *contact);
        }
    }
    closest
}

/// An id that shares the first `bits` bits with `target` and differs in the next.
pub fn near(target: NodeId, filler: NodeId, bits: u32) -> NodeId {
    target.sibling(bits, &filler)
}

/// An answer: IPv4 nodes and peers, and a token where there are nodes.
struct Answer<'a> {
    delay: Duration,
    id: NodeId,
    nodes: &'a [Contact],
    peers: &'a [SocketAddr],
    requester: Option<SocketAddr>,
}

impl Answer<'_> {
    const fn plain(id: NodeId) -> Self {
        Self { delay: Duration::ZERO, id, nodes: &[], peers: &[], requester: None }
    }

    fn send(&self, out: &mut Outbox<'_>, to: SocketAddr, transaction: &[u8]) {
        let (mut nodes_buf, mut peers_buf) = ([0; 16 * NODE4_LEN], [0; 50 * PEER4_LEN]);
        let mut nodes = NodeWriter::new(Family::V4, &mut nodes_buf);
        self.nodes.iter().for_each(|(id, addr)| {
            nodes.push(id, *addr);
        });
        let mut peers = PeerWriter::new(Family::V4, &mut peers_buf);
        self.peers.iter().for_each(|peer| {
            peers.push(*peer);
        });
        let mut response = Response::new(self.id);
        response.nodes = Some(nodes.finish());
        response.token = Some(TOKEN);
        response.values = (!self.peers.is_empty()).then(|| peers.finish());
        let message = Message::new(transaction, Body::Response(response));
        out.send_message_after(self.delay, to, &Message { requester: self.requester, ..message });
    }
}

const fn find_node(id: NodeId, target: NodeId) -> Message<'static> {
    Message::new(b"fn", Body::Query(Query { id, method: Method::FindNode { target, want: Want::NONE } }))
}

/// An id that follows from an address, so that each calls itself what the others call it.
fn likeness(addr: SocketAddr) -> NodeId {
    let (high, low) = Endpoint::from(addr).halves();
    let word = mix(mix(low ^ u64::from(addr.port()) << 48) ^ high).to_be_bytes();
    NodeId::from_bytes(array::from_fn(|at| word[at % 8]))
}

/// A public address at which there is nobody.
fn anywhere(bits: u64) -> SocketAddr {
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
    use crate::sim::Dice;

    #[test]
    fn the_closest_come_first_and_no_others() {
        let mut dice = Dice::new(1);
        let contacts: Vec<Contact> = (0..100).map(|_| (dice.id(), anywhere(dice.bits()))).collect();
        let target = dice.id();
        let mut sorted = contacts.clone();
        sorted.sort_by_key(|(id, _)| id.distance(&target));
        assert_eq!(closest(&contacts, target), sorted[..K]);
        assert_eq!(closest(&contacts[..3], target).len(), 3);
    }

    #[test]
    fn chasers_are_next_to_the_target_and_next_to_each_other() {
        let (target, [a, b]) = (Dice::new(1).id(), [1, 2].map(anywhere).map(likeness));
        assert_ne!(a, b);
        assert_eq!(near(target, a, 144).common_prefix_len(&target), 144);
    }
}
