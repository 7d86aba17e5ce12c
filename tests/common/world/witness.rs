//! Observes a node from its start to its end, and checks the invariants of every node.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use dht_proto::sim::{Captured, Direction};
use dht_proto::stats::{BucketInfo, Drops, MethodCounts, Stats};
use dht_proto::wire::{Body, Message, Method, ParseError, Query, Response, is_canonical, is_krpc};
use dht_proto::{
    Config, Event, Family, InfoHash, Instant, LookupId, LookupKind, LookupReport, Node, NodeId, QueryId,
};

use crate::scenario::invariants::{Allowances, canonical, is_fit, is_short};
use crate::scenario::script::{INFOHASHES, infohash};

/// The longest time of a lookup or query, however many wait for a slot.
pub const LONGEST: Duration = Duration::from_secs(600);

/// What has been observed of one node.
pub struct Witness {
    config: Config,
    /// The time that the node has seen, which never goes back.
    now: Instant,
    /// When its clock last jumped ahead, or the host woke up.
    jumped: Instant,
    /// How far the node may be behind, as the time it had seen when its clock went back is unknown.
    behind: Duration,
    /// Queries that were sent and not answered, with their transaction ids.
    open: BTreeSet<(SocketAddr, Vec<u8>)>,
    /// The endpoints that answered a query, with their ids.
    answered: BTreeSet<(SocketAddr, NodeId)>,
    /// Tokens that other hosts issued.
    tokens: BTreeSet<(SocketAddr, Vec<u8>)>,
    /// Tokens that the node issued.
    issued: BTreeSet<(IpAddr, Vec<u8>)>,
    last_issued: BTreeMap<IpAddr, Vec<u8>>,
    /// The endpoints that announced with such a token.
    entitled: BTreeSet<(IpAddr, InfoHash)>,
    /// Datagrams from the destination of a query, with its transaction id.
    matched: u64,
    allowances: Allowances,
    lookups: BTreeMap<LookupId, Running>,
    queries: BTreeMap<QueryId, Instant>,
    ended_lookups: BTreeSet<LookupId>,
    ended_queries: BTreeSet<QueryId>,
    /// Queries of the user that were cancelled before the answer.
    cancelled: u64,
    heard: Traffic,
    said: Traffic,
    before: Stats,
}

/// A lookup of the user that has not ended.
struct Running {
    kind: LookupKind,
    target: NodeId,
    started: Instant,
    peers: BTreeSet<SocketAddr>,
    acknowledged: BTreeSet<SocketAddr>,
}

/// Datagrams and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Traffic {
    datagrams: u64,
    bytes: u64,
}

impl Traffic {
    const fn add(&mut self, datagram: &[u8]) {
        self.datagrams += 1;
        self.bytes += datagram.len() as u64;
    }
}

/// What the scenario reports.
impl Witness {
    pub fn new(config: Config, now: Instant) -> Self {
        Self {
            allowances: Allowances::new(&config),
            config,
            now,
            jumped: now,
            behind: Duration::ZERO,
            open: BTreeSet::new(),
            answered: BTreeSet::new(),
            tokens: BTreeSet::new(),
            issued: BTreeSet::new(),
            last_issued: BTreeMap::new(),
            entitled: BTreeSet::new(),
            matched: 0,
            lookups: BTreeMap::new(),
            queries: BTreeMap::new(),
            ended_lookups: BTreeSet::new(),
            ended_queries: BTreeSet::new(),
            cancelled: 0,
            heard: Traffic::default(),
            said: Traffic::default(),
            before: Stats::default(),
        }
    }

    /// The clock of the node shows this time.
    pub fn pass(&mut self, now: Instant) {
        self.now = self.now.max(now);
    }

    /// The clock of the node jumps ahead, or its host wakes up: time passed in which it could do nothing.
    pub fn jump(&mut self, now: Instant) {
        self.pass(now);
        self.jumped = self.now;
    }

    /// The clock of the node goes back.
    pub fn go_back(&mut self, jump: Duration) {
        self.behind += jump;
        self.allowances.forget_times();
    }

    pub fn looked_up(&mut self, lookup: LookupId, kind: LookupKind, target: NodeId) {
        let (peers, acknowledged) = (BTreeSet::new(), BTreeSet::new());
        let under_way = Running { kind, target, started: self.now, peers, acknowledged };
        assert!(self.lookups.insert(lookup, under_way).is_none(), "{lookup:?} is given twice");
        assert!(!self.ended_lookups.contains(&lookup), "{lookup:?} is given again");
    }

    pub fn pinged(&mut self, query: QueryId) {
        assert!(self.queries.insert(query, self.now).is_none(), "{query:?} is given twice");
        assert!(!self.ended_queries.contains(&query), "{query:?} is given again");
    }

    /// Returns the `at`-th of the running and the ended lookups, and whether it is running.
    pub fn lookup(&self, at: usize) -> Option<(LookupId, bool)> {
        let all = self.lookups.keys().map(|id| (*id, true));
        let all: Vec<_> = all.chain(self.ended_lookups.iter().map(|id| (*id, false))).collect();
        all.get(at % all.len().max(1)).copied()
    }

    /// Returns the `at`-th of the running and the ended pings, and whether it is running.
    pub fn query(&self, at: usize) -> Option<(QueryId, bool)> {
        let all = self.queries.keys().map(|id| (*id, true));
        let all: Vec<_> = all.chain(self.ended_queries.iter().map(|id| (*id, false))).collect();
        all.get(at % all.len().max(1)).copied()
    }

    pub fn cancelled_lookup(&mut self, lookup: LookupId) {
        self.lookups.remove(&lookup);
        self.ended_lookups.insert(lookup);
    }

    pub fn cancelled_query(&mut self, query: QueryId, was_sent: bool) {
        self.queries.remove(&query);
        self.ended_queries.insert(query);
        self.cancelled += u64::from(was_sent);
    }

    /// Returns the `at`-th query that has not been answered.
    pub fn open(&self, at: usize) -> Option<(SocketAddr, Vec<u8>)> {
        self.open.iter().nth(at % self.open.len().max(1)).cloned()
    }

    /// Returns the last token that the node issued to an address.
    pub fn token(&self, addr: SocketAddr) -> Option<Vec<u8>> {
        self.last_issued.get(&canonical(addr).ip()).cloned()
    }

    pub fn is_idle(&self) -> bool {
        self.lookups.is_empty() && self.queries.is_empty()
    }
}

/// What the node sent, received and reported.
impl Witness {
    pub fn saw(&mut self, node: &Node, captured: &Captured) {
        let remote = canonical(captured.remote);
        match captured.direction {
            Direction::Received => self.heard(remote, &captured.bytes),
            Direction::Sent => self.said(node, remote, &captured.bytes),
        }
    }

    fn heard(&mut self, from: SocketAddr, datagram: &[u8]) {
        self.heard.add(datagram);
        if !is_fit(self.config.address_policy, from) {
            return;
        }
        self.allowances.heard(from, datagram);
        let (transaction, response) = match Message::parse_prefix(datagram) {
            Ok((Message { transaction, body: Body::Query(query), .. }, _)) => {
                if let Method::AnnouncePeer { token, infohash, .. } = query.method
                    && self.issued.contains(&(from.ip(), token.to_vec()))
                {
                    self.allowances.proved(from);
                    self.entitled.insert((from.ip(), infohash));
                }
                // Its own query may have returned.
                self.matched += u64::from(self.open.contains(&(from, transaction.to_vec())));
                return;
            }
            Ok((Message { transaction, body: Body::Response(response), .. }, _)) => {
                (transaction, Some(response))
            }
            Ok((Message { transaction, .. }, _)) | Err(ParseError::BadReply { transaction }) => {
                (transaction, None)
            }
            Err(_) => return,
        };
        if !self.open.remove(&(from, transaction.to_vec())) {
            return;
        }
        self.matched += 1;
        self.allowances.proved(from);
        if let Some(response) = response {
            self.answered.insert((from, response.id));
            self.tokens.extend(response.token.map(|token| (from, token.to_vec())));
        }
    }

    fn said(&mut self, node: &Node, to: SocketAddr, datagram: &[u8]) {
        self.said.add(datagram);
        assert!(is_fit(self.config.address_policy, to), "{to} is sent to");
        assert!(node.is_enabled(Family::of(&to)), "{to} is of a disabled family");
        assert!(is_short(to, datagram), "{} bytes to {to}", datagram.len());
        assert!(is_krpc(datagram) && is_canonical(datagram), "to {to}: {}", datagram.escape_ascii());
        let message = Message::parse(datagram).expect("it is a message");
        let is_query = matches!(message.body, Body::Query(_));
        assert_eq!(message.read_only, node.is_read_only() && is_query);
        let own = node.id(Family::of(&to));
        match message.body {
            Body::Query(query) => {
                assert_eq!(query.id, own);
                self.asked(to, message.transaction, &query);
            }
            Body::Response(response) => {
                assert_eq!(response.id, own);
                self.answered_with(to, &response);
                self.replied(node, to, message.transaction, datagram.len());
            }
            Body::Error(_) => self.replied(node, to, message.transaction, datagram.len()),
        }
    }

    fn asked(&mut self, to: SocketAddr, transaction: &[u8], query: &Query<'_>) {
        assert_eq!(transaction.len(), 4);
        assert!(self.open.insert((to, transaction.to_vec())), "{to} is queried twice with one transaction");
        if let Method::AnnouncePeer { token, port, .. } = query.method {
            assert!(port != 0);
            assert!(self.tokens.contains(&(to, token.to_vec())), "{to} never issued this token");
        }
    }

    /// Checks that only nodes that answered are listed, and only addresses that may be used.
    fn answered_with(&mut self, to: SocketAddr, response: &Response<'_>) {
        for (id, addr) in [response.nodes, response.nodes6].into_iter().flatten().flatten() {
            assert!(self.answered.contains(&(addr, id)), "{addr} never answered and is listed");
            assert!(is_fit(self.config.address_policy, addr), "{addr} is listed");
        }
        for peer in response.values.into_iter().flatten() {
            assert!(is_fit(self.config.address_policy, peer), "{peer} is returned");
        }
        if let Some(token) = response.token {
            self.issued.insert((to.ip(), token.to_vec()));
            self.last_issued.insert(to.ip(), token.to_vec());
        }
    }

    fn replied(&mut self, node: &Node, to: SocketAddr, transaction: &[u8], len: usize) {
        assert!(!node.is_read_only(), "a read-only node does not answer");
        self.allowances.replied(to, transaction, len, self.now);
    }

    pub fn happened(&mut self, node: &Node, event: &Event) {
        match *event {
            Event::Peer { lookup, peer } => {
                assert!(is_fit(self.config.address_policy, peer), "{peer} is found");
                let under_way = self.lookups.get_mut(&lookup);
                let under_way = under_way.unwrap_or_else(|| panic!("a peer of {lookup:?}"));
                let tells_peers = !matches!(under_way.kind, LookupKind::FindNode | LookupKind::Scrape);
                assert!(tells_peers, "a peer of {lookup:?}");
                assert!(under_way.peers.insert(peer), "{peer} is found twice by {lookup:?}");
            }
            Event::Acknowledged { lookup, node } => {
                let under_way = self.lookups.get_mut(&lookup);
                let under_way = under_way.unwrap_or_else(|| panic!("an acknowledgement of {lookup:?}"));
                assert!(under_way.kind == LookupKind::Announce);
                assert!(under_way.acknowledged.insert(node), "{node} acknowledges {lookup:?} twice");
            }
            Event::LookupDone { lookup, report } => self.ended(node, lookup, &report),
            Event::QueryDone { query, .. } | Event::SampleDone { query, .. } => {
                assert!(self.queries.remove(&query).is_some(), "the end of {query:?}");
                assert!(self.ended_queries.insert(query), "{query:?} ended before");
            }
            Event::NodeAdded { addr, id } => {
                assert!(self.answered.contains(&(addr, id)), "{addr} never answered and is added");
            }
            Event::PeerStored { infohash, peer, .. } => {
                assert!(self.entitled.contains(&(peer.ip(), infohash)), "{peer} is stored without a token");
            }
            _ => {}
        }
    }

    fn ended(&mut self, node: &Node, lookup: LookupId, report: &LookupReport) {
        assert!(self.ended_lookups.insert(lookup), "{lookup:?} ended before");
        let Some(under_way) = self.lookups.remove(&lookup) else {
            // The node bootstraps by itself too.
            return assert!(report.kind == LookupKind::Bootstrap, "the end of {lookup:?}");
        };
        assert_eq!(report.kind, under_way.kind);
        // A bootstrap that has begun goes on towards its id, though the node may have another by now (BEP 42).
        let is_sought = report.target == under_way.target || report.kind == LookupKind::Bootstrap;
        assert!(is_sought, "{lookup:?} for {:?}: {report:?}", under_way.target);
        let found = if report.kind == LookupKind::Scrape { 0 } else { report.peers as usize };
        assert_eq!(found, under_way.peers.len(), "{lookup:?} found {:?}", under_way.peers);
        let acknowledged = under_way.acknowledged.len();
        let is_told = report.acknowledged as usize == acknowledged || node.stats().events_lost > 0;
        assert!(is_told, "{lookup:?} has {acknowledged} acknowledgements: {report:?}");
        assert!(report.acknowledged <= report.sent, "{lookup:?}: {report:?}");
        assert!(report.answered <= report.queried, "{lookup:?}: {report:?}");
        assert!(report.duration <= self.now - under_way.started + self.behind, "{lookup:?}: {report:?}");
    }
}

/// What can be checked at any time.
impl Witness {
    pub fn check(&mut self, node: &Node) {
        self.check_counters(node);
        self.check_each_counter(node);
        for (lookup, under_way) in &self.lookups {
            assert!(self.waited(under_way.started) <= LONGEST + self.behind, "{lookup:?} does not end");
            let report = node.lookup_report(*lookup);
            assert!(report.is_some_and(|report| report.kind == under_way.kind), "{lookup:?} is lost");
        }
        for (query, started) in &self.queries {
            assert!(self.waited(*started) <= LONGEST + self.behind, "{query:?} does not end");
        }
        assert!(self.ended_lookups.iter().all(|lookup| node.lookup_report(*lookup).is_none()));
        for family in Family::ALL {
            let mut count = 0;
            for info in node.nodes(family) {
                count += 1;
                assert_eq!(Family::of(&info.addr), family);
                assert!(is_fit(self.config.address_policy, info.addr), "{} is listed", info.addr);
                let is_verified = self.answered.contains(&(info.addr, info.id));
                assert!(is_verified, "{} never answered and is listed", info.addr);
            }
            assert_eq!(count, node.node_count(family));
            let placed = node.buckets(family).map(|bucket| bucket.good + bucket.questionable + bucket.bad);
            assert_eq!(placed.sum::<usize>(), count);
            let is_full = |it: &BucketInfo| it.good + it.questionable + it.bad > it.capacity;
            assert!(!node.buckets(family).any(|bucket| is_full(&bucket)));
            assert!(node.peer_count(family) <= node.peer_capacity(family));
        }
        self.check_peers(node);
    }

    /// Returns how long the node had to end something.
    fn waited(&self, started: Instant) -> Duration {
        self.now - started.max(self.jumped)
    }

    pub fn check_counters(&self, node: &Node) {
        let stats = node.stats();
        let heard = Traffic { datagrams: stats.datagrams_in, bytes: stats.bytes_in };
        let said = Traffic { datagrams: stats.datagrams_out, bytes: stats.bytes_out };
        assert_eq!((heard, said), (self.heard, self.said));
        let answered = stats.responses_out.total() + stats.errors_out.total();
        let asked = stats.queries_out.total();
        assert_eq!(stats.datagrams_out, asked + answered);
        let taken = stats.queries_in.total() + stats.responses_in.total() + stats.errors_in.total();
        let Drops { own_id, read_only, rate, overflow, budget, .. } = stats.dropped;
        let refused = own_id + read_only + rate + overflow + budget;
        assert_eq!(stats.datagrams_in, taken + stats.dropped.total() - refused, "{stats:?}");
        assert!(answered + refused <= stats.queries_in.total(), "{stats:?}");
        assert!(stats.bad_queries <= stats.queries_in.total(), "{stats:?}");
        // Each query ends once.
        let unheard = stats.timed_out + stats.unreachable + stats.unsent + stats.interrupted + self.cancelled;
        let malformed = stats.dropped.bad_reply + stats.reflected;
        let heard = stats.responses_in.total() + stats.errors_in.total() + malformed;
        assert!(heard <= self.matched, "{stats:?}, {} matched", self.matched);
        assert!(stats.reflected <= own_id, "{stats:?}");
        let ended = heard + unheard;
        assert_eq!(asked, ended + node.query_count() as u64, "{stats:?}, {} cancelled", self.cancelled);
        let failed = stats.timed_out + stats.unreachable + malformed;
        assert!(stats.excused <= failed, "{stats:?}");
    }

    /// Checks every counter by itself, which takes as long as everything else that a datagram causes.
    fn check_each_counter(&mut self, node: &Node) {
        let stats = node.stats();
        check_methods(stats.queries_in, stats.responses_out, stats.errors_out);
        check_methods(stats.queries_out, stats.responses_in, stats.errors_in);
        let grows = self.before.metrics().zip(stats.metrics()).all(|(before, now)| before.value <= now.value);
        assert!(grows, "{stats:?}");
        self.before = *stats;
    }

    fn check_peers(&self, node: &Node) {
        let torrents: BTreeSet<InfoHash> = node.infohashes().collect();
        assert!(torrents.len() <= node.infohash_count());
        assert!(
            (0..INFOHASHES)
                .map(infohash)
                .all(|it| torrents.contains(&it) || node.stored_peers(it).count() == 0)
        );
        let mut stored = 0;
        for infohash in torrents {
            let peers: BTreeSet<SocketAddr> = node.stored_peers(infohash).collect();
            assert!(peers.iter().all(|peer| is_fit(self.config.address_policy, *peer)));
            let ips: BTreeSet<IpAddr> = peers.iter().map(SocketAddr::ip).collect();
            assert!(ips.len() == peers.len() || !self.config.source_limits, "one peer for each IP");
            stored += peers.len();
        }
        assert!(stored <= Family::ALL.into_iter().map(|family| node.peer_count(family)).sum());
    }
}

/// Nobody gets more answers than there were queries, whatever the method.
fn check_methods(queries: MethodCounts, responses: MethodCounts, errors: MethodCounts) {
    for ((query, response), error) in queries.metrics().zip(responses.metrics()).zip(errors.metrics()) {
        let (asked, answered) = (query.value, response.value + error.value);
        assert!(answered <= asked, "{answered} answers to {asked} {} queries", query.name);
    }
}
