//! Versions of an item and the nodes that hold them, as found by a traversal (BEP 44).

use super::candidates::{Candidate, Holding, Placement, State};
use super::{Check, Goal, ItemTraversal, LookupOptions, Traversal};
use crate::base::addr::Endpoint;
use crate::base::time::Instant;
use crate::wire::ErrorCode;

/// Number of copies beyond which an item is not republished (BEP 44).
pub(super) const ENOUGH_COPIES: u16 = 8;

impl Traversal {
    /// Records that the node at `from` returned a version of the item.
    pub(crate) fn on_item(&mut self, memory: &mut [Candidate], from: Endpoint, holding: Holding) {
        let answered = |c: &&mut Candidate| c.endpoint == from && c.state == State::Responded;
        if let Some(candidate) = memory[..self.len()].iter_mut().find(answered) {
            candidate.holding = holding;
        }
        self.items.copies += u16::from(holding == Holding::Newest);
    }

    /// Records that a newer version was found, in this family or the other.
    pub(crate) fn on_newer_item(&mut self, memory: &mut [Candidate]) {
        let holders = memory[..self.len()].iter_mut().filter(|c| c.holding == Holding::Newest);
        holders.for_each(|c| c.holding = Holding::Other);
        self.items.copies = 0;
    }

    /// Whether any node confirmed a put.
    pub(crate) fn has_stored(&self, memory: &[Candidate]) -> bool {
        memory[..self.len()].iter().any(|c| c.placement == Placement::Stored)
    }

    /// Whether the node at `to` returned the newest version.
    pub(crate) fn holds_newest(&self, memory: &[Candidate], to: Endpoint) -> bool {
        memory[..self.len()].iter().any(|c| c.endpoint == to && c.holding == Holding::Newest)
    }

    /// Starts over from the nodes of an ended traversal: those that responded are queried once more.
    ///
    /// Nodes that timed out are not waited for again.
    pub(crate) fn renew(
        &mut self,
        memory: &mut [Candidate],
        goal: Goal,
        options: &LookupOptions,
        now: Instant,
    ) {
        let mut len = 0;
        for at in 0..self.len() {
            let Candidate { id, endpoint, state, tries, .. } = memory[at];
            let state = match state {
                State::Responded => State::Fresh,
                State::Dead if tries > 0 => State::Suspect,
                State::Fresh
                | State::Doubted
                | State::Suspect
                | State::Queried
                | State::Stalled
                | State::Retried
                | State::Alive
                | State::AliveRetried
                | State::NodesOnly
                | State::Dead
                | State::WrongId => continue,
            };
            memory[len] = Candidate { id, endpoint, state, ..Candidate::EMPTY };
            len += 1;
        }
        let fresh = Self::new(goal, self.target, self.family(), options, self.limits_sources, now);
        let (requires_secure_ids, region) = (self.requires_secure_ids, self.region.renewed());
        *self = Self { phase: self.phase, len: len as u16, requires_secure_ids, region, ..fresh };
    }

    /// Records that nothing is put because a conflicting version exists: any node that returned one would refuse.
    pub(crate) fn on_cas_mismatch(&mut self, memory: &[Candidate]) {
        let holders = memory[..self.len()].iter().filter(|c| c.holding != Holding::Nothing);
        let (count, refused) = (holders.count() as u16, &mut self.refused);
        (refused.count, refused.cas) = (refused.count + count, refused.cas + count);
        refused.code = ErrorCode::CAS_MISMATCH.0;
    }

    /// Whether another put would be a waste, because enough nodes hold the newest version.
    ///
    /// Enough means more than eight, among them all of the closest nodes that could store the item.
    pub(crate) fn has_enough_copies(&self, memory: &[Candidate]) -> bool {
        let answered = memory[..self.len()].iter().filter(|c| c.state == State::Responded);
        let mut closest = answered.filter(|c| c.has_token()).take(self.k.into());
        self.items.copies > ENOUGH_COPIES && closest.all(|c| c.holding == Holding::Newest)
    }

    /// Schedules another put, with a superfluous `seq`, to the node at `to`, which refused the first.
    ///
    /// Returns whether this had not been tried before.
    pub(crate) fn retry_with_seq(&self, memory: &mut [Candidate], to: Endpoint) -> bool {
        let fits = |c: &&mut Candidate| {
            c.endpoint == to && c.state == State::Responded && c.placement == Placement::Sent && !c.needs_seq
        };
        let Some(candidate) = memory[..self.len()].iter_mut().find(fits) else { return false };
        (candidate.needs_seq, candidate.placement, candidate.tries) = (true, Placement::Lost, 0);
        true
    }

    /// Whether the put to the node at `to` must carry a superfluous `seq`.
    pub(crate) fn needs_seq(&self, memory: &[Candidate], to: Endpoint) -> bool {
        memory[..self.len()].iter().any(|c| c.endpoint == to && c.needs_seq)
    }
}

impl ItemTraversal {
    /// Whether the lookup waits for late nodes.
    pub(crate) const fn is_thorough(self) -> bool {
        matches!(self.check, Check::Due | Check::Counting)
    }

    /// Repeats the check: the tokens are no longer valid, and nodes may hold other versions by now.
    pub(super) fn recheck(&mut self) {
        if self.check == Check::Passed {
            self.check = Check::Due;
        }
    }
}
