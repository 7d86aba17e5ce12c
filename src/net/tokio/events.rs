//! Subscriptions for tasks.

use core::pin::Pin;
use core::task::{Context, Poll};

use futures_core::Stream;
use tokio::sync::mpsc;

use crate::net::engine::events::{NetEvent, Subscriber, WAITING};

/// A subscription to [`NetEvent`]s, from [`DhtHandle::subscribe`](super::DhtHandle::subscribe) or
/// [`Builder::subscribe`](super::Builder::subscribe): a stream that ends when the node has.
///
/// It does not keep the node running. A subscriber that falls behind by more than 1024 notices
/// loses the newest ones ([`LoopStats::notices_lost`](crate::net::LoopStats::notices_lost)).
#[derive(Debug)]
pub struct NetEvents {
    notices: mpsc::Receiver<NetEvent>,
}

pub(crate) fn subscription() -> (Subscriber, NetEvents) {
    let (sender, notices) = mpsc::channel(WAITING);
    (Subscriber::Task(sender), NetEvents { notices })
}

impl NetEvents {
    /// The next notice; `None` once the node has ended. None is lost if the future is dropped.
    pub async fn recv(&mut self) -> Option<NetEvent> {
        self.notices.recv().await
    }
}

impl Stream for NetEvents {
    type Item = NetEvent;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<NetEvent>> {
        self.notices.poll_recv(cx)
    }
}
