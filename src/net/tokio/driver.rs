//! The task of a node: packets, calls and deadlines in, packets and findings out.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::task::Wake;
use alloc::vec;
use core::future::{Future as _, pending, poll_fn};
use core::net::SocketAddr;
use core::pin::pin;
use core::task::{Context, Poll};
use std::io;
use std::net::UdpSocket as StdUdpSocket;

use tokio::net::UdpSocket;
use tokio::sync::{Notify, mpsc};
use tokio::task::yield_now;
use tokio::time::sleep_until;

use super::external::{Arrival, Outgoing};
use crate::net::desk::{COMMANDS, Change, Command, Desk, FAREWELL, RECEIVE_BUFFER, RECEIVES};
use crate::net::ports::{Adopt, Bound, Ports};
use crate::net::socket::Received;
use crate::net::stats::count;
use crate::{Family, Instant};

pub(super) struct Driver {
    desk: Desk,
    link: Link,
    /// The destination whose socket was full.
    blocked_on: Option<SocketAddr>,
    buffer: Box<[u8]>,
    queue: mpsc::Receiver<Command>,
    /// The command that ended a sleep.
    command: Option<Command>,
    bell: Arc<Bell>,
}

/// Wakes the task for what does not come through its queue.
#[derive(Default)]
pub(super) struct Bell(Notify);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.notify_one();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.notify_one();
    }
}

/// How datagrams come and go.
pub(super) enum Link {
    Sockets(Box<Ports<Register>>),
    External {
        /// Closed once the other end is gone.
        incoming: Option<mpsc::Receiver<Arrival>>,
        /// The arrival that ended a sleep.
        arrival: Option<Arrival>,
        outgoing: mpsc::Sender<Outgoing>,
    },
}

/// Has its sockets watched by the runtime.
pub(super) struct Register;

impl Adopt for Register {
    type Socket = UdpSocket;

    fn adopt(&mut self, _: Family, socket: StdUdpSocket) -> io::Result<UdpSocket> {
        UdpSocket::from_std(socket)
    }
}

impl Driver {
    pub(super) fn new(desk: Desk, link: Link, queue: mpsc::Receiver<Command>, bell: Arc<Bell>) -> Self {
        Self {
            desk,
            link,
            blocked_on: None,
            buffer: vec![0; RECEIVE_BUFFER].into_boxed_slice(),
            queue,
            command: None,
            bell,
        }
    }

    pub(super) async fn run(mut self) {
        self.desk.start();
        while !self.desk.board.is_closing() {
            let until = self.turn();
            self.sleep(until).await;
        }
        self.leave().await;
        self.save_last().await;
    }

    /// Does what there is to do and returns until when to sleep; `None` for ever.
    fn turn(&mut self) -> Option<Instant> {
        self.desk.begin();
        let more_commands = self.take_commands();
        self.desk.take_released();
        self.link.tend(&mut self.desk);
        self.receive();
        self.desk.tick();
        self.transmit();
        self.desk.take_events();
        let now = self.desk.clock.now();
        if more_commands {
            return Some(now);
        }
        self.desk.next_turn(now).into_iter().chain(self.link.deadline(now)).min()
    }

    async fn sleep(&mut self, until: Option<Instant>) {
        let Self { desk, link, blocked_on, queue, command, bell, .. } = self;
        let blocked_on = blocked_on.filter(|_| desk.is_blocked());
        let until = until.and_then(|at| desk.clock.to_std(at));
        let mut timeout = pin!(async {
            match until {
                Some(until) => sleep_until(until.into()).await,
                None => pending().await,
            }
        });
        let full = link.outgoing().filter(|_| blocked_on.is_some());
        let mut room = pin!(async {
            match &full {
                // An error, that the other end is gone, is found by the next send as well.
                Some(outgoing) => drop(outgoing.reserve().await),
                None => pending().await,
            }
        });
        let mut rung = pin!(bell.0.notified());
        let mut polls = 0;
        poll_fn(|cx| {
            polls += 1;
            // All of them, so that each is registered and none goes short.
            let mut woken = rung.as_mut().poll(cx).is_ready();
            if command.is_none()
                && let Poll::Ready(Some(next)) = queue.poll_recv(cx)
            {
                *command = Some(next);
            }
            woken |= command.is_some();
            woken |= link.poll_incoming(cx);
            if room.as_mut().poll(cx).is_ready() || link.poll_writable(cx, blocked_on) {
                desk.unblock();
                woken = true;
            }
            woken |= timeout.as_mut().poll(cx).is_ready();
            if woken { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        count(&desk.board.counters.wakeups);
        if polls == 1 {
            // However busy the node is, other tasks have their turn.
            yield_now().await;
        }
    }

    /// Sends what is waiting, within reason.
    async fn leave(&mut self) {
        self.queue.close();
        self.command = None;
        self.link.stop_receiving();
        let end = self.desk.clock.now() + FAREWELL;
        loop {
            self.transmit();
            if !self.desk.is_blocked() || self.desk.clock.until(end).is_zero() {
                return;
            }
            self.sleep(Some(end)).await;
        }
    }

    /// Saves the state for the last time. Other tasks go on meanwhile.
    async fn save_last(&mut self) {
        self.desk.begin_last_save();
        loop {
            self.desk.tend_saver();
            if !self.desk.is_saving() {
                return;
            }
            self.bell.0.notified().await;
        }
    }

    fn receive(&mut self) {
        for family in Family::ALL {
            for _ in 0..RECEIVES {
                let now = self.desk.clock.now();
                match self.link.receive(now, family, &mut self.buffer) {
                    Some(Received::Datagram { len, from }) => {
                        self.desk.handle_datagram(now, from, &self.buffer[..len]);
                        // At once, so that a burst of queries does not overflow the answers' ring.
                        self.transmit();
                    }
                    Some(Received::Nothing) => count(&self.desk.board.counters.receive_errors),
                    Some(Received::Failed) => {
                        count(&self.desk.board.counters.receive_errors);
                        break;
                    }
                    Some(Received::Empty) | None => break,
                }
            }
        }
        for _ in 0..RECEIVES {
            let Some(arrival) = self.link.take_arrival() else {
                return;
            };
            let now = self.desk.clock.now();
            match arrival {
                Arrival::Datagram { from, datagram } => {
                    self.desk.handle_datagram(now, from, &datagram);
                    self.transmit();
                }
                Arrival::Unreachable(destination) => self.desk.node.handle_unreachable(now, destination),
            }
        }
    }

    fn transmit(&mut self) {
        let Self { desk, link, .. } = self;
        while let Some(destination) = desk.transmit(|datagram, to| link.send(datagram, to)) {
            if !link.tend(desk) {
                self.blocked_on = Some(destination);
                return;
            }
            desk.unblock();
        }
    }

    /// Returns whether some are left.
    fn take_commands(&mut self) -> bool {
        for _ in 0..COMMANDS {
            let Some(command) = self.command.take().or_else(|| self.queue.try_recv().ok()) else {
                return false;
            };
            if let Some((change, reply)) = self.desk.obey(command) {
                reply(self.link.change(&mut self.desk, change));
            }
        }
        true
    }
}

impl Link {
    pub(super) fn sockets(sockets: [Option<Bound>; 2]) -> io::Result<Self> {
        Ok(Self::Sockets(Box::new(Ports::new(Register, sockets)?)))
    }

    /// When to receive next without being woken for it.
    fn deadline(&self, now: Instant) -> Option<Instant> {
        match self {
            Self::Sockets(ports) => ports.deadline(now),
            Self::External { .. } => None,
        }
    }

    /// Opens again what failed. Returns whether anything has changed.
    fn tend(&mut self, desk: &mut Desk) -> bool {
        match self {
            Self::Sockets(ports) => ports.tend(desk),
            Self::External { .. } => false,
        }
    }

    fn change(&mut self, desk: &mut Desk, change: Change) -> io::Result<()> {
        match (self, change) {
            (Self::Sockets(ports), change) => return ports.change(desk, change),
            (Self::External { .. }, Change::Enable(enabled)) => {
                desk.note_enabled(enabled);
                Family::ALL.into_iter().for_each(|family| desk.set_enabled(family, enabled));
            }
            (Self::External { .. }, Change::Rebind(None)) => {
                Family::ALL.into_iter().for_each(|family| desk.on_network_changed(family));
            }
            (Self::External { .. }, Change::Rebind(Some(_))) => {
                return Err(io::Error::new(io::ErrorKind::Unsupported, "the socket is not the node's own"));
            }
        }
        Ok(())
    }

    fn outgoing(&self) -> Option<mpsc::Sender<Outgoing>> {
        match self {
            Self::Sockets(_) => None,
            Self::External { outgoing, .. } => Some(outgoing.clone()),
        }
    }

    /// Has nothing wake the task any more that it is not going to read.
    fn stop_receiving(&mut self) {
        if let Self::External { incoming, arrival, .. } = self {
            (*incoming, *arrival) = (None, None);
        }
    }

    /// Whether there is something to receive that was not known before.
    fn poll_incoming(&mut self, cx: &mut Context<'_>) -> bool {
        let mut woken = false;
        match self {
            Self::Sockets(ports) => {
                for port in ports.open() {
                    // One that may have more, or is left alone after an error, has a deadline.
                    if !port.receiver.is_readable() && port.socket.poll_recv_ready(cx).is_ready() {
                        port.receiver.set_readable();
                        woken = true;
                    }
                }
            }
            Self::External { incoming, arrival, .. } => {
                if arrival.is_none()
                    && let Some(receiver) = incoming
                    && let Poll::Ready(next) = receiver.poll_recv(cx)
                {
                    *arrival = next;
                    if arrival.is_none() {
                        *incoming = None;
                    }
                }
                woken = arrival.is_some();
            }
        }
        woken
    }

    fn poll_writable(&mut self, cx: &mut Context<'_>, blocked_on: Option<SocketAddr>) -> bool {
        match (self, blocked_on) {
            (Self::Sockets(ports), Some(destination)) => ports
                .of(Family::of(&destination))
                .is_some_and(|port| port.socket.poll_send_ready(cx).is_ready()),
            _ => false,
        }
    }

    /// From the socket of this family, if there is one.
    fn receive(&mut self, now: Instant, family: Family, buffer: &mut [u8]) -> Option<Received> {
        match self {
            Self::Sockets(ports) => ports.receive(now, family, |socket| socket.try_recv_from(buffer)),
            Self::External { .. } => None,
        }
    }

    fn take_arrival(&mut self) -> Option<Arrival> {
        match self {
            Self::Sockets(_) => None,
            Self::External { incoming, arrival, .. } => {
                arrival.take().or_else(|| incoming.as_mut()?.try_recv().ok())
            }
        }
    }

    fn send(&mut self, datagram: &[u8], to: SocketAddr) -> io::Result<usize> {
        match self {
            Self::Sockets(ports) => ports.send(to, |socket| socket.try_send_to(datagram, to)),
            Self::External { outgoing, .. } => {
                let permit = outgoing.try_reserve().map_err(|error| match error {
                    mpsc::error::TrySendError::Full(()) => io::ErrorKind::WouldBlock,
                    mpsc::error::TrySendError::Closed(()) => io::ErrorKind::NetworkUnreachable,
                })?;
                permit.send((to, datagram.into()));
                Ok(datagram.len())
            }
        }
    }
}
