//! Items (BEP 44): values stored under their hash, or under the key that signed them.
//!
//! - `chunks`: memory for values of any length
//! - `eviction`: making room in the store
//! - `item`: the public item types, validated on construction
//! - `keys`: Ed25519 keys and signatures, and the targets of items
//! - `own`: items that our own lookups find or publish
//! - `pointer`: torrents that a mutable item points to (BEP 46)
//! - `store`: the items that others put

mod chunks;
mod eviction;
mod item;
mod keys;
mod own;
mod pointer;
mod store;
#[cfg(test)]
mod tests;

pub(crate) use chunks::Chunk;
pub(crate) use eviction::Victims;
pub use item::{Item, ItemError, Salt, SaltTooLong};
pub use keys::{ParseKeyError, PublicKey, SecretKey};
pub(crate) use keys::{immutable_target, mutable_target};
pub(crate) use own::{OwnItem, OwnItems, OwnSlots, Owner, PutObstacle, Shortage, Sighting};
pub use pointer::{ParseLinkError, TorrentPointer, UpdatableTorrent};
pub(crate) use store::{ItemSlots, ItemStore, ItemView, Meeting, Stored, read as read_stored};
