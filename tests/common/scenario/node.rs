//! A scenario of one node, encoded in bytes: these determine which datagrams arrive, valid, mutated or
//! forged, how time passes, what the user does, and when the output is polled. After every step the
//! invariants of the node are checked.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

#[cfg(feature = "items")]
use dht_proto::items::Item;
use dht_proto::state::State;
use dht_proto::wire::{Body, Message, Method, Query, is_canonical, is_krpc};
use dht_proto::{
    AddressPolicy, Announce, BootstrapKind, Config, Event, Family, InfoHash, Instant, Limits, Lookup,
    LookupId, LookupKind, LookupOptions, MAX_DATAGRAM, Node, NodeId, QueryId, RateLimit, Storage, fixed,
};

use super::forge::{self, Names};
use super::invariants::{Allowances, Transcript, canonical, is_fit, is_short};
#[cfg(feature = "items")]
use super::offer::Offer;
use super::script::{INFOHASHES, Script, infohash};

/// The most steps; a longer scenario would only repeat itself.
const MAX_STEPS: usize = 2000;

/// An action on a node after every step that must not be visible from outside.
pub trait Interlude {
    fn heap(&self, node: &mut Node);
    fn chip(&self, node: &mut Node<Chip>);
}

/// None.
impl Interlude for () {
    fn heap(&self, _: &mut Node) {}
    fn chip(&self, _: &mut Node<Chip>) {}
}

/// Runs the scenario in `bytes`, and returns a hash of everything that the node sent and reported.
///
/// # Panics
///
/// If the node breaks an invariant, which is a bug of the crate.
pub fn run(bytes: &[u8]) -> u64 {
    run_with(bytes, &())
}

/// Runs a scenario with an interlude after every step.
pub fn run_with(bytes: &[u8], interlude: &impl Interlude) -> u64 {
    let mut script = Script(bytes);
    let setup = script.byte();
    let config = config(setup);
    let start = Instant::from_micros(u64::from(script.byte()) << 56);
    let seed = [script.byte(); 32];
    if setup & 0xc0 == 0xc0 {
        let node = Node::with_storage(config.clone(), Chip::new(), seed, start);
        Scenario::new(node, config, start).run(script, |node| interlude.chip(node))
    } else {
        let node = Node::new(config.clone(), &limits(setup >> 6), seed, start);
        Scenario::new(node, config, start).run(script, |node| interlude.heap(node))
    }
}

/// Limits so small that everything is always full.
const LIMITS: Limits = {
    let mut limits = Limits::CLIENT;
    (limits.nodes_v4, limits.nodes_v6, limits.replacements) = (24, 8, 8);
    (limits.inflight, limits.traversals) = (6, 2);
    (limits.candidates_per_lookup, limits.tokens_per_lookup, limits.peers_per_lookup) = (12, 3, 4);
    (limits.swarms, limits.peers_v4, limits.peers_v6) = (2, 16, 8);
    (limits.sources, limits.reputations) = (8, 8);
    (limits.replies, limits.events, limits.bootstraps) = (2, 4, 2);
    (limits.samples, limits.scrapes, limits.samplings) = (2, 1, 1);
    #[cfg(feature = "items")]
    {
        (limits.items.stored, limits.items.chunks) = (2, 5);
        (limits.items.own, limits.items.own_chunks) = (2, 10);
    }
    limits
};
pub type Chip = fixed!(LIMITS);

fn config(setup: u8) -> Config {
    let mut config = Config::default();
    config.id = Some(own(Family::V4));
    config.id_v6 = Some(own(Family::V6));
    config.ipv6 = setup & 1 == 0;
    config.ipv4 = setup & 1 == 0 || setup & 2 == 0;
    if setup & 4 != 0 {
        config.address_policy = AddressPolicy::Any;
    }
    config.source_limits = setup & 8 == 0;
    config.read_only = setup & 0x30 == 0x10;
    if setup & 0x30 == 0x20 {
        config.new_endpoints = RateLimit::new(1, 2);
    }
    config
}

fn limits(size: u8) -> Limits {
    let mut limits = Limits::default();
    let scale = match size {
        0 => 0,
        1 => 1,
        _ => 6,
    };
    (limits.nodes_v4, limits.nodes_v6, limits.replacements) = (20 * scale, 9 * scale, 7 * scale);
    (limits.inflight, limits.traversals) = (4 * scale, scale + scale / 2);
    (limits.candidates_per_lookup, limits.tokens_per_lookup, limits.peers_per_lookup) =
        (10 * scale, 2 * scale, 3 * scale);
    (limits.swarms, limits.peers_v4, limits.peers_v6) = (2 * scale, 12 * scale, 5 * scale);
    (limits.sources, limits.reputations) = (12 * scale, 9 * scale);
    (limits.replies, limits.events, limits.bootstraps) = (2 * scale, 3 * scale, scale);
    limits.publications = scale;
    #[cfg(feature = "items")]
    {
        (limits.items.stored, limits.items.chunks) = (2 * scale, 5 * scale);
        (limits.items.own, limits.items.own_chunks) = (scale + scale / 2, 9 * scale);
    }
    limits
}

const fn own(family: Family) -> NodeId {
    match family {
        Family::V4 => NodeId::from_bytes(*b"the node under test!"),
        Family::V6 => NodeId::from_bytes(*b"the same one in IPv6"),
    }
}

/// The last token that each address received for an infohash.
type Tokens = BTreeMap<(IpAddr, InfoHash), Vec<u8>>;

impl Names for Tokens {
    fn id(&self, script: &mut Script<'_>) -> NodeId {
        id(script)
    }

    fn host(&self, script: &mut Script<'_>) -> SocketAddr {
        script.host()
    }

    fn token(&self, from: SocketAddr, infohash: InfoHash) -> Option<Vec<u8>> {
        self.get(&(from.ip().to_canonical(), infohash)).cloned()
    }
}

/// Returns an id at a chosen distance from the node's own.
fn id(script: &mut Script<'_>) -> NodeId {
    let (shared, salt) = (script.byte(), script.byte());
    let family = if shared & 0x80 == 0 { Family::V4 } else { Family::V6 };
    let mut bytes = *own(family).as_bytes();
    let bit = usize::from(shared & 0x7f);
    if bit < 120 {
        bytes[bit / 8] ^= 0x80 >> (bit % 8);
        bytes[19] = salt;
    }
    NodeId::from_bytes(bytes)
}

/// A query of the node that has not been answered.
struct Open {
    to: SocketAddr,
    transaction: Vec<u8>,
}

struct Scenario<S: Storage> {
    node: Node<S>,
    config: Config,
    now: Instant,
    slept: Duration,
    open: VecDeque<Open>,
    lookups: Vec<LookupId>,
    queries: Vec<QueryId>,
    ended_lookups: BTreeSet<LookupId>,
    ended_queries: BTreeSet<QueryId>,
    tokens: Tokens,
    /// The infohash of each get_peers query.
    asked: BTreeMap<(SocketAddr, Vec<u8>), InfoHash>,
    allowances: Allowances,
    counters: Vec<u64>,
    transcript: Transcript,
}

impl<S: Storage> Scenario<S> {
    fn new(node: Node<S>, config: Config, now: Instant) -> Self {
        Self {
            node,
            allowances: Allowances::new(&config),
            config,
            now,
            slept: Duration::ZERO,
            open: VecDeque::new(),
            lookups: Vec::new(),
            queries: Vec::new(),
            ended_lookups: BTreeSet::new(),
            ended_queries: BTreeSet::new(),
            tokens: Tokens::new(),
            asked: BTreeMap::new(),
            counters: Vec::new(),
            transcript: Transcript::new(),
        }
    }

    fn run(mut self, mut script: Script<'_>, interlude: impl Fn(&mut Node<S>)) -> u64 {
        for _ in 0..MAX_STEPS {
            if script.is_over() {
                break;
            }
            let step = script.byte();
            self.step(step & 0x1f, &mut script);
            // Sometimes the caller does not poll, which must cost only time.
            if step < 0xe0 {
                self.drain();
            }
            self.check_counters();
            interlude(&mut self.node);
        }
        self.come_to_rest();
        self.transcript.0
    }

    fn step(&mut self, step: u8, script: &mut Script<'_>) {
        match step {
            0 => self.pass(Duration::from_micros(script.u16().into())),
            1 => self.pass(Duration::from_millis(script.u16().into())),
            2 => self.pass(Duration::from_secs(u64::from(script.byte()) * 10)),
            3 | 4 => {
                if let Some(due) = self.node.poll_timeout() {
                    self.now = self.now.max(due);
                }
                self.node.handle_timeout(self.now);
            }
            5 => self.node.handle_timeout(Instant::from_micros(self.now.as_micros().saturating_sub(77))),
            6..=9 => self.query(script),
            10..=15 => self.answer(script),
            16 => self.refuse(script),
            17 => {
                let from = script.host();
                let len = script.byte().into();
                let bytes = script.take(len).to_vec();
                self.deliver(from, &bytes);
            }
            18 | 19 => {
                let at = script.host();
                let _ = self.node.add_node(self.now, at);
            }
            20 => {
                let at = script.host();
                let _ = self.node.add_bootstrap(
                    self.now,
                    at,
                    [BootstrapKind::Router, BootstrapKind::Node][usize::from(at.port() & 1)],
                );
            }
            21 => {
                if let Ok(lookup) = self.node.bootstrap(self.now) {
                    self.lookups.push(lookup);
                }
            }
            22 => {
                let at = script.host();
                let query = match script.flag() {
                    true => self.node.ping(self.now, at),
                    false => self.node.sample_infohashes(self.now, at, id(script)),
                };
                if let Ok(query) = query {
                    assert!(!self.ended_queries.contains(&query) && !self.queries.contains(&query));
                    self.queries.push(query);
                }
            }
            23..=26 => self.lookup(step, script),
            27 => self.cancel(script),
            28 => self.node.handle_unreachable(self.now, script.host()),
            29 => {
                let slept = Duration::from_secs(script.u16().into());
                self.slept += slept;
                self.node.handle_resume(self.now, slept);
            }
            30 => self.look(script),
            _ => self.manage(script),
        }
    }

    /// Rare actions of a user.
    fn manage(&mut self, script: &mut Script<'_>) {
        let what = script.byte();
        #[cfg(feature = "items")]
        if what >= 128 {
            return self.manage_items(what, script);
        }
        match what % 16 {
            0..4 => {
                let (infohash, announce) = (script.infohash(), Announce::port(script.byte().into()));
                let kept = self.node.start_announcing(self.now, infohash, announce);
                assert!(kept.is_err() || self.node.announcements().any(|kept| kept.infohash == infohash));
            }
            4 => {
                let at = usize::from(script.byte());
                let kept = self.node.announcements().nth(at % self.node.publication_count().max(1));
                if let Some(kept) = kept {
                    assert!(self.node.stop_announcing(kept.id) && !self.node.stop_announcing(kept.id));
                }
            }
            5 => self.node.clear_nodes(self.now),
            6 => {
                let mut saved = vec![0; 4096];
                let len = self.node.snapshot_into(0, &mut saved).expect("it is small");
                let state = State::parse(&saved[..len]).expect("it was just saved");
                assert_eq!(state.announces().count(), self.node.announcements().count());
                let age = Duration::from_secs(script.u16().into());
                let restored = self.node.restore(self.now, &state, age);
                assert_eq!(restored.announces, 0, "all of them have been started already");
            }
            7 => self.node.clear_peers(),
            8..11 => self.node.set_read_only(self.now, script.flag()),
            11 => self.node.handle_rebind(self.now, script.family()),
            // Mostly enabled, or little else would happen.
            _ => self.node.set_enabled(self.now, script.family(), !script.byte().is_multiple_of(4)),
        }
    }

    #[cfg(feature = "items")]
    fn manage_items(&mut self, what: u8, script: &mut Script<'_>) {
        let offer = Offer::new(script);
        if what % 8 >= 5 {
            return self.store(&offer, script);
        }
        let Offer { item, key, .. } = offer;
        let lookup = match what % 16 {
            0 | 8 => self.node.get_immutable(self.now, item.target()),
            1 | 9 => self.node.get_mutable(self.now, key, item.salt()),
            2 | 10 => self.node.put(self.now, &item, script.flag().then_some(i64::from(what) % 4)),
            3 | 4 => {
                let kept = self.node.start_publishing(self.now, &item);
                assert!(kept.is_err() || self.node.published_item(kept.unwrap()) == Some(item));
                return;
            }
            11 => {
                let kept = self.node.publications().next();
                if let Some(kept) = kept {
                    assert!(self.node.stop_publishing(kept.id) && !self.node.stop_publishing(kept.id));
                }
                return;
            }
            _ if what > 240 => return self.node.clear_items(),
            _ => {
                for item in self.node.stored_items() {
                    assert!(item.is_mutable() || Item::immutable(item.value()) == Ok(item));
                }
                for lookup in self.lookups.iter().chain(&self.ended_lookups) {
                    let _ = self.node.item(*lookup);
                }
                return;
            }
        };
        if let Ok(lookup) = lookup {
            assert!(!self.ended_lookups.contains(&lookup) && !self.lookups.contains(&lookup));
            self.lookups.push(lookup);
        }
    }

    /// Another host gets and puts an item, mostly as it should.
    #[cfg(feature = "items")]
    fn store(&mut self, offer: &Offer, script: &mut Script<'_>) {
        let (from, kind) = (script.host(), script.byte());
        let id = id(script);
        let ask = |scenario: &mut Self, method| {
            let mut buf = [0; 2000];
            let query = Message::new(b"item", Body::Query(Query { id, method }));
            let size = query.emit(&mut buf).expect("it is short enough");
            scenario.deliver(from, &buf[..size]);
            scenario.drain();
        };
        let want = script.want();
        ask(self, offer.method(b"", 0, want));
        let token = self.tokens.token(from, offer.item.target().into()).unwrap_or_else(|| vec![kind; 8]);
        ask(self, offer.method(&token, kind | 2, want));
    }

    fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
    }

    fn lookup(&mut self, step: u8, script: &mut Script<'_>) {
        let what = match step {
            23 => Lookup::FindNode(id(script)),
            24 if script.flag() => Lookup::Scrape(script.infohash()),
            24 => Lookup::GetPeers(script.infohash()),
            _ => Lookup::Announce(script.infohash(), Announce::port(script.byte().into())),
        };
        let mut options = LookupOptions::default();
        match script.byte() {
            byte @ 0..32 => (options.alpha, options.k) = (byte, byte / 2),
            32..48 => options.only = Some(script.host()),
            48..52 => options.stall = Some(Duration::from_millis(script.byte().into())),
            52..56 => options.timeout = Duration::from_millis(script.byte().into()),
            _ => {}
        }
        if let Ok(lookup) = self.node.lookup(self.now, what, &options) {
            assert!(!self.ended_lookups.contains(&lookup) && !self.lookups.contains(&lookup));
            self.lookups.push(lookup);
        }
    }

    /// Cancels a running lookup or query, or one that is not running.
    fn cancel(&mut self, script: &mut Script<'_>) {
        let (of_lookups, at) = (script.flag(), usize::from(script.byte()));
        if of_lookups {
            let all: Vec<LookupId> = self.lookups.iter().chain(&self.ended_lookups).copied().collect();
            let Some(&lookup) = all.get(at % all.len().max(1)) else { return };
            let was_open = self.lookups.contains(&lookup);
            assert_eq!(self.node.cancel(lookup), was_open, "{lookup:?}");
            self.lookups.retain(|&other| other != lookup);
            self.ended_lookups.insert(lookup);
        } else {
            let all: Vec<QueryId> = self.queries.iter().chain(&self.ended_queries).copied().collect();
            let Some(&query) = all.get(at % all.len().max(1)) else { return };
            let was_open = self.queries.contains(&query);
            assert_eq!(self.node.cancel_query(query), was_open, "{query:?}");
            self.queries.retain(|&other| other != query);
            self.ended_queries.insert(query);
        }
    }

    /// Calls every getter.
    fn look(&self, script: &mut Script<'_>) {
        for family in Family::ALL {
            let nodes: Vec<_> = self.node.nodes(family).collect();
            assert_eq!(nodes.len(), self.node.node_count(family));
            let sources: BTreeSet<_> = nodes.iter().map(|node| node.addr.ip()).collect();
            assert!(sources.len() == nodes.len() || !self.config.source_limits, "one node for each IP");
            for node in &nodes {
                assert!(is_fit(self.config.address_policy, node.addr));
                assert_eq!(Family::of(&node.addr), family);
            }
            let target = id(script);
            let closest: Vec<_> = self.node.closest_nodes(target, family).collect();
            assert!(closest.is_sorted_by_key(|node| node.id.distance(&target)));
            assert!(closest.iter().all(|node| nodes.contains(node)));
            let _ = (self.node.is_ready(family), self.node.id(family));
        }
        let mut stored = 0;
        for index in 0..INFOHASHES {
            let peers: Vec<_> = self.node.stored_peers(infohash(index)).collect();
            assert!(peers.iter().all(|peer| peer.port() != 0));
            stored += peers.len();
        }
        assert!(stored <= Family::ALL.into_iter().map(|family| self.node.peer_count(family)).sum());
        for lookup in self.lookups.iter().chain(&self.ended_lookups) {
            assert!(
                self.node.lookup_nodes(*lookup).all(|node| is_fit(self.config.address_policy, node.addr))
            );
        }
        let _ = (self.node.rtt_quantile(f32::from(script.byte()) / 100.0), self.node.infohash_count());
    }

    /// A host sends a query.
    fn query(&mut self, script: &mut Script<'_>) {
        let from = script.host();
        let datagram = forge::query(&self.tokens, from, script);
        self.deliver(from, &datagram);
    }

    /// A host answers a query of the node: the queried host, or another.
    fn answer(&mut self, script: &mut Script<'_>) {
        let Some(open) = self.pick(script) else { return };
        let (mut from, id, kind) = (open.to, id(script), script.byte());
        match kind {
            0..4 => from.set_port(from.port().wrapping_add(1)),
            4..8 => from = script.host(),
            8..16 => self.open.push_back(Open { to: open.to, transaction: open.transaction.clone() }),
            _ => {}
        }
        let datagram = forge::answer(&self.tokens, id, &open.transaction, script);
        self.deliver(from, &datagram);
    }

    /// A host answers with an error.
    fn refuse(&mut self, script: &mut Script<'_>) {
        let Some(open) = self.pick(script) else { return };
        let datagram = forge::refusal(&open.transaction, script);
        self.deliver(open.to, &datagram);
    }

    fn pick(&mut self, script: &mut Script<'_>) -> Option<Open> {
        let at = usize::from(script.byte());
        let len = self.open.len();
        self.open.remove(at % len.max(1))
    }

    fn deliver(&mut self, from: SocketAddr, bytes: &[u8]) {
        let from = canonical(from);
        self.allowances.heard(from, bytes);
        match Message::parse(bytes).map(|message| (message.transaction, message.body)) {
            Ok((transaction, Body::Query(Query { method: Method::GetPeers { infohash, .. }, .. }))) => {
                self.asked.insert((from, transaction.to_vec()), infohash);
            }
            Ok((transaction, Body::Query(Query { method: Method::Get { target, .. }, .. }))) => {
                self.asked.insert((from, transaction.to_vec()), target.into());
            }
            // A token of the node and an answer to its query prove the address.
            Ok((_, Body::Query(Query { method: Method::AnnouncePeer { .. } | Method::Put { .. }, .. }))) => {
                if self.tokens.keys().any(|(ip, _)| *ip == from.ip()) {
                    self.allowances.proved(from);
                }
            }
            Ok((_, Body::Query(_))) => {}
            _ => self.allowances.proved(from),
        }
        let stored = self.node.peer_count(Family::V4) + self.node.peer_count(Family::V6);
        self.node.handle_datagram(self.now, from, bytes);
        let stored_now = self.node.peer_count(Family::V4) + self.node.peer_count(Family::V6);
        assert!(stored_now <= stored + 1, "a datagram stores one peer at most");
    }

    /// Does what a caller does in its loop: polls everything, and lets the node see that its
    /// deadline has passed. After a few rounds nothing may remain to be done: maintenance tasks that find
    /// no node to query end at once, each freeing a slot for the next.
    fn drain(&mut self) {
        self.poll();
        for _ in 0..64 {
            if self.node.poll_timeout().is_none_or(|due| due > self.now) {
                break;
            }
            self.node.handle_timeout(self.now);
            self.poll();
        }
        let due = self.node.poll_timeout();
        assert!(due.is_none_or(|due| due > self.now), "deadline {due:?} at {:?}", self.now);
    }

    fn poll(&mut self) {
        let mut buf = [0; MAX_DATAGRAM];
        let mut count = 0;
        while let Some(transmit) = self.node.poll_transmit(self.now, &mut buf) {
            self.sent(transmit.destination, &buf[..transmit.size]);
            count += 1;
            assert!(count < 1000, "the output comes to an end");
        }
        while let Some(event) = self.node.poll_event() {
            self.happened(&event);
            count += 1;
            assert!(count < 2000, "the events come to an end");
        }
    }

    fn sent(&mut self, to: SocketAddr, datagram: &[u8]) {
        assert!(is_fit(self.config.address_policy, to), "{to} is sent to");
        assert!(self.node.is_enabled(Family::of(&to)), "{to} is of a disabled family");
        assert!(is_short(to, datagram) && is_krpc(datagram) && is_canonical(datagram));
        self.transcript.record(to.to_string().as_bytes());
        self.transcript.record(datagram);
        let message = Message::parse(datagram).expect("it is a message");
        assert_eq!(message.read_only, self.node.is_read_only() && matches!(message.body, Body::Query(_)));
        match message.body {
            Body::Query(query) => {
                assert_eq!(query.id, own(Family::of(&to)));
                self.open.push_back(Open { to, transaction: message.transaction.to_vec() });
                if self.open.len() > 64 {
                    self.open.pop_front();
                }
            }
            Body::Response(response) => {
                assert_eq!(response.id, own(Family::of(&to)));
                if let Some(token) = response.token
                    && let Some(infohash) = self.asked.get(&(to, message.transaction.to_vec()))
                {
                    self.tokens.insert((to.ip(), *infohash), token.to_vec());
                }
                self.replied(to, &message, datagram.len());
            }
            Body::Error(_) => self.replied(to, &message, datagram.len()),
        }
    }

    fn replied(&mut self, to: SocketAddr, message: &Message<'_>, len: usize) {
        assert!(!self.node.is_read_only(), "a read-only node does not answer");
        self.allowances.replied(to, message.transaction, len, self.now + self.slept);
    }

    fn happened(&mut self, event: &Event) {
        self.transcript.record(format!("{event:?}").as_bytes());
        match *event {
            Event::Peer { lookup, peer } => {
                assert!(self.is_known(lookup), "a peer of {lookup:?}");
                assert!(is_fit(self.config.address_policy, peer));
            }
            Event::Acknowledged { lookup, .. } => {
                assert!(self.is_known(lookup), "an acknowledgement of {lookup:?}");
            }
            Event::LookupDone { lookup, report } => {
                let at = self.lookups.iter().position(|&other| other == lookup);
                // The node also bootstraps by itself and republishes.
                let is_own = report.kind == LookupKind::Bootstrap || report.publication.is_some();
                assert!(at.is_some() || is_own, "the end of {lookup:?}");
                at.map(|at| self.lookups.swap_remove(at));
                assert!(self.ended_lookups.insert(lookup), "{lookup:?} ended before");
                assert!(
                    report.acknowledged <= report.sent && report.answered <= report.queried,
                    "{report:?}"
                );
            }
            Event::QueryDone { query, .. } | Event::SampleDone { query, .. } => {
                let at = self.queries.iter().position(|&other| other == query);
                self.queries.swap_remove(at.expect("it was running"));
                assert!(self.ended_queries.insert(query), "{query:?} ended before");
            }
            Event::NodeAdded { addr, .. } => assert!(is_fit(self.config.address_policy, addr)),
            _ => {}
        }
    }

    /// Whether this is a running lookup of the user, or a republish.
    fn is_known(&self, lookup: LookupId) -> bool {
        let is_round = || self.node.lookup_report(lookup).is_some_and(|report| report.publication.is_some());
        self.lookups.contains(&lookup) || is_round()
    }

    /// Checks that everything the user started ends without further input.
    fn come_to_rest(&mut self) {
        let end = self.now + Duration::from_secs(300);
        self.drain();
        let mut steps = 0;
        while !(self.lookups.is_empty() && self.queries.is_empty()) {
            let due = self.node.poll_timeout().expect("something is running");
            assert!(due <= end, "{:?} and {:?} do not end", self.lookups, self.queries);
            self.now = due;
            self.node.handle_timeout(due);
            self.drain();
            steps += 1;
            assert!(steps < 10_000, "the node is too busy");
        }
        self.check_counters();
    }

    /// Counters only grow.
    fn check_counters(&mut self) {
        let counters: Vec<u64> = self.node.stats().metrics().map(|metric| metric.value).collect();
        let grow = self.counters.iter().zip(&counters).all(|(before, now)| before <= now);
        assert!(grow, "{:?}", self.node.stats());
        self.counters = counters;
    }
}
