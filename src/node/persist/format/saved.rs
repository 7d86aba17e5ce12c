//! Entries of a saved state, the result of restoring it, and errors.

use core::net::SocketAddr;
use core::time::Duration;

use thiserror::Error;

use crate::base::id::InfoHash;
use crate::base::id::NodeId;
use crate::lookup::Announce;
#[cfg(feature = "items")]
use crate::store::items::Item;
use crate::wire::Malformed;

/// A node of a [`State`](crate::state::State), which was alive once.
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

/// An announcement of a [`State`](crate::state::State), started by [`start_announcing`](crate::Node::start_announcing).
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

/// An item of a [`State`](crate::state::State), published by [`start_publishing`](crate::Node::start_publishing).
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

impl SavedNode {
    /// Creates a node of which only the address is known.
    pub(super) const fn at(addr: SocketAddr) -> Self {
        Self { id: None, addr, silent: Duration::ZERO, known: Duration::ZERO, rtt: None }
    }
}

impl From<Malformed> for StateError {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}
