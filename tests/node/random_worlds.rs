//! Random small worlds: whatever happens, the invariants of all nodes hold.

use crate::{corpus, world};

/// Runs random scenarios.
#[test]
fn e_32_the_invariants_of_every_node_hold_in_random_worlds() {
    (0..SEEDS).for_each(|seed| {
        world::run(&scenario(seed));
    });
}

#[test]
fn the_same_scenario_has_the_same_transcript() {
    for seed in 0..20 {
        assert_eq!(world::run(&scenario(seed)), world::run(&scenario(seed)), "seed {seed}");
    }
    assert_ne!(world::run(&scenario(1)), world::run(&scenario(2)));
}

/// Replays the corpus, so that bugs that fuzzing found do not return.
#[test]
fn the_invariants_of_every_node_hold_in_every_world_of_the_corpus() {
    for scenario in corpus::read("world") {
        assert_eq!(world::run(&scenario), world::run(&scenario), "the same scenario has the same transcript");
    }
}

const SEEDS: u64 = 300;

/// Returns the scenario of a seed.
fn scenario(seed: u64) -> Vec<u8> {
    corpus::random(seed, 600)
}
