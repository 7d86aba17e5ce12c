//! The file that a node's state is kept in: read at the start, replaced as a whole when saving.
//!
//! Nothing here knows of threads or event loops; every adapter uses it in the same way.

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

/// The end of the name of a file that was a damaged state.
const BAD: &str = ".bad";

/// The end of the name of a copy of a state of another client.
const FOREIGN: &str = ".foreign";

/// Where a node keeps its state between runs.
///
/// Two nodes that run at the same time must not share one, because they would have the same id:
/// [`lock`](Self::lock) keeps them apart.
///
/// Symbolic links are followed: the file that they lead to is the one that is replaced. Nothing but a
/// regular file is opened, and only one that looks like a state is moved or replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateFile {
    path: PathBuf,
}

/// What a [`StateFile`] held.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Loaded {
    /// There is no such file, or it is empty: this is the first run.
    Nothing,
    /// A state.
    State(SavedState),
    /// The file is a damaged state. It has been moved to `kept_as`, and the node starts afresh.
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
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("cannot {action} {path}: {error}")]
pub struct StateFileError {
    action: &'static str,
    path: String,
    #[source]
    error: IoError,
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

    /// Keeps other processes, and other nodes of this one, from the file, as long as they ask for this lock
    /// as well: `Builder::state` does. It goes with the process,
    /// however that ends.
    ///
    /// A file beside it, whose name ends in `.lock`, exists for as long; one that a killed process has left is
    /// in nobody's way. On a system or in a folder without
    /// locks nothing is kept from anybody.
    ///
    /// # Errors
    ///
    /// Somebody else has it.
    pub fn lock(&self) -> Result<StateLock, StateFileError> {
        self.locate().and_then(|target| StateLock::take(&target).map_err(|error| self.failed("use", error)))
    }

    /// Reads what was saved. A damaged state is renamed to `….bad`, or `….bad.1` and so on where that
    /// exists, so that it is neither overwritten nor in the way; of these there are ten at most, and then the
    /// oldest goes. Of a state of another client, which saving will replace, a copy is kept as `….foreign`,
    /// in the same way, unless there is one already.
    ///
    /// # Errors
    ///
    /// The file cannot be read, not be set aside or copied, its folder does not exist, or it is something
    /// else: not a regular file, or one that does not look like a state. Then it is left as it is.
    pub fn load(&self) -> Result<Loaded, StateFileError> {
        let target = self.locate()?;
        disk::sweep(&target);
        let bytes = match disk::read(&target) {
            Ok(bytes) => bytes,
            // A folder that is missing is a mistake, and better told now than when saving.
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

    /// What to save of a node; `None` if it knows no other node: then the network was down, and what
    /// was saved before is worth more.
    pub fn snapshot<S: Storage>(node: &Node<S>) -> Option<Vec<u8>> {
        Self::snapshot_with(node, &Saved::default(), Instant::ZERO)
    }

    /// What to save of a node, with what an earlier one kept up and nobody has asked for since.
    pub(crate) fn snapshot_with<S: Storage>(node: &Node<S>, saved: &Saved, now: Instant) -> Option<Vec<u8>> {
        if Family::ALL.iter().all(|family| node.node_count(*family) == 0) {
            return None;
        }
        let bytes = node.snapshot(unix_time());
        // Routers, of which alone a table may consist, are not saved.
        let has_nodes = State::parse(&bytes).is_ok_and(|state| state.nodes().next().is_some());
        has_nodes.then(|| add_unclaimed(bytes, |own| saved.unclaimed(own, now)))
    }

    /// Replaces the file by a [`snapshot`](Self::snapshot). It waits for the disk.
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

    /// The file that links lead to.
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

/// A clock that was set back says nothing.
fn elapsed(state: &State<'_>) -> Duration {
    Duration::from_secs(state.saved_at().map_or(0, |saved_at| unix_time().saturating_sub(saved_at)))
}

fn unix_time() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}
