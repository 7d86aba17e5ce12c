//! How deployed clients look up and announce, to be compared with in the same world.
//!
//! Each is an [`Algorithm`], written from a description of its behaviour. The [`Driver`] talks for
//! it: a reply counts only if it comes from the address that was asked, under the transaction that
//! was given to it. What an algorithm did is measured the same way for all, [ours](ours) included,
//! on the [toy network](Toy).

mod jech;
mod libtorrent;
mod lockstep;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use dht_proto::sim::cast::{Contact, Honest};
use dht_proto::sim::toy::{Stage, Toy};
use dht_proto::sim::{Actor, Dice, Outbox};
use dht_proto::wire::{Body, Message, Method, Query, Want};
use dht_proto::{Distance, Family, InfoHash, Instant, NodeId};

pub(crate) use jech::Jech;
pub(crate) use libtorrent::Libtorrent;
pub(crate) use lockstep::Lockstep;

/// Nodes that a lookup is for.
const K: usize = 8;

/// None of them takes longer, unless it never ends.
const PATIENCE: Duration = Duration::from_secs(600);

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

/// What a lookup came to: every time is counted from its start, and is `None` if that never came.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    /// The first peer was heard of.
    pub(crate) first_value: Option<Duration>,
    /// The announce stood at 8 hosts.
    pub(crate) stands_at_8: Option<Duration>,
    /// Eight hosts had confirmed it.
    pub(crate) acknowledged_at_8: Option<Duration>,
    /// The algorithm held itself to be through.
    pub(crate) done: Option<Duration>,
    /// Datagrams that it sent until then.
    pub(crate) datagrams: u64,
    /// How many of the 8 closest living hosts do not hold the announce.
    pub(crate) missed: usize,
}

/// Our own lookup on the toy network.
pub(crate) fn ours(toy: &Toy, seed: u64) -> Outcome {
    let outcome = toy.run(seed);
    Outcome {
        first_value: outcome.first_value,
        stands_at_8: outcome.stands_at_8,
        acknowledged_at_8: outcome.acknowledged_at_8,
        done: Some(outcome.done),
        datagrams: outcome.datagrams,
        missed: outcome.missed,
    }
}

/// Another on the toy network of the same seed: the same hosts, the same of them dead, and from the
/// table that our node had filled.
pub(crate) fn run(toy: &Toy, seed: u64, algorithm: impl Algorithm) -> Outcome {
    let stage = toy.build(seed);
    let node = stage.world.node(stage.node).expect("it is there");
    let table = node.nodes(Family::V4).map(|node| (node.id, node.addr)).collect();
    run_from(stage, table, algorithm)
}

/// The same, from a table of one's own.
pub(crate) fn run_from(mut stage: Stage, mut table: Vec<Contact>, algorithm: impl Algorithm) -> Outcome {
    let (world, target) = (&mut stage.world, NodeId::from(stage.target));
    table.sort_by_key(|(id, _)| id.distance(&target));
    world.kill(stage.node);

    // Those with a clock of whole seconds begin at any time within one.
    let pause = world.dice().up_to(Duration::from_secs(1));
    world.run_for(pause);
    let started = world.now();
    let (id, seed) = (world.dice().id(), world.dice().bits());
    let driver = world.add_actor(Driver {
        algorithm: Box::new(algorithm),
        table,
        talk: Talk::new(id, stage.target, Dice::new(seed)),
    });
    world.run_until(
        |world| world.actor::<Driver>(driver).is_some_and(|driver| driver.talk.done.is_some()),
        PATIENCE,
    );
    // What is still on its way arrives.
    world.run_for(Duration::from_secs(2));

    let mut stored: Vec<Instant> = Vec::new();
    let mut living: Vec<(Distance, bool)> = Vec::new();
    for (host, is_dead) in stage.hosts.iter().zip(&stage.is_dead) {
        let actor = world.actor::<Honest>(*host).expect("all are scripted");
        stored.extend(actor.stored.first().map(|(at, ..)| *at));
        if !is_dead {
            living.push((actor.id.distance(&target), !actor.stored.is_empty()));
        }
    }
    stored.sort();
    living.sort();
    let talk = &world.actor::<Driver>(driver).expect("it is there").talk;
    let since = |at: Option<Instant>| at.map(|at| at - started);
    Outcome {
        first_value: since(talk.first_value),
        stands_at_8: since(stored.get(K - 1).copied()),
        acknowledged_at_8: since(talk.acknowledged.get(K - 1).copied()),
        done: since(talk.done),
        datagrams: talk.sent,
        missed: living.iter().take(K).filter(|(_, holds)| !holds).count(),
    }
}

/// The value below which this share of all lie; what never came is longer than anything.
pub(crate) fn percentile(
    outcomes: &[Outcome],
    share: f64,
    figure: impl Fn(&Outcome) -> Option<Duration>,
) -> Option<Duration> {
    let mut all: Vec<Duration> = outcomes.iter().map(|it| figure(it).unwrap_or(Duration::MAX)).collect();
    all.sort();
    let at = (share * (all.len() as f64 - 1.0)).round() as usize;
    all.get(at).copied().filter(|value| *value < Duration::MAX)
}

/// A host that does what an [`Algorithm`] wants. It starts when it is born.
struct Driver {
    algorithm: Box<dyn Algorithm>,
    /// Empty once it has started.
    table: Vec<Contact>,
    talk: Talk,
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
            line.talk.acknowledged.push(now);
            self.algorithm.on_acknowledged(from, &mut line);
        } else {
            if response.values.is_some_and(|values| values.iter().next().is_some()) {
                line.talk.first_value.get_or_insert(now);
            }
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
    dice: Dice,
    asked: BTreeMap<u16, Asked>,
    sent: u64,
    first_value: Option<Instant>,
    acknowledged: Vec<Instant>,
    done: Option<Instant>,
}

#[derive(Clone, Copy)]
struct Asked {
    node: SocketAddr,
    is_announce: bool,
}

impl Talk {
    fn new(id: NodeId, infohash: InfoHash, dice: Dice) -> Self {
        let (asked, acknowledged) = (BTreeMap::new(), Vec::new());
        let (first_value, done) = (None, None);
        Self { id, infohash, dice, asked, sent: 0, first_value, acknowledged, done }
    }
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
        let ticket = self.talk.sent as u16;
        self.talk.sent += 1;
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
