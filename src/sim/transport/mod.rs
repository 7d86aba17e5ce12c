//! The way of a datagram from one host to another: translators, the network, counters.

use alloc::vec;
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

use super::capture::{Captured, Captures, Direction};
use super::dice::{Dice, mix};
use super::nat::{Device, Nat};
use super::network::{self, Network};
use super::queue::{Happening, Post, Queue};
use crate::addr::{Endpoint, Family};
use crate::time::Instant;

/// What happened to datagrams since the world began. Each that is sent counts once in `sent`, and
/// in at most one of `lost`, `blocked`, `cut` and `unclaimed`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Things that happened: arrivals, wake-ups, comings and goings.
    pub events: u64,
    /// Datagrams sent.
    pub sent: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Datagrams that reached a host.
    pub delivered: u64,
    /// Datagrams lost by the network, those that were too long included.
    pub lost: u64,
    /// Second copies that the network made.
    pub duplicated: u64,
    /// Datagrams changed on the way.
    pub corrupted: u64,
    /// Datagrams that an address translator did not let pass.
    pub blocked: u64,
    /// Datagrams to or from hosts that were offline, asleep or gone.
    pub cut: u64,
    /// Datagrams to addresses at which there is no host.
    pub unclaimed: u64,
    /// Datagrams whose sender was forged.
    pub forged: u64,
}

/// Where a host is attached to the network.
pub(super) struct Link {
    pub(super) host: u32,
    /// The IPv4 and the IPv6 endpoint, inside of any translator; [`Endpoint::ZERO`] for none.
    pub(super) endpoints: [Endpoint; 2],
    /// The translator before it, counted from 1.
    pub(super) device: u32,
    /// Nothing goes out and nothing comes in.
    pub(super) is_cut: bool,
    /// In a burst of losses, outwards and inwards.
    pub(super) is_bad: [bool; 2],
    /// How much longer everything takes, in each direction.
    pub(super) extra: Duration,
}

impl Link {
    pub(super) const fn new(host: u32) -> Self {
        let endpoints = [Endpoint::ZERO; 2];
        Self { host, endpoints, device: 0, is_cut: false, is_bad: [false; 2], extra: Duration::ZERO }
    }
}

/// Everything between the hosts.
pub(super) struct Wire {
    pub(super) network: Network,
    pub(super) seed: u64,
    pub(super) dice: Dice,
    pub(super) queue: Queue,
    pub(super) post: Post,
    pub(super) counters: Counters,
    /// A hash over everything that was sent.
    pub(super) transcript: u64,
    /// The first datagram of a node to an address that no node may send to.
    pub(super) stray: Option<(SocketAddr, SocketAddr)>,
    pub(super) captures: Captures,
    devices: Vec<Device>,
    /// Those of them that stand before nobody any more, to be used again.
    unused: Vec<u32>,
    directory: Directory,
}

/// Who lives at an address.
#[derive(Clone, Copy)]
enum Place {
    Host(u32),
    Device(u32),
}

impl Wire {
    pub(super) fn new(seed: u64, network: Network, now: Instant) -> Self {
        Self {
            network,
            seed: mix(seed),
            dice: Dice::new(seed),
            queue: Queue::new(now),
            post: Post::default(),
            counters: Counters::default(),
            transcript: mix(seed),
            stray: None,
            captures: Captures::default(),
            devices: Vec::new(),
            unused: Vec::new(),
            directory: Directory::new(mix(!seed)),
        }
    }

    /// A host lives at this endpoint from now on.
    pub(super) fn settle_host(&mut self, endpoint: Endpoint, host: u32) {
        self.directory.insert(endpoint, host);
    }

    /// A translator with this outside address before one host; counted from 1.
    pub(super) fn settle_device(&mut self, nat: Nat, outside: Endpoint) -> u32 {
        let device = Device::new(nat, outside);
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

    /// One more host behind a translator.
    pub(super) fn share_device(&mut self, device: u32) {
        self.devices[device as usize - 1].hosts += 1;
    }

    /// Nobody lives at the addresses of this link any more.
    pub(super) fn move_out(&mut self, link: &Link) {
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

    /// The translator before a host forgets all hosts, if there is one.
    pub(super) fn reset_device(&mut self, link: &Link) {
        if let Some(device) = self.devices.get_mut((link.device as usize).wrapping_sub(1)) {
            device.reset();
        }
    }

    /// The endpoint under which others see a host; the port may be another one each time.
    pub(super) fn outside(&self, link: &Link, family: Family) -> Endpoint {
        let inside = link.endpoints[family.index()];
        match self.device(link) {
            Some(device) if family == Family::V4 => device.outside().with_port(inside.port()),
            _ => inside,
        }
    }

    /// A host sends a datagram.
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
        if self.network.burst_takes(&mut self.dice, &mut link.is_bad[0]) {
            self.counters.lost += 1;
            return;
        }
        self.carry(now + link.extra + wait, from, to, bytes);
    }

    /// Somebody sends a datagram under a false name.
    pub(super) fn forge(&mut self, now: Instant, from: Endpoint, to: Endpoint, bytes: &[u8]) {
        self.counters.sent += 1;
        self.counters.forged += 1;
        self.counters.bytes += bytes.len() as u64;
        self.record(now, from, to, bytes);
        self.carry(now, from, to, bytes);
    }

    /// The host that a datagram reaches, as far as addresses and translators decide it, and the
    /// translator before it, counted from 1.
    pub(super) fn receiver(&self, now: Instant, from: Endpoint, to: Endpoint) -> Option<(u32, u32)> {
        match self.place(to)? {
            Place::Host(host) => Some((host, 0)),
            Place::Device(device) => {
                let host = self.devices[device as usize].admit(now, from, to.port())?;
                Some((host, device + 1))
            }
        }
    }

    /// A datagram has reached a host.
    pub(super) fn deliver(&mut self, now: Instant, host: u32, at: u32) {
        self.counters.delivered += 1;
        if let Some(captured) = self.captures.of(host) {
            let parcel = self.post.get(at);
            let (direction, remote) = (Direction::Received, parcel.from.into());
            captured.push(Captured { at: now, direction, remote, bytes: parcel.bytes[..].into() });
        }
    }

    /// A datagram reached nobody.
    pub(super) fn note_astray(&mut self, to: Endpoint) {
        if self.place(to).is_some() {
            self.counters.blocked += 1;
        } else {
            self.counters.unclaimed += 1;
        }
    }

    /// Whether a datagram is lost on the last stretch.
    pub(super) fn is_lost_before(&mut self, link: &mut Link) -> bool {
        let is_lost = self.network.burst_takes(&mut self.dice, &mut link.is_bad[1]);
        self.counters.lost += u64::from(is_lost);
        is_lost
    }

    fn carry(&mut self, now: Instant, from: Endpoint, to: Endpoint, bytes: &[u8]) {
        let passage = self.network.carry(self.seed, &mut self.dice, from, to, bytes.len());
        let Some(delay) = passage.delay else {
            self.counters.lost += 1;
            return;
        };
        let at = self.post.put(from, to, bytes);
        self.queue.push(now + delay, Happening::Arrival(at));
        if passage.is_corrupt {
            self.counters.corrupted += 1;
            network::corrupt(&mut self.dice, self.post.bytes_mut(at));
        }
        if let Some(delay) = passage.copy {
            self.counters.duplicated += 1;
            let at = self.post.put(from, to, bytes);
            self.queue.push(now + delay, Happening::Arrival(at));
        }
    }

    fn place(&self, to: Endpoint) -> Option<Place> {
        // No host has port 0, so a translator's whole IP address goes under it.
        let device = || self.directory.get(to.with_port(0)).map(Place::Device);
        self.directory.get(to).map(Place::Host).or_else(device)
    }

    fn device(&self, link: &Link) -> Option<&Device> {
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

/// From endpoints to who lives there: open addressing, because a million hosts are looked up
/// millions of times a second. Nothing ever iterates over it.
struct Directory {
    slots: Vec<(Endpoint, u32)>,
    used: usize,
    key: u64,
}

impl Directory {
    fn new(key: u64) -> Self {
        Self { slots: vec![(Endpoint::ZERO, u32::MAX); 64], used: 0, key }
    }

    fn insert(&mut self, endpoint: Endpoint, value: u32) {
        if self.used * 2 > self.slots.len() {
            let larger = vec![(Endpoint::ZERO, u32::MAX); self.slots.len() * 2];
            for (endpoint, value) in core::mem::replace(&mut self.slots, larger) {
                if value != u32::MAX {
                    let at = self.find(endpoint);
                    self.slots[at] = (endpoint, value);
                }
            }
        }
        let at = self.find(endpoint);
        self.used += usize::from(self.slots[at].1 == u32::MAX);
        self.slots[at] = (endpoint, value);
    }

    fn get(&self, endpoint: Endpoint) -> Option<u32> {
        let (_, value) = self.slots[self.find(endpoint)];
        (value != u32::MAX).then_some(value)
    }

    /// Takes an endpoint out; those behind it that it kept from their place move up.
    fn remove(&mut self, endpoint: Endpoint) {
        let (mut gap, mask) = (self.find(endpoint), self.slots.len() - 1);
        if self.slots[gap].1 == u32::MAX {
            return;
        }
        self.used -= 1;
        let mut at = gap;
        loop {
            at = (at + 1) & mask;
            if self.slots[at].1 == u32::MAX {
                break;
            }
            let home = self.home(self.slots[at].0);
            if at.wrapping_sub(home) & mask >= at.wrapping_sub(gap) & mask {
                self.slots[gap] = self.slots[at];
                gap = at;
            }
        }
        self.slots[gap] = (Endpoint::ZERO, u32::MAX);
    }

    /// Where an endpoint is, or would be.
    fn find(&self, endpoint: Endpoint) -> usize {
        let (mut at, mask) = (self.home(endpoint), self.slots.len() - 1);
        while self.slots[at].1 != u32::MAX && self.slots[at].0 != endpoint {
            at = (at + 1) & mask;
        }
        at
    }

    /// Where an endpoint is if nobody else is there.
    const fn home(&self, endpoint: Endpoint) -> usize {
        let (high, low) = endpoint.halves();
        mix(mix(low ^ self.key) ^ high ^ (endpoint.port() as u64) << 40) as usize & (self.slots.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use alloc::sync::Arc;
    use std::collections::{BTreeMap, BTreeSet};

    use super::super::{Churn, Growth, NatKind, Profile, Returns, World};
    use super::*;

    #[test]
    fn the_directory_finds_what_was_put_in() {
        let mut directory = Directory::new(1);
        let endpoint = |index: u32| Endpoint::v4(index.to_be_bytes(), index as u16);
        (0..10_000).for_each(|index| directory.insert(endpoint(index), index));
        directory.insert(endpoint(7), 70_000);
        assert_eq!(directory.get(endpoint(7)), Some(70_000));
        assert!((8..10_000).all(|index| directory.get(endpoint(index)) == Some(index)));
        assert_eq!(directory.get(endpoint(10_000)), None);
    }

    #[test]
    fn the_directory_forgets_what_was_taken_out_and_nothing_else() {
        let (mut directory, mut dice, mut model) = (Directory::new(2), Dice::new(1), BTreeMap::new());
        for value in 0..20_000 {
            let endpoint = Endpoint::v4((dice.below(900) as u32).to_be_bytes(), 1);
            if dice.chance(0.5) {
                directory.insert(endpoint, value);
                model.insert(endpoint, value);
            } else {
                directory.remove(endpoint);
                model.remove(&endpoint);
            }
            let other = Endpoint::v4((dice.below(900) as u32).to_be_bytes(), 1);
            assert_eq!(directory.get(other), model.get(&other).copied());
        }
        assert_eq!((directory.used, directory.slots.len()), (model.len(), 1024), "its places serve again");
    }

    #[test]
    fn translators_are_used_again_once_nobody_is_behind_them() {
        let mut wire = Wire::new(1, Network::perfect(), Instant::ZERO);
        let nat = Nat::new(NatKind::FullCone);
        let outside = |last| Endpoint::v4([30, 0, 0, last], 1);
        let link = |host, device| Link {
            device,
            endpoints: [outside(device as u8), Endpoint::ZERO],
            ..Link::new(host)
        };
        assert_eq!(wire.settle_device(nat, outside(1)), 1);
        wire.share_device(1);
        wire.move_out(&link(0, 1));
        assert_eq!(wire.settle_device(nat, outside(2)), 2, "one is still behind the first");
        wire.move_out(&link(1, 1));
        assert!(wire.place(outside(1)).is_none());
        assert_eq!(wire.settle_device(nat, outside(3)), 1);
        assert!(wire.place(outside(3)).is_some());
    }

    /// In a world where everybody leaves and comes back elsewhere, some behind translators.
    #[test]
    fn coming_and_going_leaves_nothing_behind() {
        let mut world = World::new(1, Network::internet());
        let profiles = [None, Some(NatKind::FullCone), Some(NatKind::Symmetric)].map(|kind| {
            let (session, absence) = (Duration::from_secs(300), Duration::from_secs(10));
            let churn = Some(Churn { session, absence, returns: Returns::Renewed });
            Arc::new(Profile { nat: kind.map(Nat::new), churn, ..Profile::of_world(30) })
        });
        world.grow(30, &Growth::default(), |index, _| Arc::clone(&profiles[index % 3]));
        let mut addresses = BTreeSet::new();
        for _ in 0..24 {
            world.run_for(Duration::from_secs(900));
            addresses.extend(world.hosts().map(|host| world.addr(host)));
            let wire = &world.wire;
            assert_eq!(wire.directory.used, 30);
            // One more while a host moves from one to the other.
            assert!(wire.devices.len() <= 21, "{}", wire.devices.len());
            assert!(wire.devices.iter().all(|device| device.len() < 200));
            assert!(wire.queue.len() < 2000 && wire.post.len() < 500, "{}", wire.queue.len());
        }
        assert!(addresses.len() > 500, "{}", addresses.len());
    }

    #[test]
    fn the_transcript_tells_every_difference() {
        let transcript = |at: u64, from: u8, to: u8, bytes: &[u8]| {
            let mut wire = Wire::new(1, Network::perfect(), Instant::ZERO);
            let endpoint = |last| Endpoint::v4([30, 0, 0, last], 1);
            wire.record(Instant::from_micros(at), endpoint(from), endpoint(to), bytes);
            wire.transcript
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
