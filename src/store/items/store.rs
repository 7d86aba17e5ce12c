//! The items put by others, by target (BEP 44).
//!
//! Records are in slots, and data of variable length is in [chunks]. All items have the same lifetime, so the list
//! of records in the order of their last put is also the order of their expiry.

use core::time::Duration;

use heapless::Vec;

use super::chunks::{self, Chunk, Chunks};
use super::item::{Item, Signed};
use super::keys::{KEY_LEN, PublicKey, SIGNATURE_LEN};
use super::salt::Salt;
use crate::base::addr::Endpoint;
use crate::base::hash::{Key, reduce};
use crate::base::id::NodeId;
use crate::base::pool::{Ix, List, Pool, Slot};
use crate::base::time::Instant;
use crate::wire::{MAX_SALT_LEN, PutItem};

/// Length of the data before the value of a mutable item, except for its salt.
const SIGNED_LEN: usize = KEY_LEN + SIGNATURE_LEN;

/// Maximum number of records that one call removes, so that it takes less than a tenth of a millisecond.
const EXPIRY_STEP: usize = 64;

/// The time between two such calls while more records have expired.
const EXPIRY_PAUSE: Duration = Duration::from_millis(1);

/// The records to evict for an item: as many as the longest one needs if each has a single chunk.
pub(crate) type Victims = Vec<Ix, 10>;

/// A stored item; zeroed memory is a free record.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub(crate) struct Stored {
    pub(super) target: NodeId,
    is_mutable: bool,
    salt_len: u8,
    value_len: u16,
    seq: i64,
    /// Key, signature and salt of a mutable item, then the value.
    chain: Ix,
    /// When the item expires, unless it is put again.
    pub(super) ends: Instant,
    /// A hash of the source that put the item first.
    pub(super) origin: u32,
    /// The subnets that put the item, one bit each, at a position derived from a hash.
    pub(super) subnets: u64,
    /// The next record in the same hash chain; `first_in_chain` is the first of the chain with this slot's number.
    next_in_chain: Ix,
    first_in_chain: Ix,
}

impl Stored {
    pub(crate) const EMPTY: Self = Self {
        target: NodeId::ZERO,
        is_mutable: false,
        salt_len: 0,
        value_len: 0,
        seq: 0,
        chain: Ix::NONE,
        ends: Instant::ZERO,
        origin: 0,
        subnets: 0,
        next_in_chain: Ix::NONE,
        first_in_chain: Ix::NONE,
    };

    /// Returns the sequence number; `None` for an immutable item.
    pub(crate) const fn seq(&self) -> Option<i64> {
        if self.is_mutable { Some(self.seq) } else { None }
    }

    pub(super) const fn is_taken(&self) -> bool {
        !self.chain.is_none()
    }

    pub(super) fn chunks(&self) -> usize {
        Chunks::needed(self.offset() + usize::from(self.value_len))
    }

    /// Returns the offset of the value in its chain.
    fn offset(&self) -> usize {
        if self.is_mutable { SIGNED_LEN + usize::from(self.salt_len) } else { 0 }
    }
}

/// Exclusive access to the memory of a store; zeroed memory is an empty store.
#[derive(Debug)]
pub(crate) struct ItemSlots<'a> {
    pub(crate) records: &'a mut [Slot<Stored>],
    pub(crate) chunks: &'a mut [Chunk],
    /// Randomizes the positions of targets and sources.
    pub(crate) key: Key,
}

/// Shared access to the memory of a store.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ItemView<'a> {
    pub(crate) records: &'a [Slot<Stored>],
    pub(crate) chunks: &'a [Chunk],
    pub(crate) key: Key,
}

impl ItemSlots<'_> {
    pub(crate) const fn view(&self) -> ItemView<'_> {
        ItemView { records: self.records, chunks: self.chunks, key: self.key }
    }
}

/// An item to store.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NewItem<'a> {
    pub(crate) target: &'a NodeId,
    pub(crate) item: &'a PutItem<'a>,
    pub(crate) from: Endpoint,
    /// The record that the item replaces.
    pub(crate) old: Option<Ix>,
}

/// What is stored at the target of a put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Existing {
    /// Nothing is stored at the target.
    Nothing,
    /// An equal item with the same signature, which is known to be valid.
    Same(Ix),
    /// An equal value under the same sequence number, with another signature.
    SignedAgain(Ix),
    /// A mutable item with this sequence number, under the same key and salt.
    Other(Ix, i64),
    /// An immutable item where the new one is mutable, or vice versa.
    OtherKind,
}

/// The store of items put by others.
#[derive(Debug)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub(crate) struct ItemStore {
    /// Whether a source is a full endpoint, for many nodes on one host.
    by_endpoint: bool,
    pool: Pool,
    pub(super) chunks: Chunks,
    /// Records in use, the one put longest ago first.
    used: List,
}

impl ItemStore {
    pub(crate) fn new(by_endpoint: bool) -> Self {
        Self { by_endpoint, pool: Pool::default(), chunks: Chunks::default(), used: List::EMPTY }
    }

    /// Returns the item at a target, if it has not expired.
    pub(crate) fn find(view: ItemView<'_>, target: &NodeId, now: Instant) -> Option<Ix> {
        let ItemView { records, key, .. } = view;
        let head = records.get(chain_of(key, records, target))?.value.first_in_chain;
        core::iter::successors(head.some(), |&ix| records[ix].next_in_chain.some())
            .find(|&ix| records[ix].target == *target)
            .filter(|&ix| now < records[ix].ends)
    }

    /// Returns what is stored at the target of an item, compared with the item.
    pub(crate) fn existing(
        view: ItemView<'_>,
        target: &NodeId,
        item: &PutItem<'_>,
        now: Instant,
    ) -> Existing {
        let Some(ix) = Self::find(view, target, now) else { return Existing::Nothing };
        let stored = &view.records[ix];
        match *item {
            PutItem::Immutable { .. } if !stored.is_mutable => Existing::Same(ix),
            PutItem::Mutable { value, seq, signature, .. } if stored.is_mutable => {
                let old = (stored.seq == seq).then(|| read(view.chunks, stored));
                match old.filter(|old| old.value() == value) {
                    Some(old) if old.signature() == Some(signature) => Existing::Same(ix),
                    Some(_) => Existing::SignedAgain(ix),
                    None => Existing::Other(ix, stored.seq),
                }
            }
            _ => Existing::OtherKind,
        }
    }

    /// Stores an item in place of `victims`, and returns whether there was room.
    ///
    /// They must have been returned by [`find_room`](Self::find_room) just before.
    pub(crate) fn store(
        &mut self,
        slots: &mut ItemSlots<'_>,
        new: &NewItem<'_>,
        victims: &Victims,
        ends: Instant,
    ) -> bool {
        let &NewItem { target, item, from, old } = new;
        victims.iter().for_each(|&ix| self.remove(slots, ix));
        let (signed, salt, value): (_, &[u8], _) = match *item {
            PutItem::Immutable { value, .. } => (None, &[], value),
            PutItem::Mutable { value, key, signature, salt, seq, .. } => {
                (Some((key, signature, seq)), salt, value)
            }
        };
        if let Some(old) = old {
            let chain = core::mem::take(&mut slots.records[old].chain);
            self.chunks.free(slots.chunks, chain);
        }
        let Some(chain) = self.chunks.alloc(slots.chunks, chain_len(item)) else {
            if let Some(old) = old {
                self.remove(slots, old);
            }
            return false;
        };
        let Some(ix) = old.or_else(|| self.add(slots, *target, from)) else {
            self.chunks.free(slots.chunks, chain);
            return false;
        };
        match signed {
            None => chunks::write(slots.chunks, chain, &[value]),
            Some((key, signature, _)) => chunks::write(slots.chunks, chain, &[key, signature, salt, value]),
        }
        let stored = &mut slots.records[ix];
        (stored.chain, stored.is_mutable) = (chain, signed.is_some());
        (stored.salt_len, stored.value_len) = (salt.len() as u8, value.len() as u16);
        stored.seq = signed.map_or(0, |(.., seq)| seq);
        self.refresh(slots, ix, from, ends);
        true
    }

    /// Extends the lifetime of an item that was put again.
    pub(crate) fn refresh(&mut self, slots: &mut ItemSlots<'_>, ix: Ix, from: Endpoint, ends: Instant) {
        let source = self.source(slots.key, from);
        let records = &mut *slots.records;
        records[ix].subnets |= 1 << (source >> 26);
        records[ix].ends = ends;
        self.used.remove(records, ix);
        self.used.push_back(records, ix);
    }

    /// Iterates over all stored items, the one put longest ago first.
    pub(crate) fn iter<'a>(&self, view: ItemView<'a>, now: Instant) -> impl Iterator<Item = Item> + use<'a> {
        let used = self.used;
        core::iter::successors(used.front(), move |&ix| used.next(view.records, ix))
            .filter(move |&ix| now < view.records[ix].ends)
            .map(move |ix| read(view.chunks, &view.records[ix]))
    }

    /// Returns the number of items, including expired ones until [`expire`](Self::expire).
    pub(crate) const fn len(&self) -> usize {
        self.used.len()
    }

    /// Returns when [`expire`](Self::expire) is due: soon if expired items are left.
    pub(crate) fn next_expiry(&self, records: &[Slot<Stored>], now: Instant) -> Option<Instant> {
        self.used.front().map(|ix| records[ix].ends.max(now + EXPIRY_PAUSE))
    }

    /// Removes some of the expired items.
    ///
    /// This only frees memory: expired items are never returned.
    pub(crate) fn expire(&mut self, slots: &mut ItemSlots<'_>, now: Instant) {
        for _ in 0..EXPIRY_STEP {
            let Some(ix) = self.used.front().filter(|&ix| slots.records[ix].ends <= now) else { return };
            self.remove(slots, ix);
        }
    }

    /// Removes everything.
    pub(crate) fn clear(&mut self, slots: &mut ItemSlots<'_>) {
        while let Some(ix) = self.used.front() {
            self.remove(slots, ix);
        }
    }

    /// Whether every record is in the list and every chunk in a chain.
    #[cfg(any(test, feature = "checkpoint", feature = "sim"))]
    pub(crate) fn is_consistent(&self, view: ItemView<'_>) -> bool {
        let stored = || self.used.iter(view.records).take(view.records.len()).map(|ix| &view.records[ix]);
        self.pool.is_consistent(view.records)
            && self.used.is_consistent(view.records)
            && self.used.len() == self.pool.used()
            && self.chunks.is_consistent(view.chunks, stored().map(|stored| (stored.chain, stored.chunks())))
    }

    pub(super) fn is_full(&self, records: &[Slot<Stored>]) -> bool {
        self.pool.is_full(records)
    }

    pub(super) fn remove(&mut self, slots: &mut ItemSlots<'_>, ix: Ix) {
        let chain = core::mem::take(&mut slots.records[ix].chain);
        self.chunks.free(slots.chunks, chain);
        unchain(slots, ix);
        self.used.remove(slots.records, ix);
        self.pool.free(slots.records, ix);
    }

    /// Hashes the source of a put: an IPv4 /24, an IPv6 /48, a host of a private network, or an endpoint.
    pub(super) fn source(&self, key: Key, from: Endpoint) -> u32 {
        let hash = match from.as_v4() {
            _ if self.by_endpoint => key.hash_endpoint(from),
            _ if from.is_private() => key.hash_endpoint(from.with_port(0)),
            Some(ip) => key.hash((u32::from_be_bytes(ip) >> 8).into(), 0, 0),
            None => key.hash(from.wide_subnet(), 0, 1),
        };
        hash as u32
    }

    fn add(&mut self, slots: &mut ItemSlots<'_>, target: NodeId, from: Endpoint) -> Option<Ix> {
        let origin = self.source(slots.key, from);
        let records = &mut *slots.records;
        let ix = self.pool.alloc(records)?;
        let chain = chain_of(slots.key, records, &target);
        let next_in_chain = core::mem::replace(&mut records[chain].value.first_in_chain, ix);
        let first_in_chain = records[ix].first_in_chain;
        records[ix] = Stored { target, origin, next_in_chain, first_in_chain, ..Stored::EMPTY };
        self.used.push_back(records, ix);
        Some(ix)
    }
}

/// Removes a record from its hash chain.
fn unchain(slots: &mut ItemSlots<'_>, ix: Ix) {
    let records = &mut *slots.records;
    let head = chain_of(slots.key, records, &records[ix].target);
    let rest = records[ix].next_in_chain;
    if records[head].value.first_in_chain == ix {
        records[head].value.first_in_chain = rest;
        return;
    }
    let mut next = records[head].value.first_in_chain;
    while let Some(before) = next.some() {
        next = records[before].next_in_chain;
        if next == ix {
            records[before].next_in_chain = rest;
            return;
        }
    }
}

fn chain_of(key: Key, records: &[Slot<Stored>], target: &NodeId) -> usize {
    reduce(key.hash_id(target.as_bytes()) as u32, records.len())
}

/// Returns the number of bytes that an item takes in chunks.
pub(super) const fn chain_len(item: &PutItem<'_>) -> usize {
    match item {
        PutItem::Immutable { value, .. } => value.len(),
        PutItem::Mutable { value, salt, .. } => SIGNED_LEN + salt.len() + value.len(),
    }
}

/// Reads the item of a record.
pub(crate) fn read(chunks: &[Chunk], stored: &Stored) -> Item {
    let mut value = Vec::new();
    // Never too long: the decoder checks the length of values.
    let _ = value.resize_default(stored.value_len.into());
    chunks::read(chunks, stored.chain, stored.offset(), &mut value);
    let signed = stored.is_mutable.then(|| {
        let (mut key, mut signature, mut salt) = ([0; KEY_LEN], [0; SIGNATURE_LEN], [0; MAX_SALT_LEN]);
        let salt = &mut salt[..stored.salt_len.into()];
        chunks::read(chunks, stored.chain, 0, &mut key);
        chunks::read(chunks, stored.chain, KEY_LEN, &mut signature);
        chunks::read(chunks, stored.chain, SIGNED_LEN, salt);
        let (key, salt) = (PublicKey::from_bytes(key), Salt::new(salt).unwrap_or_default());
        Signed { key, salt, seq: stored.seq, signature }
    });
    Item::restored(stored.target, value, signed)
}
