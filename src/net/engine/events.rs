//! Events of a running node for its subscribers.

use alloc::string::String;
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;
use std::path::PathBuf;

use thiserror::Error;

use super::feed::FeedWriter;
use crate::Event;
use crate::state::StateError;

/// Events that may wait in one subscription.
pub(crate) const WAITING: usize = 1024;

/// An event of a running node that no call is waiting for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NetEvent {
    /// An event of the node itself: it is ready, a node entered or left the table, a peer was stored, or a lookup that
    /// it started itself has ended.
    Node(Event),
    /// A bootstrap name was resolved, for the first time or after a failure, or to other addresses than before.
    Resolved {
        /// The host, as it was given.
        host: String,
        /// All addresses of the host.
        addrs: Vec<SocketAddr>,
    },
    /// A bootstrap name could not be resolved. It is resolved again, unless the DHT is joined by then.
    Unresolved {
        /// The host, as it was given.
        host: String,
        /// The error of the resolver.
        error: String,
        /// The time until it is resolved again.
        retry_in: Duration,
    },
    /// A bootstrap host has no address that may be contacted. Reported again only if the addresses change.
    BootstrapRefused {
        /// The host, as it was given.
        host: String,
        /// The address, or one of them.
        addr: SocketAddr,
        /// Why it may not be contacted.
        reason: BootstrapRefusal,
        /// The time until the name is resolved again, unless the DHT is joined by then; `None` if the host is an
        /// address.
        retry_in: Option<Duration>,
    },
    /// A socket failed permanently, or could not be opened again. If the first attempt to open another one fails, the
    /// node is [disabled](crate::Node::set_enabled) in this family until one succeeds.
    SocketLost {
        /// The address that it was bound to.
        addr: SocketAddr,
        /// The error of the system.
        error: String,
        /// The time until it is opened again.
        retry_in: Duration,
    },
    /// The system did not send a datagram for a local reason: no network, a firewall, no buffers. A query is sent
    /// again, and does not count as a failure of its destination. Reported at most once a minute in each family.
    Unsent {
        /// The destination of the datagram.
        destination: SocketAddr,
        /// The error of the system.
        error: String,
    },
    /// A socket was opened again: after it was lost, when the node was enabled, or by `rebind`.
    Rebound {
        /// The address that it is bound to. The port has changed only if the system had chosen it and it was in use, or
        /// if `rebind` asked for another one.
        addr: SocketAddr,
    },
    /// The node started with the state of an earlier one.
    Restored {
        /// Nodes that are pinged now.
        nodes: usize,
        /// Announces that are resumed once a caller starts them again.
        announces: usize,
        /// Items that are resumed once a caller publishes them again.
        items: usize,
        /// Nodes, announces and items that were skipped: invalid, refused by the address policy, or too many.
        skipped: usize,
    },
    /// The state file was damaged. The node started without a state.
    StateRefused {
        /// The error in the state.
        error: StateError,
        /// The path to which the file was renamed.
        kept_as: PathBuf,
    },
    /// The state was saved.
    StateSaved,
    /// The state could not be saved. Another attempt follows.
    StateUnsaved {
        /// The error of the system.
        error: String,
    },
}

/// Why a bootstrap host may not be contacted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Error)]
#[non_exhaustive]
pub enum BootstrapRefusal {
    /// The address is of a family that is off, or has no socket.
    #[error("its address family is off")]
    Family,
    /// The [address policy](field@crate::Config::address_policy) refuses it.
    #[error("the address policy refuses it")]
    Policy,
}

/// The sending side of a subscription, which allocates memory only as it fills.
pub(crate) type Subscriber = FeedWriter<NetEvent, ()>;

/// All subscribers.
#[derive(Debug, Default)]
pub(crate) struct Subscribers(Vec<Subscriber>);

impl Subscribers {
    /// Adds a subscriber, and removes those that are gone: there may be no event for a long time.
    pub(crate) fn add(&mut self, subscriber: Subscriber) {
        self.forget_gone();
        self.0.push(subscriber);
    }

    /// Passes `event` to all subscribers, removes those that are gone, and returns how many had no room for it.
    pub(crate) fn publish(&mut self, event: &NetEvent) -> u64 {
        self.forget_gone();
        self.0.iter().map(|subscriber| u64::from(!subscriber.push_within(WAITING, event.clone()))).sum()
    }

    fn forget_gone(&mut self) {
        self.0.retain(|subscriber| !subscriber.is_gone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::addr::Family;
    use crate::net::engine::feed::{Feed, feed};

    const READY: NetEvent = NetEvent::Node(Event::Ready { family: Family::V4 });

    #[test]
    fn a_slow_subscriber_loses_events_and_a_gone_one_is_forgotten() {
        let (slow, slow_events) = feed();
        let (gone, gone_events) = feed();
        drop(gone_events);
        let mut subscribers = Subscribers(Vec::from([slow, gone]));
        let lost: u64 = (0..WAITING + 3).map(|_| subscribers.publish(&READY)).sum();
        assert_eq!(lost, 3);
        assert_eq!(subscribers.0.len(), 1);
        let next = || slow_events.with(Feed::next_item)?.ok();
        assert_eq!(core::iter::from_fn(next).take(5).count(), 5);
        let lost: u64 = (0..7).map(|_| subscribers.publish(&READY)).sum();
        assert_eq!(lost, 2, "there is room again for those taken");
        drop(subscribers);
        assert_eq!(core::iter::from_fn(next).count(), WAITING);
    }

    #[test]
    fn gone_subscribers_are_forgotten_though_nothing_happens() {
        let mut subscribers = Subscribers::default();
        let (subscriber, kept) = feed();
        subscribers.add(subscriber);
        for _ in 0..100 {
            subscribers.add(feed().0);
            assert!(subscribers.0.len() <= 2, "the last one is not looked after yet");
        }
        assert_eq!(subscribers.publish(&READY), 0);
        assert_eq!(subscribers.0.len(), 1);
        drop(kept);
    }
}
