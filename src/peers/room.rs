//! How the store makes room: from what expired, else from whoever has most.

use super::members::{Chunk, Stamp};
use super::own::is_own;
use super::{PeerSlotsMut, PeerStore, Refusal, Shelf, Swarm, caps};
use crate::id::InfoHash;
use crate::pool::{Ix, Slot};
use crate::rng::Rng;

/// Swarms compared when room must be made.
const CANDIDATES: usize = 16;
/// Swarms with a single peer are sure of this part of all swarms, so that new ones can grow even
/// if somebody holds all others with two peers each.
const SINGLES_RESERVE: usize = 8;
/// Swarms looked at in one step of a sweep.
pub(super) const STEP_SWARMS: usize = 16;
/// A sweep looks no further once it has seen so many peers.
const STEP_PEERS: usize = 1000;

/// What takes in the next peer of a swarm.
pub(super) enum Room {
    /// A place in one of its chunks, or in a free one.
    Chunk,
    /// The place of its oldest peer.
    OwnOldest,
}

impl PeerStore {
    /// Sees to it that one more peer fits this swarm, at the cost of whoever has most.
    pub(super) fn make_room<const M: usize>(
        &mut self,
        slots: &mut PeerSlotsMut<'_>,
        infohash: &InfoHash,
        now: Stamp,
        rng: &mut Rng,
    ) -> Result<Room, Refusal>
    where
        Chunk<M>: Shelf,
    {
        let family = Chunk::<M>::FAMILY.index();
        if slots.swarms.is_empty() || Chunk::<M>::of(slots).is_empty() || self.rules.per_swarm == 0 {
            return Err(Refusal::Full);
        }
        let is_new = self.find(slots.swarms, infohash).is_none();
        if is_new && self.swarms.is_full(slots.swarms) {
            self.evict_swarm(slots, now, rng);
        }
        let own = self.members_of(slots.swarms, infohash, family);
        if own.count() >= usize::from(self.rules.per_swarm) {
            return Ok(Room::OwnOldest);
        }
        if self.lacks_chunk::<M>(slots, infohash) {
            self.sweep_step(slots, now);
        }
        // The sweep may have removed what expired of this very swarm.
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
                return Ok(Room::OwnOldest);
            }
            self.evict_chunk::<M>(slots, largest, now);
        }
        Ok(Room::Chunk)
    }

    /// Whether one more peer needs one more chunk than there is.
    fn lacks_chunk<const M: usize>(&self, slots: &mut PeerSlotsMut<'_>, infohash: &InfoHash) -> bool
    where
        Chunk<M>: Shelf,
    {
        let family = Chunk::<M>::FAMILY.index();
        self.chunks[family].is_full(Chunk::<M>::of(slots))
            && self.members_of(slots.swarms, infohash, family).is_packed()
    }

    fn evict_swarm(&mut self, slots: &mut PeerSlotsMut<'_>, now: Stamp, rng: &mut Rng) {
        self.sweep_step(slots, now);
        if !self.swarms.is_full(slots.swarms) {
            return;
        }
        let swarms = &*slots.swarms;
        let is_reserve_used = self.single_count as usize > swarms.len() / SINGLES_RESERVE;
        let drawn = (0..CANDIDATES).map(|_| Ix::new(rng.below(swarms.len())));
        let least = drawn
            .filter(|&ix| !is_reserve_used && swarms[ix].peers() > 1)
            .min_by_key(|&ix| (swarms[ix].peers(), u32::MAX - swarms[ix].idle_secs(now)))
            .or_else(|| self.singles.some());
        if let Some(ix) = least {
            self.purge(slots, ix, (now, 0));
        }
    }

    /// Removes the oldest peers of a swarm until that frees a chunk.
    fn evict_chunk<const M: usize>(&mut self, slots: &mut PeerSlotsMut<'_>, ix: Ix, now: Stamp)
    where
        Chunk<M>: Shelf,
    {
        let family = Chunk::<M>::FAMILY.index();
        let mut members = slots.swarms[ix].members[family];
        while self.chunks[family].is_full(Chunk::<M>::of(slots))
            && let Some(at) = members.oldest(Chunk::<M>::of(slots), now)
        {
            let gone = members.remove(Chunk::<M>::of(slots), &mut self.chunks[family], at);
            self.peers[family] -= 1;
            self.uncount(slots, gone.endpoint());
        }
        let before = slots.swarms[ix].peers();
        slots.swarms[ix].members[family] = members;
        self.settle(slots.swarms, ix, before);
    }

    /// Removes what expired from the next few swarms. Returns how many of them are left.
    pub(super) fn sweep_step(&mut self, slots: &mut PeerSlotsMut<'_>, now: Stamp) -> u64 {
        let (mut kept, mut peers) = (0, 0);
        for _ in 0..self.used.len().min(STEP_SWARMS) {
            let Some(ix) = self.turn_hand(slots.swarms) else { break };
            peers += slots.swarms[ix].peers();
            kept += u64::from(self.purge(slots, ix, (now, self.rules.ttl_secs)));
            if peers >= STEP_PEERS {
                break;
            }
        }
        kept
    }

    /// The swarm to look at next.
    pub(super) fn turn_hand(&mut self, swarms: &[Slot<Swarm>]) -> Option<Ix> {
        let ix = self.hand.some().or_else(|| self.used.front())?;
        self.hand = self.used.next(swarms, ix).unwrap_or(Ix::NONE);
        Some(ix)
    }

    /// Removes the peers of a swarm that are `ttl` old or older. Returns whether it still exists.
    fn purge(&mut self, slots: &mut PeerSlotsMut<'_>, ix: Ix, life: (Stamp, u32)) -> bool {
        let before = slots.swarms[ix].peers();
        self.purge_in::<6>(slots, ix, life);
        self.purge_in::<18>(slots, ix, life);
        let after = slots.swarms[ix].peers();
        if after < before {
            self.settle(slots.swarms, ix, before);
        }
        after > 0
    }

    fn purge_in<const M: usize>(&mut self, slots: &mut PeerSlotsMut<'_>, ix: Ix, life: (Stamp, u32))
    where
        Chunk<M>: Shelf,
    {
        let family = Chunk::<M>::FAMILY.index();
        let mut members = slots.swarms[ix].members[family];
        let before = members.count();
        let (chunks, counters) = Chunk::<M>::with_counters(slots);
        members.remove_expired(chunks, &mut self.chunks[family], life, |peer| {
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
