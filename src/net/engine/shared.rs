//! What the handles and the loop share, whichever loop it is.

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
    /// The system's code of the last error in sending; 0: there was none.
    send_error: AtomicI32,
    /// Wakes the loop.
    waker: Waker,
    /// The loop has been woken for the mailbox, and has not looked into it yet.
    is_woken: AtomicBool,
    is_closing: AtomicBool,
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Status {
    /// Whether each family is ready.
    pub(crate) ready: [bool; 2],
    /// Addresses of the sockets, by family.
    pub(crate) local_addrs: [Option<SocketAddr>; 2],
    /// The user has switched the node off.
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

    /// The number of another call.
    pub(crate) fn next_number(&self) -> u64 {
        self.number.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Hands a command to the loop; or else `refuse` is told why not, before the command is dropped. Returns
    /// whether it was taken.
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

    /// The next command for the loop.
    pub(crate) fn next_command(&self) -> Option<Command> {
        lock(&self.mailbox).pop()
    }

    /// Whether a command waits for the loop.
    #[cfg(feature = "sim")]
    pub(crate) fn has_commands(&self) -> bool {
        !lock(&self.mailbox).is_empty()
    }

    /// Wakes the loop, once until it has [heard](Self::note_woken) of it.
    pub(crate) fn wake(&self) {
        if !self.is_woken.swap(true, Ordering::AcqRel) {
            self.waker.wake_by_ref();
        }
    }

    /// The loop looks into the mailbox, and is woken for what comes after.
    pub(crate) fn note_woken(&self) {
        self.is_woken.store(false, Ordering::Release);
    }

    /// Asks the loop to end. Commands that wait are done before; what is held now is held until then.
    pub(crate) fn close(&self) {
        lock(&self.mailbox).close();
        self.is_closing.store(true, Ordering::Release);
        self.waker.wake_by_ref();
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.is_closing.load(Ordering::Acquire)
    }

    /// Notes that the system has not sent a datagram. A full socket is no error: it is sent later.
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

/// A caller's share of something under way, given up by its drop. Giving up never blocks and is never lost;
/// once the loop is to end it means nothing any more.
pub(crate) struct Lease {
    shared: Arc<Shared>,
    resource: Resource,
    is_over: bool,
}

impl Lease {
    pub(crate) fn new(shared: &Arc<Shared>, resource: Resource) -> Self {
        Self { shared: Arc::clone(shared), resource, is_over: false }
    }

    /// Forgets what has ended by itself.
    pub(crate) fn end(mut self) {
        self.is_over = true;
    }

    /// Wakes the loop, which may have waited for its user.
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
