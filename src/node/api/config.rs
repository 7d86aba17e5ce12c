//! Behaviour and capacity of a node: [`Config`] and [`Limits`], each default with its reason.

use core::time::Duration;

use crate::base::addr::{AddressPolicy, Family};
use crate::base::id::NodeId;
use crate::lookup::LookupOptions;

/// The size in bytes of the largest datagram a node sends, which is the minimum buffer size for
/// [`Node::poll_transmit`](crate::Node::poll_transmit).
///
/// Most datagrams are at most 1024 bytes (BEP 32); only one that carries a stored value (BEP 44) may be as
/// long as an unfragmented UDP payload on Ethernet.
pub const MAX_DATAGRAM: usize = 1472;

/// Behaviour of a node.
///
/// ```
/// use dht_proto::Config;
///
/// let mut config = Config::default();
/// config.read_only = true;
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub struct Config {
    /// The id in the IPv4 DHT; drawn at random if `None`. Turn off [`secure_ids`](Self::secure_ids) to keep
    /// it whatever the external address is.
    pub id: Option<NodeId>,
    /// The id in the IPv6 DHT; drawn at random if `None`. BEP 32 asks for one id in both DHTs, BEP 42 and BEP
    /// 45 for one per address: set both fields to follow BEP 32.
    pub id_v6: Option<NodeId>,
    /// Whether to take part in the IPv4 DHT. Default: yes.
    pub ipv4: bool,
    /// Whether to take part in the IPv6 DHT. Default: yes.
    pub ipv6: bool,
    /// Whether to send queries without ever answering any (BEP 43), for nodes that cannot be reached from
    /// outside. [`Node::set_read_only`](crate::Node::set_read_only) changes it later.
    pub read_only: bool,
    /// The addresses that may be contacted and passed on.
    pub address_policy: AddressPolicy,
    /// Whether to tell sources apart by IP address and subnet: one table entry, one vote and one peer per
    /// torrent for each IP, shared rates, caps for each subnet. If off, each endpoint counts as a source of
    /// its own, for many nodes on one host. Default: on.
    pub source_limits: bool,
    /// The client and version in every message sent; four bytes, because one deployed family of nodes reads
    /// no other length (BEP 20).
    pub version: [u8; 4],
    /// The sustained number of queries per second that are answered to one source. Default: 5.
    pub queries_per_source: u32,
    /// The number of queries in a burst that are answered to one source. Default: 50.
    pub source_burst: u32,
    /// The sustained number of queries per second that are sent to one endpoint, by all lookups and
    /// maintenance together; 0 counts as 1, [`u32::MAX`] as no limit. Queries past it wait while other
    /// destinations are served. Default: 2, as many as mldht answers.
    pub queries_per_node: u32,
    /// The number of queries in a burst that are sent to one endpoint, 1..=15. Default: 6; mldht answers 10.
    pub node_burst: u32,
    /// The sustained number of new endpoints per second that are contacted, which keeps the address
    /// translation tables of home routers from overflowing. Default: 25.
    pub new_endpoints: u32,
    /// The number of new endpoints in a burst that are contacted. Default: 100, two lookups.
    pub new_endpoints_burst: u32,
    /// Bytes per minute that a subnet (/24, /56) is sent before one of its addresses has proved that it
    /// receives them; past that, three times what it sends. All such subnets together have ten times as much
    /// a minute, and a quarter of what they send, beyond three times what they send. An item goes to one of
    /// them once a minute if it is longer than three times the query. Default: 16 KiB.
    pub unverified_bytes: u32,
    /// Bytes per second of all responses together, on average over any minute, if
    /// [`source_limits`](Self::source_limits) is on. When half of what two seconds allow is used up,
    /// responses to the subnets (/24, /56) that received most in the last minute get shorter and then fail,
    /// verified subnets included; sources that query little are still answered. Less than 2 KiB counts as 2
    /// KiB, [`u32::MAX`] as no limit. Default: 128 KiB.
    pub answer_bytes: u32,
    /// The time after which an announced peer expires. Default: 45 minutes, three announce intervals.
    pub peer_ttl: Duration,
    /// The number of peers that one torrent may have in one family; more than 3000 count as 3000, because the
    /// filters of a scrape count no more than 6000 (BEP 33). A new peer replaces the one that announced
    /// itself longest ago, so no token needs to be withheld. Default: 2000.
    pub peers_per_swarm: u32,
    /// The time for which responses to `sample_infohashes` list the same infohashes while not all fit; more
    /// than six hours count as six (BEP 51), and more than half of [`peer_ttl`](Self::peer_ttl) as half of
    /// it, so that most of those listed still have peers at its end. Default: 5 minutes, as in mldht.
    pub sample_interval: Duration,
    /// The time between two republishes of an [announcement](crate::Node::start_announcing), give or take a
    /// tenth; less than a minute counts as a minute, more than a day as a day. Default: 15 minutes, because
    /// most nodes keep a peer for 30 (BEP 5 names no time).
    pub announce_interval: Duration,
    /// The time after its last put at which an item expires. Default: 2 hours, as in BEP 44; publishers
    /// repeat the put every hour.
    #[cfg(feature = "items")]
    pub item_ttl: Duration,
    /// The sustained number of signatures of others' puts that are checked per second; the burst is twice
    /// that. A check takes about as long as the responses to 200 other queries; puts past the limit are
    /// refused with error 202, and their senders turn to the next node. Default: 100, under one hundredth of
    /// a processor.
    #[cfg(feature = "items")]
    pub signature_checks: u16,
    /// The number of queries of its source that a put with a wrong signature counts as: no honest node sends
    /// one. Default: 25, so that two of them use up [`source_burst`](Self::source_burst), and from then on
    /// one is checked every five seconds.
    #[cfg(feature = "items")]
    pub bad_signature_cost: u8,
    /// Whether to repeat an immutable put, with a meaningless `seq`, to nodes that refused it with error 203:
    /// nodes of anacrolix/dht ask for one. Default: no.
    #[cfg(feature = "items")]
    pub retry_with_seq: bool,
    /// Whether to take an id that matches the external address once that is known, and a new one when the
    /// address has changed so that the id no longer matches (BEP 42). If off, ids stay as they are. Default:
    /// on.
    pub secure_ids: bool,
    /// Whether to exclude nodes whose ids do not match their addresses (BEP 42) from lookup results and
    /// announces. They still lead on to others, are answered, and enter the routing table. Default: off,
    /// because some clients do not implement it.
    pub enforce_secure_ids: bool,
    /// The options of lookups that are started without options of their own.
    pub lookup: LookupOptions,
}

impl Config {
    /// A configuration for a private network: nodes of one's own on one host, in a laboratory, or on a LAN.
    ///
    /// It differs from the default in four ways. Loopback and private addresses are contacted and passed on
    /// ([`AddressPolicy::Any`]). Endpoints count as sources, not addresses and subnets
    /// ([`source_limits`](Self::source_limits)), so that many nodes may share a host. Nothing is limited in rate
    /// that a few busy nodes would run into. Ids stay as they are ([`secure_ids`](Self::secure_ids)).
    ///
    /// A node in the public DHT is defenceless with it.
    ///
    /// ```
    /// use dht_proto::{AddressPolicy, Config};
    ///
    /// let config = Config::private();
    /// assert!(config.address_policy == AddressPolicy::Any && !config.source_limits && !config.secure_ids);
    /// ```
    pub fn private() -> Self {
        Self {
            address_policy: AddressPolicy::Any,
            source_limits: false,
            secure_ids: false,
            queries_per_source: u32::MAX,
            source_burst: u32::MAX,
            queries_per_node: u32::MAX,
            node_burst: 15,
            new_endpoints: 100_000,
            new_endpoints_burst: 100_000,
            unverified_bytes: 1 << 30,
            answer_bytes: u32::MAX,
            #[cfg(feature = "items")]
            signature_checks: u16::MAX,
            ..Self::default()
        }
    }

    /// Returns whether the node takes part in the DHT of a family.
    pub(crate) const fn has(&self, family: Family) -> bool {
        match family {
            Family::V4 => self.ipv4,
            Family::V6 => self.ipv6,
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            id: None,
            id_v6: None,
            ipv4: true,
            ipv6: true,
            read_only: false,
            address_policy: AddressPolicy::Public,
            source_limits: true,
            version: *b"dp\x00\x01",
            queries_per_source: 5,
            source_burst: 50,
            queries_per_node: 2,
            node_burst: 6,
            new_endpoints: 25,
            new_endpoints_burst: 100,
            unverified_bytes: 16 * 1024,
            answer_bytes: 128 * 1024,
            peer_ttl: Duration::from_secs(45 * 60),
            peers_per_swarm: 2000,
            sample_interval: Duration::from_secs(5 * 60),
            announce_interval: Duration::from_secs(15 * 60),
            #[cfg(feature = "items")]
            item_ttl: Duration::from_secs(2 * 60 * 60),
            #[cfg(feature = "items")]
            signature_checks: 100,
            #[cfg(feature = "items")]
            bad_signature_cost: 25,
            #[cfg(feature = "items")]
            retry_with_seq: false,
            secure_ids: true,
            enforce_secure_ids: false,
            lookup: LookupOptions::default(),
        }
    }
}

/// Capacity of a node. All memory is reserved when the node is created and never grows.
///
/// Any field may be 0: the node then works without that part.
///
/// ```
/// use dht_proto::Limits;
///
/// let mut limits = Limits::default();
/// limits.peers_v4 = 1_000_000;
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Routing table entries for IPv4. The default of 400 is 128, 64, 32 and 16 for the four
    /// farthest buckets and 8 for each of twenty nearer ones.
    pub nodes_v4: usize,
    /// Routing table entries for IPv6. Default: 400.
    pub nodes_v6: usize,
    /// Replacements in each family that has nodes, spread over the buckets, of which there is one for every
    /// eight nodes and at most 24. With fewer replacements than buckets there are none, and a node that sends
    /// a query is never learned from it. Default: 8 for each of 24 buckets.
    pub replacements: usize,
    /// Queries in flight, those of lookups included. Default: 512.
    pub inflight: usize,
    /// Lookups and announces in progress or remembered for their tokens; a lookup in both families takes two.
    /// Starting one past the limit fails. Default: 64.
    pub lookups: usize,
    /// The closest nodes that a lookup tracks in one family. Default: 64.
    pub candidates: usize,
    /// Write tokens of up to 128 bytes that a lookup keeps in one family, those of the closest nodes: an
    /// announce goes to no others. Default: 16, twice [`K`](crate::K), so that it can spill over.
    pub tokens: usize,
    /// Peers that a lookup remembers in one family, to report each once; past that it reports none
    /// ([`LookupReport::more_peers`](crate::LookupReport::more_peers)). Up to 65,535, of 18 bytes for each of
    /// [`lookups`](Self::lookups): with 3000, for the peers of large swarms, 64 lookups take 3.5 MB.
    /// [`LookupOptions::max_peers`](crate::LookupOptions::max_peers) lowers it for a single lookup. Default:
    /// 512.
    pub found: usize,
    /// Torrents whose peers are stored. Default: 4096.
    pub swarms: usize,
    /// Stored IPv4 peers, in chunks of four. Default: 32,768.
    pub peers_v4: usize,
    /// Stored IPv6 peers, in chunks of four. Default: 8192.
    pub peers_v6: usize,
    /// Infohashes in the random subset that is sent in response to `sample_infohashes` (BEP 51). 45 fill a
    /// datagram; with 0 none are sent once there are more than fit into one. Default: 45.
    pub samples: usize,
    /// Sources whose rates are tracked, and half as many subnets whose allowance and share are tracked. With
    /// 0 no source is ever verified, and responses stay within three times the query: for nodes that do not
    /// answer. Default: 2048.
    pub sources: usize,
    /// Endpoints whose failures are remembered between lookups. Default: 2048.
    pub contacts: usize,
    /// Responses that wait to be polled. Without any the node is [read-only](Config::read_only), whatever the
    /// configuration says. Default: 64.
    pub replies: usize,
    /// Informational events that wait to be polled. Default: 64.
    pub events: usize,
    /// Bootstrap addresses. Default: 32.
    pub bootstraps: usize,
    /// Announcements and items that are republished. Default: 1024.
    pub publications: usize,
    /// Items stored for others. Default: 2048, three times what libtorrent stores.
    #[cfg(feature = "items")]
    pub items: usize,
    /// Chunks of 128 bytes for the items stored for others: an immutable item takes the length of its value,
    /// a mutable one 96 bytes and its salt more. Default: 8192, or 512 bytes for each item, in 1 MiB.
    #[cfg(feature = "items")]
    pub item_chunks: usize,
    /// Items that this node's lookups seek or publish, and published items. A lookup needs one until it is
    /// reported; starting one past the limit fails. Published items take no more than three quarters, which
    /// leaves the rest to lookups. Default: 256, of which 192 may be published.
    #[cfg(feature = "items")]
    pub own_items: usize,
    /// Chunks of 128 bytes for the items of this node's lookups and publications. A lookup takes the eight
    /// that the longest value needs until it has ended, a published item those of its own length. Published
    /// items take no more than three quarters; with fewer than 32 chunks that does not leave a lookup its
    /// eight. Default: 2048, or 192 published items of the greatest length, as many as there are slots for,
    /// beside 64 lookups.
    #[cfg(feature = "items")]
    pub own_chunks: usize,
    /// Scrapes in progress. Default: 4, the most at once that BEP 33 recommends.
    pub scrapes: usize,
    /// Queries of [`Node::sample_infohashes`](crate::Node::sample_infohashes) in flight, or ended and kept
    /// for their infohashes and nodes: 2 KB each. Default: 16.
    pub samplings: usize,
    /// Subnets that are remembered to have reported this node's external address, so that none votes twice;
    /// shared by the families that are on. With fewer than 16 for each, addresses are not learned. Default:
    /// 128.
    pub voters: usize,
}

impl Limits {
    /// Limits of a client of one family that does not answer: it stores nothing for others, looks up one
    /// torrent at a time, and no items. Together with the node itself it takes less than 16 KiB.
    pub const CLIENT: Self = Self {
        nodes_v4: 64,
        nodes_v6: 0,
        replacements: 16,
        inflight: 24,
        lookups: 1,
        candidates: 32,
        tokens: 16,
        found: 23,
        swarms: 0,
        peers_v4: 0,
        peers_v6: 0,
        samples: 0,
        sources: 0,
        contacts: 32,
        replies: 0,
        events: 4,
        bootstraps: 4,
        publications: 8,
        #[cfg(feature = "items")]
        items: 0,
        #[cfg(feature = "items")]
        item_chunks: 0,
        #[cfg(feature = "items")]
        own_items: 0,
        #[cfg(feature = "items")]
        own_chunks: 0,
        scrapes: 0,
        samplings: 0,
        voters: 32,
    };
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            nodes_v4: 400,
            nodes_v6: 400,
            replacements: 192,
            inflight: 512,
            lookups: 64,
            candidates: 64,
            tokens: 16,
            found: 512,
            swarms: 4096,
            peers_v4: 32_768,
            peers_v6: 8192,
            samples: 45,
            sources: 2048,
            contacts: 2048,
            replies: 64,
            events: 64,
            bootstraps: 32,
            publications: 1024,
            #[cfg(feature = "items")]
            items: 2048,
            #[cfg(feature = "items")]
            item_chunks: 8192,
            #[cfg(feature = "items")]
            own_items: 256,
            #[cfg(feature = "items")]
            own_chunks: 2048,
            scrapes: 4,
            samplings: 16,
            voters: 128,
        }
    }
}

/// The role of a bootstrap host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BootstrapKind {
    /// A well-known public host that the whole DHT bootstraps from and that must not be overloaded: it is in
    /// the routing table only while no other node is known, and is never passed on to others.
    Router,
    /// A node like any other: it enters the routing table once it answers. This is the kind for the nodes of
    /// a private network that bootstrap from each other.
    Node,
}
