//! What a node in a task starts from.

use alloc::sync::Arc;
use core::net::SocketAddr;
use std::io;

use tokio::runtime;
use tokio::sync::mpsc;
use tokio::time::Instant as TokioInstant;

use super::driver::{Bell, Driver, Link};
use super::events::{NetEvents, subscription};
use super::external::{External, connect};
use super::handle::{Dht, DhtHandle};
use crate::net::clock::Clock;
use crate::net::engine::COMMANDS;
use crate::net::error::SpawnError;
use crate::net::handle::setup::{builder, local_addrs};
use crate::net::trace;

builder!();

impl Builder {
    /// Binds the sockets and starts the task. Joining the DHT goes on in the background
    /// ([`DhtHandle::wait_ready`]).
    ///
    /// # Errors
    ///
    /// See [`SpawnError`]; outside of a runtime it is [`SpawnError::System`].
    ///
    /// # Panics
    ///
    /// If IO or time are not enabled in the runtime.
    pub fn spawn(mut self) -> Result<Dht, SpawnError> {
        let runtime = current_runtime()?;
        let sockets = self.setup.open()?;
        let local_addrs = local_addrs(&sockets);
        self.start(&runtime, Link::sockets(sockets)?, local_addrs)
    }

    /// Starts the task without a socket: datagrams are handed in and out by the caller, of the
    /// families that are on in the [`Config`](crate::Config). What has been bound is ignored.
    ///
    /// # Errors
    ///
    /// See [`SpawnError`]; outside of a runtime it is [`SpawnError::System`].
    ///
    /// # Panics
    ///
    /// If time is not enabled in the runtime.
    pub fn external(self) -> Result<(Dht, External), SpawnError> {
        if !self.setup.config.ipv4 && !self.setup.config.ipv6 {
            return Err(SpawnError::NoFamily);
        }
        let runtime = current_runtime()?;
        let (link, ends) = connect();
        let owner = self.start(&runtime, link, [None; 2])?;
        let external = External::new(ends, owner.shared());
        Ok((owner, external))
    }

    fn start(
        self,
        runtime: &runtime::Handle,
        link: Link,
        local_addrs: [Option<SocketAddr>; 2],
    ) -> Result<Dht, SpawnError> {
        let bell = Arc::new(Bell::default());
        // The runtime's: a test may hold that still, and timers go by it.
        let clock = Clock::reading(|| TokioInstant::now().into_std());
        let engine = self.setup.start(Arc::clone(&bell).into(), clock, local_addrs)?;
        let (commands, queue) = mpsc::channel(COMMANDS);
        let dht = DhtHandle::new(commands, Arc::clone(&engine.shared));
        let driver = Driver::new(engine, link, queue, bell);
        let task = runtime.spawn(trace::instrument(local_addrs, driver.run()));
        Ok(Dht::new(dht, task))
    }
}

fn current_runtime() -> Result<runtime::Handle, SpawnError> {
    runtime::Handle::try_current().map_err(|error| SpawnError::System(io::Error::other(error)))
}
