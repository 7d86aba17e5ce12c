//! A scenario of one node: whatever arrives, and in whatever order, its invariants hold.
#![no_main]

#[path = "../../tests/common/continued.rs"]
mod continued;
#[path = "../../tests/common/scenario/mod.rs"]
mod scenario;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let transcript = scenario::node::run(bytes);
    // Not every time: it takes many times as long.
    if bytes.len() % 64 == 0 {
        let continued = scenario::node::run_with(bytes, &continued::Continued);
        assert_eq!(continued, transcript, "a node continues from a checkpoint as if never stopped");
    }
});
