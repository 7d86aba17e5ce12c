//! An entry of a bucket, or a replacement: what the table knows of one node.

use core::cmp::Reverse;
use core::time::Duration;

use super::{BAD, QUESTIONABLE, maintenance};
use crate::base::addr::Endpoint;
use crate::base::id::NodeId;
use crate::base::time::{Instant, Secs};

/// The id of a node and the endpoint at which it is reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub(crate) struct Contact {
    pub(crate) id: NodeId,
    pub(crate) endpoint: Endpoint,
}

/// The state of one node. Zeroed memory is a valid unused entry.
#[derive(Clone, Copy, Debug, Default)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub(crate) struct Entry {
    pub(super) id: NodeId,
    pub(super) endpoint: Endpoint,
    /// Smoothed round-trip time in milliseconds.
    pub(super) rtt: u16,
    /// Number of queries in a row that were not answered.
    pub(super) failures: u8,
    pub(super) trust: Trust,
    /// Whether a maintenance ping to the node is in flight.
    pub(super) pinging: bool,
    /// Whether the node must be verified again, regardless of its age.
    pub(super) suspect: bool,
    pub(super) added: Secs,
    pub(super) answered: Secs,
    pub(super) heard: Secs,
    /// When maintenance last pinged the node, or a query to it last failed.
    pub(super) tried: Secs,
}

impl Entry {
    pub(crate) const EMPTY: Self = Self {
        id: NodeId::ZERO,
        endpoint: Endpoint::v6([0; 16], 0),
        rtt: 0,
        failures: 0,
        trust: Trust::None,
        pinging: false,
        suspect: false,
        added: Secs::ZERO,
        answered: Secs::ZERO,
        heard: Secs::ZERO,
        tried: Secs::ZERO,
    };

    pub(crate) const fn id(&self) -> NodeId {
        self.id
    }

    pub(crate) const fn endpoint(&self) -> Endpoint {
        self.endpoint
    }

    pub(crate) const fn contact(&self) -> Contact {
        Contact { id: self.id, endpoint: self.endpoint }
    }

    /// Returns the smoothed round-trip time.
    pub(crate) const fn rtt(&self) -> Duration {
        Duration::from_millis(self.rtt as u64)
    }

    /// Whether the node may be handed out to others (BEP 5).
    pub(crate) const fn is_good(&self, now: Instant) -> bool {
        self.is_verified() && self.failures == 0 && !self.is_questionable(now.secs())
    }

    /// Whether the node may be alive: it is not bad.
    pub(crate) const fn is_live(&self) -> bool {
        !self.is_bad()
    }

    /// Returns the time since the node last sent anything.
    pub(crate) const fn silent(&self, now: Instant) -> Duration {
        Duration::from_secs(now.secs().since(self.heard) as u64)
    }

    /// Returns the time since the node was added to the table, including before a restart.
    pub(crate) const fn known(&self, now: Instant) -> Duration {
        Duration::from_secs(now.secs().since(self.added) as u64)
    }

    pub(crate) const fn has_rtt(&self) -> bool {
        self.rtt != u16::MAX
    }

    pub(super) const fn is_questionable(&self, now: Secs) -> bool {
        now.since(self.heard) >= QUESTIONABLE
    }

    pub(super) const fn is_bad(&self) -> bool {
        self.failures >= BAD
    }

    pub(super) const fn is_verified(&self) -> bool {
        !matches!(self.trust, Trust::None)
    }

    /// Whether this is a replacement that could be promoted now.
    pub(super) const fn is_ready(&self) -> bool {
        self.is_verified() && self.failures == 0
    }

    pub(super) fn unverified(contact: Contact, now: Secs) -> Self {
        let Contact { id, endpoint } = contact;
        let tried = now.before(maintenance::MIN_INTERVAL);
        Self { id, endpoint, rtt: u16::MAX, added: now, answered: now, heard: now, tried, ..Self::EMPTY }
    }

    pub(super) fn take_answer(&mut self, rtt: Duration, now: Secs) {
        let asked = now.before(rtt.as_secs() as u32);
        let is_reachable = asked.since(self.heard) >= maintenance::MAPPING;
        let rtt = rtt.as_millis().min(u128::from(u16::MAX)) as u32;
        self.rtt = if self.is_verified() { (u32::from(self.rtt) * 3 + rtt) / 4 } else { rtt } as u16;
        (self.pinging, self.suspect, self.failures) = (false, false, 0);
        self.trust = self.trust.max(if is_reachable { Trust::Reachable } else { Trust::Verified });
        (self.answered, self.heard) = (now, now);
    }

    /// Returns the rank by which replacements are kept and promoted.
    pub(super) fn worth(&self, now: Secs) -> (u8, Reverse<u16>) {
        let class = match (self.is_verified(), self.failures, self.is_questionable(now)) {
            (_, 1.., _) | (false, 0, true) => 0,
            // The response to an individual ping counts even if the replacement has been evicted since, so one
            // that was pinged ranks lower. The bucket's own ping is different: the bucket waits until it ends.
            (false, 0, false) if self.pinging || self.is_untried() => 2,
            (false, 0, false) => 1,
            (true, 0, true) => 3,
            (true, 0, false) => 4,
        };
        (class, Reverse(self.rtt))
    }

    /// Whether the node has sent queries, and nothing has been sent to it so far.
    pub(super) const fn is_untried(&self) -> bool {
        !self.is_verified() && self.failures == 0 && self.added.since(self.tried) >= maintenance::MIN_INTERVAL
    }
}

/// How far a node is verified.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub(super) enum Trust {
    #[default]
    None,
    /// The node has responded to a query.
    Verified,
    /// The node responded after a long silence: no NAT blocks unsolicited datagrams to it.
    Reachable,
}
