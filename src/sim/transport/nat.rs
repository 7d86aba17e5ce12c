//! Address translators: what a host behind one looks like from outside, and who may talk to it.

use alloc::vec::Vec;
use core::time::Duration;

use crate::addr::Endpoint;
use crate::time::Instant;

/// An address translator (NAT) before a host, for IPv4.
///
/// Others see the outside address. The port inside is kept outside as well where it is free,
/// except by symmetric ones. Nothing sent from behind a translator to its own outside address
/// comes back (no hairpinning).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nat {
    /// Who may talk to the host behind it.
    pub kind: NatKind,
    /// How long a session stays open after the last datagram that went out through it.
    pub expiry: Duration,
}

impl Nat {
    /// A translator of this kind with an expiry of 60 s.
    pub const fn new(kind: NatKind) -> Self {
        Self { kind, expiry: Duration::from_secs(60) }
    }
}

/// What a translator lets in, from the most to the least.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NatKind {
    /// One outside port for each host; whoever knows it may use it.
    FullCone,
    /// One outside port for each host; who was sent something lately may use it, from any port.
    AddressRestricted,
    /// One outside port for each host; who was sent something lately may use it, from that port.
    PortRestricted,
    /// Another outside port towards each endpoint, for that endpoint alone.
    Symmetric,
}

/// A translator at work.
pub(super) struct NatDevice {
    nat: Nat,
    /// Its outside IP address.
    outside: Endpoint,
    /// Hosts behind it.
    pub(super) hosts: u32,
    /// For cones the outside port of each host, sorted by host.
    mappings: Vec<Mapping>,
    /// Whom the hosts talked to lately, sorted. Not used by full cones.
    sessions: Vec<Session>,
    /// The port that is tried next where the inside one is taken.
    next_port: u16,
}

struct Mapping {
    host: u32,
    port: u16,
    used: Instant,
}

struct Session {
    host: u32,
    remote: Endpoint,
    /// The outside port of a symmetric translator.
    port: u16,
    used: Instant,
}

impl NatDevice {
    pub(super) const fn new(nat: Nat, outside: Endpoint) -> Self {
        let outside = outside.with_port(0);
        Self { nat, outside, hosts: 1, mappings: Vec::new(), sessions: Vec::new(), next_port: 1024 }
    }

    pub(super) const fn outside(&self) -> Endpoint {
        self.outside
    }

    /// Ways and mappings that are kept.
    #[cfg(test)]
    pub(super) const fn len(&self) -> usize {
        self.sessions.len() + self.mappings.len()
    }

    /// Forgets a host.
    pub(super) fn forget(&mut self, host: u32) {
        self.mappings.retain(|mapping| mapping.host != host);
        self.sessions.retain(|session| session.host != host);
        self.mappings.shrink_to_fit();
        self.sessions.shrink_to_fit();
    }

    /// Forgets all hosts.
    pub(super) fn reset(&mut self) {
        self.mappings.clear();
        self.sessions.clear();
    }

    /// A datagram goes out: under which endpoint others see its sender. `None` if it goes nowhere.
    pub(super) fn out(
        &mut self,
        now: Instant,
        host: u32,
        inside_port: u16,
        to: Endpoint,
    ) -> Option<Endpoint> {
        if to.ip_bytes() == self.outside.ip_bytes() {
            return None;
        }
        let port = match self.nat.kind {
            NatKind::FullCone => self.mapping(now, host, inside_port),
            NatKind::AddressRestricted => {
                self.session(now, host, to.with_port(0));
                self.mapping(now, host, inside_port)
            }
            NatKind::PortRestricted => {
                self.session(now, host, to);
                self.mapping(now, host, inside_port)
            }
            NatKind::Symmetric => self.session(now, host, to),
        };
        Some(self.outside.with_port(port))
    }

    /// A datagram comes in at an outside port: the host that gets it, if any.
    pub(super) fn admit(&self, now: Instant, from: Endpoint, port: u16) -> Option<u32> {
        let is_open = |used: Instant| now - used <= self.nat.expiry;
        if self.nat.kind == NatKind::Symmetric {
            let session =
                self.sessions.iter().find(|session| session.port == port && session.remote == from)?;
            return is_open(session.used).then_some(session.host);
        }
        let mapping = self.mappings.iter().find(|mapping| mapping.port == port && is_open(mapping.used))?;
        let remote = match self.nat.kind {
            NatKind::AddressRestricted => from.with_port(0),
            _ => from,
        };
        let is_admitted = self.nat.kind == NatKind::FullCone
            || self.find(mapping.host, remote).is_ok_and(|at| is_open(self.sessions[at].used));
        is_admitted.then_some(mapping.host)
    }

    /// The outside port of a host.
    fn mapping(&mut self, now: Instant, host: u32, inside_port: u16) -> u16 {
        let expiry = self.nat.expiry;
        if let Some(mapping) = self.mappings.iter_mut().find(|mapping| mapping.host == host) {
            mapping.used = now;
            return mapping.port;
        }
        self.mappings.retain(|mapping| now - mapping.used <= expiry);
        let mut port = inside_port;
        while self.mappings.iter().any(|mapping| mapping.port == port) {
            port = self.fresh_port();
        }
        self.mappings.push(Mapping { host, port, used: now });
        port
    }

    /// Keeps the session to `remote` open and returns its port.
    fn session(&mut self, now: Instant, host: u32, remote: Endpoint) -> u16 {
        let expiry = self.nat.expiry;
        let is_symmetric = self.nat.kind == NatKind::Symmetric;
        match self.find(host, remote) {
            Ok(at) => {
                if is_symmetric && now - self.sessions[at].used > expiry {
                    self.sessions[at].port = self.fresh_port();
                }
                self.sessions[at].used = now;
                self.sessions[at].port
            }
            Err(mut at) => {
                if self.sessions.len() == self.sessions.capacity() {
                    self.sessions.retain(|session| now - session.used <= expiry);
                    at = self.find(host, remote).unwrap_or_else(|at| at);
                }
                let port = if is_symmetric { self.fresh_port() } else { 0 };
                self.sessions.insert(at, Session { host, remote, port, used: now });
                port
            }
        }
    }

    fn find(&self, host: u32, remote: Endpoint) -> Result<usize, usize> {
        self.sessions.binary_search_by(|session| (session.host, session.remote).cmp(&(host, remote)))
    }

    /// Ports in a row: a table of sessions never has so many that they collide.
    const fn fresh_port(&mut self) -> u16 {
        self.next_port = if self.next_port == u16::MAX { 1024 } else { self.next_port + 1 };
        self.next_port
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INSIDE: u16 = 6881;

    fn remote(host: u8, port: u16) -> Endpoint {
        Endpoint::v4([30, 0, 0, host], port)
    }

    fn device(kind: NatKind) -> NatDevice {
        NatDevice::new(Nat::new(kind), Endpoint::v4([40, 0, 0, 1], 0))
    }

    const fn at(secs: u64) -> Instant {
        Instant::from_micros(secs * 1_000_000)
    }

    /// Who gets in after a datagram to `remote(1, 1)`: that endpoint, another port of that host,
    /// another host.
    fn admitted(kind: NatKind) -> [bool; 3] {
        let mut device = device(kind);
        let seen = device.out(at(0), 7, INSIDE, remote(1, 1)).unwrap();
        [remote(1, 1), remote(1, 2), remote(2, 1)]
            .map(|from| device.admit(at(60), from, seen.port()) == Some(7))
    }

    #[test]
    fn each_kind_lets_in_what_it_should() {
        assert_eq!(admitted(NatKind::FullCone), [true, true, true]);
        assert_eq!(admitted(NatKind::AddressRestricted), [true, true, false]);
        assert_eq!(admitted(NatKind::PortRestricted), [true, false, false]);
        assert_eq!(admitted(NatKind::Symmetric), [true, false, false]);
    }

    #[test]
    fn ways_close_after_the_expiry() {
        for kind in
            [NatKind::FullCone, NatKind::AddressRestricted, NatKind::PortRestricted, NatKind::Symmetric]
        {
            let mut device = device(kind);
            let seen = device.out(at(0), 7, INSIDE, remote(1, 1)).unwrap();
            assert_eq!(device.admit(at(61), remote(1, 1), seen.port()), None, "{kind:?}");
            let again = device.out(at(61), 7, INSIDE, remote(1, 1)).unwrap();
            assert_eq!(device.admit(at(62), remote(1, 1), again.port()), Some(7), "{kind:?}");
            assert_eq!(again == seen, kind != NatKind::Symmetric, "{kind:?}");
        }
    }

    #[test]
    fn cones_keep_one_port_and_symmetric_ones_do_not() {
        let mut cone = device(NatKind::PortRestricted);
        let ports = [1, 2].map(|host| cone.out(at(0), 7, INSIDE, remote(host, 1)).unwrap().port());
        assert_eq!(ports, [INSIDE; 2]);
        assert_ne!(cone.out(at(0), 8, INSIDE, remote(1, 1)).unwrap().port(), INSIDE, "it is taken");
        let mut symmetric = device(NatKind::Symmetric);
        let ports = [1, 2].map(|host| symmetric.out(at(0), 7, INSIDE, remote(host, 1)).unwrap().port());
        assert_ne!(ports[0], ports[1]);
    }

    #[test]
    fn there_is_no_way_back_in_through_the_outside_address() {
        let mut device = device(NatKind::FullCone);
        assert_eq!(device.out(at(0), 7, INSIDE, Endpoint::v4([40, 0, 0, 1], 9)), None);
    }

    #[test]
    fn forgotten_ways_make_room() {
        let mut device = device(NatKind::Symmetric);
        for second in 0..10_000 {
            device.out(at(second), 7, INSIDE, Endpoint::v4((1 << 24 | second as u32).to_be_bytes(), 1));
        }
        assert!(device.sessions.len() < 256, "{}", device.sessions.len());
    }
}
