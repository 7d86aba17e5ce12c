//! The contents, lifetimes and costs of the peer store.
//!
//! - `full`: a store that is full
//! - `model`: random operations, compared with a model
//! - `replies`: the choice of stored peers for a response

mod full;
mod model;
mod replies;

use std::boxed::Box;
use std::collections::{BTreeMap, BTreeSet};
use std::vec;
use std::vec::Vec;

use super::eviction::{PIECE, STEP_SWARMS};
use super::*;
use crate::base::rng::Rng;

/// A store with its memory and random generator.
struct World {
    store: PeerStore,
    rng: Rng,
    swarms: Box<[Slot<Swarm>]>,
    v4: Box<[Slot<Chunk<6>>]>,
    v6: Box<[Slot<Chunk<18>>]>,
    counters: Box<[u16]>,
}

/// Splits a world into its store, its slots and its generator.
macro_rules! parts {
    ($world:ident) => {
        (
            &mut $world.store,
            &mut PeerSlotsMut {
                swarms: &mut $world.swarms,
                v4: &mut $world.v4,
                v6: &mut $world.v6,
                counters: &mut $world.counters,
            },
            &mut $world.rng,
        )
    };
}

impl World {
    fn new(rules: PeerRules, swarms: usize, v4: usize, v6: usize) -> Self {
        let mut rng = Rng::new([3; 32]);
        Self {
            store: PeerStore::new(rules, &mut rng),
            rng,
            swarms: vec![Slot::new(Swarm::EMPTY); swarms].into(),
            v4: vec![Slot::new(Chunk::EMPTY); v4.div_ceil(4)].into(),
            v6: vec![Slot::new(Chunk::EMPTY); v6.div_ceil(4)].into(),
            counters: vec![0; (v4 + v6) / 2].into(),
        }
    }

    fn roomy() -> Self {
        Self::new(PeerRules::default(), 100, 4000, 4000)
    }

    fn announce(&mut self, hash: u32, peer: Endpoint, at: u64) -> Result<Announced, Refusal> {
        self.announce_as(hash, peer, false, at)
    }

    fn announce_as(&mut self, hash: u32, peer: Endpoint, seed: bool, at: u64) -> Result<Announced, Refusal> {
        let (store, slots, rng) = parts!(self);
        let peer = NewPeer { infohash: &infohash(hash), endpoint: peer, seed, ids: &[] };
        store.announce(slots, peer, secs(at), rng)
    }

    /// Announces to a node with this id.
    fn announce_at(&mut self, own: NodeId, infohash: InfoHash, peer: Endpoint, at: u64) {
        let (store, slots, rng) = parts!(self);
        let peer = NewPeer { infohash: &infohash, endpoint: peer, seed: false, ids: &[own] };
        let _ = store.announce(slots, peer, secs(at), rng);
    }

    /// Announces this many swarms, each of this many peers, up to 100.
    fn fill(&mut self, swarms: u32, peers: u32) {
        for number in 0..swarms {
            for peer in 0..peers {
                self.announce(number, host(number * 100 + peer), 0).unwrap();
            }
        }
    }

    fn sweep(&mut self, at: u64) {
        self.sweep_at(secs(at));
    }

    fn sweep_at(&mut self, now: Instant) {
        let (store, slots, _) = parts!(self);
        store.sweep(slots, now);
    }

    fn clear(&mut self) {
        let (store, slots, _) = parts!(self);
        store.clear(slots);
    }

    fn shared(&self) -> PeerSlots<'_> {
        PeerSlots { swarms: &self.swarms, v4: &self.v4, v6: &self.v6 }
    }

    fn has(&self, hash: u32, at: u64) -> bool {
        self.store.has(self.shared(), &infohash(hash), secs(at))
    }

    /// Returns the peers in a response with room for `max` values.
    fn sample(&mut self, hash: u32, family: Family, noseed: bool, max: usize, at: u64) -> Vec<Endpoint> {
        let width = if family == Family::V4 { 6 } else { 18 };
        let mut out = vec![0; max * width];
        let slots = PeerSlots { swarms: &self.swarms, v4: &self.v4, v6: &self.v6 };
        let query = PeerQuery { infohash: &infohash(hash), family, noseed };
        let count = self.store.sample(slots, query, secs(at), &mut self.rng, &mut out);
        out.chunks_exact(width).take(count).map(unpack).collect()
    }

    fn values(&mut self, hash: u32, at: u64) -> BTreeSet<Endpoint> {
        let v4 = self.sample(hash, Family::V4, false, 4000, at);
        let v6 = self.sample(hash, Family::V6, false, 4000, at);
        let all: BTreeSet<_> = v4.iter().chain(&v6).copied().collect();
        assert_eq!(all.len(), v4.len() + v6.len(), "a peer was returned twice");
        all
    }

    fn count(&self) -> usize {
        Family::ALL.iter().map(|&family| self.store.peer_count(family)).sum()
    }

    /// Checks that pools add up, each peer is in exactly one place, and all counts agree.
    fn check(&self) {
        let (store, slots) = (&self.store, self.shared());
        assert!(store.is_consistent(slots));
        let singles: Vec<_> = store.used.iter(slots.swarms).map(|ix| slots.swarms[ix].peers() == 1).collect();
        assert!(singles.is_sorted(), "singles come last: {singles:?}");
        assert_eq!(singles.iter().filter(|&&single| single).count(), store.single_count as usize);
        let first = store.used.iter(slots.swarms).find(|&ix| slots.swarms[ix].peers() == 1);
        assert_eq!(store.singles.some(), first);
        assert!(store.sweep_next.is_none() || store.used.iter(slots.swarms).any(|ix| ix == store.sweep_next));

        let mut counters = vec![0; self.counters.len()];
        let mut places = BTreeSet::new();
        for ix in store.used.iter(slots.swarms) {
            let swarm = &slots.swarms[ix];
            assert_eq!(store.find(slots.swarms, &swarm.infohash), Some(ix));
            assert!(swarm.peers() > 0);
            assert!(swarm.members[0].are_owned_by(slots.v4, ix));
            assert!(swarm.members[1].are_owned_by(slots.v6, ix));
            for family in 0..2 {
                let members = &swarm.members[family];
                assert_eq!(members.count().div_ceil(4), members.chunks());
                assert!(members.count() <= store.rules.per_swarm.into());
            }
            let mut ips = BTreeSet::new();
            let v4 = swarm.members[0].iter(slots.v4).map(|peer| peer.endpoint());
            let v6 = swarm.members[1].iter(slots.v6).map(|peer| peer.endpoint());
            for peer in v4.chain(v6) {
                let port = if store.rules.by_endpoint { peer.port() } else { 0 };
                assert!(ips.insert((peer.ip(), port)), "{peer:?} twice in a swarm");
                if !store.rules.by_endpoint {
                    caps::add(store.key, &mut counters, peer);
                }
            }
            places.insert(swarm.infohash);
        }
        assert_eq!(places.len(), store.used.len());
        assert_eq!(&counters[..], &self.counters[..]);
    }
}

fn secs(at: u64) -> Instant {
    Instant::from_micros(at * 1_000_000)
}

fn infohash(number: u32) -> InfoHash {
    let mut bytes = [0x5a; 20];
    bytes[..4].copy_from_slice(&number.to_be_bytes());
    InfoHash::from_bytes(bytes)
}

/// Returns a host in a subnet of its own; hosts with consecutive numbers are far apart.
fn host(number: u32) -> Endpoint {
    let [a, b, c, _] = number.reverse_bits().to_be_bytes();
    Endpoint::v4([a, b, c, 9], 6881)
}

fn host6(number: u32) -> Endpoint {
    let mut ip = [0x2a; 16];
    ip[1..5].copy_from_slice(&number.reverse_bits().to_be_bytes());
    Endpoint::v6(ip, 6881)
}

fn unpack(compact: &[u8]) -> Endpoint {
    let (ip, port) = compact.split_at(compact.len() - 2);
    let port = u16::from_be_bytes(port.try_into().unwrap());
    match ip.try_into() {
        Ok(ip) => Endpoint::v4(ip, port),
        Err(_) => Endpoint::v6(ip.try_into().unwrap(), port),
    }
}

const TTL: u64 = 45 * 60;

#[test]
fn q_04_peers_are_stored_by_infohash() {
    let mut world = World::roomy();
    assert_eq!(world.announce(1, host(1), 0), Ok(Announced::Stored));
    assert_eq!(world.announce(1, host(2), 0), Ok(Announced::Stored));
    assert_eq!(world.announce(2, host(3), 0), Ok(Announced::Stored));
    assert_eq!(world.values(1, 0), [host(1), host(2)].into());
    assert_eq!(world.values(2, 0), [host(3)].into());
    assert_eq!(world.values(3, 0), [].into());
    world.check();
}

#[test]
fn b33_06_the_same_peer_is_stored_once_and_refreshed() {
    let mut world = World::roomy();
    assert_eq!(world.announce(1, host(1), 0), Ok(Announced::Stored));
    assert_eq!(world.announce(1, host(1), TTL - 1), Ok(Announced::Refreshed));
    assert_eq!(world.count(), 1);
    assert_eq!(world.values(1, 2 * TTL - 2), [host(1)].into());
    assert_eq!(world.values(1, 2 * TTL - 1), [].into());
    world.check();
}

#[test]
fn b33_06_an_ip_has_one_peer_in_a_swarm_whose_port_and_seed_flag_follow_its_announces() {
    let mut world = World::roomy();
    let moved = Endpoint::v4(host(1).as_v4().unwrap(), 7000);
    world.announce_as(1, host(1), true, 0).unwrap();
    assert_eq!(world.announce_as(1, moved, false, 5), Ok(Announced::Refreshed));
    let peers: Vec<_> = world.store.peers_of(world.shared(), &infohash(1), secs(5)).collect();
    assert_eq!(peers.len(), 1);
    assert_eq!((peers[0].endpoint, peers[0].seed), (moved, false));
    world.check();
}

#[test]
fn without_source_limits_one_host_may_hold_many_peers() {
    let mut world = World::new(PeerRules { by_endpoint: true, ..PeerRules::default() }, 10, 1000, 0);
    for port in 1..=600 {
        assert_eq!(world.announce(1, Endpoint::v4([127, 0, 0, 1], port), 0), Ok(Announced::Stored));
    }
    assert_eq!(world.announce(1, Endpoint::v4([127, 0, 0, 1], 7), 0), Ok(Announced::Refreshed));
    assert_eq!(world.values(1, 0).len(), 600);
    world.check();
}

#[test]
fn q_10_port_0_is_refused() {
    let mut world = World::roomy();
    let nobody = Endpoint::v4([1, 2, 3, 4], 0);
    assert_eq!(world.announce(1, nobody, 0), Err(Refusal::Port));
    assert_eq!((world.store.infohash_count(), world.count()), (0, 0));
}

#[test]
fn b32_01_b32_12_b32_14_each_family_has_its_own_peers() {
    let mut world = World::roomy();
    world.announce(1, host(1), 0).unwrap();
    world.announce(1, host6(1), 0).unwrap();
    assert_eq!(world.sample(1, Family::V4, false, 9, 0), [host(1)]);
    assert_eq!(world.sample(1, Family::V6, false, 9, 0), [host6(1)]);
    assert_eq!(world.store.peer_count(Family::V4), 1);
    assert_eq!(world.store.peer_count(Family::V6), 1);
    assert_eq!(world.store.infohash_count(), 1);
}

#[test]
fn c_07_expired_peers_are_never_returned_swept_or_not() {
    let mut world = World::roomy();
    world.announce(1, host(1), 0).unwrap();
    world.announce(1, host(2), 100).unwrap();
    world.announce(2, host(3), 0).unwrap();
    assert_eq!(world.values(1, TTL - 1), [host(1), host(2)].into());
    assert_eq!(world.values(1, TTL), [host(2)].into());
    assert_eq!(world.values(1, TTL + 100), [].into());
    let peers = world.store.peers_of(world.shared(), &infohash(1), secs(TTL));
    assert_eq!(peers.map(|peer| peer.endpoint).collect::<Vec<_>>(), [host(2)]);
    let infohashes = world.store.infohashes(world.shared(), secs(TTL));
    assert_eq!(infohashes.collect::<Vec<_>>(), [infohash(1)]);
}

#[test]
fn has_is_true_only_until_the_last_peer_expires() {
    let mut world = World::roomy();
    assert!(!world.has(1, 0));
    world.announce(1, host(1), 0).unwrap();
    world.announce(1, host6(1), 7).unwrap();
    assert!(world.has(1, 0));
    assert!(!world.has(2, 0));
    assert!(world.has(1, TTL + 6));
    assert!(!world.has(1, TTL + 7));
}

#[test]
fn c_07_a_sweep_removes_expired_peers_and_empty_swarms_and_nothing_else() {
    let mut world = World::roomy();
    for number in 0..9 {
        world.announce(1, host(number), 0).unwrap();
    }
    world.announce(1, host(9), 100).unwrap();
    world.announce(2, host6(10), 0).unwrap();
    world.announce(3, host(11), 100).unwrap();
    world.sweep(TTL - 1);
    assert_eq!(world.count(), 12);
    world.sweep(TTL);
    world.check();
    assert_eq!((world.store.infohash_count(), world.count()), (2, 2));
    assert_eq!(world.values(1, TTL), [host(9)].into());
    assert_eq!(world.values(3, TTL), [host(11)].into());
    world.sweep(TTL + 100);
    world.check();
    assert_eq!((world.store.infohash_count(), world.count()), (0, 0));
}

#[test]
fn h_25_sweeps_are_due_while_there_is_something_to_sweep_and_reach_every_swarm_in_time() {
    let mut world = World::new(PeerRules::default(), 1000, 4000, 0);
    assert_eq!(world.store.next_sweep(), None);
    for number in 0..1000 {
        world.announce(number, host(number), 10).unwrap();
    }
    assert_eq!(world.store.next_sweep(), Some(secs(10 + TTL)));
    let mut steps = 0;
    while let Some(due) = world.store.next_sweep() {
        assert!(due < secs(10 + TTL + TTL / 4), "the sweep is late");
        let before = world.store.infohash_count();
        let (store, slots, _) = parts!(world);
        store.sweep(slots, due);
        assert!(world.store.next_sweep().is_none_or(|next| next > due));
        assert!(before - world.store.infohash_count() <= STEP_SWARMS);
        steps += 1;
    }
    assert!(steps >= 1000 / STEP_SWARMS);
    world.check();
}

#[test]
fn c_07_counts_follow_what_is_stored_and_clear_forgets_it() {
    let mut world = World::roomy();
    for number in 0..40 {
        world.announce(number % 5, host(number), 0).unwrap();
        world.announce(number % 7, host6(number), 0).unwrap();
    }
    assert_eq!(world.store.infohash_count(), 7);
    assert_eq!(Family::ALL.map(|family| world.store.peer_count(family)), [40, 40]);
    assert_eq!(world.store.infohashes(world.shared(), secs(0)).count(), 7);
    world.clear();
    world.check();
    assert_eq!((world.store.infohash_count(), world.count(), world.has(1, 0)), (0, 0, false));
    assert_eq!(world.store.next_sweep(), None);
    assert_eq!(world.announce(1, host(1), 0), Ok(Announced::Stored));
    world.check();
}

#[test]
fn b33_05_seeds_and_filter_indices_are_stored() {
    let mut world = World::roomy();
    world.announce_as(1, Endpoint::v4([192, 168, 1, 1], 5), true, 0).unwrap();
    world.announce_as(1, host6(1), false, 0).unwrap();
    let peers: Vec<_> = world.store.peers_of(world.shared(), &infohash(1), secs(0)).collect();
    assert_eq!(peers.iter().map(|peer| peer.seed).collect::<Vec<_>>(), [true, false]);
    assert_eq!(peers[0].filter_indices, [1711, 1831]);
}

#[test]
fn a_stored_ipv4_peer_takes_at_most_28_bytes_at_100_peers_per_swarm() {
    let (swarms, peers) = (320, 32_000);
    let mut world = World::new(PeerRules::default(), swarms, peers, 0);
    for number in 0..peers as u32 {
        world.announce(number % swarms as u32, host(number), 0).unwrap();
    }
    assert_eq!(world.count(), peers);
    let bytes = world.store.swarms.used() * size_of::<Slot<Swarm>>()
        + world.store.chunks[0].used() * size_of::<Slot<Chunk<6>>>()
        + size_of_val(&*world.counters);
    assert!(bytes <= 28 * peers, "{} bytes per peer", bytes as f64 / peers as f64);
    assert!(bytes <= 17 * peers, "{} bytes per peer", bytes as f64 / peers as f64);
    assert!(size_of::<PeerStore>() <= 160, "{}", size_of::<PeerStore>());
}

#[test]
fn equal_seeds_give_equal_stores() {
    let run = || {
        let mut world = World::new(PeerRules::default(), 20, 200, 40);
        for number in 0..2000_u32 {
            let peer = if number % 5 == 0 { host6(number) } else { host(number) };
            world.announce(number * number % 60, peer, number.into()).unwrap();
        }
        (0..60).map(|hash| world.sample(hash, Family::V4, false, 7, 2000)).collect::<Vec<_>>()
    };
    assert_eq!(run(), run());
}
