//! A crawl as its caller sees it.

use alloc::sync::Arc;
use core::fmt;
use core::time::Duration;
use std::time::Instant as StdInstant;

use crate::net::engine::crawls::CrawlState;
use crate::net::engine::shared::Lease;
use crate::net::engine::watch::Watch;
use crate::net::error::CallError;
use crate::{CrawlReport, Found};

/// A crawl that goes on as long as this lives, from [`DhtHandle::crawl`](super::DhtHandle::crawl).
///
/// As an iterator it yields the infohashes as they are found, blocking until there is one, and ends with the
/// DHT thread. While nobody takes them no further nodes are asked.
///
/// Dropping it stops the crawl. It does not keep the node running.
#[must_use = "dropping a crawl stops it"]
pub struct Crawl {
    finds: Arc<Watch<CrawlState>>,
    lease: Lease,
}

impl Crawl {
    pub(crate) fn new((finds, lease): (Arc<Watch<CrawlState>>, Lease)) -> Self {
        Self { finds, lease }
    }

    /// The next infohash, waiting at most `timeout` for it; `Ok(None)` once the DHT thread has ended.
    ///
    /// # Errors
    ///
    /// [`CallError::TimedOut`].
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<Option<Found>, CallError> {
        self.recv(StdInstant::now().checked_add(timeout))
    }

    /// How it goes.
    pub fn report(&self) -> CrawlReport {
        self.finds.read(CrawlState::report)
    }

    /// No `deadline`: wait for as long as it takes.
    fn recv(&self, deadline: Option<StdInstant>) -> Result<Option<Found>, CallError> {
        let next = self.finds.wait(deadline, CrawlState::next).ok_or(CallError::TimedOut)?;
        if next.is_some() && self.finds.take() {
            self.lease.wake();
        }
        Ok(next)
    }
}

impl Iterator for Crawl {
    type Item = Found;

    fn next(&mut self) -> Option<Found> {
        self.recv(None).ok().flatten()
    }
}

impl fmt::Debug for Crawl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Crawl").field("report", &self.report()).finish_non_exhaustive()
    }
}
