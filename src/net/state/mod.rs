//! The state of a node in a file: read, saved, locked, and replaced as a whole.
//!
//! - `file`: the state file, and what loading it leads to
//! - `saver`: when a loop saves, beside it on a thread
//! - `disk`: files that are replaced as a whole
//! - `unclaimed`: announces and items of a saved state that no caller has claimed yet
//! - `lock`: the lock that keeps two processes from one file

pub(crate) mod disk;
pub(crate) mod file;
pub(crate) mod lock;
pub(crate) mod saver;
pub(crate) mod unclaimed;
