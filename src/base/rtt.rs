//! Round-trip times: a decaying histogram, from which the stall deadline of a query is derived.
//!
//! A query that has not been answered by the time most responses arrive no longer holds up its lookup. That
//! time depends on the location of the node, so it is measured.

use core::time::Duration;

use crate::base::time::micros;

/// Number of bins: steps of a quarter octave from 1 ms to 16 s.
const BINS: usize = 56;

/// Number of samples at which the weight of the old ones is halved.
const WINDOW: u16 = 512;

/// Number of samples below which the tail is unknown.
const ENOUGH: u16 = 16;

/// Stall deadline before there are enough samples.
const INITIAL_STALL: Duration = Duration::from_secs(1);

/// Minimum stall deadline: on fast links, late responses are caused by the scheduler of the remote host.
const MIN_STALL: Duration = Duration::from_millis(50);

/// The distribution of recent round-trip times.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub(crate) struct RttHistogram {
    #[cfg_attr(feature = "checkpoint", serde(with = "serde_big_array::BigArray"))]
    bins: [u16; BINS],
    total: u16,
}

impl RttHistogram {
    pub(crate) const fn new() -> Self {
        Self { bins: [0; BINS], total: 0 }
    }

    pub(crate) fn record(&mut self, rtt: Duration) {
        if self.total >= WINDOW {
            self.bins.iter_mut().for_each(|count| *count /= 2);
            self.total = self.bins.iter().sum();
        }
        self.bins[bin(rtt)] += 1;
        self.total += 1;
    }

    /// Returns the time after which a query stalls: the time within which 7 of 10 responses arrive.
    ///
    /// With few samples, four times the slowest round-trip time.
    pub(crate) fn stall(&self) -> Duration {
        let stall = match self.total {
            0 => INITIAL_STALL,
            1..ENOUGH => INITIAL_STALL.min(self.quantile(1, 1) * 4),
            ENOUGH.. => self.quantile(7, 10),
        };
        stall.max(MIN_STALL)
    }

    /// Returns the time within which `of` out of `out_of` responses arrived, to within 19 %; zero without samples.
    pub(crate) fn quantile(&self, of: u32, out_of: u32) -> Duration {
        let wanted = (u32::from(self.total) * of).div_ceil(out_of);
        let mut seen = 0;
        let index = self.bins.iter().position(|&count| {
            seen += u32::from(count);
            seen >= wanted
        });
        if self.total == 0 { Duration::ZERO } else { upper_edge(index.unwrap_or(BINS - 1)) }
    }
}

/// Returns the speed of a round-trip time in steps of a quarter octave, starting at 1; higher is faster.
pub(crate) fn speed(rtt: Duration) -> u8 {
    (BINS - bin(rtt)) as u8
}

/// Returns the bin of a duration, four per octave: the position of the highest bit and the two bits below it.
fn bin(rtt: Duration) -> usize {
    let quarters = (micros(rtt) / 250).max(4);
    let octave = quarters.ilog2();
    let step = (quarters >> (octave - 2)) & 3;
    (((octave - 2) * 4) as usize + step as usize).min(BINS - 1)
}

/// Returns the shortest duration that falls into the next bin.
fn upper_edge(bin: usize) -> Duration {
    let (octave, step) = (bin / 4, bin % 4);
    Duration::from_micros(((5 + step as u64) << octave) * 250)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bins_cover_every_duration_in_steps_of_at_most_a_quarter() {
        for micros in (0..20_000_000).step_by(997) {
            let rtt = Duration::from_micros(micros);
            let edge = upper_edge(bin(rtt));
            if bin(rtt) < BINS - 1 {
                assert!(rtt < edge, "{rtt:?} {edge:?}");
                assert!(rtt < Duration::from_millis(1) || edge <= rtt.mul_f64(1.26), "{rtt:?} {edge:?}");
            }
        }
        assert_eq!(bin(Duration::MAX), BINS - 1);
        assert_eq!((speed(Duration::ZERO), speed(Duration::MAX)), (BINS as u8, 1));
    }

    #[test]
    fn the_stall_deadline_follows_the_distribution() {
        let mut rtts = RttHistogram::new();
        assert_eq!(rtts.stall(), INITIAL_STALL);
        rtts.record(Duration::from_millis(80));
        assert!((320..=400).contains(&rtts.stall().as_millis()), "{:?}", rtts.stall());
        (0..100).for_each(|i| rtts.record(Duration::from_millis(if i % 20 == 0 { 900 } else { 80 })));
        assert!((80..=100).contains(&rtts.stall().as_millis()), "{:?}", rtts.stall());
        (0..3000).for_each(|_| rtts.record(Duration::from_millis(300)));
        assert!((300..=360).contains(&rtts.stall().as_millis()), "{:?}", rtts.stall());
        (0..3000).for_each(|_| rtts.record(Duration::from_micros(90)));
        assert_eq!(rtts.stall(), MIN_STALL);
    }
}
