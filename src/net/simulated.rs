//! The loop of a node in a simulated world, which provides the time and carries the datagrams.

use alloc::sync::Arc;
use core::net::SocketAddr;
use core::task::Waker;
use core::time::Duration;
use std::io;

use super::engine::Engine;
use super::engine::events::{NetEvent, Subscribers};
use super::engine::feed::{Feed, FeedReader, feed};
use super::engine::hosts::Hosts;
use super::engine::mailbox::Change;
use super::engine::shared::Shared;
use super::handle::dht::DhtHandle;
use super::resolve::Resolver;
use super::virtual_time;
pub(crate) use super::virtual_time::enter;
use crate::{Event, Family, Instant, LookupOptions, Node};

/// Turns at one instant after which a livelock is assumed.
const MAX_TURNS: u32 = 100_000;

/// A node and the engine around it, driven by a world. All times are those of the host's clock.
pub(crate) struct SimulatedLoop {
    engine: Engine,
    /// Events that no caller is waiting for.
    events: FeedReader<NetEvent, ()>,
    addrs: [Option<SocketAddr>; 2],
}

impl SimulatedLoop {
    /// Runs a node at these addresses, by family. `waker` is called when a handle is used between two turns.
    pub(crate) fn new(
        node: Node,
        now: Instant,
        addrs: [Option<SocketAddr>; 2],
        options: LookupOptions,
        waker: Waker,
    ) -> Self {
        let shared = Arc::new(Shared::new(waker.clone(), addrs, options));
        // There are no bootstrap hosts: the world adds nodes to each other.
        let hosts =
            Hosts::new(Default::default(), addrs.map(|addr| addr.is_some()), Resolver::default(), waker);
        let (subscriber, events) = feed();
        let mut subscribers = Subscribers::default();
        subscribers.add(subscriber);
        let clock = virtual_time::clock();
        let _time = enter(now);
        let mut engine = Engine::new(node, clock, shared, hosts, subscribers).in_virtual_time();
        engine.start();
        Self { engine, events, addrs }
    }

    pub(crate) const fn node(&self) -> &Node {
        &self.engine.node
    }

    pub(crate) const fn node_mut(&mut self) -> &mut Node {
        &mut self.engine.node
    }

    pub(crate) fn handle(&self) -> DhtHandle {
        DhtHandle::new(&self.engine.shared)
    }

    pub(crate) fn handle_datagram(&mut self, now: Instant, from: SocketAddr, datagram: &[u8]) {
        let _time = enter(now);
        self.engine.handle_datagram(now, from, None, datagram);
    }

    /// Detects whether time has jumped, as it does for a process that was stopped.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        let _time = enter(now);
        if let Some(slept) = self.engine.begin() {
            self.engine.resume(slept);
        }
    }

    pub(crate) fn handle_resume(&mut self, now: Instant, slept: Duration) {
        let _time = enter(now);
        self.engine.resume(slept.into());
    }

    /// Executes commands, sends datagrams and delivers events until nothing is left to do at this time. `run_callers`
    /// runs the callers in between, and returns whether any has made progress.
    ///
    /// # Panics
    ///
    /// If it does not end: callers or the node livelock.
    pub(crate) fn turn(
        &mut self,
        now: Instant,
        send: &mut dyn FnMut(SocketAddr, &[u8]),
        on_event: &mut dyn FnMut(&mut Node, &Event),
        mut run_callers: impl FnMut() -> bool,
    ) {
        let _time = enter(now);
        for _ in 0..MAX_TURNS {
            self.take_commands();
            self.engine.tick();
            self.engine.transmit(|datagrams| {
                for (at, transmit) in datagrams.transmits().iter().enumerate() {
                    send(transmit.destination, datagrams.bytes(at));
                }
                Ok(datagrams.len())
            });
            self.engine.take_events();
            while let Some(Ok(event)) = self.events.with(Feed::next_item) {
                if let NetEvent::Node(event) = event {
                    on_event(&mut self.engine.node, &event);
                }
            }
            let is_due = self.engine.has_unsent() || self.engine.deadline().is_some_and(|due| due <= now);
            if !run_callers() && !is_due && !self.engine.shared.has_commands() {
                return;
            }
        }
        panic!("livelock at {:?}: the callers or the node do not stop at one instant", self.addrs);
    }

    /// Returns when the next turn is due.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.engine.deadline()
    }

    fn take_commands(&mut self) {
        self.engine.shared.note_woken();
        while let Some(command) = self.engine.shared.next_command() {
            if let Some((change, reply)) = self.engine.execute(command) {
                reply.end(self.change(change).map_err(Into::into));
            }
        }
    }

    /// Models a change of the sockets, which a simulated node does not have.
    fn change(&mut self, change: Change) -> io::Result<()> {
        let engine = &mut self.engine;
        let addrs = self.addrs.into_iter().flatten();
        match change {
            Change::Enable(true) if !engine.is_enabled() => {
                engine.note_enabled(true);
                addrs.for_each(|addr| engine.on_socket_opened(addr, false));
            }
            Change::Enable(false) if engine.is_enabled() => {
                engine.note_enabled(false);
                addrs.for_each(|addr| engine.on_socket_closed(Family::of(&addr)));
            }
            Change::Rebind(None) if engine.is_enabled() => {
                addrs.for_each(|addr| engine.on_network_changed(Family::of(&addr)));
            }
            Change::Enable(_) | Change::Rebind(None) => {}
            Change::Rebind(Some(_)) => {
                return Err(io::Error::new(io::ErrorKind::Unsupported, "the world decides where a host is"));
            }
        }
        Ok(())
    }
}

impl Drop for SimulatedLoop {
    /// Ends at once, like a process that is killed: calls are closed, and nothing more is sent or executed.
    fn drop(&mut self) {
        self.engine.shared.close();
        while let Some(command) = self.engine.shared.next_command() {
            drop(command);
        }
    }
}
