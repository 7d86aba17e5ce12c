//! All measurements of a node and the loop around it, read in one turn of the loop.

use alloc::vec::Vec;
use core::time::Duration;

use super::counters::LoopStats;
use crate::base::metrics::metrics;
use crate::stats::{BucketInfo, Stats};
use crate::{Family, Node};

/// The shares of answers for which [`Metrics::rtt`] has a time.
const SHARES: [f32; 3] = [0.5, 0.9, 0.99];

/// Counters and gauges at one moment, from `DhtHandle::metrics`.
///
/// All but the round-trip times can be iterated over by name: [`Stats::metrics`], [`LoopStats::metrics`],
/// [`Levels::metrics`], [`FamilyLevels::metrics`], [`BucketInfo::metrics`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Metrics {
    /// The counters of the node.
    pub stats: Stats,
    /// The counters of the loop.
    pub loop_stats: LoopStats,
    /// The gauges of the node.
    pub levels: Levels,
    /// The gauges of each family, in the order of [`Family::ALL`].
    pub families: [FamilyMetrics; 2],
    /// The round-trip times: a share of the answers (0.5, 0.9, 0.99), and the time within which that share arrived, to
    /// within a fifth. Zero before the first answer.
    pub rtt: [(f32, Duration); SHARES.len()],
}

metrics! {
    /// Gauges of a node.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    #[non_exhaustive]
    pub struct Levels {
        /// Torrents that peers announced to this node.
        pub infohashes: usize,
        /// Torrents that there is memory for.
        pub infohash_capacity: usize,
        /// Items that others put to this node; 0 without the feature `items`.
        pub stored_items: usize,
        /// Endpoints whose last contact and failures are remembered.
        pub contacts: usize,
        /// Lookups in progress, those of the node itself included.
        pub lookups_under_way: usize,
        /// Queries in flight.
        pub queries_under_way: usize,
        /// Publications: announces and items that are republished.
        pub kept: usize,
    }
}

/// The gauges of one family; all are zero if the family is off.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FamilyMetrics {
    /// The family.
    pub family: Family,
    /// Its gauges.
    pub levels: FamilyLevels,
    /// Its routing table, from [`Node::buckets`](crate::Node::buckets).
    pub buckets: Vec<BucketInfo>,
}

metrics! {
    /// Gauges of one family of a node.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    #[non_exhaustive]
    pub struct FamilyLevels {
        /// 1 if the node has joined the DHT, 0 if not.
        pub ready: usize,
        /// Nodes in the routing table.
        pub nodes: usize,
        /// Restored nodes that have not answered yet.
        pub restored: usize,
        /// Peers that announced themselves to this node.
        pub peers: usize,
        /// Peers that there is memory for, if all of them are in a few torrents.
        pub peer_capacity: usize,
        /// The estimated number of nodes in the DHT; 0 before the first lookup.
        pub network_size: u64,
        /// The standard error of that estimate.
        pub network_size_error: u64,
    }
}

impl Metrics {
    pub(crate) fn read(node: &Node, loop_stats: LoopStats) -> Self {
        Self {
            stats: *node.stats(),
            loop_stats,
            levels: Levels {
                infohashes: node.infohash_count(),
                infohash_capacity: node.infohash_capacity(),
                #[cfg(feature = "items")]
                stored_items: node.item_count(),
                #[cfg(not(feature = "items"))]
                stored_items: 0,
                contacts: node.reputation_count(),
                lookups_under_way: node.lookup_count(),
                queries_under_way: node.query_count(),
                kept: node.publication_count(),
            },
            families: Family::ALL.map(|family| FamilyMetrics {
                family,
                levels: FamilyLevels {
                    network_size: node.network_size(family).map_or(0, |size| size.nodes),
                    network_size_error: node.network_size(family).map_or(0, |size| size.standard_error),
                    ready: node.is_ready(family).into(),
                    nodes: node.node_count(family),
                    restored: node.restored_count(family),
                    peers: node.peer_count(family),
                    peer_capacity: node.peer_capacity(family),
                },
                buckets: node.buckets(family).collect(),
            }),
            rtt: SHARES.map(|share| (share, node.rtt_quantile(share))),
        }
    }
}
