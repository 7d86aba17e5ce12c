//! The interface between a scripted host and its world.

use core::any::Any;
use core::net::SocketAddr;
use core::time::Duration;

use crate::base::time::Instant;
use crate::node::api::config::MAX_DATAGRAM;
use crate::sim::rng::SimRng;
use crate::sim::transport::{Link, Transport};
use crate::wire::Message;

/// A host that follows a script instead of running a node.
///
/// [`actors`](crate::sim::actors) has some that are ready to use.
///
/// ```
/// use std::net::SocketAddr;
///
/// use dht_proto::Instant;
/// use dht_proto::sim::{Actor, Outbox};
///
/// /// Sends everything back.
/// struct Echo;
///
/// impl Actor for Echo {
///     fn on_datagram(&mut self, _: Instant, from: SocketAddr, datagram: &[u8], out: &mut Outbox<'_>) {
///         out.send(from, datagram);
///     }
/// }
/// ```
pub trait Actor: Any {
    /// Handles a datagram.
    fn on_datagram(&mut self, now: Instant, from: SocketAddr, datagram: &[u8], out: &mut Outbox<'_>);

    /// Called at the time that [`next_wake`](Self::next_wake) returned.
    fn on_wake(&mut self, now: Instant, out: &mut Outbox<'_>) {
        let _ = (now, out);
    }

    /// When to call [`on_wake`](Self::on_wake).
    ///
    /// Polled when the host is added, and after each call of the other methods. A time in the past
    /// is due at once, but time must advance in the end.
    fn next_wake(&self) -> Option<Instant> {
        None
    }
}

/// Sends datagrams for an [`Actor`].
pub struct Outbox<'a> {
    pub(in crate::sim) transport: &'a mut Transport,
    pub(in crate::sim) link: &'a mut Link,
    pub(in crate::sim) now: Instant,
    pub(in crate::sim) addr: SocketAddr,
}

impl Outbox<'_> {
    /// The address of this host.
    pub const fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The random number generator of the world.
    pub const fn rng(&mut self) -> &mut SimRng {
        &mut self.transport.rng
    }

    /// Sends a datagram.
    pub fn send(&mut self, to: SocketAddr, datagram: &[u8]) {
        self.transport.send(self.now, self.link, to.into(), datagram, Duration::ZERO);
    }

    /// Sends a datagram after a delay.
    pub fn send_after(&mut self, delay: Duration, to: SocketAddr, datagram: &[u8]) {
        self.transport.send(self.now, self.link, to.into(), datagram, delay);
    }

    /// Sends a datagram with a forged source address.
    pub fn send_as(&mut self, from: SocketAddr, to: SocketAddr, datagram: &[u8]) {
        self.transport.forge(self.now, from.into(), to.into(), datagram);
    }

    /// Sends a message; one that does not fit into [`MAX_DATAGRAM`] bytes is not sent.
    pub fn send_message(&mut self, to: SocketAddr, message: &Message<'_>) {
        self.send_message_after(Duration::ZERO, to, message);
    }

    /// Sends a message after a delay.
    pub fn send_message_after(&mut self, delay: Duration, to: SocketAddr, message: &Message<'_>) {
        let mut buf = [0; MAX_DATAGRAM];
        if let Some(len) = message.emit(&mut buf) {
            self.send_after(delay, to, &buf[..len]);
        }
    }
}
