//! Any datagram: parsing it must not panic, and the message must be unchanged after being written and parsed.
//! Any saved state, which is bencoded as well, is checked in the same way.
#![no_main]

#[path = "../../tests/common/roundtrip.rs"]
mod roundtrip;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    roundtrip::message(bytes);
    roundtrip::state(bytes);
});
