//! Commands about items, values that are stored in the DHT (BEP 44): one file each, and what they share.
//!
//! - `get`, `get_mutable`: write an item to stdout
//! - `put`, `put_mutable`: store a file as an item
//! - `keygen`: makes a key for mutable items; `key_file`: the file with a key
//! - `fetch`: looks up the newest version of an item, and the torrent it points to (BEP 46)
//! - `store`: stores an item once or repeatedly

mod fetch;
pub(super) mod get;
pub(super) mod get_mutable;
mod key_file;
pub(super) mod keygen;
pub(super) mod put;
pub(super) mod put_mutable;
mod store;

pub(super) use fetch::resolve_pointer;
