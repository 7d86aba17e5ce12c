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

/// The loops that a node can run in.
#[cfg(any(feature = "net", feature = "smol", feature = "tokio"))]
pub mod loops {
    use dht_proto::net::{Builder, Dht, SpawnError};

    use super::PATIENCE;
    use super::nodes::{addr, builder};

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Loop {
        #[cfg(feature = "net")]
        Thread,
        #[cfg(feature = "tokio")]
        Task,
        #[cfg(feature = "smol")]
        Smol,
    }

    pub const LOOPS: &[Loop] = &[
        #[cfg(feature = "net")]
        Loop::Thread,
        #[cfg(feature = "tokio")]
        Loop::Task,
        #[cfg(feature = "smol")]
        Loop::Smol,
    ];

    impl Loop {
        pub fn spawn(self, builder: Builder) -> Result<Dht, SpawnError> {
            match self {
                #[cfg(feature = "net")]
                Self::Thread => builder.spawn(),
                #[cfg(feature = "tokio")]
                Self::Task => {
                    let _inside = runtime().enter();
                    builder.spawn_tokio()
                }
                #[cfg(feature = "smol")]
                Self::Smol => {
                    let (dht, node) = builder.build_smol()?;
                    std::thread::spawn(move || futures_lite::future::block_on(node));
                    Ok(dht)
                }
            }
        }

        /// Nodes that start from the first of them, all joined.
        pub fn network(self, count: usize) -> Vec<Dht> {
            let first = self.spawn(builder()).unwrap();
            let start = addr(&first).to_string();
            let mut nodes = vec![first];
            nodes.extend((1..count).map(|_| self.spawn(builder().bootstrap([&start])).unwrap()));
            for node in &nodes[1..] {
                assert_eq!(node.ready().wait_timeout(PATIENCE), Ok(()));
            }
            nodes
        }
    }

    /// The runtime of all tasks that tests outside of one start.
    #[cfg(feature = "tokio")]
    fn runtime() -> &'static tokio::runtime::Runtime {
        static RUNTIME: std::sync::OnceLock<tokio::runtime::Runtime> = std::sync::OnceLock::new();
        RUNTIME.get_or_init(|| {
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
        })
    }
}

/// What tests ask of nodes, and block for.
#[cfg(any(feature = "net", feature = "smol", feature = "tokio"))]
pub mod nodes {
    use std::thread;
    use std::time::Instant;

    #[cfg(feature = "items")]
    use dht_proto::items::PublicationInfo;
    use dht_proto::net::{Builder, CallError, Dht, DhtHandle};
    use dht_proto::report::AnnouncementInfo;
    use dht_proto::{Family, Node};

    use super::*;
    use crate::common::local_config;

    pub fn builder() -> Builder {
        Dht::builder().config(local_config()).limits(limits()).bind(LOOPBACK).bootstrap::<String>([])
    }

    pub fn addr(dht: &DhtHandle) -> SocketAddr {
        dht.local_addr(Family::V4).unwrap()
    }

    /// Lookups under way and queries that wait for an answer.
    pub fn under_way(node: &Node) -> (usize, usize) {
        (node.lookup_count(), node.query_count())
    }

    /// The announces that are kept up.
    pub fn announces(dht: &DhtHandle) -> Vec<AnnouncementInfo> {
        dht.with(|node, _| node.announcements().collect()).wait().unwrap()
    }

    /// The items that are kept up.
    #[cfg(feature = "items")]
    pub fn items(dht: &DhtHandle) -> Vec<PublicationInfo> {
        dht.with(|node, _| node.publications().collect()).wait().unwrap()
    }

    /// How many nodes are in the table.
    pub fn count(dht: &DhtHandle) -> Result<usize, CallError> {
        dht.node_count(Family::V4).wait()
    }

    pub fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
        let until = Instant::now() + PATIENCE;
        while !done() {
            assert!(Instant::now() < until, "{what}");
            thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Nodes in threads.
#[cfg(feature = "net")]
pub mod blocking {
    use dht_proto::net::Dht;

    use super::loops::Loop;
    #[allow(unused_imports, reason = "every test uses a part of it")]
    pub use super::nodes::*;

    /// Nodes that start from the first of them, all joined.
    pub fn network(count: usize) -> Vec<Dht> {
        Loop::Thread.network(count)
    }
}

/// Nodes in tasks, whose callers await.
#[cfg(feature = "tokio")]
pub mod tasks {
    use dht_proto::net::{CallError, Dht, DhtHandle};
    use tokio::time::timeout;

    use super::PATIENCE;
    use super::nodes::under_way;
    #[allow(unused_imports, reason = "every test uses a part of it")]
    pub use super::nodes::{addr, builder};

    pub async fn soon<F: IntoFuture>(future: F) -> F::Output {
        timeout(PATIENCE, future).await.expect("it takes too long")
    }

    /// Nodes that start from the first of them, all joined.
    pub async fn network(count: usize) -> Vec<Dht> {
        let first = builder().spawn_tokio().unwrap();
        let start = addr(&first).to_string();
        let mut nodes = vec![first];
        nodes.extend((1..count).map(|_| builder().bootstrap([&start]).spawn_tokio().unwrap()));
        for node in &nodes[1..] {
            assert_eq!(soon(node.ready()).await, Ok(()));
        }
        nodes
    }

    /// Lookups under way and queries that wait for an answer.
    pub async fn at_work(dht: &DhtHandle) -> Result<(usize, usize), CallError> {
        dht.with(|node, _| under_way(node)).await
    }
}
