//! Any datagram: reading it must not panic, and what was read must survive being written.
#![no_main]

libfuzzer_sys::fuzz_target!(|datagram: &[u8]| dht_proto::fuzzing::message(datagram));
