//! What a node does and how much it holds: [`Config`] and [`Limits`], each default with its reason.

use core::time::Duration;

use crate::addr::AddressPolicy;
use crate::id::NodeId;
use crate::lookup::LookupOptions;

/// The largest datagram a node sends, in bytes, and so the size of the buffer for
/// [`Node::poll_transmit`](crate::Node::poll_transmit).
///
/// Most are at most 1024 bytes (BEP 32); only one that carries a stored value (BEP 44) may be as
/// long as an unfragmented UDP payload on Ethernet.
pub const MAX_DATAGRAM: usize = 1472;

/// How a node behaves.
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
    /// Our id in the IPv4 DHT; drawn at random where `None`. To keep it whatever our address is,
    /// switch off [`secure_ids`](Self::secure_ids).
    pub id: Option<NodeId>,
    /// Our id in the IPv6 DHT; drawn at random where `None`. BEP 32 wants the same id in both,
    /// BEP 42 and BEP 45 one per address: set both fields to have BEP 32's way.
    pub id_v6: Option<NodeId>,
    /// Take part in the IPv4 DHT. Default: yes.
    pub ipv4: bool,
    /// Take part in the IPv6 DHT. Default: yes.
    pub ipv6: bool,
    /// Ask but never answer (BEP 43): for nodes that cannot be reached from outside.
    pub read_only: bool,
    /// Which addresses may be talked to and passed on.
    pub address_policy: AddressPolicy,
    /// Tell sources apart by IP address and network: one table entry, one vote and one peer per
    /// torrent for each IP, shared rates, caps for each network. Off, each endpoint counts as a
    /// source of its own, for many nodes on one host. Default: on.
    pub source_limits: bool,
    /// The client and version in every message we send, four bytes because one deployed family
    /// reads no other length (BEP 20).
    pub version: [u8; 4],
    /// Queries a second that one source may ask for long. Default: 5.
    pub queries_per_source: u32,
    /// Queries that one source may ask at once. Default: 50.
    pub source_burst: u32,
    /// Endpoints a second that we contact anew for long, so that the address translation tables of
    /// home routers survive. Default: 25.
    pub new_endpoints: u32,
    /// Endpoints that we contact anew at once. Default: 100, two lookups.
    pub new_endpoints_burst: u32,
    /// Bytes a minute that a network (/24, /56) is sent before one of its addresses has proved
    /// that it receives them; past that, three times what it sends. Default: 16 KiB.
    pub unverified_bytes: u32,
    /// How long an announced peer is kept. Default: 45 minutes, three announce intervals.
    pub peer_ttl: Duration,
    /// Peers that one torrent may have in one family. Default: 2000.
    pub peers_per_swarm: u32,
    /// How often an announce that is [kept up](crate::Node::keep_announced) is repeated, give or
    /// take a tenth; less than a minute counts as a minute, more than a day as a day. Default: 15
    /// minutes, because most nodes keep a peer for 30 (BEP 5 names no time).
    pub announce_interval: Duration,
    /// Take an id that fits our external address once that is known, and another one when it has
    /// changed so that the id fits no more (BEP 42). Off, ids stay as they are. Default: on.
    pub secure_ids: bool,
    /// Let nodes whose ids do not fit their addresses (BEP 42) count for nothing in lookups: they lead
    /// on to others, but are neither results nor announced to. They are answered all the same, and
    /// stand in the routing table. Default: off, because some clients know nothing of it.
    pub enforce_secure_ids: bool,
    /// How lookups run that are started without options of their own.
    pub lookup: LookupOptions,
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
            new_endpoints: 25,
            new_endpoints_burst: 100,
            unverified_bytes: 16 * 1024,
            peer_ttl: Duration::from_secs(45 * 60),
            peers_per_swarm: 2000,
            announce_interval: Duration::from_secs(15 * 60),
            secure_ids: true,
            enforce_secure_ids: false,
            lookup: LookupOptions::default(),
        }
    }
}

/// How much a node holds. All memory is reserved at birth and never grows.
///
/// Any field may be 0: the node then does without that part.
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
    /// Replacements for each family that has nodes, spread over the buckets, of which there is one
    /// for every eight nodes and at most 24. With fewer replacements than buckets there are none,
    /// and a node that asks us is never learned. Default: 8 for each of 24 buckets.
    pub replacements: usize,
    /// Queries under way, those of lookups included. Default: 512.
    pub inflight: usize,
    /// Lookups and announces under way or remembered for their tokens; a lookup in both families
    /// takes two. Past that, starting one fails. Default: 64.
    pub lookups: usize,
    /// Nodes that a lookup keeps in sight in one family, the closest ones. Default: 64.
    pub candidates: usize,
    /// Write tokens of up to 128 bytes that a lookup keeps in one family, those of the closest nodes:
    /// an announce goes to no others. Default: 16, twice [`K`](crate::K), so that it can spill over.
    pub tokens: usize,
    /// Peers that a lookup remembers in one family, to report each once. Default: 512.
    pub found: usize,
    /// Torrents whose peers we store. Default: 4096.
    pub swarms: usize,
    /// IPv4 peers that we store, in chunks of four. Default: 32,768.
    pub peers_v4: usize,
    /// IPv6 peers that we store, in chunks of four. Default: 8192.
    pub peers_v6: usize,
    /// Sources whose rates we keep, and half as many networks whose allowance we keep. With 0 no
    /// source is ever verified, and answers stay within three times the query: for nodes that
    /// answer nobody. Default: 2048.
    pub sources: usize,
    /// Endpoints whose failures we remember between lookups. Default: 2048.
    pub contacts: usize,
    /// Answers that wait to be polled. Default: 64.
    pub replies: usize,
    /// Informational events that wait to be polled. Default: 64.
    pub events: usize,
    /// Bootstrap addresses. Default: 32.
    pub bootstraps: usize,
    /// Announces that are kept up. Default: 1024.
    pub kept: usize,
    /// Networks of which we remember that they told us our external address, so that none is heard
    /// twice, shared by the families that are on. With fewer than 16 for each, addresses are not
    /// learned. Default: 128.
    pub voters: usize,
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
            sources: 2048,
            contacts: 2048,
            replies: 64,
            events: 64,
            bootstraps: 32,
            kept: 1024,
            voters: 128,
        }
    }
}
