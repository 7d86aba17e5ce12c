//! Tasks on the hosts of a world, and handles to their nodes.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::any::Any;
use core::pin::pin;
use core::task::{Context, Poll, Waker};
use core::time::Duration;

use super::core::World;
use crate::net::{self, DhtHandle};
use crate::sim::hosts::{HostId, Occupant, Presence, Profile};
use crate::sim::tasks::{Flag, SimClock, TaskFuture, TaskHost};

/// Tasks and handles (features `net`, `tokio` or `smol`).
impl World {
    /// Adds a host with a node behind a [`DhtHandle`], and a task that uses it: the same code as over sockets, in
    /// virtual time.
    ///
    /// The node joins like [any other](Self::add), with the NAT and the churn of the profile. `start` makes the task
    /// with a handle and the clock of its host, and makes another one whenever the host starts again: what a task
    /// holds is lost with its session, as in a process that is killed. Whatever is to outlast that, `start` captures.
    /// A task that has ended leaves its node running.
    ///
    /// A task must await what it waits for: the calls of a handle and what [`SimClock::sleep`] returns, or whatever
    /// other tasks of the world wake it for. A call of a handle that blocks panics. Whoever waits by other means, such
    /// as the timers of a runtime, holds the world up or is never woken.
    pub fn add_task<F: Future<Output = ()> + 'static>(
        &mut self,
        profile: impl Into<Arc<Profile>>,
        mut start: impl FnMut(DhtHandle, SimClock) -> F + 'static,
    ) -> HostId {
        let (profile, host) = (profile.into(), HostId(self.hosts.len() as u32));
        let (options, woken) = (profile.config.lookup, self.woken.clone());
        self.hosting.insert(
            host,
            Box::new(move |node, now, addrs| {
                let task = |dht, clock| -> TaskFuture { Box::pin(start(dht, clock)) };
                Box::new(TaskHost::new(node, (host, &woken), now, addrs, options, task))
            }),
        );
        self.add(profile)
    }

    /// Adds a host with a node behind a [`DhtHandle`], for use from outside of the world ([`dht`](Self::dht)).
    pub fn add_dht(&mut self, profile: impl Into<Arc<Profile>>) -> HostId {
        self.add_task(profile, |_, _| async {})
    }

    /// The handle to the node of a host; `None` if that is none of [`add_task`](Self::add_task) and
    /// [`add_dht`](Self::add_dht), or is gone.
    ///
    /// Calls wake the node, and are done as the world runs on. Await them by [`block_on`](Self::block_on), not by
    /// methods that block: the world stands still meanwhile. A host that has left closes its handles
    /// ([`CallError::Closed`](net::CallError::Closed)); one that starts again has a new one.
    pub fn dht(&self, host: HostId) -> Option<DhtHandle> {
        match &self.hosts[host.index()].occupant {
            Occupant::Node(hosted) => {
                (&**hosted as &dyn Any).downcast_ref::<TaskHost>().map(TaskHost::handle)
            }
            _ => None,
        }
    }

    /// Runs the world until a future is ready; `None` if that is not so within `limit`, and the future is dropped.
    ///
    /// # Panics
    ///
    /// If the future makes a call of a handle that blocks.
    pub fn block_on<F: IntoFuture>(&mut self, future: F, limit: Duration) -> Option<F::Output> {
        let end = self.now + limit;
        let mut future = pin!(future.into_future());
        let flag = Flag::raised();
        let waker = Waker::from(Arc::clone(&flag));
        loop {
            if flag.take() {
                let _time = net::simulated::enter(self.now);
                if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
                    return Some(output);
                }
            }
            if !self.step_to(end) && !flag.is_raised() {
                self.now = end;
                return None;
            }
        }
    }

    /// Goes on with the host that was woken first, if any was.
    pub(super) fn serve_woken(&mut self) -> bool {
        let Some(index) = self.woken.next() else { return false };
        let host = &self.hosts[index as usize];
        // Others are drained when they return, or have forgotten it.
        let is_up = matches!(host.presence, Presence::Up | Presence::Offline);
        if let Occupant::Node(hosted) = &host.occupant
            && is_up
            && hosted.is_woken()
        {
            self.assert_progress(self.addr(HostId(index)));
            self.drain(index);
        }
        true
    }
}
