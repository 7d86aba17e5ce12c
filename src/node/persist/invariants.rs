//! Invariants of a node that hold at any time, checked by the simulator and before a checkpoint is restored.

use crate::base::addr::Family;
use crate::node::Node;
use crate::node::api::stats::Drops;
use crate::node::core::Core;
use crate::node::server::pending::Reply;
use crate::node::storage::Storage;

impl<S: Storage> Node<S> {
    /// Returns the name of the first violated invariant: slots that are neither free nor in use, or counts
    /// that differ from what they count.
    pub(crate) fn violated_invariant(&self) -> Option<&'static str> {
        let (core, view) = (&self.core, self.storage.view());
        let parts = [
            ("queries", core.inflight.is_consistent(view.queries)),
            ("lookups", core.traversals.is_consistent(view.traversals)),
            (
                "answers",
                core.replies.is_consistent(view.replies) && view.replies.iter().all(Reply::is_consistent),
            ),
            ("events", core.events.is_consistent(view.events)),
            (
                "bootstrap hosts",
                core.routers <= core.bootstraps && usize::from(core.bootstraps) <= view.bootstraps.len(),
            ),
            ("publications", core.republisher.is_consistent(view.publications)),
            ("scrapes", Core::scrapes_are_consistent(view)),
            ("peers", core.peers.is_consistent(view.peers())),
            ("voters", core.has_room_for_voters(view.voters.len())),
            ("datagrams received", core.has_counted_arrivals()),
            ("queries received", core.has_counted_answers()),
            ("datagrams sent", core.has_counted_departures()),
        ];
        #[cfg(feature = "items")]
        let parts = [
            ("items", core.items.is_consistent(core.item_view(view))),
            ("own items", core.own.is_consistent(view.own_items, view.own_chunks)),
        ]
        .into_iter()
        .chain(parts);
        parts.into_iter().find(|(_, is_consistent)| !is_consistent).map(|(name, _)| name)
    }
}

impl Core {
    fn has_room_for_voters(&self, len: usize) -> bool {
        Family::ALL
            .iter()
            .all(|&family| self.family(family).external.is_consistent(self.voters_of(family, len).len()))
    }
}

/// Datagram accounting: every datagram is counted once, whatever its outcome.
impl Core {
    fn has_counted_arrivals(&self) -> bool {
        let stats = &self.stats;
        let taken = [stats.queries_in, stats.responses_in, stats.errors_in].map(|counts| counts.total());
        let (dropped, _) = drops(stats.dropped);
        stats.datagrams_in as u32 == sum(taken).wrapping_add(sum(dropped))
    }

    fn has_counted_answers(&self) -> bool {
        let stats = &self.stats;
        let answered = [stats.responses_out.total(), stats.errors_out.total(), self.replies.len() as u64];
        let (_, dropped) = drops(stats.dropped);
        stats.queries_in.total() as u32 == sum(answered).wrapping_add(sum(dropped))
    }

    fn has_counted_departures(&self) -> bool {
        let stats = &self.stats;
        let sent = [stats.queries_out, stats.responses_out, stats.errors_out].map(|counts| counts.total());
        stats.datagrams_out as u32 == sum(sent)
    }
}

/// Splits the drops into those of datagrams on arrival and those of queries that were received.
const fn drops(counts: Drops) -> ([u64; 5], [u64; 5]) {
    let Drops { malformed, address, stray, wrong_port, bad_reply, own_id, read_only, rate, overflow, budget } =
        counts;
    ([malformed, address, stray, wrong_port, bad_reply], [own_id, read_only, rate, overflow, budget])
}

/// Adds counts modulo 2^32, like the counters by method, so that the sum holds after one has wrapped around.
fn sum<const N: usize>(counts: [u64; N]) -> u32 {
    counts.into_iter().fold(0, |sum, count| sum.wrapping_add(count as u32))
}
