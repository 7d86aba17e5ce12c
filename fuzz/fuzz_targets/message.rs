//! Any datagram: reading it must not panic, and what was read must survive being written. Any saved
//! state, which is bencoded as well: the same.
#![no_main]

#[path = "../../tests/common/roundtrip.rs"]
mod roundtrip;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    roundtrip::message(bytes);
    roundtrip::state(bytes);
});
