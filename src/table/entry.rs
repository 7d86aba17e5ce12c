//! An entry of a bucket, or a replacement: what the table knows of one node.

use core::cmp::Reverse;
use core::time::Duration;

use crate::base::addr::Endpoint;
use crate::base::id::NodeId;
use crate::base::time::{Instant, Secs};

/// Seconds after which a silent node is questionable and a bucket is stale (BEP 5).
pub(super) const QUESTIONABLE: u32 = 15 * 60;
/// Number of failures in a row at which an entry is bad.
pub(super) const BAD: u8 = 2;
/// Number of failures in a row at which an entry is always evicted.
pub(super) const HOPELESS: u8 = 3;
/// Minimum number of seconds between two pings to a node that has not failed.
pub(super) const MIN_INTERVAL: u32 = 60;
/// Seconds after which a NAT has closed the mapping that a datagram from behind it opened (180 on Linux).
///
/// A node that responds to a query sent later than that can be reached by strangers as well.
pub(super) const MAPPING: u32 = 200;
/// Base of the retry interval in seconds, doubled with each failure.
const BACKOFF: u32 = 60;

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

    /// Whether the node may be listed in responses (BEP 5).
    pub(crate) const fn is_good(&self, now: Instant) -> bool {
        self.is_verified() && self.failures == 0 && !self.is_questionable(now.secs())
    }

    /// Whether the node may be alive: it is not bad.
    pub(crate) const fn is_live(&self) -> bool {
        !self.is_bad()
    }

    /// Returns the time since the node last sent anything.
    pub(crate) const fn silent_for(&self, now: Instant) -> Duration {
        Duration::from_secs(now.secs().since(self.heard) as u64)
    }

    /// Returns the time since the node was added to the table, including before a restart.
    pub(crate) const fn known_for(&self, now: Instant) -> Duration {
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
        let tried = now.before(MIN_INTERVAL);
        Self { id, endpoint, rtt: u16::MAX, added: now, answered: now, heard: now, tried, ..Self::EMPTY }
    }

    pub(super) fn record_response(&mut self, rtt: Duration, now: Secs) {
        let asked = now.before(rtt.as_secs() as u32);
        let is_reachable = asked.since(self.heard) >= MAPPING;
        let rtt = rtt.as_millis().min(u128::from(u16::MAX)) as u32;
        self.rtt = if self.is_verified() { (u32::from(self.rtt) * 3 + rtt) / 4 } else { rtt } as u16;
        (self.pinging, self.suspect, self.failures) = (false, false, 0);
        self.trust = self.trust.max(if is_reachable { Trust::Reachable } else { Trust::Verified });
        (self.answered, self.heard) = (now, now);
    }

    /// Returns the rank by which replacements are kept and promoted.
    pub(super) fn replacement_rank(&self, now: Secs) -> (u8, Reverse<u16>) {
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
        !self.is_verified() && self.failures == 0 && self.added.since(self.tried) >= MIN_INTERVAL
    }

    /// Returns the number of seconds until the node is to be pinged, 0 if that is overdue.
    pub(super) fn wait(&self, now: Secs) -> u32 {
        self.slack(now).max(0) as u32
    }

    /// Returns the number of seconds until the node is to be pinged, negative if that is overdue.
    pub(super) fn slack(&self, now: Secs) -> i64 {
        if self.failures > 0 {
            return remaining(self.backoff(), self.tried, now);
        }
        let [.., last] = *self.id.as_bytes();
        let age = QUESTIONABLE - u32::from(last);
        let due = match self.trust {
            _ if self.suspect => 0,
            Trust::Reachable => remaining(age, self.heard, now),
            // Its own queries may be what keeps a NAT mapping open.
            Trust::None | Trust::Verified => {
                remaining(age, self.answered, now).max(remaining(MAPPING, self.heard, now))
            }
        };
        due.max(remaining(MIN_INTERVAL, self.tried, now))
    }

    /// Returns the number of seconds between a failure and the next ping.
    pub(super) fn backoff(&self) -> u32 {
        BACKOFF << self.failures.min(HOPELESS)
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

/// Returns what is left of `span` seconds since `then`, negative if they have elapsed.
pub(super) fn remaining(span: u32, then: Secs, now: Secs) -> i64 {
    i64::from(span) - i64::from(now.since(then))
}
