//! One who reads what the loop writes for several: each part once, at a pace of its own.

use alloc::sync::Arc;
#[cfg(feature = "tokio")]
use core::task::{Context, Poll};
#[cfg(feature = "net")]
use std::time::Instant as StdInstant;

use crate::net::engine::watch::Watch;
use crate::net::error::CallError;

pub(crate) struct Cursor<W, T> {
    pub(crate) watched: Arc<Watch<W>>,
    next: Next<W, T>,
    seen: usize,
    /// Its place among the tasks that wait.
    #[cfg(feature = "tokio")]
    place: Option<u64>,
}

/// What a reader gets who has seen that many parts: how many it has seen then and the next of them, `None`
/// at the end, or why there is no end. Nothing if that is not known yet.
pub(crate) type Next<W, T> = fn(&W, usize) -> Option<Result<Option<(usize, T)>, CallError>>;

impl<W, T> Cursor<W, T> {
    pub(crate) fn new(watched: Arc<Watch<W>>, next: Next<W, T>) -> Self {
        Self {
            watched,
            next,
            seen: 0,
            #[cfg(feature = "tokio")]
            place: None,
        }
    }

    /// How many parts it has seen.
    pub(crate) const fn seen(&self) -> usize {
        self.seen
    }

    /// The next part, or the end. No `deadline`: waits for as long as it takes.
    #[cfg(feature = "net")]
    pub(crate) fn wait(&mut self, deadline: Option<StdInstant>) -> Result<Option<T>, CallError> {
        let next = self.watched.wait(deadline, |watched| (self.next)(watched, self.seen));
        let next = next.unwrap_or(Err(CallError::TimedOut))?;
        Ok(self.note(next))
    }

    /// The same for a task.
    #[cfg(feature = "tokio")]
    pub(crate) fn poll(&mut self, cx: &Context<'_>) -> Poll<Result<Option<T>, CallError>> {
        let Self { watched, next, seen, place } = self;
        let next = watched.poll(place, cx, |watched| next(watched, *seen));
        next.map_ok(|next| self.note(next))
    }

    fn note(&mut self, next: Option<(usize, T)>) -> Option<T> {
        let (seen, part) = next?;
        self.seen = seen;
        Some(part)
    }
}

#[cfg(feature = "tokio")]
impl<W, T> Drop for Cursor<W, T> {
    fn drop(&mut self) {
        self.watched.forget(self.place);
    }
}
