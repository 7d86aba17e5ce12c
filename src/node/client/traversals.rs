//! The traversals of all lookups: how they begin, continue and end, and what they report.
//!
//! A lookup is one traversal in each family that takes part. The one whose index is the lookup's id leads; it
//! is reported when both have ended.

use core::time::Duration;

use crate::base::addr::{Endpoint, Family};
use crate::base::id::{K, NodeId};
use crate::base::pool::{Ix, Slot};
use crate::base::time::Instant;
#[cfg(feature = "items")]
use crate::lookup::Check;
use crate::lookup::density::{Aim, NetworkSize, crowding};
use crate::lookup::republisher::Publication;
use crate::lookup::{Cause, Goal, LookupOptions, Phase, Refused, SearchKind, Step, TOKEN_LIFE, Traversal};
use crate::node::api::event::NodeInfo;
use crate::node::api::ids::{LookupId, PublicationId};
use crate::node::api::report::{LookupReport, Refusals};
use crate::node::client::phases::TraversalMut;
use crate::node::core::{Core, Occasion};
use crate::node::maintenance::joining::FEW_NODES;
use crate::node::maintenance::timers::Timer;
use crate::node::storage::sealed::{Memory, View};
use crate::rpc::inflight::{Purpose, TraversalRef};
use crate::table::{Contact, Filter};
use crate::wire::{ErrorCode, Want};

/// The number of table entries that a lookup starts from.
const SEEDS: usize = 2 * K;

/// Number of buckets, counted from the deepest, whose targets count as in the node's own neighbourhood.
const NEIGHBOUR_BITS: u32 = 3;

/// How long a lookup waits for a first node if none was known when it started.
const PARK_TIME: Duration = Duration::from_secs(10);

/// The life cycle of a traversal.
impl Core {
    /// Evaluates the next step of a traversal after a change: makes it ready, lets it wait, or ends it.
    pub(in crate::node) fn reschedule(&mut self, m: &mut Memory<'_>, ix: Ix) {
        if !m.traversals[ix].phase.is_under_way() {
            return self.place_late(m, ix);
        }
        let TraversalMut { state: traversal, candidates, .. } = self.traversals.traversal(m, ix);
        let step = traversal.next(candidates);
        traversal.planned = step.into();
        let tokens_were_refused = traversal.resumed && traversal.acknowledged == 0;
        let restored_are_silent = traversal.skips_bootstraps && traversal.answered == 0;
        match step {
            Step::Query(_) | Step::Announce(_) | Step::Probe(..) => {
                self.traversals.set_phase(m, ix, Phase::Ready);
            }
            Step::Wait => self.traversals.set_phase(m, ix, Phase::Waiting),
            Step::Finish if self.awaits_confirmation(m, ix) => {
                self.traversals.set_phase(m, ix, Phase::Waiting);
            }
            Step::Finish if tokens_were_refused => self.restart(m, ix),
            Step::Finish if restored_are_silent => self.query_bootstraps(m, ix),
            Step::Finish if self.is_parked(m, ix) => {
                self.traversals.set_phase(m, ix, Phase::Waiting);
                self.timers.set_earlier(Timer::Parked, m.traversals[ix].started + PARK_TIME);
            }
            Step::Finish if self.widen(m, ix) => self.reschedule(m, ix),
            #[cfg(feature = "items")]
            Step::Finish if self.decide_put(m, ix) => {}
            Step::Finish => self.end(m, ix),
        }
    }

    /// Whether a traversal that would end waits for confirmations because few nodes have confirmed so far.
    ///
    /// Nodes may take long to check a signature, and a report that hardly anything was stored would be wrong.
    /// An announce that continues from earlier tokens starts over instead, which harms no other node.
    fn awaits_confirmation(&self, m: &Memory<'_>, ix: Ix) -> bool {
        let traversal = &m.traversals[ix];
        let begins_anew = traversal.resumed && traversal.goal.announce().is_some();
        let reference = TraversalRef { ix, generation: traversal.generation };
        traversal.acknowledged * 2 < traversal.announced
            && !begins_anew
            && self.inflight.awaits(m.queries, Purpose::Announce(reference))
    }

    /// Queues what an announce still has to send after it was reported.
    ///
    /// Half of all query slots are left to lookups that a user waits for. What was sent twice is sent again only
    /// after a pause, so that a silent node does not receive it three more times in the same second.
    fn place_late(&mut self, m: &mut Memory<'_>, ix: Ix) {
        while m.traversals[ix].announces_late()
            && self.family(m.traversals[ix].family()).on
            && !self.inflight.is_half_full(m.queries)
        {
            let TraversalMut { state: traversal, candidates, .. } = self.traversals.traversal(m, ix);
            let step = traversal.next(candidates);
            let pause = step.position().map_or(Duration::ZERO, |at| candidates[at].pause());
            let Some(query) = self.enqueue_step(m, ix, step) else { return };
            if !pause.is_zero() {
                self.inflight.postpone(m.queries, query, self.now + pause);
            }
        }
    }

    /// Continues lookups after nodes have become known.
    ///
    /// Those without any node begin, and those without any response query the new nodes too.
    pub(in crate::node) fn unpark(&mut self, m: &mut Memory<'_>) {
        let options = self.config.lookup;
        for ix in (0..m.traversals.len()).map(Ix::new) {
            let traversal = &m.traversals[ix];
            let needs_nodes = traversal.phase.is_under_way() && traversal.answered == 0;
            if !needs_nodes || traversal.single || traversal.resumed || traversal.goal.is_refresh() {
                continue;
            }
            if traversal.len() == 0 {
                self.seed(m, ix, &options);
            } else {
                self.seed_known(m, ix);
                if !m.traversals[ix].skips_bootstraps
                    && self.family(m.traversals[ix].family()).table.len() < K
                {
                    self.seed_bootstraps(m, ix);
                }
            }
            self.reschedule(m, ix);
        }
    }

    /// Ends lookups that have waited for a first node too long.
    pub(in crate::node) fn end_parked(&mut self, m: &mut Memory<'_>) {
        for at in 0..m.traversals.len() {
            let ix = Ix::new(at);
            if m.traversals[ix].phase == Phase::Waiting {
                self.reschedule(m, ix);
            }
        }
    }

    /// Returns the next peer that a lookup found.
    pub(in crate::node) fn next_found(&mut self, m: &mut Memory<'_>) -> Option<(LookupId, Endpoint)> {
        if self.traversals.unreported == 0 {
            return None;
        }
        let has_news =
            |traversal: &Traversal| traversal.phase.has_events() && traversal.reported < traversal.found;
        let at = m.traversals.iter().position(|slot| has_news(&slot.value))?;
        let TraversalMut { state: traversal, found, .. } = self.traversals.traversal(m, Ix::new(at));
        let peer = found[usize::from(traversal.reported)];
        traversal.reported += 1;
        self.traversals.unreported -= 1;
        Some((LookupId { ix: traversal.lead, generation: traversal.generation }, peer))
    }

    /// Returns the next lookup that has ended; from then on its traversals are only remembered.
    pub(in crate::node) fn next_completed(&mut self, m: &mut Memory<'_>) -> Option<(LookupId, LookupReport)> {
        let lead = self.traversals.completed.front()?;
        let traversal = m.traversals[lead];
        let sibling = traversal.sibling.some();
        let publication = publication_id(m.publications, traversal.publication);
        let swarm = self.swarm_size(m.scrapes, m.traversals, lead);
        let report = LookupReport {
            publication,
            swarm,
            #[cfg(feature = "items")]
            item: Self::item_report(m.traversals, m.own_items, lead),
            network_size: self.network_sizes(),
            ..report(&traversal, sibling.map(|ix| &m.traversals[ix]), self.now)
        };
        Self::end_scrape(m, lead);
        for ix in [Some(lead), sibling].into_iter().flatten() {
            self.traversals.set_phase(m, ix, Phase::Remembered);
            self.place_late(m, ix);
        }
        #[cfg(feature = "items")]
        self.trim_found(m, traversal.goal);
        if let Some(publication) = publication {
            let is_spared =
                [Some(lead), sibling].into_iter().flatten().any(|ix| m.traversals[ix].is_spared());
            let (publication, acknowledged) = (publication.ix, report.acknowledged);
            self.on_publications(m, Occasion::Ended { publication, acknowledged, is_spared });
        }
        Some((LookupId { ix: lead, generation: traversal.generation }, report))
    }

    pub(in crate::node) fn lookup_report(&self, view: View<'_>, lookup: LookupId) -> Option<LookupReport> {
        let lead = Self::current(view.traversals, lookup)?;
        let traversal = &view.traversals[lead];
        let report = report(traversal, traversal.sibling.some().map(|ix| &view.traversals[ix]), self.now);
        let swarm = self.swarm_size(view.scrapes, view.traversals, lead);
        Some(LookupReport {
            publication: publication_id(view.publications, traversal.publication),
            swarm,
            network_size: self.network_sizes(),
            #[cfg(feature = "items")]
            item: Self::item_report(view.traversals, view.own_items, lead),
            ..report
        })
    }

    pub(in crate::node) fn lookup_nodes<'a>(
        &self,
        view: View<'a>,
        lookup: LookupId,
    ) -> impl Iterator<Item = NodeInfo> + use<'a> {
        let lead = view.traversals.get(lookup.ix.position()).map(|slot| &slot.value);
        let lead = lead
            .filter(|traversal| traversal.generation == lookup.generation && traversal.phase != Phase::Free);
        let sibling = lead.and_then(|traversal| traversal.sibling.some());
        let traversals = [lead.map(|_| lookup.ix), sibling].into_iter().flatten();
        traversals.flat_map(move |ix| {
            let candidates = share(view.candidates, ix.position(), view.traversals.len());
            let nodes = view.traversals[ix].closest(candidates);
            nodes.map(|(id, endpoint)| NodeInfo { id, addr: endpoint.into(), rtt: None })
        })
    }

    pub(in crate::node) const fn lookup_count(&self) -> usize {
        self.traversals.ready.len() + self.traversals.held.len() + self.traversals.waiting.len()
    }

    /// Returns the families of which a lookup requests nodes.
    pub(in crate::node) const fn want(&self, traversal: &Traversal) -> Want {
        let sibling = &self.families[1 - traversal.family().index()];
        if sibling.on && sibling.table.len() < FEW_NODES { Want::BOTH } else { Want::NONE }
    }

    /// Returns the traversal that leads a lookup which has not been reported.
    pub(in crate::node) fn current(traversals: &[Slot<Traversal>], lookup: LookupId) -> Option<Ix> {
        let traversal = &traversals.get(lookup.ix.position())?.value;
        let is_current = traversal.generation == lookup.generation
            && traversal.lead == lookup.ix
            && traversal.phase.has_events();
        is_current.then_some(lookup.ix)
    }

    /// Returns a traversal to which responses are still useful.
    pub(in crate::node) fn active(&self, m: &Memory<'_>, reference: TraversalRef) -> Option<Ix> {
        let traversal = &m.traversals[reference.ix];
        (traversal.generation == reference.generation && traversal.is_active()).then_some(reference.ix)
    }

    /// Returns how many traversals [`alloc_traversal`](Self::alloc_traversal) can provide.
    ///
    /// `recalled` of the remembered ones are continued, and therefore not available.
    pub(in crate::node) fn available_traversals(
        &self,
        m: &Memory<'_>,
        goal: Goal,
        publication: Ix,
        recalled: usize,
    ) -> usize {
        let free =
            m.traversals.len() - self.traversals.pool.used() + self.traversals.remembered.len() - recalled;
        if goal.is_refresh() || !publication.is_none() {
            return free;
        }
        let is_refresh =
            |traversal: &Traversal| traversal.goal.is_refresh() && traversal.phase.is_under_way();
        let refreshes = m.traversals.iter().filter(|slot| is_refresh(&slot.value)).count();
        let reserved = self.code.publisher.map_or(0, |publisher| (publisher.reserved)(self, m));
        (free + refreshes + self.preemptible_traversals(m)).saturating_sub(reserved)
    }

    /// Allocates a free slot, or that of the longest-completed lookup unless it is one of `taken`.
    ///
    /// For a user, a refresh or a republish is preempted if necessary.
    pub(in crate::node) fn alloc_traversal(
        &mut self,
        m: &mut Memory<'_>,
        goal: Goal,
        publication: Ix,
        taken: [Option<Ix>; 2],
    ) -> Option<Ix> {
        let ix = self.traversals.pool.alloc(m.traversals).or_else(|| {
            let ix = self.traversals.remembered.iter(m.traversals).find(|&ix| !taken.contains(&Some(ix)))?;
            self.traversals.remembered.remove(m.traversals, ix);
            Some(ix)
        });
        let ix = match ix {
            Some(ix) => ix,
            None if goal.is_refresh() || !publication.is_none() => return None,
            None => {
                let is_refresh =
                    |traversal: &Traversal| traversal.goal.is_refresh() && traversal.phase.is_under_way();
                match m.traversals.iter().position(|slot| is_refresh(&slot.value)).map(Ix::new) {
                    Some(ix) => {
                        let traversal = m.traversals[ix];
                        self.on_maintenance_done(m, &traversal);
                        self.traversals.list(m.traversals[ix].phase)?.remove(m.traversals, ix);
                        ix
                    }
                    None if self.code.publisher.is_some_and(|publisher| (publisher.preempt)(self, m)) => {
                        self.traversals.pool.alloc(m.traversals)?
                    }
                    None => return None,
                }
            }
        };
        m.traversals[ix].phase = Phase::Free;
        Some(ix)
    }

    /// Adds the first candidates of a traversal, and the stored peers as its first results.
    ///
    /// The candidates are nodes of the table and, while those are few, restored nodes or else bootstrap hosts (L-06).
    pub(in crate::node) fn seed(&mut self, m: &mut Memory<'_>, ix: Ix, options: &LookupOptions) {
        let (family, goal) = (m.traversals[ix].family(), m.traversals[ix].goal);
        if let Some(only) = options.only {
            let TraversalMut { state: traversal, candidates, .. } = self.traversals.traversal(m, ix);
            traversal.add(candidates, None, only.into(), false);
            return;
        }
        self.seed_known(m, ix);
        let table = &self.family(family).table;
        // If few are known, all may be malicious: a bootstrap queries the hosts too until there are more.
        let enough = if goal.is_join() { FEW_NODES } else { K };
        if table.len() < enough && table.restored() == 0 {
            self.seed_bootstraps(m, ix);
        } else if table.len() < K {
            self.seed_restored(m, ix);
        }
        if goal.traits().search == SearchKind::Peers {
            self.add_own_peers(m, ix);
        }
    }

    /// Adds the closest nodes of the table; if few are live, bad ones follow as the last resort.
    fn seed_known(&self, m: &mut Memory<'_>, ix: Ix) {
        if self.seed_closest(m, ix, Filter::Live) < K {
            self.seed_closest(m, ix, Filter::Bad);
        }
    }

    /// Adds the closest nodes of the table that pass a filter, and returns their number. Out of line, so that
    /// its stack is used once.
    #[inline(never)]
    fn seed_closest(&self, m: &mut Memory<'_>, ix: Ix, filter: Filter) -> usize {
        let (family, target) = (m.traversals[ix].family(), m.traversals[ix].target);
        let mut closest = heapless::Vec::<(Contact, Duration), SEEDS>::new();
        let entries = self.family(family).table_ref(m).closest::<SEEDS>(&target, filter, self.now);
        closest.extend(entries.iter().map(|entry| (entry.contact(), entry.rtt())));
        drop(entries);
        let TraversalMut { state: traversal, candidates, .. } = self.traversals.traversal(m, ix);
        for (contact, rtt) in &closest {
            if filter == Filter::Bad {
                traversal.add(candidates, Some(contact.id), contact.endpoint, true);
            } else {
                traversal.add_known(candidates, contact.id, contact.endpoint, *rtt);
            }
        }
        closest.len()
    }

    /// Adds the closest restored nodes.
    #[inline(never)]
    fn seed_restored(&self, m: &mut Memory<'_>, ix: Ix) {
        let (family, target) = (m.traversals[ix].family(), m.traversals[ix].target);
        let restored = self.family(family).table_ref(m).closest_restored::<SEEDS>(&target);
        let TraversalMut { state: traversal, candidates, .. } = self.traversals.traversal(m, ix);
        traversal.skips_bootstraps = true;
        for &Contact { id, endpoint } in &restored {
            let id = Some(id).filter(|id| *id != NodeId::ZERO);
            traversal.add(candidates, id, endpoint, false);
        }
    }

    fn seed_bootstraps(&self, m: &mut Memory<'_>, ix: Ix) {
        for at in 0..usize::from(self.bootstraps) {
            let endpoint = m.bootstraps[at];
            let TraversalMut { state: traversal, candidates, .. } = self.traversals.traversal(m, ix);
            if endpoint.family() == traversal.family() {
                traversal.add(candidates, None, endpoint, false);
            }
        }
    }

    /// Adds the bootstrap hosts to a lookup after none of the restored nodes has responded.
    fn query_bootstraps(&mut self, m: &mut Memory<'_>, ix: Ix) {
        m.traversals[ix].skips_bootstraps = false;
        self.seed_known(m, ix);
        self.seed_bootstraps(m, ix);
        self.reschedule(m, ix);
    }

    /// Returns a remembered traversal whose tokens are valid for an announce or a put (T-08).
    pub(in crate::node) fn find_resumable(
        &self,
        m: &mut Memory<'_>,
        family: Family,
        goal: Goal,
        target: NodeId,
    ) -> Option<Ix> {
        let fits = |traversal: &Traversal| {
            traversal.target == target
                && traversal.family() == family
                && !traversal.single
                && traversal.is_reusable_for(goal)
                && self.now - traversal.tokens_requested < TOKEN_LIFE
        };
        let mut next = self.traversals.remembered.back();
        while let Some(ix) = next {
            if fits(&m.traversals[ix]) {
                let TraversalMut { state: traversal, candidates, .. } = self.traversals.traversal(m, ix);
                if traversal.has_tokens(candidates) {
                    return Some(ix);
                }
            }
            next = self.traversals.remembered.prev(m.traversals, ix);
        }
        None
    }

    /// Continues a remembered traversal, and returns whether its tokens are used.
    ///
    /// For a mutable item, its nodes are queried again instead, for the versions they hold. `publication` is the one
    /// that the lookup republishes, if any. The peers found before are taken off `peer_room`.
    pub(in crate::node) fn resume(
        &mut self,
        m: &mut Memory<'_>,
        ix: Ix,
        goal: Goal,
        options: &LookupOptions,
        #[cfg_attr(not(feature = "items"), expect(unused_variables, reason = "only items are checked"))]
        publication: Ix,
        peer_room: &mut u16,
    ) -> bool {
        let now = self.now;
        #[cfg(feature = "items")]
        if Self::check_of(m, goal, publication) != Check::None {
            self.recall_item(m, ix, goal);
            let TraversalMut { state: traversal, candidates, .. } = self.traversals.traversal(m, ix);
            traversal.renew(candidates, goal, options, now);
            return false;
        }
        let TraversalMut { state: traversal, candidates, .. } = self.traversals.traversal(m, ix);
        traversal.resume(candidates, goal, options, now);
        traversal.has_more |= traversal.found > *peer_room;
        traversal.found = traversal.found.min(*peer_room);
        *peer_room -= traversal.found;
        self.traversals.unreported += usize::from(traversal.found);
        true
    }

    /// Starts a lookup over after its remembered tokens were refused.
    fn restart(&mut self, m: &mut Memory<'_>, ix: Ix) {
        let traversal = self.traversals.traversal(m, ix).state;
        traversal.restart(self.now);
        let options = self.config.lookup;
        self.seed(m, ix, &options);
        self.reschedule(m, ix);
    }

    /// Whether a lookup has no candidate in any family, and still waits for one.
    fn is_parked(&self, m: &Memory<'_>, ix: Ix) -> bool {
        let traversal = &m.traversals[ix];
        let empty = |traversal: &Traversal| traversal.len() == 0;
        traversal.phase.is_under_way()
            && !traversal.single
            && !traversal.goal.is_maintenance()
            && self.now < traversal.started + PARK_TIME
            && empty(traversal)
            && traversal.sibling.some().is_none_or(|sibling| empty(&m.traversals[sibling]))
    }

    pub(in crate::node) fn end(&mut self, m: &mut Memory<'_>, ix: Ix) {
        self.update_density(m, ix);
        m.traversals[ix].ended = self.now;
        self.traversals.set_phase(m, ix, Phase::Ended);
        let traversal = m.traversals[ix];
        if traversal.goal.is_maintenance() {
            self.on_maintenance_done(m, &traversal);
        }
        let sibling = traversal.sibling.some().filter(|&sibling| m.traversals[sibling].phase.is_under_way());
        #[cfg(feature = "items")]
        if let Some(sibling) = sibling
            && m.traversals[sibling].items.is_thorough()
        {
            // The decision about its put may have waited for this traversal.
            self.reschedule(m, sibling);
        }
        if sibling.is_some() {
            return;
        }
        if traversal.goal.is_refresh() {
            self.traversals.set_phase(m, ix, Phase::Remembered);
        } else {
            self.traversals.set_phase(m, traversal.lead, Phase::Completed);
        }
    }
}

/// The size of the network.
impl Core {
    /// Updates the estimated size of the network with the distances that an ended traversal found.
    fn update_density(&mut self, m: &mut Memory<'_>, ix: Ix) {
        let TraversalMut { state: traversal, candidates, .. } = self.traversals.traversal(m, ix);
        let Some(reach) = traversal.reach(candidates) else { return };
        let (family, goal) = (traversal.family(), traversal.goal);
        let target = traversal.target;
        let state = self.family_mut(family);
        let aim = match goal.traits().cause {
            Cause::Join => Aim::Neighbours,
            Cause::Refresh => {
                // There, successive lookups find the same nodes.
                let is_near = target.common_prefix_len(&state.id) + NEIGHBOUR_BITS
                    > state.table.relevant_depth() as u32;
                if is_near { Aim::Neighbours } else { Aim::Random }
            }
            Cause::User => Aim::User,
        };
        if aim != Aim::User && state.has_grown_much() {
            state.density.discount();
        }
        state.density.update(reach, aim);
    }

    /// Lets a traversal that would end search the region around its target if its result is implausible.
    fn widen(&self, m: &mut Memory<'_>, ix: Ix) -> bool {
        let TraversalMut { state: traversal, candidates, .. } = self.traversals.traversal(m, ix);
        let margin = self.family(traversal.family()).density.margin();
        traversal.widen(candidates, margin)
    }

    fn network_sizes(&self) -> [Option<NetworkSize>; 2] {
        Family::ALL.map(|family| self.family(family).density.size())
    }
}

fn share<T>(all: &[T], at: usize, count: usize) -> &[T] {
    let len = all.len() / count;
    &all[at * len..(at + 1) * len]
}

fn publication_id(slots: &[Slot<Publication>], publication: Ix) -> Option<PublicationId> {
    publication.some().map(|ix| PublicationId { ix, generation: slots[ix].generation })
}

/// Returns the results of a lookup so far, both families together.
fn report(lead: &Traversal, sibling: Option<&Traversal>, now: Instant) -> LookupReport {
    let traversals = || core::iter::once(lead).chain(sibling);
    let sum = |field: fn(&Traversal) -> u16| traversals().map(|traversal| u32::from(field(traversal))).sum();
    let refused =
        |field: fn(&Refused) -> u16| traversals().map(|traversal| u32::from(field(&traversal.refused))).sum();
    let mut codes = traversals().map(|traversal| traversal.refused.code).filter(|code| *code != 0);
    let end = |traversal: &Traversal| if traversal.phase.is_under_way() { now } else { traversal.ended };
    LookupReport {
        peers: sum(|traversal| traversal.found),
        more_peers: traversals().any(|traversal| traversal.has_more),
        queried: sum(|traversal| traversal.queried),
        answered: sum(|traversal| traversal.answered),
        failed: sum(|traversal| traversal.failed),
        sent: sum(|traversal| traversal.announced),
        acknowledged: sum(|traversal| traversal.acknowledged),
        refused: Refusals {
            total: refused(|refused| refused.count),
            cas_mismatch: refused(|refused| refused.cas),
            seq_too_low: refused(|refused| refused.seq),
            last: codes.next_back().map(ErrorCode),
        },
        duration: traversals().map(end).max().unwrap_or(now) - lead.started,
        crowding: traversals().filter_map(Traversal::expected_within).map(crowding).min(),
        ..LookupReport::unstarted(lead.goal.traits().kind, lead.target)
    }
}
