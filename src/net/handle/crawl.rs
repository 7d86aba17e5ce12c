//! The callers' side of a crawl.

use alloc::sync::Arc;
use core::fmt;
use core::future::poll_fn;
use core::pin::Pin;
use core::task::{Context, Poll};
use core::time::Duration;
use std::time::Instant as StdInstant;

use futures_core::Stream;

use super::iter::Iter;
use crate::crawl::{CrawlOptions, CrawlReport, Found};
use crate::net::engine::crawls::{SharedReport, WAITING};
use crate::net::engine::feed::{Feed, FeedReader, feed};
use crate::net::engine::mailbox::{Command, Resource};
use crate::net::engine::shared::{Lease, Shared};
use crate::net::engine::watch::lock;
use crate::net::error::CallError;

/// A crawl in progress, from [`DhtHandle::crawl`](crate::net::DhtHandle::crawl).
///
/// It yields infohashes as they are found, until the node ends: as an iterator, which blocks until the next one, or
/// asynchronously by [`recv`](Self::recv) and as a [`Stream`]. While too many infohashes wait to be taken
/// ([`CrawlOptions::untaken`](field@CrawlOptions::untaken)), no further nodes are queried. If the crawl could not
/// start, the first read returns [`CallError::Busy`] or [`CallError::Closed`].
///
/// Dropping this stops the crawl. It does not keep the node running.
#[must_use = "dropping a crawl stops it"]
pub struct Crawl {
    finds: FeedReader<Found, ()>,
    report: SharedReport,
    lease: Option<Lease>,
}

impl Crawl {
    pub(super) fn start(shared: &Arc<Shared>, options: CrawlOptions) -> Self {
        let ((writer, finds), number) = (feed(), shared.next_number());
        let report = SharedReport::default();
        let command = Command::Crawl { number, options, finds: writer, report: Arc::clone(&report) };
        let is_sent = shared.send(command, |error| finds.refuse(error));
        Self { finds, report, lease: is_sent.then(|| Lease::new(shared, Resource::Crawl(number))) }
    }

    /// Awaits the next infohash. None is lost if the future is dropped.
    ///
    /// # Errors
    ///
    /// The error with which the crawl could not start, or [`CallError::Closed`] once the node has ended.
    pub async fn recv(&mut self) -> Result<Found, CallError> {
        poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// Blocks until the next infohash is found, at most for `timeout`.
    ///
    /// # Errors
    ///
    /// [`CallError::TimedOut`], and the errors of [`recv`](Self::recv).
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<Found, CallError> {
        self.recv_until(StdInstant::now().checked_add(timeout))
    }

    /// Returns the report of the crawl so far.
    pub fn report(&self) -> CrawlReport {
        *lock(&self.report)
    }

    /// Blocks until the next infohash is found or `deadline` has passed; without a deadline for as long as it takes.
    fn recv_until(&self, deadline: Option<StdInstant>) -> Result<Found, CallError> {
        let next = self.finds.wait(deadline, Feed::next_item);
        self.note_taken();
        next
    }

    fn poll_recv(&mut self, cx: &Context<'_>) -> Poll<Result<Found, CallError>> {
        let next = self.finds.poll(cx, Feed::next_item);
        self.note_taken();
        next
    }

    /// Wakes the loop, which may wait until there is room.
    fn note_taken(&self) {
        if self.finds.waiting() + 1 >= WAITING {
            self.lease.iter().for_each(Lease::wake);
        }
    }
}

impl Crawl {
    /// Returns a blocking iterator, after which the crawl can still be used.
    pub fn iter(&mut self) -> Iter<'_, Found> {
        Iter::new(|| self.recv_until(None).ok())
    }
}

impl IntoIterator for Crawl {
    type Item = Found;
    type IntoIter = Iter<'static, Found>;

    fn into_iter(self) -> Iter<'static, Found> {
        Iter::new(move || self.recv_until(None).ok())
    }
}

impl<'a> IntoIterator for &'a mut Crawl {
    type Item = Found;
    type IntoIter = Iter<'a, Found>;

    fn into_iter(self) -> Iter<'a, Found> {
        self.iter()
    }
}

impl Stream for Crawl {
    type Item = Found;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Found>> {
        self.poll_recv(cx).map(Result::ok)
    }
}

impl fmt::Debug for Crawl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Crawl").field("report", &self.report()).finish_non_exhaustive()
    }
}
