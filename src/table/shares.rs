//! Limits on the entries that one subnet may hold in a table: addresses within it cost their owner little.

use core::ops::RangeInclusive;

use super::maintenance::second_after;
use super::{Contact, Place, Removal, Shares, Slots, Table};
use crate::base::addr::Endpoint;
use crate::base::time::{Instant, Secs};

/// Maximum number of entries of one /24 or IPv6 /48 in a bucket, including replacements.
pub(super) const WIDE_SUBNET_PER_BUCKET: usize = 2;
/// Bounds of the number of entries of one subnet (/24 or IPv6 /56) in a table, including replacements.
///
/// Between these bounds, the share of a subnet is a tenth of the table.
const SUBNET_PER_TABLE: RangeInclusive<usize> = 1..=8;
/// Share of a subnet while there are fewer entries than this from other subnets.
const FEW_OTHERS: usize = 4;
/// Size up to which a table is small: shares shrink as entries of other subnets are added.
const SMALL: usize = 10 * FEW_OTHERS;
/// Seconds between two lookups of random targets while the nodes of one subnet crowd a small table.
const EXPLORATION_INTERVAL: u32 = 20;
/// Divisor of the capacity of a table that yields the maximum number of entries of one IPv6 /48.
const WIDE_SUBNET_DIVISOR: usize = 20;

impl Table {
    /// Whether subnets have limited shares at all.
    pub(super) fn has_shares(&self) -> bool {
        self.shares != Shares::Unlimited
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
        let (mut in_subnet, mut in_wide, mut total) = (0, 0, 0);
        for bucket in 0..self.depth() {
            let entries = slots.entries[slots.nodes().range(bucket)]
                .iter()
                .chain(&slots.replacements[self.replacements(slots, bucket)]);
            let before = in_wide;
            for entry in entries {
                total += 1;
                in_wide += usize::from(entry.endpoint.wide_subnet() == wide);
                in_subnet += usize::from(entry.endpoint.subnet() == subnet);
            }
            if bucket == own_bucket && in_wide - before >= WIDE_SUBNET_PER_BUCKET {
                return true;
            }
        }
        let most = (slots.entries.len() / WIDE_SUBNET_DIVISOR).max(*SUBNET_PER_TABLE.end());
        in_subnet >= share(total - in_subnet) || in_wide >= most
    }

    /// Records that a node was refused because its subnet has used up its share.
    pub(super) fn note_excess(&mut self, now: Instant) {
        if !self.is_empty() && self.len() <= SMALL {
            self.shares = Shares::Exceeded;
            self.refresh_due = self.refresh_due.min(second_after(now, EXPLORATION_INTERVAL));
        }
    }

    /// Returns whether to look up a random target now, and schedules the next time.
    ///
    /// While the nodes of one subnet crowd a small table, its lookups find few others, and buckets whose few nodes
    /// respond to these lookups never become stale.
    pub(super) fn start_exploration(&mut self, now: Instant) -> bool {
        let is_due = self.shares == Shares::Exceeded && !self.is_empty();
        if is_due {
            self.shares = Shares::Limited;
            self.refresh_due = second_after(now, EXPLORATION_INTERVAL);
        }
        is_due
    }

    /// Evicts the newest node of a subnet that exceeds its share now that other nodes have been added.
    pub(super) fn remove_surplus(&mut self, slots: &mut Slots<'_>, now: Instant) -> Option<Removal> {
        self.surplus(slots, now.secs()).and_then(|index| self.evict(slots, Place::Entry(index), now))
    }

    /// Returns the newest node of a subnet that exceeds its share, as an index into `entries`.
    fn surplus(&self, slots: &Slots<'_>, now: Secs) -> Option<usize> {
        // In a larger table shares no longer shrink, and no node is added beyond them.
        if !self.has_shares() || self.len() > SMALL {
            return None;
        }
        let all = || (0..self.depth()).flat_map(|bucket| slots.nodes().range(bucket));
        let is_surplus = |&index: &usize| {
            let endpoint = slots.entries[index].endpoint;
            let in_subnet =
                all().filter(|&other| slots.entries[other].endpoint.subnet() == endpoint.subnet()).count();
            self.is_limited(endpoint) && in_subnet > share(self.len() - in_subnet)
        };
        all().filter(is_surplus).min_by_key(|&index| now.since(slots.entries[index].added))
    }
}

/// Returns the maximum number of entries of one subnet beside `others` entries of other subnets.
fn share(others: usize) -> usize {
    let (least, most) = SUBNET_PER_TABLE.into_inner();
    if others < FEW_OTHERS { FEW_OTHERS } else { (others / 9).clamp(least, most) }
}
