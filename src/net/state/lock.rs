//! A lock that keeps two processes from one state file, and ends with the process.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use super::disk;

/// The end of the name of the file that is locked: the state itself is replaced again and again.
const SUFFIX: &str = ".lock";

/// The most attempts to lock a file that its last holder has just removed.
const TRIES: u32 = 16;

/// The lock of a [`StateFile`](crate::net::StateFile), until it is dropped or the process ends, from
/// [`StateFile::lock`](crate::net::StateFile::lock).
#[derive(Debug)]
#[must_use]
pub struct StateLock {
    path: PathBuf,
    beside: Option<File>,
    /// The state itself: where it is a mount of its own, other processes may not share its folder.
    itself: Option<File>,
}

impl StateLock {
    /// Locks the state at a path without links. Without effect where the system grants no locks in that folder.
    ///
    /// # Errors
    ///
    /// Another process or node holds the lock.
    pub(crate) fn take(target: &Path) -> io::Result<Self> {
        let path = disk::beside(target, SUFFIX);
        let beside = lock_beside(&path)?;
        // Where locks are mandatory, the state could not be read any more.
        let itself = if cfg!(unix) { disk::open(target, OpenOptions::new().read(true)).ok() } else { None };
        let mut lock = Self { path, beside, itself };
        if let Some(file) = lock.itself.as_ref()
            && !try_lock(file)?
        {
            lock.itself = None;
        }
        Ok(lock)
    }
}

impl Drop for StateLock {
    fn drop(&mut self) {
        // While it is locked, so that whoever has opened it before notices the removal.
        if cfg!(unix) && self.beside.is_some() {
            let _ = fs::remove_file(&self.path);
        }
        // Closing is not enough: a process that is being started shares the open file until it executes another
        // program.
        for file in [&self.beside, &self.itself].into_iter().flatten() {
            let _ = file.unlock();
        }
    }
}

fn lock_beside(path: &Path) -> io::Result<Option<File>> {
    for _ in 0..TRIES {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let Ok(file) = disk::open(path, &mut options) else { return Ok(None) };
        if !try_lock(&file)? {
            return Ok(None);
        }
        if is_at(&file, path) {
            return Ok(Some(file));
        }
    }
    Err(taken())
}

/// Locks a file, and returns whether the system has locks.
fn try_lock(file: &File) -> io::Result<bool> {
    match file.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Err(taken()),
        Err(TryLockError::Error(_)) => Ok(false),
    }
}

/// Whether a file is still at the path where it was opened.
fn is_at(file: &File, path: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        let place = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
        file.metadata().map(place).ok() == fs::symlink_metadata(path).map(place).ok()
    }
    #[cfg(not(unix))]
    {
        let _ = (file, path);
        true
    }
}

fn taken() -> io::Error {
    let advice = "another process uses it; end that one, or name another file";
    io::Error::new(io::ErrorKind::ResourceBusy, advice)
}

#[cfg(test)]
mod tests {
    use std::format;

    use super::*;

    #[test]
    fn a_lock_ends_when_it_is_dropped_whoever_else_has_the_open_file() {
        let folder = std::env::temp_dir().join(format!("dht-proto-unlocked-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let state = folder.join("dht.state");
        fs::write(&state, b"").unwrap();
        let lock = StateLock::take(&state).unwrap();
        // As a process has them between its start and its program.
        let inherited =
            [&lock.beside, &lock.itself].map(|file| file.as_ref().map(|file| file.try_clone().unwrap()));
        assert!(StateLock::take(&state).is_err());
        drop(lock);
        assert!(StateLock::take(&state).is_ok());
        drop(inherited);
        fs::remove_dir_all(folder).unwrap();
    }
}
