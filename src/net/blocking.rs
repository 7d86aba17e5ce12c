//! The loop of the DHT thread: packets, calls and deadlines in, packets and findings out.

use alloc::boxed::Box;
use alloc::vec;
use core::net::SocketAddr;
use core::time::Duration;
use std::io;
use std::net::UdpSocket as StdUdpSocket;
use std::sync::mpsc::{Receiver as Queue, Sender};
use std::thread;

use mio::net::UdpSocket;
use mio::{Interest, Poll, Token};

use super::desk::{BLOCKED, COMMANDS, Command, Desk, FAREWELL, RECEIVE_BUFFER, RECEIVES};
use super::socket::{Received, Receiver};
use super::stats::count;
use crate::Family;

/// The token of the waker. The sockets' are their families' indices.
pub(super) const WAKE: Token = Token(2);

pub(super) struct Driver {
    desk: Desk,
    poll: Poll,
    happened: mio::Events,
    ports: Ports,
    buffer: Box<[u8]>,
    queue: Queue<Command>,
    /// Dropped, it stops the resolver.
    _resolving: Sender<()>,
}

/// By family.
type Ports = [Option<Port>; 2];

struct Port {
    socket: UdpSocket,
    receiver: Receiver,
}

impl Driver {
    pub(super) fn new(
        desk: Desk,
        poll: Poll,
        sockets: [Option<StdUdpSocket>; 2],
        queue: Queue<Command>,
        resolving: Sender<()>,
    ) -> io::Result<Self> {
        let mut ports = [None, None];
        for (index, (port, socket)) in ports.iter_mut().zip(sockets).enumerate() {
            if let Some(socket) = socket {
                let mut socket = UdpSocket::from_std(socket);
                poll.registry().register(&mut socket, Token(index), Interest::READABLE)?;
                *port = Some(Port { socket, receiver: Receiver::new() });
            }
        }
        Ok(Self {
            desk,
            poll,
            happened: mio::Events::with_capacity(4),
            ports,
            buffer: vec![0; RECEIVE_BUFFER].into_boxed_slice(),
            queue,
            _resolving: resolving,
        })
    }

    pub(super) fn run(mut self) {
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
        let ports = self.ports.iter().flatten().filter_map(|port| port.receiver.deadline(now));
        self.desk.next_turn(now).into_iter().chain(ports).min().map(|at| at - now)
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
            let Some(Some(port)) = self.ports.get_mut(event.token().0) else {
                continue; // the waker: commands are looked for in any case
            };
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
            let Some(port) = &mut self.ports[family.index()] else {
                return;
            };
            let now = self.desk.clock.now();
            match port.receiver.receive(now, || port.socket.recv_from(&mut self.buffer)) {
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
        let blocked = self.desk.transmit(|datagram, to| send(&self.ports, datagram, to));
        if let Some(destination) = blocked {
            let index = Family::of(&destination).index();
            if let Some(port) = &mut self.ports[index] {
                let interest = Interest::READABLE | Interest::WRITABLE;
                let _ = self.poll.registry().reregister(&mut port.socket, Token(index), interest);
            }
        }
    }

    /// Returns whether some are left.
    fn take_commands(&mut self) -> bool {
        for _ in 0..COMMANDS {
            let Ok(command) = self.queue.try_recv() else {
                return false;
            };
            self.desk.obey(command);
        }
        true
    }
}

fn send(ports: &Ports, datagram: &[u8], to: SocketAddr) -> io::Result<usize> {
    match &ports[Family::of(&to).index()] {
        Some(port) => port.socket.send_to(datagram, to),
        None => Err(io::ErrorKind::NetworkUnreachable.into()),
    }
}
