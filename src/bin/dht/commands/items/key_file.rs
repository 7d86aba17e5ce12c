//! Files of secret keys: 64 hexadecimal digits, the 32 bytes of RFC 8032. They are never printed.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::Path;

use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use dht_proto::items::SecretKey;

use crate::output::{Failure, Output};
use crate::session::{Deadline, read_in_time};

/// The most bytes that are read: far more than the digits with white space around them.
const MAX_LEN: u64 = 1024;

/// Reads a key, and warns if other users can read or change its file.
pub(super) fn read(file: &Path, deadline: Deadline, output: &Output) -> Result<SecretKey, Failure> {
    let name = file.display();
    let path = file.to_owned();
    let (text, is_open) = read_in_time(&name.to_string(), deadline, move || {
        let open = File::open(path)?;
        let is_open = is_open_to_others(&open)?;
        let mut text = String::new();
        open.take(MAX_LEN).read_to_string(&mut text)?;
        Ok((text, is_open))
    })?;
    if is_open {
        output.message(&format!("others can read or change the secret key in {name}; run chmod 600 {name}"));
    }
    let bytes = HEXLOWER_PERMISSIVE.decode(text.trim().as_bytes()).ok();
    let bytes = bytes.and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
    let message = || {
        Failure::Start(format!(
            "{name} contains no secret key of 64 hexadecimal digits; make one with keygen"
        ))
    };
    bytes.map(|bytes| SecretKey::from_bytes(&bytes)).ok_or_else(message)
}

/// Creates a file with a key, which only its owner can access (on Unix).
pub(super) fn write(file: &Path, bytes: &[u8; 32]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(file)?;
    writeln!(file, "{}", HEXLOWER.encode(bytes))?;
    // The key may be used long before the system writes the file to the disk by itself.
    file.sync_all()
}

#[cfg(unix)]
fn is_open_to_others(file: &File) -> io::Result<bool> {
    use std::os::unix::fs::PermissionsExt as _;

    Ok(file.metadata()?.permissions().mode() & 0o077 != 0)
}

#[cfg(not(unix))]
fn is_open_to_others(_: &File) -> io::Result<bool> {
    Ok(false)
}
