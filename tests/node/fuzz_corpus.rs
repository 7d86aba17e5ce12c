//! Replays the corpora of the fuzz targets, so that bugs that fuzzing found do not return. The corpus of
//! whole worlds is replayed in `random_worlds`.

use crate::{corpus, roundtrip, scenario};

#[test]
fn e_32_no_message_of_the_corpus_breaks_an_invariant() {
    for bytes in corpus::read("message") {
        roundtrip::message(&bytes);
        roundtrip::state(&bytes);
    }
}

#[test]
fn e_32_the_invariants_of_a_node_hold_in_every_scenario_of_the_corpus() {
    for bytes in corpus::read("node") {
        assert_eq!(
            scenario::node::run(&bytes),
            scenario::node::run(&bytes),
            "the same scenario has the same transcript"
        );
    }
}

/// Runs random scenarios, in addition to the corpus.
#[test]
fn e_32_the_invariants_of_a_node_hold_in_random_scenarios() {
    for round in 0..300 {
        scenario::node::run(&corpus::random(round, 8 * round as usize));
    }
}
