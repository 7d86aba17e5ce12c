//! What a node on real sockets starts from, whichever loop runs it.

use alloc::borrow::ToOwned as _;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use core::task::Waker;
use core::time::Duration;

use super::board::Board;
use super::clock::Clock;
use super::desk::Desk;
use super::error::SpawnError;
use super::events::{Notice, Subscribers};
use super::ports::Bound;
use super::resolve::{self, BOOTSTRAP_HOSTS};
use super::rounds::Saved;
use super::saver::Saver;
use super::state::{Loaded, SAVE_INTERVAL, StateFile};
use crate::{Config, Family, Instant, Limits, Node};

#[derive(Debug)]
pub(super) struct Setup {
    pub(super) config: Config,
    pub(super) limits: Limits,
    /// By family.
    pub(super) binds: [Option<SocketAddr>; 2],
    pub(super) bootstrap: Vec<String>,
    /// Hosts to spare, beside those that are to be in any case.
    pub(super) routers: Vec<String>,
    pub(super) state: Option<StateFile>,
    pub(super) save_every: Duration,
    pub(super) subscribers: Subscribers,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            config: Config::default(),
            limits: Limits::default(),
            binds: [None; 2],
            bootstrap: BOOTSTRAP_HOSTS.map(str::to_owned).to_vec(),
            routers: Vec::new(),
            state: None,
            save_every: SAVE_INTERVAL,
            subscribers: Subscribers::default(),
        }
    }
}

impl Setup {
    /// Binds the sockets, by family, and turns off the families without one.
    pub(super) fn open(&mut self) -> Result<[Option<Bound>; 2], SpawnError> {
        let by_choice = self.binds != [None; 2];
        let mut sockets = [None, None];
        let mut missing = None;
        for (family, on, any) in [
            (Family::V4, self.config.ipv4, SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0))),
            (Family::V6, self.config.ipv6, SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0))),
        ] {
            let chosen = self.binds[family.index()];
            if !on || (by_choice && chosen.is_none()) {
                continue;
            }
            let addr = chosen.unwrap_or(any);
            match Bound::new(addr) {
                Ok(bound) => sockets[family.index()] = Some(bound),
                Err(error) if by_choice => return Err(SpawnError::Bind { addr, error }),
                Err(error) => missing = Some(SpawnError::Bind { addr, error }),
            }
        }
        if sockets.iter().all(Option::is_none) {
            return Err(missing.unwrap_or(SpawnError::NoFamily));
        }
        self.config.ipv4 = sockets[Family::V4.index()].is_some();
        self.config.ipv6 = sockets[Family::V6.index()].is_some();
        Ok(sockets)
    }

    /// Makes the node, from the saved state if there is one, with the bootstrap addresses that need no
    /// resolver, and returns the names that do.
    pub(super) fn start(
        mut self,
        waker: Waker,
        local_addrs: [Option<SocketAddr>; 2],
    ) -> Result<(Desk, Vec<String>), SpawnError> {
        self.check_hosts()?;
        let loaded = self.load()?;
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(|error| SpawnError::Random(error.into()))?;
        let board = Arc::new(Board::new(waker.clone(), local_addrs, self.config.lookup));
        let clock = Clock::new();
        let mut node = Node::new(self.config, &self.limits, seed, clock.now());
        let (saved, restored) = restore(&mut node, loaded, clock.now(), self.limits.kept);
        let mut desk = Desk::new(node, clock, board, self.subscribers);
        desk.keep_saved(saved);
        let saver = self.state.map(|file| Saver::new(file, self.save_every, clock.now(), waker));
        desk.keep_state(saver, restored);
        let mut names = Vec::new();
        for host in self.routers.iter().chain(&self.bootstrap) {
            match host.parse() {
                Ok(addr) => desk.start_from(&[addr], resolve::kind(host, &self.routers)),
                Err(_) if names.contains(host) => {}
                Err(_) => names.push(host.clone()),
            }
        }
        desk.spare(self.routers);
        Ok((desk, names))
    }

    fn check_hosts(&self) -> Result<(), SpawnError> {
        match self.bootstrap.iter().chain(&self.routers).find(|host| !resolve::is_host_and_port(host)) {
            Some(host) => Err(SpawnError::Host(host.clone())),
            None => Ok(()),
        }
    }

    /// Reads the state file, if there is one, and takes the ids from it.
    fn load(&mut self) -> Result<Loaded, SpawnError> {
        let loaded = self.state.as_ref().map_or(Ok(Loaded::Nothing), StateFile::load)?;
        if let Loaded::State(saved) = &loaded {
            saved.set_ids(&mut self.config);
        }
        Ok(loaded)
    }
}

/// Gives a new node the nodes of an earlier one, and returns its announces, as many as may be kept,
/// and what became of it all.
fn restore(node: &mut Node, loaded: Loaded, now: Instant, kept: usize) -> (Saved, Option<Notice>) {
    match loaded {
        Loaded::Nothing => (Saved::default(), None),
        Loaded::State(loaded) => {
            let (state, elapsed) = (loaded.state(), loaded.elapsed());
            let restored = node.restore(now, &state.without_announces(), elapsed);
            let saved = Saved::new(state.announces().take(kept), elapsed, now);
            let announces = saved.len();
            let skipped = state.nodes().count() + state.announces().count() + state.skipped()
                - restored.nodes
                - announces;
            (saved, Some(Notice::Restored { nodes: restored.nodes, announces, skipped }))
        }
        Loaded::Refused { error, kept_as } => {
            (Saved::default(), Some(Notice::StateRefused { error, kept_as }))
        }
    }
}

/// The addresses that the sockets are bound to.
pub(super) fn local_addrs(sockets: &[Option<Bound>; 2]) -> [Option<SocketAddr>; 2] {
    sockets.each_ref().map(|bound| bound.as_ref().map(|bound| bound.addr))
}

/// The builder, which is told the same in both adapters.
macro_rules! builder {
    () => {
        /// Describes a node before it starts, from [`Dht::builder`].
        ///
        /// By default it binds a free port of each family on all addresses, goes without IPv6 (or IPv4)
        /// if the host has none, and starts from [`BOOTSTRAP_HOSTS`](crate::net::BOOTSTRAP_HOSTS).
        #[derive(Debug, Default)]
        #[must_use]
        pub struct Builder {
            setup: $crate::net::setup::Setup,
        }

        impl Builder {
            /// How the node behaves. A family that is off there is not bound.
            pub fn config(mut self, config: $crate::Config) -> Self {
                self.setup.config = config;
                self
            }

            /// How much it holds.
            pub fn limits(mut self, limits: $crate::Limits) -> Self {
                self.setup.limits = limits;
                self
            }

            /// Binds `addr` for its family, port 0 meaning a free one, and only those families that have
            /// been bound in this way. If it cannot be bound the node does not start.
            ///
            /// A host with several addresses in one family runs a [`Dht`] for each:
            /// [several addresses](crate::net#several-addresses).
            ///
            /// On a host with several IPv6 addresses it is best to bind a global unicast one and not
            /// `[::]`, so that all nodes see us at the same address (BEP 32).
            pub fn bind(mut self, addr: core::net::SocketAddr) -> Self {
                self.setup.binds[$crate::Family::of(&addr).index()] = Some(addr);
                self
            }

            /// The hosts to start from, as `host:port`, instead of
            /// [`BOOTSTRAP_HOSTS`](crate::net::BOOTSTRAP_HOSTS). With none the node waits to be told of
            /// others ([`Dht::add_node`]) or asked by them.
            ///
            /// They become nodes of the routing table like any other
            /// ([`BootstrapKind::Node`](crate::BootstrapKind::Node)), so that the nodes of a private network
            /// that are told of each other in this way know each other. Only hosts of that list are spared
            /// ([`BootstrapKind::Router`](crate::BootstrapKind::Router)), and [routers](Self::routers).
            pub fn bootstrap<H: Into<alloc::string::String>>(
                mut self,
                hosts: impl IntoIterator<Item = H>,
            ) -> Self {
                self.setup.bootstrap = hosts.into_iter().map(Into::into).collect();
                self
            }

            /// Public hosts to start from as well, as `host:port`, which serve many and are to be spared
            /// ([`BootstrapKind::Router`](crate::BootstrapKind::Router)). Default: none.
            pub fn routers<H: Into<alloc::string::String>>(
                mut self,
                hosts: impl IntoIterator<Item = H>,
            ) -> Self {
                self.setup.routers = hosts.into_iter().map(Into::into).collect();
                self
            }

            /// Keeps the node's state in the file at `path`: its ids, unless the [`Config`](crate::Config)
            /// names others, its nodes, which are tried before the bootstrap hosts, and when its announces
            /// are due ([`Dht::keep_announced`]). It is saved every five minutes and when the node ends, but
            /// never without a node in it. A file that is no state is set aside
            /// ([`Notice::StateRefused`](crate::net::Notice::StateRefused)). States of libtorrent and
            /// Transmission are read as well; a copy is kept, because the next save replaces them.
            ///
            /// The file is read where the node is started, which blocks for as long as the disk takes. It is
            /// written by a thread beside the node, for which the node waits at its end.
            pub fn state(mut self, path: impl Into<std::path::PathBuf>) -> Self {
                self.setup.state = Some($crate::net::StateFile::new(path));
                self
            }

            /// How often the state is saved, instead of every
            /// [`SAVE_INTERVAL`](crate::net::SAVE_INTERVAL); every second at most.
            pub const fn save_every(mut self, interval: core::time::Duration) -> Self {
                self.setup.save_every = interval;
                self
            }

            /// Subscribes to what the node does on its own account, from its birth on.
            pub fn subscribe(&mut self) -> Events {
                let (subscriber, events) = subscription();
                self.setup.subscribers.add(subscriber);
                events
            }
        }
    };
}
pub(super) use builder;
