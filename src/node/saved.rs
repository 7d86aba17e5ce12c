//! Saving what outlives a restart, and taking it in again.

use core::time::Duration;

use super::{Core, nodes, table_slots};
use crate::addr::{Endpoint, Family};
use crate::event::{KeptId, StartError};
use crate::id::NodeId;
use crate::state::{BufferTooShort, Head, Restored, SavedAnnounce, SavedNode, State, write};
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
        let nodes = |family| self.saved_nodes(view, family);
        write(buf, &Head { ids, saved_at }, || self.saved_announces(view), nodes)
    }

    pub(super) fn restore(
        &mut self,
        m: &mut Memory<'_>,
        now: Instant,
        state: &State<'_>,
        elapsed: Duration,
    ) -> Restored {
        let now = self.advance(now);
        let mut restored = Restored { skipped: state.skipped(), ..Restored::default() };
        for node in state.nodes() {
            let endpoint = Endpoint::from(node.addr);
            let family = endpoint.family();
            // Those of a family that is off are kept for the next start.
            if !self.config.address_policy.allows(endpoint) || self.is_router(m, endpoint) {
                restored.skipped += 1;
                continue;
            }
            let contact = Contact { id: node.id.unwrap_or(NodeId::ZERO), endpoint };
            let ages = [node.silent, node.known].map(|age| age.saturating_add(elapsed));
            let table = &mut self.family_mut(family).table;
            if table.restore(&mut table_slots(m, family), contact, node.rtt, ages, now) {
                restored.nodes += 1;
            } else {
                restored.skipped += 1;
            }
        }
        if restored.nodes > 0 {
            Family::ALL.into_iter().for_each(|family| self.rejoin(family));
            self.unpark(m);
        }
        for saved in state.announces() {
            let is_known = self.keeper.find(m.kept, &saved.infohash.into(), false).is_some();
            if !is_known && self.restore_announce(m, now, &saved, elapsed).is_ok() {
                restored.announces += 1;
            } else {
                restored.skipped += 1;
            }
        }
        restored
    }

    pub(super) fn restore_announce(
        &mut self,
        m: &mut Memory<'_>,
        now: Instant,
        saved: &SavedAnnounce,
        elapsed: Duration,
    ) -> Result<KeptId, StartError> {
        let last = (saved.acknowledged > 0).then(|| {
            (saved.age.saturating_add(elapsed), u16::try_from(saved.acknowledged).unwrap_or(u16::MAX))
        });
        self.keep_announced(m, now, saved.infohash, saved.announce, last)
    }

    /// A restored node has answered, and has found its place or not.
    pub(super) fn end_restoring(&mut self, m: &mut Memory<'_>, endpoint: Endpoint) {
        let table = &mut self.family_mut(endpoint.family()).table;
        table.take_restored(&mut table_slots(m, endpoint.family()), endpoint);
    }

    /// The announces that are kept up. One whose last round failed is saved as new: after a restart
    /// the network may be another.
    fn saved_announces<'a>(&'a self, view: View<'a>) -> impl Iterator<Item = SavedAnnounce> + use<'a> {
        let now = self.now;
        self.keeper.iter(view.kept).filter_map(move |kept| {
            Some(SavedAnnounce {
                infohash: kept.target.into(),
                announce: kept.subject.announce()?,
                acknowledged: kept.acknowledged.into(),
                age: if kept.acknowledged > 0 { self.keeper.age(kept, now) } else { Duration::ZERO },
            })
        })
    }

    /// The nodes worth saving, best first. Routers are not: whoever names them names them again.
    fn saved_nodes<'a>(
        &'a self,
        view: View<'a>,
        family: Family,
    ) -> impl Iterator<Item = SavedNode> + use<'a> {
        let (table, nodes, now) = (&self.family(family).table, nodes(view, family), self.now);
        let routers = &view.bootstraps[..usize::from(self.routers)];
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
            .filter(move |entry| !routers.contains(&entry.endpoint()))
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
