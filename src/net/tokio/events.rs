//! Subscriptions for tasks.

use core::pin::Pin;
use core::task::{Context, Poll};

use futures_core::Stream;
use tokio::sync::mpsc;

use crate::net::events::{Notice, Subscriber, WAITING};

/// A subscription to [`Notice`]s, from [`Dht::subscribe`](super::Dht::subscribe) or
/// [`Builder::subscribe`](super::Builder::subscribe): a stream that ends when the node has.
///
/// It does not keep the node running. A subscriber that falls behind by more than 1024 notices
/// loses the newest ones ([`LoopStats::notices_lost`](crate::net::LoopStats::notices_lost)).
#[derive(Debug)]
pub struct Events {
    notices: mpsc::Receiver<Notice>,
}

pub(in crate::net) fn subscription() -> (Subscriber, Events) {
    let (sender, notices) = mpsc::channel(WAITING);
    (Subscriber::Task(sender), Events { notices })
}

impl Events {
    /// The next notice; `None` once the node has ended. None is lost if the future is dropped.
    pub async fn recv(&mut self) -> Option<Notice> {
        self.notices.recv().await
    }
}

impl Stream for Events {
    type Item = Notice;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Notice>> {
        self.notices.poll_recv(cx)
    }
}
