//! What one network may have of a table: addresses within it cost their owner little.

use core::ops::RangeInclusive;

use super::{Contact, Slots, Table};

/// Most entries of one /24 or IPv6 /48 in a bucket, replacements included.
pub(super) const MAX_SUBNET_PER_BUCKET: usize = 2;
/// Most entries of one /24 or IPv6 /56 in a table, replacements included: this many while few others
/// are known, up to twice as many as a tenth of the table.
const SUBNET_PER_TABLE: RangeInclusive<usize> = 4..=8;
/// Most entries of one IPv6 /48 in a table, as this part of its places.
const WIDE_SHARE: usize = 20;

impl Table {
    /// Whether the node's subnet has its share of the bucket or of the table.
    pub(super) fn is_crowded(&self, slots: &Slots<'_>, contact: Contact) -> bool {
        if !self.source_limits {
            return false;
        }
        let (site, wide) = (contact.endpoint.site(), contact.endpoint.wide_subnet());
        let own_bucket = self.bucket_of(&contact.id);
        // Of the /24 or /56, of the /48, and all.
        let (mut near, mut far, mut all) = (0, 0, 0);
        for bucket in 0..self.depth() {
            let entries = slots.main[slots.nodes().range(bucket)]
                .iter()
                .chain(&slots.spares[self.spares(slots, bucket)]);
            let before = far;
            for entry in entries {
                all += 1;
                far += usize::from(entry.endpoint.wide_subnet() == wide);
                near += usize::from(entry.endpoint.site() == site);
            }
            if bucket == own_bucket && far - before >= MAX_SUBNET_PER_BUCKET {
                return true;
            }
        }
        let (least, most) = SUBNET_PER_TABLE.into_inner();
        near >= ((all - near) / 9).clamp(least, most) || far >= (slots.main.len() / WIDE_SHARE).max(most)
    }
}
