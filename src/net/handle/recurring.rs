//! What is kept up, as its callers see it.

use alloc::sync::Arc;
use core::time::Duration;
use std::time::Instant as StdInstant;

use super::board::Lease;
use super::error::CallError;
use super::reader::Reader;
use super::rounds::{Ended, Round, Rounds, subjects};

/// What is kept up as long as this lives: an announce or an item.
///
/// As an iterator it yields the rounds as they end, blocking until the next one does; it ends with
/// the DHT thread. A caller who comes for a round after the next one has ended misses it.
///
/// Dropping it ends that, and a round under way, unless another caller keeps up the same. It does not
/// keep the node running.
#[must_use = "dropping it ends what is kept up"]
pub struct Upkeep<T> {
    subject: T,
    rounds: Reader<Ended, Round>,
    _lease: Lease,
}

subjects!();

impl<T> Upkeep<T> {
    pub(super) fn new(subject: T, (rounds, lease): (Arc<Rounds>, Lease)) -> Self {
        Self { subject, rounds: Reader::new(rounds, Ended::next_round), _lease: lease }
    }

    /// The last round, waiting at most `timeout` for one that this caller has not seen; `Ok(None)`
    /// once the DHT thread has ended.
    ///
    /// # Errors
    ///
    /// [`CallError::TimedOut`].
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<Option<Round>, CallError> {
        self.rounds.wait(StdInstant::now().checked_add(timeout))
    }
}

impl<T> Iterator for Upkeep<T> {
    type Item = Round;

    fn next(&mut self) -> Option<Round> {
        self.rounds.wait(None).ok().flatten()
    }
}
