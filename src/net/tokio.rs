//! The loop of a task of a tokio runtime.

use alloc::sync::Arc;
use core::future::{Future as _, pending, poll_fn};
use core::pin::pin;
use core::task::Poll;
use std::io;
use std::net::UdpSocket as StdUdpSocket;

use quinn_udp::UdpSockRef;
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::runtime::Handle;
use tokio::task::yield_now;
use tokio::time::{Instant as TokioInstant, sleep_until};

use super::clock::Clock;
use super::counters::count;
use super::error::SpawnError;
use super::handle::builder::Builder;
use super::handle::dht::Dht;
use super::sockets::SocketFactory;
use super::sockets::bell::Bell;
use super::sockets::driver::Driver;
use super::trace;
use crate::{Family, Instant};

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
        runtime.spawn(trace::instrument(local_addrs, Loop { driver, bell }.run()));
        Ok(dht)
    }
}

struct Loop {
    driver: Driver<Register>,
    bell: Arc<Bell>,
}

impl Loop {
    async fn run(mut self) {
        self.driver.engine.start();
        while !self.driver.engine.shared.is_closing() {
            let until = self.driver.turn();
            self.sleep(until).await;
        }
        let end = self.driver.leave();
        while self.driver.is_leaving(end) {
            self.sleep(Some(end)).await;
        }
        // Other tasks go on while the disk works.
        self.driver.engine.begin_last_save();
        loop {
            self.driver.engine.tend_saver();
            if !self.driver.engine.is_saving() {
                return;
            }
            self.bell.rung().await;
        }
    }

    async fn sleep(&mut self, until: Option<Instant>) {
        let Self { driver, bell } = self;
        let until = until.and_then(|at| driver.engine.clock.to_std(at));
        let mut timeout = pin!(async {
            match until {
                Some(until) => sleep_until(until.into()).await,
                None => pending().await,
            }
        });
        let mut rung = pin!(bell.rung());
        let mut polls = 0;
        poll_fn(|cx| {
            polls += 1;
            // All of them, so that each is registered and none goes short.
            let mut woken = rung.as_mut().poll(cx).is_ready();
            for open in driver.sockets.open() {
                // One that may have more, or is left alone after an error, has a deadline.
                if !open.receiver.is_readable() && open.socket.poll_recv_ready(cx).is_ready() {
                    open.receiver.set_readable();
                    woken = true;
                }
            }
            let full = driver.blocked().and_then(|family| driver.sockets.of(family));
            if full.is_some_and(|open| open.socket.poll_send_ready(cx).is_ready()) {
                driver.engine.unblock();
                woken = true;
            }
            woken |= timeout.as_mut().poll(cx).is_ready();
            if woken { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        count(&driver.engine.shared.counters.wakeups);
        if polls == 1 {
            // However busy the node is, other tasks have their turn.
            yield_now().await;
        }
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
        let node = Loop { driver, bell: Arc::default() };
        reads_before_deadlines(node, |node| &mut node.driver, |node| runtime.block_on(node.sleep(None)));
    }
}
