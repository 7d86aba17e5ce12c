//! A lookup as its callers see it. Callers that want the same thing share one lookup: each reads
//! the shared findings at its own pace.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::net::SocketAddr;
use core::time::Duration;
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::Instant as StdInstant;

use super::handle::{CallError, Command, Dht, lock};
use crate::{Lookup, LookupId, LookupOptions, LookupReport, NodeInfo};

/// What a lookup came to.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Outcome {
    /// How it went.
    pub report: LookupReport,
    /// The closest nodes that answered, closest first; up to 8.
    pub nodes: Vec<NodeInfo>,
    /// The nodes that confirmed the announce, if it was one.
    pub acknowledged: Vec<SocketAddr>,
}

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
    dht: Dht,
    lookup: LookupId,
    progress: Arc<Progress>,
    /// How many of the shared peers this caller has seen.
    seen: usize,
}

impl Search {
    pub(super) fn new(dht: Dht, (lookup, progress): (LookupId, Arc<Progress>)) -> Self {
        Self { dht, lookup, progress, seen: 0 }
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
        lock(&self.progress.state).end.clone()
    }

    /// No `deadline`: wait for as long as it takes.
    fn recv(&mut self, deadline: Option<StdInstant>) -> Result<Option<SocketAddr>, CallError> {
        let seen = self.seen;
        let state = self.progress.wait(deadline, |state| state.peers.len() > seen || state.end.is_some());
        if let Some(&peer) = state.peers.get(seen) {
            self.seen += 1;
            return Ok(Some(peer));
        }
        match &state.end {
            Some(Ok(_)) => Ok(None),
            Some(Err(error)) => Err(*error),
            None => Err(CallError::TimedOut),
        }
    }

    fn finish(&self, deadline: Option<StdInstant>) -> Result<Outcome, CallError> {
        let state = self.progress.wait(deadline, |state| state.end.is_some());
        state.end.clone().unwrap_or(Err(CallError::TimedOut))
    }
}

impl Iterator for Search {
    type Item = SocketAddr;

    fn next(&mut self) -> Option<SocketAddr> {
        self.recv(None).ok().flatten()
    }
}

impl Drop for Search {
    fn drop(&mut self) {
        if self.outcome().is_none() {
            // An error means that the thread is gone, and the lookup with it.
            let _ = self.dht.send(Command::Release(self.lookup));
        }
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

/// What makes two searches the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Lookup(Lookup, LookupOptions),
    Bootstrap,
}

/// The findings of one lookup, written by the DHT thread and read by its callers.
///
/// Bounded, because the core reports each peer and each acknowledgement of a lookup once, and
/// peers no more than it can remember.
#[derive(Debug, Default)]
pub(super) struct Progress {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    peers: Vec<SocketAddr>,
    acknowledged: Vec<SocketAddr>,
    end: Option<Result<Outcome, CallError>>,
}

impl Progress {
    pub(super) fn push_peer(&self, peer: SocketAddr) {
        lock(&self.state).peers.push(peer);
        self.changed.notify_all();
    }

    pub(super) fn push_acknowledged(&self, node: SocketAddr) {
        lock(&self.state).acknowledged.push(node);
    }

    pub(super) fn end(&self, report: LookupReport, nodes: Vec<NodeInfo>) {
        let mut state = lock(&self.state);
        let acknowledged = core::mem::take(&mut state.acknowledged);
        state.end = Some(Ok(Outcome { report, nodes, acknowledged }));
        drop(state);
        self.changed.notify_all();
    }

    /// Tells the callers that there will be no end.
    pub(super) fn close(&self) {
        lock(&self.state).end.get_or_insert(Err(CallError::Closed));
        self.changed.notify_all();
    }

    /// The state once `done` holds or `deadline` has passed.
    fn wait(&self, deadline: Option<StdInstant>, done: impl Fn(&State) -> bool) -> MutexGuard<'_, State> {
        super::handle::wait_until(&self.changed, lock(&self.state), deadline, |state| done(state))
    }
}
