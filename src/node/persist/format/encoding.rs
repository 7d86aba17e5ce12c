//! What all formats of states have in common: bencoded dictionaries, compact endpoints, seconds.

use core::net::SocketAddr;
use core::time::Duration;

use crate::base::addr::{Endpoint, Family};
use crate::base::id::NodeId;
use crate::wire::{Malformed, PEER4_LEN, PEER6_LEN, Reader, Sink, Value};

/// Maximum number of strings, integers and containers in a state, which bounds the work.
///
/// The tables of clients have some hundred times fewer.
pub(super) const MAX_TOKENS: u32 = 200_000;

/// Splits off an entry; the last one may be too short. `None` at the end.
pub(super) fn take<'a>(rest: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (entry, tail) = rest.split_at(len.min(rest.len()));
    *rest = tail;
    Some(entry).filter(|entry| !entry.is_empty())
}

/// Parses an endpoint of this family in compact form.
pub(super) fn compact(family: Family, bytes: &[u8]) -> Option<SocketAddr> {
    let endpoint = match family {
        Family::V4 => {
            let [a, b, c, d, high, low] = *bytes.first_chunk::<PEER4_LEN>()?;
            Endpoint::v4([a, b, c, d], u16::from_be_bytes([high, low]))
        }
        Family::V6 => {
            let (ip, port) = bytes.split_first_chunk()?;
            Endpoint::v6(*ip, u16::from_be_bytes(*port.first_chunk()?))
        }
    };
    let len = if family == Family::V4 { PEER4_LEN } else { PEER6_LEN };
    (bytes.len() == len && endpoint.family() == family).then(|| endpoint.into())
}

/// A key and the bytes of its value.
pub(super) type Pair<'a> = (&'a [u8], &'a [u8]);

/// Iterator over the keys of one dictionary, each with the bytes of its value.
pub(super) struct Dictionary<'r, 'a> {
    reader: &'r mut Reader<'a>,
}

impl<'r, 'a> Dictionary<'r, 'a> {
    /// Enters a dictionary; `None` if none comes next.
    pub(super) fn enter(reader: &'r mut Reader<'a>) -> Result<Option<Self>, Malformed> {
        Ok(reader.enter_dictionary()?.then_some(Self { reader }))
    }

    pub(super) fn next(&mut self) -> Result<Option<Pair<'a>>, Malformed> {
        match self.reader.key()? {
            Some(key) => Ok(Some((key, self.reader.raw()?))),
            None => Ok(None),
        }
    }
}

/// Reads a value that is known to be well-formed.
pub(super) fn value(raw: &[u8]) -> Value<'_> {
    Reader::with_tokens(raw, MAX_TOKENS).value().unwrap_or_default()
}

/// Parses a string as an id, excluding the zero id, which no node has.
pub(super) fn id(raw: &[u8]) -> Option<NodeId> {
    value(raw).array().map(|id| NodeId::from_bytes(*id)).filter(|id| *id != NodeId::ZERO)
}

pub(super) fn put_secs(out: &mut impl Sink, time: Duration) {
    out.put(&u32::try_from(time.as_secs()).unwrap_or(u32::MAX).to_be_bytes());
}
