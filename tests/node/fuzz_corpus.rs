//! Replays the corpora of the fuzz targets, so that what fuzzing once found stays found. The corpus of
//! whole worlds is replayed in `random_lives`.

use crate::{lives, roundtrip, scenario};

#[test]
fn e_32_no_message_of_the_corpus_breaks_an_invariant() {
    for bytes in lives::corpus("message") {
        roundtrip::message(&bytes);
        roundtrip::state(&bytes);
    }
}

#[test]
fn e_32_the_invariants_of_a_node_hold_in_every_scenario_of_the_corpus() {
    for life in lives::corpus("node") {
        assert_eq!(scenario::node::live(&life), scenario::node::live(&life), "one life, one transcript");
    }
}

/// Lives at random, on top of those worth keeping.
#[test]
fn e_32_the_invariants_of_a_node_hold_in_random_scenarios() {
    for round in 0..300 {
        scenario::node::live(&lives::at_random(round, 8 * round as usize));
    }
}
