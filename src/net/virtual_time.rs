//! Virtual time on this thread, for the nodes of a simulated world.

use core::cell::Cell;
use core::time::Duration;
use std::time::Instant as StdInstant;

use super::clock::Clock;
use crate::Instant;

std::thread_local! {
    /// The point of the system's clock that represents [`Instant::ZERO`].
    static ORIGIN: StdInstant = StdInstant::now();
    /// The time of the host that is running, if any.
    static NOW: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Creates a clock that shows the time of the host that is running.
pub(crate) fn clock() -> Clock {
    let _start = enter(Instant::ZERO);
    Clock::reading(|| ORIGIN.with(|origin| *origin) + since_zero())
}

/// Sets the time of a host on this thread until the returned guard is dropped. Nothing may block meanwhile.
pub(crate) fn enter(now: Instant) -> Entered {
    Entered(NOW.replace(Some(now)))
}

/// Whether a simulated host is running on this thread, so that a blocking call would deadlock.
pub(crate) fn is_entered() -> bool {
    NOW.get().is_some()
}

/// A guard that restores the former time of this thread.
#[must_use]
pub(crate) struct Entered(Option<Instant>);

impl Drop for Entered {
    fn drop(&mut self) {
        NOW.set(self.0);
    }
}

fn since_zero() -> Duration {
    NOW.get().unwrap_or(Instant::ZERO) - Instant::ZERO
}
