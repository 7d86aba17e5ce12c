//! Ids that match the address of their node (BEP 42): an id close to a chosen target requires a suitable address.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crc::{CRC_32_ISCSI, Crc, NoTable};

use crate::base::addr::Endpoint;
use crate::base::id::{ID_LEN, NodeId};

/// CRC32C, without a table: at most eight bytes are hashed, so a table would not pay off.
const CRC32C: Crc<u32, NoTable> = Crc::<u32, NoTable>::new(&CRC_32_ISCSI);

/// Mask of the bits of an IPv4 address that are hashed: the more significant a byte, the fewer of its bits.
const V4_MASK: u32 = 0x030f_3fff;
/// Mask of the bits of an IPv6 address that are hashed.
const V6_MASK: u64 = 0x0103_070f_1f3f_7fff;

/// Mask of the bits in the first four bytes of an id that follow from the address.
const PREFIX: u32 = 0xffff_f800;

impl NodeId {
    /// Creates an id that matches a node at `ip` (BEP 42).
    ///
    /// The first 21 bits follow from the address and the last three bits of `random`; the others are taken
    /// from `random`, which should be unpredictable.
    ///
    /// ```
    /// use dht_proto::NodeId;
    ///
    /// let ip = [124, 31, 75, 21].into();
    /// let id = NodeId::secure_for(ip, [1; 20]);
    /// assert!(id.to_string().starts_with("5fbfb"));
    /// assert!(id.is_secure_for(ip) && !id.is_secure_for([124, 31, 75, 22].into()));
    /// ```
    pub fn secure_for(ip: IpAddr, random: [u8; ID_LEN]) -> Self {
        let mut bytes = random;
        let [a, b, c, d, .., last] = random;
        let free = u32::from_be_bytes([a, b, c, d]) & !PREFIX;
        let prefix = (checksum(ip, last) & PREFIX) | free;
        bytes[..4].copy_from_slice(&prefix.to_be_bytes());
        Self::from_bytes(bytes)
    }

    /// Whether the id matches a node at `ip` (BEP 42).
    ///
    /// Every id matches a private, shared, link-local or loopback address, because many hosts have that address.
    pub fn is_secure_for(&self, ip: IpAddr) -> bool {
        let [a, b, c, d, .., last] = *self.as_bytes();
        let ip = ip.to_canonical();
        is_exempt(ip) || (u32::from_be_bytes([a, b, c, d]) ^ checksum(ip, last)) & PREFIX == 0
    }
}

/// Whether the id of a node matches its address.
pub(crate) fn is_secure(id: &NodeId, endpoint: Endpoint) -> bool {
    id.is_secure_for(endpoint.ip())
}

/// Returns the checksum from which the prefix of an id with this last byte is taken.
fn checksum(ip: IpAddr, last: u8) -> u32 {
    let r = last & 7;
    match ip.to_canonical() {
        // Four bytes, although the text of BEP 42 mentions 64 bits: its examples decide.
        IpAddr::V4(ip) => {
            let masked = u32::from(ip) & V4_MASK | u32::from(r) << 29;
            CRC32C.checksum(&masked.to_be_bytes())
        }
        IpAddr::V6(ip) => {
            let masked = (u128::from(ip) >> 64) as u64 & V6_MASK | u64::from(r) << 61;
            CRC32C.checksum(&masked.to_be_bytes())
        }
    }
}

/// Whether an address is private, shared, link-local or loopback, so that many hosts have it.
fn is_exempt(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_shared(ip) || ip.is_private() || ip.is_link_local() || ip.is_loopback(),
        IpAddr::V6(ip) => is_local_v6(ip),
    }
}

/// Whether an address is in 100.64/10, behind carrier-grade NAT.
///
/// The block is missing from the list of BEP 42, but its addresses are as private as the others.
const fn is_shared(ip: Ipv4Addr) -> bool {
    matches!(ip.octets(), [100, 64..=127, ..])
}

const fn is_local_v6(ip: Ipv6Addr) -> bool {
    ip.is_loopback() || ip.is_unicast_link_local() || ip.is_unique_local()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// The examples of BEP 42 and, because it has none for IPv6, the one from the tests of libtorrent.
    const VECTORS: [(&str, u8, &str, u32); 6] = [
        ("124.31.75.21", 1, "5fbfbff10c5d6a4ec8a88e4c6ab4c28b95eee401", 0x5fbf_bdb2),
        ("21.75.31.124", 86, "5a3ce9c14e7a08645677bbd1cfe7d8f956d53256", 0x5a3c_e9b0),
        ("65.23.51.170", 22, "a5d43220bc8f112a3d426c84764f8c2a1150e616", 0xa5d4_344a),
        ("84.124.73.14", 65, "1b0321dd1bb1fe518101ceef99462b947a01ff41", 0x1b03_217b),
        ("43.213.53.83", 90, "e56f6cbf5b7c4be0237986d5243b87aa6d51305a", 0xe56f_6972),
        (
            "2001:b829:2123:be84:e16c:d6ae:5290:49f1",
            4,
            "0a8ad123be84e16cd6ae529049f1f1bbe9ebb304",
            0x0a8a_d1aa,
        ),
    ];

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn id(text: &str) -> NodeId {
        text.parse().unwrap()
    }

    #[test]
    fn b42_01_b42_02_b42_03_ids_are_those_of_the_examples() {
        for (addr, random, wanted, crc) in VECTORS {
            let (addr, wanted) = (ip(addr), id(wanted));
            assert_eq!(checksum(addr, random), crc, "{addr}");
            assert!(wanted.is_secure_for(addr), "{addr}");
            // The free bits are taken from the random bytes, so the result is the complete example.
            assert_eq!(NodeId::secure_for(addr, *wanted.as_bytes()), wanted);
        }
    }

    #[test]
    fn b42_03_b5_03_twenty_one_bits_follow_from_the_address_and_all_others_are_free() {
        let addr = ip("124.31.75.21");
        for last in 0..=255 {
            let ids = [0, 0xff].map(|fill| {
                let mut random = [fill; ID_LEN];
                random[19] = last;
                NodeId::secure_for(addr, random)
            });
            assert_eq!(ids[0].common_prefix_len(&ids[1]), 21);
            let bits = ids[0].distance(&ids[1]).as_bytes().iter().map(|byte| byte.count_ones()).sum::<u32>();
            assert_eq!(bits, 160 - 21 - 8, "and the last byte, which was given");
            assert!(ids.iter().all(|id| id.as_bytes()[19] == last && id.is_secure_for(addr)));
        }
    }

    #[test]
    fn b42_04_twenty_one_bits_and_the_last_three_are_checked() {
        let fits = |addr: &str, text: &str| id(text).is_secure_for(ip(addr));
        // A byte in the middle is free.
        assert!(fits("124.31.75.21", "5fbfbff10c5d6a4ec8ff8e4c6ab4c28b95eee401"));
        // The second-to-last bit that counts, and the first that does not.
        assert!(!fits("21.75.31.124", "5a3ce1c14e7a08645677bbd1cfe7d8f956d53256"));
        assert!(fits("65.23.51.170", "a5d43620bc8f112a3d426c84764f8c2a1150e616"));
        // Only the last three bits of the last byte count.
        assert!(fits("84.124.73.14", "1b0321dd1bb1fe518101ceef99462b947a01ff01"));
        assert!(!fits("43.213.53.83", "e56f6cbf5b7c4be0237986d5243b87aa6d51303e"));
    }

    #[test]
    fn b42_05_private_addresses_are_exempt() {
        let any = id("e56f6cbf5b7c4be0237986d5243b87aa6d51305a");
        for exempt in [
            "10.213.53.83",
            "192.168.53.83",
            "172.16.0.1",
            "172.31.255.255",
            "169.254.1.1",
            "127.0.0.1",
            "100.64.0.1",
            "::1",
            "fe80::1",
            "fd00::1",
            "::ffff:10.1.1.1",
        ] {
            assert!(any.is_secure_for(ip(exempt)), "{exempt}");
        }
        for public in [
            "12.213.53.83",
            "192.169.53.83",
            "172.15.0.1",
            "172.32.0.1",
            "100.63.0.1",
            "100.128.0.1",
            "2a00::1",
        ] {
            assert!(!any.is_secure_for(ip(public)), "{public}");
        }
        assert!(any.is_secure_for(ip("::ffff:43.213.53.83")), "an IPv4 address in disguise");
    }

    #[test]
    fn b42_16_an_address_has_eight_prefixes_and_no_more() {
        for addr in ["81.2.3.4", "2a00:1::1"] {
            let prefixes = (0..=255).map(|last| {
                let mut random = [0; ID_LEN];
                random[19] = last;
                NodeId::secure_for(ip(addr), random).head() >> 43
            });
            let prefixes: BTreeSet<u64> = prefixes.collect();
            assert_eq!(prefixes.len(), 8, "{addr}");
        }
        // A whole /64 counts as one address.
        let id = NodeId::secure_for(ip("2a00:1:2:3::1"), [9; ID_LEN]);
        assert!(id.is_secure_for(ip("2a00:1:2:3:ffff::2")));
    }

    #[test]
    fn b42_01_the_checksum_is_that_of_bep_40_too() {
        assert_eq!(CRC32C.checksum(&0x624c_1400_7bd5_0000_u64.to_be_bytes()), 0xec2d_7224);
        assert_eq!(CRC32C.checksum(&0x7bd5_200a_7bd5_20ea_u64.to_be_bytes()), 0x9956_8189);
    }
}
