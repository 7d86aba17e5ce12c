//! Saved states with any content under a right checksum: a node refuses them, or goes on with them as with its own.
//!
//! The fuzz target `state` and an ordinary test share this file. A program that includes it needs `roundtrip` beside it,
//! in the root of its crate.
#![allow(dead_code, unreachable_pub, reason = "every user takes a part of it")]

use std::time::Duration;

use dht_proto::sim::{Network, Profile, World};
use dht_proto::state::State;
use dht_proto::{AddressPolicy, Limits};
use sha1_smol::Sha1;

use crate::roundtrip;

/// Restores a node from the bytes as a state, and as the content of one with a right checksum.
///
/// # Panics
///
/// If a node breaks an invariant afterwards, which is a bug of this crate.
pub fn restore(bytes: &[u8]) {
    roundtrip::state(bytes);
    let checksum = Sha1::from(bytes).digest().bytes();
    for bytes in [bytes, &[b"d9:dht-proto", bytes, b"4:sha120:", &checksum, b"e"].concat()] {
        if let Ok(state) = State::parse(bytes) {
            resume(&state);
        }
    }
}

/// Resumes a state in a world, where nobody whom it names exists.
fn resume(state: &State<'_>) {
    let mut world = World::new(1, Network::perfect());
    let mut profile = Profile::default();
    profile.limits = limits();
    profile.config.address_policy = AddressPolicy::Any;
    (profile.config.ipv4, profile.config.ipv6) = (true, true);
    let host = world.add(profile.clone());
    world.add(profile);
    world.with_node(host, |node, now| node.restore(now, state, Duration::from_secs(60)));
    world.check().unwrap();
    world.run_for(Duration::from_secs(120));
    world.check().unwrap();
}

fn limits() -> Limits {
    let mut limits = Limits::default();
    (limits.nodes_v4, limits.nodes_v6, limits.replacements) = (40, 24, 8);
    (limits.inflight, limits.traversals) = (12, 4);
    (limits.candidates_per_lookup, limits.tokens_per_lookup, limits.peers_per_lookup) = (16, 4, 6);
    (limits.swarms, limits.peers_v4, limits.peers_v6) = (3, 16, 8);
    (limits.sources, limits.reputations) = (12, 8);
    (limits.replies, limits.events, limits.bootstraps, limits.publications) = (4, 8, 3, 3);
    (limits.samples, limits.scrapes, limits.samplings) = (3, 1, 1);
    #[cfg(feature = "items")]
    {
        (limits.items.stored, limits.items.chunks) = (3, 8);
        (limits.items.own, limits.items.own_chunks) = (3, 12);
    }
    limits
}
