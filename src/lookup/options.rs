//! What a user may ask of a lookup.

use core::net::SocketAddr;
use core::time::Duration;

use crate::base::id::{InfoHash, K, NodeId};
#[cfg(feature = "items")]
use crate::store::items::{PublicKey, Salt};

/// What to look up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Lookup {
    /// The nodes closest to an id.
    FindNode(NodeId),
    /// The peers of a torrent.
    GetPeers(InfoHash),
    /// How many peers a torrent has (BEP 33).
    Scrape(InfoHash),
    /// The peers of a torrent, adding ourselves to them.
    Announce(InfoHash, Announce),
    /// The immutable item at a target (BEP 44). It ends with the first copy found.
    #[cfg(feature = "items")]
    GetImmutable(NodeId),
    /// The mutable item of a key and a salt (BEP 44): of all versions found the newest.
    #[cfg(feature = "items")]
    GetMutable(PublicKey, Salt),
}

/// The peer that an announce adds: this host, at a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub struct Announce {
    /// The port peers connect to, 1..=65535. It is sent even where it is implied, because one
    /// deployed family does not know `implied_port`.
    pub port: u16,
    /// Have nodes store the port our datagrams come from instead (BEP 5): for uTP behind an
    /// address translator.
    pub implied_port: bool,
    /// We have the whole torrent (BEP 33).
    pub seed: bool,
}

impl Announce {
    /// Peers connect to `port`.
    pub const fn port(port: u16) -> Self {
        Self { port, implied_port: false, seed: false }
    }

    /// Peers connect to the port our datagrams come from; `port` is what we believe it to be.
    pub const fn implied(port: u16) -> Self {
        Self { port, implied_port: true, seed: false }
    }
}

/// How a lookup runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub struct LookupOptions {
    /// Queries under way at once that have not stalled, 1..=255. Default: 8.
    pub alpha: u8,
    /// Nodes closest to the target that must have answered, and that are announced to, 1..=16.
    /// Default: [`K`].
    pub k: u8,
    /// After this long without an answer a query no longer holds up the lookup, though a late
    /// answer still counts. `None`: from the distribution of past answers.
    pub stall: Option<Duration>,
    /// After this long a query has failed. Default: 5 s.
    pub timeout: Duration,
    /// Peers that are reported at most, both families together. A lookup remembers those that it has
    /// reported, so it reports no more than [`Limits::found`](crate::Limits::found) in each family in any
    /// case: for the peers of larger swarms raise that first. Default: 65,535, so that
    /// [`Limits::found`](crate::Limits::found) decides.
    pub max_peers: u16,
    /// Ask this node alone instead of walking through the DHT: a single `find_node`, `get_peers`
    /// or announce.
    pub only: Option<SocketAddr>,
}

impl Default for LookupOptions {
    fn default() -> Self {
        Self {
            alpha: 8,
            k: K as u8,
            stall: None,
            timeout: Duration::from_secs(5),
            max_peers: u16::MAX,
            only: None,
        }
    }
}
