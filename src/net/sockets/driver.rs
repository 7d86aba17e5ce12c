//! One turn of a loop, whichever it is: datagrams, commands and deadlines in, datagrams and events out.

use std::io;

use super::batch::BATCH;
use super::datagrams::ReceiveBatch;
use super::socket::Received;
use super::{Bound, SocketFactory, Sockets};
use crate::net::counters::count;
use crate::net::engine::feed::Reply;
use crate::net::engine::mailbox::Change;
use crate::net::engine::{Engine, FLUSH_TIME};
use crate::net::error::CallError;
use crate::{Family, Instant};

/// The most commands that one turn executes.
const COMMANDS: usize = 256;

/// What a loop runs: it calls [`turn`](Self::turn), sleeps until the time that this returns, a socket is
/// readable, the [blocked](Self::blocked) one is writable or the waker is called, and notes what has woken it.
///
/// When it is to end, it [leaves](Self::leave) and saves the state for the last time.
pub(crate) struct Driver<F: SocketFactory> {
    pub(crate) engine: Engine,
    pub(crate) sockets: Sockets<F>,
    received: ReceiveBatch,
    /// The family whose socket was full.
    blocked: Option<Family>,
    /// Dropped last, so that whoever waits for the end finds the ports free.
    _ending: Ending,
}

/// Reports the end of the node when it is dropped.
pub(crate) struct Ending(pub(crate) Option<Reply<()>>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.take().into_iter().for_each(|reply| reply.end(Ok(())));
    }
}

impl<F: SocketFactory> Driver<F> {
    pub(crate) fn new(
        engine: Engine,
        factory: F,
        bound: [Option<Bound>; 2],
        ending: Ending,
    ) -> io::Result<Self> {
        let sockets = Sockets::new(factory, bound)?;
        Ok(Self { engine, sockets, received: ReceiveBatch::new(), blocked: None, _ending: ending })
    }

    /// Does what there is to do and returns until when to sleep; `None`: until woken.
    pub(crate) fn turn(&mut self) -> Option<Instant> {
        if let Some(slept) = self.engine.begin() {
            self.receive_all(self.engine.is_due());
            self.engine.resume(slept);
        }
        // Not after the commands, whose queries wait but are no deadlines that have passed.
        let is_due = self.engine.is_due();
        let more_commands = self.take_commands();
        self.sockets.reopen_due(&mut self.engine);
        self.receive_all(is_due);
        self.engine.tick();
        self.transmit();
        self.engine.take_events();
        let now = self.engine.clock.now();
        if more_commands {
            return Some(now);
        }
        self.engine.next_turn(now).into_iter().chain(self.sockets.deadline(now)).min()
    }

    /// The family whose socket is full.
    pub(crate) fn blocked(&self) -> Option<Family> {
        self.blocked.filter(|_| self.engine.is_blocked())
    }

    /// Executes the commands from before the end, and returns until when the last datagrams may wait for their
    /// socket.
    pub(crate) fn leave(&mut self) -> Instant {
        self.engine.execute_remaining();
        self.engine.clock.now() + FLUSH_TIME
    }

    /// Sends what is waiting. Returns whether some is left, and may be sent until `end`.
    pub(crate) fn is_leaving(&mut self, end: Instant) -> bool {
        self.engine.retry_sending();
        self.transmit();
        self.engine.is_blocked() && !self.engine.clock.until(end).is_zero()
    }

    /// Receives before the deadlines. Where one has passed, the sockets are read whatever the system has reported:
    /// an interrupted wait, or a runtime that fires its timers first, reports no datagram.
    fn receive_all(&mut self, is_due: bool) {
        if is_due {
            self.sockets.force_reads();
        }
        let most = self.engine.receives(is_due);
        Family::ALL.into_iter().for_each(|family| self.receive(family, most));
        for _ in 0..most {
            let now = self.engine.arrival_time();
            if !self.engine.receive_external(now) {
                return;
            }
            self.respond(now);
        }
    }

    /// Receives from one socket, batch by batch, and sends the responses to each batch together.
    fn receive(&mut self, family: Family, most: usize) {
        for _ in 0..most.div_ceil(BATCH) {
            let now = self.engine.arrival_time();
            let Some(result) = self.sockets.receive(now, family, &mut self.received) else { return };
            self.handle_batch(now);
            match result {
                Received::Datagrams => {}
                Received::Nothing => count(&self.engine.shared.counters.receive_errors),
                Received::Failed => return count(&self.engine.shared.counters.receive_errors),
                Received::Empty => return,
            }
        }
    }

    fn handle_batch(&mut self, now: Instant) {
        let mut is_empty = true;
        while let Some(arrived) = self.received.next() {
            is_empty = false;
            let datagram = self.received.bytes(arrived);
            self.engine.handle_datagram(now, arrived.from, arrived.local, datagram);
            self.respond(now);
        }
        if !is_empty && !self.engine.is_backdating() {
            self.transmit();
        }
    }

    /// Writes the responses to a datagram at once, so that a burst of queries does not overflow the ring of those
    /// that wait, and sends when the batch is full. What counts for an earlier time waits until that has passed.
    fn respond(&mut self, now: Instant) {
        if !self.engine.is_backdating() && self.engine.fill_batch(now) {
            self.transmit();
        }
    }

    /// Sends what there is to send, as far as the sockets take it.
    fn transmit(&mut self) {
        let Self { engine, sockets, blocked, .. } = self;
        while let Some(destination) = engine.transmit(|datagrams| sockets.send(datagrams)) {
            if !sockets.reopen_due(engine) {
                // A caller who has not asked yet is no full socket.
                if !engine.is_external() {
                    count(&engine.shared.counters.sends_blocked);
                    *blocked = Some(Family::of(&destination));
                }
                return;
            }
            engine.unblock();
        }
    }

    /// Returns whether some are left.
    fn take_commands(&mut self) -> bool {
        self.engine.shared.note_woken();
        for _ in 0..COMMANDS {
            let Some(command) = self.engine.shared.next_command() else { return false };
            if let Some((change, reply)) = self.engine.execute(command) {
                reply.end(self.change(change));
            }
        }
        true
    }

    fn change(&mut self, change: Change) -> Result<(), CallError> {
        if self.engine.is_external() {
            return self.engine.change_external(change);
        }
        self.sockets.change(&mut self.engine, change)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use alloc::rc::Rc;
    use core::cell::Cell;
    use core::net::{Ipv4Addr, SocketAddr};
    use core::time::Duration;
    use std::net::UdpSocket;

    use socket2::SockRef;

    use super::*;
    use crate::Limits;
    use crate::net::engine::feed::Feed;
    use crate::net::engine::tests::{answer_ping, engine_by_hand, other, ping, wait};

    /// A driver with a socket on loopback, whose time passes on demand only.
    pub(crate) fn driver_by_hand<F: SocketFactory>(factory: F) -> Driver<F> {
        let bound = Bound::new(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
        Driver::new(engine_by_hand(), factory, [Some(bound), None], Ending(None)).unwrap()
    }

    /// Makes sockets that take nothing while they are choked.
    struct Choking(Rc<Cell<bool>>);

    impl SocketFactory for Choking {
        type Socket = (UdpSocket, Rc<Cell<bool>>);

        fn adopt(&mut self, _: Family, socket: UdpSocket) -> io::Result<Self::Socket> {
            Ok((socket, Rc::clone(&self.0)))
        }

        fn receive(
            (socket, _): &Self::Socket,
            _: bool,
            read: impl FnOnce(SockRef<'_>) -> io::Result<()>,
        ) -> io::Result<()> {
            read(socket.into())
        }

        fn send(
            (socket, is_choked): &Self::Socket,
            write: impl FnOnce(SockRef<'_>) -> io::Result<usize>,
        ) -> io::Result<usize> {
            if is_choked.get() { Err(io::ErrorKind::WouldBlock.into()) } else { write(socket.into()) }
        }
    }

    #[test]
    fn a_full_socket_costs_only_the_responses_that_nobody_has_room_for_and_those_are_counted() {
        const QUERIES: usize = 160;
        let is_choked = Rc::new(Cell::new(true));
        let mut driver = driver_by_hand(Choking(Rc::clone(&is_choked)));
        let addr = driver.sockets.of(Family::V4).unwrap().socket.0.local_addr().unwrap();
        // Each may ask some fifty times.
        let askers = [(); 4].map(|()| other().0);
        let asker = |at: usize| &askers[at * askers.len() / QUERIES];
        for at in 0..QUERIES {
            let query = alloc::format!("d1:ad2:id20:abcdefghij0123456789e1:q4:ping1:t3:{at:03}1:y1:qe");
            asker(at).send_to(query.as_bytes(), addr).unwrap();
        }
        while driver.engine.node.stats().datagrams_in < QUERIES as u64 {
            driver.turn();
        }
        assert_eq!(driver.blocked(), Some(Family::V4));
        let waiting = Limits::default().replies;
        let kept = QUERIES - driver.engine.node.stats().dropped.overflow as usize;
        // The node may ask on its own account as well.
        assert!((waiting + BATCH / 2..=waiting + BATCH).contains(&kept), "{kept}");
        assert_eq!(driver.engine.shared.counters.read().sends_blocked, 1);
        is_choked.set(false);
        driver.engine.unblock();
        driver.turn();
        let mut buffer = [0; 1500];
        let mut answered = 0;
        for asker in &askers {
            asker.set_nonblocking(true).unwrap();
            while let Ok(len) = asker.recv(&mut buffer) {
                answered += usize::from(buffer[..len].ends_with(b"1:y1:re"));
            }
        }
        assert_eq!(answered, kept);
    }

    #[test]
    fn a_flood_holds_up_neither_commands_nor_the_rest_of_a_turn() {
        let mut driver = driver_by_hand(Choking(Rc::default()));
        let addr = driver.sockets.of(Family::V4).unwrap().socket.0.local_addr().unwrap();
        driver.turn();
        let ((flooding, _), (asked, asked_at)) = (other(), other());
        (0..200).for_each(|_| assert!(flooding.send_to(b"nothing of ours", addr).is_ok()));
        driver.sockets.of(Family::V4).unwrap().receiver.set_readable();
        let (command, _pong) = ping(asked_at);
        assert!(driver.engine.shared.send(command, |_| {}));
        let due = driver.turn();
        let received = driver.engine.node.stats().datagrams_in;
        assert!((1..=2 * BATCH as u64).contains(&received), "{received}");
        assert_eq!(due, Some(driver.engine.clock.now()), "it goes on at once");
        assert!(asked.recv(&mut [0; 1500]).is_ok());
    }

    /// Checks that what has arrived is read before deadlines, and that what has not is asked again, as after a stop
    /// of the process: an interrupted wait reports nothing, and timers fire before a runtime looks at its sockets.
    ///
    /// `sleep` makes a loop sleep until it is woken.
    pub(crate) fn reads_before_deadlines<F: SocketFactory, L>(
        mut node: L,
        driver: impl Fn(&mut L) -> &mut Driver<F>,
        mut sleep: impl FnMut(&mut L),
    ) {
        let ((answering, answers), (silent, is_silent)) = (other(), other());
        let ((first, pong), (second, none)) = (ping(answers), ping(is_silent));
        let shared = alloc::sync::Arc::clone(&driver(&mut node).engine.shared);
        assert!(shared.send(first, |_| {}) && shared.send(second, |_| {}));
        driver(&mut node).turn();
        // A runtime reports only now that the socket is writable.
        while driver(&mut node).engine.is_blocked() {
            sleep(&mut node);
            driver(&mut node).turn();
        }
        answer_ping(&answering);
        let mut buffer = [0; 1500];
        let asked = silent.recv(&mut buffer).unwrap();
        wait(Duration::from_secs(60));
        driver(&mut node).turn();
        let pong = pong.with(Feed::take_end).expect("it was read").expect("it came in time");
        assert!(pong.rtt < Duration::from_secs(5), "{:?} without the time that it stood still", pong.rtt);
        assert!(none.with(Feed::take_end).is_none(), "whoever has not answered may still");
        driver(&mut node).turn();
        assert_eq!(silent.recv(&mut buffer).unwrap(), asked, "and is asked again");
        let stats = driver(&mut node).engine.node.stats();
        assert_eq!((stats.timed_out, stats.interrupted), (0, 1));
    }
}
