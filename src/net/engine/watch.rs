//! State that others wait for to change.

#[cfg(feature = "tokio")]
use alloc::collections::BTreeMap;
#[cfg(feature = "tokio")]
use core::future::poll_fn;
#[cfg(feature = "tokio")]
use core::task::{Context, Poll, Waker};
use std::sync::{Mutex, MutexGuard, PoisonError};
#[cfg(feature = "net")]
use std::{sync::Condvar, time::Instant as StdInstant};

/// A value, and those who wait until it is as they want it.
#[derive(Debug, Default)]
pub(crate) struct Watch<T> {
    value: Mutex<T>,
    #[cfg(feature = "net")]
    changed: Condvar,
    #[cfg(feature = "tokio")]
    tasks: Mutex<Tasks>,
}

/// Tasks that wait for a change, by their places.
#[cfg(feature = "tokio")]
#[derive(Debug, Default)]
struct Tasks {
    wakers: BTreeMap<u64, Waker>,
    next_place: u64,
}

impl<T> Watch<T> {
    pub(crate) fn read<R>(&self, look: impl FnOnce(&T) -> R) -> R {
        look(&lock(&self.value))
    }

    pub(crate) fn update(&self, change: impl FnOnce(&mut T)) {
        change(&mut lock(&self.value));
        #[cfg(feature = "net")]
        self.changed.notify_all();
        #[cfg(feature = "tokio")]
        {
            let waiting = core::mem::take(&mut lock(&self.tasks).wakers);
            waiting.into_values().for_each(Waker::wake);
        }
    }

    /// What `look` finds; or else the task is woken by the next change. The caller's `place` is
    /// made by its first call, and is to be [forgotten](Self::forget).
    #[cfg(feature = "tokio")]
    pub(crate) fn poll<R>(
        &self,
        place: &mut Option<u64>,
        cx: &Context<'_>,
        look: impl FnOnce(&T) -> Option<R>,
    ) -> Poll<R> {
        // Held until the task is among those waiting, so that it misses no change.
        let value = lock(&self.value);
        if let Some(found) = look(&value) {
            return Poll::Ready(found);
        }
        let mut tasks = lock(&self.tasks);
        let place = *place.get_or_insert_with(|| {
            tasks.next_place += 1;
            tasks.next_place
        });
        let former = tasks.wakers.insert(place, cx.waker().clone());
        drop((tasks, value));
        // The last waker of a task may end it, and that may come back here: not under a lock.
        drop(former);
        Poll::Pending
    }

    #[cfg(feature = "tokio")]
    pub(crate) fn forget(&self, place: Option<u64>) {
        let waker = place.and_then(|place| lock(&self.tasks).wakers.remove(&place));
        drop(waker);
    }

    /// What `look` finds, as soon as it does.
    #[cfg(feature = "tokio")]
    pub(crate) async fn until<R>(&self, look: impl Fn(&T) -> Option<R>) -> R {
        let mut waiting = Waiting { watched: self, place: None };
        poll_fn(|cx| self.poll(&mut waiting.place, cx, &look)).await
    }

    /// Blocks until `look` finds something or `deadline` has passed; no deadline, no limit.
    #[cfg(feature = "net")]
    pub(crate) fn wait<R>(&self, deadline: Option<StdInstant>, look: impl Fn(&T) -> Option<R>) -> Option<R> {
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

#[cfg(feature = "tokio")]
struct Waiting<'a, T> {
    watched: &'a Watch<T>,
    place: Option<u64>,
}

#[cfg(feature = "tokio")]
impl<T> Drop for Waiting<'_, T> {
    fn drop(&mut self) {
        self.watched.forget(self.place);
    }
}

/// A panic while a lock is held leaves nothing half done here.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(all(test, feature = "tokio"))]
mod tests {
    use alloc::boxed::Box;

    use super::*;

    #[test]
    fn a_task_is_woken_by_a_change_and_forgotten_when_it_leaves() {
        let watched = Watch::<u32>::default();
        let mut cx = Context::from_waker(Waker::noop());
        let mut until = Box::pin(watched.until(|&value| (value > 1).then_some(value)));
        assert!(until.as_mut().poll(&mut cx).is_pending());
        assert!(until.as_mut().poll(&mut cx).is_pending());
        assert_eq!(lock(&watched.tasks).wakers.len(), 1);
        watched.update(|value| *value = 1);
        assert_eq!(lock(&watched.tasks).wakers.len(), 0);
        assert!(until.as_mut().poll(&mut cx).is_pending());
        watched.update(|value| *value = 2);
        assert_eq!(until.as_mut().poll(&mut cx), Poll::Ready(2));

        let mut leaving = Box::pin(watched.until(|&value| (value > 2).then_some(())));
        assert!(leaving.as_mut().poll(&mut cx).is_pending());
        drop(leaving);
        assert_eq!(lock(&watched.tasks).wakers.len(), 0);
    }
}
