//! The loop of a future on `async-io`, for any executor: smol, async-executor, a bare `block_on`.

use alloc::sync::Arc;
use core::future::{Future, poll_fn};
use core::task::{Context, Poll};
use std::io;
use std::net::UdpSocket as StdUdpSocket;
use std::time::Instant;

use async_io::{Async, Timer};
use socket2::SockRef;

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
    /// Binds the sockets, and returns the node with the future that runs it, which the caller spawns on an executor.
    /// The node makes no progress while the future is not polled, and ends when it is dropped.
    ///
    /// # Errors
    ///
    /// See [`SpawnError`].
    pub fn build_smol(self) -> Result<(Dht, impl Future<Output = ()> + Send + 'static), SpawnError> {
        let bell = Arc::new(Bell::default());
        let (dht, driver) = self.start(Arc::clone(&bell).into(), Clock::new(), Register)?;
        let local_addrs = driver.engine.shared.status().local_addrs;
        Ok((dht, trace::instrument(local_addrs, TaskLoop { driver, bell }.run())))
    }
}

/// Makes sockets of the reactor of `async-io`.
struct Register;

impl SocketFactory for Register {
    type Socket = Async<StdUdpSocket>;

    fn adopt(&mut self, _: Family, socket: StdUdpSocket) -> io::Result<Async<StdUdpSocket>> {
        Async::new_nonblocking(socket)
    }

    fn receive(
        socket: &Async<StdUdpSocket>,
        _: bool,
        read: impl FnOnce(SockRef<'_>) -> io::Result<()>,
    ) -> io::Result<()> {
        read(socket.get_ref().into())
    }

    fn send(
        socket: &Async<StdUdpSocket>,
        write: impl FnOnce(SockRef<'_>) -> io::Result<usize>,
    ) -> io::Result<usize> {
        write(socket.get_ref().into())
    }
}

impl Reactor for Register {
    fn poll_readable(socket: &Async<StdUdpSocket>, cx: &mut Context<'_>) -> Poll<()> {
        socket.poll_readable(cx).map(drop)
    }

    fn poll_writable(socket: &Async<StdUdpSocket>, cx: &mut Context<'_>) -> Poll<()> {
        socket.poll_writable(cx).map(drop)
    }

    async fn sleep_until(at: Instant) {
        Timer::at(at).await;
    }

    fn yield_now() -> impl Future<Output = ()> + Send {
        let mut is_over = false;
        poll_fn(move |cx| {
            if core::mem::replace(&mut is_over, true) {
                return Poll::Ready(());
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::sockets::driver::tests::{driver_by_hand, reads_before_deadlines};

    #[test]
    fn what_has_arrived_is_read_before_deadlines_and_what_has_not_is_asked_again() {
        let node = TaskLoop { driver: driver_by_hand(Register), bell: Arc::default() };
        reads_before_deadlines(node, |node| &mut node.driver, |node| async_io::block_on(node.sleep(None)));
    }
}
