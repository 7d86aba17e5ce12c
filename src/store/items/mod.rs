//! Items (BEP 44): values stored under their hash, or under the key that signed them.
//!
//! - `chunks`: memory for values of any length
//! - `eviction`: making room in the store
//! - `item`: the public item types, validated on construction
//! - `keys`: Ed25519 keys and signatures, and the targets of items
//! - `own`: items that our own lookups find or publish
//! - `pointer`: torrents that a mutable item points to (BEP 46)
//! - `salt`: salts of mutable items
//! - `store`: the items that others put
//! - `tests`: the store compared with a model

mod chunks;
mod eviction;
mod item;
mod keys;
mod own;
mod pointer;
mod salt;
mod store;
#[cfg(test)]
mod tests;

pub(crate) use chunks::Chunk;
pub use item::{Item, ItemError};
pub use keys::{ParseKeyError, PublicKey, SecretKey};
pub(crate) use keys::{immutable_target, mutable_target};
pub(crate) use own::{Examined, OwnItem, OwnItems, OwnSlots, Owner, PutObstacle, Shortage};
pub use pointer::{ParseLinkError, TorrentPointer, UpdatableTorrent};
pub use salt::{Salt, SaltTooLong};
pub(crate) use store::{
    Existing, ItemSlots, ItemStore, ItemView, NewItem, Stored, Victims, read as read_stored,
};
