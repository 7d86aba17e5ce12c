//! Saving what outlives a restart, and taking it in again.

use core::time::Duration;

use super::{Core, nodes, table_slots};
use crate::addr::{Endpoint, Family};
use crate::id::NodeId;
use crate::state::{BufferTooShort, Head, SavedNode, State, write};
use crate::storage::sealed::{Memory, View};
use crate::table::{Contact, Entry};
use crate::time::Instant;

/// How good a node is to start from, the best first: good now and known for long, good now, alive
/// as far as is known. Behind them come those that were restored and have not answered yet.
const LIVE_RANKS: u8 = 3;

/// A node known for this many seconds is likely to stay.
const LONG_KNOWN: Duration = Duration::from_secs(60 * 60);

impl Core {
    pub(super) fn snapshot(
        &self,
        view: View<'_>,
        saved_at: u64,
        buf: &mut [u8],
    ) -> Result<usize, BufferTooShort> {
        let ids = Family::ALL.map(|family| self.family(family).id);
        write(buf, &Head { ids, saved_at }, |family| self.saved_nodes(view, family))
    }

    pub(super) fn restore(
        &mut self,
        m: &mut Memory<'_>,
        now: Instant,
        state: &State<'_>,
        elapsed: Duration,
    ) -> usize {
        let now = self.advance(now);
        let mut restored = 0;
        for node in state.nodes() {
            let endpoint = Endpoint::from(node.addr);
            let family = endpoint.family();
            // Those of a family that is off are kept for the next start.
            if !self.config.address_policy.allows(endpoint) || self.is_bootstrap(m, endpoint) {
                continue;
            }
            let contact = Contact { id: node.id.unwrap_or(NodeId::ZERO), endpoint };
            let ages = [node.silent, node.known].map(|age| age.saturating_add(elapsed));
            let table = &mut self.family_mut(family).table;
            restored += usize::from(table.restore(&mut table_slots(m, family), contact, node.rtt, ages, now));
        }
        if restored > 0 {
            Family::ALL.into_iter().for_each(|family| self.wake_bootstrap(family, now));
            self.unpark(m);
        }
        restored
    }

    /// A restored node has answered, and has found its place or not.
    pub(super) fn end_restoring(&mut self, m: &mut Memory<'_>, endpoint: Endpoint) {
        let table = &mut self.family_mut(endpoint.family()).table;
        table.take_restored(&mut table_slots(m, endpoint.family()), endpoint);
    }

    /// The nodes worth saving, best first. Bootstrap hosts are not: whoever names them names them
    /// again.
    fn saved_nodes<'a>(
        &'a self,
        view: View<'a>,
        family: Family,
    ) -> impl Iterator<Item = SavedNode> + use<'a> {
        let (table, nodes, now) = (&self.family(family).table, nodes(view, family), self.now);
        let bootstraps = &view.bootstraps[..usize::from(self.bootstraps)];
        let rank = move |entry: &Entry| match (entry.is_good(now), entry.known(now) >= LONG_KNOWN) {
            (true, true) => 0,
            (true, false) => 1,
            (false, _) => 2,
        };
        let live =
            move |wanted| table.iter(nodes).filter(move |entry| entry.is_live() && rank(entry) == wanted);
        (0..LIVE_RANKS)
            .flat_map(live)
            .chain(table.all_restored(nodes))
            .filter(move |entry| !bootstraps.contains(&entry.endpoint()))
            .map(move |entry| saved(entry, now))
    }
}

fn saved(entry: &Entry, now: Instant) -> SavedNode {
    SavedNode {
        id: Some(entry.id()).filter(|id| *id != NodeId::ZERO),
        addr: entry.endpoint().into(),
        silent: entry.silent(now),
        known: entry.known(now),
        rtt: entry.has_rtt().then(|| entry.rtt()),
    }
}
