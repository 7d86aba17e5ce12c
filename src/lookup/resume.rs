//! Continuing a traversal after the host slept or the socket changed, and from an ended one with another goal.

use super::candidates::{Candidate, Placement, State};
use super::horizon::Horizon;
use super::{Goal, LookupOptions, Refused, TOKEN_LIFE, Traversal};
use crate::base::time::Instant;

impl Traversal {
    /// Resets pending queries, whose responses will not arrive, so that they are sent again.
    ///
    /// An announce whose tokens are no longer valid starts over with the same nodes: the local address may have
    /// changed (`has_new_address`), or the tokens may be too old.
    pub(crate) fn interrupt(&mut self, memory: &mut [Candidate], has_new_address: bool, now: Instant) {
        let restarts = self.needs_tokens() && (has_new_address || now - self.tokens_requested >= TOKEN_LIFE);
        self.horizon.interrupt();
        self.region.interrupt();
        if restarts {
            (self.horizon, self.tokens_requested, self.resumed) = (Horizon::EMPTY, now, false);
            self.region = self.region.renewed();
            #[cfg(feature = "items")]
            self.items.recheck();
        }
        for candidate in &mut memory[..usize::from(self.len)] {
            let was_answered = candidate.state == State::Responded;
            if candidate.placement == Placement::Sent || (restarts && candidate.placement != Placement::None)
            {
                let was_stored = candidate.placement == Placement::Stored;
                self.announced = self.announced.saturating_sub(1);
                self.acknowledged = self.acknowledged.saturating_sub(was_stored.into());
                (candidate.placement, candidate.tries) = (Placement::None, 0);
            }
            if candidate.may_respond() || (restarts && was_answered) {
                self.queried = self.queried.saturating_sub(1);
                let has_counted = was_answered || candidate.responded_otherwise();
                self.answered = self.answered.saturating_sub(has_counted.into());
                (candidate.state, candidate.tries, candidate.token) = (State::Fresh, 0, 0);
                candidate.speed_or_cells = 0;
            }
        }
    }

    /// Drops all tokens, which were given to an address that is no longer ours.
    pub(crate) fn forget_tokens(&self, memory: &mut [Candidate]) {
        memory[..usize::from(self.len)].iter_mut().for_each(|candidate| candidate.token = 0);
    }

    /// Starts again from the responses of an ended traversal, to announce with its tokens.
    pub(crate) fn resume(
        &mut self,
        memory: &mut [Candidate],
        goal: Goal,
        options: &LookupOptions,
        now: Instant,
    ) {
        for candidate in &mut memory[..self.len()] {
            candidate.placement = Placement::None;
            let lacks_token = self.region.is_searched && !candidate.has_token();
            match candidate.state {
                // The number of tokens was too small for all nodes of the region.
                State::Responded if lacks_token => {
                    (candidate.state, candidate.tries, candidate.speed_or_cells) = (State::Fresh, 0, 0);
                }
                State::Responded => candidate.tries = 0,
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
                | State::WrongId => candidate.state = State::Dead,
            }
        }
        let fresh = Self::new(goal, self.target, self.family(), options, self.limits_sources, now);
        *self = Self {
            phase: self.phase,
            tokens_requested: self.tokens_requested,
            len: self.len,
            found: self.found,
            has_more: self.has_more,
            requires_secure_ids: self.requires_secure_ids,
            region: self.region.renewed(),
            resumed: true,
            ..fresh
        };
    }

    /// Discards all candidates, to start over.
    pub(crate) fn restart(&mut self, now: Instant) {
        (self.len, self.tokens_requested, self.resumed, self.announced) = (0, now, false, 0);
        // Nodes that refused, or hold a copy, are queried and counted again.
        self.refused = Refused::NONE;
        #[cfg(feature = "items")]
        {
            self.items.copies = 0;
        }
    }
}
