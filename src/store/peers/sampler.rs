//! The infohashes returned for `sample_infohashes` queries (BEP 51).

use core::time::Duration;

use super::members::Stamp;
use super::{PeerSlots, PeerStore, Sampler, Swarm};
use crate::base::id::{ID_LEN, InfoHash};
use crate::base::pool::Slot;
use crate::base::rng::Rng;
use crate::base::time::Instant;

/// Maximum time for which a sample may stay the same (BEP 51).
pub(crate) const MAX_INTERVAL: Duration = Duration::from_secs(6 * 3600);

/// Maximum number of swarms that are all visited to draw a subset.
///
/// If there are more, only some are drawn, so that no response takes a tenth of a millisecond.
const MAX_SCANNED: usize = 1024;

/// Maximum number of swarms that are drawn.
const MAX_DRAWS: usize = 1024;

/// The result of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SampleResult {
    /// Number of infohashes written.
    pub(crate) count: usize,
    /// Number of infohashes stored.
    ///
    /// If not all are returned, expired ones count until they are swept, which is within about an eighth of a
    /// peer's lifetime: an exact count would visit every swarm for each response.
    pub(crate) stored: usize,
    /// How long further queries return the same infohashes, or few others.
    pub(crate) interval: Duration,
}

impl PeerStore {
    /// Writes infohashes that have peers: all of them, or as many of the current subset as fit in `out`.
    ///
    /// `subset` is the memory of the subset.
    pub(crate) fn sample_infohashes(
        &mut self,
        slots: PeerSlots<'_>,
        subset: &mut [InfoHash],
        now: Instant,
        rng: &mut Rng,
        out: &mut [[u8; ID_LEN]],
    ) -> SampleResult {
        let full = Duration::from_secs(self.rules.sample_secs.into());
        if self.infohash_count() <= out.len() {
            let all = self.infohashes(slots, now);
            let count = out.iter_mut().zip(all).map(|(to, infohash)| *to = *infohash.as_bytes()).count();
            return SampleResult { count, stored: count, interval: full };
        }
        if now >= self.sampler.until {
            self.sampler = Sampler { count: self.draw(slots, subset, now, rng), until: now + full };
        }
        let drawn = &subset[..subset.len().min(self.sampler.count.into())];
        let live = drawn.iter().filter(|infohash| self.has(slots, infohash, now));
        let count = out.iter_mut().zip(live).map(|(to, infohash)| *to = *infohash.as_bytes()).count();
        SampleResult { count, stored: self.infohash_count(), interval: self.sampler.until - now }
    }

    /// Draws a subset in random order, each infohash with equal probability.
    fn draw(&self, slots: PeerSlots<'_>, subset: &mut [InfoHash], now: Instant, rng: &mut Rng) -> u16 {
        let (now, ttl) = (Stamp::at(now), self.rules.ttl_secs);
        let slots = &slots.swarms[..self.swarms.touched()];
        let is_live = |swarm: &Swarm| swarm.is_live(now, ttl);
        let draw = if slots.len() <= MAX_SCANNED { draw_from_all } else { draw_at_random };
        let count = draw(slots, &is_live, subset, rng);
        for at in (1..count).rev() {
            subset.swap(at, rng.below(at + 1));
        }
        count as u16
    }
}

/// Visits every swarm (Vitter's reservoir sampling).
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

/// Draws at most [`MAX_DRAWS`] slots; if many of them are empty, the subset is smaller than requested.
fn draw_at_random(
    slots: &[Slot<Swarm>],
    is_live: &dyn Fn(&Swarm) -> bool,
    subset: &mut [InfoHash],
    rng: &mut Rng,
) -> usize {
    let mut count = 0;
    for _ in 0..MAX_DRAWS {
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
