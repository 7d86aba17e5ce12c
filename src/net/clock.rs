//! The system's clocks: monotonic time for the core, wall time to notice that the host slept.

use core::time::Duration;
use std::time::{Instant as StdInstant, SystemTime};

use crate::Instant;

/// Wall time that passes this much faster than monotonic time means the host was asleep; less is
/// an adjustment of the clock.
const SLEPT: Duration = Duration::from_secs(5);

/// The longest sleep that is told: nothing that a node holds lives longer.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// No host sleeps for so long: its clock had not been set before.
const UNSET: Duration = Duration::from_secs(365 * 24 * 3600);

/// Turns the system's monotonic clock into the core's [`Instant`].
///
/// Copies share one origin. Instants of clocks made apart must not be mixed.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: StdInstant,
}

impl Clock {
    /// A clock that starts at [`Instant::ZERO`] now.
    pub fn new() -> Self {
        Self { origin: StdInstant::now() }
    }

    /// The current instant.
    pub fn now(&self) -> Instant {
        Instant::ZERO + self.origin.elapsed()
    }

    /// The same point on the system's clock; `None` where that cannot express it, some ages ahead.
    pub fn to_std(&self, instant: Instant) -> Option<StdInstant> {
        self.origin.checked_add(instant - Instant::ZERO)
    }

    /// How long until `deadline`; zero if it has passed.
    pub fn until(&self, deadline: Instant) -> Duration {
        deadline - self.now()
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}

/// Notices that the host was asleep: on many systems the monotonic clock stands still meanwhile,
/// the wall clock does not.
///
/// What the wall clock gains on the monotonic one between two calls is a sleep if it is more than five
/// seconds; less is an adjustment. No more than a day is told, since nothing that a node holds
/// lives longer. A year or more is no sleep: a host without a battery has found out the time. Nor is
/// a wall clock that was set back. One that was set ahead by less cannot be told from a sleep; it costs
/// a check of the nodes known and some of the stored peers.
///
/// Ask it on every wake-up, and hand what it returns to
/// [`Node::handle_resume`](crate::Node::handle_resume).
#[derive(Clone, Copy, Debug)]
pub struct SleepWatch {
    wall: SystemTime,
    monotonic: StdInstant,
}

impl SleepWatch {
    /// Starts watching now.
    pub fn new() -> Self {
        Self { wall: SystemTime::now(), monotonic: StdInstant::now() }
    }

    /// One that finds, when asked next, that the host has slept for so long.
    #[cfg(all(test, feature = "net"))]
    pub(super) fn after(slept: Duration) -> Self {
        let watch = Self::new();
        Self { wall: watch.wall - slept, ..watch }
    }

    /// How long the host slept since the last call, if it did; a day at most.
    pub fn slept(&mut self) -> Option<Duration> {
        self.advance(SystemTime::now(), StdInstant::now())
    }

    fn advance(&mut self, wall: SystemTime, monotonic: StdInstant) -> Option<Duration> {
        let before = core::mem::replace(self, Self { wall, monotonic });
        // The wall clock may also have been set back, which says nothing.
        let walled = wall.duration_since(before.wall).ok()?;
        let slept = walled.checked_sub(monotonic.saturating_duration_since(before.monotonic))?;
        (slept > SLEPT && slept < UNSET).then_some(slept.min(LONGEST))
    }
}

impl Default for SleepWatch {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_convert_both_ways() {
        let clock = Clock::new();
        let now = clock.now();
        let later = now + Duration::from_secs(7);
        let (std_now, std_later) = (clock.to_std(now).unwrap(), clock.to_std(later).unwrap());
        assert_eq!(std_later - std_now, Duration::from_secs(7));
        assert!(clock.now() >= now);
        assert!(clock.until(later) <= Duration::from_secs(7));
        assert_eq!(clock.until(Instant::ZERO), Duration::ZERO);
    }

    #[test]
    fn only_a_jump_of_the_wall_clock_ahead_is_a_sleep() {
        let secs = Duration::from_secs;
        let start = SleepWatch::new();
        let step = |wall: SystemTime, monotonic| {
            let mut watch = start;
            watch.advance(wall, start.monotonic + monotonic)
        };
        assert_eq!(step(start.wall + secs(900), secs(900)), None);
        assert_eq!(step(start.wall + secs(904), secs(900)), None);
        assert_eq!(step(start.wall + secs(4500), secs(900)), Some(secs(3600)));
        assert_eq!(step(start.wall - secs(3600), secs(900)), None);
        assert_eq!(step(start.wall + secs(10), secs(900)), None);
        let day = 24 * 3600;
        assert_eq!(step(start.wall + secs(7 * day + 900), secs(900)), Some(secs(day)));
        assert_eq!(step(start.wall + secs(364 * day), secs(900)), Some(secs(day)));
        assert_eq!(step(start.wall + secs(50 * 365 * day), secs(900)), None);
    }

    #[test]
    fn a_sleep_is_reported_once() {
        let mut watch = SleepWatch::new();
        let (wall, monotonic) = (watch.wall + Duration::from_secs(100), watch.monotonic);
        assert!(watch.advance(wall, monotonic).is_some());
        assert!(watch.advance(wall, monotonic).is_none());
    }
}
