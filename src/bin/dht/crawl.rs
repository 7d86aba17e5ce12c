//! The commands about which torrents there are, and how large their swarms (BEP 33, BEP 51).

use std::time::Instant;

use dht_proto::net::CallError;

use crate::commands::scrapes;
use crate::deadline::Deadline;
use crate::lookups::seek;
use crate::options::{CrawlOptions, ScrapeOptions};
use crate::output::{Done, Failure, Output, TICK};
use crate::session::{QUIET, Session, Setup};
use crate::text::count;

pub(crate) fn scrape(options: &ScrapeOptions, output: &Output) -> Result<(), Failure> {
    let deadline = Deadline::new(options.lookup.limit.timeout, false);
    let session = Session::start(&Setup::of(&options.lookup, false, deadline), output)?;
    session.settle();
    let sought = seek(&session, "peer", |dht| scrapes(dht, options.torrent), |_, _| Ok(()))?;
    let Some(sought) = sought else { return Ok(()) };
    let reports = sought.reports();
    for (infohash, report) in options.torrent.iter().zip(&reports) {
        let size = report.swarm.filter(|_| report.answered > 0);
        match size {
            Some(size) => output.estimate(infohash, size, reports.len() > 1)?,
            None => output.complain(&format!("no node answered for {infohash}: its peers are not counted")),
        }
    }
    if let Some(reason) = &sought.cut_short {
        output.complain(&format!("the scrape was {reason}: there may be more peers"));
    }
    Ok(())
}

pub(crate) fn crawl(options: &CrawlOptions, output: &Output) -> Result<(), Failure> {
    let limit = options.lookup.limit.timeout;
    let deadline = Deadline::new(options.duration.into_iter().chain(limit).min(), true);
    // However long it lasts, it asks far more nodes than it could ever be of use to.
    let mut setup = Setup::of(&options.lookup, false, deadline);
    setup.new_endpoints = (1.0 / options.every.as_secs_f64()).ceil() as u32;
    let session = Session::start(&setup, output)?;
    session.settle();
    let start = Instant::now();
    let mut pace = dht_proto::CrawlOptions::default();
    pace.spacing = options.every;
    let mut crawl = session.dht.crawl(pace);
    let mut found = 0;
    loop {
        let left = session.left();
        if left.is_zero() {
            break;
        }
        let pause = if output.is_live() { TICK } else { QUIET };
        match crawl.recv_timeout(left.min(pause)) {
            Ok(one) => {
                found += 1;
                output.infohash(one.infohash, one.node)?;
            }
            Err(CallError::TimedOut) => {
                if start.elapsed() >= QUIET {
                    session.tell_waiting();
                }
            }
            // A signal.
            Err(_) => break,
        }
        let so_far = done(found, crawl.report().asked, start);
        output.progress(format!(
            "asked {}, {}, {:.1}/s",
            count(so_far.queried, "node"),
            count(found as u64, "infohash"),
            so_far.rate()
        ));
    }
    if !session.is_interrupted() && !session.has_joined() {
        return Err(session.unanswered());
    }
    output.done(&done(found, crawl.report().asked, start))
}

fn done(found: usize, queried: u64, start: Instant) -> Done {
    let elapsed = start.elapsed();
    Done { what: "infohash", found, queried, elapsed, cut_short: None, has_rate: true, limit: None }
}
