//! Lookups: starting them, feeding them answers, ending and reporting them.
//!
//! A lookup is one walk in each family that takes part. The walk whose index is the lookup's id
//! leads; it is reported when both have ended. Every walk is in one list at a time, by its phase.

use core::time::Duration;

use super::output::report;
use super::serve::peer_slots;
use super::{Core, table_slots};
use crate::addr::{Endpoint, Family};
use crate::event::{LookupId, LookupReport, NodeInfo, Notice, NoticeKind, QueryId, StartError};
use crate::id::{K, NodeId};
use crate::inflight::{Match, Outcome, Purpose, Query, WalkRef};
use crate::lookup::{Candidate, Goal, Lookup, LookupOptions, Phase, Step, TOKEN_LIFE, Token, Verdict, Walk};
use crate::pool::{Ix, List, Pool, Slot};
use crate::storage::sealed::{Memory, View};
use crate::table::{Contact, Entry, Filter};
use crate::time::Instant;
use crate::timer::Timer;
use crate::wire::{CompactNodes, ErrorCode, Message, Response, Want};

/// A lookup starts from this many nodes of the table.
const SEEDS: usize = 2 * K;

/// Nodes that are taken from one answer; deployed nodes send up to 20.
const MAX_NODES: usize = 32;

/// Peers that are taken from one answer, more than fit into a datagram on Ethernet.
const MAX_PEERS: usize = 256;

/// While fewer nodes of the other family are known, answers are asked to name some (BEP 32).
const FEW_NODES: usize = 30;

/// A lookup that begins before any node is known waits this long for one.
const PARKED: Duration = Duration::from_secs(10);

/// The head of all lookups.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Searches {
    pool: Pool,
    ready: List,
    waiting: List,
    /// Ended, but the other family has not, or the completion is not polled.
    ended: List,
    /// The leading walks of lookups whose completion waits to be polled.
    completed: List,
    /// Reported; the longest ago first.
    remembered: List,
    generation: u32,
    /// Peers found and not polled, over all walks.
    unreported: usize,
}

/// The memory of one walk.
pub(super) struct WalkMemory<'a> {
    pub(super) candidates: &'a mut [Candidate],
    pub(super) tokens: &'a mut [Token],
    pub(super) found: &'a mut [Endpoint],
}

impl Searches {
    pub(super) const fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    pub(super) const fn ready_count(&self) -> usize {
        self.ready.len()
    }

    pub(super) const fn has_events(&self) -> bool {
        self.unreported > 0 || !self.completed.is_empty()
    }

    /// The walk that was asked longest ago, which goes to the back.
    pub(super) fn next_ready(&mut self, walks: &mut [Slot<Walk>]) -> Option<Ix> {
        let ix = self.ready.pop_front(walks)?;
        self.ready.push_back(walks, ix);
        Some(ix)
    }

    pub(super) fn walk<'a>(&self, m: &'a mut Memory<'_>, ix: Ix) -> (&'a mut Walk, WalkMemory<'a>) {
        let (at, count) = (ix.position(), m.walks.len());
        let memory = WalkMemory {
            candidates: part(m.candidates, at, count),
            tokens: part(m.tokens, at, count),
            found: part(m.found, at, count),
        };
        (&mut m.walks[ix], memory)
    }

    /// Moves a walk to the list of its new phase.
    fn set_phase(&mut self, m: &mut Memory<'_>, ix: Ix, phase: Phase) {
        if let Some(list) = self.list(m.walks[ix].phase) {
            list.remove(m.walks, ix);
        }
        m.walks[ix].phase = phase;
        match self.list(phase) {
            Some(list) => list.push_back(m.walks, ix),
            None => self.pool.give(m.walks, ix),
        }
    }

    const fn list(&mut self, phase: Phase) -> Option<&mut List> {
        match phase {
            Phase::Free => None,
            Phase::Ready => Some(&mut self.ready),
            Phase::Waiting => Some(&mut self.waiting),
            Phase::Ended => Some(&mut self.ended),
            Phase::Completed => Some(&mut self.completed),
            Phase::Remembered => Some(&mut self.remembered),
        }
    }
}

/// Commands.
impl Core {
    pub(super) fn lookup(
        &mut self,
        m: &mut Memory<'_>,
        now: Instant,
        lookup: Lookup,
        options: &LookupOptions,
    ) -> Result<LookupId, StartError> {
        self.advance(now);
        let (goal, target) = match lookup {
            Lookup::FindNode(target) => (Goal::FindNode, target),
            Lookup::GetPeers(infohash) => (Goal::GetPeers, infohash.into()),
            Lookup::Announce(_, announce) if announce.port == 0 => return Err(StartError::PortZero),
            Lookup::Announce(infohash, announce) => (Goal::Announce(announce), infohash.into()),
        };
        let mut families = Family::ALL.map(|family| self.family(family).on);
        if let Some(only) = options.only {
            let endpoint = Endpoint::from(only);
            if !self.may_contact(endpoint) {
                return Err(StartError::AddressRefused);
            }
            families = Family::ALL.map(|family| family == endpoint.family());
        }
        self.start(m, goal, [target; 2], families, options)
    }

    pub(super) fn ping(
        &mut self,
        m: &mut Memory<'_>,
        now: Instant,
        to: Endpoint,
    ) -> Result<QueryId, StartError> {
        self.start_ping(m, now, to, Purpose::Ping)
    }

    pub(super) fn start_ping(
        &mut self,
        m: &mut Memory<'_>,
        now: Instant,
        to: Endpoint,
        purpose: Purpose,
    ) -> Result<QueryId, StartError> {
        self.advance(now);
        if !self.may_contact(to) {
            return Err(StartError::AddressRefused);
        }
        let ix = self.inflight.enqueue(m.queries, to, None, purpose).ok_or(StartError::Full)?;
        Ok(QueryId { ix, generation: m.queries[ix].generation })
    }

    pub(super) fn cancel(&mut self, m: &mut Memory<'_>, lookup: LookupId) -> bool {
        let Some(lead) = Self::current(m.walks, lookup) else { return false };
        for ix in [Some(lead), m.walks[lead].sibling.some()].into_iter().flatten() {
            let walk = m.walks[ix];
            self.searches.unreported -= usize::from(walk.found - walk.reported);
            if walk.goal == Goal::Bootstrap && walk.phase.is_under_way() {
                self.on_upkeep_done(m, walk.family(), walk.goal, walk.answered);
            }
            self.searches.set_phase(m, ix, Phase::Free);
        }
        true
    }

    pub(super) fn cancel_query(&mut self, m: &mut Memory<'_>, query: QueryId) -> bool {
        let is_current = self.inflight.is_current(m.queries, query.ix, query.generation);
        if is_current {
            self.inflight.cancel(m.queries, query.ix);
        }
        is_current
    }

    /// Starts a walk in each of `families`, or goes on from one whose tokens still serve.
    pub(super) fn start(
        &mut self,
        m: &mut Memory<'_>,
        goal: Goal,
        targets: [NodeId; 2],
        families: [bool; 2],
        options: &LookupOptions,
    ) -> Result<LookupId, StartError> {
        let wanted = || Family::ALL.into_iter().filter(|family| families[family.index()]);
        let mut walks = [None; 2];
        if matches!(goal, Goal::Announce(_)) && options.only.is_none() {
            for family in wanted() {
                walks[family.index()] = self.with_tokens(m, family, targets[family.index()]);
            }
        }
        for family in wanted() {
            if walks[family.index()].is_none() {
                walks[family.index()] = self.take_walk(m, goal, walks);
            }
        }
        let taken = || walks.into_iter().flatten();
        let lead = taken().next().filter(|_| taken().count() == wanted().count());
        let Some(lead) = lead else {
            for ix in taken() {
                if m.walks[ix].phase == Phase::Free {
                    self.searches.set_phase(m, ix, Phase::Free);
                }
            }
            return Err(StartError::Full);
        };
        self.searches.generation = self.searches.generation.wrapping_add(1);
        for family in wanted() {
            let Some(ix) = walks[family.index()] else { continue };
            let sibling = taken().find(|&other| other != ix).unwrap_or(Ix::NONE);
            let resumed = m.walks[ix].phase == Phase::Remembered;
            if resumed {
                self.resume(m, ix, goal, options);
            } else {
                let by_ip = self.config.source_limits;
                m.walks[ix] = Walk::new(goal, targets[family.index()], family, options, by_ip, self.now);
            }
            let walk = &mut m.walks[ix];
            (walk.lead, walk.sibling, walk.generation) = (lead, sibling, self.searches.generation);
            self.searches.set_phase(m, ix, Phase::Waiting);
            if !resumed {
                self.seed(m, ix, options);
            }
        }
        let generation = self.searches.generation;
        taken().for_each(|ix| self.settle(m, ix));
        Ok(LookupId { ix: lead, generation })
    }
}

/// Answers.
impl Core {
    pub(super) fn on_response(
        &mut self,
        m: &mut Memory<'_>,
        from: Endpoint,
        message: &Message<'_>,
        response: &Response<'_>,
    ) {
        let Some(ix) = self.matching(m, from, message.transaction) else { return };
        let family = from.family();
        if response.id == self.family(family).id {
            return self.on_bad_answer(m, ix);
        }
        let rtt = self.now - m.queries[ix].sent;
        let outcome = Outcome::Answered { id: response.id, rtt };
        let query = self.inflight.finish(m.queries, ix, outcome);
        self.stats.responses_in += 1;
        self.rtt.record(rtt);
        self.sources.verify(m.sources, from, self.now);
        let expected = query.id.filter(|&expected| expected != response.id);
        // Who is not the one that others named gets no place in the table (L-07), but whoever held
        // one there loses it. It is not held against the host: whoever listed it may have
        // lied.
        let is_known = expected.is_none_or(|id| {
            let contact = Contact { id, endpoint: from };
            self.family(family).table.holds(&mut table_slots(m, family), contact)
        });
        if expected.is_none() {
            self.contacts.answered(m.contacts, from);
        }
        let contact = Contact { id: response.id, endpoint: from };
        if message.read_only {
            self.drop_node(m, Contact { id: query.id.unwrap_or(response.id), ..contact });
        } else if is_known {
            self.offer_node(m, contact, rtt);
        }
        match query.purpose {
            Purpose::Ping | Purpose::Check => {}
            Purpose::Lookup(walk) => self.on_found(m, walk, from, response),
            Purpose::Announce(walk) => self.on_stored(m, walk, from),
        }
    }

    /// An error is an answer of a live node, but gives a lookup nothing.
    pub(super) fn on_error(
        &mut self,
        m: &mut Memory<'_>,
        from: Endpoint,
        transaction: &[u8],
        code: ErrorCode,
    ) {
        let Some(ix) = self.matching(m, from, transaction) else { return };
        let outcome = Outcome::Refused(code.0);
        let query = self.inflight.finish(m.queries, ix, outcome);
        self.stats.errors_in += 1;
        self.rtt.record(self.now - query.sent);
        self.sources.verify(m.sources, from, self.now);
        self.contacts.answered(m.contacts, from);
        if let Some(id) = query.id {
            let (contact, now) = (Contact { id, endpoint: from }, self.now);
            let slots = &mut table_slots(m, from.family());
            self.family_mut(from.family()).table.ping_lost(slots, contact, now);
        }
        self.on_search_failed(m, &query, outcome);
    }

    /// An answer that does not say whose it is ends the query (BEP 5).
    pub(super) fn on_bad_reply(&mut self, m: &mut Memory<'_>, from: Endpoint, transaction: &[u8]) {
        self.note_traffic(self.now);
        if let Some(ix) = self.matching(m, from, transaction) {
            self.on_bad_answer(m, ix);
        }
    }

    /// A query of ours came back to us: the address it went to is our own.
    pub(super) fn on_own_query(&mut self, m: &mut Memory<'_>, from: Endpoint, transaction: &[u8]) {
        // Our transaction id proves it; anybody can write our id into a query.
        let Match::Query(ix) = self.inflight.find(m.queries, from, transaction) else {
            return;
        };
        self.family_mut(from.family()).own = Some(from);
        self.on_bad_answer(m, ix);
    }

    pub(super) fn on_stalled(&mut self, m: &mut Memory<'_>, query: &Query) {
        self.stats.stalled += 1;
        let (Purpose::Lookup(reference) | Purpose::Announce(reference)) = query.purpose else { return };
        let Some(ix) = self.active(m, reference) else { return };
        let (walk, memory) = self.searches.walk(m, ix);
        match query.purpose {
            Purpose::Announce(_) => walk.on_announce_stall(memory.candidates, query.to),
            _ => walk.on_stall(memory.candidates, query.to),
        }
        self.settle(m, ix);
    }

    /// A query ended without an answer that is of use.
    pub(super) fn on_search_failed(&mut self, m: &mut Memory<'_>, query: &Query, outcome: Outcome) {
        let (Purpose::Lookup(reference) | Purpose::Announce(reference)) = query.purpose else { return };
        let Some(ix) = self.active(m, reference) else { return };
        let timed_out = outcome == Outcome::TimedOut;
        let (walk, memory) = self.searches.walk(m, ix);
        match query.purpose {
            Purpose::Announce(_) if timed_out => walk.on_announce_stall(memory.candidates, query.to),
            Purpose::Announce(_) => walk.on_refused(memory.candidates, query.to),
            _ if timed_out => walk.on_timeout(memory.candidates, query.to),
            _ => walk.on_failure(memory.candidates, query.to),
        }
        self.settle(m, ix);
    }

    fn on_bad_answer(&mut self, m: &mut Memory<'_>, ix: Ix) {
        self.stats.dropped.bad_reply += 1;
        let query = self.inflight.finish(m.queries, ix, Outcome::Malformed);
        self.on_failed(m, &query, Outcome::Malformed);
    }

    /// A step of a lookup was answered: take in its nodes and peers.
    fn on_found(&mut self, m: &mut Memory<'_>, reference: WalkRef, from: Endpoint, response: &Response<'_>) {
        let Some(ix) = self.active(m, reference) else { return };
        let (walk, memory) = self.searches.walk(m, ix);
        let wants_peers = matches!(walk.goal, Goal::GetPeers | Goal::Announce(_));
        let verdict = walk.on_answer(memory.candidates, memory.tokens, from, response.id, response.token);
        if verdict == Verdict::Accepted {
            for nodes in [response.nodes, response.nodes6].into_iter().flatten() {
                self.take_nodes(m, ix, nodes);
            }
            if let Some(values) = response.values.filter(|_| wants_peers) {
                for peer in values.iter().take(MAX_PEERS) {
                    self.take_peer(m, ix, peer.into());
                }
            }
        }
        self.settle(m, ix);
    }

    fn on_stored(&mut self, m: &mut Memory<'_>, reference: WalkRef, from: Endpoint) {
        let Some(ix) = self.active(m, reference) else { return };
        let (walk, memory) = self.searches.walk(m, ix);
        if walk.on_stored(memory.candidates, from) {
            let lookup = LookupId { ix: walk.lead, generation: walk.generation };
            self.notify(
                m,
                Notice { kind: NoticeKind::Acknowledged, endpoint: from, lookup, ..Notice::EMPTY },
            );
        }
        self.settle(m, ix);
    }

    /// Offers the nodes of an answer to the walk of their family in the same lookup.
    fn take_nodes(&mut self, m: &mut Memory<'_>, ix: Ix, nodes: CompactNodes<'_>) {
        let family = nodes.family();
        let is_own = m.walks[ix].family() == family;
        let ix = if is_own { Some(ix) } else { m.walks[ix].sibling.some() };
        let Some(ix) = ix.filter(|&ix| m.walks[ix].phase.is_under_way()) else {
            return self.take_foreign(m, nodes);
        };
        let mut usable = heapless::Vec::<Contact, MAX_NODES>::new();
        for (id, addr) in nodes.iter().take(MAX_NODES) {
            let endpoint = Endpoint::from(addr);
            if endpoint.family() != family || !self.is_candidate(id, endpoint) {
                self.stats.contacts_refused += 1;
            } else if !self.contacts.is_suspect(m.contacts, endpoint, self.now.secs()) {
                usable.extend([Contact { id, endpoint }]);
            }
        }
        let (walk, memory) = self.searches.walk(m, ix);
        let target = walk.target;
        usable.sort_unstable_by_key(|contact| target.distance(&contact.id));
        // No more than an answer is to list (BEP 5): a few liars must not crowd out everybody else.
        for contact in usable.iter().take(K.max(walk.k.into())) {
            walk.add(memory.candidates, Some(contact.id), contact.endpoint);
        }
        if !is_own {
            self.settle(m, ix);
        }
    }

    /// Pings nodes of a family that the lookup does not walk in, or not any more, while few are
    /// known there: over them a node comes from one DHT into the other (B32-18).
    fn take_foreign(&mut self, m: &mut Memory<'_>, nodes: CompactNodes<'_>) {
        let (family, now) = (nodes.family(), self.now.secs());
        let state = self.family(family);
        // One answer at a time: the pings of the user and of upkeep must not wait behind them.
        if !state.on || state.table.len() >= FEW_NODES || self.inflight.next_waiting().is_some() {
            return;
        }
        let by_ip = self.config.source_limits;
        let mut hosts = heapless::Vec::<Endpoint, K>::new();
        for (id, addr) in nodes.iter().take(MAX_NODES) {
            let endpoint = Endpoint::from(addr);
            if endpoint.family() != family || !self.is_candidate(id, endpoint) {
                self.stats.contacts_refused += 1;
                continue;
            }
            let contact = Contact { id, endpoint };
            let is_tried = self.contacts.is_open(m.contacts, endpoint, now)
                || self.contacts.is_suspect(m.contacts, endpoint, now)
                || self.family(family).table.holds(&mut table_slots(m, family), contact)
                || hosts
                    .iter()
                    .any(|host| *host == endpoint || (by_ip && host.ip_bytes() == endpoint.ip_bytes()));
            if !is_tried && hosts.push(endpoint).is_ok() {
                self.inflight.enqueue(m.queries, endpoint, Some(id), Purpose::Check);
            }
        }
    }

    /// Whether a node that others named may be asked.
    fn is_candidate(&self, id: NodeId, endpoint: Endpoint) -> bool {
        let family = self.family(endpoint.family());
        self.may_contact(endpoint) && id != family.id && family.own != Some(endpoint)
    }

    /// Remembers a peer that was found, unless it was found before.
    fn take_peer(&mut self, m: &mut Memory<'_>, ix: Ix, peer: Endpoint) {
        if !self.may_contact(peer) {
            self.stats.contacts_refused += 1;
            return;
        }
        let (walk, memory) = self.searches.walk(m, ix);
        let count = usize::from(walk.found);
        if memory.found[..count].contains(&peer) {
            return;
        }
        match memory.found.get_mut(count).filter(|_| walk.found < u16::MAX) {
            Some(place) => {
                *place = peer;
                walk.found += 1;
                self.searches.unreported += 1;
            }
            None => self.stats.peers_lost += 1,
        }
    }
}

/// The life of a walk.
impl Core {
    /// Looks at what a walk wants now: puts it among those that are ready, lets it wait, or ends it.
    pub(super) fn settle(&mut self, m: &mut Memory<'_>, ix: Ix) {
        if !m.walks[ix].phase.is_under_way() {
            return;
        }
        let (walk, memory) = self.searches.walk(m, ix);
        let step = walk.next(memory.candidates);
        let resumed_in_vain = walk.resumed && walk.acknowledged == 0;
        match step {
            Step::Query(_) | Step::Announce(_) => self.searches.set_phase(m, ix, Phase::Ready),
            Step::Wait => self.searches.set_phase(m, ix, Phase::Waiting),
            Step::Finish if resumed_in_vain => self.restart(m, ix),
            Step::Finish if self.is_parked(m, ix) => {
                self.searches.set_phase(m, ix, Phase::Waiting);
                self.timers.set_earlier(Timer::Parked, m.walks[ix].started + PARKED);
            }
            Step::Finish => self.end(m, ix),
        }
    }

    /// Contacts have become known: lookups that had none begin.
    pub(super) fn unpark(&mut self, m: &mut Memory<'_>) {
        let options = self.config.lookup;
        for ix in (0..m.walks.len()).map(Ix::new) {
            if m.walks[ix].phase == Phase::Waiting && m.walks[ix].len() == 0 {
                self.seed(m, ix, &options);
                self.settle(m, ix);
            }
        }
    }

    /// Ends lookups that found nobody to ask for too long.
    pub(super) fn end_parked(&mut self, m: &mut Memory<'_>) {
        for at in 0..m.walks.len() {
            let ix = Ix::new(at);
            if m.walks[ix].phase == Phase::Waiting {
                self.settle(m, ix);
            }
        }
    }

    /// The next peer that a lookup found.
    pub(super) fn next_found(&mut self, m: &mut Memory<'_>) -> Option<(LookupId, Endpoint)> {
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
    pub(super) fn next_completed(&mut self, m: &mut Memory<'_>) -> Option<(LookupId, LookupReport)> {
        let lead = self.searches.completed.front()?;
        let walk = m.walks[lead];
        let sibling = walk.sibling.some();
        let report = report(&walk, sibling.map(|ix| &m.walks[ix]), self.now);
        self.searches.set_phase(m, lead, Phase::Remembered);
        if let Some(sibling) = sibling {
            self.searches.set_phase(m, sibling, Phase::Remembered);
        }
        Some((LookupId { ix: lead, generation: walk.generation }, report))
    }

    pub(super) fn lookup_report(&self, view: View<'_>, lookup: LookupId) -> Option<LookupReport> {
        let lead = Self::current(view.walks, lookup)?;
        let walk = &view.walks[lead];
        Some(report(walk, walk.sibling.some().map(|ix| &view.walks[ix]), self.now))
    }

    pub(super) fn lookup_nodes<'a>(
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

    pub(super) const fn lookup_count(&self) -> usize {
        self.searches.ready.len() + self.searches.waiting.len()
    }

    /// The families whose nodes a lookup asks for.
    pub(super) const fn want(&self, walk: &Walk) -> Want {
        let sibling = &self.families[1 - walk.family().index()];
        if sibling.on && sibling.table.len() < FEW_NODES { Want::BOTH } else { Want::NONE }
    }

    /// The walk that leads a lookup which has not been reported.
    fn current(walks: &[Slot<Walk>], lookup: LookupId) -> Option<Ix> {
        let walk = &walks.get(lookup.ix.position())?.value;
        let is_current =
            walk.generation == lookup.generation && walk.lead == lookup.ix && walk.phase.has_events();
        is_current.then_some(lookup.ix)
    }

    /// A walk that is still under way.
    fn active(&self, m: &Memory<'_>, reference: WalkRef) -> Option<Ix> {
        let walk = &m.walks[reference.ix];
        (walk.generation == reference.generation && walk.phase.is_under_way()).then_some(reference.ix)
    }

    /// A free slot, or that of the lookup that was reported longest ago, unless it is one of
    /// `taken`, or for the user that of a refresh, which can wait.
    fn take_walk(&mut self, m: &mut Memory<'_>, goal: Goal, taken: [Option<Ix>; 2]) -> Option<Ix> {
        let ix = self.searches.pool.take(m.walks).or_else(|| {
            let ix = self.searches.remembered.iter(m.walks).find(|&ix| !taken.contains(&Some(ix)))?;
            self.searches.remembered.remove(m.walks, ix);
            Some(ix)
        });
        let ix = match ix {
            Some(ix) => ix,
            None if goal == Goal::Refresh => return None,
            None => {
                let is_refresh = |walk: &Walk| walk.goal == Goal::Refresh && walk.phase.is_under_way();
                let ix = Ix::new(m.walks.iter().position(|slot| is_refresh(&slot.value))?);
                self.on_upkeep_done(m, m.walks[ix].family(), Goal::Refresh, 0);
                self.searches.list(m.walks[ix].phase)?.remove(m.walks, ix);
                ix
            }
        };
        m.walks[ix].phase = Phase::Free;
        Some(ix)
    }

    /// Gives a walk its first candidates: nodes of the table, bootstrap hosts while there are few
    /// (L-06), and our own stored peers as its first finds.
    fn seed(&mut self, m: &mut Memory<'_>, ix: Ix, options: &LookupOptions) {
        let (family, target, goal) = (m.walks[ix].family(), m.walks[ix].target, m.walks[ix].goal);
        if let Some(only) = options.only {
            let (walk, memory) = self.searches.walk(m, ix);
            walk.add(memory.candidates, None, only.into());
            return;
        }
        let table = &self.family(family).table;
        let main: &[Entry] = table_slots(m, family).main;
        let seeds: heapless::Vec<Contact, SEEDS> = table
            .closest::<SEEDS>(main, &target, Filter::Live, self.now)
            .into_iter()
            .map(|e| e.contact())
            .collect();
        let few = table.len() < K;
        let (walk, memory) = self.searches.walk(m, ix);
        for contact in &seeds {
            walk.add(memory.candidates, Some(contact.id), contact.endpoint);
        }
        if few {
            for at in 0..usize::from(self.bootstraps) {
                let endpoint = m.bootstraps[at];
                if endpoint.family() == family {
                    let (walk, memory) = self.searches.walk(m, ix);
                    walk.add(memory.candidates, None, endpoint);
                }
            }
        }
        if matches!(goal, Goal::GetPeers | Goal::Announce(_)) {
            self.take_own_peers(m, ix);
        }
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

    /// A remembered walk whose tokens serve an announce (T-08).
    fn with_tokens(&self, m: &mut Memory<'_>, family: Family, target: NodeId) -> Option<Ix> {
        let fits = |walk: &Walk| {
            walk.target == target
                && walk.family() == family
                && !walk.alone
                && matches!(walk.goal, Goal::GetPeers | Goal::Announce(_))
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

    fn resume(&mut self, m: &mut Memory<'_>, ix: Ix, goal: Goal, options: &LookupOptions) {
        let Goal::Announce(announce) = goal else { return };
        let now = self.now;
        let (walk, memory) = self.searches.walk(m, ix);
        walk.resume(memory.candidates, announce, options, now);
        self.searches.unreported += usize::from(walk.found);
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

    fn end(&mut self, m: &mut Memory<'_>, ix: Ix) {
        m.walks[ix].ended = self.now;
        self.searches.set_phase(m, ix, Phase::Ended);
        let walk = m.walks[ix];
        if matches!(walk.goal, Goal::Refresh | Goal::Bootstrap) {
            self.on_upkeep_done(m, walk.family(), walk.goal, walk.answered);
        }
        let sibling = walk.sibling.some();
        if sibling.is_some_and(|sibling| m.walks[sibling].phase.is_under_way()) {
            return;
        }
        if walk.goal == Goal::Refresh {
            self.searches.set_phase(m, ix, Phase::Remembered);
        } else {
            self.searches.set_phase(m, walk.lead, Phase::Completed);
        }
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
