//! The handles: what tasks ask of the node's task.

use alloc::sync::Arc;
use core::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::builder::Builder;
use super::crawl::Crawl;
use super::events::{NetEvents, subscription};
use super::keep::Announcement;
use super::search::LookupHandle;
use crate::net::engine::shared::{Lease, Shared, Status};
use crate::net::engine::{Command, Reply};
use crate::net::error::CallError;
use crate::net::handle::calls::calls;

/// A node that runs in a task, and its one owner. It can do all that a [`DhtHandle`] can.
///
/// Dropping it ends the node, whoever still borrows it: the task sends what is waiting to be sent
/// and then frees the sockets. [`shutdown`](Self::shutdown) waits for that. The state, if it has a file, is
/// saved also if the runtime ends first, which then waits for the disk.
#[must_use = "dropping it ends the node"]
pub struct Dht {
    dht: DhtHandle,
    task: JoinHandle<()>,
}

impl Dht {
    pub(super) fn new(dht: DhtHandle, task: JoinHandle<()>) -> Self {
        Self { dht, task }
    }

    /// Ends the node and waits until its last datagrams have left, for a quarter of a second at most, its
    /// state is saved, if it has a file for that, for as long as the disk takes, and its sockets are free.
    /// Calls and searches under way fail with [`CallError::Closed`].
    pub async fn shutdown(mut self) {
        self.dht.shared.close();
        // An error is a panic in the task, which has been printed, or the end of the runtime.
        let _ = (&mut self.task).await;
    }

    pub(super) fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.dht.shared)
    }
}

impl Drop for Dht {
    fn drop(&mut self) {
        self.dht.shared.close();
    }
}

/// A borrowed node. Clones are handles to the same one; any task or thread may use them.
///
/// The node lives as long as its [`Dht`], however many handles there are. Calls fail with
/// [`CallError::Closed`] once it has ended; none of them hangs. While 256 calls are waiting for
/// the node's task, further ones wait for room. A call that is dropped before it is done is
/// cancelled.
#[derive(Clone)]
pub struct DhtHandle {
    commands: mpsc::Sender<Command>,
    shared: Arc<Shared>,
}

calls!([async] [.await]);

impl DhtHandle {
    pub(super) fn new(commands: mpsc::Sender<Command>, shared: Arc<Shared>) -> Self {
        Self { commands, shared }
    }

    /// Waits until the node [is ready](Self::is_ready) in either family, at most for `timeout`, and
    /// returns whether it is. Lookups work before, but find less.
    ///
    /// # Errors
    ///
    /// [`CallError::Closed`].
    pub async fn wait_ready(&self, timeout: Duration) -> Result<bool, CallError> {
        let ready = tokio::time::timeout(timeout, self.shared.status.until(Status::is_ready)).await;
        ready.unwrap_or(Ok(false))
    }

    async fn send(&self, command: Command) -> Result<(), CallError> {
        self.commands.send(command).await.map_err(|_| CallError::Closed)
    }

    /// Sends a command that carries the way back for its one reply, and waits for that.
    pub(super) async fn ask<R: Send + 'static>(
        &self,
        command: impl FnOnce(Reply<R>) -> Command,
    ) -> Result<R, CallError> {
        let (reply, answer) = one_reply();
        self.send(command(reply)).await?;
        answer.await.map_err(|_| CallError::Closed)
    }

    /// Asks another node, for as long as somebody waits for the answer.
    async fn query<R: Send + 'static>(
        &self,
        command: impl FnOnce(Option<Reply<Lease>>, Reply<Result<R, CallError>>) -> Command,
    ) -> Result<R, CallError> {
        let (started, lease) = one_reply();
        let (reply, answer) = one_reply();
        self.send(command(Some(started), reply)).await?;
        // Held until the answer: dropped before it, it cancels the query.
        let _lease = lease.await;
        answer.await.map_err(|_| CallError::Closed)?
    }
}

/// A reply that comes too late for its caller is dropped, and what it holds with it.
fn one_reply<R: Send + 'static>() -> (Reply<R>, oneshot::Receiver<R>) {
    let (reply, answer) = oneshot::channel();
    (Box::new(move |value| drop(reply.send(value))), answer)
}
