//! What a node on real sockets starts from.

use alloc::borrow::ToOwned as _;
use alloc::sync::Arc;
use alloc::task::Wake;
use std::sync::mpsc::sync_channel;
use std::thread;

use mio::Poll;

use super::dht::{Dht, DhtHandle};
use super::setup::{builder, local_addrs};
use crate::net::clock::Clock;
use crate::net::engine::COMMANDS;
use crate::net::engine::events::{NetEvents, subscription};
use crate::net::error::SpawnError;
use crate::net::thread::{Driver, WAKE};
use crate::net::trace;

builder!();

impl Builder {
    /// Binds the sockets and starts the thread. Joining the DHT goes on in the background
    /// ([`DhtHandle::wait_ready`]).
    ///
    /// # Errors
    ///
    /// See [`SpawnError`].
    pub fn spawn(mut self) -> Result<Dht, SpawnError> {
        let sockets = self.setup.open()?;
        let local_addrs = local_addrs(&sockets);
        let poll = Poll::new()?;
        let waker = Arc::new(LoopWaker(mio::Waker::new(poll.registry(), WAKE)?));
        let engine = self.setup.start(waker.into(), Clock::new(), local_addrs)?;

        let (commands, queue) = sync_channel(COMMANDS);
        let dht = DhtHandle::new(commands, Arc::clone(&engine.shared));
        let driver = Driver::new(engine, poll, sockets, queue)?;
        let thread = thread::Builder::new()
            .name("dht".to_owned())
            .spawn(move || trace::in_span(local_addrs, || driver.run()))?;
        Ok(Dht::new(dht, thread))
    }
}

struct LoopWaker(mio::Waker);

impl Wake for LoopWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // It fails only if the system has lost the descriptor, which nothing here closes.
        let _ = self.0.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::BOOTSTRAP_HOSTS;

    #[test]
    fn l_11_a_node_starts_from_the_usual_hosts_unless_told_otherwise() {
        assert_eq!(Builder::default().setup.bootstrap, BOOTSTRAP_HOSTS);
        let other = Builder::default().bootstrap(["a.example:1"]).routers(["b.example:1"]);
        assert_eq!(other.setup.bootstrap, ["a.example:1"]);
        assert_eq!(other.setup.routers, ["b.example:1"]);
    }
}
