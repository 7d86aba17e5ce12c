//! A crawl as its caller and the loop share it.

use alloc::collections::VecDeque;
use alloc::sync::Arc;

use super::watch::Watch;
use crate::{CrawlOptions, CrawlReport, Crawler, Event, Found, Instant, Node};

/// Infohashes that wait for the caller, beside [`CrawlOptions::untaken`].
const WAITING: usize = 256;

/// What was found and not taken, and how the crawl goes.
#[derive(Debug, Default)]
pub(crate) struct CrawlState {
    waiting: VecDeque<Found>,
    report: CrawlReport,
    closed: bool,
}

impl CrawlState {
    /// The next infohash; `None` if there will be no more. Nothing if that is not known yet.
    pub(crate) fn next(&self) -> Option<Option<Found>> {
        self.waiting.front().copied().map(Some).or_else(|| self.closed.then_some(None))
    }

    pub(crate) const fn report(&self) -> CrawlReport {
        self.report
    }
}

impl Watch<CrawlState> {
    /// The caller, of whom there is one, has seen the next infohash. Returns whether the loop may have
    /// waited for that.
    pub(crate) fn take(&self) -> bool {
        let mut was_full = false;
        self.update(|crawled| {
            was_full = crawled.waiting.len() >= WAITING;
            crawled.waiting.pop_front();
        });
        was_full
    }
}

/// What the loop has of a crawl.
pub(crate) struct ActiveCrawl {
    crawler: Crawler,
    finds: Arc<Watch<CrawlState>>,
}

impl ActiveCrawl {
    pub(crate) fn new(options: CrawlOptions) -> Self {
        Self { crawler: Crawler::new(options), finds: Arc::default() }
    }

    pub(crate) fn finds(&self) -> Arc<Watch<CrawlState>> {
        Arc::clone(&self.finds)
    }

    pub(crate) fn handle_event(&mut self, now: Instant, node: &Node, event: &Event) -> bool {
        self.crawler.handle_event(now, node, event)
    }

    /// Hands over what was found, and asks whom it is time to ask.
    pub(crate) fn go_on(&mut self, now: Instant, node: &mut Node) {
        let room = WAITING - self.finds.read(|crawled| crawled.waiting.len().min(WAITING));
        let found: VecDeque<Found> = core::iter::from_fn(|| self.crawler.next_found()).take(room).collect();
        let is_due = self.due().is_some_and(|due| due <= now);
        if is_due {
            self.crawler.poll(now, node);
        }
        if is_due || !found.is_empty() {
            let report = self.crawler.report();
            self.finds.update(|crawled| {
                crawled.waiting.extend(found);
                crawled.report = report;
            });
        }
    }

    /// When it is time to ask somebody.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.crawler.poll_timeout()
    }

    pub(crate) fn stop(mut self, node: &mut Node) {
        self.crawler.stop(node);
    }

    /// Tells the caller that there will be no more.
    pub(crate) fn close(&self) {
        self.finds.update(|crawled| crawled.closed = true);
    }
}
