//! Lives of small worlds: whatever happens to their nodes, all keep what they promise.
#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "common/scenario/mod.rs"]
mod scenario;
#[path = "common/world/mod.rs"]
mod world;

use std::fs;
use std::path::Path;

/// Lives at random, the same in every run.
#[test]
fn every_node_keeps_its_promises_whatever_happens() {
    (0..SEEDS).for_each(|seed| {
        world::live(&life(seed));
    });
}

#[test]
fn one_life_has_one_transcript() {
    for seed in 0..20 {
        assert_eq!(world::live(&life(seed)), world::live(&life(seed)), "seed {seed}");
    }
    assert_ne!(world::live(&life(1)), world::live(&life(2)));
}

/// What fuzzing once found stays found.
#[test]
fn every_node_keeps_its_promises_in_every_life_of_the_corpus() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/world");
    let mut count = 0;
    for entry in fs::read_dir(directory).unwrap() {
        let life = fs::read(entry.unwrap().path()).unwrap();
        assert_eq!(world::live(&life), world::live(&life), "one life, one transcript");
        count += 1;
    }
    assert!(count > 0, "there are some");
}

const SEEDS: u64 = 300;

/// The bytes of a seed.
fn life(seed: u64) -> Vec<u8> {
    let mut dice = seed;
    (0..600)
        .map(|_| {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (dice >> 56) as u8
        })
        .collect()
}
