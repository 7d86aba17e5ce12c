//! The status line of a node.

use std::time::Duration;

use dht_proto::Family;
use dht_proto::net::Metrics;
use indicatif::HumanBytes;

use crate::output::{count, rough};

/// How often the line is updated.
pub(super) const PERIOD: Duration = Duration::from_secs(1);

/// Formats the state of the node, with rates since `before`, about a [`PERIOD`] ago.
pub(super) fn line(now: &Metrics, before: &Metrics, passed: Duration) -> String {
    let tables: Vec<String> = now
        .families
        .iter()
        .filter(|family| family.levels.ready > 0 || family.levels.nodes > 0)
        .map(|family| {
            let name = if family.family == Family::V4 { "IPv4" } else { "IPv6" };
            let size = family.levels.network_size;
            let of_all = if size > 0 { format!(" of about {}", rough(size)) } else { String::new() };
            format!("{name} {}{of_all}", count(family.levels.nodes as u64, "node"))
        })
        .collect();
    let is_ready = now.families.iter().any(|family| family.levels.ready > 0);
    let peers: usize = now.families.iter().map(|family| family.levels.peers).sum();
    let (_, median) = now.rtt[0];
    let rtt = if median.is_zero() { "unknown".to_owned() } else { format!("{} ms", median.as_millis()) };
    let per_second = |now: u64, before: u64| {
        now.saturating_sub(before) as f64 / passed.max(Duration::from_millis(1)).as_secs_f64()
    };
    format!(
        "{}{} | queries {:.0}/s in, {:.0}/s out | {} of {} | RTT {rtt} | {} in, {} out",
        if is_ready { "ready" } else { "joining" },
        tables.iter().map(|table| format!(", {table}")).collect::<String>(),
        per_second(now.stats.queries_in.total(), before.stats.queries_in.total()),
        per_second(now.stats.queries_out.total(), before.stats.queries_out.total()),
        count(peers as u64, "peer"),
        count(now.levels.infohashes as u64, "torrent"),
        HumanBytes(now.stats.bytes_in),
        HumanBytes(now.stats.bytes_out),
    )
}

#[cfg(test)]
mod tests {
    use dht_proto::net::Dht;

    use super::*;

    #[test]
    fn the_line_has_state_rates_stores_and_bytes() {
        let dht =
            Dht::builder().bind("127.0.0.1:0".parse().unwrap()).bootstrap::<String>([]).spawn().unwrap();
        let before = dht.metrics().wait().unwrap();
        let mut now = before.clone();
        let quiet = line(&now, &before, PERIOD);
        assert!(
            quiet.starts_with("joining | queries 0/s in, 0/s out | 0 peers of 0 torrents | RTT unknown"),
            "{quiet}"
        );
        (now.families[0].levels.ready, now.families[0].levels.nodes) = (1, 250);
        (now.families[0].levels.peers, now.families[1].levels.peers, now.levels.infohashes) = (6, 1, 3);
        (now.stats.queries_in.ping, now.stats.queries_out.get_peers) = (30, 14);
        (now.stats.bytes_in, now.stats.bytes_out) = (2048, 512);
        now.rtt[0].1 = Duration::from_millis(80);
        let expected = "ready, IPv4 250 nodes | queries 15/s in, 7/s out | 7 peers of 3 torrents \
            | RTT 80 ms | 2.00 KiB in, 512 B out";
        assert_eq!(line(&now, &before, 2 * PERIOD), expected);
        now.families[0].levels.network_size = 9_830_000;
        assert!(line(&now, &before, PERIOD).starts_with("ready, IPv4 250 nodes of about 9.8 million |"));
        assert!(line(&now, &before, Duration::ZERO).starts_with("ready"), "no time has passed");
    }
}
