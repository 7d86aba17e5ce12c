//! Which infohashes are told to whoever asks for a sample (BEP 51).

use core::time::Duration;

use super::members::Stamp;
use super::{PeerSlots, PeerStore, Swarm};
use crate::base::id::{ID_LEN, InfoHash};
use crate::base::pool::Slot;
use crate::base::rng::Rng;
use crate::base::time::Instant;

/// The longest time for which a sample may stay the same (BEP 51).
pub(crate) const MAX_INTERVAL: Duration = Duration::from_secs(6 * 3600);

/// Up to this many swarms are all looked at for a subset; among more, some are drawn, so that no answer
/// takes a tenth of a millisecond.
const SURVEYED: usize = 1024;

/// Most swarms that are looked at then.
const PROBES: usize = 1024;

/// The random subset that is told while not all infohashes fit into an answer.
///
/// It is drawn when somebody asks and the last one is over, never oftener, so that asking again brings
/// nothing new. Answers with less room tell the first of it.
#[derive(Clone, Copy, Debug, Default)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub(crate) struct Sampler {
    count: u16,
    until: Instant,
}

/// What is told beside the infohashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    /// Infohashes written.
    pub(crate) count: usize,
    /// Infohashes stored. While not all are told, those that expired count until they are swept, which is
    /// within an eighth of a peer's life or so: to count them would be to look at every swarm in each answer.
    pub(crate) stored: usize,
    /// How long asking again brings nothing new, or little.
    pub(crate) interval: Duration,
}

impl PeerStore {
    /// Writes infohashes that have peers: all of them, or as many of the present subset as fit into
    /// `out`. `subset` is where it lies.
    pub(crate) fn sample_infohashes(
        &mut self,
        slots: PeerSlots<'_>,
        subset: &mut [InfoHash],
        now: Instant,
        rng: &mut Rng,
        out: &mut [[u8; ID_LEN]],
    ) -> Told {
        let full = Duration::from_secs(self.rules.sample_secs.into());
        if self.infohash_count() <= out.len() {
            let all = self.infohashes(slots, now);
            let count = out.iter_mut().zip(all).map(|(to, infohash)| *to = *infohash.as_bytes()).count();
            return Told { count, stored: count, interval: full };
        }
        if now >= self.sampler.until {
            self.sampler = Sampler { count: self.draw(slots, subset, now, rng), until: now + full };
        }
        let drawn = &subset[..subset.len().min(self.sampler.count.into())];
        let live = drawn.iter().filter(|infohash| self.has(slots, infohash, now));
        let count = out.iter_mut().zip(live).map(|(to, infohash)| *to = *infohash.as_bytes()).count();
        Told { count, stored: self.infohash_count(), interval: self.sampler.until - now }
    }

    /// Fills a subset, each infohash with equal chance and at a random place.
    fn draw(&self, slots: PeerSlots<'_>, subset: &mut [InfoHash], now: Instant, rng: &mut Rng) -> u16 {
        let (now, ttl) = (Stamp::at(now), self.rules.ttl_secs);
        let slots = &slots.swarms[..self.swarms.touched()];
        let is_live = |swarm: &Swarm| swarm.is_live(now, ttl);
        let draw = if slots.len() <= SURVEYED { draw_from_all } else { draw_at_random };
        let count = draw(slots, &is_live, subset, rng);
        for at in (1..count).rev() {
            subset.swap(at, rng.below(at + 1));
        }
        count as u16
    }
}

/// Looks at every swarm (Vitter's reservoir).
fn draw_from_all(
    slots: &[Slot<Swarm>],
    is_live: &dyn Fn(&Swarm) -> bool,
    subset: &mut [InfoHash],
    rng: &mut Rng,
) -> usize {
    let mut seen = 0;
    for swarm in slots.iter().map(|slot| &slot.value).filter(|swarm| is_live(swarm)) {
        seen += 1;
        let at = if seen <= subset.len() { seen - 1 } else { rng.below(seen) };
        if let Some(place) = subset.get_mut(at) {
            *place = swarm.infohash;
        }
    }
    seen.min(subset.len())
}

/// Looks at no more than [`PROBES`] places: where many of them are empty, it finds fewer than asked for.
fn draw_at_random(
    slots: &[Slot<Swarm>],
    is_live: &dyn Fn(&Swarm) -> bool,
    subset: &mut [InfoHash],
    rng: &mut Rng,
) -> usize {
    let mut count = 0;
    for _ in 0..PROBES {
        if count == subset.len() {
            break;
        }
        let swarm = &slots[rng.below(slots.len())].value;
        if is_live(swarm) && !subset[..count].contains(&swarm.infohash) {
            subset[count] = swarm.infohash;
            count += 1;
        }
    }
    count
}
