//! Token buckets: limits on how often something may happen.

use core::time::Duration;

use crate::base::time::Instant;

/// A rate, and how much is allowed at once after a pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub struct RateLimit {
    /// How many a second are allowed, as a sustained average.
    pub per_sec: u32,
    /// How many at once are allowed after a pause.
    pub burst: u32,
}

impl RateLimit {
    /// Allows `per_sec` a second on average, and `burst` at once after a pause.
    pub const fn new(per_sec: u32, burst: u32) -> Self {
        Self { per_sec, burst }
    }
}

/// A token bucket in integer arithmetic. Zeroed memory is a full bucket.
#[derive(Clone, Copy, Debug, Default)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub(crate) struct Rate {
    /// Millionths of a token that are missing at `at`.
    ///
    /// A microsecond adds `per_sec` of them, so nothing is ever rounded.
    missing: u64,
    at: Instant,
}

/// A token in the unit of [`Rate::missing`].
const TOKEN: u64 = 1_000_000;

impl Rate {
    /// Takes one token if there is one, and returns whether it did.
    pub(crate) fn try_take(&mut self, limit: RateLimit, now: Instant) -> bool {
        let missing = self.missing(limit, now) + TOKEN;
        let taken = missing <= u64::from(limit.burst) * TOKEN;
        if taken {
            (self.missing, self.at) = (missing, self.at.max(now));
        }
        taken
    }

    /// Returns when the next token will be available if none is taken before: `now` or later.
    ///
    /// `None` if the limit allows no token at all.
    pub(crate) fn available_at(&self, limit: RateLimit, now: Instant) -> Option<Instant> {
        self.stocked_at(limit, 1, now)
    }

    /// Returns when this number of tokens will be available if none is taken before: `now` or later.
    ///
    /// `None` if the limit never allows that many.
    pub(crate) fn stocked_at(&self, limit: RateLimit, tokens: u32, now: Instant) -> Option<Instant> {
        let wanted = self.missing(limit, now) + u64::from(tokens) * TOKEN;
        let excess = wanted.saturating_sub(u64::from(limit.burst) * TOKEN);
        if limit.burst < tokens || (excess > 0 && limit.per_sec == 0) {
            return None;
        }
        let wait = if excess == 0 { 0 } else { excess.div_ceil(u64::from(limit.per_sec)) };
        Some(now.max(self.at) + Duration::from_micros(wait))
    }

    fn missing(&self, limit: RateLimit, now: Instant) -> u64 {
        let elapsed = now.as_micros().saturating_sub(self.at.as_micros());
        self.missing.saturating_sub(elapsed.saturating_mul(u64::from(limit.per_sec)))
    }
}

/// A token bucket with a burst of two seconds, stored as the time at which it is full again (GCRA).
#[cfg(feature = "items")]
#[derive(Clone, Copy, Debug, Default)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub(crate) struct Pacer(Instant);

#[cfg(feature = "items")]
impl Pacer {
    /// Takes one token if there is one, and returns whether it did.
    ///
    /// If `is_heavy`, half of the burst is left to other sources.
    pub(crate) fn try_take(&mut self, per_sec: u32, is_heavy: bool, now: Instant) -> bool {
        const BURST: Duration = Duration::from_secs(2);
        let burst = if is_heavy { BURST / 2 } else { BURST };
        let busy_until = self.0.max(now) + Duration::from_secs(1) / per_sec.max(1);
        let taken = per_sec > 0 && busy_until - now <= burst;
        if taken {
            self.0 = busy_until;
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CONTACTS: RateLimit = RateLimit { per_sec: 25, burst: 100 };

    fn ms(at: u64) -> Instant {
        Instant::from_micros(at * 1000)
    }

    #[test]
    fn a_rate_allows_its_burst_and_then_its_rate_without_drift() {
        let mut rate = Rate::default();
        let start = ms(7_000_000);
        assert_eq!((0..200).filter(|_| rate.try_take(CONTACTS, start)).count(), 100);
        assert_eq!(rate.available_at(CONTACTS, start), Some(start + Duration::from_millis(40)));
        assert!(!rate.try_take(CONTACTS, start + Duration::from_millis(39)));
        assert!(rate.try_take(CONTACTS, start + Duration::from_millis(40)));
        // Tried at odd times for nearly 100 s, at a rate whose interval is not a whole number of microseconds.
        let odd = RateLimit { per_sec: 3, burst: 2 };
        let mut rate = Rate::default();
        assert_eq!((0..100_000).step_by(7).filter(|&at| rate.try_take(odd, ms(at))).count(), 2 + 299);
        let mut rate = Rate::default();
        let moments = (0..1_000_000).map(|at| Instant::from_micros(at * 100));
        assert_eq!(moments.filter(|&at| rate.try_take(odd, at)).count(), 2 + 299);
    }

    #[test]
    fn a_rate_survives_odd_limits_and_odd_times() {
        let mut rate = Rate::default();
        let none = RateLimit { per_sec: 0, burst: 0 };
        assert!(!rate.try_take(none, ms(1)));
        assert_eq!(rate.available_at(none, ms(1)), None);
        let once = RateLimit { per_sec: 0, burst: 1 };
        assert!(rate.try_take(once, ms(1)));
        assert!(!rate.try_take(once, ms(1_000_000_000)));
        assert_eq!(rate.available_at(once, ms(5)), None);
        let mut rate = Rate::default();
        let most = RateLimit { per_sec: u32::MAX, burst: u32::MAX };
        assert!(rate.try_take(most, Instant::from_micros(u64::MAX)));
        // An earlier time neither adds nor removes tokens.
        let mut rate = Rate::default();
        assert!(rate.try_take(RateLimit { per_sec: 1, burst: 1 }, ms(5000)));
        assert!(!rate.try_take(RateLimit { per_sec: 1, burst: 1 }, ms(1)));
        assert!(!rate.try_take(RateLimit { per_sec: 1, burst: 1 }, ms(5999)));
        assert!(rate.try_take(RateLimit { per_sec: 1, burst: 1 }, ms(6000)));
    }

    proptest! {
        /// A token is available at the time that `available_at` returns, and not a microsecond earlier.
        #[test]
        fn a_rate_is_available_exactly_when_it_says(
            steps in proptest::collection::vec(0_u64..100_000, 1..100),
            per_sec in 1_u32..1000,
            burst in 1_u32..10,
        ) {
            let limit = RateLimit { per_sec, burst };
            let (mut rate, mut now) = (Rate::default(), ms(9));
            for step in steps {
                now = now + Duration::from_micros(step);
                let at = rate.available_at(limit, now).unwrap();
                let mut before = rate;
                prop_assert_eq!(rate.try_take(limit, now), at == now);
                if at > now {
                    prop_assert!(!before.try_take(limit, at_micros(at, -1)));
                    prop_assert!(before.try_take(limit, at));
                }
            }
        }
    }

    fn at_micros(at: Instant, change: i64) -> Instant {
        Instant::from_micros(at.as_micros().saturating_add_signed(change))
    }
}
