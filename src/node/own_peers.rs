//! What we announce ourselves, in our own store: whoever asks us is answered as by any other node
//! that holds it, also where there is no other.

use super::Core;
use super::serve::peer_slots;
use crate::addr::Family;
use crate::id::InfoHash;
use crate::lookup::Announce;
use crate::storage::sealed::Memory;

impl Core {
    /// Stores an announce of ours in the families that it goes out in, or renews it. Without room it goes
    /// without.
    pub(super) fn hold_own(&mut self, m: &mut Memory<'_>, infohash: InfoHash, announce: Announce) {
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
    pub(super) fn release_own(&mut self, m: &mut Memory<'_>, infohash: InfoHash) {
        self.peers.forget_own(&mut peer_slots(m), &infohash);
    }

    /// What is kept up stays, however seldom its rounds come.
    pub(super) fn renew_own(&mut self, m: &mut Memory<'_>) {
        for at in 0..m.kept.len() {
            let kept = &m.kept[at].value;
            if kept.phase != crate::kept::Phase::Free
                && let Some(announce) = kept.subject.announce()
            {
                self.hold_own(m, kept.target.into(), announce);
            }
        }
    }

    /// Forgets what others announced.
    pub(super) fn clear_peers(&mut self, m: &mut Memory<'_>) {
        self.peers.clear(&mut peer_slots(m));
        self.renew_own(m);
    }
}
