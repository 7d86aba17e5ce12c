//! A world of nodes in virtual time: announces and lookups by the hundred, and how they went.

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

pub(crate) use options::SimOptions;

use dht_proto::sim::reference::Client;

use crate::output::{Failure, Gauge, Output};
use lab::Run;

/// What the rows and columns of the table are.
pub(crate) const LEGEND: &str = "\
The table tells how long it took, or how many, in so many percent of the lookups at most:
  first peer, all peers  the lookup knew one peer of its torrent, or every one
  stands at 8            eight nodes store the announce
  acknowledged at 8      the announcer knows that they do
  done                   the algorithm was through
  queries                sent, with repetitions and announces
  hops                   to who named the first peer: 1 for a node of the routing table
  failed                 how often it never came";

/// Larger worlds are built one after the other, as each takes some 14 KB for each node.
const SIDE_BY_SIDE: u32 = 100_000;

pub(crate) fn run(options: &SimOptions, output: &Output) -> Result<(), Failure> {
    // Whether it can be written is better known before the work than after it.
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
    output.figures(&figures::table(options, &runs), figures::json(options, &runs))
}

/// Every algorithm has a world of its own, and all these worlds are the same until the first
/// announce: none finds what another has left. In what order they run changes nothing.
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
    debug_assert!(runs.windows(2).all(|pair| pair[0].1.site == pair[1].1.site), "the worlds differ");
    runs.into_iter().map(|(_, run)| run).collect()
}

fn write(path: &Path, picture: &str) -> Result<(), Failure> {
    fs::write(path, picture)
        .map_err(|error| Failure::Start(format!("cannot write {}: {error}", path.display())))
}
