//! Datagrams through the caller's socket.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::net::SocketAddr;

use tokio::sync::{Mutex, mpsc};

use super::driver::Link;
use crate::net::board::Board;
use crate::net::stats::count;
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
    board: Arc<Board>,
}

/// A destination, and what is for it.
pub(super) type Outgoing = (SocketAddr, Vec<u8>);

/// What the node is handed.
pub(super) enum Arrival {
    Datagram { from: SocketAddr, datagram: Vec<u8> },
    Unreachable(SocketAddr),
}

pub(super) type Ends = (mpsc::Sender<Arrival>, mpsc::Receiver<Outgoing>);

pub(super) fn connect() -> (Link, Ends) {
    let (sender, incoming) = mpsc::channel(INCOMING);
    let (outgoing, receiver) = mpsc::channel(OUTGOING);
    (Link::External { incoming: Some(incoming), arrival: None, outgoing }, (sender, receiver))
}

impl External {
    pub(super) fn new((incoming, outgoing): Ends, board: Arc<Board>) -> Self {
        Self { incoming, outgoing: Mutex::new(outgoing), board }
    }

    /// Hands in a datagram that arrived, and returns whether it is one of the DHT
    /// ([`is_krpc`]); others, uTP's for instance, are left to the caller.
    ///
    /// It never waits: while 256 are waiting already, the datagram is lost
    /// ([`LoopStats::receives_lost`](crate::net::LoopStats::receives_lost)).
    pub fn feed(&self, from: SocketAddr, datagram: &[u8]) -> bool {
        if !is_krpc(datagram) {
            return false;
        }
        match self.incoming.try_reserve() {
            Ok(permit) => permit.send(Arrival::Datagram { from, datagram: datagram.into() }),
            Err(_) => count(&self.board.counters.receives_lost),
        }
        true
    }

    /// The next datagram to send, and its destination; `None` once the node has ended and all it
    /// had to send has been taken. Nothing is lost if the future is dropped.
    pub async fn next_outgoing(&self) -> Option<(SocketAddr, Vec<u8>)> {
        self.outgoing.lock().await.recv().await
    }

    /// Tells that the system refused to send to `destination`, so that the node need not wait for
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
