//! The state machine: one DHT node, in one family or both.
//!
//! [`Node`] is a thin shell: its methods hand the storage's slices to the non-generic [`Core`], whose work
//! lies in the folders beside this file.
//!
//! - `api`: the public surface besides the loop: commands, getters, settings, events
//! - `client`: the way of a lookup
//! - `local`: which of our addresses a query came to
//! - `maintenance`: what a node does by itself, by the clock
//! - `persist`: what outlives a process
//! - `server`: the way of a query
//! - `storage`: the memory of a node, reserved when it is made

pub(crate) mod api;
mod client;
mod local;
mod maintenance;
pub(crate) mod persist;
mod server;
pub(crate) mod storage;

use core::net::{IpAddr, SocketAddr};
use core::time::Duration;

pub(crate) use local::Local;
#[cfg(feature = "checkpoint")]
pub use persist::checkpoint::CheckpointError;
use server::query::Asker;
pub(crate) use server::query::Reply;

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
use crate::guard::rate::{Rate, RateLimit};
use crate::guard::sources::{SourceRules, Sources};
use crate::lookup::density::Density;
use crate::lookup::republisher::Republisher;
#[cfg(feature = "alloc")]
use crate::node::api::config::Limits;
use crate::node::api::config::{Config, MAX_DATAGRAM};
use crate::node::api::event::{Event, NodeInfo, PackedEvent, PackedKind, StartError, Transmit};
use crate::node::api::stats::Stats;
use crate::node::maintenance::timers::{Timer, Timers};
#[cfg(feature = "alloc")]
use crate::node::storage::Heap;
use crate::node::storage::Storage;
#[cfg(feature = "alloc")]
use crate::node::storage::sealed::Sealed;
use crate::node::storage::sealed::{Memory, View};
use crate::rpc::inflight::{Inflight, Match};
use crate::rpc::reputation::Reputations;
#[cfg(feature = "items")]
use crate::store::items::{ItemStore, OwnItems};
use crate::store::peers::{MAX_SAMPLE_INTERVAL, PeerRules, PeerStore};
use crate::store::token::Tokens;
use crate::table::{Contact, Entry, Filter, InsertKind, InsertResult, Nodes, Removal, Slots, Table};
use crate::wire::{Body, Message, ParseError};

/// For how long an address that answered us is known to be genuine.
const VERIFIED_SECS: u16 = 15 * 60;

/// Both families together then have no more peers than a filter counts (BEP 33).
const MAX_PEERS_PER_SWARM: u32 = 3000;

/// The pause after an errand of the node's own for which the lookups of the user left no slot.
const SLOT_RETRY: Duration = Duration::from_secs(10);

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
        self.handle_datagram_at(now, from, None, datagram);
    }

    /// A datagram arrived from `from` at our address `local`, where the system reports that
    /// (`IP_PKTINFO`): an answer to it leaves from there ([`Transmit::source`]). It matters on a host
    /// with several addresses whose socket is bound to all of them.
    pub fn handle_datagram_at(
        &mut self,
        now: Instant,
        from: SocketAddr,
        local: Option<IpAddr>,
        datagram: &[u8],
    ) {
        self.core.handle_datagram(&mut self.storage.memory(), now, from.into(), local, datagram);
    }

    /// The time that [`poll_timeout`](Self::poll_timeout) asked for has come. Early calls are
    /// harmless, late ones cost what lateness costs. Datagrams that have arrived come first: an answer
    /// that waits in the socket while its query expires is lost.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.core.handle_timeout(&mut self.storage.memory(), now);
    }

    /// The system reported that a datagram to `destination` could not be delivered (an ICMP error
    /// or a failed send). Queries under way to it fail at once.
    pub fn handle_unreachable(&mut self, now: Instant, destination: SocketAddr) {
        self.core.handle_unreachable(&mut self.storage.memory(), now, destination.into());
    }

    /// The system did not send a datagram to `destination` for a reason of its own: no network, no route,
    /// a firewall, no buffers. That is held against nobody. A query among them is sent again, after 50
    /// milliseconds and ever later, and fails after four tries in a row. While a node that knows few others
    /// cannot send at all, it tries every five seconds, later every 15, and what it keeps up is repeated at
    /// once when somebody is heard again.
    pub fn handle_unsent(&mut self, now: Instant, destination: SocketAddr) {
        self.core.handle_unsent(&mut self.storage.memory(), now, destination.into());
    }

    /// The host was suspended for `slept`, and the clock behind `now` did not count that time; zero where
    /// it did, or where the process stood still.
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

/// Outputs.
impl<S: Storage> Node<S> {
    /// The next datagram to send, made in `buf`; `None` when there is none for now.
    ///
    /// # Panics
    ///
    /// If `buf` is shorter than [`MAX_DATAGRAM`].
    pub fn poll_transmit(&mut self, now: Instant, buf: &mut [u8]) -> Option<Transmit> {
        let buf = &mut buf[..MAX_DATAGRAM];
        // Most polls find nothing, and gathering the memory takes time.
        if !self.core.may_transmit(now) {
            return None;
        }
        self.core.poll_transmit(&mut self.storage.memory(), buf)
    }

    /// The next event; `None` when there is none for now.
    pub fn poll_event(&mut self) -> Option<Event> {
        if self.core.has_events() { self.core.poll_event(&mut self.storage.memory()) } else { None }
    }

    /// When to call [`handle_timeout`](Self::handle_timeout): the last instant seen while there
    /// is anything to poll, `None` if nothing will ever happen by itself.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let view = self.storage.view();
        self.core.poll_timeout(view.queries, view.traversals)
    }
}

/// Everything but the slices. Not generic, so its code exists once however many kinds of storage
/// a program uses.
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
struct Core {
    config: Config,
    /// The last instant seen, sleep included.
    now: Instant,
    /// Microseconds that the caller's clock did not count.
    slept: u64,
    rng: Rng,
    families: [FamilyState; 2],
    inflight: Inflight,
    rtt: RttHistogram,
    traversals: client::traversals::Traversals,
    republisher: Republisher,
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
    contacts: Reputations,
    new_endpoints: Rate,
    replies: Ring,
    notices: Ring,
    bootstraps: u16,
    /// So many of them, the first, are routers.
    routers: u16,
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
    /// How many nodes it has.
    density: Density,
    /// Bootstrap hosts of this family.
    bootstraps: u16,
    /// The table holds a router, because nobody else is known.
    holds_router: bool,
    bootstrap: maintenance::bootstrap::Bootstrap,
}

impl Core {
    fn new(config: Config, m: &mut Memory<'_>, seed: [u8; 32], now: Instant) -> Self {
        let mut rng = Rng::new(seed);
        let limits = config.source_limits;
        let mut family = |family, on, id: Option<NodeId>| {
            let id = id.unwrap_or_else(|| rng.id());
            let table = Table::new(family, id, &mut table_slots(m, family), limits, now);
            let bootstrap = maintenance::bootstrap::Bootstrap::default();
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
        let sample_interval = config.sample_interval.min(config.peer_ttl / 2).min(MAX_SAMPLE_INTERVAL);
        let peer_rules = PeerRules {
            ttl_secs: u32::try_from(config.peer_ttl.as_secs()).unwrap_or(u32::MAX),
            per_swarm: config.peers_per_swarm.min(MAX_PEERS_PER_SWARM) as u16,
            sample_secs: sample_interval.as_secs() as u16,
            by_endpoint: !limits,
            ..PeerRules::default()
        };
        let source_rules = SourceRules {
            queries: RateLimit { per_sec: config.queries_per_source, burst: config.source_burst },
            site_bytes: config.unverified_bytes,
            verified_secs: VERIFIED_SECS,
            by_endpoint: !limits,
        };
        let answer_bytes = if limits { config.answer_bytes } else { u32::MAX };
        let tokens = Tokens::new(now, &mut rng);
        let mut timers = Timers::new();
        timers.set(Timer::Rotation, tokens.next_rotation());
        Self {
            now,
            slept: 0,
            families,
            inflight: Inflight::default(),
            rtt: RttHistogram::new(),
            traversals: client::traversals::Traversals::default(),
            republisher: Republisher::new(maintenance::announcer::pace(&config, m.traversals.len())),
            tokens,
            peers: PeerStore::new(peer_rules, &mut rng),
            sources: Sources::new(source_rules, answer_bytes, &mut rng),
            #[cfg(feature = "items")]
            items: ItemStore::new(!limits),
            #[cfg(feature = "items")]
            own: OwnItems::default(),
            #[cfg(feature = "items")]
            signature_checks: Pacer::default(),
            contacts: Reputations::new(&mut rng),
            new_endpoints: Rate::default(),
            replies: Ring::default(),
            notices: Ring::default(),
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

    const fn family(&self, family: Family) -> &FamilyState {
        &self.families[family.index()]
    }

    const fn family_mut(&mut self, family: Family) -> &mut FamilyState {
        &mut self.families[family.index()]
    }

    /// Moves time forward and makes output worth another try. Returns the time inside.
    fn advance(&mut self, now: Instant) -> Instant {
        self.now = self.now.max(Instant::from_micros(now.as_micros().saturating_add(self.slept)));
        self.blocked = None;
        self.now
    }

    fn handle_datagram(
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
            // By reference: a message is large to copy.
            Ok((ref message, trailing)) => {
                self.stats.trailing += u64::from(!trailing.is_empty());
                self.note_network(m, from.family(), now);
                self.note_traffic(m, now);
                match &message.body {
                    Body::Query(query) => self.on_query(m, from, local, message, query, datagram.len()),
                    Body::Response(response) => self.on_response(m, from, message, response),
                    Body::Error(error) => self.on_error(m, from, message, error.code),
                }
            }
            Err(ParseError::BadQuery { transaction, id, method, code, reason, .. }) => {
                trace!("bad query from {}: {reason}", SocketAddr::from(from));
                let asker = Asker { from, local, transaction, method, len: datagram.len() };
                self.on_bad_query(m, &asker, id, (code, reason));
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
        if !self.is_allowed(endpoint) {
            return Err(StartError::AddressRefused);
        }
        if self.family(endpoint.family()).on { Ok(()) } else { Err(StartError::Disabled) }
    }

    /// Whether the configuration has nothing against an endpoint.
    fn is_allowed(&self, endpoint: Endpoint) -> bool {
        self.config.has(endpoint.family()) && self.config.address_policy.allows(endpoint)
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

    fn notify(&mut self, m: &mut Memory<'_>, notice: PackedEvent) {
        self.stats.events_lost += self.notices.push(m.notices, notice);
    }

    fn notify_node(&mut self, m: &mut Memory<'_>, kind: PackedKind, contact: Contact) {
        let Contact { id, endpoint } = contact;
        debug!("{kind:?} {id} {}", SocketAddr::from(endpoint));
        self.notify(m, PackedEvent { kind, id, endpoint, ..PackedEvent::EMPTY });
    }

    /// Tells of a node that came, and one that went.
    fn notify_outcome(&mut self, m: &mut Memory<'_>, contact: Contact, outcome: InsertResult) {
        if let Some(removal) = outcome.removal {
            self.notify_removal(m, removal);
        }
        if outcome.kind == InsertKind::Added {
            self.notify_node(m, PackedKind::NodeAdded, contact);
        }
    }

    fn notify_removal(&mut self, m: &mut Memory<'_>, removal: Removal) {
        self.notify_node(m, PackedKind::NodeRemoved, removal.removed);
        if let Some(promoted) = removal.promoted {
            self.notify_node(m, PackedKind::NodeAdded, promoted);
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
        self.peers.infohashes(server::query::peer_view(view), self.now)
    }

    fn peers_of<'a>(&self, view: View<'a>, infohash: InfoHash) -> impl Iterator<Item = SocketAddr> + use<'a> {
        self.peers
            .peers_of(server::query::peer_view(view), &infohash, self.now)
            .map(|peer| peer.endpoint.into())
    }
}

/// The routing table's memory in one family.
fn table_slots<'a>(m: &'a mut Memory<'_>, family: Family) -> Slots<'a> {
    match family {
        Family::V4 => Slots { buckets: m.buckets_v4, entries: m.nodes_v4, replacements: m.replacements_v4 },
        Family::V6 => Slots { buckets: m.buckets_v6, entries: m.nodes_v6, replacements: m.replacements_v6 },
    }
}

/// The nodes in it, to read.
const fn table_nodes<'a>(m: &'a Memory<'_>, family: Family) -> Nodes<'a> {
    match family {
        Family::V4 => Nodes { buckets: m.buckets_v4, entries: m.nodes_v4 },
        Family::V6 => Nodes { buckets: m.buckets_v6, entries: m.nodes_v6 },
    }
}

const fn nodes(view: View<'_>, family: Family) -> Nodes<'_> {
    match family {
        Family::V4 => Nodes { buckets: view.buckets_v4, entries: view.nodes_v4 },
        Family::V6 => Nodes { buckets: view.buckets_v6, entries: view.nodes_v6 },
    }
}

fn info(entry: &Entry) -> NodeInfo {
    NodeInfo { id: entry.id(), addr: entry.endpoint().into(), rtt: Some(entry.rtt()) }
}
