//! How many nodes a DHT has, by how close lookups come to their targets.
//!
//! Ids are uniform, so the distance of the K-th closest node times the number of nodes is Gamma(K)-
//! distributed, with the whole key space as 1. Over m lookups `(mK − 1) / Σ d_K` is the unbiased
//! estimate of that number, with a relative standard deviation of `1 / √(mK − 2)`: 18 % after four
//! lookups, 9 % after 16.
//!
//! Targets of our own choice count, refreshes of buckets: nobody can prepare for those. Around our own id
//! all lookups find the same nodes, which are one sample however often they are found, and may be
//! besieged: they count while hardly anything else is known. What the user looks up may be besieged as
//! well, so it counts only as far as it is like the rest.

use crate::id::K;

/// Older lookups are forgotten so that about so many count: 6 % of error, and a network that has grown
/// is known after as many.
const LOOKUPS: f32 = 32.0;

/// An estimate of so many lookups is used to judge others: it is off by a quarter, while those that are
/// besieged are off by orders of magnitude.
const TRUSTED_LOOKUPS: f32 = 2.0;

/// An estimate of an earlier run counts for so many lookups.
const RESTORED_LOOKUPS: f32 = 4.0;

/// Lookups of our own neighbourhood that count, at most.
const FEW_LOOKUPS: f32 = 4.0;

/// From so many lookups on the user's are held to a narrower range.
const SHARP_LOOKUPS: f32 = 16.0;

/// A lookup of the user counts if it is no surprise for an estimate that may be off by half.
const ROUGH_RANGE: (f32, f32) = (1.0, 32.0);

/// A lookup of the user counts if it is as 98 of 100 are.
const USER_RANGE: (f32, f32) = (2.91, 16.0);

/// How many nodes a DHT has, with what is known of the error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub struct NetworkSize {
    /// Nodes that answer, 1 or more.
    pub nodes: u64,
    /// The standard error of that number, in nodes.
    pub standard_error: u64,
}

/// What a lookup aimed at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Aim {
    /// Our own id, or so near it that the nodes that are closest are the same.
    Neighbours,
    /// A random target of our own choice.
    Elsewhere,
    /// What the user looked up.
    Users,
}

/// A fold over the lookups of one family. All zero at first.
#[derive(Clone, Copy, Debug, Default)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub(crate) struct Density {
    /// K for each lookup that counts.
    shape: f32,
    /// The distances of the K-th closest nodes, added up; the key space is 1.
    sum: f32,
}

impl Density {
    /// A lookup has ended whose K-th closest node is at this distance.
    pub(crate) fn learn(&mut self, distance: f32, aim: Aim) {
        let is_known = self.shape >= K as f32;
        let within = |range: (f32, f32)| (range.0..=range.1).contains(&(distance * self.nodes()));
        let counts = match aim {
            Aim::Neighbours => self.shape < FEW_LOOKUPS * K as f32,
            Aim::Elsewhere => true,
            Aim::Users if self.shape >= SHARP_LOOKUPS * K as f32 => within(USER_RANGE),
            Aim::Users => is_known && within(ROUGH_RANGE),
        };
        if counts {
            self.shorten(LOOKUPS - 1.0);
            (self.shape, self.sum) = (self.shape + K as f32, self.sum + distance);
        }
    }

    /// Many more nodes are known than before: either the network has grown, or earlier lookups may not have
    /// found those that were closest.
    pub(crate) fn doubt(&mut self) {
        self.shorten(1.0);
    }

    /// How many nodes there are, if that is known well enough to judge a lookup by it.
    pub(crate) fn trusted(self) -> Option<f32> {
        (self.shape >= TRUSTED_LOOKUPS * K as f32).then(|| self.nodes())
    }

    /// How many times more there may be: three standard errors, so that a network that has grown is not
    /// taken for a crowd.
    pub(crate) fn margin(self) -> f32 {
        // Whole numbers, because `core` has no square root of others.
        let variance = 9_000_000 / (self.shape as u64).saturating_sub(2).max(1);
        1.0 + variance.isqrt() as f32 / 1000.0
    }

    /// `None` before the first lookup.
    pub(crate) fn size(self) -> Option<NetworkSize> {
        if self.shape < K as f32 {
            return None;
        }
        // Whole numbers, because `core` has no square root of others.
        let nodes = (self.nodes() + 0.5) as u64;
        let variance = u128::from(nodes) * u128::from(nodes) / (self.shape as u128 - 2);
        Some(NetworkSize { nodes: nodes.max(1), standard_error: variance.isqrt() as u64 })
    }

    /// What an earlier node knew. It counts no more than the first lookups of this one, which may have
    /// come to another network.
    pub(crate) fn restored(size: NetworkSize) -> Self {
        let NetworkSize { nodes, standard_error } = size;
        let relative = nodes as f32 / standard_error.max(1) as f32;
        let shape = (relative * relative + 2.0).min(RESTORED_LOOKUPS * K as f32);
        let is_sound = nodes > 0 && shape >= K as f32;
        if is_sound { Self { shape, sum: (shape - 1.0) / nodes as f32 } } else { Self::default() }
    }

    /// Has what was learned count for no more than so many lookups.
    fn shorten(&mut self, lookups: f32) {
        let most = lookups * K as f32;
        if self.shape > most {
            // So that the estimate stays.
            let nodes = self.nodes();
            (self.shape, self.sum) = (most, (most - 1.0) / nodes);
        }
    }

    fn nodes(self) -> f32 {
        // Nobody is at no distance at all.
        (self.shape - 1.0) / self.sum.max(f32::MIN_POSITIVE)
    }
}

/// The chance that the K closest of the nodes of a network are all as close as this, in millionths:
/// `nodes` of them times the distance of the K-th, which is Gamma(K)-distributed.
pub(crate) fn chance(nodes_within: f32) -> u32 {
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

/// e^-x for `x` in 0..=100, which `core` has none for.
fn exp_neg(x: f64) -> f64 {
    // Of a 128th part of it the series is short; the rest is multiplication.
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

    struct Dice(u64);

    impl Dice {
        /// In 0..1.
        fn share(&mut self) -> f64 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
        }

        /// The distance of the K-th closest of so many nodes.
        fn distance(&mut self, nodes: f64) -> f32 {
            let gaps = (0..K).map(|_| -(1.0 - self.share()).ln());
            (gaps.sum::<f64>() / nodes) as f32
        }
    }

    #[test]
    fn h_06_the_estimate_is_unbiased_and_its_error_is_known() {
        let mut dice = Dice(1);
        for (lookups, error) in [(4, 0.183), (16, 0.089), (30, 0.065)] {
            let (mut sum, mut squares) = (0.0, 0.0);
            let (runs, nodes) = (4000, 2e6);
            for _ in 0..runs {
                let mut density = Density::default();
                (0..lookups).for_each(|_| density.learn(dice.distance(nodes), Aim::Elsewhere));
                let size = density.size().unwrap();
                let ratio = size.nodes as f64 / nodes;
                (sum, squares) = (sum + ratio, squares + ratio * ratio);
                let claimed = size.standard_error as f64 / size.nodes as f64;
                assert!((claimed - error).abs() < 0.01, "{claimed} after {lookups}");
            }
            let mean = sum / f64::from(runs);
            let deviation = (squares / f64::from(runs) - mean * mean).sqrt();
            assert!((mean - 1.0).abs() < 0.015, "{mean} after {lookups}");
            assert!((deviation - error).abs() < 0.02, "{deviation} after {lookups}");
        }
    }

    #[test]
    fn a_network_that_grows_is_followed() {
        let (mut dice, mut density) = (Dice(2), Density::default());
        (0..100).for_each(|_| density.learn(dice.distance(1e5), Aim::Elsewhere));
        (0..150).for_each(|_| density.learn(dice.distance(2e6), Aim::Elsewhere));
        let nodes = density.size().unwrap().nodes as f64;
        assert!((1.5e6..2.5e6).contains(&nodes), "{nodes}");
    }

    #[test]
    fn h_06_neither_besieged_targets_nor_neighbours_of_our_id_move_the_estimate() {
        let (mut dice, mut density) = (Dice(3), Density::default());
        density.learn(1e-12, Aim::Users);
        assert_eq!(density.size(), None, "the user's targets do not count before our own");
        (0..8).for_each(|_| density.learn(dice.distance(1e6), Aim::Elsewhere));
        let before = density.size().unwrap();
        (0..1000).for_each(|_| density.learn(1e-12, Aim::Users));
        (0..1000).for_each(|_| density.learn(0.1, Aim::Users));
        assert_eq!(density.size(), Some(before));
        // One of four targets of our own is our id, around which somebody sits.
        for round in 0..100 {
            density.learn(1e-12, Aim::Neighbours);
            density.learn(if round % 4 == 0 { 1e-12 } else { dice.distance(1e6) }, Aim::Elsewhere);
        }
        let nodes = density.size().unwrap().nodes as f64;
        assert!((0.9e6..1.7e6).contains(&nodes), "{nodes}");
    }

    #[test]
    fn h_06_what_was_saved_counts_no_more_than_four_lookups() {
        let (mut dice, mut density) = (Dice(4), Density::default());
        (0..30).for_each(|_| density.learn(dice.distance(1e6), Aim::Elsewhere));
        let size = density.size().unwrap();
        let mut density = Density::restored(size);
        assert!(density.trusted().is_some());
        let restored = density.size().unwrap();
        assert!(restored.nodes.abs_diff(size.nodes) < 1000, "{restored:?} {size:?}");
        assert!(restored.standard_error * 5 > restored.nodes * 4 / 5);
        (0..80).for_each(|_| density.learn(dice.distance(1e4), Aim::Elsewhere));
        assert!(density.size().unwrap().nodes < 20_000, "another network");
        let nonsense = NetworkSize { nodes: 5, standard_error: 500 };
        assert!(Density::restored(nonsense).size().is_none());
        assert!(Density::restored(NetworkSize { nodes: 0, standard_error: 0 }).size().is_none());
    }

    #[test]
    fn h_05_the_chance_is_that_of_a_gamma_distribution() {
        // Half of chi-squared quantiles with 16 degrees of freedom.
        for (x, millionths) in [(1.9707, 1000), (2.9061, 10_000), (7.6692, 500_000), (16.0, 990_000)] {
            let chance = chance(x);
            assert!(chance.abs_diff(millionths) <= millionths / 500 + 1, "{chance} for {x}");
        }
        assert_eq!((chance(0.0), chance(99.0), chance(1e9)), (0, 1_000_000, 1_000_000));
    }
}
