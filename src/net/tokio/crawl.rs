//! A crawl as the task that asked for it sees it.

use alloc::sync::Arc;
use core::fmt;
use core::future::poll_fn;
use core::pin::Pin;
use core::task::{Context, Poll};

use futures_core::Stream;

use crate::net::engine::crawls::CrawlState;
use crate::net::engine::shared::Lease;
use crate::net::engine::watch::Watch;
use crate::{CrawlReport, Found};

/// A crawl that goes on as long as this lives, from [`DhtHandle::crawl`](super::DhtHandle::crawl).
///
/// As a stream it yields the infohashes as they are found, and ends with the node. While nobody takes them no
/// further nodes are asked.
///
/// Dropping it stops the crawl. It does not keep the node running.
#[must_use = "dropping a crawl stops it"]
pub struct Crawl {
    finds: Arc<Watch<CrawlState>>,
    /// This caller's place among those who wait for the finds.
    place: Option<u64>,
    lease: Lease,
}

impl Crawl {
    pub(super) fn new((finds, lease): (Arc<Watch<CrawlState>>, Lease)) -> Self {
        Self { finds, place: None, lease }
    }

    /// The next infohash; `None` once the node has ended. None is lost if the future is dropped.
    pub async fn recv(&mut self) -> Option<Found> {
        poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// How it goes.
    pub fn report(&self) -> CrawlReport {
        self.finds.read(CrawlState::report)
    }

    fn poll_recv(&mut self, cx: &Context<'_>) -> Poll<Option<Found>> {
        let Self { finds, place, lease } = self;
        finds.poll(place, cx, CrawlState::next).map(|next| {
            if next.is_some() && finds.take() {
                lease.wake();
            }
            next
        })
    }
}

impl Stream for Crawl {
    type Item = Found;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Found>> {
        self.poll_recv(cx)
    }
}

impl Drop for Crawl {
    fn drop(&mut self) {
        self.finds.forget(self.place);
    }
}

impl fmt::Debug for Crawl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Crawl").field("report", &self.report()).finish_non_exhaustive()
    }
}
