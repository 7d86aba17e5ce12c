//! A scenario of a small world: whatever happens, the invariants of all its nodes hold.
#![no_main]

#[path = "../../tests/common/continued.rs"]
mod continued;
#[path = "../../tests/common/scenario/mod.rs"]
mod scenario;
#[path = "../../tests/common/world/mod.rs"]
mod world;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let transcript = world::run(bytes);
    // Not every time: it takes many times as long.
    if bytes.len() % 64 == 0 {
        let continued = world::run_with(bytes, continued::continue_node);
        assert_eq!(continued, transcript, "stopping and continuing nodes does not change the transcript");
    }
});
