//! Tests of the table in isolation, with a clock, memory, and hosts that respond or do not.
//!
//! - `eviction`: ids that match their addresses, and ids that do not
//! - `model`: random operations
//! - `rehome`: changes of the local id
//! - `rows`: the rules of the table, one by one

mod eviction;
mod model;
mod rehome;
mod rows;

use core::net::Ipv4Addr;
use std::collections::BTreeSet;
use std::vec;
use std::vec::Vec;

use super::shares::WIDE_SUBNET_PER_BUCKET;
use super::*;
use crate::base::rng::Rng;

const RTT: Duration = Duration::from_millis(100);
const MINUTE: Duration = Duration::from_secs(60);

/// A table with its memory and a clock.
struct World {
    table: Table,
    buckets: Vec<Bucket>,
    entries: Vec<Entry>,
    replacements: Vec<Entry>,
    now: Instant,
    rng: Rng,
    own: NodeId,
    hosts: u32,
}

impl World {
    fn new(entries: usize, replacements: usize) -> Self {
        let mut rng = Rng::new([3; 32]);
        let own = rng.id();
        // Seconds wrap around soon after the start.
        let now = Instant::ZERO + Duration::from_secs(u64::from(u32::MAX) - 1000);
        let mut buckets = vec![Bucket::EMPTY; bucket_count(entries)];
        let (mut entries, mut replacements) = (vec![Entry::EMPTY; entries], vec![Entry::EMPTY; replacements]);
        let mut slots =
            Slots { buckets: &mut buckets, entries: &mut entries, replacements: &mut replacements };
        let table = Table::new(Family::V4, own, &mut slots, true, now);
        Self { table, buckets, entries, replacements, now, rng, own, hosts: 0 }
    }

    /// Creates a world with a single node, in the bucket farthest from the local id.
    fn with_node() -> (Self, Contact) {
        let mut world = Self::new(192, 192);
        let node = world.answering_node(0);
        (world, node)
    }

    /// Creates a world with a single node that has been silent for so long that it is being pinged.
    fn with_pinged_node() -> (Self, Contact) {
        let (mut world, node) = Self::with_node();
        world.pass(15 * MINUTE);
        assert_eq!(world.next_ping(), Some(node));
        (world, node)
    }

    /// Creates a world whose farthest bucket is full, and returns the nodes in it.
    fn with_full_bucket() -> (Self, Vec<Contact>) {
        let mut world = Self::new(192, 192);
        let nodes = world.fill(0);
        (world, nodes)
    }

    fn slots(&mut self) -> (&mut Table, Slots<'_>, Instant) {
        let Self { table, buckets, entries, replacements, now, .. } = self;
        (table, Slots { buckets, entries, replacements }, *now)
    }

    fn memory(&self) -> Nodes<'_> {
        Nodes { buckets: &self.buckets, entries: &self.entries }
    }

    fn reply_after(&mut self, contact: Contact, rtt: Duration) -> InsertResult {
        let (table, mut slots, now) = self.slots();
        table.on_response(&mut slots, contact, rtt, now)
    }

    fn reply(&mut self, contact: Contact) -> InsertResult {
        self.reply_after(contact, RTT)
    }

    fn query(&mut self, contact: Contact) -> InsertKind {
        let (table, mut slots, now) = self.slots();
        table.on_query(&mut slots, contact, now)
    }

    fn fail(&mut self, contact: Contact) -> Option<Removal> {
        let (table, mut slots, now) = self.slots();
        table.on_failure(&mut slots, contact, now)
    }

    /// Lets a node fail twice while no node can take its place.
    fn fail_twice(&mut self, contact: Contact) {
        for _ in 0..2 {
            assert_eq!(self.fail(contact), None);
        }
    }

    fn next_ping(&mut self) -> Option<Contact> {
        let (table, mut slots, now) = self.slots();
        table.next_ping(&mut slots, false, now)
    }

    fn next_refresh(&mut self) -> Option<NodeId> {
        self.table.next_refresh(&mut self.buckets, &mut self.rng, self.now)
    }

    fn lose_ping(&mut self, contact: Contact) {
        let (table, mut slots, now) = self.slots();
        table.ping_lost(&mut slots, contact, now);
    }

    /// Changes the local id; returns the nodes that left and entered buckets.
    fn rehome(&mut self, own: NodeId) -> Vec<Move> {
        let mut moves = Vec::new();
        self.own = own;
        let (table, mut slots, now) = self.slots();
        table.rehome(&mut slots, own, now, |change| moves.push(change));
        moves
    }

    fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
    }

    /// Responds to every ping until none is left to send. Returns the nodes pinged.
    fn answer_pings(&mut self) -> Vec<Contact> {
        let pinged: Vec<_> = core::iter::from_fn(|| {
            let contact = self.next_ping()?;
            self.reply(contact);
            Some(contact)
        })
        .take(1000)
        .collect();
        assert!(pinged.len() < 1000, "a storm of pings");
        pinged
    }

    /// Creates a node with an address in a subnet of its own.
    fn host(&mut self, id: NodeId) -> Contact {
        self.hosts += 1;
        let [_, a, b, c] = self.hosts.to_be_bytes();
        Contact { id, endpoint: Endpoint::v4([20 + a, b, c, 1], 6881) }
    }

    /// Creates a node in the given bucket.
    fn node(&mut self, bucket: u32) -> Contact {
        let filler = self.rng.id();
        self.host(self.own.sibling(bucket, &filler))
    }

    /// Creates a node in the given bucket that has responded.
    fn answering_node(&mut self, bucket: u32) -> Contact {
        let node = self.node(bucket);
        self.reply(node);
        node
    }

    /// Fills a bucket with one node in each of its eight parts, and returns them.
    fn fill(&mut self, bucket: u32) -> Vec<Contact> {
        let nodes: Vec<_> = (0..8).map(|part| self.node_in_part(bucket, part)).collect();
        for &node in &nodes {
            assert_eq!(self.reply(node), InsertResult::of(InsertKind::Added));
        }
        nodes
    }

    fn node_in_part(&mut self, bucket: u32, part: u64) -> Contact {
        loop {
            let node = self.node(bucket);
            if (node.id.head() << (bucket + 1)) >> 61 == part {
                return node;
            }
        }
    }

    fn good(&self, target: NodeId) -> Vec<Contact> {
        let found = self.table.closest::<8>(self.memory(), &target, Filter::Good, self.now);
        found.iter().map(|entry| entry.contact()).collect()
    }

    fn nodes(&self) -> Vec<Contact> {
        self.table.iter(self.memory()).map(Entry::contact).collect()
    }

    fn check(&mut self) {
        let slots = Slots {
            buckets: &mut self.buckets,
            entries: &mut self.entries,
            replacements: &mut self.replacements,
        };
        let table = &self.table;
        for bucket in 0..table.depth() {
            let head = slots.buckets[bucket];
            // The end of a delay that is shortened because nodes were removed may be noticed later.
            match table.most_overdue(&slots, bucket, true, self.now.secs()) {
                Some((..=0, Place::Entry(_))) if !head.pinging => {
                    assert!(head.due.since(self.now.secs()) == 0 && table.ping_due <= self.now);
                }
                Some((..=0, _)) => {
                    assert!(table.ping_due <= self.now + Duration::from_secs(entry::MAPPING.into()))
                }
                _ => {}
            }
        }
        let (mut ids, mut ips, mut len) = (BTreeSet::new(), BTreeSet::new(), 0);
        for bucket in 0..table.depth() {
            let head = slots.buckets[bucket];
            let entries = &slots.entries[slots.nodes().range(bucket)];
            let replacements = &slots.replacements[table.replacements(&slots, bucket)];
            assert!(head.len <= head.capacity && usize::from(head.replacements) <= MAX_REPLACEMENTS);
            assert!(entries.is_sorted_by(|a, b| a.id < b.id));
            assert!(entries.iter().all(Entry::is_verified));
            assert!(head.is_full() || replacements.iter().all(|entry| !entry.is_ready()));
            assert_eq!(table.occupied >> bucket & 1 == 1, !entries.is_empty());
            len += entries.len();
            assert!(head.len + head.restored <= head.capacity);
            let mut pinging = 0;
            let mut subnets = Vec::new();
            for entry in entries.iter().chain(replacements) {
                assert_eq!(table.bucket_of(&entry.id), bucket);
                assert_eq!(
                    bucket,
                    (self.own.common_prefix_len(&entry.id) as usize).min(table.depth() - 1),
                    "in its bucket's range"
                );
                assert!(entry.id != self.own && entry.id != NodeId::ZERO && entry.failures < HOPELESS);
                assert!(ids.insert(entry.id) && ips.insert(entry.endpoint.ip()));
                pinging += u32::from(entry.pinging);
                subnets.push(entry.endpoint.wide_subnet());
            }
            assert_eq!(pinging, u32::from(head.pinging), "at most one ping in flight");
            for subnet in &subnets {
                assert!(subnets.iter().filter(|other| *other == subnet).count() <= WIDE_SUBNET_PER_BUCKET);
            }
        }
        assert_eq!(table.len(), len);
        let mut restored = BTreeSet::new();
        for entry in table.all_restored(slots.nodes()) {
            assert!(!entry.is_verified() && entry.failures < BAD);
            assert!(restored.insert(entry.endpoint), "restored once");
        }
        assert_eq!(table.restored(), restored.len());
        assert!(table.iter(slots.nodes()).all(|entry| !restored.contains(&entry.endpoint)));
    }

    /// Returns the result that `closest` must return, computed by sorting all nodes.
    fn closest_by_force(&self, target: NodeId, filter: Filter, k: usize) -> Vec<NodeId> {
        let nodes = self.table.iter(self.memory());
        let passing = nodes.filter(|entry| match filter {
            Filter::Good => entry.is_good(self.now),
            Filter::Live => entry.failures < BAD,
            Filter::Bad => entry.failures >= BAD,
        });
        let mut ids: Vec<_> = passing.map(|entry| entry.id).collect();
        ids.sort_by_key(|id| id.distance(&target));
        ids.truncate(k);
        ids
    }
}

/// Returns the result of adding a node in place of another.
fn added_for(removed: Contact) -> InsertResult {
    InsertResult { kind: InsertKind::Added, removal: Some(Removal { removed, promoted: None }) }
}

fn with_port(endpoint: Endpoint, port: u16) -> Endpoint {
    Endpoint::v4(endpoint.as_v4().unwrap(), port)
}
