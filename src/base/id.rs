//! 160-bit identifiers and the XOR metric (BEP 5).

use core::fmt;
use core::str::FromStr;

use thiserror::Error;

/// Length of a node id and of an infohash in bytes.
pub const ID_LEN: usize = 20;

/// Bucket size, and the number of nodes that store a value (BEP 5).
pub const K: usize = 8;

/// The error returned when parsing an identifier from an invalid string.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("expected 40 hexadecimal digits")]
pub struct ParseIdError;

macro_rules! identifier {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
        pub struct $name([u8; ID_LEN]);

        impl $name {
            /// All bits zero.
            pub const ZERO: Self = Self([0; ID_LEN]);

            /// Creates an identifier from its 20 bytes, most significant first.
            pub const fn from_bytes(bytes: [u8; ID_LEN]) -> Self {
                Self(bytes)
            }

            /// Creates an identifier from a slice, or returns `None` unless it holds exactly 20 bytes.
            pub fn from_slice(bytes: &[u8]) -> Option<Self> {
                bytes.try_into().ok().map(Self)
            }

            /// Returns the 20 bytes, most significant first.
            pub const fn as_bytes(&self) -> &[u8; ID_LEN] {
                &self.0
            }
        }

        /// Formats the identifier as lower-case hexadecimal.
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        /// Parses 40 hexadecimal digits of either case.
        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                let mut bytes = [0; ID_LEN];
                parse_hex(text, &mut bytes).map(|()| Self(bytes)).ok_or(ParseIdError)
            }
        }

        impl From<[u8; ID_LEN]> for $name {
            fn from(bytes: [u8; ID_LEN]) -> Self {
                Self(bytes)
            }
        }

        impl AsRef<[u8]> for $name {
            fn as_ref(&self) -> &[u8] {
                &self.0
            }
        }
    };
}

identifier! {
    /// A node id, or any point of the id space that a lookup targets.
    ///
    /// ```
    /// use dht_proto::NodeId;
    ///
    /// let id: NodeId = "5fbfbff10c5d6a4ec8a88e4c6ab4c28b95eee401".parse()?;
    /// assert_eq!(id.distance(&id), dht_proto::ids::Distance::ZERO);
    /// assert_eq!(id.to_string(), "5fbfbff10c5d6a4ec8a88e4c6ab4c28b95eee401");
    /// # Ok::<(), dht_proto::ids::ParseIdError>(())
    /// ```
    NodeId
}

identifier! {
    /// The infohash of a torrent: the key under which its peers are stored.
    ///
    /// For a v2 torrent it is the first 20 bytes of the SHA-256 hash (BEP 52).
    InfoHash
}

identifier! {
    /// The XOR of two ids, ordered as an unsigned 160-bit integer: smaller is closer (BEP 5).
    Distance
}

impl NodeId {
    /// Returns the distance to `other`: symmetric, and zero only between equal ids.
    pub fn distance(&self, other: &Self) -> Distance {
        let mut xor = self.0;
        xor.iter_mut().zip(other.0).for_each(|(a, b)| *a ^= b);
        Distance(xor)
    }

    /// Returns the number of leading bits that `self` and `other` share: 0..=160.
    pub fn common_prefix_len(&self, other: &Self) -> u32 {
        self.distance(other).leading_zeros()
    }

    /// Returns the `index`-th of a series of ids that are as far apart as possible, starting with `self`.
    ///
    /// They are meant for the nodes of one process at several addresses (BEP 45), and differ from `self` in
    /// their first bits.
    ///
    /// ```
    /// use dht_proto::NodeId;
    ///
    /// let base = NodeId::from_bytes([0; 20]);
    /// let first_bytes: Vec<u8> = (0..4).map(|index| base.derived(index).as_bytes()[0]).collect();
    /// assert_eq!(first_bytes, [0x00, 0x80, 0x40, 0xc0]);
    /// ```
    pub fn derived(&self, index: u32) -> Self {
        let mut id = *self;
        id.0.iter_mut().zip(index.reverse_bits().to_be_bytes()).for_each(|(byte, bits)| *byte ^= bits);
        id
    }

    /// Returns the id at this distance.
    pub(crate) fn at(&self, distance: Distance) -> Self {
        Self(self.distance(&Self(distance.0)).0)
    }

    /// Returns the first 64 bits, which decide nearly every comparison of distances.
    pub(crate) fn head(&self) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        u64::from_be_bytes([a, b, c, d, e, f, g, h])
    }

    /// Returns an id that shares exactly its first `bits` bits with `self`.
    ///
    /// The next bit differs, and all others are taken from `filler`. With `bits` = 160, returns `self`.
    pub(crate) fn sibling(&self, bits: u32, filler: &Self) -> Self {
        let mut id = *filler;
        for (index, (to, from)) in id.0.iter_mut().zip(self.0).enumerate() {
            let own = bits.saturating_sub(index as u32 * 8).min(8);
            let mask = !(0xff_u32 >> own) as u8;
            *to = (*to & !mask) | (from & mask);
            if own < 8 && bits / 8 == index as u32 {
                let bit = 0x80 >> own;
                *to = (*to & !bit) | (!from & bit);
            }
        }
        id
    }
}

impl Distance {
    /// Returns the number of leading zero bits: 160 for the zero distance.
    pub fn leading_zeros(&self) -> u32 {
        let mut zeros = 0;
        for byte in self.0 {
            zeros += byte.leading_zeros();
            if byte != 0 {
                break;
            }
        }
        zeros
    }

    /// Returns the first 64 bits, which decide nearly every comparison.
    pub(crate) fn head(&self) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        u64::from_be_bytes([a, b, c, d, e, f, g, h])
    }

    /// Returns the fraction of the key space within this distance.
    pub(crate) fn fraction(&self) -> f32 {
        self.head() as f32 / (1_u128 << 64) as f32
    }

    /// Whether the bit at `index` is set, counted from the most significant; false from 160 on.
    pub(crate) const fn has_bit(&self, index: u32) -> bool {
        index < 160 && self.0[index as usize / 8] & (0x80 >> (index % 8)) != 0
    }

    /// Returns the first `bits` bits, with all others zero.
    pub(crate) const fn truncated(mut self, bits: u32) -> Self {
        let mut index = 0;
        while index < self.0.len() {
            let kept = bits.saturating_sub(index as u32 * 8);
            self.0[index] &= if kept < 8 { !(0xff_u8 >> kept) } else { 0xff };
            index += 1;
        }
        self
    }

    /// Returns a copy with the bit at `index` set, or an unchanged one if `index` is 160 or more.
    pub(crate) const fn with_bit(mut self, index: u32) -> Self {
        if index < 160 {
            self.0[index as usize / 8] |= 0x80 >> (index % 8);
        }
        self
    }
}

/// Converts to the point of the id space at which the peers of the torrent are stored.
impl From<InfoHash> for NodeId {
    fn from(infohash: InfoHash) -> Self {
        Self(infohash.0)
    }
}

/// Converts to the infohash whose peers are stored at this point of the id space.
impl From<NodeId> for InfoHash {
    fn from(id: NodeId) -> Self {
        Self(id.0)
    }
}

/// Fills `bytes` from hexadecimal digits of either case, two per byte; `None` if the text is anything else.
pub(crate) fn parse_hex(text: &str, bytes: &mut [u8]) -> Option<()> {
    if text.len() != bytes.len() * 2 {
        return None;
    }
    for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        for &digit in digits {
            *byte = (*byte << 4) | char::from(digit).to_digit(16)? as u8;
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use std::string::ToString;
    use std::vec::Vec;

    use super::*;

    fn id(first: u8, last: u8) -> NodeId {
        let mut bytes = [0; ID_LEN];
        bytes[0] = first;
        bytes[19] = last;
        NodeId(bytes)
    }

    #[test]
    fn b45_02_derived_ids_share_no_more_first_bits_than_they_must() {
        let base = id(0x5a, 7);
        assert_eq!(base.derived(0), base);
        for bits in 1..=6 {
            let derived: Vec<NodeId> = (0..1 << bits).map(|index| base.derived(index)).collect();
            for (at, one) in derived.iter().enumerate() {
                let shared = derived[..at].iter().map(|other| one.common_prefix_len(other)).max();
                assert!(shared < Some(bits), "{at} of {} share {shared:?} bits", derived.len());
                assert_eq!(one.as_bytes()[4..], base.as_bytes()[4..]);
            }
        }
    }

    #[test]
    fn b5_02_distance_is_the_xor_as_a_big_endian_integer() {
        let (a, b) = (id(0x0f, 3), id(0xf0, 5));
        assert_eq!(a.distance(&b), b.distance(&a));
        assert_eq!(a.distance(&b).as_bytes()[0], 0xff);
        assert_eq!(a.distance(&b).as_bytes()[19], 6);
        assert_eq!(a.distance(&a), Distance::ZERO);
        let target = id(0, 0);
        assert!(id(0, 255).distance(&target) < id(1, 0).distance(&target));
        assert!(id(1, 0).distance(&target) < id(2, 0).distance(&target));
    }

    #[test]
    fn b5_01_ids_are_exactly_20_bytes() {
        assert!(NodeId::from_slice(&[7; 19]).is_none());
        assert!(NodeId::from_slice(&[7; 21]).is_none());
        assert_eq!(NodeId::from_slice(&[7; 20]), Some(NodeId([7; 20])));
    }

    #[test]
    fn c_01_prefix_lengths_count_from_the_top_bit() {
        assert_eq!(id(0, 0).common_prefix_len(&id(0, 0)), 160);
        assert_eq!(id(0, 0).common_prefix_len(&id(0x80, 0)), 0);
        assert_eq!(id(0, 0).common_prefix_len(&id(1, 0)), 7);
        assert_eq!(id(0, 0).common_prefix_len(&id(0, 1)), 159);
    }

    #[test]
    fn c_01_a_sibling_shares_exactly_the_requested_bits() {
        let own = NodeId([0b1010_0101; ID_LEN]);
        for filler in [NodeId([0; ID_LEN]), NodeId([0xff; ID_LEN]), own] {
            for bits in 0..160 {
                assert_eq!(own.sibling(bits, &filler).common_prefix_len(&own), bits, "{bits}");
            }
            assert_eq!(own.sibling(160, &filler), own);
        }
    }

    #[test]
    fn c_01_hex_roundtrips_and_bad_text_is_refused() {
        let text = "5fbfbff10c5d6a4ec8a88e4c6ab4c28b95eee401";
        let parsed: NodeId = text.parse().unwrap();
        assert_eq!(parsed.to_string(), text);
        assert_eq!(text.to_uppercase().parse::<NodeId>(), Ok(parsed));
        for bad in [
            "",
            &text[1..],
            "+fbfbff10c5d6a4ec8a88e4c6ab4c28b95eee401",
            "aébfbff10c5d6a4ec8a88e4c6ab4c28b95eee40",
        ] {
            assert_eq!(bad.parse::<NodeId>(), Err(ParseIdError), "{bad}");
        }
    }
}
