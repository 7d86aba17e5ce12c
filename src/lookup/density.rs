//! An estimate of the size of the network from the distances of the closest nodes that lookups find.
//!
//! Ids are uniformly distributed, so the distance of the K-th closest node times the number of nodes is
//! Gamma(K)-distributed, with the whole key space as 1. The mean of its logarithm over m lookups gives the number
//! of nodes with a relative standard deviation of `0.365 / √m`, 9 % after 16 lookups. The mean of the distances
//! themselves would hardly be better (0.354), and a single lookup that missed the closest nodes, as happens if
//! datagrams are lost, would distort it; here such a lookup counts for at most a factor of 2^1.3.
//!
//! Lookups of random targets, such as bucket refreshes, always count, because an attacker cannot predict their
//! targets. Lookups around our own id find the same nodes every time, which are a single sample, and may be under
//! attack; they count only while hardly anything else is known. Targets of the user may be under attack as well,
//! so they count only if they agree with the estimate.
//!
//! The estimate covers the nodes that lookups can find: it is too low where nodes hardly know their neighbours. It
//! follows a growing network within about 32 lookups, or ten if the change is large.

use crate::base::id::K;

/// Effective number of lookups in the moving average.
///
/// It gives an error of 6 %, and a growing network is followed after as many lookups.
const LOOKUPS: f32 = 32.0;

/// The digamma function at K, in bits: the mean logarithm of a Gamma(K)-distributed number.
const MEAN_LOG: f32 = 2.907_9;

/// The trigamma function at K: the variance of that logarithm, in nats.
const VARIANCE: f32 = 0.133_1;

/// The deviation in bits that one lookup in eighty exceeds by chance; larger ones are clamped to it.
const MAX_DEVIATION: f32 = 1.3;

/// The factor by which the weight of earlier lookups shrinks after an outlier: either it or they may be wrong.
const OUTLIER_FACTOR: f32 = 0.75;

/// Number of lookups below which an outlier restarts the estimate.
///
/// All earlier lookups may have missed the closest nodes, or targeted our own neighbourhood while under attack.
const SETTLED_LOOKUPS: f32 = 3.0;

/// Number of lookups from which on others are judged by the estimate.
///
/// Its standard error is then a quarter, while lookups under attack are off by orders of magnitude.
const TRUSTED_LOOKUPS: f32 = 2.0;

/// Maximum number of lookups that an estimate of an earlier run counts for.
const RESTORED_LOOKUPS: f32 = 4.0;

/// Number of lookups up to which lookups of our own neighbourhood count.
const FEW_LOOKUPS: f32 = 2.0;

/// Number of lookups from which on those of the user must lie in [`USER_RANGE`].
const PRECISE_LOOKUPS: f32 = 16.0;

/// Range of the nodes expected within the reach of a user's lookup that counts, while the estimate is rough.
const ROUGH_RANGE: (f32, f32) = (1.0, 32.0);

/// Range of the nodes expected within the reach of a user's lookup that counts: 98 % of lookups lie in it.
const USER_RANGE: (f32, f32) = (2.91, 16.0);

/// The estimated size of the network, with its standard error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub struct NetworkSize {
    /// Number of responding nodes, 1 or more.
    pub nodes: u64,
    /// Standard error of `nodes`.
    pub standard_error: u64,
}

/// The kind of target of a lookup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Aim {
    /// Our own id, or a target so near it that the closest nodes are the same.
    Neighbours,
    /// A random target chosen by this node.
    Random,
    /// A target chosen by the user.
    User,
}

/// A moving average over the lookups of one family; all zero initially.
#[derive(Clone, Copy, Debug, Default)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub(crate) struct Density {
    /// Effective number of lookups that have counted.
    lookups: f32,
    /// Mean binary logarithm of the number of nodes, as each lookup indicates it.
    log_nodes: f32,
}

impl Density {
    /// Updates the estimate with a lookup whose K-th closest node is at this distance.
    pub(crate) fn update(&mut self, distance: f32, aim: Aim) {
        // The logarithm needs a positive number.
        let distance = distance.max(f32::MIN_POSITIVE);
        let within = |range: (f32, f32)| (range.0..=range.1).contains(&(distance * self.nodes()));
        let counts = match aim {
            Aim::Neighbours => self.lookups < FEW_LOOKUPS,
            Aim::Random => true,
            Aim::User if self.lookups >= PRECISE_LOOKUPS => within(USER_RANGE),
            Aim::User => self.lookups >= 1.0 && within(ROUGH_RANGE),
        };
        if !counts {
            return;
        }
        let mut excess = MEAN_LOG - log2(distance) - self.log_nodes;
        if self.lookups >= 1.0 && !(-MAX_DEVIATION..=MAX_DEVIATION).contains(&excess) {
            if self.lookups < SETTLED_LOOKUPS && aim == Aim::Random {
                self.lookups = 0.0;
            } else {
                excess = excess.clamp(-MAX_DEVIATION, MAX_DEVIATION);
                self.lookups *= OUTLIER_FACTOR;
            }
        }
        self.lookups = self.lookups.min(LOOKUPS - 1.0) + 1.0;
        self.log_nodes += excess / self.lookups;
    }

    /// Reduces the weight of earlier lookups, because many more nodes are known than before.
    ///
    /// Either the network has grown, or those lookups missed the closest nodes.
    pub(crate) fn discount(&mut self) {
        self.lookups = self.lookups.min(1.0);
    }

    /// Returns the number of nodes, if the estimate is good enough to judge a lookup by it.
    pub(crate) fn trusted(self) -> Option<f32> {
        (self.lookups >= TRUSTED_LOOKUPS).then(|| self.nodes())
    }

    /// Returns by which factor there may be more nodes than estimated.
    ///
    /// The margin is three standard errors, so that a growing network is not mistaken for an attack.
    pub(crate) fn margin(self) -> f32 {
        // In integers, because `core` has no square root of floats.
        let variance = 9e6 * VARIANCE / self.lookups.max(0.1);
        1.0 + (variance as u64).isqrt() as f32 / 1000.0
    }

    /// Returns the estimate; `None` before the first lookup.
    pub(crate) fn size(self) -> Option<NetworkSize> {
        if self.lookups < 1.0 {
            return None;
        }
        // In integers, because `core` has no square root of floats.
        let nodes = (self.nodes() + 0.5) as u64;
        let relative = (1e12 * VARIANCE / self.lookups) as u64;
        let standard_error = u128::from(nodes) * u128::from(relative.isqrt()) / 1_000_000;
        Some(NetworkSize { nodes: nodes.max(1), standard_error: standard_error as u64 })
    }

    /// Creates an estimate from that of an earlier run.
    ///
    /// That counts no more than the first few lookups of this run, because the node may have joined another network
    /// since.
    pub(crate) fn restored(size: NetworkSize) -> Self {
        let NetworkSize { nodes, standard_error } = size;
        let relative = nodes as f32 / standard_error.max(1) as f32;
        let lookups = (VARIANCE * relative * relative).min(RESTORED_LOOKUPS);
        // The error may have been rounded up.
        if nodes == 0 || lookups < 0.9 {
            return Self::default();
        }
        let lookups = lookups.max(1.0);
        Self { lookups, log_nodes: log2(nodes as f32) + Self::bias(lookups) }
    }

    /// Returns the estimated number of nodes.
    fn nodes(self) -> f32 {
        exp2(self.log_nodes - Self::bias(self.lookups))
    }

    /// Returns the bias in bits of a number whose logarithm is unbiased.
    fn bias(lookups: f32) -> f32 {
        VARIANCE / 2.0 * core::f32::consts::LOG2_E / lookups.max(1.0)
    }
}

/// Returns the binary logarithm of a positive, normal number, which `core` lacks.
fn log2(x: f32) -> f32 {
    let bits = x.to_bits();
    let exponent = (bits >> 23) as f32 - 127.0;
    let mantissa = f32::from_bits(bits & 0x007f_ffff | 1.0_f32.to_bits());
    // 2 artanh(t), where t is at most a third.
    let t = (mantissa - 1.0) / (mantissa + 1.0);
    let square = t * t;
    let series = 1.0 + square * (1.0 / 3.0 + square * (1.0 / 5.0 + square / 7.0));
    exponent + 2.0 * core::f32::consts::LOG2_E * t * series
}

/// Returns 2^x for `x` in -126..=126, which `core` lacks.
fn exp2(x: f32) -> f32 {
    let power = exp_neg(f64::from(x.abs().min(126.0)) * core::f64::consts::LN_2);
    (if x < 0.0 { power } else { 1.0 / power }) as f32
}

/// Returns the probability, in millionths, that the K closest nodes are at least as close as observed.
///
/// `nodes_within` is the number of nodes times the distance of the K-th, which is Gamma(K)-distributed.
pub(crate) fn crowding(nodes_within: f32) -> u32 {
    let x = f64::from(nodes_within);
    if x > 100.0 {
        return 1_000_000;
    }
    // x^K e^-x / K! · (1 + x/(K+1) + x²/(K+1)(K+2) + …): no term is negative, so nothing cancels.
    let (mut term, mut sum) = (1.0, 1.0);
    for divisor in (K + 1)..(K + 300) {
        term *= x / divisor as f64;
        sum += term;
    }
    let scale = (1..=K).fold(exp_neg(x), |scale, divisor| scale * x / divisor as f64);
    (scale * sum * 1e6 + 0.5) as u32
}

/// Returns e^-x for `x` in 0..=100, which `core` lacks.
fn exp_neg(x: f64) -> f64 {
    // The series for 1/128 of `x` is short; repeated squaring does the rest.
    let part = x / 128.0;
    let (mut term, mut sum) = (1.0, 1.0);
    for divisor in 1..16 {
        term *= part / f64::from(divisor);
        sum += term;
    }
    (0..7).fold(1.0 / sum, |power, _| power * power)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Random(u64);

    impl Random {
        /// Returns a uniform number in 0..1.
        fn share(&mut self) -> f64 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
        }

        /// Returns a random distance of the K-th closest of this many nodes.
        fn distance(&mut self, nodes: f64) -> f32 {
            let gaps = (0..K).map(|_| -(1.0 - self.share()).ln());
            (gaps.sum::<f64>() / nodes) as f32
        }
    }

    #[test]
    fn h_06_the_estimate_is_unbiased_and_its_error_is_known() {
        let mut random = Random(1);
        // The theoretical optimum is 0.183, 0.089, 0.065. After few lookups chance looks like an outlier.
        for (lookups, error) in [(4, 0.2), (16, 0.095), (30, 0.07)] {
            let (mut sum, mut squares, mut claims) = (0.0, 0.0, 0.0);
            let (runs, nodes) = (4000, 2e6);
            for _ in 0..runs {
                let mut density = Density::default();
                (0..lookups).for_each(|_| density.update(random.distance(nodes), Aim::Random));
                let size = density.size().unwrap();
                let ratio = size.nodes as f64 / nodes;
                (sum, squares) = (sum + ratio, squares + ratio * ratio);
                claims += size.standard_error as f64 / size.nodes as f64;
            }
            let claimed = claims / f64::from(runs);
            assert!((claimed - error).abs() < 0.01, "{claimed} after {lookups}");
            let mean = sum / f64::from(runs);
            let deviation = (squares / f64::from(runs) - mean * mean).sqrt();
            assert!((mean - 1.0).abs() < 0.02, "{mean} after {lookups}");
            assert!(deviation < error * 1.2, "{deviation} after {lookups}");
        }
    }

    #[test]
    fn a_network_that_grows_is_followed() {
        let (mut random, mut density) = (Random(2), Density::default());
        (0..100).for_each(|_| density.update(random.distance(1e5), Aim::Random));
        (0..150).for_each(|_| density.update(random.distance(2e6), Aim::Random));
        let nodes = density.size().unwrap().nodes as f64;
        assert!((1.5e6..2.5e6).contains(&nodes), "{nodes}");
    }

    #[test]
    fn h_06_neither_attacked_targets_nor_neighbours_of_our_id_move_the_estimate() {
        let (mut random, mut density) = (Random(3), Density::default());
        density.update(1e-12, Aim::User);
        assert_eq!(density.size(), None, "the user's targets do not count before our own");
        (0..8).for_each(|_| density.update(random.distance(1e6), Aim::Random));
        let before = density.size().unwrap();
        (0..1000).for_each(|_| density.update(1e-12, Aim::User));
        (0..1000).for_each(|_| density.update(0.1, Aim::User));
        assert_eq!(density.size(), Some(before));
        // One of four random targets is our own id, which is under attack.
        for round in 0..100 {
            density.update(1e-12, Aim::Neighbours);
            density.update(if round % 4 == 0 { 1e-12 } else { random.distance(1e6) }, Aim::Random);
        }
        let nodes = density.size().unwrap().nodes as f64;
        assert!((0.9e6..1.7e6).contains(&nodes), "{nodes}");
    }

    #[test]
    fn h_06_lookups_that_miss_the_closest_nodes_hardly_move_the_estimate() {
        let (mut random, mut density) = (Random(5), Density::default());
        for round in 0..40 {
            let distance = if round % 10 == 2 { 0.2 } else { random.distance(1e6) };
            density.update(distance, Aim::Random);
            let nodes = density.size().unwrap().nodes;
            assert!(round < 8 || (500_000..1_500_000).contains(&nodes), "{nodes} after {round}");
        }
    }

    #[test]
    fn logarithms_and_powers_are_exact_enough() {
        for at in 0..2000 {
            let exact = f64::from(at) / 10.0 - 100.0;
            let power = exp2(exact as f32);
            assert!((f64::from(power) / exact.exp2() - 1.0).abs() < 1e-4, "2^{exact}");
            assert!((f64::from(log2(power)) - exact).abs() < 1e-4, "{exact}");
        }
        assert!(exp2(1e9).is_finite() && exp2(-1e9) > 0.0);
    }

    #[test]
    fn h_06_what_was_saved_counts_no_more_than_four_lookups() {
        let (mut random, mut density) = (Random(4), Density::default());
        (0..30).for_each(|_| density.update(random.distance(1e6), Aim::Random));
        let size = density.size().unwrap();
        let mut density = Density::restored(size);
        assert!(density.trusted().is_some());
        let restored = density.size().unwrap();
        assert!(restored.nodes.abs_diff(size.nodes) < 1000, "{restored:?} {size:?}");
        assert!(restored.standard_error * 5 > restored.nodes * 4 / 5);
        (0..80).for_each(|_| density.update(random.distance(1e4), Aim::Random));
        assert!(density.size().unwrap().nodes < 20_000, "another network");
        let nonsense = NetworkSize { nodes: 5, standard_error: 500 };
        assert!(Density::restored(nonsense).size().is_none());
        assert!(Density::restored(NetworkSize { nodes: 0, standard_error: 0 }).size().is_none());
    }

    #[test]
    fn h_05_the_chance_is_that_of_a_gamma_distribution() {
        // Half of the chi-squared quantiles with 16 degrees of freedom.
        for (x, millionths) in [(1.9707, 1000), (2.9061, 10_000), (7.6692, 500_000), (16.0, 990_000)] {
            let chance = crowding(x);
            assert!(chance.abs_diff(millionths) <= millionths / 500 + 1, "{chance} for {x}");
        }
        assert_eq!((crowding(0.0), crowding(99.0), crowding(1e9)), (0, 1_000_000, 1_000_000));
    }
}
