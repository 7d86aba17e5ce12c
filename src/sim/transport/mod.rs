//! How a datagram gets from one host to another: NATs, the network, counters.
//!
//! - `network`: latency, loss, bursts, duplication, reordering, corruption
//! - `nat`: network address translators
//! - `capture`: what captured hosts send and receive
//! - `packets`: the datagrams in flight
//! - `directory`: which host or NAT an endpoint belongs to
//!
//! These use nothing of this file, which puts them together.

mod capture;
mod directory;
mod nat;
mod network;
mod packets;

use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

use self::capture::Captures;
pub use self::capture::{Captured, Direction};
use self::directory::Directory;
use self::nat::NatDevice;
pub use self::nat::{Nat, NatKind};
pub use self::network::{Bursts, Latency, Network};
use self::packets::Packets;
use super::rng::{SimRng, mix};
use super::schedule::{Schedule, SimEvent};
use crate::base::addr::{Endpoint, Family};
use crate::base::time::Instant;

/// Counts of events and datagrams since the world was created.
///
/// A datagram counts once in `sent`, and in at most one of `lost`, `blocked`, `cut` and `unclaimed`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Events processed: arrivals, wake-ups, departures, returns.
    pub events: u64,
    /// Datagrams sent.
    pub sent: u64,
    /// Bytes sent.
    pub bytes: u64,
    /// Datagrams that reached a host.
    pub delivered: u64,
    /// Datagrams that the network lost, including those longer than the MTU.
    pub lost: u64,
    /// Datagrams that the network duplicated.
    pub duplicated: u64,
    /// Datagrams that the network corrupted.
    pub corrupted: u64,
    /// Datagrams that a NAT dropped.
    pub blocked: u64,
    /// Datagrams to or from hosts that were offline, asleep or gone.
    pub cut: u64,
    /// Datagrams to addresses without a host.
    pub unclaimed: u64,
    /// Datagrams with a forged source address.
    pub forged: u64,
}

/// A host's attachment to the network.
pub(super) struct Link {
    pub(super) host: u32,
    /// The IPv4 and the IPv6 endpoint, inside of any NAT; [`Endpoint::ZERO`] for none.
    pub(super) endpoints: [Endpoint; 2],
    /// The NAT before the host, counted from 1; 0 for none.
    pub(super) device: u32,
    /// Whether the link is down, in both directions.
    pub(super) is_cut: bool,
    /// Whether a burst of losses is on, outbound and inbound.
    pub(super) is_bad: [bool; 2],
    /// Additional delay of what the host sends.
    pub(super) extra: Duration,
}

impl Link {
    pub(super) const fn new(host: u32) -> Self {
        let endpoints = [Endpoint::ZERO; 2];
        Self { host, endpoints, device: 0, is_cut: false, is_bad: [false; 2], extra: Duration::ZERO }
    }

    /// The address inside of any NAT, IPv4 if there is one.
    pub(super) fn addr(&self) -> SocketAddr {
        let [v4, v6] = self.endpoints;
        if v4.port() == 0 { v6.into() } else { v4.into() }
    }

    /// Whether a datagram to this endpoint through this NAT arrives.
    ///
    /// It does not if the link is down, or if the host has returned elsewhere.
    pub(super) fn accepts(&self, to: Endpoint, device: u32) -> bool {
        let is_here = if device == 0 { self.endpoints.contains(&to) } else { self.device == device };
        is_here && !self.is_cut
    }
}

/// All that is between the hosts.
pub(super) struct Transport {
    pub(super) network: Network,
    seed: u64,
    pub(super) rng: SimRng,
    pub(super) schedule: Schedule,
    pub(super) packets: Packets,
    pub(super) counters: Counters,
    /// A hash over all datagrams sent.
    pub(super) transcript: u64,
    /// The first datagram of a node to an address that no node may send to.
    pub(super) stray: Option<(SocketAddr, SocketAddr)>,
    captures: Captures,
    devices: Vec<NatDevice>,
    /// NATs without a host, for reuse.
    unused: Vec<u32>,
    directory: Directory,
}

/// The owner of an address.
#[derive(Clone, Copy)]
enum Place {
    Host(u32),
    Nat(u32),
}

impl Transport {
    pub(super) fn new(seed: u64, network: Network, now: Instant) -> Self {
        Self {
            network,
            seed: mix(seed),
            rng: SimRng::new(seed),
            schedule: Schedule::new(now),
            packets: Packets::default(),
            counters: Counters::default(),
            transcript: mix(seed),
            stray: None,
            captures: Captures::default(),
            devices: Vec::new(),
            unused: Vec::new(),
            directory: Directory::new(mix(!seed)),
        }
    }

    /// Keeps every datagram of a host from now on.
    pub(super) fn capture(&mut self, host: u32) {
        self.captures.add(host);
    }

    /// Keeps every datagram of all hosts from now on, including hosts added later.
    pub(super) const fn capture_all(&mut self) {
        self.captures.add_all();
    }

    /// Returns what a captured host sent and received so far.
    pub(super) fn captured(&self, host: u32) -> &[Captured] {
        self.captures.get(host)
    }

    /// Removes and returns what a captured host sent and received so far.
    pub(super) fn take_captured(&mut self, host: u32) -> Vec<Captured> {
        self.captures.take(host)
    }

    /// The round-trip time between two endpoints, without jitter.
    pub(super) fn rtt(&self, a: Endpoint, b: Endpoint) -> Duration {
        self.network.rtt(self.seed, a, b)
    }

    /// Assigns an endpoint to a host.
    pub(super) fn attach_host(&mut self, endpoint: Endpoint, host: u32) {
        self.directory.insert(endpoint, host);
    }

    /// Adds a NAT with this outside address, before one host; returns its number, counted from 1.
    pub(super) fn add_nat(&mut self, nat: Nat, outside: Endpoint) -> u32 {
        let device = NatDevice::new(nat, outside);
        let at = match self.unused.pop() {
            Some(at) => {
                self.devices[at as usize] = device;
                at
            }
            None => {
                self.devices.push(device);
                self.devices.len() as u32 - 1
            }
        };
        self.directory.insert(outside.with_port(0), at);
        at + 1
    }

    /// Counts one more host behind a NAT.
    pub(super) fn share_nat(&mut self, device: u32) {
        self.devices[device as usize - 1].hosts += 1;
    }

    /// Releases the addresses of a link.
    pub(super) fn detach(&mut self, link: &Link) {
        let Some(at) = link.device.checked_sub(1) else {
            link.endpoints.iter().for_each(|endpoint| self.directory.remove(*endpoint));
            return;
        };
        self.directory.remove(link.endpoints[Family::V6.index()]);
        let device = &mut self.devices[at as usize];
        device.forget(link.host);
        device.hosts -= 1;
        if device.hosts == 0 {
            let outside = device.outside();
            self.directory.remove(outside);
            self.unused.push(at);
        }
    }

    /// Clears the mappings of the NAT before a host, if there is one.
    pub(super) fn reset_nat(&mut self, link: &Link) {
        if let Some(device) = self.devices.get_mut((link.device as usize).wrapping_sub(1)) {
            device.reset();
        }
    }

    /// The endpoint under which others see a host; a symmetric NAT changes the port.
    pub(super) fn outside(&self, link: &Link, family: Family) -> Endpoint {
        let inside = link.endpoints[family.index()];
        match self.device(link) {
            Some(device) if family == Family::V4 => device.outside().with_port(inside.port()),
            _ => inside,
        }
    }

    /// Sends a datagram of a host.
    pub(super) fn send(&mut self, now: Instant, link: &mut Link, to: Endpoint, bytes: &[u8], wait: Duration) {
        self.counters.sent += 1;
        self.counters.bytes += bytes.len() as u64;
        let family = to.family();
        let inside = link.endpoints[family.index()];
        self.record(now, inside, to, bytes);
        if let Some(captured) = self.captures.of(link.host) {
            let (direction, remote) = (Direction::Sent, to.into());
            captured.push(Captured { at: now, direction, remote, bytes: bytes.into() });
        }
        if link.is_cut || inside.port() == 0 {
            self.counters.cut += 1;
            return;
        }
        let from = if link.device != 0 && family == Family::V4 {
            let device = &mut self.devices[link.device as usize - 1];
            let Some(from) = device.out(now, link.host, inside.port(), to) else {
                self.counters.blocked += 1;
                return;
            };
            from
        } else {
            inside
        };
        if self.network.burst_takes(&mut self.rng, &mut link.is_bad[0]) {
            self.counters.lost += 1;
            return;
        }
        self.carry(now + link.extra + wait, from, to, bytes);
    }

    /// Sends a datagram with a forged source address.
    pub(super) fn forge(&mut self, now: Instant, from: Endpoint, to: Endpoint, bytes: &[u8]) {
        self.counters.sent += 1;
        self.counters.forged += 1;
        self.counters.bytes += bytes.len() as u64;
        self.record(now, from, to, bytes);
        self.carry(now, from, to, bytes);
    }

    /// The host that a datagram would reach, and the NAT before it, counted from 1.
    ///
    /// Only addresses and NATs decide here, not loss or links that are down.
    pub(super) fn receiver(&self, now: Instant, from: Endpoint, to: Endpoint) -> Option<(u32, u32)> {
        match self.place(to)? {
            Place::Host(host) => Some((host, 0)),
            Place::Nat(device) => {
                let host = self.devices[device as usize].admit(now, from, to.port())?;
                Some((host, device + 1))
            }
        }
    }

    /// Counts and captures a datagram that has reached its host.
    pub(super) fn deliver(&mut self, now: Instant, host: u32, at: u32) {
        self.counters.delivered += 1;
        if let Some(captured) = self.captures.of(host) {
            let packet = self.packets.get(at);
            let (direction, remote) = (Direction::Received, packet.from.into());
            captured.push(Captured { at: now, direction, remote, bytes: packet.bytes[..].into() });
        }
    }

    /// Counts a datagram that no host receives.
    pub(super) fn count_undeliverable(&mut self, to: Endpoint) {
        if self.place(to).is_some() {
            self.counters.blocked += 1;
        } else {
            self.counters.unclaimed += 1;
        }
    }

    /// Whether a burst at the receiving host loses the datagram; counts it if so.
    pub(super) fn is_lost_inbound(&mut self, link: &mut Link) -> bool {
        let is_lost = self.network.burst_takes(&mut self.rng, &mut link.is_bad[1]);
        self.counters.lost += u64::from(is_lost);
        is_lost
    }

    fn carry(&mut self, now: Instant, from: Endpoint, to: Endpoint, bytes: &[u8]) {
        let passage = self.network.carry(self.seed, &mut self.rng, from, to, bytes.len());
        let Some(delay) = passage.delay else {
            self.counters.lost += 1;
            return;
        };
        let at = self.packets.alloc(from, to, bytes);
        self.schedule.push(now + delay, SimEvent::Deliver(at));
        if passage.is_corrupt {
            self.counters.corrupted += 1;
            network::corrupt(&mut self.rng, self.packets.bytes_mut(at));
        }
        if let Some(delay) = passage.copy {
            self.counters.duplicated += 1;
            let at = self.packets.alloc(from, to, bytes);
            self.schedule.push(now + delay, SimEvent::Deliver(at));
        }
    }

    /// Sizes of what is held: addresses, NATs, the largest table of a NAT, scheduled events, packet
    /// buffers.
    #[cfg(test)]
    pub(super) fn sizes(&self) -> [usize; 5] {
        let known = self.devices.iter().map(NatDevice::len).max().unwrap_or(0);
        [self.directory.len(), self.devices.len(), known, self.schedule.len(), self.packets.len()]
    }

    fn place(&self, to: Endpoint) -> Option<Place> {
        // No host has port 0, so it stands for the whole IP address of a NAT.
        let device = || self.directory.get(to.with_port(0)).map(Place::Nat);
        self.directory.get(to).map(Place::Host).or_else(device)
    }

    fn device(&self, link: &Link) -> Option<&NatDevice> {
        self.devices.get((link.device as usize).wrapping_sub(1))
    }

    fn record(&mut self, now: Instant, from: Endpoint, to: Endpoint, bytes: &[u8]) {
        let mut hash = self.transcript ^ now.as_micros();
        for endpoint in [from, to] {
            let (high, low) = endpoint.halves();
            hash = fold(fold(hash ^ high) ^ low) ^ u64::from(endpoint.port());
        }
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            hash = fold(hash ^ u64::from_le_bytes(*word));
        }
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        self.transcript = fold(hash ^ u64::from_le_bytes(last)) ^ bytes.len() as u64;
    }
}

const fn fold(word: u64) -> u64 {
    let product = (word ^ 0x9e37_79b9_7f4a_7c15) as u128 * 0xd1b5_4a32_d192_ed03_u128;
    product as u64 ^ (product >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nats_are_reused_once_no_host_is_behind_them() {
        let mut transport = Transport::new(1, Network::perfect(), Instant::ZERO);
        let nat = Nat::new(NatKind::FullCone);
        let outside = |last| Endpoint::v4([30, 0, 0, last], 1);
        let link = |host, device| Link {
            device,
            endpoints: [outside(device as u8), Endpoint::ZERO],
            ..Link::new(host)
        };
        assert_eq!(transport.add_nat(nat, outside(1)), 1);
        transport.share_nat(1);
        transport.detach(&link(0, 1));
        assert_eq!(transport.add_nat(nat, outside(2)), 2, "one host is still behind the first");
        transport.detach(&link(1, 1));
        assert!(transport.place(outside(1)).is_none());
        assert_eq!(transport.add_nat(nat, outside(3)), 1);
        assert!(transport.place(outside(3)).is_some());
    }

    #[test]
    fn the_transcript_shows_every_difference() {
        let transcript = |at: u64, from: u8, to: u8, bytes: &[u8]| {
            let mut transport = Transport::new(1, Network::perfect(), Instant::ZERO);
            let endpoint = |last| Endpoint::v4([30, 0, 0, last], 1);
            transport.record(Instant::from_micros(at), endpoint(from), endpoint(to), bytes);
            transport.transcript
        };
        let all = [
            transcript(1, 1, 2, b"some bytes"),
            transcript(2, 1, 2, b"some bytes"),
            transcript(1, 2, 1, b"some bytes"),
            transcript(1, 1, 2, b"some bytez"),
            transcript(1, 1, 2, b"some bytes\0"),
        ];
        assert!((0..5).all(|a| (0..a).all(|b| all[a] != all[b])), "{all:?}");
        assert_eq!(all[0], transcript(1, 1, 2, b"some bytes"));
    }
}
