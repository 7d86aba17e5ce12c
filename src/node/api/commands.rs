//! Commands of a node.

use core::net::SocketAddr;
use core::time::Duration;

use crate::base::addr::Family;
use crate::base::id::{InfoHash, NodeId};
use crate::base::time::Instant;
use crate::lookup::{Announce, Lookup, LookupOptions};
use crate::node::Node;
use crate::node::api::config::BootstrapKind;
use crate::node::api::error::{ContactError, PublishError, StartError, StoreError};
use crate::node::api::ids::{LookupId, PublicationId, QueryId};
#[cfg(feature = "items")]
use crate::node::persist::format::SavedItem;
use crate::node::persist::format::{Restored, SavedAnnounce, State};
#[cfg(feature = "items")]
use crate::node::server::memory::ItemsMut;
use crate::node::storage::Storage;
#[cfg(feature = "items")]
use crate::store::items::{Item, PublicKey, Salt};

/// Commands.
impl<S: Storage> Node<S> {
    /// Adds a node that may be alive, from a PORT message or a torrent file.
    ///
    /// The node is pinged, and kept if it answers. To load a whole saved table, use
    /// [`restore`](Self::restore).
    ///
    /// # Errors
    ///
    /// [`ContactError::AddressRefused`], [`ContactError::Disabled`], or [`ContactError::Full`] if
    /// [`Limits::inflight`](field@crate::Limits::inflight) queries are in flight.
    pub fn add_node(&mut self, now: Instant, addr: SocketAddr) -> Result<(), ContactError> {
        self.core.add_node(&mut self.storage.memory(), now, addr.into())
    }

    /// Loads a state that was saved `elapsed` ago, and returns how much of it was restored and skipped.
    ///
    /// Saved nodes are pinged at about 25 a second and count as nodes only once they answer; until then
    /// lookups start from them, and query bootstrap hosts only if none of them answers. Nodes are skipped if
    /// they are known already, refused by the address policy, or past
    /// [`Limits::nodes_v4`](field@crate::Limits::nodes_v4) and [`nodes_v6`](field@crate::Limits::nodes_v6). The ids of
    /// this node are set when it is created: [`Config::id`](field@crate::Config::id) and
    /// [`Config::id_v6`](field@crate::Config::id_v6).
    ///
    /// Saved announcements are resumed, each at its place in the interval: what was announced ten minutes
    /// ago, `elapsed` included, is due in five, and what was overdue is due now. They get new ids;
    /// [`start_announcing`](Self::start_announcing) for the same torrent returns the id and changes nothing
    /// else, and [`announcements`](Self::announcements) lists all of them, so that those no longer needed can
    /// be [stopped](Self::stop_announcing). Announcements are skipped if their torrent is announced already,
    /// or past [`Limits::publications`](field@crate::Limits::publications). To choose which of them to resume, pass
    /// the state [without](State::without_announces) them and use
    /// [`restore_announce`](Self::restore_announce).
    ///
    /// Saved items (feature `items`) are treated alike, with `start_publishing`, `publications`,
    /// `stop_publishing`, `without_items` and `restore_item`. Items are also skipped if there is no memory
    /// for them.
    pub fn restore(&mut self, now: Instant, state: &State<'_>, elapsed: Duration) -> Restored {
        self.core.restore(&mut self.storage.memory(), now, state, elapsed)
    }

    /// Resumes a single announcement of a state that was saved `elapsed` ago.
    ///
    /// It keeps its place in the interval. If the torrent is announced already, this is `start_announcing`.
    ///
    /// # Errors
    ///
    /// See [`start_announcing`](Self::start_announcing).
    pub fn restore_announce(
        &mut self,
        now: Instant,
        saved: &SavedAnnounce,
        elapsed: Duration,
    ) -> Result<PublicationId, PublishError> {
        self.core.restore_announce(&mut self.storage.memory(), now, saved, elapsed)
    }

    /// Resumes a single published item of a state that was saved `elapsed` ago.
    ///
    /// It keeps its place in the interval. If an item is published at its target already, this is
    /// [`start_publishing`](Self::start_publishing).
    ///
    /// # Errors
    ///
    /// See [`start_publishing`](Self::start_publishing).
    #[cfg(feature = "items")]
    pub fn restore_item(
        &mut self,
        now: Instant,
        saved: &SavedItem,
        elapsed: Duration,
    ) -> Result<PublicationId, PublishError> {
        self.core.restore_item(&mut self.storage.memory(), now, saved, elapsed)
    }

    /// Adds a bootstrap host, which is queried while fewer than 30 nodes are known.
    ///
    /// `kind` decides whether the host may enter the routing table once it has answered. Adding a known
    /// address is not an error; a node that is later added as a router is a router from then on.
    ///
    /// # Errors
    ///
    /// [`ContactError::AddressRefused`], or [`ContactError::Full`] if there are
    /// [`Limits::bootstraps`](field@crate::Limits::bootstraps) already.
    pub fn add_bootstrap(
        &mut self,
        now: Instant,
        addr: SocketAddr,
        kind: BootstrapKind,
    ) -> Result<(), ContactError> {
        self.core.add_bootstrap(&mut self.storage.memory(), now, addr.into(), kind)
    }

    /// Removes a bootstrap host, and returns whether it was removed.
    ///
    /// It is not if the address is no bootstrap host, or while the host is in the routing table because no
    /// other node is known.
    pub fn remove_bootstrap(&mut self, addr: SocketAddr) -> bool {
        self.core.remove_bootstrap(&mut self.storage.memory(), addr.into())
    }

    /// Looks up the neighbours of this node now. A node does so by itself when it knows too few nodes.
    ///
    /// # Errors
    ///
    /// [`StartError::Full`] or [`StartError::Disabled`].
    pub fn bootstrap(&mut self, now: Instant) -> Result<LookupId, StartError> {
        self.core.bootstrap(&mut self.storage.memory(), now)
    }

    /// Looks up the nodes closest to `target`.
    ///
    /// # Errors
    ///
    /// [`StartError::Full`] or [`StartError::Disabled`].
    pub fn find_node(&mut self, now: Instant, target: NodeId) -> Result<LookupId, StartError> {
        let options = self.core.config.lookup;
        self.lookup(now, Lookup::FindNode(target), &options)
    }

    /// Looks up the peers of a torrent.
    ///
    /// Each peer is reported as an [`Event::Peer`](crate::Event::Peer) as soon as it is found; peers that
    /// announced themselves to this node come first.
    ///
    /// # Errors
    ///
    /// [`StartError::Full`] or [`StartError::Disabled`].
    pub fn get_peers(&mut self, now: Instant, infohash: InfoHash) -> Result<LookupId, StartError> {
        let options = self.core.config.lookup;
        self.lookup(now, Lookup::GetPeers(infohash), &options)
    }

    /// Looks up the peers of a torrent and announces this node's host as one of them.
    ///
    /// [`LookupReport::stored`](crate::LookupReport::stored) says at the end whether any node has stored it.
    /// Within five minutes of an earlier lookup of the torrent its tokens are reused, without a second
    /// lookup.
    ///
    /// # Errors
    ///
    /// [`StartError::PortZero`], [`StartError::Full`] or [`StartError::Disabled`].
    pub fn announce(
        &mut self,
        now: Instant,
        infohash: InfoHash,
        announce: Announce,
    ) -> Result<LookupId, StartError> {
        let options = self.core.config.lookup;
        self.lookup(now, Lookup::Announce(infohash, announce), &options)
    }

    /// Announces a peer soon, and again every
    /// [`Config::announce_interval`](field@crate::Config::announce_interval), until
    /// [`stop_announcing`](Self::stop_announcing).
    ///
    /// Each republish is an ordinary announce that the node starts by itself: it reports peers,
    /// acknowledgements and its end under a [`LookupId`] of its own, and
    /// [`LookupReport::publication`](crate::LookupReport::publication) names the publication that it belongs
    /// to, in the final report and, through [`lookup_report`](Self::lookup_report), before.
    /// [`cancel`](Self::cancel) ends that one republish.
    ///
    /// Republishes start once the node is [ready](Self::is_ready), the newest publication first. While fewer
    /// than 64 publications wait for their first one, those start at once, in up to half of
    /// [`Limits::traversals`](field@crate::Limits::traversals). All others are spread evenly over the interval: only a
    /// few run at a time, as many as [`Config::new_endpoints`](field@crate::Config::new_endpoints) sustains. By
    /// default that is one in 1.3 s, or 700 announces in 15 minutes, in one family, and half as many in both;
    /// with more publications the interval grows for all alike. If no slot is free, a lookup of the user preempts a
    /// republish, except the last one if there are four times as many slots as a lookup needs. A republish that no
    /// node acknowledged is repeated after a minute, then after two, four and so on. While there is no network,
    /// republishes wait, and continue when it is back.
    ///
    /// There is one announcement for each torrent. Announcing the torrent again with another port, or as a
    /// seed, changes the announcement, which keeps its id and is republished soon; announcing it unchanged
    /// has no effect. Nodes store one peer for each IP address (BEP 33), so a second port would displace the
    /// first.
    ///
    /// # Errors
    ///
    /// [`PublishError::Full`] past [`Limits::publications`](field@crate::Limits::publications),
    /// [`PublishError::PortZero`], or [`PublishError::TooSmall`] if
    /// [`Limits::traversals`](field@crate::Limits::traversals) are too few for any republish.
    pub fn start_announcing(
        &mut self,
        now: Instant,
        infohash: InfoHash,
        announce: Announce,
    ) -> Result<PublicationId, PublishError> {
        self.core.start_announcing(&mut self.storage.memory(), now, infohash, announce, None)
    }

    /// Stops announcing, and returns whether the publication existed.
    ///
    /// A republish in progress ends without further events; other nodes drop the peer when it expires.
    pub fn stop_announcing(&mut self, publication: PublicationId) -> bool {
        self.core.stop_publication(&mut self.storage.memory(), publication, false)
    }

    /// Looks up the immutable item at `target` (BEP 44).
    ///
    /// The lookup ends with the first copy, which [`item`](Self::item) returns.
    ///
    /// # Errors
    ///
    /// [`StartError::Full`], [`StartError::TooSmall`] or [`StartError::Disabled`].
    #[cfg(feature = "items")]
    pub fn get_immutable(&mut self, now: Instant, target: NodeId) -> Result<LookupId, StartError> {
        let options = self.core.config.lookup;
        self.lookup(now, Lookup::GetImmutable(target), &options)
    }

    /// Looks up the mutable item of a key and a salt (BEP 44).
    ///
    /// [`item`](Self::item) returns the newest of all versions that nodes returned under a valid signature;
    /// each of them is reported as an [`Event::ItemFound`](crate::Event::ItemFound).
    ///
    /// The lookup waits for the closest nodes until they answer or [time out](field@crate::LookupOptions::timeout),
    /// since the slowest may be the only one with the newest version. To bound the wait, take the
    /// [`item`](Self::item) found so far after some time, and [cancel](Self::cancel) the lookup.
    ///
    /// To replace the item found, [`Item::sign`](crate::items::Item::sign) one with the
    /// [next](crate::items::Item::next_seq) number after [`ItemReport::seq`](crate::items::ItemReport::seq), then
    /// [`put`](Self::put) it with that `seq` as `cas`. The put queries the nodes again, first and at once
    /// those that answered this lookup.
    ///
    /// # Errors
    ///
    /// [`StartError::Full`], [`StartError::TooSmall`] or [`StartError::Disabled`].
    #[cfg(feature = "items")]
    pub fn get_mutable(&mut self, now: Instant, key: PublicKey, salt: Salt) -> Result<LookupId, StartError> {
        let options = self.core.config.lookup;
        self.lookup(now, Lookup::GetMutable(key, salt), &options)
    }

    /// Stores an item at the nodes closest to its target (BEP 44), which keep it for two hours.
    ///
    /// [`LookupReport::stored`](crate::LookupReport::stored) says at the end whether it is stored, or why not.
    ///
    /// An immutable item is sent to each node as soon as that is known to be among the closest; within five
    /// minutes of an earlier put of the item the tokens of that put are reused, without a second lookup.
    /// Before a mutable item is put, all nodes that may hold a version are queried, as in
    /// [`get_mutable`](Self::get_mutable), whatever is known from before. If they return a newer version, or
    /// another value under the same number, the item is sent to no node, and `stored` is
    /// [`PutError::Superseded`](crate::PutError::Superseded) or [`PutError::Conflict`](crate::PutError::Conflict).
    /// A node that refuses the item because of a version it holds is not replaced by a farther one.
    ///
    /// With `cas` ("compare and swap") the item replaces the version of that sequence number and no other. If
    /// the newest version found has another number, nothing is stored
    /// ([`PutError::CasMismatch`](crate::PutError::CasMismatch)), and all nodes that returned a version are counted
    /// in [`Refusals::cas_mismatch`](crate::report::Refusals::cas_mismatch).
    /// Nodes that hold that version compare again when they store. Nodes that hold no version store the item
    /// unconditionally, and so do those with an older one, which missed a version. `cas` has no effect on an
    /// immutable item.
    ///
    /// # Errors
    ///
    /// [`StartError::Full`], [`StartError::TooSmall`] or [`StartError::Disabled`].
    #[cfg(feature = "items")]
    pub fn put(&mut self, now: Instant, item: &Item, cas: Option<i64>) -> Result<LookupId, StartError> {
        let options = self.core.config.lookup;
        self.put_with(now, item, cas, &options)
    }

    /// Stores an item as [`put`](Self::put) does, with the given options.
    ///
    /// # Errors
    ///
    /// [`StartError`], whichever variant applies to the lookup and its options.
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

    /// Stores an item soon, and again every
    /// [`ItemConfig::publish_interval`](field@crate::items::ItemConfig::publish_interval), an hour by default (BEP
    /// 44), until [`stop_publishing`](Self::stop_publishing).
    ///
    /// The item need not be signed by this program: any node may publish it.
    ///
    /// Republishes are scheduled as by [`start_announcing`](Self::start_announcing), with which they share
    /// slots and limits. Each one after the first counts the nodes that hold the item before putting it: if
    /// there are more than eight, all of the closest among them, nothing is stored (BEP 44), and the next
    /// republish comes after half the time and stores the item in any case. If a newer version or another
    /// value of the same number is found, at first or later, nothing is stored either:
    /// [`PublicationInfo::newest`](crate::items::PublicationInfo::newest) and
    /// [`LookupReport::stored`](crate::LookupReport::stored) say so.
    ///
    /// Published items leave a quarter of [`ItemLimits::own`](field@crate::items::ItemLimits::own) and
    /// [`ItemLimits::own_chunks`](field@crate::items::ItemLimits::own_chunks) to lookups: by default 192 may be
    /// published, whatever their length; [`Limits::publications`](method@crate::Limits::publications) makes room for
    /// more.
    ///
    /// Published items are part of a [`snapshot`](Self::snapshot_into), without any secret. There is one item
    /// for each target: publishing one with a higher sequence number replaces it; the publication keeps its
    /// id and is republished soon.
    ///
    /// # Errors
    ///
    /// [`PublishError::Full`] past [`Limits::publications`](field@crate::Limits::publications) or those three
    /// quarters, or if lookups hold the memory; [`PublishError::StaleItem`] if a newer item is published;
    /// [`PublishError::TooSmall`] if [`Limits::traversals`](field@crate::Limits::traversals) are too few for any
    /// republish.
    #[cfg(feature = "items")]
    pub fn start_publishing(&mut self, now: Instant, item: &Item) -> Result<PublicationId, PublishError> {
        self.core.start_publishing(&mut self.storage.memory(), now, item, None)
    }

    /// Stops publishing an item, and returns whether the publication existed.
    ///
    /// A republish in progress ends without further events; other nodes drop the item when it expires.
    #[cfg(feature = "items")]
    pub fn stop_publishing(&mut self, publication: PublicationId) -> bool {
        self.core.stop_publication(&mut self.storage.memory(), publication, true)
    }

    /// Starts a lookup with the given options.
    ///
    /// # Errors
    ///
    /// [`StartError`], whichever variant applies to the lookup and its options.
    pub fn lookup(
        &mut self,
        now: Instant,
        lookup: Lookup,
        options: &LookupOptions,
    ) -> Result<LookupId, StartError> {
        self.core.lookup(&mut self.storage.memory(), now, lookup, options)
    }

    /// Pings a single node.
    ///
    /// # Errors
    ///
    /// [`ContactError::AddressRefused`], [`ContactError::Disabled`], or [`ContactError::Full`] if
    /// [`Limits::inflight`](field@crate::Limits::inflight) queries are in flight.
    pub fn ping(&mut self, now: Instant, addr: SocketAddr) -> Result<QueryId, ContactError> {
        self.core.ping(&mut self.storage.memory(), now, addr.into())
    }

    /// Ends a lookup without further events, and returns whether it was in progress.
    pub fn cancel(&mut self, lookup: LookupId) -> bool {
        self.core.cancel(&mut self.storage.memory(), lookup)
    }

    /// Ends a query without an event, and returns whether it was in progress.
    pub fn cancel_query(&mut self, query: QueryId) -> bool {
        self.core.cancel_query(&mut self.storage.memory(), query)
    }

    /// Clears both routing tables, restored nodes included, without events.
    ///
    /// Bootstrap hosts stay known, and the node rejoins the DHT from them.
    pub fn clear_nodes(&mut self, now: Instant) {
        self.core.clear_nodes(&mut self.storage.memory(), now);
    }

    /// Enables or disables a family.
    ///
    /// At creation a family is enabled if the [`Config`](crate::Config) turns it on; a family that is off
    /// there stays off. The call has no effect if nothing changes.
    ///
    /// While a family is disabled, nothing is sent in it and whatever arrives is dropped. Pings in flight end
    /// with [`QueryError::Disabled`](crate::QueryError::Disabled), lookups with a report of what they have
    /// found, unless they continue in the other family. Id, table, bootstrap hosts and stored peers stay, and
    /// age; publications wait. When the family is enabled again, the node rejoins the DHT from the nodes it
    /// knows ([`Event::Ready`](crate::Event::Ready)), and publications are repeated soon.
    pub fn set_enabled(&mut self, now: Instant, family: Family, enabled: bool) {
        self.core.set_enabled(&mut self.storage.memory(), now, family, enabled);
    }

    /// Makes the node stop or resume answering queries (BEP 43).
    ///
    /// A read-only node says so in its own queries. The initial value is
    /// [`Config::read_only`](field@crate::Config::read_only). The call has no effect if nothing changes, and none if
    /// there is no memory for [`replies`](field@crate::Limits::replies).
    ///
    /// Responses that wait to be polled are dropped. Nodes that know this one learn of the change from its
    /// next query to them.
    pub fn set_read_only(&mut self, now: Instant, read_only: bool) {
        self.core.set_read_only(&self.storage.memory(), now, read_only);
    }

    /// Stores a peer that was announced to another node of this program.
    ///
    /// The arguments are those of the other node's [`Event::PeerStored`](crate::Event::PeerStored). No token
    /// is required; capacity, shares and expiry are those of an announce. No event is emitted, so two nodes
    /// may store for each other whatever is announced to either.
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
        self.core.store_shared_peer(&mut self.storage.memory(), now, infohash, peer.into(), seed)
    }

    /// Stores an item that was put to another node of this program.
    ///
    /// `item` is the [`stored_item`](Self::stored_item) of that node's
    /// [`Event::ItemStored`](crate::Event::ItemStored), and `from` the node of that event, whose share of the
    /// capacity it takes. Otherwise this is like a put without `cas`. No event is emitted, as with
    /// [`store_peer`](Self::store_peer).
    ///
    /// # Errors
    ///
    /// [`StoreError::NoRoom`] or [`StoreError::Stale`].
    #[cfg(feature = "items")]
    pub fn store_item(&mut self, now: Instant, item: &Item, from: SocketAddr) -> Result<(), StoreError> {
        self.core.store_shared_item(&mut self.storage.memory(), now, item, from.into())
    }

    /// Removes all peers that others announced. Announces of this node's own stay.
    pub fn clear_peers(&mut self) {
        self.core.clear_peers(&mut self.storage.memory());
    }

    /// Removes all items that others put.
    #[cfg(feature = "items")]
    pub fn clear_items(&mut self) {
        let mut memory = self.storage.memory();
        let ItemsMut { head, mut slots, .. } = self.core.items_mut(&mut memory);
        head.clear(&mut slots);
    }
}
