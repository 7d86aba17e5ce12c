//! The time of a simulated world, for the nodes that run in it on this thread.

use core::cell::Cell;
use core::time::Duration;
use std::time::Instant as StdInstant;

use super::clock::Clock;
use crate::Instant;

std::thread_local! {
    /// A point on the system's clock that stands for [`Instant::ZERO`].
    static ORIGIN: StdInstant = StdInstant::now();
    /// The time of the host at hand, while one is.
    static NOW: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Makes a clock that shows the time of the host at hand.
pub(crate) fn clock() -> Clock {
    let _start = enter(Instant::ZERO);
    Clock::reading(|| ORIGIN.with(|origin| *origin) + since_zero())
}

/// Sets the time of a host on this thread until the result is dropped. Nothing may block meanwhile.
pub(crate) fn enter(now: Instant) -> Entered {
    Entered(NOW.replace(Some(now)))
}

/// Whether a host of a world is at hand: what blocks now, blocks for ever.
pub(crate) fn is_entered() -> bool {
    NOW.get().is_some()
}

/// The time of a host, set on this thread.
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
