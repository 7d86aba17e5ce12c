//! Queries in flight: transaction ids, and two deadlines for each query.
//!
//! A query waits until it may be sent: in order, or postponed if its destination has been queried a lot
//! recently, so that it does not hold up others. Then it is fresh until its stall deadline and stalled until
//! its timeout. A stalled query holds nothing up, but its response still counts. A query of the user stays
//! until its result has been polled; any other query ends with its response or timeout.

use core::time::Duration;

use crate::base::addr::{Endpoint, Family};
use crate::base::hash::reduce;
use crate::base::id::NodeId;
use crate::base::pool::{Ix, List, Pool, Slot};
use crate::base::time::Instant;
use crate::lookup::Window;
use crate::wire::MethodKind;

/// The purpose of a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub(crate) enum Purpose {
    /// A single ping requested by the user.
    Ping,
    /// A check whether a node of the table, or a candidate for it, is alive.
    Check,
    /// A step of a lookup.
    Lookup(TraversalRef),
    /// The announce at the end of a lookup.
    Announce(TraversalRef),
    /// A probe for nodes beyond the horizon of a lookup.
    Probe(TraversalRef, Window),
    /// A single query for a sample of infohashes requested by the user; the sample is stored in this slot.
    Sample(Ix),
}

impl Purpose {
    /// Returns the traversal that the query is a step of, if any.
    pub(crate) const fn traversal(self) -> Option<TraversalRef> {
        match self {
            Self::Ping | Self::Check | Self::Sample(_) => None,
            Self::Lookup(traversal) | Self::Announce(traversal) | Self::Probe(traversal, _) => {
                Some(traversal)
            }
        }
    }

    /// Whether this is a single query requested by the user, whose completion is reported.
    pub(crate) const fn is_from_user(self) -> bool {
        matches!(self, Self::Ping | Self::Sample(_))
    }
}

/// A reference to a traversal, valid until that ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub(crate) struct TraversalRef {
    pub(crate) ix: Ix,
    pub(crate) generation: u32,
}

/// The result of a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub(crate) enum QueryResult {
    TimedOut,
    Unreachable,
    Malformed,
    Disabled,
    /// The node responded with an error of this code.
    Refused(i64),
    Responded {
        id: NodeId,
        rtt: Duration,
    },
}

/// The times after which a query stalls and has failed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadlines {
    pub(crate) stall: Duration,
    pub(crate) timeout: Duration,
}

/// The stage of a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
enum Stage {
    Free,
    Waiting,
    /// Waiting until its deadline, so that others are sent first.
    Postponed,
    Fresh,
    Stalled,
    Done,
}

/// A query in flight, or waiting to be sent.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub(crate) struct Query {
    pub(crate) to: Endpoint,
    /// The expected id of the responder; `None` if only the address is known.
    pub(crate) id: Option<NodeId>,
    pub(crate) purpose: Purpose,
    pub(crate) sent: Instant,
    /// Unpredictable, so that a response proves that the query was received (BEP 5).
    pub(crate) transaction: [u8; 4],
    pub(crate) generation: u32,
    /// The method of the query, once it is sent.
    pub(crate) method: MethodKind,
    /// Whether the traversal has already sent this node a query that every node would have answered.
    pub(crate) is_repeat: bool,
    stage: Stage,
    /// How many times in a row the local system has failed to send the query.
    pub(crate) unsent: u8,
    /// Whether the query is to be sent again after the local system failed to send it.
    is_unsent: bool,
    /// The deadline of the current stage.
    deadline: Instant,
    timeout: Duration,
    outcome: QueryResult,
    /// The first query of the chain at the position of this slot.
    ///
    /// Chains form a hash table by transaction id, stored within the slots.
    chain_head: Ix,
    /// The next query in the chain that contains this query.
    chain_next: Ix,
}

impl Query {
    /// A free slot.
    ///
    /// All bytes are zero, so that slots in a static are placed in `.bss`: among the results, only the
    /// variant with the largest payload can be zero.
    pub(crate) const EMPTY: Self = Self {
        to: Endpoint::ZERO,
        id: None,
        purpose: Purpose::Ping,
        sent: Instant::ZERO,
        transaction: [0; 4],
        generation: 0,
        method: MethodKind::Ping,
        is_repeat: false,
        stage: Stage::Free,
        unsent: 0,
        is_unsent: false,
        deadline: Instant::ZERO,
        timeout: Duration::ZERO,
        outcome: QueryResult::Responded { id: NodeId::ZERO, rtt: Duration::ZERO },
        chain_head: Ix::NONE,
        chain_next: Ix::NONE,
    };

    /// Whether a response is awaited.
    pub(crate) const fn is_sent(&self) -> bool {
        matches!(self.stage, Stage::Fresh | Stage::Stalled)
    }

    /// Whether the query was ended before its deadline.
    pub(crate) fn is_aborted(&self, now: Instant) -> bool {
        self.deadline > now
    }
}

/// The effect of the passing of time on a query.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Expiry {
    /// The query has stalled and is still waited for.
    Stalled(Query),
    /// The query has timed out and ended.
    TimedOut(Query),
}

/// How an incoming response matches the queries in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Match {
    /// The response matches this query.
    Query(Ix),
    /// The response carries the transaction id of a query to the same host, but comes from another port.
    WrongPort,
    /// The response matches no query.
    Stray,
}

/// The head of the queries in flight.
#[derive(Clone, Copy, Debug, Default)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub(crate) struct Inflight {
    pool: Pool,
    /// Oldest first.
    waiting: List,
    /// By deadline.
    postponed: List,
    /// By deadline.
    fresh: List,
    /// By deadline.
    stalled: List,
    /// Oldest first.
    done: List,
    generation: u32,
}

impl Inflight {
    /// Adds a query that waits to be sent, or returns `None` if all slots are in use.
    pub(crate) fn enqueue(
        &mut self,
        slots: &mut [Slot<Query>],
        to: Endpoint,
        id: Option<NodeId>,
        purpose: Purpose,
    ) -> Option<Ix> {
        let ix = self.pool.alloc(slots)?;
        self.generation = self.generation.wrapping_add(1);
        let chain_head = slots[ix].chain_head;
        let (stage, generation) = (Stage::Waiting, self.generation);
        slots[ix] = Query { to, id, purpose, generation, stage, chain_head, ..Query::EMPTY };
        self.waiting.push_back(slots, ix);
        Some(ix)
    }

    /// Returns the query that may be sent next: postponed queries that are due first, then waiting ones.
    pub(crate) fn next_waiting(&self, slots: &[Slot<Query>], now: Instant) -> Option<Ix> {
        self.postponed.front().filter(|&ix| slots[ix].deadline <= now).or_else(|| self.waiting.front())
    }

    /// Whether a query waits or is postponed.
    pub(crate) const fn may_have_waiting(&self) -> bool {
        !self.waiting.is_empty() || !self.postponed.is_empty()
    }

    /// Whether a query waits that is not postponed.
    pub(crate) const fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Returns when the next postponed query may be sent.
    pub(crate) fn postponed_until(&self, slots: &[Slot<Query>]) -> Option<Instant> {
        self.postponed.front().map(|ix| slots[ix].deadline)
    }

    /// Postpones a waiting query until a given time, so that others are sent first.
    pub(crate) fn postpone(&mut self, slots: &mut [Slot<Query>], ix: Ix, until: Instant) {
        self.unlink(slots, ix);
        (slots[ix].stage, slots[ix].deadline) = (Stage::Postponed, until);
        insert_by_deadline(&mut self.postponed, slots, ix);
    }

    /// Marks a waiting query as sent with this transaction id.
    pub(crate) fn on_sent(
        &mut self,
        slots: &mut [Slot<Query>],
        ix: Ix,
        transaction: [u8; 4],
        now: Instant,
        Deadlines { stall, timeout }: Deadlines,
    ) {
        self.unlink(slots, ix);
        let head = chain(slots, transaction);
        let next = slots[head].chain_head;
        slots[head].chain_head = ix;
        let query = &mut slots[ix];
        (query.transaction, query.chain_next) = (transaction, next);
        (query.stage, query.sent, query.timeout) = (Stage::Fresh, now, timeout);
        query.is_unsent = false;
        query.deadline = now + stall.min(timeout);
        insert_by_deadline(&mut self.fresh, slots, ix);
    }

    /// Finds the query that a response from `from` belongs to.
    pub(crate) fn find(&self, slots: &[Slot<Query>], from: Endpoint, transaction: &[u8]) -> Match {
        let Ok(transaction) = <[u8; 4]>::try_from(transaction) else { return Match::Stray };
        if slots.is_empty() {
            return Match::Stray;
        }
        let mut found = Match::Stray;
        let mut next = slots[chain(slots, transaction)].chain_head;
        while let Some(ix) = next.some() {
            let query = &slots[ix];
            if query.transaction == transaction {
                if query.to == from {
                    return Match::Query(ix);
                } else if query.to.ip_bytes() == from.ip_bytes() {
                    found = Match::WrongPort;
                }
            }
            next = query.chain_next;
        }
        found
    }

    /// Returns the oldest unanswered query to `to`.
    pub(crate) fn find_sent_to(&self, slots: &[Slot<Query>], to: Endpoint) -> Option<Ix> {
        self.awaited(slots).filter(|&ix| slots[ix].to == to).min_by_key(|&ix| slots[ix].sent)
    }

    /// Whether a query with this purpose is unanswered.
    pub(crate) fn awaits(&self, slots: &[Slot<Query>], purpose: Purpose) -> bool {
        self.awaited(slots).any(|ix| slots[ix].purpose == purpose)
    }

    /// Returns the unanswered query to `to` that was passed to the caller last.
    pub(crate) fn find_last_sent_to(&self, slots: &[Slot<Query>], to: Endpoint) -> Option<Ix> {
        let sent = self.awaited(slots).filter(|&ix| slots[ix].to == to && !slots[ix].is_unsent);
        sent.max_by_key(|&ix| slots[ix].sent)
    }

    /// Records that the local system failed to send a query, and schedules it to be sent again at `at`.
    pub(crate) fn on_unsent(&mut self, slots: &mut [Slot<Query>], ix: Ix, at: Instant) {
        match slots[ix].stage {
            Stage::Fresh => self.fresh.remove(slots, ix),
            Stage::Stalled => self.stalled.remove(slots, ix),
            Stage::Free | Stage::Waiting | Stage::Postponed | Stage::Done => return,
        }
        let query = &mut slots[ix];
        (query.stage, query.deadline, query.is_unsent) = (Stage::Fresh, at, true);
        query.unsent = query.unsent.saturating_add(1);
        insert_by_deadline(&mut self.fresh, slots, ix);
    }

    /// Returns the first query of a family that has not ended, preferring those that were sent.
    pub(crate) fn find_open(&self, slots: &[Slot<Query>], family: Family) -> Option<Ix> {
        let mut open = self.awaited(slots).chain(self.waiting.iter(slots)).chain(self.postponed.iter(slots));
        open.find(|&ix| slots[ix].to.family() == family)
    }

    /// Makes a query that was sent wait to be sent again.
    pub(crate) fn send_again(&mut self, slots: &mut [Slot<Query>], ix: Ix) {
        self.unlink(slots, ix);
        slots[ix].stage = Stage::Waiting;
        self.waiting.push_back(slots, ix);
    }

    /// Ends and returns a query. A query of the user is kept as a completion with `outcome`.
    pub(crate) fn finish(&mut self, slots: &mut [Slot<Query>], ix: Ix, outcome: QueryResult) -> Query {
        let query = slots[ix];
        self.unlink(slots, ix);
        if query.purpose.is_from_user() {
            slots[ix].stage = Stage::Done;
            slots[ix].outcome = outcome;
            self.done.push_back(slots, ix);
        } else {
            self.free(slots, ix);
        }
        query
    }

    /// Ends a query in any stage without a completion.
    pub(crate) fn cancel(&mut self, slots: &mut [Slot<Query>], ix: Ix) {
        self.unlink(slots, ix);
        self.free(slots, ix);
    }

    /// Whether `ix` still is the query of this generation, and was requested by the user.
    pub(crate) fn is_current(&self, slots: &[Slot<Query>], ix: Ix, generation: u32) -> bool {
        slots.get(ix.position()).is_some_and(|slot| {
            let query = &slot.value;
            query.generation == generation && query.purpose.is_from_user() && query.stage != Stage::Free
        })
    }

    /// Returns the next completed query of the user.
    pub(crate) fn poll_done(&mut self, slots: &mut [Slot<Query>]) -> Option<(Ix, Query, QueryResult)> {
        let ix = self.done.pop_front(slots)?;
        let query = slots[ix];
        self.free(slots, ix);
        Some((ix, query, query.outcome))
    }

    /// Whether a completion is waiting to be polled.
    pub(crate) const fn has_done(&self) -> bool {
        !self.done.is_empty()
    }

    /// Advances the next query whose deadline has passed.
    pub(crate) fn expire(&mut self, slots: &mut [Slot<Query>], now: Instant) -> Option<Expiry> {
        while let Some(ix) = self.fresh.front().filter(|&ix| slots[ix].deadline <= now) {
            if slots[ix].is_unsent {
                self.send_again(slots, ix);
                continue;
            }
            self.fresh.remove(slots, ix);
            let query = &mut slots[ix];
            (query.stage, query.deadline) = (Stage::Stalled, query.sent + query.timeout);
            insert_by_deadline(&mut self.stalled, slots, ix);
            return Some(Expiry::Stalled(slots[ix]));
        }
        let ix = self.stalled.front().filter(|&ix| slots[ix].deadline <= now)?;
        Some(Expiry::TimedOut(self.finish(slots, ix, QueryResult::TimedOut)))
    }

    /// Aborts the stalled query closest to its timeout to free a slot. Queries of the user are exempt.
    pub(crate) fn abort_stalled(&mut self, slots: &mut [Slot<Query>]) -> Option<Query> {
        let ix = self.stalled.iter(slots).find(|&ix| !slots[ix].purpose.is_from_user())?;
        Some(self.finish(slots, ix, QueryResult::TimedOut))
    }

    /// Returns the earliest deadline.
    pub(crate) fn next_deadline(&self, slots: &[Slot<Query>]) -> Option<Instant> {
        let fronts = [self.fresh.front(), self.stalled.front()];
        fronts.into_iter().flatten().map(|ix| slots[ix].deadline).min()
    }

    /// Returns the number of queries that were sent and have neither been answered nor timed out.
    pub(crate) const fn outstanding(&self) -> usize {
        self.fresh.len() + self.stalled.len()
    }

    /// Whether at least half of the slots are in use.
    pub(crate) const fn is_half_full(&self, slots: &[Slot<Query>]) -> bool {
        self.pool.used() * 2 >= slots.len()
    }

    /// Whether all slots are in use.
    pub(crate) const fn is_full(&self, slots: &[Slot<Query>]) -> bool {
        self.pool.is_full(slots)
    }

    /// Whether every slot is either free or in the list of its stage.
    #[cfg(any(test, feature = "checkpoint", feature = "sim"))]
    pub(crate) fn is_consistent(&self, slots: &[Slot<Query>]) -> bool {
        let lists = [
            (self.waiting, Stage::Waiting),
            (self.postponed, Stage::Postponed),
            (self.fresh, Stage::Fresh),
            (self.stalled, Stage::Stalled),
            (self.done, Stage::Done),
        ];
        let is_whole = |(list, stage): (List, Stage)| {
            list.is_consistent(slots) && list.iter(slots).all(|ix| slots[ix].stage == stage)
        };
        self.pool.is_consistent(slots)
            && lists.into_iter().all(is_whole)
            && lists.into_iter().map(|(list, _)| list.len()).sum::<usize>() == self.pool.used()
    }

    fn awaited(&self, slots: &[Slot<Query>]) -> impl Iterator<Item = Ix> {
        self.fresh.iter(slots).chain(self.stalled.iter(slots))
    }

    fn free(&mut self, slots: &mut [Slot<Query>], ix: Ix) {
        slots[ix].stage = Stage::Free;
        self.pool.free(slots, ix);
    }

    /// Removes a query from its list and its chain.
    fn unlink(&mut self, slots: &mut [Slot<Query>], ix: Ix) {
        match slots[ix].stage {
            Stage::Free => return,
            Stage::Waiting => return self.waiting.remove(slots, ix),
            Stage::Postponed => return self.postponed.remove(slots, ix),
            Stage::Done => return self.done.remove(slots, ix),
            Stage::Fresh => self.fresh.remove(slots, ix),
            Stage::Stalled => self.stalled.remove(slots, ix),
        }
        let head = chain(slots, slots[ix].transaction);
        let rest = slots[ix].chain_next;
        if slots[head].chain_head == ix {
            slots[head].chain_head = rest;
            return;
        }
        let mut at = slots[head].chain_head;
        while slots[at].chain_next != ix {
            at = slots[at].chain_next;
        }
        slots[at].chain_next = rest;
    }
}

/// Returns the slot that contains the head of the chain of a transaction id.
fn chain(slots: &[Slot<Query>], transaction: [u8; 4]) -> Ix {
    Ix::new(reduce(u32::from_be_bytes(transaction), slots.len()))
}

/// Inserts a query in order of deadline, searching from the end because deadlines are mostly in order.
fn insert_by_deadline(list: &mut List, slots: &mut [Slot<Query>], ix: Ix) {
    let deadline = slots[ix].deadline;
    let mut after = list.back();
    while let Some(at) = after.filter(|&at| slots[at].deadline > deadline) {
        after = list.prev(slots, at);
    }
    list.insert_after(slots, after.unwrap_or(Ix::NONE), ix);
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    const STALL: Duration = Duration::from_millis(100);
    const DEADLINES: Deadlines = Deadlines { stall: STALL, timeout: TIMEOUT };
    const TIMEOUT: Duration = Duration::from_secs(5);

    fn endpoint(last: u8) -> Endpoint {
        Endpoint::v4([9, 9, 9, last], 6881)
    }

    fn ms(ms: u64) -> Instant {
        Instant::from_micros(ms * 1000)
    }

    fn send(
        inflight: &mut Inflight,
        slots: &mut [Slot<Query>],
        to: Endpoint,
        purpose: Purpose,
        tid: u32,
    ) -> Ix {
        let ix = inflight.enqueue(slots, to, None, purpose).unwrap();
        inflight.on_sent(slots, ix, tid.to_be_bytes(), ms(0), DEADLINES);
        ix
    }

    #[test]
    fn e_20_responses_match_on_full_source_address_and_transaction() {
        let mut slots = [Slot::new(Query::EMPTY); 4];
        let mut inflight = Inflight::default();
        let ix = send(&mut inflight, &mut slots, endpoint(1), Purpose::Check, 77);
        assert_eq!(inflight.find(&slots, endpoint(1), &77_u32.to_be_bytes()), Match::Query(ix));
        assert_eq!(inflight.find(&slots, endpoint(2), &77_u32.to_be_bytes()), Match::Stray);
        assert_eq!(inflight.find(&slots, endpoint(1), &78_u32.to_be_bytes()), Match::Stray);
        assert_eq!(inflight.find(&slots, endpoint(1), b"aa"), Match::Stray);
        let other_port = Endpoint::v4([9, 9, 9, 1], 1);
        assert_eq!(inflight.find(&slots, other_port, &77_u32.to_be_bytes()), Match::WrongPort);
    }

    #[test]
    fn l_08_a_query_stalls_first_and_times_out_later() {
        let mut slots = [Slot::new(Query::EMPTY); 4];
        let mut inflight = Inflight::default();
        let ix = send(&mut inflight, &mut slots, endpoint(1), Purpose::Check, 1);
        assert_eq!(inflight.next_deadline(&slots), Some(ms(100)));
        assert!(inflight.expire(&mut slots, ms(99)).is_none());
        assert!(matches!(inflight.expire(&mut slots, ms(100)), Some(Expiry::Stalled(_))));
        assert_eq!(inflight.find(&slots, endpoint(1), &1_u32.to_be_bytes()), Match::Query(ix));
        assert_eq!(inflight.next_deadline(&slots), Some(ms(5000)));
        assert!(matches!(inflight.expire(&mut slots, ms(5000)), Some(Expiry::TimedOut(_))));
        assert_eq!(inflight.find(&slots, endpoint(1), &1_u32.to_be_bytes()), Match::Stray);
        assert_eq!(inflight.next_deadline(&slots), None);
        assert_eq!(inflight.outstanding(), 0);
    }

    #[test]
    fn a_postponed_query_lets_others_go_first() {
        let mut slots = [Slot::new(Query::EMPTY); 4];
        let mut inflight = Inflight::default();
        let [late, soon, now] =
            [1, 2, 3].map(|last| inflight.enqueue(&mut slots, endpoint(last), None, Purpose::Check).unwrap());
        inflight.postpone(&mut slots, late, ms(900));
        inflight.postpone(&mut slots, soon, ms(500));
        assert_eq!(inflight.next_waiting(&slots, ms(0)), Some(now));
        assert_eq!(inflight.postponed_until(&slots), Some(ms(500)));
        inflight.on_sent(&mut slots, now, [0; 4], ms(0), DEADLINES);
        assert!(!inflight.has_waiting());
        assert_eq!(inflight.next_waiting(&slots, ms(499)), None);
        assert_eq!(inflight.next_waiting(&slots, ms(500)), Some(soon));
        inflight.postpone(&mut slots, soon, ms(1000));
        assert_eq!(inflight.next_waiting(&slots, ms(900)), Some(late));
        inflight.cancel(&mut slots, late);
        assert_eq!(inflight.postponed_until(&slots), Some(ms(1000)));
        assert!(inflight.is_consistent(&slots));
    }

    #[test]
    fn only_a_stalled_query_is_aborted_and_the_oldest_first() {
        let mut slots = [Slot::new(Query::EMPTY); 2];
        let mut inflight = Inflight::default();
        let first = send(&mut inflight, &mut slots, endpoint(1), Purpose::Check, 1);
        send(&mut inflight, &mut slots, endpoint(2), Purpose::Check, 2);
        assert!(inflight.abort_stalled(&mut slots).is_none());
        while inflight.expire(&mut slots, ms(100)).is_some() {}
        let aborted = inflight.abort_stalled(&mut slots).unwrap();
        assert_eq!((aborted.to, slots[first].stage), (endpoint(1), Stage::Free));
        assert_eq!(inflight.outstanding(), 1);
    }

    #[test]
    fn a_completion_stays_until_it_is_polled() {
        let mut slots = [Slot::new(Query::EMPTY); 1];
        let mut inflight = Inflight::default();
        let ix = send(&mut inflight, &mut slots, endpoint(1), Purpose::Ping, 1);
        let generation = slots[ix].generation;
        inflight.finish(&mut slots, ix, QueryResult::Unreachable);
        assert!(inflight.is_full(&slots));
        assert!(inflight.is_current(&slots, ix, generation));
        let (_, query, outcome) = inflight.poll_done(&mut slots).unwrap();
        assert_eq!((query.to, outcome), (endpoint(1), QueryResult::Unreachable));
        assert!(!inflight.is_current(&slots, ix, generation));
        let again = inflight.enqueue(&mut slots, endpoint(1), None, Purpose::Ping).unwrap();
        assert!(!inflight.is_current(&slots, again, generation), "an id is never used twice");
    }

    proptest! {
        /// Every query ends exactly once, regardless of the order of responses and deadlines.
        #[test]
        fn every_query_ends_once(steps in proptest::collection::vec((0_u8..4, any::<u16>()), 0..200)) {
            let mut slots = [Slot::new(Query::EMPTY); 7];
            let mut inflight = Inflight::default();
            let mut open: Vec<(Ix, u32)> = Vec::new();
            let mut now = 0;
            for (tid, (step, value)) in steps.into_iter().enumerate() {
                let tid = (tid as u32).wrapping_mul(0x1234_5678);
                match step {
                    0 | 1 => match inflight.enqueue(&mut slots, endpoint(3), None, Purpose::Check) {
                        Some(ix) => {
                            let stall = Duration::from_millis(u64::from(value % 300));
                            inflight.on_sent(&mut slots, ix, tid.to_be_bytes(), ms(now), Deadlines { stall, timeout: TIMEOUT });
                            open.push((ix, tid));
                        }
                        None => prop_assert_eq!(open.len(), slots.len()),
                    },
                    2 if !open.is_empty() => {
                        let (ix, tid) = open.remove(usize::from(value) % open.len());
                        prop_assert_eq!(inflight.find(&slots, endpoint(3), &tid.to_be_bytes()), Match::Query(ix));
                        inflight.finish(&mut slots, ix, QueryResult::Malformed);
                        prop_assert_eq!(inflight.find(&slots, endpoint(3), &tid.to_be_bytes()), Match::Stray);
                    }
                    _ => {
                        now += u64::from(value) / 16;
                        while let Some(expiry) = inflight.expire(&mut slots, ms(now)) {
                            if let Expiry::TimedOut(query) = expiry {
                                let tid = u32::from_be_bytes(query.transaction);
                                let at = open.iter().position(|&(_, other)| other == tid);
                                prop_assert!(at.is_some());
                                open.remove(at.unwrap());
                            }
                        }
                        prop_assert!(inflight.next_deadline(&slots).is_none_or(|at| at > ms(now)));
                    }
                }
                prop_assert_eq!(inflight.outstanding(), open.len());
                prop_assert!(inflight.is_consistent(&slots));
            }
        }
    }
}
