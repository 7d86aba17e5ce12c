//! What a node tells of itself.

#[cfg(feature = "alloc")]
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

use crate::base::addr::Family;
use crate::base::id::{InfoHash, NodeId};
use crate::lookup::density::NetworkSize;
use crate::node::Node;
use crate::node::api::event::{AnnouncementInfo, LookupId, LookupReport, NodeInfo};
#[cfg(feature = "items")]
use crate::node::api::event::{PublicationId, PublicationInfo};
use crate::node::api::stats::Stats;
use crate::node::core::nodes;
use crate::node::persist::format::BufferTooShort;
use crate::node::server::query;
use crate::node::storage::Storage;
use crate::rpc::reputation::Reputations;
#[cfg(feature = "items")]
use crate::store::items::Item;
use crate::table::BucketInfo;

/// Getters.
impl<S: Storage> Node<S> {
    /// Our id in one family. It changes with our external address, unless
    /// [`Config::secure_ids`](crate::Config::secure_ids) is off.
    pub fn id(&self, family: Family) -> NodeId {
        self.core.family(family).id
    }

    /// Counters since birth.
    pub fn stats(&self) -> &Stats {
        &self.core.stats
    }

    /// Whether the node has joined the DHT of this family, as [`Event::Ready`](crate::Event::Ready) told.
    pub fn is_ready(&self, family: Family) -> bool {
        self.core.family(family).ready
    }

    /// Whether the node takes part in the DHT of this family: it is on in the [`Config`](crate::Config) and
    /// [enabled](Self::set_enabled).
    pub fn is_enabled(&self, family: Family) -> bool {
        self.core.family(family).on
    }

    /// Whether the node answers nobody (BEP 43).
    pub fn is_read_only(&self) -> bool {
        self.core.config.read_only
    }

    /// Writes what is worth keeping over a restart to the front of `buf` and returns its length: our
    /// ids, the nodes of both tables, best first, and the announces and items that are kept up, for
    /// [`State::parse`](crate::State::parse) and [`restore`](Self::restore). `saved_at` is for
    /// [`State::saved_at`](crate::State::saved_at): the wall clock in seconds, or 0 where there is none.
    ///
    /// # Errors
    ///
    /// [`BufferTooShort`], which says how long it is; at most 36 bytes for each IPv4 node, 48 for
    /// each IPv6 node, 28 for each announce, 1177 for each item, and 250 more.
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

    /// How many nodes the DHT of this family has, estimated from how close lookups came to their targets,
    /// those of the node itself above all: after four lookups to within 18 %, at last to within 6 %. `None`
    /// before the first. In a DHT of fewer than some dozen nodes it tells little.
    pub fn network_size(&self, family: Family) -> Option<NetworkSize> {
        self.core.family(family).density.size()
    }

    /// Nodes in the routing table; all of them have answered us.
    pub fn node_count(&self, family: Family) -> usize {
        self.core.family(family).table.len()
    }

    /// How full each bucket of the routing table is. The first holds the nodes that share no leading
    /// bit of their ids with ours, each next one those that share one more, the last all nearer ones.
    pub fn buckets(&self, family: Family) -> impl Iterator<Item = BucketInfo> {
        self.core.family(family).table.occupancy(nodes(self.storage.view(), family), self.core.now)
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
    /// ([`LookupOptions::only`](crate::LookupOptions::only)) the nodes that it returned.
    ///
    /// After [`Event::LookupDone`](crate::Event::LookupDone) it may be called until the next input or
    /// command.
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
    pub fn announcements(&self) -> impl Iterator<Item = AnnouncementInfo> {
        self.core.announcements(self.storage.view())
    }

    /// The items that are kept up, in no particular order.
    #[cfg(feature = "items")]
    pub fn publications(&self) -> impl Iterator<Item = PublicationInfo> {
        self.core.publications(self.storage.view())
    }

    /// An item that is kept up.
    #[cfg(feature = "items")]
    pub fn kept_item(&self, publication: PublicationId) -> Option<Item> {
        self.core.kept_item(self.storage.view(), publication)
    }

    /// What a lookup found so far, or publishes: of the versions of a mutable item the newest. After
    /// [`Event::LookupDone`](crate::Event::LookupDone) it may be called until the next input or command.
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
        self.core.republisher.len()
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
        query::peer_view(self.storage.view()).capacity(family)
    }

    /// Torrents that peers announced to us. One whose peers have expired counts until it is swept, about an
    /// eighth of [`Config::peer_ttl`](crate::Config::peer_ttl) later at most; the number in our answers to
    /// `sample_infohashes` (BEP 51) is this one while not all torrents fit.
    pub fn infohash_count(&self) -> usize {
        self.core.peers.infohash_count()
    }

    /// How many torrents there is memory for.
    pub fn infohash_capacity(&self) -> usize {
        self.storage.view().swarms.len()
    }

    /// Endpoints of which it is remembered when they were contacted and how often they failed.
    pub fn contact_count(&self) -> usize {
        Reputations::count(self.storage.view().contacts)
    }

    /// How long answers take: the time within which this share of them came (`0.5` the median),
    /// to within a fifth. Zero before the first.
    pub fn rtt_quantile(&self, share: f32) -> Duration {
        self.core.rtt.quantile((share.clamp(0.0, 1.0) * 1000.0) as u32, 1000)
    }
}
