//! The lookup of jstorrent, and of many a textbook: it goes on in steps.
//!
//! Three of the 8 closest that were not asked yet are asked together, and nothing else is asked
//! until each of the three has answered or its 5 s are over, so that one dead node holds up two
//! others. Who does not answer is struck off the list. It ends when the 8 closest that are left
//! have answered; then every node that gave a token is announced to, at once, and those answers
//! are waited for as well. A late answer is lost, and nothing is sent twice.

use std::net::SocketAddr;
use std::time::Duration;

use dht_proto::sim::cast::Contact;
use dht_proto::{Instant, NodeId};

use super::{Algorithm, K, Line, Listed, Reply};

/// Asked together (`ALPHA`).
const BATCH: usize = 3;

/// An answer is waited for this long (`QUERY_TIMEOUT_MS`).
const TIMEOUT: Duration = Duration::from_secs(5);

/// The lookup of jstorrent.
#[derive(Default)]
pub(crate) struct Lockstep {
    /// Closest first.
    nodes: Vec<Listed<State>>,
    /// Those of this step that have not answered yet.
    awaited: Vec<SocketAddr>,
    /// When the step is over for these.
    deadline: Option<Instant>,
    is_announcing: bool,
}

#[derive(PartialEq)]
enum State {
    Fresh,
    Asked,
    /// With the token, if any.
    Answered(Option<Vec<u8>>),
    Failed,
}

impl Lockstep {
    fn insert(&mut self, (id, addr): Contact, target: &NodeId) {
        if self.nodes.iter().all(|node| node.addr != addr) {
            Listed { id, addr, state: State::Fresh }.insert_into(&mut self.nodes, target);
        }
    }

    fn step(&mut self, line: &mut Line<'_, '_>) {
        let closest = self.nodes.iter_mut().filter(|node| node.state != State::Failed).take(K);
        for node in closest.filter(|node| node.state == State::Fresh).take(BATCH) {
            node.state = State::Asked;
            self.awaited.push(node.addr);
        }
        if self.awaited.is_empty() {
            return self.announce(line);
        }
        self.awaited.iter().for_each(|addr| line.get_peers(*addr));
        self.deadline = Some(line.now + TIMEOUT);
    }

    fn announce(&mut self, line: &mut Line<'_, '_>) {
        if !line.announces() {
            self.deadline = None;
            return line.finish();
        }
        self.is_announcing = true;
        for node in &self.nodes {
            if let State::Answered(Some(token)) = &node.state {
                self.awaited.push(node.addr);
                line.announce(node.addr, token);
            }
        }
        self.deadline = Some(line.now + TIMEOUT);
        self.go_on(line);
    }

    /// Takes the next step if this one is over.
    fn go_on(&mut self, line: &mut Line<'_, '_>) {
        if !self.awaited.is_empty() {
            return;
        }
        self.deadline = None;
        if self.is_announcing { line.finish() } else { self.step(line) }
    }
}

impl Algorithm for Lockstep {
    fn start(&mut self, table: &[Contact], line: &mut Line<'_, '_>) {
        table.iter().take(K).for_each(|contact| self.insert(*contact, &line.target()));
        self.step(line);
    }

    fn on_reply(&mut self, reply: Reply, line: &mut Line<'_, '_>) {
        self.awaited.retain(|addr| *addr != reply.from);
        if let Some(node) = self.nodes.iter_mut().find(|node| node.addr == reply.from) {
            node.state = State::Answered(reply.token);
        }
        reply.nodes.into_iter().for_each(|contact| self.insert(contact, &line.target()));
        self.go_on(line);
    }

    fn on_acknowledged(&mut self, node: SocketAddr, line: &mut Line<'_, '_>) {
        self.awaited.retain(|addr| *addr != node);
        self.go_on(line);
    }

    fn on_wake(&mut self, line: &mut Line<'_, '_>) {
        for addr in self.awaited.drain(..) {
            line.forget(addr);
            if let Some(node) = self.nodes.iter_mut().find(|node| node.addr == addr) {
                node.state = State::Failed;
            }
        }
        self.go_on(line);
    }

    fn next_wake(&self) -> Option<Instant> {
        self.deadline
    }
}
