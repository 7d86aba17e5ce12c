//! Datagrams through the caller's socket.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::future::poll_fn;
use core::net::{IpAddr, SocketAddr};
use core::task::{Context, Poll};
use std::sync::Mutex;

use tokio::sync::{Mutex as AsyncMutex, mpsc};

use super::driver::Link;
use crate::net::engine::counters::count;
use crate::net::engine::shared::Shared;
use crate::net::engine::watch::lock;
use crate::wire::is_krpc;

/// Datagrams that may wait for the node; what comes on top is lost, as in a socket's buffer.
const INCOMING: usize = 256;

/// Datagrams that may wait for the caller. Few, because the node knows better than a queue what is
/// still worth sending.
const OUTGOING: usize = 16;

/// The network of a node without a socket, from [`Builder::external`](super::Builder::external).
///
/// One task hands in what arrives, another (or the same) sends what the node makes; put it into an
/// [`Arc`] to share it. While nobody takes what the node makes, it makes no more. Dropped, nothing
/// can be reached any more.
pub struct External {
    incoming: mpsc::Sender<Arrival>,
    outgoing: Mutex<mpsc::Receiver<Outgoing>>,
    /// Held by the one of several tasks that waits for the next datagram.
    turn: AsyncMutex<()>,
    shared: Arc<Shared>,
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

/// What the node is handed.
pub(super) enum Arrival {
    Datagram { from: SocketAddr, local: Option<IpAddr>, datagram: Vec<u8> },
    Unsent(SocketAddr),
    Unreachable(SocketAddr),
}

pub(super) type Ends = (mpsc::Sender<Arrival>, mpsc::Receiver<Outgoing>);

pub(super) fn connect() -> (Link, Ends) {
    let (sender, incoming) = mpsc::channel(INCOMING);
    let (outgoing, receiver) = mpsc::channel(OUTGOING);
    (Link::External { incoming: Some(incoming), arrival: None, outgoing }, (sender, receiver))
}

impl External {
    pub(super) fn new((incoming, outgoing): Ends, shared: Arc<Shared>) -> Self {
        Self { incoming, outgoing: Mutex::new(outgoing), turn: AsyncMutex::new(()), shared }
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
        if !is_krpc(datagram) {
            return false;
        }
        match self.incoming.try_reserve() {
            Ok(permit) => permit.send(Arrival::Datagram { from, local, datagram: datagram.into() }),
            Err(_) => count(&self.shared.counters.receives_lost),
        }
        true
    }

    /// The next datagram to send; `None` once the node has ended and all it had to send has been taken.
    /// Nothing is lost if the future is dropped.
    pub async fn next_outgoing(&self) -> Option<Outgoing> {
        let _turn = self.turn.lock().await;
        poll_fn(|cx| self.poll_outgoing(cx)).await
    }

    /// The next datagram to send, if there is one now.
    pub fn try_next_outgoing(&self) -> Option<Outgoing> {
        lock(&self.outgoing).try_recv().ok()
    }

    /// Polls for the next datagram to send, for a loop that polls a socket as well; `None` once the node
    /// has ended and all it had to send has been taken. Only the last task that has polled is woken: either
    /// one task polls, or tasks wait with [`next_outgoing`](Self::next_outgoing).
    pub fn poll_outgoing(&self, cx: &mut Context<'_>) -> Poll<Option<Outgoing>> {
        lock(&self.outgoing).poll_recv(cx)
    }

    /// Tells that the system did not send to `destination` for a reason of its own: no network, a firewall,
    /// no buffers. Queries are sent again ([`Node::handle_unsent`](crate::Node::handle_unsent)). It is a
    /// hint, which may get lost like a datagram.
    pub fn unsent(&self, destination: SocketAddr) {
        let _ = self.incoming.try_send(Arrival::Unsent(destination));
    }

    /// Tells that the system cannot send to `destination`, so that the node need not wait for
    /// its answer. It is a hint, which may get lost like a datagram.
    pub fn unreachable(&self, destination: SocketAddr) {
        // Full or closed: the node finds out by waiting.
        let _ = self.incoming.try_send(Arrival::Unreachable(destination));
    }
}

impl fmt::Debug for External {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("External").finish_non_exhaustive()
    }
}
