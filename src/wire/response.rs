//! Responses: the values that a query may return (BEPs 5, 32, 33, 44, 51).

use super::bencode::{Reader, Seen, Value};
use super::compact::{CompactNodes, Values};
use super::malformed::Malformed;
use crate::base::addr::Family;
pub use crate::base::bloom::FILTER_LEN;
use crate::base::id::{ID_LEN, NodeId};

/// The response to a query. Which fields are present depends on the method and on the node.
///
/// A field that was received with the wrong type or length is absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Response<'a> {
    /// The id of the sender.
    pub id: NodeId,
    /// Close IPv4 nodes.
    pub nodes: Option<CompactNodes<'a>>,
    /// Close IPv6 nodes (BEP 32).
    pub nodes6: Option<CompactNodes<'a>>,
    /// The token that a later announce or put must quote. Never empty on input.
    pub token: Option<&'a [u8]>,
    /// Peers of the torrent.
    pub values: Option<Values<'a>>,
    /// `BFsd`: the Bloom filter of the seeds (BEP 33). Also read as `BFse`, the name that mldht uses.
    pub seeds: Option<&'a [u8; FILTER_LEN]>,
    /// `BFpe`: the Bloom filter of the other peers (BEP 33).
    pub peers: Option<&'a [u8; FILTER_LEN]>,
    /// Infohashes of stored torrents (BEP 51).
    pub samples: Option<&'a [[u8; ID_LEN]]>,
    /// Number of seconds for which the sample stays the same (BEP 51).
    pub interval: Option<i64>,
    /// Number of torrents stored (BEP 51).
    pub num: Option<i64>,
    /// `v`: the stored value, bencoded (BEP 44). Kept as received, even if it is not canonical.
    pub value: Option<&'a [u8]>,
    /// `k`: the public key of a mutable item (BEP 44).
    pub key: Option<&'a [u8; 32]>,
    /// The sequence number of a mutable item (BEP 44).
    pub seq: Option<i64>,
    /// `sig`: the signature of a mutable item (BEP 44).
    pub signature: Option<&'a [u8; 64]>,
    /// `p`: the port from which libtorrent received the query.
    pub port: Option<u16>,
    /// `n`: the name of the torrent, sent by some libtorrent nodes.
    pub name: Option<&'a [u8]>,
}

impl Response<'_> {
    /// Creates a response that contains only the id, as returned for `ping`, `announce_peer` and `put`.
    pub fn new(id: NodeId) -> Self {
        Self { id, ..Self::default() }
    }
}

/// The dictionary `r` while it is parsed.
#[derive(Default)]
pub(super) struct Returns<'a> {
    seen: Seen,
    has_id: bool,
    response: Response<'a>,
}

const ID: u32 = 1;
const NODES: u32 = 1 << 1;
const NODES6: u32 = 1 << 2;
const TOKEN: u32 = 1 << 3;
const VALUES: u32 = 1 << 4;
const SEEDS: u32 = 1 << 5;
const PEERS: u32 = 1 << 6;
const SAMPLES: u32 = 1 << 7;
const INTERVAL: u32 = 1 << 8;
const NUM: u32 = 1 << 9;
const VALUE: u32 = 1 << 10;
const KEY: u32 = 1 << 11;
const SEQ: u32 = 1 << 12;
const SIGNATURE: u32 = 1 << 13;
const PORT: u32 = 1 << 14;
const NAME: u32 = 1 << 15;

impl<'a> Returns<'a> {
    /// Reads the dictionary; any other value counts as an empty one.
    pub(super) fn read(&mut self, reader: &mut Reader<'a>) -> Result<(), Malformed> {
        if !reader.enter_dictionary()? {
            return reader.value().map(|_| ());
        }
        let Self { seen, has_id, response } = self;
        while let Some(key) = reader.key()? {
            let before = reader.rest();
            let value = reader.value()?;
            match key {
                b"id" if seen.first(ID) => {
                    if let Some(id) = value.array() {
                        (*has_id, response.id) = (true, NodeId::from_bytes(*id));
                    }
                }
                b"nodes" if seen.first(NODES) => response.nodes = nodes(Family::V4, value),
                b"nodes6" if seen.first(NODES6) => response.nodes6 = nodes(Family::V6, value),
                b"token" if seen.first(TOKEN) => response.token = value.non_empty(),
                b"values" if seen.first(VALUES) => response.values = Values::from_wire(value),
                b"BFsd" | b"BFse" if seen.first(SEEDS) => response.seeds = value.array(),
                b"BFpe" if seen.first(PEERS) => response.peers = value.array(),
                b"samples" if seen.first(SAMPLES) => response.samples = samples(value),
                b"interval" if seen.first(INTERVAL) => response.interval = value.int(),
                b"num" if seen.first(NUM) => response.num = value.int(),
                b"v" if seen.first(VALUE) => response.value = Some(reader.since(before)),
                b"k" if seen.first(KEY) => response.key = value.array(),
                b"seq" if seen.first(SEQ) => response.seq = value.int(),
                b"sig" if seen.first(SIGNATURE) => response.signature = value.array(),
                b"p" if seen.first(PORT) => response.port = value.port(),
                b"n" if seen.first(NAME) => response.name = value.bytes(),
                _ => {}
            }
        }
        Ok(())
    }

    /// Returns the response if it contains the id of its sender.
    #[inline]
    pub(super) fn response(&self) -> Option<Response<'a>> {
        self.has_id.then_some(self.response)
    }
}

fn nodes(family: Family, value: Value<'_>) -> Option<CompactNodes<'_>> {
    value.bytes().map(|bytes| CompactNodes::new(family, bytes))
}

fn samples(value: Value<'_>) -> Option<&[[u8; ID_LEN]]> {
    match value.bytes()?.as_chunks() {
        (samples, []) => Some(samples),
        _ => None,
    }
}
