//! Helpers for the tests of the adapters, on real sockets of loopback.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::{Child, Command};
use std::sync::{PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use dht_proto::{InfoHash, Limits, LookupOptions};

/// Far longer than anything takes, for slow machines.
pub const PATIENCE: Duration = Duration::from_secs(30);

pub const HASH: InfoHash = InfoHash::from_bytes([0x5a; 20]);

/// An address with any free port.
pub const LOOPBACK: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// Locked while a process is started, which has copies of all open sockets until it executes its program.
static STARTS: RwLock<()> = RwLock::new(());

/// Starts a process while no test needs the port of a closed socket.
pub fn start(command: &mut Command) -> io::Result<Child> {
    let _starting = STARTS.write().unwrap_or_else(PoisonError::into_inner);
    command.spawn()
}

/// Returns a guard under which no process is started, so that the port of a closed socket is free.
pub fn without_starts() -> RwLockReadGuard<'static, ()> {
    STARTS.read().unwrap_or_else(PoisonError::into_inner)
}

/// Limits with small stores: a test runs many nodes.
pub fn limits() -> Limits {
    let mut limits = Limits::default();
    (limits.peers_v4, limits.peers_v6) = (1024, 256);
    limits
}

/// Options of a lookup that queries only `hole`, for a long time.
pub fn asking(hole: SocketAddr) -> LookupOptions {
    let mut options = LookupOptions::default();
    options.only = Some(hole);
    options.timeout = PATIENCE;
    options
}

/// Checks how often an idle loop woke up in its lifetime, in which it was called twice and had nothing else
/// to do. A node without contacts has no deadline for minutes. The bound grows with the time, as the machine
/// may be slow; a loop that does not sleep wakes a thousand times a second.
#[track_caller]
pub fn assert_asleep(wakeups: u64, lifetime: Duration) {
    let most = 5 + lifetime.as_secs();
    assert!((1..=most).contains(&wakeups), "{wakeups} times in {lifetime:?}");
}

/// The event loops in which a node can run.
#[cfg(any(feature = "net", feature = "smol", feature = "tokio"))]
pub mod loops {
    use dht_proto::net::{Builder, Dht, SpawnError, Testnet};

    use super::{PATIENCE, limits};

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

    /// Runs a test in every loop at once, each on a thread with its name: many tests mostly wait.
    pub fn in_each_loop(test: impl Fn(Loop) + Sync) {
        let test = &test;
        std::thread::scope(|scope| {
            for &on in LOOPS {
                let thread = std::thread::Builder::new().name(format!("{on:?}"));
                thread.spawn_scoped(scope, move || test(on)).unwrap();
            }
        });
    }

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

        /// Starts nodes that bootstrap from the first, and waits until all have joined.
        pub fn network(self, count: usize) -> Vec<Dht> {
            let testnet = Testnet::start(count, |node| self.spawn(node.limits(limits()))).unwrap();
            assert_eq!(testnet.wait_timeout(PATIENCE), Ok(()));
            testnet.nodes
        }
    }

    /// The runtime of the nodes that tests start as tasks from outside of a runtime.
    #[cfg(feature = "tokio")]
    fn runtime() -> &'static tokio::runtime::Runtime {
        static RUNTIME: std::sync::OnceLock<tokio::runtime::Runtime> = std::sync::OnceLock::new();
        RUNTIME.get_or_init(|| {
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
        })
    }
}

/// Blocking helpers for nodes in any loop.
#[cfg(any(feature = "net", feature = "smol", feature = "tokio"))]
pub mod nodes {
    use std::thread;
    use std::time::Instant;

    #[cfg(feature = "items")]
    use dht_proto::items::PublicationInfo;
    use dht_proto::net::{Builder, CallError, Dht, DhtHandle};
    use dht_proto::report::AnnouncementInfo;
    use dht_proto::{Config, Family, Node};

    use super::*;

    pub fn builder() -> Builder {
        Dht::builder().config(Config::private()).limits(limits()).bind(LOOPBACK).bootstrap::<String>([])
    }

    pub fn addr(dht: &DhtHandle) -> SocketAddr {
        dht.local_addr(Family::V4).unwrap()
    }

    /// The numbers of running lookups and of queries in flight.
    pub fn under_way(node: &Node) -> (usize, usize) {
        (node.lookup_count(), node.query_count())
    }

    /// The announcements of a node.
    pub fn announces(dht: &DhtHandle) -> Vec<AnnouncementInfo> {
        dht.with(|node, _| node.announcements().collect()).wait().unwrap()
    }

    /// The publications of a node.
    #[cfg(feature = "items")]
    pub fn items(dht: &DhtHandle) -> Vec<PublicationInfo> {
        dht.with(|node, _| node.publications().collect()).wait().unwrap()
    }

    /// The number of nodes in the table.
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

/// Helpers for nodes in threads.
#[cfg(feature = "net")]
pub mod blocking {
    use dht_proto::net::Dht;

    use super::loops::Loop;
    #[allow(unused_imports, reason = "every test uses a part of it")]
    pub use super::nodes::*;

    /// Starts nodes that bootstrap from the first, and waits until all have joined.
    pub fn network(count: usize) -> Vec<Dht> {
        Loop::Thread.network(count)
    }
}

/// Helpers for nodes in tasks, whose callers await.
#[cfg(feature = "tokio")]
pub mod tasks {
    use dht_proto::net::{CallError, Dht, DhtHandle, Testnet};
    use tokio::time::timeout;

    use super::nodes::under_way;
    #[allow(unused_imports, reason = "every test uses a part of it")]
    pub use super::nodes::{addr, builder};
    use super::{PATIENCE, limits};

    pub async fn soon<F: IntoFuture>(future: F) -> F::Output {
        timeout(PATIENCE, future).await.expect("it takes too long")
    }

    /// Starts nodes that bootstrap from the first, and waits until all have joined.
    pub async fn network(count: usize) -> Vec<Dht> {
        let testnet = Testnet::start(count, |node| node.limits(limits()).spawn_tokio()).unwrap();
        assert_eq!(soon(testnet.ready()).await, Ok(()));
        testnet.nodes
    }

    /// The numbers of running lookups and of queries in flight.
    pub async fn at_work(dht: &DhtHandle) -> Result<(usize, usize), CallError> {
        dht.with(|node, _| under_way(node)).await
    }
}
