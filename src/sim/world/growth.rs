//! Large worlds: nodes join one after the other, as in life.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use super::dice::Dice;
use super::host::{HostId, Profile};
use super::world::World;

/// How fast a world grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Growth {
    /// The time in which the number of nodes doubles: then each node is the entry of as many
    /// newcomers, however large the world has become. Default: 20 s.
    pub doubling: Duration,
    /// So many nodes join in the first such time, 1 or more. Default: 16.
    pub seedlings: usize,
}

impl Default for Growth {
    fn default() -> Self {
        Self { doubling: Duration::from_secs(20), seedlings: 16 }
    }
}

impl World {
    /// Has `count` nodes join one after the other while time passes, each through
    /// [`entries`](Profile::entries) of the nodes that are there, drawn at random. Tables fill by
    /// real messages alone. `profile` says what the `index`-th of them is like.
    ///
    /// The number of messages for each node grows with the logarithm of `count`, so the whole takes
    /// little more than linear time; in virtual time it takes [`doubling`](Growth::doubling) times
    /// the binary logarithm of `count`. Let the world [run](Self::run_for) for five minutes afterwards
    /// until the others have come to know the last ones.
    pub fn grow(
        &mut self,
        count: usize,
        growth: &Growth,
        mut profile: impl FnMut(usize, &mut Dice) -> Arc<Profile>,
    ) -> Vec<HostId> {
        let seedlings = growth.seedlings.max(1) as f64;
        let mut hosts = Vec::with_capacity(count);
        for index in 0..count {
            let present = (self.hosts.len() as f64).max(seedlings);
            let profile = profile(index, &mut self.wire.dice);
            hosts.push(self.add(profile));
            // The population n grows by n ln 2 in each doubling time.
            self.run_for(growth.doubling.div_f64(present * core::f64::consts::LN_2));
        }
        hosts
    }
}
