//! The task of a node: packets, calls and deadlines in, packets and findings out.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::task::Wake;
use core::future::{Future as _, pending, poll_fn};
use core::net::SocketAddr;
use core::pin::pin;
use core::task::{Context, Poll};
use std::io;
use std::net::UdpSocket as StdUdpSocket;

use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::sync::{Notify, mpsc};
use tokio::task::yield_now;
use tokio::time::sleep_until;

use super::external::{Arrival, Outgoing};
use crate::net::engine::counters::count;
use crate::net::engine::{COMMANDS, Change, Command, Engine, FAREWELL};
use crate::net::sockets::datagrams::{BATCH, Batch};
use crate::net::sockets::socket::Received;
use crate::net::sockets::{Bound, SocketFactory, Sockets};
use crate::{Family, Instant, Transmit};

pub(super) struct Driver {
    engine: Engine,
    link: Link,
    /// The destination whose socket was full.
    blocked_on: Option<SocketAddr>,
    batch: Batch,
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
    Sockets(Box<Sockets<Register>>),
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

impl SocketFactory for Register {
    type Socket = UdpSocket;

    fn adopt(&mut self, _: Family, socket: StdUdpSocket) -> io::Result<UdpSocket> {
        UdpSocket::from_std(socket)
    }
}

impl Driver {
    pub(super) fn new(engine: Engine, link: Link, queue: mpsc::Receiver<Command>, bell: Arc<Bell>) -> Self {
        Self { engine, link, blocked_on: None, batch: Batch::new(), queue, command: None, bell }
    }

    pub(super) async fn run(mut self) {
        self.engine.start();
        while !self.engine.shared.is_closing() {
            let until = self.turn();
            self.sleep(until).await;
        }
        self.leave().await;
        self.save_last().await;
    }

    /// Does what there is to do and returns until when to sleep; `None` for ever.
    fn turn(&mut self) -> Option<Instant> {
        if let Some(slept) = self.engine.begin() {
            self.receive_all();
            self.engine.resume(slept);
        }
        let more_commands = self.take_commands();
        self.engine.take_released();
        self.link.tend(&mut self.engine);
        self.receive_all();
        self.engine.tick();
        self.transmit();
        self.engine.take_events();
        let now = self.engine.clock.now();
        if more_commands {
            return Some(now);
        }
        self.engine.next_turn(now).into_iter().chain(self.link.deadline(now)).min()
    }

    async fn sleep(&mut self, until: Option<Instant>) {
        let Self { engine, link, blocked_on, queue, command, bell, .. } = self;
        let blocked_on = blocked_on.filter(|_| engine.is_blocked());
        let until = until.and_then(|at| engine.clock.to_std(at));
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
                engine.unblock();
                woken = true;
            }
            woken |= timeout.as_mut().poll(cx).is_ready();
            if woken { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        count(&engine.shared.counters.wakeups);
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
        let end = self.engine.clock.now() + FAREWELL;
        loop {
            self.transmit();
            if !self.engine.is_blocked() || self.engine.clock.until(end).is_zero() {
                return;
            }
            self.sleep(Some(end)).await;
        }
    }

    /// Saves the state for the last time. Other tasks go on meanwhile.
    async fn save_last(&mut self) {
        self.engine.begin_last_save();
        loop {
            self.engine.tend_saver();
            if !self.engine.is_saving() {
                return;
            }
            self.bell.0.notified().await;
        }
    }

    /// Before the deadlines: the runtime may have fired a timer before it has looked at the sockets.
    fn receive_all(&mut self) {
        if self.engine.is_due() {
            self.link.look();
        }
        let most = self.engine.receives();
        Family::ALL.into_iter().for_each(|family| self.receive(family, most));
        for _ in 0..most {
            let Some(arrival) = self.link.take_arrival() else {
                return;
            };
            let now = self.engine.arrival_time();
            match arrival {
                Arrival::Datagram { from, local, datagram } => {
                    self.engine.handle_datagram(now, from, local, &datagram);
                    self.transmit_answers();
                }
                Arrival::Unsent(destination) => self.engine.node.handle_unsent(now, destination),
                Arrival::Unreachable(destination) => self.engine.node.handle_unreachable(now, destination),
            }
        }
    }

    fn receive(&mut self, family: Family, most: usize) {
        for _ in 0..most.div_ceil(BATCH) {
            let now = self.engine.arrival_time();
            match self.link.receive(now, family, &mut self.batch) {
                Some(Received::Datagrams) => {
                    while let Some(arrived) = self.batch.next() {
                        let bytes = self.batch.bytes(arrived);
                        self.engine.handle_datagram(now, arrived.from, arrived.local, bytes);
                        self.transmit_answers();
                    }
                }
                Some(Received::Nothing) => count(&self.engine.shared.counters.receive_errors),
                Some(Received::Failed) => return count(&self.engine.shared.counters.receive_errors),
                Some(Received::Empty) | None => return,
            }
        }
    }

    /// At once, so that a burst of queries does not overflow the answers' ring.
    fn transmit_answers(&mut self) {
        if !self.engine.is_standing() {
            self.transmit();
        }
    }

    fn transmit(&mut self) {
        let Self { engine, link, .. } = self;
        while let Some(destination) = engine.transmit(|datagram, transmit| link.send(datagram, transmit)) {
            if !link.tend(engine) {
                // A caller who has not asked yet is no full socket.
                if matches!(link, Link::Sockets(_)) {
                    count(&engine.shared.counters.sends_blocked);
                }
                self.blocked_on = Some(destination);
                return;
            }
            engine.unblock();
        }
    }

    /// Returns whether some are left.
    fn take_commands(&mut self) -> bool {
        for _ in 0..COMMANDS {
            let Some(command) = self.command.take().or_else(|| self.queue.try_recv().ok()) else {
                return false;
            };
            if let Some((change, reply)) = self.engine.obey(command) {
                reply(self.link.change(&mut self.engine, change));
            }
        }
        true
    }
}

impl Link {
    pub(super) fn sockets(sockets: [Option<Bound>; 2]) -> io::Result<Self> {
        Ok(Self::Sockets(Box::new(Sockets::new(Register, sockets)?)))
    }

    /// When to receive next without being woken for it.
    fn deadline(&self, now: Instant) -> Option<Instant> {
        match self {
            Self::Sockets(sockets) => sockets.deadline(now),
            Self::External { .. } => None,
        }
    }

    /// Opens again what failed. Returns whether anything has changed.
    fn tend(&mut self, engine: &mut Engine) -> bool {
        match self {
            Self::Sockets(sockets) => sockets.tend(engine),
            Self::External { .. } => false,
        }
    }

    fn change(&mut self, engine: &mut Engine, change: Change) -> io::Result<()> {
        match (self, change) {
            (Self::Sockets(sockets), change) => return sockets.change(engine, change),
            (Self::External { .. }, Change::Enable(enabled)) => {
                engine.note_enabled(enabled);
                Family::ALL.into_iter().for_each(|family| engine.set_enabled(family, enabled));
            }
            (Self::External { .. }, Change::Rebind(None)) => {
                Family::ALL.into_iter().for_each(|family| engine.on_network_changed(family));
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
            Self::Sockets(sockets) => {
                for port in sockets.open() {
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
            (Self::Sockets(sockets), Some(destination)) => sockets
                .of(Family::of(&destination))
                .is_some_and(|port| port.socket.poll_send_ready(cx).is_ready()),
            _ => false,
        }
    }

    /// Has the sockets read once more, whatever the runtime knows of them.
    fn look(&mut self) {
        if let Self::Sockets(sockets) = self {
            sockets.look();
        }
    }

    /// From the socket of this family, if there is one.
    fn receive(&mut self, now: Instant, family: Family, batch: &mut Batch) -> Option<Received> {
        match self {
            Self::Sockets(sockets) => sockets.receive(now, family, |socket, passage, is_untold| {
                let told = socket.try_io(Interest::READABLE, || batch.receive(passage, socket));
                match told {
                    Err(error) if is_untold && error.kind() == io::ErrorKind::WouldBlock => {
                        batch.receive(passage, socket)
                    }
                    told => told,
                }
            }),
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

    fn send(&mut self, datagram: &[u8], transmit: Transmit) -> io::Result<()> {
        match self {
            Self::Sockets(sockets) => sockets.send(transmit.destination, |socket, passage| {
                socket.try_io(Interest::WRITABLE, || passage.send(socket, datagram, transmit))
            }),
            Self::External { outgoing, .. } => {
                let permit = outgoing.try_reserve().map_err(|error| match error {
                    mpsc::error::TrySendError::Full(()) => io::ErrorKind::WouldBlock,
                    mpsc::error::TrySendError::Closed(()) => io::ErrorKind::HostUnreachable,
                })?;
                let Transmit { destination, source, .. } = transmit;
                permit.send(Outgoing { destination, source, datagram: datagram.into() });
                Ok(())
            }
        }
    }
}

#[cfg(all(test, feature = "net"))]
mod tests {
    use core::net::Ipv4Addr;
    use core::time::Duration;

    use tokio::runtime::Builder;

    use super::*;
    use crate::net::engine::tests::{answer_ping, desk_by_hand, other, ping, wait};

    /// As after a stop of the process: timers fire before the runtime has looked at its sockets.
    #[test]
    fn what_has_arrived_is_read_before_deadlines_and_what_has_not_is_asked_again() {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (commands, queue) = mpsc::channel(2);
            let bound = Bound::new(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
            let link = Link::sockets([Some(bound), None]).unwrap();
            let mut driver = Driver::new(desk_by_hand(), link, queue, Arc::default());
            let ((answering, answers), (silent, is_silent)) = (other(), other());
            let ((first, pong), (second, none)) = (ping(answers), ping(is_silent));
            assert!(commands.try_send(first).is_ok() && commands.try_send(second).is_ok());
            driver.turn();
            // The runtime tells only now that the socket is writable.
            while driver.engine.is_blocked() {
                driver.sleep(None).await;
                driver.turn();
            }
            answer_ping(&answering);
            let mut buffer = [0; 1500];
            let asked = silent.recv(&mut buffer).unwrap();
            wait(Duration::from_secs(60));
            driver.turn();
            let pong = pong.try_recv().expect("it was read").expect("it came in time");
            assert!(pong.rtt < Duration::from_secs(5), "{:?} without the time that it stood still", pong.rtt);
            assert!(none.try_recv().is_err(), "whoever has not answered may still");
            driver.turn();
            assert_eq!(silent.recv(&mut buffer).unwrap(), asked, "and is asked again");
            let stats = driver.engine.node.stats();
            assert_eq!((stats.timed_out, stats.interrupted), (0, 1));
        });
    }
}
