//! Figures of the scripted network: how long an announce takes, over many seeds.
//!
//! ```text
//! cargo run --release --features sim --example scripted_network -- [SEEDS]
//! ```

use std::time::Duration;

use dht_proto::sim::Quantiles;
use dht_proto::sim::scripted::{Outcome, ScriptedNetwork};

fn main() {
    let seeds = std::env::args().nth(1).map_or(100, |arg| arg.parse().expect("a number of seeds"));
    let worlds = [
        ("all alive, 80 ms", ScriptedNetwork::default()),
        ("40 % dead, 80 ms", ScriptedNetwork { dead: 0.4, ..ScriptedNetwork::default() }),
        ("40 % dead, log-normal, 5 % loss", ScriptedNetwork::hard()),
        ("the same, 2^22 nodes deep", ScriptedNetwork { depth: 22, ..ScriptedNetwork::hard() }),
    ];
    println!("median (95th percentile) of {seeds} seeds, in seconds");
    println!(
        "{:<32} {:^13} {:^13} {:^13} {:^13} {:^9} {:^9} {:^9} {:^9} missed, listed",
        "", "first peer", "stored at 8", "ack'd at 8", "done", "queried", "to store", "to end", "in all"
    );
    for (name, network) in worlds {
        let outcomes: Vec<Outcome> = (1..=seeds).map(|seed| network.run(seed)).collect();
        let time = |figure: fn(&Outcome) -> Option<Duration>| {
            let quantiles = Quantiles::of(outcomes.iter().map(figure));
            let seconds = |share| quantiles.quantile(share).map_or(f64::INFINITY, |time| time.as_secs_f64());
            format!("{:.3} ({:.3})", seconds(0.5), seconds(0.95))
        };
        let count = |figure: fn(&Outcome) -> usize| {
            let quantiles = Quantiles::of(outcomes.iter().map(|outcome| Some(figure(outcome))));
            let [median, late] = [0.5, 0.95].map(|share| quantiles.quantile(share).unwrap_or(0));
            format!("{median} ({late})")
        };
        let runs = |is_so: fn(&Outcome) -> bool| outcomes.iter().filter(|outcome| is_so(outcome)).count();
        println!(
            "{name:<32} {:^13} {:^13} {:^13} {:^13} {:^9} {:^9} {:^9} {:^9} {}, {}",
            time(|outcome| outcome.first_peer),
            time(|outcome| outcome.stored_at_8),
            time(|outcome| outcome.acknowledged_at_8),
            time(|outcome| outcome.done),
            count(|outcome| outcome.queried),
            count(|outcome| outcome.datagrams_until_stored),
            count(|outcome| outcome.datagrams),
            count(|outcome| outcome.datagrams_in_total),
            runs(|outcome| outcome.missed > 0),
            runs(|outcome| outcome.missed_listed > 0),
        );
    }
    println!("to store, to end, in all: datagrams sent until then");
    println!("missed: runs in which one of the 8 closest live nodes does not store the announce;");
    println!("listed: in which one of the 8 closest live ones that any response listed does not");
}
