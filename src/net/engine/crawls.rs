//! A crawl as its caller and the loop share it.

use alloc::collections::VecDeque;
use alloc::sync::Arc;

use super::watched::Watched;
use crate::{CrawlOptions, CrawlReport, Crawler, Event, Found, Instant, Node};

/// Infohashes that wait for the caller, beside [`CrawlOptions::untaken`].
const WAITING: usize = 256;

pub(super) type Finds = Watched<Crawled>;

/// What was found and not taken, and how the crawl goes.
#[derive(Debug, Default)]
pub(super) struct Crawled {
    waiting: VecDeque<Found>,
    report: CrawlReport,
    closed: bool,
}

impl Crawled {
    /// The next infohash; `None` if there will be no more. Nothing if that is not known yet.
    pub(super) fn next(&self) -> Option<Option<Found>> {
        self.waiting.front().copied().map(Some).or_else(|| self.closed.then_some(None))
    }

    pub(super) const fn report(&self) -> CrawlReport {
        self.report
    }
}

impl Finds {
    /// The caller, of whom there is one, has seen the next infohash. Returns whether the loop may have
    /// waited for that.
    pub(super) fn take(&self) -> bool {
        let mut was_full = false;
        self.update(|crawled| {
            was_full = crawled.waiting.len() >= WAITING;
            crawled.waiting.pop_front();
        });
        was_full
    }
}

/// What the loop has of a crawl.
pub(super) struct Crawling {
    crawler: Crawler,
    finds: Arc<Finds>,
}

impl Crawling {
    pub(super) fn new(options: CrawlOptions) -> Self {
        Self { crawler: Crawler::new(options), finds: Arc::default() }
    }

    pub(super) fn finds(&self) -> Arc<Finds> {
        Arc::clone(&self.finds)
    }

    pub(super) fn handle_event(&mut self, now: Instant, node: &Node, event: &Event) -> bool {
        self.crawler.handle_event(now, node, event)
    }

    /// Hands over what was found, and asks whom it is time to ask.
    pub(super) fn go_on(&mut self, now: Instant, node: &mut Node) {
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
    pub(super) fn due(&self) -> Option<Instant> {
        self.crawler.poll_timeout()
    }

    pub(super) fn stop(mut self, node: &mut Node) {
        self.crawler.stop(node);
    }

    /// Tells the caller that there will be no more.
    pub(super) fn close(&self) {
        self.finds.update(|crawled| crawled.closed = true);
    }
}
