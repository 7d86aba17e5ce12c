//! A value whose changes threads and tasks wait for.

use alloc::collections::BTreeMap;
use core::future::poll_fn;
use core::task::{Context, Poll, Waker};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant as StdInstant;

/// A value, with the threads and tasks that wait for a change.
#[derive(Debug, Default)]
pub(crate) struct Watch<T> {
    inner: Mutex<Inner<T>>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Inner<T> {
    value: T,
    /// The number of blocked threads.
    threads: usize,
    /// Tasks that wait, by place.
    wakers: BTreeMap<u64, Waker>,
    next_place: u64,
}

impl<T> Watch<T> {
    /// Reads or changes the value without waking anything.
    pub(crate) fn with<R>(&self, access: impl FnOnce(&mut T) -> R) -> R {
        access(&mut lock(&self.inner).value)
    }

    /// Changes the value, and wakes all waiting threads and tasks.
    pub(crate) fn update<R>(&self, change: impl FnOnce(&mut T) -> R) -> R {
        let mut inner = lock(&self.inner);
        let result = change(&mut inner.value);
        let (threads, wakers) = (inner.threads, core::mem::take(&mut inner.wakers));
        drop(inner);
        if threads > 0 {
            self.changed.notify_all();
        }
        wakers.into_values().for_each(Waker::wake);
        result
    }

    /// Polls for what `take` finds. If that is nothing, the next change wakes the task.
    ///
    /// The first call assigns a `place` to the task, which must be [removed](Self::forget) in the end.
    pub(crate) fn poll<R>(
        &self,
        place: &mut Option<u64>,
        cx: &Context<'_>,
        take: impl FnOnce(&mut T) -> Option<R>,
    ) -> Poll<R> {
        let mut inner = lock(&self.inner);
        if let Some(found) = take(&mut inner.value) {
            return Poll::Ready(found);
        }
        let place = *place.get_or_insert_with(|| {
            inner.next_place += 1;
            inner.next_place
        });
        let former = inner.wakers.insert(place, cx.waker().clone());
        drop(inner);
        // Dropping the last waker of a task may drop the task, which may call this again: not under the lock.
        drop(former);
        Poll::Pending
    }

    /// Removes the task that waits at a place, if any.
    pub(crate) fn forget(&self, place: Option<u64>) {
        let waker = place.and_then(|place| lock(&self.inner).wakers.remove(&place));
        drop(waker);
    }

    /// Awaits until `take` finds something.
    pub(crate) async fn until<R>(&self, mut take: impl FnMut(&mut T) -> Option<R>) -> R {
        let mut waiting = Waiting { watch: self, place: None };
        poll_fn(|cx| self.poll(&mut waiting.place, cx, &mut take)).await
    }

    /// Blocks until `take` finds something or `deadline` has passed; without a deadline for as long as it takes.
    pub(crate) fn wait<R>(
        &self,
        deadline: Option<StdInstant>,
        mut take: impl FnMut(&mut T) -> Option<R>,
    ) -> Option<R> {
        assert_may_block();
        let mut inner = lock(&self.inner);
        loop {
            if let Some(found) = take(&mut inner.value) {
                return Some(found);
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(StdInstant::now()));
            inner.threads += 1;
            inner = match left {
                None => self.changed.wait(inner).unwrap_or_else(PoisonError::into_inner),
                Some(left) if left.is_zero() => {
                    inner.threads -= 1;
                    return None;
                }
                Some(left) => {
                    self.changed.wait_timeout(inner, left).unwrap_or_else(PoisonError::into_inner).0
                }
            };
            inner.threads -= 1;
        }
    }
}

/// The place of a waiting task, removed on drop.
struct Waiting<'a, T> {
    watch: &'a Watch<T>,
    place: Option<u64>,
}

impl<T> Drop for Waiting<'_, T> {
    fn drop(&mut self) {
        self.watch.forget(self.place);
    }
}

/// Locks a mutex. A poisoned one is used as it is: a panic leaves no value here half changed.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Panics in debug builds if blocking would delay other tasks, or deadlock with the node's own task.
fn assert_may_block() {
    #[cfg(feature = "sim")]
    assert!(
        !crate::net::virtual_time::is_entered(),
        "a blocking call of the DHT inside of a simulated world, whose time stands still meanwhile: use `.await` or \
         `recv().await` in place of `wait`, `wait_timeout`, `recv_timeout` and the iterators"
    );
    #[cfg(all(debug_assertions, feature = "tokio"))]
    if let Ok(runtime) = tokio::runtime::Handle::try_current() {
        // The runtime knows where blocking is allowed, but reports it only by a panic of its own.
        let probe = core::panic::AssertUnwindSafe(|| runtime.block_on(async {}));
        assert!(
            std::panic::catch_unwind(probe).is_ok(),
            "a blocking call of the DHT inside of an asynchronous task: use `.await` or `recv().await` in \
             place of `wait`, `wait_timeout`, `recv_timeout` and the iterators, or `tokio::task::spawn_blocking`"
        );
    }
}

#[cfg(test)]
mod tests {
    use alloc::boxed::Box;
    use core::time::Duration;

    use super::*;

    #[test]
    fn a_task_is_woken_by_a_change_and_forgotten_when_it_leaves() {
        let watch = Watch::<u32>::default();
        let mut cx = Context::from_waker(Waker::noop());
        let tasks = || lock(&watch.inner).wakers.len();
        let mut until = Box::pin(watch.until(|&mut value| (value > 1).then_some(value)));
        assert!(until.as_mut().poll(&mut cx).is_pending());
        assert!(until.as_mut().poll(&mut cx).is_pending());
        assert_eq!(tasks(), 1);
        watch.update(|value| *value = 1);
        assert_eq!(tasks(), 0);
        assert!(until.as_mut().poll(&mut cx).is_pending());
        watch.update(|value| *value = 2);
        assert_eq!(until.as_mut().poll(&mut cx), Poll::Ready(2));

        let mut leaving = Box::pin(watch.until(|&mut value| (value > 2).then_some(())));
        assert!(leaving.as_mut().poll(&mut cx).is_pending());
        drop(leaving);
        assert_eq!(tasks(), 0);
    }

    #[test]
    fn a_thread_waits_until_its_deadline_and_is_counted_for_as_long() {
        let watch = Watch::<u32>::default();
        let soon = StdInstant::now() + Duration::from_millis(10);
        assert_eq!(watch.wait(Some(soon), |&mut value| (value > 0).then_some(())), None);
        assert_eq!(lock(&watch.inner).threads, 0);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| watch.wait(None, |&mut value| (value > 0).then_some(value)));
            while lock(&watch.inner).threads == 0 {
                std::thread::yield_now();
            }
            watch.update(|value| *value = 7);
            assert_eq!(waiting.join().unwrap(), Some(7));
        });
    }
}
