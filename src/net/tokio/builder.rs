//! What a node in a task starts from.

use alloc::string::String;
use alloc::sync::Arc;
use core::net::SocketAddr;
use core::time::Duration;
use std::io;
use std::path::PathBuf;
use std::sync::mpsc::channel;

use tokio::net::UdpSocket;
use tokio::runtime;
use tokio::sync::mpsc;

use super::driver::{Bell, Driver, Link};
use super::events::{Events, subscription};
use super::external::{External, connect};
use super::handle::{Dht, Owner};
use crate::net::desk::{COMMANDS, Command};
use crate::net::error::SpawnError;
use crate::net::resolve;
use crate::net::setup::{Setup, local_addrs};
use crate::net::state::{Loaded, StateFile};
use crate::{Config, Family, Limits};

/// Describes a node before it starts, from [`Dht::builder`].
///
/// By default it binds a free port of each family on all addresses, goes without IPv6 (or IPv4) if
/// the host has none, and starts from [`BOOTSTRAP_HOSTS`](crate::net::BOOTSTRAP_HOSTS).
#[derive(Debug, Default)]
#[must_use]
pub struct Builder {
    setup: Setup,
}

impl Builder {
    /// How the node behaves. A family that is off there is not bound.
    pub fn config(mut self, config: Config) -> Self {
        self.setup.config = config;
        self
    }

    /// How much it holds.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.setup.limits = limits;
        self
    }

    /// Binds `addr` for its family, port 0 meaning a free one, and only those families that have
    /// been bound in this way. If it cannot be bound the node does not start.
    ///
    /// On a host with several IPv6 addresses it is best to bind a global unicast one and not
    /// `[::]`, so that all nodes see us at the same address (BEP 32).
    pub fn bind(mut self, addr: SocketAddr) -> Self {
        self.setup.binds[Family::of(&addr).index()] = Some(addr);
        self
    }

    /// The hosts to start from, as `host:port`, instead of
    /// [`BOOTSTRAP_HOSTS`](crate::net::BOOTSTRAP_HOSTS). With none the node waits to be told of
    /// others ([`Dht::add_node`]) or asked by them.
    pub fn bootstrap<H: Into<String>>(mut self, hosts: impl IntoIterator<Item = H>) -> Self {
        self.setup.bootstrap = hosts.into_iter().map(Into::into).collect();
        self
    }

    /// Keeps the node's state in the file at `path`: its ids, unless the [`Config`] names others, and
    /// its nodes, which are tried before the bootstrap hosts. It is saved every five minutes and when
    /// the node ends, but never without a node in it. A file that is no state is set aside
    /// ([`Notice::StateRefused`](crate::net::Notice::StateRefused)). States of libtorrent and
    /// Transmission are read as well; a copy is kept, because the next save replaces them.
    ///
    /// The file is read where the node is started and saved for the last time in its task, both
    /// blocking for as long as the disk takes.
    pub fn state(mut self, path: impl Into<PathBuf>) -> Self {
        self.setup.state = Some(StateFile::new(path));
        self
    }

    /// How often the state is saved, instead of every
    /// [`SAVE_INTERVAL`](crate::net::SAVE_INTERVAL).
    pub const fn save_every(mut self, interval: Duration) -> Self {
        self.setup.save_every = interval;
        self
    }

    /// Subscribes to what the node does on its own account, from its birth on.
    pub fn subscribe(&mut self) -> Events {
        let (subscriber, events) = subscription();
        self.setup.subscribers.push(subscriber);
        events
    }

    /// Binds the sockets and starts the task. Joining the DHT goes on in the background
    /// ([`Dht::wait_ready`]).
    ///
    /// # Errors
    ///
    /// See [`SpawnError`]; outside of a runtime it is [`SpawnError::System`].
    ///
    /// # Panics
    ///
    /// If IO or time are not enabled in the runtime.
    pub fn spawn(mut self) -> Result<Owner, SpawnError> {
        self.setup.check_hosts()?;
        let runtime = current_runtime()?;
        let loaded = self.setup.load()?;
        let sockets = self.setup.open()?;
        let local_addrs = local_addrs(&sockets)?;
        let [v4, v6] = sockets.map(|socket| socket.map(UdpSocket::from_std).transpose());
        self.start(&runtime, Link::sockets([v4?, v6?]), local_addrs, loaded)
    }

    /// Starts the task without a socket: datagrams are handed in and out by the caller, of the
    /// families that are on in the [`Config`]. What has been bound is ignored.
    ///
    /// # Errors
    ///
    /// See [`SpawnError`]; outside of a runtime it is [`SpawnError::System`].
    ///
    /// # Panics
    ///
    /// If time is not enabled in the runtime.
    pub fn external(mut self) -> Result<(Owner, External), SpawnError> {
        self.setup.check_hosts()?;
        if !self.setup.config.ipv4 && !self.setup.config.ipv6 {
            return Err(SpawnError::NoFamily);
        }
        let runtime = current_runtime()?;
        let loaded = self.setup.load()?;
        let (link, ends) = connect();
        let owner = self.start(&runtime, link, [None; 2], loaded)?;
        let external = External::new(ends, owner.board());
        Ok((owner, external))
    }

    fn start(
        self,
        runtime: &runtime::Handle,
        link: Link,
        local_addrs: [Option<SocketAddr>; 2],
        loaded: Loaded,
    ) -> Result<Owner, SpawnError> {
        let bell = Arc::new(Bell::default());
        let (desk, names) = self.setup.start(Arc::clone(&bell).into(), local_addrs, loaded)?;
        let (commands, queue) = mpsc::channel(COMMANDS);
        let dht = Dht::new(commands.clone(), Arc::clone(&desk.board));
        // Nothing is ever sent: the resolver stops when the driver drops its end.
        let (resolving, stop) = channel();
        if !names.is_empty() {
            resolve::spawn(names, stop, move |attempt| {
                commands.blocking_send(Command::Bootstrap(attempt)).is_ok()
            })?;
        }
        let task = runtime.spawn(Driver::new(desk, link, queue, bell, resolving).run());
        Ok(Owner::new(dht, task))
    }
}

fn current_runtime() -> Result<runtime::Handle, SpawnError> {
    runtime::Handle::try_current().map_err(|error| SpawnError::System(io::Error::other(error)))
}
