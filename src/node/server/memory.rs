//! The stores of a node, each together with the memory that belongs to it.

use crate::base::rng::Rng;
use crate::node::core::Core;
use crate::node::maintenance::timers::Timer;
use crate::node::storage::sealed::Memory;
#[cfg(feature = "items")]
use crate::node::storage::sealed::View;
#[cfg(feature = "items")]
use crate::store::items::{ItemSlots, ItemStore, ItemView};
use crate::store::peers::{PeerSlotsMut, PeerStore};

/// The peer store and its memory, and the generator that decides which peers are evicted.
pub(in crate::node) struct PeersMut<'a> {
    pub(in crate::node) head: &'a mut PeerStore,
    pub(in crate::node) slots: PeerSlotsMut<'a>,
    pub(in crate::node) rng: &'a mut Rng,
}

/// The item store and its memory, and the generator that decides which items are evicted.
#[cfg(feature = "items")]
pub(in crate::node) struct ItemsMut<'a> {
    pub(in crate::node) head: &'a mut ItemStore,
    pub(in crate::node) slots: ItemSlots<'a>,
    pub(in crate::node) rng: &'a mut Rng,
}

impl Core {
    pub(in crate::node) const fn peers_mut<'a>(&'a mut self, m: &'a mut Memory<'_>) -> PeersMut<'a> {
        let slots = PeerSlotsMut { swarms: m.swarms, v4: m.peers_v4, v6: m.peers_v6, counters: m.counters };
        PeersMut { head: &mut self.peers, slots, rng: &mut self.rng }
    }
}

/// Expiry.
impl Core {
    /// Removes what has expired from the stores.
    pub(super) fn sweep_stores(&mut self, m: &mut Memory<'_>) {
        let now = self.now;
        if self.peers.next_sweep().is_some_and(|at| at <= now) {
            let PeersMut { head, mut slots, .. } = self.peers_mut(m);
            head.sweep(&mut slots, now);
        }
        #[cfg(feature = "items")]
        {
            let ItemsMut { head, mut slots, .. } = self.items_mut(m);
            head.expire(&mut slots, now);
        }
        self.schedule_sweep(m);
    }

    pub(super) fn schedule_sweep(&mut self, m: &Memory<'_>) {
        let peers = self.peers.next_sweep();
        #[cfg(feature = "items")]
        let items = self.items.next_expiry(m.items, self.now);
        #[cfg(not(feature = "items"))]
        let (items, _) = (None, m);
        if let Some(at) = [peers, items].into_iter().flatten().min() {
            self.timers.set(Timer::Sweep, at);
        }
    }
}

/// The item store, which shares the hash key of the peer store: it only decides where entries are placed.
#[cfg(feature = "items")]
impl Core {
    pub(in crate::node) const fn items_mut<'a>(&'a mut self, m: &'a mut Memory<'_>) -> ItemsMut<'a> {
        let slots = ItemSlots { records: m.items, chunks: m.item_chunks, key: self.peers.key() };
        ItemsMut { head: &mut self.items, slots, rng: &mut self.rng }
    }

    pub(in crate::node) const fn shared_items<'a>(&self, m: &'a Memory<'_>) -> ItemView<'a> {
        ItemView { records: m.items, chunks: m.item_chunks, key: self.peers.key() }
    }

    pub(in crate::node) const fn item_view<'a>(&self, view: View<'a>) -> ItemView<'a> {
        ItemView { records: view.items, chunks: view.item_chunks, key: self.peers.key() }
    }
}
