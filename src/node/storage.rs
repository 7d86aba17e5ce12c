//! The memory of a node: on the heap, in a static, or borrowed.
//!
//! [`Storage`] only lends slices of private slots; all logic is written once, over slices.

#[cfg(feature = "alloc")]
use alloc::boxed::Box;

use crate::node::api::limits::Limits;
use crate::node::local::MAX_LOCALS;
use crate::store::peers::PeerSlots;
use crate::table::bucket_count;
use sealed::{Memory, Sealed, View};

#[cfg(feature = "checkpoint")]
use postcard::ser_flavors::Flavor;

/// The reader of a checkpoint.
#[cfg(feature = "checkpoint")]
pub(crate) type Input<'a> = postcard::Deserializer<'a, postcard::de_flavors::Slice<'a>>;

/// The writer of a checkpoint.
#[cfg(feature = "checkpoint")]
pub(crate) type Output<F> = postcard::Serializer<F>;

/// Memory for a [`Node`](crate::Node): `Heap`, [`Fixed`], or a mutable borrow of either.
///
/// The trait is sealed; its methods are private to the crate.
pub trait Storage: Sealed {}

impl<S: Sealed> Storage for S {}

impl<S: Sealed> Sealed for &mut S {
    const LENGTHS: Option<Lengths> = S::LENGTHS;

    fn memory(&mut self) -> Memory<'_> {
        (**self).memory()
    }

    fn view(&self) -> View<'_> {
        (**self).view()
    }
}

/// Declares all slices, a line for each: the type of its slots, an empty slot, and its length under [`Limits`].
///
/// The first argument is a dollar sign, for the macro that this one defines.
macro_rules! memory {
    (($d:tt) $($(#[$cfg:meta])* $name:ident: $slot:ty = $empty:expr, |$limits:ident| $len:expr;)*) => {
        pub(crate) mod sealed {
            #![allow(unnameable_types, missing_docs)]

            use super::Lengths;
            use super::slots::*;
            #[cfg(feature = "checkpoint")]
            use super::{Flavor, Input, Output};

            /// All slices, mutable.
            pub struct Memory<'a> {
                $($(#[$cfg])* pub(crate) $name: &'a mut [$slot],)*
            }

            impl Memory<'_> {
                /// Resets all slots, which an earlier node may have used.
                pub(crate) fn clear(&mut self) {
                    $($(#[$cfg])* self.$name.fill($empty);)*
                }
            }

            /// Serialization of the memory in a checkpoint: every slot of every slice, in order.
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

                pub(crate) const fn lengths(self) -> Lengths {
                    let mut lengths = Lengths::NONE;
                    $($(#[$cfg])* { lengths.$name = self.$name.len(); })*
                    lengths
                }
            }

            /// All slices, shared.
            #[allow(dead_code, reason = "not every slice has a getter")]
            #[derive(Clone, Copy)]
            pub struct View<'a> {
                $($(#[$cfg])* pub(crate) $name: &'a [$slot],)*
            }

            pub trait Sealed {
                /// The lengths of all slices, if they are known at compile time.
                const LENGTHS: Option<Lengths>;

                fn memory(&mut self) -> Memory<'_>;
                fn view(&self) -> View<'_>;
            }
        }

        /// The lengths of all slices. Public only for [`fixed!`](crate::fixed).
        #[doc(hidden)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
        #[allow(missing_docs)]
        pub struct Lengths {
            $(pub $name: usize,)*
        }

        impl Lengths {
            const NONE: Self = Self { $($name: 0,)* };

            #[allow(missing_docs)]
            pub const fn of(limits: &Limits) -> Self {
                let mut lengths = Self::NONE;
                $($(#[$cfg])* {
                    let $limits = limits;
                    lengths.$name = $len;
                })*
                lengths
            }

            /// Returns the number of slots in all slices.
            #[cfg(all(feature = "alloc", feature = "checkpoint"))]
            pub(crate) fn total(&self) -> usize {
                [$(self.$name),*].into_iter().fold(0, usize::saturating_add)
            }
        }

        /// A number that changes with the slices, their order and their slots.
        #[cfg(feature = "checkpoint")]
        pub(crate) const LAYOUT: u64 = {
            let mut hash = 0;
            $($(#[$cfg])* { hash = mix(hash, stringify!($name: $slot), size_of::<$slot>()); })*
            hash
        };

        /// Memory of run-time size, allocated once and never again.
        #[cfg(feature = "alloc")]
        pub struct Heap {
            $($(#[$cfg])* $name: Box<[$slot]>,)*
        }

        #[cfg(feature = "alloc")]
        impl Heap {
            /// Reserves all the memory that `limits` allow.
            pub fn new(limits: &Limits) -> Self {
                Self::of(&Lengths::of(limits))
            }

            pub(crate) fn of(lengths: &Lengths) -> Self {
                Self {
                    $($(#[$cfg])* $name: core::iter::repeat_n($empty, lengths.$name).collect(),)*
                }
            }
        }

        #[cfg(feature = "alloc")]
        impl Sealed for Heap {
            const LENGTHS: Option<Lengths> = None;

            fn memory(&mut self) -> Memory<'_> {
                Memory { $($(#[$cfg])* $name: &mut self.$name,)* }
            }

            fn view(&self) -> View<'_> {
                View { $($(#[$cfg])* $name: &self.$name,)* }
            }
        }

        /// Memory of compile-time size, for hosts without an allocator.
        ///
        /// [`new`](Self::new) is `const` and all zero, so a `static` of it is in `.bss` and takes no room in
        /// flash. The default parameters fit a client: [`Limits::CLIENT`](crate::Limits::CLIENT). For any
        /// other limits [`fixed!`](crate::fixed) names the type; the parameters, a length for each slice, are
        /// not meant to be written by hand.
        ///
        /// What memory of compile-time size has no room for, the linker leaves out of the program: without
        /// [`replies`](field@crate::Limits::replies), `swarms` and items all that answers queries and stores for
        /// others, without [`scrapes`](field@crate::Limits::scrapes) and [`samplings`](field@crate::Limits::samplings) what
        /// these take. Together they are a third of the code.
        ///
        /// ```
        /// use dht_proto::{Config, Fixed, Instant, Node};
        ///
        /// static CONFIG: Config = Config::DEFAULT.ipv6(false).read_only(true);
        ///
        /// let mut memory: Fixed = Fixed::new();
        /// let node = Node::with_storage(CONFIG.clone(), &mut memory, [7; 32], Instant::ZERO);
        /// # drop(node);
        /// ```
        #[allow(non_upper_case_globals, reason = "named after the slices")]
        pub struct Fixed<$(const $name: usize = { Lengths::of(&Limits::CLIENT).$name },)*> {
            $($(#[$cfg])* $name: [$slot; $name],)*
        }

        #[allow(non_upper_case_globals, reason = "named after the slices")]
        impl<$(const $name: usize,)*> Fixed<$({ $name },)*> {
            /// Creates memory that is all zero.
            #[allow(clippy::new_without_default, reason = "a default would be built on the stack")]
            pub const fn new() -> Self {
                Self { $($(#[$cfg])* $name: [const { $empty }; $name],)* }
            }
        }

        #[allow(non_upper_case_globals, reason = "named after the slices")]
        impl<$(const $name: usize,)*> Sealed for Fixed<$({ $name },)*> {
            const LENGTHS: Option<Lengths> = Some(Lengths { $($name,)* });

            // Out of line: every method of a node needs it, and on a chip code counts.
            #[inline(never)]
            fn memory(&mut self) -> Memory<'_> {
                Memory { $($(#[$cfg])* $name: &mut self.$name,)* }
            }

            #[inline(never)]
            fn view(&self) -> View<'_> {
                View { $($(#[$cfg])* $name: &self.$name,)* }
            }
        }

        /// The type of a [`Fixed`](crate::Fixed) memory under some [`Limits`](crate::Limits): a path to a
        /// constant, or any other constant expression.
        ///
        /// ```
        /// use dht_proto::{Config, Instant, Limits, Node, fixed};
        ///
        /// const LIMITS: Limits = Limits::CLIENT.replies(4).swarms(16).peers_v4(64).sources(16);
        ///
        /// let mut memory = <fixed!(LIMITS)>::new();
        /// let node = Node::with_storage(Config::default(), &mut memory, [7; 32], Instant::ZERO);
        /// # drop(node);
        /// ```
        #[macro_export]
        macro_rules! fixed {
            ($d limits:expr) => {
                $d crate::Fixed<$({ $d crate::Lengths::of(&$d limits).$name },)*>
            };
        }
    };
}

/// The types of the slots.
mod slots {
    pub(super) use crate::base::addr::Endpoint;
    pub(super) use crate::base::id::InfoHash;
    pub(super) use crate::base::pool::Slot;
    pub(super) use crate::guard::external::Voter;
    pub(super) use crate::guard::sources::{Share, Source, Subnet};
    pub(super) use crate::lookup::republisher::Publication;
    pub(super) use crate::lookup::sampling::Sampling;
    pub(super) use crate::lookup::scrape::Scrape;
    pub(super) use crate::lookup::{Candidate, Token, Traversal};
    pub(super) use crate::node::api::event::PackedEvent;
    pub(super) use crate::node::local::Local;
    pub(super) use crate::node::server::pending::Reply;
    pub(super) use crate::rpc::inflight::Query;
    pub(super) use crate::rpc::reputation::Reputation;
    #[cfg(feature = "items")]
    pub(super) use crate::store::items;
    pub(super) use crate::store::peers::{Chunk, Swarm};
    pub(super) use crate::table::{Bucket, Entry};
}
use slots::*;

memory! {
    ($)
    buckets_v4: Bucket = Bucket::EMPTY, |limits| bucket_count(limits.nodes_v4);
    buckets_v6: Bucket = Bucket::EMPTY, |limits| bucket_count(limits.nodes_v6);
    nodes_v4: Entry = Entry::EMPTY, |limits| limits.nodes_v4;
    nodes_v6: Entry = Entry::EMPTY, |limits| limits.nodes_v6;
    replacements_v4: Entry = Entry::EMPTY, |limits| least(limits.replacements, limits.nodes_v4);
    replacements_v6: Entry = Entry::EMPTY, |limits| least(limits.replacements, limits.nodes_v6);
    queries: Slot<Query> = Slot::new(Query::EMPTY), |limits| limits.inflight;
    traversals: Slot<Traversal> = Slot::new(Traversal::EMPTY), |limits| limits.traversals;
    candidates: Candidate = Candidate::EMPTY, |limits| limits.traversals * limits.candidates_per_lookup;
    tokens: Token = Token::EMPTY, |limits| limits.traversals * limits.tokens_per_lookup;
    found: Endpoint = Endpoint::ZERO, |limits| limits.traversals * limits.peers_per_lookup;
    swarms: Slot<Swarm> = Slot::new(Swarm::EMPTY), |limits| limits.swarms;
    peers_v4: Slot<Chunk<6>> = Slot::new(Chunk::EMPTY), |limits| limits.peers_v4.div_ceil(4);
    peers_v6: Slot<Chunk<18>> = Slot::new(Chunk::EMPTY), |limits| limits.peers_v6.div_ceil(4);
    counters: u16 = 0, |limits| (limits.peers_v4 + limits.peers_v6) / 2;
    sources: Source = Source::EMPTY, |limits| limits.sources;
    subnets: Subnet = Subnet::EMPTY, |limits| limits.sources / 2;
    shares: Share = Share::EMPTY, |limits| limits.sources / 2;
    reputations: Reputation = Reputation::EMPTY, |limits| limits.reputations;
    replies: Reply = Reply::EMPTY, |limits| limits.replies;
    locals: Local = Local::EMPTY, |limits| least(limits.replies, MAX_LOCALS);
    events: PackedEvent = PackedEvent::EMPTY, |limits| limits.events;
    bootstraps: Endpoint = Endpoint::ZERO, |limits| limits.bootstraps;
    publications: Slot<Publication> = Slot::new(Publication::EMPTY), |limits| limits.publications;
    #[cfg(feature = "items")]
    items: Slot<items::Stored> = Slot::new(items::Stored::EMPTY), |limits| limits.items.stored;
    #[cfg(feature = "items")]
    item_chunks: items::Chunk = items::Chunk::EMPTY, |limits| limits.items.chunks;
    #[cfg(feature = "items")]
    own_items: items::OwnItem = items::OwnItem::EMPTY, |limits| limits.items.own;
    #[cfg(feature = "items")]
    own_chunks: items::Chunk = items::Chunk::EMPTY, |limits| limits.items.own_chunks;
    samples: InfoHash = InfoHash::ZERO, |limits| limits.samples;
    scrapes: Scrape = Scrape::EMPTY, |limits| limits.scrapes;
    samplings: Sampling = Sampling::EMPTY, |limits| limits.samplings;
    voters: Voter = Voter::EMPTY, |limits| limits.voters;
}

impl Memory<'_> {
    /// Returns the memory of the peer store.
    pub(in crate::node) const fn peers(&self) -> PeerSlots<'_> {
        PeerSlots { swarms: self.swarms, v4: self.peers_v4, v6: self.peers_v6 }
    }
}

impl<'a> View<'a> {
    pub(in crate::node) const fn peers(self) -> PeerSlots<'a> {
        PeerSlots { swarms: self.swarms, v4: self.peers_v4, v6: self.peers_v6 }
    }
}

const fn least(a: usize, b: usize) -> usize {
    if a < b { a } else { b }
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
