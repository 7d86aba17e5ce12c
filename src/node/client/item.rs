//! Items (BEP 44) that this node looks up and publishes.

use core::time::Duration;

use crate::base::addr::{Endpoint, Family};
use crate::base::id::NodeId;
use crate::base::pool::{Ix, Slot};
use crate::base::time::Instant;
use crate::lookup::republisher::{self, LastRepublish, Subject};
use crate::lookup::{Check, Goal, Holding, LookupOptions, Phase, Step, Token, Traversal};
use crate::node::api::config::MAX_DATAGRAM;
use crate::node::api::error::{self, Limit, PublishError, StartError};
use crate::node::api::event::{PackedEvent, PackedKind, PublicationInfo, RepublishInfo, Transmit};
use crate::node::api::ids::{LookupId, PublicationId};
use crate::node::api::report::ItemReport;
use crate::node::client::phases::TraversalMut;
use crate::node::core::Core;
use crate::node::maintenance::announcer::{PUBLISHER, to_caller_clock};
use crate::node::server::put::add;
use crate::node::server::reply::MAX_DATAGRAM_V6;
use crate::node::storage::sealed::{Memory, View};
use crate::rpc::inflight::{Deadlines, Query};
use crate::store::items::{
    Examined, Item, OwnItem, OwnItems, OwnSlots, Owner, PublicKey, PutObstacle, Salt, Shortage,
};
use crate::wire::{ErrorCode, MAX_VALUE_LEN, Method, Response};

/// Commands.
impl Core {
    /// Allocates a slot for an item to look up.
    pub(in crate::node) fn alloc_lookup_item(
        &mut self,
        m: &mut Memory<'_>,
        target: NodeId,
        signed: Option<(PublicKey, Salt)>,
    ) -> Result<Ix, error::Shortage> {
        self.alloc_own_item(m, MAX_VALUE_LEN, |own, slots, is_live| {
            own.alloc_for_lookup(slots, target, signed, is_live)
        })
    }

    pub(in crate::node) fn put(
        &mut self,
        m: &mut Memory<'_>,
        now: Instant,
        item: &Item,
        cas: Option<i64>,
        options: &LookupOptions,
    ) -> Result<LookupId, StartError> {
        self.advance(now);
        let len = item.value().len();
        let ix = self
            .alloc_own_item(m, len, |own, slots, is_live| own.alloc_for_publication(slots, item, is_live))?;
        m.own_items[ix.position()].cas = cas;
        self.lookup_item(m, Goal::Put(ix), item.target(), options)
    }

    /// Starts a lookup whose item slot has just been allocated.
    pub(in crate::node) fn lookup_item(
        &mut self,
        m: &mut Memory<'_>,
        goal: Goal,
        target: NodeId,
        options: &LookupOptions,
    ) -> Result<LookupId, StartError> {
        let lookup = self.start_for_user(m, goal, target, options);
        if let Some(ix) = goal.item() {
            match lookup {
                Ok(LookupId { ix: lead, generation }) => {
                    let traversals = [lead, m.traversals[lead].sibling];
                    m.own_items[ix.position()].owner = Owner::Lookup(traversals, generation);
                }
                Err(_) => self.own.release(&mut own_slots(m), ix),
            }
        }
        if let (Ok(lookup), Some(own)) = (lookup, goal.item())
            && let Some(Examined::Newest(seq)) = self.examine_stored(m, &target, own)
            && !goal.traits().stores
        {
            self.report_found(m, lookup.ix, Endpoint::ZERO, seq);
        }
        lookup
    }

    /// Starts a publication of an item; `last` is the last republish of a saved one.
    pub(in crate::node) fn start_publishing(
        &mut self,
        m: &mut Memory<'_>,
        now: Instant,
        item: &Item,
        last: Option<LastRepublish>,
    ) -> Result<PublicationId, PublishError> {
        let now = self.advance(now);
        self.check_lookup_slots(m, self.families.iter().filter(|family| family.on).count())?;
        let target = item.target();
        self.code.publisher = Some(&PUBLISHER);
        let old = self.republisher.find(m.publications, &target, true);
        if let Some((ix, own)) = old.and_then(|ix| Some((ix, m.publications[ix].subject.item()?))) {
            let publication = PublicationId { ix, generation: m.publications[ix].generation };
            let own = &m.own_items[own.position()];
            if own.read(m.own_chunks).as_ref() == Some(item) {
                return Ok(publication);
            } else if own.seq() >= item.seq() {
                return Err(PublishError::StaleItem);
            }
        }
        let changes = old.and_then(|ix| m.publications[ix].subject.item());
        if let Some(shortage) = OwnItems::published_shortage(&own_slots(m), item, changes) {
            return Err(lacking(shortage, [Limit::PublishedItems, Limit::PublishedChunks]).into());
        }
        let len = item.value().len();
        let own = self
            .alloc_own_item(m, len, |own, slots, is_live| own.alloc_for_publication(slots, item, is_live))?;
        let subject = Subject::Item(own);
        let ix = match old {
            Some(ix) => {
                self.end_republish(m, ix);
                self.release_published(m, ix);
                self.republisher.change(m.publications, ix, subject, now);
                Some(ix)
            }
            None => self.republisher.restore(m.publications, target, subject, last, now),
        };
        let Some(ix) = ix else {
            self.own.release(&mut own_slots(m), own);
            return Err(Limit::Publications.shortage(m.publications.len(), 1).into());
        };
        m.own_items[own.position()].owner = Owner::Publication;
        self.schedule_republishes(m);
        Ok(PublicationId { ix, generation: m.publications[ix].generation })
    }

    /// Releases the item of a publication that is stopped or changed.
    pub(in crate::node) fn release_published(&mut self, m: &mut Memory<'_>, publication: Ix) {
        if let Some(own) = m.publications[publication].subject.item() {
            self.own.release(&mut own_slots(m), own);
        }
    }

    /// Returns which check a lookup starts with: for a mutable item, all nodes that may hold a version are queried.
    ///
    /// A republish counts the nodes that hold the item, unless it is the first one or the last one stored nothing:
    /// if all publishers relied on each other, the item would expire.
    pub(in crate::node) fn check_of(m: &Memory<'_>, goal: Goal, publication: Ix) -> Check {
        let Some(own) = goal.item().map(|own| &m.own_items[own.position()]) else { return Check::None };
        let counts =
            publication.some().is_some_and(|ix| m.publications[ix].is_tried && !m.publications[ix].is_spared);
        match own.is_mutable() {
            _ if counts => Check::Counting,
            true => Check::Due,
            false => Check::None,
        }
    }

    /// Begins a republish of an item.
    pub(in crate::node) fn begin_item_republish(&self, m: &mut Memory<'_>, target: &NodeId, own: Ix) -> Goal {
        // Another value with the same sequence number may be gone by now; a newer version is remembered.
        m.own_items[own.position()].in_conflict = false;
        self.examine_stored(m, target, own);
        Goal::Put(own)
    }

    /// Allocates a slot for an item with a value of `len` bytes, by calling `alloc`.
    ///
    /// If none is free, reported lookups lose theirs, the longest-completed first.
    fn alloc_own_item(
        &mut self,
        m: &mut Memory<'_>,
        len: usize,
        alloc: impl Fn(&mut OwnItems, &mut OwnSlots<'_>, &dyn Fn(Owner) -> bool) -> Option<Ix>,
    ) -> Result<Ix, error::Shortage> {
        loop {
            let traversals = &*m.traversals;
            let is_live = |owner| match owner {
                Owner::Nobody | Owner::Starting => false,
                Owner::Publication => true,
                Owner::Lookup(both, generation) => both.into_iter().filter_map(Ix::some).any(|ix| {
                    let traversal = &traversals[ix];
                    traversal.generation == generation
                        && traversal.phase != Phase::Free
                        && traversal.goal.item().is_some()
                }),
            };
            let mut slots = OwnSlots { items: m.own_items, chunks: m.own_chunks };
            if let Some(ix) = alloc(&mut self.own, &mut slots, &is_live) {
                return Ok(ix);
            }
            let Some(oldest) = self.traversals.oldest_with_item(m.traversals) else {
                let shortage = OwnItems::shortage(&own_slots(m), len);
                return Err(lacking(shortage, [Limit::OwnItems, Limit::OwnChunks]));
            };
            for ix in both(m.traversals, oldest) {
                m.traversals[ix].goal.forget_item();
            }
        }
    }
}

/// Items in responses.
impl Core {
    /// Examines the item in a response.
    pub(in crate::node) fn accept_item(
        &mut self,
        m: &mut Memory<'_>,
        ix: Ix,
        from: Endpoint,
        response: &Response<'_>,
    ) {
        let Some(own) = m.traversals[ix].goal.item() else { return };
        let before = m.own_items[own.position()].newest;
        let (holding, seq) = match OwnItems::examine(&mut own_slots(m), own, response) {
            Examined::Nothing => return,
            Examined::Bad => {
                add(&mut self.stats.items.bad_find, 1);
                return;
            }
            Examined::Other(seq) => (Holding::Other, Some(seq)),
            Examined::Newest(seq) => (Holding::Newest, seq),
        };
        if m.own_items[own.position()].newest > before {
            for ix in both(m.traversals, ix) {
                let TraversalMut { state: traversal, candidates, .. } = self.traversals.traversal(m, ix);
                traversal.on_newer_item(candidates);
            }
        }
        let TraversalMut { state: traversal, candidates, .. } = self.traversals.traversal(m, ix);
        traversal.on_item(candidates, from, holding);
        self.report_found(m, ix, from, seq);
        self.stop_put(m, ix, own);
    }

    /// Passes the versions that an earlier lookup found and stored on to the put that continues it.
    pub(in crate::node) fn recall_item(&self, m: &mut Memory<'_>, ix: Ix, goal: Goal) {
        let (Some(old), Some(new)) = (m.traversals[ix].goal.item(), goal.item()) else { return };
        // All republishes of an item share its slot.
        if old != new {
            let old = m.own_items[old.position()];
            let TraversalMut { state: traversal, candidates, .. } = self.traversals.traversal(m, ix);
            let is_stored = traversal.has_stored(candidates);
            m.own_items[new.position()].inherit(&old, is_stored, m.own_chunks);
        }
    }

    /// Handles the refusal of a put, and returns whether the put is sent to the node again in another form.
    pub(in crate::node) fn retries_put(
        &self,
        m: &mut Memory<'_>,
        ix: Ix,
        query: &Query,
        code: Option<i64>,
    ) -> bool {
        let TraversalMut { state: traversal, candidates, .. } = self.traversals.traversal(m, ix);
        let Goal::Put(own) = traversal.goal else { return false };
        self.config.items.retry_with_seq
            && code == Some(ErrorCode::PROTOCOL.0)
            && traversal.retry_with_seq(candidates, query.to)
            && m.own_items.get(own.position()).is_some_and(|own| !own.is_mutable())
    }

    /// Whether a refusal only means that the node holds the same item, as some nodes respond to every republish.
    pub(in crate::node) fn is_held(
        &self,
        m: &mut Memory<'_>,
        ix: Ix,
        from: Endpoint,
        code: Option<i64>,
    ) -> bool {
        let TraversalMut { state: traversal, candidates, .. } = self.traversals.traversal(m, ix);
        code == Some(ErrorCode::SEQ_TOO_LOW.0)
            && traversal.holds_newest(candidates, from)
            && m.traversals[ix].goal.item().is_some_and(|own| m.own_items[own.position()].is_newest())
    }

    /// Decides whether an item is put, once both traversals have queried all nodes that may hold it.
    ///
    /// Returns whether the decision was still pending.
    pub(in crate::node) fn decide_put(&mut self, m: &mut Memory<'_>, ix: Ix) -> bool {
        let Goal::Put(own) = m.traversals[ix].goal else { return false };
        if !m.traversals[ix].items.is_thorough() {
            return false;
        }
        let is_checking =
            |traversal: &Traversal| traversal.phase.is_under_way() && traversal.items.is_thorough();
        for other in both(m.traversals, ix).skip(1) {
            let TraversalMut { state: traversal, candidates, .. } = self.traversals.traversal(m, other);
            if is_checking(traversal) && traversal.next(candidates) != Step::Finish {
                self.traversals.set_phase(m, ix, Phase::Waiting);
                return true;
            }
        }
        let own = &m.own_items[own.position()];
        let (obstacle, is_uncontested) = (own.obstacle(), own.is_uncontested());
        for ix in both(m.traversals, ix) {
            let TraversalMut { state: traversal, candidates, .. } = self.traversals.traversal(m, ix);
            if !is_checking(traversal) {
                continue;
            }
            if let Some(PutObstacle::CasMismatch { .. }) = obstacle {
                traversal.on_cas_mismatch(candidates);
            }
            let counts = traversal.items.check == Check::Counting;
            let is_spared =
                obstacle.is_some() || counts && is_uncontested && traversal.has_enough_copies(candidates);
            traversal.items.check = if is_spared { Check::Spared } else { Check::Passed };
        }
        both(m.traversals, ix).for_each(|ix| self.reschedule(m, ix));
        true
    }

    /// Stops a put because a late response contained a conflicting version: no further node receives it.
    fn stop_put(&mut self, m: &mut Memory<'_>, ix: Ix, own: Ix) {
        let own = &m.own_items[own.position()];
        if own.obstacle().is_none() || own.is_uncontested() {
            return;
        }
        for ix in both(m.traversals, ix) {
            let traversal = &mut m.traversals[ix];
            if traversal.goal.traits().stores && traversal.items.check == Check::Passed {
                traversal.items.check = Check::Spared;
                self.reschedule(m, ix);
            }
        }
    }

    /// Returns what the nodes held of the item of a lookup.
    pub(in crate::node) fn item_report(
        traversals: &[Slot<Traversal>],
        own_items: &[OwnItem],
        lead: Ix,
    ) -> ItemReport {
        let goal = traversals[lead].goal;
        let of_lookup = || both(traversals, lead).map(|ix| &traversals[ix].items);
        let is_stopped = goal.traits().stores && of_lookup().any(|items| items.check == Check::Spared);
        let own = goal.item().and_then(|own| own_items.get(own.position()));
        let obstacle = own.and_then(OwnItem::obstacle).filter(|_| is_stopped);
        ItemReport {
            copies: of_lookup().map(|items| u32::from(items.copies)).sum(),
            seq: own.and_then(|own| own.newest),
            is_spared: is_stopped && obstacle.is_none(),
            obstacle,
        }
    }

    /// Sends the put of a lookup to one node.
    pub(in crate::node) fn send_put(
        &mut self,
        m: &mut Memory<'_>,
        query: Ix,
        traversal: Ix,
        token: &Token,
        deadlines: Deadlines,
        buf: &mut [u8],
    ) -> Option<Transmit> {
        let to = m.queries[query].to;
        let TraversalMut { state: traversal, candidates, .. } = self.traversals.traversal(m, traversal);
        let target = traversal.target;
        let holds_newest = traversal.holds_newest(candidates, to);
        let needs_seq = traversal.needs_seq(candidates, to);
        let own = &m.own_items[traversal.goal.item()?.position()];
        // A node that returned nothing has nothing to compare with (B44-30), and one with an older version would
        // refuse the put because of `cas`.
        let cas = own.cas.filter(|_| holds_newest);
        let item = own.read(m.own_chunks)?;
        let item = item.put(cas, needs_seq.then_some(1));
        let most = if to.family() == Family::V4 { MAX_DATAGRAM } else { MAX_DATAGRAM_V6 };
        let buf = &mut buf[..most];
        let method = |target| Method::Put { token: token.bytes(), target, item };
        // The target is redundant, but one family of nodes requires it. It is left out if it would not fit because
        // all fields have their maximum length.
        let is_long = self.query(to, &[0; 4], method(Some(target))).encoded_len() > buf.len();
        self.send(m, query, method(Some(target).filter(|_| !is_long)), deadlines, buf)
    }

    /// Frees the memory that the item found by an ended lookup does not need.
    pub(in crate::node) fn trim_found(&mut self, m: &mut Memory<'_>, goal: Goal) {
        if let Some(own) = goal.item() {
            self.own.trim(&mut own_slots(m), own);
        }
    }

    /// Returns the item that a lookup found or publishes.
    pub(in crate::node) fn found_item(&self, view: View<'_>, lookup: LookupId) -> Option<Item> {
        let traversal = &view.traversals.get(lookup.ix.position())?.value;
        let is_current = traversal.generation == lookup.generation && traversal.phase != Phase::Free;
        let own = traversal.goal.item().filter(|_| is_current)?;
        view.own_items[own.position()].read(view.own_chunks)
    }

    pub(in crate::node) fn publications<'a>(
        &self,
        view: View<'a>,
    ) -> impl Iterator<Item = PublicationInfo> + use<'a> {
        let slept = Duration::from_micros(self.slept);
        let slots = (0..view.publications.len())
            .map(Ix::new)
            .filter(move |&ix| view.publications[ix].phase != republisher::Phase::Free);
        slots.filter_map(move |ix| {
            let publication = &view.publications[ix];
            let own = &view.own_items[publication.subject.item()?.position()];
            let last = RepublishInfo {
                ended: to_caller_clock(publication.ended, slept),
                acknowledged: publication.acknowledged.into(),
            };
            Some(PublicationInfo {
                id: PublicationId { ix, generation: publication.generation },
                target: publication.target,
                seq: own.seq(),
                newest: own.newest,
                round: publication
                    .lookup
                    .some()
                    .map(|ix| LookupId { ix, generation: view.traversals[ix].generation }),
                last: publication.is_tried.then_some(last),
                is_spared: publication.is_spared,
                due: publication.lookup.is_none().then_some(to_caller_clock(publication.due, slept)),
            })
        })
    }

    pub(in crate::node) fn published_item(&self, view: View<'_>, publication: PublicationId) -> Option<Item> {
        let slot = &view.publications.get(publication.ix.position())?.value;
        let is_current = slot.phase != republisher::Phase::Free && slot.generation == publication.generation;
        let own = slot.subject.item().filter(|_| is_current)?;
        view.own_items[own.position()].read(view.own_chunks)
    }

    /// Examines the item that this node stores, which a lookup finds at once.
    fn examine_stored(&self, m: &mut Memory<'_>, target: &NodeId, own: Ix) -> Option<Examined> {
        let (item, _) = self.item_for(m, target, None)?;
        let response = Response {
            value: Some(item.value()),
            key: item.signed_parts().map(|signed| signed.key.as_bytes()),
            seq: item.seq(),
            signature: item.signature(),
            ..Response::default()
        };
        Some(OwnItems::examine(&mut own_slots(m), own, &response))
    }

    /// Reports an item that was found; an immutable one ends its lookup.
    fn report_found(&mut self, m: &mut Memory<'_>, ix: Ix, from: Endpoint, seq: Option<i64>) {
        let traversal = &m.traversals[ix];
        if traversal.phase.has_events() {
            let lookup = LookupId { ix: traversal.lead, generation: traversal.generation };
            let kind = PackedKind::ItemFound;
            self.notify(
                m,
                PackedEvent { kind, endpoint: from, lookup, seq: seq.unwrap_or(-1), ..PackedEvent::EMPTY },
            );
        }
        if seq.is_none() && !m.traversals[ix].goal.traits().stores {
            both(m.traversals, ix).for_each(|ix| m.traversals[ix].items.is_satisfied = true);
            both(m.traversals, ix).for_each(|ix| self.reschedule(m, ix));
        }
    }
}

/// Returns which limit a shortage of slots, or of chunks, comes from.
fn lacking(shortage: Shortage, limits: [Limit; 2]) -> error::Shortage {
    let Shortage { is_of_chunks, total, needed, usable } = shortage;
    let size = if usable < needed { usable } else { total };
    limits[usize::from(is_of_chunks)].shortage(size, needed)
}

/// Returns a traversal and that of the same lookup in the other family, unless its slot has been reused.
fn both(traversals: &[Slot<Traversal>], ix: Ix) -> impl Iterator<Item = Ix> + use<> {
    let is_same = |sibling: &Ix| traversals[*sibling].generation == traversals[ix].generation;
    [Some(ix), traversals[ix].sibling.some().filter(is_same)].into_iter().flatten()
}

/// Returns the memory of this node's own items.
pub(in crate::node) const fn own_slots<'a>(m: &'a mut Memory<'_>) -> OwnSlots<'a> {
    OwnSlots { items: m.own_items, chunks: m.own_chunks }
}
