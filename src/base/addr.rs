//! Socket addresses: families, the packed form stored in slots, subnets, and which addresses are allowed.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// An address family, each with a DHT of its own: separate tables and stores (BEP 32).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub enum Family {
    /// The DHT of IPv4 nodes.
    V4,
    /// The DHT of IPv6 nodes.
    V6,
}

impl Family {
    /// Both families, IPv4 first.
    pub const ALL: [Self; 2] = [Self::V4, Self::V6];

    /// Returns the family of an address. An IPv4-mapped IPv6 address counts as IPv4.
    pub fn of(addr: &SocketAddr) -> Self {
        match addr.ip().to_canonical() {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }

    pub(crate) const fn index(self) -> usize {
        self as usize
    }
}

/// The addresses that a node communicates with and passes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub enum AddressPolicy {
    /// Globally routable unicast addresses only, as the public DHT requires.
    ///
    /// Reserved, private and multicast addresses are refused everywhere, also in learned nodes and peers.
    #[default]
    Public,
    /// Private and loopback addresses as well, for tests and isolated networks.
    ///
    /// Port 0 and multicast, broadcast and unspecified addresses are still refused.
    Any,
}

impl AddressPolicy {
    /// Whether datagrams may be received from or sent to this endpoint.
    pub(crate) fn allows(self, endpoint: Endpoint) -> bool {
        endpoint.port() != 0
            && match endpoint.ip() {
                IpAddr::V4(ip) => is_unicast_v4(ip) && (self == Self::Any || is_global_v4(ip)),
                IpAddr::V6(ip) => is_unicast_v6(ip) && (self == Self::Any || is_global_v6(ip)),
            }
    }
}

/// A socket address in 18 bytes, where `SocketAddr` takes 32.
///
/// IPv4 is stored in its mapped form. The flow label and scope of IPv6 are dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub(crate) struct Endpoint {
    ip: [u8; 16],
    port: [u8; 2],
}

/// The first bytes of an IPv4 address in its mapped form.
const V4_MAPPED: [u8; 12] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff];

impl Endpoint {
    pub(crate) const ZERO: Self = Self { ip: [0; 16], port: [0; 2] };

    pub(crate) const fn v4([a, b, c, d]: [u8; 4], port: u16) -> Self {
        Self { ip: [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d], port: port.to_be_bytes() }
    }

    pub(crate) const fn v6(ip: [u8; 16], port: u16) -> Self {
        Self { ip, port: port.to_be_bytes() }
    }

    pub(crate) const fn port(self) -> u16 {
        u16::from_be_bytes(self.port)
    }

    pub(crate) const fn with_port(self, port: u16) -> Self {
        Self { ip: self.ip, port: port.to_be_bytes() }
    }

    pub(crate) fn ip(self) -> IpAddr {
        match self.as_v4() {
            Some(ip) => IpAddr::V4(ip.into()),
            None => IpAddr::V6(self.ip.into()),
        }
    }

    /// Returns the four address bytes if this is IPv4.
    pub(crate) fn as_v4(self) -> Option<[u8; 4]> {
        let [head @ .., a, b, c, d] = self.ip;
        (head == V4_MAPPED).then_some([a, b, c, d])
    }

    /// Returns the sixteen address bytes, IPv4 in its mapped form.
    pub(crate) const fn ip_bytes(&self) -> &[u8; 16] {
        &self.ip
    }

    pub(crate) fn family(self) -> Family {
        if self.as_v4().is_some() { Family::V4 } else { Family::V6 }
    }

    /// Returns the compact form of an IPv4 endpoint (BEP 5); for an IPv6 endpoint, its last six bytes.
    pub(crate) const fn compact_v4(self) -> [u8; 6] {
        let ([.., a, b, c, d], [high, low]) = (self.ip, self.port);
        [a, b, c, d, high, low]
    }

    /// Returns the compact form of an IPv6 endpoint (BEP 32).
    pub(crate) const fn compact_v6(self) -> [u8; 18] {
        let mut bytes = [0; 18];
        let (ip, port) = bytes.split_at_mut(16);
        ip.copy_from_slice(&self.ip);
        port.copy_from_slice(&self.port);
        bytes
    }

    /// Returns the addresses of one link, which one operator is likely to hold: an IPv4 /24 or IPv6 /64.
    pub(crate) fn lan(self) -> u64 {
        match self.as_v4() {
            Some([a, b, c, _]) => u64::from_be_bytes([0, 0, 0, 0, 0, a, b, c]),
            None => self.halves().0,
        }
    }

    /// Returns the subnet, the unit of fairness: an IPv4 /24 or IPv6 /56.
    pub(crate) fn subnet(self) -> u64 {
        if self.as_v4().is_some() { self.lan() } else { self.halves().0 & !0xff }
    }

    /// Returns the wide subnet, the second unit of fairness: an IPv4 /24 or IPv6 /48.
    ///
    /// A /48 is the most that one customer is assigned (RFC 6177).
    pub(crate) fn wide_subnet(self) -> u64 {
        if self.as_v4().is_some() { self.lan() } else { self.halves().0 & !0xffff }
    }

    /// Whether the address is not globally routable.
    ///
    /// Subnet limits do not apply to such addresses, because a private network has a single owner.
    pub(crate) fn is_private(self) -> bool {
        match self.ip() {
            IpAddr::V4(ip) => !is_global_v4(ip),
            IpAddr::V6(ip) => !is_global_v6(ip),
        }
    }

    /// Returns the two halves of the address bytes.
    pub(crate) const fn halves(self) -> (u64, u64) {
        let bits = u128::from_be_bytes(self.ip);
        ((bits >> 64) as u64, bits as u64)
    }
}

/// Converts a socket address; IPv4-mapped addresses become IPv4 (BEP 32 separates the families).
impl From<SocketAddr> for Endpoint {
    fn from(addr: SocketAddr) -> Self {
        match addr.ip() {
            IpAddr::V4(ip) => Self::v4(ip.octets(), addr.port()),
            IpAddr::V6(ip) => Self::v6(ip.octets(), addr.port()),
        }
    }
}

impl From<Endpoint> for SocketAddr {
    fn from(endpoint: Endpoint) -> Self {
        Self::new(endpoint.ip(), endpoint.port())
    }
}

/// Whether an address is neither unspecified (0/8), nor multicast, nor reserved (240/4, including broadcast).
fn is_unicast_v4(ip: Ipv4Addr) -> bool {
    !matches!(ip.octets(), [0 | 224..=255, ..])
}

/// Whether an address is outside the IANA special-purpose blocks that are not globally reachable.
fn is_global_v4(ip: Ipv4Addr) -> bool {
    !matches!(
        ip.octets(),
        [10 | 127, ..]                  // private, loopback
            | [100, 64..=127, ..]       // shared by carrier-grade NAT
            | [169, 254, ..]            // link-local
            | [172, 16..=31, ..]        // private
            | [192, 0, 0 | 2, _]        // protocol assignments, documentation
            | [192, 88, 99, _]          // 6to4 relay anycast, withdrawn
            | [192, 168, ..]            // private
            | [198, 18 | 19, ..]        // benchmarking
            | [198, 51, 100, _]         // documentation
            | [203, 0, 113, _] // documentation
    )
}

/// Whether an address is neither unspecified, nor multicast, nor an IPv4 address in IPv6 form.
fn is_unicast_v6(ip: Ipv6Addr) -> bool {
    !ip.is_unspecified() && !ip.is_multicast() && !is_v4_compatible(ip)
}

/// Whether an address is global unicast (2000::/3) outside its special-purpose blocks.
fn is_global_v6(ip: Ipv6Addr) -> bool {
    let [a, b, ..] = ip.segments();
    a & 0xe000 == 0x2000
        && !(a == 0x2001 && b & 0xfe00 == 0)    // 2001::/23: Teredo, benchmarking, ORCHID
        && !(a == 0x2001 && b == 0xdb8)         // documentation
        && a != 0x2002                          // 6to4
        && !(a == 0x3fff && b & 0xf000 == 0) // documentation
}

/// Whether an address is ::a.b.c.d, which is deprecated. The loopback address ::1 is not included.
fn is_v4_compatible(ip: Ipv6Addr) -> bool {
    let [head @ .., high, low] = ip.segments();
    head == [0; 6] && (high, low) != (0, 1)
}

#[cfg(test)]
mod tests {
    use std::string::ToString;

    use super::*;

    fn endpoint(text: &str) -> Endpoint {
        text.parse::<SocketAddr>().unwrap().into()
    }

    #[test]
    fn endpoints_are_packed_and_roundtrip() {
        assert_eq!(size_of::<Endpoint>(), 18);
        for text in ["1.2.3.4:6881", "[2a00:1450::1]:65535"] {
            assert_eq!(SocketAddr::from(endpoint(text)).to_string(), text);
        }
    }

    #[test]
    fn b5_04_b32_03_compact_forms_are_in_network_order() {
        assert_eq!(endpoint("97.120.106.101:11893").compact_v4(), *b"axje.u");
        let v6 = endpoint("[2a00::1]:258").compact_v6();
        assert_eq!(v6, *b"\x2a\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\x01\x02");
    }

    #[test]
    fn b32_17_mapped_addresses_are_ipv4() {
        assert_eq!(endpoint("[::ffff:1.2.3.4]:5"), endpoint("1.2.3.4:5"));
        assert_eq!(endpoint("[::ffff:1.2.3.4]:5").family(), Family::V4);
        assert_eq!(Family::of(&"[::ffff:1.2.3.4]:5".parse().unwrap()), Family::V4);
    }

    #[test]
    fn b5_08_reserved_addresses_are_refused_by_the_public_policy() {
        for reserved in [
            "8.8.8.8:0",
            "0.1.2.3:1",
            "10.0.0.1:1",
            "127.0.0.1:1",
            "100.64.0.1:1",
            "169.254.1.1:1",
            "172.16.0.1:1",
            "172.31.255.255:1",
            "192.168.1.1:1",
            "192.0.2.1:1",
            "198.18.0.1:1",
            "198.51.100.1:1",
            "203.0.113.9:1",
            "224.0.0.1:1",
            "239.1.1.1:1",
            "255.255.255.255:1",
            "240.0.0.1:1",
            "[::]:1",
            "[::1]:1",
            "[::1.2.3.4]:1",
            "[fe80::1]:1",
            "[fc00::1]:1",
            "[fd12::1]:1",
            "[ff02::1]:1",
            "[2001:db8::1]:1",
            "[2001::1]:1",
            "[2002::1]:1",
            "[2a00::1]:0",
            "[3fff::1]:1",
            "[64:ff9b::1]:1",
        ] {
            assert!(!AddressPolicy::Public.allows(endpoint(reserved)), "{reserved}");
        }
        for global in [
            "8.8.8.8:1",
            "3.1.1.1:53",
            "34.9.9.9:6881",
            "172.32.0.1:9",
            "[2a00:1450::1]:1",
            "[2001:4860::1]:1",
        ] {
            assert!(AddressPolicy::Public.allows(endpoint(global)), "{global}");
        }
    }

    #[test]
    fn b5_08_the_any_policy_still_refuses_what_is_no_unicast_endpoint() {
        for refused in [
            "127.0.0.1:0",
            "0.0.0.0:1",
            "224.0.0.1:1",
            "255.255.255.255:1",
            "[::]:1",
            "[ff02::1]:1",
            "[::9.9.9.9]:1",
        ] {
            assert!(!AddressPolicy::Any.allows(endpoint(refused)), "{refused}");
        }
        for allowed in ["127.0.0.1:1", "10.1.1.1:1", "[::1]:1", "[fe80::1]:1"] {
            assert!(AddressPolicy::Any.allows(endpoint(allowed)), "{allowed}");
        }
    }

    #[test]
    fn subnets_group_addresses() {
        assert_eq!(endpoint("1.2.3.4:1").lan(), endpoint("1.2.3.250:2").lan());
        assert_ne!(endpoint("1.2.3.4:1").lan(), endpoint("1.2.4.4:1").lan());
        assert_eq!(endpoint("[2a00:1:2:3::1]:1").lan(), endpoint("[2a00:1:2:3:ffff::]:1").lan());
        assert_ne!(endpoint("[2a00:1:2:3::1]:1").lan(), endpoint("[2a00:1:2:4::1]:1").lan());
        assert_eq!(endpoint("[2a00:1:2:3::1]:1").subnet(), endpoint("[2a00:1:2:4::1]:1").subnet());
        assert_ne!(endpoint("[2a00:1:2:3::1]:1").subnet(), endpoint("[2a00:1:2:103::1]:1").subnet());
        let wide = |addr| endpoint(addr).wide_subnet();
        assert_eq!(wide("[2a00:1:2:3::1]:1"), wide("[2a00:1:2:ff03::1]:1"));
        assert_ne!(wide("[2a00:1:2:3::1]:1"), wide("[2a00:1:3:3::1]:1"));
        assert_eq!(wide("1.2.3.4:1"), endpoint("1.2.3.4:1").lan());
    }
}
