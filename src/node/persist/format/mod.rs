//! Snapshots as bytes: the ids of a node, the nodes of both tables, and the publications.
//!
//! - `carry`: publications that the adapters add to a snapshot
//! - `contents`: the parts of a state, as encoded
//! - `encoding`: what all formats have in common
//! - `foreign`: the formats of libtorrent and Transmission
//! - `item`: records of published items
//! - `own`: the format that [`Node::snapshot`](crate::Node::snapshot) writes
//! - `saved`: entries of a state, the result of restoring it, and errors
//!
//! All formats are bencoded dictionaries whose unknown keys are ignored.

#[cfg(any(feature = "net", feature = "smol", feature = "tokio"))]
mod carry;
mod contents;
mod encoding;
mod foreign;
#[cfg(feature = "items")]
mod item;
mod own;
mod saved;

#[cfg(any(feature = "net", feature = "smol", feature = "tokio"))]
pub(crate) use carry::{Unclaimed, add_unclaimed, resembles_state};
pub(crate) use own::{Head, Source, write};
#[cfg(feature = "items")]
pub use saved::SavedItem;
pub use saved::{BufferTooShort, Restored, SavedAnnounce, SavedNode, StateError};

use self::contents::{Contents, List};
use self::encoding::{Dictionary, MAX_TOKENS, compact, take};
use crate::base::addr::{AddressPolicy, Family};
use crate::base::id::NodeId;
use crate::lookup::density::NetworkSize;
use crate::wire::{PEER4_LEN, PEER6_LEN, Reader};

/// A parsed state, from [`Node::snapshot_into`](crate::Node::snapshot_into), or from a file of libtorrent
/// (its session parameters or DHT state) or Transmission (`dht.dat`).
///
/// The format of this crate has a checksum, so damage is detected. The others have none: of a damaged file
/// whatever still looks like a state is used, which is harmless, because nodes count only once they answer.
///
/// ```
/// use core::time::Duration;
/// use dht_proto::state::State;
/// use dht_proto::{Config, Family, Instant, Limits, Node};
///
/// let now = Instant::ZERO;
/// let node = Node::new(Config::default(), &Limits::default(), [7; 32], now);
/// let saved = node.snapshot(1_700_000_000); // the wall clock, if there is one
///
/// // At the next start:
/// let state = State::parse(&saved)?;
/// let mut config = Config::default();
/// (config.id, config.id_v6) = (state.id(Family::V4), state.id(Family::V6));
/// let mut restarted = Node::new(config, &Limits::default(), [8; 32], now);
/// let elapsed = 1_700_000_600 - state.saved_at().unwrap_or_default();
/// restarted.restore(now, &state, Duration::from_secs(elapsed));
/// assert_eq!(restarted.id(Family::V4), node.id(Family::V4));
/// # Ok::<(), dht_proto::state::StateError>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct State<'a> {
    contents: Contents<'a>,
}

impl<'a> State<'a> {
    /// Parses a state of any known format.
    ///
    /// # Errors
    ///
    /// [`StateError`]; the caller then starts without a state.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, StateError> {
        let mut reader = Reader::with_tokens(bytes, MAX_TOKENS);
        let mut contents = Err(StateError::Unknown);
        let mut keys = Dictionary::enter(&mut reader)?.ok_or(StateError::Malformed)?;
        while let Some((key, raw)) = keys.next()? {
            match key {
                own::KEY => contents = own::read(bytes),
                foreign::LIBTORRENT => contents = foreign::read(raw),
                _ => {}
            }
        }
        // Whatever follows was written by something else.
        if !reader.rest().is_empty() {
            return Err(StateError::Malformed);
        }
        if matches!(contents, Err(StateError::Unknown)) {
            contents = foreign::read(bytes);
        }
        Ok(Self { contents: contents? })
    }

    /// Returns the node's id in the DHT of this family, if it was saved; never the zero id.
    pub const fn id(&self, family: Family) -> Option<NodeId> {
        self.contents.ids[family.index()]
    }

    /// Returns the number of nodes in the DHT of this family, if it was known; other formats do not have it.
    pub const fn network_size(&self, family: Family) -> Option<NetworkSize> {
        self.contents.sizes[family.index()]
    }

    /// Returns the `saved_at` passed to [`Node::snapshot_into`](crate::Node::snapshot_into); `None` for other
    /// formats.
    pub const fn saved_at(&self) -> Option<u64> {
        self.contents.saved_at
    }

    /// Returns the nodes; those of this crate's format come best first. Their addresses are unicast, but may
    /// be private.
    pub fn nodes(&self) -> impl Iterator<Item = SavedNode> + use<'a> {
        self.entries().flatten()
    }

    /// Returns the announcements; other formats have none.
    pub fn announces(&self) -> impl Iterator<Item = SavedAnnounce> + use<'a> {
        self.announce_entries().flatten()
    }

    /// Removes the announcements from the state, for a caller that resumes them one by one with
    /// [`Node::restore_announce`](crate::Node::restore_announce).
    #[must_use]
    pub const fn without_announces(mut self) -> Self {
        self.contents.announces = &[];
        self
    }

    /// Returns the published items; other formats have none. Their signatures are checked on the way.
    #[cfg(feature = "items")]
    pub fn items(&self) -> impl Iterator<Item = SavedItem> + use<'a> {
        self.item_entries().flatten()
    }

    /// Removes the items from the state, for a caller that resumes them one by one with
    /// [`Node::restore_item`](crate::Node::restore_item).
    #[cfg(feature = "items")]
    #[must_use]
    pub const fn without_items(mut self) -> Self {
        self.contents.items = &[];
        self
    }

    /// Returns the number of entries that are invalid and were skipped: of the wrong length, with port 0,
    /// with an address that belongs to no single host, or with a signature that does not match.
    pub fn skipped(&self) -> usize {
        let skipped = self.skipped_contacts();
        #[cfg(feature = "items")]
        let skipped = skipped + self.item_entries().filter(Option::is_none).count();
        skipped
    }

    /// Returns the number of skipped entries other than items, which take longer to check.
    pub(crate) fn skipped_contacts(&self) -> usize {
        self.entries().filter(Option::is_none).count()
            + self.announce_entries().filter(Option::is_none).count()
    }

    #[cfg(feature = "items")]
    pub(crate) fn item_entries(&self) -> impl Iterator<Item = Option<SavedItem>> + use<'a> {
        item::Records::new(self.contents.items)
    }

    fn announce_entries(&self) -> impl Iterator<Item = Option<SavedAnnounce>> + use<'a> {
        self.contents.announces.chunks(own::ANNOUNCE_LEN).map(own::read_announce)
    }

    fn entries(&self) -> impl Iterator<Item = Option<SavedNode>> + use<'a> {
        let [v4, v6] = self.contents.lists;
        Entries { family: Family::V4, list: v4 }.chain(Entries { family: Family::V6, list: v6 })
    }
}

impl PartialEq for State<'_> {
    fn eq(&self, other: &Self) -> bool {
        #[cfg(feature = "items")]
        if self.contents.items != other.contents.items {
            return false;
        }
        (self.contents.ids, self.contents.saved_at) == (other.contents.ids, other.contents.saved_at)
            && self.entries().eq(other.entries())
            && self.announce_entries().eq(other.announce_entries())
    }
}

impl Eq for State<'_> {}

/// Iterator over a list; `None` for an entry that is not a node.
struct Entries<'a> {
    family: Family,
    list: List<'a>,
}

impl Iterator for Entries<'_> {
    type Item = Option<SavedNode>;

    fn next(&mut self) -> Option<Self::Item> {
        let compact_len = if self.family == Family::V4 { PEER4_LEN } else { PEER6_LEN };
        let node = match &mut self.list {
            List::Records(rest) => own::read_record(self.family, take(rest, own::record_len(self.family))?),
            List::Packed(rest) => compact(self.family, take(rest, compact_len)?).map(SavedNode::at),
            List::Members(rest) => {
                let mut reader = Reader::with_tokens(rest, MAX_TOKENS);
                let member = reader.value().ok().filter(|_| !rest.is_empty())?;
                *rest = reader.rest();
                member.bytes().and_then(|bytes| compact(self.family, bytes)).map(SavedNode::at)
            }
        };
        // No policy: private networks have states as well.
        Some(node.filter(|node| AddressPolicy::Any.allows(node.addr.into())))
    }
}
