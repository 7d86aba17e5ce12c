//! Compares the lookup of this crate with those of deployed clients, in the same worlds.
//!
//! The figures are the times until the first peer, until 8 hosts store the announce, until 8 have
//! acknowledged it, and until the end, and the number of datagrams. Time is virtual, so a busy machine
//! changes nothing.
//!
//! ```text
//! cargo bench --features sim --bench compare -- [SEEDS]
//! ```
//!
//! Each cell is the median and the 95th percentile over the seeds (100, if none are given); a dash
//! means never. `done` is the end by the client's own judgement: libtorrent does not wait for the
//! responses to its announces, the others do. `missed` is the average number of the 8 closest live
//! hosts that do not store the announce.

#[path = "common/args.rs"]
mod args;

use std::time::Duration;

use args::args;
use dht_proto::sim::Quantiles;
use dht_proto::sim::reference::{self, Client};
use dht_proto::sim::scripted::{Outcome, ScriptedNetwork};

fn main() {
    let (args, is_test) = args();
    let seeds = args.iter().find_map(|arg| arg.parse().ok()).unwrap_or(if is_test { 2 } else { 100 });

    let deep = ScriptedNetwork::deep();
    let networks = [
        ("round trips of 80 ms, all alive", ScriptedNetwork::default()),
        ("round trips of 80 ms, 40 % dead", ScriptedNetwork { dead: 0.4, ..ScriptedNetwork::default() }),
        ("log-normal round trips, 40 % dead, 5 % loss", ScriptedNetwork::hard()),
        ("the same, and 2^22 deep", deep),
    ];
    for (name, network) in &networks {
        println!("\n{name}; {seeds} seeds; seconds, median and 95th percentile");
        println!(
            "{:<11}{:>15}{:>15}{:>15}{:>15}{:>12}{:>8}",
            "", "first peer", "stored by 8", "acked by 8", "done", "datagrams", "missed",
        );
        row("this crate", seeds, |seed| network.run(seed));
        for client in Client::ALL {
            row(client.name(), seeds, |seed| reference::run(network, seed, client));
        }
    }
}

fn row(name: &str, seeds: u64, look_up: impl Fn(u64) -> Outcome) {
    let outcomes: Vec<Outcome> = (1..=seeds).map(look_up).collect();
    let figures: [fn(&Outcome) -> Option<Duration>; 4] =
        [|it| it.first_peer, |it| it.stored_at_8, |it| it.acknowledged_at_8, |it| it.done];
    print!("{name:<11}");
    for figure in figures {
        let quantiles = Quantiles::of(outcomes.iter().map(figure));
        let [median, late] = [0.5, 0.95].map(|share| {
            quantiles
                .quantile(share)
                .map_or_else(|| "–".to_owned(), |time| format!("{:.2}", time.as_secs_f64()))
        });
        print!("{:>15}", format!("{median} {late}"));
    }
    let datagrams = Quantiles::of(outcomes.iter().map(|it| Some(it.datagrams)));
    let [median, late] = [0.5, 0.95].map(|share| datagrams.quantile(share).unwrap_or(0));
    let missed = outcomes.iter().map(|it| it.missed).sum::<usize>() as f64 / seeds as f64;
    println!("{:>12}{missed:>8.2}", format!("{median} {late}"));
}
