//! A lookup as its caller sees it.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::fmt;
use core::future::poll_fn;
use core::net::SocketAddr;
use core::pin::Pin;
use core::task::{Context, Poll};
use core::time::Duration;
use std::time::Instant as StdInstant;

use futures_core::Stream;

use super::call::Call;
use super::iter::Iter;
use crate::LookupReport;
#[cfg(feature = "items")]
use crate::items::Item;
use crate::net::engine::feed::{Feed, FeedReader, FeedWriter, feed};
use crate::net::engine::lookups::{Key, Outcome, Wants};
use crate::net::engine::mailbox::{Command, Resource};
use crate::net::engine::shared::{Lease, Shared};
use crate::net::error::CallError;

/// A lookup, announce, put or bootstrap under way, from the methods of [`DhtHandle`](crate::net::DhtHandle).
///
/// It yields what is found, and ends with the lookup: as an iterator, which blocks until the next arrives; by
/// [`recv`](Self::recv) and as a [`Stream`], which are awaited. It is peers that are found, each once; where an
/// item is sought it is that, and of a mutable one versions, each newer than the one before. Other lookups yield
/// nothing. What was found before a caller joined a lookup that was under way is replayed to it.
///
/// How it went is told by [`wait`](Self::wait) or by awaiting the handle itself.
///
/// A lookup that could not start ([`CallError::Start`], [`CallError::QueueFull`], [`CallError::Busy`],
/// [`CallError::Closed`]) says so at the first read.
///
/// Dropping it cancels the lookup unless another caller shares it. It does not keep the node
/// running.
#[must_use = "dropping it cancels the lookup"]
pub struct LookupHandle<T = SocketAddr> {
    findings: FeedReader<T, Outcome>,
    number: u64,
    shared: Arc<Shared>,
    #[cfg_attr(not(feature = "items"), expect(dead_code, reason = "its drop ends the share of the lookup"))]
    lease: Option<Lease>,
}

impl<T> LookupHandle<T> {
    /// Starts a lookup; `wants` tells what of it is handed over.
    pub(super) fn start(
        shared: &Arc<Shared>,
        key: Key,
        wants: impl FnOnce(FeedWriter<T, Outcome>) -> Wants,
    ) -> Self {
        let ((writer, findings), number) = (feed(), shared.next_number());
        let command = Command::Lookup { number, key, wants: wants(writer) };
        let is_sent = shared.send(command, |error| findings.refuse(error));
        let lease = is_sent.then(|| Lease::new(shared, Resource::Lookup(number)));
        Self { findings, number, shared: Arc::clone(shared), lease }
    }

    /// A lookup that is refused at once.
    #[cfg(feature = "items")]
    pub(super) fn refused(shared: &Arc<Shared>, error: CallError) -> Self {
        let findings = FeedReader::ended(Err(error));
        Self { findings, number: 0, shared: Arc::clone(shared), lease: None }
    }

    /// Awaits what is found next; `Ok(None)` once the lookup has ended. Nothing is lost if the future is dropped.
    ///
    /// # Errors
    ///
    /// Why the lookup could not start, or [`CallError::Closed`] if the node ended before it.
    pub async fn recv(&mut self) -> Result<Option<T>, CallError> {
        poll_fn(|cx| self.findings.poll(cx, Feed::next)).await
    }

    /// Blocks for what is found next, at most for `timeout`; `Ok(None)` once the lookup has ended.
    ///
    /// # Errors
    ///
    /// [`CallError::TimedOut`] while the lookup goes on, and those of [`recv`](Self::recv).
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<Option<T>, CallError> {
        self.findings.wait(StdInstant::now().checked_add(timeout), Feed::next)
    }

    /// Blocks until the end. What is found meanwhile can still be taken.
    ///
    /// # Errors
    ///
    /// As [`recv`](Self::recv).
    pub fn wait(&mut self) -> Result<Outcome, CallError> {
        self.findings.wait(None, Feed::end)
    }

    /// Blocks until the end, at most for `timeout`.
    ///
    /// # Errors
    ///
    /// [`CallError::TimedOut`] while the lookup goes on, and those of [`recv`](Self::recv).
    pub fn wait_timeout(&mut self, timeout: Duration) -> Result<Outcome, CallError> {
        self.findings.wait(StdInstant::now().checked_add(timeout), Feed::end)
    }

    // As a method, so that an iterator captures all of it, the lease too; and so that sending that needs no `Sync`.
    #[expect(clippy::needless_pass_by_ref_mut, reason = "it is captured by the iterator")]
    fn next_blocking(&mut self) -> Option<T> {
        self.findings.wait(None, Feed::next).ok().flatten()
    }

    /// How it went, once it has ended.
    pub fn outcome(&self) -> Option<Result<Outcome, CallError>> {
        self.findings.with(Feed::end)
    }
}

impl<T: Send + 'static> LookupHandle<T> {
    /// How it goes, or went.
    pub fn report(&self) -> Call<LookupReport> {
        if let Some(end) = self.outcome() {
            return Call::ended(end.map(|outcome| outcome.report));
        }
        let (number, findings) = (self.number, self.findings.share());
        let end = Box::new(move || findings.with(Feed::end));
        Call::ask(&self.shared, |reply| Command::Report { number, end, reply })
    }
}

#[cfg(feature = "items")]
impl LookupHandle<Item> {
    /// Returns the newest version that was seen once `within` has passed, or the lookup has ended before: of a mutable
    /// item that is usually there long before the slowest nodes, which the lookup itself waits for. `None` if none was
    /// seen by then. Of an immutable item it returns the first copy, at once.
    ///
    /// A node that answers later may have had a newer version. Before the next one is put, the put looks again.
    pub fn newest_within(self, within: Duration) -> Call<Option<Item>> {
        let findings = self.findings.share();
        let end = Box::new(move || findings.with(Feed::end));
        let number = self.number;
        let command = |reply| Command::Newest { number, within, end, reply };
        Call::follow_up(&self.shared, self.lease, command)
    }
}

impl<T: Send> LookupHandle<T> {
    /// Blocks for one after the other, and leaves this to be used afterwards.
    pub fn iter(&mut self) -> Iter<'_, T> {
        Iter::new(|| self.next_blocking())
    }
}

impl<T: Send + 'static> IntoIterator for LookupHandle<T> {
    type Item = T;
    type IntoIter = Iter<'static, T>;

    fn into_iter(mut self) -> Iter<'static, T> {
        Iter::new(move || self.next_blocking())
    }
}

impl<'a, T: Send> IntoIterator for &'a mut LookupHandle<T> {
    type Item = T;
    type IntoIter = Iter<'a, T>;

    fn into_iter(self) -> Iter<'a, T> {
        self.iter()
    }
}

impl<T> Stream for LookupHandle<T> {
    type Item = T;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T>> {
        self.findings.poll(cx, Feed::next).map(|found| found.ok().flatten())
    }
}

impl<T> IntoFuture for LookupHandle<T> {
    type Output = Result<Outcome, CallError>;
    type IntoFuture = Finish<Self>;

    fn into_future(self) -> Finish<Self> {
        Finish(self)
    }
}

impl<'a, T> IntoFuture for &'a mut LookupHandle<T> {
    type Output = Result<Outcome, CallError>;
    type IntoFuture = Finish<&'a mut LookupHandle<T>>;

    fn into_future(self) -> Finish<&'a mut LookupHandle<T>> {
        Finish(self)
    }
}

impl<T> fmt::Debug for LookupHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LookupHandle")
            .field("number", &self.number)
            .field("waiting", &self.findings.waiting())
            .finish_non_exhaustive()
    }
}

/// Awaits the end of a lookup.
#[derive(Debug)]
#[must_use]
pub struct Finish<H>(H);

impl<T> Future for Finish<LookupHandle<T>> {
    type Output = Result<Outcome, CallError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.findings.poll(cx, Feed::end)
    }
}

impl<T> Future for Finish<&mut LookupHandle<T>> {
    type Output = Result<Outcome, CallError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.findings.poll(cx, Feed::end)
    }
}
