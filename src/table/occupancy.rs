//! How full the table is, bucket by bucket.

use super::{Bucket, Nodes, Table};
use crate::base::metrics::metrics;
use crate::base::time::Instant;

metrics! {
    /// How many nodes a bucket holds, by what is known of them (BEP 5).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    #[non_exhaustive]
    pub struct BucketInfo {
        /// Nodes that were heard of within 15 minutes and left no query unanswered since.
        pub good: usize,
        /// Nodes that were silent for longer, or left one query unanswered.
        pub questionable: usize,
        /// Nodes that left more than one query in a row unanswered; the next better one takes their place.
        pub bad: usize,
        /// Nodes that wait for a place, most of them still to be proved alive.
        pub replacements: usize,
        /// Places for nodes, replacements not included.
        pub capacity: usize,
    }
}

impl Table {
    /// From the bucket furthest from our id.
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
