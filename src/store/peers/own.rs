//! Our own announces, stored beside those of others.
//!
//! They are stored under the unspecified address, which no other peer can have: the external address becomes known
//! later than the announces and may change. The external address is filled in whenever they are returned. They do
//! not count towards any cap, nor as peers that others announced to this node.

use super::caps::Refusal;
use super::members::{Chunk, Lifetime, Stamp, compact};
use super::{Announced, FamilyChunk, NewPeer, PeerSlots, PeerSlotsMut, PeerStore};
use crate::base::addr::{Endpoint, Family};
use crate::base::bloom::{BloomFilter, filter_indices};
use crate::base::id::{InfoHash, NodeId};
use crate::base::rng::Rng;
use crate::base::time::Instant;

impl<'a> NewPeer<'a> {
    /// Describes our own peer; port 0 means the external port.
    pub(crate) const fn own(
        infohash: &'a InfoHash,
        family: Family,
        port: u16,
        seed: bool,
        ids: &'a [NodeId],
    ) -> Self {
        Self { infohash, endpoint: placeholder(family, port), seed, ids }
    }
}

impl PeerStore {
    /// Stores or refreshes our own announce, made by [`NewPeer::own`].
    pub(crate) fn announce_own(
        &mut self,
        slots: &mut PeerSlotsMut<'_>,
        peer: NewPeer<'_>,
        now: Instant,
        rng: &mut Rng,
    ) -> Result<Announced, Refusal> {
        self.insert(slots, peer, now, rng)
    }

    /// Removes our own announce.
    pub(crate) fn forget_own(&mut self, slots: &mut PeerSlotsMut<'_>, infohash: &InfoHash) {
        self.forget_own_in::<6>(slots, infohash);
        self.forget_own_in::<18>(slots, infohash);
    }

    /// Whether there are announces of our own.
    pub(crate) const fn has_own(&self, family: Family) -> bool {
        self.own[family.index()] > 0
    }

    /// Replaces placeholders in sampled peers by our endpoint, and returns the number of peers left.
    ///
    /// Peers whose address or port is still unknown are removed.
    pub(crate) fn fill_in(family: Family, own: Option<Endpoint>, peers: &mut [u8]) -> usize {
        match family {
            Family::V4 => fill_in::<6>(own, peers),
            Family::V6 => fill_in::<18>(own, peers),
        }
    }

    /// Adds our own peer to the filters of a swarm (BEP 33).
    pub(crate) fn add_own(
        &self,
        slots: PeerSlots<'_>,
        infohash: &InfoHash,
        own: [Option<Endpoint>; 2],
        filters: &mut Option<[BloomFilter; 2]>,
        now: Instant,
    ) {
        let Some(ix) = self.find(slots.swarms, infohash) else { return };
        let life = Lifetime { now: Stamp::at(now), ttl: self.rules.ttl_secs };
        for (family, own) in Family::ALL.into_iter().zip(own) {
            let Some(own) = own.filter(|_| self.has_own(family)) else { continue };
            let members = slots.swarms[ix].members[family.index()];
            let placeholder = placeholder(family, 0);
            let seed = match family {
                Family::V4 => members.seed_flag(slots.v4, &compact::<6>(placeholder), life),
                Family::V6 => members.seed_flag(slots.v6, &compact::<18>(placeholder), life),
            };
            if let Some(seed) = seed {
                let indices =
                    own.as_v4().map_or_else(|| filter_indices(own.ip_bytes()), |ip| filter_indices(&ip));
                let [seeds, others] = filters.get_or_insert([BloomFilter::EMPTY; 2]);
                (if seed { seeds } else { others }).insert_indices(indices);
            }
        }
    }

    fn forget_own_in<const M: usize>(&mut self, slots: &mut PeerSlotsMut<'_>, infohash: &InfoHash)
    where
        Chunk<M>: FamilyChunk,
    {
        let family = Chunk::<M>::FAMILY;
        let Some(ix) = self.find(slots.swarms, infohash) else { return };
        let mut members = slots.swarms[ix].members[family.index()];
        let placeholder = compact::<M>(placeholder(family, 0));
        let Some(at) = members.find(Chunk::<M>::of(slots), &placeholder, false) else { return };
        let before = slots.swarms[ix].peers();
        let gone = members.remove(Chunk::<M>::of(slots), &mut self.chunks[family.index()], at);
        slots.swarms[ix].members[family.index()] = members;
        self.peers[family.index()] -= 1;
        self.uncount(slots, gone.endpoint());
        self.relink(slots.swarms, ix, before);
    }
}

/// Returns the placeholder endpoint of our own announce.
const fn placeholder(family: Family, port: u16) -> Endpoint {
    match family {
        Family::V4 => Endpoint::v4([0; 4], port),
        Family::V6 => Endpoint::v6([0; 16], port),
    }
}

fn fill_in<const M: usize>(own: Option<Endpoint>, peers: &mut [u8]) -> usize {
    let peers = peers.as_chunks_mut::<M>().0;
    let mut count = peers.len();
    let mut at = 0;
    while at < count {
        let (ip, port) = peers[at].split_at(M - 2);
        if ip.iter().any(|&byte| byte != 0) {
            at += 1;
            continue;
        }
        let port = u16::from_be_bytes([port[0], port[1]]);
        let ours = own.map(|own| if port == 0 { own } else { own.with_port(port) });
        if let Some(ours) = ours.filter(|ours| ours.port() != 0) {
            peers[at] = compact(ours);
            at += 1;
        } else {
            count -= 1;
            peers[at] = peers[count];
        }
    }
    count
}
