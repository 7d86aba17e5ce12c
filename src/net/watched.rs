//! State that others wait for to change.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant as StdInstant;

/// A value, and those who wait until it is as they want it.
#[derive(Debug, Default)]
pub(super) struct Watched<T> {
    value: Mutex<T>,
    changed: Condvar,
}

impl<T> Watched<T> {
    pub(super) fn read<R>(&self, look: impl FnOnce(&T) -> R) -> R {
        look(&lock(&self.value))
    }

    pub(super) fn update(&self, change: impl FnOnce(&mut T)) {
        change(&mut lock(&self.value));
        self.changed.notify_all();
    }

    /// Blocks until `look` finds something or `deadline` has passed; no deadline, no limit.
    pub(super) fn wait<R>(&self, deadline: Option<StdInstant>, look: impl Fn(&T) -> Option<R>) -> Option<R> {
        let mut value = lock(&self.value);
        loop {
            if let Some(found) = look(&value) {
                return Some(found);
            }
            value = match deadline {
                None => self.changed.wait(value).unwrap_or_else(PoisonError::into_inner),
                Some(deadline) => {
                    let left = deadline.saturating_duration_since(StdInstant::now());
                    if left.is_zero() {
                        return None;
                    }
                    self.changed.wait_timeout(value, left).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }
}

/// A panic while a lock is held leaves nothing half done here.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
