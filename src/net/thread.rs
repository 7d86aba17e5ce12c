//! The loop of a thread.

use alloc::borrow::ToOwned as _;
use alloc::sync::Arc;
use alloc::task::Wake;
use core::time::Duration;
use std::io;
use std::net::UdpSocket as StdUdpSocket;
use std::thread;

use mio::net::UdpSocket;
use mio::{Events, Interest, Poll, Registry, Token};
use socket2::SockRef;

use super::clock::Clock;
use super::counters::count;
use super::engine::BLOCKED;
use super::error::SpawnError;
use super::handle::builder::Builder;
use super::handle::dht::Dht;
use super::sockets::SocketFactory;
use super::sockets::driver::Driver;
use super::trace;
use crate::Family;

/// The token of the waker. The token of a socket is the index of its family.
const WAKE: Token = Token(2);

impl Builder {
    /// Binds the sockets and starts a thread for the node. Joining the DHT goes on in the background
    /// ([`DhtHandle::ready`](super::DhtHandle::ready)).
    ///
    /// # Errors
    ///
    /// See [`SpawnError`].
    pub fn spawn(self) -> Result<Dht, SpawnError> {
        let poll = Poll::new()?;
        let waker = Arc::new(LoopWaker(mio::Waker::new(poll.registry(), WAKE)?));
        let register = Register(poll.registry().try_clone()?);
        let (mut dht, driver) = self.start(waker.into(), Clock::new(), register)?;
        let node = Loop { driver, poll, happened: Events::with_capacity(4) };
        let local_addrs = node.driver.engine.shared.status().local_addrs;
        let thread = thread::Builder::new()
            .name("dht".to_owned())
            .spawn(move || trace::in_span(local_addrs, || node.run()))?;
        dht.join_at_end(thread);
        Ok(dht)
    }
}

struct Loop {
    driver: Driver<Register>,
    poll: Poll,
    happened: Events,
}

impl Loop {
    fn run(mut self) {
        self.driver.engine.start();
        while !self.driver.engine.shared.is_closing() {
            let until = self.driver.turn();
            self.sleep(until.map(|at| self.driver.engine.clock.until(at)));
        }
        let end = self.driver.leave();
        while self.driver.is_leaving(end) {
            self.sleep(Some(self.driver.engine.clock.until(end)));
        }
        self.driver.engine.save_last();
    }

    fn sleep(&mut self, timeout: Option<Duration>) {
        let blocked = self.driver.blocked();
        if let Some(family) = blocked {
            self.watch(family, Interest::READABLE | Interest::WRITABLE);
        }
        if let Err(error) = self.poll.poll(&mut self.happened, timeout)
            && error.kind() != io::ErrorKind::Interrupted
        {
            // The system cannot wait. That is not known to happen, but must not make the loop spin.
            thread::sleep(BLOCKED);
        }
        count(&self.driver.engine.shared.counters.wakeups);
        for event in &self.happened {
            // The waker has no family: every turn takes commands.
            let family = Family::ALL.into_iter().find(|family| Token(family.index()) == event.token());
            let Some(socket) = family.and_then(|family| self.driver.sockets.of(family)) else { continue };
            socket.receiver.set_readable();
            if event.is_writable() && family == blocked {
                self.driver.engine.unblock();
            }
        }
        if let Some(family) = blocked.filter(|_| self.driver.blocked().is_none()) {
            self.watch(family, Interest::READABLE);
        }
    }

    fn watch(&mut self, family: Family, interest: Interest) {
        if let Some(open) = self.driver.sockets.of(family) {
            let _ = self.poll.registry().reregister(&mut open.socket, Token(family.index()), interest);
        }
    }
}

/// Makes sockets that the loop polls.
struct Register(Registry);

impl SocketFactory for Register {
    type Socket = UdpSocket;

    fn adopt(&mut self, family: Family, socket: StdUdpSocket) -> io::Result<UdpSocket> {
        let mut socket = UdpSocket::from_std(socket);
        self.0.register(&mut socket, Token(family.index()), Interest::READABLE)?;
        Ok(socket)
    }

    fn receive(
        socket: &UdpSocket,
        _: bool,
        read: impl FnOnce(SockRef<'_>) -> io::Result<()>,
    ) -> io::Result<()> {
        socket.try_io(|| read(socket.into()))
    }

    fn send(socket: &UdpSocket, write: impl FnOnce(SockRef<'_>) -> io::Result<usize>) -> io::Result<usize> {
        socket.try_io(|| write(socket.into()))
    }
}

struct LoopWaker(mio::Waker);

impl Wake for LoopWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // It fails only if the descriptor is closed, which nothing here does.
        let _ = self.0.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::sockets::driver::tests::{driver_by_hand, reads_before_deadlines};

    #[test]
    fn what_has_arrived_is_read_before_deadlines_and_what_has_not_is_asked_again() {
        let poll = Poll::new().unwrap();
        let driver = driver_by_hand(Register(poll.registry().try_clone().unwrap()));
        let node = Loop { driver, poll, happened: Events::with_capacity(4) };
        reads_before_deadlines(node, |node| &mut node.driver, |node| node.sleep(None));
    }
}
