//! The callers' side of a publication.

use alloc::sync::Arc;
use core::fmt;
use core::future::poll_fn;
use core::pin::Pin;
use core::task::{Context, Poll};
use core::time::Duration;
use std::time::Instant as StdInstant;

use futures_core::Stream;

use super::iter::Iter;
use crate::InfoHash;
#[cfg(feature = "items")]
use crate::NodeId;
use crate::net::engine::feed::{Feed, FeedReader, feed};
use crate::net::engine::mailbox::{Command, Resource};
use crate::net::engine::publications::{RepublishFeed, Republished};
use crate::net::engine::shared::{Lease, Shared};
use crate::net::error::CallError;

/// A publication: an announce or an item that is republished until this is dropped.
///
/// It yields the result of each republish, until the node ends: as an iterator, which blocks until the next one, or
/// asynchronously by [`recv`](Self::recv) and as a [`Stream`]. Only the latest result is kept: one that is not taken
/// before the next republish ends is lost.
///
/// If the publication could not start, the first read returns the error ([`CallError::Publish`],
/// [`CallError::QueueFull`], [`CallError::Busy`], [`CallError::Closed`]).
///
/// Dropping this ends the publication, and a republish in progress, unless another caller shares it. It does not
/// keep the node running.
#[must_use = "dropping it ends what is republished"]
pub struct Recurring<T> {
    subject: T,
    republishes: FeedReader<Republished, ()>,
    _lease: Option<Lease>,
}

/// An announce that is republished, from [`DhtHandle::start_announcing`](crate::net::DhtHandle::start_announcing).
pub type Announcement = Recurring<InfoHash>;

/// An item that is republished, from [`DhtHandle::start_publishing`](crate::net::DhtHandle::start_publishing).
#[cfg(feature = "items")]
pub type Publication = Recurring<NodeId>;

impl Announcement {
    /// Returns the infohash of the torrent.
    pub const fn infohash(&self) -> InfoHash {
        self.subject
    }
}

#[cfg(feature = "items")]
impl Publication {
    /// Returns the target at which the item is stored.
    pub const fn target(&self) -> NodeId {
        self.subject
    }
}

impl<T> Recurring<T> {
    pub(super) fn start(
        shared: &Arc<Shared>,
        subject: T,
        command: impl FnOnce(u64, RepublishFeed) -> Command,
    ) -> Self {
        let ((writer, republishes), number) = (feed(), shared.next_number());
        let is_sent = shared.send(command(number, writer), |error| republishes.refuse(error));
        let lease = is_sent.then(|| Lease::new(shared, Resource::Publication(number)));
        Self { subject, republishes, _lease: lease }
    }

    /// Awaits the result of the next republish, or takes the latest one if this caller has not taken it. None is lost
    /// if the future is dropped.
    ///
    /// # Errors
    ///
    /// The error with which the publication could not start, or [`CallError::Closed`] once the node has ended.
    pub async fn recv(&mut self) -> Result<Republished, CallError> {
        poll_fn(|cx| self.republishes.poll(cx, Feed::next_item)).await
    }

    /// Blocks until the next republish has ended, as [`recv`](Self::recv) does, at most for `timeout`.
    ///
    /// # Errors
    ///
    /// [`CallError::TimedOut`], and the errors of [`recv`](Self::recv).
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<Republished, CallError> {
        self.republishes.wait(StdInstant::now().checked_add(timeout), Feed::next_item)
    }

    // A method, so that the iterator captures the whole handle with its lease, and is `Send` without `Sync`.
    #[expect(clippy::needless_pass_by_ref_mut, reason = "it is captured by the iterator")]
    fn next_blocking(&mut self) -> Option<Republished> {
        self.republishes.wait(None, Feed::next_item).ok()
    }
}

impl<T: Send> Recurring<T> {
    /// Returns a blocking iterator, after which the publication can still be used.
    pub fn iter(&mut self) -> Iter<'_, Republished> {
        Iter::new(|| self.next_blocking())
    }
}

impl<T: Send + 'static> IntoIterator for Recurring<T> {
    type Item = Republished;
    type IntoIter = Iter<'static, Republished>;

    fn into_iter(mut self) -> Iter<'static, Republished> {
        Iter::new(move || self.next_blocking())
    }
}

impl<'a, T: Send> IntoIterator for &'a mut Recurring<T> {
    type Item = Republished;
    type IntoIter = Iter<'a, Republished>;

    fn into_iter(self) -> Iter<'a, Republished> {
        self.iter()
    }
}

impl<T: Unpin> Stream for Recurring<T> {
    type Item = Republished;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Republished>> {
        self.republishes.poll(cx, Feed::next_item).map(Result::ok)
    }
}

impl<T: fmt::Debug> fmt::Debug for Recurring<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recurring").field("subject", &self.subject).finish_non_exhaustive()
    }
}
