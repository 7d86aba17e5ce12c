//! The commands about which torrents there are, and how large their swarms (BEP 33, BEP 51).

use std::time::Instant;

use dht_proto::net::CallError;
use dht_proto::{Family, InfoHash};

use crate::commands::{ask_host, follow, unless_interrupted};
use crate::options::{Common, CrawlOptions, FOREVER};
use crate::output::{Done, Failure, Output, TICK};
use crate::session::Session;

pub(crate) fn scrape(infohash: InfoHash, common: &Common, output: &Output) -> Result<(), Failure> {
    let session = Session::start(common, output, false)?;
    session.settle();
    let Some(mut search) = unless_interrupted(session.dht.scrape(infohash))? else {
        return Ok(());
    };
    follow(&session, &mut search, "peers", |_| Ok(()))?;
    let swarm = search.report().ok().and_then(|report| report.swarm);
    swarm.map_or(Ok(()), |size| output.estimate(infohash, size))
}

pub(crate) fn sample(host: &str, common: &Common, output: &Output) -> Result<(), Failure> {
    let sampled = ask_host(host, common, output, |dht, addr| {
        // Any target will do: it is the infohashes that are wanted.
        dht.sample_infohashes(addr, dht.id(Family::of(&addr))?)
    })?;
    let Some((addr, sampled)) = sampled else { return Ok(()) };
    output.sample(addr, &sampled.sample)?;
    sampled.infohashes.iter().try_for_each(|infohash| output.infohash(*infohash, addr))
}

pub(crate) fn crawl(options: &CrawlOptions, common: &Common, output: &Output) -> Result<(), Failure> {
    let session = Session::start(common, output, false)?;
    session.settle();
    let start = Instant::now();
    let most = common.timeout.map_or(FOREVER, |_| session.left());
    let end = start + options.duration.unwrap_or(FOREVER).min(most);
    let Some(mut crawl) = unless_interrupted(session.dht.crawl(dht_proto::CrawlOptions::default()))? else {
        return Ok(());
    };
    let mut found = 0;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        match crawl.recv_timeout(if output.is_live() { left.min(TICK) } else { left }) {
            Ok(Some(one)) => {
                found += 1;
                output.infohash(one.infohash, one.node)?;
            }
            Err(CallError::TimedOut) => {}
            // A signal.
            Ok(None) | Err(_) => break,
        }
        let so_far = done(found, crawl.report().asked, start);
        output.progress(format!(
            "asked {} nodes, {found} infohashes, {:.1}/s",
            so_far.queried,
            so_far.rate()
        ));
    }
    output.done(&done(found, crawl.report().asked, start))
}

fn done(found: usize, queried: u64, start: Instant) -> Done {
    Done { what: "infohashes", found, queried, elapsed: start.elapsed(), has_rate: true, cut: None }
}
