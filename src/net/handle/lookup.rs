//! A lookup as its callers see it. Callers that want the same thing share one lookup: each reads
//! the shared findings at its own pace.

use core::fmt;
use core::net::SocketAddr;
use core::time::Duration;
use std::time::Instant as StdInstant;

use super::cursor::{Cursor, Next};
use super::dht::DhtHandle;
use crate::LookupReport;
use crate::net::engine::Joined;
use crate::net::engine::lookups::{LookupState, Outcome};
use crate::net::engine::shared::Lease;
use crate::net::error::CallError;

/// A lookup, announce, put or bootstrap under way, from the methods of [`DhtHandle`].
///
/// As an iterator it yields what is found, blocking until the next arrives, and ends with the lookup;
/// [`outcome`](Self::outcome) then tells how it went. It is peers that are found, each once; where an
/// item is sought it is that, and of a mutable one versions, each newer than the one before. Other
/// lookups yield nothing. What was found before a caller joined a lookup that was under way is replayed to it.
///
/// Dropping it cancels the lookup unless another caller shares it. It does not keep the node
/// running.
#[must_use = "dropping a search cancels it"]
pub struct LookupHandle<T = SocketAddr> {
    findings: Cursor<LookupState, T>,
    _lease: Lease,
    dht: DhtHandle,
}

impl<T> LookupHandle<T> {
    pub(crate) fn new(dht: DhtHandle, joined: Joined, look: Next<LookupState, T>) -> Self {
        let Joined { state, lease } = joined;
        Self { findings: Cursor::new(state, look), _lease: lease, dht }
    }

    /// What is found next, waiting at most `timeout` for it; `Ok(None)` once the lookup has ended.
    ///
    /// # Errors
    ///
    /// [`CallError::TimedOut`] while the lookup goes on, [`CallError::Closed`] if the DHT thread
    /// ended before the lookup.
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<Option<T>, CallError> {
        self.findings.wait(StdInstant::now().checked_add(timeout))
    }

    /// Waits for the end. What is found meanwhile can still be taken from the iterator.
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
        let under_way = match self.findings.watched.read(LookupState::lookup) {
            Some(lookup) => self.dht.with_node(move |node, _| node.lookup_report(lookup)),
            None => Ok(self.findings.watched.read(LookupState::unstarted)),
        };
        self.findings.watched.report(under_way)
    }

    /// How it went, once it has ended.
    pub fn outcome(&self) -> Option<Result<Outcome, CallError>> {
        self.findings.watched.read(LookupState::end)
    }

    /// No `deadline`: waits for as long as it takes.
    fn finish(&self, deadline: Option<StdInstant>) -> Result<Outcome, CallError> {
        self.findings.watched.wait(deadline, LookupState::end).unwrap_or(Err(CallError::TimedOut))
    }
}

impl<T> Iterator for LookupHandle<T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.findings.wait(None).ok().flatten()
    }
}

impl<T> fmt::Debug for LookupHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LookupHandle")
            .field("lookup", &self.findings.watched.read(LookupState::lookup))
            .field("seen", &self.findings.seen())
            .finish_non_exhaustive()
    }
}
