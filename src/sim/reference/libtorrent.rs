//! The traversal of libtorrent 2.1: quick to the first peers, slow to its end.
//!
//! Up to 100 nodes are kept, closest first. With each answer and each timeout it goes through the
//! list until it has counted 8 that answered or as many under way as its branch factor, and asks
//! the fresh ones on its way; so better nodes are asked at once, whatever is still under way
//! further out. A node that is silent for 1 s raises the branch factor by one. It ends when 8 have
//! answered and nothing closer is under way, and a silent node is under way for the full 15 s.
//! Then the 8 closest with a token are announced to, once; what becomes of that nobody asks, so it
//! is done by then.
//!
//! Both times are looked at once a second. Nothing is sent twice. Of the nodes in one /24 it would
//! take only the first; the hosts of the toy network each have their own.

use std::time::Duration;

use dht_proto::sim::cast::Contact;
use dht_proto::{Instant, NodeId};

use super::{Algorithm, K, Line, Listed, Reply};

/// Queries among the closest that may be under way (`dht_search_branching`).
const BRANCHING: usize = 5;

/// Nodes that are kept.
const RESULTS: usize = 100;

/// After this long without an answer another may be asked in its stead, and after this long it is
/// given up.
const SHORT_TIMEOUT: Duration = Duration::from_secs(1);
const TIMEOUT: Duration = Duration::from_secs(15);

/// How often it looks whether these times have passed.
const TICK: Duration = Duration::from_secs(1);

/// The traversal of libtorrent.
#[derive(Default)]
pub(crate) struct Libtorrent {
    /// Closest first.
    nodes: Vec<Listed<State>>,
    branch_factor: usize,
    next_tick: Option<Instant>,
}

#[derive(PartialEq)]
enum State {
    Fresh,
    Asked {
        at: Instant,
        /// It let the short time pass.
        is_short: bool,
    },
    /// With the token, if any.
    Alive(Option<Vec<u8>>),
    Failed,
}

impl Libtorrent {
    fn insert(&mut self, (id, addr): Contact, target: &NodeId) {
        if self.nodes.iter().all(|node| node.id != id) {
            Listed { id, addr, state: State::Fresh }.insert_into(&mut self.nodes, target);
        }
    }

    fn pump(&mut self, line: &mut Line<'_, '_>) {
        let (mut wanted, mut outstanding) = (K, 0);
        for node in &mut self.nodes {
            if wanted == 0 || outstanding >= self.branch_factor {
                break;
            }
            match node.state {
                State::Alive(_) => wanted -= 1,
                State::Asked { .. } => outstanding += 1,
                State::Failed => {}
                State::Fresh => {
                    line.get_peers(node.addr);
                    node.state = State::Asked { at: line.now, is_short: false };
                    outstanding += 1;
                }
            }
        }
        let is_idle = !self.nodes.iter().any(|node| matches!(node.state, State::Asked { .. }));
        if is_idle || (wanted == 0 && outstanding == 0) {
            self.end(line);
        }
    }

    fn end(&mut self, line: &mut Line<'_, '_>) {
        let wanted = if line.announces() { K } else { 0 };
        let with_token = self.nodes.iter().filter_map(|node| match &node.state {
            State::Alive(Some(token)) => Some((node.addr, token)),
            _ => None,
        });
        with_token.take(wanted).for_each(|(addr, token)| line.announce(addr, token));
        self.next_tick = None;
        line.finish();
    }

    const fn is_over(&self) -> bool {
        self.next_tick.is_none()
    }
}

impl Algorithm for Libtorrent {
    fn start(&mut self, table: &[Contact], line: &mut Line<'_, '_>) {
        table.iter().take(K).for_each(|contact| self.insert(*contact, &line.target()));
        self.branch_factor = BRANCHING;
        let phase = Duration::from_micros(line.below(TICK.as_micros() as usize) as u64);
        self.next_tick = Some(line.now + phase);
        self.pump(line);
    }

    fn on_reply(&mut self, reply: Reply, line: &mut Line<'_, '_>) {
        let is_over = self.is_over();
        // One that fell off the end of the list counts no more.
        let asked = self.nodes.iter_mut().find(|node| node.addr == reply.from);
        let Some(node) = asked.filter(|_| !is_over) else { return };
        let State::Asked { is_short, .. } = node.state else { return };
        node.state = State::Alive(reply.token);
        self.branch_factor -= usize::from(is_short);
        reply.nodes.into_iter().for_each(|contact| self.insert(contact, &line.target()));
        self.nodes.truncate(RESULTS);
        self.pump(line);
    }

    fn on_wake(&mut self, line: &mut Line<'_, '_>) {
        self.next_tick = Some(line.now + TICK);
        for at in 0..self.nodes.len() {
            let State::Asked { at: asked, is_short } = self.nodes[at].state else { continue };
            let age = line.now - asked;
            if age >= TIMEOUT {
                line.forget(self.nodes[at].addr);
                self.nodes[at].state = State::Failed;
                self.branch_factor -= usize::from(is_short);
            } else if age >= SHORT_TIMEOUT && !is_short {
                self.nodes[at].state = State::Asked { at: asked, is_short: true };
                self.branch_factor += 1;
            } else {
                continue;
            }
            self.pump(line);
            if self.is_over() {
                break;
            }
        }
    }

    fn next_wake(&self) -> Option<Instant> {
        self.next_tick
    }
}
