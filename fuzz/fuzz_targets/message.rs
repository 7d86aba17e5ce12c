//! Any datagram: reading it must not panic, and what was read must survive being written. Any saved
//! state, which is bencoded as well: the same.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    dht_proto::fuzzing::message(bytes);
    dht_proto::fuzzing::state(bytes);
});
