//! The random number generator of a world, the same on every machine.

use core::time::Duration;

use crate::base::id::{ID_LEN, NodeId};

/// A random number generator (SplitMix64) whose stream follows from its seed on every platform.
///
/// It is fast and predictable. Nodes have an unpredictable one of their own.
#[derive(Clone, Debug)]
pub struct SimRng(u64);

impl SimRng {
    /// Creates a generator from a seed.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Draws 64 bits.
    pub const fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// Draws a number, uniform in `0..bound`; 0 if `bound` is 0.
    pub const fn below(&mut self, bound: usize) -> usize {
        ((self.bits() as u128 * bound as u128) >> 64) as usize
    }

    /// Draws a number, uniform in `0.0..1.0`.
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Draws true with this probability. Nothing is drawn if it is 0.
    pub fn chance(&mut self, probability: f64) -> bool {
        probability > 0.0 && self.unit() < probability
    }

    /// Draws an exponentially distributed time with this median.
    pub fn exponential(&mut self, median: Duration) -> Duration {
        median.mul_f64(-libm::log2(1.0 - self.unit()))
    }

    /// Draws a time, uniform up to `most`. Nothing is drawn if it is 0.
    pub fn up_to(&mut self, most: Duration) -> Duration {
        if most.is_zero() { most } else { most.mul_f64(self.unit()) }
    }

    /// Draws an id.
    pub fn id(&mut self) -> NodeId {
        NodeId::from_bytes(self.bytes::<ID_LEN>())
    }

    /// Draws a seed for a node.
    pub fn seed(&mut self) -> [u8; 32] {
        self.bytes()
    }

    fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        for chunk in bytes.chunks_mut(8) {
            let word = self.bits().to_le_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
        bytes
    }
}

/// Maps 64 random bits to a standard normal deviate (Box and Muller).
pub(super) fn normal(bits: u64) -> f64 {
    let (u, v) = ((bits >> 32) as f64 + 0.5, (bits as u32) as f64 + 0.5);
    let scale = 1.0 / 4_294_967_296.0;
    libm::sqrt(-2.0 * libm::log(u * scale)) * libm::cos(core::f64::consts::TAU * v * scale)
}

/// Mixes a word so that every bit depends on all others (the finalizer of SplitMix64).
pub(super) const fn mix(word: u64) -> u64 {
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;

    #[test]
    fn normal_deviates_have_mean_0_and_deviation_1() {
        let mut rng = SimRng::new(1);
        let sample: Vec<f64> = (0..20_000).map(|_| normal(rng.bits())).collect();
        let mean = sample.iter().sum::<f64>() / sample.len() as f64;
        let variance = sample.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / sample.len() as f64;
        assert!(mean.abs() < 0.02 && (variance - 1.0).abs() < 0.04, "{mean} {variance}");
    }

    #[test]
    fn half_of_the_exponential_times_are_below_the_median() {
        let mut rng = SimRng::new(2);
        let median = Duration::from_secs(100);
        let below = (0..10_000).filter(|_| rng.exponential(median) < median).count();
        assert!((4800..5200).contains(&below), "{below}");
    }

    #[test]
    fn numbers_stay_below_their_bound_and_reach_every_value() {
        let mut rng = SimRng::new(3);
        let mut seen = [0; 7];
        (0..7000).for_each(|_| seen[rng.below(7)] += 1);
        assert!(seen.iter().all(|count| (850..1150).contains(count)), "{seen:?}");
        assert_eq!(rng.below(0), 0);
    }
}
