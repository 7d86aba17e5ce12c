//! The loop of a future on `async-io`, for any executor: smol, async-executor, a bare `block_on`.

use alloc::sync::Arc;
use core::future::{Future, pending, poll_fn};
use core::pin::pin;
use core::task::Poll;
use std::io;
use std::net::UdpSocket as StdUdpSocket;

use async_io::{Async, Timer};
use quinn_udp::UdpSockRef;

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
    /// Binds the sockets, and returns the node with the future that runs it, which the caller spawns on an
    /// executor of its own. While nobody polls that, the node does nothing; dropped, it ends the node.
    ///
    /// # Errors
    ///
    /// See [`SpawnError`].
    pub fn build_smol(self) -> Result<(Dht, impl Future<Output = ()> + Send + 'static), SpawnError> {
        let bell = Arc::new(Bell::default());
        let (dht, driver) = self.start(Arc::clone(&bell).into(), Clock::new(), Register)?;
        let local_addrs = driver.engine.shared.status().local_addrs;
        Ok((dht, trace::instrument(local_addrs, Loop { driver, bell }.run())))
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
        // Others go on while the disk works.
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
                Some(until) => drop(Timer::at(until).await),
                None => pending().await,
            }
        });
        let mut rung = pin!(bell.rung());
        let (mut is_first, mut yields) = (true, false);
        poll_fn(|cx| {
            if yields {
                return Poll::Ready(());
            }
            let mut woken = rung.as_mut().poll(cx).is_ready();
            for open in driver.sockets.open() {
                if !open.receiver.is_readable() && open.socket.poll_readable(cx).is_ready() {
                    open.receiver.set_readable();
                    woken = true;
                }
            }
            let full = driver.blocked().and_then(|family| driver.sockets.of(family));
            if full.is_some_and(|open| open.socket.poll_writable(cx).is_ready()) {
                driver.engine.unblock();
                woken = true;
            }
            woken |= timeout.as_mut().poll(cx).is_ready();
            // However busy the node is, other tasks have their turn.
            yields = woken && is_first;
            is_first = false;
            if yields {
                cx.waker().wake_by_ref();
            }
            if woken && !yields { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        count(&driver.engine.shared.counters.wakeups);
    }
}

/// Has its sockets watched by the reactor of `async-io`.
struct Register;

impl SocketFactory for Register {
    type Socket = Async<StdUdpSocket>;

    fn adopt(&mut self, _: Family, socket: StdUdpSocket) -> io::Result<Async<StdUdpSocket>> {
        Async::new_nonblocking(socket)
    }

    fn receive(
        socket: &Async<StdUdpSocket>,
        _: bool,
        mut read: impl FnMut(UdpSockRef<'_>) -> io::Result<()>,
    ) -> io::Result<()> {
        read(socket.get_ref().into())
    }

    fn send(
        socket: &Async<StdUdpSocket>,
        write: impl FnOnce(UdpSockRef<'_>) -> io::Result<()>,
    ) -> io::Result<()> {
        write(socket.get_ref().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::sockets::driver::tests::{driver_by_hand, reads_before_deadlines};

    #[test]
    fn what_has_arrived_is_read_before_deadlines_and_what_has_not_is_asked_again() {
        let node = Loop { driver: driver_by_hand(Register), bell: Arc::default() };
        reads_before_deadlines(node, |node| &mut node.driver, |node| async_io::block_on(node.sleep(None)));
    }
}
