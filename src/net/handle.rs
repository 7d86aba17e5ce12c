//! The handle: what callers on any thread ask of the DHT thread.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::net::SocketAddr;
use core::time::Duration;
use std::io;
use std::sync::Mutex;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Instant as StdInstant;

use super::board::{Board, Status};
use super::builder::Builder;
use super::crawl::Crawl;
use super::desk::{Change, Command, Reply};
use super::error::CallError;
use super::events::{Events, subscription};
use super::keep::Announcement;
use super::metrics::Metrics;
use super::progress::{Findings, Key, Sampled};
use super::reader::Look;
use super::search::Search;
#[cfg(doc)]
use super::state::StateFile;
use super::stats::LoopStats;
use super::watched::lock;
use crate::{
    Announce, CrawlOptions, Family, InfoHash, Instant, KeptAnnounce, Lookup, LookupOptions, Node, NodeId,
    NodeInfo, Pong, Stats,
};

/// A running node. Clones are handles to the same one, and any thread may use them.
///
/// The node lives in a thread of its own, which sleeps until a packet, a call or a deadline of the
/// node. When the last handle (a [`Search`] counts as one) is dropped, the thread sends what is
/// waiting to be sent, ends and is joined, so that its ports are free again.
///
/// Methods that return a `Result` fail with [`CallError::Closed`] once the thread has ended,
/// by [`shutdown`](Self::shutdown) or otherwise; none of them hangs.
#[derive(Clone)]
pub struct Dht {
    handle: Arc<Handle>,
}

impl Dht {
    /// Starts to describe a node.
    pub fn builder() -> Builder {
        Builder::default()
    }

    pub(super) fn new(shared: Arc<Shared>, thread: JoinHandle<()>) -> Self {
        Self { handle: Arc::new(Handle { shared, thread: Mutex::new(Some(thread)) }) }
    }

    /// Finds the peers of a torrent. The [`Search`] yields them as they arrive.
    ///
    /// # Errors
    ///
    /// [`CallError::Start`] if too many lookups are under way, [`CallError::Closed`].
    pub fn get_peers(&self, infohash: InfoHash) -> Result<Search, CallError> {
        self.lookup(Lookup::GetPeers(infohash), self.lookup_options())
    }

    /// Counts the peers of a torrent without joining them, by the filters of the nodes that store them
    /// (BEP 33). The numbers are in the report, as [`LookupReport::swarm`](crate::LookupReport::swarm); the
    /// search yields no peers.
    ///
    /// # Errors
    ///
    /// [`CallError::Start`] if too many lookups or scrapes are under way, [`CallError::Closed`].
    pub fn scrape(&self, infohash: InfoHash) -> Result<Search, CallError> {
        self.lookup(Lookup::Scrape(infohash), self.lookup_options())
    }

    /// Adds this host to the peers of a torrent, once; they last on other nodes for half an hour
    /// or so, and [`keep_announced`](Self::keep_announced) repeats it. [`Search::wait`] tells who
    /// acknowledged; the search yields the torrent's other peers by the way.
    ///
    /// # Errors
    ///
    /// [`CallError::Start`] if too many lookups are under way or the port is 0,
    /// [`CallError::Closed`].
    pub fn announce(&self, infohash: InfoHash, announce: Announce) -> Result<Search, CallError> {
        self.lookup(Lookup::Announce(infohash, announce), self.lookup_options())
    }

    /// Adds this host to the peers of a torrent as long as the [`Announcement`] lives: soon, and
    /// again every [`Config::announce_interval`](crate::Config::announce_interval), as
    /// [`Node::keep_announced`] does. Thousands of them are spread evenly.
    ///
    /// A torrent has one announce: callers with the same torrent share it, and of those that are left the last
    /// one to come says what is announced.
    ///
    /// With a [`Builder::state`] file, an announce that was kept up when the state was saved goes on
    /// from where it was: if it is not due yet, its first round waits until it is. What nobody asks
    /// for again is not announced. An announcement that is dropped before the node ends counts as
    /// given up: to have it go on after the next start, [`shutdown`](Self::shutdown) comes first.
    ///
    /// # Errors
    ///
    /// [`CallError::Start`] if too many are kept up or the port is 0, [`CallError::Closed`].
    pub fn keep_announced(&self, infohash: InfoHash, announce: Announce) -> Result<Announcement, CallError> {
        let kept = self.ask(|reply| Command::KeepAnnounced { infohash, announce, reply })??;
        Ok(Announcement::new(self, infohash, kept))
    }

    /// Finds the nodes closest to an id: they are in the [`Outcome`](super::Outcome).
    ///
    /// # Errors
    ///
    /// [`CallError::Start`] if too many lookups are under way, [`CallError::Closed`].
    pub fn find_node(&self, target: NodeId) -> Result<Search, CallError> {
        self.lookup(Lookup::FindNode(target), self.lookup_options())
    }

    /// Any lookup, with options of its own. It is shared with callers who asked for the same with
    /// the same options and whose lookup is still under way.
    ///
    /// # Errors
    ///
    /// [`CallError::Start`] if it cannot start, [`CallError::Closed`].
    pub fn lookup(&self, lookup: Lookup, options: LookupOptions) -> Result<Search, CallError> {
        self.search(Key::Lookup(lookup, options), Findings::next_peer)
    }

    /// Joins the DHT anew. It happens by itself at birth and after an outage.
    ///
    /// # Errors
    ///
    /// [`CallError::Start`] if too many lookups are under way, [`CallError::Closed`].
    pub fn bootstrap(&self) -> Result<Search, CallError> {
        self.search(Key::Bootstrap, Findings::next_peer)
    }

    /// Asks the node at `addr` whether it is there, and waits for the answer or its failure.
    ///
    /// # Errors
    ///
    /// [`CallError::Query`] if there is no good answer, [`CallError::Start`] if it may not be
    /// asked, [`CallError::Closed`].
    pub fn ping(&self, addr: SocketAddr) -> Result<Pong, CallError> {
        self.ask(|reply| Command::Ping { addr, started: None, reply })?
    }

    /// Asks the node at `addr` for a sample of the infohashes that it stores peers of, and for the nodes that
    /// it knows closest to `target` (BEP 51).
    ///
    /// # Errors
    ///
    /// [`CallError::Query`] if there is no good answer, [`CallError::Start`] if it may not be
    /// asked, [`CallError::Closed`].
    pub fn sample_infohashes(&self, addr: SocketAddr, target: NodeId) -> Result<Sampled, CallError> {
        self.ask(|reply| Command::Sample { addr, target, started: None, reply })?
    }

    /// Asks node after node for samples of their infohashes (BEP 51), as a [`Crawler`](crate::Crawler) does,
    /// for as long as the [`Crawl`] lives.
    ///
    /// # Errors
    ///
    /// [`CallError::Closed`].
    pub fn crawl(&self, options: CrawlOptions) -> Result<Crawl, CallError> {
        Ok(Crawl::new(self.clone(), self.ask(|reply| Command::Crawl { options, reply })?))
    }

    /// Tells of a node at `addr`, from a peer's PORT message or a file: it is pinged and kept if
    /// it answers. Returns without waiting for that.
    ///
    /// # Errors
    ///
    /// [`CallError::Start`] if it may not be asked, [`CallError::Closed`].
    pub fn add_node(&self, addr: SocketAddr) -> Result<(), CallError> {
        Ok(self.with_node(move |node, now| node.add_node(now, addr))??)
    }

    /// Waits until the node [is ready](Self::is_ready) in either family, at most for `timeout`, and
    /// returns whether it is. Lookups work before, but find less.
    ///
    /// # Errors
    ///
    /// [`CallError::Closed`].
    pub fn wait_ready(&self, timeout: Duration) -> Result<bool, CallError> {
        let deadline = StdInstant::now().checked_add(timeout);
        let ready = self.board().status.wait(deadline, Status::is_ready);
        ready.unwrap_or(Ok(false))
    }

    /// Whether the node has found its place in the DHT of this family, and has not lost it since: after an
    /// outage, at another address, or with its nodes forgotten, it has to join anew. Not once it has ended.
    pub fn is_ready(&self, family: Family) -> bool {
        self.board().status.read(|status| status.ready[family.index()])
    }

    /// Switches the node off, or on again. Nothing happens if it is so already.
    ///
    /// Off, the sockets are closed and their ports free; calls fail with
    /// [`StartError::Disabled`](crate::StartError::Disabled), what is under way ends with what it has
    /// found, and announces that are kept up wait ([`Node::set_enabled`]). Id, tables and stored peers
    /// stay. On again, the same ports are bound; a port that was not named, and is taken by now, gives
    /// way to another.
    ///
    /// # Errors
    ///
    /// The system's, or one that holds [`CallError::Closed`]. A socket that cannot be opened is tried
    /// again by and by ([`Notice::Rebound`](super::Notice::Rebound)); the other family is on.
    pub fn set_enabled(&self, enabled: bool) -> io::Result<()> {
        self.change(Change::Enable(enabled))
    }

    /// Whether the node is switched on, by [`set_enabled`](Self::set_enabled).
    pub fn is_enabled(&self) -> bool {
        !self.board().status.read(|status| status.disabled)
    }

    /// From now on, answers nobody and says so in queries, or answers again (BEP 43,
    /// [`Node::set_read_only`]).
    ///
    /// # Errors
    ///
    /// [`CallError::Closed`].
    pub fn set_read_only(&self, read_only: bool) -> Result<(), CallError> {
        self.with_node(move |node, now| node.set_read_only(now, read_only))
    }

    /// Opens the sockets anew, after a change of the network: the one of the family of `addr` there,
    /// port 0 meaning a free one, or all of them where they are. The node lives on
    /// ([`Node::handle_rebind`]). A socket that fails is opened again without this.
    ///
    /// # Errors
    ///
    /// The system's, or one that holds [`CallError::Closed`]. If `addr` cannot be bound, the socket
    /// stays where it is; without an address it is tried again by and by.
    pub fn rebind(&self, addr: Option<SocketAddr>) -> io::Result<()> {
        self.change(Change::Rebind(addr))
    }

    /// The address that the socket of this family is bound to; `None` if the family is off, or
    /// without a socket for now.
    pub fn local_addr(&self, family: Family) -> Option<SocketAddr> {
        self.board().local_addrs()[family.index()]
    }

    /// Where the nodes of this family see us; `None` until enough of them have said so. The port is 0
    /// where they disagree on it. [`Event::ExternalAddr`](crate::Event::ExternalAddr) tells of a change.
    ///
    /// # Errors
    ///
    /// [`CallError::Closed`].
    pub fn external_addr(&self, family: Family) -> Result<Option<SocketAddr>, CallError> {
        self.with_node(move |node, _| node.external_addr(family))
    }

    /// Our id in the DHT of this family, which changes with our external address
    /// ([`Config::secure_ids`](crate::Config::secure_ids)).
    ///
    /// # Errors
    ///
    /// [`CallError::Closed`].
    pub fn id(&self, family: Family) -> Result<NodeId, CallError> {
        self.with_node(move |node, _| node.id(family))
    }

    /// What the node has counted.
    ///
    /// # Errors
    ///
    /// [`CallError::Closed`].
    pub fn stats(&self) -> Result<Stats, CallError> {
        self.with_node(|node, _| *node.stats())
    }

    /// What the loop around the node has counted. It can be read after the end, too.
    pub fn loop_stats(&self) -> LoopStats {
        self.board().counters.read()
    }

    /// Everything that can be measured, read at once.
    ///
    /// # Errors
    ///
    /// [`CallError::Closed`].
    pub fn metrics(&self) -> Result<Metrics, CallError> {
        let loop_stats = self.loop_stats();
        self.with_node(move |node, _| Metrics::read(node, loop_stats))
    }

    /// How many nodes are in the table of this family.
    ///
    /// # Errors
    ///
    /// [`CallError::Closed`].
    pub fn node_count(&self, family: Family) -> Result<usize, CallError> {
        self.with_node(move |node, _| node.node_count(family))
    }

    /// The nodes in the table of this family. To have them again after the next start there is
    /// [`Builder::state`].
    ///
    /// # Errors
    ///
    /// [`CallError::Closed`].
    pub fn nodes(&self, family: Family) -> Result<Vec<NodeInfo>, CallError> {
        self.with_node(move |node, _| node.nodes(family).collect())
    }

    /// How many nodes of the saved state have not answered yet.
    ///
    /// # Errors
    ///
    /// [`CallError::Closed`].
    pub fn restored_count(&self, family: Family) -> Result<usize, CallError> {
        self.with_node(move |node, _| node.restored_count(family))
    }

    /// Saves the state now, beside the usual times, and returns whether it was saved: not without
    /// a [`Builder::state`] file, and not while no other node is known.
    ///
    /// # Errors
    ///
    /// The system's, or one that holds [`CallError::Closed`].
    pub fn save_state(&self) -> io::Result<bool> {
        self.ask(Command::Save).map_err(io::Error::other)?.map_err(io::Error::other)
    }

    /// Forgets the nodes of both tables, and removes the state file. The DHT is joined anew from the
    /// bootstrap hosts, under the same id, and saved again once there are nodes; to go on under
    /// another id, [`shutdown`](Self::shutdown) and then [`StateFile::clear`].
    ///
    /// # Errors
    ///
    /// The system's, or one that holds [`CallError::Closed`].
    pub fn clear_state(&self) -> io::Result<()> {
        self.ask(Command::Clear).map_err(io::Error::other)?.map_err(io::Error::other)
    }

    /// The good nodes in the table of this family that are closest to `target`, closest first; at
    /// most [`K`](crate::K).
    ///
    /// # Errors
    ///
    /// [`CallError::Closed`].
    pub fn closest_nodes(&self, target: NodeId, family: Family) -> Result<Vec<NodeInfo>, CallError> {
        self.with_node(move |node, _| node.closest_nodes(target, family).collect())
    }

    /// Lookups under way and queries that wait for an answer, those of the node itself included.
    ///
    /// # Errors
    ///
    /// [`CallError::Closed`].
    pub fn under_way(&self) -> Result<(usize, usize), CallError> {
        self.with_node(|node, _| (node.lookup_count(), node.query_count()))
    }

    /// The peers of a torrent that announced themselves to us.
    ///
    /// # Errors
    ///
    /// [`CallError::Closed`].
    pub fn stored_peers(&self, infohash: InfoHash) -> Result<Vec<SocketAddr>, CallError> {
        self.with_node(move |node, _| node.peers(infohash).collect())
    }

    /// The announces that are kept up, and how they fare.
    ///
    /// # Errors
    ///
    /// [`CallError::Closed`].
    pub fn kept_announces(&self) -> Result<Vec<KeptAnnounce>, CallError> {
        self.with_node(|node, _| node.kept_announces().collect())
    }

    /// Forgets all peers that announced themselves to us.
    ///
    /// # Errors
    ///
    /// [`CallError::Closed`].
    pub fn clear_peers(&self) -> Result<(), CallError> {
        self.with_node(|node, _| node.clear_peers())
    }

    /// Subscribes to what the node does on its own account, from now on.
    ///
    /// # Errors
    ///
    /// [`CallError::Closed`].
    pub fn subscribe(&self) -> Result<Events, CallError> {
        let (subscriber, events) = subscription();
        self.handle.shared.send(Command::Subscribe(subscriber))?;
        Ok(events)
    }

    /// Ends the thread as dropping the last handle does, whoever else has one, and waits for it.
    /// Calls and searches under way fail with [`CallError::Closed`].
    pub fn shutdown(&self) {
        self.handle.shutdown();
    }

    pub(super) fn board(&self) -> &Board {
        &self.handle.shared.board
    }

    /// Of lookups that are not told any.
    pub(super) fn lookup_options(&self) -> LookupOptions {
        self.board().lookup_options
    }

    fn change(&self, change: Change) -> io::Result<()> {
        self.ask(|reply| Command::Change(change, reply)).map_err(io::Error::other)?
    }

    /// `look` tells what the search yields.
    pub(super) fn search<T>(&self, key: Key, look: Look<Findings, T>) -> Result<Search<T>, CallError> {
        Ok(Search::new(self.clone(), self.ask(|reply| Command::Search { key, reply })??, look))
    }

    pub(super) fn with_node<R: Send + 'static>(
        &self,
        call: impl FnOnce(&mut Node, Instant) -> R + Send + 'static,
    ) -> Result<R, CallError> {
        self.ask(|reply| Command::Node(Box::new(move |node, now| reply(call(node, now)))))
    }

    /// Sends a command that carries the way back for its one reply, and waits for that.
    pub(super) fn ask<R: Send + 'static>(
        &self,
        command: impl FnOnce(Reply<R>) -> Command,
    ) -> Result<R, CallError> {
        let (reply, answer) = sync_channel(1);
        // It holds the one reply, so sending that never blocks.
        let reply = Box::new(move |value| drop(reply.send(value)));
        self.handle.shared.send(command(reply))?;
        answer.recv().map_err(|_| CallError::Closed)
    }
}

impl fmt::Debug for Dht {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dht").field("local_addrs", &self.board().local_addrs()).finish_non_exhaustive()
    }
}

/// What the clones of a [`Dht`] share; its drop is the drop of the last one.
struct Handle {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Handle {
    fn shutdown(&self) {
        self.shared.board.close();
        // Whoever comes second waits for the lock, and so for the end as well.
        if let Some(thread) = lock(&self.thread).take() {
            // An error is a panic in the thread, which has been printed, and closed all calls.
            let _ = thread.join();
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shutdown();
    }
}

/// What the handle and the thread share.
pub(super) struct Shared {
    pub(super) commands: SyncSender<Command>,
    pub(super) board: Arc<Board>,
}

impl Shared {
    pub(super) fn send(&self, command: Command) -> Result<(), CallError> {
        // Blocks while the queue is full. The thread never waits for a caller, so not for long.
        self.commands.send(command).map_err(|_| CallError::Closed)?;
        self.board.wake();
        Ok(())
    }
}
