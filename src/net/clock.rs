//! Clocks of the system: monotonic time for the core, and others that show a sleep of the host.

use core::time::Duration;
use std::time::{Instant as StdInstant, SystemTime};

use crate::Instant;

/// The least gain of the wall clock on the monotonic one that counts as a sleep. Less is an adjustment.
const MIN_WALL_GAIN: Duration = Duration::from_secs(5);

/// The least gain of a clock that counts sleep, which is never adjusted, on the monotonic one. Less is not worth a
/// check of all known nodes.
const MIN_STEADY_GAIN: Duration = Duration::from_secs(1);

/// The longest sleep that is returned: whatever a node holds expires within that time.
const MAX_SLEEP: Duration = Duration::from_secs(24 * 3600);

/// The gain of the wall clock from which on it means that the clock had not been set before.
const UNSET: Duration = Duration::from_secs(365 * 24 * 3600);

/// Turns the system's monotonic clock into the core's [`Instant`].
///
/// Copies share one origin. Instants of clocks made apart must not be mixed.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: StdInstant,
    read: fn() -> StdInstant,
}

impl Clock {
    /// Creates a clock that shows [`Instant::ZERO`] now.
    pub fn new() -> Self {
        Self::reading(StdInstant::now)
    }

    /// Creates a clock that starts now, with another source of time.
    pub(crate) fn reading(read: fn() -> StdInstant) -> Self {
        Self { origin: read(), read }
    }

    /// Returns the current instant.
    pub fn now(&self) -> Instant {
        Instant::ZERO + (self.read)().saturating_duration_since(self.origin)
    }

    /// Converts `instant` to the system's clock; `None` if it is too far ahead for that.
    pub fn to_std(&self, instant: Instant) -> Option<StdInstant> {
        self.origin.checked_add(instant - Instant::ZERO)
    }

    /// Returns the time until `deadline`; zero if it has passed.
    pub fn until(&self, deadline: Instant) -> Duration {
        deadline - self.now()
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}

/// Detects that the host was asleep, during which the monotonic clock of many systems stands still.
///
/// On Linux and Android a clock that counts sleep (`CLOCK_BOOTTIME`) is compared with the monotonic one: the gain
/// between two calls is a sleep, and setting the wall clock has no effect.
///
/// Elsewhere it is the wall clock. A gain of more than five seconds counts as a sleep, less as an adjustment, and a
/// year or more as a host without a battery that has learned the time. A wall clock that was set back is no sleep.
/// One that was set ahead by less than a year looks like a sleep; the cost is a check of the known nodes and some
/// of the stored peers.
///
/// A longer sleep than a day is reported as a day: whatever a node holds expires within that time.
///
/// Call [`slept`](Self::slept) on every wake-up, at least every 15 seconds, and pass the result to
/// [`Node::handle_resume`](crate::Node::handle_resume) once the datagrams that have arrived are handed in.
#[derive(Clone, Copy, Debug)]
pub struct SleepWatch {
    last: Reading,
}

/// The clocks at one moment.
#[derive(Clone, Copy, Debug)]
struct Reading {
    /// Stands still while the host sleeps.
    monotonic: StdInstant,
    /// Counts sleep and cannot be set; `None` where there is no such clock.
    steady: Option<Duration>,
    /// Counts sleep and can be set.
    wall: SystemTime,
}

impl SleepWatch {
    /// Creates a watch that starts now.
    pub fn new() -> Self {
        Self { last: Reading::now() }
    }

    /// Creates a watch whose next call returns `slept`.
    #[cfg(all(test, feature = "net"))]
    pub(crate) fn after(slept: Duration) -> Self {
        let last = Reading::now();
        Self { last: Reading { steady: None, wall: last.wall - slept, ..last } }
    }

    /// Returns how long the host slept since the last call, if it did; a day at most.
    pub fn slept(&mut self) -> Option<Duration> {
        self.advance(Reading::now())
    }

    fn advance(&mut self, now: Reading) -> Option<Duration> {
        let before = core::mem::replace(&mut self.last, now);
        let awake = now.monotonic.saturating_duration_since(before.monotonic);
        let slept = match (before.steady, now.steady) {
            (Some(before), Some(now)) => {
                now.saturating_sub(before).checked_sub(awake).filter(|&slept| slept > MIN_STEADY_GAIN)
            }
            // The wall clock may also have been set back.
            _ => {
                let passed = now.wall.duration_since(before.wall).ok()?;
                passed.checked_sub(awake).filter(|&slept| slept > MIN_WALL_GAIN && slept < UNSET)
            }
        };
        slept.map(|slept| slept.min(MAX_SLEEP))
    }
}

impl Reading {
    fn now() -> Self {
        Self { monotonic: StdInstant::now(), steady: steady_time(), wall: SystemTime::now() }
    }
}

/// Time since the system started, sleep included.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn steady_time() -> Option<Duration> {
    use nix::time::{ClockId, clock_gettime};

    clock_gettime(ClockId::CLOCK_BOOTTIME).ok().map(Duration::from)
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
const fn steady_time() -> Option<Duration> {
    None
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

    /// Returns the sleep that a watch reports, in seconds, after the host was awake and asleep for so long and the
    /// wall clock was set by `wall_step`.
    fn reported(has_steady: bool, awake: u64, slept: u64, wall_step: i64) -> Option<u64> {
        let secs = Duration::from_secs;
        let (monotonic, wall) = (StdInstant::now(), SystemTime::now());
        let steady = has_steady.then_some(secs(1000));
        let mut watch = SleepWatch { last: Reading { monotonic, steady, wall } };
        let wall = wall + secs(awake + slept);
        let stepped = secs(wall_step.unsigned_abs());
        let now = Reading {
            monotonic: monotonic + secs(awake),
            steady: steady.map(|at| at + secs(awake + slept)),
            wall: if wall_step < 0 { wall - stepped } else { wall + stepped },
        };
        let reported = watch.advance(now);
        assert_eq!(watch.advance(now), None, "it is reported once");
        reported.map(|slept| slept.as_secs())
    }

    const DAY: u64 = 24 * 3600;

    #[test]
    fn c_15_a_step_of_the_wall_clock_is_no_sleep_where_another_clock_counts_sleep() {
        for step in [2700, -2700, 300 * DAY as i64] {
            assert_eq!(reported(true, 10, 0, step), None);
            assert_eq!(reported(true, 10, 3600, step), Some(3600));
        }
        assert_eq!(reported(true, 10, 1, 0), None);
        assert_eq!(reported(true, 10, 2, 0), Some(2));
        assert_eq!(reported(true, 10, 7 * DAY, 0), Some(DAY));
        assert_eq!(reported(true, 10, 400 * DAY, 0), Some(DAY), "this clock is never set");
    }

    #[test]
    fn c_15_without_it_only_a_jump_of_the_wall_clock_ahead_is_a_sleep() {
        assert_eq!(reported(false, 900, 0, 0), None);
        assert_eq!(reported(false, 900, 0, 4), None);
        assert_eq!(reported(false, 900, 3600, 0), Some(3600));
        assert_eq!(reported(false, 900, 0, -4500), None);
        assert_eq!(reported(false, 900, 7 * DAY, 0), Some(DAY));
        assert_eq!(reported(false, 900, 0, 50 * 365 * DAY as i64), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_clock_that_counts_sleep_is_there_and_goes_on() {
        let (first, second) = (Reading::now(), Reading::now());
        assert!(first.steady.is_some() && second.steady >= first.steady);
        assert_eq!(SleepWatch { last: first }.slept(), None);
    }
}
