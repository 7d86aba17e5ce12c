//! The callers' side of a lookup.

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
use crate::net::engine::lookups::{Consumer, Key, Outcome};
use crate::net::engine::mailbox::{Command, Resource};
use crate::net::engine::shared::{Lease, Shared};
use crate::net::error::CallError;

/// A lookup, announce, put or bootstrap in progress, from the methods of [`DhtHandle`](crate::net::DhtHandle).
///
/// It yields results until the lookup ends: as an iterator, which blocks until the next one, or asynchronously by
/// [`recv`](Self::recv) and as a [`Stream`]. The results are peers, each once, or for a lookup of an item the item,
/// with several versions of a mutable item each newer than the one before; other lookups yield nothing. A caller that
/// shares a lookup in progress receives what was found before as well.
///
/// [`wait`](Self::wait) or awaiting the handle itself returns the [`Outcome`].
///
/// If the lookup could not start, the first read returns the error ([`CallError::Start`], [`CallError::QueueFull`],
/// [`CallError::Busy`], [`CallError::Closed`]).
///
/// Dropping this cancels the lookup unless another caller shares it. It does not keep the node running.
#[must_use = "dropping it cancels the lookup"]
pub struct LookupHandle<T = SocketAddr> {
    findings: FeedReader<T, Outcome>,
    number: u64,
    shared: Arc<Shared>,
    #[cfg_attr(not(feature = "items"), expect(dead_code, reason = "its drop ends the share of the lookup"))]
    lease: Option<Lease>,
}

impl<T> LookupHandle<T> {
    /// Starts a lookup; `consumer` creates the consumer of its results.
    pub(super) fn start(
        shared: &Arc<Shared>,
        key: Key,
        consumer: impl FnOnce(FeedWriter<T, Outcome>) -> Consumer,
    ) -> Self {
        let ((writer, findings), number) = (feed(), shared.next_number());
        let command = Command::Lookup { number, key, consumer: consumer(writer) };
        let is_sent = shared.send(command, |error| findings.refuse(error));
        let lease = is_sent.then(|| Lease::new(shared, Resource::Lookup(number)));
        Self { findings, number, shared: Arc::clone(shared), lease }
    }

    /// Creates a lookup that is refused at once.
    #[cfg(feature = "items")]
    pub(super) fn refused(shared: &Arc<Shared>, error: CallError) -> Self {
        let findings = FeedReader::ended(Err(error));
        Self { findings, number: 0, shared: Arc::clone(shared), lease: None }
    }

    /// Awaits the next result; `Ok(None)` once the lookup has ended. Nothing is lost if the future is dropped.
    ///
    /// # Errors
    ///
    /// The error with which the lookup could not start, or [`CallError::Closed`] if the node has ended.
    pub async fn recv(&mut self) -> Result<Option<T>, CallError> {
        poll_fn(|cx| self.findings.poll(cx, Feed::next)).await
    }

    /// Blocks until the next result, at most for `timeout`; `Ok(None)` once the lookup has ended.
    ///
    /// # Errors
    ///
    /// [`CallError::TimedOut`] while the lookup is in progress, and the errors of [`recv`](Self::recv).
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<Option<T>, CallError> {
        self.findings.wait(StdInstant::now().checked_add(timeout), Feed::next)
    }

    /// Blocks until the lookup ends. Results found meanwhile can still be taken.
    ///
    /// # Errors
    ///
    /// The errors of [`recv`](Self::recv).
    pub fn wait(&mut self) -> Result<Outcome, CallError> {
        self.findings.wait(None, Feed::end)
    }

    /// Blocks until the lookup ends, at most for `timeout`.
    ///
    /// # Errors
    ///
    /// [`CallError::TimedOut`] while the lookup is in progress, and the errors of [`recv`](Self::recv).
    pub fn wait_timeout(&mut self, timeout: Duration) -> Result<Outcome, CallError> {
        self.findings.wait(StdInstant::now().checked_add(timeout), Feed::end)
    }

    // A method, so that the iterator captures the whole handle with its lease, and is `Send` without `Sync`.
    #[expect(clippy::needless_pass_by_ref_mut, reason = "it is captured by the iterator")]
    fn next_blocking(&mut self) -> Option<T> {
        self.findings.wait(None, Feed::next).ok().flatten()
    }

    /// Returns the outcome of the lookup, if it has ended.
    pub fn outcome(&self) -> Option<Result<Outcome, CallError>> {
        self.findings.with(Feed::end)
    }
}

impl<T: Send + 'static> LookupHandle<T> {
    /// Returns the report of the lookup, whether it has ended or not.
    pub fn report(&self) -> Call<LookupReport> {
        if let Some(end) = self.outcome() {
            return Call::ended(end.map(|outcome| outcome.report));
        }
        let (number, findings) = (self.number, self.findings.share());
        let end = Box::new(move || findings.with(Feed::end));
        Call::request(&self.shared, |reply| Command::Report { number, end, reply })
    }
}

#[cfg(feature = "items")]
impl LookupHandle<Item> {
    /// Returns the newest version found within this time, or by the end of the lookup if that is earlier; `None` if
    /// none was found.
    ///
    /// The newest version of a mutable item is usually found long before the slowest nodes respond, for which the
    /// lookup itself waits. An immutable item is returned as soon as it is found.
    ///
    /// A node that responds later may hold a newer version. A put of the next version looks for it again.
    pub fn newest_within(self, within: Duration) -> Call<Option<Item>> {
        let findings = self.findings.share();
        let end = Box::new(move || findings.with(Feed::end));
        let number = self.number;
        let command = |reply| Command::Newest { number, within, end, reply };
        Call::follow_up(&self.shared, self.lease, command)
    }
}

impl<T: Send> LookupHandle<T> {
    /// Returns a blocking iterator, after which the lookup can still be used.
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

/// A future that is ready when a lookup has ended.
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
