//! What a node on real sockets starts from.

use alloc::borrow::ToOwned as _;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use core::sync::atomic::AtomicBool;
use core::time::Duration;
use std::io;
use std::path::PathBuf;
use std::sync::mpsc::{channel, sync_channel};
use std::sync::{Condvar, Mutex};
use std::thread;

use mio::net::UdpSocket;
use mio::{Poll, Waker};
use thiserror::Error;

use super::blocking::{COMMANDS, Driver, WAKE};
use super::clock::Clock;
use super::events::{Events, Notice, Subscriber, subscription};
use super::handle::{Command, Counters, Dht, Shared};
use super::resolve::{self, BOOTSTRAP_HOSTS};
use super::saver::Saver;
use super::socket;
use super::state::{Loaded, SAVE_INTERVAL, StateFile, StateFileError};
use crate::{Config, Family, Limits, Node};

/// Describes a node before it starts, from [`Dht::builder`].
///
/// By default it binds a free port of each family on all addresses, goes without IPv6 (or IPv4) if
/// the host has none, and starts from [`BOOTSTRAP_HOSTS`].
#[derive(Debug)]
#[must_use]
pub struct Builder {
    config: Config,
    limits: Limits,
    /// By family.
    binds: [Option<SocketAddr>; 2],
    bootstrap: Vec<String>,
    state: Option<StateFile>,
    save_every: Duration,
    subscribers: Vec<Subscriber>,
}

/// Why a node cannot start. The caller can go on without one.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SpawnError {
    /// An address cannot be bound: in use, not of this host, or of a family that it lacks.
    #[error("cannot bind {addr}: {error}")]
    Bind {
        /// The address.
        addr: SocketAddr,
        /// What the system said.
        error: io::Error,
    },
    /// Both families are off in the [`Config`].
    #[error("both address families are off")]
    NoFamily,
    /// A bootstrap host is not of the form `host:port`.
    #[error("not a host and port: {0:?}")]
    Host(String),
    /// The state file cannot be read, or not be set aside.
    #[error(transparent)]
    State(#[from] StateFileError),
    /// The system has no randomness to give.
    #[error("no randomness: {0}")]
    Random(io::Error),
    /// A thread or the means to wake it cannot be had.
    #[error("cannot start: {0}")]
    System(#[from] io::Error),
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            config: Config::default(),
            limits: Limits::default(),
            binds: [None; 2],
            bootstrap: BOOTSTRAP_HOSTS.map(str::to_owned).to_vec(),
            state: None,
            save_every: SAVE_INTERVAL,
            subscribers: Vec::new(),
        }
    }
}

impl Builder {
    /// How the node behaves. A family that is off there is not bound.
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// How much it holds.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Binds `addr` for its family, port 0 meaning a free one, and only those families that have
    /// been bound in this way. If it cannot be bound the node does not start.
    ///
    /// On a host with several IPv6 addresses it is best to bind a global unicast one and not
    /// `[::]`, so that all nodes see us at the same address (BEP 32).
    pub fn bind(mut self, addr: SocketAddr) -> Self {
        self.binds[Family::of(&addr).index()] = Some(addr);
        self
    }

    /// The hosts to start from, as `host:port`, instead of [`BOOTSTRAP_HOSTS`]. With none the node
    /// waits to be told of others ([`Dht::add_node`]) or asked by them.
    pub fn bootstrap<H: Into<String>>(mut self, hosts: impl IntoIterator<Item = H>) -> Self {
        self.bootstrap = hosts.into_iter().map(Into::into).collect();
        self
    }

    /// Keeps the node's state in the file at `path`: its ids, unless the [`Config`] names others, and
    /// its nodes, which are tried before the bootstrap hosts. It is saved every five minutes and when
    /// the node ends, but never without a node in it. A file that is no state is set aside
    /// ([`Notice::StateRefused`](super::Notice::StateRefused)). States of libtorrent and Transmission
    /// are read as well; a copy is kept, because the next save replaces them.
    pub fn state(mut self, path: impl Into<PathBuf>) -> Self {
        self.state = Some(StateFile::new(path));
        self
    }

    /// How often the state is saved, instead of every [`SAVE_INTERVAL`].
    pub const fn save_every(mut self, interval: Duration) -> Self {
        self.save_every = interval;
        self
    }

    /// Subscribes to what the node does on its own account, from its birth on.
    pub fn subscribe(&mut self) -> Events {
        let (subscriber, events) = subscription();
        self.subscribers.push(subscriber);
        events
    }

    /// Binds the sockets and starts the thread. Joining the DHT goes on in the background
    /// ([`Dht::wait_ready`]).
    ///
    /// # Errors
    ///
    /// See [`SpawnError`].
    pub fn spawn(mut self) -> Result<Dht, SpawnError> {
        if let Some(host) = self.bootstrap.iter().find(|host| !resolve::is_host_and_port(host)) {
            return Err(SpawnError::Host(host.clone()));
        }
        let loaded = self.state.as_ref().map_or(Ok(Loaded::Nothing), StateFile::load)?;
        if let Loaded::State(saved) = &loaded {
            saved.set_ids(&mut self.config);
        }
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(|error| SpawnError::Random(error.into()))?;
        let sockets = self.open()?;
        self.config.ipv4 = sockets[Family::V4.index()].is_some();
        self.config.ipv6 = sockets[Family::V6.index()].is_some();

        let (commands, queue) = sync_channel(COMMANDS);
        let poll = Poll::new()?;
        let shared = Arc::new(Shared {
            commands,
            waker: Waker::new(poll.registry(), WAKE)?,
            closing: AtomicBool::new(false),
            status: Mutex::default(),
            changed: Condvar::new(),
            counters: Counters::default(),
            local_addrs: [local_addr(&sockets[0])?, local_addr(&sockets[1])?],
            lookup_options: self.config.lookup,
        });
        let clock = Clock::new();
        let mut node = Node::new(self.config, &self.limits, seed, clock.now());
        let restored = match loaded {
            Loaded::Nothing => None,
            Loaded::State(saved) => {
                let state = saved.state();
                let nodes = saved.restore(&mut node, clock.now());
                let skipped = state.nodes().count() + state.skipped() - nodes;
                Some(Notice::Restored { nodes, skipped })
            }
            Loaded::Refused { error, kept_as } => Some(Notice::StateRefused { error, kept_as }),
        };
        let (known, names): (Vec<_>, Vec<_>) =
            self.bootstrap.into_iter().map(|host| host.parse().map_err(|_| host)).partition(Result::is_ok);
        // Nothing is ever sent: the resolver stops when the driver drops its end.
        let (resolving, stop) = channel();
        let mut driver = Driver::new(node, clock, poll, sockets, queue, Arc::clone(&shared))?;
        driver.subscribers = self.subscribers;
        driver.saver = self.state.map(|file| Saver::new(file, self.save_every, clock.now()));
        driver.first = restored;
        driver.known = known.into_iter().flatten().collect();
        driver.resolving = Some(resolving);
        let thread = thread::Builder::new().name("dht".to_owned()).spawn(move || driver.run())?;
        let dht = Dht::new(Arc::clone(&shared), thread);
        if !names.is_empty() {
            let names = names.into_iter().filter_map(Result::err).collect();
            resolve::spawn(names, stop, move |attempt| shared.send(Command::Bootstrap(attempt)).is_ok())?;
        }
        Ok(dht)
    }

    /// The sockets by family.
    fn open(&self) -> Result<[Option<UdpSocket>; 2], SpawnError> {
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
            match socket::bind(addr) {
                Ok(socket) => sockets[family.index()] = Some(socket),
                Err(error) if by_choice => return Err(SpawnError::Bind { addr, error }),
                Err(error) => missing = Some(SpawnError::Bind { addr, error }),
            }
        }
        if sockets.iter().all(Option::is_none) {
            return Err(missing.unwrap_or(SpawnError::NoFamily));
        }
        Ok(sockets)
    }
}

fn local_addr(socket: &Option<UdpSocket>) -> io::Result<Option<SocketAddr>> {
    socket.as_ref().map(UdpSocket::local_addr).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn l_11_a_node_starts_from_the_usual_hosts_unless_told_otherwise() {
        assert_eq!(Builder::default().bootstrap, BOOTSTRAP_HOSTS);
        assert_eq!(Builder::default().bootstrap(["a.example:1"]).bootstrap, ["a.example:1"]);
    }
}
