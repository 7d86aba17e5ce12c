//! Well-behaved hosts: a node that responds, and one that only records.

use alloc::rc::Rc;
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

use super::actor::{Actor, Outbox};
use super::messages::{Contact, Reply, TOKEN, closest, query_in, target_of};
use crate::base::id::{InfoHash, NodeId};
use crate::base::time::Instant;
use crate::wire::Method;

/// A node that responds with the closest of a fixed set of IPv4 contacts, and with fixed peers.
///
/// It sends no queries. It may be slow or unreliable.
pub struct Honest {
    /// The node id.
    pub id: NodeId,
    /// The nodes it may list, which hosts can share.
    pub contacts: Rc<[Contact]>,
    /// The peers in its responses to `get_peers`, at most 50, for any torrent.
    pub peers: Vec<SocketAddr>,
    /// Share of queries that it responds to, in `0.0..=1.0`.
    pub response_rate: f64,
    /// Delay of each response.
    pub delay: Duration,
    /// The announces it received, and when.
    pub stored: Vec<(Instant, InfoHash, SocketAddr)>,
    /// Number of queries it received.
    pub queries: usize,
}

impl Honest {
    /// Creates a node that responds at once.
    pub fn new(id: NodeId, contacts: impl Into<Rc<[Contact]>>) -> Self {
        Self {
            id,
            contacts: contacts.into(),
            peers: Vec::new(),
            response_rate: 1.0,
            delay: Duration::ZERO,
            stored: Vec::new(),
            queries: 0,
        }
    }

    /// Creates a node that responds to a share of the queries.
    pub fn dropper(id: NodeId, contacts: impl Into<Rc<[Contact]>>, response_rate: f64) -> Self {
        Self { response_rate, ..Self::new(id, contacts) }
    }

    /// Creates a node that responds after a delay.
    pub fn slow(id: NodeId, contacts: impl Into<Rc<[Contact]>>, delay: Duration) -> Self {
        Self { delay, ..Self::new(id, contacts) }
    }
}

impl Actor for Honest {
    fn on_datagram(&mut self, now: Instant, from: SocketAddr, datagram: &[u8], out: &mut Outbox<'_>) {
        let Some((transaction, query)) = query_in(datagram) else { return };
        self.queries += 1;
        if self.response_rate < 1.0 && !out.rng().chance(self.response_rate) {
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
        let response = Reply { delay: self.delay, nodes: &nodes, peers, ..Reply::plain(self.id) };
        response.send(out, from, transaction);
    }
}

/// A host that records what it receives, and sends nothing.
#[derive(Default)]
pub struct Recorder {
    /// Time, source and bytes of each datagram.
    pub got: Vec<(Instant, SocketAddr, Vec<u8>)>,
}

impl Actor for Recorder {
    fn on_datagram(&mut self, now: Instant, from: SocketAddr, datagram: &[u8], _: &mut Outbox<'_>) {
        self.got.push((now, from, datagram.to_vec()));
    }
}
