//! Replays the corpora of the fuzz targets, so that bugs that fuzzing found do not return. The corpus of
//! whole worlds is replayed in `random_worlds`.

#[cfg(all(feature = "sim", any(feature = "net", feature = "smol", feature = "tokio")))]
use crate::handles;
#[cfg(all(feature = "checkpoint", feature = "sim"))]
use crate::saved;
use crate::{corpus, decoders, links, roundtrip, scenario};

#[test]
fn e_32_no_message_of_the_corpus_breaks_an_invariant() {
    for bytes in corpus::read("message") {
        roundtrip::message(&bytes);
        decoders::message(&bytes);
    }
}

#[cfg(all(feature = "checkpoint", feature = "sim"))]
#[test]
fn no_saved_state_of_the_corpus_breaks_a_node_that_is_restored_from_it() {
    corpus::read("state").iter().for_each(|bytes| saved::restore(bytes));
}

#[test]
fn whatever_names_a_torrent_in_the_corpus_is_printed_and_parsed_back_unchanged() {
    corpus::read("magnet").iter().for_each(|bytes| links::texts(bytes));
}

#[cfg(all(feature = "sim", any(feature = "net", feature = "smol", feature = "tokio")))]
#[test]
fn every_call_of_a_handle_ends_in_the_corpus_and_in_random_scenarios() {
    for bytes in corpus::read("handle") {
        handles::run(&bytes);
    }
    for round in 0..200 {
        handles::run(&corpus::random(round, 2 * round as usize));
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
