//! What a node does and how much it holds: [`Config`] and [`Limits`], each default with its reason.

use core::time::Duration;

use crate::base::addr::{AddressPolicy, Family};
use crate::base::id::NodeId;
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
    /// Ask but never answer (BEP 43): for nodes that cannot be reached from outside. It can be
    /// [changed](crate::Node::set_read_only) later.
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
    /// Queries a second that we send to one endpoint for long, all lookups and the upkeep together; 0
    /// counts as 1, [`u32::MAX`] as no limit. What goes beyond waits while other destinations are served.
    /// Default: 2, as many as mldht answers.
    pub queries_per_node: u32,
    /// Queries that we send to one endpoint at once, 1..=15. Default: 6; mldht answers 10.
    pub node_burst: u32,
    /// Endpoints a second that we contact anew for long, so that the address translation tables of
    /// home routers survive. Default: 25.
    pub new_endpoints: u32,
    /// Endpoints that we contact anew at once. Default: 100, two lookups.
    pub new_endpoints_burst: u32,
    /// Bytes a minute that a network (/24, /56) is sent before one of its addresses has proved
    /// that it receives them; past that, three times what it sends. All such networks together have
    /// ten times as much a minute, and a quarter of what they send, beyond three times what they send. An
    /// item goes to one of them once a minute, if it is longer than three times the query. Default:
    /// 16 KiB.
    pub unverified_bytes: u32,
    /// Bytes a second of all answers together, on average over any minute, with [`source_limits`](Self::source_limits).
    /// When half of what two seconds allow is used up, answers to those networks (/24, /56) get shorter and
    /// then fail that drew most in the last minute, verified ones too; whoever asks little is still
    /// answered. Less than 2 KiB counts as 2 KiB, [`u32::MAX`] as no limit. Default: 128 KiB.
    pub answer_bytes: u32,
    /// How long an announced peer is kept. Default: 45 minutes, three announce intervals.
    pub peer_ttl: Duration,
    /// Peers that one torrent may have in one family; more than 3000 count as 3000, because the filters
    /// of a scrape count no more than 6000 (BEP 33). A newcomer takes the place of the peer that announced
    /// itself longest ago, so that no token needs to be withheld. Default: 2000.
    pub peers_per_swarm: u32,
    /// How long the answers to `sample_infohashes` tell the same infohashes while not all fit; more than
    /// six hours count as six (BEP 51), and more than half of [`peer_ttl`](Self::peer_ttl) as half of it,
    /// so that most of those told still have peers at its end. Default: 5 minutes, as mldht has it.
    pub sample_interval: Duration,
    /// How often an announce that is [kept up](crate::Node::start_announcing) is repeated, give or
    /// take a tenth; less than a minute counts as a minute, more than a day as a day. Default: 15
    /// minutes, because most nodes keep a peer for 30 (BEP 5 names no time).
    pub announce_interval: Duration,
    /// How long an item is kept after its last put. Default: 2 hours, as BEP 44 says; publishers
    /// repeat it every hour.
    #[cfg(feature = "items")]
    pub item_ttl: Duration,
    /// Signatures of strangers that we check in a second for long, and twice as many at once. A check
    /// takes as long as the answers to 200 other queries or so; puts past the limit are refused with
    /// error 202, and their senders turn to the next node. Default: 100, under one hundredth of a
    /// processor.
    #[cfg(feature = "items")]
    pub signature_checks: u16,
    /// As how many queries of its source a put with a wrong signature counts: no honest node sends
    /// one. Default: 25, so that two of them use up [`source_burst`](Self::source_burst), and from
    /// then on one is checked in five seconds.
    #[cfg(feature = "items")]
    pub bad_signature_cost: u8,
    /// Send an immutable put once more, with a `seq` that means nothing, to nodes that refused it
    /// with error 203: nodes of anacrolix/dht ask for one. Default: no.
    #[cfg(feature = "items")]
    pub retry_with_seq: bool,
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

impl Config {
    /// Whether to take part in the DHT of a family.
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
    /// Peers that a lookup remembers in one family, to report each once; past that it reports none
    /// ([`LookupReport::more_peers`](crate::LookupReport::more_peers)). Up to 65,535, of 18 bytes for each
    /// of [`lookups`](Self::lookups): with 3000, for the peers of large swarms, 64 lookups take 3.5 MB.
    /// A single lookup may be content with fewer
    /// ([`LookupOptions::max_peers`](crate::LookupOptions::max_peers)). Default: 512.
    pub found: usize,
    /// Torrents whose peers we store. Default: 4096.
    pub swarms: usize,
    /// IPv4 peers that we store, in chunks of four. Default: 32,768.
    pub peers_v4: usize,
    /// IPv6 peers that we store, in chunks of four. Default: 8192.
    pub peers_v6: usize,
    /// Infohashes in the random subset of them that we tell to whoever asks for a sample (BEP 51). 45 fill
    /// a datagram; with 0 none are told once they are more than fit into one. Default: 45.
    pub samples: usize,
    /// Sources whose rates we keep, and half as many networks whose allowance and share we keep. With 0 no
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
    /// Announces and items that are kept up. Default: 1024.
    pub publications: usize,
    /// Items that we store for others. Default: 2048, three times what libtorrent stores.
    #[cfg(feature = "items")]
    pub items: usize,
    /// Chunks of 128 bytes for them: an immutable item takes its value's length, a mutable one 96
    /// bytes and its salt more. Default: 8192, or 512 bytes for each item, in 1 MiB.
    #[cfg(feature = "items")]
    pub item_chunks: usize,
    /// Items that our own lookups seek or publish, and those that are kept up. A lookup needs one,
    /// until it is reported; past that, starting one fails. Those that are kept up take no more than
    /// three quarters, and leave the rest to lookups. Default: 256, of which 192 may be kept up.
    #[cfg(feature = "items")]
    pub own_items: usize,
    /// Chunks of 128 bytes for them. A lookup takes the eight that the longest value needs until it
    /// has ended, a published item those of its own length. Those that are kept up take no more than
    /// three quarters; with fewer than 32 chunks that does not leave a lookup its eight. Default: 2048,
    /// or 192 of the longest items kept up, as many as there are slots for, beside 64 lookups.
    #[cfg(feature = "items")]
    pub own_chunks: usize,
    /// Scrapes under way. Default: 4, as many as BEP 33 would have at once.
    pub scrapes: usize,
    /// Queries of [`Node::sample_infohashes`](crate::Node::sample_infohashes) under way, or ended and kept
    /// for their infohashes and nodes: 2 KB each. Default: 16.
    pub samplings: usize,
    /// Networks of which we remember that they told us our external address, so that none is heard
    /// twice, shared by the families that are on. With fewer than 16 for each, addresses are not
    /// learned. Default: 128.
    pub voters: usize,
}

impl Limits {
    /// A client of one family that answers nobody: it stores nothing for others and looks up one
    /// torrent at a time, and no items. With the node itself it takes less than 16 KiB.
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
        replies: 1,
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

/// What a host is that the node is to start from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BootstrapKind {
    /// A well-known public host, which the whole DHT starts from and which is to be spared: it stands in
    /// the routing table only while no other node is known, and is never passed on to others.
    Router,
    /// A node like any other: it enters the routing table once it answers. Nodes of a private network
    /// that are to know each other by this are of this kind.
    Node,
}
