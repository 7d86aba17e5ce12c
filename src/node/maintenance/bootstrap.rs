//! Bootstrap and maintenance by the clock: deadlines, token rotation, expiry, bucket refresh.

use core::time::Duration;

use crate::base::addr::{Endpoint, Family};
use crate::base::id::{K, NodeId};
use crate::base::pool::Ix;
use crate::base::time::Instant;
use crate::lookup::{Goal, Traversal};
use crate::node::api::config::BootstrapKind;
use crate::node::api::error::{ContactError, Limit, StartError};
use crate::node::api::event::{LookupId, PackedEvent, PackedKind};
use crate::node::core::{Core, FamilyState, SLOT_RETRY};
use crate::node::maintenance::timers::Timer;
#[cfg(feature = "items")]
use crate::node::server::memory::ItemsMut;
use crate::node::server::memory::PeersMut;
use crate::node::storage::sealed::Memory;
use crate::rpc::inflight::{Expiry, Purpose, Query, QueryResult};
use crate::rpc::reputation::Blame;
use crate::table::{Contact, Entry, InsertKind};
use crate::wire::MethodKind;

/// The number of nodes in the table below which the node bootstraps again (mldht: 30), and below which
/// queries in the other family ask for nodes of this one (BEP 32).
pub(in crate::node) const FEW_NODES: usize = 30;

/// The first pause after a bootstrap that found no node; it doubles each time.
const FIRST_RETRY: Duration = Duration::from_secs(5);

/// The longest pause while no node is known, and the pause while few are.
const RETRY: Duration = Duration::from_secs(4 * 60);

/// The pause while the local system does not send, after `UNSENT_TRIES` tries at the first one.
const UNSENT_RETRY: Duration = Duration::from_secs(15);
const UNSENT_TRIES: u8 = 12;

/// The time without any message, responses included, after which the local link counts as down.
const SILENCE: Duration = Duration::from_secs(60);

/// The pause between pings while the local link seems down.
const PROBE: Duration = Duration::from_secs(10);

/// The number of stalls after which the abandonment of a query counts as a failure of the node.
const PATIENCE: u32 = 4;

/// The progress of a family in joining its DHT.
#[derive(Clone, Copy, Debug, Default)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub(in crate::node) struct Bootstrap {
    /// Whether a bootstrap or refresh lookup is in progress.
    busy: bool,
    /// Bootstraps in a row that found no node.
    failures: u8,
    /// The next bucket to fill after a bootstrap, from the node's own neighbourhood outwards.
    fill: Option<u8>,
    /// The earliest time of the next bootstrap.
    next: Instant,
    /// Whether the id has changed since the last bootstrap, so that no neighbours are known yet.
    is_id_new: bool,
    /// Whether a reason to rejoin has come up since the bootstrap in progress began.
    again: bool,
    /// Whether the local system has failed to send a query since the last datagram came in.
    is_unsent: bool,
    /// Whether the local system failed to send a query of the bootstrap in progress, or of the last one.
    was_unsent: bool,
    /// Whether a query could not be sent in any of its tries, and nothing has come in meanwhile: there is no
    /// network.
    is_cut_off: bool,
    /// The most nodes that were in the table when a maintenance lookup ended: with no more, none were found
    /// that could lead to others, and the buckets are not filled again.
    filled: u16,
}

impl Bootstrap {
    /// Records that the local system did not send a query. Returns whether nothing has come in since that
    /// last happened.
    pub(in crate::node) const fn note_unsent(&mut self) -> bool {
        self.was_unsent = true;
        core::mem::replace(&mut self.is_unsent, true)
    }

    /// Records that a query could not be sent in any of its tries. A bootstrap soon checks whether there is a
    /// network.
    pub(in crate::node) fn note_cut_off(&mut self, now: Instant) {
        if !core::mem::replace(&mut self.is_cut_off, true) {
            (self.failures, self.next) = (0, now + FIRST_RETRY);
        }
    }

    /// Records that something came in. Returns whether a query was not sent before.
    pub(in crate::node) const fn take_unsent(&mut self) -> bool {
        self.is_cut_off = false;
        core::mem::replace(&mut self.is_unsent, false)
    }

    /// Whether sending an unsent query again is pointless.
    pub(in crate::node) const fn is_cut_off(&self) -> bool {
        self.is_cut_off
    }

    /// Records the start of a maintenance lookup.
    const fn begin(&mut self) {
        (self.busy, self.again, self.was_unsent) = (true, false, false);
    }

    /// Returns the pause after a bootstrap that found no node.
    fn pause(&mut self) -> Duration {
        let failures = self.failures;
        self.failures = failures.saturating_add(1);
        match (self.was_unsent, failures) {
            // A try costs nobody else anything.
            (true, ..UNSENT_TRIES) => FIRST_RETRY,
            (true, _) => UNSENT_RETRY,
            (false, _) => (FIRST_RETRY * (1 << failures.min(6))).min(RETRY),
        }
    }
}

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
        self.make_room(m);
        if self.timers.fired(Timer::Rotation, now) {
            self.tokens.rotate(now, &mut self.rng);
            self.timers.set(Timer::Rotation, self.tokens.next_rotation());
            self.renew_own(m);
        }
        if self.timers.fired(Timer::Sweep, now) {
            if self.peers.next_sweep().is_some_and(|at| at <= now) {
                let PeersMut { head, mut slots, .. } = self.peers_mut(m);
                head.sweep(&mut slots, now);
            }
            #[cfg(feature = "items")]
            {
                let ItemsMut { head, mut slots, .. } = self.items_mut(m);
                head.expire(&mut slots, now);
            }
            self.schedule_sweep(m);
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
            self.start_republishes(m);
        }
    }

    /// Aborts the stalled query closest to its timeout when all query slots are in use, so that dead nodes do
    /// not block lookups.
    pub(in crate::node) fn make_room(&mut self, m: &mut Memory<'_>) {
        if self.traversals.has_ready()
            && self.inflight.is_full(m.queries)
            && let Some(query) = self.inflight.give_up(m.queries)
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
        // As one node of the table among others it would be passed on.
        if self.held_at(m, endpoint).is_some() {
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
        // Before it starts: with no candidate it ends at once.
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

    /// Records that a message came in, which proves that the local link works. After a long silence the node
    /// rejoins the DHT.
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
            self.resume_republishes(m);
        }
    }

    /// Whether the local link seems to be down.
    pub(in crate::node) fn seems_down(&self) -> bool {
        self.missed && self.now - self.heard > SILENCE
    }

    /// Returns when maintenance may send its next ping.
    pub(in crate::node) fn next_probe(&self) -> Instant {
        if self.seems_down() {
            self.checked + PROBE
        } else if self.families.iter().any(|family| family.bootstrap.is_unsent) {
            self.checked + FIRST_RETRY
        } else {
            self.now
        }
    }

    /// Offers a node that answered to the routing table.
    pub(in crate::node) fn offer_node(&mut self, m: &mut Memory<'_>, contact: Contact, rtt: Duration) {
        let family = contact.endpoint.family();
        let is_router = self.is_router(m, contact.endpoint);
        let now = self.now;
        let mut table = self.family_mut(family).table_mut(m);
        if is_router && !table.head.is_empty() && !table.contains(contact) {
            return table.ping_lost(contact, now);
        }
        let was_empty = table.head.is_empty();
        let outcome = table.on_reply(contact, rtt, now);
        self.notify_outcome(m, contact, outcome);
        let state = self.family_mut(family);
        if outcome.kind == InsertKind::Added && is_router {
            state.holds_router = true;
        } else if outcome.kind == InsertKind::Added && core::mem::take(&mut state.holds_router) {
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

    /// Handles a query that went unanswered.
    ///
    /// The failure counts against the node only if any message was received since the query, as otherwise the
    /// local link may be down, and not if the node itself answered something that was sent no earlier.
    pub(in crate::node) fn on_failed(&mut self, m: &mut Memory<'_>, query: &Query, outcome: QueryResult) {
        let (family, now) = (query.to.family(), self.now);
        if self.heard <= query.sent {
            self.stats.excused += 1;
            self.missed = true;
            self.excuse(m, query);
        } else {
            let is_conclusive = self.is_conclusive(query, outcome);
            let contact = query.id.map(|id| Contact { id, endpoint: query.to });
            let blame = self.reputations.failed(m.reputations, query.to, query.sent, is_conclusive);
            let mut table = self.family_mut(family).table_mut(m);
            match (blame, contact) {
                (Blame::Failed, Some(contact)) if table.is_alive_yet_failing(contact, now) => {
                    table.ping_lost(contact, now);
                }
                (Blame::Failed, _) => {
                    table.restored_failed(query.to);
                    self.fail_in_table(m, query);
                }
                (Blame::Doubt, Some(contact)) if !query.is_repeat => table.doubt(contact, now),
                (Blame::Nothing, Some(contact)) if query.purpose == Purpose::Check => {
                    table.ping_lost(contact, now);
                }
                (Blame::Doubt | Blame::Nothing, _) => {}
            }
        }
        self.on_search_failed(m, query, outcome);
        self.schedule_maintenance(family);
    }

    /// Whether the end of a query proves that no node is there: a node need not know every method, a lookup
    /// queries a node more than once, and a query may be abandoned before most responses would have come.
    fn is_conclusive(&self, query: &Query, outcome: QueryResult) -> bool {
        let is_known_to_all =
            matches!(query.method, MethodKind::Ping | MethodKind::FindNode | MethodKind::GetPeers);
        let is_early = outcome == QueryResult::TimedOut
            && query.is_given_up(self.now)
            && self.now - query.sent < self.rtt.stall() * PATIENCE;
        !query.is_repeat && (is_known_to_all || outcome == QueryResult::Unreachable) && !is_early
    }

    /// Handles a query that went unanswered, without counting it against the node.
    pub(in crate::node) fn excuse(&mut self, m: &mut Memory<'_>, query: &Query) {
        let (family, now) = (query.to.family(), self.now);
        let Some(contact) = query.id.map(|id| Contact { id, endpoint: query.to }) else { return };
        let mut table = self.family_mut(family).table_mut(m);
        // A node that never answered gets no excuse: it would be pinged for ever.
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
                let was_owed = state.bootstrap.is_id_new;
                if traversal.target == state.id {
                    state.bootstrap.is_id_new = false;
                } else if state.bootstrap.is_id_new {
                    state.bootstrap.next = now;
                }
                let is_news = !state.ready || was_owed || state.has_grown();
                if is_news {
                    state.bootstrap.fill = depth.checked_sub(1).map(|deepest| deepest as u8);
                }
                if !core::mem::replace(&mut state.ready, true) {
                    let kind = if family == Family::V4 { PackedKind::ReadyV4 } else { PackedKind::ReadyV6 };
                    self.notify(m, PackedEvent { kind, ..PackedEvent::EMPTY });
                    self.resume_republishes(m);
                }
            }
        }
        let state = self.family_mut(family);
        state.bootstrap.filled = state.bootstrap.filled.max(state.table.len() as u16);
        self.schedule_maintenance(family);
    }

    pub(in crate::node) fn schedule_sweep(&mut self, m: &Memory<'_>) {
        let peers = self.peers.next_sweep();
        #[cfg(feature = "items")]
        let items = self.items.next_expiry(m.items, self.now);
        #[cfg(not(feature = "items"))]
        let (items, _) = (None, m);
        if let Some(at) = [peers, items].into_iter().flatten().min() {
            self.timers.set(Timer::Sweep, at);
        }
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
                // The user's lookups take all slots; they fill the table as well.
                self.family_mut(family).bootstrap.busy = false;
                return self.timers.set(maintenance_timer(family), now + SLOT_RETRY);
            }
        }
        self.schedule_maintenance(family);
    }

    /// Returns the next task: a bootstrap, the filling of a bucket after it, or the refresh of a quiet
    /// bucket.
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
        if self.held_at(m, endpoint).is_some() {
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
            let Some(contact) = self.held_at(m, endpoint) else { continue };
            if let Some(removal) = self.family_mut(family).table_mut(m).remove(contact, now) {
                self.notify_removal(m, removal);
            }
        }
    }

    /// Returns the node that is in the table under an address.
    fn held_at(&self, m: &Memory<'_>, endpoint: Endpoint) -> Option<Contact> {
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

    /// Returns when to look up the node's neighbours: at first, however many nodes were restored; while few
    /// are known; after the id has changed; and while the local system does not send.
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
