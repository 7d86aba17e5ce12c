//! Datagrams by hand, for a node without a socket of its own.
//!
//! Where the DHT shares its socket with uTP, the program keeps the socket and the node has none
//! ([`Builder::external`](super::Builder::external)), whichever loop runs it:
//!
#![cfg_attr(feature = "tokio", doc = "```no_run")]
#![cfg_attr(not(feature = "tokio"), doc = "```ignore")]
//! # async fn run() -> Result<(), Box<dyn core::error::Error>> {
//! use dht_proto::net::Dht;
//!
//! let socket = tokio::net::UdpSocket::bind("0.0.0.0:6881").await?;
//! let mut builder = Dht::builder();
//! let external = builder.external();
//! let dht = builder.spawn_tokio()?;
//! let receiving = async {
//!     let mut buffer = [0; 65_535];
//!     while let Ok((len, from)) = socket.recv_from(&mut buffer).await {
//!         if !external.feed(from, &buffer[..len]) {
//!             // It is uTP's.
//!         }
//!     }
//! };
//! let sending = async {
//!     while let Some(next) = external.next_outgoing().await {
//!         if socket.send_to(&next.datagram, next.destination).await.is_err() {
//!             external.unreachable(next.destination);
//!         }
//!     }
//! };
//! # let _ = (dht, receiving, sending);
//! # Ok(())
//! # }
//! ```

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::net::{IpAddr, SocketAddr};
use core::task::{Context, Poll};
use core::time::Duration;
use std::io;
use std::sync::{Mutex, OnceLock};
use std::time::Instant as StdInstant;

use super::counters::count;
use super::engine::shared::Shared;
use super::engine::watch::{Watch, lock};
use super::error::CallError;
use super::sockets::batch::Datagrams;
use crate::Transmit;
use crate::wire::is_krpc;

/// Datagrams that may wait for the node; what comes on top is lost, as in a socket's buffer.
const INCOMING: usize = 256;

/// Datagrams that may wait for the caller. Few, because the node knows better than a queue what is
/// still worth sending.
const OUTGOING: usize = 16;

/// The network of a node without a socket, from [`Builder::external`](super::Builder::external).
///
/// One thread or task hands in what arrives, another (or the same) sends what the node makes; put it into an
/// [`Arc`] to share it. While nobody takes what the node makes, it makes no more. Dropped, nothing
/// can be reached any more.
pub struct External {
    channel: Arc<Channel>,
    /// The place of the one task that polls.
    place: Mutex<Option<u64>>,
}

/// A datagram to send, from [`External::next_outgoing`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Outgoing {
    /// Where to send it.
    pub destination: SocketAddr,
    /// The address of ours to send it from, if it answers a datagram that was handed in with one
    /// ([`External::feed_at`]).
    pub source: Option<IpAddr>,
    /// What to send.
    pub datagram: Vec<u8>,
}

impl External {
    pub(crate) fn new() -> (Self, Arc<Channel>) {
        let channel = Arc::<Channel>::default();
        (Self { channel: Arc::clone(&channel), place: Mutex::default() }, channel)
    }

    /// Hands in a datagram that arrived, and returns whether it is one of the DHT
    /// ([`is_krpc`]); others, uTP's for instance, are left to the caller.
    ///
    /// It never waits: while 256 are waiting already, the datagram is lost
    /// ([`LoopStats::receives_lost`](crate::net::LoopStats::receives_lost)).
    pub fn feed(&self, from: SocketAddr, datagram: &[u8]) -> bool {
        self.feed_at(from, None, datagram)
    }

    /// Hands in a datagram as [`feed`](Self::feed) does, which arrived at our address `local`: an answer
    /// to it is to leave from there ([`Outgoing::source`]).
    pub fn feed_at(&self, from: SocketAddr, local: Option<IpAddr>, datagram: &[u8]) -> bool {
        let is_ours = is_krpc(datagram);
        if is_ours && !self.channel.arrive(Arrival::Datagram { from, local, datagram: datagram.into() }) {
            self.channel.shared.get().into_iter().for_each(|shared| count(&shared.counters.receives_lost));
        }
        is_ours
    }

    /// Waits, as a task, for the next datagram to send; `None` once the node has ended and all it had to send has
    /// been taken. Nothing is lost if the future is dropped.
    pub async fn next_outgoing(&self) -> Option<Outgoing> {
        let next = self.channel.outgoing.until(Outbound::next).await;
        self.channel.taken(next)
    }

    /// Blocks for the next datagram to send, at most for `timeout`; `Ok(None)` once the node has ended and all it
    /// had to send has been taken.
    ///
    /// # Errors
    ///
    /// [`CallError::TimedOut`].
    pub fn next_outgoing_timeout(&self, timeout: Duration) -> Result<Option<Outgoing>, CallError> {
        let deadline = StdInstant::now().checked_add(timeout);
        let next = self.channel.outgoing.wait(deadline, Outbound::next).ok_or(CallError::TimedOut)?;
        Ok(self.channel.taken(next))
    }

    /// Takes the next datagram to send, if there is one now.
    pub fn try_next_outgoing(&self) -> Option<Outgoing> {
        self.channel.taken(self.channel.outgoing.with(Outbound::next)?)
    }

    /// Polls for the next datagram to send, for a loop that polls a socket as well; `None` once the node
    /// has ended and all it had to send has been taken. Only the last task that has polled is woken: either
    /// one task polls, or tasks wait with [`next_outgoing`](Self::next_outgoing).
    pub fn poll_outgoing(&self, cx: &mut Context<'_>) -> Poll<Option<Outgoing>> {
        let next = self.channel.outgoing.poll(&mut lock(&self.place), cx, Outbound::next);
        next.map(|next| self.channel.taken(next))
    }

    /// Reports that the system did not send to `destination` for a reason of its own: no network, a firewall,
    /// no buffers. Queries are sent again ([`Node::handle_unsent`](crate::Node::handle_unsent)). It is a
    /// hint, which may get lost like a datagram.
    pub fn unsent(&self, destination: SocketAddr) {
        self.channel.arrive(Arrival::Unsent(destination));
    }

    /// Reports that the system cannot send to `destination`, so that the node need not wait for
    /// its answer. It is a hint, which may get lost like a datagram.
    pub fn unreachable(&self, destination: SocketAddr) {
        self.channel.arrive(Arrival::Unreachable(destination));
    }
}

impl Drop for External {
    fn drop(&mut self) {
        self.channel.outgoing.with(|outgoing| outgoing.is_abandoned = true);
        self.channel.wake();
    }
}

impl fmt::Debug for External {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("External").finish_non_exhaustive()
    }
}

/// What the node is handed.
pub(crate) enum Arrival {
    Datagram { from: SocketAddr, local: Option<IpAddr>, datagram: Vec<u8> },
    Unsent(SocketAddr),
    Unreachable(SocketAddr),
}

/// What lies between the caller's network and the engine.
#[derive(Default)]
pub(crate) struct Channel {
    arrivals: Mutex<VecDeque<Arrival>>,
    outgoing: Watch<Outbound>,
    /// Once the node has started.
    shared: OnceLock<Arc<Shared>>,
}

#[derive(Default)]
struct Outbound {
    datagrams: VecDeque<Outgoing>,
    /// The caller's side is gone.
    is_abandoned: bool,
    has_ended: bool,
}

impl Outbound {
    /// The next datagram and whether there was no room behind it, or `None` at the end.
    fn next(&mut self) -> Option<Option<(Outgoing, bool)>> {
        let was_full = self.datagrams.len() >= OUTGOING;
        let next = self.datagrams.pop_front().map(|next| (next, was_full));
        if next.is_none() && !self.has_ended { None } else { Some(next) }
    }
}

impl Channel {
    pub(crate) fn attach(&self, shared: &Arc<Shared>) {
        let _ = self.shared.set(Arc::clone(shared));
    }

    pub(crate) fn next_arrival(&self) -> Option<Arrival> {
        lock(&self.arrivals).pop_front()
    }

    /// Whether the caller takes another datagram.
    pub(crate) fn has_room(&self) -> bool {
        self.outgoing.with(|outgoing| outgoing.is_abandoned || outgoing.datagrams.len() < OUTGOING)
    }

    /// Passes on the first datagram, and returns that it was one.
    pub(crate) fn send(&self, datagrams: Datagrams<'_>) -> io::Result<usize> {
        let Some((Transmit { destination, source, .. }, datagram)) = datagrams.first() else { return Ok(0) };
        if self.outgoing.with(|outgoing| outgoing.is_abandoned) {
            return Err(io::ErrorKind::HostUnreachable.into());
        }
        if !self.has_room() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let next = Outgoing { destination, source, datagram: datagram.into() };
        self.outgoing.update(|outgoing| outgoing.datagrams.push_back(next));
        Ok(1)
    }

    /// The node has ended.
    pub(crate) fn close(&self) {
        self.outgoing.update(|outgoing| outgoing.has_ended = true);
        lock(&self.arrivals).clear();
    }

    /// Returns whether there was room for it. A node that is about to end takes nothing, and loses nothing.
    fn arrive(&self, arrival: Arrival) -> bool {
        if self.shared.get().is_some_and(|shared| shared.is_closing()) {
            return true;
        }
        let mut arrivals = lock(&self.arrivals);
        let has_room = arrivals.len() < INCOMING;
        if has_room {
            arrivals.push_back(arrival);
        }
        drop(arrivals);
        self.wake();
        has_room
    }

    /// Wakes the loop if it may have waited for room.
    fn taken(&self, next: Option<(Outgoing, bool)>) -> Option<Outgoing> {
        let (next, was_full) = next?;
        if was_full {
            self.wake();
        }
        Some(next)
    }

    fn wake(&self) {
        self.shared.get().into_iter().for_each(|shared| shared.wake());
    }
}
