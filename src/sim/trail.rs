//! How a lookup went, read off the datagrams of its host.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::net::SocketAddr;

use super::actors::target_of;
use super::transport::{Captured, Direction};
use crate::base::id::{InfoHash, NodeId};
use crate::base::time::Instant;
use crate::wire::{Body, Message, Method, Query, Response};

/// The course of a lookup or an announce, derived from the datagrams of its host alone.
///
/// So the lookups of other clients are measured in the same way as those of this crate.
///
/// ```
/// use dht_proto::sim::{Growth, Network, Profile, Trail, World};
/// use dht_proto::{InfoHash, Lookup};
/// use std::sync::Arc;
///
/// let mut world = World::new(1, Network::internet());
/// let profile = Arc::new(Profile::default());
/// let hosts = world.grow(20, &Growth::default(), |_, _| Arc::clone(&profile));
/// world.capture(hosts[7]);
/// let infohash = InfoHash::from_bytes([7; 20]);
/// let record = world.lookup(hosts[7], Lookup::GetPeers(infohash));
/// let trail = Trail::of(world.captured(hosts[7]), infohash);
/// assert_eq!(trail.queried.len() as u32, record.report().unwrap().queried);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Trail {
    /// Queries sent, including repetitions and announces.
    pub queries: u64,
    /// Nodes queried, each with its [hops](Sighting::hops).
    pub queried: BTreeMap<SocketAddr, u32>,
    /// Nodes listed in responses.
    pub listed: BTreeSet<NodeId>,
    /// Peers found, each when it was first returned.
    pub peers: Vec<Sighting>,
    /// Nodes that acknowledged the announce, each when it first did.
    pub acknowledged: Vec<(Instant, SocketAddr)>,
}

/// A peer that a lookup found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Sighting {
    /// When it was first returned.
    pub at: Instant,
    /// The peer.
    pub peer: SocketAddr,
    /// Hops to the node that returned it.
    ///
    /// A node that was queried before any response listed it comes from the routing table, and is one
    /// hop away; any other is one hop further than the node that listed it first.
    pub hops: u32,
}

impl Trail {
    /// Reads a lookup of this torrent off the datagrams of one host.
    ///
    /// Several lookups of one torrent need a slice each.
    pub fn of(datagrams: &[Captured], infohash: InfoHash) -> Self {
        let target = NodeId::from(infohash);
        let mut reader = Reader::default();
        for datagram in datagrams {
            let Ok(message) = Message::parse(&datagram.bytes) else { continue };
            let conversation = (datagram.remote, message.transaction);
            match (datagram.direction, message.body) {
                (Direction::Sent, Body::Query(query)) if is_about(&query, target) => {
                    reader.sent(conversation, matches!(query.method, Method::AnnouncePeer { .. }));
                }
                (Direction::Received, Body::Response(response)) => {
                    reader.received(datagram.at, conversation, response);
                }
                _ => {}
            }
        }
        reader.trail
    }
}

/// A queried node, and the transaction id of the query.
type Conversation<'a> = (SocketAddr, &'a [u8]);

#[derive(Default)]
struct Reader<'a> {
    trail: Trail,
    /// Queries without a response so far, and whether each is an announce.
    open: BTreeMap<Conversation<'a>, bool>,
    /// Hops of the nodes listed in responses.
    listed: BTreeMap<SocketAddr, u32>,
    peers: BTreeSet<SocketAddr>,
}

impl<'a> Reader<'a> {
    fn sent(&mut self, conversation: Conversation<'a>, is_announce: bool) {
        let node = conversation.0;
        self.trail.queries += 1;
        self.trail.queried.entry(node).or_insert_with(|| self.listed.get(&node).copied().unwrap_or(1));
        self.open.insert(conversation, is_announce);
    }

    fn received(&mut self, at: Instant, conversation: Conversation<'a>, response: Response<'a>) {
        let node = conversation.0;
        match self.open.remove(&conversation) {
            None => {}
            Some(true) if self.trail.acknowledged.iter().any(|(_, other)| *other == node) => {}
            Some(true) => self.trail.acknowledged.push((at, node)),
            Some(false) => {
                let hops = self.trail.queried.get(&node).copied().unwrap_or(1);
                for (id, addr) in [response.nodes, response.nodes6].into_iter().flatten().flatten() {
                    self.trail.listed.insert(id);
                    self.listed.entry(addr).or_insert(hops + 1);
                }
                for peer in response.values.into_iter().flatten() {
                    if self.peers.insert(peer) {
                        self.trail.peers.push(Sighting { at, peer, hops });
                    }
                }
            }
        }
    }
}

fn is_about(query: &Query<'_>, target: NodeId) -> bool {
    // A node of this crate also looks beyond the closest nodes, for ids that differ from the target in
    // some of the first bits only.
    let tail = |id: NodeId| u64::from_be_bytes(*id.as_bytes().last_chunk().expect("20 are more than 8"));
    match query.method {
        Method::AnnouncePeer { infohash, .. } => NodeId::from(infohash) == target,
        Method::FindNode { target: queried, .. } => tail(queried) == tail(target),
        _ => target_of(query) == Some(target),
    }
}

#[cfg(test)]
mod tests {
    use std::vec;

    use super::*;
    use crate::base::addr::Family;
    use crate::wire::{NODE4_LEN, NodeWriter, PEER4_LEN, PeerWriter, Want};

    const TORRENT: InfoHash = InfoHash::from_bytes([7; 20]);

    fn host(last: u8) -> SocketAddr {
        SocketAddr::from(([30, 0, 0, last], 6881))
    }

    fn id(last: u8) -> NodeId {
        NodeId::from_bytes([last; 20])
    }

    fn captured(ms: u64, direction: Direction, node: u8, body: Body<'_>) -> Captured {
        let mut buf = [0; 1000];
        let len = Message::new(&[node], body).emit(&mut buf).unwrap();
        let (at, bytes) = (Instant::from_micros(ms * 1000), buf[..len].into());
        Captured { at, direction, remote: host(node), bytes }
    }

    fn queries(ms: u64, node: u8, infohash: InfoHash) -> Captured {
        let method = Method::GetPeers { infohash, want: Want::NONE, noseed: false, scrape: false };
        captured(ms, Direction::Sent, node, Body::Query(Query { id: id(0), method }))
    }

    fn announces(ms: u64, node: u8) -> Captured {
        let (port, implied_port, seed, token, name) = (1, false, false, &b"t"[..], None);
        let method = Method::AnnouncePeer { infohash: TORRENT, port, implied_port, seed, token, name };
        captured(ms, Direction::Sent, node, Body::Query(Query { id: id(0), method }))
    }

    fn responds(ms: u64, node: u8, listed: &[u8], peers_listed: &[u8]) -> Captured {
        let (mut nodes_buf, mut peers_buf) = ([0; 8 * NODE4_LEN], [0; 8 * PEER4_LEN]);
        let mut nodes = NodeWriter::new(Family::V4, &mut nodes_buf);
        listed.iter().for_each(|last| assert!(nodes.push(&id(*last), host(*last))));
        let mut peers = PeerWriter::new(Family::V4, &mut peers_buf);
        peers_listed.iter().for_each(|last| assert!(peers.push(host(*last))));
        let mut response = Response::new(id(node));
        response.nodes = Some(nodes.finish());
        response.values = (!peers_listed.is_empty()).then(|| peers.finish());
        captured(ms, Direction::Received, node, Body::Response(response))
    }

    #[test]
    fn hops_are_counted_from_the_table_and_peers_come_once() {
        let trail = Trail::of(
            &[
                queries(0, 1, TORRENT),
                queries(0, 2, TORRENT),
                responds(10, 1, &[2, 3], &[]),
                queries(10, 3, TORRENT),
                responds(20, 2, &[3], &[]),
                responds(30, 3, &[4], &[100]),
                queries(30, 4, TORRENT),
                queries(40, 4, TORRENT),
                responds(50, 4, &[], &[100, 101]),
            ],
            TORRENT,
        );
        assert_eq!(trail.queries, 5);
        assert_eq!(trail.queried, [(host(1), 1), (host(2), 1), (host(3), 2), (host(4), 3)].into());
        let seen: Vec<_> = trail.peers.iter().map(|it| (it.at.as_micros(), it.peer, it.hops)).collect();
        assert_eq!(seen, vec![(30_000, host(100), 2), (50_000, host(101), 3)]);
    }

    #[test]
    fn only_answers_to_what_was_asked_count() {
        let other = InfoHash::ZERO;
        let trail = Trail::of(
            &[queries(0, 1, other), responds(10, 1, &[], &[100]), responds(20, 2, &[], &[100])],
            TORRENT,
        );
        assert_eq!(trail, Trail::default());
    }

    #[test]
    fn a_node_confirms_once() {
        let (first, second) = (announces(0, 1), announces(10, 1));
        let datagrams = [first, responds(5, 1, &[], &[]), second, responds(15, 1, &[], &[])];
        let trail = Trail::of(&datagrams, TORRENT);
        assert_eq!((trail.queries, trail.acknowledged), (2, vec![(Instant::from_micros(5000), host(1))]));
    }
}
