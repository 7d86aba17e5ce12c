//! The hosts that have been woken, in order.

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::task::Wake;
use core::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The hosts that have been woken and not been drained since, in the order in which they were woken.
///
/// Wakers may be on other threads, hence the lock; if none is, the order follows from the seed.
#[derive(Clone, Default)]
pub(in crate::sim) struct WokenHosts(Arc<Mutex<VecDeque<u32>>>);

impl WokenHosts {
    /// Removes and returns the host that was woken first.
    pub(in crate::sim) fn next(&self) -> Option<u32> {
        self.lock().pop_front()
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<u32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Wakes a part of a host: the engine or the task.
pub(super) struct HostWaker {
    host: u32,
    woken: WokenHosts,
    is_woken: AtomicBool,
}

impl HostWaker {
    pub(super) fn new(host: u32, woken: &WokenHosts) -> Arc<Self> {
        Arc::new(Self { host, woken: woken.clone(), is_woken: AtomicBool::new(false) })
    }

    pub(super) fn is_woken(&self) -> bool {
        self.is_woken.load(Ordering::Acquire)
    }

    /// Returns whether it was woken since the last call.
    pub(super) fn take(&self) -> bool {
        self.is_woken.swap(false, Ordering::AcqRel)
    }
}

impl Wake for HostWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.is_woken.swap(true, Ordering::AcqRel) {
            self.woken.lock().push_back(self.host);
        }
    }
}

/// The waker of a future that a world runs until it is ready.
#[derive(Default)]
pub(in crate::sim) struct Flag(AtomicBool);

impl Flag {
    /// Creates a flag that is raised.
    pub(in crate::sim) fn raised() -> Arc<Self> {
        Arc::new(Self(AtomicBool::new(true)))
    }

    pub(in crate::sim) fn is_raised(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    /// Returns whether it was raised since the last call.
    pub(in crate::sim) fn take(&self) -> bool {
        self.0.swap(false, Ordering::AcqRel)
    }
}

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Release);
    }
}
