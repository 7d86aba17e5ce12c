//! Results of lookups and of queries to single nodes.

use core::time::Duration;

use crate::base::id::NodeId;
use crate::lookup::LookupKind;
use crate::lookup::density::NetworkSize;
use crate::node::api::error::PutError;
use crate::node::api::ids::PublicationId;
#[cfg(feature = "items")]
use crate::store::items::PutObstacle;
use crate::wire::ErrorCode;

/// The results of a lookup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LookupReport {
    /// The kind of the lookup.
    pub kind: LookupKind,
    /// The id or infohash that was looked up.
    pub target: NodeId,
    /// Peers found, no more than [`Limits::peers_per_lookup`](field@crate::Limits::peers_per_lookup) in each family and
    /// [`LookupOptions::max_peers`](field@crate::LookupOptions::max_peers) allow.
    pub peers: u32,
    /// Whether more peers were found than those limits allow.
    pub more_peers: bool,
    /// Nodes queried, in both families together.
    pub queried: u32,
    /// Nodes that answered.
    pub answered: u32,
    /// Nodes that failed: they timed out, were unreachable, or answered with another id than the one they
    /// were listed under.
    pub failed: u32,
    /// Nodes that the announce or the put was sent to.
    pub sent: u32,
    /// Nodes that confirmed the announce or the put.
    pub acknowledged: u32,
    /// Nodes that refused the announce or the put.
    pub refused: Refusals,
    /// What the nodes held of the item that was looked up or put (BEP 44).
    #[cfg(feature = "items")]
    pub item: ItemReport,
    /// The time from start to end.
    pub duration: Duration,
    /// The publication that this lookup republished; `None` for any other lookup.
    pub publication: Option<PublicationId>,
    /// The number of peers of the torrent; `None` for any lookup but a scrape.
    pub swarm: Option<SwarmSize>,
    /// The number of nodes in the DHT of each family, in the order of [`Family::ALL`](crate::Family::ALL), as
    /// [`Node::network_size`](crate::Node::network_size) returned it when this report was made.
    pub network_size: [Option<NetworkSize>; 2],
    /// The probability in millionths that the [`K`](crate::ids::K) closest nodes are by chance as close to the
    /// target as those that answered, in the family where it is lower. Below 1,000, one in a thousand,
    /// an attacker has probably placed nodes close to the target. `None` if it cannot be computed: too few nodes
    /// answered, the size of the network is not known well enough yet, or a single node was queried.
    pub crowding: Option<u32>,
}

/// Where an announce or an item is stored, from [`LookupReport::stored`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stored {
    /// Nodes that confirmed it; 0 if a republish put nothing because enough nodes hold the item.
    pub acknowledged: u32,
    /// Nodes that it was sent to.
    pub sent: u32,
    /// Nodes that held the newest version of the item before.
    #[cfg(feature = "items")]
    pub copies: u32,
}

/// What the nodes held of an item that was looked up or put (BEP 44), in [`LookupReport::item`].
#[cfg(feature = "items")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ItemReport {
    /// Nodes that returned the newest version.
    pub copies: u32,
    /// The highest sequence number that a node returned under a valid signature; `None` for an immutable item.
    pub seq: Option<i64>,
    /// Whether a republish put nothing because more than eight nodes hold the item, all of the closest among them
    /// (BEP 44).
    pub is_spared: bool,
    /// Why a put was sent to no node, or to no further nodes from some point on.
    pub(crate) obstacle: Option<PutObstacle>,
}

#[cfg(feature = "items")]
impl ItemReport {
    const NONE: Self = Self { copies: 0, seq: None, is_spared: false, obstacle: None };
}

impl LookupReport {
    /// Returns where the announce or the put is stored, once it has ended; before, how far it has come.
    ///
    /// A republish that put nothing because enough nodes hold the item counts as stored.
    ///
    /// # Errors
    ///
    /// [`PutError`] if it is stored nowhere, and if other nodes hold another version of the item: readers find that
    /// one, even if some nodes stored this one before it was known.
    pub const fn stored(&self) -> Result<Stored, PutError> {
        if !self.kind.stores() {
            return Err(PutError::WrongKind(self.kind));
        }
        #[cfg(feature = "items")]
        if let Some(obstacle) = self.item.obstacle {
            return Err(PutError::from_obstacle(obstacle));
        }
        let stored = Stored {
            acknowledged: self.acknowledged,
            sent: self.sent,
            #[cfg(feature = "items")]
            copies: self.item.copies,
        };
        #[cfg(feature = "items")]
        if self.item.is_spared {
            return Ok(stored);
        }
        match (self.acknowledged, self.refused.code(), self.sent, self.answered) {
            (1.., ..) => Ok(stored),
            (0, Some(code), ..) => Err(PutError::Refused(code)),
            (0, None, 0, 0) => Err(PutError::NoNodes),
            (0, None, 0, answered) => Err(PutError::NoTokens { answered }),
            (0, None, sent, _) => Err(PutError::Unconfirmed { sent }),
        }
    }

    /// Creates the report of a lookup that has found nothing so far.
    pub(crate) const fn unstarted(kind: LookupKind, target: NodeId) -> Self {
        Self {
            kind,
            target,
            peers: 0,
            more_peers: false,
            queried: 0,
            answered: 0,
            failed: 0,
            sent: 0,
            acknowledged: 0,
            refused: Refusals { total: 0, cas_mismatch: 0, seq_too_low: 0, last: None },
            #[cfg(feature = "items")]
            item: ItemReport::NONE,
            duration: Duration::ZERO,
            publication: None,
            swarm: None,
            network_size: [None; 2],
            crowding: None,
        }
    }
}

/// The size of a torrent's swarm, estimated from the filters of the nodes that a scrape queried (BEP 33).
///
/// It estimates how many peers announced themselves to those nodes within about the last half hour. Any node can
/// report false filters, within the bounds that
/// [`BloomFilter::is_plausible`](crate::stats::BloomFilter::is_plausible) sets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SwarmSize {
    /// Peers that have the whole torrent.
    pub seeds: u32,
    /// All other peers, including those of unknown state.
    pub downloaders: u32,
    /// Nodes that sent filters. With 0 none did, and `downloaders` counts the peers that were listed.
    pub sources: u32,
    /// Nodes whose filters were not used: all ones, implausibly full, or without a peer of the same response.
    pub refused: u32,
}

/// The answer to [`sample_infohashes`](crate::Node::sample_infohashes) (BEP 51).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Sample {
    /// The id of the node that answered.
    pub id: NodeId,
    /// The round-trip time.
    pub rtt: Duration,
    /// Whether the node supports the query. One that does not may still list nodes, as does one whose
    /// sample was malformed.
    pub is_supported: bool,
    /// The number of infohashes returned, at most 64.
    pub count: u32,
    /// The number of infohashes that the node claims to store peers of.
    pub stored: u32,
    /// The time for which the node asks not to be queried again, at most six hours: it would return the same
    /// infohashes.
    pub interval: Duration,
}

/// How nodes refused an announce or a put, by error code.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Refusals {
    /// All refusals.
    pub total: u32,
    /// Refusals with error 301: the node holds an item of another sequence number than the one to be replaced
    /// (BEP 44). If the newest item found has another number, the put is sent to no node, and all nodes that
    /// returned one are counted here.
    pub cas_mismatch: u32,
    /// Refusals with error 302: the node holds an item of a higher sequence number, or of the same with
    /// another value (BEP 44). Some nodes also refuse the very item that they hold: those that returned this
    /// value before count as having stored it.
    pub seq_too_low: u32,
    /// The code of the last refusal.
    pub last: Option<ErrorCode>,
}

impl Refusals {
    /// Returns the code to report: one that says what the node holds, else the last.
    const fn code(&self) -> Option<ErrorCode> {
        match self {
            Self { cas_mismatch: 1.., .. } => Some(ErrorCode::CAS_MISMATCH),
            Self { seq_too_low: 1.., .. } => Some(ErrorCode::SEQ_TOO_LOW),
            Self { total: 1.., last: Some(code), .. } => Some(*code),
            Self { total: 1.., last: None, .. } => Some(ErrorCode::UNKNOWN),
            Self { total: 0, .. } => None,
        }
    }
}

/// The answer to a [`ping`](crate::Node::ping).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pong {
    /// The id of the node that answered.
    pub id: NodeId,
    /// The round-trip time.
    pub rtt: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> LookupReport {
        LookupReport { queried: 20, ..LookupReport::unstarted(LookupKind::Announce, NodeId::ZERO) }
    }

    #[test]
    fn whatever_stored_nothing_is_an_error_with_its_reason() {
        let nothing = report();
        assert_eq!(nothing.stored(), Err(PutError::NoNodes));
        let mute = LookupReport { answered: 9, ..nothing };
        assert_eq!(mute.stored(), Err(PutError::NoTokens { answered: 9 }));
        let lost = LookupReport { sent: 8, ..mute };
        assert_eq!(lost.stored(), Err(PutError::Unconfirmed { sent: 8 }));
        let refused = Refusals { total: 3, last: Some(ErrorCode::PROTOCOL), ..Refusals::default() };
        let refused = LookupReport { refused, ..lost };
        assert_eq!(refused.stored(), Err(PutError::Refused(ErrorCode::PROTOCOL)));
        let stored = LookupReport { acknowledged: 1, ..refused };
        assert_eq!(stored.stored().map(|stored| (stored.acknowledged, stored.sent)), Ok((1, 8)));
        let other = LookupReport { kind: LookupKind::GetPeers, ..stored };
        assert_eq!(other.stored(), Err(PutError::WrongKind(LookupKind::GetPeers)));
    }

    #[test]
    fn a_refusal_that_says_what_the_node_holds_comes_before_others() {
        let mut refused = Refusals { total: 5, last: Some(ErrorCode::GENERIC), ..Refusals::default() };
        assert_eq!(refused.code(), Some(ErrorCode::GENERIC));
        refused.seq_too_low = 1;
        assert_eq!(refused.code(), Some(ErrorCode::SEQ_TOO_LOW));
        refused.cas_mismatch = 1;
        assert_eq!(refused.code(), Some(ErrorCode::CAS_MISMATCH));
        refused = Refusals { total: 1, ..Refusals::default() };
        assert_eq!(refused.code(), Some(ErrorCode::UNKNOWN), "the code is not known");
    }

    #[cfg(feature = "items")]
    #[test]
    fn another_version_is_an_error_though_some_nodes_took_this_one_and_a_spared_round_is_none() {
        let base = LookupReport { kind: LookupKind::Put, sent: 8, acknowledged: 5, ..report() };
        for (obstacle, error) in [
            (PutObstacle::Superseded { newest: 9 }, PutError::Superseded { newest: 9 }),
            (PutObstacle::Conflict { seq: 4 }, PutError::Conflict { seq: 4 }),
            (PutObstacle::CasMismatch { found: 7 }, PutError::CasMismatch { found: 7 }),
        ] {
            let item = ItemReport { obstacle: Some(obstacle), ..ItemReport::NONE };
            assert_eq!(LookupReport { item, ..base }.stored(), Err(error));
            assert!(error.is_other_version());
        }
        let item = ItemReport { copies: 9, is_spared: true, ..ItemReport::NONE };
        let spared = LookupReport { item, sent: 0, acknowledged: 0, ..base };
        assert_eq!(spared.stored().map(|stored| (stored.acknowledged, stored.copies)), Ok((0, 9)));
    }
}
