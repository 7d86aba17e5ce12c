//! What is kept up, as the tasks that asked for it see it.

use alloc::sync::Arc;
use core::fmt;
use core::future::poll_fn;
use core::pin::Pin;
use core::task::{Context, Poll};

use futures_core::Stream;

use crate::InfoHash;
#[cfg(feature = "items")]
use crate::NodeId;
use crate::net::board::Lease;
use crate::net::rounds::{Round, Rounds};

/// An announce that is kept up, from [`Dht::keep_announced`](super::Dht::keep_announced).
pub type Announcement = Upkeep<InfoHash>;

/// An item that is kept up, from [`Dht::keep_stored`](super::Dht::keep_stored).
#[cfg(feature = "items")]
pub type Publication = Upkeep<NodeId>;

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
    rounds: Arc<Rounds>,
    /// How many rounds had ended when this caller last saw one.
    seen: u64,
    /// This caller's place among those who wait for the rounds.
    place: Option<u64>,
    _lease: Lease,
}

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

impl<T> Upkeep<T> {
    pub(super) fn new(subject: T, (rounds, lease): (Arc<Rounds>, Lease)) -> Self {
        Self { subject, rounds, seen: 0, place: None, _lease: lease }
    }

    /// The last round, once there is one that this caller has not seen; `None` once the node has
    /// ended. No round is lost if the future is dropped.
    pub async fn recv(&mut self) -> Option<Round> {
        poll_fn(|cx| self.poll_recv(cx)).await
    }

    fn poll_recv(&mut self, cx: &Context<'_>) -> Poll<Option<Round>> {
        let Self { rounds, place, seen, .. } = self;
        rounds.poll(place, cx, |ended| ended.after(*seen)).map(|next| {
            next.map(|(count, round)| {
                *seen = count;
                round
            })
        })
    }
}

impl<T: Unpin> Stream for Upkeep<T> {
    type Item = Round;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Round>> {
        self.poll_recv(cx)
    }
}

impl<T> Drop for Upkeep<T> {
    fn drop(&mut self) {
        self.rounds.forget(self.place);
    }
}

impl<T: fmt::Debug> fmt::Debug for Upkeep<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upkeep")
            .field("subject", &self.subject)
            .field("seen", &self.seen)
            .finish_non_exhaustive()
    }
}
