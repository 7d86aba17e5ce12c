//! The walks of all lookups: where they are kept, how they begin, go on and end.
//!
//! A lookup is one walk in each family that takes part. The walk whose index is the lookup's id
//! leads; it is reported when both have ended. Every walk is in one list at a time, by its phase.

use core::time::Duration;

use crate::base::addr::{Endpoint, Family};
use crate::base::id::{K, NodeId};
use crate::base::pool::{Ix, List, Pool, Slot};
use crate::base::time::Instant;
#[cfg(feature = "items")]
use crate::lookup::Check;
use crate::lookup::density::{Aim, NetworkSize, chance};
use crate::lookup::republisher::Kept;
use crate::lookup::{Candidate, Goal, LookupOptions, Phase, Refused, Step, TOKEN_LIFE, Token, Walk};
use crate::node::api::event::{KeptId, LookupId, LookupKind, LookupReport, NodeInfo, Refusals};
use crate::node::maintenance::bootstrap::FEW_NODES;
use crate::node::maintenance::timers::Timer;
use crate::node::server::query::peer_slots;
use crate::node::storage::sealed::{Memory, View};
use crate::node::{Core, table_nodes};
use crate::rpc::inflight::{Purpose, WalkRef};
use crate::table::{Contact, Filter};
use crate::wire::{ErrorCode, Want};

/// A lookup starts from this many nodes of the table.
const SEEDS: usize = 2 * K;

/// A target that shares more than all but so many bits of our neighbourhood with our id lies within it.
const NEIGHBOUR_BITS: u32 = 3;

/// A lookup that begins before any node is known waits this long for one.
const PARKED: Duration = Duration::from_secs(10);

/// The head of all lookups.
#[derive(Clone, Copy, Debug, Default)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub(in crate::node) struct Searches {
    pool: Pool,
    ready: List,
    /// Those whose next destination was asked much lately, by when it may be asked again.
    held: List,
    waiting: List,
    /// Ended, but the other family has not, or the completion is not polled.
    ended: List,
    /// The leading walks of lookups whose completion waits to be polled.
    completed: List,
    /// Reported; the longest ago first.
    remembered: List,
    pub(in crate::node) generation: u32,
    /// Peers found and not polled, over all walks.
    pub(in crate::node) unreported: usize,
}

/// The memory of one walk.
pub(in crate::node) struct WalkMemory<'a> {
    pub(in crate::node) candidates: &'a mut [Candidate],
    pub(in crate::node) tokens: &'a mut [Token],
    pub(in crate::node) found: &'a mut [Endpoint],
}

impl Searches {
    pub(in crate::node) const fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Whether a walk is ready, or one is held that may be by now.
    pub(in crate::node) const fn may_have_ready(&self) -> bool {
        !self.ready.is_empty() || !self.held.is_empty()
    }

    pub(in crate::node) const fn ready_count(&self) -> usize {
        self.ready.len()
    }

    pub(in crate::node) const fn has_events(&self) -> bool {
        self.unreported > 0 || !self.completed.is_empty()
    }

    /// When the first of the walks that are held is ready again.
    pub(in crate::node) fn held_until(&self, walks: &[Slot<Walk>]) -> Option<Instant> {
        self.held.front().map(|ix| walks[ix].held_until)
    }

    /// Keeps a walk until then from those that are ready.
    pub(in crate::node) fn hold(&mut self, m: &mut Memory<'_>, ix: Ix, until: Instant) {
        m.walks[ix].held_until = until;
        self.set_phase(m, ix, Phase::Held);
    }

    /// Makes those ready whose time has come.
    pub(in crate::node) fn release(&mut self, m: &mut Memory<'_>, now: Instant) {
        while let Some(ix) = self.held.front().filter(|&ix| m.walks[ix].held_until <= now) {
            self.set_phase(m, ix, Phase::Ready);
        }
    }

    /// The walk that was asked longest ago, which goes to the back.
    pub(in crate::node) fn next_ready(&mut self, walks: &mut [Slot<Walk>]) -> Option<Ix> {
        let ix = self.ready.pop_front(walks)?;
        self.ready.push_back(walks, ix);
        Some(ix)
    }

    pub(in crate::node) fn walk<'a>(&self, m: &'a mut Memory<'_>, ix: Ix) -> (&'a mut Walk, WalkMemory<'a>) {
        let (at, count) = (ix.position(), m.walks.len());
        let memory = WalkMemory {
            candidates: part(m.candidates, at, count),
            tokens: part(m.tokens, at, count),
            found: part(m.found, at, count),
        };
        (&mut m.walks[ix], memory)
    }

    /// Moves a walk to the list of its new phase.
    pub(in crate::node) fn set_phase(&mut self, m: &mut Memory<'_>, ix: Ix, phase: Phase) {
        if let Some(list) = self.list(m.walks[ix].phase) {
            list.remove(m.walks, ix);
        }
        m.walks[ix].phase = phase;
        match self.list(phase) {
            Some(list) if phase == Phase::Held => {
                let until = m.walks[ix].held_until;
                let mut after = list.back();
                while let Some(at) = after.filter(|&at| m.walks[at].held_until > until) {
                    after = list.prev(m.walks, at);
                }
                list.insert_after(m.walks, after.unwrap_or(Ix::NONE), ix);
            }
            Some(list) => list.push_back(m.walks, ix),
            None => self.pool.give(m.walks, ix),
        }
    }

    /// Of the lookups that were reported and hold an item the one reported longest ago.
    #[cfg(feature = "items")]
    pub(in crate::node) fn oldest_with_item(&self, walks: &[Slot<Walk>]) -> Option<Ix> {
        self.remembered.iter(walks).find(|&ix| walks[ix].goal.item().is_some())
    }

    /// Whether every slot is free or in the list of its phase, and no find is forgotten.
    #[cfg(any(feature = "checkpoint", feature = "sim"))]
    pub(in crate::node) fn is_consistent(&self, walks: &[Slot<Walk>]) -> bool {
        let lists = [
            (self.ready, Phase::Ready),
            (self.held, Phase::Held),
            (self.waiting, Phase::Waiting),
            (self.ended, Phase::Ended),
            (self.completed, Phase::Completed),
            (self.remembered, Phase::Remembered),
        ];
        let is_whole = |(list, phase): (List, Phase)| {
            list.is_consistent(walks) && list.iter(walks).all(|ix| walks[ix].phase == phase)
        };
        let news = walks.iter().map(|slot| &slot.value).filter(|walk| walk.phase.has_events());
        self.pool.is_consistent(walks)
            && lists.into_iter().all(is_whole)
            && lists.into_iter().map(|(list, _)| list.len()).sum::<usize>() == self.pool.used()
            && news.map(|walk| usize::from(walk.found - walk.reported)).sum::<usize>() == self.unreported
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

/// The life of a walk.
impl Core {
    /// Looks at what a walk wants now: puts it among those that are ready, lets it wait, or ends it.
    pub(in crate::node) fn settle(&mut self, m: &mut Memory<'_>, ix: Ix) {
        if !m.walks[ix].phase.is_under_way() {
            return self.linger(m, ix);
        }
        let (walk, memory) = self.searches.walk(m, ix);
        let step = walk.next(memory.candidates);
        let resumed_in_vain = walk.resumed && walk.acknowledged == 0;
        let asked_saved_in_vain = walk.holds_back && walk.answered == 0;
        match step {
            Step::Query(_) | Step::Announce(_) | Step::Look(..) => {
                self.searches.set_phase(m, ix, Phase::Ready);
            }
            Step::Wait => self.searches.set_phase(m, ix, Phase::Waiting),
            Step::Finish if self.awaits_confirmation(m, ix) => {
                self.searches.set_phase(m, ix, Phase::Waiting);
            }
            Step::Finish if resumed_in_vain => self.restart(m, ix),
            Step::Finish if asked_saved_in_vain => self.ask_bootstraps_after_all(m, ix),
            Step::Finish if self.is_parked(m, ix) => {
                self.searches.set_phase(m, ix, Phase::Waiting);
                self.timers.set_earlier(Timer::Parked, m.walks[ix].started + PARKED);
            }
            Step::Finish if self.widen(m, ix) => self.settle(m, ix),
            #[cfg(feature = "items")]
            Step::Finish if self.decide_put(m, ix) => {}
            Step::Finish => self.end(m, ix),
        }
    }

    /// Whether what it has placed may stand where few have said so yet: nodes may take long to check a
    /// signature, and to report that hardly anything was stored would be wrong. An announce that goes
    /// on from earlier tokens begins anew instead, which harms nobody.
    fn awaits_confirmation(&self, m: &Memory<'_>, ix: Ix) -> bool {
        let walk = &m.walks[ix];
        let begins_anew = walk.resumed && matches!(walk.goal, Goal::Announce(_));
        let reference = WalkRef { ix, generation: walk.generation };
        walk.acknowledged * 2 < walk.announced
            && !begins_anew
            && self.inflight.awaits(m.queries, Purpose::Announce(reference))
    }

    /// Queues what an announce still has to send after it was reported, and leaves half of all queries
    /// to those who wait for something. What was sent twice follows in its own time: a node that
    /// ignores it is not to get it three times more in the same second.
    fn linger(&mut self, m: &mut Memory<'_>, ix: Ix) {
        while m.walks[ix].lingers()
            && self.family(m.walks[ix].family()).on
            && !self.inflight.is_half_full(m.queries)
        {
            let (walk, memory) = self.searches.walk(m, ix);
            let step = walk.next(memory.candidates);
            let pause = step.position().map_or(Duration::ZERO, |at| memory.candidates[at].pause());
            let Some(query) = self.enqueue_step(m, ix, step) else { return };
            if !pause.is_zero() {
                self.inflight.put_off(m.queries, query, self.now + pause);
            }
        }
    }

    /// Contacts have become known: lookups that had none begin, and those that nobody has answered
    /// so far ask them too.
    pub(in crate::node) fn unpark(&mut self, m: &mut Memory<'_>) {
        let options = self.config.lookup;
        for ix in (0..m.walks.len()).map(Ix::new) {
            let walk = &m.walks[ix];
            let is_in_need = walk.phase.is_under_way() && walk.answered == 0;
            if !is_in_need || walk.alone || walk.resumed || walk.goal == Goal::Refresh {
                continue;
            }
            if walk.len() == 0 {
                self.seed(m, ix, &options);
            } else {
                self.seed_known(m, ix);
                if !m.walks[ix].holds_back && self.family(m.walks[ix].family()).table.len() < K {
                    self.seed_bootstraps(m, ix);
                }
            }
            self.settle(m, ix);
        }
    }

    /// Ends lookups that found nobody to ask for too long.
    pub(in crate::node) fn end_parked(&mut self, m: &mut Memory<'_>) {
        for at in 0..m.walks.len() {
            let ix = Ix::new(at);
            if m.walks[ix].phase == Phase::Waiting {
                self.settle(m, ix);
            }
        }
    }

    /// The next peer that a lookup found.
    pub(in crate::node) fn next_found(&mut self, m: &mut Memory<'_>) -> Option<(LookupId, Endpoint)> {
        if self.searches.unreported == 0 {
            return None;
        }
        let has_news = |walk: &Walk| walk.phase.has_events() && walk.reported < walk.found;
        let at = m.walks.iter().position(|slot| has_news(&slot.value))?;
        let (walk, memory) = self.searches.walk(m, Ix::new(at));
        let peer = memory.found[usize::from(walk.reported)];
        walk.reported += 1;
        self.searches.unreported -= 1;
        Some((LookupId { ix: walk.lead, generation: walk.generation }, peer))
    }

    /// The next lookup that has ended, whose walks are from now on only remembered.
    pub(in crate::node) fn next_completed(&mut self, m: &mut Memory<'_>) -> Option<(LookupId, LookupReport)> {
        let lead = self.searches.completed.front()?;
        let walk = m.walks[lead];
        let sibling = walk.sibling.some();
        let kept = kept_id(m.kept, walk.kept);
        let swarm = Self::swarm_size(m.scrapes, m.walks, lead);
        let report = LookupReport {
            kept,
            swarm,
            #[cfg(feature = "items")]
            seq: Self::newest_seq(m.own_items, walk.goal),
            #[cfg(feature = "items")]
            obstacle: Self::obstacle(m.walks, m.own_items, lead),
            network_size: self.network_sizes(),
            ..report(&walk, sibling.map(|ix| &m.walks[ix]), self.now)
        };
        Self::end_scrape(m, lead);
        for ix in [Some(lead), sibling].into_iter().flatten() {
            self.searches.set_phase(m, ix, Phase::Remembered);
            self.linger(m, ix);
        }
        #[cfg(feature = "items")]
        self.trim_found(m, walk.goal);
        if let Some(kept) = kept {
            #[cfg(feature = "items")]
            let is_spared = [Some(lead), sibling]
                .into_iter()
                .flatten()
                .any(|ix| m.walks[ix].items.check == Check::Spared);
            #[cfg(not(feature = "items"))]
            let is_spared = false;
            self.on_round_done(m, kept.ix, report.acknowledged, is_spared);
        }
        Some((LookupId { ix: lead, generation: walk.generation }, report))
    }

    pub(in crate::node) fn lookup_report(&self, view: View<'_>, lookup: LookupId) -> Option<LookupReport> {
        let lead = Self::current(view.walks, lookup)?;
        let walk = &view.walks[lead];
        let report = report(walk, walk.sibling.some().map(|ix| &view.walks[ix]), self.now);
        let swarm = Self::swarm_size(view.scrapes, view.walks, lead);
        Some(LookupReport {
            kept: kept_id(view.kept, walk.kept),
            swarm,
            network_size: self.network_sizes(),
            #[cfg(feature = "items")]
            seq: Self::newest_seq(view.own_items, walk.goal),
            #[cfg(feature = "items")]
            obstacle: Self::obstacle(view.walks, view.own_items, lead),
            ..report
        })
    }

    pub(in crate::node) fn lookup_nodes<'a>(
        &self,
        view: View<'a>,
        lookup: LookupId,
    ) -> impl Iterator<Item = NodeInfo> + use<'a> {
        let lead = view.walks.get(lookup.ix.position()).map(|slot| &slot.value);
        let lead = lead.filter(|walk| walk.generation == lookup.generation && walk.phase != Phase::Free);
        let sibling = lead.and_then(|walk| walk.sibling.some());
        let walks = [lead.map(|_| lookup.ix), sibling].into_iter().flatten();
        walks.flat_map(move |ix| {
            let candidates = share(view.candidates, ix.position(), view.walks.len());
            let nodes = view.walks[ix].closest(candidates);
            nodes.map(|(id, endpoint)| NodeInfo { id, addr: endpoint.into(), rtt: None })
        })
    }

    pub(in crate::node) const fn lookup_count(&self) -> usize {
        self.searches.ready.len() + self.searches.held.len() + self.searches.waiting.len()
    }

    /// The families whose nodes a lookup asks for.
    pub(in crate::node) const fn want(&self, walk: &Walk) -> Want {
        let sibling = &self.families[1 - walk.family().index()];
        if sibling.on && sibling.table.len() < FEW_NODES { Want::BOTH } else { Want::NONE }
    }

    /// The walk that leads a lookup which has not been reported.
    pub(in crate::node) fn current(walks: &[Slot<Walk>], lookup: LookupId) -> Option<Ix> {
        let walk = &walks.get(lookup.ix.position())?.value;
        let is_current =
            walk.generation == lookup.generation && walk.lead == lookup.ix && walk.phase.has_events();
        is_current.then_some(lookup.ix)
    }

    /// A walk that answers are still of use to.
    pub(in crate::node) fn active(&self, m: &Memory<'_>, reference: WalkRef) -> Option<Ix> {
        let walk = &m.walks[reference.ix];
        (walk.generation == reference.generation && walk.is_active()).then_some(reference.ix)
    }

    /// How many walks [`take_walk`](Self::take_walk) can give, where so many that are remembered are to
    /// be used again.
    pub(in crate::node) fn available_walks(
        &self,
        m: &Memory<'_>,
        goal: Goal,
        kept: Ix,
        recalled: usize,
    ) -> usize {
        let free = m.walks.len() - self.searches.pool.used() + self.searches.remembered.len() - recalled;
        if goal == Goal::Refresh || !kept.is_none() {
            return free;
        }
        let is_refresh = |walk: &Walk| walk.goal == Goal::Refresh && walk.phase.is_under_way();
        let refreshes = m.walks.iter().filter(|slot| is_refresh(&slot.value)).count();
        (free + refreshes + self.displaceable_walks(m)).saturating_sub(self.reserved_walks(m))
    }

    /// A free slot, or that of the lookup that was reported longest ago, unless it is one of
    /// `taken`, or for the user that of a refresh or a round of a kept announce, which can wait.
    pub(in crate::node) fn take_walk(
        &mut self,
        m: &mut Memory<'_>,
        goal: Goal,
        kept: Ix,
        taken: [Option<Ix>; 2],
    ) -> Option<Ix> {
        let ix = self.searches.pool.take(m.walks).or_else(|| {
            let ix = self.searches.remembered.iter(m.walks).find(|&ix| !taken.contains(&Some(ix)))?;
            self.searches.remembered.remove(m.walks, ix);
            Some(ix)
        });
        let ix = match ix {
            Some(ix) => ix,
            None if goal == Goal::Refresh || !kept.is_none() => return None,
            None => {
                let is_refresh = |walk: &Walk| walk.goal == Goal::Refresh && walk.phase.is_under_way();
                match m.walks.iter().position(|slot| is_refresh(&slot.value)).map(Ix::new) {
                    Some(ix) => {
                        let walk = m.walks[ix];
                        self.on_upkeep_done(m, &walk);
                        self.searches.list(m.walks[ix].phase)?.remove(m.walks, ix);
                        ix
                    }
                    None if self.displace_round(m) => self.searches.pool.take(m.walks)?,
                    None => return None,
                }
            }
        };
        m.walks[ix].phase = Phase::Free;
        Some(ix)
    }

    /// Gives a walk its first candidates: nodes of the table, while there are few restored ones or, for
    /// want of them, bootstrap hosts (L-06), and our own stored peers as its first finds.
    pub(in crate::node) fn seed(&mut self, m: &mut Memory<'_>, ix: Ix, options: &LookupOptions) {
        let (family, target, goal) = (m.walks[ix].family(), m.walks[ix].target, m.walks[ix].goal);
        if let Some(only) = options.only {
            let (walk, memory) = self.searches.walk(m, ix);
            walk.add(memory.candidates, None, only.into(), false);
            return;
        }
        self.seed_known(m, ix);
        let table = &self.family(family).table;
        // The few that are known may all be liars: a bootstrap asks the hosts too until there are more.
        let enough = if goal == Goal::Bootstrap { FEW_NODES } else { K };
        if table.len() < enough && table.restored() == 0 {
            self.seed_bootstraps(m, ix);
        } else if table.len() < K {
            let restored = table.closest_restored::<SEEDS>(table_nodes(m, family), &target);
            let (walk, memory) = self.searches.walk(m, ix);
            walk.holds_back = true;
            for Contact { id, endpoint } in restored {
                let id = Some(id).filter(|id| *id != NodeId::ZERO);
                walk.add(memory.candidates, id, endpoint, false);
            }
        }
        if matches!(goal, Goal::GetPeers | Goal::Announce(_)) {
            self.take_own_peers(m, ix);
        }
    }

    /// Where few are taken to be alive, the others are there as the last resort.
    fn seed_known(&self, m: &mut Memory<'_>, ix: Ix) {
        let (family, target) = (m.walks[ix].family(), m.walks[ix].target);
        let table = &self.family(family).table;
        let closest = |m: &Memory<'_>, filter| -> heapless::Vec<(Contact, Duration), SEEDS> {
            let closest = table.closest::<SEEDS>(table_nodes(m, family), &target, filter, self.now);
            closest.into_iter().map(|entry| (entry.contact(), entry.rtt())).collect()
        };
        let live = closest(m, Filter::Live);
        let bad = if live.len() < K { closest(m, Filter::Bad) } else { heapless::Vec::new() };
        let (walk, memory) = self.searches.walk(m, ix);
        for (contact, rtt) in live {
            walk.add_known(memory.candidates, contact.id, contact.endpoint, rtt);
        }
        for (contact, _) in bad {
            walk.add(memory.candidates, Some(contact.id), contact.endpoint, true);
        }
    }

    fn seed_bootstraps(&self, m: &mut Memory<'_>, ix: Ix) {
        for at in 0..usize::from(self.bootstraps) {
            let endpoint = m.bootstraps[at];
            let (walk, memory) = self.searches.walk(m, ix);
            if endpoint.family() == walk.family() {
                walk.add(memory.candidates, None, endpoint, false);
            }
        }
    }

    /// None of the restored nodes that a lookup started from has answered.
    fn ask_bootstraps_after_all(&mut self, m: &mut Memory<'_>, ix: Ix) {
        m.walks[ix].holds_back = false;
        self.seed_known(m, ix);
        self.seed_bootstraps(m, ix);
        self.settle(m, ix);
    }

    /// Peers that announced themselves to us are found at once.
    fn take_own_peers(&mut self, m: &mut Memory<'_>, ix: Ix) {
        let (family, target) = (m.walks[ix].family(), m.walks[ix].target);
        let mut peers = heapless::Vec::<Endpoint, 64>::new();
        let slots = peer_slots(m);
        let stored = self.peers.peers_of(slots.shared(), &target.into(), self.now).map(|peer| peer.endpoint);
        peers.extend(stored.filter(|peer| peer.family() == family).take(64));
        for peer in peers {
            self.take_peer(m, ix, peer);
        }
    }

    /// A remembered walk whose tokens serve an announce or a put (T-08).
    pub(in crate::node) fn with_tokens(
        &self,
        m: &mut Memory<'_>,
        family: Family,
        goal: Goal,
        target: NodeId,
    ) -> Option<Ix> {
        let fits = |walk: &Walk| {
            walk.target == target
                && walk.family() == family
                && !walk.alone
                && walk.serves(goal)
                && self.now - walk.asked < TOKEN_LIFE
        };
        let mut next = self.searches.remembered.back();
        while let Some(ix) = next {
            if fits(&m.walks[ix]) {
                let (walk, memory) = self.searches.walk(m, ix);
                if walk.has_tokens(memory.candidates) {
                    return Some(ix);
                }
            }
            next = self.searches.remembered.prev(m.walks, ix);
        }
        None
    }

    /// Goes on from a remembered walk, for what `kept` is a round of. Returns whether its tokens serve: of an
    /// item that can change its nodes are asked anew what they hold. What it has found counts against the
    /// peers that there is room for.
    pub(in crate::node) fn resume(
        &mut self,
        m: &mut Memory<'_>,
        ix: Ix,
        goal: Goal,
        options: &LookupOptions,
        kept: Ix,
        peer_room: &mut u16,
    ) -> bool {
        let now = self.now;
        #[cfg(feature = "items")]
        if Self::check_of(m, goal, kept) != Check::None {
            self.recall_item(m, ix, goal);
            let (walk, memory) = self.searches.walk(m, ix);
            walk.renew(memory.candidates, goal, options, now);
            return false;
        }
        let _ = kept;
        let (walk, memory) = self.searches.walk(m, ix);
        walk.resume(memory.candidates, goal, options, now);
        walk.has_more |= walk.found > *peer_room;
        walk.found = walk.found.min(*peer_room);
        *peer_room -= walk.found;
        self.searches.unreported += usize::from(walk.found);
        true
    }

    /// Tokens that were thought to serve did not: the lookup is made after all.
    fn restart(&mut self, m: &mut Memory<'_>, ix: Ix) {
        let (walk, _) = self.searches.walk(m, ix);
        walk.restart(self.now);
        let options = self.config.lookup;
        self.seed(m, ix, &options);
        self.settle(m, ix);
    }

    /// Whether a lookup has nobody to ask in any family, and still waits for somebody.
    fn is_parked(&self, m: &Memory<'_>, ix: Ix) -> bool {
        let walk = &m.walks[ix];
        let empty = |walk: &Walk| walk.len() == 0;
        walk.phase.is_under_way()
            && !walk.alone
            && !matches!(walk.goal, Goal::Refresh | Goal::Bootstrap)
            && self.now < walk.started + PARKED
            && empty(walk)
            && walk.sibling.some().is_none_or(|sibling| empty(&m.walks[sibling]))
    }

    pub(in crate::node) fn end(&mut self, m: &mut Memory<'_>, ix: Ix) {
        self.learn_density(m, ix);
        m.walks[ix].ended = self.now;
        self.searches.set_phase(m, ix, Phase::Ended);
        let walk = m.walks[ix];
        if matches!(walk.goal, Goal::Refresh | Goal::Bootstrap) {
            self.on_upkeep_done(m, &walk);
        }
        let sibling = walk.sibling.some();
        if let Some(sibling) = sibling.filter(|&sibling| m.walks[sibling].phase.is_under_way()) {
            // It may have waited for this one, to decide.
            #[cfg(feature = "items")]
            if m.walks[sibling].items.is_thorough() {
                self.settle(m, sibling);
            }
            let _ = sibling;
            return;
        }
        if walk.goal == Goal::Refresh {
            self.searches.set_phase(m, ix, Phase::Remembered);
        } else {
            self.searches.set_phase(m, walk.lead, Phase::Completed);
        }
    }
}

/// How many nodes there are.
impl Core {
    /// A walk has ended: how close it came tells how many nodes there are.
    fn learn_density(&mut self, m: &mut Memory<'_>, ix: Ix) {
        let (walk, memory) = self.searches.walk(m, ix);
        let Some(reach) = walk.reach(memory.candidates) else { return };
        let (family, goal) = (walk.family(), walk.goal);
        let target = walk.target;
        let state = self.family_mut(family);
        let aim = match goal {
            Goal::Bootstrap => Aim::Neighbours,
            Goal::Refresh => {
                // That many buckets from our own neighbourhood outwards it may be the same nodes.
                let is_near = target.common_prefix_len(&state.id) + NEIGHBOUR_BITS
                    > state.table.relevant_depth() as u32;
                if is_near { Aim::Neighbours } else { Aim::Elsewhere }
            }
            _ => Aim::Users,
        };
        if aim != Aim::Users && state.has_grown_much() {
            state.density.doubt();
        }
        state.density.learn(reach, aim);
    }

    /// A walk that would end goes on through the region around its target, because something is odd.
    fn widen(&self, m: &mut Memory<'_>, ix: Ix) -> bool {
        let (walk, memory) = self.searches.walk(m, ix);
        let margin = self.family(walk.family()).density.margin();
        walk.widen(memory.candidates, margin)
    }

    fn network_sizes(&self) -> [Option<NetworkSize>; 2] {
        Family::ALL.map(|family| self.family(family).density.size())
    }
}

/// The `at`-th of `count` equal parts.
fn part<T>(all: &mut [T], at: usize, count: usize) -> &mut [T] {
    let len = all.len() / count;
    &mut all[at * len..(at + 1) * len]
}

fn share<T>(all: &[T], at: usize, count: usize) -> &[T] {
    let len = all.len() / count;
    &all[at * len..(at + 1) * len]
}

fn kept_id(slots: &[Slot<Kept>], kept: Ix) -> Option<KeptId> {
    kept.some().map(|ix| KeptId { ix, generation: slots[ix].generation })
}

/// How a lookup goes or went, both families together.
fn report(lead: &Walk, sibling: Option<&Walk>, now: Instant) -> LookupReport {
    let walks = || core::iter::once(lead).chain(sibling);
    let sum = |field: fn(&Walk) -> u16| walks().map(|walk| u32::from(field(walk))).sum();
    let kind = match lead.goal {
        Goal::FindNode | Goal::Refresh => LookupKind::FindNode,
        Goal::GetPeers => LookupKind::GetPeers,
        Goal::Scrape => LookupKind::Scrape,
        Goal::Announce(_) => LookupKind::Announce,
        Goal::Bootstrap => LookupKind::Bootstrap,
        #[cfg(feature = "items")]
        Goal::Get(_) => LookupKind::Get,
        #[cfg(feature = "items")]
        Goal::Put(_) => LookupKind::Put,
    };
    let refused = |field: fn(&Refused) -> u16| walks().map(|walk| u32::from(field(&walk.refused))).sum();
    let mut codes = walks().map(|walk| walk.refused.code).filter(|code| *code != 0);
    let end = |walk: &Walk| if walk.phase.is_under_way() { now } else { walk.ended };
    LookupReport {
        peers: sum(|walk| walk.found),
        more_peers: walks().any(|walk| walk.has_more),
        queried: sum(|walk| walk.queried),
        answered: sum(|walk| walk.answered),
        failed: sum(|walk| walk.failed),
        announced: sum(|walk| walk.announced),
        acknowledged: sum(|walk| walk.acknowledged),
        refused: Refusals {
            total: refused(|refused| refused.count),
            cas_mismatch: refused(|refused| refused.cas),
            seq_too_low: refused(|refused| refused.seq),
            last: codes.next_back().map(ErrorCode),
        },
        #[cfg(feature = "items")]
        copies: sum(|walk| walk.items.copies),
        duration: walks().map(end).max().unwrap_or(now) - lead.started,
        crowding: walks().filter_map(Walk::expected_within).map(chance).min(),
        ..LookupReport::unstarted(kind, lead.target)
    }
}
