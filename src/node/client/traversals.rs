//! The traversals of all lookups: their slots, and how they begin, continue and end.
//!
//! A lookup is one traversal in each family that takes part. The one whose index is the lookup's id leads; it
//! is reported when both have ended. Every traversal is in one list at a time, by its phase.

use core::time::Duration;

use crate::base::addr::{Endpoint, Family};
use crate::base::id::{K, NodeId};
use crate::base::pool::{Ix, List, Pool, Slot};
use crate::base::time::Instant;
#[cfg(feature = "items")]
use crate::lookup::Check;
use crate::lookup::density::{Aim, NetworkSize, chance};
use crate::lookup::republisher::Publication;
use crate::lookup::{
    Candidate, Cause, Goal, LookupOptions, Phase, Refused, SearchKind, Step, TOKEN_LIFE, Token, Traversal,
};
use crate::node::api::event::{LookupId, NodeInfo, PublicationId};
use crate::node::api::report::{LookupReport, Refusals};
use crate::node::core::Core;
use crate::node::maintenance::bootstrap::FEW_NODES;
use crate::node::maintenance::timers::Timer;
use crate::node::server::memory::shared_peers;
use crate::node::storage::sealed::{Memory, View};
use crate::rpc::inflight::{Purpose, TraversalRef};
use crate::table::{Contact, Filter};
use crate::wire::{ErrorCode, Want};

/// The number of table entries that a lookup starts from.
const SEEDS: usize = 2 * K;

/// A target that shares all but this many of the bits of the node's neighbourhood with its id lies within it.
const NEIGHBOUR_BITS: u32 = 3;

/// The time that a lookup started before any node is known waits for one.
const PARKED: Duration = Duration::from_secs(10);

/// The shared state of all lookups.
#[derive(Clone, Copy, Debug, Default)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub(in crate::node) struct Traversals {
    pool: Pool,
    ready: List,
    /// Traversals whose next destination was queried much lately, by when it may be queried again.
    held: List,
    waiting: List,
    /// Traversals that have ended while the other family has not, or whose completion is not polled.
    ended: List,
    /// The leading traversals of lookups whose completion waits to be polled.
    completed: List,
    /// Reported traversals, the longest-completed first.
    remembered: List,
    pub(in crate::node) generation: u32,
    /// Peers found and not polled, over all traversals.
    pub(in crate::node) unreported: usize,
}

/// A traversal and its memory.
pub(in crate::node) struct TraversalMut<'a> {
    pub(in crate::node) state: &'a mut Traversal,
    pub(in crate::node) candidates: &'a mut [Candidate],
    pub(in crate::node) tokens: &'a mut [Token],
    pub(in crate::node) found: &'a mut [Endpoint],
}

impl Traversals {
    pub(in crate::node) const fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Whether a traversal is ready, or one is held that may be ready by now.
    pub(in crate::node) const fn may_have_ready(&self) -> bool {
        !self.ready.is_empty() || !self.held.is_empty()
    }

    pub(in crate::node) const fn ready_count(&self) -> usize {
        self.ready.len()
    }

    pub(in crate::node) const fn has_events(&self) -> bool {
        self.unreported > 0 || !self.completed.is_empty()
    }

    /// Returns when the first of the held traversals is ready again.
    pub(in crate::node) fn held_until(&self, traversals: &[Slot<Traversal>]) -> Option<Instant> {
        self.held.front().map(|ix| traversals[ix].held_until)
    }

    /// Holds a traversal back from those that are ready, until the given time.
    pub(in crate::node) fn hold(&mut self, m: &mut Memory<'_>, ix: Ix, until: Instant) {
        m.traversals[ix].held_until = until;
        self.set_phase(m, ix, Phase::Held);
    }

    /// Makes the held traversals ready whose time has come.
    pub(in crate::node) fn release(&mut self, m: &mut Memory<'_>, now: Instant) {
        while let Some(ix) = self.held.front().filter(|&ix| m.traversals[ix].held_until <= now) {
            self.set_phase(m, ix, Phase::Ready);
        }
    }

    /// Returns the ready traversal whose turn is longest ago, and moves it to the back.
    pub(in crate::node) fn next_ready(&mut self, traversals: &mut [Slot<Traversal>]) -> Option<Ix> {
        let ix = self.ready.pop_front(traversals)?;
        self.ready.push_back(traversals, ix);
        Some(ix)
    }

    pub(in crate::node) fn traversal<'a>(&self, m: &'a mut Memory<'_>, ix: Ix) -> TraversalMut<'a> {
        let (at, count) = (ix.position(), m.traversals.len());
        TraversalMut {
            candidates: part(m.candidates, at, count),
            tokens: part(m.tokens, at, count),
            found: part(m.found, at, count),
            state: &mut m.traversals[ix],
        }
    }

    /// Moves a traversal to the list of its new phase.
    pub(in crate::node) fn set_phase(&mut self, m: &mut Memory<'_>, ix: Ix, phase: Phase) {
        if let Some(list) = self.list(m.traversals[ix].phase) {
            list.remove(m.traversals, ix);
        }
        m.traversals[ix].phase = phase;
        match self.list(phase) {
            Some(list) if phase == Phase::Held => {
                let until = m.traversals[ix].held_until;
                let mut after = list.back();
                while let Some(at) = after.filter(|&at| m.traversals[at].held_until > until) {
                    after = list.prev(m.traversals, at);
                }
                list.insert_after(m.traversals, after.unwrap_or(Ix::NONE), ix);
            }
            Some(list) => list.push_back(m.traversals, ix),
            None => self.pool.free(m.traversals, ix),
        }
    }

    /// Returns the longest-completed lookup that still holds an item.
    #[cfg(feature = "items")]
    pub(in crate::node) fn oldest_with_item(&self, traversals: &[Slot<Traversal>]) -> Option<Ix> {
        self.remembered.iter(traversals).find(|&ix| traversals[ix].goal.item().is_some())
    }

    /// Whether every slot is free or in the list of its phase, and every unreported peer is counted.
    #[cfg(any(feature = "checkpoint", feature = "sim"))]
    pub(in crate::node) fn is_consistent(&self, traversals: &[Slot<Traversal>]) -> bool {
        let lists = [
            (self.ready, Phase::Ready),
            (self.held, Phase::Held),
            (self.waiting, Phase::Waiting),
            (self.ended, Phase::Ended),
            (self.completed, Phase::Completed),
            (self.remembered, Phase::Remembered),
        ];
        let is_whole = |(list, phase): (List, Phase)| {
            list.is_consistent(traversals) && list.iter(traversals).all(|ix| traversals[ix].phase == phase)
        };
        let is_sendable = |traversal: &Traversal| match traversal.phase {
            Phase::Ready | Phase::Held => {
                let position = traversal.planned.step().and_then(Step::position);
                position.is_some_and(|at| at < traversal.len())
            }
            Phase::Free | Phase::Waiting | Phase::Ended | Phase::Completed | Phase::Remembered => true,
        };
        let news = traversals.iter().map(|slot| &slot.value).filter(|traversal| traversal.phase.has_events());
        self.pool.is_consistent(traversals)
            && lists.into_iter().all(is_whole)
            && traversals.iter().all(|slot| is_sendable(&slot.value))
            && lists.into_iter().map(|(list, _)| list.len()).sum::<usize>() == self.pool.used()
            && news.map(|traversal| usize::from(traversal.found - traversal.reported)).sum::<usize>()
                == self.unreported
    }

    const fn list(&mut self, phase: Phase) -> Option<&mut List> {
        match phase {
            Phase::Free => None,
            Phase::Ready => Some(&mut self.ready),
            Phase::Held => Some(&mut self.held),
            Phase::Waiting => Some(&mut self.waiting),
            Phase::Ended => Some(&mut self.ended),
            Phase::Completed => Some(&mut self.completed),
            Phase::Remembered => Some(&mut self.remembered),
        }
    }
}

/// The life cycle of a traversal.
impl Core {
    /// Evaluates what a traversal does next, after each change: makes it ready, lets it wait, or ends it.
    pub(in crate::node) fn reschedule(&mut self, m: &mut Memory<'_>, ix: Ix) {
        if !m.traversals[ix].phase.is_under_way() {
            return self.place_late(m, ix);
        }
        let TraversalMut { state: traversal, candidates, .. } = self.traversals.traversal(m, ix);
        let step = traversal.next(candidates);
        traversal.planned = step.into();
        let resumed_in_vain = traversal.resumed && traversal.acknowledged == 0;
        let asked_saved_in_vain = traversal.holds_back && traversal.answered == 0;
        match step {
            Step::Query(_) | Step::Announce(_) | Step::Probe(..) => {
                self.traversals.set_phase(m, ix, Phase::Ready);
            }
            Step::Wait => self.traversals.set_phase(m, ix, Phase::Waiting),
            Step::Finish if self.awaits_confirmation(m, ix) => {
                self.traversals.set_phase(m, ix, Phase::Waiting);
            }
            Step::Finish if resumed_in_vain => self.restart(m, ix),
            Step::Finish if asked_saved_in_vain => self.ask_bootstraps_after_all(m, ix),
            Step::Finish if self.is_parked(m, ix) => {
                self.traversals.set_phase(m, ix, Phase::Waiting);
                self.timers.set_earlier(Timer::Parked, m.traversals[ix].started + PARKED);
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
    /// An announce that continues from earlier tokens starts over instead, which harms nobody.
    fn awaits_confirmation(&self, m: &Memory<'_>, ix: Ix) -> bool {
        let traversal = &m.traversals[ix];
        let begins_anew = traversal.resumed && traversal.goal.announce().is_some();
        let reference = TraversalRef { ix, generation: traversal.generation };
        traversal.acknowledged * 2 < traversal.announced
            && !begins_anew
            && self.inflight.awaits(m.queries, Purpose::Announce(reference))
    }

    /// Queues what an announce still has to send after it was reported, and leaves half of all queries to
    /// lookups that somebody waits for. What was sent twice follows later: a node that ignores it does not
    /// get it three times more in the same second.
    fn place_late(&mut self, m: &mut Memory<'_>, ix: Ix) {
        while m.traversals[ix].lingers()
            && self.family(m.traversals[ix].family()).on
            && !self.inflight.is_half_full(m.queries)
        {
            let TraversalMut { state: traversal, candidates, .. } = self.traversals.traversal(m, ix);
            let step = traversal.next(candidates);
            let pause = step.position().map_or(Duration::ZERO, |at| candidates[at].pause());
            let Some(query) = self.enqueue_step(m, ix, step) else { return };
            if !pause.is_zero() {
                self.inflight.put_off(m.queries, query, self.now + pause);
            }
        }
    }

    /// Wakes lookups after nodes have become known: those without any node begin, and those that nobody has
    /// answered so far query the new nodes too.
    pub(in crate::node) fn unpark(&mut self, m: &mut Memory<'_>) {
        let options = self.config.lookup;
        for ix in (0..m.traversals.len()).map(Ix::new) {
            let traversal = &m.traversals[ix];
            let is_in_need = traversal.phase.is_under_way() && traversal.answered == 0;
            if !is_in_need || traversal.alone || traversal.resumed || traversal.goal.is_refresh() {
                continue;
            }
            if traversal.len() == 0 {
                self.seed(m, ix, &options);
            } else {
                self.seed_known(m, ix);
                if !m.traversals[ix].holds_back && self.family(m.traversals[ix].family()).table.len() < K {
                    self.seed_bootstraps(m, ix);
                }
            }
            self.reschedule(m, ix);
        }
    }

    /// Ends lookups that found no node to query for too long.
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
        let swarm = Self::swarm_size(m.scrapes, m.traversals, lead);
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
            #[cfg(feature = "items")]
            let is_spared = [Some(lead), sibling]
                .into_iter()
                .flatten()
                .any(|ix| m.traversals[ix].items.check == Check::Spared);
            #[cfg(not(feature = "items"))]
            let is_spared = false;
            self.on_republish_done(m, publication.ix, report.acknowledged, is_spared);
        }
        Some((LookupId { ix: lead, generation: traversal.generation }, report))
    }

    pub(in crate::node) fn lookup_report(&self, view: View<'_>, lookup: LookupId) -> Option<LookupReport> {
        let lead = Self::current(view.traversals, lookup)?;
        let traversal = &view.traversals[lead];
        let report = report(traversal, traversal.sibling.some().map(|ix| &view.traversals[ix]), self.now);
        let swarm = Self::swarm_size(view.scrapes, view.traversals, lead);
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

    /// Returns the families whose nodes a lookup asks for.
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

    /// Returns a traversal that responses are still of use to.
    pub(in crate::node) fn active(&self, m: &Memory<'_>, reference: TraversalRef) -> Option<Ix> {
        let traversal = &m.traversals[reference.ix];
        (traversal.generation == reference.generation && traversal.is_active()).then_some(reference.ix)
    }

    /// Returns how many traversals [`alloc_traversal`](Self::alloc_traversal) can provide if `recalled` of
    /// the remembered ones are continued.
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
        (free + refreshes + self.preemptible_traversals(m)).saturating_sub(self.reserved_traversals(m))
    }

    /// Takes a free slot, or that of the longest-completed lookup unless it is one of `taken`. For the user,
    /// the slot of a refresh or a republish, which can wait, is taken as well.
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
                    None if self.preempt_republish(m) => self.traversals.pool.alloc(m.traversals)?,
                    None => return None,
                }
            }
        };
        m.traversals[ix].phase = Phase::Free;
        Some(ix)
    }

    /// Gives a traversal its first candidates: nodes of the table, and while those are few, restored nodes or
    /// else bootstrap hosts (L-06); and the stored peers as its first results.
    pub(in crate::node) fn seed(&mut self, m: &mut Memory<'_>, ix: Ix, options: &LookupOptions) {
        let (family, target, goal) =
            (m.traversals[ix].family(), m.traversals[ix].target, m.traversals[ix].goal);
        if let Some(only) = options.only {
            let TraversalMut { state: traversal, candidates, .. } = self.traversals.traversal(m, ix);
            traversal.add(candidates, None, only.into(), false);
            return;
        }
        self.seed_known(m, ix);
        let table = &self.family(family).table;
        // If few are known, all may be liars: a bootstrap queries the hosts too until there are more.
        let enough = if goal.is_join() { FEW_NODES } else { K };
        if table.len() < enough && table.restored() == 0 {
            self.seed_bootstraps(m, ix);
        } else if table.len() < K {
            let restored = self.family(family).table_ref(m).closest_restored::<SEEDS>(&target);
            let TraversalMut { state: traversal, candidates, .. } = self.traversals.traversal(m, ix);
            traversal.holds_back = true;
            for Contact { id, endpoint } in restored {
                let id = Some(id).filter(|id| *id != NodeId::ZERO);
                traversal.add(candidates, id, endpoint, false);
            }
        }
        if goal.traits().search == SearchKind::Peers {
            self.add_own_peers(m, ix);
        }
    }

    /// Adds the closest nodes of the table; if few are live, bad ones follow as the last resort.
    fn seed_known(&self, m: &mut Memory<'_>, ix: Ix) {
        let (family, target) = (m.traversals[ix].family(), m.traversals[ix].target);
        let closest = |m: &Memory<'_>, filter| -> heapless::Vec<(Contact, Duration), SEEDS> {
            let table = self.family(family).table_ref(m);
            let closest = table.closest::<SEEDS>(&target, filter, self.now);
            closest.into_iter().map(|entry| (entry.contact(), entry.rtt())).collect()
        };
        let live = closest(m, Filter::Live);
        let bad = if live.len() < K { closest(m, Filter::Bad) } else { heapless::Vec::new() };
        let TraversalMut { state: traversal, candidates, .. } = self.traversals.traversal(m, ix);
        for (contact, rtt) in live {
            traversal.add_known(candidates, contact.id, contact.endpoint, rtt);
        }
        for (contact, _) in bad {
            traversal.add(candidates, Some(contact.id), contact.endpoint, true);
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

    /// Adds the bootstrap hosts after none of the restored nodes that a lookup started from has answered.
    fn ask_bootstraps_after_all(&mut self, m: &mut Memory<'_>, ix: Ix) {
        m.traversals[ix].holds_back = false;
        self.seed_known(m, ix);
        self.seed_bootstraps(m, ix);
        self.reschedule(m, ix);
    }

    /// Adds the peers stored at this node, which are found at once.
    fn add_own_peers(&mut self, m: &mut Memory<'_>, ix: Ix) {
        let (family, target) = (m.traversals[ix].family(), m.traversals[ix].target);
        let mut peers = heapless::Vec::<Endpoint, 64>::new();
        let stored = self.peers.peers_of(shared_peers(m), &target.into(), self.now).map(|peer| peer.endpoint);
        peers.extend(stored.filter(|peer| peer.family() == family).take(64));
        for peer in peers {
            self.accept_peer(m, ix, peer);
        }
    }

    /// Returns a remembered traversal whose tokens are valid for an announce or a put (T-08).
    pub(in crate::node) fn with_tokens(
        &self,
        m: &mut Memory<'_>,
        family: Family,
        goal: Goal,
        target: NodeId,
    ) -> Option<Ix> {
        let fits = |traversal: &Traversal| {
            traversal.target == target
                && traversal.family() == family
                && !traversal.alone
                && traversal.serves(goal)
                && self.now - traversal.asked < TOKEN_LIFE
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

    /// Continues a remembered traversal, for `publication` if the lookup republishes one. Returns whether its
    /// tokens are valid; for a mutable item its nodes are queried again for the versions they hold. The peers
    /// it has found count against `peer_room`.
    pub(in crate::node) fn resume(
        &mut self,
        m: &mut Memory<'_>,
        ix: Ix,
        goal: Goal,
        options: &LookupOptions,
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
        let _ = publication;
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
            && !traversal.alone
            && !traversal.goal.is_maintenance()
            && self.now < traversal.started + PARKED
            && empty(traversal)
            && traversal.sibling.some().is_none_or(|sibling| empty(&m.traversals[sibling]))
    }

    pub(in crate::node) fn end(&mut self, m: &mut Memory<'_>, ix: Ix) {
        self.learn_density(m, ix);
        m.traversals[ix].ended = self.now;
        self.traversals.set_phase(m, ix, Phase::Ended);
        let traversal = m.traversals[ix];
        if traversal.goal.is_maintenance() {
            self.on_maintenance_done(m, &traversal);
        }
        let sibling = traversal.sibling.some();
        if let Some(sibling) = sibling.filter(|&sibling| m.traversals[sibling].phase.is_under_way()) {
            // Its decision may have waited for this traversal.
            #[cfg(feature = "items")]
            if m.traversals[sibling].items.is_thorough() {
                self.reschedule(m, sibling);
            }
            let _ = sibling;
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
    /// Learns the size of the network from how close an ended traversal came to its target.
    fn learn_density(&mut self, m: &mut Memory<'_>, ix: Ix) {
        let TraversalMut { state: traversal, candidates, .. } = self.traversals.traversal(m, ix);
        let Some(reach) = traversal.reach(candidates) else { return };
        let (family, goal) = (traversal.family(), traversal.goal);
        let target = traversal.target;
        let state = self.family_mut(family);
        let aim = match goal.traits().cause {
            Cause::Join => Aim::Neighbours,
            Cause::Refresh => {
                // Within this many buckets of the node's own neighbourhood the same nodes may be counted
                // again.
                let is_near = target.common_prefix_len(&state.id) + NEIGHBOUR_BITS
                    > state.table.relevant_depth() as u32;
                if is_near { Aim::Neighbours } else { Aim::Elsewhere }
            }
            Cause::User => Aim::Users,
        };
        if aim != Aim::Users && state.has_grown_much() {
            state.density.doubt();
        }
        state.density.learn(reach, aim);
    }

    /// Extends a traversal that would end through the region around its target, if its results look odd.
    fn widen(&self, m: &mut Memory<'_>, ix: Ix) -> bool {
        let TraversalMut { state: traversal, candidates, .. } = self.traversals.traversal(m, ix);
        let margin = self.family(traversal.family()).density.margin();
        traversal.widen(candidates, margin)
    }

    fn network_sizes(&self) -> [Option<NetworkSize>; 2] {
        Family::ALL.map(|family| self.family(family).density.size())
    }
}

/// Returns the `at`-th of `count` equal parts.
fn part<T>(all: &mut [T], at: usize, count: usize) -> &mut [T] {
    let len = all.len() / count;
    &mut all[at * len..(at + 1) * len]
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
        crowding: traversals().filter_map(Traversal::expected_within).map(chance).min(),
        ..LookupReport::unstarted(lead.goal.traits().kind, lead.target)
    }
}
