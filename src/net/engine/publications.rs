//! The rounds of what is kept up, written by the loop and read by all who share it.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

use super::watch::Watch;
use crate::net::error::CallError;
use crate::state::Unclaimed;
use crate::{Announce, InfoHash, Instant, KeptId, LookupId, LookupReport, Node, SavedAnnounce, StartError};
#[cfg(feature = "items")]
use crate::{Item, NodeId, SavedItem};

/// One round of an announce or an item that is kept up.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Republished {
    /// How it went.
    pub report: LookupReport,
    /// The torrent's peers that it found.
    pub peers: Vec<SocketAddr>,
    /// The nodes that confirmed it. None if the round has failed; or if it was spared, because nodes enough
    /// hold the item (`LookupReport::copies`), or something stands in its way (`LookupReport::obstacle`).
    pub acknowledged: Vec<SocketAddr>,
}

/// The rounds that have ended, of which the last one is kept.
#[derive(Debug, Default)]
pub(crate) struct RepublishState {
    /// How many.
    count: usize,
    last: Option<Republished>,
    closed: bool,
}

impl RepublishState {
    /// For a [`Cursor`](crate::net::handle::cursor::Cursor): the last one.
    pub(crate) fn next_round(&self, seen: usize) -> Option<Result<Option<(usize, Republished)>, CallError>> {
        if self.count > seen {
            return Some(Ok(self.last.clone().map(|round| (self.count, round))));
        }
        self.closed.then_some(Ok(None))
    }
}

/// What the loop has of what is kept up.
#[derive(Debug, Default)]
pub(crate) struct ActivePublication {
    /// Who keeps it up, in the order in which they came; and the announce that each of them wants, if it
    /// is one.
    pub(crate) holders: BTreeMap<u64, Option<(InfoHash, Announce)>>,
    pub(crate) rounds: Arc<Watch<RepublishState>>,
    /// The last round that was heard of.
    round: Option<LookupId>,
    /// What it has found; bounded as the findings of a lookup are.
    peers: Vec<SocketAddr>,
    acknowledged: Vec<SocketAddr>,
}

impl ActivePublication {
    pub(crate) fn push_peer(&mut self, round: LookupId, peer: SocketAddr) {
        self.turn_to(round);
        self.peers.push(peer);
    }

    pub(crate) fn push_acknowledged(&mut self, round: LookupId, node: SocketAddr) {
        self.turn_to(round);
        self.acknowledged.push(node);
    }

    pub(crate) fn end(&mut self, round: LookupId, report: LookupReport) {
        self.turn_to(round);
        let (peers, acknowledged) =
            (core::mem::take(&mut self.peers), core::mem::take(&mut self.acknowledged));
        self.rounds.update(|ended| {
            ended.count += 1;
            ended.last = Some(Republished { report, peers, acknowledged });
        });
    }

    /// Tells the callers that there will be no more.
    pub(crate) fn close(&self) {
        self.rounds.update(|ended| ended.closed = true);
    }

    /// Forgets what another round has found: one that was given up ends without being told.
    fn turn_to(&mut self, round: LookupId) {
        if self.round.replace(round) != Some(round) {
            self.peers.clear();
            self.acknowledged.clear();
        }
    }
}

/// The announces and items of a saved state. None of them goes on before somebody wants it: they live
/// as long as their handles, and those have ended with the earlier node.
#[derive(Debug, Default)]
pub(crate) struct Saved {
    announces: BTreeMap<InfoHash, SavedAnnounce>,
    #[cfg(feature = "items")]
    items: BTreeMap<NodeId, SavedItem>,
    /// How old the state was when it was read.
    elapsed: Duration,
    /// When it was read.
    at: Instant,
    /// The most that a state holds ([`Limits::kept`](crate::Limits::kept)).
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

    /// The items that nobody has wanted yet.
    #[cfg(feature = "items")]
    pub(crate) fn items(&self) -> Vec<Item> {
        self.items.values().map(|saved| saved.item.clone()).collect()
    }

    /// What nobody has asked for, to be saved again behind what the node keeps up itself: an owner who wants
    /// it may come later, or be another process. If there is no room for all, those of the latest rounds.
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

    /// The host slept, and the clock did not count that.
    pub(crate) fn age(&mut self, slept: Duration) {
        self.elapsed = self.elapsed.saturating_add(slept);
    }

    /// Keeps a torrent announced: if the same was announced when the state was saved, it goes on from
    /// there. What cannot be kept stays saved.
    pub(crate) fn keep_announced(
        &mut self,
        node: &mut Node,
        now: Instant,
        infohash: InfoHash,
        announce: Announce,
    ) -> Result<KeptId, StartError> {
        let elapsed = self.elapsed.saturating_add(now - self.at);
        let kept = match self.announces.get(&infohash) {
            Some(saved) if saved.announce == announce => node.restore_announce(now, saved, elapsed),
            _ => node.keep_announced(now, infohash, announce),
        }?;
        self.announces.remove(&infohash);
        Ok(kept)
    }

    /// Keeps an item stored: if this one was when the state was saved, it goes on from there.
    #[cfg(feature = "items")]
    pub(crate) fn keep_stored(
        &mut self,
        node: &mut Node,
        now: Instant,
        item: &Item,
    ) -> Result<KeptId, StartError> {
        let elapsed = self.elapsed.saturating_add(now - self.at);
        let kept = match self.items.get(&item.target()) {
            Some(saved) if saved.item == *item => node.restore_item(now, saved, elapsed),
            _ => node.keep_stored(now, item),
        }?;
        self.items.remove(&item.target());
        Ok(kept)
    }
}

/// The names of what is kept up, and what it is kept up for: the same in both adapters.
macro_rules! subjects {
    () => {
        /// An announce that is kept up, from [`DhtHandle::keep_announced`](super::DhtHandle::keep_announced).
        pub type Announcement = Recurring<$crate::InfoHash>;

        /// An item that is kept up, from [`DhtHandle::keep_stored`](super::DhtHandle::keep_stored).
        #[cfg(feature = "items")]
        pub type Publication = Recurring<$crate::NodeId>;

        impl Announcement {
            /// The torrent.
            pub const fn infohash(&self) -> $crate::InfoHash {
                self.subject
            }
        }

        #[cfg(feature = "items")]
        impl Publication {
            /// Where the item is stored.
            pub const fn target(&self) -> $crate::NodeId {
                self.subject
            }
        }

        impl<T: core::fmt::Debug> core::fmt::Debug for Recurring<T> {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                f.debug_struct("Recurring")
                    .field("subject", &self.subject)
                    .field("seen", &self.rounds.seen())
                    .finish_non_exhaustive()
            }
        }
    };
}
pub(crate) use subjects;
