//! The state machine: one DHT node, in one family or both.
//!
//! [`Node`] is a thin shell: its methods hand the storage's slices to the non-generic [`Core`], whose work
//! lies in the folders beside this file.
//!
//! - `api`: the public surface besides the loop: commands, getters, settings, events
//! - `client`: the way of a lookup
//! - `core`: the state without the memory, and what all parts need
//! - `local`: which of our addresses a query came to
//! - `maintenance`: what a node does by itself, by the clock
//! - `persist`: what outlives a process
//! - `server`: the way of a query
//! - `storage`: the memory of a node, reserved when it is made

pub(crate) mod api;
mod client;
mod core;
mod local;
mod maintenance;
pub(crate) mod persist;
mod server;
pub(crate) mod storage;

use ::core::net::{IpAddr, SocketAddr};
use ::core::time::Duration;

use self::core::Core;
pub(crate) use local::Local;
#[cfg(feature = "checkpoint")]
pub use persist::checkpoint::CheckpointError;
pub(crate) use server::query::Reply;

use crate::base::addr::Family;
use crate::base::time::Instant;
#[cfg(feature = "alloc")]
use crate::node::api::config::Limits;
use crate::node::api::config::{Config, MAX_DATAGRAM};
use crate::node::api::event::{Event, Transmit};
#[cfg(feature = "alloc")]
use crate::node::storage::Heap;
use crate::node::storage::Storage;
#[cfg(feature = "alloc")]
use crate::node::storage::sealed::Sealed;

macro_rules! node {
    ($($storage:tt)*) => {
        /// A node of the DHT, as a state machine without sockets, clock or threads.
        ///
        /// Its methods fall into four classes:
        ///
        /// - **inputs** `handle_*`: what the network and the clock bring. Bad datagrams are no
        ///   errors; they are counted in [`Stats`](crate::Stats) and dropped.
        /// - **commands** (`add_node`, `get_peers`, `announce`, …): what the user wants. They
        ///   return an id, under which events report.
        /// - **outputs** `poll_*`: datagrams to send, events, and the time of the next
        ///   [`handle_timeout`](Self::handle_timeout). Poll them until they are empty after every
        ///   input and command; a caller that forgets loses nothing but time.
        /// - **getters**.
        ///
        /// Every input and command takes the present [`Instant`] first. One that lies before the
        /// last is taken for the last, so time never goes back. The same seed and the same calls at
        /// the same instants, polls included, give the same bytes.
        pub struct Node<$($storage)*> {
            core: Core,
            storage: S,
        }
    };
}

#[cfg(feature = "alloc")]
node!(S = Heap);
#[cfg(not(feature = "alloc"))]
node!(S);

#[cfg(feature = "alloc")]
impl Node {
    /// A node with memory of its own, all of it reserved here.
    ///
    /// `seed` must be unpredictable: ids, tokens and transaction ids follow from it.
    pub fn new(config: Config, limits: &Limits, seed: [u8; 32], now: Instant) -> Self {
        let mut storage = Heap::new(limits);
        let core = Core::new(config, &mut storage.memory(), seed, now);
        Self { core, storage }
    }
}

/// Birth.
impl<S: Storage> Node<S> {
    /// A node in the given memory; what the memory held before is forgotten.
    ///
    /// `seed` must be unpredictable: ids, tokens and transaction ids follow from it.
    pub fn with_storage(config: Config, mut storage: S, seed: [u8; 32], now: Instant) -> Self {
        let mut memory = storage.memory();
        memory.clear();
        let core = Core::new(config, &mut memory, seed, now);
        Self { core, storage }
    }
}

/// Inputs.
impl<S: Storage> Node<S> {
    /// A datagram arrived from `from`.
    pub fn handle_datagram(&mut self, now: Instant, from: SocketAddr, datagram: &[u8]) {
        self.handle_datagram_at(now, from, None, datagram);
    }

    /// A datagram arrived from `from` at our address `local`, where the system reports that
    /// (`IP_PKTINFO`): an answer to it leaves from there ([`Transmit::source`]). It matters on a host
    /// with several addresses whose socket is bound to all of them.
    pub fn handle_datagram_at(
        &mut self,
        now: Instant,
        from: SocketAddr,
        local: Option<IpAddr>,
        datagram: &[u8],
    ) {
        self.core.handle_datagram(&mut self.storage.memory(), now, from.into(), local, datagram);
    }

    /// The time that [`poll_timeout`](Self::poll_timeout) asked for has come. Early calls are
    /// harmless, late ones cost what lateness costs. Datagrams that have arrived come first: an answer
    /// that waits in the socket while its query expires is lost.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.core.handle_timeout(&mut self.storage.memory(), now);
    }

    /// The system reported that a datagram to `destination` could not be delivered (an ICMP error
    /// or a failed send). Queries under way to it fail at once.
    pub fn handle_unreachable(&mut self, now: Instant, destination: SocketAddr) {
        self.core.handle_unreachable(&mut self.storage.memory(), now, destination.into());
    }

    /// The system did not send a datagram to `destination` for a reason of its own: no network, no route,
    /// a firewall, no buffers. That is held against nobody. A query among them is sent again, after 50
    /// milliseconds and ever later, and fails after four tries in a row. While a node that knows few others
    /// cannot send at all, it tries every five seconds, later every 15, and what it keeps up is repeated at
    /// once when somebody is heard again.
    pub fn handle_unsent(&mut self, now: Instant, destination: SocketAddr) {
        self.core.handle_unsent(&mut self.storage.memory(), now, destination.into());
    }

    /// The host was suspended for `slept`, and the clock behind `now` did not count that time; zero where
    /// it did, or where the process stood still.
    /// Everything ages by it, stored peers and tokens included. Nodes that were not heard of meanwhile
    /// are pinged, and announces that fell due are repeated. What was asked before is asked again and
    /// held against nobody; an announce begins anew if its tokens are older than five minutes.
    pub fn handle_resume(&mut self, now: Instant, slept: Duration) {
        self.core.handle_resume(&mut self.storage.memory(), now, slept);
    }

    /// The socket of this family is another one, or the host has moved to another network. What was
    /// asked before is asked again, from the new socket, and held against nobody; tokens are
    /// forgotten, because they were given to the old address (BEP 5). The DHT is joined anew from the
    /// nodes known, and announces that are kept up are repeated soon. Id, table and stored peers stay;
    /// our external address is learned anew.
    pub fn handle_rebind(&mut self, now: Instant, family: Family) {
        self.core.handle_rebind(&mut self.storage.memory(), now, family);
    }
}

/// Outputs.
impl<S: Storage> Node<S> {
    /// The next datagram to send, made in `buf`; `None` when there is none for now.
    ///
    /// # Panics
    ///
    /// If `buf` is shorter than [`MAX_DATAGRAM`].
    pub fn poll_transmit(&mut self, now: Instant, buf: &mut [u8]) -> Option<Transmit> {
        let buf = &mut buf[..MAX_DATAGRAM];
        // Most polls find nothing, and gathering the memory takes time.
        if !self.core.may_transmit(now) {
            return None;
        }
        self.core.poll_transmit(&mut self.storage.memory(), buf)
    }

    /// The next event; `None` when there is none for now.
    pub fn poll_event(&mut self) -> Option<Event> {
        if self.core.has_events() { self.core.poll_event(&mut self.storage.memory()) } else { None }
    }

    /// When to call [`handle_timeout`](Self::handle_timeout): the last instant seen while there
    /// is anything to poll, `None` if nothing will ever happen by itself.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let view = self.storage.view();
        self.core.poll_timeout(view.queries, view.traversals)
    }
}
