//! Compact node and peer lists (BEP 5, BEP 32), read in place and written into a slice.

use core::net::SocketAddr;

use super::bencode::{Reader, Value};
use crate::base::addr::Family;
use crate::base::id::{ID_LEN, NodeId};

/// Length of an IPv4 peer: address and port.
pub const PEER4_LEN: usize = 6;
/// Length of an IPv6 peer: address and port.
pub const PEER6_LEN: usize = 18;
/// Length of an IPv4 node: id, address and port.
pub const NODE4_LEN: usize = ID_LEN + PEER4_LEN;
/// Length of an IPv6 node: id, address and port.
pub const NODE6_LEN: usize = ID_LEN + PEER6_LEN;

/// The nodes of a response, as the packed bytes of `nodes` or `nodes6`.
///
/// Nothing is filtered: port 0 and reserved and IPv4-mapped addresses are yielded as received. Bytes after
/// the last complete entry are kept but yield nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompactNodes<'a> {
    bytes: &'a [u8],
    family: Family,
}

impl<'a> CompactNodes<'a> {
    /// Wraps the bytes of `nodes` (26 per entry) or `nodes6` (38 per entry).
    pub const fn new(family: Family, bytes: &'a [u8]) -> Self {
        Self { bytes, family }
    }

    /// Returns the packed bytes.
    pub const fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Returns the address family of every entry.
    pub const fn family(&self) -> Family {
        self.family
    }

    /// Returns the number of complete entries.
    pub const fn len(&self) -> usize {
        match self.family {
            Family::V4 => self.bytes.len() / NODE4_LEN,
            Family::V6 => self.bytes.len() / NODE6_LEN,
        }
    }

    /// Whether there is no complete entry.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns all nodes but the last, or `None` if there are none.
    pub fn without_last(&self) -> Option<Self> {
        let size = match self.family {
            Family::V4 => NODE4_LEN,
            Family::V6 => NODE6_LEN,
        };
        let bytes = self.bytes.get(..self.bytes.len().checked_sub(size)?)?;
        Some(Self { bytes, family: self.family })
    }

    /// Iterates over the nodes in the order of the response.
    pub const fn iter(&self) -> NodeIter<'a> {
        NodeIter { rest: *self }
    }
}

impl<'a> IntoIterator for CompactNodes<'a> {
    type Item = (NodeId, SocketAddr);
    type IntoIter = NodeIter<'a>;

    fn into_iter(self) -> NodeIter<'a> {
        self.iter()
    }
}

/// An iterator over [`CompactNodes`].
#[derive(Clone, Debug)]
pub struct NodeIter<'a> {
    rest: CompactNodes<'a>,
}

impl Iterator for NodeIter<'_> {
    type Item = (NodeId, SocketAddr);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let (id, rest) = self.rest.bytes.split_first_chunk::<ID_LEN>()?;
        let (addr, rest) = match self.rest.family {
            Family::V4 => rest.split_first_chunk().map(|(peer, rest)| (peer4(*peer), rest)),
            Family::V6 => rest.split_first_chunk().map(|(peer, rest)| (peer6(peer), rest)),
        }?;
        self.rest.bytes = rest;
        Some((NodeId::from_bytes(*id), addr))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.rest.len(), Some(self.rest.len()))
    }
}

impl ExactSizeIterator for NodeIter<'_> {}

/// Packs nodes of one family into a slice.
///
/// ```
/// use dht_proto::wire::NodeWriter;
/// use dht_proto::{Family, NodeId};
///
/// let mut buf = [0; 8 * 26];
/// let mut nodes = NodeWriter::new(Family::V4, &mut buf);
/// assert!(nodes.push(&NodeId::ZERO, "1.2.3.4:6881".parse()?));
/// assert!(!nodes.push(&NodeId::ZERO, "[2a00::1]:6881".parse()?));
/// assert_eq!(nodes.finish().len(), 1);
/// # Ok::<(), std::net::AddrParseError>(())
/// ```
#[derive(Debug)]
pub struct NodeWriter<'b> {
    packer: Packer<'b>,
}

impl<'b> NodeWriter<'b> {
    /// Creates an empty list of nodes of `family`, which may grow up to the length of `buf`.
    pub const fn new(family: Family, buf: &'b mut [u8]) -> Self {
        Self { packer: Packer { buf, len: 0, family } }
    }

    /// Appends a node. Returns false and writes nothing if the node is of the other family or does not fit.
    #[inline]
    pub fn push(&mut self, id: &NodeId, addr: SocketAddr) -> bool {
        self.packer.push(id.as_bytes(), addr)
    }

    /// Returns the finished list.
    pub fn finish(self) -> CompactNodes<'b> {
        let family = self.packer.family;
        CompactNodes::new(family, self.packer.finish())
    }
}

/// The peers of a get_peers response.
///
/// Either the `values` of a datagram or a packed list to send. Members that are not peers are skipped;
/// nothing else is filtered. Two lists are equal if they yield the same peers.
#[derive(Clone, Copy, Debug)]
pub struct Values<'a>(Repr<'a>);

#[derive(Clone, Copy, Debug)]
enum Repr<'a> {
    /// The well-formed bencoded members of a list.
    List(&'a [u8]),
    /// Concatenated compact peers of one family.
    Packed(Family, &'a [u8]),
}

impl<'a> Values<'a> {
    /// Wraps concatenated peers of one family, in 6 or 18 bytes each.
    pub const fn packed(family: Family, bytes: &'a [u8]) -> Self {
        Self(Repr::Packed(family, bytes))
    }

    /// Iterates over the peers in the order of the response.
    pub fn iter(&self) -> PeerIter<'a> {
        match self.0 {
            Repr::Packed(Family::V4, bytes) => PeerIter { packed4: bytes, ..PeerIter::default() },
            Repr::Packed(Family::V6, bytes) => PeerIter { packed6: bytes, ..PeerIter::default() },
            Repr::List(members) => PeerIter { members, ..PeerIter::default() },
        }
    }

    /// Parses the value of the key `values`.
    ///
    /// In an old form, all IPv4 peers are in one string. A string is read that way, and so is a list of a
    /// single string whose length is not that of one peer (Q-08).
    pub(super) fn from_wire(value: Value<'a>) -> Option<Self> {
        match value {
            Value::Bytes(bytes) => Some(Self::packed(Family::V4, bytes)),
            Value::List(members) => {
                let mut reader = Reader::new(members);
                match reader.value() {
                    Ok(Value::Bytes(only)) if reader.rest().is_empty() && is_old_form(only) => {
                        Some(Self::packed(Family::V4, only))
                    }
                    _ => Some(Self(Repr::List(members))),
                }
            }
            _ => None,
        }
    }

    /// Returns the packed peers, if this is a packed list.
    pub(super) const fn as_packed(&self) -> Option<(Family, &'a [u8])> {
        match self.0 {
            Repr::Packed(family, bytes) => Some((family, bytes)),
            Repr::List(_) => None,
        }
    }
}

impl PartialEq for Values<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Values<'_> {}

impl<'a> IntoIterator for Values<'a> {
    type Item = SocketAddr;
    type IntoIter = PeerIter<'a>;

    fn into_iter(self) -> PeerIter<'a> {
        self.iter()
    }
}

/// An iterator over [`Values`].
#[derive(Clone, Debug, Default)]
pub struct PeerIter<'a> {
    members: &'a [u8],
    packed4: &'a [u8],
    packed6: &'a [u8],
}

impl Iterator for PeerIter<'_> {
    type Item = SocketAddr;

    #[inline]
    fn next(&mut self) -> Option<SocketAddr> {
        if let Some((peer, rest)) = self.packed4.split_first_chunk() {
            self.packed4 = rest;
            return Some(peer4(*peer));
        }
        if let Some((peer, rest)) = self.packed6.split_first_chunk() {
            self.packed6 = rest;
            return Some(peer6(peer));
        }
        while !self.members.is_empty() {
            let mut reader = Reader::new(self.members);
            let member = reader.value().unwrap_or_default();
            // Members are known to be well-formed. If one is invalid nevertheless, the list ends there.
            self.members = if member.is_absent() { &[] } else { reader.rest() };
            if let Some(peer) = member.bytes().and_then(peer) {
                return Some(peer);
            }
        }
        None
    }
}

/// Packs peers of one family into a slice.
///
/// ```
/// use dht_proto::Family;
/// use dht_proto::wire::PeerWriter;
///
/// let mut buf = [0; 50 * 6];
/// let mut peers = PeerWriter::new(Family::V4, &mut buf);
/// assert!(peers.push("1.2.3.4:6881".parse()?));
/// assert_eq!(peers.finish().iter().count(), 1);
/// # Ok::<(), std::net::AddrParseError>(())
/// ```
#[derive(Debug)]
pub struct PeerWriter<'b> {
    packer: Packer<'b>,
}

impl<'b> PeerWriter<'b> {
    /// Creates an empty list of peers of `family`, which may grow up to the length of `buf`.
    pub const fn new(family: Family, buf: &'b mut [u8]) -> Self {
        Self { packer: Packer { buf, len: 0, family } }
    }

    /// Appends a peer. Returns false and writes nothing if the peer is of the other family or does not fit.
    #[inline]
    pub fn push(&mut self, addr: SocketAddr) -> bool {
        self.packer.push(&[], addr)
    }

    /// Returns the finished list.
    pub fn finish(self) -> Values<'b> {
        let family = self.packer.family;
        Values::packed(family, self.packer.finish())
    }
}

/// An address and port in compact form.
#[derive(Clone, Copy, Debug)]
pub(super) struct CompactAddr {
    bytes: [u8; PEER6_LEN],
    len: usize,
}

impl CompactAddr {
    #[inline]
    pub(super) fn new(addr: SocketAddr) -> Self {
        let [high, low] = addr.port().to_be_bytes();
        let mut bytes = [0; PEER6_LEN];
        match addr {
            SocketAddr::V4(addr) => {
                let [a, b, c, d] = addr.ip().octets();
                if let Some(to) = bytes.first_chunk_mut() {
                    *to = [a, b, c, d, high, low];
                }
                Self { bytes, len: PEER4_LEN }
            }
            SocketAddr::V6(addr) => {
                if let Some((ip, port)) = bytes.split_first_chunk_mut() {
                    *ip = addr.ip().octets();
                    port.copy_from_slice(&[high, low]);
                }
                Self { bytes, len: PEER6_LEN }
            }
        }
    }

    #[inline]
    pub(super) fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

/// Parses a compact peer, whose family follows from its length.
pub(super) fn peer(bytes: &[u8]) -> Option<SocketAddr> {
    match bytes.len() {
        PEER4_LEN => bytes.first_chunk().copied().map(peer4),
        PEER6_LEN => bytes.first_chunk().map(peer6),
        _ => None,
    }
}

/// The common part of the two writers.
#[derive(Debug)]
struct Packer<'b> {
    buf: &'b mut [u8],
    len: usize,
    family: Family,
}

impl<'b> Packer<'b> {
    #[inline]
    fn push(&mut self, head: &[u8], addr: SocketAddr) -> bool {
        if addr.is_ipv4() != (self.family == Family::V4) {
            return false;
        }
        let addr = CompactAddr::new(addr);
        let addr = addr.as_bytes();
        let len = head.len().saturating_add(addr.len());
        let free = self.buf.get_mut(self.len..).unwrap_or_default();
        let Some((to_head, rest)) = free.split_at_mut_checked(head.len()) else { return false };
        let Some((to_addr, _)) = rest.split_at_mut_checked(addr.len()) else { return false };
        to_head.copy_from_slice(head);
        to_addr.copy_from_slice(addr);
        self.len = self.len.saturating_add(len);
        true
    }

    fn finish(self) -> &'b [u8] {
        self.buf.get(..self.len).unwrap_or_default()
    }
}

#[inline]
fn peer4([a, b, c, d, high, low]: [u8; PEER4_LEN]) -> SocketAddr {
    SocketAddr::from(([a, b, c, d], u16::from_be_bytes([high, low])))
}

#[inline]
fn peer6(bytes: &[u8; PEER6_LEN]) -> SocketAddr {
    let [ip @ .., high, low] = *bytes;
    let ip: [u8; 16] = ip;
    SocketAddr::from((ip, u16::from_be_bytes([high, low])))
}

/// Whether a string is several concatenated IPv4 peers.
fn is_old_form(bytes: &[u8]) -> bool {
    !matches!(bytes.len(), 0 | PEER4_LEN | PEER6_LEN) && bytes.len().is_multiple_of(PEER4_LEN)
}

#[cfg(test)]
#[allow(clippy::arithmetic_side_effects)]
mod tests {
    use super::*;

    fn addr(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn b5_05_b32_03_a_writer_packs_whole_entries_of_its_family_until_it_is_full() {
        for (family, own, foreign, size) in [
            (Family::V4, "1.2.3.4:5", "[2a00::1]:6", NODE4_LEN),
            (Family::V6, "[2a00::1]:6", "1.2.3.4:5", NODE6_LEN),
        ] {
            let mut buf = [0; 100];
            let mut writer = NodeWriter::new(family, &mut buf[..2 * size + 1]);
            assert!(!writer.push(&NodeId::ZERO, addr(foreign)));
            assert!(writer.push(&NodeId::from_bytes([1; 20]), addr(own)));
            assert!(writer.push(&NodeId::from_bytes([2; 20]), addr(own)));
            assert!(!writer.push(&NodeId::from_bytes([3; 20]), addr(own)));
            let nodes = writer.finish();
            assert_eq!((nodes.as_bytes().len(), nodes.len(), nodes.family()), (2 * size, 2, family));
            assert!(nodes.into_iter().eq([1, 2].map(|n| (NodeId::from_bytes([n; 20]), addr(own)))));
        }
    }

    #[test]
    fn b5_04_peers_are_packed_in_network_order() {
        let mut buf = [0; 18];
        let mut writer = PeerWriter::new(Family::V4, &mut buf);
        assert!(writer.push(addr("97.120.106.101:11893")));
        assert_eq!(writer.finish().as_packed(), Some((Family::V4, &b"axje.u"[..])));
        let mut writer = PeerWriter::new(Family::V6, &mut buf);
        assert!(writer.push(addr("[2a00::1]:258")));
        assert!(!writer.push(addr("[2a00::1]:258")));
        let expected = b"\x2a\x00\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\x01\x02";
        assert_eq!(writer.finish().as_packed(), Some((Family::V6, &expected[..])));
    }

    #[test]
    fn b5_09_a_mapped_address_is_an_ipv6_one_here() {
        let mut buf = [0; 18];
        let mut writer = PeerWriter::new(Family::V6, &mut buf);
        assert!(writer.push(addr("[::ffff:1.2.3.4]:5")));
        assert!(writer.finish().iter().eq([addr("[::ffff:1.2.3.4]:5")]));
    }
}
