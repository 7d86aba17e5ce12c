//! Network address translators: mappings, filtering, expiry (RFC 4787).

use alloc::vec::Vec;
use core::time::Duration;

use crate::base::addr::Endpoint;
use crate::base::time::Instant;

/// A network address translator before a host, for IPv4.
///
/// Others see its outside address. It preserves the inside port where that is free, unless it is
/// symmetric. It does not hairpin: a datagram from inside to its own outside address is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nat {
    /// Which datagrams reach the host behind it.
    pub kind: NatKind,
    /// Time after the last outbound datagram until a session closes.
    pub expiry: Duration,
}

impl Nat {
    /// Creates a NAT of this kind with an expiry of 60 s.
    pub const fn new(kind: NatKind) -> Self {
        Self { kind, expiry: Duration::from_secs(60) }
    }
}

/// Mapping and filtering behaviour of a NAT, from the most to the least permissive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NatKind {
    /// One outside port for each host, open to any sender.
    FullCone,
    /// One outside port for each host, open to addresses it recently sent to, from any port.
    AddressRestricted,
    /// One outside port for each host, open to endpoints it recently sent to.
    PortRestricted,
    /// One outside port for each remote endpoint, open to that endpoint only.
    Symmetric,
}

/// The state of a NAT.
pub(super) struct NatDevice {
    nat: Nat,
    /// The outside IP address, with port 0.
    outside: Endpoint,
    /// Number of hosts behind it.
    pub(super) hosts: u32,
    /// The outside port of each host. Not used by symmetric NATs.
    mappings: Vec<Mapping>,
    /// Endpoints the hosts recently sent to, sorted. Not used by full cones.
    sessions: Vec<Session>,
    /// The last port assigned where the inside one was not free.
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
    /// The outside port, if the NAT is symmetric.
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

    /// Number of sessions and mappings.
    #[cfg(test)]
    pub(super) const fn len(&self) -> usize {
        self.sessions.len() + self.mappings.len()
    }

    /// Removes all state of a host.
    pub(super) fn forget(&mut self, host: u32) {
        self.mappings.retain(|mapping| mapping.host != host);
        self.sessions.retain(|session| session.host != host);
        self.mappings.shrink_to_fit();
        self.sessions.shrink_to_fit();
    }

    /// Removes all state.
    pub(super) fn reset(&mut self) {
        self.mappings.clear();
        self.sessions.clear();
    }

    /// Translates an outbound datagram: returns its outside source, or `None` if it is dropped.
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

    /// Filters an inbound datagram to an outside port: returns the host that receives it, if any.
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

    /// Refreshes or creates the mapping of a host, and returns its port.
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

    /// Refreshes or creates the session to `remote`, and returns its port.
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

    /// Assigns ports in sequence, which do not collide with those of sessions that are still open.
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

    /// Whether datagrams are admitted after one to `remote(1, 1)`: from that endpoint, from another
    /// port of that host, from another host.
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
    fn sessions_close_after_the_expiry() {
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
    fn closed_sessions_make_room() {
        let mut device = device(NatKind::Symmetric);
        for second in 0..10_000 {
            device.out(at(second), 7, INSIDE, Endpoint::v4((1 << 24 | second as u32).to_be_bytes(), 1));
        }
        assert!(device.sessions.len() < 256, "{}", device.sessions.len());
    }
}
