//! Items (BEP 44): values that nodes store under their hash, or under the key that signed them.
//!
//! [`keys`] signs and verifies, [`item`] is an item by itself, [`store`] holds what others put to
//! us and [`room`] decides what goes when it is full, [`own`] holds what our lookups find and
//! publish, [`chunks`] is the memory of both, and [`pointer`] makes torrents of items (BEP 46).

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
pub use item::{Item, ItemError, Salt};
pub(crate) use keys::immutable_target;
pub use keys::{ParseKeyError, PublicKey, SecretKey};
pub use own::PutObstacle;
pub(crate) use own::{OwnItem, OwnItems, OwnSlots, Owner, Shortage, Sighting};
pub use pointer::{ParseLinkError, TorrentPointer, UpdatableTorrent};
pub(crate) use store::{ItemSlots, ItemStore, ItemView, Meeting, Stored, read as read_stored};
