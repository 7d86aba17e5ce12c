//! Helpers of the tests: nodes, hosts and adapters.
#![allow(dead_code, unreachable_pub, reason = "every test uses a part of it")]

pub mod disk;
#[cfg(feature = "items")]
pub mod items;
pub mod net;
pub mod raw;
#[cfg(feature = "cli")]
pub mod tool;

use std::net::SocketAddr;

use dht_proto::{Config, Limits};

/// Returns the address of the `index`-th host, each in a subnet of its own.
pub fn addr(index: usize) -> SocketAddr {
    SocketAddr::from(([60 + (index >> 16) as u8, (index >> 8) as u8, index as u8, 1], 6881))
}

/// Returns the address of the `index`-th host that is not a node of the test.
pub fn stranger(index: usize) -> SocketAddr {
    addr(10_000 + index)
}

pub fn config() -> Config {
    let mut config = Config::default();
    config.ipv6 = false;
    config
}

pub fn limits() -> Limits {
    let mut limits = Limits::default();
    (limits.swarms, limits.peers_v4, limits.peers_v6) = (64, 1024, 256);
    (limits.traversals, limits.sources, limits.reputations) = (16, 256, 512);
    limits.nodes_v6 = 64;
    limits.events = 256;
    limits
}
