//! Tasks: programs that use their node by a handle, in virtual time.
//!
//! A file uses only those that come before it:
//!
//! - `waking`: which hosts have been woken for a call or a task
//! - `clock`: [`SimClock`], the clock and the timers of a task
//! - `host`: a node, the engine around it and the task that uses it

mod clock;
mod host;
mod waking;

pub use self::clock::{SimClock, Sleep};
pub(super) use self::host::{TaskFuture, TaskHost};
pub(super) use self::waking::{Flag, WokenHosts};
