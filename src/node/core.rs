//! The state of a node without its memory, and what all parts of it need.

use core::net::{IpAddr, SocketAddr};
use core::time::Duration;

use crate::base::addr::{Endpoint, Family};
use crate::base::id::{InfoHash, K, NodeId};
use crate::base::pool::{Ix, Ring};
use crate::base::rng::Rng;
use crate::base::rtt::RttHistogram;
use crate::base::time::Instant;
use crate::base::trace::{debug, trace};
use crate::guard::external::External;
#[cfg(feature = "items")]
use crate::guard::rate::Pacer;
use crate::guard::rate::Rate;
use crate::guard::sources::{SourceRules, Sources};
use crate::lookup::Announce;
use crate::lookup::density::Density;
use crate::lookup::republisher::{Pace, Republisher};
use crate::lookup::sampling::Sampling;
use crate::lookup::scrape::Scrape;
use crate::node::api::config::Config;
use crate::node::api::error::{ContactError, QueryError, StartError};
use crate::node::api::event::{NodeInfo, PackedEvent, PackedKind, Transmit};
use crate::node::api::report::{Pong, Sample, SwarmSize};
use crate::node::api::stats::Stats;
use crate::node::client::phases::Traversals;
use crate::node::maintenance::joining::Bootstrap;
use crate::node::maintenance::timers::{Timer, Timers};
use crate::node::server::pending::{Querier, Reply};
use crate::node::storage::sealed::{Memory, View};
use crate::rpc::inflight::{Inflight, Match};
use crate::rpc::reputation::Reputations;
#[cfg(feature = "items")]
use crate::store::items::{ItemStore, OwnItems};
use crate::store::peers::{MAX_SAMPLE_INTERVAL, PeerRules, PeerStore};
use crate::store::token::Tokens;
use crate::table::{
    Contact, Entry, Filter, InsertKind, InsertResult, Nodes, Removal, Slots, Table, TableMut, TableRef,
};
use crate::wire::{Body, ErrorCode, Message, ParseError, Query, Response};

/// Seconds for which an address counts as verified after a response from it.
pub(in crate::node) const VERIFIED_SECS: u16 = 15 * 60;

/// Maximum number of peers of a swarm in one family: a filter can count both families together (BEP 33).
pub(in crate::node) const MAX_PEERS_PER_SWARM: u16 = 3000;

/// The pause after a maintenance task that found no lookup slot, because lookups of the user use all of them.
pub(in crate::node) const SLOT_RETRY: Duration = Duration::from_secs(10);

/// What only some nodes do. They reach it through these pointers alone, so that a program is linked without the
/// parts that its memory has no room for.
pub(in crate::node) struct Parts {
    pub(in crate::node) server: Option<Server>,
    pub(in crate::node) scraper: Option<Scraper>,
    pub(in crate::node) sampler: Option<Sampler>,
}

/// Responses to queries, and the stores.
pub(in crate::node) struct Server {
    pub(in crate::node) answer: fn(&mut Core, &mut Memory<'_>, &Querier<'_>, &Message<'_>, &Query<'_>),
    pub(in crate::node) refuse: fn(&mut Core, &mut Memory<'_>, &Querier<'_>, (ErrorCode, &str)),
    pub(in crate::node) emit_reply: fn(&mut Core, &mut Memory<'_>, &Reply, &mut [u8]) -> Option<Transmit>,
    pub(in crate::node) verify: fn(&mut Core, &mut Memory<'_>, Endpoint),
    pub(in crate::node) sweep: fn(&mut Core, &mut Memory<'_>),
    pub(in crate::node) store_own: fn(&mut Core, &mut Memory<'_>, InfoHash, Announce),
    pub(in crate::node) remove_own: fn(&mut Core, &mut Memory<'_>, InfoHash),
    pub(in crate::node) add_own_peers: fn(&mut Core, &mut Memory<'_>, Ix),
}

/// Scrapes by this node.
pub(in crate::node) struct Scraper {
    pub(in crate::node) add_own: fn(&Core, &mut Memory<'_>, usize, NodeId),
    pub(in crate::node) take: fn(&mut Scrape, &Response<'_>) -> bool,
    pub(in crate::node) take_peer: fn(&mut Scrape, IpAddr),
    pub(in crate::node) size: fn(&Scrape) -> SwarmSize,
}

/// Samples of what other nodes store.
pub(in crate::node) struct Sampler {
    pub(in crate::node) accept: fn(&mut Core, &mut Memory<'_>, Ix, &Response<'_>),
    pub(in crate::node) report: fn(&mut Sampling, Result<Pong, QueryError>) -> Result<Sample, QueryError>,
}

/// Republishes. The first publication brings it.
pub(in crate::node) struct Publisher {
    pub(in crate::node) handle: fn(&mut Core, &mut Memory<'_>, Occasion),
    pub(in crate::node) preempt: fn(&mut Core, &mut Memory<'_>) -> bool,
    pub(in crate::node) reserved: fn(&Core, &Memory<'_>) -> usize,
}

/// What concerns the publications of a node.
#[derive(Clone, Copy, Debug)]
pub(in crate::node) enum Occasion {
    /// A republish may be due.
    Due,
    /// The network has come up.
    Up,
    /// Other nodes may no longer know this one at its address.
    Moved,
    /// A republish was reported.
    Ended { publication: Ix, acknowledged: u32, is_spared: bool },
}

/// Code that not every program has. It is no state, so nothing of it is in a checkpoint.
#[derive(Clone, Copy)]
pub(in crate::node) struct Code {
    pub(in crate::node) parts: &'static Parts,
    pub(in crate::node) publisher: Option<&'static Publisher>,
}

#[cfg(feature = "checkpoint")]
impl serde::Serialize for Code {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_unit()
    }
}

/// Returns no code: it follows from the memory, which the core does not know.
#[cfg(feature = "checkpoint")]
impl<'de> serde::Deserialize<'de> for Code {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <()>::deserialize(deserializer)?;
        Ok(Self { parts: &Parts { server: None, scraper: None, sampler: None }, publisher: None })
    }
}

/// The state of a node except its slices.
///
/// It is not generic, so that its code exists once, however many kinds of storage a program uses.
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub(in crate::node) struct Core {
    pub(in crate::node) code: Code,
    pub(in crate::node) config: Config,
    /// The latest instant seen, including time that the host slept.
    pub(in crate::node) now: Instant,
    /// Microseconds that the caller's clock did not count.
    pub(in crate::node) slept: u64,
    pub(in crate::node) rng: Rng,
    pub(in crate::node) families: [FamilyState; 2],
    pub(in crate::node) inflight: Inflight,
    pub(in crate::node) rtt: RttHistogram,
    pub(in crate::node) traversals: Traversals,
    pub(in crate::node) republisher: Republisher,
    pub(in crate::node) tokens: Tokens,
    pub(in crate::node) peers: PeerStore,
    pub(in crate::node) sources: Sources,
    #[cfg(feature = "items")]
    pub(in crate::node) items: ItemStore,
    /// Items of this node's own lookups.
    #[cfg(feature = "items")]
    pub(in crate::node) own: OwnItems,
    #[cfg(feature = "items")]
    pub(in crate::node) signature_checks: Pacer,
    pub(in crate::node) reputations: Reputations,
    pub(in crate::node) new_endpoints: Rate,
    pub(in crate::node) replies: Ring,
    pub(in crate::node) events: Ring,
    pub(in crate::node) bootstraps: u16,
    /// The number of routers, which come first among the bootstrap hosts.
    pub(in crate::node) routers: u16,
    pub(in crate::node) timers: Timers,
    /// When any message was last received, or the node was enabled.
    pub(in crate::node) heard: Instant,
    /// Whether a query has not been answered since, or the host has slept: the link may be down.
    pub(in crate::node) missed: bool,
    /// When maintenance last sent a ping.
    pub(in crate::node) checked: Instant,
    /// The time until which nothing that is ready can be sent; `None` if sending has not been tried.
    pub(in crate::node) blocked: Option<Instant>,
    pub(in crate::node) stats: Stats,
}

/// The state of one family's DHT.
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub(in crate::node) struct FamilyState {
    pub(in crate::node) on: bool,
    pub(in crate::node) id: NodeId,
    pub(in crate::node) table: Table,
    pub(in crate::node) ready: bool,
    /// The node's own endpoint, if a query that was sent there came back.
    pub(in crate::node) own: Option<Endpoint>,
    /// The address that other nodes see.
    pub(in crate::node) external: External,
    /// The estimated size of the network.
    pub(in crate::node) density: Density,
    /// Bootstrap hosts of this family.
    pub(in crate::node) bootstraps: u16,
    /// Whether the table holds a router, because no other node is known.
    pub(in crate::node) holds_router: bool,
    pub(in crate::node) bootstrap: Bootstrap,
}

impl Core {
    pub(in crate::node) fn new(
        parts: &'static Parts,
        mut config: Config,
        m: &mut Memory<'_>,
        seed: [u8; 32],
        now: Instant,
    ) -> Self {
        config.read_only |= m.replies.is_empty();
        let mut rng = Rng::new(seed);
        let limits = config.source_limits;
        let mut family = |family, on, id: Option<NodeId>| {
            let id = id.unwrap_or_else(|| rng.id());
            let table = Table::new(family, id, &mut slots_of(m, family), limits, now);
            let bootstrap = Bootstrap::default();
            FamilyState {
                on,
                id,
                table,
                ready: false,
                own: None,
                external: External::default(),
                density: Density::default(),
                bootstraps: 0,
                holds_router: false,
                bootstrap,
            }
        };
        let families =
            [family(Family::V4, config.ipv4, config.id), family(Family::V6, config.ipv6, config.id_v6)];
        let answer_bytes = if limits { config.answer_bytes } else { u32::MAX };
        let tokens = Tokens::new(now, &mut rng);
        let mut timers = Timers::new();
        timers.set(Timer::Rotation, tokens.next_rotation());
        let family_count = Family::ALL.into_iter().filter(|&family| config.has(family)).count();
        let new_endpoints = config.new_endpoints.per_sec;
        let pace = Pace::within(intervals(&config), new_endpoints, family_count, m.traversals.len());
        Self {
            code: Code { parts, publisher: None },
            now,
            slept: 0,
            families,
            inflight: Inflight::default(),
            rtt: RttHistogram::new(),
            traversals: Traversals::default(),
            republisher: Republisher::new(pace),
            tokens,
            peers: PeerStore::new(peer_rules(&config), &mut rng),
            sources: Sources::new(source_rules(&config), answer_bytes, &mut rng),
            #[cfg(feature = "items")]
            items: ItemStore::new(!limits),
            #[cfg(feature = "items")]
            own: OwnItems::default(),
            #[cfg(feature = "items")]
            signature_checks: Pacer::default(),
            reputations: Reputations::new(&mut rng),
            new_endpoints: Rate::default(),
            replies: Ring::default(),
            events: Ring::default(),
            bootstraps: 0,
            routers: 0,
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

    pub(in crate::node) const fn family(&self, family: Family) -> &FamilyState {
        &self.families[family.index()]
    }

    pub(in crate::node) const fn family_mut(&mut self, family: Family) -> &mut FamilyState {
        &mut self.families[family.index()]
    }

    /// Advances the time, allows another attempt to send, and returns the internal time.
    pub(in crate::node) fn advance(&mut self, now: Instant) -> Instant {
        self.now = self.now.max(Instant::from_micros(now.as_micros().saturating_add(self.slept)));
        self.blocked = None;
        self.now
    }

    pub(in crate::node) fn handle_datagram(
        &mut self,
        m: &mut Memory<'_>,
        now: Instant,
        from: Endpoint,
        local: Option<IpAddr>,
        datagram: &[u8],
    ) {
        let now = self.advance(now);
        self.stats.datagrams_in += 1;
        self.stats.bytes_in += datagram.len() as u64;
        if !self.may_contact(from) {
            self.stats.dropped.address += 1;
            return;
        }
        match Message::parse_prefix(datagram) {
            // By reference, because a message is expensive to copy.
            Ok((ref message, trailing)) => {
                self.stats.trailing += u64::from(!trailing.is_empty());
                self.note_arrival(m, from.family(), now);
                self.note_traffic(m, now);
                match &message.body {
                    Body::Query(query) => {
                        let (transaction, method) = (message.transaction, query.method.kind());
                        let querier = Querier { from, local, transaction, method, len: datagram.len() };
                        self.on_query(m, &querier, message, query);
                    }
                    Body::Response(response) => self.on_response(m, from, message, response),
                    Body::Error(error) => self.on_error(m, from, message, error.code),
                }
            }
            Err(ParseError::BadQuery { transaction, id, method, code, reason, read_only: _ }) => {
                trace!("bad query from {}: {reason}", SocketAddr::from(from));
                let querier = Querier { from, local, transaction, method, len: datagram.len() };
                self.on_bad_query(m, &querier, id, (code, reason));
            }
            Err(ParseError::BadReply { transaction }) => self.on_response_without_id(m, from, transaction),
            Err(ParseError::Malformed(error)) => {
                trace!("dropped a datagram from {}: {error}", SocketAddr::from(from));
                self.stats.dropped.malformed += 1;
            }
        }
    }

    /// Whether datagrams may come from and go to this endpoint.
    pub(in crate::node) fn may_contact(&self, endpoint: Endpoint) -> bool {
        self.check_contact(endpoint).is_ok()
    }

    pub(in crate::node) fn check_contact(&self, endpoint: Endpoint) -> Result<(), ContactError> {
        if !self.is_allowed(endpoint) {
            return Err(ContactError::AddressRefused);
        }
        if self.family(endpoint.family()).on { Ok(()) } else { Err(ContactError::Disabled) }
    }

    /// Whether the configuration admits an endpoint.
    pub(in crate::node) fn is_allowed(&self, endpoint: Endpoint) -> bool {
        self.config.has(endpoint.family()) && self.config.address_policy.allows(endpoint)
    }

    /// Returns which families are enabled.
    pub(in crate::node) fn families_on(&self) -> Result<[bool; 2], StartError> {
        let on = Family::ALL.map(|family| self.family(family).on);
        if on == [false; 2] { Err(StartError::Disabled) } else { Ok(on) }
    }

    /// Returns the query that a response belongs to; if there is none, counts the response as dropped.
    pub(in crate::node) fn find_query(
        &mut self,
        m: &Memory<'_>,
        from: Endpoint,
        transaction: &[u8],
    ) -> Option<Ix> {
        match self.inflight.find(m.queries, from, transaction) {
            Match::Query(ix) => return Some(ix),
            Match::WrongPort => self.stats.dropped.wrong_port += 1,
            Match::Stray => self.stats.dropped.stray += 1,
        }
        None
    }

    pub(in crate::node) fn notify(&mut self, m: &mut Memory<'_>, event: PackedEvent) {
        self.stats.events_lost += self.events.push(m.events, event);
    }

    pub(in crate::node) fn notify_node(&mut self, m: &mut Memory<'_>, kind: PackedKind, contact: Contact) {
        let Contact { id, endpoint } = contact;
        debug!("{kind:?} {id} {}", SocketAddr::from(endpoint));
        self.notify(m, PackedEvent { kind, id, endpoint, ..PackedEvent::EMPTY });
    }

    /// Emits the events of a node that was added to the table, and of one that was removed.
    pub(in crate::node) fn notify_insert(
        &mut self,
        m: &mut Memory<'_>,
        contact: Contact,
        result: InsertResult,
    ) {
        if let Some(removal) = result.removal {
            self.notify_removal(m, removal);
        }
        if result.kind == InsertKind::Added {
            self.notify_node(m, PackedKind::NodeAdded, contact);
        }
    }

    pub(in crate::node) fn notify_removal(&mut self, m: &mut Memory<'_>, removal: Removal) {
        self.notify_node(m, PackedKind::NodeRemoved, removal.removed);
        if let Some(promoted) = removal.promoted {
            self.notify_node(m, PackedKind::NodeAdded, promoted);
        }
    }

    pub(in crate::node) fn nodes<'a>(
        &'a self,
        view: View<'a>,
        family: Family,
    ) -> impl Iterator<Item = NodeInfo> + 'a {
        self.family(family).table_view(view).iter().map(node_info)
    }

    pub(in crate::node) fn closest_nodes(
        &self,
        view: View<'_>,
        target: NodeId,
        family: Family,
    ) -> impl Iterator<Item = NodeInfo> + use<> {
        let table = self.family(family).table_view(view);
        let closest = table.closest::<K>(&target, Filter::Good, self.now);
        let closest: heapless::Vec<NodeInfo, K> = closest.into_iter().map(node_info).collect();
        closest.into_iter()
    }

    pub(in crate::node) fn infohashes<'a>(&self, view: View<'a>) -> impl Iterator<Item = InfoHash> + use<'a> {
        self.peers.infohashes(view.peers(), self.now)
    }

    pub(in crate::node) fn peers_of<'a>(
        &self,
        view: View<'a>,
        infohash: InfoHash,
    ) -> impl Iterator<Item = SocketAddr> + use<'a> {
        self.peers.peers_of(view.peers(), &infohash, self.now).map(|peer| peer.endpoint.into())
    }
}

/// The routing table with the memory of its family.
impl FamilyState {
    #[inline]
    pub(in crate::node) fn table_mut<'a>(&'a mut self, m: &'a mut Memory<'_>) -> TableMut<'a> {
        let slots = slots_of(m, self.table.family());
        TableMut { head: &mut self.table, slots }
    }

    #[inline]
    pub(in crate::node) const fn table_ref<'a>(&'a self, m: &'a Memory<'_>) -> TableRef<'a> {
        let nodes = match self.table.family() {
            Family::V4 => Nodes { buckets: m.buckets_v4, entries: m.nodes_v4 },
            Family::V6 => Nodes { buckets: m.buckets_v6, entries: m.nodes_v6 },
        };
        TableRef { head: &self.table, nodes }
    }

    pub(in crate::node) const fn table_view<'a>(&'a self, view: View<'a>) -> TableRef<'a> {
        let nodes = match self.table.family() {
            Family::V4 => Nodes { buckets: view.buckets_v4, entries: view.nodes_v4 },
            Family::V6 => Nodes { buckets: view.buckets_v6, entries: view.nodes_v6 },
        };
        TableRef { head: &self.table, nodes }
    }
}

/// Returns the rules of the peer store.
fn peer_rules(config: &Config) -> PeerRules {
    let sample_interval = config.sample_interval.min(config.peer_ttl / 2).min(MAX_SAMPLE_INTERVAL);
    PeerRules {
        ttl_secs: u32::try_from(config.peer_ttl.as_secs()).unwrap_or(u32::MAX),
        per_swarm: config.peers_per_swarm.min(MAX_PEERS_PER_SWARM),
        sample_secs: sample_interval.as_secs() as u16,
        by_endpoint: !config.source_limits,
        ..PeerRules::default()
    }
}

/// Returns the time between two republishes of an announce, and of an item.
const fn intervals(config: &Config) -> [Duration; 2] {
    #[cfg(feature = "items")]
    return [config.announce_interval, config.items.publish_interval];
    #[cfg(not(feature = "items"))]
    [config.announce_interval; 2]
}

/// Returns the rules for the sources of queries.
const fn source_rules(config: &Config) -> SourceRules {
    SourceRules {
        queries: config.queries_per_source,
        subnet_bytes: config.unverified_bytes,
        verified_secs: VERIFIED_SECS,
        by_endpoint: !config.source_limits,
    }
}

/// Returns the memory of the routing table of one family.
#[inline]
fn slots_of<'a>(m: &'a mut Memory<'_>, family: Family) -> Slots<'a> {
    match family {
        Family::V4 => Slots { buckets: m.buckets_v4, entries: m.nodes_v4, replacements: m.replacements_v4 },
        Family::V6 => Slots { buckets: m.buckets_v6, entries: m.nodes_v6, replacements: m.replacements_v6 },
    }
}

pub(in crate::node) fn node_info(entry: &Entry) -> NodeInfo {
    NodeInfo { id: entry.id(), addr: entry.endpoint().into(), rtt: Some(entry.rtt()) }
}
