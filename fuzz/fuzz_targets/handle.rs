//! The calls of handles in a world: they end, whatever is dropped, cancelled or killed meanwhile, and leave nothing.
#![no_main]

#[path = "../../tests/common/handles.rs"]
mod handles;
#[path = "../../tests/common/scenario/mod.rs"]
mod scenario;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    handles::run(bytes);
});
