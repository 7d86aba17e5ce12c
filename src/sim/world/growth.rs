//! Large worlds, whose nodes join one after the other.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use super::core::World;
use crate::sim::hosts::{HostId, Profile};
use crate::sim::rng::SimRng;

/// Speed at which a world grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Growth {
    /// Time in which the number of nodes doubles. Default: 20 s.
    ///
    /// As it is constant, each node bootstraps as many new ones, however large the world is.
    pub doubling: Duration,
    /// Nodes that join in the first doubling time, 1 or more. Default: 16.
    pub initial_nodes: usize,
}

impl Default for Growth {
    fn default() -> Self {
        Self { doubling: Duration::from_secs(20), initial_nodes: 16 }
    }
}

impl World {
    /// Adds `count` nodes one after the other while time passes.
    ///
    /// Each joins through [`bootstraps`](Profile::bootstraps) of the nodes that are there, drawn at
    /// random, so tables are filled by real messages only. `profile` returns the profile of the
    /// `index`-th new node.
    ///
    /// The number of messages for each node grows with the logarithm of `count`, so the whole takes
    /// little more than linear time; in virtual time it takes [`doubling`](Growth::doubling) times
    /// the binary logarithm of `count`. [Run](Self::run_for) the world for five minutes afterwards,
    /// until the other nodes list the last ones.
    pub fn grow(
        &mut self,
        count: usize,
        growth: &Growth,
        mut profile: impl FnMut(usize, &mut SimRng) -> Arc<Profile>,
    ) -> Vec<HostId> {
        let initial_nodes = growth.initial_nodes.max(1) as f64;
        let mut hosts = Vec::with_capacity(count);
        for index in 0..count {
            let present = (self.hosts.len() as f64).max(initial_nodes);
            let profile = profile(index, &mut self.transport.rng);
            hosts.push(self.add(profile));
            // The population n grows by n ln 2 in each doubling time.
            self.run_for(growth.doubling.div_f64(present * core::f64::consts::LN_2));
        }
        hosts
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::sim::hosts::{Churn, Returns};
    use crate::sim::transport::{Nat, NatKind, Network};

    /// All hosts leave and return elsewhere, some of them behind NATs.
    #[test]
    fn coming_and_going_leaves_nothing_behind() {
        let mut world = World::new(1, Network::internet());
        let profiles = [None, Some(NatKind::FullCone), Some(NatKind::Symmetric)].map(|kind| {
            let (session, absence) = (Duration::from_secs(300), Duration::from_secs(10));
            let churn = Some(Churn { session, absence, returns: Returns::Renewed });
            Arc::new(Profile { nat: kind.map(Nat::new), churn, ..Profile::of_world(30) })
        });
        world.grow(30, &Growth::default(), |index, _| Arc::clone(&profiles[index % 3]));
        let mut addresses = BTreeSet::new();
        for _ in 0..24 {
            world.run_for(Duration::from_secs(900));
            addresses.extend(world.hosts().map(|host| world.addr(host)));
            let [used, devices, known, waiting, buffers] = world.transport.sizes();
            assert_eq!(used, 30);
            // One more while a host moves to another.
            assert!(devices <= 21, "{devices}");
            assert!(known < 200 && waiting < 2000 && buffers < 500, "{known}, {waiting}, {buffers}");
        }
        assert!(addresses.len() > 500, "{}", addresses.len());
    }
}
