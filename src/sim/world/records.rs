//! The course of each tracked lookup.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

use crate::base::id::InfoHash;
use crate::base::time::Instant;
use crate::lookup::Lookup;
use crate::node::Node;
use crate::node::api::event::Event;
use crate::node::api::ids::LookupId;
use crate::node::api::report::LookupReport;
use crate::sim::hosts::HostId;
#[cfg(feature = "items")]
use crate::store::items::Item;

/// Identifies the [`LookupRecord`] of a tracked lookup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordId(pub(super) u32);

/// The course of a lookup, with times since its start.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LookupRecord {
    /// The host that runs the lookup.
    pub host: HostId,
    /// The kind of lookup, and its target.
    pub lookup: Lookup,
    /// When it started.
    pub started: Instant,
    /// Peers that were found, and when.
    pub peers: Vec<(Duration, SocketAddr)>,
    /// Nodes that acknowledged the announce, and when the response arrived.
    pub acknowledged: Vec<(Duration, SocketAddr)>,
    /// Hosts whose nodes stored the announce, and when.
    pub stored: Vec<(Duration, HostId)>,
    /// When it ended, and the node's report; `None` while it is in progress, or if the host left
    /// before its end.
    pub done: Option<(Duration, LookupReport)>,
    /// The item that was found, the newest version of a mutable one; `None` before the lookup has ended.
    #[cfg(feature = "items")]
    pub item: Option<Item>,
}

impl LookupRecord {
    /// When the first peer was found.
    pub fn first_peer(&self) -> Option<Duration> {
        self.peers.first().map(|(at, _)| *at)
    }

    /// When `count` nodes had acknowledged the announce.
    pub fn acknowledged_at(&self, count: usize) -> Option<Duration> {
        self.acknowledged.get(count.checked_sub(1)?).map(|(at, _)| *at)
    }

    /// When `count` nodes stored the announce.
    pub fn stored_at(&self, count: usize) -> Option<Duration> {
        self.stored.get(count.checked_sub(1)?).map(|(at, _)| *at)
    }

    /// The node's report at the end.
    pub fn report(&self) -> Option<LookupReport> {
        self.done.map(|(_, report)| report)
    }
}

/// The records of all tracked lookups.
#[derive(Default)]
pub(super) struct LookupRecords {
    all: BTreeMap<u32, LookupRecord>,
    next: u32,
    in_progress: BTreeMap<(HostId, LookupId), RecordId>,
    /// The last lookup to end in each slot of a host.
    ended: BTreeMap<(HostId, usize), LookupId>,
    announces: BTreeMap<InfoHash, Vec<(SocketAddr, RecordId)>>,
    /// The first lookup that ended twice.
    pub(super) ended_twice: Option<(HostId, LookupId)>,
}

impl LookupRecords {
    pub(super) fn start(
        &mut self,
        now: Instant,
        host: HostId,
        outside: SocketAddr,
        id: LookupId,
        lookup: Lookup,
    ) -> RecordId {
        let record = self.track(now, host, outside, lookup);
        self.in_progress.insert((host, id), record);
        record
    }

    pub(super) fn track(
        &mut self,
        now: Instant,
        host: HostId,
        outside: SocketAddr,
        lookup: Lookup,
    ) -> RecordId {
        let record = RecordId(self.next);
        self.next += 1;
        let (peers, acknowledged, stored) = (Vec::new(), Vec::new(), Vec::new());
        let entry = LookupRecord {
            host,
            lookup,
            started: now,
            peers,
            acknowledged,
            stored,
            done: None,
            #[cfg(feature = "items")]
            item: None,
        };
        self.all.insert(record.0, entry);
        if let Lookup::Announce(infohash, _) = lookup {
            self.announces.entry(infohash).or_default().push((outside, record));
        }
        record
    }

    pub(super) fn get(&self, id: RecordId) -> Option<&LookupRecord> {
        self.all.get(&id.0)
    }

    pub(super) fn in_progress(&self) -> usize {
        self.in_progress.len()
    }

    pub(super) fn take(&mut self, id: RecordId) -> Option<LookupRecord> {
        let record = self.all.remove(&id.0)?;
        if let Lookup::Announce(infohash, _) = record.lookup
            && let Some(list) = self.announces.get_mut(&infohash)
        {
            list.retain(|(_, other)| *other != id);
            if list.is_empty() {
                self.announces.remove(&infohash);
            }
        }
        self.in_progress.retain(|_, other| *other != id);
        Some(record)
    }

    /// Stops tracking the lookups of a host that left, which never end.
    pub(super) fn abandon(&mut self, host: HostId) {
        self.in_progress.retain(|(other, _), _| *other != host);
        self.ended.retain(|(other, _), _| *other != host);
    }

    #[cfg_attr(
        not(feature = "items"),
        expect(unused_variables, reason = "only items are read from the node")
    )]
    pub(super) fn note(&mut self, now: Instant, host: HostId, node: &Node, event: &Event) {
        match *event {
            Event::Peer { lookup, peer } => {
                self.update(host, lookup, |record| record.peers.push((now - record.started, peer)));
            }
            Event::Acknowledged { lookup, node } => {
                self.update(host, lookup, |record| record.acknowledged.push((now - record.started, node)));
            }
            Event::LookupDone { lookup, report } => {
                self.update(host, lookup, |record| record.done = Some((now - record.started, report)));
                #[cfg(feature = "items")]
                self.update(host, lookup, |record| record.item = node.item(lookup));
                let slot = (host, lookup.ix.position());
                if self.in_progress.remove(&(host, lookup)).is_some() {
                    self.ended.insert(slot, lookup);
                } else if self.ended.get(&slot) == Some(&lookup) {
                    self.ended_twice = self.ended_twice.or(Some((host, lookup)));
                }
            }
            Event::PeerStored { infohash, peer, .. } => {
                let Some(list) = self.announces.get(&infohash) else { return };
                let ids: Vec<_> = list.iter().filter(|(outside, _)| outside.ip() == peer.ip()).collect();
                for (_, id) in ids {
                    if let Some(record) = self.all.get_mut(&id.0)
                        && record.stored.iter().all(|(_, other)| *other != host)
                    {
                        record.stored.push((now - record.started, host));
                    }
                }
            }
            _ => {}
        }
    }

    fn update(&mut self, host: HostId, lookup: LookupId, change: impl FnOnce(&mut LookupRecord)) {
        if let Some(id) = self.in_progress.get(&(host, lookup)) {
            self.all.get_mut(&id.0).map(change);
        }
    }
}
