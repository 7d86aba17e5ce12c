//! Behaviour of a node: [`Config`], each default with its reason.

use core::time::Duration;

use crate::base::addr::{AddressPolicy, Family};
use crate::base::id::NodeId;
use crate::guard::rate::RateLimit;
use crate::lookup::LookupOptions;

/// The size in bytes of the largest datagram a node sends, which is the minimum buffer size for
/// [`Node::poll_transmit`](crate::Node::poll_transmit).
///
/// Most datagrams are at most 1024 bytes (BEP 32); only one that carries a stored value (BEP 44) may be as
/// long as an unfragmented UDP payload on Ethernet.
pub const MAX_DATAGRAM: usize = 1472;

/// Behaviour of a node.
///
/// Each field has a setter of its name, which may be used in constants.
///
/// ```
/// use dht_proto::Config;
///
/// const CONFIG: Config = Config::DEFAULT.ipv6(false).read_only(true);
/// assert!(CONFIG.ipv4 && !CONFIG.ipv6);
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
    /// The queries per second of one source that are answered, and the burst. Default: 5 and 50.
    pub queries_per_source: RateLimit,
    /// The queries per second that are sent to one endpoint, by all lookups and maintenance together, and the burst. A
    /// rate of 0 counts as 1, [`u32::MAX`] as no limit; the burst is 1..=15. Queries past it wait while other
    /// destinations are served. Default: 2, as many as mldht answers, and 6, of the 10 that mldht answers.
    pub queries_per_node: RateLimit,
    /// The new endpoints per second that are contacted, and the burst, which keeps the address translation tables of
    /// home routers from overflowing. Default: 25 and 100, two lookups.
    pub new_endpoints: RateLimit,
    /// Bytes per minute that are sent to a subnet (/24, /56) before one of its addresses has proved that it receives
    /// them; past that, three times what it sends. All such subnets together may receive ten times this number a
    /// minute, and a quarter of what they send, in addition to three times what they send. An item longer than three
    /// times the query is sent to each of them once a minute at most. Default: 16 KiB.
    pub unverified_bytes: u32,
    /// Bytes per second of all responses together, on average over any minute, if
    /// [`source_limits`](Self::source_limits) is on. When half of what two seconds allow is used up,
    /// responses to the subnets (/24, /56) that received most in the last minute are shortened, then omitted, even to
    /// verified subnets; sources that query little are still answered. Less than 2 KiB counts as 2
    /// KiB, [`u32::MAX`] as no limit. Default: 128 KiB.
    pub answer_bytes: u32,
    /// The time after which an announced peer expires. Default: 45 minutes, three announce intervals.
    pub peer_ttl: Duration,
    /// The number of peers that one torrent may have in one family; more than 3000 count as 3000, because the
    /// filters of a scrape count no more than 6000 (BEP 33). A new peer replaces the one that announced
    /// itself longest ago, so no token needs to be withheld. Default: 2000.
    pub peers_per_swarm: u16,
    /// The time for which responses to `sample_infohashes` list the same infohashes while not all fit; more
    /// than six hours count as six (BEP 51), and more than half of [`peer_ttl`](Self::peer_ttl) as half of
    /// it, so that most of those listed still have peers at its end. Default: 5 minutes, as in mldht.
    pub sample_interval: Duration,
    /// The time between two republishes of an [announcement](crate::Node::start_announcing), give or take a
    /// tenth; less than a minute counts as a minute, more than a day as a day. Default: 15 minutes, because
    /// most nodes keep a peer for 30 (BEP 5 names no time).
    pub announce_interval: Duration,
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
    /// The rules of items (BEP 44): those stored for others, and those that this node publishes.
    #[cfg(feature = "items")]
    pub items: ItemConfig,
}

/// Behaviour of a node as to items (BEP 44), in [`Config::items`](field@Config::items).
#[cfg(feature = "items")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub struct ItemConfig {
    /// The time after its last put at which an item stored for others expires. Default: 2 hours, as in BEP
    /// 44; publishers repeat the put every hour.
    pub ttl: Duration,
    /// The time between two republishes of an [item](crate::Node::start_publishing), give or take a tenth of
    /// [`announce_interval`](field@Config::announce_interval); less than a minute counts as a minute, more
    /// than a day as a day. Nodes drop items two hours after the last put. Default: 1 hour (BEP 44).
    pub publish_interval: Duration,
    /// The sustained number of signatures of others' puts that are checked per second; the burst is twice
    /// that. A check takes about as long as the responses to 200 other queries; puts past the limit are
    /// refused with error 202, and their senders turn to the next node. Default: 100, under one hundredth of
    /// a processor.
    pub signature_checks: u16,
    /// The number of queries as which a put with an invalid signature counts against the rate of its source, because
    /// no honest node sends one. Default: 25, so that two of them use up the burst of
    /// [`queries_per_source`](field@Config::queries_per_source), and from then on one is checked every five
    /// seconds.
    pub bad_signature_cost: u8,
    /// Whether to repeat an immutable put, with a meaningless `seq`, to nodes that refused it with error 203:
    /// nodes of anacrolix/dht ask for one. Default: no.
    pub retry_with_seq: bool,
}

impl Config {
    /// The defaults, as a constant.
    pub const DEFAULT: Self = Self {
        id: None,
        id_v6: None,
        ipv4: true,
        ipv6: true,
        read_only: false,
        address_policy: AddressPolicy::Public,
        source_limits: true,
        version: *b"dp\x00\x01",
        queries_per_source: RateLimit::new(5, 50),
        queries_per_node: RateLimit::new(2, 6),
        new_endpoints: RateLimit::new(25, 100),
        unverified_bytes: 16 * 1024,
        answer_bytes: 128 * 1024,
        peer_ttl: Duration::from_secs(45 * 60),
        peers_per_swarm: 2000,
        sample_interval: Duration::from_secs(5 * 60),
        announce_interval: Duration::from_secs(15 * 60),
        secure_ids: true,
        enforce_secure_ids: false,
        lookup: LookupOptions::DEFAULT,
        #[cfg(feature = "items")]
        items: ItemConfig::DEFAULT,
    };

    /// A configuration for a private network: nodes on one host, in a laboratory, or on a LAN.
    ///
    /// It differs from the default in four ways. Loopback and private addresses are contacted and passed on
    /// ([`AddressPolicy::Any`]). Endpoints count as sources, not addresses and subnets
    /// ([`source_limits`](field@Self::source_limits)), so that many nodes may share a host. Rates that a few busy nodes
    /// would reach are not limited. Ids stay as they are ([`secure_ids`](field@Self::secure_ids)).
    ///
    /// It leaves a node in the public DHT without protection.
    ///
    /// ```
    /// use dht_proto::{AddressPolicy, Config};
    ///
    /// const CONFIG: Config = Config::private();
    /// assert!(CONFIG.address_policy == AddressPolicy::Any && !CONFIG.source_limits && !CONFIG.secure_ids);
    /// ```
    pub const fn private() -> Self {
        Self {
            address_policy: AddressPolicy::Any,
            source_limits: false,
            secure_ids: false,
            queries_per_source: RateLimit::new(u32::MAX, u32::MAX),
            queries_per_node: RateLimit::new(u32::MAX, 15),
            new_endpoints: RateLimit::new(100_000, 100_000),
            unverified_bytes: 1 << 30,
            answer_bytes: u32::MAX,
            #[cfg(feature = "items")]
            items: ItemConfig::DEFAULT.signature_checks(u16::MAX),
            ..Self::DEFAULT
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

/// Setters.
impl Config {
    /// Sets the id in the IPv4 DHT, [`id`](field@Self::id).
    pub const fn id(mut self, id: NodeId) -> Self {
        self.id = Some(id);
        self
    }

    /// Sets the id in the IPv6 DHT, [`id_v6`](field@Self::id_v6).
    pub const fn id_v6(mut self, id_v6: NodeId) -> Self {
        self.id_v6 = Some(id_v6);
        self
    }

    /// Sets [`ipv4`](field@Self::ipv4).
    pub const fn ipv4(mut self, ipv4: bool) -> Self {
        self.ipv4 = ipv4;
        self
    }

    /// Sets [`ipv6`](field@Self::ipv6).
    pub const fn ipv6(mut self, ipv6: bool) -> Self {
        self.ipv6 = ipv6;
        self
    }

    /// Sets [`read_only`](field@Self::read_only).
    pub const fn read_only(mut self, read_only: bool) -> Self {
        self.read_only = read_only;
        self
    }

    /// Sets [`address_policy`](field@Self::address_policy).
    pub const fn address_policy(mut self, address_policy: AddressPolicy) -> Self {
        self.address_policy = address_policy;
        self
    }

    /// Sets [`source_limits`](field@Self::source_limits).
    pub const fn source_limits(mut self, source_limits: bool) -> Self {
        self.source_limits = source_limits;
        self
    }

    /// Sets [`version`](field@Self::version).
    pub const fn version(mut self, version: [u8; 4]) -> Self {
        self.version = version;
        self
    }

    /// Sets [`queries_per_source`](field@Self::queries_per_source).
    pub const fn queries_per_source(mut self, queries_per_source: RateLimit) -> Self {
        self.queries_per_source = queries_per_source;
        self
    }

    /// Sets [`queries_per_node`](field@Self::queries_per_node).
    pub const fn queries_per_node(mut self, queries_per_node: RateLimit) -> Self {
        self.queries_per_node = queries_per_node;
        self
    }

    /// Sets [`new_endpoints`](field@Self::new_endpoints).
    pub const fn new_endpoints(mut self, new_endpoints: RateLimit) -> Self {
        self.new_endpoints = new_endpoints;
        self
    }

    /// Sets [`unverified_bytes`](field@Self::unverified_bytes).
    pub const fn unverified_bytes(mut self, unverified_bytes: u32) -> Self {
        self.unverified_bytes = unverified_bytes;
        self
    }

    /// Sets [`answer_bytes`](field@Self::answer_bytes).
    pub const fn answer_bytes(mut self, answer_bytes: u32) -> Self {
        self.answer_bytes = answer_bytes;
        self
    }

    /// Sets [`peer_ttl`](field@Self::peer_ttl).
    pub const fn peer_ttl(mut self, peer_ttl: Duration) -> Self {
        self.peer_ttl = peer_ttl;
        self
    }

    /// Sets [`peers_per_swarm`](field@Self::peers_per_swarm).
    pub const fn peers_per_swarm(mut self, peers_per_swarm: u16) -> Self {
        self.peers_per_swarm = peers_per_swarm;
        self
    }

    /// Sets [`sample_interval`](field@Self::sample_interval).
    pub const fn sample_interval(mut self, sample_interval: Duration) -> Self {
        self.sample_interval = sample_interval;
        self
    }

    /// Sets [`announce_interval`](field@Self::announce_interval).
    pub const fn announce_interval(mut self, announce_interval: Duration) -> Self {
        self.announce_interval = announce_interval;
        self
    }

    /// Sets [`secure_ids`](field@Self::secure_ids).
    pub const fn secure_ids(mut self, secure_ids: bool) -> Self {
        self.secure_ids = secure_ids;
        self
    }

    /// Sets [`enforce_secure_ids`](field@Self::enforce_secure_ids).
    pub const fn enforce_secure_ids(mut self, enforce_secure_ids: bool) -> Self {
        self.enforce_secure_ids = enforce_secure_ids;
        self
    }

    /// Sets [`lookup`](field@Self::lookup).
    pub const fn lookup(mut self, lookup: LookupOptions) -> Self {
        self.lookup = lookup;
        self
    }

    /// Sets [`items`](field@Self::items).
    #[cfg(feature = "items")]
    pub const fn items(mut self, items: ItemConfig) -> Self {
        self.items = items;
        self
    }

    /// Sets [`ItemConfig::publish_interval`](field@ItemConfig::publish_interval).
    #[cfg(feature = "items")]
    pub const fn publish_interval(mut self, publish_interval: Duration) -> Self {
        self.items.publish_interval = publish_interval;
        self
    }
}

#[cfg(feature = "items")]
impl ItemConfig {
    /// The defaults, as a constant.
    pub const DEFAULT: Self = Self {
        ttl: Duration::from_secs(2 * 60 * 60),
        publish_interval: Duration::from_secs(60 * 60),
        signature_checks: 100,
        bad_signature_cost: 25,
        retry_with_seq: false,
    };

    /// Sets [`ttl`](field@Self::ttl).
    pub const fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = ttl;
        self
    }

    /// Sets [`publish_interval`](field@Self::publish_interval).
    pub const fn publish_interval(mut self, publish_interval: Duration) -> Self {
        self.publish_interval = publish_interval;
        self
    }

    /// Sets [`signature_checks`](field@Self::signature_checks).
    pub const fn signature_checks(mut self, signature_checks: u16) -> Self {
        self.signature_checks = signature_checks;
        self
    }

    /// Sets [`bad_signature_cost`](field@Self::bad_signature_cost).
    pub const fn bad_signature_cost(mut self, bad_signature_cost: u8) -> Self {
        self.bad_signature_cost = bad_signature_cost;
        self
    }

    /// Sets [`retry_with_seq`](field@Self::retry_with_seq).
    pub const fn retry_with_seq(mut self, retry_with_seq: bool) -> Self {
        self.retry_with_seq = retry_with_seq;
        self
    }
}

impl Default for Config {
    fn default() -> Self {
        Self::DEFAULT
    }
}

#[cfg(feature = "items")]
impl Default for ItemConfig {
    fn default() -> Self {
        Self::DEFAULT
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

#[cfg(test)]
mod tests {
    use std::format;

    use super::*;

    #[test]
    fn every_setter_sets_its_own_field() {
        let (id, secs) = (NodeId::from_bytes([1; 20]), Duration::from_secs);
        let rate = |per_sec| RateLimit::new(per_sec, 2 * per_sec);
        let expected = Config {
            id: Some(id),
            id_v6: Some(NodeId::ZERO),
            ipv4: false,
            ipv6: false,
            read_only: true,
            address_policy: AddressPolicy::Any,
            source_limits: false,
            version: *b"test",
            queries_per_source: rate(11),
            queries_per_node: rate(12),
            new_endpoints: rate(13),
            unverified_bytes: 14,
            answer_bytes: 15,
            peer_ttl: secs(16),
            peers_per_swarm: 17,
            sample_interval: secs(18),
            announce_interval: secs(19),
            secure_ids: false,
            enforce_secure_ids: true,
            lookup: LookupOptions::DEFAULT.k(3),
            #[cfg(feature = "items")]
            items: ItemConfig {
                ttl: secs(20),
                publish_interval: secs(21),
                signature_checks: 22,
                bad_signature_cost: 23,
                retry_with_seq: true,
            },
        };
        let first = Config::DEFAULT.id(id).id_v6(NodeId::ZERO).ipv4(false).ipv6(false).read_only(true);
        let second = first.address_policy(AddressPolicy::Any).source_limits(false).version(*b"test");
        let third = second.queries_per_source(rate(11)).queries_per_node(rate(12)).new_endpoints(rate(13));
        let fourth = third.unverified_bytes(14).answer_bytes(15).peer_ttl(secs(16)).peers_per_swarm(17);
        let fifth = fourth.sample_interval(secs(18)).announce_interval(secs(19)).secure_ids(false);
        let config = fifth.enforce_secure_ids(true).lookup(LookupOptions::DEFAULT.k(3));
        #[cfg(feature = "items")]
        let config = config
            .items(
                ItemConfig::DEFAULT
                    .ttl(secs(20))
                    .signature_checks(22)
                    .bad_signature_cost(23)
                    .retry_with_seq(true),
            )
            .publish_interval(secs(21));
        assert_eq!(format!("{config:?}"), format!("{expected:?}"));
        #[cfg(feature = "items")]
        assert_eq!(ItemConfig::DEFAULT.publish_interval(secs(9)).publish_interval, secs(9));
    }
}
