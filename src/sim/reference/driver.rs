//! Runs a lookup [`Algorithm`] as a host: transactions, replies, wake-ups.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::mem;
use core::net::SocketAddr;

use crate::base::id::{InfoHash, NodeId};
use crate::base::time::Instant;
use crate::sim::actors::{Actor, Contact, Outbox};
use crate::sim::rng::SimRng;
use crate::wire::{Body, Message, Method, Query, Want};

/// A way to look up the peers of a torrent and to announce to the closest nodes.
pub(super) trait Algorithm: 'static {
    /// Begins, with the whole routing table, closest to the target first.
    fn start(&mut self, table: &[Contact], context: &mut Context<'_, '_>);

    /// Handles the response to a `get_peers`.
    fn on_reply(&mut self, reply: Reply, context: &mut Context<'_, '_>);

    /// Handles the response to an `announce_peer`.
    fn on_acknowledged(&mut self, _node: SocketAddr, _context: &mut Context<'_, '_>) {}

    /// Called at the time that [`next_wake`](Self::next_wake) returned.
    fn on_wake(&mut self, context: &mut Context<'_, '_>);

    /// When to call [`on_wake`](Self::on_wake).
    fn next_wake(&self) -> Option<Instant>;
}

/// The response to a `get_peers`.
pub(super) struct Reply {
    /// The node that was queried.
    pub(super) from: SocketAddr,
    /// The nodes it lists.
    pub(super) nodes: Vec<Contact>,
    /// The token it expects in an announce.
    pub(super) token: Option<Vec<u8>>,
}

/// A node in an algorithm's list of candidates, and its state there.
pub(super) struct Candidate<S> {
    pub(super) id: NodeId,
    pub(super) addr: SocketAddr,
    pub(super) state: S,
}

impl<S> Candidate<S> {
    /// Inserts it into a list sorted by distance to `target`, closest first.
    pub(super) fn insert_into(self, nodes: &mut Vec<Self>, target: &NodeId) {
        let distance = self.id.distance(target);
        let at = nodes.partition_point(|node| node.id.distance(target) < distance);
        nodes.insert(at, self);
    }
}

/// What an algorithm may do at one call: send queries, draw random numbers, finish.
pub(super) struct Context<'a, 'o> {
    /// The time of the call.
    pub(super) now: Instant,
    lookup: &'a mut State,
    out: &'a mut Outbox<'o>,
}

impl Context<'_, '_> {
    /// The infohash as a point of the id space.
    pub(super) fn target(&self) -> NodeId {
        self.lookup.infohash.into()
    }

    /// Whether the lookup ends with an announce.
    pub(super) const fn announces(&self) -> bool {
        self.lookup.announces
    }

    /// Draws a number, uniform in `0..bound`.
    pub(super) const fn below(&mut self, bound: usize) -> usize {
        self.lookup.rng.below(bound)
    }

    /// Sends a `get_peers`.
    pub(super) fn get_peers(&mut self, node: SocketAddr) {
        let infohash = self.lookup.infohash;
        let method = Method::GetPeers { infohash, want: Want::NONE, noseed: false, scrape: false };
        self.query(node, method, false);
    }

    /// Sends an `announce_peer`.
    pub(super) fn announce(&mut self, node: SocketAddr, token: &[u8]) {
        let infohash = self.lookup.infohash;
        let (port, implied_port, seed, name) = (999, false, false, None);
        let method = Method::AnnouncePeer { infohash, port, implied_port, seed, token, name };
        self.query(node, method, true);
    }

    /// Ignores all later responses of a node.
    pub(super) fn forget(&mut self, node: SocketAddr) {
        self.lookup.pending.retain(|_, pending| pending.node != node);
    }

    /// Marks the lookup as finished.
    pub(super) fn finish(&mut self) {
        self.lookup.finished.get_or_insert(self.now);
    }

    fn query(&mut self, node: SocketAddr, method: Method<'_>, is_announce: bool) {
        let transaction = self.lookup.sent;
        self.lookup.sent = transaction.wrapping_add(1);
        self.lookup.pending.insert(transaction, Pending { node, is_announce });
        let query = Query { id: self.lookup.id, method };
        self.out.send_message(node, &Message::new(&transaction.to_be_bytes(), Body::Query(query)));
    }
}

/// A host that runs an [`Algorithm`], from the moment it is added.
///
/// A response counts only if it comes from the address that was queried, with the transaction id of
/// that query.
pub(super) struct Driver {
    algorithm: Box<dyn Algorithm>,
    /// Empty once the algorithm has started.
    table: Vec<Contact>,
    lookup: State,
}

impl Driver {
    pub(super) fn new(
        algorithm: Box<dyn Algorithm>,
        id: NodeId,
        mut table: Vec<Contact>,
        infohash: InfoHash,
        announces: bool,
        rng: SimRng,
    ) -> Self {
        let target = NodeId::from(infohash);
        table.sort_by_key(|(id, _)| id.distance(&target));
        let pending = BTreeMap::new();
        let lookup = State { id, infohash, announces, rng, pending, sent: 0, finished: None };
        Self { algorithm, table, lookup }
    }

    /// When the algorithm considered itself finished.
    pub(super) const fn finished_at(&self) -> Option<Instant> {
        self.lookup.finished
    }
}

impl Actor for Driver {
    fn on_datagram(&mut self, now: Instant, from: SocketAddr, datagram: &[u8], out: &mut Outbox<'_>) {
        let Ok(Message { transaction, body: Body::Response(response), .. }) = Message::parse(datagram) else {
            return;
        };
        let Ok(transaction) = transaction.try_into().map(u16::from_be_bytes) else { return };
        let pending = self.lookup.pending.get(&transaction).copied();
        let Some(pending) = pending.filter(|pending| pending.node == from) else { return };
        self.lookup.pending.remove(&transaction);
        let mut context = Context { now, lookup: &mut self.lookup, out };
        if pending.is_announce {
            self.algorithm.on_acknowledged(from, &mut context);
        } else {
            let nodes = response.nodes.into_iter().flatten().collect();
            let reply = Reply { from, nodes, token: response.token.map(<[u8]>::to_vec) };
            self.algorithm.on_reply(reply, &mut context);
        }
    }

    fn on_wake(&mut self, now: Instant, out: &mut Outbox<'_>) {
        let mut context = Context { now, lookup: &mut self.lookup, out };
        if self.table.is_empty() {
            self.algorithm.on_wake(&mut context);
        } else {
            self.algorithm.start(&mem::take(&mut self.table), &mut context);
        }
    }

    fn next_wake(&self) -> Option<Instant> {
        if self.table.is_empty() { self.algorithm.next_wake() } else { Some(Instant::ZERO) }
    }
}

/// One lookup: its parameters, and the queries without a response so far.
struct State {
    id: NodeId,
    infohash: InfoHash,
    announces: bool,
    rng: SimRng,
    pending: BTreeMap<u16, Pending>,
    sent: u16,
    finished: Option<Instant>,
}

#[derive(Clone, Copy)]
struct Pending {
    node: SocketAddr,
    is_announce: bool,
}
