//! Announces of this node in its own store, which it returns like any other node that stores them.

use crate::base::addr::{Endpoint, Family};
use crate::base::id::InfoHash;
use crate::base::pool::Ix;
use crate::lookup::Announce;
use crate::node::core::Core;
use crate::node::server::memory::PeersMut;
use crate::node::storage::sealed::Memory;
use crate::store::peers::NewPeer;

impl Core {
    /// Stores or refreshes an announce of this node, if there is room.
    pub(super) fn store_own_peer(&mut self, m: &mut Memory<'_>, infohash: InfoHash, announce: Announce) {
        let Announce { port, implied_port, seed } = announce;
        // The implied port is the external one.
        let port = if implied_port { 0 } else { port };
        let ids = Family::ALL.map(|family| self.family(family).id);
        let families = Family::ALL.map(|family| self.config.has(family).then_some(family));
        for family in families.into_iter().flatten() {
            let now = self.now;
            let PeersMut { head, mut slots, rng } = self.peers_mut(m);
            let peer = NewPeer::own(&infohash, family, port, seed, &ids);
            // Without room the announce is merely not stored here.
            let _ = head.announce_own(&mut slots, peer, now, rng);
        }
        self.schedule_sweep(m);
    }

    /// Removes an announce of this node.
    pub(super) fn remove_own_peer(&mut self, m: &mut Memory<'_>, infohash: InfoHash) {
        let PeersMut { head, mut slots, .. } = self.peers_mut(m);
        head.forget_own(&mut slots, &infohash);
    }

    /// Adds the peers stored at this node to a lookup, which are found at once.
    pub(super) fn add_stored_peers(&mut self, m: &mut Memory<'_>, ix: Ix) {
        let (family, target) = (m.traversals[ix].family(), m.traversals[ix].target);
        let mut peers = heapless::Vec::<Endpoint, 64>::new();
        let stored = self.peers.peers_of(m.peers(), &target.into(), self.now).map(|peer| peer.endpoint);
        peers.extend(stored.filter(|peer| peer.family() == family).take(64));
        for peer in peers {
            self.accept_peer(m, ix, peer);
        }
    }

    /// Refreshes the stored announcements of this node, however rarely they are republished.
    pub(in crate::node) fn refresh_own(&mut self, m: &mut Memory<'_>) {
        for at in 0..m.publications.len() {
            let publication = &m.publications[at].value;
            if publication.phase != crate::lookup::republisher::Phase::Free
                && let Some(announce) = publication.subject.announce()
            {
                self.store_own(m, publication.target.into(), announce);
            }
        }
    }

    /// Removes the peers that others announced.
    pub(in crate::node) fn clear_peers(&mut self, m: &mut Memory<'_>) {
        let PeersMut { head, mut slots, .. } = self.peers_mut(m);
        head.clear(&mut slots);
        self.refresh_own(m);
    }
}
