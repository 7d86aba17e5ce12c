//! Datagrams handed in and out by the caller, for a node without a socket of its own.
//!
//! A program that shares one socket between the DHT and uTP keeps the socket itself, and runs the node without one
//! ([`Builder::external`](super::Builder::external)), in any loop:
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
//!             // It belongs to uTP.
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

/// Datagrams that may wait for the node; any more are lost, as in a socket's buffer.
const INCOMING: usize = 256;

/// Datagrams that may wait for the caller. Few, because the node knows better than a queue what is still worth
/// sending.
const OUTGOING: usize = 16;

/// The network of a node without a socket, from [`Builder::external`](super::Builder::external).
///
/// One thread or task hands in what arrives, another (or the same) sends what the node produces; an [`Arc`] shares it
/// between them. The node produces no datagrams while 16 wait to be taken. Dropping it makes every destination
/// unreachable.
pub struct External {
    channel: Arc<Channel>,
    /// The place of the task that polls.
    place: Mutex<Option<u64>>,
}

/// A datagram to send, from [`External::next_outgoing`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Outgoing {
    /// Where to send it.
    pub destination: SocketAddr,
    /// The local address to send from, if the datagram responds to one that was handed in with a local address
    /// ([`External::feed_at`]).
    pub source: Option<IpAddr>,
    /// The bytes to send.
    pub datagram: Vec<u8>,
}

impl External {
    pub(crate) fn new() -> (Self, Arc<Channel>) {
        let channel = Arc::<Channel>::default();
        (Self { channel: Arc::clone(&channel), place: Mutex::default() }, channel)
    }

    /// Hands in a datagram that arrived, and returns whether it belongs to the DHT ([`is_krpc`]); all others, such as
    /// those of uTP, are left to the caller.
    ///
    /// Never blocks: while 256 datagrams wait already, the datagram is lost
    /// ([`LoopStats::receives_lost`](crate::net::LoopStats::receives_lost)).
    pub fn feed(&self, from: SocketAddr, datagram: &[u8]) -> bool {
        self.feed_at(from, None, datagram)
    }

    /// Hands in a datagram as [`feed`](Self::feed) does, which arrived at the local address `local`: a response to it
    /// has to leave from there ([`Outgoing::source`]).
    pub fn feed_at(&self, from: SocketAddr, local: Option<IpAddr>, datagram: &[u8]) -> bool {
        let is_ours = is_krpc(datagram);
        if is_ours && !self.channel.arrive(Arrival::Datagram { from, local, datagram: datagram.into() }) {
            self.channel.shared.get().into_iter().for_each(|shared| count(&shared.counters.receives_lost));
        }
        is_ours
    }

    /// Awaits the next datagram to send; `None` once the node has ended and all its datagrams have been taken. Nothing
    /// is lost if the future is dropped.
    pub async fn next_outgoing(&self) -> Option<Outgoing> {
        let next = self.channel.outgoing.until(Outbound::next).await;
        self.channel.taken(next)
    }

    /// Blocks until there is a datagram to send, at most for `timeout`; `Ok(None)` once the node has ended and all its
    /// datagrams have been taken.
    ///
    /// # Errors
    ///
    /// [`CallError::TimedOut`] if there is none in time.
    pub fn next_outgoing_timeout(&self, timeout: Duration) -> Result<Option<Outgoing>, CallError> {
        let deadline = StdInstant::now().checked_add(timeout);
        let next = self.channel.outgoing.wait(deadline, Outbound::next).ok_or(CallError::TimedOut)?;
        Ok(self.channel.taken(next))
    }

    /// Returns the next datagram to send, or `None` if there is none now.
    pub fn try_next_outgoing(&self) -> Option<Outgoing> {
        self.channel.taken(self.channel.outgoing.with(Outbound::next)?)
    }

    /// Polls for the next datagram to send, for a loop that polls a socket as well; `None` once the node has ended and
    /// all its datagrams have been taken. Only the task that polled last is woken: poll from one task, or let several
    /// await [`next_outgoing`](Self::next_outgoing).
    pub fn poll_outgoing(&self, cx: &mut Context<'_>) -> Poll<Option<Outgoing>> {
        let next = self.channel.outgoing.poll(&mut lock(&self.place), cx, Outbound::next);
        next.map(|next| self.channel.taken(next))
    }

    /// Reports that the system did not send to `destination` for a local reason: no network, a firewall, no buffers.
    /// Queries are sent again ([`Node::handle_unsent`](crate::Node::handle_unsent)). While 256 datagrams and reports
    /// wait, the report is lost.
    pub fn unsent(&self, destination: SocketAddr) {
        self.channel.arrive(Arrival::Unsent(destination));
    }

    /// Reports that the system cannot reach `destination`, so that the node need not wait for its response. While 256
    /// datagrams and reports wait, the report is lost.
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

/// What the caller hands in.
pub(crate) enum Arrival {
    Datagram { from: SocketAddr, local: Option<IpAddr>, datagram: Vec<u8> },
    Unsent(SocketAddr),
    Unreachable(SocketAddr),
}

/// The queues between the caller's network and the engine.
#[derive(Default)]
pub(crate) struct Channel {
    arrivals: Mutex<VecDeque<Arrival>>,
    outgoing: Watch<Outbound>,
    /// Empty until the node has started.
    shared: OnceLock<Arc<Shared>>,
}

#[derive(Default)]
struct Outbound {
    datagrams: VecDeque<Outgoing>,
    /// Whether the caller's side has been dropped.
    is_abandoned: bool,
    has_ended: bool,
}

impl Outbound {
    /// Takes the next datagram, with whether the queue was full before; `Some(None)` at the end, `None` if none waits.
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

    /// Whether another datagram can be queued, or is to fail.
    pub(crate) fn has_room(&self) -> bool {
        self.outgoing.with(|outgoing| outgoing.is_abandoned || outgoing.datagrams.len() < OUTGOING)
    }

    /// Queues the first of these datagrams for the caller, and returns how many were queued.
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

    /// Ends both queues with the node.
    pub(crate) fn close(&self) {
        self.outgoing.update(|outgoing| outgoing.has_ended = true);
        lock(&self.arrivals).clear();
    }

    /// Queues an arrival, and returns whether there was room. If the node is about to end, drops it and returns true.
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
