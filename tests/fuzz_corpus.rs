//! Replays the corpora of the fuzz targets, so that what fuzzing once found stays found.
#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "common/scenario/mod.rs"]
mod scenario;

use std::fs;
use std::path::Path;

fn replay(target: &str, run: fn(&[u8])) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut count = 0;
    for entry in fs::read_dir(directory).unwrap() {
        run(&fs::read(entry.unwrap().path()).unwrap());
        count += 1;
    }
    assert!(count > 0, "the corpus of {target} is empty");
}

#[test]
fn e_32_no_message_of_the_corpus_does_harm() {
    replay("message", |bytes| {
        dht_proto::fuzzing::message(bytes);
        dht_proto::fuzzing::state(bytes);
    });
}

#[test]
fn a_node_keeps_its_promises_in_every_life_of_the_corpus() {
    replay("node", |life| {
        assert_eq!(scenario::node::live(life), scenario::node::live(life), "one life, one transcript");
    });
}

/// Lives at random, the same in every run, on top of those worth keeping.
#[test]
fn a_node_keeps_its_promises_in_lives_at_random() {
    let mut dice = 1_u64;
    for round in 0..300 {
        let life: Vec<u8> = (0..round * 8)
            .map(|_| {
                dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (dice >> 56) as u8
            })
            .collect();
        scenario::node::live(&life);
    }
}
