//! The interface between a world and a node, whatever runs the node.

use core::any::Any;
use core::net::SocketAddr;
use core::time::Duration;

use crate::base::time::Instant;
use crate::node::Node;
use crate::node::api::event::Event;

/// Sends a datagram to an address.
pub(super) type SendFn<'a> = &'a mut dyn FnMut(SocketAddr, &[u8]);

/// Handles an event of the node, and may call the node.
pub(super) type EventFn<'a> = &'a mut dyn FnMut(&mut Node, &Event);

/// A node, by itself or with an engine around it. All times are those of the host's clock.
pub(super) trait Hosted: Any {
    fn node(&self) -> &Node;

    fn node_mut(&mut self) -> &mut Node;

    fn handle_datagram(&mut self, now: Instant, from: SocketAddr, datagram: &[u8]);

    fn handle_timeout(&mut self, now: Instant);

    fn handle_resume(&mut self, now: Instant, slept: Duration);

    /// Sends datagrams and reports events until nothing is left to do at this time. Datagrams are written into `buf`.
    fn drain(&mut self, now: Instant, buf: &mut [u8], send: SendFn<'_>, on_event: EventFn<'_>);

    /// Returns when to call [`handle_timeout`](Self::handle_timeout).
    fn next_wake(&self) -> Option<Instant>;

    /// Whether it has been woken for a call from outside, which is executed when it is drained.
    #[cfg(any(feature = "net", feature = "smol", feature = "tokio"))]
    fn is_woken(&self) -> bool {
        false
    }
}

impl Hosted for Node {
    fn node(&self) -> &Node {
        self
    }

    fn node_mut(&mut self) -> &mut Node {
        self
    }

    fn handle_datagram(&mut self, now: Instant, from: SocketAddr, datagram: &[u8]) {
        Self::handle_datagram(self, now, from, datagram);
    }

    fn handle_timeout(&mut self, now: Instant) {
        Self::handle_timeout(self, now);
    }

    fn handle_resume(&mut self, now: Instant, slept: Duration) {
        Self::handle_resume(self, now, slept);
    }

    fn drain(&mut self, now: Instant, buf: &mut [u8], send: SendFn<'_>, on_event: EventFn<'_>) {
        loop {
            while let Some(transmit) = self.poll_transmit(now, buf) {
                send(transmit.destination, &buf[..transmit.size]);
            }
            let mut is_quiet = true;
            while let Some(event) = self.poll_event() {
                is_quiet = false;
                on_event(self, &event);
            }
            if is_quiet {
                return;
            }
        }
    }

    fn next_wake(&self) -> Option<Instant> {
        self.poll_timeout()
    }
}
