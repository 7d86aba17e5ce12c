//! Bootstrap and maintenance by the clock: deadlines, token rotation, expiry, bucket refresh.

use core::time::Duration;

use crate::base::addr::{Endpoint, Family};
use crate::base::id::{K, NodeId};
use crate::base::pool::Ix;
use crate::base::time::Instant;
use crate::lookup::{Goal, Traversal};
use crate::node::api::config::BootstrapKind;
use crate::node::api::error::{ContactError, Limit, StartError};
use crate::node::api::event::{PackedEvent, PackedKind};
use crate::node::api::ids::LookupId;
use crate::node::core::{Core, FamilyState, Occasion, SLOT_RETRY};
use crate::node::maintenance::joining::{Bootstrap, FEW_NODES, FIRST_RETRY, RETRY};
use crate::node::maintenance::timers::Timer;
use crate::node::storage::sealed::Memory;
use crate::rpc::inflight::{Expiry, Purpose, Query, QueryResult};
use crate::rpc::reputation::Blame;
use crate::table::{Contact, Entry, InsertKind};
use crate::wire::MethodKind;

/// The time without any message, responses included, after which the local link counts as down.
const SILENCE: Duration = Duration::from_secs(60);

/// The pause between pings while the local link seems down.
const PING_PAUSE: Duration = Duration::from_secs(10);

/// Number of stall times from which on an aborted query counts as a failure of the node.
const EARLY_STALLS: u32 = 4;

impl Core {
    pub(in crate::node) fn handle_timeout(&mut self, m: &mut Memory<'_>, now: Instant) {
        let now = self.advance(now);
        while let Some(expiry) = self.inflight.expire(m.queries, now) {
            match expiry {
                Expiry::Stalled(query) => self.on_stalled(m, &query),
                Expiry::TimedOut(query) => {
                    self.stats.timed_out += 1;
                    self.on_failed(m, &query, QueryResult::TimedOut);
                }
            }
        }
        self.abort_stalled_query(m);
        if self.timers.fired(Timer::Rotation, now) {
            self.tokens.rotate(now, &mut self.rng);
            self.timers.set(Timer::Rotation, self.tokens.next_rotation());
            self.refresh_own(m);
        }
        if self.timers.fired(Timer::Sweep, now) {
            self.sweep(m);
        }
        if self.timers.fired(Timer::Parked, now) {
            self.end_parked(m);
        }
        for (family, timer) in Family::ALL.into_iter().zip([Timer::MaintenanceV4, Timer::MaintenanceV6]) {
            // A task that ends at once leaves time for the next one.
            while self.timers.fired(timer, now) {
                self.run_maintenance(m, family);
            }
        }
        if self.timers.fired(Timer::Republish, now) {
            self.on_publications(m, Occasion::Due);
        }
    }

    /// Aborts the stalled query closest to its timeout when all query slots are in use.
    ///
    /// Otherwise, dead nodes would block lookups.
    pub(in crate::node) fn abort_stalled_query(&mut self, m: &mut Memory<'_>) {
        if self.traversals.has_ready()
            && self.inflight.is_full(m.queries)
            && let Some(query) = self.inflight.abort_stalled(m.queries)
        {
            self.stats.timed_out += 1;
            self.on_failed(m, &query, QueryResult::TimedOut);
        }
    }

    pub(in crate::node) fn handle_unreachable(&mut self, m: &mut Memory<'_>, now: Instant, to: Endpoint) {
        self.advance(now);
        while let Some(ix) = self.inflight.find_sent_to(m.queries, to) {
            let query = self.inflight.finish(m.queries, ix, QueryResult::Unreachable);
            self.stats.unreachable += 1;
            self.on_failed(m, &query, QueryResult::Unreachable);
        }
    }

    pub(in crate::node) fn add_node(
        &mut self,
        m: &mut Memory<'_>,
        now: Instant,
        to: Endpoint,
    ) -> Result<(), ContactError> {
        self.start_ping(m, now, to, Purpose::Check).map(|_| ())
    }

    pub(in crate::node) fn add_bootstrap(
        &mut self,
        m: &mut Memory<'_>,
        now: Instant,
        endpoint: Endpoint,
        kind: BootstrapKind,
    ) -> Result<(), ContactError> {
        let now = self.advance(now);
        if self.check_contact(endpoint) == Err(ContactError::AddressRefused) {
            return Err(ContactError::AddressRefused);
        }
        let family = endpoint.family();
        let known = self.bootstraps(m).iter().position(|other| *other == endpoint);
        let at = known.unwrap_or_else(|| self.bootstraps.into());
        if known.is_none() {
            let full = Limit::Bootstraps.shortage(m.bootstraps.len(), 1);
            *m.bootstraps.get_mut(at).ok_or(full)? = endpoint;
            self.bootstraps += 1;
            self.family_mut(family).bootstraps += 1;
        }
        if kind == BootstrapKind::Router {
            self.mark_router(m, at);
        }
        if known.is_none() {
            self.wake_bootstrap(family, now);
            self.unpark(m);
        }
        Ok(())
    }

    pub(in crate::node) fn remove_bootstrap(&mut self, m: &mut Memory<'_>, endpoint: Endpoint) -> bool {
        let known = &m.bootstraps[..usize::from(self.bootstraps)];
        let Some(at) = known.iter().position(|known| *known == endpoint) else { return false };
        // In the table it would then be an ordinary node, and listed in responses.
        if self.contact_at(m, endpoint).is_some() {
            return false;
        }
        m.bootstraps[at..usize::from(self.bootstraps)].rotate_left(1);
        self.bootstraps -= 1;
        self.routers -= u16::from(at < usize::from(self.routers));
        self.family_mut(endpoint.family()).bootstraps -= 1;
        true
    }

    pub(in crate::node) fn bootstrap(
        &mut self,
        m: &mut Memory<'_>,
        now: Instant,
    ) -> Result<LookupId, StartError> {
        self.advance(now);
        let families = self.families_on()?;
        let targets = Family::ALL.map(|family| self.family(family).id);
        let options = self.config.lookup;
        let was_busy = Family::ALL.map(|family| self.family(family).bootstrap.busy);
        // Before the start, because a lookup without candidates ends at once.
        for family in Family::ALL.into_iter().filter(|family| families[family.index()]) {
            self.family_mut(family).bootstrap.begin();
        }
        let lookup = self.start(m, Goal::Bootstrap, targets, families, &options, Ix::NONE);
        if lookup.is_err() {
            for family in Family::ALL {
                self.family_mut(family).bootstrap.busy = was_busy[family.index()];
            }
        }
        lookup
    }

    pub(in crate::node) fn clear_nodes(&mut self, m: &mut Memory<'_>, now: Instant) {
        let now = self.advance(now);
        for family in Family::ALL {
            let state = self.family_mut(family);
            (state.ready, state.holds_router) = (false, false);
            state.table_mut(m).clear(now);
            self.rejoin(family);
        }
    }

    /// Returns the bootstrap hosts, routers first.
    pub(in crate::node) fn bootstraps<'a>(&self, m: &'a Memory<'_>) -> &'a [Endpoint] {
        &m.bootstraps[..usize::from(self.bootstraps)]
    }

    /// Whether a host is a router.
    pub(in crate::node) fn is_router(&self, m: &Memory<'_>, endpoint: Endpoint) -> bool {
        m.bootstraps[..usize::from(self.routers)].contains(&endpoint)
    }

    /// Records that a message was received, which proves that the local link works.
    ///
    /// After a long silence, the node rejoins the DHT.
    pub(in crate::node) fn note_traffic(&mut self, m: &mut Memory<'_>, now: Instant) {
        let was_down = core::mem::take(&mut self.missed) && now - self.heard > SILENCE;
        self.heard = now;
        if was_down {
            for family in Family::ALL {
                if self.family(family).table.len() < FEW_NODES {
                    self.family_mut(family).ready = false;
                    self.rejoin(family);
                }
            }
            self.on_publications(m, Occasion::Up);
        }
    }

    /// Whether the local link seems to be down.
    pub(in crate::node) fn seems_down(&self) -> bool {
        self.missed && self.now - self.heard > SILENCE
    }

    /// Returns when maintenance may send its next ping.
    pub(in crate::node) fn next_ping_at(&self) -> Instant {
        if self.seems_down() {
            self.checked + PING_PAUSE
        } else if self.families.iter().any(|family| family.bootstrap.is_unsent) {
            self.checked + FIRST_RETRY
        } else {
            self.now
        }
    }

    /// Offers a node that responded to the routing table.
    pub(in crate::node) fn offer_node(&mut self, m: &mut Memory<'_>, contact: Contact, rtt: Duration) {
        let family = contact.endpoint.family();
        let is_router = self.is_router(m, contact.endpoint);
        let now = self.now;
        let mut table = self.family_mut(family).table_mut(m);
        if is_router && !table.head.is_empty() && !table.contains(contact) {
            return table.ping_lost(contact, now);
        }
        let was_empty = table.head.is_empty();
        let result = table.on_response(contact, rtt, now);
        self.notify_insert(m, contact, result);
        let state = self.family_mut(family);
        if result.kind == InsertKind::Added && is_router {
            state.holds_router = true;
        } else if result.kind == InsertKind::Added && core::mem::take(&mut state.holds_router) {
            self.drop_routers(m, family);
        }
        if was_empty && !self.family(family).table.is_empty() {
            if !self.family(family).bootstrap.busy {
                self.wake_bootstrap(family, now);
            }
            self.unpark(m);
        }
        self.schedule_maintenance(family);
    }

    /// Removes a node of the table that has become read-only (BEP 43).
    pub(in crate::node) fn drop_node(&mut self, m: &mut Memory<'_>, contact: Contact) {
        let (family, now) = (contact.endpoint.family(), self.now);
        if let Some(removal) = self.family_mut(family).table_mut(m).remove(contact, now) {
            self.notify_removal(m, removal);
        }
    }

    /// Handles a query that was not answered.
    ///
    /// The failure counts against the node only if any message was received since the query, because the local link
    /// may be down otherwise, and only if the node has not responded to anything sent at that time or later.
    pub(in crate::node) fn on_failed(&mut self, m: &mut Memory<'_>, query: &Query, outcome: QueryResult) {
        let (family, now) = (query.to.family(), self.now);
        if self.heard <= query.sent {
            self.stats.excused += 1;
            self.missed = true;
            self.excuse(m, query);
        } else {
            let is_conclusive = self.is_conclusive(query, outcome);
            let contact = query.id.map(|id| Contact { id, endpoint: query.to });
            let blame = self.reputations.on_failure(m.reputations, query.to, query.sent, is_conclusive);
            let mut table = self.family_mut(family).table_mut(m);
            match (blame, contact) {
                (Blame::Failed, Some(contact)) if table.is_alive_yet_failing(contact, now) => {
                    table.ping_lost(contact, now);
                }
                (Blame::Failed, _) => {
                    table.restored_failed(query.to);
                    self.fail_in_table(m, query);
                }
                (Blame::Suspect, Some(contact)) if !query.is_repeat => table.suspect(contact, now),
                (Blame::Nothing, Some(contact)) if query.purpose == Purpose::Check => {
                    table.ping_lost(contact, now);
                }
                (Blame::Suspect | Blame::Nothing, _) => {}
            }
        }
        self.on_step_failed(m, query, outcome);
        self.schedule_maintenance(family);
    }

    /// Whether the end of a query proves that no node is there.
    ///
    /// It does not if a node need not support the method, if the query repeats another one, or if it was aborted
    /// before most responses would have arrived.
    fn is_conclusive(&self, query: &Query, outcome: QueryResult) -> bool {
        let is_known_to_all =
            matches!(query.method, MethodKind::Ping | MethodKind::FindNode | MethodKind::GetPeers);
        let is_early = outcome == QueryResult::TimedOut
            && query.is_aborted(self.now)
            && self.now - query.sent < self.rtt.stall() * EARLY_STALLS;
        !query.is_repeat && (is_known_to_all || outcome == QueryResult::Unreachable) && !is_early
    }

    /// Handles a query that was not answered, without counting it against the node.
    pub(in crate::node) fn excuse(&mut self, m: &mut Memory<'_>, query: &Query) {
        let (family, now) = (query.to.family(), self.now);
        let Some(contact) = query.id.map(|id| Contact { id, endpoint: query.to }) else { return };
        let mut table = self.family_mut(family).table_mut(m);
        // For a node that never responded the failure counts, because it would be pinged forever otherwise.
        if table.contains(contact) {
            table.ping_lost(contact, now);
        } else {
            self.fail_in_table(m, query);
        }
    }

    fn fail_in_table(&mut self, m: &mut Memory<'_>, query: &Query) {
        let (family, now) = (query.to.family(), self.now);
        let Some(contact) = query.id.map(|id| Contact { id, endpoint: query.to }) else { return };
        if let Some(removal) = self.family_mut(family).table_mut(m).on_failure(contact, now) {
            self.notify_removal(m, removal);
        }
    }

    /// Records the end of a maintenance lookup.
    pub(in crate::node) fn on_maintenance_done(&mut self, m: &mut Memory<'_>, traversal: &Traversal) {
        let (family, now) = (traversal.family(), self.now);
        let depth = self.family(family).table.relevant_depth();
        let state = self.family_mut(family);
        state.bootstrap.busy = false;
        if traversal.goal.is_join() {
            let again = core::mem::take(&mut state.bootstrap.again);
            if again && (traversal.answered == 0 || state.table.len() < K) {
                (state.bootstrap.failures, state.bootstrap.next) = (0, now);
            } else if traversal.answered == 0 {
                state.bootstrap.next = now + state.bootstrap.pause();
            } else {
                (state.bootstrap.failures, state.bootstrap.next) = (0, now + RETRY);
            }
            if traversal.answered > 0 {
                let was_id_new = state.bootstrap.is_id_new;
                if traversal.target == state.id {
                    state.bootstrap.is_id_new = false;
                } else if state.bootstrap.is_id_new {
                    state.bootstrap.next = now;
                }
                let leads_further = !state.ready || was_id_new || state.has_grown();
                if leads_further {
                    state.bootstrap.fill = depth.checked_sub(1).map(|deepest| deepest as u8);
                }
                if !core::mem::replace(&mut state.ready, true) {
                    let kind = if family == Family::V4 { PackedKind::ReadyV4 } else { PackedKind::ReadyV6 };
                    self.notify(m, PackedEvent { kind, ..PackedEvent::EMPTY });
                    self.on_publications(m, Occasion::Up);
                }
            }
        }
        let state = self.family_mut(family);
        state.bootstrap.filled = state.bootstrap.filled.max(state.table.len() as u16);
        self.schedule_maintenance(family);
    }

    pub(in crate::node) fn wake_bootstrap(&mut self, family: Family, now: Instant) {
        let bootstrap = &mut self.family_mut(family).bootstrap;
        (bootstrap.failures, bootstrap.next) = (0, now);
        self.schedule_maintenance(family);
    }

    /// Rejoins the DHT, now or after the bootstrap in progress, unless that one suffices.
    pub(in crate::node) fn rejoin(&mut self, family: Family) {
        let bootstrap = &mut self.family_mut(family).bootstrap;
        bootstrap.again = bootstrap.busy;
        self.wake_bootstrap(family, self.now);
    }

    /// Schedules a bootstrap to find the neighbours of a new id.
    pub(in crate::node) fn schedule_bootstrap(&mut self, family: Family) {
        let bootstrap = &mut self.family_mut(family).bootstrap;
        (bootstrap.is_id_new, bootstrap.fill) = (true, None);
        self.wake_bootstrap(family, self.now);
    }

    /// Starts what is due in one family, one lookup at a time.
    fn run_maintenance(&mut self, m: &mut Memory<'_>, family: Family) {
        let now = self.now;
        if !self.family(family).is_idle() {
            return;
        }
        if let Some((goal, target)) = self.next_task(m, family, now) {
            let only = Family::ALL.map(|other| other == family);
            let options = self.config.lookup;
            self.family_mut(family).bootstrap.begin();
            if self.start(m, goal, [target; 2], only, &options, Ix::NONE).is_err() {
                // Lookups of the user use all slots, and fill the table as well.
                self.family_mut(family).bootstrap.busy = false;
                return self.timers.set(maintenance_timer(family), now + SLOT_RETRY);
            }
        }
        self.schedule_maintenance(family);
    }

    /// Returns the next task: a bootstrap, a lookup to fill a bucket after it, or the refresh of a stale bucket.
    fn next_task(&mut self, m: &mut Memory<'_>, family: Family, now: Instant) -> Option<(Goal, NodeId)> {
        let state = &mut self.families[family.index()];
        if state.bootstrap_due().is_some_and(|due| due <= now) {
            return Some((Goal::Bootstrap, state.id));
        }
        while let Some(bucket) = state.bootstrap.fill {
            state.bootstrap.fill = bucket.checked_sub(1);
            let is_full = state
                .table_ref(m)
                .buckets()
                .nth(bucket.into())
                .is_none_or(|(len, capacity)| len >= K.min(capacity));
            if !is_full {
                return Some((Goal::Refresh, state.id.sibling(bucket.into(), &self.rng.id())));
            }
        }
        state.table_mut(m).next_refresh(&mut self.rng, now).map(|target| (Goal::Refresh, target))
    }

    pub(in crate::node) fn schedule_maintenance(&mut self, family: Family) {
        let state = self.family(family);
        if !state.is_idle() {
            return;
        }
        let now = self.now;
        let fill = state.bootstrap.fill.map(|_| now);
        let due = [state.bootstrap_due(), fill, state.table.refresh_due()].into_iter().flatten().min();
        if let Some(due) = due {
            self.timers.set(maintenance_timer(family), due.max(now));
        }
    }

    /// Marks the bootstrap host at this index as a router from now on.
    fn mark_router(&mut self, m: &mut Memory<'_>, at: usize) {
        let routers = usize::from(self.routers);
        if at < routers {
            return;
        }
        m.bootstraps.swap(at, routers);
        self.routers += 1;
        let endpoint = m.bootstraps[routers];
        let family = endpoint.family();
        if self.contact_at(m, endpoint).is_some() {
            self.family_mut(family).holds_router = self.family(family).table.len() == 1;
            if !self.family(family).holds_router {
                self.drop_routers(m, family);
            }
        }
    }

    /// Removes routers from the table once another node is known, so that they are not overloaded.
    fn drop_routers(&mut self, m: &mut Memory<'_>, family: Family) {
        let now = self.now;
        for at in 0..usize::from(self.routers) {
            let endpoint = m.bootstraps[at];
            let Some(contact) = self.contact_at(m, endpoint) else { continue };
            if let Some(removal) = self.family_mut(family).table_mut(m).remove(contact, now) {
                self.notify_removal(m, removal);
            }
        }
    }

    /// Returns the entry of the table with this endpoint.
    fn contact_at(&self, m: &Memory<'_>, endpoint: Endpoint) -> Option<Contact> {
        let family = endpoint.family();
        let mut entries = self.family(family).table_ref(m).iter();
        entries.find(|entry| entry.endpoint() == endpoint).map(Entry::contact)
    }
}

impl FamilyState {
    /// Whether there is a node to query, and no task in progress.
    const fn is_idle(&self) -> bool {
        self.on
            && !self.bootstrap.busy
            && (self.bootstraps > 0 || !self.table.is_empty() || self.table.restored() > 0)
    }

    /// Returns when the table may have a ping due.
    pub(in crate::node) fn table_due(&self) -> impl Iterator<Item = Instant> + use<> {
        [self.table.ping_due(), self.table.restored_due()].into_iter().flatten()
    }

    /// Whether more nodes are known than at the end of any maintenance lookup before.
    const fn has_grown(&self) -> bool {
        self.table.len() > self.bootstrap.filled as usize
    }

    /// Whether a quarter more nodes are known than at the end of any maintenance lookup before.
    pub(in crate::node) const fn has_grown_much(&self) -> bool {
        self.table.len() * 4 > self.bootstrap.filled as usize * 5
    }

    /// Returns when to look up the node's neighbours.
    ///
    /// This is done at first, however many nodes were restored, while few are known, after the id has changed, and
    /// while the local system does not send.
    fn bootstrap_due(&self) -> Option<Instant> {
        let Bootstrap { is_id_new, is_cut_off, .. } = self.bootstrap;
        let is_wanted = !self.ready || is_id_new || is_cut_off || self.table.len() < FEW_NODES;
        is_wanted.then_some(self.bootstrap.next)
    }
}

const fn maintenance_timer(family: Family) -> Timer {
    match family {
        Family::V4 => Timer::MaintenanceV4,
        Family::V6 => Timer::MaintenanceV6,
    }
}
