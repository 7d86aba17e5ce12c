//! The loop of a task of a tokio runtime.

use alloc::sync::Arc;
use core::future::Future;
use core::task::{Context, Poll};
use std::io;
use std::net::UdpSocket as StdUdpSocket;
use std::time::Instant;

use quinn_udp::UdpSockRef;
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
        // The runtime's: a test may hold that still, and timers go by it.
        let clock = Clock::reading(|| TokioInstant::now().into_std());
        let (dht, driver) = self.start(Arc::clone(&bell).into(), clock, Register)?;
        let local_addrs = driver.engine.shared.status().local_addrs;
        runtime.spawn(trace::instrument(local_addrs, TaskLoop { driver, bell }.run()));
        Ok(dht)
    }
}

/// Has its sockets watched by the runtime.
struct Register;

impl SocketFactory for Register {
    type Socket = UdpSocket;

    fn adopt(&mut self, _: Family, socket: StdUdpSocket) -> io::Result<UdpSocket> {
        UdpSocket::from_std(socket)
    }

    fn receive(
        socket: &UdpSocket,
        is_untold: bool,
        mut read: impl FnMut(UdpSockRef<'_>) -> io::Result<()>,
    ) -> io::Result<()> {
        match socket.try_io(Interest::READABLE, || read(socket.into())) {
            Err(error) if is_untold && error.kind() == io::ErrorKind::WouldBlock => read(socket.into()),
            told => told,
        }
    }

    fn send(socket: &UdpSocket, write: impl FnOnce(UdpSockRef<'_>) -> io::Result<()>) -> io::Result<()> {
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
