//! Counters of a node, each under one name in the code, its documentation and monitoring.

use crate::base::metrics::{Metric, Value, metrics};
use crate::wire::MethodKind;

metrics! {
    /// Counters since the node was created.
    ///
    /// All of them only grow. Those by method and of items have 32 bits and start again at 0 after
    /// 4,294,967,295, which does not affect a monitor that looks at differences.
    ///
    /// Every datagram passed in is counted in one of `queries_in`, `responses_in` and `errors_in`, or under
    /// one reason of `dropped`. A query that is not answered is counted in `queries_in` and under one of the
    /// reasons `own_id`, `read_only`, `rate`, `overflow` and `budget`.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    #[non_exhaustive]
    #[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
    pub struct Stats {
        /// Datagrams passed to the node.
        pub datagrams_in: u64,
        /// Bytes of the datagrams passed to the node.
        pub bytes_in: u64,
        /// Datagrams sent.
        pub datagrams_out: u64,
        /// Bytes of the datagrams sent.
        pub bytes_out: u64,
        /// Messages with trailing bytes, which are tolerated.
        pub trailing: u64,
        /// Queries received, including those with invalid arguments.
        pub queries_in: MethodCounts,
        /// Queries sent.
        pub queries_out: MethodCounts,
        /// Responses received to queries of this node, by the method of the query.
        pub responses_in: MethodCounts,
        /// Responses sent, by the method of the query.
        pub responses_out: MethodCounts,
        /// Errors received for queries of this node, by the method of the query.
        pub errors_in: MethodCounts,
        /// Errors sent, by the method of the query.
        pub errors_out: MethodCounts,
        /// Queries received with invalid arguments.
        pub bad_queries: u64,
        /// Queries of this node that passed their stall deadline; many are still answered later.
        pub stalled: u64,
        /// Queries of this node that were never answered.
        pub timed_out: u64,
        /// Queries of this node that the system reported as undeliverable.
        pub unreachable: u64,
        /// Queries of this node that the local system did not send; most are sent again.
        pub unsent: u64,
        /// Queries of this node that came back to it: they were sent to an address of its own.
        pub reflected: u64,
        /// Queries of this node that were abandoned before an answer came, because the host had slept, or the
        /// node was disabled or rebound.
        pub interrupted: u64,
        /// Queries of this node whose failure did not count against the queried node, because nothing was received from
        /// any node.
        pub excused: u64,
        /// Datagrams dropped, by reason.
        pub dropped: Drops,
        /// Nodes and peers listed in responses that were not used: reserved addresses, addresses of this
        /// node, port 0.
        pub contacts_refused: u64,
        /// Peers found by a lookup past its limit; one that is found again counts again.
        pub peers_lost: u64,
        /// Informational events that were overwritten before they were polled.
        pub events_lost: u64,
        /// Items (BEP 44), by outcome.
        #[cfg(feature = "items")]
        pub items: ItemCounts,
    }
}

metrics! {
    /// Messages by the method of the query.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    #[non_exhaustive]
    #[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
    pub struct MethodCounts {
        /// `ping` (BEP 5).
        pub ping: u32,
        /// `find_node` (BEP 5).
        pub find_node: u32,
        /// `get_peers` (BEP 5).
        pub get_peers: u32,
        /// `announce_peer` (BEP 5).
        pub announce_peer: u32,
        /// `get` (BEP 44).
        pub get: u32,
        /// `put` (BEP 44).
        pub put: u32,
        /// `sample_infohashes` (BEP 51).
        pub sample_infohashes: u32,
        /// Any other method.
        pub other: u32,
    }
}

#[cfg(feature = "items")]
metrics! {
    /// Outcomes of items (BEP 44): those that others put, and those that lookups of this node returned.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    #[non_exhaustive]
    #[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
    pub struct ItemCounts {
        /// Puts of a new or newer item, which was stored. As in the following counters, an item passed to
        /// [`Node::store_item`](crate::Node::store_item) counts as a put.
        pub stored: u32,
        /// Puts of an item that was stored already and renewed.
        pub refreshed: u32,
        /// Items that were evicted for others.
        pub evicted: u32,
        /// Puts refused because there was no room.
        pub no_room: u32,
        /// Signatures of puts that were checked.
        pub checked: u32,
        /// Signatures of puts that were checked and found invalid.
        pub bad_signature: u32,
        /// Puts refused because the limit of signature checks was reached.
        pub unchecked: u32,
        /// Items returned to lookups of this node that belonged to another target or had an invalid
        /// signature.
        pub bad_find: u32,
    }
}

metrics! {
    /// Dropped datagrams, each under one reason: the first five on arrival, the next three when a query is
    /// admitted, the last two when its response was due.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    #[non_exhaustive]
    #[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
    pub struct Drops {
        /// Datagrams that are not KRPC messages.
        pub malformed: u64,
        /// Datagrams from a reserved address, or from a family that is off.
        pub address: u64,
        /// Responses and errors that match no query of this node, spoofed ones included.
        pub stray: u64,
        /// Responses from another port than the query was sent to; not used.
        pub wrong_port: u64,
        /// Responses to a query of this node without a valid id.
        pub bad_reply: u64,
        /// Queries under an id of this node: its own, reflected.
        pub own_id: u64,
        /// Queries received while read-only (BEP 43).
        pub read_only: u64,
        /// Queries past the rate limit of their source.
        pub rate: u64,
        /// Queries whose response was overwritten before it was polled, or discarded because the node was
        /// disabled.
        pub overflow: u64,
        /// Queries whose response would have amplified traffic, or exceeded the share of its subnet in all
        /// responses.
        pub budget: u64,
    }
}

impl MethodCounts {
    /// Returns the sum over all methods.
    pub fn total(&self) -> u64 {
        self.metrics().map(|metric| metric.value).sum()
    }

    pub(crate) const fn count(&mut self, method: MethodKind) {
        let count = match method {
            MethodKind::Ping => &mut self.ping,
            MethodKind::FindNode => &mut self.find_node,
            MethodKind::GetPeers => &mut self.get_peers,
            MethodKind::AnnouncePeer => &mut self.announce_peer,
            MethodKind::Get => &mut self.get,
            MethodKind::Put => &mut self.put,
            MethodKind::SampleInfohashes => &mut self.sample_infohashes,
            MethodKind::Other => &mut self.other,
        };
        *count = count.wrapping_add(1);
    }
}

impl Drops {
    /// Returns the sum over all reasons.
    pub fn total(&self) -> u64 {
        self.metrics().map(|metric| metric.value).sum()
    }
}

impl Value for MethodCounts {
    fn described(&self, name: &'static str, help: &'static str) -> impl Iterator<Item = Metric> {
        self.metrics().map(move |part| Metric { name, label: Some(("method", part.name)), help, ..part })
    }
}

impl Value for Drops {
    fn described(&self, name: &'static str, help: &'static str) -> impl Iterator<Item = Metric> {
        self.metrics().map(move |part| Metric { name, label: Some(("reason", part.name)), help, ..part })
    }
}

#[cfg(feature = "items")]
impl Value for ItemCounts {
    fn described(&self, name: &'static str, help: &'static str) -> impl Iterator<Item = Metric> {
        self.metrics().map(move |part| Metric { name, label: Some(("fate", part.name)), help, ..part })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::vec::Vec;

    use super::*;

    #[test]
    fn every_counter_has_one_name_and_a_help_text() {
        let stats = Stats::default();
        let names: BTreeSet<_> = stats.metrics().map(|metric| (metric.name, metric.label)).collect();
        assert_eq!(names.len(), stats.metrics().count());
        // One metric for each number in the struct.
        let in_32_bits = 6 * size_of::<MethodCounts>();
        #[cfg(feature = "items")]
        let in_32_bits = in_32_bits + size_of::<ItemCounts>();
        assert_eq!(names.len(), in_32_bits / 4 + (size_of::<Stats>() - in_32_bits) / 8);
        for metric in stats.metrics() {
            assert!(metric.help.ends_with('.') && !metric.help.contains(['\n', '[']), "{}", metric.help);
            assert!(!metric.help.starts_with(' ') && !metric.help.contains("  "), "{}", metric.help);
        }
    }

    #[test]
    fn values_come_under_their_own_names() {
        let mut stats = Stats { bytes_out: 7, ..Stats::default() };
        stats.errors_out.count(MethodKind::Put);
        stats.dropped.rate = 9;
        let found: Vec<_> = stats
            .metrics()
            .filter(|metric| metric.value > 0)
            .map(|metric| (metric.name, metric.label, metric.value))
            .collect();
        let expected = [
            ("bytes_out", None, 7),
            ("errors_out", Some(("method", "put")), 1),
            ("dropped", Some(("reason", "rate")), 9),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn a_full_counter_starts_again() {
        let mut counts = MethodCounts { get: u32::MAX, ..MethodCounts::default() };
        counts.count(MethodKind::Get);
        assert_eq!(counts, MethodCounts::default());
    }
}
