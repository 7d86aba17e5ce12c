//! What a node does on its own account, told to whoever subscribes.

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

/// Something that happened which no caller is waiting for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NetEvent {
    /// The node's own: ready, nodes entering and leaving the table, peers stored, and the ends of
    /// lookups that it started itself.
    Node(Event),
    /// A bootstrap name was resolved, for the first time or after a failure, or to other addresses than before.
    Resolved {
        /// The host, as it was given.
        host: String,
        /// All its addresses.
        addrs: Vec<SocketAddr>,
    },
    /// A bootstrap name could not be resolved. It will be tried again, unless the DHT is joined by then.
    Unresolved {
        /// The host, as it was given.
        host: String,
        /// What the resolver said.
        error: String,
        /// When it will be tried again.
        retry_in: Duration,
    },
    /// A bootstrap host has no address that may be asked. It is told again only if that changes.
    BootstrapRefused {
        /// The host, as it was given.
        host: String,
        /// The address, or one of them.
        addr: SocketAddr,
        /// Why it may not be asked.
        reason: BootstrapRefusal,
        /// When the name will be resolved again, unless the DHT is joined by then; `None` if the host is no
        /// name.
        retry_in: Option<Duration>,
    },
    /// A socket failed for good, or could not be opened again. While there is none, the node is
    /// [disabled](crate::Node::set_enabled) in this family, unless the first try succeeds.
    SocketLost {
        /// Where it was bound.
        addr: SocketAddr,
        /// What the system said.
        error: String,
        /// When it will be opened again.
        retry_in: Duration,
    },
    /// The system did not send a datagram, for a reason of its own: no network, a firewall, no buffers. It
    /// is held against nobody, and tried again. Told once a minute for each family at most.
    Unsent {
        /// Where it was to go.
        destination: SocketAddr,
        /// What the system said.
        error: String,
    },
    /// A socket was opened again: after it was lost, because the node was enabled, or by `rebind`.
    Rebound {
        /// Where it is bound. The port has changed only if it was taken and none had been named, or
        /// another one was wanted.
        addr: SocketAddr,
    },
    /// The node began with the state of an earlier one.
    Restored {
        /// Nodes that are tried now.
        nodes: usize,
        /// Announces that go on from where they were once somebody keeps them up again.
        announces: usize,
        /// Items that do so, in the same way.
        items: usize,
        /// Nodes, announces and items that were left out: invalid, refused by the address policy, or
        /// too many.
        skipped: usize,
    },
    /// The state file was damaged. The node began afresh.
    StateRefused {
        /// What is wrong with it.
        error: StateError,
        /// What it was renamed to.
        kept_as: PathBuf,
    },
    /// The state was saved.
    StateSaved,
    /// The state could not be saved. It will be tried again.
    StateUnsaved {
        /// What the system said.
        error: String,
    },
}

/// Why a node may not ask a bootstrap host.
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

/// The sending side of a subscription. It takes memory only as it fills.
pub(crate) type Subscriber = FeedWriter<NetEvent, ()>;

/// All subscribers.
#[derive(Debug, Default)]
pub(crate) struct Subscribers(Vec<Subscriber>);

impl Subscribers {
    /// Adds one, and forgets those that are gone: where nothing happens, nothing is published for long.
    pub(crate) fn add(&mut self, subscriber: Subscriber) {
        self.forget_gone();
        self.0.push(subscriber);
    }

    /// Hands `event` to everyone, forgets those that are gone, and returns how many lost it.
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
