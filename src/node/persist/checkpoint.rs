//! Checkpoints: a whole running node as bytes.
//!
//! ```text
//! 20 bytes  "dht-proto checkpoint"
//!  1 byte   the length of the version, and then the version of this crate
//!  8 bytes  the layout of the memory
//!  …        in the format of `postcard`: the lengths of all slices, the core, all slots
//! 20 bytes  the SHA-1 of all that
//! ```
//!
//! The encoding of the core is derived, and the slices come from the declaration of the storage, so that whatever is
//! added to either is in the checkpoint, or does not compile.

#[cfg(feature = "alloc")]
use alloc::vec::Vec;

use postcard::ser_flavors::{Flavor, Size, Slice};
use serde::{Deserialize as _, Serialize as _};
use sha1_smol::Sha1;
use thiserror::Error;

use crate::base::time::Instant;
use crate::node::Node;
use crate::node::core::{Code, Core, Parts};
use crate::node::maintenance::announcer::PUBLISHER;
use crate::node::persist::format::BufferTooShort;
#[cfg(feature = "alloc")]
use crate::node::storage::Heap;
use crate::node::storage::{Input, LAYOUT, Lengths, Output, Storage, mix};

const MAGIC: &[u8; 20] = b"dht-proto checkpoint";
const VERSION: &str = env!("CARGO_PKG_VERSION");
const CHECKSUM_LEN: usize = 20;

/// Why a node cannot be restored from a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// The bytes are no checkpoint, or their very beginning is damaged.
    #[error("not a checkpoint")]
    NoCheckpoint,
    /// The checkpoint is truncated or altered: the checksum does not match.
    #[error("truncated or damaged: the checksum does not fit")]
    Damaged,
    /// The checkpoint was written by another version of this crate, or on another kind of machine.
    #[error("written by another version, or on another kind of machine")]
    Version,
    /// The memory has another size than that of the node which wrote the checkpoint.
    #[error("the memory has another size than that of the checkpoint")]
    Storage,
    /// The checksum matches, but no node can be in this state.
    #[error("no state that a node can be in")]
    Inconsistent,
}

/// Checkpoints (feature `checkpoint`).
impl<S: Storage> Node<S> {
    /// Writes the whole node to the front of `buf`, and returns the length.
    ///
    /// Unlike a [snapshot](Self::snapshot_into), a checkpoint holds lookups, queries in flight, announces,
    /// peers, rates and timers. [`from_checkpoint`](Self::from_checkpoint) of exactly this version of the
    /// crate reads it, on the same kind of machine.
    ///
    /// A checkpoint holds secrets, those behind tokens and transaction ids: whoever can read it can forge
    /// responses to this node and announces of others, and whoever can write it controls the node.
    ///
    /// Events and datagrams that have been polled are not in it. Take a checkpoint when both are drained, or
    /// continue polling afterwards.
    ///
    /// # Errors
    ///
    /// [`BufferTooShort`], with the length needed: about as long as the memory of the node.
    pub fn checkpoint_into(&self, buf: &mut [u8]) -> Result<usize, BufferTooShort> {
        let Ok(content_len) = self.encode(Size::default()) else { unreachable!("counting has no limit") };
        let needed = content_len + CHECKSUM_LEN;
        let Some(buf) = buf.get_mut(..needed) else { return Err(BufferTooShort { needed }) };
        let (content, checksum) = buf.split_at_mut(content_len);
        let content = self.encode(Slice::new(content)).map_err(|_| BufferTooShort { needed })?;
        checksum.copy_from_slice(&Sha1::from(content).digest().bytes());
        Ok(needed)
    }

    /// Returns a checkpoint, as [`checkpoint_into`](Self::checkpoint_into) writes it, in memory of its own.
    #[cfg(feature = "alloc")]
    pub fn checkpoint(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        while let Err(short) = self.checkpoint_into(&mut bytes) {
            bytes.resize(short.needed, 0);
        }
        bytes
    }

    /// Returns the last instant that the node has seen. The clock for a restored node continues from here,
    /// plus the time that has passed meanwhile; while it is behind, time stands still for the node.
    pub fn now(&self) -> Instant {
        Instant::ZERO + (self.core.now - Instant::from_micros(self.core.slept))
    }

    /// Restores a node from a checkpoint, in the given memory, which must be of the same size. After an error
    /// that memory can only be passed to [`with_storage`](Self::with_storage).
    ///
    /// The node has the same ids, accepts responses to queries that were sent before, and given the same
    /// calls at the same instants it produces the same datagrams and events as the node that wrote the
    /// checkpoint. Restore a checkpoint only once: two nodes with the same ids and the same secrets interfere
    /// with each other.
    ///
    /// # Errors
    ///
    /// [`CheckpointError`]; a truncated or damaged checkpoint is never accepted.
    pub fn from_checkpoint_in(storage: S, bytes: &[u8]) -> Result<Self, CheckpointError> {
        let (lengths, input) = open(bytes)?;
        if storage.view().lengths() != lengths {
            return Err(CheckpointError::Storage);
        }
        Self::decode(storage, input)
    }

    fn encode<F: Flavor>(&self, flavor: F) -> postcard::Result<F::Output> {
        let view = self.storage.view();
        let mut output = Output { output: flavor };
        output.output.try_extend(MAGIC)?;
        output.output.try_push(VERSION.len() as u8)?;
        output.output.try_extend(VERSION.as_bytes())?;
        output.output.try_extend(&layout().to_le_bytes())?;
        view.lengths().serialize(&mut output)?;
        self.core.serialize(&mut output)?;
        view.write_slots(&mut output)?;
        output.output.finalize()
    }

    fn decode(mut storage: S, mut input: Input<'_>) -> Result<Self, CheckpointError> {
        let inconsistent = |_| CheckpointError::Inconsistent;
        let mut core = Core::deserialize(&mut input).map_err(inconsistent)?;
        core.code = Code { parts: Parts::of::<S>(), publisher: Some(&PUBLISHER) };
        storage.memory().read_slots(&mut input).map_err(inconsistent)?;
        let rest = input.finalize().map_err(inconsistent)?;
        let node = Self { core, storage };
        if rest.is_empty() && node.violated_invariant().is_none() {
            Ok(node)
        } else {
            Err(CheckpointError::Inconsistent)
        }
    }
}

#[cfg(feature = "alloc")]
impl Node {
    /// Restores a node from a checkpoint, as [`from_checkpoint_in`](Self::from_checkpoint_in) does, in memory
    /// of its own of the same size as before.
    ///
    /// ```
    /// use dht_proto::{Config, Instant, Limits, Node};
    ///
    /// let now = Instant::from_micros(5_000_000);
    /// let mut node = Node::new(Config::default(), &Limits::default(), [7; 32], now);
    /// let query = node.ping(now, "67.215.246.10:6881".parse()?)?;
    /// let bytes = node.checkpoint();
    /// drop(node);
    ///
    /// // Perhaps in another process:
    /// let mut node = Node::from_checkpoint(&bytes)?;
    /// assert_eq!(node.now(), now); // the clock goes on from here
    /// assert!(node.cancel_query(query)); // and so does the query
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`CheckpointError`].
    pub fn from_checkpoint(bytes: &[u8]) -> Result<Self, CheckpointError> {
        let (lengths, input) = open(bytes)?;
        // A slot takes at least a byte, so no memory is reserved for slots that cannot be in the input.
        if lengths.total() > bytes.len() {
            return Err(CheckpointError::Inconsistent);
        }
        Self::decode(Heap::of(&lengths), input)
    }
}

/// Checks the envelope, and returns the lengths of the slices and the remaining input.
fn open(bytes: &[u8]) -> Result<(Lengths, Input<'_>), CheckpointError> {
    if !bytes.starts_with(MAGIC) {
        return Err(CheckpointError::NoCheckpoint);
    }
    let (content, checksum) = bytes.split_last_chunk::<CHECKSUM_LEN>().ok_or(CheckpointError::Damaged)?;
    if Sha1::from(content).digest().bytes() != *checksum {
        return Err(CheckpointError::Damaged);
    }
    let body = content
        .strip_prefix(MAGIC)
        .and_then(|rest| rest.strip_prefix(&[VERSION.len() as u8]))
        .and_then(|rest| rest.strip_prefix(VERSION.as_bytes()))
        .and_then(|rest| rest.strip_prefix(&layout().to_le_bytes()))
        .ok_or(CheckpointError::Version)?;
    let mut input = Input::from_bytes(body);
    let lengths = Lengths::deserialize(&mut input).map_err(|_| CheckpointError::Inconsistent)?;
    Ok((lengths, input))
}

/// Returns a number that differs if the same version was built from other sources, or for a machine with
/// other pointers.
const fn layout() -> u64 {
    mix(LAYOUT, "core", size_of::<Core>())
}
