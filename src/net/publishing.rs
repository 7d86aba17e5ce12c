//! What callers of either adapter make of an item that was found.

use alloc::boxed::Box;

use super::error::CallError;
use super::progress::{Key, Outcome};
use crate::{InfoHash, Item, LookupOptions, Salt, SecretKey, TorrentPointer};

/// The put of the version after the one that was found.
pub(super) fn put_next(
    found: &Outcome,
    secret: &SecretKey,
    salt: Salt,
    value: &[u8],
    options: LookupOptions,
) -> Result<Key, CallError> {
    let old = found.item.as_ref().and_then(Item::seq);
    // After the last number there is none: nodes will refuse it.
    let seq = Item::next_seq(old).unwrap_or(i64::MAX);
    let item = Item::sign(secret, salt.as_bytes(), seq, value)?;
    Ok(Key::Put(Box::new(item), old, options))
}

/// The torrent that the item points to.
pub(super) fn torrent(found: &Outcome) -> Result<InfoHash, CallError> {
    let item = found.item.as_ref().ok_or(CallError::NoItem)?;
    TorrentPointer::from_value(item.value()).map(|pointer| pointer.infohash()).ok_or(CallError::NoPointer)
}
