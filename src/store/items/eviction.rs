//! Eviction of items: those far from our id and put by few subnets go first.

use heapless::Vec;

use super::chunks::Chunks;
use super::store::{ItemSlots, ItemStore, NewItem, Stored, Victims, chain_len};
use crate::base::id::NodeId;
use crate::base::pool::{Ix, Slot};
use crate::base::rng::Rng;
use crate::base::time::Instant;

/// Number of records that are compared for eviction, or all in a smaller store.
const DRAWN: usize = 32;

/// Number of subnets (/24) putting an item that weigh as much as one bit of closeness.
const SUBNETS_PER_BIT: i32 = 4;

/// Divisor of the number of drawn records that yields how many one source may have put, at least one.
///
/// Beyond that, its items are evicted first, and it cannot evict those of others: targets close to our id are easily
/// made.
const FAIR_SHARE: usize = 16;

/// A penalty that exceeds any closeness and any number of subnets.
const UNFAIR: i32 = 1000;

impl ItemStore {
    /// Chooses the records to evict so that an item fits: an empty list if there is room.
    ///
    /// Returns `None` if all have a higher priority than the item. `ids` are our own.
    pub(crate) fn find_room(
        &mut self,
        slots: &mut ItemSlots<'_>,
        new: &NewItem<'_>,
        ids: &[NodeId],
        now: Instant,
        rng: &mut Rng,
    ) -> Option<Victims> {
        let NewItem { target, item, from, old } = new;
        let (from, old) = (*from, *old);
        self.expire(slots, now);
        let own = old.map_or(0, |ix| slots.records[ix].chunks());
        let needed = Chunks::needed(chain_len(item));
        let mut free = self.chunks.available(slots.chunks) + own;
        let has_record = old.is_some() || !self.is_full(slots.records);
        let mut victims = Victims::new();
        if has_record && free >= needed {
            return Some(victims);
        }
        let source = self.source(slots.key, from);
        let records = &*slots.records;
        let drawn = draw(records, rng).filter(|&ix| Some(ix) != old && records[ix].is_taken());
        let drawn: Vec<Ix, DRAWN> = drawn.collect();
        let is_unfair = |origin, more: usize| {
            let count = drawn.iter().filter(|&&ix| records[ix].origin == origin).count() + more;
            count > ((drawn.len() + more) / FAIR_SHARE).max(1)
        };
        let priority_of = |ix: Ix, more| {
            let Stored { target, origin, subnets, .. } = &records[ix];
            priority(target, subnets.count_ones(), is_unfair(*origin, more), ids)
        };
        let own_priority = match old {
            Some(ix) => priority_of(ix, 1),
            None => priority(target, 1, is_unfair(source, 1), ids),
        };
        // Among those of equal priority, the one put longest ago comes first.
        let rank = |&ix: &Ix| (priority_of(ix, 0), records[ix].ends, ix);
        let mut ranked: Vec<_, DRAWN> = drawn.iter().map(rank).collect();
        ranked.sort_unstable();
        for (priority, _, ix) in ranked {
            if priority > own_priority || victims.push(ix).is_err() {
                return None;
            }
            free += records[ix].chunks();
            if free >= needed {
                return Some(victims);
            }
        }
        None
    }
}

/// Returns the priority with which an item is kept.
///
/// Nodes look for an item here if it is close to our id, and one put by many is requested by many; but no source may
/// fill the store alone.
fn priority(target: &NodeId, subnets: u32, is_unfair: bool, ids: &[NodeId]) -> i32 {
    let closeness = ids.iter().map(|id| id.common_prefix_len(target)).max().unwrap_or(0);
    closeness as i32 * SUBNETS_PER_BIT + subnets as i32 - if is_unfair { UNFAIR } else { 0 }
}

/// Draws records at equal distances, from a random one on.
///
/// Adjacent records were put at about the same time, often by one source.
fn draw(records: &[Slot<Stored>], rng: &mut Rng) -> impl Iterator<Item = Ix> {
    let len = records.len();
    let (start, stride) = (rng.below(len), (len / DRAWN).max(1));
    (0..len.min(DRAWN)).map(move |at| Ix::new((start + at * stride) % len))
}
