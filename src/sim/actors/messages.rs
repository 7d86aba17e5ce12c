//! Helpers that scripts share: contacts, queries, responses.

use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

use super::actor::Outbox;
use crate::base::addr::Family;
use crate::base::id::{K, NodeId};
use crate::wire::{Body, Message, Method, NODE4_LEN, NodeWriter, PEER4_LEN, PeerWriter, Query, Response};

/// The id and the address of a node.
pub type Contact = (NodeId, SocketAddr);

/// The token in every response of a script.
pub(super) const TOKEN: &[u8] = b"cast";

/// Parses a query, and returns its transaction id with it.
pub fn query_in(datagram: &[u8]) -> Option<(&[u8], Query<'_>)> {
    match Message::parse(datagram) {
        Ok(Message { transaction, body: Body::Query(query), .. }) => Some((transaction, query)),
        _ => None,
    }
}

/// The target of a query that asks for nodes.
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

/// An id that shares the first `bits` bits with `target` and differs in the next one.
pub fn near(target: NodeId, filler: NodeId, bits: u32) -> NodeId {
    target.sibling(bits, &filler)
}

/// A response with IPv4 nodes, peers and a token.
pub(super) struct Reply<'a> {
    pub(super) delay: Duration,
    pub(super) id: NodeId,
    pub(super) nodes: &'a [Contact],
    pub(super) peers: &'a [SocketAddr],
    pub(super) requester: Option<SocketAddr>,
}

impl Reply<'_> {
    pub(super) const fn plain(id: NodeId) -> Self {
        Self { delay: Duration::ZERO, id, nodes: &[], peers: &[], requester: None }
    }

    pub(super) fn send(&self, out: &mut Outbox<'_>, to: SocketAddr, transaction: &[u8]) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::rng::SimRng;

    #[test]
    fn the_closest_come_first_and_no_others() {
        let mut rng = SimRng::new(1);
        let contacts: Vec<Contact> =
            (0..100).map(|_| (rng.id(), SocketAddr::from(([140, 0, 0, 1], 6881)))).collect();
        let target = rng.id();
        let mut sorted = contacts.clone();
        sorted.sort_by_key(|(id, _)| id.distance(&target));
        assert_eq!(closest(&contacts, target), sorted[..K]);
        assert_eq!(closest(&contacts[..3], target).len(), 3);
    }
}
