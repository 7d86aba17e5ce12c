//! What one network may have of a table: addresses within it cost their owner little.

use core::ops::RangeInclusive;

use super::{Contact, Place, Removal, Slots, Table, maintenance};
use crate::base::addr::Endpoint;
use crate::base::time::{Instant, Secs};

/// Most entries of one /24 or IPv6 /48 in a bucket, replacements included.
pub(super) const MAX_SUBNET_PER_BUCKET: usize = 2;
/// Most entries of one /24 or IPv6 /56 in a table, replacements included, as a tenth of it: no fewer and no
/// more than these.
const SUBNET_PER_TABLE: RangeInclusive<usize> = 1..=8;
/// As many are welcome while there are fewer others.
const FEW: usize = 4;
/// Up to so many entries a table is small: shares shrink as others come.
const SMALL: usize = 10 * FEW;
/// Seconds between two lookups of random targets while one network swamps those of a small table.
const EXPLORATION_INTERVAL: u32 = 20;
/// Most entries of one IPv6 /48 in a table, as this part of its places.
const WIDE_SHARE: usize = 20;

/// Whether networks have shares of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub(super) enum Shares {
    Off,
    Kept,
    /// A network wanted more of a small table since the last exploration.
    Exceeded,
}

impl Table {
    /// Whether networks have shares at all.
    pub(super) fn has_shares(&self) -> bool {
        self.shares != Shares::Off
    }

    /// Whether the endpoint's network has a share: hosts of a private one are no crowd.
    pub(super) fn is_limited(&self, endpoint: Endpoint) -> bool {
        self.has_shares() && !endpoint.is_private()
    }

    /// Whether the node's subnet has its share of the bucket or of the table.
    pub(super) fn is_crowded(&self, slots: &Slots<'_>, contact: Contact) -> bool {
        if !self.is_limited(contact.endpoint) {
            return false;
        }
        let (subnet, wide) = (contact.endpoint.subnet(), contact.endpoint.wide_subnet());
        let own_bucket = self.bucket_of(&contact.id);
        // Of the /24 or /56, of the /48, and all.
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

    /// A node was refused because its network has its share.
    pub(super) fn note_excess(&mut self, now: Instant) {
        if !self.is_empty() && self.len() <= SMALL {
            self.shares = Shares::Exceeded;
            self.refresh_due = self.refresh_due.min(maintenance::second_after(now, EXPLORATION_INTERVAL));
        }
    }

    /// Whether to look up a random target: while one network swamps the lookups of a small table, each of
    /// them finds few others, and the buckets whose few nodes answer them are never stale.
    pub(super) fn takes_exploration(&mut self, now: Instant) -> bool {
        let is_due = self.shares == Shares::Exceeded && !self.is_empty();
        if is_due {
            self.shares = Shares::Kept;
            self.refresh_due = maintenance::second_after(now, EXPLORATION_INTERVAL);
        }
        is_due
    }

    /// Takes out a node of a network that has more than its share now that others have come, the one known
    /// for the shortest time.
    pub(super) fn remove_surplus(&mut self, slots: &mut Slots<'_>, now: Instant) -> Option<Removal> {
        self.surplus(slots, now.secs()).and_then(|index| self.evict(slots, Place::Entry(index), now))
    }

    /// The node that goes next, as an index into `main`.
    fn surplus(&self, slots: &Slots<'_>, now: Secs) -> Option<usize> {
        // In a larger table nobody gets in beyond a share that does not shrink any more.
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

/// What one network may have beside so many entries of others.
fn share(others: usize) -> usize {
    let (least, most) = SUBNET_PER_TABLE.into_inner();
    if others < FEW { FEW } else { (others / 9).clamp(least, most) }
}
