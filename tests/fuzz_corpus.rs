//! Replays the corpora of the fuzz targets, so that what fuzzing once found stays found.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::fs;
use std::path::Path;

fn replay(target: &str, run: fn(&[u8])) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut count = 0;
    for entry in fs::read_dir(directory).unwrap() {
        run(&fs::read(entry.unwrap().path()).unwrap());
        count += 1;
    }
    assert!(count > 0, "the corpus of {target} is empty");
}

#[test]
fn e_32_messages() {
    replay("message", dht_proto::fuzzing::message);
}
