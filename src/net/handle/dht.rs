//! The handles: what callers on any thread ask of the DHT thread.

use alloc::sync::Arc;
use core::time::Duration;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Instant as StdInstant;

use super::builder::Builder;
use super::calls::calls;
use super::crawl::Crawl;
use super::lookup::LookupHandle;
use super::recurring::Announcement;
use crate::net::engine::events::{NetEvents, subscription};
use crate::net::engine::shared::{Lease, Shared, Status};
use crate::net::engine::{Command, Reply};
use crate::net::error::CallError;

/// A node that runs in a thread, and its one owner. It can do all that a [`DhtHandle`] can.
///
/// The thread sleeps until a packet, a call or a deadline of the node. Dropping the owner ends the node,
/// whoever still borrows it, and waits for that as [`shutdown`](Self::shutdown) does.
#[must_use = "dropping it ends the node"]
pub struct Dht {
    dht: DhtHandle,
    thread: Option<JoinHandle<()>>,
}

impl Dht {
    pub(crate) fn new(dht: DhtHandle, thread: JoinHandle<()>) -> Self {
        Self { dht, thread: Some(thread) }
    }

    /// Ends the node and waits until its last datagrams have left, for a quarter of a second at most, its
    /// state is saved, if it has a file for that, for as long as the disk takes, and its ports are free.
    /// Calls and searches under way fail with [`CallError::Closed`].
    pub fn shutdown(self) {
        drop(self);
    }
}

impl Drop for Dht {
    fn drop(&mut self) {
        self.dht.shared.close();
        // An error is a panic in the thread, which has been printed, and closed all calls.
        self.thread.take().map(JoinHandle::join);
    }
}

/// A borrowed node. Clones are handles to the same one; any thread may use them.
///
/// The node lives as long as its [`Dht`], however many handles there are. Calls fail with
/// [`CallError::Closed`] once it has ended; none of them hangs. While 256 calls are waiting for the
/// DHT thread, further ones wait for room.
#[derive(Clone)]
pub struct DhtHandle {
    commands: SyncSender<Command>,
    shared: Arc<Shared>,
}

calls!([] []);

impl DhtHandle {
    pub(crate) fn new(commands: SyncSender<Command>, shared: Arc<Shared>) -> Self {
        Self { commands, shared }
    }

    /// Waits until the node [is ready](Self::is_ready) in either family, at most for `timeout`, and
    /// returns whether it is. Lookups work before, but find less.
    ///
    /// # Errors
    ///
    /// [`CallError::Closed`].
    pub fn wait_ready(&self, timeout: Duration) -> Result<bool, CallError> {
        let deadline = StdInstant::now().checked_add(timeout);
        let ready = self.shared.status.wait(deadline, Status::is_ready);
        ready.unwrap_or(Ok(false))
    }

    pub(crate) fn send(&self, command: Command) -> Result<(), CallError> {
        // Blocks while the queue is full. The thread never waits for a caller, so not for long.
        self.commands.send(command).map_err(|_| CallError::Closed)?;
        self.shared.wake();
        Ok(())
    }

    /// Sends a command that carries the way back for its one reply, and waits for that.
    pub(crate) fn ask<R: Send + 'static>(
        &self,
        command: impl FnOnce(Reply<R>) -> Command,
    ) -> Result<R, CallError> {
        let (reply, answer) = sync_channel(1);
        // It holds the one reply, so sending that never blocks.
        let reply = Box::new(move |value| drop(reply.send(value)));
        self.send(command(reply))?;
        answer.recv().map_err(|_| CallError::Closed)
    }

    /// Asks another node. Whoever blocks stays until the answer, and has nothing to cancel.
    fn query<R: Send + 'static>(
        &self,
        command: impl FnOnce(Option<Reply<Lease>>, Reply<Result<R, CallError>>) -> Command,
    ) -> Result<R, CallError> {
        self.ask(|reply| command(None, reply))?
    }
}
