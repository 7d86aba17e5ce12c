//! The announces and items of a saved state that no caller has claimed yet.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::time::Duration;

#[cfg(feature = "items")]
use crate::NodeId;
use crate::errors::PublishError;
#[cfg(feature = "items")]
use crate::items::Item;
use crate::node::persist::format::Unclaimed;
use crate::state::SavedAnnounce;
#[cfg(feature = "items")]
use crate::state::SavedItem;
use crate::{Announce, InfoHash, Instant, Node, PublicationId};

/// The announces and items of a saved state. None is republished before a caller claims it: they last as long as
/// their handles, and those have ended with the earlier node.
#[derive(Debug, Default)]
pub(crate) struct Saved {
    announces: BTreeMap<InfoHash, SavedAnnounce>,
    #[cfg(feature = "items")]
    items: BTreeMap<NodeId, SavedItem>,
    /// The age of the state when it was read.
    elapsed: Duration,
    /// When the state was read.
    at: Instant,
    /// The most that a state holds ([`Limits::publications`](field@crate::Limits::publications)).
    room: usize,
}

impl Saved {
    pub(crate) fn new(
        announces: impl Iterator<Item = SavedAnnounce>,
        elapsed: Duration,
        at: Instant,
        room: usize,
    ) -> Self {
        let announces = announces.take(room).map(|saved| (saved.infohash, saved)).collect();
        Self {
            announces,
            #[cfg(feature = "items")]
            items: BTreeMap::new(),
            elapsed,
            at,
            room,
        }
    }

    #[cfg(feature = "items")]
    pub(crate) fn with_items(self, items: impl Iterator<Item = SavedItem>) -> Self {
        Self { items: items.take(self.room).map(|saved| (saved.item.target(), saved)).collect(), ..self }
    }

    pub(crate) fn announce_count(&self) -> usize {
        self.announces.len()
    }

    pub(crate) fn item_count(&self) -> usize {
        #[cfg(feature = "items")]
        return self.items.len();
        #[cfg(not(feature = "items"))]
        0
    }

    /// The items that no caller has claimed yet.
    #[cfg(feature = "items")]
    pub(crate) fn items(&self) -> Vec<Item> {
        self.items.values().map(|saved| saved.item.clone()).collect()
    }

    /// Returns what has not been claimed, to be saved again beside the node's own publications, since the owner may
    /// claim it later or from another process. If there is no room for all, the latest republished ones.
    pub(crate) fn unclaimed(&self, own: usize, now: Instant) -> Unclaimed {
        let elapsed = self.elapsed.saturating_add(now - self.at);
        let mut room = self.room.saturating_sub(own);
        let mut announces: Vec<_> = self.announces.values().copied().collect();
        announces.sort_by_key(|saved| saved.age);
        announces.truncate(room);
        room -= announces.len();
        for saved in announces.iter_mut().filter(|saved| saved.acknowledged > 0) {
            saved.age = saved.age.saturating_add(elapsed);
        }
        #[cfg(feature = "items")]
        let items = {
            let mut items: Vec<_> = self.items.values().cloned().collect();
            items.sort_by_key(|saved| saved.age);
            items.truncate(room);
            for saved in items.iter_mut().filter(|saved| saved.acknowledged > 0) {
                saved.age = saved.age.saturating_add(elapsed);
            }
            items
        };
        #[cfg(not(feature = "items"))]
        let _ = room;
        Unclaimed {
            announces,
            #[cfg(feature = "items")]
            items,
        }
    }

    /// Adds a sleep of the host that the clock did not count.
    pub(crate) fn age(&mut self, slept: Duration) {
        self.elapsed = self.elapsed.saturating_add(slept);
    }

    /// Starts announcing a torrent, from where a saved announce of it ended. If that fails, the saved one stays.
    pub(crate) fn start_announcing(
        &mut self,
        node: &mut Node,
        now: Instant,
        infohash: InfoHash,
        announce: Announce,
    ) -> Result<PublicationId, PublishError> {
        let elapsed = self.elapsed.saturating_add(now - self.at);
        let kept = match self.announces.get(&infohash) {
            Some(saved) if saved.announce == announce => node.restore_announce(now, saved, elapsed),
            _ => node.start_announcing(now, infohash, announce),
        }?;
        self.announces.remove(&infohash);
        Ok(kept)
    }

    /// Starts publishing an item, from where a saved one ended.
    #[cfg(feature = "items")]
    pub(crate) fn start_publishing(
        &mut self,
        node: &mut Node,
        now: Instant,
        item: &Item,
    ) -> Result<PublicationId, PublishError> {
        let elapsed = self.elapsed.saturating_add(now - self.at);
        let kept = match self.items.get(&item.target()) {
            Some(saved) if saved.item == *item => node.restore_item(now, saved, elapsed),
            _ => node.start_publishing(now, item),
        }?;
        self.items.remove(&item.target());
        Ok(kept)
    }
}
