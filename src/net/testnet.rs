//! A private network on loopback, for the tests of programs that use the DHT.

use alloc::string::{String, ToString as _};
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use core::time::Duration;
#[cfg(feature = "net")]
use std::io;
use std::time::Instant as StdInstant;

use super::error::{CallError, SpawnError};
use super::handle::builder::Builder;
use super::handle::dht::Dht;
use crate::{Config, Family, Limits};

/// A free port of loopback.
const LOOPBACK: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// Nodes that are added to each node at the start.
const NEIGHBOURS: usize = 32;

/// Bootstrap hosts of a client.
const BOOTSTRAPS: usize = 8;

/// The time that [`Testnet::new`] waits for its nodes. They take a fraction of a second unless the machine is busy.
#[cfg(feature = "net")]
const TIME_LIMIT: Duration = Duration::from_secs(30);

/// Nodes on loopback that know each other and no other node; they end when this is dropped.
///
/// A program under test joins them through [`bootstrap`](Self::bootstrap), with
/// [`Config::private`](crate::Config::private); [`builder`](Self::builder) describes such a client. If there are
/// at most 33 nodes, each knows all others, so it is determined which of them store what. Their stores are small: 256
/// torrents and 256 items each.
///
#[cfg_attr(feature = "net", doc = "```")]
#[cfg_attr(not(feature = "net"), doc = "```ignore")]
/// use dht_proto::Announce;
/// use dht_proto::net::Testnet;
///
/// let testnet = Testnet::new(10)?;
/// let (here, there) = (testnet.builder().spawn()?, testnet.builder().spawn()?);
/// here.announce([7; 20].into(), Announce::port(6881)).wait()?;
/// assert_eq!(there.get_peers([7; 20].into()).into_iter().next(), Some(([127, 0, 0, 1], 6881).into()));
/// # Ok::<(), Box<dyn core::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use = "dropping it ends its nodes"]
pub struct Testnet {
    /// The nodes, each with a handle of its own; dropping one ends it.
    pub nodes: Vec<Dht>,
}

impl Testnet {
    /// Starts this number of nodes, each in a thread of its own, and blocks until they know each other.
    ///
    /// # Errors
    ///
    /// See [`SpawnError`]; [`SpawnError::System`] of kind [`TimedOut`](io::ErrorKind::TimedOut) if it takes more than 30
    /// seconds.
    #[cfg(feature = "net")]
    pub fn new(nodes: usize) -> Result<Self, SpawnError> {
        let testnet = Self::start(nodes, Builder::spawn)?;
        testnet
            .wait_timeout(TIME_LIMIT)
            .map_err(|error| io::Error::new(io::ErrorKind::TimedOut, error.to_string()))?;
        Ok(testnet)
    }

    /// Starts this number of nodes with `spawn`, and does not wait until they know each other.
    ///
    /// `Builder::spawn_tokio` makes them tasks of one runtime, `|builder| builder.limits(…).spawn()` gives them other
    /// limits.
    ///
    /// # Errors
    ///
    /// The first error of `spawn`.
    pub fn start(
        nodes: usize,
        mut spawn: impl FnMut(Builder) -> Result<Dht, SpawnError>,
    ) -> Result<Self, SpawnError> {
        let mut testnet = Self { nodes: Vec::with_capacity(nodes) };
        for _ in 0..nodes {
            let node = spawn(testnet.builder().limits(limits()))?;
            testnet.nodes.push(node);
        }
        let addrs: Vec<SocketAddr> = testnet.addrs().collect();
        for (at, node) in testnet.nodes.iter().enumerate() {
            let others = addrs.iter().cycle().skip(at + 1).take(NEIGHBOURS.min(nodes - 1));
            others.for_each(|&addr| drop(node.add_node(addr)));
        }
        Ok(testnet)
    }

    /// Blocks until all nodes are ready and know each other, at most for `timeout`.
    ///
    /// # Errors
    ///
    /// [`CallError::TimedOut`], or [`CallError::Closed`] if a node has ended.
    pub fn wait_timeout(&self, timeout: Duration) -> Result<(), CallError> {
        let deadline = StdInstant::now() + timeout;
        let left = || deadline.saturating_duration_since(StdInstant::now());
        let wanted = self.wanted();
        for node in self.nodes.iter().take_while(|_| wanted > 0) {
            let mut events = node.subscribe();
            node.ready().wait_timeout(left())?;
            while node.node_count(Family::V4).wait_timeout(left())? < wanted {
                events.recv_timeout(left())?;
            }
        }
        Ok(())
    }

    /// Awaits until all nodes are ready and know each other.
    ///
    /// # Errors
    ///
    /// [`CallError::Closed`] if a node has ended.
    pub async fn ready(&self) -> Result<(), CallError> {
        let wanted = self.wanted();
        for node in self.nodes.iter().take_while(|_| wanted > 0) {
            let mut events = node.subscribe();
            node.ready().await?;
            while node.node_count(Family::V4).await? < wanted {
                events.recv().await?;
            }
        }
        Ok(())
    }

    /// Returns the addresses of the nodes.
    pub fn addrs(&self) -> impl Iterator<Item = SocketAddr> {
        self.nodes.iter().filter_map(|node| node.local_addr(Family::V4))
    }

    /// Returns bootstrap hosts as `host:port`: the first eight nodes.
    pub fn bootstrap(&self) -> Vec<String> {
        self.addrs().take(BOOTSTRAPS).map(|addr| addr.to_string()).collect()
    }

    /// Creates a builder for a client: a node on a free port of loopback that joins this network.
    pub fn builder(&self) -> Builder {
        Dht::builder().config(Config::private()).bind(LOOPBACK).bootstrap(self.bootstrap())
    }

    /// Returns the number of nodes that each node has to know.
    fn wanted(&self) -> usize {
        let others = self.nodes.len().saturating_sub(1);
        if others > NEIGHBOURS { BOOTSTRAPS } else { others }
    }
}

/// Returns limits with which hundreds of nodes fit into one process.
fn limits() -> Limits {
    Limits {
        nodes_v6: 0,
        traversals: 16,
        peers_per_lookup: 256,
        swarms: 256,
        peers_v4: 2048,
        peers_v6: 0,
        sources: 512,
        reputations: 512,
        publications: 64,
        #[cfg(feature = "items")]
        items: crate::items::ItemLimits { stored: 256, chunks: 2048, own: 32, own_chunks: 256 },
        ..Limits::default()
    }
}
