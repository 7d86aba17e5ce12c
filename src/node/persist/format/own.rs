//! The format of snapshots that this crate writes.
//!
//! ```text
//! d
//!   9:dht-proto  d
//!     2:id      20 bytes    in the IPv4 DHT
//!     3:id6     20 bytes    in the IPv6 DHT
//!     5:items   records of published items; only if there are any
//!     4:kept    records of 28 bytes: announcements
//!     5:nodes   records of 36 bytes, best first
//!     6:nodes6  records of 48 bytes, best first
//!     4:size    32 bytes    how many nodes either DHT has; only if one is known
//!     4:time    i…e         the caller's clock at the time of saving, in seconds
//!   e
//!   4:sha1   20 bytes: the SHA-1 of the value of `dht-proto`, from its `d` to its `e`
//! e
//! ```
//!
//! The record of a node is the node in compact form (BEP 5, BEP 32; the zero id if the id is unknown), then
//! the seconds for which it had been silent and known, four bytes each, and its round-trip time in
//! milliseconds, two bytes, all ones if unknown; in network order.
//!
//! The record of an announcement is its infohash, its port, a byte with 1 for `implied_port` and 2 for
//! `seed`, a byte with the number of nodes that confirmed its last republish, and four bytes with the seconds
//! since that. Records with other bits, and with port 0, are skipped.
//!
//! The record of an item begins with the length of the rest in two bytes, a byte with 1 for a mutable item, a
//! byte with the number of nodes that confirmed its last republish, and four bytes with the seconds since
//! that. For a mutable item its public key follows, its number in eight bytes, its signature, a byte with the
//! length of its salt, and the salt; then the bencoded value. Secret keys are never written. Records with
//! other bits, and those that are no valid items, are skipped.
//!
//! The size of a DHT is a number of nodes and its standard error, eight bytes each, zero if unknown; IPv4
//! comes first.
//!
//! Further keys may follow; readers that do not know them ignore them.

use core::time::Duration;

use sha1_smol::Sha1;

use super::contents::{Contents, List};
use super::encoding::{Dictionary, MAX_TOKENS, compact, id, put_secs, value};
#[cfg(feature = "items")]
use super::item;
#[cfg(feature = "items")]
use super::saved::SavedItem;
use super::saved::{BufferTooShort, SavedAnnounce, SavedNode, StateError};
use crate::base::addr::{Endpoint, Family};
use crate::base::id::{ID_LEN, InfoHash, NodeId};
use crate::lookup::Announce;
use crate::lookup::density::NetworkSize;
use crate::wire::{Counter, NODE4_LEN, NODE6_LEN, Reader, Sink, Writer};

/// The key whose value is the state, which no other client uses. libtorrent has a `dht` of its own.
pub(super) const KEY: &[u8] = b"dht-proto";
const CHECKSUM: &[u8] = b"sha1";

/// The length of a record behind the compact node.
const QUALITY_LEN: usize = 10;
/// Stands for an unknown round-trip time.
const NO_RTT: u16 = u16::MAX;

/// The length of an announcement's record.
pub(super) const ANNOUNCE_LEN: usize = ID_LEN + 8;
const IMPLIED_PORT: u8 = 1;
const SEED: u8 = 2;

/// The length of the sizes of both DHTs.
const SIZES_LEN: usize = 32;

/// Everything in a state except nodes and publications.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Head {
    pub(crate) ids: [NodeId; 2],
    pub(crate) sizes: [Option<NetworkSize>; 2],
    pub(crate) saved_at: u64,
}

/// What a state is written from, iterated more than once.
pub(crate) trait Source {
    fn head(&self) -> Head;
    fn announces(&self) -> impl Iterator<Item = SavedAnnounce>;
    #[cfg(feature = "items")]
    fn items(&self) -> impl Iterator<Item = SavedItem>;
    /// Returns the nodes of a family, best first.
    fn nodes(&self, family: Family) -> impl Iterator<Item = SavedNode>;
}

/// Writes a state to the front of `buf` and returns its length.
pub(crate) fn write(buf: &mut [u8], source: &impl Source) -> Result<usize, BufferTooShort> {
    let mut content = Counter(0);
    put_content(&mut content, source);
    let mut whole = Counter(content.0);
    put_opening(&mut whole);
    let start = whole.0 - content.0;
    put_closing(&mut whole, &[0; 20]);
    let needed = whole.0;
    let Some(buf) = buf.get_mut(..needed) else { return Err(BufferTooShort { needed }) };
    put_opening(&mut Writer::new(buf));
    let (content, closing) = buf[start..].split_at_mut(content.0);
    put_content(&mut Writer::new(content), source);
    put_closing(&mut Writer::new(closing), &Sha1::from(content).digest().bytes());
    Ok(needed)
}

/// Reads a state whose syntax has been checked.
pub(super) fn read(bytes: &[u8]) -> Result<Contents<'_>, StateError> {
    let mut reader = Reader::with_tokens(bytes, MAX_TOKENS);
    let mut keys = Dictionary::enter(&mut reader)?.ok_or(StateError::Malformed)?;
    let (mut content, mut checksum) = (None, None);
    while let Some((key, raw)) = keys.next()? {
        match key {
            KEY => content = Some(raw),
            CHECKSUM => checksum = value(raw).array::<20>(),
            _ => {}
        }
    }
    let content = content.ok_or(StateError::Unknown)?;
    if checksum != Some(&Sha1::from(content).digest().bytes()) {
        return Err(StateError::Checksum);
    }
    let mut contents = Contents::default();
    let mut reader = Reader::with_tokens(content, MAX_TOKENS);
    let mut keys = Dictionary::enter(&mut reader)?.ok_or(StateError::Unknown)?;
    while let Some((key, raw)) = keys.next()? {
        let records = || List::Records(value(raw).bytes().unwrap_or_default());
        match key {
            b"id" => contents.ids[Family::V4.index()] = id(raw),
            b"id6" => contents.ids[Family::V6.index()] = id(raw),
            #[cfg(feature = "items")]
            b"items" => contents.items = value(raw).bytes().unwrap_or_default(),
            b"kept" => contents.announces = value(raw).bytes().unwrap_or_default(),
            b"nodes" => contents.lists[Family::V4.index()] = records(),
            b"nodes6" => contents.lists[Family::V6.index()] = records(),
            b"size" => contents.sizes = value(raw).array::<SIZES_LEN>().map(read_sizes).unwrap_or_default(),
            b"time" => contents.saved_at = value(raw).int().and_then(|time| time.try_into().ok()),
            _ => {}
        }
    }
    Ok(contents)
}

fn read_sizes(bytes: &[u8; SIZES_LEN]) -> [Option<NetworkSize>; 2] {
    let (numbers, _) = bytes.as_chunks::<8>();
    let number = |at: usize| numbers.get(at).map_or(0, |number| u64::from_be_bytes(*number));
    [0, 2].map(|at| {
        let size = NetworkSize { nodes: number(at), standard_error: number(at + 1) };
        (size.nodes > 0).then_some(size)
    })
}

pub(super) const fn record_len(family: Family) -> usize {
    let node_len = match family {
        Family::V4 => NODE4_LEN,
        Family::V6 => NODE6_LEN,
    };
    node_len + QUALITY_LEN
}

pub(super) fn read_record(family: Family, record: &[u8]) -> Option<SavedNode> {
    let (id, rest) = record.split_first_chunk::<ID_LEN>()?;
    let (rest, &[high, low]) = rest.split_last_chunk()?;
    let (rest, known) = rest.split_last_chunk()?;
    let (endpoint, silent) = rest.split_last_chunk()?;
    let secs = |bytes: &[u8; 4]| Duration::from_secs(u32::from_be_bytes(*bytes).into());
    let rtt = u16::from_be_bytes([high, low]);
    Some(SavedNode {
        id: Some(NodeId::from_bytes(*id)).filter(|id| *id != NodeId::ZERO),
        addr: compact(family, endpoint)?,
        silent: secs(silent),
        known: secs(known),
        rtt: (rtt != NO_RTT).then(|| Duration::from_millis(rtt.into())),
    })
}

pub(super) fn read_announce(record: &[u8]) -> Option<SavedAnnounce> {
    let (infohash, rest) = record.split_first_chunk::<ID_LEN>()?;
    let &[high, low, flags, acknowledged, a, b, c, d] = rest else { return None };
    let port = u16::from_be_bytes([high, low]);
    let is_valid = port != 0 && flags & !(IMPLIED_PORT | SEED) == 0;
    is_valid.then(|| SavedAnnounce {
        infohash: InfoHash::from_bytes(*infohash),
        announce: Announce { port, implied_port: flags & IMPLIED_PORT != 0, seed: flags & SEED != 0 },
        acknowledged: acknowledged.into(),
        age: Duration::from_secs(u32::from_be_bytes([a, b, c, d]).into()),
    })
}

fn put_opening(out: &mut impl Sink) {
    out.put(b"d");
    out.string(KEY);
}

fn put_closing(out: &mut impl Sink, checksum: &[u8; 20]) {
    out.string(CHECKSUM);
    out.string(checksum);
    out.put(b"e");
}

fn put_content(out: &mut impl Sink, source: &impl Source) {
    let Head { ids: [id, id_v6], sizes, saved_at } = source.head();
    out.put(b"d");
    out.string(b"id");
    out.string(id.as_bytes());
    out.string(b"id6");
    out.string(id_v6.as_bytes());
    #[cfg(feature = "items")]
    if source.items().next().is_some() {
        out.string(b"items");
        out.length(source.items().map(|saved| item::record_len(&saved.item)).sum());
        source.items().for_each(|saved| item::put_record(out, &saved));
    }
    out.string(b"kept");
    out.length(source.announces().count() * ANNOUNCE_LEN);
    source.announces().for_each(|announce| put_announce(out, &announce));
    for (family, key) in [(Family::V4, &b"nodes"[..]), (Family::V6, b"nodes6")] {
        out.string(key);
        out.length(source.nodes(family).count() * record_len(family));
        source.nodes(family).for_each(|node| put_record(out, family, &node));
    }
    if sizes != [None; 2] {
        out.string(b"size");
        out.length(SIZES_LEN);
        for size in sizes {
            let numbers = size.map_or([0; 2], |size| [size.nodes, size.standard_error]);
            numbers.into_iter().for_each(|number| out.put(&number.to_be_bytes()));
        }
    }
    out.string(b"time");
    out.int(i64::try_from(saved_at).unwrap_or(i64::MAX));
    out.put(b"e");
}

fn put_announce(out: &mut impl Sink, saved: &SavedAnnounce) {
    let Announce { port, implied_port, seed } = saved.announce;
    out.put(saved.infohash.as_bytes());
    out.put(&port.to_be_bytes());
    let flags = if implied_port { IMPLIED_PORT } else { 0 } | if seed { SEED } else { 0 };
    out.put(&[flags, u8::try_from(saved.acknowledged).unwrap_or(u8::MAX)]);
    put_secs(out, saved.age);
}

fn put_record(out: &mut impl Sink, family: Family, node: &SavedNode) {
    let endpoint = Endpoint::from(node.addr);
    out.put(node.id.unwrap_or(NodeId::ZERO).as_bytes());
    match family {
        Family::V4 => out.put(&endpoint.compact_v4()),
        Family::V6 => out.put(&endpoint.compact_v6()),
    }
    for time in [node.silent, node.known] {
        put_secs(out, time);
    }
    let rtt = node.rtt.map(|rtt| u16::try_from(rtt.as_millis()).unwrap_or(NO_RTT - 1).min(NO_RTT - 1));
    out.put(&rtt.unwrap_or(NO_RTT).to_be_bytes());
}
