//! How deployed clients look up and announce, to be compared with in the same world.
//!
//! Each is an [`Algorithm`], written from a description of its behaviour. The [`Driver`] talks for
//! it: a reply counts only if it comes from the address that was asked, under the transaction that
//! was given to it. What an algorithm did is read off its datagrams, as it is for our own.

mod jech;
mod libtorrent;
mod lockstep;

use std::collections::BTreeMap;
use std::net::SocketAddr;

use dht_proto::sim::cast::Contact;
use dht_proto::sim::{Actor, Dice, HostId, Outbox, World};
use dht_proto::wire::{Body, Message, Method, Query, Want};
use dht_proto::{Family, InfoHash, Instant, NodeId};

use jech::Jech;
use libtorrent::Libtorrent;
use lockstep::Lockstep;

/// Nodes that a lookup is for.
const K: usize = 8;

/// A way to look up the peers of a torrent and to announce oneself there.
pub(crate) trait Algorithm: 'static {
    /// It begins, with all that the routing table holds, closest to the target first.
    fn start(&mut self, table: &[Contact], line: &mut Line<'_, '_>);

    /// A `get_peers` was answered.
    fn on_reply(&mut self, reply: Reply, line: &mut Line<'_, '_>);

    /// An `announce_peer` was answered.
    fn on_acknowledged(&mut self, _node: SocketAddr, _line: &mut Line<'_, '_>) {}

    /// The time that [`next_wake`](Self::next_wake) asked for has come.
    fn on_wake(&mut self, line: &mut Line<'_, '_>);

    /// When to call [`on_wake`](Self::on_wake).
    fn next_wake(&self) -> Option<Instant>;
}

/// The answer to a `get_peers`.
pub(crate) struct Reply {
    /// Who was asked.
    pub(crate) from: SocketAddr,
    /// Whom it lists.
    pub(crate) nodes: Vec<Contact>,
    /// What it wants to see in an announce.
    pub(crate) token: Option<Vec<u8>>,
}

/// A node that was heard of, and how it stands with it.
struct Listed<S> {
    id: NodeId,
    addr: SocketAddr,
    state: S,
}

impl<S> Listed<S> {
    /// Puts it where it belongs in a list that has those closest to the target first.
    fn insert_into(self, nodes: &mut Vec<Self>, target: &NodeId) {
        let distance = self.id.distance(target);
        let at = nodes.partition_point(|node| node.id.distance(target) < distance);
        nodes.insert(at, self);
    }
}

/// An algorithm by its name.
pub(crate) type Named = (&'static str, fn() -> Box<dyn Algorithm>);

/// All of them, in the order in which they are listed.
pub(crate) const ALL: [Named; 3] = [
    ("lock-step", || Box::new(Lockstep::default())),
    ("libtorrent", || Box::new(Libtorrent::default())),
    ("jech", || Box::new(Jech::default())),
];

/// All that the routing table of a node holds.
pub(crate) fn table(world: &World, host: HostId) -> Vec<Contact> {
    let node = world.node(host).expect("it runs a node");
    node.nodes(Family::V4).map(|node| (node.id, node.addr)).collect()
}

/// Has a new host look up a torrent from this table, and announce itself there if it is to. It is
/// captured, and starts with the next step of the world.
pub(crate) fn launch(
    world: &mut World,
    algorithm: Box<dyn Algorithm>,
    table: Vec<Contact>,
    infohash: InfoHash,
    announces: bool,
) -> HostId {
    let id = world.dice().id();
    let driver = Driver::new(world, algorithm, id, table, infohash, announces);
    let host = world.add_actor(driver);
    world.capture(host);
    host
}

/// Puts an algorithm in the place of a node, to look up a torrent at once from the table that the node
/// had. It is captured.
#[allow(dead_code, reason = "of use to some only")]
pub(crate) fn stand_in(world: &mut World, host: HostId, algorithm: Box<dyn Algorithm>, infohash: InfoHash) {
    let id = world.node(host).expect("a node to stand in for").id(Family::V4);
    let table = table(world, host);
    let driver = Driver::new(world, algorithm, id, table, infohash, false);
    world.capture(host);
    world.replace(host, driver);
}

/// When a [launched](launch) host held itself to be through.
pub(crate) fn done(world: &World, host: HostId) -> Option<Instant> {
    world.actor::<Driver>(host).and_then(|driver| driver.talk.done)
}

/// A host that does what an [`Algorithm`] wants. It starts when it is born.
struct Driver {
    algorithm: Box<dyn Algorithm>,
    /// Empty once it has started.
    table: Vec<Contact>,
    talk: Talk,
}

impl Driver {
    fn new(
        world: &mut World,
        algorithm: Box<dyn Algorithm>,
        id: NodeId,
        mut table: Vec<Contact>,
        infohash: InfoHash,
        announces: bool,
    ) -> Self {
        let target = NodeId::from(infohash);
        table.sort_by_key(|(id, _)| id.distance(&target));
        let dice = Dice::new(world.dice().bits());
        let talk = Talk { id, infohash, announces, dice, asked: BTreeMap::new(), sent: 0, done: None };
        Self { algorithm, table, talk }
    }
}

impl Actor for Driver {
    fn on_datagram(&mut self, now: Instant, from: SocketAddr, datagram: &[u8], out: &mut Outbox<'_>) {
        let Ok(Message { transaction, body: Body::Response(response), .. }) = Message::parse(datagram) else {
            return;
        };
        let Ok(ticket) = transaction.try_into().map(u16::from_be_bytes) else { return };
        let Some(asked) = self.talk.asked.get(&ticket).copied().filter(|asked| asked.node == from) else {
            return;
        };
        self.talk.asked.remove(&ticket);
        let mut line = Line { now, talk: &mut self.talk, out };
        if asked.is_announce {
            self.algorithm.on_acknowledged(from, &mut line);
        } else {
            let nodes = response.nodes.into_iter().flatten().collect();
            let reply = Reply { from, nodes, token: response.token.map(<[u8]>::to_vec) };
            self.algorithm.on_reply(reply, &mut line);
        }
    }

    fn on_wake(&mut self, now: Instant, out: &mut Outbox<'_>) {
        let mut line = Line { now, talk: &mut self.talk, out };
        if self.table.is_empty() {
            self.algorithm.on_wake(&mut line);
        } else {
            self.algorithm.start(&std::mem::take(&mut self.table), &mut line);
        }
    }

    fn next_wake(&self) -> Option<Instant> {
        if self.table.is_empty() { self.algorithm.next_wake() } else { Some(Instant::ZERO) }
    }
}

/// What was said so far.
struct Talk {
    id: NodeId,
    infohash: InfoHash,
    announces: bool,
    dice: Dice,
    asked: BTreeMap<u16, Asked>,
    sent: u16,
    done: Option<Instant>,
}

#[derive(Clone, Copy)]
struct Asked {
    node: SocketAddr,
    is_announce: bool,
}

/// An algorithm's way to the others.
pub(crate) struct Line<'a, 'o> {
    /// The time.
    pub(crate) now: Instant,
    talk: &'a mut Talk,
    out: &'a mut Outbox<'o>,
}

impl Line<'_, '_> {
    /// What is looked for.
    fn target(&self) -> NodeId {
        self.talk.infohash.into()
    }

    /// Whether it is to announce itself where it has looked; else it is through by then.
    const fn announces(&self) -> bool {
        self.talk.announces
    }

    /// Uniform in `0..bound`.
    const fn below(&mut self, bound: usize) -> usize {
        self.talk.dice.below(bound)
    }

    /// Sends a `get_peers`.
    fn get_peers(&mut self, node: SocketAddr) {
        let infohash = self.talk.infohash;
        let method = Method::GetPeers { infohash, want: Want::NONE, noseed: false, scrape: false };
        self.ask(node, method, false);
    }

    /// Sends an `announce_peer`.
    fn announce(&mut self, node: SocketAddr, token: &[u8]) {
        let infohash = self.talk.infohash;
        let (port, implied_port, seed, name) = (999, false, false, None);
        let method = Method::AnnouncePeer { infohash, port, implied_port, seed, token, name };
        self.ask(node, method, true);
    }

    fn ask(&mut self, node: SocketAddr, method: Method<'_>, is_announce: bool) {
        let ticket = self.talk.sent;
        self.talk.sent = ticket.wrapping_add(1);
        self.talk.asked.insert(ticket, Asked { node, is_announce });
        let query = Query { id: self.talk.id, method };
        self.out.send_message(node, &Message::new(&ticket.to_be_bytes(), Body::Query(query)));
    }

    /// No answer of this node counts any more.
    fn forget(&mut self, node: SocketAddr) {
        self.talk.asked.retain(|_, asked| asked.node != node);
    }

    /// All is done.
    fn finish(&mut self) {
        self.talk.done.get_or_insert(self.now);
    }
}
