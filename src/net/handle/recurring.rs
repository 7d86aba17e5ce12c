//! What is kept up, as its callers see it.

use alloc::sync::Arc;
use core::time::Duration;
use std::time::Instant as StdInstant;

use super::cursor::Cursor;
use crate::net::engine::publications::{RepublishState, Republished, subjects};
use crate::net::engine::shared::Lease;
use crate::net::engine::watch::Watch;
use crate::net::error::CallError;

/// What is kept up as long as this lives: an announce or an item.
///
/// As an iterator it yields the rounds as they end, blocking until the next one does; it ends with
/// the DHT thread. A caller who comes for a round after the next one has ended misses it.
///
/// Dropping it ends that, and a round under way, unless another caller keeps up the same. It does not
/// keep the node running.
#[must_use = "dropping it ends what is kept up"]
pub struct Recurring<T> {
    subject: T,
    rounds: Cursor<RepublishState, Republished>,
    _lease: Lease,
}

subjects!();

impl<T> Recurring<T> {
    pub(crate) fn new(subject: T, (rounds, lease): (Arc<Watch<RepublishState>>, Lease)) -> Self {
        Self { subject, rounds: Cursor::new(rounds, RepublishState::next_round), _lease: lease }
    }

    /// The last round, waiting at most `timeout` for one that this caller has not seen; `Ok(None)`
    /// once the DHT thread has ended.
    ///
    /// # Errors
    ///
    /// [`CallError::TimedOut`].
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<Option<Republished>, CallError> {
        self.rounds.wait(StdInstant::now().checked_add(timeout))
    }
}

impl<T> Iterator for Recurring<T> {
    type Item = Republished;

    fn next(&mut self) -> Option<Republished> {
        self.rounds.wait(None).ok().flatten()
    }
}
