//! A lookup as its callers see it. Callers that want the same thing share one lookup: each reads
//! the shared findings at its own pace.

use alloc::sync::Arc;
use core::fmt;
use core::net::SocketAddr;
use core::time::Duration;
use std::time::Instant as StdInstant;

use super::board::Lease;
use super::desk::Joined;
use super::error::CallError;
use super::handle::Dht;
use super::progress::{Findings, Outcome, Progress};
use crate::{LookupId, LookupReport};

/// A lookup, announce or bootstrap under way, from the methods of [`Dht`].
///
/// As an iterator it yields the peers found, each once, blocking until the next one arrives, and
/// ends with the lookup; [`outcome`](Self::outcome) then tells how it went. Lookups of nodes yield
/// none. What was found before a caller joined a lookup that was under way is replayed to it.
///
/// Dropping it cancels the lookup unless another caller shares it. While it is alive the DHT
/// thread is too, as with a clone of the handle.
#[must_use = "dropping a search cancels it"]
pub struct Search {
    lookup: LookupId,
    progress: Arc<Progress>,
    /// How many of the shared peers this caller has seen.
    seen: usize,
    _lease: Lease,
    dht: Dht,
}

impl Search {
    pub(super) fn new(dht: Dht, joined: Joined) -> Self {
        let Joined { lookup, progress, lease } = joined;
        Self { lookup, progress, seen: 0, _lease: lease, dht }
    }

    /// The next peer, waiting at most `timeout` for it; `Ok(None)` once the lookup has ended.
    ///
    /// # Errors
    ///
    /// [`CallError::TimedOut`] while the lookup goes on, [`CallError::Closed`] if the DHT thread
    /// ended before the lookup.
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<Option<SocketAddr>, CallError> {
        self.recv(StdInstant::now().checked_add(timeout))
    }

    /// Waits for the end. Peers found meanwhile can still be taken from the iterator.
    ///
    /// # Errors
    ///
    /// [`CallError::Closed`] if the DHT thread ended before the lookup.
    pub fn wait(&mut self) -> Result<Outcome, CallError> {
        self.finish(None)
    }

    /// Waits for the end, at most for `timeout`.
    ///
    /// # Errors
    ///
    /// [`CallError::TimedOut`] while the lookup goes on, [`CallError::Closed`] if the DHT thread
    /// ended before the lookup.
    pub fn wait_timeout(&mut self, timeout: Duration) -> Result<Outcome, CallError> {
        self.finish(StdInstant::now().checked_add(timeout))
    }

    /// How it goes, or went.
    ///
    /// # Errors
    ///
    /// [`CallError::Closed`] if the DHT thread ended before the lookup.
    pub fn report(&self) -> Result<LookupReport, CallError> {
        let lookup = self.lookup;
        let under_way = self.dht.with_node(move |node, _| node.lookup_report(lookup));
        match (self.outcome(), under_way) {
            (Some(outcome), _) => outcome.map(|outcome| outcome.report),
            (None, Ok(Some(report))) => Ok(report),
            (None, _) => Err(CallError::Closed),
        }
    }

    /// How it went, once it has ended.
    pub fn outcome(&self) -> Option<Result<Outcome, CallError>> {
        self.progress.read(Findings::end)
    }

    /// No `deadline`: wait for as long as it takes.
    fn recv(&mut self, deadline: Option<StdInstant>) -> Result<Option<SocketAddr>, CallError> {
        let next = self.progress.wait(deadline, |findings| findings.after(self.seen));
        let peer = next.unwrap_or(Err(CallError::TimedOut))?;
        self.seen += usize::from(peer.is_some());
        Ok(peer)
    }

    fn finish(&self, deadline: Option<StdInstant>) -> Result<Outcome, CallError> {
        self.progress.wait(deadline, Findings::end).unwrap_or(Err(CallError::TimedOut))
    }
}

impl Iterator for Search {
    type Item = SocketAddr;

    fn next(&mut self) -> Option<SocketAddr> {
        self.recv(None).ok().flatten()
    }
}

impl fmt::Debug for Search {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Search")
            .field("lookup", &self.lookup)
            .field("seen", &self.seen)
            .finish_non_exhaustive()
    }
}
