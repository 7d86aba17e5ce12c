//! `dht crawl`: collects infohashes from many nodes (BEP 51).

use std::time::{Duration, Instant};

use dht_proto::crawl::CrawlOptions;
use dht_proto::net::CallError;

use crate::args::groups::LookupArgs;
use crate::args::values::{parse_secs, parse_spacing};
use crate::output::{Done, Event, Failure, Output, TICK, count};
use crate::session::{Deadline, QUIET, Session, Setup};

/// Sample node after node, and print the infohashes as they are found
#[derive(Debug, clap::Args)]
#[command(mut_arg("timeout", |arg| arg.hide(true)))]
pub(crate) struct Args {
    /// Stop after this many seconds, including the time to join [default: never]
    #[arg(long = "for", value_name = "SECS", value_parser = parse_secs)]
    duration: Option<Duration>,
    /// Seconds between two queries
    #[arg(long, value_name = "SECS", value_parser = parse_spacing, default_value = "0.1")]
    every: Duration,
    #[command(flatten)]
    lookup: LookupArgs,
}

pub(super) fn run(args: &Args, output: &Output) -> Result<(), Failure> {
    let timeout = args.lookup.limit.timeout;
    let deadline = Deadline::new(args.duration.into_iter().chain(timeout).min(), true);
    // A crawl does not serve, however long it lasts: it queries far more nodes than it could ever answer.
    let mut setup = Setup::for_lookup(&args.lookup, false, deadline);
    setup.new_endpoints = (1.0 / args.every.as_secs_f64()).ceil() as u32;
    let session = Session::start(&setup, output)?;
    session.settle();
    let start = Instant::now();
    let mut crawl = session.dht.crawl(CrawlOptions::default().spacing(args.every));
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
                output.result(&Event::Infohash { infohash: one.infohash, node: one.node })?;
            }
            Err(CallError::TimedOut) => {
                if start.elapsed() >= QUIET {
                    session.report_waiting();
                }
            }
            // A signal has ended the node.
            Err(_) => break,
        }
        let so_far = done(found, crawl.report().asked, start);
        output.progress(format!(
            "queried {}, found {}, {:.1}/s",
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

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::values::FOREVER;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        args: Args,
    }

    #[test]
    fn times_are_reduced_to_what_a_clock_can_express() {
        let args = Cli::try_parse_from(["crawl", "--for", "1e300", "--settle", "inf"]).unwrap().args;
        assert_eq!([args.duration, args.lookup.settle], [Some(FOREVER); 2]);
    }
}
