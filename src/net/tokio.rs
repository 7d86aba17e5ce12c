//! The loop of a task of a tokio runtime.

use alloc::sync::Arc;
use core::future::Future;
use core::task::{Context, Poll};
use std::io;
use std::net::UdpSocket as StdUdpSocket;
use std::time::Instant;

use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::runtime::Handle;
use tokio::time::Instant as TokioInstant;

use super::clock::Clock;
use super::error::SpawnError;
use super::handle::builder::Builder;
use super::handle::dht::Dht;
use super::sockets::SocketFactory;
use super::sockets::bell::Bell;
use super::sockets::task::{Reactor, TaskLoop};
use super::trace;
use crate::Family;

impl Builder {
    /// Binds the sockets and starts a task for the node, in the runtime that this is called in. Joining the DHT
    /// goes on in the background ([`DhtHandle::ready`](super::DhtHandle::ready)).
    ///
    /// The state file, if there is one, is read here, which blocks for as long as the disk takes.
    ///
    /// # Errors
    ///
    /// See [`SpawnError`]; outside of a runtime it is [`SpawnError::System`].
    ///
    /// # Panics
    ///
    /// If IO (unless the node is [external](Builder::external)) or time are not enabled in the runtime.
    pub fn spawn_tokio(self) -> Result<Dht, SpawnError> {
        let runtime = Handle::try_current().map_err(io::Error::other)?;
        let bell = Arc::new(Bell::default());
        // The clock of the runtime, which a test may stop, and by which timers go.
        let clock = Clock::reading(|| TokioInstant::now().into_std());
        let (dht, driver) = self.start(Arc::clone(&bell).into(), clock, Register)?;
        let local_addrs = driver.engine.shared.status().local_addrs;
        runtime.spawn(trace::instrument(local_addrs, TaskLoop { driver, bell }.run()));
        Ok(dht)
    }
}

/// Makes sockets of the runtime.
struct Register;

impl SocketFactory for Register {
    type Socket = UdpSocket;

    fn adopt(&mut self, _: Family, socket: StdUdpSocket) -> io::Result<UdpSocket> {
        UdpSocket::from_std(socket)
    }

    fn receive(
        socket: &UdpSocket,
        is_forced: bool,
        read: impl FnOnce(SockRef<'_>) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut read = Some(read);
        let result =
            socket.try_io(Interest::READABLE, || read.take().map_or(Ok(()), |read| read(socket.into())));
        // A socket that is not known to be readable has not been read.
        match read.filter(|_| is_forced) {
            Some(read) => read(socket.into()),
            None => result,
        }
    }

    fn send(socket: &UdpSocket, write: impl FnOnce(SockRef<'_>) -> io::Result<usize>) -> io::Result<usize> {
        socket.try_io(Interest::WRITABLE, || write(socket.into()))
    }
}

impl Reactor for Register {
    fn poll_readable(socket: &UdpSocket, cx: &mut Context<'_>) -> Poll<()> {
        socket.poll_recv_ready(cx).map(drop)
    }

    fn poll_writable(socket: &UdpSocket, cx: &mut Context<'_>) -> Poll<()> {
        socket.poll_send_ready(cx).map(drop)
    }

    fn sleep_until(at: Instant) -> impl Future<Output = ()> + Send {
        tokio::time::sleep_until(at.into())
    }

    fn yield_now() -> impl Future<Output = ()> + Send {
        tokio::task::yield_now()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::sockets::driver::tests::{driver_by_hand, reads_before_deadlines};

    #[test]
    fn what_has_arrived_is_read_before_deadlines_and_what_has_not_is_asked_again() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let driver = {
            let _inside = runtime.enter();
            driver_by_hand(Register)
        };
        let node = TaskLoop { driver, bell: Arc::default() };
        reads_before_deadlines(node, |node| &mut node.driver, |node| runtime.block_on(node.sleep(None)));
    }
}
