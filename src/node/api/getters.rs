//! Getters of a node.

#[cfg(feature = "alloc")]
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

use crate::base::addr::Family;
use crate::base::id::{InfoHash, NodeId};
use crate::lookup::density::NetworkSize;
use crate::node::Node;
#[cfg(feature = "items")]
use crate::node::api::event::PublicationInfo;
use crate::node::api::event::{AnnouncementInfo, NodeInfo};
use crate::node::api::ids::LookupId;
#[cfg(feature = "items")]
use crate::node::api::ids::PublicationId;
use crate::node::api::report::LookupReport;
use crate::node::api::stats::Stats;
use crate::node::persist::format::BufferTooShort;
use crate::node::storage::Storage;
use crate::rpc::reputation::Reputations;
#[cfg(feature = "items")]
use crate::store::items::Item;
use crate::table::BucketInfo;

/// Getters.
impl<S: Storage> Node<S> {
    /// Returns the id of this node in one family. It changes with the external address, unless
    /// [`Config::secure_ids`](field@crate::Config::secure_ids) is off.
    pub fn id(&self, family: Family) -> NodeId {
        self.core.family(family).id
    }

    /// Returns the counters since the node was created.
    pub fn stats(&self) -> &Stats {
        &self.core.stats
    }

    /// Whether the node has joined the DHT of this family, as reported by
    /// [`Event::Ready`](crate::Event::Ready).
    pub fn is_ready(&self, family: Family) -> bool {
        self.core.family(family).ready
    }

    /// Whether the node takes part in the DHT of this family: it is on in the [`Config`](crate::Config) and
    /// [enabled](Self::set_enabled).
    pub fn is_enabled(&self, family: Family) -> bool {
        self.core.family(family).on
    }

    /// Whether the node does not answer queries (BEP 43).
    pub fn is_read_only(&self) -> bool {
        self.core.config.read_only
    }

    /// Writes what is worth keeping across a restart to the front of `buf`, and returns its length.
    ///
    /// A snapshot holds the ids of this node, the nodes of both tables, best first, the announcements and the
    /// published items, for [`State::parse`](crate::state::State::parse) and [`restore`](Self::restore). `saved_at`
    /// is returned by [`State::saved_at`](crate::state::State::saved_at): the wall clock in seconds, or 0 if there
    /// is none.
    ///
    /// # Errors
    ///
    /// [`BufferTooShort`], with the length needed; at most 36 bytes for each IPv4 node, 48 for each IPv6
    /// node, 28 for each announcement, 1177 for each item, and 250 more.
    pub fn snapshot_into(&self, saved_at: u64, buf: &mut [u8]) -> Result<usize, BufferTooShort> {
        self.core.snapshot(self.storage.view(), saved_at, buf)
    }

    /// Returns a snapshot, as [`snapshot_into`](Self::snapshot_into) writes it, in memory of its own.
    #[cfg(feature = "alloc")]
    pub fn snapshot(&self, saved_at: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        while let Err(short) = self.snapshot_into(saved_at, &mut bytes) {
            bytes.resize(short.needed, 0);
        }
        bytes
    }

    /// Returns the number of [restored](Self::restore) nodes that have neither answered yet nor failed twice.
    pub fn restored_count(&self, family: Family) -> usize {
        self.core.family(family).table.restored()
    }

    /// Returns the estimated number of nodes in the DHT of this family, or `None` before the first lookup.
    ///
    /// The estimate follows from how close lookups came to their targets, above all those of the node itself:
    /// after four lookups it is exact to within 18 %, in the end to within 6 %. In a DHT of fewer than some
    /// dozen nodes it is of little use.
    pub fn network_size(&self, family: Family) -> Option<NetworkSize> {
        self.core.family(family).density.size()
    }

    /// Returns the number of nodes in the routing table, all of which have answered.
    pub fn node_count(&self, family: Family) -> usize {
        self.core.family(family).table.len()
    }

    /// Returns how full each bucket of the routing table is. The first bucket holds the nodes that share no
    /// leading bit of their ids with this node, each next one those that share one more, the last all nearer
    /// ones.
    pub fn buckets(&self, family: Family) -> impl Iterator<Item = BucketInfo> {
        self.core.family(family).table_view(self.storage.view()).occupancy(self.core.now)
    }

    /// Returns the nodes of the routing table.
    pub fn nodes(&self, family: Family) -> impl Iterator<Item = NodeInfo> {
        self.core.nodes(self.storage.view(), family)
    }

    /// Returns the good nodes of the routing table that are closest to `target`, at most [`K`](crate::ids::K),
    /// closest first.
    pub fn closest_nodes(&self, target: NodeId, family: Family) -> impl Iterator<Item = NodeInfo> {
        self.core.closest_nodes(self.storage.view(), target, family)
    }

    /// Returns the nodes that a lookup found, closest first within each family, IPv4 first.
    ///
    /// While the lookup is in progress these are the nodes that have answered, at its end the closest ones.
    /// For a query to a single node ([`LookupOptions::only`](field@crate::LookupOptions::only)) they are the nodes
    /// that it returned.
    ///
    /// May be called after [`Event::LookupDone`](crate::Event::LookupDone) until the next input or command.
    pub fn lookup_nodes(&self, lookup: LookupId) -> impl Iterator<Item = NodeInfo> {
        self.core.lookup_nodes(self.storage.view(), lookup)
    }

    /// Returns the results of a lookup so far; `None` once it has been reported as done.
    pub fn lookup_report(&self, lookup: LookupId) -> Option<LookupReport> {
        self.core.lookup_report(self.storage.view(), lookup)
    }

    /// Returns the number of lookups in progress, those of the node itself included.
    pub fn lookup_count(&self) -> usize {
        self.core.lookup_count()
    }

    /// Returns the announcements, in no particular order.
    pub fn announcements(&self) -> impl Iterator<Item = AnnouncementInfo> {
        self.core.announcements(self.storage.view())
    }

    /// Returns the published items, in no particular order.
    #[cfg(feature = "items")]
    pub fn publications(&self) -> impl Iterator<Item = PublicationInfo> {
        self.core.publications(self.storage.view())
    }

    /// Returns the item of a publication.
    #[cfg(feature = "items")]
    pub fn published_item(&self, publication: PublicationId) -> Option<Item> {
        self.core.published_item(self.storage.view(), publication)
    }

    /// Returns the item that a lookup has found so far, or publishes; of a mutable item the newest version.
    ///
    /// May be called after [`Event::LookupDone`](crate::Event::LookupDone) until the next input or command.
    #[cfg(feature = "items")]
    pub fn item(&self, lookup: LookupId) -> Option<Item> {
        self.core.found_item(self.storage.view(), lookup)
    }

    /// Returns the items that others put, in the order of their last put, oldest first.
    #[cfg(feature = "items")]
    pub fn stored_items(&self) -> impl Iterator<Item = Item> {
        self.core.stored_items(self.storage.view())
    }

    /// Returns the item that others put at a target.
    #[cfg(feature = "items")]
    pub fn stored_item(&self, target: NodeId) -> Option<Item> {
        self.core.stored_item(self.storage.view(), &target)
    }

    /// Returns the number of items that others put.
    #[cfg(feature = "items")]
    pub fn item_count(&self) -> usize {
        self.core.items.len()
    }

    /// Returns the number of publications: announcements and items.
    pub fn publication_count(&self) -> usize {
        self.core.republisher.len()
    }

    /// Returns the number of queries in flight.
    pub fn query_count(&self) -> usize {
        self.core.inflight.outstanding()
    }

    /// Returns the peers of a torrent that announced themselves to this node.
    pub fn stored_peers(&self, infohash: InfoHash) -> impl Iterator<Item = SocketAddr> {
        self.core.peers_of(self.storage.view(), infohash)
    }

    /// Returns the torrents that peers announced to this node.
    pub fn infohashes(&self) -> impl Iterator<Item = InfoHash> {
        self.core.infohashes(self.storage.view())
    }

    /// Returns the number of peers that announced themselves to this node, over all torrents.
    pub fn peer_count(&self, family: Family) -> usize {
        self.core.peers.peer_count(family)
    }

    /// Returns the number of peers that there is memory for if all of them are in a few torrents.
    pub fn peer_capacity(&self, family: Family) -> usize {
        self.storage.view().peers().capacity(family)
    }

    /// Returns the number of torrents that peers announced to this node.
    ///
    /// A torrent whose peers have expired counts until it is swept, at most about an eighth of
    /// [`Config::peer_ttl`](field@crate::Config::peer_ttl) later; responses to `sample_infohashes` (BEP 51) report
    /// this number while not all torrents fit.
    pub fn infohash_count(&self) -> usize {
        self.core.peers.infohash_count()
    }

    /// Returns the number of torrents that there is memory for.
    pub fn infohash_capacity(&self) -> usize {
        self.storage.view().swarms.len()
    }

    /// Returns the number of endpoints whose last contact and failures are remembered.
    pub fn reputation_count(&self) -> usize {
        Reputations::count(self.storage.view().reputations)
    }

    /// Returns the round-trip time that the given share of answers did not exceed (`0.5`: the median), to
    /// within a fifth. Zero before the first answer.
    pub fn rtt_quantile(&self, share: f32) -> Duration {
        self.core.rtt.quantile((share.clamp(0.0, 1.0) * 1000.0) as u32, 1000)
    }
}
