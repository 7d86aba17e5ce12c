//! Lookups of a world's nodes.

use core::time::Duration;

use super::core::World;
use super::records::{LookupRecord, RecordId};
use crate::lookup::{Lookup, LookupOptions};
use crate::node::api::error::StartError;
use crate::sim::hosts::{HostId, Occupant};

/// Lookups.
impl World {
    /// Starts a lookup with the options of the node's [`Config`](crate::Config), and tracks it.
    ///
    /// # Errors
    ///
    /// [`StartError`].
    ///
    /// # Panics
    ///
    /// If the host runs no node, or is gone.
    pub fn start(&mut self, at: HostId, lookup: Lookup) -> Result<RecordId, StartError> {
        self.start_with(at, lookup, None)
    }

    /// Starts a lookup with the given options, and tracks it.
    ///
    /// # Errors
    ///
    /// [`StartError`].
    ///
    /// # Panics
    ///
    /// If the host runs no node, or is gone.
    pub fn start_with(
        &mut self,
        at: HostId,
        lookup: Lookup,
        options: Option<&LookupOptions>,
    ) -> Result<RecordId, StartError> {
        let outside = self.addr(at);
        let host = &mut self.hosts[at.index()];
        let default = host.profile.as_ref().map_or_else(LookupOptions::default, |it| it.config.lookup);
        let local = host.local(self.now);
        let Occupant::Node(hosted) = &mut host.occupant else { panic!("no node at {at:?}") };
        let id = hosted.node_mut().lookup(local, lookup, options.unwrap_or(&default))?;
        let record = self.records.start(self.now, at, outside, id, lookup);
        self.drain(at.0);
        Ok(record)
    }

    /// Tracks the announce of a scripted host.
    ///
    /// The record's [`stored`](LookupRecord::stored) lists who stores it. A world cannot know what
    /// the script receives, so the lookup never ends.
    pub fn track(&mut self, at: HostId, lookup: Lookup) -> RecordId {
        let outside = self.addr(at);
        self.records.track(self.now, at, outside, lookup)
    }

    /// The record of a tracked lookup; `None` once it was [taken](Self::take_record).
    pub fn record(&self, record: RecordId) -> Option<&LookupRecord> {
        self.records.get(record)
    }

    /// Removes the record of a lookup, which is then tracked no longer.
    pub fn take_record(&mut self, record: RecordId) -> Option<LookupRecord> {
        self.records.take(record)
    }

    /// Tracked lookups that have not ended.
    pub fn lookups_in_progress(&self) -> usize {
        self.records.in_progress()
    }

    /// Starts a lookup and runs the world until it has ended.
    ///
    /// # Panics
    ///
    /// If the host runs no node, the lookup cannot start, or it has not ended after two minutes.
    pub fn lookup(&mut self, at: HostId, lookup: Lookup) -> LookupRecord {
        let id = self.start(at, lookup).expect("a lookup starts");
        let is_done = |world: &Self| world.record(id).is_none_or(|record| record.done.is_some());
        assert!(self.run_until(is_done, TIME_LIMIT), "the lookup of {at:?} does not end");
        self.take_record(id).expect("it was not taken")
    }

    /// Runs the world until no tracked lookup is in progress.
    ///
    /// False if some are after `limit`.
    pub fn settle(&mut self, limit: Duration) -> bool {
        self.run_until(|world| world.lookups_in_progress() == 0, limit)
    }
}

/// Longer than any lookup takes.
const TIME_LIMIT: Duration = Duration::from_secs(120);
