//! A life of a small world: whatever happens to its nodes, all keep what they promise.
#![no_main]

#[path = "../../tests/common/reborn.rs"]
mod reborn;
#[path = "../../tests/common/scenario/mod.rs"]
mod scenario;
#[path = "../../tests/common/world/mod.rs"]
mod world;

libfuzzer_sys::fuzz_target!(|life: &[u8]| {
    let transcript = world::live(life);
    // Not every time: it takes many times as long.
    if life.len() % 32 == 0 {
        let continued = world::live_with(life, reborn::reborn);
        assert_eq!(continued, transcript, "one life, one transcript, whoever is stopped and continued");
    }
});
