//! A crawl that the world drives, and what it has found.

use alloc::vec::Vec;
use core::time::Duration;

use crate::base::id::InfoHash;
use crate::base::time::Instant;
use crate::crawl::{CrawlOptions, CrawlReport, Crawler};
use crate::node::Node;
use crate::node::api::event::Event;

/// A crawl of one host.
#[derive(Debug)]
pub(super) struct Crawl {
    crawler: Crawler,
    started: Instant,
    found: Vec<(Duration, InfoHash)>,
}

impl Crawl {
    pub(super) fn new(options: CrawlOptions, now: Instant) -> Self {
        Self { crawler: Crawler::new(options), started: now, found: Vec::new() }
    }

    pub(super) fn found(&self) -> &[(Duration, InfoHash)] {
        &self.found
    }

    pub(super) fn report(&self) -> CrawlReport {
        self.crawler.report()
    }

    pub(super) fn note(&mut self, local: Instant, node: &Node, event: &Event) {
        self.crawler.handle_event(local, node, event);
    }

    /// Sends the queries that are due. Returns whether there may have been any.
    pub(super) fn advance(&mut self, now: Instant, local: Instant, node: &mut Node) -> bool {
        while let Some(found) = self.crawler.next_found() {
            self.found.push((now - self.started, found.infohash));
        }
        let is_due = self.due().is_some_and(|due| due <= local);
        if is_due {
            self.crawler.poll(local, node);
        }
        is_due
    }

    pub(super) fn due(&self) -> Option<Instant> {
        self.crawler.poll_timeout()
    }
}
