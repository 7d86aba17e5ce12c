//! Limits on the entries that one subnet may hold in a table: addresses within it cost their owner little.

use core::ops::RangeInclusive;

use super::maintenance::second_after;
use super::{Contact, Place, Removal, Shares, Slots, Table};
use crate::base::addr::Endpoint;
use crate::base::time::{Instant, Secs};

/// Maximum number of entries of one /24 or IPv6 /48 in a bucket, including replacements.
pub(super) const MAX_SUBNET_PER_BUCKET: usize = 2;
/// Bounds of the number of entries of one subnet (/24 or IPv6 /56) in a table, including replacements.
///
/// Between these bounds, the share of a subnet is a tenth of the table.
const SUBNET_PER_TABLE: RangeInclusive<usize> = 1..=8;
/// Share of a subnet while there are fewer entries than this from other subnets.
const FEW: usize = 4;
/// Size up to which a table is small: shares shrink as entries of other subnets are added.
const SMALL: usize = 10 * FEW;
/// Seconds between two lookups of random targets while one subnet swamps the lookups of a small table.
const EXPLORATION_INTERVAL: u32 = 20;
/// Divisor of the capacity of a table that yields the maximum number of entries of one IPv6 /48.
const WIDE_SHARE: usize = 20;

impl Table {
    /// Whether subnets have limited shares at all.
    pub(super) fn has_shares(&self) -> bool {
        self.shares != Shares::Off
    }

    /// Whether the limits apply to an endpoint. Private networks are exempt.
    pub(super) fn is_limited(&self, endpoint: Endpoint) -> bool {
        self.has_shares() && !endpoint.is_private()
    }

    /// Whether the subnet of a node has used up its share of the bucket or of the table.
    pub(super) fn is_crowded(&self, slots: &Slots<'_>, contact: Contact) -> bool {
        if !self.is_limited(contact.endpoint) {
            return false;
        }
        let (subnet, wide) = (contact.endpoint.subnet(), contact.endpoint.wide_subnet());
        let own_bucket = self.bucket_of(&contact.id);
        // Numbers of entries in the subnet, in the wide subnet, and in total.
        let (mut near, mut far, mut all) = (0, 0, 0);
        for bucket in 0..self.depth() {
            let entries = slots.entries[slots.nodes().range(bucket)]
                .iter()
                .chain(&slots.replacements[self.replacements(slots, bucket)]);
            let before = far;
            for entry in entries {
                all += 1;
                far += usize::from(entry.endpoint.wide_subnet() == wide);
                near += usize::from(entry.endpoint.subnet() == subnet);
            }
            if bucket == own_bucket && far - before >= MAX_SUBNET_PER_BUCKET {
                return true;
            }
        }
        let most = (slots.entries.len() / WIDE_SHARE).max(*SUBNET_PER_TABLE.end());
        near >= share(all - near) || far >= most
    }

    /// Records that a node was refused because its subnet has used up its share.
    pub(super) fn note_excess(&mut self, now: Instant) {
        if !self.is_empty() && self.len() <= SMALL {
            self.shares = Shares::Exceeded;
            self.refresh_due = self.refresh_due.min(second_after(now, EXPLORATION_INTERVAL));
        }
    }

    /// Whether a random target should be looked up, because one subnet swamps the lookups of a small table.
    ///
    /// Each such lookup finds few other nodes, and the buckets whose few nodes respond to them never become stale.
    pub(super) fn takes_exploration(&mut self, now: Instant) -> bool {
        let is_due = self.shares == Shares::Exceeded && !self.is_empty();
        if is_due {
            self.shares = Shares::Kept;
            self.refresh_due = second_after(now, EXPLORATION_INTERVAL);
        }
        is_due
    }

    /// Evicts the newest node of a subnet that exceeds its share now that other nodes have been added.
    pub(super) fn remove_surplus(&mut self, slots: &mut Slots<'_>, now: Instant) -> Option<Removal> {
        self.surplus(slots, now.secs()).and_then(|index| self.evict(slots, Place::Entry(index), now))
    }

    /// Returns the node to evict next, as an index into `entries`.
    fn surplus(&self, slots: &Slots<'_>, now: Secs) -> Option<usize> {
        // In a larger table shares no longer shrink, and no node is added beyond them.
        if !self.has_shares() || self.len() > SMALL {
            return None;
        }
        let all = || (0..self.depth()).flat_map(|bucket| slots.nodes().range(bucket));
        let is_surplus = |&index: &usize| {
            let endpoint = slots.entries[index].endpoint;
            let near =
                all().filter(|&other| slots.entries[other].endpoint.subnet() == endpoint.subnet()).count();
            self.is_limited(endpoint) && near > share(self.len() - near)
        };
        all().filter(is_surplus).min_by_key(|&index| now.since(slots.entries[index].added))
    }
}

/// Returns the maximum number of entries of one subnet beside `others` entries of other subnets.
fn share(others: usize) -> usize {
    let (least, most) = SUBNET_PER_TABLE.into_inner();
    if others < FEW { FEW } else { (others / 9).clamp(least, most) }
}
