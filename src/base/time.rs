//! Time as the core sees it: an instant supplied by the caller, never read from a clock.

use core::ops::{Add, Sub};
use core::time::Duration;

/// A point in time, in microseconds since an origin that the caller chooses.
///
/// Only differences matter, so any origin works: program start, boot, or zero in a simulation. Values must
/// come from a monotonic clock; one that is earlier than the latest seen is treated as the latest seen.
///
/// ```
/// use core::time::Duration;
/// use dht_proto::Instant;
///
/// let start = Instant::from_micros(5_000_000);
/// let later = start + Duration::from_millis(250);
/// assert_eq!(later - start, Duration::from_millis(250));
/// assert_eq!(start - later, Duration::ZERO); // differences never go below zero
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub struct Instant(u64);

impl Instant {
    /// The origin.
    pub const ZERO: Self = Self(0);

    /// The latest instant, for events that are not scheduled.
    pub(crate) const NEVER: Self = Self(u64::MAX);

    /// Creates the instant `micros` microseconds after the origin.
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// Returns the microseconds since the origin.
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// Returns the instant `age` earlier, saturating at the origin.
    pub(crate) fn before(self, age: Duration) -> Self {
        Self(self.0.saturating_sub(micros(age)))
    }

    /// Returns the whole seconds since the origin, for ages stored in slots.
    pub(crate) const fn secs(self) -> Secs {
        Secs((self.0 / 1_000_000) as u32)
    }
}

/// Adds a duration, saturating at the latest instant (584,000 years after the origin).
impl Add<Duration> for Instant {
    type Output = Self;

    fn add(self, rhs: Duration) -> Self {
        Self(self.0.saturating_add(micros(rhs)))
    }
}

/// Returns the time from `rhs` to `self`, or zero if `rhs` is later.
impl Sub for Instant {
    type Output = Duration;

    fn sub(self, rhs: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(rhs.0))
    }
}

/// Returns the microseconds of a duration, saturating, without the 128 bits of [`Duration::as_micros`].
pub(crate) const fn micros(duration: Duration) -> u64 {
    duration.as_secs().saturating_mul(1_000_000).saturating_add(duration.subsec_micros() as u64)
}

/// An instant in whole seconds and four bytes, for values stored by the thousand.
///
/// Ages are computed modulo 2^32 seconds (136 years), so any origin works.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub(crate) struct Secs(u32);

impl Secs {
    pub(crate) const ZERO: Self = Self(0);

    /// Returns the seconds from `then` to `self`, or zero if `then` is up to 68 years in the future.
    pub(crate) const fn since(self, then: Self) -> u32 {
        let age = self.0.wrapping_sub(then.0);
        if age > u32::MAX / 2 { 0 } else { age }
    }

    /// Returns the whole minutes, modulo 2^16 (45 days).
    pub(crate) const fn minutes(self) -> u16 {
        (self.0 / 60) as u16
    }

    /// Returns the instant `secs` seconds earlier.
    pub(crate) const fn before(self, secs: u32) -> Self {
        Self(self.0.wrapping_sub(secs))
    }

    /// Returns the instant `secs` seconds later.
    pub(crate) const fn after(self, secs: u32) -> Self {
        Self(self.0.wrapping_add(secs))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_saturate() {
        let (a, b) = (Instant::from_micros(10), Instant::from_micros(30));
        assert_eq!(b - a, Duration::from_micros(20));
        assert_eq!(a - b, Duration::ZERO);
        assert_eq!(Instant::from_micros(u64::MAX) + Duration::from_secs(1), Instant::from_micros(u64::MAX));
        assert_eq!(a + Duration::MAX, Instant::from_micros(u64::MAX));
    }

    #[test]
    fn coarse_ages_survive_any_origin() {
        let origin = Instant::from_micros(u64::from(u32::MAX) * 1_000_000);
        let later = origin + Duration::from_secs(90);
        assert_eq!(later.secs().since(origin.secs()), 90);
        assert_eq!(origin.secs().since(later.secs()), 0);
        assert_eq!(later.secs().since(later.secs().before(7)), 7);
        assert_eq!(origin.secs().after(90), later.secs());
    }
}
