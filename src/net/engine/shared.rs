//! State that handles and loop share.

use alloc::sync::Arc;
use core::fmt;
use core::net::SocketAddr;
use core::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};
use core::task::Waker;
use std::io;
use std::sync::{Mutex, MutexGuard};

use super::mailbox::{Command, Mailbox, Resource};
use super::watch::lock;
use crate::LookupOptions;
use crate::net::counters::Counters;
use crate::net::error::CallError;

pub(crate) struct Shared {
    pub(crate) counters: Counters,
    pub(crate) lookup_options: LookupOptions,
    status: Mutex<Status>,
    mailbox: Mutex<Mailbox>,
    /// The number of the last call.
    number: AtomicU64,
    /// The system's code of the last send error; 0 if there was none.
    send_error: AtomicI32,
    /// Wakes the loop.
    waker: Waker,
    /// Whether the loop has been woken for the mailbox and has not read it since.
    is_woken: AtomicBool,
    is_closing: AtomicBool,
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Status {
    /// Whether each family is ready.
    pub(crate) ready: [bool; 2],
    /// Local addresses of the sockets, by family.
    pub(crate) local_addrs: [Option<SocketAddr>; 2],
    /// Whether the user has switched the node off.
    pub(crate) disabled: bool,
}

impl Shared {
    pub(crate) fn new(
        waker: Waker,
        local_addrs: [Option<SocketAddr>; 2],
        lookup_options: LookupOptions,
    ) -> Self {
        Self {
            counters: Counters::default(),
            lookup_options,
            status: Mutex::new(Status { local_addrs, ..Status::default() }),
            mailbox: Mutex::default(),
            number: AtomicU64::new(0),
            send_error: AtomicI32::new(0),
            waker,
            is_woken: AtomicBool::new(false),
            is_closing: AtomicBool::new(false),
        }
    }

    pub(crate) fn status(&self) -> MutexGuard<'_, Status> {
        lock(&self.status)
    }

    /// Returns the number for a new call.
    pub(crate) fn next_number(&self) -> u64 {
        self.number.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Queues a command for the loop, and returns whether there was room. If not, `refuse` is called with the error
    /// before the command is dropped.
    pub(crate) fn send(&self, command: Command, refuse: impl FnOnce(CallError)) -> bool {
        let mut mailbox = lock(&self.mailbox);
        if let Err(error) = mailbox.check() {
            drop(mailbox);
            refuse(error);
            return false;
        }
        mailbox.push(command);
        drop(mailbox);
        self.wake();
        true
    }

    /// Takes the next command.
    pub(crate) fn next_command(&self) -> Option<Command> {
        lock(&self.mailbox).pop()
    }

    /// Whether commands wait for the loop.
    #[cfg(feature = "sim")]
    pub(crate) fn has_commands(&self) -> bool {
        !lock(&self.mailbox).is_empty()
    }

    /// Wakes the loop, but only once until it calls [`note_woken`](Self::note_woken).
    pub(crate) fn wake(&self) {
        if !self.is_woken.swap(true, Ordering::AcqRel) {
            self.waker.wake_by_ref();
        }
    }

    /// Records that the loop reads the mailbox, so that the next command wakes it again.
    pub(crate) fn note_woken(&self) {
        self.is_woken.store(false, Ordering::Release);
    }

    /// Asks the loop to end. Queued commands are executed before that; leases held now last until then.
    pub(crate) fn close(&self) {
        lock(&self.mailbox).close();
        self.is_closing.store(true, Ordering::Release);
        self.waker.wake_by_ref();
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.is_closing.load(Ordering::Acquire)
    }

    /// Records a send error. A full socket is not one: the datagram is sent later.
    pub(crate) fn note_send_error(&self, error: &io::Error) {
        if let Some(code) = error.raw_os_error().filter(|_| error.kind() != io::ErrorKind::WouldBlock) {
            self.send_error.store(code, Ordering::Relaxed);
        }
    }

    pub(crate) fn last_send_error(&self) -> Option<io::Error> {
        let code = self.send_error.load(Ordering::Relaxed);
        (code != 0).then(|| io::Error::from_raw_os_error(code))
    }
}

/// A caller's share of a lookup, query, publication or crawl, released on drop. A release never blocks and is never
/// lost; once the mailbox is closed there is nothing to release.
pub(crate) struct Lease {
    shared: Arc<Shared>,
    resource: Resource,
    is_over: bool,
}

impl Lease {
    pub(crate) fn new(shared: &Arc<Shared>, resource: Resource) -> Self {
        Self { shared: Arc::clone(shared), resource, is_over: false }
    }

    /// Drops the lease without a release, because what it holds has ended.
    pub(crate) fn end(mut self) {
        self.is_over = true;
    }

    /// Wakes the loop, which may wait until the caller takes something.
    pub(crate) fn wake(&self) {
        self.shared.wake();
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        let mut mailbox = lock(&self.shared.mailbox);
        if mailbox.is_closed() {
            return;
        }
        mailbox.push(Command::Release(self.resource));
        drop(mailbox);
        self.shared.wake();
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.resource.fmt(f)
    }
}
