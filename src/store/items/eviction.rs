//! Eviction of items: those far from our id and put by few subnets go first.

use heapless::Vec;

use super::chunks::Chunks;
use super::store::{ItemSlots, ItemStore, Stored, Victims, chain_len};
use crate::base::addr::Endpoint;
use crate::base::id::NodeId;
use crate::base::pool::{Ix, Slot};
use crate::base::rng::Rng;
use crate::base::time::Instant;
use crate::wire::PutItem;

/// Number of records compared for eviction; in a store with no more than that, all.
const DRAWN: usize = 32;

/// Number of subnets putting an item that weigh as much as one bit of closeness.
///
/// Subnets are /24s, so that a crowd of addresses within one does not count.
const NETWORKS_PER_BIT: i32 = 4;

/// The inverse of the part of the drawn records that one source may have put.
///
/// Beyond that, and beyond one record, its items are evicted first, and it cannot evict those of others: targets
/// close to our id are easily made.
const FAIR_SHARE: usize = 16;

/// A penalty larger than any closeness and any number of subnets.
const UNFAIR: i32 = 1000;

impl ItemStore {
    /// Chooses the records to evict so that an item fits, in place of the record `old` if it replaces one.
    ///
    /// None if there is room; `None` if all are worth more than the item.
    #[expect(clippy::too_many_arguments)]
    pub(crate) fn find_room(
        &mut self,
        slots: &mut ItemSlots<'_>,
        (target, item): (&NodeId, &PutItem<'_>),
        old: Option<Ix>,
        from: Endpoint,
        ids: &[NodeId],
        now: Instant,
        rng: &mut Rng,
    ) -> Option<Victims> {
        self.expire(slots, now);
        let own = old.map_or(0, |ix| slots.records[ix].chunks());
        let needed = Chunks::needed(chain_len(item));
        let mut free = self.chunks.available(slots.chunks) + own;
        let has_record = old.is_some() || !self.is_full(slots.records);
        let mut victims = Victims::new();
        if has_record && free >= needed {
            return Some(victims);
        }
        let network = self.network(slots.key, from);
        let records = &*slots.records;
        let drawn = draw(records, rng).filter(|&ix| Some(ix) != old && records[ix].is_taken());
        let drawn: Vec<Ix, DRAWN> = drawn.collect();
        let is_unfair = |origin, more: usize| {
            let crowd = drawn.iter().filter(|&&ix| records[ix].origin == origin).count() + more;
            crowd > ((drawn.len() + more) / FAIR_SHARE).max(1)
        };
        let worth_of = |ix: Ix, more| {
            let Stored { target, origin, networks, .. } = &records[ix];
            worth(target, networks.count_ones(), is_unfair(*origin, more), ids)
        };
        let own_worth = match old {
            Some(ix) => worth_of(ix, 1),
            None => worth(target, 1, is_unfair(network, 1), ids),
        };
        // Among equal ones, the one last put longest ago.
        let rank = |&ix: &Ix| (worth_of(ix, 0), records[ix].ends, ix);
        let mut ranked: Vec<_, DRAWN> = drawn.iter().map(rank).collect();
        ranked.sort_unstable();
        for (worth, _, ix) in ranked {
            if worth > own_worth || victims.push(ix).is_err() {
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

/// Returns the value of keeping an item.
///
/// Nodes look for it here if it is close to our id, and an item put by many is wanted by many; but no source may
/// fill the store alone.
fn worth(target: &NodeId, networks: u32, is_unfair: bool, ids: &[NodeId]) -> i32 {
    let closeness = ids.iter().map(|id| id.common_prefix_len(target)).max().unwrap_or(0);
    closeness as i32 * NETWORKS_PER_BIT + networks as i32 - if is_unfair { UNFAIR } else { 0 }
}

/// Draws records spread over the memory, from a random one on.
///
/// Adjacent records were put at about the same time, often from one source.
fn draw(records: &[Slot<Stored>], rng: &mut Rng) -> impl Iterator<Item = Ix> {
    let len = records.len();
    let (start, stride) = (rng.below(len), (len / DRAWN).max(1));
    (0..len.min(DRAWN)).map(move |at| Ix::new((start + at * stride) % len))
}
