//! Any content of a saved state, with a right checksum: refused, or harmless.
#![no_main]

#[path = "../../tests/common/roundtrip.rs"]
mod roundtrip;
#[path = "../../tests/common/saved.rs"]
mod saved;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| saved::restore(bytes));
