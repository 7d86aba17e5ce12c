//! One lookup, the callers that share it, and what it has found for them so far.

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

/// What a lookup came to. Whether an announce or a put was stored is what [`stored`](Self::stored) returns.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Outcome {
    /// How it went.
    pub report: LookupReport,
    /// The closest nodes that answered, closest first; up to 8.
    pub nodes: Vec<NodeInfo>,
    /// The nodes that confirmed the announce or the put, if it was one.
    pub acknowledged: Vec<SocketAddr>,
    /// The item that was found, of a mutable one the newest version; or that was put.
    #[cfg(feature = "items")]
    pub item: Option<Item>,
}

impl Outcome {
    /// Returns where the announce or the put is stored.
    ///
    /// # Errors
    ///
    /// [`PutError`] if it is stored nowhere, or other nodes hold another version of the item, as
    /// [`LookupReport::stored`] has it.
    pub const fn stored(&self) -> Result<Stored, PutError> {
        self.report.stored()
    }
}

/// The answer of a single node to a query for a sample of infohashes (BEP 51).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Sampled {
    /// Whether it knows the query, how many infohashes it stores, and for how long it is not to be asked
    /// again.
    pub sample: Sample,
    /// The infohashes that it told.
    pub infohashes: Vec<InfoHash>,
    /// The nodes that it knows closest to the target, at most 16.
    pub nodes: Vec<NodeInfo>,
}

/// What makes two lookups the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    Lookup(Lookup, LookupOptions),
    #[cfg(feature = "items")]
    Put(Box<Item>, Option<i64>, LookupOptions),
    Bootstrap,
}

impl Key {
    /// What is reported before the lookup has begun; `own` is our id.
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

/// What a caller wants of a lookup.
pub(crate) enum Wants {
    /// The peers as they are found.
    Peers(FeedWriter<SocketAddr, Outcome>),
    /// The versions of an item as they are found, each newer than the one before.
    #[cfg(feature = "items")]
    Versions(FeedWriter<Item, Outcome>),
    /// The newest version of an item that is there at some time, or at the end of the lookup if that is earlier.
    #[cfg(feature = "items")]
    Newest(Reply<Option<Item>>),
    /// The newest version of an item, to put another one in its place.
    #[cfg(feature = "items")]
    Successor(Box<Successor>),
    /// The torrent that an item points to (BEP 46).
    #[cfg(feature = "items")]
    Torrent(Reply<InfoHash>),
}

/// A value that is to be the next version of a mutable item.
#[cfg(feature = "items")]
pub(crate) struct Successor {
    pub(crate) secret: SecretKey,
    pub(crate) salt: Salt,
    pub(crate) value: Vec<u8>,
    pub(crate) options: LookupOptions,
    /// Gets what becomes of the put.
    pub(crate) put: FeedWriter<SocketAddr, Outcome>,
}

impl Wants {
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
    /// The put of the version after the one that was found.
    pub(crate) fn key(&self, found: &Outcome) -> Result<Key, CallError> {
        let old = found.item.as_ref().and_then(Item::seq);
        let seq = Item::next_seq(old).ok_or(ItemError::NoNextSeq)?;
        let item = Item::sign(&self.secret, self.salt, seq, &self.value)?;
        Ok(Key::Put(Box::new(item), old, self.options))
    }
}

/// The torrent that an item points to.
#[cfg(feature = "items")]
pub(crate) fn torrent(found: &Outcome) -> Result<InfoHash, CallError> {
    let item = found.item.as_ref().ok_or(CallError::NoItem)?;
    TorrentPointer::from_value(item.value()).map(|pointer| pointer.infohash()).ok_or(CallError::NoPointer)
}

/// A lookup, and all callers that wait for it.
pub(crate) struct ActiveLookup {
    pub(crate) key: Key,
    pub(crate) number: u64,
    /// Callers, with the numbers of their calls.
    pub(crate) users: Vec<(u64, Wants)>,
    state: LookupState,
}

/// What a lookup has found. It is bounded, because the core reports each peer and each acknowledgement of a
/// lookup once, and peers no more than it can remember.
#[derive(Default)]
struct LookupState {
    peers: Vec<SocketAddr>,
    acknowledged: Vec<SocketAddr>,
    /// The newest version.
    #[cfg(feature = "items")]
    item: Option<Box<Item>>,
}

impl ActiveLookup {
    pub(crate) fn new(number: u64, key: Key, wants: Wants) -> Self {
        Self { key, number, users: Vec::from([(number, wants)]), state: LookupState::default() }
    }

    /// Adds a caller, who gets at once what was found before.
    pub(crate) fn join(&mut self, number: u64, wants: Wants) {
        match &wants {
            Wants::Peers(feed) => feed.extend(self.state.peers.iter().copied()),
            #[cfg(feature = "items")]
            Wants::Versions(feed) => feed.extend(self.state.item.as_deref().cloned()),
            #[cfg(feature = "items")]
            Wants::Newest(_) | Wants::Successor(_) | Wants::Torrent(_) => {}
        }
        self.users.push((number, wants));
    }

    pub(crate) fn has_user(&self, number: u64) -> bool {
        self.users.iter().any(|(user, _)| *user == number)
    }

    pub(crate) fn push_peer(&mut self, peer: SocketAddr) {
        self.state.peers.push(peer);
        for (_, wants) in &self.users {
            match wants {
                Wants::Peers(feed) => feed.push(peer),
                #[cfg(feature = "items")]
                Wants::Versions(_) | Wants::Newest(_) | Wants::Successor(_) | Wants::Torrent(_) => {}
            }
        }
    }

    pub(crate) fn push_acknowledged(&mut self, node: SocketAddr) {
        self.state.acknowledged.push(node);
    }

    /// Has a caller wait for the newest version until its [wait ends](Self::end_wait), instead of for all of them.
    #[cfg(feature = "items")]
    pub(crate) fn limit_wait(&mut self, number: u64, reply: Reply<Option<Item>>) {
        if let Some((_, wants)) = self.users.iter_mut().find(|(user, _)| *user == number) {
            *wants = Wants::Newest(reply);
        }
    }

    /// Ends the wait of a caller whose time has come, with the newest version so far.
    #[cfg(feature = "items")]
    pub(crate) fn end_wait(&mut self, number: u64) {
        let place =
            self.users.iter().position(|(user, wants)| *user == number && matches!(wants, Wants::Newest(_)));
        if let Some(place) = place
            && let (_, Wants::Newest(reply)) = self.users.remove(place)
        {
            reply.end(Ok(self.state.item.as_deref().cloned()));
        }
    }

    /// Takes the best of the item's versions so far.
    #[cfg(feature = "items")]
    pub(crate) fn push_version(&mut self, item: Option<Item>) {
        let Some(item) = item.filter(|item| self.state.item.as_deref() != Some(item)) else { return };
        for (_, wants) in &self.users {
            if let Wants::Versions(feed) = wants {
                feed.replace(item.clone());
            }
        }
        self.state.item = Some(Box::new(item));
    }

    /// Ends, and returns those who wait for the outcome, and that.
    pub(crate) fn finish(self, report: LookupReport, nodes: Vec<NodeInfo>) -> (Vec<(u64, Wants)>, Outcome) {
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
        self.users.into_iter().for_each(|(_, wants)| wants.fail(error.clone()));
    }
}
