//! The items that others put to us, by target (BEP 44).
//!
//! Records lie in slots, what has a length of its own in [chunks](super::chunks). All live equally
//! long, so the list of records in the order of their last put is also that of their ends.

use core::time::Duration;

use heapless::Vec;

use super::chunks::{self, Chunk, Chunks};
use super::eviction::Victims;
use super::item::{Item, Salt, Signed};
use super::keys::{KEY_LEN, PublicKey, SIGNATURE_LEN};
use crate::base::addr::Endpoint;
use crate::base::hash::{Key, reduce};
use crate::base::id::NodeId;
use crate::base::pool::{Ix, List, Pool, Slot};
use crate::base::time::Instant;
use crate::wire::{MAX_SALT_LEN, PutItem};

/// What stands before the value of a mutable item, apart from its salt.
const SIGNED_LEN: usize = KEY_LEN + SIGNATURE_LEN;

/// Records that one call removes, so that it takes less than a tenth of a millisecond.
const EXPIRY_STEP: usize = 64;

/// The time between two such calls while more has expired.
const EXPIRY_PAUSE: Duration = Duration::from_millis(1);

/// A stored item. Zeroed memory is a free record.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub(crate) struct Stored {
    pub(super) target: NodeId,
    is_mutable: bool,
    salt_len: u8,
    value_len: u16,
    seq: i64,
    /// Key, signature and salt, where it is mutable, and the value.
    chain: Ix,
    /// When it expires, unless it is put again.
    pub(super) ends: Instant,
    /// Who put it first: a hash of the network.
    pub(super) origin: u32,
    /// Which networks put it: a bit for each, at a place that follows from a hash.
    pub(super) networks: u64,
    /// The next record in the hash chain that this one is in, and the first of the chain that has
    /// this slot's number.
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
        networks: 0,
        next_in_chain: Ix::NONE,
        first_in_chain: Ix::NONE,
    };

    /// The sequence number; `None` for an immutable one.
    pub(crate) const fn seq(&self) -> Option<i64> {
        if self.is_mutable { Some(self.seq) } else { None }
    }

    pub(super) const fn is_taken(&self) -> bool {
        !self.chain.is_none()
    }

    pub(super) fn chunks(&self) -> usize {
        Chunks::needed(self.offset() + usize::from(self.value_len))
    }

    /// Where its value begins in its chain.
    fn offset(&self) -> usize {
        if self.is_mutable { SIGNED_LEN + usize::from(self.salt_len) } else { 0 }
    }
}

/// The memory of a store. Zeroed memory is an empty store.
#[derive(Debug)]
pub(crate) struct ItemSlots<'a> {
    pub(crate) records: &'a mut [Slot<Stored>],
    pub(crate) chunks: &'a mut [Chunk],
    /// Decides where targets and sources land.
    pub(crate) key: Key,
}

/// The same, to read.
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

/// What an item that is put meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meeting {
    /// Nothing is stored there.
    Nothing,
    /// The same item, byte for byte: its signature needs no second check.
    Same(Ix),
    /// An equal value under the same number, with another signature.
    SignedAgain(Ix),
    /// A mutable one, with this sequence number, under the same key and salt.
    Other(Ix, i64),
    /// An immutable one where the new one is mutable, or the other way round.
    OtherKind,
}

/// The store.
#[derive(Debug)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub(crate) struct ItemStore {
    /// Tell sources apart by full endpoint, where many nodes share one host.
    by_endpoint: bool,
    pool: Pool,
    pub(super) chunks: Chunks,
    /// The records in use; the put longest ago first.
    used: List,
}

impl ItemStore {
    pub(crate) fn new(by_endpoint: bool) -> Self {
        Self { by_endpoint, pool: Pool::default(), chunks: Chunks::default(), used: List::EMPTY }
    }

    /// The item at a target, if it has not expired.
    pub(crate) fn find(view: ItemView<'_>, target: &NodeId, now: Instant) -> Option<Ix> {
        let ItemView { records, key, .. } = view;
        let head = records.get(chain_of(key, records, target))?.value.first_in_chain;
        core::iter::successors(head.some(), |&ix| records[ix].next_in_chain.some())
            .find(|&ix| records[ix].target == *target)
            .filter(|&ix| now < records[ix].ends)
    }

    /// What is stored at the target of an item.
    pub(crate) fn meet(view: ItemView<'_>, target: &NodeId, item: &PutItem<'_>, now: Instant) -> Meeting {
        let Some(ix) = Self::find(view, target, now) else { return Meeting::Nothing };
        let stored = &view.records[ix];
        match *item {
            PutItem::Immutable { .. } if !stored.is_mutable => Meeting::Same(ix),
            PutItem::Mutable { value, seq, signature, .. } if stored.is_mutable => {
                let old = (stored.seq == seq).then(|| read(view.chunks, stored));
                match old.filter(|old| old.value() == value) {
                    Some(old) if old.signature() == Some(signature) => Meeting::Same(ix),
                    Some(_) => Meeting::SignedAgain(ix),
                    None => Meeting::Other(ix, stored.seq),
                }
            }
            _ => Meeting::OtherKind,
        }
    }

    /// Stores an item, in the place of the record `old` if there is one and of those that give way,
    /// as [`find_room`](Self::find_room) found them just now. Returns whether there was room.
    pub(crate) fn store(
        &mut self,
        slots: &mut ItemSlots<'_>,
        target: NodeId,
        item: &PutItem<'_>,
        (old, victims): (Option<Ix>, &Victims),
        from: Endpoint,
        ends: Instant,
    ) -> bool {
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
        let Some(ix) = old.or_else(|| self.add(slots, target, from)) else {
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

    /// The item was put again: it lives on.
    pub(crate) fn refresh(&mut self, slots: &mut ItemSlots<'_>, ix: Ix, from: Endpoint, ends: Instant) {
        let network = self.network(slots.key, from);
        let records = &mut *slots.records;
        records[ix].networks |= 1 << (network >> 26);
        records[ix].ends = ends;
        self.used.remove(records, ix);
        self.used.push_back(records, ix);
    }

    /// Everything that is stored, the put longest ago first.
    pub(crate) fn iter<'a>(&self, view: ItemView<'a>, now: Instant) -> impl Iterator<Item = Item> + use<'a> {
        let used = self.used;
        core::iter::successors(used.front(), move |&ix| used.next(view.records, ix))
            .filter(move |&ix| now < view.records[ix].ends)
            .map(move |ix| read(view.chunks, &view.records[ix]))
    }

    /// Items in the store; what has expired counts until [`expire`](Self::expire).
    pub(crate) const fn len(&self) -> usize {
        self.used.len()
    }

    /// When `expire` has something to do: soon, if it has not removed all that has expired.
    pub(crate) fn next_expiry(&self, records: &[Slot<Stored>], now: Instant) -> Option<Instant> {
        self.used.front().map(|ix| records[ix].ends.max(now + EXPIRY_PAUSE))
    }

    /// Removes the next of what nobody put again in time. Nothing depends on it but memory: what has
    /// expired is never returned.
    pub(crate) fn expire(&mut self, slots: &mut ItemSlots<'_>, now: Instant) {
        for _ in 0..EXPIRY_STEP {
            let Some(ix) = self.used.front().filter(|&ix| slots.records[ix].ends <= now) else { return };
            self.remove(slots, ix);
        }
    }

    /// Forgets everything.
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

    /// A hash of who may have put something: an IPv4 /24, an IPv6 /48, a host of a private network, or one
    /// endpoint.
    pub(super) fn network(&self, key: Key, from: Endpoint) -> u32 {
        let hash = match from.as_v4() {
            _ if self.by_endpoint => key.hash_endpoint(from),
            _ if from.is_private() => key.hash_endpoint(from.with_port(0)),
            Some(ip) => key.hash((u32::from_be_bytes(ip) >> 8).into(), 0, 0),
            None => key.hash(from.wide_subnet(), 0, 1),
        };
        hash as u32
    }

    fn add(&mut self, slots: &mut ItemSlots<'_>, target: NodeId, from: Endpoint) -> Option<Ix> {
        let origin = self.network(slots.key, from);
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

/// Takes a record out of its hash chain.
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

/// Bytes that an item takes in chunks.
pub(super) const fn chain_len(item: &PutItem<'_>) -> usize {
    match item {
        PutItem::Immutable { value, .. } => value.len(),
        PutItem::Mutable { value, salt, .. } => SIGNED_LEN + salt.len() + value.len(),
    }
}

/// The item of a record.
pub(crate) fn read(chunks: &[Chunk], stored: &Stored) -> Item {
    let mut value = Vec::new();
    // No longer than a value may be: the wire format saw to it.
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
