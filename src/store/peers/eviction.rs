//! Eviction: expired peers first, then those of the largest users.

use core::cmp::Reverse;

use heapless::Vec;

use super::caps::{self, Refusal};
use super::members::{At, CHUNK, Chunk, Lifetime, Members, Peer, Stamp, is_own};
use super::{FamilyChunk, NewPeer, PeerSlotsMut, PeerStore, Room, Swarm};
use crate::base::id::{InfoHash, NodeId};
use crate::base::pool::{Ix, Slot};
use crate::base::rng::Rng;

/// Number of swarms compared for eviction.
const CANDIDATES: usize = 16;
/// Divisor of the number of swarms that yields how many are reserved for those with a single peer.
///
/// It lets new swarms grow even if an attacker holds all others with two peers each.
const SINGLES_RESERVE: usize = 8;
/// Divisor of the number of swarms that yields how many peers of one subnet make it crowded.
///
/// Swarms from crowded subnets are evicted first.
const CROWD_SHARE: usize = 64;
/// Minimum number of peers of a crowded subnet, since some counters are shared with others.
const LEAST_CROWD: usize = 16;
/// Maximum number of swarms visited in one step of a sweep.
pub(super) const STEP_SWARMS: usize = 16;
/// Number of peers after which a step of a sweep ends.
const STEP_PEERS: usize = 1000;
/// Maximum number of peers removed at once, so that no call takes a tenth of a millisecond.
pub(super) const PIECE: usize = 256;

impl PeerStore {
    /// Makes room for a peer, evicting from the largest swarms and subnets.
    pub(super) fn make_room<const M: usize>(
        &mut self,
        slots: &mut PeerSlotsMut<'_>,
        peer: NewPeer<'_>,
        now: Stamp,
        rng: &mut Rng,
    ) -> Result<Room, Refusal>
    where
        Chunk<M>: FamilyChunk,
    {
        let NewPeer { infohash, ids, .. } = peer;
        let family = Chunk::<M>::FAMILY.index();
        if slots.swarms.is_empty() || Chunk::<M>::of(slots).is_empty() || self.rules.per_swarm == 0 {
            return Err(Refusal::Full);
        }
        let is_new = self.find(slots.swarms, infohash).is_none();
        if is_new && self.swarms.is_full(slots.swarms) {
            self.evict_swarm(slots, ids, now, rng);
        }
        let own = self.members_of(slots.swarms, infohash, family);
        if own.count() >= usize::from(self.rules.per_swarm) {
            return Ok(Room::Replacement);
        }
        if self.lacks_chunk::<M>(slots, infohash) {
            self.sweep_step(slots, now);
        }
        // The sweep may have removed expired peers of this very swarm.
        let own = self.members_of(slots.swarms, infohash, family);
        if self.lacks_chunk::<M>(slots, infohash) {
            let largest = (0..CANDIDATES)
                .map(|_| {
                    let chunks = Chunk::<M>::of(slots);
                    let owner = chunks[Ix::new(rng.below(chunks.len()))].owner();
                    (slots.swarms[owner].members[family].chunks(), owner)
                })
                .max_by_key(|&(chunks, _)| chunks);
            let Some((chunks, largest)) = largest else { return Err(Refusal::Full) };
            if own.chunks() >= chunks {
                return Ok(Room::Replacement);
            }
            self.evict_chunk::<M>(slots, largest, now, rng);
        }
        Ok(Room::Chunk)
    }

    /// Whether another peer needs a chunk and none is free.
    fn lacks_chunk<const M: usize>(&self, slots: &mut PeerSlotsMut<'_>, infohash: &InfoHash) -> bool
    where
        Chunk<M>: FamilyChunk,
    {
        let family = Chunk::<M>::FAMILY.index();
        self.chunks[family].is_full(Chunk::<M>::of(slots))
            && self.members_of(slots.swarms, infohash, family).is_packed()
    }

    /// Evicts the swarm of the lowest priority among some that are drawn.
    fn evict_swarm(&mut self, slots: &mut PeerSlotsMut<'_>, ids: &[NodeId], now: Stamp, rng: &mut Rng) {
        self.sweep_step(slots, now);
        if !self.swarms.is_full(slots.swarms) {
            return;
        }
        let swarms = &*slots.swarms;
        let is_reserve_used = self.single_count as usize > swarms.len() / SINGLES_RESERVE;
        let (start, stride) = (rng.below(swarms.len()), (swarms.len() / CANDIDATES).max(1));
        let drawn = (0..swarms.len().min(CANDIDATES)).map(|at| Ix::new((start + at * stride) % swarms.len()));
        let drawn: Vec<_, CANDIDATES> = drawn.map(|ix| (self.crowding(slots, ix), ix)).collect();
        let least = |most_peers: usize| {
            let swarms = &*slots.swarms;
            let may_go = |&&(crowding, ix): &&(usize, Ix)| {
                swarms[ix].peers() <= most_peers
                    && (crowding > 0 || is_reserve_used || swarms[ix].peers() > 1)
            };
            let rank = |&&(crowding, ix): &&(usize, Ix)| {
                (Reverse(crowding), priority(&swarms[ix], ids), Reverse(swarms[ix].idle_secs(now)))
            };
            drawn.iter().filter(may_go).min_by_key(rank).map(|&(_, ix)| ix)
        };
        // A swarm too large to be removed at once is evicted only if there is no other, and in pieces.
        let least = least(PIECE).or_else(|| self.singles.some()).or_else(|| least(usize::MAX));
        if let Some(ix) = least {
            self.purge(slots, ix, Lifetime { now, ttl: 0 }, PIECE);
        }
    }

    /// Returns how crowded the subnets of all peers of a swarm are: 0 if any of those checked is not crowded.
    fn crowding(&self, slots: &PeerSlotsMut<'_>, ix: Ix) -> usize {
        if self.rules.by_endpoint {
            return 0;
        }
        let [v4, v6] = slots.swarms[ix].members;
        let v4 = v4.iter(slots.v4).take(CHUNK).map(Peer::endpoint);
        let peers = v4.chain(v6.iter(slots.v6).take(CHUNK).map(Peer::endpoint));
        let crowd = (slots.swarms.len() / CROWD_SHARE).max(LEAST_CROWD);
        peers
            .map(|peer| usize::from(caps::in_wide_subnet(self.key, slots.counters, peer)) / crowd)
            .min()
            .unwrap_or(0)
    }

    /// Returns the peer of a swarm to evict.
    pub(super) fn victim<const M: usize>(
        &self,
        members: &Members,
        chunks: &[Slot<Chunk<M>>],
        now: Stamp,
        rng: &mut Rng,
    ) -> Option<At> {
        if self.rules.by_endpoint { members.oldest(chunks, now) } else { members.victim(chunks, now, rng) }
    }

    /// Removes peers of a swarm until a chunk is free.
    fn evict_chunk<const M: usize>(&mut self, slots: &mut PeerSlotsMut<'_>, ix: Ix, now: Stamp, rng: &mut Rng)
    where
        Chunk<M>: FamilyChunk,
    {
        let family = Chunk::<M>::FAMILY.index();
        let mut members = slots.swarms[ix].members[family];
        while self.chunks[family].is_full(Chunk::<M>::of(slots))
            && let Some(at) = self.victim(&members, Chunk::<M>::of(slots), now, rng)
        {
            let gone = members.remove(Chunk::<M>::of(slots), &mut self.chunks[family], at);
            self.peers[family] -= 1;
            self.uncount(slots, gone.endpoint());
        }
        let before = slots.swarms[ix].peers();
        slots.swarms[ix].members[family] = members;
        self.relink(slots.swarms, ix, before);
    }

    /// Removes expired peers from the next few swarms.
    ///
    /// Returns how many of these swarms are left, or 0 if one of them has more to remove.
    pub(super) fn sweep_step(&mut self, slots: &mut PeerSlotsMut<'_>, now: Stamp) -> u64 {
        let (mut remaining, mut peers, mut left) = (0, 0, PIECE);
        for _ in 0..self.used.len().min(STEP_SWARMS) {
            let Some(ix) = self.advance_sweep(slots.swarms) else { break };
            let before = slots.swarms[ix].peers();
            let is_left = self.purge(slots, ix, Lifetime { now, ttl: self.rules.ttl_secs }, left);
            let after = if is_left { slots.swarms[ix].peers() } else { 0 };
            left -= before - after;
            if left == 0 {
                self.sweep_next = if is_left { ix } else { self.sweep_next };
                return 0;
            }
            (remaining, peers) = (remaining + u64::from(is_left), peers + before);
            if peers >= STEP_PEERS {
                break;
            }
        }
        remaining
    }

    /// Returns the swarm to sweep next.
    pub(super) fn advance_sweep(&mut self, swarms: &[Slot<Swarm>]) -> Option<Ix> {
        let ix = self.sweep_next.some().or_else(|| self.used.front())?;
        self.sweep_next = self.used.next(swarms, ix).unwrap_or(Ix::NONE);
        Some(ix)
    }

    /// Removes up to `most` expired peers of a swarm, and returns whether the swarm still exists.
    fn purge(&mut self, slots: &mut PeerSlotsMut<'_>, ix: Ix, life: Lifetime, most: usize) -> bool {
        let before = slots.swarms[ix].peers();
        self.purge_in::<6>(slots, ix, life, most);
        let gone = before - slots.swarms[ix].peers();
        self.purge_in::<18>(slots, ix, life, most - gone);
        let after = slots.swarms[ix].peers();
        if after < before {
            self.relink(slots.swarms, ix, before);
        }
        after > 0
    }

    fn purge_in<const M: usize>(&mut self, slots: &mut PeerSlotsMut<'_>, ix: Ix, life: Lifetime, most: usize)
    where
        Chunk<M>: FamilyChunk,
    {
        let family = Chunk::<M>::FAMILY.index();
        let mut members = slots.swarms[ix].members[family];
        let before = members.count();
        let (chunks, counters) = Chunk::<M>::with_counters(slots);
        members.remove_expired(chunks, &mut self.chunks[family], life, most, |peer| {
            if is_own(peer.endpoint()) {
                self.own[family] -= 1;
            } else if !self.rules.by_endpoint {
                caps::remove(self.key, counters, peer.endpoint());
            }
        });
        self.peers[family] -= (before - members.count()) as u32;
        slots.swarms[ix].members[family] = members;
    }
}

/// Returns the priority with which a swarm is kept.
///
/// Other nodes look for a swarm here if it is close to our id, and more of them do the more peers it has. One bit of
/// closeness weighs as much as twice the peers.
fn priority(swarm: &Swarm, ids: &[NodeId]) -> u32 {
    let target = NodeId::from(swarm.infohash);
    let closeness = ids.iter().map(|id| id.common_prefix_len(&target)).max().unwrap_or(0);
    closeness + swarm.peers().checked_ilog2().unwrap_or(0)
}
