//! All that can be measured of a node and the loop around it, read in one turn of the loop.

use alloc::vec::Vec;
use core::time::Duration;

use super::counters::LoopStats;
use crate::base::metrics::metrics;
use crate::stats::{BucketInfo, Stats};
use crate::{Family, Node};

/// The shares of the answers in [`Metrics::rtt`].
const SHARES: [f32; 3] = [0.5, 0.9, 0.99];

/// Counters and levels of one moment, from `DhtHandle::metrics`.
///
/// All but the round-trip times can be gone through by name: [`Stats::metrics`],
/// [`LoopStats::metrics`], [`Levels::metrics`], [`FamilyLevels::metrics`], [`BucketInfo::metrics`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Metrics {
    /// What the node has counted.
    pub stats: Stats,
    /// What the loop around it has counted.
    pub loop_stats: LoopStats,
    /// What the node holds and does.
    pub levels: Levels,
    /// What it holds of each family, in the order of [`Family::ALL`].
    pub families: [FamilyMetrics; 2],
    /// How long answers take: a share of the answers (0.5, 0.9, 0.99) and the time within which that
    /// share came, to within a fifth. Zero before the first answer.
    pub rtt: [(f32, Duration); SHARES.len()],
}

metrics! {
    /// What a node holds and does.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    #[non_exhaustive]
    pub struct Levels {
        /// Torrents that peers announced to us.
        pub infohashes: usize,
        /// Torrents that there is memory for.
        pub infohash_capacity: usize,
        /// Items that others put to us; none without the feature `items`.
        pub stored_items: usize,
        /// Endpoints of which it is remembered when they were contacted and how often they failed.
        pub contacts: usize,
        /// Lookups under way, those of the node itself included.
        pub lookups_under_way: usize,
        /// Our queries that wait for an answer.
        pub queries_under_way: usize,
        /// Announces and items that are kept up.
        pub kept: usize,
    }
}

/// What a node holds of one family. All is zero where the family is off.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FamilyMetrics {
    /// Which family.
    pub family: Family,
    /// What there is of it.
    pub levels: FamilyLevels,
    /// The routing table, as [`Node::buckets`](crate::Node::buckets) tells of it.
    pub buckets: Vec<BucketInfo>,
}

metrics! {
    /// What a node holds of one family.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    #[non_exhaustive]
    pub struct FamilyLevels {
        /// 1 if the node has found its place in the DHT, 0 if not.
        pub ready: usize,
        /// Nodes in the routing table.
        pub nodes: usize,
        /// Nodes of an earlier run that have not answered yet.
        pub restored: usize,
        /// Peers that announced themselves to us.
        pub peers: usize,
        /// Peers that there is memory for, if they are of few torrents.
        pub peer_capacity: usize,
        /// Nodes of the DHT, as estimated; 0 before the first lookup.
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
