//! What a node does on its own account, told to whoever subscribes.

use alloc::string::String;
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;
use std::path::PathBuf;
use std::sync::mpsc::TrySendError;
#[cfg(feature = "net")]
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};

#[cfg(feature = "tokio")]
use tokio::sync::mpsc;

#[cfg(feature = "net")]
use super::error::CallError;
use crate::{Event, StateError};

/// Notices that may wait in one subscription.
pub(super) const WAITING: usize = 1024;

/// Something that happened which no caller is waiting for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Notice {
    /// The node's own: ready, nodes entering and leaving the table, peers stored, and the ends of
    /// lookups that it started itself.
    Node(Event),
    /// A bootstrap name was resolved.
    Resolved {
        /// The host, as it was given.
        host: String,
        /// All its addresses.
        addrs: Vec<SocketAddr>,
    },
    /// A bootstrap name could not be resolved. It will be tried again.
    Unresolved {
        /// The host, as it was given.
        host: String,
        /// What the resolver said.
        error: String,
        /// When it will be tried again.
        retry_in: Duration,
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
        /// Nodes and announces that were left out: invalid, refused by the address policy, or too
        /// many.
        skipped: usize,
    },
    /// The state file was none, or damaged. The node began afresh.
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

/// A subscription to [`Notice`]s, from [`Dht::subscribe`](super::Dht::subscribe) or
/// [`Builder::subscribe`](super::Builder::subscribe): an iterator that blocks for the next one and
/// ends when the DHT thread has.
///
/// It does not keep the thread running. A subscriber that falls behind by more than 1024 notices
/// loses the newest ones ([`LoopStats::notices_lost`](super::LoopStats::notices_lost)).
#[cfg(feature = "net")]
#[derive(Debug)]
pub struct Events {
    notices: Receiver<Notice>,
}

#[cfg(feature = "net")]
impl Events {
    /// The next notice, waiting at most `timeout` for it; `Ok(None)` once the thread has ended.
    ///
    /// # Errors
    ///
    /// [`CallError::TimedOut`].
    pub fn recv_timeout(&self, timeout: Duration) -> Result<Option<Notice>, CallError> {
        match self.notices.recv_timeout(timeout) {
            Ok(notice) => Ok(Some(notice)),
            Err(RecvTimeoutError::Disconnected) => Ok(None),
            Err(RecvTimeoutError::Timeout) => Err(CallError::TimedOut),
        }
    }
}

#[cfg(feature = "net")]
impl Iterator for Events {
    type Item = Notice;

    fn next(&mut self) -> Option<Notice> {
        self.notices.recv().ok()
    }
}

/// The sending side of a subscription.
#[derive(Debug)]
pub(super) enum Subscriber {
    #[cfg(feature = "net")]
    Thread(SyncSender<Notice>),
    #[cfg(feature = "tokio")]
    Task(mpsc::Sender<Notice>),
}

impl Subscriber {
    fn try_send(&self, notice: Notice) -> Result<(), TrySendError<()>> {
        match self {
            #[cfg(feature = "net")]
            Self::Thread(sender) => sender.try_send(notice).map_err(|error| match error {
                TrySendError::Full(_) => TrySendError::Full(()),
                TrySendError::Disconnected(_) => TrySendError::Disconnected(()),
            }),
            #[cfg(feature = "tokio")]
            Self::Task(sender) => sender.try_send(notice).map_err(|error| match error {
                mpsc::error::TrySendError::Full(_) => TrySendError::Full(()),
                mpsc::error::TrySendError::Closed(_) => TrySendError::Disconnected(()),
            }),
        }
    }
}

#[cfg(feature = "net")]
pub(super) fn subscription() -> (Subscriber, Events) {
    let (sender, notices) = sync_channel(WAITING);
    (Subscriber::Thread(sender), Events { notices })
}

/// Hands `notice` to every subscriber, forgets those that are gone, and returns how many lost it.
pub(super) fn publish(subscribers: &mut Vec<Subscriber>, notice: &Notice) -> u64 {
    let mut lost = 0;
    subscribers.retain(|subscriber| match subscriber.try_send(notice.clone()) {
        Ok(()) => true,
        Err(TrySendError::Full(_)) => {
            lost += 1;
            true
        }
        Err(TrySendError::Disconnected(_)) => false,
    });
    lost
}

#[cfg(all(test, feature = "net"))]
mod tests {
    use alloc::vec;

    use super::*;
    use crate::addr::Family;

    const READY: Notice = Notice::Node(Event::Ready { family: Family::V4 });

    #[test]
    fn a_slow_subscriber_loses_notices_and_a_gone_one_is_forgotten() {
        let (slow, slow_events) = subscription();
        let (gone, gone_events) = subscription();
        drop(gone_events);
        let mut subscribers = vec![slow, gone];
        let lost: u64 = (0..WAITING + 3).map(|_| publish(&mut subscribers, &READY)).sum();
        assert_eq!(lost, 3);
        assert_eq!(subscribers.len(), 1);
        drop(subscribers);
        assert_eq!(slow_events.count(), WAITING);
    }

    #[test]
    fn the_end_is_told_from_silence() {
        let (subscriber, events) = subscription();
        assert_eq!(events.recv_timeout(Duration::ZERO), Err(CallError::TimedOut));
        drop(subscriber);
        assert_eq!(events.recv_timeout(Duration::ZERO), Ok(None));
    }
}
