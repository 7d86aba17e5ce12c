//! What the tests of the adapters start from, on real sockets of loopback.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use dht_proto::{InfoHash, Limits, LookupOptions};

/// Far more than any of it takes, for slow machines.
pub const PATIENCE: Duration = Duration::from_secs(30);

pub const HASH: InfoHash = InfoHash::from_bytes([0x5a; 20]);

/// Any free port.
pub const LOOPBACK: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// Small stores: a test runs many nodes.
pub fn limits() -> Limits {
    let mut limits = Limits::default();
    (limits.peers_v4, limits.peers_v6) = (1024, 256);
    limits
}

/// A lookup asks only `hole`, and for long.
pub fn asking(hole: SocketAddr) -> LookupOptions {
    let mut options = LookupOptions::default();
    options.only = Some(hole);
    options.timeout = PATIENCE;
    options
}

/// Checks how often an idle loop woke up since its birth, when it was called twice and nothing else
/// was to do. A node that knows nobody has no deadline for minutes. More time, if the machine took
/// it, allows more; a loop that does not sleep wakes a thousand times a second.
#[track_caller]
pub fn assert_asleep(wakeups: u64, age: Duration) {
    let most = 5 + age.as_secs();
    assert!((1..=most).contains(&wakeups), "{wakeups} times in {age:?}");
}

/// The nodes of the blocking adapter.
#[cfg(feature = "net")]
pub mod blocking {
    use std::thread;
    use std::time::Instant;

    use dht_proto::Family;
    use dht_proto::net::{Builder, Dht, DhtHandle};

    use super::*;
    use crate::common::local_config;

    pub fn builder() -> Builder {
        Dht::builder().config(local_config()).limits(limits()).bind(LOOPBACK).bootstrap::<String>([])
    }

    pub fn addr(dht: &DhtHandle) -> SocketAddr {
        dht.local_addr(Family::V4).unwrap()
    }

    /// Nodes that start from the first of them, all joined.
    pub fn network(count: usize) -> Vec<Dht> {
        let first = builder().spawn().unwrap();
        let start = addr(&first).to_string();
        let mut nodes = vec![first];
        nodes.extend((1..count).map(|_| builder().bootstrap([&start]).spawn().unwrap()));
        for node in &nodes[1..] {
            assert_eq!(node.wait_ready(PATIENCE), Ok(true));
        }
        nodes
    }

    pub fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
        let until = Instant::now() + PATIENCE;
        while !done() {
            assert!(Instant::now() < until, "{what}");
            thread::sleep(Duration::from_millis(5));
        }
    }
}
