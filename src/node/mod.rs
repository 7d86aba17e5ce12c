//! The state machine: one DHT node, in one family or both.
//!
//! [`Node`] is a thin shell: its methods hand the storage's slices to the non-generic [`Core`],
//! whose work lies in the files beside this one: [`serve`] answers, [`search`] asks, [`walks`] leads
//! lookups from step to step, [`keep`] repeats announces, [`upkeep`] keeps house, [`saved`] saves and
//! restores, [`interrupt`] stops and goes on, [`identity`] goes by our address, [`scrape`] and
//! [`sample`] tell and learn which torrents there are and how many peers they have, [`output`] makes
//! datagrams and events, `checkpoint` writes and reads the whole of it; with the feature `items`
//! `items` stores what others put, and `publish` finds and puts items of our own.

#[cfg(any(feature = "checkpoint", feature = "sim"))]
mod audit;
#[cfg(feature = "checkpoint")]
mod checkpoint;
mod identity;
mod interrupt;
#[cfg(feature = "items")]
mod items;
mod keep;
mod output;
#[cfg(feature = "items")]
mod publish;
mod sample;
mod saved;
mod scrape;
mod search;
mod serve;
mod upkeep;
mod walks;

#[cfg(feature = "alloc")]
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

#[cfg(feature = "checkpoint")]
pub use checkpoint::CheckpointError;
pub(crate) use serve::Reply;

use crate::addr::{Endpoint, Family};
use crate::config::Config;
#[cfg(feature = "alloc")]
use crate::config::Limits;
use crate::contacts::Contacts;
#[cfg(feature = "items")]
use crate::event::KeptItem;
use crate::event::{
    Event, KeptAnnounce, KeptId, LookupId, LookupReport, NodeInfo, Notice, NoticeKind, QueryId, StartError,
    Transmit,
};
use crate::external::External;
use crate::id::{InfoHash, K, NodeId};
use crate::inflight::{Inflight, Match};
#[cfg(feature = "items")]
use crate::items::{Item, ItemStore, OwnItems, PublicKey, Salt};
use crate::kept::Keeper;
#[cfg(feature = "items")]
use crate::limit::Pacer;
use crate::limit::{Rate, RateLimit, SourceRules, Sources};
use crate::lookup::{Announce, Lookup, LookupOptions};
use crate::peers::{MAX_SAMPLE_INTERVAL, PeerRules, PeerStore};
use crate::pool::{Ix, Ring};
use crate::rng::Rng;
use crate::rtt::RttHistogram;
use crate::state::{BufferTooShort, Restored, SavedAnnounce, State};
use crate::stats::Stats;
#[cfg(feature = "alloc")]
use crate::storage::Heap;
use crate::storage::Storage;
#[cfg(feature = "alloc")]
use crate::storage::sealed::Sealed;
use crate::storage::sealed::{Memory, View};
use crate::table::{BucketInfo, Contact, Entry, Fate, Filter, Nodes, Outcome, Removal, Slots, Table};
use crate::time::Instant;
use crate::timer::{Timer, Timers};
use crate::token::Tokens;
use crate::trace::{debug, trace};
use crate::wire::{Body, Message, ParseError};

/// For how long an address that answered us is known to be genuine.
const VERIFIED_SECS: u32 = 15 * 60;

/// Both families together then have no more peers than a filter counts (BEP 33).
const MAX_PEERS_PER_SWARM: u32 = 3000;

/// The pause after an errand of the node's own for which the lookups of the user left no slot.
const PATROL: Duration = Duration::from_secs(10);

macro_rules! node {
    ($($storage:tt)*) => {
        /// A node of the DHT, as a state machine without sockets, clock or threads.
        ///
        /// Its methods fall into four classes:
        ///
        /// - **inputs** `handle_*`: what the network and the clock bring. Bad datagrams are no
        ///   errors; they are counted in [`Stats`] and dropped.
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
        self.core.handle_datagram(&mut self.storage.memory(), now, from.into(), datagram);
    }

    /// The time that [`poll_timeout`](Self::poll_timeout) asked for has come. Early calls are
    /// harmless, late ones cost what lateness costs.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.core.handle_timeout(&mut self.storage.memory(), now);
    }

    /// The system reported that a datagram to `destination` could not be delivered (an ICMP error
    /// or a failed send). Queries under way to it fail at once.
    pub fn handle_unreachable(&mut self, now: Instant, destination: SocketAddr) {
        self.core.handle_unreachable(&mut self.storage.memory(), now, destination.into());
    }

    /// The host was suspended for `slept`, and the clock behind `now` did not count that time.
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

/// Commands.
impl<S: Storage> Node<S> {
    /// Tells of a node that may be alive: from a PORT message or a torrent file. It
    /// is pinged, and kept if it answers. A whole saved table is for [`restore`](Self::restore).
    ///
    /// # Errors
    ///
    /// [`StartError::AddressRefused`], or [`StartError::Full`] where too many queries are under
    /// way.
    pub fn add_node(&mut self, now: Instant, addr: SocketAddr) -> Result<(), StartError> {
        self.core.add_node(&mut self.storage.memory(), now, addr.into())
    }

    /// Takes in a saved state, which was saved `elapsed` ago, and returns how much there was room for.
    ///
    /// Its nodes are pinged, 25 a second or so, and count as nodes only once they answer;
    /// until then lookups start from them, and ask bootstrap hosts only if none of them answers.
    /// Skipped are nodes that are known already, or refused by the address policy, and those past
    /// [`Limits::nodes_v4`](crate::Limits::nodes_v4) and [`nodes_v6`](crate::Limits::nodes_v6). Our
    /// ids are set at birth: [`Config::id`] and [`Config::id_v6`].
    ///
    /// Its announces are kept up again, each from where it was: what was announced ten minutes ago,
    /// `elapsed` included, is due in five, and what was due is due. They have new ids;
    /// [`keep_announced`](Self::keep_announced) of the same torrent returns the id and changes
    /// nothing else, and [`kept_announces`](Self::kept_announces) lists all, so that those no longer
    /// wanted can be [stopped](Self::stop_announcing). Skipped are those of torrents that are kept
    /// up already, and those past [`Limits::kept`](crate::Limits::kept). Who would rather choose
    /// which of them go on hands in the state [without](State::without_announces) them and has
    /// [`restore_announce`](Self::restore_announce).
    pub fn restore(&mut self, now: Instant, state: &State<'_>, elapsed: Duration) -> Restored {
        self.core.restore(&mut self.storage.memory(), now, state, elapsed)
    }

    /// Keeps up a single announce of a saved state, which was saved `elapsed` ago, from where it was.
    /// If the torrent is kept up already, this is [`keep_announced`](Self::keep_announced).
    ///
    /// # Errors
    ///
    /// Those of [`keep_announced`](Self::keep_announced).
    pub fn restore_announce(
        &mut self,
        now: Instant,
        saved: &SavedAnnounce,
        elapsed: Duration,
    ) -> Result<KeptId, StartError> {
        self.core.restore_announce(&mut self.storage.memory(), now, saved, elapsed)
    }

    /// Tells of a bootstrap host: it is asked while few nodes are known, kept only while no other
    /// node is, and never passed on. A known address is not an error.
    ///
    /// # Errors
    ///
    /// [`StartError::AddressRefused`], or [`StartError::Full`] where there are
    /// [`Limits::bootstraps`](crate::Limits::bootstraps) already.
    pub fn add_bootstrap(&mut self, now: Instant, addr: SocketAddr) -> Result<(), StartError> {
        self.core.add_bootstrap(&mut self.storage.memory(), now, addr.into())
    }

    /// Looks up our own neighbours now. A node does so by itself when it knows too few nodes.
    ///
    /// # Errors
    ///
    /// [`StartError::Full`].
    pub fn bootstrap(&mut self, now: Instant) -> Result<LookupId, StartError> {
        self.core.bootstrap(&mut self.storage.memory(), now)
    }

    /// Looks up the nodes closest to `target`.
    ///
    /// # Errors
    ///
    /// [`StartError::Full`].
    pub fn find_node(&mut self, now: Instant, target: NodeId) -> Result<LookupId, StartError> {
        let options = self.core.config.lookup;
        self.lookup(now, Lookup::FindNode(target), &options)
    }

    /// Looks up the peers of a torrent. Each comes as an [`Event::Peer`] as soon as it is found;
    /// those that announced themselves to us come first.
    ///
    /// # Errors
    ///
    /// [`StartError::Full`].
    pub fn get_peers(&mut self, now: Instant, infohash: InfoHash) -> Result<LookupId, StartError> {
        let options = self.core.config.lookup;
        self.lookup(now, Lookup::GetPeers(infohash), &options)
    }

    /// Looks up the peers of a torrent and adds us to them. Within five minutes of an earlier
    /// lookup of the torrent its tokens are used, and no second lookup is made.
    ///
    /// # Errors
    ///
    /// [`StartError::Full`], or [`StartError::PortZero`].
    pub fn announce(
        &mut self,
        now: Instant,
        infohash: InfoHash,
        announce: Announce,
    ) -> Result<LookupId, StartError> {
        let options = self.core.config.lookup;
        self.lookup(now, Lookup::Announce(infohash, announce), &options)
    }

    /// Announces us as a peer of a torrent, soon and again every
    /// [`Config::announce_interval`], until [`stop_announcing`](Self::stop_announcing).
    ///
    /// Each round is an ordinary announce that the node starts by itself: it reports peers,
    /// acknowledgements and its end under a [`LookupId`] of its own, and
    /// [`LookupReport::kept`] tells of which announce it is a round, at the end and, by
    /// [`lookup_report`](Self::lookup_report), before. [`cancel`](Self::cancel) ends that one round.
    ///
    /// Rounds start once the node is [ready](Self::is_ready), the newest announce first, and are
    /// spread evenly over the interval: a few are under way at once at most, as many as
    /// [`Config::new_endpoints`] sustains. By default that is one in 1.3 s, or 700 announces in 15
    /// minutes, in one family, and half as many in both; with more the interval grows for all
    /// alike. A lookup of the user's takes the slot of a round if no other is free. A round that
    /// nobody acknowledged is repeated after a minute, then after two, four and so on; while there
    /// is no network rounds wait, and go on when it is back.
    ///
    /// A torrent has one announce: given again with another port, or as a seed, it is changed and
    /// keeps its id, and its next round comes soon; given again as it is, nothing happens. Nodes
    /// store one peer for each IP address (BEP 33), so a second port would displace the first.
    ///
    /// # Errors
    ///
    /// [`StartError::TooManyKept`] past [`Limits::kept`](crate::Limits::kept),
    /// [`StartError::PortZero`], or [`StartError::Full`] where
    /// [`Limits::lookups`](crate::Limits::lookups) are too few for any.
    pub fn keep_announced(
        &mut self,
        now: Instant,
        infohash: InfoHash,
        announce: Announce,
    ) -> Result<KeptId, StartError> {
        self.core.keep_announced(&mut self.storage.memory(), now, infohash, announce, None)
    }

    /// Keeps an announce up no longer. A round under way ends without further events; nodes forget
    /// us in their own time. Returns whether it was kept up.
    pub fn stop_announcing(&mut self, kept: KeptId) -> bool {
        self.core.stop_keeping(&mut self.storage.memory(), kept, false)
    }

    /// Looks up the immutable item at `target` (BEP 44). The lookup ends with the first copy, which is
    /// [`item`](Self::item).
    ///
    /// # Errors
    ///
    /// [`StartError::Full`], or [`StartError::TooManyItems`].
    #[cfg(feature = "items")]
    pub fn get_immutable(&mut self, now: Instant, target: NodeId) -> Result<LookupId, StartError> {
        let options = self.core.config.lookup;
        self.lookup(now, Lookup::GetImmutable(target), &options)
    }

    /// Looks up the mutable item of a key and a salt (BEP 44). Of all versions that nodes return under
    /// a valid signature the newest is [`item`](Self::item); each one is an [`Event::ItemFound`].
    ///
    /// To replace what is found: [`Item::sign`](crate::Item::sign) with the number of
    /// [`LookupReport::seq`] and one more, then [`put`](Self::put) with that number as `cas`. Within five
    /// minutes the put uses the tokens of this lookup, and no second one is made.
    ///
    /// # Errors
    ///
    /// [`StartError::Full`], or [`StartError::TooManyItems`].
    #[cfg(feature = "items")]
    pub fn get_mutable(&mut self, now: Instant, key: PublicKey, salt: Salt) -> Result<LookupId, StartError> {
        let options = self.core.config.lookup;
        self.lookup(now, Lookup::GetMutable(key, salt), &options)
    }

    /// Stores an item at the nodes closest to its target (BEP 44), who keep it for two hours. How many
    /// took it and how many refused is in the [`LookupReport`], as is the number of a newer one that was
    /// met.
    ///
    /// With `cas` ("compare and swap") nodes that returned an item store this one only if theirs has
    /// that sequence number; others, who hold nothing to compare with, store it as it is.
    ///
    /// # Errors
    ///
    /// [`StartError::Full`], or [`StartError::TooManyItems`].
    #[cfg(feature = "items")]
    pub fn put(&mut self, now: Instant, item: &Item, cas: Option<i64>) -> Result<LookupId, StartError> {
        let options = self.core.config.lookup;
        self.put_with(now, item, cas, &options)
    }

    /// The same with options of its own.
    ///
    /// # Errors
    ///
    /// [`StartError`].
    #[cfg(feature = "items")]
    pub fn put_with(
        &mut self,
        now: Instant,
        item: &Item,
        cas: Option<i64>,
        options: &LookupOptions,
    ) -> Result<LookupId, StartError> {
        self.core.put(&mut self.storage.memory(), now, item, cas, options)
    }

    /// Stores an item, soon and again every hour (BEP 44), until [`stop_storing`](Self::stop_storing). Anybody may keep up what others signed.
    ///
    /// It is done as [`keep_announced`](Self::keep_announced) does it, and shares its rounds, slots and
    /// limits. After the first, a round looks who holds the item before it puts it: where more than
    /// eight nodes do, all of the closest among them, nothing is stored (BEP 44), and the next round
    /// comes after half the time, which stores it in any case. If a newer one was found, nothing is
    /// stored either: [`KeptItem::newest`](crate::KeptItem::newest) tells.
    ///
    /// Items that are kept up are not in a [`snapshot`](Self::snapshot_into): give them again after a
    /// restart. A target has one item: given again with a higher sequence number it is changed and keeps its id,
    /// and its next round comes soon.
    ///
    /// # Errors
    ///
    /// [`StartError::TooManyKept`], [`StartError::TooManyItems`], [`StartError::StaleItem`] where a
    /// newer one is kept up, or [`StartError::Full`] where [`Limits::lookups`](crate::Limits::lookups)
    /// are too few for any.
    #[cfg(feature = "items")]
    pub fn keep_stored(&mut self, now: Instant, item: &Item) -> Result<KeptId, StartError> {
        self.core.keep_stored(&mut self.storage.memory(), now, item)
    }

    /// Keeps an item up no longer. A round under way ends without further events; nodes forget the item
    /// in their own time. Returns whether it was kept up.
    #[cfg(feature = "items")]
    pub fn stop_storing(&mut self, kept: KeptId) -> bool {
        self.core.stop_keeping(&mut self.storage.memory(), kept, true)
    }

    /// Starts a lookup with options of its own.
    ///
    /// # Errors
    ///
    /// [`StartError`].
    pub fn lookup(
        &mut self,
        now: Instant,
        lookup: Lookup,
        options: &LookupOptions,
    ) -> Result<LookupId, StartError> {
        self.core.lookup(&mut self.storage.memory(), now, lookup, options)
    }

    /// Asks a single node whether it is there.
    ///
    /// # Errors
    ///
    /// [`StartError::AddressRefused`], or [`StartError::Full`] where too many queries are under
    /// way.
    pub fn ping(&mut self, now: Instant, addr: SocketAddr) -> Result<QueryId, StartError> {
        self.core.ping(&mut self.storage.memory(), now, addr.into())
    }

    /// Ends a lookup without further events. Returns whether it was under way.
    pub fn cancel(&mut self, lookup: LookupId) -> bool {
        self.core.cancel(&mut self.storage.memory(), lookup)
    }

    /// Ends a query without an event. Returns whether it was under way.
    pub fn cancel_query(&mut self, query: QueryId) -> bool {
        self.core.cancel_query(&mut self.storage.memory(), query)
    }

    /// Forgets the nodes of both routing tables, restored ones too, without events; bootstrap hosts stay known, and
    /// the DHT is joined anew from them.
    pub fn clear_nodes(&mut self, now: Instant) {
        self.core.clear_nodes(&mut self.storage.memory(), now);
    }

    /// Switches a family off and on again; both at birth as the [`Config`] says, and one that is off
    /// there stays off. As it is already, nothing happens.
    ///
    /// Off, nothing is sent and whatever comes is dropped. Pings under way end with
    /// [`QueryError::Disabled`](crate::QueryError::Disabled), lookups with a report of what they found
    /// until then, unless they go on in the other family. Id, table, bootstrap hosts and stored peers
    /// stay, and age; announces that are kept up wait. On again, the DHT is joined anew from the nodes
    /// known ([`Event::Ready`]), and those announces are repeated soon.
    pub fn set_enabled(&mut self, now: Instant, family: Family, enabled: bool) {
        self.core.set_enabled(&mut self.storage.memory(), now, family, enabled);
    }

    /// From now on, answers nobody and says so in queries (BEP 43), or answers again: what
    /// [`Config::read_only`] says at birth. As it is already, nothing happens.
    ///
    /// Answers that wait to be polled are dropped. Nodes that know us find out when we ask them.
    pub fn set_read_only(&mut self, now: Instant, read_only: bool) {
        self.core.set_read_only(now, read_only);
    }

    /// Forgets all peers that announced themselves to us.
    pub fn clear_peers(&mut self) {
        self.core.peers.clear(&mut serve::peer_slots(&mut self.storage.memory()));
    }

    /// Forgets all items that others put to us.
    #[cfg(feature = "items")]
    pub fn clear_items(&mut self) {
        let mut memory = self.storage.memory();
        let slots = &mut self.core.item_slots(&mut memory);
        self.core.items.clear(slots);
    }
}

/// Outputs.
impl<S: Storage> Node<S> {
    /// The next datagram to send, made in `buf`; `None` when there is none for now.
    ///
    /// # Panics
    ///
    /// If `buf` is shorter than [`MAX_DATAGRAM`](crate::MAX_DATAGRAM).
    pub fn poll_transmit(&mut self, now: Instant, buf: &mut [u8]) -> Option<Transmit> {
        self.core.poll_transmit(&mut self.storage.memory(), now, buf)
    }

    /// The next event; `None` when there is none for now.
    pub fn poll_event(&mut self) -> Option<Event> {
        if self.core.has_events() { self.core.poll_event(&mut self.storage.memory()) } else { None }
    }

    /// When to call [`handle_timeout`](Self::handle_timeout): the last instant seen while there
    /// is anything to poll, `None` if nothing will ever happen by itself.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.core.poll_timeout(self.storage.view().queries)
    }
}

/// Getters.
impl<S: Storage> Node<S> {
    /// Our id in one family. It changes with our external address, unless
    /// [`Config::secure_ids`] is off.
    pub fn id(&self, family: Family) -> NodeId {
        self.core.family(family).id
    }

    /// Counters since birth.
    pub fn stats(&self) -> &Stats {
        &self.core.stats
    }

    /// Whether the node has joined the DHT of this family, as [`Event::Ready`] told.
    pub fn is_ready(&self, family: Family) -> bool {
        self.core.family(family).ready
    }

    /// Whether the node takes part in the DHT of this family: it is on in the [`Config`] and
    /// [enabled](Self::set_enabled).
    pub fn is_enabled(&self, family: Family) -> bool {
        self.core.family(family).on
    }

    /// Whether the node answers nobody (BEP 43).
    pub fn is_read_only(&self) -> bool {
        self.core.config.read_only
    }

    /// Writes what is worth keeping over a restart to the front of `buf` and returns its length: our
    /// ids, the nodes of both tables, best first, and the announces that are kept up, for [`State::parse`] and
    /// [`restore`](Self::restore). `saved_at` is for [`State::saved_at`]: the wall clock in seconds,
    /// or 0 where there is none.
    ///
    /// # Errors
    ///
    /// [`BufferTooShort`], which says how long it is; at most 36 bytes for each IPv4 node, 48 for
    /// each IPv6 node, 28 for each announce, and 200 more.
    pub fn snapshot_into(&self, saved_at: u64, buf: &mut [u8]) -> Result<usize, BufferTooShort> {
        self.core.snapshot(self.storage.view(), saved_at, buf)
    }

    /// The same in memory of its own.
    #[cfg(feature = "alloc")]
    pub fn snapshot(&self, saved_at: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        while let Err(short) = self.snapshot_into(saved_at, &mut bytes) {
            bytes.resize(short.needed, 0);
        }
        bytes
    }

    /// Nodes that were [restored](Self::restore) and have not answered yet, nor failed twice.
    pub fn restored_count(&self, family: Family) -> usize {
        self.core.family(family).table.restored()
    }

    /// Nodes in the routing table; all of them have answered us.
    pub fn node_count(&self, family: Family) -> usize {
        self.core.family(family).table.len()
    }

    /// How full each bucket of the routing table is. The first holds the nodes that share no leading
    /// bit of their ids with ours, each next one those that share one more, the last all nearer ones.
    pub fn buckets(&self, family: Family) -> impl Iterator<Item = BucketInfo> {
        self.core.family(family).table.census(nodes(self.storage.view(), family), self.core.now)
    }

    /// The nodes of the routing table.
    pub fn nodes(&self, family: Family) -> impl Iterator<Item = NodeInfo> {
        self.core.nodes(self.storage.view(), family)
    }

    /// The good nodes of the routing table that are closest to `target`, at most
    /// [`K`](crate::K), closest first.
    pub fn closest_nodes(&self, target: NodeId, family: Family) -> impl Iterator<Item = NodeInfo> {
        self.core.closest_nodes(self.storage.view(), target, family)
    }

    /// The nodes that a lookup found: on its way those that answered so far, at its end the
    /// closest ones, closest first within each family, IPv4 first. For a query to a single node
    /// ([`LookupOptions::only`]) the nodes that it returned.
    ///
    /// After [`Event::LookupDone`] it may be called until the next input or command.
    pub fn lookup_nodes(&self, lookup: LookupId) -> impl Iterator<Item = NodeInfo> {
        self.core.lookup_nodes(self.storage.view(), lookup)
    }

    /// How a lookup goes so far; `None` once it has been reported as done.
    pub fn lookup_report(&self, lookup: LookupId) -> Option<LookupReport> {
        self.core.lookup_report(self.storage.view(), lookup)
    }

    /// Lookups under way, those of the node itself included.
    pub fn lookup_count(&self) -> usize {
        self.core.lookup_count()
    }

    /// The announces that are kept up, in no particular order.
    pub fn kept_announces(&self) -> impl Iterator<Item = KeptAnnounce> {
        self.core.kept_announces(self.storage.view())
    }

    /// The items that are kept up, in no particular order.
    #[cfg(feature = "items")]
    pub fn kept_items(&self) -> impl Iterator<Item = KeptItem> {
        self.core.kept_items(self.storage.view())
    }

    /// An item that is kept up.
    #[cfg(feature = "items")]
    pub fn kept_item(&self, kept: KeptId) -> Option<Item> {
        self.core.kept_item(self.storage.view(), kept)
    }

    /// What a lookup found so far, or publishes: of the versions of a mutable item the newest. After
    /// [`Event::LookupDone`] it may be called until the next input or command.
    #[cfg(feature = "items")]
    pub fn item(&self, lookup: LookupId) -> Option<Item> {
        self.core.found_item(self.storage.view(), lookup)
    }

    /// The items that others put to us, that which was put longest ago first.
    #[cfg(feature = "items")]
    pub fn stored_items(&self) -> impl Iterator<Item = Item> {
        self.core.stored_items(self.storage.view())
    }

    /// What others put to us at a target.
    #[cfg(feature = "items")]
    pub fn stored_item(&self, target: NodeId) -> Option<Item> {
        self.core.stored_item(self.storage.view(), &target)
    }

    /// How many items others put to us.
    #[cfg(feature = "items")]
    pub fn item_count(&self) -> usize {
        self.core.items.len()
    }

    /// How many announces and items are kept up.
    pub fn kept_count(&self) -> usize {
        self.core.keeper.len()
    }

    /// Queries that wait for an answer.
    pub fn query_count(&self) -> usize {
        self.core.inflight.outstanding()
    }

    /// The peers of a torrent that announced themselves to us.
    pub fn peers(&self, infohash: InfoHash) -> impl Iterator<Item = SocketAddr> {
        self.core.peers_of(self.storage.view(), infohash)
    }

    /// The torrents that peers announced to us.
    pub fn infohashes(&self) -> impl Iterator<Item = InfoHash> {
        self.core.infohashes(self.storage.view())
    }

    /// Peers that announced themselves to us, over all torrents.
    pub fn peer_count(&self, family: Family) -> usize {
        self.core.peers.peer_count(family)
    }

    /// How many peers there is memory for, if all of them are of a few torrents.
    pub fn peer_capacity(&self, family: Family) -> usize {
        serve::peer_view(self.storage.view()).capacity(family)
    }

    /// Torrents that peers announced to us.
    pub fn infohash_count(&self) -> usize {
        self.core.peers.infohash_count()
    }

    /// How many torrents there is memory for.
    pub fn infohash_capacity(&self) -> usize {
        self.storage.view().swarms.len()
    }

    /// Endpoints of which it is remembered when they were contacted and how often they failed.
    pub fn contact_count(&self) -> usize {
        Contacts::count(self.storage.view().contacts)
    }

    /// How long answers take: the time within which this share of them came (`0.5` the median),
    /// to within a fifth. Zero before the first.
    pub fn rtt_quantile(&self, share: f32) -> Duration {
        self.core.rtt.quantile((share.clamp(0.0, 1.0) * 1000.0) as u32, 1000)
    }
}

/// Everything but the slices. Not generic, so its code exists once however many kinds of storage
/// a program uses.
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
struct Core {
    config: Config,
    /// The last instant seen, sleep included.
    now: Instant,
    /// Time that the caller's clock did not count.
    slept: Duration,
    rng: Rng,
    families: [FamilyState; 2],
    inflight: Inflight,
    rtt: RttHistogram,
    searches: walks::Searches,
    keeper: Keeper,
    tokens: Tokens,
    peers: PeerStore,
    sources: Sources,
    #[cfg(feature = "items")]
    items: ItemStore,
    /// Items of our own lookups.
    #[cfg(feature = "items")]
    own: OwnItems,
    #[cfg(feature = "items")]
    signature_checks: Pacer,
    contacts: Contacts,
    new_endpoints: Rate,
    replies: Ring,
    notices: Ring,
    bootstraps: u16,
    timers: Timers,
    /// When the last message came, whatever it was, or the node was enabled.
    heard: Instant,
    /// A query went unanswered since, or the host slept: the silence is no mere quiet.
    missed: bool,
    /// When the upkeep last sent a ping.
    checked: Instant,
    /// Until then what is ready cannot be sent; `None` where it was not tried yet.
    blocked: Option<Instant>,
    stats: Stats,
}

/// The DHT of one family.
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
struct FamilyState {
    on: bool,
    id: NodeId,
    table: Table,
    ready: bool,
    /// Our own endpoint, once a query of ours came back to us.
    own: Option<Endpoint>,
    /// Where others see us.
    external: External,
    /// Bootstrap hosts of this family.
    bootstraps: u16,
    /// The table holds a bootstrap host, because nobody else is known.
    holds_bootstrap: bool,
    bootstrap: upkeep::Bootstrap,
}

impl Core {
    fn new(config: Config, m: &mut Memory<'_>, seed: [u8; 32], now: Instant) -> Self {
        let mut rng = Rng::new(seed);
        let limits = config.source_limits;
        let mut family = |family, on, id: Option<NodeId>| {
            let id = id.unwrap_or_else(|| rng.id());
            let table = Table::new(family, id, &mut table_slots(m, family), limits, now);
            let bootstrap = upkeep::Bootstrap::default();
            FamilyState {
                on,
                id,
                table,
                ready: false,
                own: None,
                external: External::default(),
                bootstraps: 0,
                holds_bootstrap: false,
                bootstrap,
            }
        };
        let families =
            [family(Family::V4, config.ipv4, config.id), family(Family::V6, config.ipv6, config.id_v6)];
        let peer_rules = PeerRules {
            ttl_secs: u32::try_from(config.peer_ttl.as_secs()).unwrap_or(u32::MAX),
            per_swarm: config.peers_per_swarm.min(MAX_PEERS_PER_SWARM) as u16,
            sample_secs: config.sample_interval.min(MAX_SAMPLE_INTERVAL).as_secs() as u16,
            by_endpoint: !limits,
            ..PeerRules::default()
        };
        let source_rules = SourceRules {
            queries: RateLimit { per_sec: config.queries_per_source, burst: config.source_burst },
            site_bytes: config.unverified_bytes,
            verified_secs: VERIFIED_SECS,
            by_endpoint: !limits,
        };
        let tokens = Tokens::new(now, &mut rng);
        let mut timers = Timers::new();
        timers.set(Timer::Rotation, tokens.next_rotation());
        Self {
            now,
            slept: Duration::ZERO,
            families,
            inflight: Inflight::default(),
            rtt: RttHistogram::new(),
            searches: walks::Searches::default(),
            keeper: Keeper::new(keep::pace(&config, m.walks.len())),
            tokens,
            peers: PeerStore::new(peer_rules, &mut rng),
            sources: Sources::new(source_rules, &mut rng),
            #[cfg(feature = "items")]
            items: ItemStore::new(!limits),
            #[cfg(feature = "items")]
            own: OwnItems::default(),
            #[cfg(feature = "items")]
            signature_checks: Pacer::default(),
            contacts: Contacts::new(&mut rng),
            new_endpoints: Rate::default(),
            replies: Ring::default(),
            notices: Ring::default(),
            bootstraps: 0,
            timers,
            heard: now,
            missed: false,
            checked: now,
            blocked: None,
            stats: Stats::default(),
            rng,
            config,
        }
    }

    const fn family(&self, family: Family) -> &FamilyState {
        &self.families[family.index()]
    }

    const fn family_mut(&mut self, family: Family) -> &mut FamilyState {
        &mut self.families[family.index()]
    }

    /// Moves time forward and makes output worth another try. Returns the time inside.
    fn advance(&mut self, now: Instant) -> Instant {
        self.now = self.now.max(now + self.slept);
        self.blocked = None;
        self.now
    }

    fn handle_datagram(&mut self, m: &mut Memory<'_>, now: Instant, from: Endpoint, datagram: &[u8]) {
        let now = self.advance(now);
        self.stats.datagrams_in += 1;
        self.stats.bytes_in += datagram.len() as u64;
        if !self.may_contact(from) {
            self.stats.dropped.address += 1;
            return;
        }
        match Message::parse_prefix(datagram) {
            Ok((message, trailing)) => {
                self.stats.trailing += u64::from(!trailing.is_empty());
                self.note_traffic(m, now);
                match message.body {
                    Body::Query(query) => self.on_query(m, from, &message, &query, datagram.len()),
                    Body::Response(response) => self.on_response(m, from, &message, &response),
                    Body::Error(error) => self.on_error(m, from, &message, error.code),
                }
            }
            Err(ParseError::BadQuery { transaction, id, method, code, reason, .. }) => {
                trace!("bad query from {}: {reason}", SocketAddr::from(from));
                self.on_bad_query(m, from, transaction, id, method, code, reason, datagram.len());
            }
            Err(ParseError::BadReply { transaction }) => self.on_bad_reply(m, from, transaction),
            Err(error) => {
                trace!("dropped a datagram from {}: {error}", SocketAddr::from(from));
                self.stats.dropped.malformed += 1;
            }
        }
    }

    /// Whether datagrams may come from and go to this endpoint.
    fn may_contact(&self, endpoint: Endpoint) -> bool {
        self.check_contact(endpoint).is_ok()
    }

    fn check_contact(&self, endpoint: Endpoint) -> Result<(), StartError> {
        let family = endpoint.family();
        if !self.config.has(family) || !self.config.address_policy.allows(endpoint) {
            return Err(StartError::AddressRefused);
        }
        if self.family(family).on { Ok(()) } else { Err(StartError::Disabled) }
    }

    /// The families that take part now.
    fn families_on(&self) -> Result<[bool; 2], StartError> {
        let on = Family::ALL.map(|family| self.family(family).on);
        if on == [false; 2] { Err(StartError::Disabled) } else { Ok(on) }
    }

    /// The query that an answer belongs to; `None`, and counted, where there is none.
    fn matching(&mut self, m: &Memory<'_>, from: Endpoint, transaction: &[u8]) -> Option<Ix> {
        match self.inflight.find(m.queries, from, transaction) {
            Match::Query(ix) => return Some(ix),
            Match::WrongPort => self.stats.dropped.wrong_port += 1,
            Match::Stray => self.stats.dropped.stray += 1,
        }
        None
    }

    fn notify(&mut self, m: &mut Memory<'_>, notice: Notice) {
        self.stats.events_lost += self.notices.push(m.notices, notice);
    }

    fn notify_node(&mut self, m: &mut Memory<'_>, kind: NoticeKind, contact: Contact) {
        let Contact { id, endpoint } = contact;
        debug!("{kind:?} {id} {}", SocketAddr::from(endpoint));
        self.notify(m, Notice { kind, id, endpoint, ..Notice::EMPTY });
    }

    /// Tells of a node that came, and one that went.
    fn notify_outcome(&mut self, m: &mut Memory<'_>, contact: Contact, outcome: Outcome) {
        if let Some(removal) = outcome.removal {
            self.notify_removal(m, removal);
        }
        if outcome.fate == Fate::Added {
            self.notify_node(m, NoticeKind::NodeAdded, contact);
        }
    }

    fn notify_removal(&mut self, m: &mut Memory<'_>, removal: Removal) {
        self.notify_node(m, NoticeKind::NodeRemoved, removal.removed);
        if let Some(promoted) = removal.promoted {
            self.notify_node(m, NoticeKind::NodeAdded, promoted);
        }
    }

    fn nodes<'a>(&'a self, view: View<'a>, family: Family) -> impl Iterator<Item = NodeInfo> + 'a {
        self.family(family).table.iter(nodes(view, family)).map(info)
    }

    fn closest_nodes(
        &self,
        view: View<'_>,
        target: NodeId,
        family: Family,
    ) -> impl Iterator<Item = NodeInfo> + use<> {
        let nodes = nodes(view, family);
        let closest = self.family(family).table.closest::<K>(nodes, &target, Filter::Good, self.now);
        let closest: heapless::Vec<NodeInfo, K> = closest.into_iter().map(info).collect();
        closest.into_iter()
    }

    fn infohashes<'a>(&self, view: View<'a>) -> impl Iterator<Item = InfoHash> + use<'a> {
        self.peers.infohashes(serve::peer_view(view), self.now)
    }

    fn peers_of<'a>(&self, view: View<'a>, infohash: InfoHash) -> impl Iterator<Item = SocketAddr> + use<'a> {
        self.peers.peers_of(serve::peer_view(view), &infohash, self.now).map(|peer| peer.endpoint.into())
    }
}

/// The routing table's memory in one family.
fn table_slots<'a>(m: &'a mut Memory<'_>, family: Family) -> Slots<'a> {
    match family {
        Family::V4 => Slots { buckets: m.buckets_v4, main: m.nodes_v4, spares: m.spares_v4 },
        Family::V6 => Slots { buckets: m.buckets_v6, main: m.nodes_v6, spares: m.spares_v6 },
    }
}

/// The nodes in it, to read.
const fn table_nodes<'a>(m: &'a Memory<'_>, family: Family) -> Nodes<'a> {
    match family {
        Family::V4 => Nodes { buckets: m.buckets_v4, main: m.nodes_v4 },
        Family::V6 => Nodes { buckets: m.buckets_v6, main: m.nodes_v6 },
    }
}

const fn nodes(view: View<'_>, family: Family) -> Nodes<'_> {
    match family {
        Family::V4 => Nodes { buckets: view.buckets_v4, main: view.nodes_v4 },
        Family::V6 => Nodes { buckets: view.buckets_v6, main: view.nodes_v6 },
    }
}

fn info(entry: &Entry) -> NodeInfo {
    NodeInfo { id: entry.id(), addr: entry.endpoint().into(), rtt: Some(entry.rtt()) }
}
