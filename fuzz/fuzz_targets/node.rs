//! A life of a node: whatever comes, and in whatever order, it keeps what it promises.
#![no_main]

#[path = "../../tests/common/reborn.rs"]
mod reborn;
#[path = "../../tests/common/scenario/mod.rs"]
mod scenario;

libfuzzer_sys::fuzz_target!(|life: &[u8]| {
    let transcript = scenario::node::live(life);
    // Seldom: it takes many times as long.
    if life.len() % 64 == 0 {
        let continued = scenario::node::live_with(life, &reborn::Reborn);
        assert_eq!(continued, transcript, "a node continues from a checkpoint as if never stopped");
    }
});
