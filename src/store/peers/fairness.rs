//! Fairness between the subnets of a swarm, in eviction and in responses.
//!
//! Addresses of one subnet cost their owner little, so no subnet should have a larger part of a swarm than
//! another. Two sizes are considered: the subnet of one customer (IPv4 /24, IPv6 /48) and the larger one of a
//! provider (/16, /32). If many peers of a swarm share either, that subnet is crowded: it is evicted from first, and
//! a response lists only a few peers of each subnet.

use heapless::Vec;

use super::members::{At, Chunk, Members, Peer, Stamp};
use crate::base::hash::Key;
use crate::base::pool::Slot;
use crate::base::rng::Rng;

/// Number of members that are compared to choose one for eviction.
const DRAWN: usize = 32;
/// Minimum number of those in one provider, or one customer, subnet for it to be crowded; chance rarely reaches it.
const CROWDED: [usize; 2] = [DRAWN / 8, 2];

/// Number of members that are checked to decide whether the swarm has a crowded subnet.
const CHECKED: usize = 16;
/// Minimum number of those in one provider, or one customer, subnet for it to be crowded.
const CHECKED_CROWDED: [usize; 2] = [4, 3];

/// Maximum number of peers of one provider, and of one customer, subnet in a response from a crowded swarm.
const PER_SUBNET: [u8; 2] = [4, 2];
/// Number of members visited for such a response.
const SCANNED: usize = 512;
/// Minimum number of peers in a response, even if all of them are in a few subnets.
const ENOUGH: usize = 16;

impl<const M: usize> Peer<M> {
    /// Returns the subnet of the provider and that of the customer.
    ///
    /// Each host of a private network counts as a subnet of its own, because all of them belong to one owner.
    fn subnets(&self) -> [u64; 2] {
        let endpoint = self.endpoint();
        if endpoint.is_private() {
            let (high, low) = endpoint.halves();
            return [high ^ low; 2];
        }
        let customer = endpoint.wide_subnet();
        [if M == 6 { customer >> 8 } else { customer >> 32 }, customer]
    }
}

/// A drawn member and its subnets.
struct Drawn {
    at: At,
    subnets: [u64; 2],
    age: u32,
}

impl Members {
    /// Returns the peer to evict: the oldest of the most crowded subnet, or of all if none is crowded.
    pub(super) fn victim<const M: usize>(
        &self,
        chunks: &[Slot<Chunk<M>>],
        now: Stamp,
        rng: &mut Rng,
    ) -> Option<At> {
        let drawn = self.draw::<M, DRAWN>(chunks, now, rng);
        let crowding = |one: &Drawn| {
            let count = |level: usize| {
                let count = drawn.iter().filter(|other| other.subnets[level] == one.subnets[level]).count();
                if count >= CROWDED[level] { count } else { 0 }
            };
            [count(0), count(1)]
        };
        let victim = drawn.iter().max_by_key(|one| (crowding(one), one.age))?;
        if crowding(victim) == [0; 2] { self.oldest(chunks, now) } else { Some(victim.at) }
    }

    /// Whether peers of one subnet are a large part of the swarm.
    pub(super) fn has_crowded_subnet<const M: usize>(
        &self,
        chunks: &[Slot<Chunk<M>>],
        now: Stamp,
        rng: &mut Rng,
    ) -> bool {
        if self.count() < CHECKED {
            return false;
        }
        let drawn = self.draw::<M, CHECKED>(chunks, now, rng);
        drawn.iter().any(|one| {
            (0..2).any(|level| {
                let same = drawn.iter().filter(|other| other.subnets[level] == one.subnets[level]);
                same.count() >= CHECKED_CROWDED[level]
            })
        })
    }

    /// Writes a random sample of peers with few of each subnet, and returns their number.
    ///
    /// Only peers that `is_wanted` accepts are eligible; those of one subnet have the same chance.
    pub(super) fn sample_evenly<const M: usize>(
        &self,
        chunks: &[Slot<Chunk<M>>],
        start: usize,
        is_wanted: impl Fn(&Peer<M>) -> bool,
        rng: &mut Rng,
        out: &mut [[u8; M]],
    ) -> usize {
        let most = if out.len() > ENOUGH { PER_SUBNET } else { [1; 2] };
        // Subnets are counted by part of a keyed hash. One that collides with another has to wait for another
        // response, and cannot choose which one it collides with.
        let key = Key::new(rng);
        let mut listed = [[0_u8; 256]; 2];
        let mut seen = 0;
        for (_, peer) in self.run(chunks, start).take(SCANNED).filter(|(_, peer)| is_wanted(peer)) {
            let [provider, customer] = peer.subnets().map(|subnet| (key.hash(subnet, 0, 0) >> 56) as usize);
            if listed[0][provider] < most[0] && listed[1][customer] < most[1] {
                listed[0][provider] += 1;
                listed[1][customer] += 1;
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
        all.map(|(at, peer)| Drawn { at, subnets: peer.subnets(), age: now.since(peer.time()) }).collect()
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
