//! The file with the state of a node: read at the start, replaced as a whole when it is saved.
//!
//! It is independent of threads and event loops.

use alloc::string::{String, ToString as _};
use alloc::vec::Vec;
use core::time::Duration;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use thiserror::Error;

use super::disk;
use super::lock::StateLock;
use super::unclaimed::Saved;
use crate::net::io_error::IoError;
use crate::node::persist::format::{add_unclaimed, resembles_state};
use crate::state::{Restored, State, StateError};
use crate::{Config, Family, Instant, Node, Storage};

/// How often a running node saves its state.
pub const SAVE_INTERVAL: Duration = Duration::from_secs(5 * 60);

/// The end of the name of a damaged state that has been set aside.
const BAD: &str = ".bad";

/// The end of the name of a copy of a state of another client.
const FOREIGN: &str = ".foreign";

/// Where a node keeps its state between runs.
///
/// Two nodes that run at the same time must not share one, because they would have the same id:
/// [`lock`](Self::lock) keeps them apart.
///
/// Symbolic links are followed, and the file that they lead to is replaced. Only regular files are opened, and only
/// those that look like a state are moved or replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateFile {
    path: PathBuf,
}

/// The content of a [`StateFile`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Loaded {
    /// No file, or an empty one: this is the first run.
    Nothing,
    /// A state.
    State(SavedState),
    /// A damaged state. It has been moved to `kept_as`, and the node starts without it.
    Refused {
        /// What is wrong with the state.
        error: StateError,
        /// The path of the file now.
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
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("cannot {action} {path}: {error}")]
pub struct StateFileError {
    action: &'static str,
    path: String,
    #[source]
    error: IoError,
}

impl StateFile {
    /// Names a file, which need not exist yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// The path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Locks the file against other processes, and other nodes of this one, that take the lock as well, as
    /// `Builder::state` does. The lock ends with the process at the latest, however that ends.
    ///
    /// Meanwhile there is a file beside it whose name ends in `.lock`; one that a killed process has left does no
    /// harm. On a system or in a folder without locks this has no effect.
    ///
    /// # Errors
    ///
    /// Another process or node holds the lock.
    pub fn lock(&self) -> Result<StateLock, StateFileError> {
        self.locate().and_then(|target| StateLock::take(&target).map_err(|error| self.failed("use", error)))
    }

    /// Reads the saved state.
    ///
    /// A damaged state is renamed to `….bad`, or `….bad.1` and so on where that exists, so that it is not
    /// overwritten; there are ten of these at most, and then the oldest is replaced. A state of another client, which
    /// saving will replace, is copied to `….foreign` in the same way, unless there is a copy already.
    ///
    /// # Errors
    ///
    /// The file cannot be read, set aside or copied, its folder does not exist, or it is something else than a
    /// state: not a regular file, or one that does not look like a state. Then it stays as it is.
    pub fn load(&self) -> Result<Loaded, StateFileError> {
        let target = self.locate()?;
        disk::sweep(&target);
        let bytes = match disk::read(&target) {
            Ok(bytes) => bytes,
            // A missing folder is a mistake, which is better reported now than when saving.
            Err(error) if error.kind() == ErrorKind::NotFound && disk::folder(&target).is_dir() => {
                return Ok(Loaded::Nothing);
            }
            Err(error) => return Err(self.failed("read", error)),
        };
        match State::parse(&bytes) {
            Ok(state) => {
                if state.saved_at().is_none() {
                    disk::copy(&target, FOREIGN, &bytes).map_err(|error| self.failed("copy", error))?;
                }
                let elapsed = elapsed(&state);
                Ok(Loaded::State(SavedState { bytes, elapsed }))
            }
            Err(error) => self.load_damaged(&target, &bytes, error),
        }
    }

    fn load_damaged(&self, target: &Path, bytes: &[u8], error: StateError) -> Result<Loaded, StateFileError> {
        if !bytes.is_empty() && !resembles_state(bytes) {
            let advice = "it holds something else, and is left as it is; name another file";
            return Err(self.failed("keep the state in", io::Error::new(ErrorKind::InvalidData, advice)));
        }
        // Overwriting it in place was interrupted.
        if let Some(bytes) = disk::rescue(target)
            && let Some(elapsed) = State::parse(&bytes).ok().map(|state| elapsed(&state))
        {
            return Ok(Loaded::State(SavedState { bytes, elapsed }));
        }
        if bytes.is_empty() {
            return Ok(Loaded::Nothing);
        }
        let kept_as = disk::set_aside(target, BAD, bytes).map_err(|error| self.failed("set aside", error))?;
        Ok(Loaded::Refused { error, kept_as })
    }

    /// Returns the state of a node to save; `None` if it knows no other node: then the network was down, and the state
    /// that was saved before is worth more.
    pub fn snapshot<S: Storage>(node: &Node<S>) -> Option<Vec<u8>> {
        Self::snapshot_with(node, &Saved::default(), Instant::ZERO)
    }

    /// Returns the state of a node to save, with the unclaimed announcements and items of an earlier one.
    pub(crate) fn snapshot_with<S: Storage>(node: &Node<S>, saved: &Saved, now: Instant) -> Option<Vec<u8>> {
        if Family::ALL.iter().all(|family| node.node_count(*family) == 0) {
            return None;
        }
        let bytes = node.snapshot(unix_time());
        // Routers, of which alone a table may consist, are not saved.
        let has_nodes = State::parse(&bytes).is_ok_and(|state| state.nodes().next().is_some());
        has_nodes.then(|| add_unclaimed(bytes, |own| saved.unclaimed(own, now)))
    }

    /// Replaces the file by a [`snapshot`](Self::snapshot), and waits for the disk.
    ///
    /// Whenever the program or the system ends, the file is whole, the old or the new one. A file that is a
    /// mount of its own, as in a container, is overwritten in place, with a copy beside it, `….rescue`, which
    /// [`load`](Self::load) takes if that was interrupted.
    ///
    /// # Errors
    ///
    /// The file cannot be written; the old one is unharmed.
    pub fn save(&self, snapshot: &[u8]) -> Result<(), StateFileError> {
        let target = self.locate()?;
        disk::replace(&target, snapshot).map_err(|error| self.failed("save", error))
    }

    /// Removes the file, if there is one: the next node starts with a new id, and from its bootstrap
    /// hosts. Where it is a mount of its own it is emptied.
    ///
    /// # Errors
    ///
    /// The file cannot be removed.
    pub fn clear(&self) -> Result<(), StateFileError> {
        match self.locate().map(|target| disk::remove(&target))? {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(self.failed("remove", error)),
            _ => Ok(()),
        }
    }

    /// Returns the file that links lead to.
    fn locate(&self) -> Result<PathBuf, StateFileError> {
        disk::locate(&self.path).map_err(|error| self.failed("keep the state in", error))
    }

    pub(crate) fn failed(&self, action: &'static str, error: io::Error) -> StateFileError {
        StateFileError { action, path: self.path.display().to_string(), error: error.into() }
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

    /// Sets the ids of a node that is to be created, unless they are chosen already.
    pub fn set_ids(&self, config: &mut Config) {
        let state = self.state();
        config.id = config.id.or_else(|| state.id(Family::V4));
        config.id_v6 = config.id_v6.or_else(|| state.id(Family::V6));
    }

    /// Restores nodes and announces, as [`Node::restore`] does.
    pub fn restore<S: Storage>(&self, node: &mut Node<S>, now: Instant) -> Restored {
        node.restore(now, &self.state(), self.elapsed)
    }
}

/// Returns the age of a state; zero if the clock was set back.
fn elapsed(state: &State<'_>) -> Duration {
    Duration::from_secs(state.saved_at().map_or(0, |saved_at| unix_time().saturating_sub(saved_at)))
}

fn unix_time() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}
