//! One lookup, its callers, and its results so far.

#[cfg(feature = "items")]
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::net::SocketAddr;

use super::feed::FeedWriter;
#[cfg(feature = "items")]
use super::feed::Reply;
#[cfg(feature = "items")]
use crate::items::{Item, ItemError, Salt, SecretKey, TorrentPointer};
use crate::net::error::CallError;
use crate::report::{NodeInfo, Sample};
use crate::{InfoHash, Lookup, LookupKind, LookupOptions, LookupReport, NodeId, PutError, Stored};

/// The result of a lookup. [`stored`](Self::stored) returns whether an announce or a put was stored.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Outcome {
    /// The report of the lookup.
    pub report: LookupReport,
    /// The closest nodes that answered, closest first; up to 8.
    pub nodes: Vec<NodeInfo>,
    /// The nodes that confirmed the announce or the put.
    pub acknowledged: Vec<SocketAddr>,
    /// The item that was found, the newest version of a mutable one; or the item that was put.
    #[cfg(feature = "items")]
    pub item: Option<Item>,
}

impl Outcome {
    /// Returns where the announce or the put is stored.
    ///
    /// # Errors
    ///
    /// [`PutError`] if it is stored nowhere, or other nodes hold another version of the item; see
    /// [`LookupReport::stored`].
    pub const fn stored(&self) -> Result<Stored, PutError> {
        self.report.stored()
    }
}

/// The answer of a single node to a query for a sample of infohashes (BEP 51).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Sampled {
    /// Whether the node supports the query, how many infohashes it stores, and for how long it asks not to be queried
    /// again.
    pub sample: Sample,
    /// The infohashes of the sample.
    pub infohashes: Vec<InfoHash>,
    /// The nodes closest to the target that it knows, at most 16.
    pub nodes: Vec<NodeInfo>,
}

/// The identity of a lookup: callers with equal keys share one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    Lookup(Lookup, LookupOptions),
    #[cfg(feature = "items")]
    Put(Box<Item>, Option<i64>, LookupOptions),
    Bootstrap,
}

impl Key {
    /// Returns the report of a lookup that has not started; `own` is the id of this node.
    pub(crate) fn unstarted(&self, own: NodeId) -> LookupReport {
        let (kind, target) = match self {
            Self::Lookup(lookup, _) => (lookup.kind(), lookup.target()),
            #[cfg(feature = "items")]
            Self::Put(item, ..) => (LookupKind::Put, item.target()),
            Self::Bootstrap => (LookupKind::Bootstrap, own),
        };
        LookupReport::unstarted(kind, target)
    }
}

/// The consumer of the results of a lookup: one caller that shares it.
pub(crate) enum Consumer {
    /// Takes the peers as they are found.
    Peers(FeedWriter<SocketAddr, Outcome>),
    /// Takes the versions of an item as they are found, each newer than the one before.
    #[cfg(feature = "items")]
    Versions(FeedWriter<Item, Outcome>),
    /// Takes the newest version of an item found by some time, or by the end of the lookup if that is earlier.
    #[cfg(feature = "items")]
    Newest(Reply<Option<Item>>),
    /// Takes the newest version of an item, to put the next version.
    #[cfg(feature = "items")]
    Successor(Box<Successor>),
    /// Takes the torrent that an item points to (BEP 46).
    #[cfg(feature = "items")]
    Torrent(Reply<InfoHash>),
}

/// A value to be put as the next version of a mutable item.
#[cfg(feature = "items")]
pub(crate) struct Successor {
    pub(crate) secret: SecretKey,
    pub(crate) salt: Salt,
    pub(crate) value: Vec<u8>,
    pub(crate) options: LookupOptions,
    /// Takes the results of the put.
    pub(crate) put: FeedWriter<SocketAddr, Outcome>,
}

impl Consumer {
    pub(crate) fn fail(self, error: CallError) {
        match self {
            Self::Peers(feed) => feed.end(Err(error)),
            #[cfg(feature = "items")]
            Self::Versions(feed) => feed.end(Err(error)),
            #[cfg(feature = "items")]
            Self::Newest(reply) => reply.end(Err(error)),
            #[cfg(feature = "items")]
            Self::Successor(successor) => successor.put.end(Err(error)),
            #[cfg(feature = "items")]
            Self::Torrent(reply) => reply.end(Err(error)),
        }
    }
}

#[cfg(feature = "items")]
impl Successor {
    /// Returns the put of the version after the one found.
    pub(crate) fn key(&self, found: &Outcome) -> Result<Key, CallError> {
        let old = found.item.as_ref().and_then(Item::seq);
        let seq = Item::next_seq(old).ok_or(ItemError::NoNextSeq)?;
        let item = Item::sign(&self.secret, self.salt, seq, &self.value)?;
        Ok(Key::Put(Box::new(item), old, self.options))
    }
}

/// Returns the torrent that an item points to.
#[cfg(feature = "items")]
pub(crate) fn torrent(found: &Outcome) -> Result<InfoHash, CallError> {
    let item = found.item.as_ref().ok_or(CallError::NoItem)?;
    TorrentPointer::from_value(item.value()).map(|pointer| pointer.infohash()).ok_or(CallError::NoPointer)
}

/// A lookup, started or waiting for a slot, and the callers that share it.
pub(crate) struct ActiveLookup {
    pub(crate) key: Key,
    pub(crate) number: u64,
    /// Callers, with the numbers of their calls.
    pub(crate) users: Vec<(u64, Consumer)>,
    state: LookupState,
}

/// The results of a lookup so far. They are bounded, because the core reports each acknowledgement and each peer of a
/// lookup once, and no more peers than it can remember.
#[derive(Default)]
struct LookupState {
    peers: Vec<SocketAddr>,
    acknowledged: Vec<SocketAddr>,
    /// The newest version.
    #[cfg(feature = "items")]
    item: Option<Box<Item>>,
}

impl ActiveLookup {
    pub(crate) fn new(number: u64, key: Key, consumer: Consumer) -> Self {
        Self { key, number, users: Vec::from([(number, consumer)]), state: LookupState::default() }
    }

    /// Adds a caller, which receives what was found before.
    pub(crate) fn join(&mut self, number: u64, consumer: Consumer) {
        match &consumer {
            Consumer::Peers(feed) => feed.extend(self.state.peers.iter().copied()),
            #[cfg(feature = "items")]
            Consumer::Versions(feed) => feed.extend(self.state.item.as_deref().cloned()),
            #[cfg(feature = "items")]
            Consumer::Newest(_) | Consumer::Successor(_) | Consumer::Torrent(_) => {}
        }
        self.users.push((number, consumer));
    }

    pub(crate) fn has_user(&self, number: u64) -> bool {
        self.users.iter().any(|(user, _)| *user == number)
    }

    pub(crate) fn push_peer(&mut self, peer: SocketAddr) {
        self.state.peers.push(peer);
        for (_, consumer) in &self.users {
            match consumer {
                Consumer::Peers(feed) => feed.push(peer),
                #[cfg(feature = "items")]
                Consumer::Versions(_)
                | Consumer::Newest(_)
                | Consumer::Successor(_)
                | Consumer::Torrent(_) => {}
            }
        }
    }

    pub(crate) fn push_acknowledged(&mut self, node: SocketAddr) {
        self.state.acknowledged.push(node);
    }

    /// Makes a caller wait for the newest version until its [wait ends](Self::end_wait), instead of for all versions.
    #[cfg(feature = "items")]
    pub(crate) fn limit_wait(&mut self, number: u64, reply: Reply<Option<Item>>) {
        if let Some((_, consumer)) = self.users.iter_mut().find(|(user, _)| *user == number) {
            *consumer = Consumer::Newest(reply);
        }
    }

    /// Ends the wait of a caller, with the newest version so far.
    #[cfg(feature = "items")]
    pub(crate) fn end_wait(&mut self, number: u64) {
        let place = self
            .users
            .iter()
            .position(|(user, consumer)| *user == number && matches!(consumer, Consumer::Newest(_)));
        if let Some(place) = place
            && let (_, Consumer::Newest(reply)) = self.users.remove(place)
        {
            reply.end(Ok(self.state.item.as_deref().cloned()));
        }
    }

    /// Delivers a version of the item, unless it was the last one delivered.
    #[cfg(feature = "items")]
    pub(crate) fn push_version(&mut self, item: Option<Item>) {
        let Some(item) = item.filter(|item| self.state.item.as_deref() != Some(item)) else { return };
        for (_, consumer) in &self.users {
            if let Consumer::Versions(feed) = consumer {
                feed.replace(item.clone());
            }
        }
        self.state.item = Some(Box::new(item));
    }

    /// Ends the lookup, and returns its callers and the outcome.
    pub(crate) fn finish(
        self,
        report: LookupReport,
        nodes: Vec<NodeInfo>,
    ) -> (Vec<(u64, Consumer)>, Outcome) {
        let LookupState { acknowledged, .. } = self.state;
        let outcome = Outcome {
            report,
            nodes,
            acknowledged,
            #[cfg(feature = "items")]
            item: self.state.item.map(|item| *item),
        };
        (self.users, outcome)
    }

    pub(crate) fn fail(self, error: &CallError) {
        self.users.into_iter().for_each(|(_, consumer)| consumer.fail(error.clone()));
    }
}
