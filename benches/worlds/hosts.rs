//! The hosts of these worlds.

use std::sync::Arc;

use dht_proto::Limits;
use dht_proto::sim::{Churn, Growth, Nat, NatKind, Profile, SimRng};

/// Nodes, a share of which is behind NATs.
pub(crate) struct Hosts {
    /// Share of them behind NATs: 40 % full cones, 40 % port-restricted, 20 % symmetric.
    pub(crate) behind_nat: f64,
    pub(crate) limits: Limits,
    pub(crate) churn: Option<Churn>,
}

impl Hosts {
    /// The profile of the `index`-th node of a world.
    ///
    /// The first nodes are not behind NATs, so that others can join through them.
    pub(crate) fn profiles(&self) -> impl FnMut(usize, &mut SimRng) -> Arc<Profile> + use<> {
        let kinds = [None, Some(NatKind::FullCone), Some(NatKind::PortRestricted), Some(NatKind::Symmetric)];
        let profiles = kinds.map(|kind| {
            let mut profile = Profile::default();
            (profile.limits, profile.churn) = (self.limits.clone(), self.churn);
            profile.nat = kind.map(Nat::new);
            Arc::new(profile)
        });
        let (behind_nat, first) = (self.behind_nat, Growth::default().initial_nodes);
        move |index, rng| {
            let kind = match rng.unit() {
                _ if index < first => 0,
                share if share < 0.4 * behind_nat => 1,
                share if share < 0.8 * behind_nat => 2,
                share if share < behind_nat => 3,
                _ => 0,
            };
            Arc::clone(&profiles[kind])
        }
    }
}

/// The default limits, reduced where thousands of nodes would take too much memory.
///
/// Tables are of the default size.
pub(crate) fn limits() -> Limits {
    let mut limits = Limits::default();
    (limits.nodes_v6, limits.peers_v6) = (0, 0);
    (limits.swarms, limits.peers_v4, limits.sources, limits.reputations) = (16, 64, 128, 512);
    (limits.inflight, limits.traversals, limits.peers_per_lookup) = (64, 3, 32);
    (limits.replies, limits.events, limits.bootstraps) = (16, 16, 3);
    limits
}
