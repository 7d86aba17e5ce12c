//! Percentiles of times and counts, as a table and as JSON.

use std::fmt::Write as _;
use std::time::Duration;

use dht_proto::sim::Quantiles;
use serde_json::{Map, Value, json};

use super::lab::{Outcome, PEERS, Run};
use super::options::SimOptions;

/// The percentiles; the last is the worst case.
const SHARES: [(&str, f64); 5] = [("p50", 0.5), ("p90", 0.9), ("p95", 0.95), ("p99", 0.99), ("max", 1.0)];

/// The figures of lookups.
const OF_LOOKUPS: [Figure; 5] = [
    Figure { name: "first peer", key: "first_peer_ms", value: Measure::Time(|it| it.first_peer) },
    Figure { name: "all peers", key: "all_peers_ms", value: Measure::Time(|it| it.all_peers) },
    DONE,
    QUERIES,
    Figure { name: "hops", key: "hops", value: Measure::Count(|it| it.hops.map(u64::from)) },
];

/// The figures of announces.
const OF_ANNOUNCES: [Figure; 4] = [
    Figure { name: "stored at 8", key: "stands_at_8_ms", value: Measure::Time(|it| it.stands_at_8) },
    Figure {
        name: "acknowledged at 8",
        key: "acknowledged_at_8_ms",
        value: Measure::Time(|it| it.acknowledged_at_8),
    },
    DONE,
    QUERIES,
];

const DONE: Figure = Figure { name: "done", key: "done_ms", value: Measure::Time(|it| it.done) };
const QUERIES: Figure =
    Figure { name: "queries", key: "queries", value: Measure::Count(|it| Some(it.queries)) };

struct Figure {
    name: &'static str,
    key: &'static str,
    value: Measure,
}

/// What is measured; `None` if it never happened.
enum Measure {
    Time(fn(&Outcome) -> Option<Duration>),
    Count(fn(&Outcome) -> Option<u64>),
}

/// Formats the parameters and the figures for people.
pub(super) fn table(options: &SimOptions, runs: &[Run]) -> String {
    let mut text = heading(options, runs);
    let _ = write!(text, "\n\n{:<33}", "");
    for (name, _) in SHARES {
        let _ = write!(text, "{name:>9}");
    }
    let _ = writeln!(text, "{:>9}", "failed");
    for (operation, figures, outcomes) in operations() {
        for figure in figures {
            let title = match figure.value {
                Measure::Time(_) => format!("{operation}: {} (s)", figure.name),
                Measure::Count(_) => format!("{operation}: {}", figure.name),
            };
            if let [run] = runs {
                row(&mut text, &title, figure, outcomes(run));
            } else {
                let _ = writeln!(text, "{title}");
                runs.iter().for_each(|run| row(&mut text, &format!("  {}", run.name), figure, outcomes(run)));
            }
        }
    }
    text.truncate(text.trim_end().len());
    text
}

/// The parameters of the run, in three lines.
pub(super) fn heading(options: &SimOptions, runs: &[Run]) -> String {
    let churn = options.churn.map_or_else(String::new, |session| {
        format!("; half of the sessions are shorter than {} min", session.as_secs_f64() / 60.0)
    });
    let (dead, behind_nat, joined) = runs.first().map_or((0, 0, 0), |it| {
        (it.conditions.dead, it.conditions.behind_nat, it.conditions.joined.as_secs())
    });
    let pairs = options.lookups as usize;
    format!(
        "{} nodes, {dead} dead, {behind_nat} behind NAT; joined after {joined} s; seed {}\n\
         round trips: {} ms (median, log-normal); datagrams lost: {:.1} %{churn}\n\
         announces: {pairs}, lookups: {pairs}, each by a client of its own; torrents: {}, of up to {PEERS} peers",
        options.nodes,
        options.seed,
        options.rtt_median.as_secs_f64() * 1000.0,
        options.loss * 100.0,
        pairs.div_ceil(PEERS),
    )
}

fn row(text: &mut String, title: &str, figure: &Figure, outcomes: &[Outcome]) {
    let _ = write!(text, "{title:<33}");
    let cell = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
    let failed = match figure.value {
        Measure::Time(value) => {
            let sample = Quantiles::of(outcomes.iter().map(value));
            for (_, share) in SHARES {
                let seconds = sample.quantile(share).map(|time| format!("{:.3}", time.as_secs_f64()));
                let _ = write!(text, "{:>9}", cell(seconds));
            }
            sample.missing()
        }
        Measure::Count(value) => {
            let sample = Quantiles::of(outcomes.iter().map(value));
            for (_, share) in SHARES {
                let _ = write!(text, "{:>9}", cell(sample.quantile(share).map(|count| count.to_string())));
            }
            sample.missing()
        }
    };
    let _ = writeln!(text, "{failed:>9}");
}

/// Formats the parameters and the figures for programs.
pub(super) fn json(options: &SimOptions, runs: &[Run]) -> Value {
    let conditions = runs.first().map(|run| &run.conditions);
    json!({
        "event": "sim",
        "seed": options.seed,
        "nodes": options.nodes,
        "dead": conditions.map(|conditions| conditions.dead),
        "behind_nat": conditions.map(|conditions| conditions.behind_nat),
        "joined_ms": conditions.map(|conditions| conditions.joined.as_millis() as u64),
        "transcript": conditions.map(|conditions| format!("{:016x}", conditions.transcript)),
        "rtt_median_ms": millis(options.rtt_median),
        "loss": options.loss,
        "churn_ms": options.churn.map(millis),
        "pairs": options.lookups,
        "algorithms": runs.iter().map(json_of_run).collect::<Vec<_>>(),
    })
}

fn json_of_run(run: &Run) -> Value {
    let mut object = Map::from_iter([("name".to_owned(), json!(run.name))]);
    for (operation, figures, outcomes) in operations() {
        let figures =
            figures.iter().map(|figure| (figure.key.to_owned(), json_of_figure(figure, outcomes(run))));
        object.insert(operation.to_owned(), figures.collect());
    }
    Value::Object(object)
}

fn json_of_figure(figure: &Figure, outcomes: &[Outcome]) -> Value {
    let mut object = Map::new();
    let mut put = |name: &str, value: Value| drop(object.insert(name.to_owned(), value));
    match figure.value {
        Measure::Time(value) => {
            let sample = Quantiles::of(outcomes.iter().map(value));
            SHARES.iter().for_each(|(name, share)| put(name, json!(sample.quantile(*share).map(millis))));
            put("failed", json!(sample.missing()));
        }
        Measure::Count(value) => {
            let sample = Quantiles::of(outcomes.iter().map(value));
            SHARES.iter().for_each(|(name, share)| put(name, json!(sample.quantile(*share))));
            put("failed", json!(sample.missing()));
        }
    }
    Value::Object(object)
}

type Operation = (&'static str, &'static [Figure], fn(&Run) -> &[Outcome]);

fn operations() -> [Operation; 2] {
    [("get_peers", &OF_LOOKUPS, |run| &run.lookups), ("announce", &OF_ANNOUNCES, |run| &run.announces)]
}

fn millis(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1000.0
}
