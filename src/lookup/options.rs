//! The public types that start a lookup.

use core::net::SocketAddr;
use core::time::Duration;

use crate::base::id::{InfoHash, K, NodeId};
#[cfg(feature = "items")]
use crate::store::items::{PublicKey, Salt};

/// The subject of a lookup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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

impl Lookup {
    /// Returns the kind of the lookup, as in [`LookupReport::kind`](crate::LookupReport::kind).
    pub const fn kind(&self) -> LookupKind {
        match self {
            Self::FindNode(_) => LookupKind::FindNode,
            Self::GetPeers(_) => LookupKind::GetPeers,
            Self::Scrape(_) => LookupKind::Scrape,
            Self::Announce(..) => LookupKind::Announce,
            #[cfg(feature = "items")]
            Self::GetImmutable(_) | Self::GetMutable(..) => LookupKind::Get,
        }
    }

    /// Returns the id that it converges on, as in [`LookupReport::target`](crate::LookupReport::target).
    pub fn target(&self) -> NodeId {
        match *self {
            Self::FindNode(target) => target,
            Self::GetPeers(infohash) | Self::Scrape(infohash) | Self::Announce(infohash, _) => {
                infohash.into()
            }
            #[cfg(feature = "items")]
            Self::GetImmutable(target) => target,
            #[cfg(feature = "items")]
            Self::GetMutable(key, salt) => key.target(salt),
        }
    }
}

/// The peer that an announce adds: this host with a port.
///
/// ```
/// use dht_proto::Announce;
///
/// let announce = Announce::port(6881).seed(true);
/// assert_eq!((announce.port, announce.seed), (6881, true));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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

    /// Sets [`implied_port`](field@Self::implied_port).
    pub const fn implied_port(mut self, implied_port: bool) -> Self {
        self.implied_port = implied_port;
        self
    }

    /// Sets [`seed`](field@Self::seed).
    pub const fn seed(mut self, seed: bool) -> Self {
        self.seed = seed;
        self
    }
}

/// The kind of a lookup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LookupKind {
    /// A lookup of the nodes closest to an id.
    FindNode,
    /// A lookup of the peers of a torrent.
    GetPeers,
    /// A lookup of the peers of a torrent that announces a peer of its own.
    Announce,
    /// A count of the peers of a torrent (BEP 33).
    Scrape,
    /// A lookup of this node's neighbours, to join the DHT.
    Bootstrap,
    /// A lookup of an item (BEP 44).
    #[cfg(feature = "items")]
    Get,
    /// A lookup of the nodes that are to store an item (BEP 44).
    #[cfg(feature = "items")]
    Put,
}

impl LookupKind {
    /// Whether something is stored at the closest nodes, with the tokens of the search.
    pub(crate) const fn stores(self) -> bool {
        match self {
            Self::Announce => true,
            #[cfg(feature = "items")]
            Self::Put => true,
            Self::FindNode | Self::GetPeers | Self::Scrape | Self::Bootstrap => false,
            #[cfg(feature = "items")]
            Self::Get => false,
        }
    }
}

/// Options of a lookup. Each field has a setter of its name.
///
/// ```
/// use core::time::Duration;
/// use dht_proto::LookupOptions;
///
/// let options = LookupOptions::default().max_peers(100).timeout(Duration::from_secs(2));
/// assert_eq!((options.max_peers, options.timeout.as_secs()), (100, 2));
/// ```
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
    /// [`Limits::peers_per_lookup`](field@crate::Limits::peers_per_lookup) in each family: for the peers of larger
    /// swarms raise that first. Default: 65,535, so that that limit decides.
    pub max_peers: u16,
    /// Queries only this node, instead of traversing the DHT: a single `find_node`, `get_peers` or announce.
    pub only: Option<SocketAddr>,
}

impl LookupOptions {
    /// The defaults, as a constant.
    pub const DEFAULT: Self = Self {
        alpha: 8,
        k: K as u8,
        stall: None,
        timeout: Duration::from_secs(5),
        max_peers: u16::MAX,
        only: None,
    };
}

/// Setters.
impl LookupOptions {
    /// Sets [`alpha`](field@Self::alpha).
    pub const fn alpha(mut self, alpha: u8) -> Self {
        self.alpha = alpha;
        self
    }

    /// Sets [`k`](field@Self::k).
    pub const fn k(mut self, k: u8) -> Self {
        self.k = k;
        self
    }

    /// Sets [`stall`](field@Self::stall).
    pub const fn stall(mut self, stall: Duration) -> Self {
        self.stall = Some(stall);
        self
    }

    /// Sets [`timeout`](field@Self::timeout).
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets [`max_peers`](field@Self::max_peers).
    pub const fn max_peers(mut self, max_peers: u16) -> Self {
        self.max_peers = max_peers;
        self
    }

    /// Sets [`only`](field@Self::only).
    pub const fn only(mut self, only: SocketAddr) -> Self {
        self.only = Some(only);
        self
    }
}

impl Default for LookupOptions {
    fn default() -> Self {
        Self::DEFAULT
    }
}
