//! A lookup as the tasks that asked for it see it.

use core::fmt;
use core::future::poll_fn;
use core::net::SocketAddr;
use core::pin::Pin;
use core::task::{Context, Poll};

use futures_core::Stream;

use super::handle::DhtHandle;
use crate::LookupReport;
use crate::net::engine::Joined;
use crate::net::engine::lookups::{LookupState, Outcome};
use crate::net::engine::shared::Lease;
use crate::net::error::CallError;
use crate::net::handle::cursor::{Cursor, Next};

/// A lookup, announce, put or bootstrap under way, from the methods of [`DhtHandle`].
///
/// As a stream it yields what is found, and ends with the lookup; [`outcome`](Self::outcome) then tells
/// how it went. It is peers that are found, each once; where an item is sought it is that, and of a
/// mutable one versions, each newer than the one before. Other lookups yield nothing. What was found
/// before a caller joined a lookup that was under way is replayed to it.
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
    pub(super) fn new(dht: DhtHandle, joined: Joined, look: Next<LookupState, T>) -> Self {
        let Joined { state, lease } = joined;
        Self { findings: Cursor::new(state, look), _lease: lease, dht }
    }

    /// What is found next, as the stream yields it; `Ok(None)` once the lookup has ended. Nothing is
    /// lost if the future is dropped.
    ///
    /// # Errors
    ///
    /// [`CallError::Closed`] if the node ended before the lookup.
    pub async fn recv(&mut self) -> Result<Option<T>, CallError> {
        poll_fn(|cx| self.findings.poll(cx)).await
    }

    /// Waits for the end. What is found meanwhile can still be taken from the stream.
    ///
    /// # Errors
    ///
    /// [`CallError::Closed`] if the node ended before the lookup.
    pub async fn wait(&mut self) -> Result<Outcome, CallError> {
        self.findings.watched.until(LookupState::end).await
    }

    /// How it goes, or went.
    ///
    /// # Errors
    ///
    /// [`CallError::Closed`] if the node ended before the lookup.
    pub async fn report(&self) -> Result<LookupReport, CallError> {
        let under_way = match self.findings.watched.read(LookupState::lookup) {
            Some(lookup) => self.dht.with_node(move |node, _| node.lookup_report(lookup)).await,
            None => Ok(self.findings.watched.read(LookupState::unstarted)),
        };
        self.findings.watched.report(under_way)
    }

    /// How it went, once it has ended.
    pub fn outcome(&self) -> Option<Result<Outcome, CallError>> {
        self.findings.watched.read(LookupState::end)
    }
}

impl<T> Stream for LookupHandle<T> {
    type Item = T;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        self.findings.poll(cx).map(|found| found.ok().flatten())
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
