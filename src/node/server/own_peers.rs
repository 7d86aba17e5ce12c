//! Announces of this node in its own store, which it returns like any other node that stores them.

use crate::base::addr::Family;
use crate::base::id::InfoHash;
use crate::lookup::Announce;
use crate::node::core::Core;
use crate::node::server::memory::PeersMut;
use crate::node::storage::sealed::Memory;
use crate::store::peers::NewPeer;

impl Core {
    /// Stores or refreshes an announce of this node, if there is room.
    pub(in crate::node) fn store_own(&mut self, m: &mut Memory<'_>, infohash: InfoHash, announce: Announce) {
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
    pub(in crate::node) fn remove_own(&mut self, m: &mut Memory<'_>, infohash: InfoHash) {
        let PeersMut { head, mut slots, .. } = self.peers_mut(m);
        head.forget_own(&mut slots, &infohash);
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
