//! A disk that does not answer, for the programs that are started with it.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Takes the place of the system's call that waits for the disk.
const SOURCE: &str = r#"
#include <stdlib.h>
#include <unistd.h>

int fsync(int fd) {
    const char *stuck = getenv("DHT_PROTO_STUCK");
    (void)fd;
    while (stuck && access(stuck, F_OK) == 0)
        usleep(1000);
    return 0;
}
"#;

/// Has a program wait for its disk for as long as the file `stuck` is in `folder`, and returns that.
pub fn stick(program: &mut Command, folder: &Path) -> PathBuf {
    let [source, library, stuck] = ["fsync.c", "fsync.so", "stuck"].map(|name| folder.join(name));
    std::fs::write(&source, SOURCE).unwrap();
    let built = Command::new("cc").args(["-shared", "-fPIC", "-o"]).args([&library, &source]).status();
    assert!(built.unwrap().success());
    program.env("LD_PRELOAD", library).env("DHT_PROTO_STUCK", &stuck);
    stuck
}
