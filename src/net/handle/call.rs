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

/// The result of a call to a [`DhtHandle`](crate::net::DhtHandle), which is on its way: [`wait`](Self::wait) blocks for
/// it, `.await` awaits it.
///
/// The call itself is under way already. Dropping this cancels a query to another node; whatever else was asked is
/// done, and its error goes unseen.
#[must_use = "its error goes unseen, and a query is cancelled"]
pub struct Call<T> {
    reply: FeedReader<(), T>,
    /// Until it has ended.
    lease: Option<Lease>,
}

impl<T> Call<T> {
    /// Blocks until the result is there. Not for asynchronous code: in debug builds it panics within a tokio
    /// runtime, where it would hold up other tasks.
    ///
    /// # Errors
    ///
    /// What the call itself fails with, [`CallError::Busy`], and [`CallError::Closed`] once the node has ended.
    pub fn wait(mut self) -> Result<T, CallError> {
        self.wait_until(None)
    }

    /// Blocks until the result is there, at most for `timeout`. The result is taken once, and then the call is
    /// [closed](CallError::Closed).
    ///
    /// # Errors
    ///
    /// [`CallError::TimedOut`] while the call goes on, and those of [`wait`](Self::wait).
    pub fn wait_timeout(&mut self, timeout: Duration) -> Result<T, CallError> {
        self.wait_until(StdInstant::now().checked_add(timeout))
    }

    fn wait_until(&mut self, deadline: Option<StdInstant>) -> Result<T, CallError> {
        let result = self.reply.wait(deadline, |reply| reply.take_end().map(Ok));
        let result = result?;
        self.lease.take().into_iter().for_each(Lease::end);
        result
    }

    /// Asks the engine, which replies once.
    pub(super) fn ask(shared: &Shared, command: impl FnOnce(Reply<T>) -> Command) -> Self {
        let (writer, reply) = feed();
        shared.send(command(writer), |error| reply.refuse(error));
        Self { reply, lease: None }
    }

    /// Asks the engine for the result of what was started before, which is given up with this call.
    #[cfg(feature = "items")]
    pub(super) fn follow_up(
        shared: &Shared,
        lease: Option<Lease>,
        command: impl FnOnce(Reply<T>) -> Command,
    ) -> Self {
        Self { lease, ..Self::ask(shared, command) }
    }

    /// Asks the engine for a query to another node, which is cancelled if nobody waits for it.
    pub(super) fn query(shared: &Arc<Shared>, command: impl FnOnce(u64, Reply<T>) -> Command) -> Self {
        Self::leased(shared, Resource::Query, command)
    }

    /// Asks the engine for a lookup, which is cancelled if nobody waits for it.
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

    /// A call whose result is known.
    pub(super) fn ended(result: Result<T, CallError>) -> Self {
        Self { reply: FeedReader::ended(result), lease: None }
    }

    /// A call whose result comes by a reply of the loop.
    pub(super) const fn of(reply: FeedReader<(), T>) -> Self {
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
