//! What the loop around a node counts.

use core::sync::atomic::{AtomicU64, Ordering};

/// How the loop around the node fares. All counters are since birth and only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LoopStats {
    /// Times the loop woke up. On an idle node it grows only by the node's own deadlines.
    pub wakeups: u64,
    /// Times a socket could not take a datagram at once.
    pub sends_blocked: u64,
    /// Datagrams that the system refused to send for want of a route or permission; the node was
    /// told that their destination is unreachable.
    pub sends_unreachable: u64,
    /// Datagrams that were lost on the way out: no buffers, or longer than the path allows.
    pub sends_lost: u64,
    /// Errors in receiving, ICMP errors about unknown destinations among them.
    pub receive_errors: u64,
    /// Datagrams that were handed in faster than the node took them; only without a socket.
    pub receives_lost: u64,
    /// Notices that a subscriber was too slow for.
    pub notices_lost: u64,
}

/// [`LoopStats`], as the loop keeps them.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) wakeups: AtomicU64,
    pub(super) sends_blocked: AtomicU64,
    pub(super) sends_unreachable: AtomicU64,
    pub(super) sends_lost: AtomicU64,
    pub(super) receive_errors: AtomicU64,
    pub(super) receives_lost: AtomicU64,
    pub(super) notices_lost: AtomicU64,
}

impl Counters {
    pub(super) fn read(&self) -> LoopStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        LoopStats {
            wakeups: read(&self.wakeups),
            sends_blocked: read(&self.sends_blocked),
            sends_unreachable: read(&self.sends_unreachable),
            sends_lost: read(&self.sends_lost),
            receive_errors: read(&self.receive_errors),
            receives_lost: read(&self.receives_lost),
            notices_lost: read(&self.notices_lost),
        }
    }
}

pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
