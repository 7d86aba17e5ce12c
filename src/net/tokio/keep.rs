//! What is kept up, as the tasks that asked for it see it.

use alloc::sync::Arc;
use core::future::poll_fn;
use core::pin::Pin;
use core::task::{Context, Poll};

use futures_core::Stream;

use crate::net::board::Lease;
use crate::net::reader::Reader;
use crate::net::rounds::{Ended, Round, Rounds, subjects};

/// What is kept up as long as this lives: an announce or an item.
///
/// As a stream it yields the rounds as they end; it ends with the node. A caller who comes for a
/// round after the next one has ended misses it.
///
/// Dropping it ends that, and a round under way, unless another caller keeps up the same. It does not
/// keep the node running.
#[must_use = "dropping it ends what is kept up"]
pub struct Upkeep<T> {
    subject: T,
    rounds: Reader<Ended, Round>,
    _lease: Lease,
}

subjects!();

impl<T> Upkeep<T> {
    pub(super) fn new(subject: T, (rounds, lease): (Arc<Rounds>, Lease)) -> Self {
        Self { subject, rounds: Reader::new(rounds, Ended::next_round), _lease: lease }
    }

    /// The last round, once there is one that this caller has not seen; `None` once the node has
    /// ended. No round is lost if the future is dropped.
    pub async fn recv(&mut self) -> Option<Round> {
        poll_fn(|cx| self.poll_recv(cx)).await
    }

    fn poll_recv(&mut self, cx: &Context<'_>) -> Poll<Option<Round>> {
        self.rounds.poll(cx).map(|round| round.ok().flatten())
    }
}

impl<T: Unpin> Stream for Upkeep<T> {
    type Item = Round;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Round>> {
        self.poll_recv(cx)
    }
}
