//! What callers of either adapter ask of a node, whether they block or are tasks.

/// The calls of a handle, and what its owner has in common with it. Both adapters have the same; where one
/// blocks the other is `async`, and has to `.await`.
///
/// What differs each handle has of its own: how it sends a command (`send`) and waits for the answer (`ask`),
/// who may leave before that (`query`), and how `wait_ready` waits.
macro_rules! calls {
    ([$($async:tt)?] [$($wait:tt)*]) => {
        use alloc::boxed::Box;
        use alloc::vec::Vec;
        use core::fmt;
        use core::net::SocketAddr;
        use core::ops::Deref;
        use std::io;

        use $crate::net::engine::Change;
        use $crate::net::metrics::Metrics;
        use $crate::net::engine::lookups::{LookupState, Key, Sampled};
        use $crate::net::handle::cursor::Next;
        use $crate::net::engine::counters::LoopStats;
        use $crate::{
            Announce, CrawlOptions, Family, InfoHash, Instant, KeptAnnounce, Lookup, LookupOptions, Node,
            NodeId, NodeInfo, Pong, Stats,
        };

        impl Dht {
            /// Starts to describe a node.
            pub fn builder() -> Builder {
                Builder::default()
            }

            /// A handle to be given away.
            pub fn handle(&self) -> DhtHandle {
                self.dht.clone()
            }
        }

        impl Deref for Dht {
            type Target = DhtHandle;

            fn deref(&self) -> &DhtHandle {
                &self.dht
            }
        }

        impl fmt::Debug for Dht {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_tuple("Dht").field(&self.dht).finish()
            }
        }

        impl DhtHandle {
            /// Finds the peers of a torrent. The [`LookupHandle`] yields them as they arrive.
            ///
            /// # Errors
            ///
            /// [`CallError::QueueFull`] if too many calls wait for a slot, [`CallError::Closed`].
            pub $($async)? fn get_peers(&self, infohash: InfoHash) -> Result<LookupHandle, CallError> {
                self.lookup(Lookup::GetPeers(infohash), self.lookup_options())$($wait)*
            }

            /// Counts the peers of a torrent without joining them, by the filters of the nodes that store
            /// them (BEP 33). The numbers are in the report, as
            /// [`LookupReport::swarm`](crate::LookupReport::swarm); the search yields no peers.
            ///
            /// # Errors
            ///
            /// [`CallError::QueueFull`] if too many calls wait for a slot, [`CallError::Closed`].
            pub $($async)? fn scrape(&self, infohash: InfoHash) -> Result<LookupHandle, CallError> {
                self.lookup(Lookup::Scrape(infohash), self.lookup_options())$($wait)*
            }

            /// Adds this host to the peers of a torrent, once; they last on other nodes for half an hour
            /// or so, and [`keep_announced`](Self::keep_announced) repeats it. [`LookupHandle::wait`] tells who
            /// acknowledged; the search yields the torrent's other peers by the way.
            ///
            /// # Errors
            ///
            /// [`CallError::Start`] if the port is 0, [`CallError::QueueFull`] if too many calls wait for a
            /// slot, [`CallError::Closed`].
            pub $($async)? fn announce(
                &self,
                infohash: InfoHash,
                announce: Announce,
            ) -> Result<LookupHandle, CallError> {
                self.lookup(Lookup::Announce(infohash, announce), self.lookup_options())$($wait)*
            }

            /// Adds this host to the peers of a torrent as long as the [`Announcement`] lives: soon, and
            /// again every [`Config::announce_interval`](crate::Config::announce_interval), as
            /// [`Node::keep_announced`] does. Thousands of them are spread evenly.
            ///
            /// A torrent has one announce: callers with the same torrent share it, and of those that are left
            /// the last one to come says what is announced.
            ///
            /// With a [`Builder::state`] file, an announce that was kept up when the state was saved goes on
            /// from where it was: if it is not due yet, its first round waits until it is. What nobody asks
            /// for again is not announced. An announcement that is dropped before the node ends counts as
            /// given up: to have it go on after the next start, [`shutdown`](Dht::shutdown) comes first.
            ///
            /// # Errors
            ///
            /// [`CallError::Start`] if too many are kept up or the port is 0, [`CallError::Closed`].
            pub $($async)? fn keep_announced(
                &self,
                infohash: InfoHash,
                announce: Announce,
            ) -> Result<Announcement, CallError> {
                let kept = self.ask(|reply| Command::KeepAnnounced { infohash, announce, reply })$($wait)*??;
                Ok(Announcement::new(infohash, kept))
            }

            /// Finds the nodes closest to an id: they are in the [`Outcome`](crate::net::Outcome).
            ///
            /// # Errors
            ///
            /// [`CallError::QueueFull`] if too many calls wait for a slot, [`CallError::Closed`].
            pub $($async)? fn find_node(&self, target: NodeId) -> Result<LookupHandle, CallError> {
                self.lookup(Lookup::FindNode(target), self.lookup_options())$($wait)*
            }

            /// Any lookup, with options of its own. It is shared with callers who asked for the same with
            /// the same options and whose lookup is still under way.
            ///
            /// # Errors
            ///
            /// [`CallError::Start`] if it cannot start, [`CallError::QueueFull`] if too many calls wait for a
            /// slot, [`CallError::Closed`].
            pub $($async)? fn lookup(
                &self,
                lookup: Lookup,
                options: LookupOptions,
            ) -> Result<LookupHandle, CallError> {
                self.search(Key::Lookup(lookup, options), LookupState::next_peer)$($wait)*
            }

            /// Joins the DHT anew. It happens by itself at birth and after an outage.
            ///
            /// # Errors
            ///
            /// [`CallError::QueueFull`] if too many calls wait for a slot, [`CallError::Closed`].
            pub $($async)? fn bootstrap(&self) -> Result<LookupHandle, CallError> {
                self.search(Key::Bootstrap, LookupState::next_peer)$($wait)*
            }

            /// Asks the node at `addr` whether it is there, and waits for the answer or its failure.
            ///
            /// # Errors
            ///
            /// [`CallError::Query`] if there is no good answer, [`CallError::Start`] if it may not be
            /// asked, [`CallError::QueueFull`] if too many calls wait for a slot, [`CallError::Closed`].
            pub $($async)? fn ping(&self, addr: SocketAddr) -> Result<Pong, CallError> {
                self.query(|started, reply| Command::Ping { addr, started, reply })$($wait)*
            }

            /// Asks the node at `addr` for a sample of the infohashes that it stores peers of, and for the
            /// nodes that it knows closest to `target` (BEP 51).
            ///
            /// # Errors
            ///
            /// [`CallError::Query`] if there is no good answer, [`CallError::Start`] if it may not be
            /// asked, [`CallError::QueueFull`] if too many calls wait for a slot, [`CallError::Closed`].
            pub $($async)? fn sample_infohashes(
                &self,
                addr: SocketAddr,
                target: NodeId,
            ) -> Result<Sampled, CallError> {
                self.query(|started, reply| Command::Sample { addr, target, started, reply })$($wait)*
            }

            /// Asks node after node for samples of their infohashes (BEP 51), as a
            /// [`Crawler`](crate::Crawler) does, for as long as the [`Crawl`] lives.
            ///
            /// # Errors
            ///
            /// [`CallError::Closed`].
            pub $($async)? fn crawl(&self, options: CrawlOptions) -> Result<Crawl, CallError> {
                Ok(Crawl::new(self.ask(|reply| Command::Crawl { options, reply })$($wait)*?))
            }

            /// Tells of a node at `addr`, from a peer's PORT message or a file: it is pinged and kept if
            /// it answers. Returns without waiting for that.
            ///
            /// # Errors
            ///
            /// [`CallError::Start`] if it may not be asked, [`CallError::QueueFull`] if too many calls wait for
            /// a slot, [`CallError::Closed`].
            pub $($async)? fn add_node(&self, addr: SocketAddr) -> Result<(), CallError> {
                self.ask(|reply| Command::AddNode { addr, reply })$($wait)*?
            }

            /// Whether the node has found its place in the DHT of this family, and has not lost it since:
            /// after an outage, at another address, or with its nodes forgotten, it has to join anew. Not
            /// once it has ended.
            pub fn is_ready(&self, family: Family) -> bool {
                self.shared.status.read(|status| status.ready[family.index()])
            }

            /// Switches the node off, or on again. Nothing happens if it is so already.
            ///
            /// Off, the sockets are closed and their ports free; calls fail with
            /// [`StartError::Disabled`](crate::StartError::Disabled), what is under way ends with what it has
            /// found, and announces that are kept up wait ([`Node::set_enabled`]). Id, tables and stored
            /// peers stay. On again, the same ports are bound; a port that was not named, and is taken by
            /// now, gives way to another.
            ///
            /// # Errors
            ///
            /// The system's, or one that holds [`CallError::Closed`]. A socket that cannot be opened is tried
            /// again by and by ([`NetEvent::Rebound`](crate::net::NetEvent::Rebound)); the other family is on.
            pub $($async)? fn set_enabled(&self, enabled: bool) -> io::Result<()> {
                self.change(Change::Enable(enabled))$($wait)*
            }

            /// Whether the node is switched on, by [`set_enabled`](Self::set_enabled).
            pub fn is_enabled(&self) -> bool {
                !self.shared.status.read(|status| status.disabled)
            }

            /// From now on, answers nobody and says so in queries, or answers again (BEP 43,
            /// [`Node::set_read_only`]).
            ///
            /// # Errors
            ///
            /// [`CallError::Closed`].
            pub $($async)? fn set_read_only(&self, read_only: bool) -> Result<(), CallError> {
                self.with_node(move |node, now| node.set_read_only(now, read_only))$($wait)*
            }

            /// Opens the sockets anew, after a change of the network: the one of the family of `addr` there,
            /// port 0 meaning a free one, or all of them where they are. The node lives on
            /// ([`Node::handle_rebind`]). A socket that fails is opened again without this.
            ///
            /// # Errors
            ///
            /// The system's, or one that holds [`CallError::Closed`]. If `addr` cannot be bound, the socket
            /// stays where it is; without an address it is tried again by and by.
            /// [`Unsupported`](io::ErrorKind::Unsupported) if `addr` is of a family that is off, or the
            /// socket is not the node's own.
            pub $($async)? fn rebind(&self, addr: Option<SocketAddr>) -> io::Result<()> {
                self.change(Change::Rebind(addr))$($wait)*
            }

            /// The address that the socket of this family is bound to; `None` if the family is off, without a
            /// socket for now, or the socket is not the node's own.
            pub fn local_addr(&self, family: Family) -> Option<SocketAddr> {
                self.shared.local_addrs()[family.index()]
            }

            /// Where the nodes of this family see us; `None` until enough of them have said so. The port is 0
            /// where they disagree on it. [`Event::ExternalAddr`](crate::Event::ExternalAddr) tells of a
            /// change.
            ///
            /// # Errors
            ///
            /// [`CallError::Closed`].
            pub $($async)? fn external_addr(&self, family: Family) -> Result<Option<SocketAddr>, CallError> {
                self.with_node(move |node, _| node.external_addr(family))$($wait)*
            }

            /// Our id in the DHT of this family, which changes with our external address
            /// ([`Config::secure_ids`](crate::Config::secure_ids)).
            ///
            /// # Errors
            ///
            /// [`CallError::Closed`].
            pub $($async)? fn id(&self, family: Family) -> Result<NodeId, CallError> {
                self.with_node(move |node, _| node.id(family))$($wait)*
            }

            /// What the node has counted.
            ///
            /// # Errors
            ///
            /// [`CallError::Closed`].
            pub $($async)? fn stats(&self) -> Result<Stats, CallError> {
                self.with_node(|node, _| *node.stats())$($wait)*
            }

            /// What the loop around the node has counted. It can be read after the end, too.
            pub fn loop_stats(&self) -> LoopStats {
                self.shared.counters.read()
            }

            /// The last error with which the system did not send a datagram: no route, a firewall, no
            /// buffers. `None` if all of them have left. It can be read after the end, too.
            pub fn last_send_error(&self) -> Option<io::Error> {
                self.shared.last_send_error()
            }

            /// Everything that can be measured, read at once.
            ///
            /// # Errors
            ///
            /// [`CallError::Closed`].
            pub $($async)? fn metrics(&self) -> Result<Metrics, CallError> {
                let loop_stats = self.loop_stats();
                self.with_node(move |node, _| Metrics::read(node, loop_stats))$($wait)*
            }

            /// How many nodes are in the table of this family.
            ///
            /// # Errors
            ///
            /// [`CallError::Closed`].
            pub $($async)? fn node_count(&self, family: Family) -> Result<usize, CallError> {
                self.with_node(move |node, _| node.node_count(family))$($wait)*
            }

            /// How many nodes the DHT of this family has, estimated from how close lookups came to their
            /// targets; `None` before the first.
            ///
            /// # Errors
            ///
            /// [`CallError::Closed`].
            pub $($async)? fn network_size(&self, family: Family) -> Result<Option<$crate::NetworkSize>, CallError> {
                self.with_node(move |node, _| node.network_size(family))$($wait)*
            }

            /// The nodes in the table of this family. To have them again after the next start there is
            /// [`Builder::state`].
            ///
            /// # Errors
            ///
            /// [`CallError::Closed`].
            pub $($async)? fn nodes(&self, family: Family) -> Result<Vec<NodeInfo>, CallError> {
                self.with_node(move |node, _| node.nodes(family).collect())$($wait)*
            }

            /// How many nodes of the saved state have not answered yet.
            ///
            /// # Errors
            ///
            /// [`CallError::Closed`].
            pub $($async)? fn restored_count(&self, family: Family) -> Result<usize, CallError> {
                self.with_node(move |node, _| node.restored_count(family))$($wait)*
            }

            /// Saves the state now, beside the usual times, and returns whether it was saved: not without
            /// a [`Builder::state`] file, and not while no other node is known.
            ///
            /// # Errors
            ///
            /// The system's, or one that holds [`CallError::Closed`].
            pub $($async)? fn save_state(&self) -> io::Result<bool> {
                self.ask(Command::Save)$($wait)*.map_err(io::Error::other)?.map_err(io::Error::other)
            }

            /// Forgets the nodes of both tables, and removes the state file. The DHT is joined anew from the
            /// bootstrap hosts, under the same id, and saved again once there are nodes; to go on under
            /// another id, [`shutdown`](Dht::shutdown) and then
            /// [`StateFile::clear`](crate::net::StateFile::clear).
            ///
            /// # Errors
            ///
            /// The system's, or one that holds [`CallError::Closed`].
            pub $($async)? fn clear_state(&self) -> io::Result<()> {
                self.ask(Command::Clear)$($wait)*.map_err(io::Error::other)?.map_err(io::Error::other)
            }

            /// The good nodes in the table of this family that are closest to `target`, closest first; at
            /// most [`K`](crate::K).
            ///
            /// # Errors
            ///
            /// [`CallError::Closed`].
            pub $($async)? fn closest_nodes(
                &self,
                target: NodeId,
                family: Family,
            ) -> Result<Vec<NodeInfo>, CallError> {
                self.with_node(move |node, _| node.closest_nodes(target, family).collect())$($wait)*
            }

            /// Lookups under way and queries that wait for an answer, those of the node itself included.
            ///
            /// # Errors
            ///
            /// [`CallError::Closed`].
            pub $($async)? fn under_way(&self) -> Result<(usize, usize), CallError> {
                self.with_node(|node, _| (node.lookup_count(), node.query_count()))$($wait)*
            }

            /// Stores a peer that the [`DhtHandle`] of another address was told of
            /// ([`Node::store_peer`](crate::Node::store_peer)).
            ///
            /// # Errors
            ///
            /// [`CallError::Store`] if it may not be stored or there is no room for it,
            /// [`CallError::Closed`].
            pub $($async)? fn store_peer(
                &self,
                infohash: InfoHash,
                peer: SocketAddr,
                seed: bool,
            ) -> Result<(), CallError> {
                Ok(self.with_node(move |node, now| node.store_peer(now, infohash, peer, seed))$($wait)*??)
            }

            /// The peers of a torrent that announced themselves to us.
            ///
            /// # Errors
            ///
            /// [`CallError::Closed`].
            pub $($async)? fn stored_peers(&self, infohash: InfoHash) -> Result<Vec<SocketAddr>, CallError> {
                self.with_node(move |node, _| node.peers(infohash).collect())$($wait)*
            }

            /// The announces that are kept up, and how they fare.
            ///
            /// # Errors
            ///
            /// [`CallError::Closed`].
            pub $($async)? fn kept_announces(&self) -> Result<Vec<KeptAnnounce>, CallError> {
                self.with_node(|node, _| node.kept_announces().collect())$($wait)*
            }

            /// Forgets all peers that announced themselves to us.
            ///
            /// # Errors
            ///
            /// [`CallError::Closed`].
            pub $($async)? fn clear_peers(&self) -> Result<(), CallError> {
                self.with_node(|node, _| node.clear_peers())$($wait)*
            }

            /// Subscribes to what the node does on its own account, from now on.
            ///
            /// # Errors
            ///
            /// [`CallError::Closed`].
            pub $($async)? fn subscribe(&self) -> Result<NetEvents, CallError> {
                let (subscriber, events) = subscription();
                self.send(Command::Subscribe(subscriber))$($wait)*?;
                Ok(events)
            }

            /// Of lookups that are not told any.
            pub(crate) fn lookup_options(&self) -> LookupOptions {
                self.shared.lookup_options
            }

            /// `look` tells what the search yields.
            pub(crate) $($async)? fn search<T>(
                &self,
                key: Key,
                look: Next<LookupState, T>,
            ) -> Result<LookupHandle<T>, CallError> {
                let joined = self.ask(|reply| Command::Lookup { key, reply })$($wait)*??;
                Ok(LookupHandle::new(self.clone(), joined, look))
            }

            pub(crate) $($async)? fn with_node<R: Send + 'static>(
                &self,
                call: impl FnOnce(&mut Node, Instant) -> R + Send + 'static,
            ) -> Result<R, CallError> {
                self.ask(|reply| Command::Node(Box::new(move |node, now| reply(call(node, now)))))$($wait)*
            }

            $($async)? fn change(&self, change: Change) -> io::Result<()> {
                self.ask(|reply| Command::Change(change, reply))$($wait)*.map_err(io::Error::other)?
            }
        }

        impl fmt::Debug for DhtHandle {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct("DhtHandle").field("local_addrs", &self.shared.local_addrs()).finish_non_exhaustive()
            }
        }
    };
}
pub(crate) use calls;
