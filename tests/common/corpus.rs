//! The bytes of scenarios: those that fuzzing found worth keeping, and random ones.
#![allow(dead_code, unreachable_pub, reason = "every test uses a part of it")]

use std::fs;
use std::path::Path;

/// Reads the corpus of a fuzz target.
pub fn read(target: &str) -> Vec<Vec<u8>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let files = fs::read_dir(directory).unwrap();
    let scenarios: Vec<_> = files.map(|entry| fs::read(entry.unwrap().path()).unwrap()).collect();
    assert!(!scenarios.is_empty(), "the corpus of {target} is empty");
    scenarios
}

/// Generates the bytes of a seed, the same in every run.
pub fn random(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed;
    let bytes = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    });
    bytes.take(len).collect()
}
