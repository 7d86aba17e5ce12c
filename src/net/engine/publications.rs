//! The announces and items that are republished, and who holds them.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::net::SocketAddr;

use super::feed::FeedWriter;
use crate::{Announce, InfoHash, LookupId, LookupReport, PutError, Stored};

/// One republish of an announce or an item.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Republished {
    /// How it went.
    pub report: LookupReport,
    /// The torrent's peers that it found.
    pub peers: Vec<SocketAddr>,
    /// The nodes that confirmed it. There are none if it has failed, if other nodes hold another version of the
    /// item, or if it was spared because enough of them hold this one.
    pub acknowledged: Vec<SocketAddr>,
}

impl Republished {
    /// Returns where the announce or the item is stored; a republish that was spared, because enough nodes hold the
    /// item, counts as stored.
    ///
    /// # Errors
    ///
    /// [`PutError`] if it is stored nowhere, or other nodes hold another version of the item, as
    /// [`LookupReport::stored`] has it.
    pub const fn stored(&self) -> Result<Stored, PutError> {
        self.report.stored()
    }
}

/// What a holder gets of it.
pub(crate) type Rounds = FeedWriter<Republished, ()>;

/// What the engine has of an announce or an item that is republished.
#[derive(Debug, Default)]
pub(crate) struct ActivePublication {
    /// Callers that share it, in the order in which they came.
    pub(crate) holders: BTreeMap<u64, Holder>,
    /// The last republish that has ended.
    last: Option<Republished>,
    /// The last lookup that was heard of.
    lookup: Option<LookupId>,
    /// What it has found; bounded as the findings of a lookup are.
    peers: Vec<SocketAddr>,
    acknowledged: Vec<SocketAddr>,
}

/// One of the callers that share a publication.
#[derive(Debug)]
pub(crate) struct Holder {
    /// The announce that this one wants, if it is one.
    pub(crate) announce: Option<(InfoHash, Announce)>,
    pub(crate) rounds: Rounds,
}

impl ActivePublication {
    /// Adds a holder, who gets the last republish at once.
    pub(crate) fn join(&mut self, number: u64, holder: Holder) {
        if let Some(last) = &self.last {
            holder.rounds.replace(last.clone());
        }
        self.holders.insert(number, holder);
    }

    pub(crate) fn push_peer(&mut self, lookup: LookupId, peer: SocketAddr) {
        self.turn_to(lookup);
        self.peers.push(peer);
    }

    pub(crate) fn push_acknowledged(&mut self, lookup: LookupId, node: SocketAddr) {
        self.turn_to(lookup);
        self.acknowledged.push(node);
    }

    pub(crate) fn end(&mut self, lookup: LookupId, report: LookupReport) {
        self.turn_to(lookup);
        let (peers, acknowledged) =
            (core::mem::take(&mut self.peers), core::mem::take(&mut self.acknowledged));
        let last = self.last.insert(Republished { report, peers, acknowledged });
        self.holders.values().for_each(|holder| holder.rounds.replace(last.clone()));
    }

    /// Forgets what another lookup has found: one that was given up ends without a report.
    fn turn_to(&mut self, lookup: LookupId) {
        if self.lookup.replace(lookup) != Some(lookup) {
            self.peers.clear();
            self.acknowledged.clear();
        }
    }
}
