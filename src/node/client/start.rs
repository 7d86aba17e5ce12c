//! Commands that start queries and lookups, and what their responses and failures change.

use crate::base::addr::{Endpoint, Family};
use crate::base::id::{Distance, K, NodeId};
use crate::base::pool::Ix;
use crate::base::time::Instant;
use crate::guard::secure_id::is_secure;
use crate::lookup::{Goal, Lookup, LookupOptions, Phase, SearchKind, Traversal, Verdict, Weight, Window};
use crate::node::api::error::{ContactError, Limit, StartError};
use crate::node::api::event::{PackedEvent, PackedKind};
use crate::node::api::ids::{LookupId, QueryId};
use crate::node::client::phases::TraversalMut;
use crate::node::core::Core;
use crate::node::maintenance::joining::FEW_NODES;
use crate::node::storage::sealed::Memory;
use crate::rpc::inflight::{Match, Purpose, Query, QueryResult, TraversalRef};
use crate::table::Contact;
use crate::wire::{CompactNodes, ErrorCode, Message, MethodKind, Response};

/// Maximum number of nodes taken from one response; deployed nodes send up to 20.
const MAX_NODES: usize = 32;

/// Maximum number of peers taken from one response; fewer fit into a datagram on Ethernet.
const MAX_PEERS: usize = 256;

/// Commands.
impl Core {
    pub(in crate::node) fn lookup(
        &mut self,
        m: &mut Memory<'_>,
        now: Instant,
        lookup: Lookup,
        options: &LookupOptions,
    ) -> Result<LookupId, StartError> {
        self.advance(now);
        let target = lookup.target();
        let goal = match lookup {
            Lookup::FindNode(_) => Goal::FindNode,
            Lookup::GetPeers(_) => Goal::GetPeers,
            Lookup::Scrape(_) => Goal::Scrape,
            Lookup::Announce(_, announce) if announce.port == 0 => return Err(StartError::PortZero),
            Lookup::Announce(_, announce) => Goal::Announce(announce),
            #[cfg(feature = "items")]
            Lookup::GetImmutable(_) => Goal::Get(self.alloc_lookup_item(m, target, None)?),
            #[cfg(feature = "items")]
            Lookup::GetMutable(key, salt) => {
                Goal::Get(self.alloc_lookup_item(m, target, Some((key, salt)))?)
            }
        };
        #[cfg(feature = "items")]
        if goal.item().is_some() {
            return self.lookup_item(m, goal, target, options);
        }
        self.start_for_user(m, goal, target, options)
    }

    pub(in crate::node) fn start_for_user(
        &mut self,
        m: &mut Memory<'_>,
        goal: Goal,
        target: NodeId,
        options: &LookupOptions,
    ) -> Result<LookupId, StartError> {
        let mut families = self.families_on()?;
        if let Some(only) = options.only {
            let endpoint = Endpoint::from(only);
            self.check_contact(endpoint)?;
            families = Family::ALL.map(|family| family == endpoint.family());
        }
        let lookup = if goal.traits().search == SearchKind::Filters {
            self.start_scrape(m, target, families, options)
        } else {
            self.start(m, goal, [target; 2], families, options, Ix::NONE)
        };
        self.abort_stalled_query(m);
        lookup
    }

    pub(in crate::node) fn ping(
        &mut self,
        m: &mut Memory<'_>,
        now: Instant,
        to: Endpoint,
    ) -> Result<QueryId, ContactError> {
        self.start_ping(m, now, to, Purpose::Ping)
    }

    pub(in crate::node) fn start_ping(
        &mut self,
        m: &mut Memory<'_>,
        now: Instant,
        to: Endpoint,
        purpose: Purpose,
    ) -> Result<QueryId, ContactError> {
        self.advance(now);
        self.check_contact(to)?;
        let ix = self.inflight.enqueue(m.queries, to, None, purpose);
        let ix = ix.ok_or_else(|| Limit::Queries.shortage(m.queries.len(), 1))?;
        Ok(QueryId { ix, generation: m.queries[ix].generation })
    }

    pub(in crate::node) fn cancel(&mut self, m: &mut Memory<'_>, lookup: LookupId) -> bool {
        let Some(lead) = Self::current(m.traversals, lookup) else { return false };
        let (publication, goal, target) =
            (m.traversals[lead].publication.some(), m.traversals[lead].goal, m.traversals[lead].target);
        let sibling = m.traversals[lead].sibling.some();
        let is_placed =
            [Some(lead), sibling].into_iter().flatten().any(|ix| m.traversals[ix].acknowledged > 0);
        Self::end_scrape(m, lead);
        self.end_traversals(m, lead);
        let is_published = self.republisher.find(m.publications, &target, false).is_some();
        if goal.announce().is_some() && !is_placed && !is_published {
            self.remove_own(m, target.into());
        }
        if let Some(publication) = publication {
            self.on_republish_cancelled(m, publication);
        }
        true
    }

    /// Ends the traversals of a lookup that was not reported.
    pub(in crate::node) fn end_traversals(&mut self, m: &mut Memory<'_>, lead: Ix) {
        for ix in [Some(lead), m.traversals[lead].sibling.some()].into_iter().flatten() {
            let traversal = m.traversals[ix];
            self.traversals.unreported -= usize::from(traversal.found - traversal.reported);
            if traversal.goal.is_join() && traversal.phase.is_under_way() {
                self.on_maintenance_done(m, &traversal);
            }
            self.traversals.set_phase(m, ix, Phase::Free);
        }
    }

    pub(in crate::node) fn cancel_query(&mut self, m: &mut Memory<'_>, query: QueryId) -> bool {
        let is_current = self.inflight.is_current(m.queries, query.ix, query.generation);
        if is_current {
            if let Purpose::Sample(slot) = m.queries[query.ix].purpose {
                m.samplings[slot.position()].free();
            }
            self.inflight.cancel(m.queries, query.ix);
            self.blocked = None;
        }
        is_current
    }

    /// Starts a traversal in each of `families`, or continues one whose tokens are still valid.
    ///
    /// `publication` is the one that the lookup republishes, if any.
    pub(in crate::node) fn start(
        &mut self,
        m: &mut Memory<'_>,
        goal: Goal,
        targets: [NodeId; 2],
        families: [bool; 2],
        options: &LookupOptions,
        publication: Ix,
    ) -> Result<LookupId, StartError> {
        let wanted = || Family::ALL.into_iter().filter(|family| families[family.index()]);
        let mut resumable = [None; 2];
        if options.only.is_none() {
            for family in wanted() {
                resumable[family.index()] = self.find_resumable(m, family, goal, targets[family.index()]);
            }
        }
        let traversals = self.alloc_traversals(m, goal, families, publication, resumable);
        let full = Limit::Traversals.shortage(m.traversals.len(), wanted().count());
        let traversals = traversals.ok_or(full)?;
        let taken = || traversals.into_iter().flatten();
        let lead = taken().next().ok_or(full)?;
        if let Some(announce) = goal.announce()
            && options.only.is_none()
        {
            let target = wanted().map(|family| targets[family.index()]).next();
            target.into_iter().for_each(|target| self.store_own(m, target.into(), announce));
        }
        self.traversals.generation = self.traversals.generation.wrapping_add(1);
        let mut peer_room = options.max_peers;
        for family in wanted() {
            let Some(ix) = traversals[family.index()] else { continue };
            let sibling = taken().find(|&other| other != ix).unwrap_or(Ix::NONE);
            let resumed = m.traversals[ix].phase == Phase::Remembered
                && self.resume(m, ix, goal, options, publication, &mut peer_room);
            if m.traversals[ix].phase == Phase::Free {
                let limits_sources = self.config.source_limits;
                m.traversals[ix] =
                    Traversal::new(goal, targets[family.index()], family, options, limits_sources, self.now);
            }
            #[cfg(feature = "items")]
            {
                m.traversals[ix].items.check = Self::check_of(m, goal, publication);
            }
            // Without source limits, many nodes may share a host, and their ids need not be uniform.
            let density = &self.family(family).density;
            let expected = if self.config.source_limits { density.trusted() } else { None };
            let requires_secure_ids = self.config.enforce_secure_ids;
            let traversal = &mut m.traversals[ix];
            traversal.expect(expected, requires_secure_ids);
            (traversal.lead, traversal.sibling, traversal.publication) = (lead, sibling, publication);
            traversal.generation = self.traversals.generation;
            self.traversals.set_phase(m, ix, Phase::Waiting);
            if !resumed {
                self.seed(m, ix, options);
            }
        }
        let generation = self.traversals.generation;
        taken().for_each(|ix| self.reschedule(m, ix));
        Ok(LookupId { ix: lead, generation })
    }

    /// Allocates a traversal in each of `families` that has no resumable one; `None` if there are too few.
    fn alloc_traversals(
        &mut self,
        m: &mut Memory<'_>,
        goal: Goal,
        families: [bool; 2],
        publication: Ix,
        resumable: [Option<Ix>; 2],
    ) -> Option<[Option<Ix>; 2]> {
        let wanted = || Family::ALL.into_iter().filter(|family| families[family.index()]);
        let recalled = resumable.iter().flatten().count();
        if recalled + self.available_traversals(m, goal, publication, recalled) < wanted().count() {
            // Checked first, so that no other lookup is preempted in vain.
            return None;
        }
        let mut traversals = resumable;
        for family in wanted() {
            if traversals[family.index()].is_none() {
                traversals[family.index()] = self.alloc_traversal(m, goal, publication, traversals);
            }
        }
        let taken = || traversals.into_iter().flatten();
        if taken().count() == wanted().count() {
            return Some(traversals);
        }
        for ix in taken() {
            if m.traversals[ix].phase == Phase::Free {
                self.traversals.set_phase(m, ix, Phase::Free);
            }
        }
        None
    }
}

/// Responses.
impl Core {
    pub(in crate::node) fn on_response(
        &mut self,
        m: &mut Memory<'_>,
        from: Endpoint,
        message: &Message<'_>,
        response: &Response<'_>,
    ) {
        let Some(ix) = self.find_query(m, from, message.transaction) else { return };
        let family = from.family();
        if response.id == self.family(family).id {
            return self.reject_response(m, ix);
        }
        let rtt = self.now - m.queries[ix].sent;
        let outcome = QueryResult::Responded { id: response.id, rtt };
        let query = self.inflight.finish(m.queries, ix, outcome);
        self.stats.responses_in.count(query.method);
        self.rtt.record(rtt);
        self.note_genuine(m, from);
        let expected = query.id.filter(|&expected| expected != response.id);
        // A node that responds with another id than the one it was listed under is not added to the table (L-07),
        // and the entry with its address is removed. The failure does not count against the host: the node
        // that listed it may have lied.
        let is_known = expected.is_none_or(|id| {
            let contact = Contact { id, endpoint: from };
            self.family_mut(family).table_mut(m).is_known(contact)
        });
        if expected.is_none() {
            self.reputations.on_response(m.reputations, from, query.sent);
            if query.method == MethodKind::Get {
                self.reputations.on_get_support(m.reputations, from, true, self.now);
            }
        }
        let contact = Contact { id: response.id, endpoint: from };
        if message.read_only {
            self.drop_node(m, Contact { id: query.id.unwrap_or(response.id), ..contact });
        } else if is_known {
            self.offer_node(m, contact, rtt);
        }
        self.end_restoring(m, from);
        self.ping_listed(m, from, response);
        match query.purpose {
            Purpose::Ping | Purpose::Check => {}
            Purpose::Sample(slot) => self.accept_sample(m, slot, response),
            Purpose::Lookup(traversal) => self.on_step_response(m, traversal, &query, response),
            Purpose::Announce(traversal) => self.on_stored(m, traversal, from),
            Purpose::Probe(traversal, window) => self.on_probe_response(m, traversal, window, from, response),
        }
        self.on_reported_address(m, from, message.requester);
    }

    /// Handles an error, which proves that a node is alive but does not help a lookup.
    pub(in crate::node) fn on_error(
        &mut self,
        m: &mut Memory<'_>,
        from: Endpoint,
        message: &Message<'_>,
        code: ErrorCode,
    ) {
        let Some(ix) = self.find_query(m, from, message.transaction) else { return };
        let outcome = QueryResult::Refused(code.0);
        let query = self.inflight.finish(m.queries, ix, outcome);
        self.stats.errors_in.count(query.method);
        self.rtt.record(self.now - query.sent);
        self.note_genuine(m, from);
        self.reputations.on_response(m.reputations, from, query.sent);
        if query.method == MethodKind::Get {
            let knows = code != ErrorCode::METHOD_UNKNOWN;
            self.reputations.on_get_support(m.reputations, from, knows, self.now);
        }
        self.end_restoring(m, from);
        if let Some(id) = query.id {
            let (contact, now) = (Contact { id, endpoint: from }, self.now);
            self.family_mut(from.family()).table_mut(m).ping_lost(contact, now);
        }
        self.on_step_failed(m, &query, outcome);
        self.on_reported_address(m, from, message.requester);
    }

    /// Ends the query of a response that has no valid id (BEP 5).
    pub(in crate::node) fn on_response_without_id(
        &mut self,
        m: &mut Memory<'_>,
        from: Endpoint,
        transaction: &[u8],
    ) {
        self.note_traffic(m, self.now);
        if let Some(ix) = self.find_query(m, from, transaction) {
            self.reject_response(m, ix);
        }
    }

    /// Handles a query of this node that came back: the address to which it was sent is the node's own.
    pub(in crate::node) fn on_own_query(&mut self, m: &mut Memory<'_>, from: Endpoint, transaction: &[u8]) {
        // The transaction id is the proof: any node can send a query with this node's id.
        let Match::Query(ix) = self.inflight.find(m.queries, from, transaction) else {
            return;
        };
        self.family_mut(from.family()).own = Some(from);
        self.stats.reflected += 1;
        self.on_malformed(m, ix);
    }

    pub(in crate::node) fn on_stalled(&mut self, m: &mut Memory<'_>, query: &Query) {
        self.stats.stalled += 1;
        let Some(reference) = query.purpose.traversal() else { return };
        let Some(ix) = self.active(m, reference) else { return };
        let TraversalMut { state: traversal, candidates, .. } = self.traversals.traversal(m, ix);
        match query.purpose {
            Purpose::Announce(_) => traversal.on_announce_stall(candidates, query.to),
            Purpose::Probe(_, window) => traversal.on_probe_failed(window),
            Purpose::Lookup(_) => {
                if traversal.on_stall(candidates, query.to) {
                    self.reputations.on_get_ignored(m.reputations, query.to, self.now);
                }
            }
            Purpose::Ping | Purpose::Check | Purpose::Sample(_) => {}
        }
        self.reschedule(m, ix);
    }

    /// Handles a query of a lookup that ended without a useful response.
    pub(in crate::node) fn on_step_failed(
        &mut self,
        m: &mut Memory<'_>,
        query: &Query,
        outcome: QueryResult,
    ) {
        let Some(reference) = query.purpose.traversal() else { return };
        let Some(ix) = self.active(m, reference) else { return };
        let timed_out = outcome == QueryResult::TimedOut;
        let TraversalMut { state: traversal, candidates, .. } = self.traversals.traversal(m, ix);
        match query.purpose {
            Purpose::Announce(_) if timed_out => traversal.on_announce_stall(candidates, query.to),
            Purpose::Announce(_) => {
                let code = if let QueryResult::Refused(code) = outcome { Some(code) } else { None };
                #[cfg(feature = "items")]
                if self.retries_put(m, ix, query, code) {
                    return self.reschedule(m, ix);
                }
                #[cfg(feature = "items")]
                if self.is_held(m, ix, query.to, code) {
                    return self.on_stored(m, reference, query.to);
                }
                let TraversalMut { state: traversal, candidates, .. } = self.traversals.traversal(m, ix);
                traversal.on_refused(candidates, query.to, code);
            }
            Purpose::Probe(_, window) => traversal.on_probe_failed(window),
            Purpose::Lookup(_) if timed_out => traversal.on_timeout(candidates, query.to),
            Purpose::Lookup(_)
                if query.method == MethodKind::Get
                    && outcome == QueryResult::Refused(ErrorCode::METHOD_UNKNOWN.0) =>
            {
                traversal.on_method_unknown(candidates, query.to);
            }
            Purpose::Lookup(_) => traversal.on_failure(candidates, query.to),
            Purpose::Ping | Purpose::Check | Purpose::Sample(_) => {}
        }
        self.reschedule(m, ix);
    }

    /// Drops a response with an invalid id, which ends its query.
    fn reject_response(&mut self, m: &mut Memory<'_>, ix: Ix) {
        self.stats.dropped.bad_reply += 1;
        self.on_malformed(m, ix);
    }

    fn on_malformed(&mut self, m: &mut Memory<'_>, ix: Ix) {
        let query = self.inflight.finish(m.queries, ix, QueryResult::Malformed);
        self.on_failed(m, &query, QueryResult::Malformed);
    }

    /// Handles the response to a query of a lookup: adds its nodes and peers.
    fn on_step_response(
        &mut self,
        m: &mut Memory<'_>,
        reference: TraversalRef,
        query: &Query,
        response: &Response<'_>,
    ) {
        let Some(ix) = self.active(m, reference) else { return };
        let from = query.to;
        let by = Contact { id: response.id, endpoint: from };
        let weight = self.weight(m, ix, query, response);
        let TraversalMut { state: traversal, candidates, tokens, .. } = self.traversals.traversal(m, ix);
        let wants_peers = traversal.goal.traits().search.finds_peers() && traversal.phase.has_events();
        let (id, token) = (response.id, response.token);
        let verdict = traversal.on_response(candidates, tokens, from, id, token, weight);
        if verdict == Verdict::Accepted {
            for nodes in [response.nodes, response.nodes6].into_iter().flatten() {
                self.accept_nodes(m, ix, nodes, by);
            }
            let wants_peers = wants_peers && self.accept_filters(m, ix, response);
            if let Some(values) = response.values.filter(|_| wants_peers) {
                for peer in values.iter().take(MAX_PEERS) {
                    let endpoint = Endpoint::from(peer);
                    // An IPv4 address in 18 bytes is no peer of either family (BEP 32).
                    if peer.is_ipv4() == (endpoint.family() == Family::V4) {
                        self.accept_peer(m, ix, endpoint);
                    } else {
                        self.stats.contacts_refused += 1;
                    }
                }
            }
            #[cfg(feature = "items")]
            self.accept_item(m, ix, from, response);
        }
        self.reschedule(m, ix);
    }

    /// Returns how much a response counts in a lookup.
    fn weight(&self, m: &mut Memory<'_>, ix: Ix, query: &Query, response: &Response<'_>) -> Weight {
        let lacks_get = |m: &Memory<'_>| self.reputations.lacks_get(m.reputations, query.to, self.now);
        if self.config.enforce_secure_ids && !is_secure(&response.id, query.to) {
            Weight::NodesOnly
        } else if !m.traversals[ix].seeks_item() || query.method == MethodKind::Get {
            Weight::Full
        } else if lacks_get(m) {
            Weight::NodesOnly
        } else {
            self.reputations.on_get_ignored(m.reputations, query.to, self.now);
            if lacks_get(m) { Weight::NodesOnly } else { Weight::Alive }
        }
    }

    /// Handles the response to a probe for nodes beyond the horizon of a lookup.
    fn on_probe_response(
        &mut self,
        m: &mut Memory<'_>,
        reference: TraversalRef,
        window: Window,
        from: Endpoint,
        response: &Response<'_>,
    ) {
        let Some(ix) = self.active(m, reference) else { return };
        let all = [response.nodes, response.nodes6].into_iter().flatten();
        let traversal = &mut m.traversals[ix];
        let (family, at) = (traversal.family(), traversal.probe_target(window));
        let own = all.clone().filter(|nodes| nodes.family() == family);
        let reach = own.flat_map(|nodes| nodes.iter().map(|(id, _)| at.distance(&id))).max();
        traversal.on_probe_response(window, reach.unwrap_or(Distance::ZERO));
        let by = Contact { id: response.id, endpoint: from };
        all.for_each(|nodes| self.accept_nodes(m, ix, nodes, by));
        self.reschedule(m, ix);
    }

    fn on_stored(&mut self, m: &mut Memory<'_>, reference: TraversalRef, from: Endpoint) {
        let Some(ix) = self.active(m, reference) else { return };
        let TraversalMut { state: traversal, candidates, .. } = self.traversals.traversal(m, ix);
        if traversal.on_stored(candidates, from) && traversal.phase.has_events() {
            let lookup = LookupId { ix: traversal.lead, generation: traversal.generation };
            self.notify(
                m,
                PackedEvent { kind: PackedKind::Acknowledged, endpoint: from, lookup, ..PackedEvent::EMPTY },
            );
        }
        self.reschedule(m, ix);
    }

    /// Offers the nodes in a response of node `by` to the traversal of their family in the same lookup.
    fn accept_nodes(&mut self, m: &mut Memory<'_>, ix: Ix, nodes: CompactNodes<'_>, by: Contact) {
        let family = nodes.family();
        let is_own = m.traversals[ix].family() == family;
        let ix = if is_own { Some(ix) } else { m.traversals[ix].sibling.some() };
        let Some(ix) = ix.filter(|&ix| m.traversals[ix].is_active()) else {
            return self.ping_other_family(m, nodes);
        };
        self.offer_candidates(m, ix, nodes, by, is_own);
        if !is_own {
            self.reschedule(m, ix);
        }
    }

    /// Offers listed nodes to a traversal. Out of line, because the list of them takes much stack.
    #[inline(never)]
    fn offer_candidates(
        &mut self,
        m: &mut Memory<'_>,
        ix: Ix,
        nodes: CompactNodes<'_>,
        by: Contact,
        is_own: bool,
    ) {
        let (family, target) = (nodes.family(), m.traversals[ix].target);
        // The closest first.
        let mut usable = heapless::Vec::<(Contact, bool), MAX_NODES>::new();
        for (id, addr) in nodes.iter().take(MAX_NODES) {
            let endpoint = Endpoint::from(addr);
            if endpoint.family() != family || !self.is_candidate(id, endpoint) {
                self.stats.contacts_refused += 1;
            } else {
                let is_suspect = self.reputations.is_suspect(m.reputations, endpoint, self.now);
                let distance = target.distance(&id);
                // From the back, because most nodes list the closest first.
                let before = usable.iter().rposition(|(other, _)| target.distance(&other.id) <= distance);
                let place = before.map_or(0, |before| before + 1);
                let _ = usable.insert(place, (Contact { id, endpoint }, is_suspect));
            }
        }
        let TraversalMut { state: traversal, candidates, .. } = self.traversals.traversal(m, ix);
        if let Some((farthest, _)) = usable.last().filter(|_| is_own) {
            traversal.on_list(&by.id, &farthest.id, usable.len());
        }
        // No more than a response should list (BEP 5), so that a few liars cannot displace all others.
        for (contact, is_suspect) in usable.iter().take(K.max(traversal.k.into())) {
            traversal.add_listed(candidates, contact.id, contact.endpoint, *is_suspect, by.endpoint);
        }
    }

    /// Pings the nodes that a bootstrap host lists while few are known.
    ///
    /// In a lookup, malicious nodes would be closer to any target than these.
    fn ping_listed(&mut self, m: &mut Memory<'_>, from: Endpoint, response: &Response<'_>) {
        let state = self.family(from.family());
        // A node that has not joined yet queries them anyway.
        if state.ready && state.table.len() < FEW_NODES && self.bootstraps(m).contains(&from) {
            for nodes in [response.nodes, response.nodes6].into_iter().flatten() {
                self.ping_other_family(m, nodes);
            }
        }
    }

    /// Pings listed nodes of a family that the lookup does not traverse, while few are known in that family.
    ///
    /// This is how a node gets from one DHT into the other (B32-18).
    fn ping_other_family(&mut self, m: &mut Memory<'_>, nodes: CompactNodes<'_>) {
        let (family, now) = (nodes.family(), self.now);
        let state = self.family(family);
        // The nodes of one response at a time, so that pings of the user and of maintenance do not wait for long.
        if !state.on || state.table.len() >= FEW_NODES || self.inflight.has_waiting() {
            return;
        }
        let limits_sources = self.config.source_limits;
        let mut hosts = heapless::Vec::<Endpoint, K>::new();
        for (id, addr) in nodes.iter().take(MAX_NODES) {
            let endpoint = Endpoint::from(addr);
            if endpoint.family() != family || !self.is_candidate(id, endpoint) {
                self.stats.contacts_refused += 1;
                continue;
            }
            let contact = Contact { id, endpoint };
            let is_tried = self.reputations.has_mapping(m.reputations, endpoint, now)
                || self.reputations.is_suspect(m.reputations, endpoint, now)
                || self.family_mut(family).table_mut(m).is_known(contact)
                || hosts.iter().any(|host| {
                    *host == endpoint || (limits_sources && host.ip_bytes() == endpoint.ip_bytes())
                });
            if !is_tried && hosts.push(endpoint).is_ok() {
                self.inflight.enqueue(m.queries, endpoint, Some(id), Purpose::Check);
            }
        }
    }

    /// Whether a listed node may be queried.
    pub(in crate::node) fn is_candidate(&self, id: NodeId, endpoint: Endpoint) -> bool {
        let family = self.family(endpoint.family());
        let is_own = id == family.id || family.own == Some(endpoint) || family.external.is_known_as(endpoint);
        self.may_contact(endpoint) && !is_own
    }

    /// Stores a peer that a lookup found, unless it was found before.
    pub(in crate::node) fn accept_peer(&mut self, m: &mut Memory<'_>, ix: Ix, peer: Endpoint) {
        if !self.may_contact(peer) {
            self.stats.contacts_refused += 1;
            return;
        }
        self.count_peer(m, ix, peer);
        let sibling = m.traversals[ix].sibling.some();
        let elsewhere = sibling.map_or(0, |sibling| m.traversals[sibling].found);
        let TraversalMut { state: traversal, found, .. } = self.traversals.traversal(m, ix);
        let count = usize::from(traversal.found);
        if found[..count].contains(&peer) {
            return;
        }
        let is_scrape = traversal.goal.traits().search == SearchKind::Filters;
        if !is_scrape && traversal.found.saturating_add(elsewhere) >= traversal.max_peers {
            traversal.has_more = true;
            return;
        }
        match found.get_mut(count).filter(|_| traversal.found < u16::MAX) {
            Some(place) => {
                *place = peer;
                traversal.found += 1;
                if is_scrape {
                    // A scrape counts peers without reporting them.
                    traversal.reported += 1;
                } else {
                    self.traversals.unreported += 1;
                }
            }
            // Already counted by the scrape.
            None if is_scrape => {}
            None => {
                traversal.has_more = true;
                self.stats.peers_lost += 1;
            }
        }
    }
}
