//! Assigns addresses to hosts.

use core::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use super::core::World;
use crate::base::addr::Family;
use crate::sim::hosts::Profile;
use crate::sim::transport::Link;

/// The port of hosts that are added without an address.
const PORT: u16 = 6881;

impl World {
    /// Reserves an IPv4 address, in a /24 of its own, that no host has or will have.
    pub fn next_address(&mut self) -> SocketAddr {
        self.next_subnet += 1;
        SocketAddr::new(v4(self.next_subnet - 1).into(), PORT)
    }

    /// Assigns addresses to a host, behind a NAT of its own if the profile says so.
    pub(super) fn assign_addresses(&mut self, link: &mut Link, profile: &Profile) {
        let subnet = self.next_subnet;
        self.next_subnet += 1;
        if profile.config.ipv4 {
            let outside = SocketAddr::new(v4(subnet).into(), PORT);
            match profile.nat {
                Some(nat) => {
                    link.endpoints[0] = outside.into();
                    link.device = self.transport.add_nat(nat, outside.into());
                }
                None => self.attach(link, outside),
            }
        }
        if profile.config.ipv6 {
            self.attach(link, SocketAddr::new(v6(subnet).into(), PORT));
        }
    }

    pub(super) fn attach(&mut self, link: &mut Link, addr: SocketAddr) {
        link.endpoints[Family::of(&addr).index()] = addr.into();
        self.transport.attach_host(addr.into(), link.host);
    }
}

/// An address in the `index`-th /24 for hosts.
const fn v4(index: u32) -> Ipv4Addr {
    // There are no reserved networks from 24.0.0.0 to 99.255.255.255.
    let networks = 76 << 16;
    let [_, a, b, c] = (index % networks).to_be_bytes();
    Ipv4Addr::new(24 + a, b, c, 1 + (index / networks) as u8)
}

const fn v6(index: u32) -> Ipv6Addr {
    Ipv6Addr::new(0x2a00, (index >> 16) as u16, index as u16, 0, 0, 0, 0, 1)
}

#[cfg(test)]
mod tests {
    use core::net::IpAddr;

    use super::*;
    use crate::base::addr::{AddressPolicy, Endpoint};

    #[test]
    fn every_host_gets_a_global_address_of_its_own() {
        for index in [0, 1, 255, 256, 65_535, 65_536, 999_999, (76 << 16) - 1, 76 << 16] {
            for ip in [IpAddr::V4(v4(index)), IpAddr::V6(v6(index))] {
                let endpoint = Endpoint::from(SocketAddr::new(ip, PORT));
                assert!(AddressPolicy::Public.allows(endpoint), "{ip}");
            }
        }
        assert_ne!(v4(0), v4(76 << 16));
    }
}
