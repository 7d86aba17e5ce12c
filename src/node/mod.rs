//! The state machine: one DHT node, in one family or both.
//!
//! [`Node`] is a thin shell: its methods pass the slices of the storage to the non-generic [`Core`], whose
//! work is in the folders beside this file.
//!
//! - `api`: the public surface besides the loop: commands, getters, settings, events
//! - `client`: lookups
//! - `core`: the state without the memory, and what all parts need
//! - `local`: the local addresses that queries came to
//! - `maintenance`: what a node does by itself, by the clock
//! - `parts`: what some memory has no room for, and its program no code
//! - `persist`: snapshots and checkpoints
//! - `server`: queries of other nodes
//! - `storage`: the memory of a node, reserved when it is created

pub(crate) mod api;
mod client;
mod core;
mod local;
mod maintenance;
mod parts;
pub(crate) mod persist;
mod server;
pub(crate) mod storage;

use ::core::net::{IpAddr, SocketAddr};
use ::core::time::Duration;

use self::core::{Core, Parts};
#[cfg(feature = "checkpoint")]
pub use persist::checkpoint::CheckpointError;

use crate::base::addr::Family;
use crate::base::time::Instant;
use crate::node::api::config::{Config, MAX_DATAGRAM};
use crate::node::api::event::{Event, Transmit};
#[cfg(feature = "alloc")]
use crate::node::api::limits::Limits;
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
        /// - **inputs** `handle_*`: datagrams and the passing of time. Invalid datagrams are not errors; they
        ///   are counted in [`Stats`](crate::stats::Stats) and dropped.
        /// - **commands** (`add_node`, `get_peers`, `announce`, …): requests of the user. They return an id,
        ///   which the resulting events carry.
        /// - **outputs** `poll_*`: datagrams to send, events, and the time of the next
        ///   [`handle_timeout`](Self::handle_timeout). Poll them until they are empty after every input and
        ///   command; a caller that does not loses nothing but time.
        /// - **getters**.
        ///
        /// Every input and command takes the current [`Instant`] first. An instant before the last one counts
        /// as the last one, so time never goes back. The same seed and the same calls at the same instants,
        /// polls included, produce the same bytes.
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
    /// Creates a node with memory of its own, all of which is reserved here.
    ///
    /// `seed` must be unpredictable: ids, tokens and transaction ids are derived from it.
    pub fn new(config: Config, limits: &Limits, seed: [u8; 32], now: Instant) -> Self {
        let mut storage = Heap::new(limits);
        let core = Core::new(Parts::of::<Heap>(), config, &mut storage.memory(), seed, now);
        Self { core, storage }
    }
}

/// Constructors.
impl<S: Storage> Node<S> {
    /// Creates a node in the given memory, whose previous content is discarded.
    ///
    /// `seed` must be unpredictable: ids, tokens and transaction ids are derived from it.
    pub fn with_storage(config: Config, mut storage: S, seed: [u8; 32], now: Instant) -> Self {
        let mut memory = storage.memory();
        memory.clear();
        let core = Core::new(Parts::of::<S>(), config, &mut memory, seed, now);
        Self { core, storage }
    }
}

/// Inputs.
impl<S: Storage> Node<S> {
    /// Handles a datagram received from `from`.
    pub fn handle_datagram(&mut self, now: Instant, from: SocketAddr, datagram: &[u8]) {
        self.handle_datagram_at(now, from, None, datagram);
    }

    /// Handles a datagram received from `from` at the local address `local`, if the system reports that
    /// (`IP_PKTINFO`).
    ///
    /// A response is sent from that address ([`Transmit::source`]), which matters on a host with several
    /// addresses whose socket is bound to all of them.
    pub fn handle_datagram_at(
        &mut self,
        now: Instant,
        from: SocketAddr,
        local: Option<IpAddr>,
        datagram: &[u8],
    ) {
        self.core.handle_datagram(&mut self.storage.memory(), now, from.into(), local, datagram);
    }

    /// Handles the deadline that [`poll_timeout`](Self::poll_timeout) returned.
    ///
    /// Early calls are harmless; late ones delay what was due. Pass in datagrams that have arrived first: a
    /// response that waits in the socket while its query times out is lost.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.core.handle_timeout(&mut self.storage.memory(), now);
    }

    /// Handles the system's report that a datagram to `destination` could not be delivered (an ICMP error or
    /// a failed send). Queries in flight to it fail at once.
    pub fn handle_unreachable(&mut self, now: Instant, destination: SocketAddr) {
        self.core.handle_unreachable(&mut self.storage.memory(), now, destination.into());
    }

    /// Handles a datagram to `destination` that the local system did not send: no network, no route, a
    /// firewall, no buffers.
    ///
    /// The failure counts against no node. A query is sent again, after 50 milliseconds and then after longer
    /// pauses, and fails after four tries in a row. While a node that knows few others cannot send at all, it
    /// tries every five seconds, later every 15; publications are repeated as soon as any node is heard from
    /// again.
    pub fn handle_unsent(&mut self, now: Instant, destination: SocketAddr) {
        self.core.handle_unsent(&mut self.storage.memory(), now, destination.into());
    }

    /// Handles the suspension of the host for `slept`, if the clock behind `now` did not count that time;
    /// zero if it did, or if only the process was stopped.
    ///
    /// Everything ages by that time, stored peers and tokens included. Nodes that were not heard from
    /// meanwhile are pinged, and publications that fell due are repeated. Queries in flight are sent again
    /// and count against no node; an announce starts over if its tokens are older than five minutes.
    pub fn handle_resume(&mut self, now: Instant, slept: Duration) {
        self.core.handle_resume(&mut self.storage.memory(), now, slept);
    }

    /// Handles a new socket in this family, or a move of the host to another network.
    ///
    /// Queries in flight are sent again, from the new socket, and count against no node; tokens are
    /// discarded, because they were issued to the old address (BEP 5). The node rejoins the DHT from the
    /// nodes it knows, and publications are repeated soon. Id, table and stored peers stay; the external
    /// address is learned anew.
    pub fn handle_rebind(&mut self, now: Instant, family: Family) {
        self.core.handle_rebind(&mut self.storage.memory(), now, family);
    }
}

/// Outputs.
impl<S: Storage> Node<S> {
    /// Writes the next datagram to send to `buf`; `None` if there is none for now.
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

    /// Returns the next event; `None` if there is none for now.
    pub fn poll_event(&mut self) -> Option<Event> {
        if self.core.has_events() { self.core.poll_event(&mut self.storage.memory()) } else { None }
    }

    /// Returns when to call [`handle_timeout`](Self::handle_timeout): the last instant seen while there is
    /// anything to poll, `None` if nothing is ever due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let view = self.storage.view();
        self.core.poll_timeout(view.queries, view.traversals)
    }
}
