//! Models jech's `dht.c`, which Transmission uses: few datagrams, and a clock of whole seconds.
//!
//! The 14 closest known nodes are its candidates. Each response triggers one more query, to the
//! *farthest* candidate that may be queried, because the loop that looks for one runs to the end of
//! the list. All else happens in steps, 10 to 19 s apart: a step queries up to four nodes that have
//! not responded, closest first; a step that finds that the 8 closest have responded announces to
//! them; a step that finds all of these confirmed ends the search. A candidate is queried three
//! times, more than 10 s apart, keeps its place meanwhile, and is skipped afterwards. An announce is
//! repeated by the same rule.
//!
//! Left out: other traffic may add candidates to a search that has fewer than 14. With a filled
//! table no search has.

use alloc::vec::Vec;
use core::net::SocketAddr;

use super::driver::{Algorithm, Context, Reply};
use crate::base::id::{K, NodeId};
use crate::base::time::Instant;
use crate::sim::actors::Contact;

/// `SEARCH_NODES`.
const CANDIDATES: usize = 14;

/// Queries of one step (`DHT_INFLIGHT_QUERIES`).
const AT_ONCE: usize = 4;

/// Seconds before a query is repeated (`DHT_SEARCH_RETRANSMIT`). A step follows the last one after
/// as many seconds, and up to as many more.
const RETRANSMIT: u64 = 10;

/// Queries to a candidate before it is skipped.
const TRIES: u32 = 3;

/// State of a search.
#[derive(Default)]
pub(super) struct Jech {
    /// Closest first.
    nodes: Vec<Node>,
    /// When the last step was, in seconds.
    stepped: u64,
    /// When the next step is tried, in seconds; `None` once the search is over.
    next_step: Option<u64>,
}

struct Node {
    id: NodeId,
    addr: SocketAddr,
    /// Queries since its last response.
    tries: u32,
    /// When it was last queried, in seconds, unless it has responded since.
    queried: Option<u64>,
    has_replied: bool,
    has_confirmed: bool,
    token: Option<Vec<u8>>,
}

impl Node {
    fn may_be_queried(&self, second: u64) -> bool {
        !self.has_replied
            && self.tries < TRIES
            && self.queried.is_none_or(|queried| queried + RETRANSMIT < second)
    }

    fn note_queried(&mut self, second: u64) {
        self.tries += 1;
        self.queried = Some(second);
    }
}

impl Jech {
    fn insert(&mut self, (id, addr): Contact, target: &NodeId) {
        if self.nodes.iter().any(|node| node.id == id) {
            return;
        }
        let at = self.nodes.partition_point(|node| node.id.distance(target) < id.distance(target));
        let (has_replied, has_confirmed) = (false, false);
        self.nodes
            .insert(at, Node { id, addr, tries: 0, queried: None, has_replied, has_confirmed, token: None });
        self.nodes.truncate(CANDIDATES);
    }

    fn step(&mut self, context: &mut Context<'_, '_>) {
        let second = second(context.now);
        if self.nodes.iter().filter(|node| node.tries < TRIES).take(K).all(|node| node.has_replied) {
            return self.announce(context);
        }
        if self.stepped + RETRANSMIT >= second {
            return;
        }
        for node in self.nodes.iter_mut().filter(|node| node.may_be_queried(second)).take(AT_ONCE) {
            context.get_peers(node.addr);
            node.note_queried(second);
        }
        self.stepped = second;
    }

    fn announce(&mut self, context: &mut Context<'_, '_>) {
        let second = second(context.now);
        let mut all_confirmed = true;
        let wanted = if context.announces() { K } else { 0 };
        for node in self.nodes.iter_mut().filter(|node| node.tries < TRIES).take(wanted) {
            let Some(token) = node.token.as_ref().filter(|_| !node.has_confirmed) else { continue };
            all_confirmed = false;
            context.announce(node.addr, token);
            node.note_queried(second);
        }
        self.stepped = second;
        if all_confirmed {
            self.next_step = None;
            context.finish();
        }
    }

    /// Models one pass of the library's loop, of which there is one for every datagram.
    fn periodic(&mut self, context: &mut Context<'_, '_>) {
        let second = second(context.now);
        if self.next_step.is_none_or(|at| second < at) {
            return;
        }
        if self.stepped + RETRANSMIT / 2 < second {
            self.step(context);
        }
        if self.next_step.is_some() {
            self.next_step = Some(self.stepped + RETRANSMIT + context.below(RETRANSMIT as usize) as u64);
        }
    }
}

impl Algorithm for Jech {
    fn start(&mut self, table: &[Contact], context: &mut Context<'_, '_>) {
        table.iter().take(CANDIDATES).for_each(|contact| self.insert(*contact, &context.target()));
        self.step(context);
        self.next_step = Some(second(context.now));
        self.periodic(context);
    }

    fn on_reply(&mut self, reply: Reply, context: &mut Context<'_, '_>) {
        let second = second(context.now);
        if self.next_step.is_some() {
            reply.nodes.into_iter().for_each(|contact| self.insert(contact, &context.target()));
            if let Some(farthest) = self.nodes.iter_mut().rfind(|node| node.may_be_queried(second)) {
                context.get_peers(farthest.addr);
                farthest.note_queried(second);
            }
            if let Some(node) = self.nodes.iter_mut().find(|node| node.addr == reply.from) {
                (node.tries, node.queried, node.has_replied, node.token) = (0, None, true, reply.token);
            }
        }
        self.periodic(context);
    }

    fn on_acknowledged(&mut self, node: SocketAddr, context: &mut Context<'_, '_>) {
        if let Some(node) = self.nodes.iter_mut().find(|other| other.addr == node) {
            (node.tries, node.queried, node.has_confirmed) = (0, None, true);
        }
        self.periodic(context);
    }

    fn on_wake(&mut self, context: &mut Context<'_, '_>) {
        self.periodic(context);
    }

    fn next_wake(&self) -> Option<Instant> {
        self.next_step.map(|second| Instant::from_micros(second * 1_000_000))
    }
}

const fn second(now: Instant) -> u64 {
    now.as_micros() / 1_000_000
}
