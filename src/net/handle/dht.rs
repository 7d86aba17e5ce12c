//! The owner of a node and the handles to it: what can be asked of the node, from threads and tasks alike.

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
use crate::net::engine::lookups::{Key, Sampled, Wants};
use crate::net::engine::mailbox::{Change, Command};
use crate::net::engine::shared::Shared;
use crate::net::metrics::Metrics;
use crate::net::sockets::driver::Ending;
use crate::report::{NodeInfo, Pong};
use crate::stats::Stats;
use crate::{Announce, Family, InfoHash, Instant, Lookup, LookupOptions, Node, NodeId};

/// A running node, and its one owner. It can do all that a [`DhtHandle`] can.
///
/// The loop of the node sleeps until a packet, a call or a deadline. Dropping the owner ends the node, whoever
/// still has a handle: what was asked before is done, and what is waiting to be sent is sent. A thread of its own is
/// waited for meanwhile; a task is not: [`shutdown`](Self::shutdown) can be. The state, if it has a file, is saved also
/// if a runtime ends first, which then waits for the disk.
#[must_use = "dropping it ends the node"]
pub struct Dht {
    handle: DhtHandle,
    /// Until somebody waits for it.
    ended: Option<Call<()>>,
    #[cfg(feature = "net")]
    thread: Option<JoinHandle<()>>,
}

impl Dht {
    /// Returns what tells of the end as well.
    pub(crate) fn new(handle: DhtHandle) -> (Self, Ending) {
        let (writer, reply) = feed();
        let dht = Self {
            handle,
            ended: Some(Call::of(reply)),
            #[cfg(feature = "net")]
            thread: None,
        };
        (dht, Ending(Some(writer)))
    }

    /// Has the drop wait for a thread.
    #[cfg(feature = "net")]
    pub(crate) fn join_at_end(&mut self, thread: JoinHandle<()>) {
        self.thread = Some(thread);
    }

    /// A handle to be given away.
    pub fn handle(&self) -> DhtHandle {
        self.handle.clone()
    }

    /// Ends the node. To wait for the call is to wait until the last datagrams have left, for a quarter of a second
    /// at most, the state is saved, if there is a file for that, for as long as the disk takes, and the ports are
    /// free. Calls and lookups under way fail with [`CallError::Closed`](crate::net::CallError::Closed).
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

/// A handle to a node. Clones are handles to the same one; any thread or task may use them.
///
/// No call blocks or fails where it is made: it is handed to the loop of the node, and what comes back can be
/// waited for (`wait`, `recv_timeout`, iterators) or awaited (`.await`, `recv().await`, streams). An error arrives
/// there: [`CallError::Closed`] once the node has ended, [`CallError::Busy`] while 8192 calls are waiting for the
/// loop, and those that the methods tell of.
///
/// The node lives as long as its [`Dht`], however many handles there are.
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

    /// Finds the peers of a torrent, and yields them as they arrive.
    pub fn get_peers(&self, infohash: InfoHash) -> LookupHandle {
        self.lookup(Lookup::GetPeers(infohash), self.shared.lookup_options)
    }

    /// Counts the peers of a torrent without joining them, by the filters of the nodes that store
    /// them (BEP 33). The numbers are in the report, as
    /// [`LookupReport::swarm`](crate::LookupReport::swarm); the lookup yields no peers.
    pub fn scrape(&self, infohash: InfoHash) -> LookupHandle {
        self.lookup(Lookup::Scrape(infohash), self.shared.lookup_options)
    }

    /// Adds this host to the peers of a torrent, once; they last on other nodes for half an hour
    /// or so, and [`start_announcing`](Self::start_announcing) repeats it.
    /// [`Outcome::stored`](crate::net::Outcome::stored) says whether it is stored; the lookup yields the torrent's
    /// other peers by the way.
    ///
    /// [`StartError::PortZero`](crate::StartError::PortZero) if the port is 0.
    pub fn announce(&self, infohash: InfoHash, announce: Announce) -> LookupHandle {
        self.lookup(Lookup::Announce(infohash, announce), self.shared.lookup_options)
    }

    /// Adds this host to the peers of a torrent as long as the [`Announcement`] lives: soon, and
    /// again every [`Config::announce_interval`](field@crate::Config::announce_interval), as
    /// [`Node::start_announcing`] does. Thousands of them are spread evenly.
    ///
    /// A torrent has one announce: callers with the same torrent share it, and of those that are left
    /// the last one to come says what is announced.
    ///
    /// With a [`Builder::state`](crate::net::Builder::state) file, an announce that was kept up when the state was
    /// saved goes on from where it was: if it is not due yet, its first round waits until it is. What nobody asks for
    /// again is not announced. An announcement that is dropped before the node ends counts as given up: to have it go
    /// on after the next start, [`shutdown`](Dht::shutdown) comes first.
    ///
    /// A [`PublishError`](crate::errors::PublishError) if too many are kept up or the port is 0.
    pub fn start_announcing(&self, infohash: InfoHash, announce: Announce) -> Announcement {
        Recurring::start(&self.shared, infohash, |number, rounds| Command::Announce {
            number,
            infohash,
            announce,
            rounds,
        })
    }

    /// Finds the nodes closest to an id: they are in the [`Outcome`](crate::net::Outcome).
    pub fn find_node(&self, target: NodeId) -> LookupHandle {
        self.lookup(Lookup::FindNode(target), self.shared.lookup_options)
    }

    /// Starts any lookup, with options of its own. It is shared with callers who asked for the same with
    /// the same options and whose lookup is still under way.
    pub fn lookup(&self, lookup: Lookup, options: LookupOptions) -> LookupHandle {
        LookupHandle::start(&self.shared, Key::Lookup(lookup, options), Wants::Peers)
    }

    /// Joins the DHT anew. It happens by itself at birth and after an outage.
    pub fn bootstrap(&self) -> LookupHandle {
        LookupHandle::start(&self.shared, Key::Bootstrap, Wants::Peers)
    }

    /// Asks the node at `addr` whether it is there.
    ///
    /// [`CallError::Query`](crate::net::CallError::Query) if there is no good answer,
    /// [`CallError::Contact`](crate::net::CallError::Contact) if it may not be asked.
    pub fn ping(&self, addr: SocketAddr) -> Call<Pong> {
        Call::query(&self.shared, |number, reply| Command::Ping { number, addr, reply })
    }

    /// Asks the node at `addr` for a sample of the infohashes that it stores peers of, and for the
    /// nodes that it knows closest to `target` (BEP 51).
    ///
    /// [`CallError::Query`](crate::net::CallError::Query) if there is no good answer,
    /// [`CallError::Contact`](crate::net::CallError::Contact) if it may not be asked.
    pub fn sample_infohashes(&self, addr: SocketAddr, target: NodeId) -> Call<Sampled> {
        Call::query(&self.shared, |number, reply| Command::Sample { number, addr, target, reply })
    }

    /// Asks node after node for samples of their infohashes (BEP 51), as a
    /// [`Crawler`](crate::crawl::Crawler) does, for as long as the [`Crawl`] lives.
    pub fn crawl(&self, options: CrawlOptions) -> Crawl {
        Crawl::start(&self.shared, options)
    }

    /// Adds a node at `addr`, from a peer's PORT message or a file: it is pinged and kept if
    /// it answers. The call ends before that.
    pub fn add_node(&self, addr: SocketAddr) -> Call<()> {
        Call::ask(&self.shared, |reply| Command::AddNode { addr, reply })
    }
}

/// The node itself.
impl DhtHandle {
    /// Calls the node within its loop, which waits meanwhile: for whatever this handle has no method of its own. What
    /// the node is to send leaves in the same turn. To wait in there for another call of this node is to wait for ever.
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
        Call::ask(&self.shared, |reply| {
            Command::With(Box::new(move |node, now| reply.end(Ok(call(node, now)))))
        })
    }

    /// Waits until the node [is ready](Self::is_ready) in either family. Lookups work before, but find less.
    pub fn ready(&self) -> Call<()> {
        Call::ask(&self.shared, Command::Ready)
    }

    /// Whether the node has found its place in the DHT of this family, and has not lost it since:
    /// after an outage, at another address, or with its nodes forgotten, it has to join anew. Not
    /// once it has ended.
    pub fn is_ready(&self, family: Family) -> bool {
        self.shared.status().ready[family.index()]
    }

    /// Switches the node off, or on again. Nothing happens if it is so already.
    ///
    /// Off, the sockets are closed and their ports free; calls fail with
    /// [`StartError::Disabled`](crate::StartError::Disabled), what is under way ends with what it has
    /// found, and announces that are kept up wait ([`Node::set_enabled`]). Id, tables and stored
    /// peers stay. On again, the same ports are bound; a port that was not named, and is taken by
    /// now, gives way to another.
    ///
    /// [`CallError::Io`](crate::net::CallError::Io) if a socket cannot be opened: it is tried
    /// again by and by ([`NetEvent::Rebound`](crate::net::NetEvent::Rebound)); the other family is on.
    pub fn set_enabled(&self, enabled: bool) -> Call<()> {
        Call::ask(&self.shared, |reply| Command::Change(Change::Enable(enabled), reply))
    }

    /// Whether the node is switched on, by [`set_enabled`](Self::set_enabled).
    pub fn is_enabled(&self) -> bool {
        !self.shared.status().disabled
    }

    /// From now on, answers nobody and says so in queries, or answers again (BEP 43,
    /// [`Node::set_read_only`]).
    pub fn set_read_only(&self, read_only: bool) -> Call<()> {
        self.with(move |node, now| node.set_read_only(now, read_only))
    }

    /// Opens the sockets anew, after a change of the network: the one of the family of `addr` there,
    /// port 0 meaning a free one, or all of them where they are. The node lives on
    /// ([`Node::handle_rebind`]). A socket that fails is opened again without this.
    ///
    /// [`CallError::Io`](crate::net::CallError::Io) with the system's error. If `addr` cannot be bound, the socket
    /// stays where it is; without an address it is tried again by and by.
    /// [`CallError::NoSocket`](crate::net::CallError::NoSocket) if `addr` is of a family that is off, or the
    /// socket is not the node's own.
    pub fn rebind(&self, addr: Option<SocketAddr>) -> Call<()> {
        Call::ask(&self.shared, |reply| Command::Change(Change::Rebind(addr), reply))
    }

    /// The address that the socket of this family is bound to; `None` if the family is off, without a
    /// socket for now, or the socket is not the node's own.
    pub fn local_addr(&self, family: Family) -> Option<SocketAddr> {
        self.shared.status().local_addrs[family.index()]
    }

    /// Where the nodes of this family see us; `None` until enough of them have said so. The port is 0
    /// where they disagree on it. [`Event::ExternalAddr`](crate::Event::ExternalAddr) tells of a
    /// change.
    pub fn external_addr(&self, family: Family) -> Call<Option<SocketAddr>> {
        self.with(move |node, _| node.external_addr(family))
    }

    /// Our id in the DHT of this family, which changes with our external address
    /// ([`Config::secure_ids`](field@crate::Config::secure_ids)).
    pub fn id(&self, family: Family) -> Call<NodeId> {
        self.with(move |node, _| node.id(family))
    }

    /// How many nodes are in the table of this family.
    pub fn node_count(&self, family: Family) -> Call<usize> {
        self.with(move |node, _| node.node_count(family))
    }

    /// The nodes in the table of this family. To have them again after the next start there is
    /// [`Builder::state`](crate::net::Builder::state).
    pub fn nodes(&self, family: Family) -> Call<Vec<NodeInfo>> {
        self.with(move |node, _| node.nodes(family).collect())
    }

    /// Saves the state now, beside the usual times, and tells whether it was saved: not without
    /// a [`Builder::state`](crate::net::Builder::state) file, and not while no other node is known.
    ///
    /// [`CallError::State`](crate::net::CallError::State) if the file cannot be written.
    pub fn save_state(&self) -> Call<bool> {
        Call::ask(&self.shared, Command::Save)
    }

    /// Forgets the nodes of both tables, and removes the state file. The DHT is joined anew from the
    /// bootstrap hosts, under the same id, and saved again once there are nodes; to go on under
    /// another id, [`shutdown`](Dht::shutdown) and then
    /// [`StateFile::clear`](crate::net::StateFile::clear).
    ///
    /// [`CallError::State`](crate::net::CallError::State) if the file cannot be removed.
    pub fn clear_state(&self) -> Call<()> {
        Call::ask(&self.shared, Command::Clear)
    }

    /// Stores a peer that the node of another address was told of ([`Node::store_peer`]).
    ///
    /// [`CallError::Store`](crate::net::CallError::Store) if it may not be stored or there is no room for it.
    pub fn store_peer(&self, infohash: InfoHash, peer: SocketAddr, seed: bool) -> Call<()> {
        Call::ask(&self.shared, |reply| {
            Command::With(Box::new(move |node, now| {
                reply.end(node.store_peer(now, infohash, peer, seed).map_err(Into::into));
            }))
        })
    }

    /// The peers of a torrent that announced themselves to us.
    pub fn stored_peers(&self, infohash: InfoHash) -> Call<Vec<SocketAddr>> {
        self.with(move |node, _| node.stored_peers(infohash).collect())
    }
}

/// Observability.
impl DhtHandle {
    /// What the node has counted.
    pub fn stats(&self) -> Call<Stats> {
        self.with(|node, _| *node.stats())
    }

    /// What the loop around the node has counted. It can be read after the end, too.
    pub fn loop_stats(&self) -> LoopStats {
        self.shared.counters.read()
    }

    /// Everything that can be measured, read at once.
    pub fn metrics(&self) -> Call<Metrics> {
        let loop_stats = self.loop_stats();
        self.with(move |node, _| Metrics::read(node, loop_stats))
    }

    /// The last error with which the system did not send a datagram: no route, a firewall, no
    /// buffers. `None` if all of them have left. It can be read after the end, too.
    pub fn last_send_error(&self) -> Option<io::Error> {
        self.shared.last_send_error()
    }

    /// Subscribes to what the node does on its own account, from now on.
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
