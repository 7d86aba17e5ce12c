//! Items of our own lookups: what they have found, or what they publish.
//!
//! A slot belongs to a lookup as long as that is remembered, or to a publication. Slots are not freed explicitly:
//! those without a live owner are swept when a slot is needed. The chunks for the longest value are allocated when
//! a lookup begins, so that a found value always fits.

use heapless::Vec;

use super::chunks::{self, Chunk, Chunks};
use super::item::{Item, Signed};
use super::keys::{PublicKey, SIGNATURE_LEN, immutable_target};
use super::salt::Salt;
use crate::base::id::NodeId;
use crate::base::pool::Ix;
use crate::wire::{MAX_VALUE_LEN, Response};

/// Divisor of the slots and of the chunks that yields how many are reserved for lookups.
///
/// With few slots or chunks, none are reserved.
const LOOKUP_SHARE: usize = 4;

/// An item that is looked up or published; zeroed memory is a free slot.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub(crate) struct OwnItem {
    pub(crate) owner: Owner,
    target: NodeId,
    is_mutable: bool,
    key: [u8; 32],
    salt: Salt,
    seq: i64,
    #[cfg_attr(feature = "checkpoint", serde(with = "serde_big_array::BigArray"))]
    signature: [u8; SIGNATURE_LEN],
    /// The value was found, or is to be published.
    has_value: bool,
    pub(crate) is_published: bool,
    value_len: u16,
    chain: Ix,
    /// The sequence number that a put may replace.
    pub(crate) cas: Option<i64>,
    /// The highest sequence number that a node returned, if any.
    pub(crate) newest: Option<i64>,
    /// A node returned another value under the stored sequence number.
    pub(crate) in_conflict: bool,
}

/// The owner of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub(crate) enum Owner {
    Nobody,
    /// A lookup or publication that is being started.
    Starting,
    /// The lookup with this generation and these traversals.
    Lookup([Ix; 2], u32),
    /// A publication.
    Publication,
}

/// A conflicting version with a valid signature, found by the lookup before putting a mutable item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PutObstacle {
    /// A version with a higher sequence number.
    Superseded {
        /// The highest sequence number found.
        newest: i64,
    },
    /// Another value under the same sequence number: of two such values each node keeps the first it received.
    Conflict {
        /// The sequence number.
        seq: i64,
    },
    /// The sequence number of the newest version is not the one to be replaced (`cas`).
    CasMismatch {
        /// The sequence number of the newest version.
        found: i64,
    },
}

/// The item in a response, compared with what was known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Examined {
    /// There is none.
    Nothing,
    /// An item of another target, or with an invalid signature.
    Bad,
    /// A valid item with a lower sequence number than another, or with the stored sequence number and another
    /// value.
    Other(i64),
    /// The item with the highest sequence number so far.
    Newest(Option<i64>),
}

impl OwnItem {
    pub(crate) const EMPTY: Self = Self {
        owner: Owner::Nobody,
        target: NodeId::ZERO,
        is_mutable: false,
        key: [0; 32],
        salt: Salt::NONE,
        seq: 0,
        signature: [0; SIGNATURE_LEN],
        has_value: false,
        is_published: false,
        value_len: 0,
        chain: Ix::NONE,
        cas: None,
        newest: None,
        in_conflict: false,
    };

    pub(crate) const fn is_mutable(&self) -> bool {
        self.is_mutable
    }

    /// Whether the published item is the newest version that any node returned.
    pub(crate) fn is_newest(&self) -> bool {
        self.newest == self.seq()
    }

    /// Whether the published item is the newest version that any node returned, and the only one with its number.
    pub(crate) fn is_uncontested(&self) -> bool {
        self.is_newest() && !self.in_conflict
    }

    /// Returns the obstacle to publishing the item, judging by what nodes returned.
    ///
    /// `cas` is checked first, as storing nodes do (B44-14).
    pub(crate) fn obstacle(&self) -> Option<PutObstacle> {
        let (newest, seq) = (self.newest?, self.seq()?);
        match self.cas {
            Some(cas) if cas != newest => Some(PutObstacle::CasMismatch { found: newest }),
            _ if newest > seq => Some(PutObstacle::Superseded { newest }),
            _ if newest == seq && self.in_conflict => Some(PutObstacle::Conflict { seq }),
            _ => None,
        }
    }

    /// Takes over what an earlier lookup of the same target found, or stored at some node (`is_stored`).
    pub(crate) fn inherit(&mut self, old: &Self, is_stored: bool, chunks: &[Chunk]) {
        if !self.is_mutable || old.target != self.target {
            return;
        }
        // A slot without an owner no longer has its value.
        let has_version = old.owner != Owner::Nobody && (!old.is_published || is_stored || old.is_newest());
        let version = old.seq().filter(|_| has_version);
        if version.is_some() && version == self.seq() {
            let is_same =
                old.read(chunks).zip(self.read(chunks)).is_some_and(|(a, b)| a.value() == b.value());
            self.in_conflict |= old.in_conflict || !is_same;
        }
        self.newest = self.newest.max(old.newest).max(version);
    }

    /// Returns the sequence number of the stored item.
    pub(crate) const fn seq(&self) -> Option<i64> {
        if self.is_mutable && self.has_value { Some(self.seq) } else { None }
    }
}

/// The memory that an item lacks: slots or chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shortage {
    /// Chunks are lacking; otherwise slots.
    pub(crate) is_of_chunks: bool,
    /// Number that exists.
    pub(crate) total: usize,
    /// Number that the item needs.
    pub(crate) needed: usize,
    /// Number that exists, without those that publications use.
    pub(crate) usable: usize,
}

/// The memory of all own items.
#[derive(Debug)]
pub(crate) struct OwnSlots<'a> {
    pub(crate) items: &'a mut [OwnItem],
    pub(crate) chunks: &'a mut [Chunk],
}

/// The allocator of all own items.
#[derive(Clone, Copy, Debug, Default)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub(crate) struct OwnItems {
    chunks: Chunks,
}

impl OwnItems {
    /// Allocates a slot for the lookup of an item, which is mutable if there is a key.
    pub(crate) fn alloc_for_lookup(
        &mut self,
        slots: &mut OwnSlots<'_>,
        target: NodeId,
        signed: Option<(PublicKey, Salt)>,
        is_live: &dyn Fn(Owner) -> bool,
    ) -> Option<Ix> {
        let ix = self.alloc(slots, MAX_VALUE_LEN, is_live)?;
        let own = &mut slots.items[ix.position()];
        (own.target, own.is_mutable) = (target, signed.is_some());
        if let Some((key, salt)) = signed {
            (own.key, own.salt) = (*key.as_bytes(), salt);
        }
        Some(ix)
    }

    /// Allocates a slot for an item to publish.
    pub(crate) fn alloc_for_publication(
        &mut self,
        slots: &mut OwnSlots<'_>,
        item: &Item,
        is_live: &dyn Fn(Owner) -> bool,
    ) -> Option<Ix> {
        let ix = self.alloc(slots, item.value().len(), is_live)?;
        let own = &mut slots.items[ix.position()];
        (own.target, own.is_mutable, own.is_published) = (item.target(), item.is_mutable(), true);
        if let Some(signed) = item.signed_parts() {
            (own.key, own.salt) = (*signed.key.as_bytes(), signed.salt);
            (own.seq, own.signature) = (signed.seq, signed.signature);
        }
        own.fill(slots.chunks, item.value());
        Some(ix)
    }

    /// Returns what is lacking for an item to become a publication, in place of `old` if it replaces one.
    pub(crate) fn published_shortage(slots: &OwnSlots<'_>, item: &Item, old: Option<Ix>) -> Option<Shortage> {
        let Usage { slots: count, chunks } = published(slots, old);
        let needed = Chunks::needed(item.value().len());
        let most = |all: usize| all - all / LOOKUP_SHARE;
        let (slots, all_chunks) = (most(slots.items.len()), most(slots.chunks.len()));
        let shortage = |is_of_chunks, total, needed| Shortage { is_of_chunks, total, needed, usable: total };
        if count + 1 > slots {
            Some(shortage(false, slots, 1))
        } else {
            (chunks + needed > all_chunks).then(|| shortage(true, all_chunks, needed))
        }
    }

    /// Returns what was lacking when an item with a value of `len` bytes got no slot.
    pub(crate) fn shortage(slots: &OwnSlots<'_>, len: usize) -> Shortage {
        let Usage { slots: count, chunks } = published(slots, None);
        if slots.items.iter().all(|own| own.owner != Owner::Nobody) {
            let total = slots.items.len();
            return Shortage { is_of_chunks: false, total, needed: 1, usable: total - count };
        }
        let total = slots.chunks.len();
        let needed = Chunks::needed(len);
        Shortage { is_of_chunks: true, total, needed, usable: total.saturating_sub(chunks) }
    }

    /// Frees a slot.
    pub(crate) fn release(&mut self, slots: &mut OwnSlots<'_>, ix: Ix) {
        let own = &mut slots.items[ix.position()];
        let chain = core::mem::take(&mut own.chain);
        own.owner = Owner::Nobody;
        self.chunks.free(slots.chunks, chain);
    }

    /// Frees the memory that a found value does not use.
    pub(crate) fn trim(&mut self, slots: &mut OwnSlots<'_>, ix: Ix) {
        let own = &slots.items[ix.position()];
        self.chunks.truncate(slots.chunks, own.chain, own.value_len.into());
    }

    /// Validates the item in a response; stores it if it is the newest so far and being looked up.
    pub(crate) fn examine(slots: &mut OwnSlots<'_>, ix: Ix, response: &Response<'_>) -> Examined {
        let Some(value) = response.value else { return Examined::Nothing };
        if value.len() > MAX_VALUE_LEN {
            return Examined::Bad;
        }
        let own = &slots.items[ix.position()];
        if !own.is_mutable {
            if immutable_target(value) != own.target {
                return Examined::Bad;
            }
            if !own.has_value {
                slots.items[ix.position()].fill(slots.chunks, value);
            }
            return Examined::Newest(None);
        }
        // The expected key and salt are not taken from the response.
        let (Some(key), Some(seq), Some(signature)) = (response.key, response.seq, response.signature) else {
            return Examined::Bad;
        };
        let has_this_seq = own.has_value && own.seq == seq;
        let is_same = has_this_seq && own.read(slots.chunks).is_some_and(|item| item.value() == value);
        let is_known = is_same && own.signature == *signature;
        let is_valid = *key == own.key
            && seq >= 0
            && (is_known || PublicKey::from_bytes(*key).verify(own.salt.as_bytes(), seq, value, signature));
        if !is_valid {
            return Examined::Bad;
        }
        let is_conflict = has_this_seq && !is_same;
        let own = &mut slots.items[ix.position()];
        let before = own.newest;
        own.newest = before.max(Some(seq));
        own.in_conflict |= is_conflict;
        // If two values have the same sequence number, the first one is kept, as by storing nodes.
        if Some(seq) > before && !own.is_published {
            (own.seq, own.signature, own.in_conflict) = (seq, *signature, false);
            own.fill(slots.chunks, value);
        }
        if Some(seq) < before || is_conflict { Examined::Other(seq) } else { Examined::Newest(Some(seq)) }
    }

    /// Whether every chunk is free or in exactly one chain.
    #[cfg(any(feature = "checkpoint", feature = "sim"))]
    pub(crate) fn is_consistent(&self, items: &[OwnItem], chunks: &[Chunk]) -> bool {
        let held = || items.iter().filter(|own| own.owner != Owner::Nobody);
        let count = |own: &OwnItem| chunks::chain_len(chunks, own.chain);
        let is_long_enough = |own: &OwnItem| count(own) >= Some(Chunks::needed(own.value_len.max(1).into()));
        held().all(is_long_enough)
            && self.chunks.is_consistent(chunks, held().filter_map(|own| Some((own.chain, count(own)?))))
    }

    /// Allocates a slot with chunks for this many bytes.
    fn alloc(&mut self, slots: &mut OwnSlots<'_>, len: usize, is_live: &dyn Fn(Owner) -> bool) -> Option<Ix> {
        for ix in (0..slots.items.len()).map(Ix::new) {
            let owner = slots.items[ix.position()].owner;
            if owner != Owner::Nobody && !is_live(owner) {
                self.release(slots, ix);
            }
        }
        let ix = slots.items.iter().position(|own| own.owner == Owner::Nobody).map(Ix::new)?;
        let chain = self.chunks.alloc(slots.chunks, len)?;
        slots.items[ix.position()] = OwnItem { owner: Owner::Starting, chain, ..OwnItem::EMPTY };
        Some(ix)
    }
}

impl OwnItem {
    /// Returns the stored item.
    pub(crate) fn read(&self, chunks: &[Chunk]) -> Option<Item> {
        if !self.has_value {
            return None;
        }
        let mut value = Vec::new();
        value.resize_default(self.value_len.into()).ok()?;
        chunks::read(chunks, self.chain, 0, &mut value);
        let signed = self.is_mutable.then_some(Signed {
            key: PublicKey::from_bytes(self.key),
            salt: self.salt,
            seq: self.seq,
            signature: self.signature,
        });
        Some(Item::restored(self.target, value, signed))
    }

    fn fill(&mut self, chunks: &mut [Chunk], value: &[u8]) {
        chunks::write(chunks, self.chain, &[value]);
        (self.has_value, self.value_len) = (true, value.len() as u16);
    }
}

/// Numbers of slots and chunks in use.
#[derive(Default)]
struct Usage {
    slots: usize,
    chunks: usize,
}

/// Returns what all publications use, except for one of them.
fn published(slots: &OwnSlots<'_>, except: Option<Ix>) -> Usage {
    let items = slots.items.iter().enumerate();
    let items = items.filter(|(at, own)| own.owner == Owner::Publication && Some(Ix::new(*at)) != except);
    items.fold(Usage::default(), |usage, (_, own)| Usage {
        slots: usage.slots + 1,
        chunks: usage.chunks + Chunks::needed(own.value_len.into()),
    })
}
