//! What is kept up, as its callers see it.

use alloc::sync::Arc;
use core::fmt;
use core::time::Duration;
use std::time::Instant as StdInstant;

use super::board::Lease;
use super::error::CallError;
use super::handle::Dht;
use super::rounds::{Round, Rounds};
use crate::InfoHash;
#[cfg(feature = "items")]
use crate::NodeId;

/// An announce that is kept up, from [`Dht::keep_announced`].
pub type Announcement = Upkeep<InfoHash>;

/// An item that is kept up, from [`Dht::keep_stored`].
#[cfg(feature = "items")]
pub type Publication = Upkeep<NodeId>;

/// What is kept up as long as this lives: an announce or an item.
///
/// As an iterator it yields the rounds as they end, blocking until the next one does; it ends with
/// the DHT thread. A caller who comes for a round after the next one has ended misses it.
///
/// Dropping it ends that, and a round under way, unless another caller keeps up the same. While it is
/// alive the DHT thread is too, as with a clone of the handle.
#[must_use = "dropping it ends what is kept up"]
pub struct Upkeep<T> {
    subject: T,
    rounds: Arc<Rounds>,
    /// How many rounds had ended when this caller last saw one.
    seen: u64,
    _lease: Lease,
    _dht: Dht,
}

impl Announcement {
    /// The torrent.
    pub const fn infohash(&self) -> InfoHash {
        self.subject
    }
}

#[cfg(feature = "items")]
impl Publication {
    /// Where the item is stored.
    pub const fn target(&self) -> NodeId {
        self.subject
    }
}

impl<T> Upkeep<T> {
    pub(super) fn new(dht: Dht, subject: T, (rounds, lease): (Arc<Rounds>, Lease)) -> Self {
        Self { subject, rounds, seen: 0, _lease: lease, _dht: dht }
    }

    /// The last round, waiting at most `timeout` for one that this caller has not seen; `Ok(None)`
    /// once the DHT thread has ended.
    ///
    /// # Errors
    ///
    /// [`CallError::TimedOut`].
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<Option<Round>, CallError> {
        self.recv(StdInstant::now().checked_add(timeout))
    }

    /// No `deadline`: wait for as long as it takes.
    fn recv(&mut self, deadline: Option<StdInstant>) -> Result<Option<Round>, CallError> {
        let seen = self.seen;
        let next = self.rounds.wait(deadline, |ended| ended.after(seen)).ok_or(CallError::TimedOut)?;
        Ok(next.map(|(count, round)| {
            self.seen = count;
            round
        }))
    }
}

impl<T> Iterator for Upkeep<T> {
    type Item = Round;

    fn next(&mut self) -> Option<Round> {
        self.recv(None).ok().flatten()
    }
}

impl<T: fmt::Debug> fmt::Debug for Upkeep<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upkeep")
            .field("subject", &self.subject)
            .field("seen", &self.seen)
            .finish_non_exhaustive()
    }
}
