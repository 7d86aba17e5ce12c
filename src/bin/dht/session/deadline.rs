//! The time that a command has, and work that is not worth more of it.

use std::fmt;
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use crate::values::FOREVER;

/// What a command has that does not stay.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(60);

/// When a command ends at the latest.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline {
    allowed: Duration,
    at: Instant,
}

impl Deadline {
    /// From now on, for as long as was asked for or is usual.
    pub(crate) fn new(asked: Option<Duration>, stays: bool) -> Self {
        let allowed = asked.unwrap_or(if stays { FOREVER } else { TIMEOUT });
        Self { allowed, at: Instant::now() + allowed }
    }

    pub(crate) fn left(self) -> Duration {
        self.at.saturating_duration_since(Instant::now())
    }

    pub(crate) fn is_over(self) -> bool {
        self.left().is_zero()
    }

    /// Does what may block for as long as it likes, on a thread of its own; `None` if the time is over
    /// before it has ended. The thread goes with the program.
    pub(crate) fn bound<T: Send + 'static>(self, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        let (sender, done) = channel();
        thread::Builder::new().spawn(move || sender.send(work())).ok()?;
        done.recv_timeout(self.left()).ok()
    }
}

/// How long it is.
impl fmt::Display for Deadline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} s", self.allowed.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_that_never_ends_is_left_at_the_deadline() {
        let (_sender, never) = channel::<()>();
        let over = Deadline::new(Some(Duration::ZERO), true);
        assert!(over.is_over());
        assert_eq!(over.bound(move || never.recv().is_ok()), None);
        assert_eq!(Deadline::new(None, false).bound(|| 7), Some(7));
    }

    #[test]
    fn the_usual_time_is_for_what_does_not_stay() {
        let secs = Duration::from_secs;
        for (asked, stays, allowed) in
            [(None, false, TIMEOUT), (None, true, FOREVER), (Some(secs(2)), true, secs(2))]
        {
            assert_eq!(Deadline::new(asked, stays).allowed, allowed);
        }
        assert_eq!(Deadline::new(Some(Duration::from_millis(1500)), false).to_string(), "1.5 s");
    }
}
