//! Events that are printed on stdout, as text or JSON.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use dht_proto::items::{Item, PublicKey};
use dht_proto::report::{NodeInfo, Pong, Sample, SwarmSize};
use dht_proto::{InfoHash, LookupReport, NodeId};
use serde_json::Value;

/// A line on stdout. [`text`](super::text) and [`json`](super::json) format it.
pub(crate) enum Event<'a> {
    /// The node has bound a socket.
    Listening { addr: SocketAddr, id: NodeId, as_text: bool },
    /// Metrics are served.
    Metrics { url: &'a str },
    /// A peer was found.
    Peer { addr: SocketAddr },
    /// An announce found another peer: for programs only, and not a result.
    OtherPeer { addr: SocketAddr, infohash: InfoHash },
    /// A node was found.
    Node(&'a NodeInfo),
    /// A node answered a ping.
    Pong(&'a Pong),
    /// An announce has ended.
    Announced { infohash: InfoHash, report: &'a LookupReport, named: bool },
    /// An item was found. Its text is its value.
    Item(&'a Item),
    /// A put has ended. The target is printed once.
    Stored { item: &'a Item, report: &'a LookupReport, is_first: bool },
    /// A key was made.
    Key { key: PublicKey, file: &'a Path },
    /// The peers of a torrent were counted.
    Estimate { infohash: InfoHash, size: SwarmSize, named: bool },
    /// A node answered a request for samples.
    Sample { addr: SocketAddr, sample: &'a Sample },
    /// An infohash was in a sample.
    Infohash { infohash: InfoHash, node: SocketAddr },
    /// The lookup has ended.
    Done(&'a Done),
    /// The demo has completed a step.
    Step { elapsed: Duration, text: &'a str },
    /// The figures of `dht sim`.
    Figures { table: &'a str, object: &'a Value },
}

/// The end of a lookup.
pub(crate) struct Done {
    /// What was looked up: `peer`, `node`, `item` or `infohash`.
    pub(crate) what: &'static str,
    pub(crate) found: usize,
    pub(crate) queried: u64,
    pub(crate) elapsed: Duration,
    /// The reason if the lookup did not end by itself.
    pub(crate) cut_short: Option<String>,
    /// Whether to print the rate, as for a crawl, which has no end of its own.
    pub(crate) has_rate: bool,
    /// The limit, if more were found.
    pub(crate) limit: Option<u16>,
}

impl Done {
    /// The number found per second, to a tenth.
    pub(crate) fn rate(&self) -> f64 {
        (10.0 * self.found as f64 / self.elapsed.as_secs_f64().max(0.001)).round() / 10.0
    }
}

/// Converts to milliseconds, rounded to a tenth.
pub(super) fn millis(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 10_000.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips_are_given_to_a_tenth_of_a_millisecond() {
        assert_eq!(millis(Duration::from_micros(12_345)), 12.3);
        assert_eq!(millis(Duration::from_micros(60)), 0.1);
    }
}
