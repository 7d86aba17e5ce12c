//! Continuing a traversal after the host slept or the socket changed.

use super::candidates::{Candidate, Placing, State};
use super::horizon::Horizon;
use super::{TOKEN_LIFE, Traversal};
use crate::base::time::Instant;

impl Traversal {
    /// Resets pending queries, whose responses will not arrive through no fault of the nodes: they are queried
    /// again.
    ///
    /// An announce whose tokens are no longer valid starts over with the same nodes.
    pub(crate) fn interrupt(&mut self, memory: &mut [Candidate], is_bound_anew: bool, now: Instant) {
        let is_anew = self.needs_tokens() && (is_bound_anew || now - self.asked >= TOKEN_LIFE);
        self.horizon.interrupt();
        self.region.interrupt();
        if is_anew {
            (self.horizon, self.asked, self.resumed) = (Horizon::EMPTY, now, false);
            self.region = self.region.renewed();
            #[cfg(feature = "items")]
            self.items.look_again();
        }
        for candidate in &mut memory[..usize::from(self.len)] {
            let was_answered = candidate.state == State::Answered;
            if candidate.placing == Placing::Sent || (is_anew && candidate.placing != Placing::None) {
                let was_stored = candidate.placing == Placing::Stored;
                self.announced = self.announced.saturating_sub(1);
                self.acknowledged = self.acknowledged.saturating_sub(was_stored.into());
                (candidate.placing, candidate.tries) = (Placing::None, 0);
            }
            if candidate.is_open() || (is_anew && was_answered) {
                self.queried = self.queried.saturating_sub(1);
                let has_counted = was_answered || candidate.was_reached();
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
}
