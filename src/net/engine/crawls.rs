//! One crawl, and its caller.

use alloc::sync::Arc;
use alloc::vec::Vec;
use std::sync::Mutex;

use super::feed::FeedWriter;
use super::watch::lock;
use crate::crawl::{CrawlOptions, CrawlReport, Crawler, Found};
use crate::{Event, Instant, Node};

/// Infohashes that may wait for the caller, in addition to [`CrawlOptions::untaken`](field@CrawlOptions::untaken).
pub(crate) const WAITING: usize = 256;

/// The report of a crawl, for its caller to read.
pub(crate) type SharedReport = Arc<Mutex<CrawlReport>>;

pub(crate) struct ActiveCrawl {
    crawler: Crawler,
    finds: FeedWriter<Found, ()>,
    report: SharedReport,
}

impl ActiveCrawl {
    pub(crate) fn new(options: CrawlOptions, finds: FeedWriter<Found, ()>, report: SharedReport) -> Self {
        Self { crawler: Crawler::new(options), finds, report }
    }

    pub(crate) fn handle_event(&mut self, now: Instant, node: &Node, event: &Event) -> bool {
        self.crawler.handle_event(now, node, event)
    }

    /// Delivers infohashes to the caller, and queries the nodes that are due.
    pub(crate) fn advance(&mut self, now: Instant, node: &mut Node) {
        let room = WAITING.saturating_sub(self.finds.waiting());
        let found: Vec<Found> = core::iter::from_fn(|| self.crawler.next_found()).take(room).collect();
        let is_due = self.due().is_some_and(|due| due <= now);
        if is_due {
            self.crawler.poll(now, node);
        }
        if is_due || !found.is_empty() {
            *lock(&self.report) = self.crawler.report();
        }
        if !found.is_empty() {
            self.finds.extend(found);
        }
    }

    /// Returns when a node is due to be queried.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.crawler.poll_timeout()
    }

    pub(crate) fn stop(mut self, node: &mut Node) {
        self.crawler.stop(node);
    }
}
