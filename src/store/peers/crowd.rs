//! Fairness between the subnets of a swarm, in eviction and in responses.
//!
//! Addresses of one subnet cost their owner little, so no subnet should have a larger part of a swarm than
//! another. Two sizes are considered: the narrow subnet (IPv4 /24, IPv6 /48) and the wide one that a provider
//! splits up (/16, /32). A swarm in which many peers share either is a crowd: its most crowded subnet is evicted
//! from first, and a response lists only a few peers of each subnet.

use heapless::Vec;

use super::members::{At, Chunk, Members, Peer, Stamp};
use crate::base::hash::Key;
use crate::base::pool::Slot;
use crate::base::rng::Rng;

/// Number of members compared to choose one for eviction.
const DRAWN: usize = 32;
/// Minimum number of those in one wide, or one narrow, subnet that are a crowd; rarely reached by chance.
const CROWD: [usize; 2] = [DRAWN / 8, 2];

/// Number of members checked to decide whether the swarm is a crowd.
const WATCHED: usize = 16;
/// Minimum number of those in one wide, or one narrow, subnet that make it a crowd.
const WATCHED_CROWD: [usize; 2] = [4, 3];

/// Maximum number of peers of one wide, and of one narrow, subnet in a response from a crowd.
const NAMED: [u8; 2] = [4, 2];
/// Number of members visited for such a response.
const SCANNED: usize = 512;
/// Minimum number of peers in a response, even if all of them are in a few subnets.
const ENOUGH: usize = 16;

impl<const M: usize> Peer<M> {
    /// Returns the wide and the narrow subnet.
    ///
    /// Each host of a private network counts as a subnet of its own, because all of them belong to one owner.
    fn networks(&self) -> [u64; 2] {
        let endpoint = self.endpoint();
        if endpoint.is_private() {
            let (high, low) = endpoint.halves();
            return [high ^ low; 2];
        }
        let narrow = endpoint.wide_subnet();
        [if M == 6 { narrow >> 8 } else { narrow >> 32 }, narrow]
    }
}

/// A drawn member and its subnets.
struct Drawn {
    at: At,
    networks: [u64; 2],
    age: u32,
}

impl Members {
    /// Returns the peer to evict: the oldest of the most crowded subnet, or of all if none is crowded.
    pub(super) fn leaver<const M: usize>(
        &self,
        chunks: &[Slot<Chunk<M>>],
        now: Stamp,
        rng: &mut Rng,
    ) -> Option<At> {
        let drawn = self.draw::<M, DRAWN>(chunks, now, rng);
        let crowds = |one: &Drawn| {
            let count = |level: usize| {
                let count = drawn.iter().filter(|other| other.networks[level] == one.networks[level]).count();
                if count >= CROWD[level] { count } else { 0 }
            };
            [count(0), count(1)]
        };
        let (crowds, _, leaver) =
            drawn.iter().map(|one| (crowds(one), one.age, one.at)).max_by_key(|it| (it.0, it.1))?;
        if crowds == [0; 2] { self.oldest(chunks, now) } else { Some(leaver) }
    }

    /// Whether one subnet has a large part of the swarm.
    pub(super) fn has_crowd<const M: usize>(
        &self,
        chunks: &[Slot<Chunk<M>>],
        now: Stamp,
        rng: &mut Rng,
    ) -> bool {
        if self.count() < WATCHED {
            return false;
        }
        let drawn = self.draw::<M, WATCHED>(chunks, now, rng);
        drawn.iter().any(|one| {
            (0..2).any(|level| {
                let same = drawn.iter().filter(|other| other.networks[level] == one.networks[level]);
                same.count() >= WATCHED_CROWD[level]
            })
        })
    }

    /// Writes a random sample of the peers that `is_wanted` accepts, with few of each subnet, and returns their
    /// number.
    ///
    /// Among the eligible peers of a subnet each has the same chance.
    pub(super) fn sample_evenly<const M: usize>(
        &self,
        chunks: &[Slot<Chunk<M>>],
        start: usize,
        is_wanted: impl Fn(&Peer<M>) -> bool,
        rng: &mut Rng,
        out: &mut [[u8; M]],
    ) -> usize {
        let most = if out.len() > ENOUGH { NAMED } else { [1; 2] };
        // Subnets are counted by part of a keyed hash. Those that collide with others have to wait for another
        // response, and nobody can choose what to collide with.
        let key = Key::new(rng);
        let mut named = [[0_u8; 256]; 2];
        let mut seen = 0;
        for (_, peer) in self.run(chunks, start).take(SCANNED).filter(|(_, peer)| is_wanted(peer)) {
            let [wide, narrow] = peer.networks().map(|network| (key.hash(network, 0, 0) >> 56) as usize);
            if named[0][wide] < most[0] && named[1][narrow] < most[1] {
                (named[0][wide], named[1][narrow]) = (named[0][wide] + 1, named[1][narrow] + 1);
                seen += 1;
                // The first peers fill the slots, later ones replace a random one (Vitter's reservoir sampling).
                let at = if seen <= out.len() { seen - 1 } else { rng.below(seen) };
                if let Some(entry) = out.get_mut(at) {
                    *entry = *peer.compact();
                }
            }
        }
        let (mut written, enough) = (seen.min(out.len()), out.len().min(ENOUGH));
        for (_, peer) in self.run(chunks, start).take(SCANNED).filter(|(_, peer)| is_wanted(peer)) {
            if written >= enough {
                break;
            }
            if !out[..written].contains(peer.compact()) {
                out[written] = *peer.compact();
                written += 1;
            }
        }
        written
    }

    /// Returns consecutive members from a random one on, which are a uniform sample.
    fn draw<const M: usize, const N: usize>(
        &self,
        chunks: &[Slot<Chunk<M>>],
        now: Stamp,
        rng: &mut Rng,
    ) -> Vec<Drawn, N> {
        let start = rng.below(self.count());
        let all = self.run(chunks, start).take(N);
        all.map(|(at, peer)| Drawn { at, networks: peer.networks(), age: now.since(peer.time()) }).collect()
    }

    /// Iterates over all members, from the one at `start` on.
    fn run<'a, const M: usize>(
        &self,
        chunks: &'a [Slot<Chunk<M>>],
        start: usize,
    ) -> impl Iterator<Item = (At, &'a Peer<M>)> + use<'a, M> {
        let members = *self;
        let first = if self.count() == 0 { None } else { Some(self.nth(chunks, start)) };
        let next = move |at: &At| Some(members.after(chunks, *at));
        core::iter::successors(first, next).take(self.count()).map(|at| (at, at.of(chunks)))
    }
}
