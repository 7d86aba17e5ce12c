//! Snapshots as bytes: the ids of a node, the nodes of both tables, and the publications.
//!
//! `own` is the format that [`Node::snapshot`](crate::Node::snapshot) writes, `foreign` reads those of
//! libtorrent and Transmission. All are bencoded dictionaries whose unknown keys are ignored.

#[cfg(any(feature = "net", feature = "smol", feature = "tokio"))]
mod carry;
mod foreign;
#[cfg(feature = "items")]
mod item;
mod own;

use core::net::SocketAddr;
use core::time::Duration;

use thiserror::Error;

#[cfg(any(feature = "net", feature = "smol", feature = "tokio"))]
pub(crate) use carry::{Unclaimed, add_unclaimed, resembles_state};
pub(crate) use own::{Head, Source, write};

use crate::base::addr::{AddressPolicy, Endpoint, Family};
use crate::base::id::{InfoHash, NodeId};
use crate::lookup::Announce;
use crate::lookup::density::NetworkSize;
#[cfg(feature = "items")]
use crate::store::items::Item;
use crate::wire::{Malformed, PEER4_LEN, PEER6_LEN, Reader, Value};

/// The most strings, integers and containers in a state, which bounds the work: some hundred times as many as
/// the tables of any client.
const MAX_TOKENS: u32 = 200_000;

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
    ids: [Option<NodeId>; 2],
    sizes: [Option<NetworkSize>; 2],
    saved_at: Option<u64>,
    /// The nodes of each family.
    lists: [List<'a>; 2],
    /// Announcements, as records of this crate's format.
    announces: &'a [u8],
    #[cfg(feature = "items")]
    items: &'a [u8],
}

/// A node of a [`State`], which was alive once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SavedNode {
    /// The id; `None` if only the address was saved.
    pub id: Option<NodeId>,
    /// The address of the node.
    pub addr: SocketAddr,
    /// The time since the node was last heard from when the state was saved, to the second.
    pub silent: Duration,
    /// The time for which the node had been known when the state was saved, to the second.
    pub known: Duration,
    /// The round-trip time, to the millisecond; `None` if unknown.
    pub rtt: Option<Duration>,
}

/// An announcement of a [`State`], started by [`start_announcing`](crate::Node::start_announcing).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SavedAnnounce {
    /// The torrent that was announced.
    pub infohash: InfoHash,
    /// The announced peer.
    pub announce: Announce,
    /// The number of nodes that confirmed the last republish, at most 255; 0 if there was none, or it failed.
    pub acknowledged: u32,
    /// The time since the end of the last republish when the state was saved, to the second; zero if there
    /// was none.
    pub age: Duration,
}

/// An item of a [`State`], published by [`start_publishing`](crate::Node::start_publishing).
#[cfg(feature = "items")]
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SavedItem {
    /// The item. Its signature has been checked, like that of any other.
    pub item: Item,
    /// The number of nodes that confirmed the last republish, at most 255; 0 if there was none, or it failed
    /// or stored nothing.
    pub acknowledged: u32,
    /// The time since the end of the last republish when the state was saved, to the second; zero if there
    /// was none.
    pub age: Duration,
}

/// The result of [`Node::restore`](crate::Node::restore).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Restored {
    /// Nodes that will be pinged.
    pub nodes: usize,
    /// Announcements that were resumed.
    pub announces: usize,
    /// Published items that were resumed; 0 without the feature `items`.
    pub items: usize,
    /// Entries of the state that were skipped: invalid, known already, refused by the address policy, or too
    /// many.
    pub skipped: usize,
}

/// Why bytes are not a saved state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum StateError {
    /// The bytes are not one whole bencoded dictionary: truncated, damaged, or something else.
    #[error("truncated, damaged, or no saved state at all")]
    Malformed,
    /// The checksum does not match.
    #[error("damaged: the checksum does not fit")]
    Checksum,
    /// The bytes are a bencoded dictionary, but of no known format.
    #[error("not a saved state of a known format")]
    Unknown,
}

/// The error for a buffer that is too short for a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the snapshot takes {needed} bytes")]
pub struct BufferTooShort {
    /// The length in bytes that the snapshot needs at this moment.
    pub needed: usize,
}

impl<'a> State<'a> {
    /// Parses a state of any known format.
    ///
    /// # Errors
    ///
    /// [`StateError`]; the caller then starts without a state.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, StateError> {
        let mut reader = Reader::with_tokens(bytes, MAX_TOKENS);
        let mut state = Err(StateError::Unknown);
        let mut keys = Dictionary::enter(&mut reader)?.ok_or(StateError::Malformed)?;
        while let Some((key, raw)) = keys.next()? {
            match key {
                own::KEY => state = own::read(bytes),
                foreign::LIBTORRENT => state = foreign::read(raw),
                _ => {}
            }
        }
        // Whatever follows was written by something else.
        if !reader.rest().is_empty() {
            return Err(StateError::Malformed);
        }
        if state == Err(StateError::Unknown) { foreign::read(bytes) } else { state }
    }

    /// Returns the node's id in the DHT of this family, if it was saved; never the zero id.
    pub const fn id(&self, family: Family) -> Option<NodeId> {
        self.ids[family.index()]
    }

    /// Returns the number of nodes in the DHT of this family, if it was known; other formats do not have it.
    pub const fn network_size(&self, family: Family) -> Option<NetworkSize> {
        self.sizes[family.index()]
    }

    /// Returns the `saved_at` passed to [`Node::snapshot_into`](crate::Node::snapshot_into); `None` for other
    /// formats.
    pub const fn saved_at(&self) -> Option<u64> {
        self.saved_at
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
        self.announces = &[];
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
        self.items = &[];
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
        item::Records::new(self.items)
    }

    fn announce_entries(&self) -> impl Iterator<Item = Option<SavedAnnounce>> + use<'a> {
        self.announces.chunks(own::ANNOUNCE_LEN).map(own::read_announce)
    }

    fn entries(&self) -> impl Iterator<Item = Option<SavedNode>> + use<'a> {
        let [v4, v6] = self.lists;
        Entries { family: Family::V4, list: v4 }.chain(Entries { family: Family::V6, list: v6 })
    }
}

impl PartialEq for State<'_> {
    fn eq(&self, other: &Self) -> bool {
        #[cfg(feature = "items")]
        if self.items != other.items {
            return false;
        }
        (self.ids, self.saved_at) == (other.ids, other.saved_at)
            && self.entries().eq(other.entries())
            && self.announce_entries().eq(other.announce_entries())
    }
}

impl Eq for State<'_> {}

/// Nodes of one family, as encoded.
#[derive(Clone, Copy, Debug)]
enum List<'a> {
    /// Records of this crate's format.
    Records(&'a [u8]),
    /// Compact endpoints end to end.
    Packed(&'a [u8]),
    /// The bencoded members of a list of compact endpoints.
    Members(&'a [u8]),
}

impl Default for List<'_> {
    fn default() -> Self {
        Self::Packed(&[])
    }
}

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

impl SavedNode {
    /// Creates a node of which only the address is known.
    const fn at(addr: SocketAddr) -> Self {
        Self { id: None, addr, silent: Duration::ZERO, known: Duration::ZERO, rtt: None }
    }
}

/// Splits off an entry; the last one may be too short. `None` at the end.
fn take<'a>(rest: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (entry, tail) = rest.split_at(len.min(rest.len()));
    *rest = tail;
    Some(entry).filter(|entry| !entry.is_empty())
}

/// Parses an endpoint of this family in compact form.
fn compact(family: Family, bytes: &[u8]) -> Option<SocketAddr> {
    let endpoint = match family {
        Family::V4 => {
            let [a, b, c, d, high, low] = *bytes.first_chunk::<PEER4_LEN>()?;
            Endpoint::v4([a, b, c, d], u16::from_be_bytes([high, low]))
        }
        Family::V6 => {
            let (ip, port) = bytes.split_first_chunk()?;
            Endpoint::v6(*ip, u16::from_be_bytes(*port.first_chunk()?))
        }
    };
    let len = if family == Family::V4 { PEER4_LEN } else { PEER6_LEN };
    (bytes.len() == len && endpoint.family() == family).then(|| endpoint.into())
}

/// A key and the bytes of its value.
type Pair<'a> = (&'a [u8], &'a [u8]);

/// Iterator over the keys of one dictionary, each with the bytes of its value.
struct Dictionary<'r, 'a> {
    reader: &'r mut Reader<'a>,
}

impl<'r, 'a> Dictionary<'r, 'a> {
    /// Enters a dictionary; `None` if none comes next.
    fn enter(reader: &'r mut Reader<'a>) -> Result<Option<Self>, Malformed> {
        Ok(reader.enter_dictionary()?.then_some(Self { reader }))
    }

    fn next(&mut self) -> Result<Option<Pair<'a>>, Malformed> {
        match self.reader.key()? {
            Some(key) => Ok(Some((key, self.reader.raw()?))),
            None => Ok(None),
        }
    }
}

/// Reads a value that is known to be well-formed.
fn value(raw: &[u8]) -> Value<'_> {
    Reader::with_tokens(raw, MAX_TOKENS).value().unwrap_or_default()
}

/// Parses a string as an id, excluding the zero id, which no node has.
fn id(raw: &[u8]) -> Option<NodeId> {
    value(raw).array().map(|id| NodeId::from_bytes(*id)).filter(|id| *id != NodeId::ZERO)
}

impl From<Malformed> for StateError {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}
