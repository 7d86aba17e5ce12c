//! What is kept up, as the tasks that asked for it see it.

use alloc::sync::Arc;
use core::future::poll_fn;
use core::pin::Pin;
use core::task::{Context, Poll};

use futures_core::Stream;

use crate::net::engine::publications::{RepublishState, Republished, subjects};
use crate::net::engine::shared::Lease;
use crate::net::engine::watch::Watch;
use crate::net::handle::cursor::Cursor;

/// What is kept up as long as this lives: an announce or an item.
///
/// As a stream it yields the rounds as they end; it ends with the node. A caller who comes for a
/// round after the next one has ended misses it.
///
/// Dropping it ends that, and a round under way, unless another caller keeps up the same. It does not
/// keep the node running.
#[must_use = "dropping it ends what is kept up"]
pub struct Recurring<T> {
    subject: T,
    rounds: Cursor<RepublishState, Republished>,
    _lease: Lease,
}

subjects!();

impl<T> Recurring<T> {
    pub(super) fn new(subject: T, (rounds, lease): (Arc<Watch<RepublishState>>, Lease)) -> Self {
        Self { subject, rounds: Cursor::new(rounds, RepublishState::next_round), _lease: lease }
    }

    /// The last round, once there is one that this caller has not seen; `None` once the node has
    /// ended. No round is lost if the future is dropped.
    pub async fn recv(&mut self) -> Option<Republished> {
        poll_fn(|cx| self.poll_recv(cx)).await
    }

    fn poll_recv(&mut self, cx: &Context<'_>) -> Poll<Option<Republished>> {
        self.rounds.poll(cx).map(|round| round.ok().flatten())
    }
}

impl<T: Unpin> Stream for Recurring<T> {
    type Item = Republished;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Republished>> {
        self.poll_recv(cx)
    }
}
