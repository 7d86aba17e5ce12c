//! A crawl as its caller sees it.

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

/// A crawl that goes on as long as this lives, from [`DhtHandle::crawl`](crate::net::DhtHandle::crawl).
///
/// It yields the infohashes as they are found, and ends with the node: as an iterator, which blocks until there is
/// one; by [`recv`](Self::recv) and as a [`Stream`], which are awaited. While nobody takes them no further nodes
/// are asked. A crawl that could not start ([`CallError::Busy`], [`CallError::Closed`]) says so at the first read.
///
/// Dropping it stops the crawl. It does not keep the node running.
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
    /// Why the crawl could not start, or [`CallError::Closed`] once the node has ended.
    pub async fn recv(&mut self) -> Result<Found, CallError> {
        poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// Blocks for the next infohash, at most for `timeout`.
    ///
    /// # Errors
    ///
    /// [`CallError::TimedOut`], and those of [`recv`](Self::recv).
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<Found, CallError> {
        self.recv_until(StdInstant::now().checked_add(timeout))
    }

    /// How it goes.
    pub fn report(&self) -> CrawlReport {
        *lock(&self.report)
    }

    /// No `deadline`: blocks for as long as it takes.
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

    /// Wakes the loop if it may have waited for room.
    fn note_taken(&self) {
        if self.finds.waiting() + 1 >= WAITING {
            self.lease.iter().for_each(Lease::wake);
        }
    }
}

impl Crawl {
    /// Blocks for one after the other, and leaves this to be used afterwards.
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
