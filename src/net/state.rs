//! The file that a node's state is kept in: read at the start, replaced as a whole when saving.
//!
//! Nothing here knows of threads or event loops; every adapter uses it in the same way.

use alloc::borrow::ToOwned as _;
use alloc::format;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;
use core::time::Duration;
use std::ffi::{OsStr, OsString};
use std::fs::{self, DirEntry, File, OpenOptions};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use thiserror::Error;

use crate::{Config, Family, Instant, Node, Restored, State, StateError, Storage};

/// How often a running node saves its state.
pub const SAVE_INTERVAL: Duration = Duration::from_secs(5 * 60);

/// No state is longer; what is longer need not be read into memory to know that it is none.
const MAX_LEN: u64 = 16 << 20;

/// The end of the name of a file that is being written.
const NEW: &str = ".new";

/// The end of the name of a file that was no state.
const BAD: &str = ".bad";

/// The end of the name of a copy of a state of another client.
const FOREIGN: &str = ".foreign";

/// Nobody takes this long to write a file.
const LEFT: Duration = Duration::from_secs(60);

/// Where a node keeps its state between runs.
///
/// Two nodes that run at the same time must not share one: they would have the same id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateFile {
    path: PathBuf,
}

/// What a [`StateFile`] held.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Loaded {
    /// There is no such file: this is the first run.
    Nothing,
    /// A state.
    State(SavedState),
    /// The file is no state. It has been moved to `kept_as`, and the node starts afresh.
    Refused {
        /// What is wrong with it.
        error: StateError,
        /// Where it is now.
        kept_as: PathBuf,
    },
}

/// A state read from a file, and how old it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedState {
    bytes: Vec<u8>,
    elapsed: Duration,
}

/// Why a state cannot be loaded or saved.
#[derive(Debug, Error)]
#[error("cannot {action} {path}: {error}")]
pub struct StateFileError {
    action: &'static str,
    path: String,
    #[source]
    error: io::Error,
}

impl StateFile {
    /// A file that need not exist yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads what was saved. A file that is no state is renamed to `….bad`, or `….bad.1` and so on
    /// where that exists, so that it is neither overwritten nor in the way. Of a state of another
    /// client, which saving will replace, a copy is kept as `….foreign`, in the same way, unless there is
    /// one already.
    ///
    /// # Errors
    ///
    /// The file cannot be read, not be set aside or copied, or its folder does not exist.
    pub fn load(&self) -> Result<Loaded, StateFileError> {
        self.sweep();
        let mut bytes = Vec::new();
        match File::open(&self.path).and_then(|file| file.take(MAX_LEN + 1).read_to_end(&mut bytes)) {
            Ok(_) => {}
            // A folder that is missing is a mistake, and better told now than when saving.
            Err(error) if error.kind() == ErrorKind::NotFound && self.folder().is_dir() => {
                return Ok(Loaded::Nothing);
            }
            Err(error) => return Err(self.failed("read", error)),
        }
        let is_long = bytes.len() as u64 > MAX_LEN;
        match State::parse(&bytes) {
            Ok(state) if !is_long => {
                if state.saved_at().is_none() {
                    self.keep_foreign(&bytes).map_err(|error| self.failed("copy", error))?;
                }
                // A clock that was set back says nothing.
                let elapsed = state.saved_at().map_or(0, |saved_at| unix_time().saturating_sub(saved_at));
                Ok(Loaded::State(SavedState { bytes, elapsed: Duration::from_secs(elapsed) }))
            }
            other => {
                let error = other.err().unwrap_or(StateError::Unknown);
                let kept_as = self
                    .take_name(BAD)
                    .and_then(|kept_as| fs::rename(&self.path, &kept_as).map(|()| kept_as))
                    .map_err(|error| self.failed("set aside", error))?;
                Ok(Loaded::Refused { error, kept_as })
            }
        }
    }

    /// What to save of a node; `None` if it knows no other node: then the network was down, and what
    /// was saved before is worth more.
    pub fn snapshot<S: Storage>(node: &Node<S>) -> Option<Vec<u8>> {
        if Family::ALL.iter().all(|family| node.node_count(*family) == 0) {
            return None;
        }
        let bytes = node.snapshot(unix_time());
        // Routers, of which alone a table may consist, are not saved.
        let has_nodes = State::parse(&bytes).is_ok_and(|state| state.nodes().next().is_some());
        has_nodes.then_some(bytes)
    }

    /// Replaces the file by a [`snapshot`](Self::snapshot). It waits for the disk.
    ///
    /// Whenever the program or the system ends, the file is whole, the old or the new one.
    ///
    /// # Errors
    ///
    /// The file cannot be written; the old one is unharmed.
    pub fn save(&self, snapshot: &[u8]) -> Result<(), StateFileError> {
        self.replace(snapshot).map_err(|error| self.failed("save", error))
    }

    /// Removes the file, if there is one: the next node starts with a new id, and from its bootstrap
    /// hosts.
    ///
    /// # Errors
    ///
    /// The file cannot be removed.
    pub fn clear(&self) -> Result<(), StateFileError> {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(self.failed("remove", error)),
            _ => Ok(()),
        }
    }

    /// Writes beside the file and renames: on one file system that is a change in one step.
    fn replace(&self, bytes: &[u8]) -> io::Result<()> {
        // Another process that shares the file against our advice must not write into ours.
        let new = self.beside(&format!(".{}{NEW}", std::process::id()));
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let written = options.open(&new).and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()
        });
        let done = written.and_then(|()| fs::rename(&new, &self.path));
        if done.is_err() {
            let _ = fs::remove_file(&new);
            return done;
        }
        // The rename itself lasts once the folder is written. Not every system can do that.
        #[cfg(unix)]
        let _ = File::open(self.folder()).and_then(|folder| folder.sync_all());
        Ok(())
    }

    fn folder(&self) -> &Path {
        self.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."))
    }

    /// Removes what programs left that were killed while saving, and nobody can be writing any more.
    fn sweep(&self) {
        let own = self.beside(".");
        let Some(own) = own.file_name().map(OsStr::as_encoded_bytes) else { return };
        let is_left = |entry: &DirEntry| {
            let name = entry.file_name();
            let number =
                name.as_encoded_bytes().strip_prefix(own).and_then(|name| name.strip_suffix(NEW.as_bytes()));
            let age = entry.metadata().and_then(|metadata| metadata.modified()).ok()?.elapsed().ok()?;
            Some(number?.iter().all(u8::is_ascii_digit) && age > LEFT)
        };
        let entries = fs::read_dir(self.folder()).into_iter().flatten().flatten();
        for entry in entries.filter(|entry| is_left(entry) == Some(true)) {
            let _ = fs::remove_file(entry.path());
        }
    }

    /// Copies a state of another client, unless an earlier start has done so: a node that finds nobody
    /// leaves the file as it is.
    fn keep_foreign(&self, bytes: &[u8]) -> io::Result<()> {
        let copies = self.names(FOREIGN).take_while(|copy| copy.exists());
        for copy in copies {
            let is_as_long = fs::metadata(&copy).is_ok_and(|copy| copy.len() == bytes.len() as u64);
            if is_as_long && fs::read(&copy).is_ok_and(|copy| copy == bytes) {
                return Ok(());
            }
        }
        self.take_name(FOREIGN).and_then(|copy| fs::write(copy, bytes))
    }

    /// Takes a name of the file with this suffix, or the suffix and a number, that nothing has yet:
    /// renaming and copying would overwrite it.
    fn take_name(&self, suffix: &str) -> io::Result<PathBuf> {
        for path in self.names(suffix) {
            match OpenOptions::new().write(true).create_new(true).open(&path) {
                Ok(_) => return Ok(path),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Err(ErrorKind::AlreadyExists.into())
    }

    fn names(&self, suffix: &str) -> impl Iterator<Item = PathBuf> {
        let numbered = (1_u32..).map(move |at| format!("{suffix}.{at}"));
        core::iter::once(suffix.to_owned()).chain(numbered).map(|suffix| self.beside(&suffix))
    }

    /// The path with something behind its name.
    fn beside(&self, suffix: &str) -> PathBuf {
        let mut name = OsString::from(&self.path);
        name.push(suffix);
        name.into()
    }

    pub(super) fn failed(&self, action: &'static str, error: io::Error) -> StateFileError {
        StateFileError { action, path: self.path.display().to_string(), error }
    }
}

impl SavedState {
    /// The state itself.
    pub fn state(&self) -> State<'_> {
        // It has been parsed before.
        State::parse(&self.bytes).unwrap_or_default()
    }

    /// How long ago it was saved, to the second; zero where that is not known.
    pub const fn elapsed(&self) -> Duration {
        self.elapsed
    }

    /// Gives a node that is not born yet its ids, where none are chosen.
    pub fn set_ids(&self, config: &mut Config) {
        let state = self.state();
        config.id = config.id.or_else(|| state.id(Family::V4));
        config.id_v6 = config.id_v6.or_else(|| state.id(Family::V6));
    }

    /// Gives a node its nodes and announces, as [`Node::restore`] does.
    pub fn restore<S: Storage>(&self, node: &mut Node<S>, now: Instant) -> Restored {
        node.restore(now, &self.state(), self.elapsed)
    }
}

fn unix_time() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}
