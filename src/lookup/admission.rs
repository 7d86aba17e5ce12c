//! Who comes into a walk's sight, and who gives way where there is no more room.
//!
//! Whoever answers may list whom he likes, so what one can bring in is bounded: by the listing node, by
//! the network of those that are listed, and by how many nodes there can be close to the target.

use super::Traversal;
use super::candidates::{Candidate, State, TRIES};
use crate::base::addr::Endpoint;
use crate::base::id::K;

/// Candidates of one network: /24 of IPv4, /48 of IPv6.
const PER_NETWORK: usize = 2;

/// Candidates of one household of IPv6, a /56.
const PER_SITE: usize = 1;

/// Datagrams to a network that has answered none: somebody may have named it to have it flooded.
pub(super) const NETWORK_TRIES: u8 = 4;

/// Nodes of one lister that have not answered, at a time.
const PER_LISTER: usize = K;

/// Nodes of one lister that are silent, before the others are doubted.
const DOUBT: usize = 4;

/// An odd number whose product spreads bits.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

impl Traversal {
    /// Offers a node of the answer of the one at `by`.
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
            // A liar's false listing must not hide the host from those who list it rightly.
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
                // Asked under another id already (L-05); its answer will tell who it is.
                candidate.state = State::Dead;
            }
        }
        if candidate.state != State::Dead {
            candidate.tries = tries;
        }
        self.admits(memory, &candidate) && self.insert(memory, candidate)
    }

    /// Whether a stranger may be asked once more, for all that its network has got without an answer.
    pub(super) fn may_repeat(&self, candidates: &[Candidate], position: usize) -> bool {
        let candidate = &candidates[position];
        !self.is_of_network(candidate) || self.unanswered(candidates, candidate.endpoint) < NETWORK_TRIES
    }

    /// One more datagram was sent to a network. If that is all it gets, nobody else there is asked.
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

    /// Looks again whether any of the nodes that somebody listed exists. Of those that do not, the others
    /// wait until nobody else is left to ask.
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

    /// Whether there may be one more of its kind.
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

    /// Whether the network of a candidate has room for it; for one of our own table a stranger gives way.
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
        let per_site = if subnet == wide { PER_NETWORK } else { PER_SITE };
        if far < PER_NETWORK && near < per_site {
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

    /// Datagrams sent to the network of an endpoint, as long as nobody there has answered; 0 afterwards.
    fn unanswered(&self, candidates: &[Candidate], endpoint: Endpoint) -> u8 {
        let network = endpoint.wide_subnet();
        let there = || candidates.iter().filter(|c| c.endpoint.wide_subnet() == network && !c.is_own());
        if there().any(Candidate::has_answered) {
            return 0;
        }
        there().fold(0, |sum, c| sum.saturating_add(c.tries))
    }

    /// Whether what its network has got counts: it is a stranger's.
    fn is_of_network(&self, candidate: &Candidate) -> bool {
        self.is_in_public(candidate) && !candidate.is_own()
    }

    /// Whether networks have a share each: all hosts of a private one belong to one owner.
    pub(super) fn is_in_public(&self, candidate: &Candidate) -> bool {
        self.by_ip && candidate.id.is_some() && !candidate.endpoint.is_private()
    }

    /// Inserts by distance. Where memory is full somebody gives way, or the candidate is left out.
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

    /// Where a candidate belongs: closer ones first, unknown ids behind all known ones (L-06).
    pub(super) fn place(&self, memory: &[Candidate], candidate: &Candidate) -> usize {
        let Some(id) = candidate.id else { return self.len() };
        let distance = self.target.distance(&id);
        memory[..self.len()].partition_point(|c| c.id.is_some_and(|id| self.target.distance(&id) <= distance))
    }

    /// Who gives way to a candidate where there is no more room: a suspect, if no announce may come to need
    /// that; the farthest, if it is farther; one that probably does not exist. No node that answered
    /// does, unless enough others have that are nearer.
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

    /// Tells nodes that list others apart, as far as a byte can; never 0. When the walk began is nobody
    /// else's business, so nobody can choose an address that is taken for another.
    fn lister(&self, endpoint: Endpoint) -> u8 {
        let (high, low) = endpoint.halves();
        let word = high ^ low ^ u64::from(endpoint.port()) << 48;
        let stirred = (word ^ self.started.as_micros().wrapping_mul(SPREAD)).wrapping_mul(SPREAD);
        ((stirred >> 56) as u8).max(1)
    }

    /// Whether ids that fit their addresses count more than others (BEP 42): where they are to, and where
    /// somebody may have moved in.
    fn prefers_fit(&self) -> bool {
        self.by_fitness || self.region.is_searched
    }
}
