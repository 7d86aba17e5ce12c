//! One turn of a loop, whichever it is: packets, commands and deadlines in, packets and findings out.

use std::io;

use quinn_udp::UdpSockRef;

use super::datagrams::{BATCH, Batch, Passage};
use super::socket::Received;
use super::{Bound, SocketFactory, Sockets};
use crate::net::counters::count;
use crate::net::engine::feed::Reply;
use crate::net::engine::mailbox::Change;
use crate::net::engine::{Engine, FAREWELL};
use crate::net::error::CallError;
use crate::{Family, Instant, Transmit};

/// Commands that one turn takes at most.
const COMMANDS: usize = 256;

/// What a loop runs: it calls [`turn`](Self::turn), sleeps until the time that this returns, a socket is
/// readable, the [blocked](Self::blocked) one writable or the waker rung, and notes what has woken it.
///
/// Asked to end, it [leaves](Self::leave) and saves the state for the last time.
pub(crate) struct Driver<F: SocketFactory> {
    pub(crate) engine: Engine,
    pub(crate) sockets: Sockets<F>,
    batch: Batch,
    /// The family whose socket was full.
    blocked: Option<Family>,
    /// Dropped last: whoever waits for the end finds the ports free.
    _ending: Ending,
}

/// Reports the end of the node by its drop.
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
        Ok(Self { engine, sockets, batch: Batch::new(), blocked: None, _ending: ending })
    }

    /// Does what there is to do and returns until when to sleep; `None` for ever.
    pub(crate) fn turn(&mut self) -> Option<Instant> {
        if let Some(slept) = self.engine.begin() {
            self.receive_all();
            self.engine.resume(slept);
        }
        let more_commands = self.take_commands();
        self.sockets.tend(&mut self.engine);
        self.receive_all();
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

    /// Does what was asked before the end, and returns until when the last datagrams may wait for their socket.
    pub(crate) fn leave(&mut self) -> Instant {
        self.engine.obey_rest();
        self.engine.clock.now() + FAREWELL
    }

    /// Sends what is waiting. Returns whether some is left, and may be sent until `end`.
    pub(crate) fn is_leaving(&mut self, end: Instant) -> bool {
        self.engine.retry_sending();
        self.transmit();
        self.engine.is_blocked() && !self.engine.clock.until(end).is_zero()
    }

    /// Receives before the deadlines: a wait that was cut short, or a runtime that fires its timers first, has
    /// reported no datagram.
    fn receive_all(&mut self) {
        if self.engine.is_due() {
            self.sockets.look();
        }
        let most = self.engine.receives();
        Family::ALL.into_iter().for_each(|family| self.receive(family, most));
        let Self { engine, sockets, blocked, .. } = self;
        engine.receive_external(most, |engine| answer(engine, sockets, blocked));
    }

    fn receive(&mut self, family: Family, most: usize) {
        for _ in 0..most.div_ceil(BATCH) {
            let now = self.engine.arrival_time();
            let Self { sockets, batch, .. } = self;
            let received = sockets.receive(now, family, |socket, passage, is_untold| {
                F::receive(socket, is_untold, |socket| batch.receive(passage, socket))
            });
            match received {
                Some(Received::Datagrams) => self.take_batch(now),
                Some(Received::Nothing) => count(&self.engine.shared.counters.receive_errors),
                Some(Received::Failed) => return count(&self.engine.shared.counters.receive_errors),
                Some(Received::Empty) | None => return,
            }
        }
    }

    fn take_batch(&mut self, now: Instant) {
        while let Some(arrived) = self.batch.next() {
            let bytes = self.batch.bytes(arrived);
            self.engine.handle_datagram(now, arrived.from, arrived.local, bytes);
            answer(&mut self.engine, &mut self.sockets, &mut self.blocked);
        }
    }

    fn transmit(&mut self) {
        transmit(&mut self.engine, &mut self.sockets, &mut self.blocked);
    }

    /// Returns whether some are left.
    fn take_commands(&mut self) -> bool {
        self.engine.shared.note_woken();
        for _ in 0..COMMANDS {
            let Some(command) = self.engine.shared.next_command() else { return false };
            if let Some((change, reply)) = self.engine.obey(command) {
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

/// Sends at once, so that a burst of queries does not overflow the answers' ring; but not what counts for an
/// earlier time.
fn answer<F: SocketFactory>(engine: &mut Engine, sockets: &mut Sockets<F>, blocked: &mut Option<Family>) {
    if !engine.is_standing() {
        transmit(engine, sockets, blocked);
    }
}

fn transmit<F: SocketFactory>(engine: &mut Engine, sockets: &mut Sockets<F>, blocked: &mut Option<Family>) {
    let send = |sockets: &mut Sockets<F>, datagram: &[u8], transmit: Transmit| {
        sockets.send(transmit.destination, |socket: &F::Socket, passage: &Passage| {
            F::send(socket, |socket: UdpSockRef<'_>| passage.send(socket, datagram, transmit))
        })
    };
    while let Some(destination) = engine.transmit(|datagram, transmit| send(sockets, datagram, transmit)) {
        if !sockets.tend(engine) {
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

#[cfg(test)]
pub(crate) mod tests {
    use core::net::{Ipv4Addr, SocketAddr};
    use core::time::Duration;

    use super::*;
    use crate::net::engine::feed::Feed;
    use crate::net::engine::tests::{answer_ping, engine_by_hand, other, ping, wait};

    /// A driver with a socket on loopback, whose time passes on demand only.
    pub(crate) fn driver_by_hand<F: SocketFactory>(factory: F) -> Driver<F> {
        let bound = Bound::new(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
        Driver::new(engine_by_hand(), factory, [Some(bound), None], Ending(None)).unwrap()
    }

    /// What has arrived is read before deadlines, and what has not is asked again. As after a stop of the process:
    /// an interrupted wait has told nothing, and timers fire before a runtime has looked at its sockets.
    ///
    /// `sleep` has a loop sleep until it is woken.
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
        // A runtime tells only now that the socket is writable.
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
