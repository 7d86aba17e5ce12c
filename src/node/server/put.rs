//! Items (BEP 44) that others put.

use crate::base::addr::{Endpoint, Family};
use crate::base::id::NodeId;
use crate::node::api::event::{PackedEvent, PackedKind};
use crate::node::core::Core;
use crate::node::server::memory::ItemsMut;
use crate::node::storage::sealed::{Memory, View};
use crate::store::items::{
    Existing, Item, ItemStore, NewItem, PublicKey, Victims, immutable_target, mutable_target, read_stored,
};
use crate::wire::{ErrorCode, PutItem};

type Refusal = (ErrorCode, &'static str);

const NO_ROOM: Refusal = (ErrorCode::SERVER, "no room for this item");

impl Core {
    /// Stores an item if it passes all checks.
    ///
    /// The order of the checks decides which error a put with several faults gets (B44-23); among checks
    /// without a place in that order, the cheap ones come before the signature.
    pub(in crate::node) fn store_item(
        &mut self,
        m: &mut Memory<'_>,
        from: Endpoint,
        token: &[u8],
        claimed: Option<NodeId>,
        item: &PutItem<'_>,
    ) -> Result<(), Refusal> {
        let target = target_of(item);
        if claimed.is_some_and(|claimed| claimed != target) {
            return Err((ErrorCode::PROTOCOL, "target is not that of the item"));
        }
        if !self.tokens.is_valid(token, from, target.as_bytes()) {
            return Err((ErrorCode::PROTOCOL, "bad token"));
        }
        self.sources.verify(m.sources, from, self.now);
        self.place_item(m, from, target, item, false)?;
        let seq = if let PutItem::Mutable { seq, .. } = *item { seq } else { -1 };
        let kind = PackedKind::ItemStored;
        self.notify(m, PackedEvent { kind, id: target, endpoint: from, seq, ..PackedEvent::EMPTY });
        Ok(())
    }

    /// Stores or refreshes an item; its signature is known to be valid if `is_verified`.
    pub(in crate::node) fn place_item(
        &mut self,
        m: &mut Memory<'_>,
        from: Endpoint,
        target: NodeId,
        item: &PutItem<'_>,
        is_verified: bool,
    ) -> Result<(), Refusal> {
        let now = self.now;
        let existing = ItemStore::existing(self.items_mut(m).slots.view(), &target, item, now);
        let old = match existing {
            Existing::OtherKind => {
                return Err((ErrorCode::PROTOCOL, "the stored item is no such one"));
            }
            Existing::Nothing => None,
            Existing::Same(ix) | Existing::SignedAgain(ix) | Existing::Other(ix, _) => Some(ix),
        };
        let new = NewItem { target: &target, item, from, old };
        let mut victims = Victims::new();
        if old.is_none() {
            victims = self.room_for(m, &new)?;
        }
        if !is_verified && !matches!(existing, Existing::Same(_)) {
            self.check_signature(m, from, item)?;
        }
        if let (PutItem::Mutable { cas: Some(cas), .. }, Some(ix)) = (*item, old)
            && m.items[ix].seq() != Some(cas)
        {
            return Err((ErrorCode::CAS_MISMATCH, "cas is not the stored seq"));
        }
        match existing {
            Existing::Same(ix) | Existing::SignedAgain(ix) => {
                add(&mut self.stats.items.refreshed, 1);
                let ends = now + self.config.items.ttl;
                let ItemsMut { head, mut slots, .. } = self.items_mut(m);
                head.refresh(&mut slots, ix, from, ends);
                self.schedule_sweep(m);
                return Ok(());
            }
            Existing::Other(_, stored) => {
                // Of two values with the same sequence number, the first one stays.
                if matches!(*item, PutItem::Mutable { seq, .. } if seq <= stored) {
                    return Err((ErrorCode::SEQ_TOO_LOW, "seq must be higher"));
                }
            }
            Existing::Nothing | Existing::OtherKind => {}
        }
        if old.is_some() {
            victims = self.room_for(m, &new)?;
        }
        add(&mut self.stats.items.evicted, victims.len());
        let ends = now + self.config.items.ttl;
        let ItemsMut { head, mut slots, .. } = self.items_mut(m);
        if !head.store(&mut slots, &new, &victims, ends) {
            return Err(NO_ROOM);
        }
        add(&mut self.stats.items.stored, 1);
        self.schedule_sweep(m);
        Ok(())
    }

    /// Returns the item for the response to a `get`, and whether the querying node has an older one or none.
    pub(in crate::node) fn item_for(
        &self,
        m: &Memory<'_>,
        target: &NodeId,
        newer_than: Option<i64>,
    ) -> Option<(Item, bool)> {
        let stored = &m.items[ItemStore::find(self.shared_items(m), target, self.now)?];
        // A query with a sequence number does not request an immutable item (B44-26).
        let is_wanted = newer_than.is_none() || stored.seq().is_some();
        let is_newer = newer_than.is_none_or(|known| stored.seq() > Some(known));
        is_wanted.then(|| (read_stored(m.item_chunks, stored), is_newer))
    }

    pub(in crate::node) fn stored_items<'a>(&self, view: View<'a>) -> impl Iterator<Item = Item> + use<'a> {
        self.items.iter(self.item_view(view), self.now)
    }

    pub(in crate::node) fn stored_item(&self, view: View<'_>, target: &NodeId) -> Option<Item> {
        let ix = ItemStore::find(self.item_view(view), target, self.now)?;
        Some(read_stored(view.item_chunks, &view.items[ix]))
    }

    /// Returns the items to evict for a new one.
    fn room_for(&mut self, m: &mut Memory<'_>, new: &NewItem<'_>) -> Result<Victims, Refusal> {
        let ids = Family::ALL.map(|family| self.family(family).id);
        let now = self.now;
        let ItemsMut { head, mut slots, rng } = self.items_mut(m);
        let victims = head.find_room(&mut slots, new, &ids, now, rng);
        add(&mut self.stats.items.no_room, victims.is_none().into());
        victims.ok_or(NO_ROOM)
    }

    /// Checks a signature, the one expensive check, within a rate limit.
    ///
    /// Some checks are left to subnets that had few. A wrong signature blocks its source for a while, so that a flood
    /// of puts cannot use up the processor.
    fn check_signature(
        &mut self,
        m: &mut Memory<'_>,
        from: Endpoint,
        item: &PutItem<'_>,
    ) -> Result<(), Refusal> {
        let PutItem::Mutable { value, key, seq, signature, salt, .. } = *item else { return Ok(()) };
        let is_heavy = self.sources.count_check(m.subnets, from, self.now);
        if !self.signature_checks.try_take(self.config.items.signature_checks.into(), is_heavy, self.now) {
            add(&mut self.stats.items.unchecked, 1);
            return Err((ErrorCode::SERVER, "too many signatures to check"));
        }
        add(&mut self.stats.items.checked, 1);
        if PublicKey::from_bytes(*key).verify(salt, seq, value, signature) {
            return Ok(());
        }
        add(&mut self.stats.items.bad_signature, 1);
        self.sources.penalize(m.sources, from, self.config.items.bad_signature_cost.into(), self.now);
        Err((ErrorCode::BAD_SIGNATURE, "signature does not fit"))
    }
}

/// Adds to a 32-bit counter, which wraps around.
pub(in crate::node) const fn add(count: &mut u32, by: usize) {
    *count = count.wrapping_add(by as u32);
}

/// Returns the target of an item.
fn target_of(item: &PutItem<'_>) -> NodeId {
    match *item {
        PutItem::Immutable { value, .. } => immutable_target(value),
        PutItem::Mutable { key, salt, .. } => mutable_target(key, salt),
    }
}
