//! What the user wants of a node.

use core::net::SocketAddr;
use core::time::Duration;

use crate::base::addr::Family;
use crate::base::id::{InfoHash, NodeId};
use crate::base::time::Instant;
use crate::lookup::{Announce, Lookup, LookupOptions};
use crate::node::Node;
use crate::node::api::config::BootstrapKind;
use crate::node::api::error::{StartError, StoreError};
use crate::node::api::event::{LookupId, PublicationId, QueryId};
#[cfg(feature = "items")]
use crate::node::persist::format::SavedItem;
use crate::node::persist::format::{Restored, SavedAnnounce, State};
use crate::node::storage::Storage;
#[cfg(feature = "items")]
use crate::store::items::{Item, PublicKey, Salt};

/// Commands.
impl<S: Storage> Node<S> {
    /// Tells of a node that may be alive: from a PORT message or a torrent file. It
    /// is pinged, and kept if it answers. A whole saved table is for [`restore`](Self::restore).
    ///
    /// # Errors
    ///
    /// [`StartError::AddressRefused`], or [`StartError::Full`] where
    /// [`Limits::inflight`](crate::Limits::inflight) queries are under way.
    pub fn add_node(&mut self, now: Instant, addr: SocketAddr) -> Result<(), StartError> {
        self.core.add_node(&mut self.storage.memory(), now, addr.into())
    }

    /// Takes in a saved state, which was saved `elapsed` ago, and returns how much there was room for.
    ///
    /// Its nodes are pinged, 25 a second or so, and count as nodes only once they answer;
    /// until then lookups start from them, and ask bootstrap hosts only if none of them answers.
    /// Skipped are nodes that are known already, or refused by the address policy, and those past
    /// [`Limits::nodes_v4`](crate::Limits::nodes_v4) and [`nodes_v6`](crate::Limits::nodes_v6). Our
    /// ids are set at birth: [`Config::id`](crate::Config::id) and [`Config::id_v6`](crate::Config::id_v6).
    ///
    /// Its announces are kept up again, each from where it was: what was announced ten minutes ago,
    /// `elapsed` included, is due in five, and what was due is due. They have new ids;
    /// [`start_announcing`](Self::start_announcing) of the same torrent returns the id and changes
    /// nothing else, and [`announcements`](Self::announcements) lists all, so that those no longer
    /// wanted can be [stopped](Self::stop_announcing). Skipped are those of torrents that are kept
    /// up already, and those past [`Limits::publications`](crate::Limits::publications). Who would rather choose
    /// which of them go on hands in the state [without](State::without_announces) them and has
    /// [`restore_announce`](Self::restore_announce).
    ///
    /// With its items it is the same, by the feature `items`: `start_publishing`, `publications`, `stop_publishing`,
    /// `without_items` and `restore_item`. Skipped are also those that there is no memory for.
    pub fn restore(&mut self, now: Instant, state: &State<'_>, elapsed: Duration) -> Restored {
        self.core.restore(&mut self.storage.memory(), now, state, elapsed)
    }

    /// Keeps up a single announce of a saved state, which was saved `elapsed` ago, from where it was.
    /// If the torrent is kept up already, this is `start_announcing`.
    ///
    /// # Errors
    ///
    /// Those of [`start_announcing`](Self::start_announcing).
    pub fn restore_announce(
        &mut self,
        now: Instant,
        saved: &SavedAnnounce,
        elapsed: Duration,
    ) -> Result<PublicationId, StartError> {
        self.core.restore_announce(&mut self.storage.memory(), now, saved, elapsed)
    }

    /// Keeps up a single item of a saved state, which was saved `elapsed` ago, from where it was. If an item
    /// is kept up there already, this is [`start_publishing`](Self::start_publishing).
    ///
    /// # Errors
    ///
    /// Those of [`start_publishing`](Self::start_publishing).
    #[cfg(feature = "items")]
    pub fn restore_item(
        &mut self,
        now: Instant,
        saved: &SavedItem,
        elapsed: Duration,
    ) -> Result<PublicationId, StartError> {
        self.core.restore_item(&mut self.storage.memory(), now, saved, elapsed)
    }

    /// Tells of a bootstrap host, which is asked while fewer than 30 nodes are known. The `kind` decides
    /// whether it is kept as a node once it has answered. A known address is not an error; a node that
    /// is named as a router later is one from then on.
    ///
    /// # Errors
    ///
    /// [`StartError::AddressRefused`], or [`StartError::Full`] where there are
    /// [`Limits::bootstraps`](crate::Limits::bootstraps) already.
    pub fn add_bootstrap(
        &mut self,
        now: Instant,
        addr: SocketAddr,
        kind: BootstrapKind,
    ) -> Result<(), StartError> {
        self.core.add_bootstrap(&mut self.storage.memory(), now, addr.into(), kind)
    }

    /// Forgets a bootstrap host, to make room for another one, and returns whether that is done: not where it
    /// was none, and not while it stands in the table because no other node is known.
    pub fn remove_bootstrap(&mut self, addr: SocketAddr) -> bool {
        self.core.remove_bootstrap(&mut self.storage.memory(), addr.into())
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

    /// Looks up the peers of a torrent. Each comes as an [`Event::Peer`](crate::Event::Peer) as soon as it
    /// is found; those that announced themselves to us come first.
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
    /// [`Config::announce_interval`](crate::Config::announce_interval), until
    /// [`stop_announcing`](Self::stop_announcing).
    ///
    /// Each round is an ordinary announce that the node starts by itself: it reports peers,
    /// acknowledgements and its end under a [`LookupId`] of its own, and
    /// [`LookupReport::kept`](crate::LookupReport::kept) tells of which announce it is a round, at the end
    /// and, by [`lookup_report`](Self::lookup_report), before. [`cancel`](Self::cancel) ends that one
    /// round.
    ///
    /// Rounds start once the node is [ready](Self::is_ready), the newest announce first. While fewer than
    /// 64 wait for their first round those start at once, in up to half of
    /// [`Limits::lookups`](crate::Limits::lookups); all others are spread evenly over the interval: a few
    /// are under way at once at most, as many as
    /// [`Config::new_endpoints`](crate::Config::new_endpoints) sustains. By default that is one in 1.3 s,
    /// or 700 announces in 15 minutes, in one family, and half as many in both; with more the interval
    /// grows for all alike. A lookup of the user's takes the slot of a round if no other is free, but, where
    /// there are four times as many as a lookup needs, not that of the last one. A round
    /// that nobody acknowledged is repeated after a minute, then after two, four and so on; while there is
    /// no network rounds wait, and go on when it is back.
    ///
    /// A torrent has one announce: given again with another port, or as a seed, it is changed and
    /// keeps its id, and its next round comes soon; given again as it is, nothing happens. Nodes
    /// store one peer for each IP address (BEP 33), so a second port would displace the first.
    ///
    /// # Errors
    ///
    /// [`StartError::Full`] past [`Limits::publications`](crate::Limits::publications), [`StartError::PortZero`], or
    /// [`StartError::TooSmall`] where [`Limits::lookups`](crate::Limits::lookups) are too few for any.
    pub fn start_announcing(
        &mut self,
        now: Instant,
        infohash: InfoHash,
        announce: Announce,
    ) -> Result<PublicationId, StartError> {
        self.core.start_announcing(&mut self.storage.memory(), now, infohash, announce, None)
    }

    /// Keeps an announce up no longer. A round under way ends without further events; nodes forget
    /// us in their own time. Returns whether it was kept up.
    pub fn stop_announcing(&mut self, publication: PublicationId) -> bool {
        self.core.stop_keeping(&mut self.storage.memory(), publication, false)
    }

    /// Looks up the immutable item at `target` (BEP 44). The lookup ends with the first copy, which is
    /// [`item`](Self::item).
    ///
    /// # Errors
    ///
    /// [`StartError::Full`] or [`StartError::TooSmall`].
    #[cfg(feature = "items")]
    pub fn get_immutable(&mut self, now: Instant, target: NodeId) -> Result<LookupId, StartError> {
        let options = self.core.config.lookup;
        self.lookup(now, Lookup::GetImmutable(target), &options)
    }

    /// Looks up the mutable item of a key and a salt (BEP 44). Of all versions that nodes return under
    /// a valid signature the newest is [`item`](Self::item); each one is an
    /// [`Event::ItemFound`](crate::Event::ItemFound).
    ///
    /// The lookup waits for the closest nodes until they answer or
    /// [time out](crate::LookupOptions::timeout): the slowest may be the one that has the newest.
    ///
    /// To replace what is found: [`Item::sign`](crate::Item::sign) with the
    /// [next](crate::Item::next_seq) number after [`LookupReport::seq`](crate::LookupReport::seq), then
    /// [`put`](Self::put) with that `seq` as `cas`. The put asks again, at once those nodes that answered
    /// this lookup.
    ///
    /// # Errors
    ///
    /// [`StartError::Full`] or [`StartError::TooSmall`].
    #[cfg(feature = "items")]
    pub fn get_mutable(&mut self, now: Instant, key: PublicKey, salt: Salt) -> Result<LookupId, StartError> {
        let options = self.core.config.lookup;
        self.lookup(now, Lookup::GetMutable(key, salt), &options)
    }

    /// Stores an item at the nodes closest to its target (BEP 44), who keep it for two hours. How many
    /// took it and how many refused is in the [`LookupReport`](crate::LookupReport).
    ///
    /// An immutable item goes to each node as soon as it is known to be among the closest; within five
    /// minutes of an earlier put of it the tokens of that one are used, and no second lookup is made. Before
    /// a mutable item is put, all are asked who may hold a version, as in
    /// [`get_mutable`](Self::get_mutable), whatever is known from before. If they return a newer one, or
    /// another value under the same number, nobody gets it, and
    /// [`LookupReport::obstacle`](crate::LookupReport::obstacle) tells. A node that refuses it because of
    /// what it holds is not replaced by one that is farther.
    ///
    /// With `cas` ("compare and swap") it replaces the version of that sequence number and no other: if the
    /// newest that was found has another number, nothing is stored, that is the obstacle, and whoever
    /// returned a version is counted in [`Refusals::cas_mismatch`](crate::Refusals::cas_mismatch). Nodes
    /// that hold that version compare again when they store. Nodes that hold none store it as it is,
    /// and so do those with an older one, which missed a version. An immutable item has no use for it.
    ///
    /// # Errors
    ///
    /// [`StartError::Full`] or [`StartError::TooSmall`].
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

    /// Stores an item, soon and again every hour (BEP 44), until [`stop_publishing`](Self::stop_publishing).
    /// Anybody may keep up what others signed.
    ///
    /// It is done as [`start_announcing`](Self::start_announcing) does it, and shares its rounds, slots and
    /// limits. After the first, a round looks who holds the item before it puts it: where more than
    /// eight nodes do, all of the closest among them, nothing is stored (BEP 44), and the next round
    /// comes after half the time, which stores it in any case. If a newer version or another value of the
    /// same number is found, in the first round or later, nothing is stored either:
    /// [`PublicationInfo::newest`](crate::PublicationInfo::newest) and
    /// [`LookupReport::obstacle`](crate::LookupReport::obstacle) tell.
    ///
    /// They leave a quarter of [`Limits::own_items`](crate::Limits::own_items) and
    /// [`Limits::own_chunks`](crate::Limits::own_chunks) to lookups: by default 192 may be kept up, however
    /// long they are.
    ///
    /// Items that are kept up are in a [`snapshot`](Self::snapshot_into), without any secret. A target has
    /// one item: given again with a higher sequence number it is changed and keeps
    /// its id, and its next round comes soon.
    ///
    /// # Errors
    ///
    /// [`StartError::Full`] past [`Limits::publications`](crate::Limits::publications) or those three quarters, or where
    /// lookups hold the memory, [`StartError::StaleItem`] where a newer one is kept up, or
    /// [`StartError::TooSmall`] where [`Limits::lookups`](crate::Limits::lookups) are too few for any.
    #[cfg(feature = "items")]
    pub fn start_publishing(&mut self, now: Instant, item: &Item) -> Result<PublicationId, StartError> {
        self.core.start_publishing(&mut self.storage.memory(), now, item, None)
    }

    /// Keeps an item up no longer. A round under way ends without further events; nodes forget the item
    /// in their own time. Returns whether it was kept up.
    #[cfg(feature = "items")]
    pub fn stop_publishing(&mut self, publication: PublicationId) -> bool {
        self.core.stop_keeping(&mut self.storage.memory(), publication, true)
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
    /// [`StartError::AddressRefused`], or [`StartError::Full`] where
    /// [`Limits::inflight`](crate::Limits::inflight) queries are under way.
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

    /// Forgets the nodes of both routing tables, restored ones too, without events; bootstrap hosts stay
    /// known, and the DHT is joined anew from them.
    pub fn clear_nodes(&mut self, now: Instant) {
        self.core.clear_nodes(&mut self.storage.memory(), now);
    }

    /// Switches a family off and on again; both at birth as the [`Config`](crate::Config) says, and one
    /// that is off there stays off. As it is already, nothing happens.
    ///
    /// Off, nothing is sent and whatever comes is dropped. Pings under way end with
    /// [`QueryError::Disabled`](crate::QueryError::Disabled), lookups with a report of what they found
    /// until then, unless they go on in the other family. Id, table, bootstrap hosts and stored peers
    /// stay, and age; announces that are kept up wait. On again, the DHT is joined anew from the nodes
    /// known ([`Event::Ready`](crate::Event::Ready)), and those announces are repeated soon.
    pub fn set_enabled(&mut self, now: Instant, family: Family, enabled: bool) {
        self.core.set_enabled(&mut self.storage.memory(), now, family, enabled);
    }

    /// From now on, answers nobody and says so in queries (BEP 43), or answers again: what
    /// [`Config::read_only`](crate::Config::read_only) says at birth. As it is already, nothing happens.
    ///
    /// Answers that wait to be polled are dropped. Nodes that know us find out when we ask them.
    pub fn set_read_only(&mut self, now: Instant, read_only: bool) {
        self.core.set_read_only(now, read_only);
    }

    /// Stores a peer that another node of this program was told of: what its
    /// [`Event::PeerStored`](crate::Event::PeerStored) says. No token is needed; room, shares and
    /// lifetime are those of an announce. No event tells of it, so two nodes may store for each
    /// other whatever is announced to either.
    ///
    /// # Errors
    ///
    /// [`StoreError::AddressRefused`] or [`StoreError::NoRoom`].
    pub fn store_peer(
        &mut self,
        now: Instant,
        infohash: InfoHash,
        peer: SocketAddr,
        seed: bool,
    ) -> Result<(), StoreError> {
        self.core.mirror_peer(&mut self.storage.memory(), now, infohash, peer.into(), seed)
    }

    /// Stores an item that another node of this program was told of: the
    /// [`stored_item`](Self::stored_item) of its [`Event::ItemStored`](crate::Event::ItemStored), put by
    /// the `from` of that event, which decides whose share of the room it takes. Else it is as a put
    /// without `cas`, and as with [`store_peer`](Self::store_peer) no event tells of it.
    ///
    /// # Errors
    ///
    /// [`StoreError::NoRoom`] or [`StoreError::Stale`].
    #[cfg(feature = "items")]
    pub fn store_item(&mut self, now: Instant, item: &Item, from: SocketAddr) -> Result<(), StoreError> {
        self.core.mirror_item(&mut self.storage.memory(), now, item, from.into())
    }

    /// Forgets all peers that announced themselves to us. What we announce ourselves stays.
    pub fn clear_peers(&mut self) {
        self.core.clear_peers(&mut self.storage.memory());
    }

    /// Forgets all items that others put to us.
    #[cfg(feature = "items")]
    pub fn clear_items(&mut self) {
        let mut memory = self.storage.memory();
        let slots = &mut self.core.item_slots(&mut memory);
        self.core.items.clear(slots);
    }
}
