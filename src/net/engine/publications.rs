//! The announces and items that are republished, and their holders.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::net::SocketAddr;

use super::feed::FeedWriter;
use crate::{Announce, InfoHash, LookupId, LookupReport, PutError, Stored};

/// One republish of an announce or an item.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Republished {
    /// The report of the republish.
    pub report: LookupReport,
    /// The peers of the torrent that were found.
    pub peers: Vec<SocketAddr>,
    /// The nodes that confirmed it. Empty if it failed, if other nodes hold another version of the item, or if
    /// nothing was put because enough nodes hold this one.
    pub acknowledged: Vec<SocketAddr>,
}

impl Republished {
    /// Returns where the announce or the item is stored. If nothing was put because enough nodes hold the item, it
    /// counts as stored.
    ///
    /// # Errors
    ///
    /// [`PutError`] if it is stored nowhere, or other nodes hold another version of the item; see
    /// [`LookupReport::stored`].
    pub const fn stored(&self) -> Result<Stored, PutError> {
        self.report.stored()
    }
}

/// The feed of the results of a publication to one holder.
pub(crate) type RepublishFeed = FeedWriter<Republished, ()>;

/// A publication: the callers that share it, and its results so far.
#[derive(Debug, Default)]
pub(crate) struct ActivePublication {
    /// The callers that share it, by the numbers of their calls.
    pub(crate) holders: BTreeMap<u64, Holder>,
    /// The result of the last republish that has ended.
    last: Option<Republished>,
    /// The lookup of the republish in progress, or of the last one.
    lookup: Option<LookupId>,
    /// The peers found by that lookup; bounded like the results of any lookup.
    peers: Vec<SocketAddr>,
    acknowledged: Vec<SocketAddr>,
}

/// One of the callers that share a publication.
#[derive(Debug)]
pub(crate) struct Holder {
    /// The announce of this caller, if the publication is one.
    pub(crate) announce: Option<(InfoHash, Announce)>,
    pub(crate) republishes: RepublishFeed,
}

impl ActivePublication {
    /// Adds a holder, which receives the last result at once.
    pub(crate) fn join(&mut self, number: u64, holder: Holder) {
        if let Some(last) = &self.last {
            holder.republishes.replace(last.clone());
        }
        self.holders.insert(number, holder);
    }

    pub(crate) fn push_peer(&mut self, lookup: LookupId, peer: SocketAddr) {
        self.switch_to(lookup);
        self.peers.push(peer);
    }

    pub(crate) fn push_acknowledged(&mut self, lookup: LookupId, node: SocketAddr) {
        self.switch_to(lookup);
        self.acknowledged.push(node);
    }

    pub(crate) fn end(&mut self, lookup: LookupId, report: LookupReport) {
        self.switch_to(lookup);
        let (peers, acknowledged) =
            (core::mem::take(&mut self.peers), core::mem::take(&mut self.acknowledged));
        let last = self.last.insert(Republished { report, peers, acknowledged });
        self.holders.values().for_each(|holder| holder.republishes.replace(last.clone()));
    }

    /// Clears the results of another lookup: one that was cancelled ends without a report.
    fn switch_to(&mut self, lookup: LookupId) {
        if self.lookup.replace(lookup) != Some(lookup) {
            self.peers.clear();
            self.acknowledged.clear();
        }
    }
}
