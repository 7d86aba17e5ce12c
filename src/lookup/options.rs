//! The public types that start a lookup.

use core::net::SocketAddr;
use core::time::Duration;

use crate::base::id::{InfoHash, K, NodeId};
#[cfg(feature = "items")]
use crate::store::items::{PublicKey, Salt};

/// The subject of a lookup.
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
    /// The immutable item at a target (BEP 44); the lookup ends with the first copy found.
    #[cfg(feature = "items")]
    GetImmutable(NodeId),
    /// The newest version of the mutable item of a key and a salt (BEP 44).
    #[cfg(feature = "items")]
    GetMutable(PublicKey, Salt),
}

/// The peer that an announce adds: this host with a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub struct Announce {
    /// The port peers connect to, 1..=65535.
    ///
    /// It is sent even if it is implied, because one deployed family of clients does not support `implied_port`.
    pub port: u16,
    /// Makes nodes store the source port of our datagrams instead (BEP 5); for uTP behind a NAT.
    pub implied_port: bool,
    /// This peer has the complete torrent (BEP 33).
    pub seed: bool,
}

impl Announce {
    /// Announces `port`.
    pub const fn port(port: u16) -> Self {
        Self { port, implied_port: false, seed: false }
    }

    /// Announces the source port of our datagrams; `port` is the presumed value.
    pub const fn implied(port: u16) -> Self {
        Self { port, implied_port: true, seed: false }
    }
}

/// Options of a lookup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub struct LookupOptions {
    /// Maximum number of concurrent queries that have not stalled, 1..=255. Default: 8.
    pub alpha: u8,
    /// Number of closest nodes that must respond, and that an announce is sent to, 1..=16. Default: [`K`].
    pub k: u8,
    /// Time after which an unanswered query stalls: it no longer delays the lookup, though a late response still
    /// counts.
    ///
    /// `None` derives it from the distribution of past round trips.
    pub stall: Option<Duration>,
    /// Time after which a query has failed. Default: 5 s.
    pub timeout: Duration,
    /// Maximum number of peers that are reported, both families together.
    ///
    /// A lookup keeps the peers that it has reported, so in any case it reports no more than
    /// [`Limits::peers_per_lookup`](crate::Limits::peers_per_lookup) in each family: for the peers of larger swarms raise that first.
    /// Default: 65,535, so that [`Limits::peers_per_lookup`](crate::Limits::peers_per_lookup) decides.
    pub max_peers: u16,
    /// Queries only this node, instead of traversing the DHT: a single `find_node`, `get_peers` or announce.
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
