//! The store of announced peers, by infohash (BEP 5, BEP 32, BEP 33).
//!
//! - `caps`: limits per source and subnet, with a count-min sketch
//! - `eviction`: making room, and removing expired peers
//! - `fairness`: fairness between the subnets in a swarm
//! - `members`: the peers of one swarm and family, in small chunks
//! - `own`: our own announces
//! - `sampler`: the infohashes returned for `sample_infohashes` (BEP 51)
//! - `tests`: contents, lifetimes and costs of the whole store
//!
//! All memory is in slices of fixed size: swarms, chunks of peers for each family, and counters that limit each
//! source. When they are full, the largest swarms and subnets are evicted from first.

mod caps;
mod eviction;
mod fairness;
mod members;
mod own;
mod sampler;
#[cfg(test)]
mod tests;

use core::time::Duration;

use crate::base::addr::{Endpoint, Family};
use crate::base::bloom::BloomFilter;
use crate::base::hash::{Key, reduce};
use crate::base::id::{InfoHash, NodeId};
use crate::base::pool::{Ix, List, Pool, Slot};
use crate::base::rng::Rng;
use crate::base::time::Instant;
use caps::Caps;
pub(crate) use caps::Refusal;
use members::{CHUNK, Lifetime, Members, Peer, Stamp, compact, is_own};
pub(crate) use members::{Chunk, StoredPeer};
pub(crate) use sampler::{MAX_INTERVAL as MAX_SAMPLE_INTERVAL, SampleResult};

/// Limits of a peer store.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub(crate) struct PeerRules {
    /// How long a peer is kept after its last announce.
    pub(crate) ttl_secs: u32,
    /// Maximum number of peers of one family in one swarm.
    pub(crate) per_swarm: u16,
    /// Maximum number of peers from one IPv4 address or one IPv6 /64, over all swarms.
    pub(crate) per_source: u16,
    /// Maximum number of peers from one IPv4 /24 or one IPv6 /56, over all swarms; twice as many from an IPv6 /48.
    pub(crate) per_subnet: u16,
    /// Identifies peers by full endpoint and disables the caps, for many nodes on one host.
    ///
    /// Otherwise an IP address has one peer in a swarm (BEP 33).
    pub(crate) by_endpoint: bool,
    /// How long the random subset of the infohashes stays the same (BEP 51).
    pub(crate) sample_secs: u16,
}

impl Default for PeerRules {
    fn default() -> Self {
        Self {
            ttl_secs: 45 * 60,
            per_swarm: 2000,
            per_source: 128,
            per_subnet: 512,
            by_endpoint: false,
            sample_secs: 5 * 60,
        }
    }
}

/// A peer to store.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NewPeer<'a> {
    pub(crate) infohash: &'a InfoHash,
    pub(crate) endpoint: Endpoint,
    pub(crate) seed: bool,
    /// Our own ids: swarms close to them are kept longer.
    pub(crate) ids: &'a [NodeId],
}

/// A query for peers of one family.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PeerQuery<'a> {
    pub(crate) infohash: &'a InfoHash,
    pub(crate) family: Family,
    /// Whether seeds are left out (BEP 33).
    pub(crate) noseed: bool,
}

/// The result of an accepted announce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Announced {
    /// The peer is new.
    Stored,
    /// The peer was known; its port, seed flag and time were updated.
    Refreshed,
}

/// Shared access to the memory of a store; zeroed memory is an empty store.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PeerSlots<'a> {
    pub(crate) swarms: &'a [Slot<Swarm>],
    pub(crate) v4: &'a [Slot<Chunk<6>>],
    pub(crate) v6: &'a [Slot<Chunk<18>>],
}

impl PeerSlots<'_> {
    /// Returns the number of peers of one family that fit in memory.
    pub(crate) const fn capacity(&self, family: Family) -> usize {
        match family {
            Family::V4 => self.v4.len() * CHUNK,
            Family::V6 => self.v6.len() * CHUNK,
        }
    }
}

/// Exclusive access to the memory of a store.
#[derive(Debug)]
pub(crate) struct PeerSlotsMut<'a> {
    pub(crate) swarms: &'a mut [Slot<Swarm>],
    pub(crate) v4: &'a mut [Slot<Chunk<6>>],
    pub(crate) v6: &'a mut [Slot<Chunk<18>>],
    /// Counters for the caps per source and subnet.
    ///
    /// With half as many counters as peers a source is overestimated by about eight, far less than any cap.
    /// Without counters there are no caps.
    pub(crate) counters: &'a mut [u16],
}

/// A swarm, which also contains the head of the hash chain with this slot's number.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub(crate) struct Swarm {
    infohash: InfoHash,
    members: [Members; 2],
    next_in_chain: Ix,
    /// The first swarm of the hash chain with this slot's number.
    chain: Ix,
}

impl Swarm {
    pub(crate) const EMPTY: Self = Self {
        infohash: InfoHash::ZERO,
        members: [Members::EMPTY; 2],
        next_in_chain: Ix::NONE,
        chain: Ix::NONE,
    };

    fn peers(&self) -> usize {
        self.members.iter().map(Members::count).sum()
    }

    fn is_live(&self, now: Stamp, ttl: u32) -> bool {
        self.members.iter().any(|members| members.is_live(now, ttl))
    }

    fn idle_secs(&self, now: Stamp) -> u32 {
        let live = self.members.iter().filter(|members| members.count() > 0);
        live.map(|members| now.since(members.newest())).min().unwrap_or(u32::MAX)
    }
}

/// The peer store.
///
/// Caps limit what one source and one subnet can store. Against many sources, eviction is fair between subnets and
/// between swarms:
///
/// - When a swarm is full, it evicts a peer of its most crowded subnet, or else its oldest.
/// - When chunks run out, a few are drawn at random and the largest of their swarms evicts such peers, unless the
///   announced swarm is as large: a flooded swarm replaces its own peers.
/// - When swarms run out, some are drawn. Those whose peers are all from crowded subnets are evicted first, then
///   those that are small and far from our id. While few swarms have a single peer, only larger ones are evicted,
///   so that new ones can grow.
#[derive(Debug)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub(crate) struct PeerStore {
    rules: PeerRules,
    key: Key,
    swarms: Pool,
    /// Swarms in use, none of them empty; those with a single peer come last, in the order of their announces.
    used: List,
    /// The first swarm with a single peer.
    singles: Ix,
    single_count: u32,
    /// The swarm to sweep next.
    sweep_next: Ix,
    chunks: [Pool; 2],
    peers: [u32; 2],
    /// Number of our own announces among the peers.
    own: [u32; 2],
    sweep_due: Instant,
    sampler: Sampler,
}

/// The random subset that is returned while not all infohashes fit into a response.
///
/// A new subset is drawn only by a query that arrives after the previous one has expired, so that repeated queries
/// reveal nothing new. Responses with less room return a prefix of it.
#[derive(Clone, Copy, Debug, Default)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
struct Sampler {
    count: u16,
    until: Instant,
}

/// Where the next peer of a swarm is stored.
enum Room {
    /// In one of its chunks, or in a free one.
    Chunk,
    /// In place of one of its peers.
    Replacement,
}

/// Number of complete sweeps within the lifetime of a peer.
const SWEEPS_PER_LIFE: u64 = 8;

impl PeerStore {
    pub(crate) fn new(rules: PeerRules, rng: &mut Rng) -> Self {
        Self {
            rules,
            key: Key::new(rng),
            swarms: Pool::default(),
            used: List::EMPTY,
            singles: Ix::NONE,
            single_count: 0,
            sweep_next: Ix::NONE,
            chunks: [Pool::default(); 2],
            peers: [0; 2],
            own: [0; 2],
            sweep_due: Instant::ZERO,
            sampler: Sampler::default(),
        }
    }

    /// Returns the secret that randomizes the positions in hash tables.
    #[cfg(feature = "items")]
    pub(crate) const fn key(&self) -> Key {
        self.key
    }

    /// Stores or refreshes a peer.
    pub(crate) fn announce(
        &mut self,
        slots: &mut PeerSlotsMut<'_>,
        peer: NewPeer<'_>,
        now: Instant,
        rng: &mut Rng,
    ) -> Result<Announced, Refusal> {
        if peer.endpoint.port() == 0 {
            return Err(Refusal::Port);
        }
        self.insert(slots, peer, now, rng)
    }

    /// Writes peers of a swarm in compact form (6 or 18 bytes each), and returns their number.
    ///
    /// If more are stored than fit in `out`, they are a uniform random sample.
    pub(crate) fn sample(
        &self,
        slots: PeerSlots<'_>,
        query: PeerQuery<'_>,
        now: Instant,
        rng: &mut Rng,
        out: &mut [u8],
    ) -> usize {
        let PeerQuery { infohash, family, noseed } = query;
        let Some(ix) = self.find(slots.swarms, infohash) else { return 0 };
        let members = &slots.swarms[ix].members[family.index()];
        let life = Lifetime { now: Stamp::at(now), ttl: self.rules.ttl_secs };
        match family {
            Family::V4 => members.sample(slots.v4, noseed, life, rng, out),
            Family::V6 => members.sample(slots.v6, noseed, life, rng, out),
        }
    }

    /// Whether any live peer of the swarm is stored.
    #[inline]
    pub(crate) fn has(&self, slots: PeerSlots<'_>, infohash: &InfoHash, now: Instant) -> bool {
        self.find(slots.swarms, infohash)
            .is_some_and(|ix| slots.swarms[ix].is_live(Stamp::at(now), self.rules.ttl_secs))
    }

    /// Returns the number of peers of a swarm in one family, including expired ones.
    pub(crate) fn count_of(&self, slots: PeerSlots<'_>, infohash: &InfoHash, family: Family) -> usize {
        self.members_of(slots.swarms, infohash, family.index()).count()
    }

    /// Returns the peers of a swarm in both families, without our own.
    pub(crate) fn peers_of<'a>(
        &self,
        slots: PeerSlots<'a>,
        infohash: &InfoHash,
        now: Instant,
    ) -> impl Iterator<Item = StoredPeer> + use<'a> {
        let [v4, v6] =
            self.find(slots.swarms, infohash).map_or([Members::EMPTY; 2], |ix| slots.swarms[ix].members);
        let (now, ttl) = (Stamp::at(now), self.rules.ttl_secs);
        let v4 = v4.iter(slots.v4).filter(move |peer| peer.is_live(now, ttl)).map(|peer| peer.to_stored());
        let v6 = v6.iter(slots.v6).filter(move |peer| peer.is_live(now, ttl)).map(|peer| peer.to_stored());
        v4.chain(v6).filter(|peer| !is_own(peer.endpoint))
    }

    /// Returns the Bloom filters of the seeds and of the other peers of a swarm, in both families (BEP 33).
    ///
    /// Our own peers are not included; `None` if there are no others. Every peer is visited, a number that
    /// [`PeerRules::per_swarm`] limits.
    pub(crate) fn scrape(
        &self,
        slots: PeerSlots<'_>,
        infohash: &InfoHash,
        now: Instant,
    ) -> Option<[BloomFilter; 2]> {
        let mut filters = None;
        self.peers_of(slots, infohash, now).for_each(|peer| {
            let [seeds, others] = filters.get_or_insert([BloomFilter::EMPTY; 2]);
            (if peer.seed { seeds } else { others }).insert_indices(peer.filter_indices);
        });
        filters
    }

    /// Returns the infohashes that have live peers.
    pub(crate) fn infohashes<'a>(
        &self,
        slots: PeerSlots<'a>,
        now: Instant,
    ) -> impl Iterator<Item = InfoHash> + use<'a> {
        let (used, now, ttl) = (self.used, Stamp::at(now), self.rules.ttl_secs);
        core::iter::successors(used.front(), move |&ix| used.next(slots.swarms, ix))
            .filter(move |&ix| slots.swarms[ix].is_live(now, ttl))
            .map(|ix| slots.swarms[ix].infohash)
    }

    /// Returns the number of infohashes stored, including expired ones that have not been swept.
    pub(crate) const fn infohash_count(&self) -> usize {
        self.used.len()
    }

    /// Returns the number of peers of others, including expired ones that have not been swept.
    pub(crate) const fn peer_count(&self, family: Family) -> usize {
        (self.peers[family.index()] - self.own[family.index()]) as usize
    }

    /// Whether every swarm, chunk and peer is counted once.
    #[cfg(any(test, feature = "checkpoint", feature = "sim"))]
    pub(crate) fn is_consistent(&self, slots: PeerSlots<'_>) -> bool {
        let (mut peers, mut chunks, mut own) = ([0; 2], [0; 2], [0; 2]);
        for ix in self.used.iter(slots.swarms).take(slots.swarms.len()) {
            for (family, members) in slots.swarms[ix].members.iter().enumerate() {
                peers[family] += members.count() as u32;
                chunks[family] += members.chunks();
            }
            let [v4, v6] = slots.swarms[ix].members;
            own[0] += v4.iter(slots.v4).filter(|peer| is_own(peer.endpoint())).count() as u32;
            own[1] += v6.iter(slots.v6).filter(|peer| is_own(peer.endpoint())).count() as u32;
        }
        self.swarms.is_consistent(slots.swarms)
            && self.chunks[0].is_consistent(slots.v4)
            && self.chunks[1].is_consistent(slots.v6)
            && self.used.is_consistent(slots.swarms)
            && self.used.len() == self.swarms.used()
            && peers == self.peers
            && own == self.own
            && chunks == [self.chunks[0].used(), self.chunks[1].used()]
    }

    /// Returns when [`sweep`](Self::sweep) is due; `None` while the store is empty.
    pub(crate) fn next_sweep(&self) -> Option<Instant> {
        (!self.used.is_empty()).then_some(self.sweep_due)
    }

    /// Removes expired peers from the next few swarms.
    ///
    /// This only frees memory: expired peers are never returned.
    pub(crate) fn sweep(&mut self, slots: &mut PeerSlotsMut<'_>, now: Instant) {
        let swarms = self.used.len() as u64;
        let remaining = self.sweep_step(slots, Stamp::at(now));
        // A swarm that expired completely may be followed by others, so the next step follows soon.
        let round = u64::from(self.rules.ttl_secs) * 1_000_000 / SWEEPS_PER_LIFE;
        let pause = round.saturating_mul(remaining) / swarms.max(1);
        self.sweep_due = now + Duration::from_micros(pause.max(1000));
    }

    /// Removes everything.
    pub(crate) fn clear(&mut self, slots: &mut PeerSlotsMut<'_>) {
        slots.swarms.iter_mut().for_each(|slot| *slot = Slot::new(Swarm::EMPTY));
        slots.counters.fill(0);
        (self.swarms, self.used) = (Pool::default(), List::EMPTY);
        (self.singles, self.single_count, self.sweep_next) = (Ix::NONE, 0, Ix::NONE);
        (self.chunks, self.peers, self.own) = ([Pool::default(); 2], [0; 2], [0; 2]);
        self.sampler = Sampler::default();
    }

    fn start_sweeping(&mut self, now: Instant) {
        if self.used.is_empty() {
            self.sweep_due = now + Duration::from_secs(self.rules.ttl_secs.into());
        }
    }

    /// Stores or refreshes a peer, which may be our own.
    fn insert(
        &mut self,
        slots: &mut PeerSlotsMut<'_>,
        peer: NewPeer<'_>,
        now: Instant,
        rng: &mut Rng,
    ) -> Result<Announced, Refusal> {
        self.start_sweeping(now);
        match peer.endpoint.family() {
            Family::V4 => self.insert_in::<6>(slots, peer, Stamp::at(now), rng),
            Family::V6 => self.insert_in::<18>(slots, peer, Stamp::at(now), rng),
        }
    }

    fn insert_in<const M: usize>(
        &mut self,
        slots: &mut PeerSlotsMut<'_>,
        peer: NewPeer<'_>,
        now: Stamp,
        rng: &mut Rng,
    ) -> Result<Announced, Refusal>
    where
        Chunk<M>: FamilyChunk,
    {
        let compact = compact::<M>(peer.endpoint);
        if self.refresh_in(slots, peer, compact, now) {
            return Ok(Announced::Refreshed);
        }
        let NewPeer { infohash, endpoint, seed, .. } = peer;
        if let Some(refusal) = self.refusal(slots, endpoint) {
            return Err(refusal);
        }
        let family = Chunk::<M>::FAMILY.index();
        let room = self.make_room::<M>(slots, peer, now, rng)?;
        let peer = Peer::<M>::new(compact, seed, now);
        let ix = match self.find(slots.swarms, infohash) {
            Some(ix) => ix,
            None => self.add_swarm(slots.swarms, infohash).ok_or(Refusal::Full)?,
        };
        let mut members = slots.swarms[ix].members[family];
        match room {
            Room::Chunk => {
                let (chunks, pool) = (Chunk::<M>::of(slots), &mut self.chunks[family]);
                let is_inserted = members.insert(chunks, pool, ix, peer, now, rng);
                debug_assert!(is_inserted);
                self.peers[family] += 1;
            }
            Room::Replacement => {
                if let Some(at) = self.victim(&members, Chunk::<M>::of(slots), now, rng) {
                    let gone = members.replace(Chunk::<M>::of(slots), at, peer, now);
                    self.uncount(slots, gone.endpoint());
                }
            }
        }
        if !self.rules.by_endpoint {
            members.check_crowding(Chunk::<M>::of(slots), now, rng);
        }
        let before = slots.swarms[ix].peers();
        slots.swarms[ix].members[family] = members;
        self.relink(slots.swarms, ix, before);
        if is_own(endpoint) {
            self.own[family] += 1;
        } else if !self.rules.by_endpoint {
            caps::add(self.key, slots.counters, endpoint);
        }
        Ok(Announced::Stored)
    }

    /// Updates a peer that is stored already, and returns whether it is.
    fn refresh_in<const M: usize>(
        &mut self,
        slots: &mut PeerSlotsMut<'_>,
        peer: NewPeer<'_>,
        compact: [u8; M],
        now: Stamp,
    ) -> bool
    where
        Chunk<M>: FamilyChunk,
    {
        let family = Chunk::<M>::FAMILY.index();
        let by_port = self.rules.by_endpoint && !is_own(peer.endpoint);
        let Some(ix) = self.find(slots.swarms, peer.infohash) else { return false };
        let mut members = slots.swarms[ix].members[family];
        let Some(at) = members.find(Chunk::<M>::of(slots), &compact, by_port) else { return false };
        members.refresh(Chunk::<M>::of(slots), at, compact, peer.seed, now);
        slots.swarms[ix].members[family] = members;
        let peers = slots.swarms[ix].peers();
        self.relink(slots.swarms, ix, peers);
        true
    }

    fn refusal(&self, slots: &PeerSlotsMut<'_>, endpoint: Endpoint) -> Option<Refusal> {
        if self.rules.by_endpoint || is_own(endpoint) {
            return None;
        }
        let caps = Caps { per_source: self.rules.per_source, per_subnet: self.rules.per_subnet };
        caps::refusal(self.key, slots.counters, caps, endpoint)
    }

    /// Reverts the counts of a peer that was removed.
    fn uncount(&mut self, slots: &mut PeerSlotsMut<'_>, endpoint: Endpoint) {
        if is_own(endpoint) {
            self.own[endpoint.family().index()] -= 1;
        } else if !self.rules.by_endpoint {
            caps::remove(self.key, slots.counters, endpoint);
        }
    }

    fn members_of(&self, swarms: &[Slot<Swarm>], infohash: &InfoHash, family: usize) -> Members {
        self.find(swarms, infohash).map_or(Members::EMPTY, |ix| swarms[ix].members[family])
    }

    #[inline]
    fn find(&self, swarms: &[Slot<Swarm>], infohash: &InfoHash) -> Option<Ix> {
        let head = swarms.get(self.chain_of(swarms, infohash))?.value.chain;
        core::iter::successors(head.some(), |&ix| swarms[ix].next_in_chain.some())
            .find(|&ix| swarms[ix].infohash == *infohash)
    }

    fn chain_of(&self, swarms: &[Slot<Swarm>], infohash: &InfoHash) -> usize {
        reduce(self.key.hash_id(infohash.as_bytes()) as u32, swarms.len())
    }

    fn add_swarm(&mut self, swarms: &mut [Slot<Swarm>], infohash: &InfoHash) -> Option<Ix> {
        let ix = self.swarms.alloc(swarms)?;
        let chain = self.chain_of(swarms, infohash);
        let next_in_chain = core::mem::replace(&mut swarms[chain].value.chain, ix);
        let swarm = &mut swarms[ix];
        *swarm = Swarm { infohash: *infohash, next_in_chain, chain: swarm.chain, ..Swarm::EMPTY };
        self.link(swarms, ix);
        Some(ix)
    }

    /// Updates the position of a swarm whose number of peers changed, and frees it if it is empty.
    fn relink(&mut self, swarms: &mut [Slot<Swarm>], ix: Ix, peers_before: usize) {
        if peers_before > 1 && swarms[ix].peers() > 1 {
            return;
        }
        if self.sweep_next == ix {
            self.advance_sweep(swarms);
        }
        if self.singles == ix {
            self.singles = self.used.next(swarms, ix).unwrap_or(Ix::NONE);
        }
        self.single_count -= u32::from(peers_before <= 1);
        self.used.remove(swarms, ix);
        if swarms[ix].peers() > 0 {
            self.link(swarms, ix);
        } else {
            self.unchain(swarms, ix);
            self.swarms.free(swarms, ix);
        }
    }

    fn link(&mut self, swarms: &mut [Slot<Swarm>], ix: Ix) {
        if swarms[ix].peers() > 1 {
            self.used.push_front(swarms, ix);
        } else {
            self.used.push_back(swarms, ix);
            self.singles = self.singles.some().unwrap_or(ix);
            self.single_count += 1;
        }
    }

    fn unchain(&self, swarms: &mut [Slot<Swarm>], ix: Ix) {
        let (chain, next) = (self.chain_of(swarms, &swarms[ix].infohash), swarms[ix].next_in_chain);
        let mut link = &mut swarms[chain].value.chain;
        while *link != ix {
            let before = *link;
            link = &mut swarms[before].next_in_chain;
        }
        *link = next;
    }
}

/// Access to the chunks of one family in the memory of a store.
trait FamilyChunk: Sized {
    const FAMILY: Family;

    fn with_counters<'a>(slots: &'a mut PeerSlotsMut<'_>) -> (&'a mut [Slot<Self>], &'a mut [u16]);

    fn of<'a>(slots: &'a mut PeerSlotsMut<'_>) -> &'a mut [Slot<Self>] {
        Self::with_counters(slots).0
    }
}

impl FamilyChunk for Chunk<6> {
    const FAMILY: Family = Family::V4;

    fn with_counters<'a>(slots: &'a mut PeerSlotsMut<'_>) -> (&'a mut [Slot<Self>], &'a mut [u16]) {
        (slots.v4, slots.counters)
    }
}

impl FamilyChunk for Chunk<18> {
    const FAMILY: Family = Family::V6;

    fn with_counters<'a>(slots: &'a mut PeerSlotsMut<'_>) -> (&'a mut [Slot<Self>], &'a mut [u16]) {
        (slots.v6, slots.counters)
    }
}
