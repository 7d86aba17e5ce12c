//! Saved states and checkpoints.
//!
//! - `checkpoint`: a node that continues from a checkpoint behaves as if it had never been stopped
//! - `restore`: a node that starts with a saved state
//! - `state`: saved states as bytes, our own format and those of others

#[cfg(all(feature = "checkpoint", feature = "sim"))]
mod checkpoint;
mod restore;
mod state;
