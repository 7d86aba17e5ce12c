//! Admission of candidates, and eviction when memory is full.
//!
//! A node may list arbitrary others in its response, so what one response can contribute is bounded: per listing
//! node, per subnet of the listed nodes, and by the number of nodes that can exist close to the target.

use super::Traversal;
use super::candidates::{Candidate, State, TRIES};
use crate::base::addr::Endpoint;
use crate::base::id::K;

/// Maximum number of candidates per wide subnet (/24 of IPv4, /48 of IPv6).
const PER_NETWORK: usize = 2;

/// Maximum number of candidates per IPv6 subnet (/56).
const PER_SUBNET: usize = 1;

/// Maximum number of datagrams to a wide subnet that has not responded.
///
/// Its nodes may have been listed in order to have it flooded.
pub(super) const NETWORK_TRIES: u8 = 4;

/// Maximum number of candidates listed by one node that have not been queried.
const PER_LISTER: usize = K;

/// Number of silent nodes listed by one node after which its other ones are queried last.
const DOUBT: usize = 4;

/// An odd multiplier that diffuses bits.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

impl Traversal {
    /// Offers a node listed in the response of the node at `by`.
    pub(crate) fn add_listed(
        &mut self,
        memory: &mut [Candidate],
        id: crate::base::id::NodeId,
        endpoint: Endpoint,
        is_suspect: bool,
        by: Endpoint,
    ) -> bool {
        let state = if is_suspect { State::Suspect } else { State::Fresh };
        let lister = self.lister(by);
        let added =
            self.offer(memory, Candidate { id: Some(id), endpoint, state, lister, ..Candidate::EMPTY });
        if added {
            self.judge(memory, lister);
        }
        added
    }

    pub(super) fn offer(&mut self, memory: &mut [Candidate], mut candidate: Candidate) -> bool {
        let Candidate { id, endpoint, .. } = candidate;
        let denied = |c: &Candidate| {
            c.endpoint == endpoint && c.id == id && c.state == State::Denied && c.tries < TRIES
        };
        if let Some(position) = memory[..self.len()].iter().position(denied) {
            // A false listing must not hide the host from nodes that list it correctly.
            memory[position].state = State::Fresh;
            self.failed = self.failed.saturating_sub(1);
            return true;
        }
        let here = memory[..self.len()].iter().filter(|c| c.endpoint == endpoint);
        let mut tries = 0;
        for known in here {
            tries = tries.max(known.tries);
            if known.id == id || known.has_answered() || id.is_none() {
                return false;
            } else if !known.is_unasked() {
                // Already queried under another id (L-05); the response will show which one is right.
                candidate.state = State::Dead;
            }
        }
        if candidate.state != State::Dead {
            candidate.tries = tries;
        }
        self.admits(memory, &candidate) && self.insert(memory, candidate)
    }

    /// Whether a candidate may be queried again, given the unanswered datagrams to its subnet.
    pub(super) fn may_repeat(&self, candidates: &[Candidate], position: usize) -> bool {
        let candidate = &candidates[position];
        !self.is_of_network(candidate) || self.unanswered(candidates, candidate.endpoint) < NETWORK_TRIES
    }

    /// Drops the candidates of a subnet once it has received all the datagrams that it may receive unanswered.
    pub(super) fn spare_network(&self, memory: &mut [Candidate], position: usize) {
        let asked = memory[position];
        if !self.is_of_network(&asked)
            || self.unanswered(&memory[..self.len()], asked.endpoint) < NETWORK_TRIES
        {
            return;
        }
        let network = asked.endpoint.wide_subnet();
        for other in &mut memory[..self.len()] {
            if other.is_unasked() && !other.is_own() && other.endpoint.wide_subnet() == network {
                other.drop_twin();
            }
        }
    }

    /// Checks whether any node listed by `lister` seems to exist.
    ///
    /// If not, the others that it listed are queried only after all remaining candidates.
    pub(super) fn judge(&self, memory: &mut [Candidate], lister: u8) {
        let listed = || memory[..self.len()].iter().filter(|c| c.lister == lister);
        let is_silent =
            |c: &&Candidate| c.tries > 0 && matches!(c.state, State::Stalled | State::Retried | State::Dead);
        if lister == 0 {
            return;
        }
        let is_doubtful =
            listed().filter(is_silent).count() >= DOUBT && !listed().any(Candidate::has_answered);
        let (from, to) =
            if is_doubtful { (State::Fresh, State::Doubted) } else { (State::Doubted, State::Fresh) };
        let listed = memory[..self.len()].iter_mut().filter(|c| c.lister == lister && c.state == from);
        listed.for_each(|c| c.state = to);
    }

    /// Whether the limits leave room for a candidate.
    fn admits(&mut self, memory: &mut [Candidate], candidate: &Candidate) -> bool {
        if candidate.is_twin() {
            return true;
        }
        let unanswered = |c: &&Candidate| c.lister == candidate.lister && c.is_unasked();
        if candidate.lister != 0 && memory[..self.len()].iter().filter(unanswered).count() >= PER_LISTER {
            return false;
        }
        if self.is_one_too_many(memory, candidate) {
            return false;
        }
        self.network_admits(memory, candidate)
    }

    /// Whether the subnet of a candidate has room for it; a node of the routing table displaces another one.
    fn network_admits(&mut self, memory: &mut [Candidate], candidate: &Candidate) -> bool {
        if !self.is_in_public(candidate) {
            return true;
        }
        let (subnet, wide) = (candidate.endpoint.subnet(), candidate.endpoint.wide_subnet());
        let (mut near, mut far, mut stranger) = (0, 0, None);
        for (position, other) in memory[..self.len()].iter().enumerate() {
            let counts = !matches!(other.state, State::Dead | State::Denied)
                && other.endpoint.wide_subnet() == wide
                // Another listing of the same host costs no datagram.
                && other.endpoint != candidate.endpoint;
            if counts {
                far += 1;
                near += usize::from(other.endpoint.subnet() == subnet);
                if other.is_unasked() && !other.is_own() {
                    stranger = Some(position);
                }
            }
        }
        let per_subnet = if subnet == wide { PER_NETWORK } else { PER_SUBNET };
        if far < PER_NETWORK && near < per_subnet {
            return candidate.is_own()
                || self.unanswered(&memory[..self.len()], candidate.endpoint) < NETWORK_TRIES;
        }
        match stranger.filter(|_| candidate.is_own()) {
            Some(position) => {
                self.remove(memory, position);
                true
            }
            None => false,
        }
    }

    /// Returns the number of datagrams sent to the subnet of an endpoint; 0 once any node there has responded.
    fn unanswered(&self, candidates: &[Candidate], endpoint: Endpoint) -> u8 {
        let network = endpoint.wide_subnet();
        let there = || candidates.iter().filter(|c| c.endpoint.wide_subnet() == network && !c.is_own());
        if there().any(Candidate::has_answered) {
            return 0;
        }
        there().fold(0, |sum, c| sum.saturating_add(c.tries))
    }

    /// Whether the limits of subnets apply to a candidate; nodes of the routing table are exempt.
    fn is_of_network(&self, candidate: &Candidate) -> bool {
        self.is_in_public(candidate) && !candidate.is_own()
    }

    /// Whether a candidate is public; all hosts of a private network belong to one owner and are not limited.
    pub(super) fn is_in_public(&self, candidate: &Candidate) -> bool {
        self.by_ip && candidate.id.is_some() && !candidate.endpoint.is_private()
    }

    /// Inserts a candidate by distance; if memory is full, evicts another one or returns `false`.
    pub(super) fn insert(&mut self, memory: &mut [Candidate], candidate: Candidate) -> bool {
        if self.len() == memory.len() {
            match self.leaver(memory, &candidate) {
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
    /// It is a suspect, unless an announce may need it later; a farther candidate; or one that probably does not
    /// exist. Nodes that responded are evicted only if enough nearer ones have responded.
    fn leaver(&self, memory: &[Candidate], candidate: &Candidate) -> Option<usize> {
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
        let is_fit = !self.prefers_fit() || candidate.is_fit();
        let publication = (2 * K).min(memory.len() / 2);
        let mut answered = memory.iter().filter(|c| c.has_answered()).count();
        for (position, other) in memory.iter().enumerate().skip(place).rev() {
            let is_kept = other.has_answered() && {
                answered -= 1;
                answered < publication || self.is_nearer(other, edge)
            };
            if !is_kept && (is_fit || !other.is_fit()) {
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

    /// Hashes a listing node into a byte that is never 0.
    ///
    /// The start time serves as a secret salt, so that nobody can choose an address that collides with another.
    fn lister(&self, endpoint: Endpoint) -> u8 {
        let (high, low) = endpoint.halves();
        let word = high ^ low ^ u64::from(endpoint.port()) << 48;
        let stirred = (word ^ self.started.as_micros().wrapping_mul(SPREAD)).wrapping_mul(SPREAD);
        ((stirred >> 56) as u8).max(1)
    }

    /// Whether ids that match their addresses are preferred (BEP 42): if that is required, or if the region is
    /// searched for a suspected attack.
    fn prefers_fit(&self) -> bool {
        self.by_fitness || self.region.is_searched
    }
}
