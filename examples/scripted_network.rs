//! The figures of the network network: how long an announce takes, over many seeds.
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
        "{:<32} {:^13} {:^13} {:^13} {:^13} {:^9} {:^9} {:^9} {:^9} missed, named",
        "", "first value", "stands at 8", "ack'd at 8", "done", "asked", "to stand", "to end", "in all"
    );
    for (name, network) in worlds {
        let outcomes: Vec<Outcome> = (1..=seeds).map(|seed| network.run(seed)).collect();
        let time = |figure: fn(&Outcome) -> Option<Duration>| {
            let sample = Quantiles::of(outcomes.iter().map(figure));
            let seconds = |share| sample.quantile(share).map_or(f64::INFINITY, |time| time.as_secs_f64());
            format!("{:.3} ({:.3})", seconds(0.5), seconds(0.95))
        };
        let count = |figure: fn(&Outcome) -> usize| {
            let sample = Quantiles::of(outcomes.iter().map(|outcome| Some(figure(outcome))));
            let [median, late] = [0.5, 0.95].map(|share| sample.quantile(share).unwrap_or(0));
            format!("{median} ({late})")
        };
        let runs = |is_so: fn(&Outcome) -> bool| outcomes.iter().filter(|outcome| is_so(outcome)).count();
        println!(
            "{name:<32} {:^13} {:^13} {:^13} {:^13} {:^9} {:^9} {:^9} {:^9} {}, {}",
            time(|outcome| outcome.first_value),
            time(|outcome| outcome.stored_at_8),
            time(|outcome| outcome.acknowledged_at_8),
            time(|outcome| outcome.done),
            count(|outcome| outcome.asked),
            count(|outcome| outcome.datagrams_to_stand),
            count(|outcome| outcome.datagrams),
            count(|outcome| outcome.datagrams_in_all),
            runs(|outcome| outcome.missed > 0),
            runs(|outcome| outcome.missed_named > 0),
        );
    }
    println!("to stand, to end, in all: datagrams sent until then");
    println!("missed: runs in which one of the 8 closest living nodes does not hold the announce;");
    println!("named: in which one of the 8 closest living ones that any reply named does not");
}
