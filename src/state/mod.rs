//! What outlives a restart, as bytes: our ids, the nodes of both tables, and the announces and items that
//! are kept up.
//!
//! `own` is the format that [`Node::snapshot`](crate::Node::snapshot) writes, `foreign` reads those
//! of libtorrent and Transmission. All are bencoded dictionaries whose unknown keys are ignored.

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

use crate::addr::{AddressPolicy, Endpoint, Family};
use crate::density::NetworkSize;
use crate::id::{InfoHash, NodeId};
#[cfg(feature = "items")]
use crate::items::Item;
use crate::lookup::Announce;
use crate::wire::{Malformed, PEER4_LEN, PEER6_LEN, Reader, Value};

/// Strings, integers and containers that a state may hold: some hundred times as many as the
/// tables of any client, and a bound on the work.
const MAX_TOKENS: u32 = 200_000;

/// A saved state, read: from [`Node::snapshot_into`](crate::Node::snapshot_into), or from a file of
/// libtorrent (its session parameters or DHT state) or Transmission (`dht.dat`).
///
/// Our own format has a checksum, so damage is found. The others have none: of a damaged file what
/// still looks like a state is used, which is harmless, because nodes count only once they answer.
///
/// ```
/// use core::time::Duration;
/// use dht_proto::{Config, Family, Instant, Limits, Node, State};
///
/// let now = Instant::ZERO;
/// let node = Node::new(Config::default(), &Limits::default(), [7; 32], now);
/// let saved = node.snapshot(1_700_000_000); // the wall clock, if there is one
///
/// // At the next start:
/// let state = State::parse(&saved)?;
/// let mut config = Config::default();
/// (config.id, config.id_v6) = (state.id(Family::V4), state.id(Family::V6));
/// let mut reborn = Node::new(config, &Limits::default(), [8; 32], now);
/// let elapsed = 1_700_000_600 - state.saved_at().unwrap_or_default();
/// reborn.restore(now, &state, Duration::from_secs(elapsed));
/// assert_eq!(reborn.id(Family::V4), node.id(Family::V4));
/// # Ok::<(), dht_proto::StateError>(())
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct State<'a> {
    ids: [Option<NodeId>; 2],
    sizes: [Option<NetworkSize>; 2],
    saved_at: Option<u64>,
    /// By family.
    lists: [List<'a>; 2],
    /// Records of our own format.
    announces: &'a [u8],
    #[cfg(feature = "items")]
    items: &'a [u8],
}

/// A node of a [`State`]: it was alive once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SavedNode {
    /// Its id; `None` where only the address was saved.
    pub id: Option<NodeId>,
    /// Where it was.
    pub addr: SocketAddr,
    /// How long it had been silent when it was saved, to the second.
    pub silent: Duration,
    /// How long it had been known when it was saved, to the second.
    pub known: Duration,
    /// How long its answers took, to the millisecond; `None` where that is not known.
    pub rtt: Option<Duration>,
}

/// An announce of a [`State`] that was [kept up](crate::Node::keep_announced).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SavedAnnounce {
    /// The torrent.
    pub infohash: InfoHash,
    /// What was announced.
    pub announce: Announce,
    /// Nodes that confirmed its last round, 255 at most; 0 where there was none, or it failed.
    pub acknowledged: u32,
    /// How long ago that round had ended when it was saved, to the second; zero where there was none.
    pub age: Duration,
}

/// An item of a [`State`] that was [kept up](crate::Node::keep_stored).
#[cfg(feature = "items")]
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SavedItem {
    /// The item. Its signature has been checked, as that of any other.
    pub item: Item,
    /// Nodes that confirmed its last round, 255 at most; 0 where there was none, or it failed or stored
    /// nothing.
    pub acknowledged: u32,
    /// How long ago that round had ended when it was saved, to the second; zero where there was none.
    pub age: Duration,
}

/// What [`Node::restore`](crate::Node::restore) took in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Restored {
    /// Nodes that will be asked.
    pub nodes: usize,
    /// Announces that are kept up again.
    pub announces: usize,
    /// Items that are kept up again; 0 without the feature `items`.
    pub items: usize,
    /// Entries of the state that were left out: invalid, known already, refused by the address
    /// policy, or too many.
    pub skipped: usize,
}

/// Why bytes are no saved state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum StateError {
    /// Not one whole bencoded dictionary: cut off, damaged, or something else altogether.
    #[error("truncated, damaged, or no saved state at all")]
    Malformed,
    /// The checksum does not fit.
    #[error("damaged: the checksum does not fit")]
    Checksum,
    /// A bencoded dictionary, but of no known format.
    #[error("not a saved state of a known format")]
    Unknown,
}

/// A buffer that cannot hold a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the snapshot takes {needed} bytes")]
pub struct BufferTooShort {
    /// What the snapshot takes at this moment, in bytes.
    pub needed: usize,
}

impl<'a> State<'a> {
    /// Reads a state of any known format.
    ///
    /// # Errors
    ///
    /// [`StateError`]; the node then starts afresh.
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
        // Whatever follows was written by somebody else.
        if !reader.rest().is_empty() {
            return Err(StateError::Malformed);
        }
        if state == Err(StateError::Unknown) { foreign::read(bytes) } else { state }
    }

    /// Our id in the DHT of this family, if it was saved; never the zero id.
    pub const fn id(&self, family: Family) -> Option<NodeId> {
        self.ids[family.index()]
    }

    /// How many nodes the DHT of this family had, if that was known; not in the formats of others.
    pub const fn network_size(&self, family: Family) -> Option<NetworkSize> {
        self.sizes[family.index()]
    }

    /// What [`Node::snapshot_into`](crate::Node::snapshot_into) was told; `None` for the formats of others.
    pub const fn saved_at(&self) -> Option<u64> {
        self.saved_at
    }

    /// The nodes, those of our own format best first. Their addresses are unicast, but may be
    /// private.
    pub fn nodes(&self) -> impl Iterator<Item = SavedNode> + use<'a> {
        self.entries().flatten()
    }

    /// The announces that were kept up; none in the formats of others.
    pub fn announces(&self) -> impl Iterator<Item = SavedAnnounce> + use<'a> {
        self.announce_entries().flatten()
    }

    /// The same without its announces, for an owner who takes them up one by one: see
    /// [`Node::restore_announce`](crate::Node::restore_announce).
    #[must_use]
    pub const fn without_announces(mut self) -> Self {
        self.announces = &[];
        self
    }

    /// The items that were kept up; none in the formats of others. Their signatures are checked on the way.
    #[cfg(feature = "items")]
    pub fn items(&self) -> impl Iterator<Item = SavedItem> + use<'a> {
        self.item_entries().flatten()
    }

    /// The same without its items, for an owner who takes them up one by one: see
    /// [`Node::restore_item`](crate::Node::restore_item).
    #[cfg(feature = "items")]
    #[must_use]
    pub const fn without_items(mut self) -> Self {
        self.items = &[];
        self
    }

    /// Entries that are no nodes, announces or items and were left out: of the wrong length, with port 0,
    /// with an address that belongs to no single host, or with a signature that does not fit.
    pub fn skipped(&self) -> usize {
        let skipped = self.skipped_contacts();
        #[cfg(feature = "items")]
        let skipped = skipped + self.item_entries().filter(Option::is_none).count();
        skipped
    }

    /// Those of them that are no items, which take longer to tell.
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

/// Nodes of one family, as they lie in the bytes.
#[derive(Clone, Copy, Debug)]
enum List<'a> {
    /// Of our own format.
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

/// What a list yields; `None` for an entry that is no node.
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
    /// A node of which nothing but the address is known.
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

/// An endpoint of this family in compact form, and in no other.
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

/// The keys of one dictionary, each with the bytes of its value.
struct Dictionary<'r, 'a> {
    reader: &'r mut Reader<'a>,
}

impl<'r, 'a> Dictionary<'r, 'a> {
    /// `None` where no dictionary comes next.
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

/// A value that has been found to be well-formed.
fn value(raw: &[u8]) -> Value<'_> {
    Reader::with_tokens(raw, MAX_TOKENS).value().unwrap_or_default()
}

/// A string that is an id, and not the zero id, which nobody has.
fn id(raw: &[u8]) -> Option<NodeId> {
    value(raw).array().map(|id| NodeId::from_bytes(*id)).filter(|id| *id != NodeId::ZERO)
}

impl From<Malformed> for StateError {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}
