//! The search of jech's `dht.c`, which Transmission runs: few datagrams, and a clock that counts in
//! whole seconds.
//!
//! The 14 closest known nodes are its candidates. Each answer has it ask one more, the *farthest*
//! that may be asked, as the loop that looks for one has no end but its last. All else is done by
//! steps, 10 to 19 s apart: one asks up to four that have not answered, closest first; one that
//! finds the 8 closest answered announces to these; one that finds them all confirmed ends it. A
//! candidate is asked three times, more than 10 s apart, keeps its place meanwhile, and is passed
//! over afterwards. An announce is repeated by the same rule.
//!
//! Left out: other traffic may offer candidates to a search that has fewer than 14. With a filled
//! table none has.

use std::net::SocketAddr;

use dht_proto::sim::cast::Contact;
use dht_proto::{Instant, NodeId};

use super::{Algorithm, K, Line, Reply};

/// `SEARCH_NODES`.
const CANDIDATES: usize = 14;

/// Asked in one step (`DHT_INFLIGHT_QUERIES`).
const AT_ONCE: usize = 4;

/// Seconds until something may be sent again (`DHT_SEARCH_RETRANSMIT`). Steps come after as many,
/// and up to as many more.
const RETRANSMIT: u64 = 10;

/// How often one is asked before it is passed over.
const TRIES: u32 = 3;

/// The search of jech's library.
#[derive(Default)]
pub(crate) struct Jech {
    /// Closest first.
    nodes: Vec<Node>,
    /// The second of the last step.
    stepped: u64,
    /// The second from which the next step is tried; `None` once it is over.
    next_step: Option<u64>,
}

struct Node {
    id: NodeId,
    addr: SocketAddr,
    /// How often it was asked since it last answered.
    tries: u32,
    /// The second in which it was last asked, unless it has answered since.
    asked: Option<u64>,
    has_replied: bool,
    has_confirmed: bool,
    token: Option<Vec<u8>>,
}

impl Node {
    fn may_be_asked(&self, second: u64) -> bool {
        !self.has_replied && self.tries < TRIES && self.asked.is_none_or(|asked| asked + RETRANSMIT < second)
    }

    fn note_asked(&mut self, second: u64) {
        self.tries += 1;
        self.asked = Some(second);
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
            .insert(at, Node { id, addr, tries: 0, asked: None, has_replied, has_confirmed, token: None });
        self.nodes.truncate(CANDIDATES);
    }

    fn step(&mut self, line: &mut Line<'_, '_>) {
        let second = second(line.now);
        if self.nodes.iter().filter(|node| node.tries < TRIES).take(K).all(|node| node.has_replied) {
            return self.announce(line);
        }
        if self.stepped + RETRANSMIT >= second {
            return;
        }
        for node in self.nodes.iter_mut().filter(|node| node.may_be_asked(second)).take(AT_ONCE) {
            line.get_peers(node.addr);
            node.note_asked(second);
        }
        self.stepped = second;
    }

    fn announce(&mut self, line: &mut Line<'_, '_>) {
        let second = second(line.now);
        let mut all_confirmed = true;
        let wanted = if line.announces() { K } else { 0 };
        for node in self.nodes.iter_mut().filter(|node| node.tries < TRIES).take(wanted) {
            let Some(token) = node.token.as_ref().filter(|_| !node.has_confirmed) else { continue };
            all_confirmed = false;
            line.announce(node.addr, token);
            node.note_asked(second);
        }
        self.stepped = second;
        if all_confirmed {
            self.next_step = None;
            line.finish();
        }
    }

    /// What every pass of the library's loop does, and there is one with every datagram.
    fn periodic(&mut self, line: &mut Line<'_, '_>) {
        let second = second(line.now);
        if self.next_step.is_none_or(|at| second < at) {
            return;
        }
        if self.stepped + RETRANSMIT / 2 < second {
            self.step(line);
        }
        if self.next_step.is_some() {
            self.next_step = Some(self.stepped + RETRANSMIT + line.below(RETRANSMIT as usize) as u64);
        }
    }
}

impl Algorithm for Jech {
    fn start(&mut self, table: &[Contact], line: &mut Line<'_, '_>) {
        table.iter().take(CANDIDATES).for_each(|contact| self.insert(*contact, &line.target()));
        self.step(line);
        self.next_step = Some(second(line.now));
        self.periodic(line);
    }

    fn on_reply(&mut self, reply: Reply, line: &mut Line<'_, '_>) {
        let second = second(line.now);
        if self.next_step.is_some() {
            reply.nodes.into_iter().for_each(|contact| self.insert(contact, &line.target()));
            if let Some(farthest) = self.nodes.iter_mut().rfind(|node| node.may_be_asked(second)) {
                line.get_peers(farthest.addr);
                farthest.note_asked(second);
            }
            if let Some(node) = self.nodes.iter_mut().find(|node| node.addr == reply.from) {
                (node.tries, node.asked, node.has_replied, node.token) = (0, None, true, reply.token);
            }
        }
        self.periodic(line);
    }

    fn on_acknowledged(&mut self, node: SocketAddr, line: &mut Line<'_, '_>) {
        if let Some(node) = self.nodes.iter_mut().find(|other| other.addr == node) {
            (node.tries, node.asked, node.has_confirmed) = (0, None, true);
        }
        self.periodic(line);
    }

    fn on_wake(&mut self, line: &mut Line<'_, '_>) {
        self.periodic(line);
    }

    fn next_wake(&self) -> Option<Instant> {
        self.next_step.map(|second| Instant::from_micros(second * 1_000_000))
    }
}

const fn second(now: Instant) -> u64 {
    now.as_micros() / 1_000_000
}
