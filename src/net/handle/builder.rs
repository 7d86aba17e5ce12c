//! The configuration of a node on real sockets, before it starts.

use alloc::borrow::ToOwned as _;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use core::task::Waker;
use core::time::Duration;
use std::io;
use std::path::PathBuf;

use super::dht::{Dht, DhtHandle};
use super::events::NetEvents;
use crate::net::clock::Clock;
use crate::net::engine::Engine;
use crate::net::engine::events::{NetEvent, Subscribers};
use crate::net::engine::hosts::Hosts;
use crate::net::engine::queue::QUEUE;
use crate::net::engine::shared::Shared;
use crate::net::error::SpawnError;
use crate::net::external::{Channel, External};
use crate::net::resolve::{self, BOOTSTRAP_HOSTS, Resolver};
use crate::net::sockets::driver::Driver;
use crate::net::sockets::{Bound, SocketFactory};
use crate::net::state::file::{Loaded, SAVE_INTERVAL, StateFile};
use crate::net::state::lock::StateLock;
use crate::net::state::saver::Saver;
use crate::net::state::unclaimed::Saved;
use crate::{Config, Family, Instant, Limits, Node};

/// The configuration of a node before it starts, from [`Dht::builder`].
///
/// By default the node binds a free port of each family on all addresses, works without IPv6 (or IPv4) if the host has
/// none, and bootstraps from [`BOOTSTRAP_HOSTS`].
#[must_use]
pub struct Builder {
    config: Config,
    limits: Limits,
    /// The addresses to bind, by family.
    binds: [Option<SocketAddr>; 2],
    bootstrap: Vec<String>,
    resolver: Resolver,
    /// Additional bootstrap hosts that serve many nodes and must not be overloaded.
    routers: Vec<String>,
    state: Option<StateFile>,
    save_every: Duration,
    queue: usize,
    subscribers: Subscribers,
    external: Option<Arc<Channel>>,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            config: Config::default(),
            limits: Limits::default(),
            binds: [None; 2],
            bootstrap: BOOTSTRAP_HOSTS.map(str::to_owned).to_vec(),
            resolver: Resolver::default(),
            routers: Vec::new(),
            state: None,
            save_every: SAVE_INTERVAL,
            queue: QUEUE,
            subscribers: Subscribers::default(),
            external: None,
        }
    }
}

impl Dht {
    /// Creates a builder with the default configuration.
    pub fn builder() -> Builder {
        Builder::default()
    }
}

impl Builder {
    /// Sets the behaviour of the node. A family that is off in the [`Config`] is not bound.
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Sets the capacity of the node.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Binds `addr` for its family, with port 0 a free port. From the first call on, only the families bound in this
    /// way are used. If the address cannot be bound, the node does not start.
    ///
    /// A host with several addresses in one family runs a [`Dht`] for each:
    /// [several addresses](crate::net#several-addresses).
    ///
    /// A node that is bound to all addresses of a host, as by default, responds from the address that was queried, if
    /// the system reports it (Linux, Android, Windows, macOS, iOS and the BSDs).
    ///
    /// On a host with several IPv6 addresses it is best to bind a global unicast address instead of `[::]`, so that all
    /// nodes see this one at the same address (BEP 32).
    pub fn bind(mut self, addr: SocketAddr) -> Self {
        self.binds[Family::of(&addr).index()] = Some(addr);
        self
    }

    /// Sets the bootstrap hosts, as `host:port`, instead of [`BOOTSTRAP_HOSTS`](crate::net::BOOTSTRAP_HOSTS). Without
    /// any, the node waits until [`DhtHandle::add_node`] adds a node or another node queries it.
    ///
    /// The hosts enter the routing table like any other node
    /// ([`BootstrapKind::Node`](crate::BootstrapKind::Node)), so nodes of a private network that bootstrap from each
    /// other know each other. Only hosts of that list and [routers](Self::routers) are treated as
    /// [`BootstrapKind::Router`](crate::BootstrapKind::Router).
    ///
    /// Names are resolved in parallel until the DHT is joined, and again when it has to be rejoined: after a sleep of
    /// the host and a [`rebind`](DhtHandle::rebind). If there are more addresses than
    /// [`Limits::bootstraps`](field@crate::Limits::bootstraps), they are queried in turns. A host without an address
    /// that may be contacted is reported as [`NetEvent::BootstrapRefused`](crate::net::NetEvent::BootstrapRefused).
    pub fn bootstrap<H: Into<String>>(mut self, hosts: impl IntoIterator<Item = H>) -> Self {
        self.bootstrap = hosts.into_iter().map(Into::into).collect();
        self
    }

    /// Adds public bootstrap hosts, as `host:port`, that serve many nodes and must not be overloaded
    /// ([`BootstrapKind::Router`](crate::BootstrapKind::Router)). Default: none.
    pub fn routers<H: Into<String>>(mut self, hosts: impl IntoIterator<Item = H>) -> Self {
        self.routers = hosts.into_iter().map(Into::into).collect();
        self
    }

    /// Resolves the names of bootstrap hosts with `look_up` instead of [`resolve`](crate::net::resolve), for example by
    /// another protocol or in a test. The function takes a `host:port` and may block: each call has a thread of its
    /// own. Eight calls run at a time; one that takes longer than three seconds no longer counts, up to 32 threads in
    /// all.
    pub fn resolver(
        mut self,
        look_up: impl Fn(&str) -> io::Result<Vec<SocketAddr>> + Send + Sync + 'static,
    ) -> Self {
        self.resolver = Resolver::new(look_up);
        self
    }

    /// Saves the state of the node in the file at `path`, and restores it from there at the start.
    ///
    /// The state holds the ids, unless the [`Config`](crate::Config) sets them; nodes, which are pinged before the
    /// bootstrap hosts; and the publications with the times at which they are due ([`DhtHandle::start_announcing`]),
    /// without any secret. Publications that no caller starts again stay in the file. It is saved every five minutes
    /// and when the node ends, but never without a node in it. A damaged state is renamed
    /// ([`NetEvent::StateRefused`](crate::net::NetEvent::StateRefused)). The node does not start, and leaves the file
    /// unchanged, if the file is anything else, or the state of a running node ([`StateFile`](crate::net::StateFile)).
    /// States of libtorrent and Transmission are read as well; a copy of the file is kept, because the next save
    /// replaces it.
    ///
    /// The file is read when the node is started, which blocks for as long as the disk takes. It is written by a
    /// separate thread, for which the node waits when it ends.
    pub fn state(mut self, path: impl Into<PathBuf>) -> Self {
        self.state = Some(StateFile::new(path));
        self
    }

    /// Sets the time between two saves of the state, at least a second, instead of
    /// [`SAVE_INTERVAL`](crate::net::SAVE_INTERVAL).
    pub const fn save_every(mut self, interval: Duration) -> Self {
        self.save_every = interval;
        self
    }

    /// Sets the number of calls that may wait while all slots that they need are in use ([`Limits`](crate::Limits)).
    /// Default: 4096; see [many calls at once](crate::net#many-calls-at-once). With 0 they fail at once, with
    /// [`StartError::Full`](crate::StartError::Full).
    pub const fn queue(mut self, calls: usize) -> Self {
        self.queue = calls;
        self
    }

    /// Subscribes to the events of the node that no call waits for, from its start on.
    pub fn subscribe(&mut self) -> NetEvents {
        let (subscriber, events) = NetEvents::new();
        self.subscribers.add(subscriber);
        events
    }

    /// Runs the node without a socket, in any loop: the caller hands in and takes out the datagrams of the families
    /// that are on in the [`Config`]. Bound addresses are ignored.
    pub fn external(&mut self) -> External {
        let (external, channel) = External::new();
        self.external = Some(channel);
        external
    }

    /// Opens the sockets and creates the node, for a loop that `waker` wakes.
    pub(crate) fn start<F: SocketFactory>(
        mut self,
        waker: Waker,
        clock: Clock,
        factory: F,
    ) -> Result<(Dht, Driver<F>), SpawnError> {
        let sockets = if self.external.is_some() { self.without_sockets()? } else { self.open()? };
        let local_addrs = sockets.each_ref().map(|bound| bound.as_ref().map(|bound| bound.addr));
        let engine = self.engine(waker, clock, local_addrs)?;
        let (dht, ending) = Dht::new(DhtHandle::new(&engine.shared));
        Ok((dht, Driver::new(engine, factory, sockets, ending)?))
    }

    fn without_sockets(&self) -> Result<[Option<Bound>; 2], SpawnError> {
        if self.config.ipv4 || self.config.ipv6 { Ok([None, None]) } else { Err(SpawnError::NoFamily) }
    }

    /// Binds the sockets, by family, and turns off the families without one.
    fn open(&mut self) -> Result<[Option<Bound>; 2], SpawnError> {
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

    /// Creates the node, from the saved state if there is one.
    fn engine(
        mut self,
        waker: Waker,
        clock: Clock,
        local_addrs: [Option<SocketAddr>; 2],
    ) -> Result<Engine, SpawnError> {
        self.check_hosts()?;
        let (lock, loaded) = self.load()?;
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(|error| SpawnError::Random(error.into()))?;
        let shared = Arc::new(Shared::new(waker.clone(), local_addrs, self.config.lookup));
        let families = [self.config.ipv4, self.config.ipv6];
        let mut node = Node::new(self.config, &self.limits, seed, clock.now());
        let (saved, restored) = restore(&mut node, loaded, clock.now(), self.limits.publications);
        let hosts = Hosts::new((self.bootstrap, self.routers), families, self.resolver, waker.clone());
        let mut engine = Engine::new(node, clock, shared, hosts, self.subscribers);
        engine.set_saved(saved);
        engine.limit_queue(self.queue);
        let saver = self.state.map(|file| Saver::new(file, lock, self.save_every, clock.now(), waker));
        engine.set_saver(saver, restored);
        if let Some(channel) = self.external {
            engine.use_external(channel);
        }
        Ok(engine)
    }

    fn check_hosts(&self) -> Result<(), SpawnError> {
        match self.bootstrap.iter().chain(&self.routers).find(|host| !resolve::is_host_and_port(host)) {
            Some(host) => Err(SpawnError::Host(host.clone())),
            None => Ok(()),
        }
    }

    /// Locks and reads the state file, if there is one, and takes the node's ids from it.
    fn load(&mut self) -> Result<(Option<StateLock>, Loaded), SpawnError> {
        let Some(file) = &self.state else { return Ok((None, Loaded::Nothing)) };
        let (lock, loaded) = (file.lock()?, file.load()?);
        if let Loaded::State(saved) = &loaded {
            saved.set_ids(&mut self.config);
        }
        Ok((Some(lock), loaded))
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder").field("binds", &self.binds).finish_non_exhaustive()
    }
}

/// Restores the nodes of a state, and returns its announces and items, at most `kept`, with the event to publish.
fn restore(node: &mut Node, loaded: Loaded, now: Instant, kept: usize) -> (Saved, Option<NetEvent>) {
    match loaded {
        Loaded::Nothing => (Saved::default(), None),
        Loaded::State(loaded) => {
            let (state, elapsed) = (loaded.state(), loaded.elapsed());
            let saved = Saved::new(state.announces(), elapsed, now, kept);
            #[cfg(feature = "items")]
            let saved = saved.with_items(state.items());
            let (announces, items) = (saved.announce_count(), saved.item_count());
            let all = state.nodes().count() + state.announces().count() + state.skipped();
            #[cfg(feature = "items")]
            let (all, state) = (all + state.items().count(), state.without_items());
            let nodes = node.restore(now, &state.without_announces(), elapsed).nodes;
            let skipped = all - nodes - announces - items;
            (saved, Some(NetEvent::Restored { nodes, announces, items, skipped }))
        }
        Loaded::Refused { error, kept_as } => {
            (Saved::default(), Some(NetEvent::StateRefused { error, kept_as }))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn l_11_a_node_starts_from_the_usual_hosts_unless_told_otherwise() {
        assert_eq!(Builder::default().bootstrap, BOOTSTRAP_HOSTS);
        let other = Builder::default().bootstrap(["a.example:1"]).routers(["b.example:1"]);
        assert_eq!(other.bootstrap, ["a.example:1"]);
        assert_eq!(other.routers, ["b.example:1"]);
    }
}
