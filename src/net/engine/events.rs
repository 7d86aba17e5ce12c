//! What a node does on its own account, told to whoever subscribes.

use alloc::string::String;
#[cfg(feature = "net")]
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::SocketAddr;
#[cfg(feature = "net")]
use core::sync::atomic::{AtomicUsize, Ordering};
use core::time::Duration;
use std::path::PathBuf;
#[cfg(feature = "net")]
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};

use thiserror::Error;
#[cfg(feature = "tokio")]
use tokio::sync::mpsc;

#[cfg(feature = "net")]
use crate::net::error::CallError;
use crate::{Event, StateError};

/// Notices that may wait in one subscription.
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
    /// The [address policy](crate::Config::address_policy) refuses it.
    #[error("the address policy refuses it")]
    Policy,
}

/// A subscription to [`NetEvent`]s, from [`DhtHandle::subscribe`](super::DhtHandle::subscribe) or
/// [`Builder::subscribe`](super::Builder::subscribe): an iterator that blocks for the next one and
/// ends when the DHT thread has.
///
/// It does not keep the thread running. A subscriber that falls behind by more than 1024 notices
/// loses the newest ones ([`LoopStats::notices_lost`](super::LoopStats::notices_lost)).
#[cfg(feature = "net")]
#[derive(Debug)]
pub struct NetEvents {
    notices: Receiver<NetEvent>,
    /// How many are waiting. That it is shared tells the subscriber that somebody is there.
    waiting: Arc<AtomicUsize>,
}

#[cfg(feature = "net")]
impl NetEvents {
    /// The next notice, waiting at most `timeout` for it; `Ok(None)` once the thread has ended.
    ///
    /// # Errors
    ///
    /// [`CallError::TimedOut`].
    pub fn recv_timeout(&self, timeout: Duration) -> Result<Option<NetEvent>, CallError> {
        match self.notices.recv_timeout(timeout) {
            Ok(notice) => Ok(Some(self.taken(notice))),
            Err(RecvTimeoutError::Disconnected) => Ok(None),
            Err(RecvTimeoutError::Timeout) => Err(CallError::TimedOut),
        }
    }

    fn taken(&self, notice: NetEvent) -> NetEvent {
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        notice
    }
}

#[cfg(feature = "net")]
impl Iterator for NetEvents {
    type Item = NetEvent;

    fn next(&mut self) -> Option<NetEvent> {
        self.notices.recv().ok().map(|notice| self.taken(notice))
    }
}

/// The sending side of a subscription. Its queue takes memory only as it fills.
#[derive(Debug)]
pub(crate) enum Subscriber {
    #[cfg(feature = "net")]
    Thread { notices: Sender<NetEvent>, waiting: Arc<AtomicUsize> },
    #[cfg(feature = "tokio")]
    Task(mpsc::Sender<NetEvent>),
}

impl Subscriber {
    fn is_gone(&self) -> bool {
        match self {
            #[cfg(feature = "net")]
            Self::Thread { waiting, .. } => Arc::strong_count(waiting) == 1,
            #[cfg(feature = "tokio")]
            Self::Task(notices) => notices.is_closed(),
        }
    }

    /// Returns whether there was room for it. One that is gone loses nothing.
    fn send(&self, notice: NetEvent) -> bool {
        match self {
            #[cfg(feature = "net")]
            Self::Thread { notices, waiting } => {
                // Others only make room.
                let has_room = waiting.load(Ordering::Relaxed) < WAITING;
                if has_room {
                    waiting.fetch_add(1, Ordering::Relaxed);
                    let _ = notices.send(notice);
                }
                has_room
            }
            #[cfg(feature = "tokio")]
            Self::Task(notices) => {
                !matches!(notices.try_send(notice), Err(mpsc::error::TrySendError::Full(_)))
            }
        }
    }
}

#[cfg(feature = "net")]
pub(crate) fn subscription() -> (Subscriber, NetEvents) {
    let (sender, notices) = channel();
    let waiting = Arc::default();
    let subscriber = Subscriber::Thread { notices: sender, waiting: Arc::clone(&waiting) };
    (subscriber, NetEvents { notices, waiting })
}

/// Those who are told.
#[derive(Debug, Default)]
pub(crate) struct Subscribers(Vec<Subscriber>);

impl Subscribers {
    /// Adds one, and forgets those that are gone: where nothing happens, nothing is published for long.
    pub(crate) fn add(&mut self, subscriber: Subscriber) {
        self.forget_gone();
        self.0.push(subscriber);
    }

    /// Hands `notice` to everyone, forgets those that are gone, and returns how many lost it.
    pub(crate) fn publish(&mut self, notice: &NetEvent) -> u64 {
        self.forget_gone();
        self.0.iter().map(|subscriber| u64::from(!subscriber.send(notice.clone()))).sum()
    }

    fn forget_gone(&mut self) {
        self.0.retain(|subscriber| !subscriber.is_gone());
    }
}

#[cfg(all(test, feature = "net"))]
mod tests {
    use super::*;
    use crate::addr::Family;

    const READY: NetEvent = NetEvent::Node(Event::Ready { family: Family::V4 });

    #[test]
    fn a_slow_subscriber_loses_notices_and_a_gone_one_is_forgotten() {
        let (slow, mut slow_events) = subscription();
        let (gone, gone_events) = subscription();
        drop(gone_events);
        let mut subscribers = Subscribers(Vec::from([slow, gone]));
        let lost: u64 = (0..WAITING + 3).map(|_| subscribers.publish(&READY)).sum();
        assert_eq!(lost, 3);
        assert_eq!(subscribers.0.len(), 1);
        assert_eq!(slow_events.by_ref().take(5).count(), 5);
        let lost: u64 = (0..7).map(|_| subscribers.publish(&READY)).sum();
        assert_eq!(lost, 2, "there is room again for those taken");
        drop(subscribers);
        assert_eq!(slow_events.count(), WAITING);
    }

    #[test]
    fn gone_subscribers_are_forgotten_though_nothing_happens() {
        let mut subscribers = Subscribers::default();
        let (subscriber, kept) = subscription();
        subscribers.add(subscriber);
        for _ in 0..100 {
            subscribers.add(subscription().0);
            #[cfg(feature = "tokio")]
            subscribers.add(crate::net::tokio::subscription().0);
            assert!(subscribers.0.len() <= 2, "the last one is not looked after yet");
        }
        assert_eq!(subscribers.publish(&READY), 0);
        assert_eq!(subscribers.0.len(), 1);
        drop(kept);
    }

    #[test]
    fn the_end_is_told_from_silence() {
        let (subscriber, events) = subscription();
        assert_eq!(events.recv_timeout(Duration::ZERO), Err(CallError::TimedOut));
        drop(subscriber);
        assert_eq!(events.recv_timeout(Duration::ZERO), Ok(None));
    }
}
