//! Files of secret keys: 64 hexadecimal digits, which are the 32 bytes of RFC 8032. What is in them is
//! never told.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::Path;

use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use dht_proto::SecretKey;

use crate::deadline::Deadline;
use crate::items::read_in_time;
use crate::output::{Failure, Output};

/// Far more than the digits and white space around them.
const MAX_LEN: u64 = 1024;

/// Makes a key.
pub(crate) fn generate(file: &Path, output: &Output) -> Result<(), Failure> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| Failure::Start(format!("no randomness: {error}")))?;
    write(file, &bytes)
        .map_err(|error| Failure::Start(format!("cannot create {}: {error}", file.display())))?;
    output.key(SecretKey::from_bytes(&bytes).public(), file)
}

/// Reads a key, and warns if it is no secret.
pub(crate) fn read(file: &Path, deadline: Deadline, output: &Output) -> Result<SecretKey, Failure> {
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
        output.complain(&format!("others can read or change the secret key in {name}; chmod 600 {name}"));
    }
    let bytes = HEXLOWER_PERMISSIVE.decode(text.trim().as_bytes()).ok();
    let bytes = bytes.and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
    let complaint = || Failure::Start(format!("{name} holds no secret key of 64 hexadecimal digits"));
    bytes.map(|bytes| SecretKey::from_bytes(&bytes)).ok_or_else(complaint)
}

/// A new file, for its owner only, on systems that can tell owners apart.
fn write(file: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(file)?;
    writeln!(file, "{}", HEXLOWER.encode(bytes))?;
    // A key may be in use long before the system gets round to it.
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
