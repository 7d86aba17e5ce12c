//! Admission of candidates, and eviction when memory is full.
//!
//! A node may list arbitrary others in its response, so what one response can contribute is bounded: per listing
//! node, per subnet of the listed nodes, and by the number of nodes that can exist close to the target.

use super::Traversal;
use super::candidates::{Candidate, State, TRIES};
use crate::base::addr::Endpoint;
use crate::base::id::{K, NodeId};

/// Maximum number of candidates per wide subnet (/24 of IPv4, /48 of IPv6).
const PER_WIDE_SUBNET: usize = 2;

/// Maximum number of candidates per IPv6 subnet (/56).
const PER_SUBNET: usize = 1;

/// Maximum number of datagrams to a wide subnet from which nothing was received.
///
/// Its nodes may have been listed to have a victim flooded.
pub(super) const SILENT_SUBNET_TRIES: u8 = 4;

/// Maximum number of candidates listed by one node that have not been queried.
const PER_LISTER: usize = K;

/// Number of silent nodes listed by one node from which the others it listed are queried last.
const DOUBTED_AFTER: usize = 4;

/// The odd multiplier of Fibonacci hashing: 2^64 divided by the golden ratio.
const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

impl Traversal {
    /// Offers a node listed in the response of the node at `by`.
    pub(crate) fn add_listed(
        &mut self,
        memory: &mut [Candidate],
        id: NodeId,
        endpoint: Endpoint,
        is_suspect: bool,
        by: Endpoint,
    ) -> bool {
        let state = if is_suspect { State::Suspect } else { State::Fresh };
        let lister = self.lister(by);
        let added =
            self.offer(memory, Candidate { id: Some(id), endpoint, state, lister, ..Candidate::EMPTY });
        if added {
            self.review_lister(memory, lister);
        }
        added
    }

    /// Adds a candidate unless limits or other listings of its endpoint forbid it; returns whether it was added.
    pub(super) fn offer(&mut self, memory: &mut [Candidate], mut candidate: Candidate) -> bool {
        let Candidate { id, endpoint, .. } = candidate;
        let has_this_id = |c: &Candidate| {
            c.endpoint == endpoint && c.id == id && c.state == State::WrongId && c.tries < TRIES
        };
        if let Some(position) = memory[..self.len()].iter().position(has_this_id) {
            // It responded with this id to a query for another one: a false listing must not hide it.
            memory[position].state = State::Fresh;
            self.failed = self.failed.saturating_sub(1);
            return true;
        }
        let here = memory[..self.len()].iter().filter(|c| c.endpoint == endpoint);
        let mut tries = 0;
        for known in here {
            tries = tries.max(known.tries);
            if known.id == id || known.has_responded() || id.is_none() {
                return false;
            }
            if !known.is_unqueried() {
                // Already queried under another id (L-05); the response will show which one is right.
                candidate.state = State::Dead;
            }
        }
        if candidate.state != State::Dead {
            candidate.tries = tries;
        }
        self.admits(memory, &candidate) && self.insert(memory, candidate)
    }

    /// Whether a candidate may be queried again, given how many datagrams its subnet has not answered.
    pub(super) fn may_repeat(&self, candidates: &[Candidate], position: usize) -> bool {
        let candidate = &candidates[position];
        !self.is_subnet_limited(candidate)
            || self.unanswered(candidates, candidate.endpoint) < SILENT_SUBNET_TRIES
    }

    /// Drops the candidates of a wide subnet that has been sent the maximum number of datagrams without a response.
    pub(super) fn drop_silent_subnet(&self, memory: &mut [Candidate], position: usize) {
        let queried = memory[position];
        if !self.is_subnet_limited(&queried)
            || self.unanswered(&memory[..self.len()], queried.endpoint) < SILENT_SUBNET_TRIES
        {
            return;
        }
        let subnet = queried.endpoint.wide_subnet();
        for other in &mut memory[..self.len()] {
            if other.is_unqueried() && !other.is_from_table() && other.endpoint.wide_subnet() == subnet {
                other.drop_duplicate();
            }
        }
    }

    /// Checks whether any node listed by `lister` seems to exist.
    ///
    /// If not, the others that it listed are queried only after all remaining candidates.
    pub(super) fn review_lister(&self, memory: &mut [Candidate], lister: u8) {
        let listed = || memory[..self.len()].iter().filter(|c| c.lister == lister);
        let is_silent =
            |c: &&Candidate| c.tries > 0 && matches!(c.state, State::Stalled | State::Retried | State::Dead);
        if lister == 0 {
            return;
        }
        let is_doubtful =
            listed().filter(is_silent).count() >= DOUBTED_AFTER && !listed().any(Candidate::has_responded);
        let (from, to) =
            if is_doubtful { (State::Fresh, State::Doubted) } else { (State::Doubted, State::Fresh) };
        let listed = memory[..self.len()].iter_mut().filter(|c| c.lister == lister && c.state == from);
        listed.for_each(|c| c.state = to);
    }

    /// Whether the limits leave room for a candidate.
    fn admits(&mut self, memory: &mut [Candidate], candidate: &Candidate) -> bool {
        if candidate.is_duplicate() {
            return true;
        }
        let unanswered = |c: &&Candidate| c.lister == candidate.lister && c.is_unqueried();
        if candidate.lister != 0 && memory[..self.len()].iter().filter(unanswered).count() >= PER_LISTER {
            return false;
        }
        if self.exceeds_core(memory, candidate) {
            return false;
        }
        self.subnet_admits(memory, candidate)
    }

    /// Whether the subnet of a candidate has room for it; a node of the routing table displaces another one.
    fn subnet_admits(&mut self, memory: &mut [Candidate], candidate: &Candidate) -> bool {
        if !self.is_public(candidate) {
            return true;
        }
        let (subnet, wide) = (candidate.endpoint.subnet(), candidate.endpoint.wide_subnet());
        let (mut in_subnet, mut in_wide, mut unqueried) = (0, 0, None);
        for (position, other) in memory[..self.len()].iter().enumerate() {
            let counts = !matches!(other.state, State::Dead | State::WrongId)
                && other.endpoint.wide_subnet() == wide
                // Another listing of the same host costs no datagram.
                && other.endpoint != candidate.endpoint;
            if counts {
                in_wide += 1;
                in_subnet += usize::from(other.endpoint.subnet() == subnet);
                if other.is_unqueried() && !other.is_from_table() {
                    unqueried = Some(position);
                }
            }
        }
        let per_subnet = if subnet == wide { PER_WIDE_SUBNET } else { PER_SUBNET };
        if in_wide < PER_WIDE_SUBNET && in_subnet < per_subnet {
            return candidate.is_from_table()
                || self.unanswered(&memory[..self.len()], candidate.endpoint) < SILENT_SUBNET_TRIES;
        }
        match unqueried.filter(|_| candidate.is_from_table()) {
            Some(position) => {
                self.remove(memory, position);
                true
            }
            None => false,
        }
    }

    /// Returns the number of datagrams sent to the subnet of an endpoint; 0 once any node there has responded.
    fn unanswered(&self, candidates: &[Candidate], endpoint: Endpoint) -> u8 {
        let subnet = endpoint.wide_subnet();
        let there = || candidates.iter().filter(|c| c.endpoint.wide_subnet() == subnet && !c.is_from_table());
        if there().any(Candidate::has_responded) {
            return 0;
        }
        there().fold(0, |sum, c| sum.saturating_add(c.tries))
    }

    /// Whether the limits of subnets apply to a candidate; nodes of the routing table are exempt.
    fn is_subnet_limited(&self, candidate: &Candidate) -> bool {
        self.is_public(candidate) && !candidate.is_from_table()
    }

    /// Whether a candidate has a public address; the hosts of a private network are not limited.
    pub(super) fn is_public(&self, candidate: &Candidate) -> bool {
        self.limits_sources && candidate.id.is_some() && !candidate.endpoint.is_private()
    }

    /// Inserts a candidate by distance; if memory is full, evicts another one or returns `false`.
    pub(super) fn insert(&mut self, memory: &mut [Candidate], candidate: Candidate) -> bool {
        if self.len() == memory.len() {
            match self.victim(memory, &candidate) {
                Some(position) => self.remove(memory, position),
                None => return false,
            }
        }
        let place = self.place(memory, &candidate);
        memory.copy_within(place..self.len(), place + 1);
        memory[place] = candidate;
        self.len += 1;
        true
    }

    pub(super) fn remove(&mut self, memory: &mut [Candidate], position: usize) {
        memory.copy_within(position + 1..self.len(), position);
        self.len -= 1;
    }

    /// Returns the position of a candidate: closer ones first, unknown ids after all known ones (L-06).
    pub(super) fn place(&self, memory: &[Candidate], candidate: &Candidate) -> usize {
        let Some(id) = candidate.id else { return self.len() };
        let distance = self.target.distance(&id);
        memory[..self.len()].partition_point(|c| c.id.is_some_and(|id| self.target.distance(&id) <= distance))
    }

    /// Returns the candidate to evict in favour of a new one.
    ///
    /// In this order: a suspect, unless an announce may need it later; a farther candidate; one that probably does
    /// not exist. Nodes that responded are evicted only if enough nearer ones have responded.
    fn victim(&self, memory: &[Candidate], candidate: &Candidate) -> Option<usize> {
        if !self.announces() {
            let is_suspect = |c: &Candidate| c.state == State::Suspect;
            if is_suspect(candidate) {
                return None;
            }
            if let Some(position) = memory.iter().rposition(is_suspect) {
                return Some(position);
            }
        }
        let place = self.place(memory, candidate);
        let edge = self.region_edge();
        let has_secure_id = !self.prefers_secure_ids() || candidate.has_secure_id();
        let protected = (2 * K).min(memory.len() / 2);
        let mut answered = memory.iter().filter(|c| c.has_responded()).count();
        for (position, other) in memory.iter().enumerate().skip(place).rev() {
            let is_protected = other.has_responded() && {
                answered -= 1;
                answered < protected || self.is_nearer(other, edge)
            };
            if !is_protected && (has_secure_id || !other.has_secure_id()) {
                return Some(position);
            }
        }
        let dead = |c: &Candidate| c.state == State::Dead;
        let most_dead = memory.len() / 4;
        memory.iter().rposition(|c| c.state == State::Doubted).or_else(|| {
            let is_enough = memory.iter().filter(|c| dead(c)).count() > most_dead;
            memory.iter().rposition(dead).filter(|_| is_enough)
        })
    }

    /// Hashes the endpoint of a listing node to a byte that is never 0.
    ///
    /// The start time serves as a secret salt, so that nobody can choose an address that collides with another.
    fn lister(&self, endpoint: Endpoint) -> u8 {
        let (high, low) = endpoint.halves();
        let word = high ^ low ^ u64::from(endpoint.port()) << 48;
        let mixed = (word ^ self.started.as_micros().wrapping_mul(MULTIPLIER)).wrapping_mul(MULTIPLIER);
        ((mixed >> 56) as u8).max(1)
    }

    /// Whether ids that match their addresses are preferred (BEP 42).
    ///
    /// They are if that is required, or while the region is searched because of a suspected attack.
    fn prefers_secure_ids(&self) -> bool {
        self.requires_secure_ids || self.region.is_searched
    }
}
