//! The system's clocks: monotonic time for the core, and others to notice that the host slept.

use core::time::Duration;
use std::time::{Instant as StdInstant, SystemTime};

use crate::Instant;

/// Where only the wall clock shows a sleep: time that it gains on the monotonic one. Less is an
/// adjustment.
const SLEPT: Duration = Duration::from_secs(5);

/// What a clock that counts sleep gains on the monotonic one; nobody adjusts it. Less is not worth a
/// check of all nodes known.
const SURELY_SLEPT: Duration = Duration::from_secs(1);

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
    read: fn() -> StdInstant,
}

impl Clock {
    /// A clock that starts at [`Instant::ZERO`] now.
    pub fn new() -> Self {
        Self::reading(StdInstant::now)
    }

    /// A clock that starts now, of another source than the system.
    pub(crate) fn reading(read: fn() -> StdInstant) -> Self {
        Self { origin: read(), read }
    }

    /// The current instant.
    pub fn now(&self) -> Instant {
        Instant::ZERO + (self.read)().saturating_duration_since(self.origin)
    }

    /// The point on the system's clock that `instant` stands for; `None` where that cannot express it, some ages ahead.
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

/// Notices that the host was asleep: on many systems the monotonic clock stands still meanwhile.
///
/// On Linux and Android another clock tells (`CLOCK_BOOTTIME`): what that gains on the monotonic one
/// between two calls is a sleep, and the wall clock may be set as anybody likes.
///
/// Elsewhere it is the wall clock: what that gains is a sleep if it is more than five seconds; less is
/// an adjustment. A year or more is no sleep: a host without a battery has found out the time. Nor is
/// a wall clock that was set back. One that was set ahead by less cannot be told from a sleep there; it
/// costs a check of the nodes known and some of the stored peers.
///
/// No more than a day is told, since nothing that a node holds lives longer.
///
/// Ask it on every wake-up, at least every quarter of a minute, and hand what it returns to
/// [`Node::handle_resume`](crate::Node::handle_resume) once the datagrams that have arrived are handed in.
#[derive(Clone, Copy, Debug)]
pub struct SleepWatch {
    last: Reading,
}

/// What the clocks said at one moment.
#[derive(Clone, Copy, Debug)]
struct Reading {
    /// Stands still while the host sleeps.
    monotonic: StdInstant,
    /// Does not, and cannot be set, where there is such a clock.
    steady: Option<Duration>,
    /// Does not, and can.
    wall: SystemTime,
}

impl SleepWatch {
    /// Starts watching now.
    pub fn new() -> Self {
        Self { last: Reading::now() }
    }

    /// One that finds, when asked next, that the host has slept for so long.
    #[cfg(all(test, feature = "net"))]
    pub(crate) fn after(slept: Duration) -> Self {
        let last = Reading::now();
        Self { last: Reading { steady: None, wall: last.wall - slept, ..last } }
    }

    /// How long the host slept since the last call, if it did; a day at most.
    pub fn slept(&mut self) -> Option<Duration> {
        self.advance(Reading::now())
    }

    fn advance(&mut self, now: Reading) -> Option<Duration> {
        let before = core::mem::replace(&mut self.last, now);
        let awake = now.monotonic.saturating_duration_since(before.monotonic);
        let slept = match (before.steady, now.steady) {
            (Some(before), Some(now)) => {
                now.saturating_sub(before).checked_sub(awake).filter(|&slept| slept > SURELY_SLEPT)
            }
            // The wall clock may also have been set back, which says nothing.
            _ => {
                let passed = now.wall.duration_since(before.wall).ok()?;
                passed.checked_sub(awake).filter(|&slept| slept > SLEPT && slept < UNSET)
            }
        };
        slept.map(|slept| slept.min(LONGEST))
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

    /// What a watch tells, in seconds, after the host was awake and slept for so long, and the wall clock was
    /// set by `wall_step`.
    fn told(has_steady: bool, awake: u64, slept: u64, wall_step: i64) -> Option<u64> {
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
        let told = watch.advance(now);
        assert_eq!(watch.advance(now), None, "it is told once");
        told.map(|slept| slept.as_secs())
    }

    const DAY: u64 = 24 * 3600;

    #[test]
    fn c_15_a_step_of_the_wall_clock_is_no_sleep_where_another_clock_tells() {
        for step in [2700, -2700, 300 * DAY as i64] {
            assert_eq!(told(true, 10, 0, step), None);
            assert_eq!(told(true, 10, 3600, step), Some(3600));
        }
        assert_eq!(told(true, 10, 1, 0), None);
        assert_eq!(told(true, 10, 2, 0), Some(2));
        assert_eq!(told(true, 10, 7 * DAY, 0), Some(DAY));
        assert_eq!(told(true, 10, 400 * DAY, 0), Some(DAY), "this clock is never set");
    }

    #[test]
    fn c_15_without_it_only_a_jump_of_the_wall_clock_ahead_is_a_sleep() {
        assert_eq!(told(false, 900, 0, 0), None);
        assert_eq!(told(false, 900, 0, 4), None);
        assert_eq!(told(false, 900, 3600, 0), Some(3600));
        assert_eq!(told(false, 900, 0, -4500), None);
        assert_eq!(told(false, 900, 7 * DAY, 0), Some(DAY));
        assert_eq!(told(false, 900, 0, 50 * 365 * DAY as i64), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_clock_that_counts_sleep_is_there_and_goes_on() {
        let (first, second) = (Reading::now(), Reading::now());
        assert!(first.steady.is_some() && second.steady >= first.steady);
        assert_eq!(SleepWatch { last: first }.slept(), None);
    }
}
