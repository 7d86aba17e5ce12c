//! Any datagram: parsing it must not panic, the message must be unchanged after being written and parsed, and two
//! other decoders must read the same from it.
#![no_main]

#[path = "../../tests/common/decoders.rs"]
mod decoders;
#[path = "../../tests/common/roundtrip.rs"]
mod roundtrip;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    roundtrip::message(bytes);
    decoders::message(bytes);
});
