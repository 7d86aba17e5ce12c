//! Where the memory of a node lies: on the heap, in a static, or borrowed.
//!
//! [`Storage`] only lends slices of private slots; all logic is written once, over slices.

#[cfg(feature = "alloc")]
use alloc::boxed::Box;

#[cfg(feature = "alloc")]
use crate::config::Limits;
#[cfg(feature = "alloc")]
use crate::table::bucket_count;
use sealed::{Memory, Sealed, View};

#[cfg(feature = "checkpoint")]
use postcard::ser_flavors::Flavor;

/// Where a checkpoint is read from.
#[cfg(feature = "checkpoint")]
pub(crate) type Input<'a> = postcard::Deserializer<'a, postcard::de_flavors::Slice<'a>>;

/// Where a checkpoint is written to.
#[cfg(feature = "checkpoint")]
pub(crate) type Output<F> = postcard::Serializer<F>;

/// Memory for a [`Node`](crate::Node): [`Heap`], [`Fixed`], or a mutable borrow of either.
///
/// The trait is sealed; its methods are the crate's own affair.
pub trait Storage: Sealed {}

impl<S: Sealed> Storage for S {}

impl<S: Sealed> Sealed for &mut S {
    fn memory(&mut self) -> Memory<'_> {
        (**self).memory()
    }

    fn view(&self) -> View<'_> {
        (**self).view()
    }
}

/// Everything that is sized by the user: a line for each slice. `heap` is its length under some
/// [`Limits`], `fixed` the same as an array of arrays, because products of const parameters are
/// no array lengths.
macro_rules! memory {
    (sizes { $($size:ident = $default:literal,)* } $($(#[$cfg:meta])* $name:ident: $slot:ty = $empty:expr, heap($limits:ident) $len:expr, fixed $outer:ident * $inner:tt;)*) => {
        pub(crate) mod sealed {
            #![allow(unnameable_types, missing_docs)]

            use super::slots::*;
            #[cfg(feature = "checkpoint")]
            use super::{Flavor, Input, Output, Sizes};

            /// All slices, to change.
            pub struct Memory<'a> {
                $($(#[$cfg])* pub(crate) $name: &'a mut [$slot],)*
            }

            impl Memory<'_> {
                /// Forgets what an earlier node left.
                pub(crate) fn clear(&mut self) {
                    $($(#[$cfg])* self.$name.fill($empty);)*
                }
            }

            /// What a checkpoint holds of the memory: every slot of every slice, one behind the other.
            #[cfg(feature = "checkpoint")]
            impl Memory<'_> {
                pub(crate) fn read_slots(&mut self, input: &mut Input<'_>) -> postcard::Result<()> {
                    $($(#[$cfg])* for slot in &mut *self.$name {
                        *slot = serde::Deserialize::deserialize(&mut *input)?;
                    })*
                    Ok(())
                }
            }

            #[cfg(feature = "checkpoint")]
            impl View<'_> {
                pub(crate) fn write_slots<F: Flavor>(self, output: &mut Output<F>) -> postcard::Result<()> {
                    $($(#[$cfg])* for slot in self.$name {
                        serde::Serialize::serialize(slot, &mut *output)?;
                    })*
                    Ok(())
                }

                pub(crate) const fn sizes(self) -> Sizes {
                    Sizes { $($(#[$cfg])* $name: self.$name.len(),)* }
                }
            }

            /// All slices, to read.
            #[allow(dead_code, reason = "not every part can be looked at yet")]
            #[derive(Clone, Copy)]
            pub struct View<'a> {
                $($(#[$cfg])* pub(crate) $name: &'a [$slot],)*
            }

            pub trait Sealed {
                fn memory(&mut self) -> Memory<'_>;
                fn view(&self) -> View<'_>;
            }
        }

        /// The lengths of all slices.
        #[cfg(any(feature = "alloc", feature = "checkpoint"))]
        #[cfg_attr(feature = "checkpoint", derive(PartialEq, serde::Serialize, serde::Deserialize))]
        pub(crate) struct Sizes {
            $($(#[$cfg])* $name: usize,)*
        }

        #[cfg(feature = "alloc")]
        impl Sizes {
            fn of(limits: &Limits) -> Self {
                Self {
                    $($(#[$cfg])* $name: {
                        let $limits = limits;
                        $len
                    },)*
                }
            }

            /// How many slots there are in all.
            #[cfg(feature = "checkpoint")]
            pub(crate) fn total(&self) -> usize {
                [$($(#[$cfg])* self.$name),*].into_iter().fold(0, usize::saturating_add)
            }
        }

        /// A number that changes with the slices, their order and their slots.
        #[cfg(feature = "checkpoint")]
        pub(crate) const LAYOUT: u64 = {
            let mut hash = 0;
            $($(#[$cfg])* { hash = mix(hash, stringify!($name: $slot), size_of::<$slot>()); })*
            hash
        };

        /// Memory of run-time size, allocated once at birth and never again.
        #[cfg(feature = "alloc")]
        pub struct Heap {
            $($(#[$cfg])* $name: Box<[$slot]>,)*
        }

        #[cfg(feature = "alloc")]
        impl Heap {
            /// Reserves all the memory that `limits` allow.
            pub fn new(limits: &Limits) -> Self {
                Self::of(&Sizes::of(limits))
            }

            pub(crate) fn of(sizes: &Sizes) -> Self {
                Self {
                    $($(#[$cfg])* $name: core::iter::repeat_n($empty, sizes.$name).collect(),)*
                }
            }
        }

        #[cfg(feature = "alloc")]
        impl Sealed for Heap {
            fn memory(&mut self) -> Memory<'_> {
                Memory { $($(#[$cfg])* $name: &mut self.$name,)* }
            }

            fn view(&self) -> View<'_> {
                View { $($(#[$cfg])* $name: &self.$name,)* }
            }
        }

        /// Memory of compile-time size, for hosts without an allocator.
        ///
        /// [`new`](Self::new) is `const` and all zero, so a `static` of it lies in `.bss` and takes
        /// no room in flash. Every parameter is the field of the same name in
        /// [`Limits`](crate::Limits), but `BUCKETS_V4` and `BUCKETS_V6` count eight nodes each, and
        /// `PEERS_V4` and `PEERS_V6` chunks of four peers. Without the feature `items` the last four
        /// are of no effect. The defaults make a client of one family
        /// that stores nothing for others and looks up no items.
        ///
        /// ```
        /// use dht_proto::{Config, Fixed, Instant, Node};
        ///
        /// let mut config = Config::default();
        /// (config.ipv6, config.read_only) = (false, true);
        /// let mut memory = <Fixed>::new();
        /// let node = Node::with_storage(config, &mut memory, [7; 32], Instant::ZERO);
        /// # drop(node);
        /// ```
        pub struct Fixed<$(const $size: usize = $default,)*> {
            $($(#[$cfg])* $name: [[$slot; $inner]; $outer],)*
        }

        impl<$(const $size: usize,)*> Fixed<$($size,)*> {
            /// Memory that is all zero.
            #[allow(clippy::new_without_default, reason = "a default would be built on the stack")]
            pub const fn new() -> Self {
                Self { $($(#[$cfg])* $name: [[const { $empty }; $inner]; $outer],)* }
            }
        }

        impl<$(const $size: usize,)*> Sealed for Fixed<$($size,)*> {
            fn memory(&mut self) -> Memory<'_> {
                Memory { $($(#[$cfg])* $name: self.$name.as_flattened_mut(),)* }
            }

            fn view(&self) -> View<'_> {
                View { $($(#[$cfg])* $name: self.$name.as_flattened(),)* }
            }
        }
    };
}

/// The types that lie in slots.
mod slots {
    pub(super) use crate::addr::Endpoint;
    pub(super) use crate::contacts::Record;
    pub(super) use crate::event::Notice;
    pub(super) use crate::external::Voter;
    pub(super) use crate::id::InfoHash;
    pub(super) use crate::inflight::Query;
    #[cfg(feature = "items")]
    pub(super) use crate::items;
    pub(super) use crate::kept::Kept;
    pub(super) use crate::limit::{Site, Source};
    pub(super) use crate::lookup::{Candidate, Token, Walk};
    pub(super) use crate::node::Reply;
    pub(super) use crate::peers::{Chunk, Swarm};
    pub(super) use crate::pool::Slot;
    pub(super) use crate::sampling::Sampling;
    pub(super) use crate::scrape::Scrape;
    pub(super) use crate::table::{Bucket, Entry};
}
use slots::*;

memory! {
    sizes {
        BUCKETS_V4 = 8,
        BUCKETS_V6 = 0,
        REPLACEMENTS = 16,
        INFLIGHT = 24,
        LOOKUPS = 1,
        CANDIDATES = 32,
        TOKENS = 16,
        FOUND = 24,
        SWARMS = 0,
        PEERS_V4 = 0,
        PEERS_V6 = 0,
        SOURCES = 0,
        CONTACTS = 32,
        REPLIES = 1,
        EVENTS = 4,
        BOOTSTRAPS = 4,
        KEPT = 8,
        ITEMS = 0,
        ITEM_CHUNKS = 0,
        OWN_ITEMS = 0,
        OWN_CHUNKS = 0,
        SAMPLES = 0,
        SCRAPES = 0,
        SAMPLINGS = 0,
        VOTERS = 32,
    }
    buckets_v4: Bucket = Bucket::EMPTY, heap(limits) bucket_count(limits.nodes_v4), fixed BUCKETS_V4 * 1;
    buckets_v6: Bucket = Bucket::EMPTY, heap(limits) bucket_count(limits.nodes_v6), fixed BUCKETS_V6 * 1;
    nodes_v4: Entry = Entry::EMPTY, heap(limits) limits.nodes_v4, fixed BUCKETS_V4 * 8;
    nodes_v6: Entry = Entry::EMPTY, heap(limits) limits.nodes_v6, fixed BUCKETS_V6 * 8;
    spares_v4: Entry = Entry::EMPTY, heap(limits) limits.replacements.min(limits.nodes_v4), fixed REPLACEMENTS * 1;
    spares_v6: Entry = Entry::EMPTY, heap(limits) limits.replacements.min(limits.nodes_v6), fixed BUCKETS_V6 * 8;
    queries: Slot<Query> = Slot::new(Query::EMPTY), heap(limits) limits.inflight, fixed INFLIGHT * 1;
    walks: Slot<Walk> = Slot::new(Walk::EMPTY), heap(limits) limits.lookups, fixed LOOKUPS * 1;
    candidates: Candidate = Candidate::EMPTY, heap(limits) limits.lookups * limits.candidates, fixed LOOKUPS * CANDIDATES;
    tokens: Token = Token::EMPTY, heap(limits) limits.lookups * limits.tokens, fixed LOOKUPS * TOKENS;
    found: Endpoint = Endpoint::ZERO, heap(limits) limits.lookups * limits.found, fixed LOOKUPS * FOUND;
    swarms: Slot<Swarm> = Slot::new(Swarm::EMPTY), heap(limits) limits.swarms, fixed SWARMS * 1;
    peers_v4: Slot<Chunk<6>> = Slot::new(Chunk::EMPTY), heap(limits) limits.peers_v4.div_ceil(4), fixed PEERS_V4 * 1;
    peers_v6: Slot<Chunk<18>> = Slot::new(Chunk::EMPTY), heap(limits) limits.peers_v6.div_ceil(4), fixed PEERS_V6 * 1;
    counters: u16 = 0, heap(limits) (limits.peers_v4 + limits.peers_v6) / 2, fixed PEERS_V4 * 2;
    sources: Source = Source::EMPTY, heap(limits) limits.sources, fixed SOURCES * 1;
    sites: Site = Site::EMPTY, heap(limits) limits.sources / 2, fixed SOURCES * 1;
    contacts: Record = Record::EMPTY, heap(limits) limits.contacts, fixed CONTACTS * 1;
    replies: Reply = Reply::EMPTY, heap(limits) limits.replies, fixed REPLIES * 1;
    notices: Notice = Notice::EMPTY, heap(limits) limits.events, fixed EVENTS * 1;
    bootstraps: Endpoint = Endpoint::ZERO, heap(limits) limits.bootstraps, fixed BOOTSTRAPS * 1;
    kept: Slot<Kept> = Slot::new(Kept::EMPTY), heap(limits) limits.kept, fixed KEPT * 1;
    #[cfg(feature = "items")]
    items: Slot<items::Stored> = Slot::new(items::Stored::EMPTY), heap(limits) limits.items, fixed ITEMS * 1;
    #[cfg(feature = "items")]
    item_chunks: items::Chunk = items::Chunk::EMPTY, heap(limits) limits.item_chunks, fixed ITEM_CHUNKS * 1;
    #[cfg(feature = "items")]
    own_items: items::OwnItem = items::OwnItem::EMPTY, heap(limits) limits.own_items, fixed OWN_ITEMS * 1;
    #[cfg(feature = "items")]
    own_chunks: items::Chunk = items::Chunk::EMPTY, heap(limits) limits.own_chunks, fixed OWN_CHUNKS * 1;
    samples: InfoHash = InfoHash::ZERO, heap(limits) limits.samples, fixed SAMPLES * 1;
    scrapes: Scrape = Scrape::EMPTY, heap(limits) limits.scrapes, fixed SCRAPES * 1;
    samplings: Sampling = Sampling::EMPTY, heap(limits) limits.samplings, fixed SAMPLINGS * 1;
    voters: Voter = Voter::EMPTY, heap(limits) limits.voters, fixed VOTERS * 1;
}

/// FNV-1a, over a name and a number.
#[cfg(feature = "checkpoint")]
pub(crate) const fn mix(hash: u64, name: &str, number: usize) -> u64 {
    const PRIME: u64 = 0x0100_0000_01b3;
    let (mut hash, mut at) = (hash, 0);
    while at < name.len() {
        hash = (hash ^ name.as_bytes()[at] as u64).wrapping_mul(PRIME);
        at += 1;
    }
    (hash ^ number as u64).wrapping_mul(PRIME)
}
