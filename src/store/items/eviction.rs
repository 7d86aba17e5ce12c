//! How the store makes room: what is far from us and known to few goes first.

use heapless::Vec;

use super::chunks::Chunks;
use super::store::{ItemSlots, ItemStore, Stored, chain_len};
use crate::base::addr::Endpoint;
use crate::base::id::NodeId;
use crate::base::pool::{Ix, Slot};
use crate::base::rng::Rng;
use crate::base::time::Instant;
use crate::wire::PutItem;

/// Records that are compared when room must be made; in a store of no more, all.
const DRAWN: usize = 32;

/// So many networks that put an item weigh as much as one bit of closeness. A network is a /24: no
/// crowd of addresses within it counts.
const NETWORKS_PER_BIT: i32 = 4;

/// Whoever put more than this part of the records drawn, and more than one, gives way first, and to
/// others only: targets are easily made so that they lie close to us.
const FAIR_SHARE: usize = 16;

/// More than any closeness and any number of networks weigh.
const UNFAIR: i32 = 1000;

/// The records that give way to an item: as many as the longest needs if all have a single chunk.
pub(crate) type Victims = Vec<Ix, 10>;

impl ItemStore {
    /// The records that must give way to an item, in the place of the record `old` if there is one,
    /// for it to fit: none where there is room, and `None` where all are worth more.
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
        // Of equal ones that which was not put again for longest.
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

/// How much an item is worth to keep: nodes look for it where it is close, and many want what many
/// put; but nobody may fill the store alone.
fn worth(target: &NodeId, networks: u32, is_unfair: bool, ids: &[NodeId]) -> i32 {
    let closeness = ids.iter().map(|id| id.common_prefix_len(target)).max().unwrap_or(0);
    closeness as i32 * NETWORKS_PER_BIT + networks as i32 - if is_unfair { UNFAIR } else { 0 }
}

/// Records all over the memory, from a random one on: neighbours came at one time, and often from one source.
fn draw(records: &[Slot<Stored>], rng: &mut Rng) -> impl Iterator<Item = Ix> {
    let len = records.len();
    let (start, stride) = (rng.below(len), (len / DRAWN).max(1));
    (0..len.min(DRAWN)).map(move |at| Ix::new((start + at * stride) % len))
}
