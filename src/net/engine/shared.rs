//! What the handles and the loop share, whichever loop it is.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::net::SocketAddr;
use core::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use core::task::Waker;
use std::io;
use std::sync::Mutex;

use super::counters::Counters;
use super::watch::{Watch, lock};
use crate::net::error::CallError;
use crate::{KeptId, LookupOptions};

pub(crate) struct Shared {
    pub(crate) status: Watch<Status>,
    pub(crate) counters: Counters,
    pub(crate) lookup_options: LookupOptions,
    /// The system's code of the last error in sending; 0: there was none.
    send_error: AtomicI32,
    /// Wakes the loop.
    waker: Waker,
    closing: AtomicBool,
    released: Mutex<Vec<Resource>>,
}

#[derive(Debug, Default)]
pub(crate) struct Status {
    /// By family.
    pub(crate) ready: [bool; 2],
    /// Of the sockets, by family.
    pub(crate) local_addrs: [Option<SocketAddr>; 2],
    /// The user has switched the node off.
    pub(crate) disabled: bool,
    pub(crate) closed: bool,
}

impl Status {
    /// Whether a table is ready, once it is or the loop has ended.
    pub(crate) fn is_ready(&self) -> Option<Result<bool, CallError>> {
        if self.closed {
            return Some(Err(CallError::Closed));
        }
        (self.ready != [false; 2]).then_some(Ok(true))
    }
}

impl Shared {
    pub(crate) fn new(
        waker: Waker,
        local_addrs: [Option<SocketAddr>; 2],
        lookup_options: LookupOptions,
    ) -> Self {
        let status = Watch::default();
        status.update(|status: &mut Status| status.local_addrs = local_addrs);
        Self {
            status,
            counters: Counters::default(),
            lookup_options,
            send_error: AtomicI32::new(0),
            waker,
            closing: AtomicBool::new(false),
            released: Mutex::default(),
        }
    }

    pub(crate) fn local_addrs(&self) -> [Option<SocketAddr>; 2] {
        self.status.read(|status| status.local_addrs)
    }

    /// The system has not sent a datagram. A full socket is no error: it is sent later.
    pub(crate) fn note_send_error(&self, error: &io::Error) {
        if let Some(code) = error.raw_os_error().filter(|_| error.kind() != io::ErrorKind::WouldBlock) {
            self.send_error.store(code, Ordering::Relaxed);
        }
    }

    pub(crate) fn last_send_error(&self) -> Option<io::Error> {
        let code = self.send_error.load(Ordering::Relaxed);
        (code != 0).then(|| io::Error::from_raw_os_error(code))
    }

    pub(crate) fn wake(&self) {
        self.waker.wake_by_ref();
    }

    /// Asks the loop to end. What is held now is held until then.
    pub(crate) fn close(&self) {
        let released = lock(&self.released);
        self.closing.store(true, Ordering::Release);
        drop(released);
        self.wake();
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    /// What has been given up since the last call.
    pub(crate) fn take_released(&self) -> Vec<Resource> {
        core::mem::take(&mut lock(&self.released))
    }
}

/// One user's share of something under way, given up by its drop: also if that is the drop of a
/// reply which came too late for its caller. Giving up never blocks and is never lost;
/// once the loop is to end it means nothing any more.
pub(crate) struct Lease {
    shared: Arc<Shared>,
    held: Resource,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resource {
    /// By its number.
    Lookup(u64),
    /// A query to a single node, by its number.
    Call(u64),
    /// With the number of the holder.
    Publication(KeptId, u64),
    /// By its number.
    Crawl(u64),
}

impl Lease {
    pub(crate) fn new(shared: &Arc<Shared>, held: Resource) -> Self {
        Self { shared: Arc::clone(shared), held }
    }

    /// Wakes the loop, which may have waited for its user.
    pub(crate) fn wake(&self) {
        self.shared.wake();
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut released = lock(&self.shared.released);
        if self.shared.is_closing() {
            return;
        }
        released.push(self.held);
        drop(released);
        self.shared.wake();
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.held.fmt(f)
    }
}
