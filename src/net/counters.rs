//! What the loop around a node counts.

use core::sync::atomic::{AtomicU64, Ordering};

use crate::base::metrics::metrics;

/// Makes [`LoopStats`] and, of the same list, the counters behind it.
macro_rules! loop_stats {
    ($(#[$attribute:meta])* LoopStats { $($(#[doc = $help:literal])+ $counter:ident,)+ }) => {
        metrics! {
            $(#[$attribute])*
            pub struct LoopStats {
                $($(#[doc = $help])+ pub $counter: u64,)+
            }
        }

        /// [`LoopStats`], as the loop keeps them.
        #[derive(Debug, Default)]
        pub(crate) struct Counters {
            $(pub(crate) $counter: AtomicU64,)+
        }

        impl Counters {
            pub(crate) fn read(&self) -> LoopStats {
                LoopStats { $($counter: self.$counter.load(Ordering::Relaxed),)+ }
            }
        }
    };
}

loop_stats! {
    /// Counters of the loop around the node, since it started. They only grow.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    #[non_exhaustive]
    LoopStats {
        /// Times the loop woke up; on an idle node for the node's own deadlines, and every 15 seconds to see
        /// whether the host slept.
        wakeups,
        /// Times a socket could not take a datagram at once; only with a socket.
        sends_blocked,
        /// Datagrams that the system cannot send to their destination: no host there, or a route that forbids
        /// it. The node has noted that it is unreachable.
        sends_unreachable,
        /// Datagrams that the system did not send for a reason of its own: no network, no buffers, a firewall,
        /// longer than the interface allows. Queries among them are sent again.
        sends_lost,
        /// Errors in receiving, ICMP errors about unknown destinations among them.
        receive_errors,
        /// Datagrams that were handed in faster than the node took them; only without a socket.
        receives_lost,
        /// Notices that a subscriber was too slow for.
        notices_lost,
    }
}

pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
