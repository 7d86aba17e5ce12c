//! What is republished for as long as its caller holds it.

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
use crate::net::engine::publications::{Republished, Rounds};
use crate::net::engine::shared::{Lease, Shared};
use crate::net::error::CallError;

/// An announce or an item that is republished as long as this lives.
///
/// It yields each republish as it ends, and ends with the node: as an iterator, which blocks until the next one
/// ends; by [`recv`](Self::recv) and as a [`Stream`], which are awaited. A caller who comes for one after the next
/// one has ended misses it.
///
/// What could not start ([`CallError::Start`], [`CallError::QueueFull`], [`CallError::Busy`],
/// [`CallError::Closed`]) says so at the first read.
///
/// Dropping it ends that, and a republish under way, unless another caller holds the same. It does not
/// keep the node running.
#[must_use = "dropping it ends what is republished"]
pub struct Recurring<T> {
    subject: T,
    rounds: FeedReader<Republished, ()>,
    _lease: Option<Lease>,
}

/// An announce that is repeated, from [`DhtHandle::start_announcing`](crate::net::DhtHandle::start_announcing).
pub type Announcement = Recurring<InfoHash>;

/// An item that is put again and again, from [`DhtHandle::start_publishing`](crate::net::DhtHandle::start_publishing).
#[cfg(feature = "items")]
pub type Publication = Recurring<NodeId>;

impl Announcement {
    /// The torrent.
    pub const fn infohash(&self) -> InfoHash {
        self.subject
    }
}

#[cfg(feature = "items")]
impl Publication {
    /// Where the item is stored.
    pub const fn target(&self) -> NodeId {
        self.subject
    }
}

impl<T> Recurring<T> {
    pub(super) fn start(
        shared: &Arc<Shared>,
        subject: T,
        command: impl FnOnce(u64, Rounds) -> Command,
    ) -> Self {
        let ((writer, rounds), number) = (feed(), shared.next_number());
        let is_sent = shared.send(command(number, writer), |error| rounds.refuse(error));
        let lease = is_sent.then(|| Lease::new(shared, Resource::Publication(number)));
        Self { subject, rounds, _lease: lease }
    }

    /// Awaits the end of the next republish, or takes the last one that this caller has not seen. None is lost if
    /// the future is dropped.
    ///
    /// # Errors
    ///
    /// Why it could not start, or [`CallError::Closed`] once the node has ended.
    pub async fn recv(&mut self) -> Result<Republished, CallError> {
        poll_fn(|cx| self.rounds.poll(cx, Feed::next_item)).await
    }

    /// Blocks for the end of the next republish, as [`recv`](Self::recv) does, at most for `timeout`.
    ///
    /// # Errors
    ///
    /// [`CallError::TimedOut`], and those of [`recv`](Self::recv).
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<Republished, CallError> {
        self.rounds.wait(StdInstant::now().checked_add(timeout), Feed::next_item)
    }

    // As a method, so that an iterator captures all of it, the lease too; and so that sending that needs no `Sync`.
    #[expect(clippy::needless_pass_by_ref_mut, reason = "it is captured by the iterator")]
    fn next_blocking(&mut self) -> Option<Republished> {
        self.rounds.wait(None, Feed::next_item).ok()
    }
}

impl<T: Send> Recurring<T> {
    /// Blocks for one after the other, and leaves this to be used afterwards.
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
        self.rounds.poll(cx, Feed::next_item).map(Result::ok)
    }
}

impl<T: fmt::Debug> fmt::Debug for Recurring<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recurring").field("subject", &self.subject).finish_non_exhaustive()
    }
}
