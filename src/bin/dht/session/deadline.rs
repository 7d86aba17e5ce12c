//! The time limit of a command, and work that is abandoned when it is over.

use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};
use std::{fmt, io};

use crate::args::values::FOREVER;
use crate::output::Failure;

/// The default time limit of a command that does not stay.
pub(super) const TIMEOUT: Duration = Duration::from_secs(60);

/// The latest end of a command.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadline {
    allowed: Duration,
    at: Instant,
}

impl Deadline {
    /// Creates a deadline from now on: after the time given, or after the default.
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

    /// Runs work that may block, on a thread of its own; `None` if the deadline comes first. The thread then
    /// ends with the program.
    pub(crate) fn bound<T: Send + 'static>(self, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        let (sender, done) = channel();
        thread::Builder::new().spawn(move || sender.send(work())).ok()?;
        done.recv_timeout(self.left()).ok()
    }
}

/// Formats the time allowed.
impl fmt::Display for Deadline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} s", self.allowed.as_secs_f64())
    }
}

/// Reads a file, which may be a pipe without a writer.
pub(crate) fn read_in_time<T: Send + 'static>(
    name: &str,
    deadline: Deadline,
    read: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, Failure> {
    match deadline.bound(read) {
        Some(read) => read.map_err(|error| Failure::Start(format!("cannot read {name}: {error}"))),
        None => Err(Failure::Start(format!("cannot read {name}: its end did not come within {deadline}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_that_never_ends_is_abandoned_at_the_deadline() {
        let (_sender, never) = channel::<()>();
        let over = Deadline::new(Some(Duration::ZERO), true);
        assert!(over.is_over());
        assert_eq!(over.bound(move || never.recv().is_ok()), None);
        assert_eq!(Deadline::new(None, false).bound(|| 7), Some(7));
    }

    #[test]
    fn only_commands_that_do_not_stay_have_a_default_time_limit() {
        let secs = Duration::from_secs;
        for (asked, stays, allowed) in
            [(None, false, TIMEOUT), (None, true, FOREVER), (Some(secs(2)), true, secs(2))]
        {
            assert_eq!(Deadline::new(asked, stays).allowed, allowed);
        }
        assert_eq!(Deadline::new(Some(Duration::from_millis(1500)), false).to_string(), "1.5 s");
    }
}
