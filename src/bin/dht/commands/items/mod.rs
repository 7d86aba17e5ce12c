//! The commands about what is stored in the DHT (BEP 44), one file each, and what they share.
//!
//! - `get`, `get_mutable`: an item, written to stdout
//! - `put`, `put_mutable`: a file, stored as an item
//! - `keygen`: a key for mutable items; `key_file`: the file it is kept in
//! - `fetch`: the newest version of an item, and the torrent it points to (BEP 46)
//! - `store`: storing an item once or again and again

mod fetch;
pub(super) mod get;
pub(super) mod get_mutable;
mod key_file;
pub(super) mod keygen;
pub(super) mod put;
pub(super) mod put_mutable;
mod store;

pub(super) use fetch::resolve_pointer;
