//! What a node tells its user: events, reports, ids of what is under way, errors.

use core::fmt;
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;

use crate::base::addr::{Endpoint, Family};
use crate::base::id::{InfoHash, NodeId};
use crate::base::pool::Ix;
use crate::base::time::Instant;
use crate::lookup::Announce;
use crate::lookup::density::NetworkSize;
use crate::node::api::error::QueryError;
#[cfg(feature = "items")]
use crate::store::items::PutObstacle;
use crate::wire::ErrorCode;

/// Something that happened, from [`Node::poll_event`](crate::Node::poll_event).
///
/// Peers and completions ([`Peer`](Self::Peer), [`LookupDone`](Self::LookupDone),
/// [`QueryDone`](Self::QueryDone), [`SampleDone`](Self::SampleDone)) are made from state and never
/// lost, however late they are polled. The others wait in a ring and the oldest is dropped when it is full
/// ([`Stats::events_lost`](crate::Stats::events_lost)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The node has found its place in the DHT of this family: from now on lookups start from
    /// verified nodes. Sent once after birth and again after an outage, when the node is
    /// [enabled](crate::Node::set_enabled), and when its socket has been
    /// [rebound](crate::Node::handle_rebind).
    Ready {
        /// The DHT that was joined.
        family: Family,
    },
    /// A node answered and entered the routing table.
    NodeAdded {
        /// Its id.
        id: NodeId,
        /// Where it is.
        addr: SocketAddr,
    },
    /// A node left the routing table: it died, changed its id, or made room for a better one.
    NodeRemoved {
        /// Its id.
        id: NodeId,
        /// Where it was.
        addr: SocketAddr,
    },
    /// Enough nodes have told us our external address (BEP 42), or that it is another one now. Tokens
    /// and announces of an old one are done with: announces that are kept up are repeated soon.
    ExternalAddr {
        /// Where others see us. The port is 0 where they disagree on it.
        addr: SocketAddr,
    },
    /// Our id fitted our external address no more, and is another one now (BEP 42). The nodes of the
    /// routing table have moved; some may have lost their place.
    IdChanged {
        /// The DHT in which it is.
        family: Family,
        /// What it was.
        old: NodeId,
        /// What it is when this is polled.
        new: NodeId,
    },
    /// A lookup found a peer of its torrent. A peer comes once for each lookup, and no more come than
    /// [`Limits::found`](crate::Limits::found) and
    /// [`LookupOptions::max_peers`](crate::LookupOptions::max_peers) have room for;
    /// [`LookupReport::more_peers`] tells whether there were more.
    ///
    /// Nobody listens on port 1: such peers come from old clients that announced a placeholder.
    /// They are passed on as they are, for the caller to leave out.
    Peer {
        /// The lookup that found it.
        lookup: LookupId,
        /// The peer.
        peer: SocketAddr,
    },
    /// A node confirmed that it stored our announce. The ring may lose it; the count in
    /// [`LookupReport::acknowledged`] is complete. An announce still goes to closer nodes that answer
    /// after its end; these confirmations are not told.
    Acknowledged {
        /// The announce.
        lookup: LookupId,
        /// The node that stores it.
        node: SocketAddr,
    },
    /// A lookup, announce or bootstrap has ended. Its id is void from now on; only
    /// [`Node::lookup_nodes`](crate::Node::lookup_nodes) still takes it, until the next input or
    /// command.
    LookupDone {
        /// The lookup.
        lookup: LookupId,
        /// How it went.
        report: LookupReport,
    },
    /// A query to a single node has ended.
    QueryDone {
        /// The query.
        query: QueryId,
        /// Whom it was sent to.
        addr: SocketAddr,
        /// What came back.
        result: Result<Pong, QueryError>,
    },
    /// A query for a sample of infohashes has ended. [`Node::samples`](crate::Node::samples) and
    /// [`Node::sample_nodes`](crate::Node::sample_nodes) have the rest of the answer, until the next input
    /// or command.
    SampleDone {
        /// The query.
        query: QueryId,
        /// Whom it was sent to.
        addr: SocketAddr,
        /// What came back.
        result: Result<Sample, QueryError>,
    },
    /// A peer announced itself to us and was stored, or renewed.
    /// [`Node::store_peer`](crate::Node::store_peer) hands it to another node.
    PeerStored {
        /// Its torrent.
        infohash: InfoHash,
        /// The peer.
        peer: SocketAddr,
        /// Whether it says that it has the whole torrent.
        seed: bool,
    },
    /// A node returned a valid item to a lookup, of whatever version: the best so far is
    /// [`Node::item`](crate::Node::item). The ring may lose it; the item is not lost.
    #[cfg(feature = "items")]
    ItemFound {
        /// The lookup.
        lookup: LookupId,
        /// The node; `None` where others had put it to us.
        node: Option<SocketAddr>,
        /// Its sequence number; `None` for an immutable item.
        seq: Option<i64>,
    },
    /// Somebody put an item to us and it was stored, or renewed: it is
    /// [`Node::stored_item`](crate::Node::stored_item), and [`Node::store_item`](crate::Node::store_item)
    /// hands it to another node.
    #[cfg(feature = "items")]
    ItemStored {
        /// Where.
        target: NodeId,
        /// Who put it.
        node: SocketAddr,
        /// Its sequence number; `None` for an immutable item.
        seq: Option<i64>,
    },
}

impl Event {
    /// The lookup that it belongs to, if it belongs to one.
    pub const fn lookup(&self) -> Option<LookupId> {
        match *self {
            Self::Peer { lookup, .. }
            | Self::Acknowledged { lookup, .. }
            | Self::LookupDone { lookup, .. } => Some(lookup),
            #[cfg(feature = "items")]
            Self::ItemFound { lookup, .. } => Some(lookup),
            _ => None,
        }
    }
}

/// A datagram to send, from [`Node::poll_transmit`](crate::Node::poll_transmit): the first `size`
/// bytes of the caller's buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Transmit {
    /// Where to send it; its family tells the socket.
    pub destination: SocketAddr,
    /// The address of ours to send it from, if it answers a query that came to a known one
    /// ([`Node::handle_datagram_at`](crate::Node::handle_datagram_at)): the asker drops an answer from
    /// any other. `None`: whichever the system chooses.
    pub source: Option<IpAddr>,
    /// Its length in bytes, at most [`MAX_DATAGRAM`](crate::MAX_DATAGRAM).
    pub size: usize,
}

/// A lookup, announce or bootstrap under way. Ids are never used twice: one that has ended is
/// refused, not confused with a later one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub struct LookupId {
    pub(crate) ix: Ix,
    pub(crate) generation: u32,
}

/// An announce that is kept up. Ids are never used twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub struct PublicationId {
    pub(crate) ix: Ix,
    pub(crate) generation: u32,
}

/// A query to a single node under way.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub struct QueryId {
    pub(crate) ix: Ix,
    pub(crate) generation: u32,
}

/// A node of the DHT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NodeInfo {
    /// Its id.
    pub id: NodeId,
    /// Where it is.
    pub addr: SocketAddr,
    /// How long its answers take, smoothed; `None` before the first.
    pub rtt: Option<Duration>,
}

/// How an announce that is kept up fares, from
/// [`Node::announcements`](crate::Node::announcements).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AnnouncementInfo {
    /// Its id.
    pub id: PublicationId,
    /// The torrent.
    pub infohash: InfoHash,
    /// The peer that is announced.
    pub announce: Announce,
    /// The round under way, or ended and not yet polled.
    pub round: Option<LookupId>,
    /// The last round that ended; `None` before the end of the first.
    pub last: Option<RepublishInfo>,
    /// When the next round is due at the latest; `None` while one is under way. It may start
    /// earlier, because rounds are spread evenly, and later while there is no network or more
    /// announces are kept up than [`Config::new_endpoints`](crate::Config::new_endpoints) allows.
    pub due: Option<Instant>,
}

/// How an item that is kept up fares, from [`Node::publications`](crate::Node::publications).
#[cfg(feature = "items")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PublicationInfo {
    /// Its id.
    pub id: PublicationId,
    /// Where it is stored.
    pub target: NodeId,
    /// Its sequence number; `None` for an immutable item.
    pub seq: Option<i64>,
    /// The highest sequence number that nodes returned in any round. If it is higher than `seq`, the
    /// item was replaced by somebody with the same key, and is no longer put.
    pub newest: Option<i64>,
    /// The round under way, or ended and not yet polled.
    pub round: Option<LookupId>,
    /// The last round that ended; `None` before the end of the first.
    pub last: Option<RepublishInfo>,
    /// The last round stored nothing, because more than eight nodes held the item, all of the
    /// closest among them (BEP 44), or because something [stood in its way](LookupReport::obstacle).
    pub is_spared: bool,
    /// When the next round is due, as in [`AnnouncementInfo::due`].
    pub due: Option<Instant>,
}

/// How a round of an announce that is kept up went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RepublishInfo {
    /// When it ended; the origin of the clock where that was before, in the life of an earlier node.
    pub ended: Instant,
    /// Nodes that confirmed it; with 0 it has failed.
    pub acknowledged: u32,
}

/// What a lookup was for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LookupKind {
    /// The nodes closest to an id.
    FindNode,
    /// The peers of a torrent.
    GetPeers,
    /// The peers of a torrent, and our own entry among them.
    Announce,
    /// How many peers a torrent has.
    Scrape,
    /// Our own neighbours, to join the DHT.
    Bootstrap,
    /// An item.
    #[cfg(feature = "items")]
    Get,
    /// The nodes that are to store an item of ours.
    #[cfg(feature = "items")]
    Put,
}

/// How a lookup went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LookupReport {
    /// What it was for.
    pub kind: LookupKind,
    /// The id or infohash it aimed at.
    pub target: NodeId,
    /// Peers found, no more than [`Limits::found`](crate::Limits::found) in each family, and than
    /// [`LookupOptions::max_peers`](crate::LookupOptions::max_peers).
    pub peers: u32,
    /// Whether more were found than those limits have room for.
    pub more_peers: bool,
    /// Nodes asked, both families together.
    pub queried: u32,
    /// Nodes that answered.
    pub answered: u32,
    /// Nodes that failed: silent, unreachable, or with another id than they were listed under.
    pub failed: u32,
    /// Nodes that were sent the announce, or the put.
    pub announced: u32,
    /// Nodes that confirmed it.
    pub acknowledged: u32,
    /// Nodes that refused it.
    pub refused: Refusals,
    /// Nodes that returned the newest version of the item.
    #[cfg(feature = "items")]
    pub copies: u32,
    /// The highest sequence number that a node returned under a valid signature.
    #[cfg(feature = "items")]
    pub seq: Option<i64>,
    /// Why a put was sent to nobody, or from some moment on to nobody else, whatever
    /// [`acknowledged`](Self::acknowledged) says; `None` if nothing stood in its way.
    #[cfg(feature = "items")]
    pub obstacle: Option<PutObstacle>,
    /// From start to end.
    pub duration: Duration,
    /// The announce that is kept up of which this was a round; `None` for any other lookup.
    pub publication: Option<PublicationId>,
    /// How many peers the torrent has; `None` for any lookup but a scrape.
    pub swarm: Option<SwarmSize>,
    /// How many nodes the DHT of each family has, in the order of [`Family::ALL`]: what
    /// [`Node::network_size`](crate::Node::network_size) told when this was made.
    pub network_size: [Option<NetworkSize>; 2],
    /// How likely it is that the [`K`](crate::K) closest nodes are by chance as close to the target as those
    /// that answered here, in millionths, of both families the less likely. Below 1,000, one in a thousand,
    /// somebody has probably moved close to the target. `None` where it cannot be told: too few nodes
    /// answered, the network's size is not known well enough yet, or a single node was asked.
    pub crowding: Option<u32>,
}

impl LookupReport {
    /// A lookup that has found nothing so far.
    pub(crate) const fn unstarted(kind: LookupKind, target: NodeId) -> Self {
        Self {
            kind,
            target,
            peers: 0,
            more_peers: false,
            queried: 0,
            answered: 0,
            failed: 0,
            announced: 0,
            acknowledged: 0,
            refused: Refusals { total: 0, cas_mismatch: 0, seq_too_low: 0, last: None },
            #[cfg(feature = "items")]
            copies: 0,
            #[cfg(feature = "items")]
            seq: None,
            #[cfg(feature = "items")]
            obstacle: None,
            duration: Duration::ZERO,
            publication: None,
            swarm: None,
            network_size: [None; 2],
            crowding: None,
        }
    }
}

/// How many peers a torrent has, by the filters of the nodes that a scrape asked (BEP 33).
///
/// It is an estimate of how many announced themselves to those nodes within the last half hour or so, and
/// every node can lie, within the bounds that [`BloomFilter::is_plausible`](crate::BloomFilter::is_plausible)
/// sets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SwarmSize {
    /// Peers that have the whole torrent.
    pub seeds: u32,
    /// All others, those among them of whom it is not known.
    pub downloaders: u32,
    /// Nodes that sent filters. With 0 nobody counted for us: `downloaders` are the peers that were named.
    pub sources: u32,
    /// Nodes whose filters were not used: all ones, too full to be true, or without a peer of the same
    /// answer.
    pub refused: u32,
}

/// The answer to [`sample_infohashes`](crate::Node::sample_infohashes) (BEP 51).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Sample {
    /// The id of the node that answered.
    pub id: NodeId,
    /// From query to answer.
    pub rtt: Duration,
    /// Whether the node knows the query. One that does not may list nodes all the same, as does one whose
    /// sample was malformed.
    pub is_supported: bool,
    /// The infohashes that it told, at most 64.
    pub count: u32,
    /// The infohashes that it stores peers of, by its own account.
    pub stored: u32,
    /// For how long it wants not to be asked again, at most six hours: it would tell the same.
    pub interval: Duration,
}

/// How nodes refused an announce or a put: with which errors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Refusals {
    /// All of them.
    pub total: u32,
    /// With 301: the node holds an item of another sequence number than was to be replaced (BEP 44). If
    /// the newest item found has another number, the put is sent to nobody, and all who returned one
    /// are counted here.
    pub cas_mismatch: u32,
    /// With 302: the node holds an item of a higher sequence number, or of the same with another
    /// value (BEP 44). Some nodes say so also to the item that they hold: those that returned this very
    /// value before count as having taken it.
    pub seq_too_low: u32,
    /// The last code of any refusal.
    pub last: Option<ErrorCode>,
}

/// The answer to a [`ping`](crate::Node::ping).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pong {
    /// The id of the node that answered.
    pub id: NodeId,
    /// From query to answer.
    pub rtt: Duration,
}

impl fmt::Debug for LookupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LookupId({}.{})", self.ix.position(), self.generation)
    }
}

impl fmt::Debug for PublicationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicationId({}.{})", self.ix.position(), self.generation)
    }
}

impl fmt::Debug for QueryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "QueryId({}.{})", self.ix.position(), self.generation)
    }
}

/// An informational event, packed to wait in a ring.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub(crate) struct PackedEvent {
    pub(crate) kind: PackedKind,
    /// A node's id or a torrent's infohash.
    pub(crate) id: NodeId,
    pub(crate) endpoint: Endpoint,
    pub(crate) lookup: LookupId,
    /// Negative for an item without a number.
    #[cfg(feature = "items")]
    pub(crate) seq: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub(crate) enum PackedKind {
    ReadyV4,
    ReadyV6,
    NodeAdded,
    NodeRemoved,
    Acknowledged,
    PeerStored,
    SeedStored,
    #[cfg(feature = "items")]
    ItemFound,
    #[cfg(feature = "items")]
    ItemStored,
    ExternalAddr,
    IdChangedV4,
    IdChangedV6,
}

impl PackedEvent {
    pub(crate) const EMPTY: Self = Self {
        kind: PackedKind::ReadyV4,
        id: NodeId::ZERO,
        endpoint: Endpoint::ZERO,
        lookup: LookupId { ix: Ix::NONE, generation: 0 },
        #[cfg(feature = "items")]
        seq: 0,
    };
}

impl PackedEvent {
    /// What it tells; `own` are our ids now.
    pub(crate) fn event(self, own: [NodeId; 2]) -> Event {
        let (id, addr) = (self.id, self.endpoint.into());
        let id_changed = |family: Family| Event::IdChanged { family, old: id, new: own[family.index()] };
        match self.kind {
            PackedKind::ReadyV4 => Event::Ready { family: Family::V4 },
            PackedKind::ReadyV6 => Event::Ready { family: Family::V6 },
            PackedKind::NodeAdded => Event::NodeAdded { id, addr },
            PackedKind::NodeRemoved => Event::NodeRemoved { id, addr },
            PackedKind::Acknowledged => Event::Acknowledged { lookup: self.lookup, node: addr },
            PackedKind::PeerStored => Event::PeerStored { infohash: id.into(), peer: addr, seed: false },
            PackedKind::SeedStored => Event::PeerStored { infohash: id.into(), peer: addr, seed: true },
            #[cfg(feature = "items")]
            PackedKind::ItemFound => {
                let node = Some(addr).filter(|_| self.endpoint != Endpoint::ZERO);
                Event::ItemFound { lookup: self.lookup, node, seq: self.seq() }
            }
            #[cfg(feature = "items")]
            PackedKind::ItemStored => Event::ItemStored { target: id, node: addr, seq: self.seq() },
            PackedKind::ExternalAddr => Event::ExternalAddr { addr },
            PackedKind::IdChangedV4 => id_changed(Family::V4),
            PackedKind::IdChangedV6 => id_changed(Family::V6),
        }
    }

    #[cfg(feature = "items")]
    fn seq(&self) -> Option<i64> {
        Some(self.seq).filter(|seq| *seq >= 0)
    }
}
