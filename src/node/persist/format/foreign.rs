//! The formats of other clients, as far as their sources document them.
//!
//! None has a checksum, and none has the ids of other nodes.
//!
//! - libtorrent: `node-id` is a list of the client's ids, each followed by the address it was drawn for, or,
//!   in old versions, a single id; `nodes` and `nodes6` are lists of compact endpoints. The dictionary stands
//!   alone, or under `dht state` in the session parameters.
//! - Transmission, and other clients with the same library: `id`, and `nodes` and `nodes6` as strings of
//!   compact endpoints, end to end.

use super::contents::{Contents, List};
use super::encoding::{Dictionary, MAX_TOKENS, id, value};
use super::saved::StateError;
use crate::base::addr::Family;
use crate::base::id::{ID_LEN, NodeId};
use crate::wire::{Reader, Value};

/// The key of libtorrent's session parameters whose value is a state.
pub(super) const LIBTORRENT: &[u8] = b"dht state";

/// Reads a dictionary of either kind.
pub(super) fn read(bytes: &[u8]) -> Result<Contents<'_>, StateError> {
    let mut reader = Reader::with_tokens(bytes, MAX_TOKENS);
    let mut keys = Dictionary::enter(&mut reader)?.ok_or(StateError::Unknown)?;
    let mut contents = Contents::default();
    let mut is_state = false;
    while let Some((key, raw)) = keys.next()? {
        match key {
            b"id" => contents.ids = [id(raw); 2],
            b"node-id" => read_ids(&mut contents.ids, raw),
            b"node-id6" => contents.ids[Family::V6.index()] = id(raw),
            b"nodes" => contents.lists[Family::V4.index()] = list(raw),
            b"nodes6" => contents.lists[Family::V6.index()] = list(raw),
            // A torrent may name nodes as well (BEP 5).
            b"info" => return Err(StateError::Unknown),
            _ => continue,
        }
        is_state = true;
    }
    if is_state { Ok(contents) } else { Err(StateError::Unknown) }
}

/// Reads the ids of a libtorrent state, the first of each family.
fn read_ids(ids: &mut [Option<NodeId>; 2], raw: &[u8]) {
    let Value::List(mut members) = value(raw) else {
        ids[Family::V4.index()] = id(raw);
        return;
    };
    while !members.is_empty() {
        let mut reader = Reader::with_tokens(members, MAX_TOKENS);
        let Ok(member) = reader.value() else { return };
        members = reader.rest();
        let Some((own, address)) = member.bytes().and_then(|bytes| bytes.split_first_chunk::<ID_LEN>())
        else {
            continue;
        };
        let family = match address.len() {
            4 => Family::V4,
            16 => Family::V6,
            _ => continue,
        };
        let own = Some(NodeId::from_bytes(*own)).filter(|own| *own != NodeId::ZERO);
        ids[family.index()] = ids[family.index()].or(own);
    }
}

fn list(raw: &[u8]) -> List<'_> {
    match value(raw) {
        Value::List(members) => List::Members(members),
        other => List::Packed(other.bytes().unwrap_or_default()),
    }
}
