//! A disk that does not respond, for the programs that are started with it.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::net::start;

/// Replaces the system call that waits for the disk.
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

/// Makes a program wait for its disk as long as the file `stuck` exists in `folder`, and returns that file.
pub fn stick(program: &mut Command, folder: &Path) -> PathBuf {
    let [source, library, stuck] = ["fsync.c", "fsync.so", "stuck"].map(|name| folder.join(name));
    std::fs::write(&source, SOURCE).unwrap();
    let built = start(Command::new("cc").args(["-shared", "-fPIC", "-o"]).args([&library, &source]));
    assert!(built.unwrap().wait().unwrap().success());
    program.env("LD_PRELOAD", library).env("DHT_PROTO_STUCK", &stuck);
    stuck
}
