//! The hosts of a world, and the network between them.

use std::net::SocketAddr;
use std::time::Duration;

use dht_proto::sim::actors::{Flooder, Honest, IdChaser, Liar, Lie, PortFiller, Reflector};
use dht_proto::sim::{Bursts, HostId, Nat, NatKind, Network, Profile, World};
use dht_proto::{AddressPolicy, Config, Limits, NodeId, RateLimit};

use crate::scenario::script::{Script, infohash};

/// The shares of datagrams that are lost.
const LOSSES: [f64; 8] = [0.0, 0.0, 0.0, 0.0, 0.02, 0.1, 0.4, 1.0];

pub fn network(script: &mut Script<'_>) -> Network {
    let byte = script.byte();
    let has = |bit: u8| byte & (1 << bit) != 0;
    let mut network = if has(0) { Network::internet() } else { Network::perfect() };
    network.loss = LOSSES[usize::from(byte >> 5)];
    if has(1) {
        (network.duplication, network.reordering) = (0.1, 0.1);
    }
    if has(2) {
        network.corruption = 0.05;
    }
    if has(3) {
        network.bursts = Some(Bursts { start: 0.05, stop: 0.2, loss: 0.9 });
    }
    if has(4) {
        network.jitter = Duration::from_secs(1);
    }
    network
}

pub fn profile(script: &mut Script<'_>) -> Profile {
    let (kind, more) = (script.byte(), script.byte());
    let mut profile = Profile::default();
    profile.bootstraps = usize::from(more & 1) * 2;
    profile.limits = limits(kind >> 6);
    profile.config = config(kind, more);
    let nat = match more >> 4 {
        12 => Some(NatKind::FullCone),
        13 => Some(NatKind::AddressRestricted),
        14 => Some(NatKind::PortRestricted),
        15 => Some(NatKind::Symmetric),
        _ => None,
    };
    profile.nat = nat.map(Nat::new);
    profile
}

fn config(kind: u8, more: u8) -> Config {
    let mut config = Config::default();
    (config.ipv4, config.ipv6) = (kind & 3 != 3, kind & 3 != 0);
    if kind & 4 != 0 {
        config.address_policy = AddressPolicy::Any;
    }
    config.source_limits = kind & 8 == 0;
    config.read_only = kind & 0x30 == 0x10 && more & 1 != 0;
    if kind & 0x30 == 0x20 {
        config.new_endpoints = RateLimit::new(1, 2);
    }
    if more & 2 != 0 {
        (config.id, config.id_v6) =
            (Some(NodeId::from_bytes([more; 20])), Some(NodeId::from_bytes([kind; 20])));
    }
    if more & 4 != 0 {
        (config.unverified_bytes, config.peer_ttl) = (400, Duration::from_secs(60));
    }
    if more & 8 != 0 {
        (config.queries_per_source, config.peers_per_swarm) = (RateLimit::new(1, 3), 2);
    }
    config
}

fn limits(size: u8) -> Limits {
    let scale = [6, 3, 1, 0][usize::from(size)];
    let mut limits = Limits::default();
    (limits.nodes_v4, limits.nodes_v6, limits.replacements) = (40 * scale, 24 * scale, 16 * scale);
    (limits.inflight, limits.traversals) = (6 * scale, 2 * scale - scale / 2);
    (limits.candidates_per_lookup, limits.peers_per_lookup) = (10 * scale, 3 * scale);
    (limits.swarms, limits.peers_v4, limits.peers_v6) = (2 * scale, 12 * scale, 5 * scale);
    (limits.sources, limits.reputations) = (12 * scale, 9 * scale);
    (limits.replies, limits.events, limits.bootstraps) = (3 * scale, 4 * scale, 2 * scale);
    // What a scenario cannot fill is small, or most of the time would go into memory that is never used.
    (limits.tokens_per_lookup, limits.publications) = (2 * scale, scale);
    (limits.samples, limits.scrapes, limits.samplings) = (7 * scale, scale.div_ceil(2), scale.div_ceil(2));
    #[cfg(feature = "items")]
    {
        (limits.items.stored, limits.items.chunks) = (2 * scale, 5 * scale);
        (limits.items.own, limits.items.own_chunks) = (scale, 9 * scale);
    }
    limits
}

/// Gives a host an address: in a subnet of its own, behind the NAT of another host, or
/// shared with others but for the port.
pub fn place(world: &mut World, profile: Profile, script: &mut Script<'_>) -> HostId {
    let translators: Vec<HostId> = world.hosts().filter(|host| world.is_behind_nat(*host)).collect();
    let config = &profile.config;
    match script.byte() {
        0..32 if config.ipv4 => {
            let is_private = config.address_policy == AddressPolicy::Any;
            let ip = if is_private { [10, 0, 0, 1] } else { [99, 9, 9, 9] };
            world.add_at(SocketAddr::from((ip, 7000 + world.hosts().len() as u16)), profile)
        }
        // An IPv6 address would be shared as well.
        byte @ 32..64 if config.ipv4 && !config.ipv6 && !translators.is_empty() => {
            world.add_behind(translators[usize::from(byte) % translators.len()], profile)
        }
        _ => world.add(profile),
    }
}

/// Creates an adversary among hosts at `addrs`.
pub fn adversary(world: &mut World, addrs: &[SocketAddr], script: &mut Script<'_>) -> HostId {
    let (kind, interval) = (script.byte(), Duration::from_millis(100 + 20 * u64::from(script.byte())));
    let (id, victim) = (world.rng().id(), addrs[script.below(addrs.len())]);
    let lie = match kind % 10 {
        0 => Lie::OtherIds,
        1 => Lie::CloserNodes,
        2 => Lie::Asker,
        3 => Lie::Reserved,
        4 => Lie::Peers,
        5 => return world.add_actor(IdChaser { accomplices: addrs.to_vec() }),
        6 => return world.add_actor(PortFiller::new(id, victim, infohash(1), interval)),
        7 => return world.add_actor(Flooder::new(id, victim, interval, 1 + usize::from(kind / 16))),
        8 => return world.add_actor(Reflector::new(victim, addrs.to_vec(), interval)),
        _ => {
            let contacts: Vec<_> = addrs.iter().map(|addr| (world.rng().id(), *addr)).collect();
            let mut honest = Honest::dropper(id, contacts, 0.8);
            (honest.peers, honest.delay) = (addrs.to_vec(), interval);
            return world.add_actor(honest);
        }
    };
    world.add_actor(Liar { id, lie })
}
