//! Output of a node: datagrams made from state, events, and the next deadline.

use core::time::Duration;

use crate::base::addr::{Endpoint, Family};
use crate::base::id::NodeId;
use crate::base::pool::{Ix, Slot};
use crate::base::time::Instant;
use crate::guard::rate::RateLimit;
#[cfg(feature = "items")]
use crate::lookup::Goal;
use crate::lookup::{Announce, SearchKind, Step, Token, Traversal};
use crate::node::api::error::QueryError;
use crate::node::api::event::{Event, Transmit};
use crate::node::api::ids::QueryId;
use crate::node::api::report::Pong;
use crate::node::client::phases::TraversalMut;
use crate::node::core::{Core, FamilyState};
use crate::node::storage::sealed::Memory;
use crate::rpc::inflight::{self, Deadlines, Purpose, QueryResult, TraversalRef};
use crate::rpc::reputation::Clearance;
use crate::table::{Contact, Entry, Filter};
use crate::wire::{Body, ErrorCode, Message, Method, Query, Want};

/// The timeout of a query that belongs to no lookup.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Whether a query may be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Permit {
    Granted,
    /// Not before this time, because the destination was queried a lot recently. Other queries may be sent.
    Busy(Instant),
    /// Not before this time, because no query slot or no allowance for new endpoints is left.
    Short(Instant),
}

impl Core {
    /// Whether [`poll_transmit`](Self::poll_transmit) may have anything to send.
    pub(in crate::node) fn may_transmit(&mut self, now: Instant) -> bool {
        let now = self.advance(now);
        let is_due = |family: &FamilyState| family.on && family.table_due().any(|due| due <= now);
        !self.replies.is_empty()
            || self.inflight.may_have_waiting()
            || self.traversals.may_have_ready()
            || self.families.iter().any(is_due)
    }

    pub(in crate::node) fn poll_transmit(&mut self, m: &mut Memory<'_>, buf: &mut [u8]) -> Option<Transmit> {
        let transmit = self.next_transmit(m, buf)?;
        self.stats.datagrams_out += 1;
        self.stats.bytes_out += transmit.size as u64;
        Some(transmit)
    }

    pub(in crate::node) const fn has_events(&self) -> bool {
        !self.events.is_empty() || self.inflight.has_done() || self.traversals.has_events()
    }

    pub(in crate::node) fn poll_event(&mut self, m: &mut Memory<'_>) -> Option<Event> {
        if let Some(packed) = self.events.pop(m.events) {
            return Some(packed.event(Family::ALL.map(|family| self.family(family).id)));
        }
        if let Some((lookup, peer)) = self.next_found(m) {
            return Some(Event::Peer { lookup, peer: peer.into() });
        }
        if let Some((lookup, report)) = self.next_completed(m) {
            return Some(Event::LookupDone { lookup, report });
        }
        let (ix, query, outcome) = self.inflight.poll_done(m.queries)?;
        // A slot is free now, and a lookup may have waited for one.
        self.blocked = None;
        let (query_id, addr) = (QueryId { ix, generation: query.generation }, query.to.into());
        let result = match outcome {
            QueryResult::Responded { id, rtt } => Ok(Pong { id, rtt }),
            QueryResult::TimedOut => Err(QueryError::TimedOut),
            QueryResult::Unreachable => Err(QueryError::Unreachable),
            QueryResult::Refused(code) => Err(QueryError::Refused(ErrorCode(code))),
            QueryResult::Malformed => Err(QueryError::Malformed),
            QueryResult::Disabled => Err(QueryError::Disabled),
        };
        Some(match query.purpose {
            Purpose::Sample(slot) => {
                let result = self.report_sample(m, slot, result)?;
                Event::SampleDone { query: query_id, addr, result }
            }
            Purpose::Ping
            | Purpose::Check
            | Purpose::Lookup(_)
            | Purpose::Announce(_)
            | Purpose::Probe(..) => Event::QueryDone { query: query_id, addr, result },
        })
    }

    pub(in crate::node) fn poll_timeout(
        &self,
        queries: &[Slot<inflight::Query>],
        traversals: &[Slot<Traversal>],
    ) -> Option<Instant> {
        if self.has_events() || !self.replies.is_empty() {
            return Some(self.to_caller_clock(self.now));
        }
        let table_pings =
            self.families.iter().filter(|family| family.on).flat_map(|family| family.table_due());
        let is_ready = self.inflight.has_waiting() || self.traversals.has_ready();
        let sendable = table_pings.chain(is_ready.then_some(self.now)).min();
        let sendable = sendable.map(|at| at.max(self.blocked.unwrap_or(self.now)));
        let deadlines = [
            sendable,
            self.inflight.postponed_until(queries),
            self.traversals.held_until(traversals),
            self.inflight.next_deadline(queries),
            self.timers.next(),
        ];
        let deadlines = deadlines.map(|at| at.filter(|&at| at != Instant::NEVER));
        deadlines.into_iter().flatten().min().map(|at| self.to_caller_clock(at.max(self.now)))
    }

    /// Sends responses first, then queries that the user waits for, then maintenance.
    fn next_transmit(&mut self, m: &mut Memory<'_>, buf: &mut [u8]) -> Option<Transmit> {
        while let Some(reply) = self.replies.pop(m.replies) {
            let transmit = self.emit_if_server(m, &reply, buf);
            if transmit.is_some() {
                return transmit;
            }
        }
        // A query that must wait for its destination delays no other.
        while let Some(ix) = self.inflight.next_waiting(m.queries, self.now) {
            if self.is_stale(m, ix) {
                self.inflight.cancel(m.queries, ix);
                continue;
            }
            match self.permit(m, m.queries[ix].to) {
                Permit::Granted => return self.send_waiting(m, ix, buf),
                Permit::Busy(until) | Permit::Short(until) => self.inflight.postpone(m.queries, ix, until),
            }
        }
        if let Some(transmit) = self.next_step(m, buf) {
            return Some(transmit);
        }
        if self.blocked.is_some() {
            return None;
        }
        self.send_table_ping(m, buf).or_else(|| self.send_restored_ping(m, buf))
    }

    /// Returns the next datagram of a lookup; the traversals that are ready take turns.
    fn next_step(&mut self, m: &mut Memory<'_>, buf: &mut [u8]) -> Option<Transmit> {
        self.traversals.release(m, self.now);
        for _ in 0..self.traversals.ready_count() {
            let ix = self.traversals.next_ready(m.traversals)?;
            let TraversalMut { state: traversal, candidates, .. } = self.traversals.traversal(m, ix);
            debug_assert_eq!(traversal.planned, traversal.next(candidates).into(), "an outdated step");
            let planned = traversal.planned.step();
            let Some((step, position)) = planned.and_then(|step| Some((step, step.position()?))) else {
                self.reschedule(m, ix);
                continue;
            };
            let to = candidates[position].endpoint;
            match self.permit_query(m, to) {
                Permit::Granted => {
                    let query = self.enqueue_step(m, ix, step)?;
                    let transmit = self.send_waiting(m, query, buf);
                    self.reschedule(m, ix);
                    return transmit;
                }
                Permit::Busy(until) => self.traversals.hold(m, ix, until),
                Permit::Short(_) => {}
            }
        }
        None
    }

    /// Records a step of a traversal, and queues its query.
    ///
    /// `None` if the step sends nothing, or all slots are in use.
    pub(in crate::node) fn enqueue_step(&mut self, m: &mut Memory<'_>, ix: Ix, step: Step) -> Option<Ix> {
        if self.inflight.is_full(m.queries) {
            return None;
        }
        let TraversalMut { state: traversal, candidates, .. } = self.traversals.traversal(m, ix);
        let reference = TraversalRef { ix, generation: traversal.generation };
        let candidate = candidates[step.position()?];
        let is_repeat = matches!(step, Step::Query(_)) && traversal.is_repeat(&candidate);
        let purpose = match step {
            Step::Query(position) => {
                traversal.on_queried(candidates, position);
                Purpose::Lookup(reference)
            }
            Step::Announce(position) => {
                traversal.on_announced(candidates, position);
                Purpose::Announce(reference)
            }
            Step::Probe(position, window) => {
                traversal.on_probed(candidates, position, window);
                Purpose::Probe(reference, window)
            }
            Step::Wait | Step::Finish => return None,
        };
        let query = self.inflight.enqueue(m.queries, candidate.endpoint, candidate.id, purpose)?;
        m.queries[query].is_repeat = is_repeat;
        Some(query)
    }

    /// Sends a query that waits: a ping, or a step of a lookup.
    fn send_waiting(&mut self, m: &mut Memory<'_>, ix: Ix, buf: &mut [u8]) -> Option<Transmit> {
        match m.queries[ix].purpose {
            Purpose::Ping | Purpose::Check => self.send(m, ix, Method::Ping, self.default_deadlines(), buf),
            Purpose::Sample(slot) => {
                let target = m.samplings[slot.position()].target;
                let method = Method::SampleInfohashes { target, want: Want::NONE };
                self.send(m, ix, method, self.default_deadlines(), buf)
            }
            Purpose::Lookup(TraversalRef { ix: traversal, .. }) => self.send_search(m, ix, traversal, buf),
            Purpose::Announce(TraversalRef { ix: traversal, .. }) => {
                self.send_announce(m, ix, traversal, buf)
            }
            Purpose::Probe(TraversalRef { ix: traversal, .. }, window) => {
                let traversal = &m.traversals[traversal];
                let deadlines = self.deadlines(traversal);
                let method =
                    Method::FindNode { target: traversal.probe_target(window), want: self.want(traversal) };
                self.send(m, ix, method, deadlines, buf)
            }
        }
    }

    /// Sends the query of a traversal to a candidate.
    fn send_search(&mut self, m: &mut Memory<'_>, query: Ix, ix: Ix, buf: &mut [u8]) -> Option<Transmit> {
        let traversal = &m.traversals[ix];
        let (deadlines, want) = (self.deadlines(traversal), self.want(traversal));
        let (target, search) = (traversal.target, traversal.goal.traits().search);
        let method = match search {
            SearchKind::Nodes => Method::FindNode { target, want },
            SearchKind::Peers | SearchKind::Filters => {
                let scrape = search == SearchKind::Filters;
                Method::GetPeers { infohash: target.into(), want, noseed: false, scrape }
            }
            #[cfg(feature = "items")]
            SearchKind::Item => {
                let to = m.queries[query].to;
                let TraversalMut { state: traversal, candidates, .. } = self.traversals.traversal(m, ix);
                let queries_neighbours = traversal.queries_neighbours(candidates, to);
                if queries_neighbours || self.reputations.lacks_get(m.reputations, to, self.now) {
                    Method::FindNode { target, want }
                } else {
                    Method::Get { target, seq: None, want }
                }
            }
        };
        self.send(m, query, method, deadlines, buf)
    }

    /// Sends the announce or put of a traversal to one node.
    fn send_announce(&mut self, m: &mut Memory<'_>, query: Ix, ix: Ix, buf: &mut [u8]) -> Option<Transmit> {
        let to = m.queries[query].to;
        let TraversalMut { state: traversal, candidates, tokens, .. } = self.traversals.traversal(m, ix);
        let token = traversal.token_of(candidates, tokens, to).unwrap_or(Token::EMPTY);
        let deadlines = self.deadlines(traversal);
        let Some(Announce { port, implied_port, seed }) = traversal.goal.announce() else {
            #[cfg(feature = "items")]
            return self.send_put(m, query, ix, &token, deadlines, buf);
            #[cfg(not(feature = "items"))]
            return None;
        };
        let infohash = traversal.target.into();
        let (token, name) = (token.bytes(), None);
        let method = Method::AnnouncePeer { infohash, port, implied_port, seed, token, name };
        self.send(m, query, method, deadlines, buf)
    }

    /// Returns the deadlines of a traversal's next query.
    fn deadlines(&self, traversal: &Traversal) -> Deadlines {
        let stall = traversal.stall.unwrap_or_else(|| self.rtt.stall());
        // After the report, a retry must not fall into the same burst of losses.
        let factor = if traversal.announces_late() { 4 } else { 1 };
        Deadlines { stall: stall * factor, timeout: traversal.timeout }
    }

    /// Returns the deadlines of a query that belongs to no lookup.
    fn default_deadlines(&self) -> Deadlines {
        Deadlines { stall: self.rtt.stall(), timeout: TIMEOUT }
    }

    /// Sends a ping that is due in a routing table.
    fn send_table_ping(&mut self, m: &mut Memory<'_>, buf: &mut [u8]) -> Option<Transmit> {
        for family in Family::ALL {
            if !self.family(family).on {
                continue;
            }
            let now = self.now;
            let due = self.family(family).table.ping_due().is_some_and(|due| due <= now);
            if !due || !self.has_allowance(m) {
                continue;
            }
            let probe = self.next_ping_at();
            if probe > now {
                self.blocked = Some(probe);
                return None;
            }
            let Some(contact) = self.next_table_ping(m, family) else { continue };
            let ix = self.inflight.enqueue(m.queries, contact.endpoint, Some(contact.id), Purpose::Check)?;
            if now - self.heard > TIMEOUT {
                self.ping_second_node(m, contact);
            }
            self.checked = now;
            return self.send(m, ix, Method::Ping, self.default_deadlines(), buf);
        }
        None
    }

    /// Returns the node of a table to ping next; one that was queried a lot recently is skipped this time.
    fn next_table_ping(&mut self, m: &mut Memory<'_>, family: Family) -> Option<Contact> {
        let (now, unverified_ping_at) = (self.now, self.unverified_ping_at(m));
        let defer_unverified = unverified_ping_at > now;
        loop {
            let mut table = self.family_mut(family).table_mut(m);
            let Some(contact) = table.next_ping(defer_unverified, now) else {
                if defer_unverified && table.head.ping_due().is_some_and(|due| due <= now) {
                    self.blocked =
                        Some(self.blocked.map_or(unverified_ping_at, |at| at.min(unverified_ping_at)));
                }
                return None;
            };
            let permit = self.permit_query(m, contact.endpoint);
            if permit == Permit::Granted {
                return Some(contact);
            }
            self.family_mut(family).table_mut(m).ping_lost(contact, now);
            if let Permit::Short(_) = permit {
                return None;
            }
        }
    }

    /// Returns the restored node to ping next.
    fn next_restored_ping(&mut self, m: &mut Memory<'_>, family: Family) -> Option<Contact> {
        let now = self.now;
        loop {
            let contact = self.family_mut(family).table_mut(m).next_restored(now)?;
            match self.permit_query(m, contact.endpoint) {
                Permit::Granted => return Some(contact),
                Permit::Busy(_) => {}
                Permit::Short(_) => {
                    self.family_mut(family).table_mut(m).restored_unsent(contact.endpoint, now);
                    return None;
                }
            }
        }
    }

    /// Pings a restored node. Half of the slots and of the allowance is left to lookups.
    fn send_restored_ping(&mut self, m: &mut Memory<'_>, buf: &mut [u8]) -> Option<Transmit> {
        for family in Family::ALL {
            let (now, state) = (self.now, self.family(family));
            if !state.on || state.table.restored_due().is_none_or(|due| due > now) {
                continue;
            }
            let at = self.unverified_ping_at(m).max(self.next_ping_at());
            if at > now {
                self.blocked = Some(self.blocked.map_or(at, |blocked| blocked.min(at)));
                return None;
            }
            let Some(contact) = self.next_restored_ping(m, family) else { continue };
            let Contact { id, endpoint } = contact;
            let id = Some(id).filter(|id| *id != NodeId::ZERO);
            let ix = self.inflight.enqueue(m.queries, endpoint, id, Purpose::Check)?;
            if now - self.heard > TIMEOUT {
                self.ping_second_node(m, contact);
            }
            self.checked = now;
            return self.send(m, ix, Method::Ping, self.default_deadlines(), buf);
        }
        None
    }

    /// Pings a second node on a quiet link, where the silence of one node proves nothing.
    ///
    /// If the second one responds, the link works and the silence of the first one counts.
    fn ping_second_node(&mut self, m: &mut Memory<'_>, contact: Contact) {
        let family = contact.endpoint.family();
        let target = self.rng.id();
        let good = self.family(family).table_ref(m).closest::<2>(&target, Filter::Good, self.now);
        let companion = good.into_iter().map(Entry::contact).find(|other| *other != contact);
        if let Some(Contact { id, endpoint }) = companion {
            self.inflight.enqueue(m.queries, endpoint, Some(id), Purpose::Check);
        }
    }

    /// Whether a waiting query is of a traversal, or an announce needs a token, that no longer exists.
    fn is_stale(&self, m: &mut Memory<'_>, ix: Ix) -> bool {
        let (to, purpose) = (m.queries[ix].to, m.queries[ix].purpose);
        let Some(reference) = purpose.traversal() else { return false };
        let Some(traversal) = self.active(m, reference) else { return true };
        let TraversalMut { state: traversal, candidates, tokens, .. } =
            self.traversals.traversal(m, traversal);
        #[cfg(feature = "items")]
        if matches!(traversal.goal, Goal::Put(item) if item.is_none()) {
            return true;
        }
        matches!(purpose, Purpose::Announce(_)) && traversal.token_of(candidates, tokens, to).is_none()
    }

    /// Writes the datagram of a waiting query, and starts its deadlines.
    pub(in crate::node) fn send(
        &mut self,
        m: &mut Memory<'_>,
        ix: Ix,
        method: Method<'_>,
        deadlines: Deadlines,
        buf: &mut [u8],
    ) -> Option<Transmit> {
        self.stats.queries_out.count(method.kind());
        m.queries[ix].method = method.kind();
        let transaction = self.rng.transaction();
        let to = m.queries[ix].to;
        self.reputations.on_contact(m.reputations, to, self.node_rate(), self.now);
        self.inflight.on_sent(m.queries, ix, transaction, self.now, deadlines);
        let message = self.query(to, &transaction, method);
        // Every query fits: the longest part is a token, and only short tokens are stored.
        let size = message.emit(buf)?;
        Some(Transmit { destination: to.into(), source: None, size })
    }

    /// Builds the message of a query.
    pub(in crate::node) fn query<'a>(
        &'a self,
        to: Endpoint,
        transaction: &'a [u8; 4],
        method: Method<'a>,
    ) -> Message<'a> {
        let query = Query { id: self.family(to.family()).id, method };
        Message {
            version: Some(&self.config.version),
            read_only: self.config.read_only,
            ..Message::new(transaction, Body::Query(query))
        }
    }

    /// Whether a query may be sent to this endpoint now; if so, it counts as sent.
    fn permit_query(&mut self, m: &Memory<'_>, endpoint: Endpoint) -> Permit {
        if self.inflight.is_full(m.queries) {
            self.blocked = self.blocked.or(Some(Instant::NEVER));
            return Permit::Short(Instant::NEVER);
        }
        self.permit(m, endpoint)
    }

    /// Whether a datagram may be sent to this endpoint now; if so, it counts as sent.
    fn permit(&mut self, m: &Memory<'_>, endpoint: Endpoint) -> Permit {
        match self.reputations.clearance(m.reputations, endpoint, self.node_rate(), self.now) {
            Clearance::At(until) => return Permit::Busy(until),
            Clearance::Now { has_mapping: true } => return Permit::Granted,
            Clearance::Now { has_mapping: false } => {}
        }
        let limit = self.endpoint_rate();
        if self.new_endpoints.try_take(limit, self.now) {
            return Permit::Granted;
        }
        let at = self.new_endpoints.available_at(limit, self.now).unwrap_or(Instant::NEVER);
        self.blocked = Some(at);
        Permit::Short(at)
    }

    /// Returns when a node that has not responded yet may be pinged.
    ///
    /// Half of the slots and of the allowance is left to lookups.
    fn unverified_ping_at(&self, m: &Memory<'_>) -> Instant {
        if self.inflight.outstanding() * 2 >= m.queries.len() {
            return Instant::NEVER;
        }
        let RateLimit { per_sec, burst } = self.endpoint_rate();
        let half = RateLimit { per_sec, burst: burst.div_ceil(2) };
        self.new_endpoints.available_at(half, self.now).unwrap_or(Instant::NEVER)
    }

    /// Whether maintenance may contact a node now.
    fn has_allowance(&mut self, m: &Memory<'_>) -> bool {
        let at = if self.inflight.is_full(m.queries) {
            Instant::NEVER
        } else {
            self.new_endpoints.available_at(self.endpoint_rate(), self.now).unwrap_or(Instant::NEVER)
        };
        if at > self.now {
            self.blocked = Some(at);
        }
        at <= self.now
    }

    const fn node_rate(&self) -> RateLimit {
        self.config.queries_per_node
    }

    pub(in crate::node) const fn endpoint_rate(&self) -> RateLimit {
        self.config.new_endpoints
    }

    /// Converts an instant to the caller's clock.
    fn to_caller_clock(&self, at: Instant) -> Instant {
        Instant::from_micros(at.as_micros().saturating_sub(self.slept))
    }
}
