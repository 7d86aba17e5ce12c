//! Responses: the values that a query may return (BEPs 5, 32, 33, 44, 51).

use super::bencode::{Reader, Value};
use super::compact::{CompactNodes, Values};
use super::error::Malformed;
use crate::addr::Family;
use crate::id::{ID_LEN, NodeId};

/// Bytes of a Bloom filter (BEP 33).
pub const FILTER_LEN: usize = 256;

/// The answer to a query: which of the fields there are depends on the method, and on the node.
///
/// A field that came in another type or length than it must have is absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Response<'a> {
    /// The id of the sender.
    pub id: NodeId,
    /// Close IPv4 nodes.
    pub nodes: Option<CompactNodes<'a>>,
    /// Close IPv6 nodes (BEP 32).
    pub nodes6: Option<CompactNodes<'a>>,
    /// What a later announce or put must quote. Never empty on input.
    pub token: Option<&'a [u8]>,
    /// Peers of the torrent.
    pub values: Option<Values<'a>>,
    /// `BFsd`: the Bloom filter of the seeds (BEP 33). Also read as `BFse`, mldht's name of it.
    pub seeds: Option<&'a [u8; FILTER_LEN]>,
    /// `BFpe`: the Bloom filter of the other peers (BEP 33).
    pub peers: Option<&'a [u8; FILTER_LEN]>,
    /// Infohashes of stored torrents (BEP 51).
    pub samples: Option<&'a [[u8; ID_LEN]]>,
    /// For how many seconds the sample stays the same (BEP 51).
    pub interval: Option<i64>,
    /// How many torrents are stored (BEP 51).
    pub num: Option<i64>,
    /// `v`: the stored value, bencoded (BEP 44). Kept as it came, even if it is not canonical.
    pub value: Option<&'a [u8]>,
    /// `k`: the public key of a mutable item (BEP 44).
    pub key: Option<&'a [u8; 32]>,
    /// The sequence number of a mutable item (BEP 44).
    pub seq: Option<i64>,
    /// `sig`: the signature of a mutable item (BEP 44).
    pub signature: Option<&'a [u8; 64]>,
    /// `p`: the port at which libtorrent sees the receiver.
    pub port: Option<u16>,
    /// `n`: the name of the torrent, which libtorrent may send.
    pub name: Option<&'a [u8]>,
}

impl Response<'_> {
    /// A response of nothing but the id: what `ping`, `announce_peer` and `put` return.
    pub fn new(id: NodeId) -> Self {
        Self { id, ..Self::default() }
    }
}

/// The dictionary `r`, as it is read.
#[derive(Default)]
pub(super) struct Returns<'a> {
    id: Value<'a>,
    nodes: Value<'a>,
    nodes6: Value<'a>,
    token: Value<'a>,
    values: Value<'a>,
    seeds: Value<'a>,
    peers: Value<'a>,
    samples: Value<'a>,
    interval: Value<'a>,
    num: Value<'a>,
    value: Option<&'a [u8]>,
    key: Value<'a>,
    seq: Value<'a>,
    signature: Value<'a>,
    port: Value<'a>,
    name: Value<'a>,
}

impl<'a> Returns<'a> {
    /// Reads the dictionary; anything else in its place counts as an empty one.
    pub(super) fn read(&mut self, reader: &mut Reader<'a>) -> Result<(), Malformed> {
        if !reader.enter_dictionary()? {
            return reader.value().map(|_| ());
        }
        while let Some(key) = reader.key()? {
            let slot = match key {
                b"id" => &mut self.id,
                b"nodes" => &mut self.nodes,
                b"nodes6" => &mut self.nodes6,
                b"token" => &mut self.token,
                b"values" => &mut self.values,
                b"BFsd" | b"BFse" => &mut self.seeds,
                b"BFpe" => &mut self.peers,
                b"samples" => &mut self.samples,
                b"interval" => &mut self.interval,
                b"num" => &mut self.num,
                b"k" => &mut self.key,
                b"seq" => &mut self.seq,
                b"sig" => &mut self.signature,
                b"p" => &mut self.port,
                b"n" => &mut self.name,
                b"v" if self.value.is_none() => {
                    self.value = Some(reader.raw()?);
                    continue;
                }
                _ => &mut Value::Absent,
            };
            let value = reader.value()?;
            if slot.is_absent() {
                *slot = value;
            }
        }
        Ok(())
    }

    /// The response, if it names its sender.
    #[inline]
    pub(super) fn response(&self) -> Option<Response<'a>> {
        Some(Response {
            id: self.id.array().copied().map(NodeId::from_bytes)?,
            nodes: self.nodes.bytes().map(|bytes| CompactNodes::new(Family::V4, bytes)),
            nodes6: self.nodes6.bytes().map(|bytes| CompactNodes::new(Family::V6, bytes)),
            token: self.token.non_empty(),
            values: Values::from_wire(self.values),
            seeds: self.seeds.array(),
            peers: self.peers.array(),
            samples: self.samples.bytes().and_then(|bytes| match bytes.as_chunks() {
                (samples, []) => Some(samples),
                _ => None,
            }),
            interval: self.interval.int(),
            num: self.num.int(),
            value: self.value,
            key: self.key.array(),
            seq: self.seq.int(),
            signature: self.signature.array(),
            port: self.port.port(),
            name: self.name.bytes(),
        })
    }
}
