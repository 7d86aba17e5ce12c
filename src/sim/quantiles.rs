//! Quantiles of many measurements.

use alloc::vec::Vec;

/// Quantiles of measurements, such as the times of many lookups, some of which may be missing.
///
/// ```
/// use dht_proto::sim::Quantiles;
///
/// let times = Quantiles::of([Some(80), Some(30), None, Some(50)]);
/// assert_eq!(times.quantile(0.5), Some(50));
/// assert_eq!(times.quantile(1.0), None, "one is missing");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quantiles<T> {
    sorted: Vec<T>,
    missing: usize,
}

impl<T: Ord + Copy> Quantiles<T> {
    /// Sorts the measurements; `None` is a missing one.
    pub fn of(values: impl IntoIterator<Item = Option<T>>) -> Self {
        let (mut sorted, mut missing) = (Vec::new(), 0);
        for value in values {
            match value {
                Some(value) => sorted.push(value),
                None => missing += 1,
            }
        }
        sorted.sort_unstable();
        Self { sorted, missing }
    }

    /// All measurements that are not missing, in ascending order.
    pub fn values(&self) -> &[T] {
        &self.sorted
    }

    /// Number of missing measurements.
    pub const fn missing(&self) -> usize {
        self.missing
    }

    /// The least value that this share of all measurements do not exceed (nearest rank).
    ///
    /// `0.5` is the median, `1.0` the maximum, `0.0` the minimum. A missing measurement exceeds all
    /// others, so the result may be `None`. A share outside `0.0..=1.0` is clamped.
    pub fn quantile(&self, share: f64) -> Option<T> {
        let count = self.sorted.len() + self.missing;
        let rank = libm::ceil(share.clamp(0.0, 1.0) * count as f64) as usize;
        self.sorted.get(rank.max(1) - 1).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_the_value_that_so_many_do_not_exceed() {
        let quantiles = Quantiles::of((1..=100).rev().map(Some));
        for (share, value) in [(0.5, 50), (0.9, 90), (0.95, 95), (0.99, 99), (1.0, 100), (0.0, 1)] {
            assert_eq!(quantiles.quantile(share), Some(value), "{share}");
        }
        assert_eq!(Quantiles::of([Some(7)]).quantile(0.5), Some(7));
        assert_eq!(Quantiles::of([1, 2, 3].map(Some)).quantile(0.5), Some(2));
        assert_eq!(Quantiles::<u64>::of([]).quantile(0.5), None);
        assert_eq!([-1.0, 1.1].map(|share| quantiles.quantile(share)), [Some(1), Some(100)]);
    }

    #[test]
    fn a_missing_measurement_exceeds_all_others() {
        let quantiles = Quantiles::of([Some(1), None, Some(2), None]);
        assert_eq!(quantiles.missing(), 2);
        assert_eq!(
            [0.25, 0.5, 0.51, 1.0].map(|share| quantiles.quantile(share)),
            [Some(1), Some(2), None, None]
        );
    }
}
