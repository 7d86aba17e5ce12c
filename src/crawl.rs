//! Crawling the DHT for infohashes, from node to node (BEP 51).

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use core::net::SocketAddr;
use core::ops::Bound;
use core::time::Duration;

use crate::base::addr::{Endpoint, Family};
use crate::base::id::{InfoHash, NodeId};
use crate::base::time::Instant;
use crate::node::Node;
use crate::node::api::error::{ContactError, QueryError};
use crate::node::api::event::{Event, NodeInfo};
use crate::node::api::ids::QueryId;
use crate::node::storage::Storage;

/// How long a node that does not support the query is not queried again; its address may then have another node.
const UNSUPPORTED: Duration = Duration::from_secs(3600);

/// How long a node is not queried again after a failure; the time doubles with each further one.
const FAILED: Duration = Duration::from_secs(15 * 60);

/// Maximum time between queries to a node, which is also the longest interval that BEP 51 allows.
const MAX_REST: Duration = Duration::from_secs(6 * 3600);

/// How often the routing table is consulted while no other nodes are left to query.
const RESEED: Duration = Duration::from_secs(10);

/// Options of a crawl. Each field has a setter of its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CrawlOptions {
    /// The time between two queries. Default: 100 ms.
    ///
    /// Crawled nodes are new endpoints, whose rate [`Config::new_endpoints`](field@crate::Config::new_endpoints) limits
    /// as well.
    pub spacing: Duration,
    /// Maximum number of concurrent queries, also limited by [`Limits::samplings`](field@crate::Limits::samplings).
    /// Default: 8.
    pub concurrency: usize,
    /// Minimum time between queries to one node, whatever interval it specifies. Default: 1 minute.
    pub revisit: Duration,
    /// Maximum number of nodes that are remembered, at about 180 bytes each. Default: 262,144.
    ///
    /// They are kept with the times at which they may be queried again. No node is forgotten before its interval
    /// has passed, so in the long run no more than these can be queried per interval: with 65,536 nodes 3 per
    /// second, and always the same ones, if all of them specify six hours, the longest interval that BEP 51
    /// allows. The default is enough for the default [`spacing`](Self::spacing), at which 216,000 nodes are
    /// queried in six hours.
    pub nodes: usize,
    /// Number of recent infohashes that are not reported again. Default: 262,144, at about 30 bytes each.
    pub remembered: usize,
    /// Number of infohashes not taken yet at which the crawl pauses. Default: 1024.
    pub untaken: usize,
}

impl CrawlOptions {
    /// The defaults, as a constant.
    pub const DEFAULT: Self = Self {
        spacing: Duration::from_millis(100),
        concurrency: 8,
        revisit: Duration::from_secs(60),
        nodes: 262_144,
        remembered: 262_144,
        untaken: 1024,
    };
}

/// Setters.
impl CrawlOptions {
    /// Sets [`spacing`](field@Self::spacing).
    pub const fn spacing(mut self, spacing: Duration) -> Self {
        self.spacing = spacing;
        self
    }

    /// Sets [`concurrency`](field@Self::concurrency).
    pub const fn concurrency(mut self, concurrency: usize) -> Self {
        self.concurrency = concurrency;
        self
    }

    /// Sets [`revisit`](field@Self::revisit).
    pub const fn revisit(mut self, revisit: Duration) -> Self {
        self.revisit = revisit;
        self
    }

    /// Sets [`nodes`](field@Self::nodes).
    pub const fn nodes(mut self, nodes: usize) -> Self {
        self.nodes = nodes;
        self
    }

    /// Sets [`remembered`](field@Self::remembered).
    pub const fn remembered(mut self, remembered: usize) -> Self {
        self.remembered = remembered;
        self
    }

    /// Sets [`untaken`](field@Self::untaken).
    pub const fn untaken(mut self, untaken: usize) -> Self {
        self.untaken = untaken;
        self
    }
}

impl Default for CrawlOptions {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// An infohash found by a crawl.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Found {
    /// The infohash of a torrent.
    pub infohash: InfoHash,
    /// The node that stores peers of the torrent.
    pub node: SocketAddr,
}

/// Progress of a crawl.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CrawlReport {
    /// Queries sent.
    pub asked: u64,
    /// Queries that received a response or an error.
    pub answered: u64,
    /// Queries that failed otherwise.
    pub failed: u64,
    /// Responses from nodes that do not support the query, or with a malformed sample.
    pub unsupported: u64,
    /// Infohashes found.
    pub found: u64,
    /// Infohashes received again, from the same node or others.
    pub repeated: u64,
    /// Nodes currently remembered.
    pub nodes: usize,
    /// Remembered nodes that may be queried now.
    pub due: usize,
    /// Nodes that exceeded [`CrawlOptions::nodes`](field@CrawlOptions::nodes); each was dropped or evicted another.
    pub crowded: u64,
}

/// Traverses the keyspace and queries every node found for a sample of its infohashes (BEP 51).
///
/// A crawler uses the public interface of a [`Node`], and like a node it has neither clock nor socket:
///
/// ```
/// # use dht_proto::crawl::{CrawlOptions, Crawler};
/// # use dht_proto::{Config, Instant, Limits, MAX_DATAGRAM, Node};
/// # let now = Instant::from_micros(0);
/// # let mut node = Node::new(Config::default(), &Limits::default(), [7; 32], now);
/// let mut crawler = Crawler::new(CrawlOptions::default());
/// // In every turn of the loop, before the node's datagrams are sent:
/// crawler.poll(now, &mut node);
/// while let Some(event) = node.poll_event() {
///     crawler.handle_event(now, &node, &event);
/// }
/// while let Some(found) = crawler.next_found() {
///     println!("{} at {}", found.infohash, found.node);
/// }
/// // The loop sleeps no longer than until the earlier of the two.
/// let until = [node.poll_timeout(), crawler.poll_timeout()].into_iter().flatten().min();
/// # assert!(until.is_some());
/// ```
///
/// Nodes are queried in the order of their ids, again and again. Every second query asks for the neighbours of the
/// node itself, which it knows best, the others for nodes elsewhere, so that all of the keyspace is covered. A
/// node is queried again once its specified interval has passed. A node that does not respond is not queried
/// again for a quarter of an hour, then for half an hour, and so on.
///
/// In a simulated network of 300 nodes with 40 torrents each, a fifth of them dead, and another 30 malicious
/// nodes, a crawl with one query every 50 ms found 71 % of all torrents within 15 s, 97 % within a minute, when it
/// had queried all nodes once, and 99 % within ten minutes, when the nodes returned further ones
/// (`tests/sim/surveys.rs`).
///
/// Memory is limited by the [`CrawlOptions`]. When the maximum number of nodes is reached, silent ones are
/// forgotten first, then those whose turn comes last, but none whose interval has not passed. Nodes that never
/// responded, of which a malicious node can list any number, displace others only while fewer than half of all
/// nodes are such.
#[derive(Debug)]
pub struct Crawler {
    options: CrawlOptions,
    /// One node per address, or per endpoint if the node does not limit sources.
    nodes: BTreeMap<Endpoint, Known>,
    by_endpoint: bool,
    /// Number of nodes that have never responded.
    unproven: usize,
    /// Nodes that may be queried.
    ready: BTreeSet<(NodeId, Endpoint)>,
    /// Nodes that responded, and may be queried later.
    resting: BTreeSet<(Instant, Endpoint)>,
    /// Nodes that did not respond to the last query, and may be queried later.
    silent: BTreeSet<(Instant, Endpoint)>,
    asked: BTreeMap<QueryId, Endpoint>,
    /// The node that was queried last.
    cursor: (NodeId, Endpoint),
    next_at: Instant,
    reseed_at: Instant,
    found: VecDeque<Found>,
    seen: Seen,
    report: CrawlReport,
}

/// The state of a remembered node.
#[derive(Clone, Copy, Debug)]
struct Known {
    id: NodeId,
    port: u16,
    /// Number of successive queries without a response.
    failures: u8,
    has_responded: bool,
}

impl Crawler {
    /// Creates a crawl that has not started.
    pub fn new(options: CrawlOptions) -> Self {
        Self {
            options,
            nodes: BTreeMap::new(),
            by_endpoint: false,
            unproven: 0,
            ready: BTreeSet::new(),
            resting: BTreeSet::new(),
            silent: BTreeSet::new(),
            asked: BTreeMap::new(),
            cursor: (NodeId::ZERO, Endpoint::ZERO),
            next_at: Instant::ZERO,
            reseed_at: Instant::ZERO,
            found: VecDeque::new(),
            seen: Seen::new(options.remembered),
            report: CrawlReport::default(),
        }
    }

    /// Sends queries that are due.
    pub fn poll<S: Storage>(&mut self, now: Instant, node: &mut Node<S>) {
        self.wake(now);
        if self.ready.is_empty() && now >= self.reseed_at {
            self.reseed_at = now + RESEED;
            self.by_endpoint = !node.limits_sources();
            Family::ALL.into_iter().flat_map(|family| node.nodes(family)).for_each(|info| self.learn(info));
        }
        while now >= self.next_at && self.has_room() {
            let Some(key) = self.next_ready() else { return };
            let Some(known) = self.nodes.get(&key).copied() else { continue };
            self.next_at = now + self.options.spacing;
            let addr = key.with_port(known.port).into();
            match node.sample_infohashes(now, addr, self.target(&known.id)) {
                Ok(query) => {
                    self.report.asked += 1;
                    self.asked.insert(query, key);
                }
                Err(ContactError::AddressRefused) => self.forget(&key),
                // The node has no free slot, or is disabled; retried later.
                Err(_) => {
                    self.ready.insert((known.id, key));
                    self.next_at = now + self.options.spacing.max(Duration::from_millis(10));
                    return;
                }
            }
        }
    }

    /// Handles an event right after it was polled from the node; returns whether it belongs to this crawl.
    pub fn handle_event<S: Storage>(&mut self, now: Instant, node: &Node<S>, event: &Event) -> bool {
        let Event::SampleDone { query, addr, result } = *event else { return false };
        let Some(key) = self.asked.remove(&query) else { return false };
        match result {
            Ok(sample) => {
                node.samples(query).for_each(|infohash| self.report_found(infohash, addr));
                node.sample_nodes(query).for_each(|info| self.learn(info));
                if let Some(known) = self.nodes.get_mut(&key) {
                    known.id = sample.id;
                }
                if sample.is_supported {
                    let interval = sample.interval.clamp(self.options.revisit.min(MAX_REST), MAX_REST);
                    self.on_response(now, key, interval);
                } else {
                    self.on_unsupported(now, key);
                }
            }
            Err(QueryError::Refused(_)) => self.on_unsupported(now, key),
            // The queried node is not to blame.
            Err(QueryError::Disabled) => {
                self.report.failed += 1;
                self.make_ready(key);
            }
            Err(_) => self.on_silence(now, key),
        }
        true
    }

    /// Returns when to call [`poll`](Self::poll) next, if nothing happens before.
    ///
    /// `None` while the crawl waits for responses, or for infohashes to be taken.
    pub fn poll_timeout(&self) -> Option<Instant> {
        if !self.has_room() {
            return None;
        }
        if !self.ready.is_empty() {
            return Some(self.next_at);
        }
        let rested = [&self.resting, &self.silent].into_iter().filter_map(|later| later.first());
        let rested = rested.map(|(at, _)| *at).min();
        Some(self.reseed_at.min(rested.unwrap_or(Instant::NEVER)).max(self.next_at))
    }

    /// Returns the next infohash that was found.
    pub fn next_found(&mut self) -> Option<Found> {
        self.found.pop_front()
    }

    /// Returns the progress of the crawl.
    pub fn report(&self) -> CrawlReport {
        CrawlReport { nodes: self.nodes.len(), due: self.ready.len(), ..self.report }
    }

    /// Cancels all pending queries; the crawl may be continued afterwards.
    pub fn stop<S: Storage>(&mut self, node: &mut Node<S>) {
        while let Some((query, key)) = self.asked.pop_first() {
            node.cancel_query(query);
            self.make_ready(key);
        }
    }

    fn has_room(&self) -> bool {
        self.asked.len() < self.options.concurrency.max(1) && self.found.len() < self.options.untaken.max(1)
    }

    /// Makes nodes available for queries whose waiting time has passed.
    fn wake(&mut self, now: Instant) {
        for later in [&mut self.resting, &mut self.silent] {
            while let Some((_, key)) = later.first().copied().filter(|(at, _)| *at <= now) {
                later.pop_first();
                if let Some(known) = self.nodes.get(&key) {
                    self.ready.insert((known.id, key));
                }
            }
        }
    }

    fn make_ready(&mut self, key: Endpoint) {
        if let Some(known) = self.nodes.get(&key) {
            self.ready.insert((known.id, key));
        }
    }

    fn on_response(&mut self, now: Instant, key: Endpoint, pause: Duration) {
        self.report.answered += 1;
        if let Some(known) = self.nodes.get_mut(&key) {
            self.unproven -= usize::from(!known.has_responded);
            (known.has_responded, known.failures) = (true, 0);
            self.resting.insert((now + pause, key));
        }
    }

    fn on_unsupported(&mut self, now: Instant, key: Endpoint) {
        self.report.unsupported += 1;
        self.on_response(now, key, UNSUPPORTED);
    }

    fn on_silence(&mut self, now: Instant, key: Endpoint) {
        self.report.failed += 1;
        if let Some(known) = self.nodes.get_mut(&key) {
            let pause = MAX_REST.min(FAILED * 2_u32.pow(known.failures.min(8).into()));
            known.failures = known.failures.saturating_add(1);
            self.silent.insert((now + pause, key));
        }
    }

    /// Returns the next node in the order of ids, wrapping around at the end.
    fn next_ready(&mut self) -> Option<Endpoint> {
        let ahead = (Bound::Excluded(self.cursor), Bound::Unbounded);
        let next = self.ready.range(ahead).next().or_else(|| self.ready.first()).copied()?;
        self.ready.remove(&next);
        self.cursor = next;
        Some(next.1)
    }

    /// Returns the target of a query: the node's own id, or an id in another part of the keyspace.
    ///
    /// All of the other parts take turns.
    fn target(&self, id: &NodeId) -> NodeId {
        let turn = self.report.asked;
        if turn.is_multiple_of(2) {
            return *id;
        }
        let parts = u64::from(self.nodes.len().max(1).ilog2()) + 1;
        // The filler needs no randomness, only variation.
        let mut filler = *id.as_bytes();
        filler.rotate_left(1 + (turn / 2 % 19) as usize);
        id.sibling((turn / 2 % parts) as u32, &NodeId::from_bytes(filler))
    }

    /// Remembers a node, unless it is known already.
    fn learn(&mut self, info: NodeInfo) {
        let endpoint = Endpoint::from(info.addr);
        let key = if self.by_endpoint { endpoint } else { endpoint.with_port(0) };
        if self.nodes.contains_key(&key) {
            return;
        }
        if self.nodes.len() >= self.options.nodes {
            self.report.crowded += 1;
            if !self.make_room(info.id) {
                return;
            }
        }
        let known = Known { id: info.id, port: endpoint.port(), failures: 0, has_responded: false };
        self.nodes.insert(key, known);
        self.unproven += 1;
        self.ready.insert((info.id, key));
    }

    /// Forgets a node in favour of a new one with this id, and returns whether one was forgotten.
    ///
    /// That is the silent node with the longest time to wait, or else the one whose turn comes last, if that is
    /// later than the turn of the new one.
    ///
    /// A node whose interval has not passed is kept: it would soon be listed again, and queried too early (BEP
    /// 51). A node that has ever responded is evicted only while fewer than half of all nodes never did: a
    /// malicious node can list any number, but those in its half are queried, become silent and are replaced by
    /// the next ones.
    fn make_room(&mut self, id: NodeId) -> bool {
        if let Some((_, key)) = self.silent.pop_last() {
            self.forget(&key);
            return true;
        }
        let last = self.ready.range(..=self.cursor).next_back().or_else(|| self.ready.last()).copied();
        let turn = |id: NodeId| (id <= self.cursor.0, id);
        let Some(last) = last.filter(|last| turn(id) < turn(last.0)) else { return false };
        let has_responded = self.nodes.get(&last.1).is_some_and(|known| known.has_responded);
        if has_responded && 2 * self.unproven >= self.options.nodes {
            return false;
        }
        self.ready.remove(&last);
        self.forget(&last.1);
        true
    }

    fn forget(&mut self, key: &Endpoint) {
        let known = self.nodes.remove(key);
        self.unproven -= usize::from(known.is_some_and(|known| !known.has_responded));
    }

    fn report_found(&mut self, infohash: InfoHash, node: SocketAddr) {
        if self.seen.insert(infohash) {
            self.report.found += 1;
            self.found.push_back(Found { infohash, node });
        } else {
            self.report.repeated += 1;
        }
    }
}

/// The most recent infohashes, in two generations; the older one is dropped when the younger one is full.
#[derive(Debug)]
struct Seen {
    young: BTreeSet<InfoHash>,
    old: BTreeSet<InfoHash>,
    /// Maximum number of infohashes in a generation.
    most: usize,
}

impl Seen {
    const fn new(remembered: usize) -> Self {
        let most = if remembered < 2 { 1 } else { remembered / 2 };
        Self { young: BTreeSet::new(), old: BTreeSet::new(), most }
    }

    /// Inserts an infohash, and returns whether it is new.
    fn insert(&mut self, infohash: InfoHash) -> bool {
        if self.old.contains(&infohash) || !self.young.insert(infohash) {
            return false;
        }
        if self.young.len() >= self.most {
            self.old = core::mem::take(&mut self.young);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;

    fn info(id: u8, host: u8) -> NodeInfo {
        NodeInfo {
            id: NodeId::from_bytes([id; 20]),
            addr: SocketAddr::from(([60, 0, host, 1], 6881)),
            rtt: None,
        }
    }

    fn crawler(nodes: usize) -> Crawler {
        Crawler::new(CrawlOptions { nodes, ..CrawlOptions::default() })
    }

    fn ids(crawler: &Crawler) -> impl Iterator<Item = u8> {
        crawler.ready.iter().map(|(id, _)| id.as_bytes()[0])
    }

    #[test]
    fn nodes_are_queried_in_the_order_of_their_ids_again_and_again() {
        let mut crawler = crawler(10);
        [50, 10, 30].into_iter().for_each(|id| crawler.learn(info(id, id)));
        crawler.cursor.0 = NodeId::from_bytes([20; 20]);
        let mut order = Vec::new();
        while let Some(key) = crawler.next_ready() {
            order.push(crawler.nodes[&key].id.as_bytes()[0]);
        }
        assert_eq!(order, [30, 50, 10]);
    }

    #[test]
    fn an_address_is_one_node_whatever_it_is_listed_as() {
        let mut crawler = crawler(10);
        crawler.learn(info(1, 9));
        crawler.learn(info(2, 9));
        let mut moved = info(1, 9);
        moved.addr.set_port(7);
        crawler.learn(moved);
        assert!(ids(&crawler).eq([1]));
        crawler.by_endpoint = true;
        crawler.learn(moved);
        assert_eq!(crawler.nodes.len(), 2);
    }

    #[test]
    fn if_there_is_no_room_the_node_whose_turn_comes_last_is_forgotten() {
        let mut crawler = crawler(3);
        crawler.cursor.0 = NodeId::from_bytes([20; 20]);
        [10, 30, 60].into_iter().for_each(|id| crawler.learn(info(id, id)));
        crawler.learn(info(50, 50));
        assert!(ids(&crawler).eq([30, 50, 60]), "10 lies behind");
        crawler.learn(info(15, 15));
        crawler.learn(info(70, 70));
        assert!(ids(&crawler).eq([30, 50, 60]));
    }

    #[test]
    fn if_there_is_no_room_silent_nodes_are_forgotten_first_and_never_one_within_its_interval() {
        let mut crawler = crawler(3);
        let now = Instant::ZERO;
        [10, 30, 60].into_iter().for_each(|id| crawler.learn(info(id, id)));
        let [first, second, third] = [(); 3].map(|()| crawler.next_ready().unwrap());
        crawler.on_response(now, first, MAX_REST);
        crawler.on_silence(now, second);
        crawler.on_unsupported(now, third);
        crawler.learn(info(21, 21));
        assert!(ids(&crawler).eq([21]) && !crawler.nodes.contains_key(&second));
        let newcomer = crawler.next_ready().unwrap();
        crawler.on_response(now, newcomer, FAILED);
        crawler.learn(info(22, 22));
        assert_eq!((crawler.nodes.len(), ids(&crawler).count(), crawler.report.crowded), (3, 0, 2));
        crawler.wake(now + FAILED);
        assert!(ids(&crawler).eq([21]), "its interval is over");
    }

    #[test]
    fn endless_new_nodes_replace_no_more_than_half_of_those_that_have_responded() {
        let mut crawler = crawler(100);
        (0..100).for_each(|id| crawler.learn(info(100 + id, id)));
        while let Some(key) = crawler.next_ready() {
            crawler.on_response(Instant::ZERO, key, FAILED);
        }
        crawler.wake(Instant::ZERO + FAILED);
        crawler.cursor.0 = NodeId::ZERO;
        let proven = |crawler: &Crawler| crawler.nodes.values().filter(|known| known.has_responded).count();
        for round in 1..50_u8 {
            (100..250).for_each(|host| crawler.learn(info(round, host)));
            assert_eq!((proven(&crawler), crawler.unproven, crawler.nodes.len()), (50, 50, 100));
            // All of them are fictitious.
            for _ in 0..20 {
                let key = crawler.next_ready().unwrap();
                crawler.on_silence(Instant::ZERO, key);
            }
        }
        assert!(crawler.unproven == 50 && crawler.nodes.len() == 100);
    }

    #[test]
    fn an_infohash_is_reported_once_as_long_as_it_is_remembered() {
        let mut seen = Seen::new(10);
        let hash = |byte| InfoHash::from_bytes([byte; 20]);
        assert!((0..5).all(|byte| seen.insert(hash(byte))));
        assert!(!(0..5).any(|byte| seen.insert(hash(byte))));
        assert!((10..15).all(|byte| seen.insert(hash(byte))));
        assert!(seen.insert(hash(0)), "ten others were seen since");
        assert!(seen.young.len() + seen.old.len() <= 10);
    }

    #[test]
    fn the_targets_lie_in_every_part_of_the_keyspace() {
        let mut crawler = crawler(64);
        (0..64).for_each(|id| crawler.learn(info(id * 4, id)));
        let id = NodeId::from_bytes([0x5a; 20]);
        let mut parts = BTreeSet::new();
        for turn in 0..28 {
            crawler.report.asked = turn;
            parts.insert(crawler.target(&id).common_prefix_len(&id));
        }
        assert!(parts.into_iter().eq((0..7).chain([160])));
    }
}
