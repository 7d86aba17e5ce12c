//! Occupancy of the table, bucket by bucket.

use super::{Bucket, Nodes, Table};
use crate::base::metrics::metrics;
use crate::base::time::Instant;

metrics! {
    /// Number of nodes in a bucket by their state (BEP 5).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    #[non_exhaustive]
    pub struct BucketInfo {
        /// Nodes that were heard from within 15 minutes and have failed no query since.
        pub good: usize,
        /// Nodes that have been silent for longer, or have failed one query.
        pub questionable: usize,
        /// Nodes that have failed more than one query in a row; they are replaced by the next better node.
        pub bad: usize,
        /// Nodes that wait for a place, most of them not verified yet.
        pub replacements: usize,
        /// Places for nodes, not counting replacements.
        pub capacity: usize,
    }
}

impl Table {
    /// Returns the occupancy of each bucket, farthest from the local id first.
    pub(crate) fn occupancy<'a>(
        &self,
        nodes: Nodes<'a>,
        now: Instant,
    ) -> impl Iterator<Item = BucketInfo> + use<'a> {
        (0..self.depth()).map(move |index| {
            let Bucket { capacity, replacements, .. } = nodes.buckets[index];
            let (capacity, replacements) = (capacity.into(), replacements.into());
            let mut info = BucketInfo { capacity, replacements, ..BucketInfo::default() };
            for entry in &nodes.entries[nodes.range(index)] {
                let count = match (entry.is_good(now), entry.is_live()) {
                    (true, _) => &mut info.good,
                    (_, true) => &mut info.questionable,
                    (_, false) => &mut info.bad,
                };
                *count += 1;
            }
            info
        })
    }
}
