//! A node, the engine around it, and the task that uses it.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::net::SocketAddr;
use core::pin::Pin;
use core::task::{Context, Waker};
use core::time::Duration;

use super::clock::SimClock;
use super::waking::{HostWaker, WokenHosts};
use crate::base::time::Instant;
use crate::lookup::LookupOptions;
use crate::net::DhtHandle;
use crate::net::simulated::SimulatedLoop;
use crate::node::Node;
use crate::sim::hosted::{EventFn, Hosted, SendFn};
use crate::sim::hosts::HostId;

/// A task as a world runs it.
pub(in crate::sim) type TaskFuture = Pin<Box<dyn Future<Output = ()>>>;

/// A node behind a handle, and its task.
pub(in crate::sim) struct TaskHost {
    /// `None` once it has ended. Dropped before the node.
    task: Option<TaskFuture>,
    task_waker: Arc<HostWaker>,
    /// Wakes the engine.
    waker: Arc<HostWaker>,
    clock: SimClock,
    node: SimulatedLoop,
}

impl TaskHost {
    /// Starts a node behind a handle, and the task that `start` makes.
    pub(in crate::sim) fn new(
        node: Node,
        (host, woken): (HostId, &WokenHosts),
        now: Instant,
        addrs: [Option<SocketAddr>; 2],
        options: LookupOptions,
        start: impl FnOnce(DhtHandle, SimClock) -> TaskFuture,
    ) -> Self {
        let [waker, task_waker] = [(); 2].map(|()| HostWaker::new(host.0, woken));
        let clock = SimClock::new(now);
        let node = SimulatedLoop::new(node, now, addrs, options, Arc::clone(&waker).into());
        let task = Some(start(node.handle(), clock.clone()));
        // It is polled for the first time once its host is drained.
        Waker::from(Arc::clone(&task_waker)).wake();
        Self { task, task_waker, waker, clock, node }
    }

    pub(in crate::sim) fn handle(&self) -> DhtHandle {
        self.node.handle()
    }
}

impl Hosted for TaskHost {
    fn node(&self) -> &Node {
        self.node.node()
    }

    fn node_mut(&mut self) -> &mut Node {
        self.node.node_mut()
    }

    fn handle_datagram(&mut self, now: Instant, from: SocketAddr, datagram: &[u8]) {
        self.node.handle_datagram(now, from, datagram);
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.node.handle_timeout(now);
    }

    fn handle_resume(&mut self, now: Instant, slept: Duration) {
        self.node.handle_resume(now, slept);
    }

    fn drain(&mut self, now: Instant, _: &mut [u8], send: SendFn<'_>, on_event: EventFn<'_>) {
        let Self { task, task_waker, waker, clock, node } = self;
        clock.advance(now);
        node.turn(now, send, on_event, || {
            waker.take();
            if !task_waker.take() {
                return false;
            }
            if let Some(running) = task {
                let waker = Waker::from(Arc::clone(task_waker));
                if running.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
                    *task = None;
                }
            }
            true
        });
    }

    fn next_wake(&self) -> Option<Instant> {
        self.node.deadline().into_iter().chain(self.clock.next_wake()).min()
    }

    fn is_woken(&self) -> bool {
        self.waker.is_woken() || self.task_waker.is_woken()
    }
}
