//! Large worlds in virtual time: success of lookups, and tables over a day.
//!
//! ```text
//! cargo bench --features sim --bench worlds -- internet [SEEDS [LOOKUPS [NODES]]]
//! cargo bench --features sim --bench worlds -- lossy [SEEDS [LOOKUPS [NODES]]]
//! cargo bench --features sim --bench worlds -- day [HOURS [NODES]]
//! ```
//!
//! - `internet`: 10,000 nodes, log-normal round trips around 80 ms, 2 % loss, half of the nodes behind
//!   NATs. A peer announces itself, 30 % of the nodes die, and at once another node looks up that
//!   peer, in the default configuration; both are drawn from all live nodes. In a second world of the
//!   same seed, libtorrent's traversal takes its place. Five seeds of 200 lookups take a quarter of an
//!   hour and a gigabyte of memory.
//! - `lossy`: 1000 nodes, all up and reachable, but 30 % of the datagrams are lost, and some are
//!   duplicated, reordered or corrupted.
//! - `day`: 1000 nodes, half of them behind NATs, with a median session of 100 minutes; every hour the
//!   state of the tables, the traffic of that hour, and the memory of this process. First with tables
//!   of the default size, then with the smallest [`limits`].
//!
//! Without a name all three run, one seed each.

#[path = "../common/args.rs"]
mod args;
mod day;
mod hosts;
mod internet;
#[path = "../../examples/common/memory.rs"]
mod memory;

use std::time::Duration;

use args::args;
use day::Day;
use dht_proto::sim::{Quantiles, limits};
use internet::{Finding, Setting};
use memory::memory;

fn main() {
    let (args, is_test) = args();
    let name = args.iter().find(|arg| ["internet", "lossy", "day"].contains(&arg.as_str()));
    let numbers: Vec<usize> = args.iter().filter_map(|arg| arg.parse().ok()).collect();
    let number =
        |at: usize, default, tiny| numbers.get(at).copied().unwrap_or(if is_test { tiny } else { default });
    let runs = |this: &str| name.is_none_or(|name| name == this);
    let seeds = number(0, if name.is_some() { 5 } else { 1 }, 1);
    if runs("internet") {
        compare("internet", seeds, &Setting::internet(number(2, 10_000, 100), number(1, 200, 5)));
    }
    if runs("lossy") {
        compare("lossy", seeds, &Setting::lossy(number(2, 1000, 100), number(1, 200, 5)));
    }
    if runs("day") {
        let hours = if name.is_some() {
            number(0, 24, 1)
        } else if is_test {
            1
        } else {
            24
        };
        let nodes = number(1, 1000, 50);
        follow("tables of the default size", hours, nodes, hosts::limits());
        follow("the smallest tables", hours, nodes, limits(nodes));
    }
}

/// Prints the lookups of this crate beside those of libtorrent.
fn compare(name: &str, seeds: usize, setting: &Setting) {
    let Setting { nodes, lookups, .. } = setting;
    println!("\n{name}: {nodes} nodes, {lookups} lookups for each seed; milliseconds until the first peer");
    println!("{:<26}{:>8}{:>8}{:>8}{:>8}{:>9}", "", "found", "median", "95 %", "99 %", "queries");
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for seed in 1..=seeds as u64 {
        let mut stage = setting.prepare(seed);
        let [contacts, dead, closed] = stage.contacts();
        row(&format!("seed {seed}, this crate"), &mut ours, stage.ours());
        row(&format!("seed {seed}, libtorrent"), &mut theirs, setting.prepare(seed).libtorrent());
        println!(
            "  {contacts:.0} contacts in a table, {:.1} % of them dead and {:.1} % alive but out of reach",
            100.0 * dead,
            100.0 * closed,
        );
    }
    print_row("all, this crate", &ours);
    print_row("all, libtorrent", &theirs);
}

fn row(name: &str, all: &mut Vec<Finding>, findings: Vec<Finding>) {
    print_row(name, &findings);
    all.extend(findings);
}

fn print_row(name: &str, findings: &[Finding]) {
    let quantiles = Quantiles::of(findings.iter().map(|finding| finding.first_peer));
    let share = format!("{:.1} %", 100.0 * quantiles.values().len() as f64 / findings.len() as f64);
    let times = [0.5, 0.95, 0.99].map(|share| {
        let time = quantiles.quantile(share);
        format!("{:>8}", time.map_or_else(|| "–".to_owned(), |time| time.as_millis().to_string()))
    });
    let queries = findings.iter().map(|it| it.queries).sum::<u64>() as f64 / findings.len() as f64;
    println!("{name:<26}{share:>8}{}{queries:>9.1}", times.concat());
}

/// Prints the state of the tables, hour by hour.
fn follow(name: &str, hours: usize, nodes: usize, limits: dht_proto::Limits) {
    println!("\nday: {name}; what a node sends in a minute");
    println!(
        "{:>5}{:>7}{:>10}{:>9}{:>11}{:>7}{:>11}{:>7}{:>11}",
        "hour", "nodes", "contacts", "live", "datagrams", "pings", "find_node", "found", "resident"
    );
    let mut day = Day::begin(1, nodes, limits);
    let mut worst: f64 = 1.0;
    for hour in 1..=hours {
        let sample = day.sample(Duration::from_secs(3600), LOOKUPS);
        worst = worst.min(sample.live);
        println!(
            "{hour:>5}{:>7}{:>10.1}{:>9}{:>11.1}{:>7.1}{:>11.1}{:>7}{:>11}",
            sample.nodes,
            sample.contacts,
            format!("{:.1} %", 100.0 * sample.live),
            sample.datagrams,
            sample.pings,
            sample.find_nodes,
            format!("{}/{LOOKUPS}", sample.found),
            format!("{:.1} MB", memory("VmRSS") as f64 / 1e6),
        );
    }
    println!("never fewer than {:.1} % live", 100.0 * worst);
}

/// Lookups in each hour.
const LOOKUPS: usize = 20;
