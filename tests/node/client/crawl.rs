//! A crawl for infohashes (BEP 51) over scripted hosts: which it queries, and how often.

use std::net::SocketAddr;
use std::time::Duration;

use dht_proto::crawl::{CrawlOptions, Crawler};
use dht_proto::errors::ContactError;
use dht_proto::{Event, Family, InfoHash, NodeId};

use crate::stage;
use crate::stage::{Stage, addr, secs};

fn torrent(index: usize) -> [u8; 20] {
    let mut infohash = [0x77; 20];
    infohash[..2].copy_from_slice(&(index as u16).to_be_bytes());
    infohash
}

/// A crawl over scripted hosts.
struct Crawl {
    stage: Stage,
    crawler: Crawler,
    found: Vec<InfoHash>,
}

impl Crawl {
    fn new(stage: Stage, options: CrawlOptions) -> Self {
        Self { stage, crawler: Crawler::new(options), found: Vec::new() }
    }

    fn run(&mut self, time: Duration) {
        let end = self.stage.now + time;
        while self.stage.now < end {
            let now = self.stage.now;
            if self.crawler.poll_timeout().is_some_and(|at| at <= now) {
                self.crawler.poll(now, &mut self.stage.node);
            }
            self.hear(|stage| stage.run(Duration::from_millis(10)));
            self.found.extend(std::iter::from_fn(|| self.crawler.next_found()).map(|found| found.infohash));
        }
    }

    /// Passes events of the node to the crawl.
    fn hear(&mut self, act: impl FnOnce(&mut Stage)) {
        let before = self.stage.events.len();
        act(&mut self.stage);
        for event in &self.stage.events[before..] {
            self.crawler.handle_event(self.stage.now, &self.stage.node, event);
        }
    }

    /// Returns the times at which each host was asked for a sample.
    fn asked(&self, host: SocketAddr) -> Vec<u64> {
        let to_host = self.stage.sent.iter().filter(|sent| sent.to == host);
        let asked = to_host.filter(|sent| matches!(sent.what, stage::What::Sample(_)));
        asked.map(|sent| sent.at.as_micros() / 1_000_000).collect()
    }
}

#[test]
fn b51_06_a_crawl_does_not_query_a_node_before_its_interval_is_over() {
    let mut stage = Stage::joined(60);
    for (index, host) in stage.hosts.values_mut().enumerate() {
        host.sample = Some(([0, 200, 1000, 21_600][index % 4], 3, vec![torrent(index), torrent(index + 1)]));
    }
    let mut crawl = Crawl::new(stage, CrawlOptions::default());
    crawl.run(secs(900));
    assert_eq!(crawl.found.len(), 61, "each is reported once");
    let hosts: Vec<_> = crawl.stage.hosts.keys().copied().collect();
    for (index, host) in hosts.into_iter().enumerate() {
        let asked = crawl.asked(host);
        let least = [60, 200, 1000, 21_600][index % 4];
        assert!(asked.windows(2).all(|pair| pair[1] - pair[0] >= least), "{index}: {asked:?}");
        assert!(!asked.is_empty() && (index % 4 > 1 || asked.len() >= 4), "{index}: {asked:?}");
    }
    let report = crawl.crawler.report();
    assert_eq!((report.found, report.nodes, report.failed), (61, 60, 0));
    assert!(report.repeated > 100);
}

#[test]
fn b51_07_b51_11_a_crawl_pauses_queries_to_nodes_that_are_silent_or_lack_the_method() {
    let mut stage = Stage::joined(60);
    let hosts: Vec<_> = stage.hosts.keys().copied().collect();
    for (index, host) in stage.hosts.values_mut().enumerate() {
        match index % 3 {
            0 => host.is_dead = true,
            1 => host.sample = Some((0, 1, vec![torrent(index)])),
            _ => host.refuses = (index % 2 == 0).then_some(204),
        }
    }
    let mut crawl = Crawl::new(stage, CrawlOptions::default());
    crawl.run(secs(2400));
    for (index, host) in hosts.into_iter().enumerate() {
        let asked = crawl.asked(host);
        match index % 3 {
            // Now, after 15 minutes, and not yet after 30 more.
            0 => assert!((1..=2).contains(&asked.len()), "{asked:?}"),
            1 => assert!(asked.len() >= 20, "{asked:?}"),
            _ => assert_eq!(asked.len(), 1),
        }
    }
    let report = crawl.crawler.report();
    assert_eq!((report.found, report.unsupported), (20, 20));
    assert!(report.failed >= 20 && report.asked == report.answered + report.failed);
}

#[test]
fn a_crawl_keeps_to_its_spacing_and_waits_for_its_reader() {
    let mut stage = Stage::joined(60);
    for (index, host) in stage.hosts.values_mut().enumerate() {
        host.sample = Some((0, 40, (0..40).map(|at| torrent(40 * index + at)).collect()));
    }
    let mut options = CrawlOptions::default();
    (options.spacing, options.untaken) = (secs(2), 100);
    let mut crawl = Crawl::new(stage, options);
    crawl.run(secs(60));
    assert!((29..=31).contains(&crawl.crawler.report().asked), "{:?}", crawl.crawler.report());

    // The infohashes that are found are not read.
    let mut idle = Crawl::new(crawl.stage, options);
    for _ in 0..100 {
        let now = idle.stage.now;
        idle.crawler.poll(now, &mut idle.stage.node);
        let events = idle.stage.events.len();
        idle.stage.run(secs(2));
        for event in &idle.stage.events[events..] {
            idle.crawler.handle_event(idle.stage.now, &idle.stage.node, event);
        }
    }
    assert!(idle.crawler.report().asked <= 4 && idle.crawler.poll_timeout().is_none());
    while idle.crawler.next_found().is_some() {}
    assert!(idle.crawler.poll_timeout().is_some());
}

#[test]
fn a_crawl_continues_with_its_nodes_when_a_disabled_family_is_enabled() {
    let mut stage = Stage::joined(60);
    stage.hosts.values_mut().for_each(|host| host.sample = Some((21_600, 0, Vec::new())));
    let mut crawl = Crawl::new(stage, CrawlOptions::default());
    crawl.run(Duration::from_millis(1450));
    let before = crawl.crawler.report();
    assert!((10..30).contains(&before.asked) && before.due >= 20, "{before:?}");
    crawl.hear(|stage| stage.act(|node, now| node.set_enabled(now, Family::V4, false)));
    let ask = |crawl: &mut Crawl| crawl.stage.node.sample_infohashes(crawl.stage.now, addr(1), NodeId::ZERO);
    assert_eq!(ask(&mut crawl), Err(ContactError::Disabled));
    crawl.run(secs(60));
    let disabled = crawl.crawler.report();
    assert_eq!((disabled.asked, disabled.nodes), (before.asked, before.nodes), "{disabled:?}");
    crawl.hear(|stage| stage.act(|node, now| node.set_enabled(now, Family::V4, true)));
    crawl.run(secs(10));
    let report = crawl.crawler.report();
    assert_eq!(
        (report.nodes, report.due),
        (60, 0),
        "a node whose query was cut short is queried again: {report:?}"
    );
}

#[test]
fn a_stopped_crawl_leaves_no_query_in_flight() {
    let mut stage = Stage::joined(60);
    stage.hosts.values_mut().for_each(|host| host.is_dead = true);
    let mut options = CrawlOptions::default();
    options.spacing = Duration::ZERO;
    let mut crawl = Crawl::new(stage, options);
    crawl.run(Duration::from_millis(20));
    assert_eq!(crawl.crawler.report().asked, 8);
    crawl.crawler.stop(&mut crawl.stage.node);
    crawl.stage.events.clear();
    crawl.stage.run(secs(30));
    assert!(crawl.stage.events.iter().all(|event| !matches!(event, Event::SampleDone { .. })));
}
