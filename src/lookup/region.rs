//! How close a walk has come, against what the size of the network leads one to expect.

use super::Walk;
use super::candidates::{Candidate, State};
use crate::id::K;

impl Walk {
    /// The distance of the K-th closest node that answered, with the key space as 1; `None` where fewer
    /// have, or where the walk did not look for all of them.
    pub(crate) fn reach(&self, memory: &[Candidate]) -> Option<f32> {
        #[cfg(feature = "items")]
        if self.items.is_satisfied {
            return None;
        }
        if self.alone || self.resumed || usize::from(self.k) < K {
            return None;
        }
        let mut answered = memory[..self.len()].iter().filter(|c| c.state == State::Answered);
        answered.nth(K - 1)?.id.map(|id| self.target.distance(&id).fraction())
    }
}
