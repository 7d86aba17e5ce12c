//! Events of a node, and the states of nodes and publications.

use core::net::{IpAddr, SocketAddr};
use core::time::Duration;

use crate::base::addr::{Endpoint, Family};
use crate::base::id::{InfoHash, NodeId};
use crate::base::pool::Ix;
use crate::base::time::Instant;
use crate::lookup::Announce;
use crate::node::api::error::QueryError;
use crate::node::api::ids::{LookupId, PublicationId, QueryId};
use crate::node::api::report::{LookupReport, Pong, Sample};

/// An event, from [`Node::poll_event`](crate::Node::poll_event).
///
/// Peers and completions ([`Peer`](Self::Peer), [`LookupDone`](Self::LookupDone),
/// [`QueryDone`](Self::QueryDone), [`SampleDone`](Self::SampleDone)) are derived from state and never lost,
/// however late they are polled. All others wait in a ring, whose oldest is dropped when it is full
/// ([`Stats::events_lost`](crate::stats::Stats::events_lost)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The node has joined the DHT of this family: lookups now start from verified nodes.
    ///
    /// Emitted once after creation, and again after an outage, when the node is
    /// [enabled](crate::Node::set_enabled), and when its socket has been
    /// [rebound](crate::Node::handle_rebind).
    Ready {
        /// The DHT that was joined.
        family: Family,
    },
    /// A node answered and entered the routing table.
    NodeAdded {
        /// The id of the node.
        id: NodeId,
        /// The address of the node.
        addr: SocketAddr,
    },
    /// A node left the routing table: it failed, changed its id, or was replaced by a better one.
    NodeRemoved {
        /// The id of the node.
        id: NodeId,
        /// The address of the node.
        addr: SocketAddr,
    },
    /// The external address of this node became known (BEP 42), or changed.
    ///
    /// Tokens and announces of an old address are void: publications are repeated soon.
    ExternalAddr {
        /// The address that other nodes see. The port is 0 if they disagree on it.
        addr: SocketAddr,
    },
    /// The id of this node no longer matched its external address and was replaced (BEP 42).
    ///
    /// The nodes of the routing table were moved; some may have lost their place.
    IdChanged {
        /// The DHT in which the id changed.
        family: Family,
        /// The previous id.
        old: NodeId,
        /// The id at the time of polling.
        new: NodeId,
    },
    /// A lookup found a peer of its torrent.
    ///
    /// A peer is reported once for each lookup, and no more are reported than
    /// [`Limits::peers_per_lookup`](field@crate::Limits::peers_per_lookup) and
    /// [`LookupOptions::max_peers`](field@crate::LookupOptions::max_peers) allow; [`LookupReport::more_peers`]
    /// says whether there were more.
    ///
    /// Peers with port 1 come from old clients that announced a placeholder, and cannot be connected to. They are
    /// reported unchanged, for the caller to filter.
    Peer {
        /// The lookup that found the peer.
        lookup: LookupId,
        /// The address of the peer.
        peer: SocketAddr,
    },
    /// A node confirmed that it stored an announce of this node.
    ///
    /// The ring may lose the event; the count in [`LookupReport::acknowledged`] is complete. After its end an
    /// announce is still sent to closer nodes that answer late; their confirmations are not reported.
    Acknowledged {
        /// The announce or put.
        lookup: LookupId,
        /// The node that stored it.
        node: SocketAddr,
    },
    /// A lookup, announce or bootstrap has ended.
    ///
    /// Its id is no longer valid, except for [`Node::lookup_nodes`](crate::Node::lookup_nodes) until the next
    /// input or command.
    LookupDone {
        /// The lookup that ended.
        lookup: LookupId,
        /// The results of the lookup.
        report: LookupReport,
    },
    /// A query to a single node has ended.
    QueryDone {
        /// The query that ended.
        query: QueryId,
        /// The address that the query was sent to.
        addr: SocketAddr,
        /// The answer, or the error.
        result: Result<Pong, QueryError>,
    },
    /// A query for a sample of infohashes has ended.
    ///
    /// [`Node::samples`](crate::Node::samples) and [`Node::sample_nodes`](crate::Node::sample_nodes) return
    /// the rest of the answer, until the next input or command.
    SampleDone {
        /// The query that ended.
        query: QueryId,
        /// The address that the query was sent to.
        addr: SocketAddr,
        /// The answer, or the error.
        result: Result<Sample, QueryError>,
    },
    /// A peer announced itself to this node and was stored or renewed.
    /// [`Node::store_peer`](crate::Node::store_peer) hands it to another node.
    PeerStored {
        /// The torrent that was announced.
        infohash: InfoHash,
        /// The address of the peer.
        peer: SocketAddr,
        /// Whether the peer claims to have the whole torrent.
        seed: bool,
    },
    /// A node returned a valid item to a lookup, of any version.
    ///
    /// [`Node::item`](crate::Node::item) returns the newest so far. The ring may lose the event, but not the
    /// item.
    #[cfg(feature = "items")]
    ItemFound {
        /// The lookup that found the item.
        lookup: LookupId,
        /// The node that returned the item; `None` if it was stored at this node.
        node: Option<SocketAddr>,
        /// The sequence number; `None` for an immutable item.
        seq: Option<i64>,
    },
    /// An item was put to this node and stored or renewed.
    ///
    /// [`Node::stored_item`](crate::Node::stored_item) returns it, and
    /// [`Node::store_item`](crate::Node::store_item) hands it to another node.
    #[cfg(feature = "items")]
    ItemStored {
        /// The target of the item.
        target: NodeId,
        /// The node that put the item.
        node: SocketAddr,
        /// The sequence number; `None` for an immutable item.
        seq: Option<i64>,
    },
}

impl Event {
    /// Returns the lookup that the event belongs to, if any.
    pub const fn lookup(&self) -> Option<LookupId> {
        match *self {
            Self::Peer { lookup, .. }
            | Self::Acknowledged { lookup, .. }
            | Self::LookupDone { lookup, .. } => Some(lookup),
            #[cfg(feature = "items")]
            Self::ItemFound { lookup, .. } => Some(lookup),
            Self::Ready { .. }
            | Self::NodeAdded { .. }
            | Self::NodeRemoved { .. }
            | Self::ExternalAddr { .. }
            | Self::IdChanged { .. }
            | Self::QueryDone { .. }
            | Self::SampleDone { .. }
            | Self::PeerStored { .. } => None,
            #[cfg(feature = "items")]
            Self::ItemStored { .. } => None,
        }
    }
}

/// A datagram to send, from [`Node::poll_transmit`](crate::Node::poll_transmit): the first `size` bytes of
/// the caller's buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Transmit {
    /// The destination; its family selects the socket.
    pub destination: SocketAddr,
    /// The local address to send from, if the datagram answers a query that came to a known one
    /// ([`Node::handle_datagram_at`](crate::Node::handle_datagram_at)): the querying node drops an answer
    /// from any other. If `None`, the system chooses.
    pub source: Option<IpAddr>,
    /// The length in bytes, at most [`MAX_DATAGRAM`](crate::MAX_DATAGRAM).
    pub size: usize,
}

/// A node of the DHT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NodeInfo {
    /// The id of the node.
    pub id: NodeId,
    /// The address of the node.
    pub addr: SocketAddr,
    /// The smoothed round-trip time; `None` before the first answer.
    pub rtt: Option<Duration>,
}

/// The state of an announcement, from [`Node::announcements`](crate::Node::announcements).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AnnouncementInfo {
    /// The id of the publication.
    pub id: PublicationId,
    /// The torrent that is announced.
    pub infohash: InfoHash,
    /// The peer that is announced.
    pub announce: Announce,
    /// The republish in progress, or ended and not yet polled.
    pub round: Option<LookupId>,
    /// The last completed republish; `None` before the end of the first.
    pub last: Option<RepublishInfo>,
    /// The latest time at which the next republish is due; `None` while one is in progress. It may start
    /// earlier, because republishes are spread evenly, and later while there is no network or there are more
    /// publications than [`Config::new_endpoints`](field@crate::Config::new_endpoints) allows.
    pub due: Option<Instant>,
}

/// The state of a published item, from [`Node::publications`](crate::Node::publications).
#[cfg(feature = "items")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PublicationInfo {
    /// The id of the publication.
    pub id: PublicationId,
    /// The target at which the item is stored.
    pub target: NodeId,
    /// The sequence number; `None` for an immutable item.
    pub seq: Option<i64>,
    /// The highest sequence number that nodes returned so far. If it is higher than `seq`, another publisher with the
    /// same key has replaced the item, and it is no longer put.
    pub newest: Option<i64>,
    /// The republish in progress, or ended and not yet polled.
    pub round: Option<LookupId>,
    /// The last completed republish; `None` before the end of the first.
    pub last: Option<RepublishInfo>,
    /// Whether the last republish stored nothing, because more than eight nodes held the item, all of the
    /// closest among them (BEP 44), or because of another version ([`LookupReport::stored`]).
    pub is_spared: bool,
    /// The time at which the next republish is due, as in [`AnnouncementInfo::due`].
    pub due: Option<Instant>,
}

/// The result of a republish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RepublishInfo {
    /// The time at which it ended; the origin of the clock if an earlier node ended it before.
    pub ended: Instant,
    /// The number of nodes that confirmed it; with 0 it has failed.
    pub acknowledged: u32,
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
    /// The sequence number; negative for an item without one.
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
    /// Returns the event; `own` are the current ids of this node.
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
