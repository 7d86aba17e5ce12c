//! Any text as a magnet link, an infohash, an id or a key: what is parsed must be unchanged after being printed and
//! parsed.
#![no_main]

#[path = "../../tests/common/links.rs"]
mod links;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| links::texts(bytes));
