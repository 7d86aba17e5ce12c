//! An announce that is kept up, as its callers see it.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::net::SocketAddr;
use core::time::Duration;
use std::sync::{Condvar, Mutex};
use std::time::Instant as StdInstant;

use super::handle::{CallError, Command, Dht, lock, wait_until};
use crate::{InfoHash, KeptId, LookupReport};

/// One round of an announce that is kept up.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Round {
    /// How it went.
    pub report: LookupReport,
    /// The torrent's peers that it found.
    pub peers: Vec<SocketAddr>,
    /// The nodes that confirmed the announce; none if the round has failed.
    pub acknowledged: Vec<SocketAddr>,
}

/// An announce that is kept up as long as this lives, from [`Dht::keep_announced`].
///
/// As an iterator it yields the rounds as they end, blocking until the next one does; it ends with
/// the DHT thread. A caller who comes for a round after the next one has ended misses it.
///
/// Dropping it ends the announce, and a round under way, unless another caller keeps up the same
/// torrent. While it is alive the DHT thread is too, as with a clone of the handle.
#[must_use = "dropping it ends the announce"]
pub struct Announcement {
    dht: Dht,
    infohash: InfoHash,
    kept: KeptId,
    rounds: Arc<Rounds>,
    /// How many rounds had ended when this caller last saw one.
    seen: u64,
}

impl Announcement {
    pub(super) fn new(dht: Dht, infohash: InfoHash, (kept, rounds): (KeptId, Arc<Rounds>)) -> Self {
        Self { dht, infohash, kept, rounds, seen: 0 }
    }

    /// The torrent.
    pub const fn infohash(&self) -> InfoHash {
        self.infohash
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
        let Rounds { state, changed } = &*self.rounds;
        let seen = self.seen;
        let state = wait_until(changed, lock(state), deadline, |state| state.ended > seen || state.closed);
        if state.ended > seen {
            self.seen = state.ended;
            return Ok(state.last.clone());
        }
        if state.closed { Ok(None) } else { Err(CallError::TimedOut) }
    }
}

impl Iterator for Announcement {
    type Item = Round;

    fn next(&mut self) -> Option<Round> {
        self.recv(None).ok().flatten()
    }
}

impl Drop for Announcement {
    fn drop(&mut self) {
        // An error means that the thread is gone, and the announce with it.
        let _ = self.dht.send(Command::StopAnnouncing(self.kept));
    }
}

impl fmt::Debug for Announcement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Announcement")
            .field("infohash", &self.infohash)
            .field("seen", &self.seen)
            .finish_non_exhaustive()
    }
}

/// The rounds of one announce, written by the DHT thread and read by its callers.
#[derive(Debug, Default)]
pub(super) struct Rounds {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// How many.
    ended: u64,
    last: Option<Round>,
    closed: bool,
}

impl Rounds {
    /// Tells the callers that there will be no more.
    pub(super) fn close(&self) {
        lock(&self.state).closed = true;
        self.changed.notify_all();
    }

    fn end(&self, round: Round) {
        let mut state = lock(&self.state);
        state.ended += 1;
        state.last = Some(round);
        drop(state);
        self.changed.notify_all();
    }
}

/// What the DHT thread has of an announce that is kept up.
#[derive(Debug, Default)]
pub(super) struct Keeping {
    pub(super) users: usize,
    pub(super) rounds: Arc<Rounds>,
    /// What the round under way has found; bounded as the findings of a lookup are.
    pub(super) peers: Vec<SocketAddr>,
    pub(super) acknowledged: Vec<SocketAddr>,
}

impl Keeping {
    pub(super) fn end(&mut self, report: LookupReport) {
        let (peers, acknowledged) =
            (core::mem::take(&mut self.peers), core::mem::take(&mut self.acknowledged));
        self.rounds.end(Round { report, peers, acknowledged });
    }
}
