//! The deadlines of maintenance.

use crate::base::time::Instant;

/// What a node does by the clock, apart from the deadlines of its queries and of its table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Timer {
    /// Drawing of a new token secret.
    Rotation,
    /// Removal of expired peers and items.
    Sweep,
    /// End of lookups that wait for a first node.
    Parked,
    /// Start of republishes.
    Republish,
    /// Search for buckets to refresh, and for a reason to bootstrap again, in the IPv4 DHT.
    MaintenanceV4,
    /// Search for buckets to refresh, and for a reason to bootstrap again, in the IPv6 DHT.
    MaintenanceV6,
}

/// Number of variants of [`Timer`].
const COUNT: usize = 6;

/// The next deadline of every timer.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub(crate) struct Timers([Instant; COUNT]);

impl Timers {
    pub(crate) const fn new() -> Self {
        Self([Instant::NEVER; COUNT])
    }

    pub(crate) fn set(&mut self, timer: Timer, at: Instant) {
        self.0[timer as usize] = at;
    }

    /// Sets `timer` to `at`, unless it is due earlier.
    pub(crate) fn set_earlier(&mut self, timer: Timer, at: Instant) {
        let old = &mut self.0[timer as usize];
        *old = at.min(*old);
    }

    /// Whether `timer` is due; if so it is stopped.
    pub(crate) fn fired(&mut self, timer: Timer, now: Instant) -> bool {
        let at = &mut self.0[timer as usize];
        let fired = *at <= now;
        if fired {
            *at = Instant::NEVER;
        }
        fired
    }

    /// Returns the earliest deadline.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.0.into_iter().min().filter(|&at| at != Instant::NEVER)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timer_fires_once_and_the_earliest_is_next() {
        let mut timers = Timers::new();
        assert_eq!(timers.next(), None);
        timers.set(Timer::Sweep, Instant::from_micros(20));
        timers.set(Timer::Rotation, Instant::from_micros(10));
        assert_eq!(timers.next(), Some(Instant::from_micros(10)));
        assert!(!timers.fired(Timer::Rotation, Instant::from_micros(9)));
        assert!(timers.fired(Timer::Rotation, Instant::from_micros(10)));
        assert!(!timers.fired(Timer::Rotation, Instant::from_micros(11)));
        assert_eq!(timers.next(), Some(Instant::from_micros(20)));
    }
}
