//! The event loop: time jumps from one event to the next.

use core::mem;
use core::net::SocketAddr;
use core::time::Duration;

use super::core::World;
use crate::base::time::Instant;
use crate::sim::actors::Outbox;
use crate::sim::hosts::{HostId, Occupant, Presence};
use crate::sim::schedule::SimEvent;

/// Most timeouts of a node at one instant: one for each bucket of both tables.
const MAX_TIMEOUTS: usize = 64;

/// Most events at one instant, apart from a hundred for each host.
const MAX_EVENTS_AT_ONCE: u64 = 100_000;

/// Running the world.
impl World {
    /// Processes the next event, if there is one within `limit`.
    ///
    /// False if there is none; then time has not advanced.
    pub fn step(&mut self, limit: Duration) -> bool {
        self.step_to(self.now + limit)
    }

    /// Processes all events within this time.
    pub fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        while self.step_to(end) {}
        self.now = end;
    }

    /// Runs until a condition holds, which is checked after each step.
    ///
    /// False if it does not hold within `limit`.
    pub fn run_until(&mut self, mut is_done: impl FnMut(&Self) -> bool, limit: Duration) -> bool {
        let end = self.now + limit;
        loop {
            if is_done(self) {
                return true;
            }
            if !self.step_to(end) {
                self.now = end;
                return is_done(self);
            }
        }
    }

    pub(super) fn step_to(&mut self, end: Instant) -> bool {
        #[cfg(any(feature = "net", feature = "smol", feature = "tokio"))]
        if self.drain_woken() {
            self.transport.counters.events += 1;
            self.events_at_once += 1;
            return true;
        }
        let Some((at, what)) = self.transport.schedule.pop(end) else { return false };
        if at > self.now {
            self.now = at;
            self.events_at_once = 0;
        }
        self.transport.counters.events += 1;
        self.events_at_once += 1;
        match what {
            SimEvent::Deliver(packet) => self.arrive(packet),
            SimEvent::Wake(host) => self.wake(host),
            SimEvent::Leave(host) if self.hosts[host as usize].leave_at == at => self.leave(HostId(host)),
            SimEvent::Return(host) if self.hosts[host as usize].return_at == at => self.recover(host),
            SimEvent::Leave(_) | SimEvent::Return(_) => {}
        }
        true
    }

    fn arrive(&mut self, at: u32) {
        let (from, to) = (self.transport.packets.get(at).from, self.transport.packets.get(at).to);
        if let Some((index, device)) = self.transport.receiver(self.now, from, to) {
            self.assert_progress(to.into());
            let host = &mut self.hosts[index as usize];
            if !host.link.accepts(to, device) {
                self.transport.counters.cut += 1;
            } else if !self.transport.is_lost_inbound(&mut host.link) {
                self.transport.deliver(self.now, index, at);
                let local = host.local(self.now);
                match &mut host.occupant {
                    Occupant::Node(hosted) => {
                        hosted.handle_datagram(local, from.into(), &self.transport.packets.get(at).bytes);
                    }
                    Occupant::Actor(actor) => {
                        // The actor may send while it reads, which may move the packets.
                        let bytes = mem::take(self.transport.packets.bytes_mut(at));
                        let (transport, link) = (&mut self.transport, &mut host.link);
                        let mut out = Outbox { transport, link, now: self.now, addr: to.into() };
                        actor.on_datagram(self.now, from.into(), &bytes, &mut out);
                        *self.transport.packets.bytes_mut(at) = bytes;
                    }
                    Occupant::Vacant => {}
                }
                self.drain(index);
            }
        } else {
            self.transport.count_undeliverable(to);
        }
        self.transport.packets.free(at);
    }

    fn wake(&mut self, index: u32) {
        let addr = self.addr(HostId(index));
        let host = &mut self.hosts[index as usize];
        if host.wake_at != self.now || matches!(host.presence, Presence::Asleep | Presence::Gone) {
            return;
        }
        host.wake_at = Instant::NEVER;
        let local = host.local(self.now);
        let program_due = self.programs.get(&HostId(index)).and_then(|program| program.next_wake());
        match &mut host.occupant {
            Occupant::Node(hosted) if hosted.next_wake().is_some_and(|due| due <= local) => {
                return self.wake_node(index);
            }
            Occupant::Actor(actor) if actor.next_wake().is_some_and(|due| due <= self.now) => {
                let (transport, link) = (&mut self.transport, &mut host.link);
                actor.on_wake(self.now, &mut Outbox { transport, link, now: self.now, addr });
                self.assert_progress(addr);
            }
            Occupant::Node(_) if program_due.is_some_and(|due| due <= local) => {}
            _ => return self.schedule(index),
        }
        self.drain(index);
    }

    /// Calls `handle_timeout` until the node asks for a later time: draining it may make another
    /// maintenance task due at once.
    fn wake_node(&mut self, index: u32) {
        for _ in 0..MAX_TIMEOUTS {
            let host = &mut self.hosts[index as usize];
            let local = host.local(self.now);
            let Occupant::Node(hosted) = &mut host.occupant else { return };
            if hosted.next_wake().is_none_or(|due| due > local) {
                return;
            }
            hosted.handle_timeout(local);
            self.drain(index);
        }
        panic!("a drained node asks for the past: {}", self.addr(HostId(index)));
    }

    /// Panics if time does not advance.
    pub(super) fn assert_progress(&self, addr: SocketAddr) {
        let limit = MAX_EVENTS_AT_ONCE + 100 * self.hosts.len() as u64;
        assert!(self.events_at_once < limit, "livelock at {addr}");
    }
}
