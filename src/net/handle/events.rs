//! The callers' side of a subscription.

use core::future::poll_fn;
use core::pin::Pin;
use core::task::{Context, Poll};
use core::time::Duration;
use std::time::Instant as StdInstant;

use futures_core::Stream;

use super::iter::Iter;
use crate::net::engine::events::{NetEvent, Subscriber};
use crate::net::engine::feed::{Feed, FeedReader, feed};
use crate::net::error::CallError;

/// A subscription to [`NetEvent`]s, from [`DhtHandle::subscribe`](crate::net::DhtHandle::subscribe) or
/// [`Builder::subscribe`](crate::net::Builder::subscribe).
///
/// It yields the events in order, until the node ends: as an iterator, which blocks until the next one, or
/// asynchronously by [`recv`](Self::recv) and as a [`Stream`].
///
/// It does not keep the node running. While 1024 events wait to be taken, newer ones are lost
/// ([`LoopStats::notices_lost`](crate::net::LoopStats::notices_lost)).
#[derive(Debug)]
pub struct NetEvents {
    events: FeedReader<NetEvent, ()>,
}

impl NetEvents {
    pub(super) fn new() -> (Subscriber, Self) {
        let (subscriber, events) = feed();
        (subscriber, Self { events })
    }

    /// Ends the subscription with an error, because the engine did not receive it.
    pub(super) fn refuse(&self, error: CallError) {
        self.events.refuse(error);
    }

    /// Awaits the next event. None is lost if the future is dropped.
    ///
    /// # Errors
    ///
    /// [`CallError::Closed`] once the node has ended, [`CallError::Busy`] if it could not subscribe.
    pub async fn recv(&mut self) -> Result<NetEvent, CallError> {
        poll_fn(|cx| self.events.poll(cx, Feed::next_item)).await
    }

    /// Blocks until the next event, at most for `timeout`.
    ///
    /// # Errors
    ///
    /// [`CallError::TimedOut`], and the errors of [`recv`](Self::recv).
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<NetEvent, CallError> {
        self.events.wait(StdInstant::now().checked_add(timeout), Feed::next_item)
    }
}

impl NetEvents {
    /// Returns a blocking iterator, after which the subscription can still be used.
    pub fn iter(&mut self) -> Iter<'_, NetEvent> {
        Iter::new(|| self.events.wait(None, Feed::next_item).ok())
    }
}

impl IntoIterator for NetEvents {
    type Item = NetEvent;
    type IntoIter = Iter<'static, NetEvent>;

    fn into_iter(self) -> Iter<'static, NetEvent> {
        Iter::new(move || self.events.wait(None, Feed::next_item).ok())
    }
}

impl<'a> IntoIterator for &'a mut NetEvents {
    type Item = NetEvent;
    type IntoIter = Iter<'a, NetEvent>;

    fn into_iter(self) -> Iter<'a, NetEvent> {
        self.iter()
    }
}

impl Stream for NetEvents {
    type Item = NetEvent;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<NetEvent>> {
        self.events.poll(cx, Feed::next_item).map(Result::ok)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_told_from_silence() {
        let (subscriber, mut events) = NetEvents::new();
        assert_eq!(events.recv_timeout(Duration::ZERO), Err(CallError::TimedOut));
        drop(subscriber);
        assert_eq!(events.recv_timeout(Duration::ZERO), Err(CallError::Closed));
    }
}
