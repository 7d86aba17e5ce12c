//! A crawl as a program, and what it has found so far.

use alloc::vec::Vec;
use core::time::Duration;

use crate::base::id::InfoHash;
use crate::base::time::Instant;
use crate::crawl::{CrawlOptions, CrawlReport, Crawler};
use crate::node::Node;
use crate::node::api::event::Event;
use crate::sim::program::Program;

/// A crawl of one host.
#[derive(Debug)]
pub(super) struct Crawl {
    crawler: Crawler,
    started: Instant,
    found: Vec<(Duration, InfoHash)>,
}

impl Crawl {
    /// Creates a crawl that starts now, by the clock of the host.
    pub(super) fn new(options: CrawlOptions, now: Instant) -> Self {
        Self { crawler: Crawler::new(options), started: now, found: Vec::new() }
    }

    pub(super) fn found(&self) -> &[(Duration, InfoHash)] {
        &self.found
    }

    pub(super) fn report(&self) -> CrawlReport {
        self.crawler.report()
    }

    fn take_found(&mut self, now: Instant) {
        while let Some(found) = self.crawler.next_found() {
            self.found.push((now - self.started, found.infohash));
        }
    }
}

impl Program for Crawl {
    fn poll(&mut self, now: Instant, node: &mut Node) {
        self.crawler.poll(now, node);
        self.take_found(now);
    }

    fn handle_event(&mut self, now: Instant, node: &mut Node, event: &Event) {
        self.crawler.handle_event(now, node, event);
        self.take_found(now);
    }

    fn next_wake(&self) -> Option<Instant> {
        self.crawler.poll_timeout()
    }
}
