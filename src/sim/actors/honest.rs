//! Hosts that mean no harm: a node that answers, and one that only records.

use alloc::rc::Rc;
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

use super::actor::{Actor, Outbox};
use super::messages::{Answer, Contact, TOKEN, closest, query_in, target_of};
use crate::id::{InfoHash, NodeId};
use crate::time::Instant;
use crate::wire::Method;

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
    pub response_rate: f64,
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
            response_rate: 1.0,
            delay: Duration::ZERO,
            stored: Vec::new(),
            queries: 0,
        }
    }

    /// One that leaves some queries unanswered: it answers this share of them.
    pub fn dropper(id: NodeId, contacts: impl Into<Rc<[Contact]>>, response_rate: f64) -> Self {
        Self { response_rate, ..Self::new(id, contacts) }
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
        let answer = Answer { delay: self.delay, nodes: &nodes, peers, ..Answer::plain(self.id) };
        answer.send(out, from, transaction);
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
