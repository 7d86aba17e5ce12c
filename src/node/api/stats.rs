//! What a node counts, each counter under one name: in the code, its documentation and a monitor.

use crate::base::metrics::{Metric, Value, metrics};
use crate::wire::MethodKind;

metrics! {
    /// Counters since birth. All of them only grow, but those by method and of items, in 32 bits, start again at
    /// 0 after 4,294,967,295: a monitor that looks at differences does not notice.
    ///
    /// Every datagram handed in is counted in one of `queries_in`, `responses_in` and `errors_in`, or
    /// in one reason of `dropped`. A query that is not answered is in `queries_in` and in one of the
    /// reasons `own_id`, `read_only`, `rate`, `overflow` and `budget`.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    #[non_exhaustive]
    #[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
    pub struct Stats {
        /// Datagrams handed in.
        pub datagrams_in: u64,
        /// Bytes of the datagrams handed in.
        pub bytes_in: u64,
        /// Datagrams handed out.
        pub datagrams_out: u64,
        /// Bytes of the datagrams handed out.
        pub bytes_out: u64,
        /// Messages with bytes behind them, which are tolerated.
        pub trailing: u64,
        /// Queries received, those with wrong arguments included.
        pub queries_in: MethodCounts,
        /// Queries sent.
        pub queries_out: MethodCounts,
        /// Answers received that matched a query of ours, by the method of the query.
        pub responses_in: MethodCounts,
        /// Answers sent, by the method of the query.
        pub responses_out: MethodCounts,
        /// Errors received that matched a query of ours, by the method of the query.
        pub errors_in: MethodCounts,
        /// Errors sent, by the method of the query.
        pub errors_out: MethodCounts,
        /// Queries received whose arguments were wrong.
        pub bad_queries: u64,
        /// Our queries that passed their stall deadline; many are answered later all the same.
        pub stalled: u64,
        /// Our queries that were never answered.
        pub timed_out: u64,
        /// Our queries that the system reported as undeliverable.
        pub unreachable: u64,
        /// Our queries that our own system did not send; most are sent again.
        pub unsent: u64,
        /// Our queries that came back to us: they went to an address of our own.
        pub reflected: u64,
        /// Our queries that were given up before an answer came, because the host had slept, or the node was disabled or bound anew.
        pub interrupted: u64,
        /// Our queries whose failure was not held against the node, because we heard from nobody.
        pub excused: u64,
        /// Datagrams dropped, by reason.
        pub dropped: Drops,
        /// Reputations in answers that were not used: reserved addresses, our own, port 0.
        pub contacts_refused: u64,
        /// Peers found by a lookup that already remembered as many as it may; one that is met again counts
        /// again.
        pub peers_lost: u64,
        /// Informational events that were overwritten before they were polled.
        pub events_lost: u64,
        /// Items (BEP 44), by what became of them.
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
        /// Everything else.
        pub other: u32,
    }
}

#[cfg(feature = "items")]
metrics! {
    /// What became of items (BEP 44): those that others put to us, and those that we looked for.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    #[non_exhaustive]
    #[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
    pub struct ItemCounts {
        /// Puts of something new or newer, which was stored. As below, what
        /// [`Node::store_item`](crate::Node::store_item) hands over counts as put.
        pub stored: u32,
        /// Puts of what was stored already, which lives on.
        pub refreshed: u32,
        /// Items that gave way to others.
        pub evicted: u32,
        /// Puts refused for want of room.
        pub no_room: u32,
        /// Signatures of puts that were checked.
        pub checked: u32,
        /// Signatures of puts that were checked and did not fit.
        pub bad_signature: u32,
        /// Puts refused because too many signatures were to be checked.
        pub unchecked: u32,
        /// Items that nodes returned to our lookups, but that belonged elsewhere or had a wrong
        /// signature.
        pub bad_find: u32,
    }
}

metrics! {
    /// Datagrams that were dropped, each for one reason: the first five as they came, then queries,
    /// the last two as their answers were due.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    #[non_exhaustive]
    #[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
    pub struct Drops {
        /// Not a KRPC message.
        pub malformed: u64,
        /// From a reserved address, or one of a family that is off.
        pub address: u64,
        /// Answers and errors that match no query of ours, spoofed ones among them.
        pub stray: u64,
        /// Answers to a query of ours from another port than it was sent to; not used.
        pub wrong_port: u64,
        /// Answers to a query of ours without a valid id.
        pub bad_reply: u64,
        /// Queries under our own id: our own, reflected.
        pub own_id: u64,
        /// Queries while read-only (BEP 43).
        pub read_only: u64,
        /// Queries that came faster than one source may ask.
        pub rate: u64,
        /// Queries whose answer was overwritten before it was polled, or was not sent any more because the node was disabled.
        pub overflow: u64,
        /// Queries whose answer would have made us an amplifier, or more than its network may have of all answers.
        pub budget: u64,
    }
}

impl MethodCounts {
    /// Over all methods.
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
    /// Over all reasons.
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
        // As many as there are numbers in the struct.
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
