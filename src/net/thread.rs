//! The loop of the DHT thread: packets, calls and deadlines in, packets and findings out.

use core::time::Duration;
use std::io;
use std::net::UdpSocket as StdUdpSocket;
use std::sync::mpsc::Receiver as Queue;
use std::thread;

use mio::net::UdpSocket;
use mio::{Interest, Poll, Registry, Token};

use super::engine::counters::count;
use super::engine::{BLOCKED, COMMANDS, Command, Engine, FAREWELL};
use super::sockets::datagrams::{BATCH, Batch};
use super::sockets::socket::Received;
use super::sockets::{Bound, SocketFactory, Sockets};
use crate::{Family, Instant, Transmit};

/// The token of the waker. The sockets' are their families' indices.
pub(crate) const WAKE: Token = Token(2);

pub(crate) struct Driver {
    engine: Engine,
    poll: Poll,
    happened: mio::Events,
    sockets: Sockets<Register>,
    batch: Batch,
    queue: Queue<Command>,
}

/// Has its sockets watched.
struct Register(Registry);

impl SocketFactory for Register {
    type Socket = UdpSocket;

    fn adopt(&mut self, family: Family, socket: StdUdpSocket) -> io::Result<UdpSocket> {
        let mut socket = UdpSocket::from_std(socket);
        self.0.register(&mut socket, Token(family.index()), Interest::READABLE)?;
        Ok(socket)
    }
}

impl Driver {
    pub(crate) fn new(
        engine: Engine,
        poll: Poll,
        sockets: [Option<Bound>; 2],
        queue: Queue<Command>,
    ) -> io::Result<Self> {
        Ok(Self {
            engine,
            sockets: Sockets::new(Register(poll.registry().try_clone()?), sockets)?,
            poll,
            happened: mio::Events::with_capacity(4),
            batch: Batch::new(),
            queue,
        })
    }

    pub(crate) fn run(mut self) {
        self.engine.start();
        while !self.engine.shared.is_closing() {
            let timeout = self.turn();
            self.sleep(timeout);
        }
        self.leave();
        self.engine.save_last();
    }

    /// Does what there is to do and returns how long to sleep; `None` for ever.
    fn turn(&mut self) -> Option<Duration> {
        if let Some(slept) = self.engine.begin() {
            self.receive_all();
            self.engine.resume(slept);
        }
        let more_commands = self.take_commands();
        self.engine.take_released();
        self.sockets.tend(&mut self.engine);
        self.receive_all();
        self.engine.tick();
        self.transmit();
        self.engine.take_events();
        if more_commands { Some(Duration::ZERO) } else { self.until_next() }
    }

    fn until_next(&self) -> Option<Duration> {
        let now = self.engine.clock.now();
        self.engine.next_turn(now).into_iter().chain(self.sockets.deadline(now)).min().map(|at| at - now)
    }

    fn sleep(&mut self, timeout: Option<Duration>) {
        if let Err(error) = self.poll.poll(&mut self.happened, timeout)
            && error.kind() != io::ErrorKind::Interrupted
        {
            // The system cannot wait for us: not known to happen, but no reason to spin.
            thread::sleep(BLOCKED);
        }
        count(&self.engine.shared.counters.wakeups);
        for event in &self.happened {
            let family = Family::ALL.into_iter().find(|family| Token(family.index()) == event.token());
            // The waker is none: commands are looked for in any case.
            let Some(port) = family.and_then(|family| self.sockets.of(family)) else { continue };
            if event.is_writable() && self.engine.is_blocked() {
                self.engine.unblock();
                let _ = self.poll.registry().reregister(&mut port.socket, event.token(), Interest::READABLE);
            }
            port.receiver.set_readable();
        }
    }

    /// Sends what is waiting, within reason.
    fn leave(&mut self) {
        let end = self.engine.clock.now() + FAREWELL;
        loop {
            self.transmit();
            let left = self.engine.clock.until(end);
            if !self.engine.is_blocked() || left.is_zero() {
                return;
            }
            self.sleep(Some(left));
        }
    }

    /// Before the deadlines: a wait that a signal has cut short tells of no datagram.
    fn receive_all(&mut self) {
        if self.engine.is_due() {
            self.sockets.look();
        }
        let most = self.engine.receives();
        Family::ALL.into_iter().for_each(|family| self.receive(family, most));
    }

    fn receive(&mut self, family: Family, most: usize) {
        for _ in 0..most.div_ceil(BATCH) {
            let now = self.engine.arrival_time();
            let Self { sockets, batch, .. } = self;
            let received = sockets
                .receive(now, family, |socket, passage, _| socket.try_io(|| batch.receive(passage, socket)));
            let Some(received) = received else { return };
            match received {
                Received::Datagrams => self.take_batch(now),
                Received::Nothing => count(&self.engine.shared.counters.receive_errors),
                Received::Failed => return count(&self.engine.shared.counters.receive_errors),
                Received::Empty => return,
            }
        }
    }

    fn take_batch(&mut self, now: Instant) {
        while let Some(arrived) = self.batch.next() {
            self.engine.handle_datagram(now, arrived.from, arrived.local, self.batch.bytes(arrived));
            // At once, so that a burst of queries does not overflow the answers' ring.
            if !self.engine.is_standing() {
                self.transmit();
            }
        }
    }

    fn transmit(&mut self) {
        let Self { engine, sockets, .. } = self;
        let send = |sockets: &mut Sockets<_>, datagram: &[u8], transmit: Transmit| {
            sockets.send(transmit.destination, |socket: &UdpSocket, passage| {
                socket.try_io(|| passage.send(socket, datagram, transmit))
            })
        };
        while let Some(destination) = engine.transmit(|datagram, transmit| send(sockets, datagram, transmit))
        {
            if sockets.tend(engine) {
                engine.unblock();
                continue;
            }
            count(&engine.shared.counters.sends_blocked);
            let family = Family::of(&destination);
            if let Some(port) = sockets.of(family) {
                let interest = Interest::READABLE | Interest::WRITABLE;
                let _ = self.poll.registry().reregister(&mut port.socket, Token(family.index()), interest);
            }
            return;
        }
    }

    /// Returns whether some are left.
    fn take_commands(&mut self) -> bool {
        for _ in 0..COMMANDS {
            let Ok(command) = self.queue.try_recv() else {
                return false;
            };
            if let Some((change, reply)) = self.engine.obey(command) {
                reply(self.sockets.change(&mut self.engine, change));
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use core::net::{Ipv4Addr, SocketAddr};
    use std::sync::mpsc::sync_channel;

    use super::*;
    use crate::net::engine::tests::{answer_ping, desk_by_hand, other, ping, wait};

    /// As after a stop of the process, whose wait was interrupted and told nothing.
    #[test]
    fn what_has_arrived_is_read_before_deadlines_and_what_has_not_is_asked_again() {
        let (commands, queue) = sync_channel(2);
        let bound = Bound::new(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
        let poll = Poll::new().unwrap();
        let mut driver = Driver::new(desk_by_hand(), poll, [Some(bound), None], queue).unwrap();
        let ((answering, answers), (silent, is_silent)) = (other(), other());
        let ((first, pong), (second, none)) = (ping(answers), ping(is_silent));
        commands.send(first).unwrap();
        commands.send(second).unwrap();
        driver.turn();
        answer_ping(&answering);
        let mut buffer = [0; 1500];
        let asked = silent.recv(&mut buffer).unwrap();
        wait(Duration::from_secs(60));
        driver.turn();
        let pong = pong.try_recv().expect("it was read").expect("it came in time");
        assert!(pong.rtt < Duration::from_secs(5), "{:?} without the time that it stood still", pong.rtt);
        assert!(none.try_recv().is_err(), "whoever has not answered may still");
        assert_eq!(silent.recv(&mut buffer).unwrap(), asked, "and is asked again");
        let stats = driver.engine.node.stats();
        assert_eq!((stats.timed_out, stats.interrupted), (0, 1));
    }
}
