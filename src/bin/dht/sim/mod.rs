//! `dht sim`: measures announces and lookups among many nodes in virtual time.
//!
//! - `options`: what to measure, in what network
//! - `lab`: a simulated network, and the lookups of one algorithm in it
//! - `figures`: percentiles, as a table and as JSON
//! - `plot`: distributions, as SVG

mod figures;
mod lab;
mod options;
mod plot;

use std::fs;
use std::num::NonZero;
use std::panic::resume_unwind;
use std::path::Path;
use std::sync::Mutex;
use std::thread;

pub(crate) use options::SimOptions as Args;

use dht_proto::sim::reference::Client;

use crate::output::{Event, Failure, Gauge, Output};
use lab::Run;
use options::SimOptions;

/// Explains the rows and columns of the table.
const LEGEND: &str = "\
The table has percentiles of times since the start, and of counts:
  first peer, all peers  when the lookup had found one peer of the torrent, or every peer
  stored at 8            when eight nodes stored the announce
  acknowledged at 8      when the announcing node had their confirmations
  done                   when the algorithm ended
  queries                queries sent, with repetitions and announces
  hops                   hops to the node that returned the first peer (1: in the routing table)
  failed                 how many lookups or announces never reached that point";

/// The number of nodes above which networks are built one after the other, as each node takes some 14 KB.
const SIDE_BY_SIDE: u32 = 100_000;

pub(crate) fn run(options: &SimOptions, output: &Output) -> Result<(), Failure> {
    // If the file cannot be written, fail before the work rather than after it.
    if let Some(path) = &options.plot {
        write(path, "")?;
    }
    let mut algorithms = vec![None];
    if options.compare {
        algorithms.extend(Client::ALL.map(Some));
    }
    let gauge = output.gauge(lab::work(options) * algorithms.len() as u64);
    let runs = run_all(options, &algorithms, &gauge);
    drop(gauge);
    if let Some(path) = &options.plot {
        write(path, &plot::draw(options, &runs))?;
    }
    if runs.iter().any(Run::has_found) {
        output.set_found();
    }
    let (table, object) = (figures::table(options, &runs), figures::json(options, &runs));
    output.print(&Event::Figures { table: &table, object: &object })
}

/// Runs every algorithm in a network of its own, so that none finds what another has stored. These networks
/// are the same until the first announce, so that the order of the runs changes nothing.
fn run_all(options: &SimOptions, algorithms: &[Option<Client>], gauge: &Gauge) -> Vec<Run> {
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    let threads = if options.nodes > SIDE_BY_SIDE { 1 } else { cores };
    let queue = Mutex::new(algorithms.iter().enumerate());
    let next = || queue.lock().ok().and_then(|mut queue| queue.next());
    let work = || -> Vec<(usize, Run)> {
        let each = std::iter::from_fn(next);
        each.map(|(at, algorithm)| (at, lab::run(options, *algorithm, gauge))).collect()
    };
    let mut runs: Vec<(usize, Run)> = thread::scope(|scope| {
        let workers: Vec<_> = (0..threads.min(algorithms.len())).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|it| it.join().unwrap_or_else(|panic| resume_unwind(panic))).collect()
    });
    runs.sort_by_key(|(at, _)| *at);
    debug_assert!(
        runs.windows(2).all(|pair| pair[0].1.conditions == pair[1].1.conditions),
        "the networks differ"
    );
    runs.into_iter().map(|(_, run)| run).collect()
}

fn write(path: &Path, plot: &str) -> Result<(), Failure> {
    fs::write(path, plot).map_err(|error| Failure::Start(format!("cannot write {}: {error}", path.display())))
}
