//! The peers of one swarm and family: a list of small chunks, packed without gaps.

use crate::base::addr::Endpoint;
use crate::base::bloom::filter_indices;
use crate::base::pool::{Ix, List, Pool, Slot};
use crate::base::rng::Rng;
use crate::base::time::Instant;

/// Number of peers in a chunk; small, because most swarms are tiny.
pub(super) const CHUNK: usize = 4;

/// A peer as getters return it and scrapes count it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StoredPeer {
    pub(crate) endpoint: Endpoint,
    pub(crate) seed: bool,
    /// The two bits for its address in a Bloom filter of 2048 bits (BEP 33).
    pub(crate) filter_indices: [u16; 2],
}

/// A few peers of one swarm.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub(crate) struct Chunk<const M: usize> {
    /// The swarm that owns the chunk, while allocated.
    owner: Ix,
    peers: [Peer<M>; CHUNK],
}

impl<const M: usize> Chunk<M> {
    pub(crate) const EMPTY: Self =
        Self { owner: Ix::NONE, peers: [Peer { compact: [0; M], time_low: 0, rest: 0 }; CHUNK] };

    pub(super) const fn owner(&self) -> Ix {
        self.owner
    }
}

/// A peer in `M` + 6 bytes, where `M` is the length of the compact form: 6 or 18 (BEP 5, BEP 32).
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub(super) struct Peer<const M: usize> {
    /// Address and port in wire format.
    #[cfg_attr(feature = "checkpoint", serde(with = "serde_big_array::BigArray"))]
    compact: [u8; M],
    time_low: u16,
    /// From the lowest bit: two filter indices of 11 bits, the seed flag, the high bits of the time.
    rest: u32,
}

/// The bit of `rest` that marks a seed.
const SEED: u32 = 1 << 22;
/// The bits of `rest` with the first filter index.
const INDEX_MASK: u32 = 0x7ff;

impl<const M: usize> Peer<M> {
    pub(super) fn new(compact: [u8; M], seed: bool, now: Stamp) -> Self {
        let [i1, i2] = filter_indices(&compact[..M - 2]);
        let mut peer = Self { compact, time_low: 0, rest: u32::from(i1) | u32::from(i2) << 11 };
        peer.update(compact, seed, now);
        peer
    }

    pub(super) const fn compact(&self) -> &[u8; M] {
        &self.compact
    }

    #[inline]
    pub(super) fn to_stored(self) -> StoredPeer {
        StoredPeer { endpoint: self.endpoint(), seed: self.is_seed(), filter_indices: self.filter_indices() }
    }

    pub(super) fn endpoint(&self) -> Endpoint {
        let (ip, port) = self.compact.split_at(M - 2);
        let port = u16::from_be_bytes([port[0], port[1]]);
        match ip.try_into() {
            Ok(ip) => Endpoint::v4(ip, port),
            Err(_) => Endpoint::v6(ip.try_into().unwrap_or_default(), port),
        }
    }

    pub(super) fn is_live(&self, now: Stamp, ttl: u32) -> bool {
        now.is_within(ttl, self.time())
    }

    fn update(&mut self, compact: [u8; M], seed: bool, Stamp(time): Stamp) {
        self.compact = compact;
        self.time_low = time as u16;
        self.rest = (self.rest & (SEED - 1)) | (u32::from(seed) * SEED) | ((time >> 16) << 23);
    }

    fn is_seed(&self) -> bool {
        self.rest & SEED != 0
    }

    pub(super) fn time(&self) -> Stamp {
        Stamp(self.rest >> 23 << 16 | u32::from(self.time_low))
    }

    fn filter_indices(&self) -> [u16; 2] {
        [(self.rest & INDEX_MASK) as u16, (self.rest >> 11 & INDEX_MASK) as u16]
    }
}

/// Returns the compact form of an endpoint, whose family must match `M`.
pub(super) fn compact<const M: usize>(endpoint: Endpoint) -> [u8; M] {
    let mut compact = [0; M];
    let (ip, port) = compact.split_at_mut(M - 2);
    ip.copy_from_slice(&endpoint.ip_bytes()[18 - M..]);
    port.copy_from_slice(&endpoint.port().to_be_bytes());
    compact
}

/// Whether a stored endpoint is the placeholder of our own.
pub(super) fn is_own(endpoint: Endpoint) -> bool {
    endpoint.ip().is_unspecified()
}

/// Number of bits of a stamp: what fits into a peer besides its other fields.
const TIME_BITS: u32 = 25;
const TIME_MASK: u32 = (1 << TIME_BITS) - 1;
/// Half the range of a stamp, beyond which an age counts as negative.
const HALF: u32 = 1 << (TIME_BITS - 1);

/// A time in seconds modulo 2^25; ages up to half a year are exact.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub(super) struct Stamp(u32);

impl Stamp {
    pub(super) const fn at(now: Instant) -> Self {
        Self((now.as_micros() / 1_000_000) as u32 & TIME_MASK)
    }

    /// Returns the seconds since `then`; zero if `then` is later.
    pub(super) const fn since(self, then: Self) -> u32 {
        let age = self.0.wrapping_sub(then.0) & TIME_MASK;
        if age >= HALF { 0 } else { age }
    }

    /// Whether `since(then)` is less than `ttl`, in one comparison.
    const fn is_within(self, ttl: u32, then: Self) -> bool {
        self.0.wrapping_sub(then.0).wrapping_add(HALF) & TIME_MASK < HALF.saturating_add(ttl)
    }
}

/// The current time and the seconds after which a peer expires.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lifetime {
    pub(super) now: Stamp,
    pub(super) ttl: u32,
}

/// The position of a peer.
#[derive(Clone, Copy, Debug)]
pub(super) struct At {
    chunk: Ix,
    index: usize,
}

/// The peers of a swarm in one family, in random order at all times.
///
/// Each new peer swaps places with a random one, and a gap is filled by the last peer, so any run of members is a
/// uniform random sample of the swarm, and a response costs time proportional to its length.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub(super) struct Members {
    chunks: List,
    count: u16,
    /// Whether a subnet was crowded when the last peer was added.
    is_crowded: bool,
    /// When a peer was last added or refreshed.
    newest: Stamp,
}

impl At {
    pub(super) fn of<const M: usize>(self, chunks: &[Slot<Chunk<M>>]) -> &Peer<M> {
        &chunks[self.chunk].peers[self.index]
    }
}

impl Members {
    pub(super) const EMPTY: Self =
        Self { chunks: List::EMPTY, count: 0, is_crowded: false, newest: Stamp(0) };

    pub(super) const fn count(&self) -> usize {
        self.count as usize
    }

    pub(super) const fn chunks(&self) -> usize {
        self.chunks.len()
    }

    /// Whether another peer needs another chunk.
    pub(super) const fn is_packed(&self) -> bool {
        self.count().is_multiple_of(CHUNK)
    }

    /// Records whether a subnet is crowded.
    pub(super) fn check_crowding<const M: usize>(
        &mut self,
        chunks: &[Slot<Chunk<M>>],
        now: Stamp,
        rng: &mut Rng,
    ) {
        self.is_crowded = self.has_crowded_subnet(chunks, now, rng);
    }

    /// Whether any peer is younger than `ttl` seconds.
    pub(super) const fn is_live(&self, now: Stamp, ttl: u32) -> bool {
        self.count > 0 && now.since(self.newest) < ttl
    }

    pub(super) const fn newest(&self) -> Stamp {
        self.newest
    }

    /// Returns the position of the peer with this address, and also with this port if `by_port`.
    pub(super) fn find<const M: usize>(
        &self,
        chunks: &[Slot<Chunk<M>>],
        compact: &[u8; M],
        by_port: bool,
    ) -> Option<At> {
        let is_same = |peer: &Peer<M>| {
            peer.compact[..M - 2] == compact[..M - 2] && (!by_port || peer.compact == *compact)
        };
        let mut left = self.count();
        for chunk in self.chunks.iter(chunks) {
            let peers = &chunks[chunk].peers[..left.min(CHUNK)];
            if let Some(index) = peers.iter().position(is_same) {
                return Some(At { chunk, index });
            }
            left -= peers.len();
        }
        None
    }

    /// Returns the seed flag of the live peer with this address, if there is one.
    pub(super) fn seed_flag<const M: usize>(
        &self,
        chunks: &[Slot<Chunk<M>>],
        compact: &[u8; M],
        Lifetime { now, ttl }: Lifetime,
    ) -> Option<bool> {
        let At { chunk, index } = self.find(chunks, compact, false)?;
        let peer = &chunks[chunk].peers[index];
        peer.is_live(now, ttl).then(|| peer.is_seed())
    }

    pub(super) fn oldest<const M: usize>(&self, chunks: &[Slot<Chunk<M>>], now: Stamp) -> Option<At> {
        let (mut oldest, mut left) = (None, self.count());
        for chunk in self.chunks.iter(chunks) {
            let peers = &chunks[chunk].peers[..left.min(CHUNK)];
            for (index, peer) in peers.iter().enumerate() {
                let age = now.since(peer.time());
                if oldest.is_none_or(|(oldest, _)| age > oldest) {
                    oldest = Some((age, At { chunk, index }));
                }
            }
            left -= peers.len();
        }
        oldest.map(|(_, at)| at)
    }

    #[inline]
    pub(super) fn iter<'a, const M: usize>(
        &self,
        chunks: &'a [Slot<Chunk<M>>],
    ) -> impl Iterator<Item = &'a Peer<M>> + use<'a, M> {
        let (list, count) = (self.chunks, self.count());
        core::iter::successors(list.front(), move |&ix| list.next(chunks, ix))
            .flat_map(|ix| &chunks[ix].peers)
            .take(count)
    }

    /// Adds a peer to the swarm at `owner`; returns `false` if no chunk is free.
    pub(super) fn insert<const M: usize>(
        &mut self,
        chunks: &mut [Slot<Chunk<M>>],
        pool: &mut Pool,
        owner: Ix,
        peer: Peer<M>,
        now: Stamp,
        rng: &mut Rng,
    ) -> bool {
        if self.is_packed() {
            let Some(ix) = pool.alloc(chunks) else { return false };
            chunks[ix].owner = owner;
            self.chunks.push_back(chunks, ix);
        }
        self.count += 1;
        self.newest = now;
        let (at, last) =
            (self.nth(chunks, rng.below(self.count())), self.nth(chunks, usize::from(self.count) - 1));
        chunks[last.chunk].peers[last.index] = chunks[at.chunk].peers[at.index];
        chunks[at.chunk].peers[at.index] = peer;
        true
    }

    /// Updates the port, seed flag and time of a peer.
    pub(super) fn refresh<const M: usize>(
        &mut self,
        chunks: &mut [Slot<Chunk<M>>],
        at: At,
        compact: [u8; M],
        seed: bool,
        now: Stamp,
    ) {
        chunks[at.chunk].peers[at.index].update(compact, seed, now);
        self.newest = now;
    }

    /// Replaces a peer, and returns the previous one.
    pub(super) fn replace<const M: usize>(
        &mut self,
        chunks: &mut [Slot<Chunk<M>>],
        at: At,
        peer: Peer<M>,
        now: Stamp,
    ) -> Peer<M> {
        self.newest = now;
        core::mem::replace(&mut chunks[at.chunk].peers[at.index], peer)
    }

    /// Removes and returns a peer.
    pub(super) fn remove<const M: usize>(
        &mut self,
        chunks: &mut [Slot<Chunk<M>>],
        pool: &mut Pool,
        at: At,
    ) -> Peer<M> {
        let last = self.nth(chunks, self.count() - 1);
        let peer = chunks[at.chunk].peers[at.index];
        chunks[at.chunk].peers[at.index] = chunks[last.chunk].peers[last.index];
        self.count -= 1;
        if self.is_packed() {
            self.chunks.remove(chunks, last.chunk);
            pool.free(chunks, last.chunk);
        }
        peer
    }

    /// Removes up to `most` expired peers, and passes each to `removed`.
    pub(super) fn remove_expired<const M: usize>(
        &mut self,
        chunks: &mut [Slot<Chunk<M>>],
        pool: &mut Pool,
        Lifetime { now, ttl }: Lifetime,
        most: usize,
        mut removed: impl FnMut(Peer<M>),
    ) {
        let least = self.count().saturating_sub(most);
        let (mut chunk, mut kept) = (self.chunks.front(), 0);
        while kept < self.count()
            && self.count() > least
            && let Some(ix) = chunk
        {
            let index = kept % CHUNK;
            if chunks[ix].peers[index].is_live(now, ttl) {
                kept += 1;
                if index + 1 == CHUNK {
                    chunk = self.chunks.next(chunks, ix);
                }
            } else {
                // The last peer takes its position and is visited next.
                removed(self.remove(chunks, pool, At { chunk: ix, index }));
            }
        }
    }

    /// Writes a random sample of live peers in compact form, and returns their number.
    pub(super) fn sample<const M: usize>(
        &self,
        chunks: &[Slot<Chunk<M>>],
        noseed: bool,
        Lifetime { now, ttl }: Lifetime,
        rng: &mut Rng,
        out: &mut [u8],
    ) -> usize {
        let room = out.len() / M;
        let mut left = self.count();
        if left == 0 || room == 0 {
            return 0;
        }
        let unwanted = if noseed { SEED } else { 0 };
        // If all fit, the start does not matter.
        let start = if left > room { rng.below(left) } else { 0 };
        if self.is_crowded && left > room {
            let is_wanted = |peer: &Peer<M>| peer.is_live(now, ttl) && peer.rest & unwanted == 0;
            return self.sample_evenly(chunks, start, is_wanted, rng, out.as_chunks_mut::<M>().0);
        }
        let mut entries = out.as_chunks_mut::<M>().0.iter_mut();
        let At { mut chunk, mut index } = self.nth(chunks, start);
        while left > 0 {
            let peers = &chunks[chunk].peers[index..self.len_of(chunk)];
            for peer in peers.iter().take(left) {
                if peer.is_live(now, ttl) && peer.rest & unwanted == 0 {
                    let Some(entry) = entries.next() else { return room };
                    *entry = peer.compact;
                }
            }
            left -= peers.len().min(left);
            index = 0;
            chunk = self.chunks.next(chunks, chunk).or_else(|| self.chunks.front()).unwrap_or(chunk);
        }
        room - entries.len()
    }

    #[cfg(test)]
    pub(super) fn are_owned_by<const M: usize>(&self, chunks: &[Slot<Chunk<M>>], owner: Ix) -> bool {
        self.chunks.iter(chunks).all(|ix| chunks[ix].owner == owner)
    }

    fn len_of(&self, chunk: Ix) -> usize {
        let is_last = self.chunks.back() == Some(chunk);
        if is_last { (self.count() - 1) % CHUNK + 1 } else { CHUNK }
    }

    /// Returns the position after another one, wrapping around at the end.
    pub(super) fn after<const M: usize>(&self, chunks: &[Slot<Chunk<M>>], at: At) -> At {
        if at.index + 1 < self.len_of(at.chunk) {
            return At { index: at.index + 1, ..at };
        }
        let next = self.chunks.next(chunks, at.chunk).or_else(|| self.chunks.front());
        At { chunk: next.unwrap_or(at.chunk), index: 0 }
    }

    /// Returns the position of the `n`-th peer, which must exist.
    pub(super) fn nth<const M: usize>(&self, chunks: &[Slot<Chunk<M>>], n: usize) -> At {
        let (hops, index) = (n / CHUNK, n % CHUNK);
        let (front, back) = (self.chunks.front(), self.chunks.back());
        let back_hops = self.chunks.len() - 1 - hops;
        let chunk = if hops <= back_hops {
            (0..hops).fold(front, |ix, _| self.chunks.next(chunks, ix?))
        } else {
            (0..back_hops).fold(back, |ix, _| self.chunks.prev(chunks, ix?))
        };
        At { chunk: chunk.unwrap_or(Ix::NONE), index }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b33_01_a_peer_keeps_its_filter_indices() {
        let peer = Peer::<6>::new([192, 168, 1, 1, 0x1a, 0xe1], true, Stamp(7));
        assert_eq!(peer.to_stored().filter_indices, [1711, 1831]);
    }

    #[test]
    fn b33_02_the_port_is_not_in_the_filter_and_ipv4_is_not_mapped() {
        let [a, b] = [1, 2].map(|port| Peer::<6>::new([192, 168, 1, 1, 0, port], true, Stamp(7)));
        assert_eq!(a.filter_indices(), b.filter_indices());
        let mapped = Endpoint::v4([192, 168, 1, 1], 1);
        assert_ne!(a.filter_indices(), filter_indices(mapped.ip_bytes()));
    }

    #[test]
    fn b33_02_a_packed_peer_keeps_every_field() {
        for (seed, time) in [(false, 0), (true, 1), (true, (1 << TIME_BITS) - 1), (false, 0x0155_aaaa)] {
            let v4 = Peer::<6>::new([1, 2, 3, 4, 0x1a, 0xe1], seed, Stamp(time));
            assert_eq!((v4.is_seed(), v4.time().0), (seed, time));
            assert_eq!(v4.endpoint(), Endpoint::v4([1, 2, 3, 4], 6881));
            assert_eq!(compact::<6>(v4.endpoint()), v4.compact);

            let endpoint = Endpoint::v6([0x2a; 16], 6881);
            let v6 = Peer::<18>::new(compact(endpoint), seed, Stamp(time));
            assert_eq!((v6.is_seed(), v6.time().0, v6.endpoint()), (seed, time, endpoint));
            assert_eq!(v6.filter_indices(), filter_indices(&[0x2a; 16]));
        }
        assert_eq!((size_of::<Peer<6>>(), size_of::<Peer<18>>()), (12, 24));
    }

    #[test]
    fn ages_survive_the_wrap_of_the_seconds() {
        let wrap = Instant::from_micros(((1_u64 << TIME_BITS) - 10) * 1_000_000);
        let later = wrap + core::time::Duration::from_secs(30);
        assert_eq!(Stamp::at(later).since(Stamp::at(wrap)), 30);
        assert_eq!(Stamp::at(wrap).since(Stamp::at(later)), 0);
    }
}
