//! Networks among the peers of a swarm: who gives way to a newcomer, and whom a reply names.
//!
//! Addresses of one network cost its owner little, so a network is to have no more of a swarm than
//! another. Networks are looked at in two sizes: the narrow one (IPv4 /24, IPv6 /48), and the wide
//! one that a provider splits up (/16, /32). A swarm in which either gathers is a crowd: the most
//! crowded network gives way first there, and a reply names few peers of each.

use heapless::Vec;

use super::members::{At, Chunk, Members, Peer, Stamp};
use crate::base::hash::Key;
use crate::base::pool::Slot;
use crate::base::rng::Rng;

/// Members that are compared when one must give way.
const DRAWN: usize = 32;
/// So many of them in one wide network, or in one narrow one, are a crowd: by chance they hardly meet.
const CROWD: [usize; 2] = [DRAWN / 8, 2];

/// Members that are looked at for whether the swarm is a crowd.
const WATCHED: usize = 16;
/// So many of them in one wide or narrow network make it one.
const WATCHED_CROWD: [usize; 2] = [4, 3];

/// Peers of one wide and of one narrow network that a reply names where there is a crowd.
const NAMED: [u8; 2] = [4, 2];
/// Members that are looked at for such a reply.
const SCANNED: usize = 512;
/// Where all peers are of few networks, a reply names this many all the same.
const ENOUGH: usize = 16;

impl<const M: usize> Peer<M> {
    /// Its wide and its narrow network; each host of a private one is a network of its own, since all
    /// that is there belongs to one owner.
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

/// A member that was drawn, and its networks.
struct Drawn {
    at: At,
    networks: [u64; 2],
    age: u32,
}

impl Members {
    /// Who makes room for another: the oldest of the most crowded network, or of all where none is
    /// crowded.
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

    /// Whether one network holds a large part of the swarm.
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

    /// Writes the compact forms of peers that `is_wanted`, few of each network and each with equal chance
    /// among those, until `out` is full; returns how many.
    pub(super) fn sample_evenly<const M: usize>(
        &self,
        chunks: &[Slot<Chunk<M>>],
        start: usize,
        is_wanted: impl Fn(&Peer<M>) -> bool,
        rng: &mut Rng,
        out: &mut [[u8; M]],
    ) -> usize {
        let most = if out.len() > ENOUGH { NAMED } else { [1; 2] };
        // By a part of a hash: who shares a place with others waits for another reply, and nobody can choose
        // whom to share it with.
        let key = Key::new(rng);
        let mut named = [[0_u8; 256]; 2];
        let mut seen = 0;
        for (_, peer) in self.run(chunks, start).take(SCANNED).filter(|(_, peer)| is_wanted(peer)) {
            let [wide, narrow] = peer.networks().map(|network| (key.hash(network, 0, 0) >> 56) as usize);
            if named[0][wide] < most[0] && named[1][narrow] < most[1] {
                (named[0][wide], named[1][narrow]) = (named[0][wide] + 1, named[1][narrow] + 1);
                seen += 1;
                // A place for each while there are any, then that of a random one (Vitter's reservoir).
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

    /// Neighbours from a random member on, which are a fair sample of all.
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

    /// All members, from the one at `start` on.
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
