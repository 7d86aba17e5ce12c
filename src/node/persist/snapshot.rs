//! Saving ids, nodes and publications, and restoring them after a restart.

use core::time::Duration;

use crate::base::addr::{Endpoint, Family};
use crate::base::id::NodeId;
use crate::base::time::Instant;
use crate::lookup::density::Density;
use crate::lookup::republisher::LastRepublish;
use crate::node::api::error::PublishError;
use crate::node::api::ids::PublicationId;
use crate::node::core::Core;
#[cfg(feature = "items")]
use crate::node::persist::format::SavedItem;
use crate::node::persist::format::{
    BufferTooShort, Head, Restored, SavedAnnounce, SavedNode, Source, State, write,
};
use crate::node::storage::sealed::{Memory, View};
use crate::table::{Ages, Contact, Entry};

/// Number of ranks of live nodes: good and long known, good, possibly alive.
///
/// Restored nodes that have not responded come after them.
const LIVE_RANKS: u8 = 3;

/// The time for which a node must have been known to be likely to stay.
const LONG_KNOWN: Duration = Duration::from_secs(60 * 60);

impl Core {
    pub(in crate::node) fn snapshot(
        &self,
        view: View<'_>,
        saved_at: u64,
        buf: &mut [u8],
    ) -> Result<usize, BufferTooShort> {
        write(buf, &Saved { core: self, view, saved_at })
    }

    pub(in crate::node) fn restore(
        &mut self,
        m: &mut Memory<'_>,
        now: Instant,
        state: &State<'_>,
        elapsed: Duration,
    ) -> Restored {
        let now = self.advance(now);
        for family in Family::ALL {
            let density = &mut self.family_mut(family).density;
            // What this node has learned itself is more exact.
            if let Some(size) = state.network_size(family).filter(|_| density.size().is_none()) {
                *density = Density::restored(size);
            }
        }
        let mut restored = Restored { skipped: state.skipped_contacts(), ..Restored::default() };
        for node in state.nodes() {
            let endpoint = Endpoint::from(node.addr);
            let family = endpoint.family();
            // Nodes of a family that is off are restored as well, for the next snapshot.
            if !self.config.address_policy.allows(endpoint) || self.is_router(m, endpoint) {
                restored.skipped += 1;
                continue;
            }
            let contact = Contact { id: node.id.unwrap_or(NodeId::ZERO), endpoint };
            let ages = Ages {
                silent: node.silent.saturating_add(elapsed),
                known: node.known.saturating_add(elapsed),
            };
            if self.family_mut(family).table_mut(m).restore(contact, node.rtt, ages, now) {
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
            let is_known = self.republisher.find(m.publications, &saved.infohash.into(), false).is_some();
            if !is_known && self.restore_announce(m, now, &saved, elapsed).is_ok() {
                restored.announces += 1;
            } else {
                restored.skipped += 1;
            }
        }
        #[cfg(feature = "items")]
        for saved in state.item_entries() {
            let is_new = |saved: &SavedItem| {
                self.republisher.find(m.publications, &saved.item.target(), true).is_none()
            };
            match saved.filter(is_new).map(|saved| self.restore_item(m, now, &saved, elapsed)) {
                Some(Ok(_)) => restored.items += 1,
                Some(Err(_)) | None => restored.skipped += 1,
            }
        }
        restored
    }

    pub(in crate::node) fn restore_announce(
        &mut self,
        m: &mut Memory<'_>,
        now: Instant,
        saved: &SavedAnnounce,
        elapsed: Duration,
    ) -> Result<PublicationId, PublishError> {
        let last = last_republish(saved.acknowledged, saved.age, elapsed);
        self.start_announcing(m, now, saved.infohash, saved.announce, last)
    }

    #[cfg(feature = "items")]
    pub(in crate::node) fn restore_item(
        &mut self,
        m: &mut Memory<'_>,
        now: Instant,
        saved: &SavedItem,
        elapsed: Duration,
    ) -> Result<PublicationId, PublishError> {
        self.start_publishing(m, now, &saved.item, last_republish(saved.acknowledged, saved.age, elapsed))
    }

    /// Removes a node that has responded from the restored ones, whether it was added to a bucket or not.
    pub(in crate::node) fn end_restoring(&mut self, m: &mut Memory<'_>, endpoint: Endpoint) {
        self.family_mut(endpoint.family()).table_mut(m).take_restored(endpoint);
    }

    /// Returns the announcements; one whose last republish failed is saved as new.
    fn saved_announces<'a>(&'a self, view: View<'a>) -> impl Iterator<Item = SavedAnnounce> + use<'a> {
        let now = self.now;
        self.republisher.iter(view.publications).filter_map(move |publication| {
            Some(SavedAnnounce {
                infohash: publication.target.into(),
                announce: publication.subject.announce()?,
                acknowledged: publication.acknowledged.into(),
                age: if publication.acknowledged > 0 {
                    self.republisher.age(publication, now)
                } else {
                    Duration::ZERO
                },
            })
        })
    }

    /// Returns the published items; one whose last republish stored nothing is saved as new.
    ///
    /// The first republish of a mutable item then looks for the nodes that hold it.
    #[cfg(feature = "items")]
    fn saved_items<'a>(&'a self, view: View<'a>) -> impl Iterator<Item = SavedItem> + use<'a> {
        let now = self.now;
        self.republisher.iter(view.publications).filter_map(move |publication| {
            Some(SavedItem {
                item: view.own_items[publication.subject.item()?.position()].read(view.own_chunks)?,
                acknowledged: publication.acknowledged.into(),
                age: if publication.acknowledged > 0 {
                    self.republisher.age(publication, now)
                } else {
                    Duration::ZERO
                },
            })
        })
    }

    /// Returns the nodes to save, best first, without routers, which the caller adds after each start.
    fn saved_nodes<'a>(
        &'a self,
        view: View<'a>,
        family: Family,
    ) -> impl Iterator<Item = SavedNode> + use<'a> {
        let (table, now) = (self.family(family).table_view(view), self.now);
        let routers = &view.bootstraps[..usize::from(self.routers)];
        let rank = move |entry: &Entry| match (entry.is_good(now), entry.known_for(now) >= LONG_KNOWN) {
            (true, true) => 0,
            (true, false) => 1,
            (false, _) => 2,
        };
        let live = move |wanted| table.iter().filter(move |entry| entry.is_live() && rank(entry) == wanted);
        (0..LIVE_RANKS)
            .flat_map(live)
            .chain(table.all_restored())
            .filter(move |entry| !routers.contains(&entry.endpoint()))
            .map(move |entry| saved(entry, now))
    }
}

/// The contents of a snapshot.
struct Saved<'a> {
    core: &'a Core,
    view: View<'a>,
    saved_at: u64,
}

impl Source for Saved<'_> {
    fn head(&self) -> Head {
        Head {
            ids: Family::ALL.map(|family| self.core.family(family).id),
            sizes: Family::ALL.map(|family| self.core.family(family).density.size()),
            saved_at: self.saved_at,
        }
    }

    fn announces(&self) -> impl Iterator<Item = SavedAnnounce> {
        self.core.saved_announces(self.view)
    }

    #[cfg(feature = "items")]
    fn items(&self) -> impl Iterator<Item = SavedItem> {
        self.core.saved_items(self.view)
    }

    fn nodes(&self, family: Family) -> impl Iterator<Item = SavedNode> {
        self.core.saved_nodes(self.view, family)
    }
}

/// Returns the last republish of a saved publication; `None` if no node confirmed it.
fn last_republish(acknowledged: u32, age: Duration, elapsed: Duration) -> Option<LastRepublish> {
    let last = || LastRepublish {
        age: age.saturating_add(elapsed),
        acknowledged: u16::try_from(acknowledged).unwrap_or(u16::MAX),
    };
    (acknowledged > 0).then(last)
}

fn saved(entry: &Entry, now: Instant) -> SavedNode {
    SavedNode {
        id: Some(entry.id()).filter(|id| *id != NodeId::ZERO),
        addr: entry.endpoint().into(),
        silent: entry.silent_for(now),
        known: entry.known_for(now),
        rtt: entry.has_rtt().then(|| entry.rtt()),
    }
}
