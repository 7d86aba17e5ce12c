//! Models the traversal of libtorrent 2.1: quick to the first peers, slow to its end.
//!
//! Up to 100 nodes are kept, closest first. At each response and each timeout it goes through the
//! list until it has counted 8 nodes that responded or as many queries in flight as its branch
//! factor, and queries the fresh nodes it passes; so closer nodes are queried at once, whatever is
//! in flight further out. A node that does not respond within 1 s raises the branch factor by one.
//! The traversal ends when 8 nodes have responded and no closer query is in flight, which takes the
//! full 15 s for a dead node. Then it announces once to the 8 closest with a token, and is done
//! without waiting for the responses.
//!
//! Both timeouts are checked once a second. Nothing is sent twice. Of the nodes in one /24 it would
//! take only the first; the hosts of a scripted network have one each.

use alloc::vec::Vec;
use core::time::Duration;

use super::driver::{Algorithm, Candidate, Context, Reply};
use crate::base::id::{K, NodeId};
use crate::base::time::Instant;
use crate::sim::actors::Contact;

/// Queries in flight among the closest nodes (`dht_search_branching`).
const BRANCHING: usize = 5;

/// Most nodes that are kept.
const RESULTS: usize = 100;

/// Time without a response after which another node may be queried in addition.
const SHORT_TIMEOUT: Duration = Duration::from_secs(1);

/// Time without a response after which a query has failed.
const TIMEOUT: Duration = Duration::from_secs(15);

/// Time between two checks of the timeouts.
const TICK: Duration = Duration::from_secs(1);

/// State of a traversal.
#[derive(Default)]
pub(super) struct Libtorrent {
    /// Closest first.
    nodes: Vec<Candidate<State>>,
    branch_factor: usize,
    next_tick: Option<Instant>,
}

#[derive(PartialEq)]
enum State {
    Fresh,
    Queried {
        at: Instant,
        /// Whether the short timeout has passed.
        is_short: bool,
    },
    /// Responded, with the token, if any.
    Alive(Option<Vec<u8>>),
    Failed,
}

impl Libtorrent {
    fn insert(&mut self, (id, addr): Contact, target: &NodeId) {
        if self.nodes.iter().all(|node| node.id != id) {
            Candidate { id, addr, state: State::Fresh }.insert_into(&mut self.nodes, target);
        }
    }

    fn pump(&mut self, context: &mut Context<'_, '_>) {
        let (mut wanted, mut in_flight) = (K, 0);
        for node in &mut self.nodes {
            if wanted == 0 || in_flight >= self.branch_factor {
                break;
            }
            match node.state {
                State::Alive(_) => wanted -= 1,
                State::Queried { .. } => in_flight += 1,
                State::Failed => {}
                State::Fresh => {
                    context.get_peers(node.addr);
                    node.state = State::Queried { at: context.now, is_short: false };
                    in_flight += 1;
                }
            }
        }
        let is_idle = !self.nodes.iter().any(|node| matches!(node.state, State::Queried { .. }));
        if is_idle || (wanted == 0 && in_flight == 0) {
            self.end(context);
        }
    }

    fn end(&mut self, context: &mut Context<'_, '_>) {
        let wanted = if context.announces() { K } else { 0 };
        let with_token = self.nodes.iter().filter_map(|node| match &node.state {
            State::Alive(Some(token)) => Some((node.addr, token)),
            _ => None,
        });
        with_token.take(wanted).for_each(|(addr, token)| context.announce(addr, token));
        self.next_tick = None;
        context.finish();
    }

    const fn is_over(&self) -> bool {
        self.next_tick.is_none()
    }
}

impl Algorithm for Libtorrent {
    fn start(&mut self, table: &[Contact], context: &mut Context<'_, '_>) {
        table.iter().take(K).for_each(|contact| self.insert(*contact, &context.target()));
        self.branch_factor = BRANCHING;
        let phase = Duration::from_micros(context.below(TICK.as_micros() as usize) as u64);
        self.next_tick = Some(context.now + phase);
        self.pump(context);
    }

    fn on_reply(&mut self, reply: Reply, context: &mut Context<'_, '_>) {
        let is_over = self.is_over();
        // A node that was dropped from the end of the list no longer counts.
        let queried = self.nodes.iter_mut().find(|node| node.addr == reply.from);
        let Some(node) = queried.filter(|_| !is_over) else { return };
        let State::Queried { is_short, .. } = node.state else { return };
        node.state = State::Alive(reply.token);
        self.branch_factor -= usize::from(is_short);
        reply.nodes.into_iter().for_each(|contact| self.insert(contact, &context.target()));
        self.nodes.truncate(RESULTS);
        self.pump(context);
    }

    fn on_wake(&mut self, context: &mut Context<'_, '_>) {
        self.next_tick = Some(context.now + TICK);
        for at in 0..self.nodes.len() {
            let State::Queried { at: queried, is_short } = self.nodes[at].state else { continue };
            let age = context.now - queried;
            if age >= TIMEOUT {
                context.forget(self.nodes[at].addr);
                self.nodes[at].state = State::Failed;
                self.branch_factor -= usize::from(is_short);
            } else if age >= SHORT_TIMEOUT && !is_short {
                self.nodes[at].state = State::Queried { at: queried, is_short: true };
                self.branch_factor += 1;
            } else {
                continue;
            }
            self.pump(context);
            if self.is_over() {
                break;
            }
        }
    }

    fn next_wake(&self) -> Option<Instant> {
        self.next_tick
    }
}
