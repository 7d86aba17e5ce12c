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
    /// with a handle and the clock of its host, and makes another one whenever the host starts again: the state of a
    /// task is lost with its session, as in a process that is killed. State that has to survive is captured by `start`.
    /// When the task ends, the node keeps running.
    ///
    /// A task must await the calls of its handle, the result of [`SimClock::sleep`], or a waker that other tasks of the
    /// world call. A call of a handle that blocks panics. A task that waits by other means, such as the timers of a
    /// runtime, blocks the world or is never woken.
    pub fn add_task<F: Future<Output = ()> + 'static>(
        &mut self,
        profile: impl Into<Arc<Profile>>,
        mut start: impl FnMut(DhtHandle, SimClock) -> F + 'static,
    ) -> HostId {
        let (profile, host) = (profile.into(), HostId(self.hosts.len() as u32));
        let (options, woken) = (profile.config.lookup, self.woken.clone());
        self.factories.insert(
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

    /// Returns the handle to the node of a host; `None` if it was added by other methods than
    /// [`add_task`](Self::add_task) and [`add_dht`](Self::add_dht), or has left.
    ///
    /// Calls wake the node, and are executed as the world runs on. Await them with [`block_on`](Self::block_on);
    /// methods that block would wait forever, because the world stands still meanwhile. When a host leaves, its handles
    /// are closed ([`CallError::Closed`](net::CallError::Closed)); when it starts again, it has a new one.
    pub fn dht(&self, host: HostId) -> Option<DhtHandle> {
        match &self.hosts[host.index()].occupant {
            Occupant::Node(hosted) => {
                (&**hosted as &dyn Any).downcast_ref::<TaskHost>().map(TaskHost::handle)
            }
            _ => None,
        }
    }

    /// Runs the world until a future is ready; `None`, with the future dropped, if it is not within `limit`.
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

    /// Drains the host that was woken first, and returns whether there was one.
    pub(super) fn drain_woken(&mut self) -> bool {
        let Some(index) = self.woken.next() else { return false };
        let host = &self.hosts[index as usize];
        // A host that is asleep is drained when it returns; one that has left has nothing to drain.
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
