//! The result of one call.

use alloc::sync::Arc;
use core::fmt;
use core::pin::Pin;
use core::task::{Context, Poll};
use core::time::Duration;
use std::time::Instant as StdInstant;

use crate::net::engine::feed::{Feed, FeedReader, Reply, feed};
use crate::net::engine::mailbox::{Command, Resource};
use crate::net::engine::shared::{Lease, Shared};
use crate::net::error::CallError;

/// The pending result of a call to a [`DhtHandle`](crate::net::DhtHandle): [`wait`](Self::wait) blocks until it is
/// there, `.await` awaits it.
///
/// The call is in progress already. Dropping this cancels a query to another node; any other call is completed, and its
/// result is discarded.
#[must_use = "its error goes unseen, and a query is cancelled"]
pub struct Call<T> {
    reply: FeedReader<(), T>,
    /// The share of what is queried; released when the call has ended.
    lease: Option<Lease>,
}

impl<T> Call<T> {
    /// Blocks until the result is there.
    ///
    /// Not for asynchronous code, where it would delay other tasks: within a tokio runtime it panics in debug builds.
    ///
    /// # Errors
    ///
    /// The errors of the call itself, [`CallError::Busy`], or [`CallError::Closed`] once the node has ended.
    pub fn wait(mut self) -> Result<T, CallError> {
        self.wait_until(None)
    }

    /// Blocks until the result is there, at most for `timeout`.
    ///
    /// The result can be taken once; afterwards the call is [closed](CallError::Closed).
    ///
    /// # Errors
    ///
    /// [`CallError::TimedOut`] while the call is in progress, and the errors of [`wait`](Self::wait).
    pub fn wait_timeout(&mut self, timeout: Duration) -> Result<T, CallError> {
        self.wait_until(StdInstant::now().checked_add(timeout))
    }

    fn wait_until(&mut self, deadline: Option<StdInstant>) -> Result<T, CallError> {
        let result = self.reply.wait(deadline, |reply| reply.take_end().map(Ok));
        let result = result?;
        self.lease.take().into_iter().for_each(Lease::end);
        result
    }

    /// Sends a command, to which the engine replies once.
    pub(super) fn request(shared: &Shared, command: impl FnOnce(Reply<T>) -> Command) -> Self {
        let (writer, reply) = feed();
        shared.send(command(writer), |error| reply.refuse(error));
        Self { reply, lease: None }
    }

    /// Sends a command about an operation that was started before, which is cancelled with this call.
    #[cfg(feature = "items")]
    pub(super) fn follow_up(
        shared: &Shared,
        lease: Option<Lease>,
        command: impl FnOnce(Reply<T>) -> Command,
    ) -> Self {
        Self { lease, ..Self::request(shared, command) }
    }

    /// Sends a command for a query to another node, which is cancelled if this call is dropped.
    pub(super) fn query(shared: &Arc<Shared>, command: impl FnOnce(u64, Reply<T>) -> Command) -> Self {
        Self::leased(shared, Resource::Query, command)
    }

    /// Sends a command for a lookup, which is cancelled if this call is dropped.
    #[cfg(feature = "items")]
    pub(super) fn lookup(shared: &Arc<Shared>, command: impl FnOnce(u64, Reply<T>) -> Command) -> Self {
        Self::leased(shared, Resource::Lookup, command)
    }

    fn leased(
        shared: &Arc<Shared>,
        resource: fn(u64) -> Resource,
        command: impl FnOnce(u64, Reply<T>) -> Command,
    ) -> Self {
        let ((writer, reply), number) = (feed(), shared.next_number());
        let is_sent = shared.send(command(number, writer), |error| reply.refuse(error));
        Self { reply, lease: is_sent.then(|| Lease::new(shared, resource(number))) }
    }

    /// Creates a call whose result is known.
    pub(super) fn ended(result: Result<T, CallError>) -> Self {
        Self { reply: FeedReader::ended(result), lease: None }
    }

    /// Creates a call whose result is a reply of the loop.
    pub(super) const fn pending(reply: FeedReader<(), T>) -> Self {
        Self { reply, lease: None }
    }
}

impl<T> Future for Call<T> {
    type Output = Result<T, CallError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<T, CallError>> {
        let result = self.reply.poll(cx, Feed::take_end);
        if result.is_ready() {
            self.lease.take().into_iter().for_each(Lease::end);
        }
        result
    }
}

impl<T> fmt::Debug for Call<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call").finish_non_exhaustive()
    }
}
