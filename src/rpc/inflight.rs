//! Queries under way: transaction ids, and two deadlines for each.
//!
//! A query waits until it may be sent: in turn, or put off while its destination was asked much
//! lately, so that it holds up no other. Then it is fresh until its stall deadline, then stalled until
//! its timeout. A stalled query holds nothing up, but its answer still counts. A query of the user
//! stays until its completion has been polled; every other one ends with its answer or timeout.

use core::time::Duration;

use crate::base::addr::{Endpoint, Family};
use crate::base::hash::reduce;
use crate::base::id::NodeId;
use crate::base::pool::{Ix, List, Pool, Slot};
use crate::base::time::Instant;
use crate::lookup::Window;
use crate::wire::MethodKind;

/// What a query is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub(crate) enum Purpose {
    /// A single ping of the user.
    Ping,
    /// To see whether a node of the table, or one that wants to enter it, is alive.
    Check,
    /// A step of a lookup.
    Lookup(TraversalRef),
    /// The announce at the end of a lookup.
    Announce(TraversalRef),
    /// To see who lives beyond the horizon of a lookup.
    Probe(TraversalRef, Window),
    /// A single query of the user for a sample of infohashes, which lies in this slot.
    Sample(Ix),
}

impl Purpose {
    /// The walk that it is a step of.
    pub(crate) const fn traversal(self) -> Option<TraversalRef> {
        match self {
            Self::Ping | Self::Check | Self::Sample(_) => None,
            Self::Lookup(traversal) | Self::Announce(traversal) | Self::Probe(traversal, _) => {
                Some(traversal)
            }
        }
    }

    /// Whether it is a single query of the user, whose end is told.
    pub(crate) const fn is_users(self) -> bool {
        matches!(self, Self::Ping | Self::Sample(_))
    }
}

/// One walk, as long as it has not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub(crate) struct TraversalRef {
    pub(crate) ix: Ix,
    pub(crate) generation: u32,
}

/// How a query ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub(crate) enum QueryResult {
    TimedOut,
    Unreachable,
    Malformed,
    Disabled,
    /// With an error of this code.
    Refused(i64),
    Answered {
        id: NodeId,
        rtt: Duration,
    },
}

/// How far a query has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
enum Stage {
    Free,
    Waiting,
    /// Until its deadline.
    PutOff,
    Fresh,
    Stalled,
    Done,
}

/// A query under way.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub(crate) struct Query {
    pub(crate) to: Endpoint,
    /// Who is expected to answer; `None` where only the address is known.
    pub(crate) id: Option<NodeId>,
    pub(crate) purpose: Purpose,
    pub(crate) sent: Instant,
    /// Unpredictable, so that an answer proves that the query was received (BEP 5).
    pub(crate) transaction: [u8; 4],
    pub(crate) generation: u32,
    /// What was asked, once it is sent.
    pub(crate) method: MethodKind,
    /// Its walk has asked the node before what every node would have answered.
    pub(crate) is_repeat: bool,
    stage: Stage,
    /// How often in a row our own system has not sent it, and whether it waits to be tried again.
    pub(crate) unsent: u8,
    is_unsent: bool,
    /// Of the present stage.
    deadline: Instant,
    timeout: Duration,
    outcome: QueryResult,
    /// The first query in the chain that belongs to this slot's position, and the next one in the
    /// chain that this query is in: a hash table by transaction id, kept within the slots.
    chain_head: Ix,
    chain_next: Ix,
}

impl Query {
    /// All zero bytes, so that slots in a static lie in `.bss`: of the outcomes only that which
    /// holds data can be so.
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
        outcome: QueryResult::Answered { id: NodeId::ZERO, rtt: Duration::ZERO },
        chain_head: Ix::NONE,
        chain_next: Ix::NONE,
    };

    /// Whether an answer is awaited.
    pub(crate) const fn is_sent(&self) -> bool {
        matches!(self.stage, Stage::Fresh | Stage::Stalled)
    }

    /// Whether it was ended before its time.
    pub(crate) fn is_given_up(&self, now: Instant) -> bool {
        self.deadline > now
    }
}

/// What the passing of time did to a query.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Expiry {
    /// It stalled, and is still waited for.
    Stalled(Query),
    /// It timed out and has ended.
    TimedOut(Query),
}

/// How an incoming answer matches the queries under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Match {
    /// It answers this query.
    Query(Ix),
    /// It carries the transaction id of a query to the same host, but comes from another port.
    WrongPort,
    /// It answers nothing we asked.
    Stray,
}

/// The head of the queries under way.
#[derive(Clone, Copy, Debug, Default)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub(crate) struct Inflight {
    pool: Pool,
    /// Oldest first.
    waiting: List,
    /// By deadline.
    put_off: List,
    /// By deadline.
    fresh: List,
    /// By deadline.
    stalled: List,
    /// Oldest first.
    done: List,
    generation: u32,
}

impl Inflight {
    /// A query that waits to be sent; `None` where all slots are taken.
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

    /// The query that may be sent next: those that were put off before those that wait.
    pub(crate) fn next_waiting(&self, slots: &[Slot<Query>], now: Instant) -> Option<Ix> {
        self.put_off.front().filter(|&ix| slots[ix].deadline <= now).or_else(|| self.waiting.front())
    }

    /// Whether a query waits, which may be one that was put off.
    pub(crate) const fn may_have_waiting(&self) -> bool {
        !self.waiting.is_empty() || !self.put_off.is_empty()
    }

    /// Whether a query waits that was not put off.
    pub(crate) const fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// When the next of those that were put off may be sent.
    pub(crate) fn put_off_until(&self, slots: &[Slot<Query>]) -> Option<Instant> {
        self.put_off.front().map(|ix| slots[ix].deadline)
    }

    /// Lets a query that waits do so until then, and others go first.
    pub(crate) fn put_off(&mut self, slots: &mut [Slot<Query>], ix: Ix, until: Instant) {
        self.leave(slots, ix);
        (slots[ix].stage, slots[ix].deadline) = (Stage::PutOff, until);
        insert_by_deadline(&mut self.put_off, slots, ix);
    }

    /// Marks a waiting query as sent, under the transaction id `transaction`.
    pub(crate) fn sent(
        &mut self,
        slots: &mut [Slot<Query>],
        ix: Ix,
        transaction: [u8; 4],
        now: Instant,
        stall: Duration,
        timeout: Duration,
    ) {
        self.leave(slots, ix);
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

    /// The query that an answer from `from` belongs to.
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

    /// The oldest query to `to` that is unanswered.
    pub(crate) fn find_sent_to(&self, slots: &[Slot<Query>], to: Endpoint) -> Option<Ix> {
        self.awaited(slots).filter(|&ix| slots[ix].to == to).min_by_key(|&ix| slots[ix].sent)
    }

    /// Whether a query for this is unanswered.
    pub(crate) fn awaits(&self, slots: &[Slot<Query>], purpose: Purpose) -> bool {
        self.awaited(slots).any(|ix| slots[ix].purpose == purpose)
    }

    /// The query that was handed out last of those to `to`.
    pub(crate) fn find_last_sent_to(&self, slots: &[Slot<Query>], to: Endpoint) -> Option<Ix> {
        let sent = self.awaited(slots).filter(|&ix| slots[ix].to == to && !slots[ix].is_unsent);
        sent.max_by_key(|&ix| slots[ix].sent)
    }

    /// A query that was handed out has not left the host. It is sent again at this time.
    pub(crate) fn unsent(&mut self, slots: &mut [Slot<Query>], ix: Ix, at: Instant) {
        match slots[ix].stage {
            Stage::Fresh => self.fresh.remove(slots, ix),
            Stage::Stalled => self.stalled.remove(slots, ix),
            Stage::Free | Stage::Waiting | Stage::PutOff | Stage::Done => return,
        }
        let query = &mut slots[ix];
        (query.stage, query.deadline, query.is_unsent) = (Stage::Fresh, at, true);
        query.unsent = query.unsent.saturating_add(1);
        insert_by_deadline(&mut self.fresh, slots, ix);
    }

    /// The first query in a family that has not ended; one that waits to be sent if none was.
    pub(crate) fn find_open(&self, slots: &[Slot<Query>], family: Family) -> Option<Ix> {
        let mut open = self.awaited(slots).chain(self.waiting.iter(slots)).chain(self.put_off.iter(slots));
        open.find(|&ix| slots[ix].to.family() == family)
    }

    /// Puts a query that was sent back among those that wait.
    pub(crate) fn send_again(&mut self, slots: &mut [Slot<Query>], ix: Ix) {
        self.leave(slots, ix);
        slots[ix].stage = Stage::Waiting;
        self.waiting.push_back(slots, ix);
    }

    /// Ends a query, and returns it. One of the user stays as a completion with
    /// `outcome`.
    pub(crate) fn finish(&mut self, slots: &mut [Slot<Query>], ix: Ix, outcome: QueryResult) -> Query {
        let query = slots[ix];
        self.leave(slots, ix);
        if query.purpose.is_users() {
            slots[ix].stage = Stage::Done;
            slots[ix].outcome = outcome;
            self.done.push_back(slots, ix);
        } else {
            self.free(slots, ix);
        }
        query
    }

    /// Ends a query without a completion, whatever its stage.
    pub(crate) fn cancel(&mut self, slots: &mut [Slot<Query>], ix: Ix) {
        self.leave(slots, ix);
        self.free(slots, ix);
    }

    /// Whether `ix` still is the query of this generation, and one of the user.
    pub(crate) fn is_current(&self, slots: &[Slot<Query>], ix: Ix, generation: u32) -> bool {
        slots.get(ix.position()).is_some_and(|slot| {
            let query = &slot.value;
            query.generation == generation && query.purpose.is_users() && query.stage != Stage::Free
        })
    }

    /// The next completion of a query of the user.
    pub(crate) fn poll_done(&mut self, slots: &mut [Slot<Query>]) -> Option<(Ix, Query, QueryResult)> {
        let ix = self.done.pop_front(slots)?;
        let query = slots[ix];
        self.free(slots, ix);
        Some((ix, query, query.outcome))
    }

    /// Whether a completion waits to be polled.
    pub(crate) const fn has_done(&self) -> bool {
        !self.done.is_empty()
    }

    /// The next query whose deadline has passed.
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

    /// Ends the stalled query that is nearest to its timeout, to make room; not one of the user.
    pub(crate) fn give_up(&mut self, slots: &mut [Slot<Query>]) -> Option<Query> {
        let ix = self.stalled.iter(slots).find(|&ix| !slots[ix].purpose.is_users())?;
        Some(self.finish(slots, ix, QueryResult::TimedOut))
    }

    /// The earliest deadline.
    pub(crate) fn next_deadline(&self, slots: &[Slot<Query>]) -> Option<Instant> {
        let fronts = [self.fresh.front(), self.stalled.front()];
        fronts.into_iter().flatten().map(|ix| slots[ix].deadline).min()
    }

    /// Queries sent and neither answered nor timed out.
    pub(crate) const fn outstanding(&self) -> usize {
        self.fresh.len() + self.stalled.len()
    }

    /// Whether half of all queries that can be are under way or wait.
    pub(crate) const fn is_half_full(&self, slots: &[Slot<Query>]) -> bool {
        self.pool.used() * 2 >= slots.len()
    }

    /// Whether no further query can start.
    pub(crate) const fn is_full(&self, slots: &[Slot<Query>]) -> bool {
        self.pool.is_full(slots)
    }

    /// Whether every slot is free or in the list of its stage.
    #[cfg(any(test, feature = "checkpoint", feature = "sim"))]
    pub(crate) fn is_consistent(&self, slots: &[Slot<Query>]) -> bool {
        let lists = [
            (self.waiting, Stage::Waiting),
            (self.put_off, Stage::PutOff),
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

    /// Takes a query out of its list and its chain.
    fn leave(&mut self, slots: &mut [Slot<Query>], ix: Ix) {
        match slots[ix].stage {
            Stage::Free => return,
            Stage::Waiting => return self.waiting.remove(slots, ix),
            Stage::PutOff => return self.put_off.remove(slots, ix),
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

/// The slot that holds the head of the chain of a transaction id.
fn chain(slots: &[Slot<Query>], transaction: [u8; 4]) -> Ix {
    Ix::new(reduce(u32::from_be_bytes(transaction), slots.len()))
}

/// Deadlines mostly come in order, so the search starts at the end.
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
        inflight.sent(slots, ix, tid.to_be_bytes(), ms(0), STALL, TIMEOUT);
        ix
    }

    #[test]
    fn e_20_answers_match_on_full_source_address_and_transaction() {
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
    fn a_query_that_is_put_off_lets_others_go_first() {
        let mut slots = [Slot::new(Query::EMPTY); 4];
        let mut inflight = Inflight::default();
        let [late, soon, now] =
            [1, 2, 3].map(|last| inflight.enqueue(&mut slots, endpoint(last), None, Purpose::Check).unwrap());
        inflight.put_off(&mut slots, late, ms(900));
        inflight.put_off(&mut slots, soon, ms(500));
        assert_eq!(inflight.next_waiting(&slots, ms(0)), Some(now));
        assert_eq!(inflight.put_off_until(&slots), Some(ms(500)));
        inflight.sent(&mut slots, now, [0; 4], ms(0), STALL, TIMEOUT);
        assert!(!inflight.has_waiting());
        assert_eq!(inflight.next_waiting(&slots, ms(499)), None);
        assert_eq!(inflight.next_waiting(&slots, ms(500)), Some(soon));
        inflight.put_off(&mut slots, soon, ms(1000));
        assert_eq!(inflight.next_waiting(&slots, ms(900)), Some(late));
        inflight.cancel(&mut slots, late);
        assert_eq!(inflight.put_off_until(&slots), Some(ms(1000)));
        assert!(inflight.is_consistent(&slots));
    }

    #[test]
    fn only_a_stalled_query_is_given_up_and_the_oldest_first() {
        let mut slots = [Slot::new(Query::EMPTY); 2];
        let mut inflight = Inflight::default();
        let first = send(&mut inflight, &mut slots, endpoint(1), Purpose::Check, 1);
        send(&mut inflight, &mut slots, endpoint(2), Purpose::Check, 2);
        assert!(inflight.give_up(&mut slots).is_none());
        while inflight.expire(&mut slots, ms(100)).is_some() {}
        let given_up = inflight.give_up(&mut slots).unwrap();
        assert_eq!((given_up.to, slots[first].stage), (endpoint(1), Stage::Free));
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
        /// Every query ends exactly once, whatever the order of answers and deadlines.
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
                            inflight.sent(&mut slots, ix, tid.to_be_bytes(), ms(now), stall, TIMEOUT);
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
