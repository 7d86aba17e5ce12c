//! The owner of a node and the handles to it, for threads and tasks alike.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::net::SocketAddr;
use core::ops::Deref;
use std::io;
#[cfg(feature = "net")]
use std::thread::{JoinHandle, current};

use super::call::Call;
use super::crawl::Crawl;
use super::events::NetEvents;
use super::lookup::LookupHandle;
use super::recurring::{Announcement, Recurring};
use crate::crawl::CrawlOptions;
use crate::net::counters::LoopStats;
use crate::net::engine::feed::feed;
use crate::net::engine::lookups::{Consumer, Key, Sampled};
use crate::net::engine::mailbox::{Change, Command};
use crate::net::engine::shared::Shared;
use crate::net::metrics::Metrics;
use crate::net::sockets::driver::Ending;
use crate::report::{NodeInfo, Pong};
use crate::stats::Stats;
use crate::{Announce, Family, InfoHash, Instant, Lookup, LookupOptions, Node, NodeId};

/// The owner of a running node, which can do all that a [`DhtHandle`] can.
///
/// The loop of the node sleeps until a packet, a call or a deadline. Dropping the owner ends the node, even if there
/// are handles: calls made before are completed, and datagrams that wait are sent. The drop waits for a thread to end,
/// but not for a task; await [`shutdown`](Self::shutdown) for that. The state is saved, if it has a file, even if a
/// runtime ends first, which then waits for the disk.
#[must_use = "dropping it ends the node"]
pub struct Dht {
    handle: DhtHandle,
    /// The call that ends with the node; `None` once it was returned.
    ended: Option<Call<()>>,
    #[cfg(feature = "net")]
    thread: Option<JoinHandle<()>>,
}

impl Dht {
    /// Creates the owner, and what reports the end of the loop to it.
    pub(crate) fn new(handle: DhtHandle) -> (Self, Ending) {
        let (writer, reply) = feed();
        let dht = Self {
            handle,
            ended: Some(Call::pending(reply)),
            #[cfg(feature = "net")]
            thread: None,
        };
        (dht, Ending(Some(writer)))
    }

    /// Makes the drop wait for a thread.
    #[cfg(feature = "net")]
    pub(crate) fn join_at_end(&mut self, thread: JoinHandle<()>) {
        self.thread = Some(thread);
    }

    /// Returns a handle to the node.
    pub fn handle(&self) -> DhtHandle {
        self.handle.clone()
    }

    /// Ends the node.
    ///
    /// The call is complete once the last datagrams are sent, within a quarter of a second, the state is saved, if it
    /// has a file, and the ports are free. Calls and lookups in progress fail with
    /// [`CallError::Closed`](crate::net::CallError::Closed).
    pub fn shutdown(mut self) -> Call<()> {
        #[cfg(feature = "net")]
        {
            self.thread = None;
        }
        self.handle.shared.close();
        self.ended.take().unwrap_or_else(|| Call::ended(Ok(())))
    }
}

impl Drop for Dht {
    fn drop(&mut self) {
        self.handle.shared.close();
        #[cfg(feature = "net")]
        if let Some(thread) = self.thread.take().filter(|thread| thread.thread().id() != current().id()) {
            // An error is a panic in the thread, which has been printed, and closed all calls.
            let _ = thread.join();
        }
    }
}

impl Deref for Dht {
    type Target = DhtHandle;

    fn deref(&self) -> &DhtHandle {
        &self.handle
    }
}

impl fmt::Debug for Dht {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Dht").field(&self.handle).finish()
    }
}

/// A handle to a node, usable in any thread or task. Clones are handles to the same node.
///
/// No call blocks or fails at once: it is sent to the loop of the node, and what it returns can be waited for (`wait`,
/// `recv_timeout`, iterators) or awaited (`.await`, `recv().await`, streams). Errors are returned there: those that
/// each method lists, [`CallError::Closed`] once the node has ended, and [`CallError::Busy`] while 8192 calls wait for
/// the loop.
///
/// The node runs until its [`Dht`] is dropped, regardless of its handles.
///
/// [`CallError::Closed`]: crate::net::CallError::Closed
/// [`CallError::Busy`]: crate::net::CallError::Busy
#[derive(Clone)]
pub struct DhtHandle {
    pub(super) shared: Arc<Shared>,
}

/// Lookups, and queries to single nodes.
impl DhtHandle {
    pub(crate) fn new(shared: &Arc<Shared>) -> Self {
        Self { shared: Arc::clone(shared) }
    }

    /// Looks up the peers of a torrent, and yields them as they are found.
    pub fn get_peers(&self, infohash: InfoHash) -> LookupHandle {
        self.lookup(Lookup::GetPeers(infohash), self.shared.lookup_options)
    }

    /// Counts the peers of a torrent without announcing this host, from the filters of the nodes that store them
    /// (BEP 33). The numbers are in [`LookupReport::swarm`](crate::LookupReport::swarm); the lookup yields no peers.
    pub fn scrape(&self, infohash: InfoHash) -> LookupHandle {
        self.lookup(Lookup::Scrape(infohash), self.shared.lookup_options)
    }

    /// Announces this host as a peer of a torrent, once.
    ///
    /// Other nodes store it for about half an hour; [`start_announcing`](Self::start_announcing) repeats it.
    /// [`Outcome::stored`](crate::net::Outcome::stored) says whether it is stored. The lookup also yields the other
    /// peers of the torrent.
    ///
    /// [`StartError::PortZero`](crate::StartError::PortZero) if the port is 0.
    pub fn announce(&self, infohash: InfoHash, announce: Announce) -> LookupHandle {
        self.lookup(Lookup::Announce(infohash, announce), self.shared.lookup_options)
    }

    /// Announces this host as a peer of a torrent until the [`Announcement`] is dropped.
    ///
    /// It is announced soon, and again every [`Config::announce_interval`](field@crate::Config::announce_interval), as
    /// by [`Node::start_announcing`]. Thousands of announces are spread evenly.
    ///
    /// A torrent has one announce: callers with the same torrent share it, and the latest of the remaining callers
    /// determines what is announced.
    ///
    /// With a [`Builder::state`](crate::net::Builder::state) file, an announce that was saved keeps its place in the
    /// interval: if it is not due yet, its first republish comes when it is. It is announced only if a caller starts it
    /// again. An announcement that is dropped before the node ends is not saved; to resume it after the next start,
    /// call [`shutdown`](Dht::shutdown) first.
    ///
    /// A [`PublishError`](crate::errors::PublishError) if there are too many publications or the port is 0.
    pub fn start_announcing(&self, infohash: InfoHash, announce: Announce) -> Announcement {
        Recurring::start(&self.shared, infohash, |number, republishes| Command::Announce {
            number,
            infohash,
            announce,
            republishes,
        })
    }

    /// Looks up the nodes closest to an id, which are in the [`Outcome`](crate::net::Outcome).
    pub fn find_node(&self, target: NodeId) -> LookupHandle {
        self.lookup(Lookup::FindNode(target), self.shared.lookup_options)
    }

    /// Starts a lookup with the given options. Callers that start the same lookup with the same options while it is in
    /// progress share it.
    pub fn lookup(&self, lookup: Lookup, options: LookupOptions) -> LookupHandle {
        LookupHandle::start(&self.shared, Key::Lookup(lookup, options), Consumer::Peers)
    }

    /// Looks up the neighbours of this node. A node does so by itself at the start and after an outage.
    pub fn bootstrap(&self) -> LookupHandle {
        LookupHandle::start(&self.shared, Key::Bootstrap, Consumer::Peers)
    }

    /// Pings the node at `addr`.
    ///
    /// [`CallError::Query`](crate::net::CallError::Query) if it does not respond, or not with a valid response;
    /// [`CallError::Contact`](crate::net::CallError::Contact) if it may not be contacted.
    pub fn ping(&self, addr: SocketAddr) -> Call<Pong> {
        Call::query(&self.shared, |number, reply| Command::Ping { number, addr, reply })
    }

    /// Queries the node at `addr` for a sample of the infohashes that it stores peers of, and for the nodes closest to
    /// `target` that it knows (BEP 51).
    ///
    /// [`CallError::Query`](crate::net::CallError::Query) if it does not respond, or not with a valid response;
    /// [`CallError::Contact`](crate::net::CallError::Contact) if it may not be contacted.
    pub fn sample_infohashes(&self, addr: SocketAddr, target: NodeId) -> Call<Sampled> {
        Call::query(&self.shared, |number, reply| Command::Sample { number, addr, target, reply })
    }

    /// Queries one node after the other for samples of infohashes (BEP 51) until the [`Crawl`] is dropped, as a
    /// [`Crawler`](crate::crawl::Crawler) does.
    pub fn crawl(&self, options: CrawlOptions) -> Crawl {
        Crawl::start(&self.shared, options)
    }

    /// Adds a node at `addr`, from a peer's PORT message or a file. It is pinged, and kept if it responds; the call is
    /// complete before that.
    pub fn add_node(&self, addr: SocketAddr) -> Call<()> {
        Call::request(&self.shared, |reply| Command::AddNode { addr, reply })
    }
}

/// The state of the node.
impl DhtHandle {
    /// Calls the node within its loop, which waits meanwhile; for everything that this handle has no method for.
    ///
    /// Datagrams that the node has to send leave in the same turn. Blocking in `call` for another call to this node
    /// deadlocks.
    ///
    /// ```
    /// # use dht_proto::{Family, net::{Call, DhtHandle}};
    /// fn restored(dht: &DhtHandle) -> Call<usize> {
    ///     dht.with(|node, _| node.restored_count(Family::V4))
    /// }
    /// ```
    pub fn with<R: Send + 'static>(
        &self,
        call: impl FnOnce(&mut Node, Instant) -> R + Send + 'static,
    ) -> Call<R> {
        Call::request(&self.shared, |reply| {
            Command::With(Box::new(move |node, now| reply.end(Ok(call(node, now)))))
        })
    }

    /// Waits until the node [is ready](Self::is_ready) in one family. Lookups before that find less.
    pub fn ready(&self) -> Call<()> {
        Call::request(&self.shared, Command::Ready)
    }

    /// Whether the node has joined the DHT of this family. After an outage, at another address, or with its nodes
    /// cleared it has to rejoin. `false` once the node has ended.
    pub fn is_ready(&self, family: Family) -> bool {
        self.shared.status().ready[family.index()]
    }

    /// Disables or enables the node. The call has no effect if nothing changes.
    ///
    /// While the node is disabled its sockets are closed and the ports free. Calls fail with
    /// [`StartError::Disabled`](crate::StartError::Disabled), lookups in progress end with what they have found, and
    /// publications wait ([`Node::set_enabled`]). Ids, tables and stored peers stay. When it is enabled, the same ports
    /// are bound; a port that was chosen by the system and is in use by then is replaced by another.
    ///
    /// [`CallError::Io`](crate::net::CallError::Io) if a socket cannot be opened: the loop retries
    /// ([`NetEvent::Rebound`](crate::net::NetEvent::Rebound)), and the other family is enabled.
    pub fn set_enabled(&self, enabled: bool) -> Call<()> {
        Call::request(&self.shared, |reply| Command::Change(Change::Enable(enabled), reply))
    }

    /// Whether the node is enabled, by [`set_enabled`](Self::set_enabled).
    pub fn is_enabled(&self) -> bool {
        !self.shared.status().disabled
    }

    /// Makes the node stop or resume answering queries, which its own queries say (BEP 43,
    /// [`Node::set_read_only`]).
    pub fn set_read_only(&self, read_only: bool) -> Call<()> {
        self.with(move |node, now| node.set_read_only(now, read_only))
    }

    /// Opens the sockets again, after a change of the network: the socket of the family of `addr` at `addr`, with port
    /// 0 a free port; without an address all sockets, each at its address.
    ///
    /// The state of the node stays ([`Node::handle_rebind`]). A socket that fails is opened again without this call.
    ///
    /// [`CallError::Io`](crate::net::CallError::Io) with the error of the system. If `addr` cannot be bound, the socket
    /// stays where it is; without an address the loop retries. [`CallError::NoSocket`](crate::net::CallError::NoSocket)
    /// if the family of `addr` is off, or the node has no socket of its own.
    pub fn rebind(&self, addr: Option<SocketAddr>) -> Call<()> {
        Call::request(&self.shared, |reply| Command::Change(Change::Rebind(addr), reply))
    }

    /// Returns the address that the socket of this family is bound to; `None` if the family is off, has no socket at
    /// the moment, or the node has no socket of its own.
    pub fn local_addr(&self, family: Family) -> Option<SocketAddr> {
        self.shared.status().local_addrs[family.index()]
    }

    /// Returns the external address of this node, `None` until enough nodes have reported it. The port is 0 if they
    /// disagree on it. [`Event::ExternalAddr`](crate::Event::ExternalAddr) reports changes.
    pub fn external_addr(&self, family: Family) -> Call<Option<SocketAddr>> {
        self.with(move |node, _| node.external_addr(family))
    }

    /// Returns the id of this node in one family, which changes with the external address
    /// ([`Config::secure_ids`](field@crate::Config::secure_ids)).
    pub fn id(&self, family: Family) -> Call<NodeId> {
        self.with(move |node, _| node.id(family))
    }

    /// Returns the number of nodes in the routing table of this family.
    pub fn node_count(&self, family: Family) -> Call<usize> {
        self.with(move |node, _| node.node_count(family))
    }

    /// Returns the nodes in the routing table of this family. [`Builder::state`](crate::net::Builder::state) keeps them
    /// across a restart.
    pub fn nodes(&self, family: Family) -> Call<Vec<NodeInfo>> {
        self.with(move |node, _| node.nodes(family).collect())
    }

    /// Saves the state now, in addition to the usual times, and returns whether it was saved: it is not without a
    /// [`Builder::state`](crate::net::Builder::state) file, nor while no other node is known.
    ///
    /// [`CallError::State`](crate::net::CallError::State) if the file cannot be written.
    pub fn save_state(&self) -> Call<bool> {
        Call::request(&self.shared, Command::Save)
    }

    /// Clears both routing tables, and removes the state file.
    ///
    /// The node rejoins the DHT from the bootstrap hosts, under the same id, and the state is saved again once there
    /// are nodes. To change the id as well, call [`shutdown`](Dht::shutdown) and then
    /// [`StateFile::clear`](crate::net::StateFile::clear).
    ///
    /// [`CallError::State`](crate::net::CallError::State) if the file cannot be removed.
    pub fn clear_state(&self) -> Call<()> {
        Call::request(&self.shared, Command::Clear)
    }

    /// Stores a peer that was announced to another node of this program ([`Node::store_peer`]).
    ///
    /// [`CallError::Store`](crate::net::CallError::Store) if it may not be stored or there is no room for it.
    pub fn store_peer(&self, infohash: InfoHash, peer: SocketAddr, seed: bool) -> Call<()> {
        Call::request(&self.shared, |reply| {
            Command::With(Box::new(move |node, now| {
                reply.end(node.store_peer(now, infohash, peer, seed).map_err(Into::into));
            }))
        })
    }

    /// Returns the peers of a torrent that announced themselves to this node.
    pub fn stored_peers(&self, infohash: InfoHash) -> Call<Vec<SocketAddr>> {
        self.with(move |node, _| node.stored_peers(infohash).collect())
    }
}

/// Observability.
impl DhtHandle {
    /// Returns the counters of the node.
    pub fn stats(&self) -> Call<Stats> {
        self.with(|node, _| *node.stats())
    }

    /// Returns the counters of the loop, even after the node has ended.
    pub fn loop_stats(&self) -> LoopStats {
        self.shared.counters.read()
    }

    /// Returns all counters and gauges, read at once.
    pub fn metrics(&self) -> Call<Metrics> {
        let loop_stats = self.loop_stats();
        self.with(move |node, _| Metrics::read(node, loop_stats))
    }

    /// Returns the last error with which the system did not send a datagram: no route, a firewall, no buffers. `None`
    /// if all were sent. It can be read even after the node has ended.
    pub fn last_send_error(&self) -> Option<io::Error> {
        self.shared.last_send_error()
    }

    /// Subscribes to the events of the node that no call waits for, from now on.
    pub fn subscribe(&self) -> NetEvents {
        let (subscriber, events) = NetEvents::new();
        self.shared.send(Command::Subscribe(subscriber), |error| events.refuse(error));
        events
    }
}

impl fmt::Debug for DhtHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let local_addrs = self.shared.status().local_addrs;
        f.debug_struct("DhtHandle").field("local_addrs", &local_addrs).finish_non_exhaustive()
    }
}
