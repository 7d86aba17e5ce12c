//! The loop of a task: one turn after another, and between them a sleep until the reactor has something.

use alloc::sync::Arc;
use core::future::{Future, pending, poll_fn};
use core::pin::pin;
use core::task::{Context, Poll};
use std::time::Instant as StdInstant;

use super::SocketFactory;
use super::bell::Bell;
use super::driver::Driver;
use crate::Instant;
use crate::net::counters::count;

/// Wakes a task when a socket is ready or a time has come.
pub(crate) trait Reactor: SocketFactory {
    fn poll_readable(socket: &Self::Socket, cx: &mut Context<'_>) -> Poll<()>;

    fn poll_writable(socket: &Self::Socket, cx: &mut Context<'_>) -> Poll<()>;

    fn sleep_until(at: StdInstant) -> impl Future<Output = ()> + Send;

    /// Lets other tasks run before this one goes on.
    fn yield_now() -> impl Future<Output = ()> + Send;
}

/// A node on sockets that a reactor watches.
pub(crate) struct TaskLoop<R: Reactor> {
    pub(crate) driver: Driver<R>,
    pub(crate) bell: Arc<Bell>,
}

impl<R: Reactor> TaskLoop<R> {
    /// Runs the node until its end, the last save of its state included.
    pub(crate) async fn run(mut self) {
        self.driver.engine.start();
        while !self.driver.engine.shared.is_closing() {
            let until = self.driver.turn();
            self.sleep(until).await;
        }
        let end = self.driver.leave();
        while self.driver.is_leaving(end) {
            self.sleep(Some(end)).await;
        }
        // Other tasks run while the disk works.
        self.driver.engine.begin_last_save();
        loop {
            self.driver.engine.poll_saver();
            if !self.driver.engine.is_saving() {
                return;
            }
            self.bell.rung().await;
        }
    }

    /// Sleeps until a socket is ready, the bell is rung or the time has come.
    pub(crate) async fn sleep(&mut self, until: Option<Instant>) {
        let Self { driver, bell } = self;
        let is_due = until.is_some_and(|at| at <= driver.engine.clock.now());
        // No timer is needed for a time that has come.
        let until = until.filter(|_| !is_due).and_then(|at| driver.engine.clock.to_std(at));
        let mut timeout = pin!(async {
            match until {
                Some(until) => R::sleep_until(until).await,
                None => pending().await,
            }
        });
        let mut rung = pin!(bell.rung());
        let mut polls = 0;
        poll_fn(|cx| {
            polls += 1;
            // All are polled, so that each is registered and none is starved.
            let mut woken = is_due | rung.as_mut().poll(cx).is_ready();
            for open in driver.sockets.open() {
                // A socket that may have more, or pauses after an error, has a deadline.
                if !open.receiver.is_readable() && R::poll_readable(&open.socket, cx).is_ready() {
                    open.receiver.set_readable();
                    woken = true;
                }
            }
            let full = driver.blocked().and_then(|family| driver.sockets.of(family));
            if full.is_some_and(|open| R::poll_writable(&open.socket, cx).is_ready()) {
                driver.engine.unblock();
                woken = true;
            }
            woken |= timeout.as_mut().poll(cx).is_ready();
            if woken { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        count(&driver.engine.shared.counters.wakeups);
        if polls == 1 {
            // Other tasks run, however busy the node is.
            R::yield_now().await;
        }
    }
}
