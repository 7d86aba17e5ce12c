//! Interruptions: sleep, another socket, and families that are disabled and enabled.

use core::time::Duration;

use crate::base::addr::{Endpoint, Family};
use crate::base::pool::Ix;
use crate::base::time::Instant;
use crate::guard::external::External;
use crate::lookup::Phase;
use crate::node::client::phases::TraversalMut;
use crate::node::core::{Core, Occasion};
use crate::node::maintenance::joining::FEW_NODES;
use crate::node::storage::sealed::Memory;
use crate::rpc::inflight::QueryResult;

/// The pauses after which a query that the local system did not send is sent again.
///
/// A full buffer is empty by then; whether the network is down is for the next maintenance task to find out.
const PAUSES: [Duration; 3] =
    [Duration::from_millis(50), Duration::from_millis(150), Duration::from_millis(450)];

/// Maximum length of an outage after which nothing is repeated.
const OUTAGE: Duration = Duration::from_secs(2);

impl Core {
    /// Handles a datagram that the local system did not send, which proves nothing about its destination.
    pub(in crate::node) fn handle_unsent(&mut self, m: &mut Memory<'_>, now: Instant, to: Endpoint) {
        let now = self.advance(now);
        // No query is found if it was a response, which the querying node will request again.
        let Some(ix) = self.inflight.find_last_sent_to(m.queries, to) else { return };
        self.stats.unsent += 1;
        self.missed = true;
        let bootstrap = &mut self.family_mut(to.family()).bootstrap;
        let is_silent = bootstrap.note_unsent();
        let pause = PAUSES.get(usize::from(m.queries[ix].unsent));
        if let Some(&pause) = pause.filter(|_| !bootstrap.is_cut_off()) {
            return self.inflight.on_unsent(m.queries, ix, now + pause);
        }
        if is_silent {
            bootstrap.note_cut_off(now);
        }
        let query = self.inflight.finish(m.queries, ix, QueryResult::Unreachable);
        self.excuse(m, &query);
        self.on_step_failed(m, &query, QueryResult::Unreachable);
        self.schedule_maintenance(to.family());
    }

    /// Records that a datagram was received, so that the local system can send if it could not before.
    pub(in crate::node) fn note_arrival(&mut self, m: &mut Memory<'_>, family: Family, now: Instant) {
        let bootstrap = &mut self.family_mut(family).bootstrap;
        let was_cut_off = bootstrap.is_cut_off();
        if !bootstrap.take_unsent() || now - self.heard < OUTAGE {
            return;
        }
        let state = self.family(family);
        // If only a single destination has no route, there is nothing to rejoin.
        if !state.ready || (was_cut_off && state.table.len() < FEW_NODES) {
            self.wake_bootstrap(family, now);
        }
        self.on_publications(m, Occasion::Up);
    }

    pub(in crate::node) fn handle_resume(&mut self, m: &mut Memory<'_>, now: Instant, slept: Duration) {
        self.slept = self.slept.saturating_add(u64::try_from(slept.as_micros()).unwrap_or(u64::MAX));
        self.advance(now);
        self.missed = true;
        Family::ALL.into_iter().for_each(|family| self.resend_queries(m, family, false));
        self.handle_timeout(m, now);
    }

    pub(in crate::node) fn handle_rebind(&mut self, m: &mut Memory<'_>, now: Instant, family: Family) {
        self.advance(now);
        if self.family(family).on {
            self.resend_queries(m, family, true);
            self.forget_tokens(m, family);
            // The new external address is unknown.
            self.family_mut(family).external = External::default();
            self.rejoin_and_renew(m, family);
        }
    }

    /// Drops what depends on an external address that is no longer the node's.
    pub(in crate::node) fn drop_address(&mut self, m: &mut Memory<'_>, family: Family) {
        self.family_mut(family).own = None;
        self.resend_queries(m, family, true);
        self.forget_tokens(m, family);
        self.on_publications(m, Occasion::Moved);
    }

    pub(in crate::node) fn set_enabled(
        &mut self,
        m: &mut Memory<'_>,
        now: Instant,
        family: Family,
        enabled: bool,
    ) {
        let now = self.advance(now);
        if !self.config.has(family) || self.family(family).on == enabled {
            return;
        }
        if !enabled {
            return self.disable(m, family);
        }
        if self.families_on().is_err() {
            // While disabled, the node received nothing even if the link worked.
            (self.heard, self.missed) = (now, false);
        }
        self.family_mut(family).on = true;
        self.rejoin_and_renew(m, family);
    }

    pub(in crate::node) fn set_read_only(&mut self, m: &Memory<'_>, now: Instant, read_only: bool) {
        self.advance(now);
        self.config.read_only = read_only || m.replies.is_empty();
    }

    /// Ends everything in progress in a family, with the results so far.
    fn disable(&mut self, m: &mut Memory<'_>, family: Family) {
        let state = self.family_mut(family);
        (state.on, state.ready) = (false, false);
        while let Some(ix) = self.inflight.find_open(m.queries, family) {
            let query = m.queries[ix];
            if query.purpose.is_from_user() {
                self.inflight.finish(m.queries, ix, QueryResult::Disabled);
            } else {
                self.inflight.cancel(m.queries, ix);
            }
            if query.is_sent() {
                self.stats.interrupted += 1;
                self.excuse(m, &query);
            }
        }
        self.forget_tokens(m, family);
        for ix in (0..m.traversals.len()).map(Ix::new) {
            let traversal = m.traversals[ix];
            if !traversal.phase.is_under_way() || traversal.family() != family {
                continue;
            }
            if !traversal.publication.is_none() && self.families_on().is_err() {
                self.postpone_republish(m, traversal.lead);
            } else {
                self.end(m, ix);
            }
        }
        self.schedule_republishes(m);
    }

    /// Sends the queries in flight in a family again.
    fn resend_queries(&mut self, m: &mut Memory<'_>, family: Family, has_new_address: bool) {
        while let Some(ix) = self.inflight.find_open(m.queries, family) {
            let query = m.queries[ix];
            if !query.is_sent() {
                break;
            }
            if query.purpose.is_from_user() {
                self.inflight.send_again(m.queries, ix);
            } else {
                self.inflight.cancel(m.queries, ix);
            }
            self.stats.interrupted += 1;
            self.excuse(m, &query);
        }
        for ix in (0..m.traversals.len()).map(Ix::new) {
            if m.traversals[ix].phase.is_under_way() && m.traversals[ix].family() == family {
                let TraversalMut { state: traversal, candidates, .. } = self.traversals.traversal(m, ix);
                traversal.interrupt(candidates, has_new_address, self.now);
                self.reschedule(m, ix);
            }
        }
    }

    /// Drops the write tokens of a family, which were issued to an address that may have changed (BEP 5).
    fn forget_tokens(&self, m: &mut Memory<'_>, family: Family) {
        for ix in (0..m.traversals.len()).map(Ix::new) {
            if m.traversals[ix].phase != Phase::Free && m.traversals[ix].family() == family {
                let TraversalMut { state: traversal, candidates, .. } = self.traversals.traversal(m, ix);
                traversal.forget_tokens(candidates);
            }
        }
    }

    /// Rejoins a DHT whose nodes may no longer know this one, at least not at its address.
    fn rejoin_and_renew(&mut self, m: &mut Memory<'_>, family: Family) {
        let state = self.family_mut(family);
        (state.ready, state.own) = (false, None);
        self.on_publications(m, Occasion::Moved);
        self.rejoin(family);
    }
}
