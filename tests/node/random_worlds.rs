//! Lives of small worlds: whatever happens to their nodes, all keep what they promise.

use crate::{lives, world};

/// Lives at random.
#[test]
fn e_32_the_invariants_of_every_node_hold_in_random_worlds() {
    (0..SEEDS).for_each(|seed| {
        world::live(&life(seed));
    });
}

#[test]
fn the_same_scenario_has_the_same_transcript() {
    for seed in 0..20 {
        assert_eq!(world::live(&life(seed)), world::live(&life(seed)), "seed {seed}");
    }
    assert_ne!(world::live(&life(1)), world::live(&life(2)));
}

/// What fuzzing once found stays found.
#[test]
fn the_invariants_of_every_node_hold_in_every_world_of_the_corpus() {
    for life in lives::corpus("world") {
        assert_eq!(world::live(&life), world::live(&life), "one life, one transcript");
    }
}

const SEEDS: u64 = 300;

/// The bytes of a seed.
fn life(seed: u64) -> Vec<u8> {
    lives::at_random(seed, 600)
}
