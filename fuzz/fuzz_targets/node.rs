//! A life of a node: whatever comes, and in whatever order, it keeps what it promises.
#![no_main]

#[path = "../../tests/common/scenario/mod.rs"]
mod scenario;

libfuzzer_sys::fuzz_target!(|life: &[u8]| {
    scenario::node::live(life);
});
