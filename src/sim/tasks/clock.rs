//! The clock of a task, and the timers by which it sleeps.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::future::poll_fn;
use core::pin::{Pin, pin};
use core::task::{Context, Poll, Waker};
use core::time::Duration;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::base::time::Instant;

/// The clock of a host, for the task that runs there ([`World::add_task`](crate::sim::World::add_task)).
///
/// It stands still while the host is [asleep](crate::sim::World::sleep), and jumps with it. Clones are the same clock.
#[derive(Clone)]
pub struct SimClock(Arc<Mutex<Timers>>);

#[derive(Default)]
struct Timers {
    now: Instant,
    /// The wakers of tasks that sleep, by the time of waking and in the order in which they fell asleep.
    sleeping: BTreeMap<(Instant, u64), Waker>,
    next: u64,
}

impl SimClock {
    pub(super) fn new(now: Instant) -> Self {
        Self(Arc::new(Mutex::new(Timers { now, ..Timers::default() })))
    }

    /// Returns the time of the host's clock, which is also that of its node.
    pub fn now(&self) -> Instant {
        self.timers().now
    }

    /// Waits for this long.
    pub fn sleep(&self, time: Duration) -> Sleep {
        self.sleep_until(self.now() + time)
    }

    /// Waits until this time; not at all if it has passed.
    pub fn sleep_until(&self, at: Instant) -> Sleep {
        Sleep { clock: self.clone(), at, place: None }
    }

    /// Awaits a future, at most for `limit`; `None` if it is not ready by then. The future is dropped in either case.
    pub async fn timeout<F: IntoFuture>(&self, limit: Duration, future: F) -> Option<F::Output> {
        let mut sleep = self.sleep(limit);
        let mut future = pin!(future.into_future());
        poll_fn(|cx| match future.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending => Pin::new(&mut sleep).poll(cx).map(|()| None),
        })
        .await
    }

    /// Sets the time, and wakes the tasks whose sleep is over.
    pub(super) fn advance(&self, now: Instant) {
        let mut timers = self.timers();
        timers.now = now;
        let mut woken = Vec::new();
        while let Some(entry) = timers.sleeping.first_entry().filter(|entry| entry.key().0 <= now) {
            woken.push(entry.remove());
        }
        drop(timers);
        woken.into_iter().for_each(Waker::wake);
    }

    /// Returns when the first sleep is over.
    pub(super) fn next_wake(&self) -> Option<Instant> {
        self.timers().sleeping.first_key_value().map(|((at, _), _)| *at)
    }

    fn timers(&self) -> MutexGuard<'_, Timers> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for SimClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SimClock").field(&self.now()).finish()
    }
}

/// A wait by a [`SimClock`], which is over as soon as the time has come. It never ends if the host has left.
#[derive(Debug)]
#[must_use = "a sleep does nothing unless it is awaited"]
pub struct Sleep {
    clock: SimClock,
    at: Instant,
    /// The place among the sleeps until the same time.
    place: Option<u64>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let clock = self.clock.clone();
        let mut timers = clock.timers();
        if timers.now >= self.at {
            return Poll::Ready(());
        }
        let place = *self.place.get_or_insert_with(|| {
            timers.next += 1;
            timers.next
        });
        let former = timers.sleeping.insert((self.at, place), cx.waker().clone());
        drop(timers);
        drop(former);
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        let Some(place) = self.place else { return };
        let waker = self.clock.timers().sleeping.remove(&(self.at, place));
        drop(waker);
    }
}

#[cfg(test)]
mod tests {
    use alloc::boxed::Box;
    use alloc::vec;

    use super::*;

    const fn at(secs: u64) -> Instant {
        Instant::from_micros(secs * 1_000_000)
    }

    #[test]
    fn whoever_sleeps_is_woken_in_time_and_forgotten_when_it_leaves() {
        let clock = SimClock::new(at(5));
        let mut cx = Context::from_waker(Waker::noop());
        let mut sleeping = vec![clock.sleep(Duration::from_secs(2)), clock.sleep_until(at(6))];
        assert!(sleeping.iter_mut().all(|sleep| Pin::new(sleep).poll(&mut cx).is_pending()));
        assert!(Pin::new(&mut clock.sleep_until(at(5))).poll(&mut cx).is_ready());
        assert_eq!(clock.next_wake(), Some(at(6)));
        clock.advance(at(6));
        assert_eq!((clock.now(), clock.next_wake()), (at(6), Some(at(7))));
        assert!(Pin::new(&mut sleeping[1]).poll(&mut cx).is_ready());
        assert!(Pin::new(&mut sleeping[0]).poll(&mut cx).is_pending());
        drop(sleeping);
        assert_eq!(clock.next_wake(), None);
    }

    #[test]
    fn a_timeout_ends_with_the_future_or_without_it() {
        let clock = SimClock::new(at(0));
        let mut cx = Context::from_waker(Waker::noop());
        let mut ready = Box::pin(clock.timeout(Duration::from_secs(1), core::future::ready(7)));
        assert_eq!(ready.as_mut().poll(&mut cx), Poll::Ready(Some(7)));
        let mut never = Box::pin(clock.timeout(Duration::from_secs(1), core::future::pending::<()>()));
        assert_eq!(never.as_mut().poll(&mut cx), Poll::Pending);
        clock.advance(at(1));
        assert_eq!(never.as_mut().poll(&mut cx), Poll::Ready(None));
    }
}
