//! How far a family has come in joining its DHT, and when it tries again.

use core::time::Duration;

use crate::base::time::Instant;

/// Number of nodes in the table below which the node bootstraps again, as in mldht.
///
/// Below it, queries in the other family request nodes of this one as well (BEP 32).
pub(in crate::node) const FEW_NODES: usize = 30;

/// The first pause after a bootstrap that found no node; it doubles each time.
pub(super) const FIRST_RETRY: Duration = Duration::from_secs(5);

/// The longest pause while no node is known, and the pause while few are.
pub(super) const RETRY: Duration = Duration::from_secs(4 * 60);

/// The pause while the local system does not send, after [`UNSENT_TRIES`] pauses of [`FIRST_RETRY`].
const UNSENT_RETRY: Duration = Duration::from_secs(15);
/// Number of tries at the first pause while the local system does not send: a minute.
const UNSENT_TRIES: u8 = 12;

/// The progress of a family in joining its DHT.
#[derive(Clone, Copy, Debug, Default)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub(in crate::node) struct Bootstrap {
    /// Whether a bootstrap or refresh lookup is in progress.
    pub(super) busy: bool,
    /// Bootstraps in a row that found no node.
    pub(super) failures: u8,
    /// The next bucket to fill after a bootstrap, from the node's own neighbourhood outwards.
    pub(super) fill: Option<u8>,
    /// The earliest time of the next bootstrap.
    pub(super) next: Instant,
    /// Whether the id has changed since the last bootstrap, so that no neighbours are known yet.
    pub(super) is_id_new: bool,
    /// Whether there has been a reason to rejoin since the bootstrap in progress began.
    pub(super) again: bool,
    /// Whether the local system has failed to send a query since the last datagram was received.
    pub(super) is_unsent: bool,
    /// Whether the local system failed to send a query of the bootstrap in progress, or of the last one.
    pub(super) was_unsent: bool,
    /// Whether all tries to send a query failed and nothing was received meanwhile: there is no network.
    pub(super) is_cut_off: bool,
    /// Maximum number of nodes that were in the table when a maintenance lookup ended.
    ///
    /// Buckets are filled again only with more: otherwise, no node was found that could lead to others.
    pub(super) filled: u16,
}

impl Bootstrap {
    /// Records that the local system did not send a query.
    ///
    /// Returns whether nothing was received since that last happened.
    pub(in crate::node) const fn note_unsent(&mut self) -> bool {
        self.was_unsent = true;
        core::mem::replace(&mut self.is_unsent, true)
    }

    /// Records that all tries to send a query failed; a bootstrap soon checks whether there is a network.
    pub(in crate::node) fn note_cut_off(&mut self, now: Instant) {
        if !core::mem::replace(&mut self.is_cut_off, true) {
            (self.failures, self.next) = (0, now + FIRST_RETRY);
        }
    }

    /// Records that a datagram was received, and returns whether a query was not sent before.
    pub(in crate::node) const fn take_unsent(&mut self) -> bool {
        self.is_cut_off = false;
        core::mem::replace(&mut self.is_unsent, false)
    }

    /// Whether sending an unsent query again is pointless.
    pub(in crate::node) const fn is_cut_off(&self) -> bool {
        self.is_cut_off
    }

    /// Records the start of a maintenance lookup.
    pub(super) const fn begin(&mut self) {
        (self.busy, self.again, self.was_unsent) = (true, false, false);
    }

    /// Returns the pause after a bootstrap that found no node.
    pub(super) fn pause(&mut self) -> Duration {
        let failures = self.failures;
        self.failures = failures.saturating_add(1);
        match (self.was_unsent, failures) {
            // Such a try costs other nodes nothing.
            (true, ..UNSENT_TRIES) => FIRST_RETRY,
            (true, _) => UNSENT_RETRY,
            (false, _) => (FIRST_RETRY * (1 << failures.min(6))).min(RETRY),
        }
    }
}
