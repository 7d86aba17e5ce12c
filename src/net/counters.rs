//! Counters of the loop around a node.

use core::sync::atomic::{AtomicU64, Ordering};

use crate::base::metrics::metrics;

/// Defines [`LoopStats`], and the atomic counters of the same names.
macro_rules! loop_stats {
    ($(#[$attribute:meta])* LoopStats { $($(#[doc = $help:literal])+ $counter:ident,)+ }) => {
        metrics! {
            $(#[$attribute])*
            pub struct LoopStats {
                $($(#[doc = $help])+ pub $counter: u64,)+
            }
        }

        /// [`LoopStats`] as atomic counters, which the loop increments.
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
    /// Counters of the loop around a node since it started. They only grow.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    #[non_exhaustive]
    LoopStats {
        /// Times that the loop woke up; on an idle node for the deadlines of the node, and every 15 seconds to detect a
        /// sleep of the host.
        wakeups,
        /// Times that a socket was full when a datagram was to be sent; 0 without a socket.
        sends_blocked,
        /// Datagrams that the system could not send to their destination: no such host, or a route that forbids it. The
        /// node treats the destination as unreachable.
        sends_unreachable,
        /// Datagrams that the system did not send for a local reason: no network, no buffers, a firewall, a length
        /// beyond what the interface allows. Queries among them are sent again.
        sends_lost,
        /// Errors while receiving, including ICMP errors about unknown destinations.
        receive_errors,
        /// Datagrams lost because they were handed in faster than the node took them; 0 with a socket.
        receives_lost,
        /// Events that a subscriber missed because 1024 were waiting already.
        notices_lost,
    }
}

pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
