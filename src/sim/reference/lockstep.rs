//! Models the lookup of jstorrent, and of many a textbook, which proceeds in rounds.
//!
//! Three of the 8 closest nodes that were not queried yet are queried together, and no other until
//! each of the three has responded or timed out after 5 s, so one dead node delays two others. A
//! node that does not respond is dropped. The lookup ends when the 8 closest nodes left have
//! responded; then it announces to every node that sent a token, at once, and waits for these
//! responses too. A late response is ignored, and nothing is sent twice.

use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

use super::driver::{Algorithm, Candidate, Context, Reply};
use crate::base::id::{K, NodeId};
use crate::base::time::Instant;
use crate::sim::actors::Contact;

/// Queries of one round (`ALPHA`).
const BATCH: usize = 3;

/// Time to wait for a response (`QUERY_TIMEOUT_MS`).
const TIMEOUT: Duration = Duration::from_secs(5);

/// State of a lookup.
#[derive(Default)]
pub(super) struct Lockstep {
    /// Closest first.
    nodes: Vec<Candidate<State>>,
    /// The nodes of this round that have not responded yet.
    awaited: Vec<SocketAddr>,
    /// When the round times out.
    deadline: Option<Instant>,
    is_announcing: bool,
}

#[derive(PartialEq)]
enum State {
    Fresh,
    Queried,
    /// Responded, with the token, if any.
    Alive(Option<Vec<u8>>),
    Failed,
}

impl Lockstep {
    fn insert(&mut self, (id, addr): Contact, target: &NodeId) {
        if self.nodes.iter().all(|node| node.addr != addr) {
            Candidate { id, addr, state: State::Fresh }.insert_into(&mut self.nodes, target);
        }
    }

    fn step(&mut self, context: &mut Context<'_, '_>) {
        let closest = self.nodes.iter_mut().filter(|node| node.state != State::Failed).take(K);
        for node in closest.filter(|node| node.state == State::Fresh).take(BATCH) {
            node.state = State::Queried;
            self.awaited.push(node.addr);
        }
        if self.awaited.is_empty() {
            return self.announce(context);
        }
        self.awaited.iter().for_each(|addr| context.get_peers(*addr));
        self.deadline = Some(context.now + TIMEOUT);
    }

    fn announce(&mut self, context: &mut Context<'_, '_>) {
        if !context.announces() {
            self.deadline = None;
            return context.finish();
        }
        self.is_announcing = true;
        for node in &self.nodes {
            if let State::Alive(Some(token)) = &node.state {
                self.awaited.push(node.addr);
                context.announce(node.addr, token);
            }
        }
        self.deadline = Some(context.now + TIMEOUT);
        self.advance(context);
    }

    /// Starts the next round if this one is over.
    fn advance(&mut self, context: &mut Context<'_, '_>) {
        if !self.awaited.is_empty() {
            return;
        }
        self.deadline = None;
        if self.is_announcing { context.finish() } else { self.step(context) }
    }
}

impl Algorithm for Lockstep {
    fn start(&mut self, table: &[Contact], context: &mut Context<'_, '_>) {
        table.iter().take(K).for_each(|contact| self.insert(*contact, &context.target()));
        self.step(context);
    }

    fn on_reply(&mut self, reply: Reply, context: &mut Context<'_, '_>) {
        self.awaited.retain(|addr| *addr != reply.from);
        if let Some(node) = self.nodes.iter_mut().find(|node| node.addr == reply.from) {
            node.state = State::Alive(reply.token);
        }
        reply.nodes.into_iter().for_each(|contact| self.insert(contact, &context.target()));
        self.advance(context);
    }

    fn on_acknowledged(&mut self, node: SocketAddr, context: &mut Context<'_, '_>) {
        self.awaited.retain(|addr| *addr != node);
        self.advance(context);
    }

    fn on_wake(&mut self, context: &mut Context<'_, '_>) {
        for addr in self.awaited.drain(..) {
            context.forget(addr);
            if let Some(node) = self.nodes.iter_mut().find(|node| node.addr == addr) {
                node.state = State::Failed;
            }
        }
        self.advance(context);
    }

    fn next_wake(&self) -> Option<Instant> {
        self.deadline
    }
}
