//! The loop of the DHT thread: packets, calls and deadlines in, packets and findings out.

use alloc::boxed::Box;
use alloc::vec;
use core::time::Duration;
use std::io;
use std::net::UdpSocket as StdUdpSocket;
use std::sync::mpsc::Receiver as Queue;
use std::thread;

use mio::net::UdpSocket;
use mio::{Interest, Poll, Registry, Token};

use super::desk::{BLOCKED, COMMANDS, Command, Desk, FAREWELL, RECEIVE_BUFFER, RECEIVES};
use super::ports::{Adopt, Bound, Ports};
use super::socket::Received;
use super::stats::count;
use crate::Family;

/// The token of the waker. The sockets' are their families' indices.
pub(super) const WAKE: Token = Token(2);

pub(super) struct Driver {
    desk: Desk,
    poll: Poll,
    happened: mio::Events,
    ports: Ports<Register>,
    buffer: Box<[u8]>,
    queue: Queue<Command>,
}

/// Has its sockets watched.
struct Register(Registry);

impl Adopt for Register {
    type Socket = UdpSocket;

    fn adopt(&mut self, family: Family, socket: StdUdpSocket) -> io::Result<UdpSocket> {
        let mut socket = UdpSocket::from_std(socket);
        self.0.register(&mut socket, Token(family.index()), Interest::READABLE)?;
        Ok(socket)
    }
}

impl Driver {
    pub(super) fn new(
        desk: Desk,
        poll: Poll,
        sockets: [Option<Bound>; 2],
        queue: Queue<Command>,
    ) -> io::Result<Self> {
        Ok(Self {
            desk,
            ports: Ports::new(Register(poll.registry().try_clone()?), sockets)?,
            poll,
            happened: mio::Events::with_capacity(4),
            buffer: vec![0; RECEIVE_BUFFER].into_boxed_slice(),
            queue,
        })
    }

    pub(super) fn run(mut self) {
        self.desk.start();
        while !self.desk.board.is_closing() {
            let timeout = self.turn();
            self.sleep(timeout);
        }
        self.leave();
        self.desk.save_last();
    }

    /// Does what there is to do and returns how long to sleep; `None` for ever.
    fn turn(&mut self) -> Option<Duration> {
        self.desk.begin();
        let more_commands = self.take_commands();
        self.desk.take_released();
        self.ports.tend(&mut self.desk);
        for family in Family::ALL {
            self.receive(family);
        }
        self.desk.tick();
        self.transmit();
        self.desk.take_events();
        if more_commands { Some(Duration::ZERO) } else { self.until_next() }
    }

    fn until_next(&self) -> Option<Duration> {
        let now = self.desk.clock.now();
        self.desk.next_turn(now).into_iter().chain(self.ports.deadline(now)).min().map(|at| at - now)
    }

    fn sleep(&mut self, timeout: Option<Duration>) {
        if let Err(error) = self.poll.poll(&mut self.happened, timeout)
            && error.kind() != io::ErrorKind::Interrupted
        {
            // The system cannot wait for us: not known to happen, but no reason to spin.
            thread::sleep(BLOCKED);
        }
        count(&self.desk.board.counters.wakeups);
        for event in &self.happened {
            let family = Family::ALL.into_iter().find(|family| Token(family.index()) == event.token());
            // The waker is none: commands are looked for in any case.
            let Some(port) = family.and_then(|family| self.ports.of(family)) else { continue };
            if event.is_writable() && self.desk.is_blocked() {
                self.desk.unblock();
                let _ = self.poll.registry().reregister(&mut port.socket, event.token(), Interest::READABLE);
            }
            port.receiver.set_readable();
        }
    }

    /// Sends what is waiting, within reason.
    fn leave(&mut self) {
        let end = self.desk.clock.now() + FAREWELL;
        loop {
            self.transmit();
            let left = self.desk.clock.until(end);
            if !self.desk.is_blocked() || left.is_zero() {
                return;
            }
            self.sleep(Some(left));
        }
    }

    fn receive(&mut self, family: Family) {
        for _ in 0..RECEIVES {
            let now = self.desk.clock.now();
            let received = self.ports.receive(now, family, |socket| socket.recv_from(&mut self.buffer));
            let Some(received) = received else { return };
            match received {
                Received::Datagram { len, from } => {
                    self.desk.handle_datagram(now, from, &self.buffer[..len]);
                    // At once, so that a burst of queries does not overflow the answers' ring.
                    self.transmit();
                }
                Received::Nothing => count(&self.desk.board.counters.receive_errors),
                Received::Failed => return count(&self.desk.board.counters.receive_errors),
                Received::Empty => return,
            }
        }
    }

    fn transmit(&mut self) {
        let Self { desk, ports, .. } = self;
        let send = |ports: &mut Ports<_>, datagram: &[u8], to| {
            ports.send(to, |socket: &UdpSocket| socket.send_to(datagram, to))
        };
        while let Some(destination) = desk.transmit(|datagram, to| send(ports, datagram, to)) {
            if ports.tend(desk) {
                desk.unblock();
                continue;
            }
            let family = Family::of(&destination);
            if let Some(port) = ports.of(family) {
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
            if let Some((change, reply)) = self.desk.obey(command) {
                reply(self.ports.change(&mut self.desk, change));
            }
        }
        true
    }
}
