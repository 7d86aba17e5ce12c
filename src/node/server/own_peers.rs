//! What we announce ourselves, in our own store: whoever asks us is answered as by any other node
//! that holds it, also where there is no other.

use crate::base::addr::Family;
use crate::base::id::InfoHash;
use crate::lookup::Announce;
use crate::node::core::Core;
use crate::node::server::query::peer_slots;
use crate::node::storage::sealed::Memory;

impl Core {
    /// Stores an announce of ours in the families that it goes out in, or renews it. Without room it goes
    /// without.
    pub(in crate::node) fn hold_own(&mut self, m: &mut Memory<'_>, infohash: InfoHash, announce: Announce) {
        let Announce { port, implied_port, seed } = announce;
        // What is implied is the port that others see.
        let port = if implied_port { 0 } else { port };
        let ids = Family::ALL.map(|family| self.family(family).id);
        for family in Family::ALL.into_iter().filter(|&family| self.config.has(family)) {
            let (slots, now) = (&mut peer_slots(m), self.now);
            let _ = self.peers.announce_own(slots, &infohash, family, port, (seed, &ids), now, &mut self.rng);
        }
        self.schedule_sweep(m);
    }

    /// An announce of ours is not wanted any more.
    pub(in crate::node) fn release_own(&mut self, m: &mut Memory<'_>, infohash: InfoHash) {
        self.peers.forget_own(&mut peer_slots(m), &infohash);
    }

    /// What is kept up stays, however seldom its rounds come.
    pub(in crate::node) fn renew_own(&mut self, m: &mut Memory<'_>) {
        for at in 0..m.publications.len() {
            let publication = &m.publications[at].value;
            if publication.phase != crate::lookup::republisher::Phase::Free
                && let Some(announce) = publication.subject.announce()
            {
                self.hold_own(m, publication.target.into(), announce);
            }
        }
    }

    /// Forgets what others announced.
    pub(in crate::node) fn clear_peers(&mut self, m: &mut Memory<'_>) {
        self.peers.clear(&mut peer_slots(m));
        self.renew_own(m);
    }
}
