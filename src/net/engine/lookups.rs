//! The findings of one lookup, written by the loop and read by all who share the lookup.

#[cfg(feature = "items")]
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::net::SocketAddr;

use super::watch::Watch;
#[cfg(feature = "items")]
use crate::Item;
use crate::net::error::CallError;
use crate::{InfoHash, Lookup, LookupId, LookupKind, LookupOptions, LookupReport, NodeId, NodeInfo, Sample};

/// What a lookup came to.
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
            Self::Lookup(Lookup::FindNode(target), _) => (LookupKind::FindNode, *target),
            Self::Lookup(Lookup::GetPeers(infohash), _) => (LookupKind::GetPeers, (*infohash).into()),
            Self::Lookup(Lookup::Scrape(infohash), _) => (LookupKind::Scrape, (*infohash).into()),
            Self::Lookup(Lookup::Announce(infohash, _), _) => (LookupKind::Announce, (*infohash).into()),
            #[cfg(feature = "items")]
            Self::Lookup(Lookup::GetImmutable(target), _) => (LookupKind::Get, *target),
            #[cfg(feature = "items")]
            Self::Lookup(Lookup::GetMutable(key, salt), _) => (LookupKind::Get, key.target(salt.as_bytes())),
            #[cfg(feature = "items")]
            Self::Put(item, ..) => (LookupKind::Put, item.target()),
            Self::Bootstrap => (LookupKind::Bootstrap, own),
        };
        LookupReport::unstarted(kind, target)
    }
}

/// Bounded, because the core reports each peer and each acknowledgement of a lookup once, and
/// peers no more than it can remember. Of an item only the newest version is kept.
#[derive(Debug, Default)]
pub(crate) struct LookupState {
    /// The lookup of a search that has begun.
    lookup: Option<LookupId>,
    /// The report of a search that has not, or had not.
    unstarted: Option<LookupReport>,
    peers: Vec<SocketAddr>,
    acknowledged: Vec<SocketAddr>,
    #[cfg(feature = "items")]
    item: Option<Box<Item>>,
    /// How many versions of the item were found, each newer than the one before.
    #[cfg(feature = "items")]
    versions: usize,
    end: Option<Result<Outcome, CallError>>,
}

impl LookupState {
    /// The peers, one by one.
    pub(crate) fn next_peer(&self, seen: usize) -> Option<Result<Option<(usize, SocketAddr)>, CallError>> {
        self.next_or_end(self.peers.get(seen).map(|&peer| (seen + 1, peer)))
    }

    /// The newest version of the item.
    #[cfg(feature = "items")]
    pub(crate) fn next_version(&self, seen: usize) -> Option<Result<Option<(usize, Item)>, CallError>> {
        let item = self.item.as_deref().filter(|_| self.versions > seen);
        self.next_or_end(item.map(|item| (self.versions, item.clone())))
    }

    fn next_or_end<T>(&self, next: Option<T>) -> Option<Result<Option<T>, CallError>> {
        match (next, &self.end) {
            (Some(next), _) => Some(Ok(Some(next))),
            (None, Some(Ok(_))) => Some(Ok(None)),
            (None, Some(Err(error))) => Some(Err(*error)),
            (None, None) => None,
        }
    }

    pub(crate) fn end(&self) -> Option<Result<Outcome, CallError>> {
        self.end.clone()
    }

    /// The lookup, once it has begun.
    pub(crate) const fn lookup(&self) -> Option<LookupId> {
        self.lookup
    }

    /// What to report before.
    pub(crate) const fn unstarted(&self) -> Option<LookupReport> {
        self.unstarted
    }
}

impl Watch<LookupState> {
    /// A search that has not begun.
    pub(crate) fn waiting(unstarted: LookupReport) -> Self {
        let state = Self::default();
        state.update(|findings| findings.unstarted = Some(unstarted));
        state
    }

    pub(crate) fn start(&self, lookup: LookupId) {
        self.update(|findings| findings.lookup = Some(lookup));
    }

    /// How the lookup goes, which the node tells of one that is under way, or how it went.
    pub(crate) fn report(
        &self,
        under_way: Result<Option<LookupReport>, CallError>,
    ) -> Result<LookupReport, CallError> {
        match (self.read(LookupState::end), under_way) {
            (Some(outcome), _) => outcome.map(|outcome| outcome.report),
            (None, Ok(Some(report))) => Ok(report),
            (None, _) => Err(CallError::Closed),
        }
    }

    pub(crate) fn push_peer(&self, peer: SocketAddr) {
        self.update(|findings| findings.peers.push(peer));
    }

    pub(crate) fn push_acknowledged(&self, node: SocketAddr) {
        self.update(|findings| findings.acknowledged.push(node));
    }

    /// The best of the item's versions so far.
    #[cfg(feature = "items")]
    pub(crate) fn push_version(&self, item: Option<Item>) {
        self.update(|findings| {
            if item.is_some() && item.as_ref() != findings.item.as_deref() {
                findings.item = item.map(Box::new);
                findings.versions += 1;
            }
        });
    }

    pub(crate) fn finish(&self, report: LookupReport, nodes: Vec<NodeInfo>) {
        self.update(|findings| {
            findings.end = Some(Ok(Outcome {
                report,
                nodes,
                acknowledged: core::mem::take(&mut findings.acknowledged),
                #[cfg(feature = "items")]
                item: findings.item.as_deref().cloned(),
            }));
        });
    }

    /// Tells the callers that there will be no end.
    pub(crate) fn fail(&self, error: CallError) {
        self.update(|findings| {
            findings.end.get_or_insert(Err(error));
        });
    }
}
