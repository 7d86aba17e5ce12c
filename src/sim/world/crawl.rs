//! Crawls that the world drives, and what they find in time.

use alloc::vec::Vec;
use core::time::Duration;

use super::host::{Being, HostId};
use super::world::World;
use crate::crawl::{CrawlOptions, CrawlReport, Crawler};
use crate::event::Event;
use crate::id::InfoHash;
use crate::node::Node;
use crate::time::Instant;

/// A crawl, from its start.
#[derive(Debug)]
pub(super) struct Crawl {
    crawler: Crawler,
    started: Instant,
    found: Vec<(Duration, InfoHash)>,
}

impl Crawl {
    pub(super) fn note(&mut self, local: Instant, node: &Node, event: &Event) {
        self.crawler.handle_event(local, node, event);
    }

    /// Has the node ask whom it is time to ask. Returns whether it may have.
    pub(super) fn go_on(&mut self, now: Instant, local: Instant, node: &mut Node) -> bool {
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

/// Crawls.
impl World {
    /// Has a host crawl from now on, until it leaves. A second crawl takes the place of the first.
    ///
    /// # Panics
    ///
    /// If the host runs no node, or is gone.
    pub fn crawl(&mut self, at: HostId, options: CrawlOptions) {
        assert!(matches!(self.hosts[at.index()].being, Being::Node(_)), "no node at {at:?}");
        let crawl = Crawl { crawler: Crawler::new(options), started: self.now, found: Vec::new() };
        self.crawls.insert(at, crawl);
        self.drain(at.0);
    }

    /// The infohashes that a crawl has found, each with the time since its start.
    pub fn crawled(&self, at: HostId) -> &[(Duration, InfoHash)] {
        self.crawls.get(&at).map_or(&[], |crawl| &crawl.found)
    }

    /// How the crawl of a host goes.
    pub fn crawl_report(&self, at: HostId) -> Option<CrawlReport> {
        self.crawls.get(&at).map(|crawl| crawl.crawler.report())
    }
}
