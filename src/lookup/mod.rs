//! The iterative lookup (BEP 5): one walk towards a target, in one family.
//!
//! There are no rounds: after every answer, stall and failure the walk is asked for its next
//! [`Step`]. A query that has stalled holds nothing up, so a dead node costs a stall, not a
//! timeout; only nodes that answered count towards the K closest; and an announce goes to each
//! node as soon as it is among the K closest that are alive and everything closer has answered or
//! stalled. What was lost near the target is sent once more; a query for an item (BEP 44), which not
//! every node knows, is followed by one for neighbours alone, and only if that is answered by another
//! one for the item. Who failed lately is asked when nobody else is left. Where the dead hide the
//! living behind them, it looks beyond the [horizon]. After an announce has ended and was reported, it
//! lingers: a closer node that answers late, or is named late, still gets it.
//!
//! An item that can change is another matter: whoever is late may be the only one that has the newest
//! version. A search for it, and the look before one is put, waits for each of the K closest until that
//! answers or times out; what is found on the way is told at once.
//!
//! # Why these figures
//!
//! Each row changes one of them, in two thousand seeds of the toy network of the laboratory: log-
//! normal round trips around 80 ms with a sigma of 0.6, 5 % loss, 40 % of the hosts dead. The
//! announce stands at 8 hosts after so many milliseconds (median and 95th percentile), for which so
//! many datagrams are sent, and so many in all; in so many of a thousand runs one of the 8 closest
//! living hosts does not hold it in the end. (The example `scripted_network` prints these; in a network
//! that looks 2^22 nodes deep they are hardly different.) The last columns are of 400 lookups of
//! peers among 2000 real nodes, 30 % of them dead and half behind NATs (`dht sim --nodes 2000
//! --dead 0.3 --nat 0.5 --lookups 400`): the first peer (95th percentile), and the queries.
//!
//! | | stands | 95 % | datagrams | in all | missed | first peer, 95 % | queries |
//! |---|---|---|---|---|---|---|---|
//! | as it is | 405 | 587 | 46 | 64 | 33 | 186 | 26 |
//! | 4 queries at once instead of 8 ([`LookupOptions::alpha`]) | 542 | 804 | 38 | 57 | 49 | 216 | 20 |
//! | 6 | 452 | 663 | 43 | 61 | 41 | 208 | 23 |
//! | 10 | 381 | 553 | 49 | 67 | 26 | 178 | 29 |
//! | 16 | 342 | 498 | 56 | 74 | 10 | 171 | 36 |
//! | stalled after 5 of 10 answers instead of 7 (`rtt`) | 349 | 477 | 51 | 71 | 27 | 172 | 31 |
//! | after 6 | 373 | 512 | 48 | 68 | 33 | 181 | 28 |
//! | after 8 | 456 | 667 | 44 | 61 | 35 | 209 | 26 |
//! | after 9 | 523 | 815 | 42 | 58 | 42 | 269 | 25 |
//! | a node that was asked counts as alive, instead of as half | 459 | 731 | 44 | 61 | 39 | 191 | 25 |
//! | as a quarter | 402 | 568 | 48 | 66 | 30 | 185 | 29 |
//! | nothing is sent twice (`TRIES`) | 413 | 601 | 39 | 64 | 37 | 182 | 27 |
//! | three times | 410 | 599 | 49 | 65 | 32 | 198 | 27 |
//! | after the end no third time, instead of up to five times in all | 405 | 587 | 46 | 50 | 141 | | |
//! | up to three times | 405 | 587 | 46 | 55 | 53 | | |
//! | no look beyond the horizon | 379 | 563 | 41 | 60 | 531 | | |
//! | of equally close nodes the closest, instead of the fastest | 421 | 600 | 46 | 64 | 35 | 230 | 26 |
//! | from 8 nodes of the table instead of 16 | 422 | 608 | 46 | 64 | 42 | 211 | 25 |
//! | from 32 | 406 | 584 | 46 | 64 | 37 | 188 | 26 |
//! | announces once 8 have answered and nobody closer is awaited | 527 | 758 | 44 | 65 | 32 | | |
//!
//! More haste costs more queries, here and elsewhere in the network; these are the figures at which
//! the announce takes less than 50 of them until its end.

mod admission;
mod candidates;
pub(crate) mod density;
mod horizon;
mod interrupt;
#[cfg(feature = "items")]
mod items;
mod options;
mod region;
pub(crate) mod republisher;
pub(crate) mod sampling;
pub(crate) mod scrape;
mod step;

#[cfg(test)]
mod tests;

use core::time::Duration;

#[cfg(feature = "items")]
pub(crate) use candidates::Holding;
pub(crate) use candidates::{Candidate, Token};
use candidates::{Placing, State, TRIES};
use horizon::Horizon;
pub(crate) use horizon::Window;
pub use options::{Announce, Lookup, LookupOptions};
use region::Region;
pub(crate) use step::Step;

use crate::base::addr::{Endpoint, Family};
use crate::base::id::{Distance, K, NodeId};
use crate::base::pool::Ix;
use crate::base::rtt::speed;
use crate::base::time::Instant;
use crate::wire::ErrorCode;

/// The largest [`LookupOptions::k`].
const MAX_K: u8 = 2 * K as u8;

/// Tokens serve an announce for this long: every deployed node accepts them for longer (BEP 5).
pub(crate) const TOKEN_LIFE: Duration = Duration::from_secs(5 * 60);

/// What a walk is for. Of its variants the first has a tag of zero.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub(crate) enum Goal {
    FindNode,
    GetPeers,
    Announce(Announce),
    /// The filters of a torrent's peers.
    Scrape,
    /// Our own neighbours.
    Bootstrap,
    /// Some nodes of a bucket that was quiet; nobody is told.
    Refresh,
    /// The item at the target, sought in this slot of our own items.
    #[cfg(feature = "items")]
    Get(Ix),
    /// The same, storing the item in this slot.
    #[cfg(feature = "items")]
    Put(Ix),
}

/// How far a walk has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub(crate) enum Phase {
    Free,
    /// It may have something to send.
    Ready,
    /// It has something to send, but not yet: the node was asked much lately.
    Held,
    /// For answers or deadlines.
    Waiting,
    /// Ended, but its lookup has not, or is led by the other walk.
    Ended,
    /// It leads a lookup that has ended and is not reported.
    Completed,
    /// Reported; kept for its tokens until the slot is wanted.
    Remembered,
}

impl Phase {
    pub(crate) const fn is_under_way(self) -> bool {
        matches!(self, Self::Ready | Self::Held | Self::Waiting)
    }

    /// Whether its lookup has ended, while late answers may still come.
    const fn is_over(self) -> bool {
        matches!(self, Self::Ended | Self::Completed | Self::Remembered)
    }

    /// Whether events may still come of it.
    pub(crate) const fn has_events(self) -> bool {
        !matches!(self, Self::Free | Self::Remembered)
    }
}

/// What a walk for an item knows beside the nodes.
#[cfg(feature = "items")]
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub(crate) struct ItemTraversal {
    /// Nothing more is to be found: what is sought cannot change.
    pub(crate) is_satisfied: bool,
    /// Whether it asks all who may hold the item.
    pub(crate) check: Check,
    /// Nodes that returned the newest version.
    pub(crate) copies: u16,
}

#[cfg(feature = "items")]
impl ItemTraversal {
    const EMPTY: Self = Self { is_satisfied: false, check: Check::None, copies: 0 };
}

/// How a walk decides what is the newest version, and whether it puts its own.
#[cfg(feature = "items")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub(crate) enum Check {
    /// There is one version: a put goes to every node as soon as that is found.
    None,
    /// All of the closest who may hold a version are asked, and waited for until they answer or time out.
    Due,
    /// It waits as well, and asks more of them, so as to know whether enough hold it.
    Counting,
    /// They were asked, and it is to be stored.
    Passed,
    /// It is not to be stored, or nowhere else.
    Spared,
}

/// Who refused what a walk placed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub(crate) struct Refused {
    pub(crate) count: u16,
    /// Of them with the errors of a put whose `cas`, and whose `seq`, does not fit (BEP 44).
    pub(crate) cas: u16,
    pub(crate) seq: u16,
    /// The code of the last one; 0 before.
    pub(crate) code: i64,
}

impl Refused {
    const NONE: Self = Self { count: 0, cas: 0, seq: 0, code: 0 };
}

/// The state of a walk; its candidates, tokens and found peers lie in memory of their own.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub(crate) struct Traversal {
    pub(crate) phase: Phase,
    pub(crate) goal: Goal,
    pub(crate) target: NodeId,
    pub(crate) v6: bool,
    pub(crate) generation: u32,
    /// The walk whose index is the lookup's id: this one, or the one in the other family.
    pub(crate) lead: Ix,
    /// The walk of the same lookup in the other family.
    pub(crate) sibling: Ix,
    /// The announce that is kept up by this round, if it is one.
    pub(crate) publication: Ix,
    /// What it has counted, if it is a scrape; both families count together.
    pub(crate) scrape: Ix,
    pub(crate) alpha: u8,
    pub(crate) k: u8,
    /// Ask the first candidate alone.
    pub(crate) alone: bool,
    /// One answer for each IP address, and a share for each network.
    pub(crate) by_ip: bool,
    /// Ids are to fit addresses.
    by_fitness: bool,
    pub(crate) stall: Option<Duration>,
    pub(crate) timeout: Duration,
    pub(crate) started: Instant,
    pub(crate) ended: Instant,
    /// Until when it is held.
    pub(crate) held_until: Instant,
    /// When its tokens were asked for.
    pub(crate) asked: Instant,
    /// It began with the tokens of an earlier lookup.
    pub(crate) resumed: bool,
    /// It started from restored nodes, and has not asked the bootstrap hosts.
    pub(crate) holds_back: bool,
    horizon: Horizon,
    region: Region,
    len: u16,
    pub(crate) found: u16,
    pub(crate) reported: u16,
    /// Peers that the lookup may report, both families together.
    pub(crate) max_peers: u16,
    /// It met peers that it had no room for.
    pub(crate) has_more: bool,
    pub(crate) queried: u16,
    pub(crate) answered: u16,
    pub(crate) failed: u16,
    pub(crate) announced: u16,
    pub(crate) acknowledged: u16,
    pub(crate) refused: Refused,
    #[cfg(feature = "items")]
    pub(crate) items: ItemTraversal,
}

/// What an answer makes of a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Worth {
    /// One of the nodes that the lookup is for.
    Full,
    /// No more than one who leads on to others: its id does not fit its address, where such are not to
    /// count (BEP 42), or it does not know what it would be asked.
    Guide,
    /// It lives, and may still answer what it was asked before.
    Sign,
}

/// What became of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It counts; its nodes and peers are to be used.
    Accepted,
    /// The node is not who it was said to be, or this host has answered already.
    Rejected,
}

impl Traversal {
    /// All zero bytes, so that slots in a static lie in `.bss`.
    pub(crate) const EMPTY: Self = Self {
        phase: Phase::Free,
        goal: Goal::FindNode,
        target: NodeId::ZERO,
        v6: false,
        generation: 0,
        lead: Ix::NONE,
        sibling: Ix::NONE,
        publication: Ix::NONE,
        scrape: Ix::NONE,
        alpha: 0,
        k: 0,
        alone: false,
        by_ip: false,
        by_fitness: false,
        // None is marked by nanoseconds that there cannot be.
        stall: Some(Duration::ZERO),
        timeout: Duration::ZERO,
        started: Instant::ZERO,
        held_until: Instant::ZERO,
        asked: Instant::ZERO,
        resumed: false,
        holds_back: false,
        ended: Instant::ZERO,
        horizon: Horizon::EMPTY,
        region: Region::EMPTY,
        len: 0,
        found: 0,
        reported: 0,
        max_peers: 0,
        has_more: false,
        queried: 0,
        answered: 0,
        failed: 0,
        announced: 0,
        acknowledged: 0,
        refused: Refused::NONE,
        #[cfg(feature = "items")]
        items: ItemTraversal::EMPTY,
    };

    /// A walk without candidates.
    pub(crate) fn new(
        goal: Goal,
        target: NodeId,
        family: Family,
        options: &LookupOptions,
        by_ip: bool,
        now: Instant,
    ) -> Self {
        Self {
            goal,
            target,
            v6: family == Family::V6,
            alpha: options.alpha.max(1),
            k: options.k.clamp(1, MAX_K),
            alone: options.only.is_some(),
            by_ip,
            stall: options.stall,
            timeout: options.timeout,
            max_peers: options.max_peers,
            started: now,
            asked: now,
            ..Self::EMPTY
        }
    }

    pub(crate) const fn family(&self) -> Family {
        if self.v6 { Family::V6 } else { Family::V4 }
    }

    /// Candidates in sight.
    pub(crate) const fn len(&self) -> usize {
        self.len as usize
    }

    /// Offers a node of the table, which answered within `rtt` before.
    pub(crate) fn add_known(
        &mut self,
        memory: &mut [Candidate],
        id: NodeId,
        endpoint: Endpoint,
        rtt: Duration,
    ) {
        let candidate = Candidate { id: Some(id), endpoint, speed_or_cells: speed(rtt), ..Candidate::EMPTY };
        self.offer(memory, candidate);
    }

    /// Offers a contact; one that failed not long ago is a suspect, the last resort. Returns whether it
    /// was taken in.
    pub(crate) fn add(
        &mut self,
        memory: &mut [Candidate],
        id: Option<NodeId>,
        endpoint: Endpoint,
        is_suspect: bool,
    ) -> bool {
        let state = if is_suspect { State::Suspect } else { State::Fresh };
        self.offer(memory, Candidate { id, endpoint, state, ..Candidate::EMPTY })
    }

    /// Whether what it has may serve a lookup with this goal.
    pub(crate) const fn serves(&self, goal: Goal) -> bool {
        match (self.goal, goal) {
            (Goal::GetPeers | Goal::Scrape | Goal::Announce(_), Goal::Announce(_)) => true,
            // One that ended with its first find knows too few nodes.
            #[cfg(feature = "items")]
            (Goal::Get(_) | Goal::Put(_), Goal::Put(_)) => !self.items.is_satisfied,
            _ => false,
        }
    }

    /// Whether answers are still of use to it: to an announce also after its end.
    pub(crate) const fn is_active(&self) -> bool {
        self.phase.is_under_way() || (self.phase.is_over() && self.announces() && !self.alone)
    }

    /// Whether it goes on, after it was reported, placing its announce at nodes that answer late or
    /// are named late.
    pub(crate) const fn lingers(&self) -> bool {
        self.is_active() && matches!(self.phase, Phase::Remembered)
    }

    /// The candidate at `position` was asked.
    pub(crate) fn asked(&mut self, memory: &mut [Candidate], position: usize) {
        let candidate = &mut memory[position];
        self.queried += u16::from(candidate.tries == 0);
        if candidate.state == State::Suspect {
            // What it was asked before counts.
            candidate.tries = TRIES;
        }
        candidate.state = match candidate.state {
            State::Reached => State::Pressed,
            _ if candidate.tries == 0 => State::Asked,
            _ => State::Retried,
        };
        candidate.tries += 1;
        // Whoever else is listed at this address is asked by the same query (L-05).
        let endpoint = candidate.endpoint;
        for other in &mut memory[..self.len()] {
            if other.endpoint == endpoint && other.is_unasked() {
                other.drop_twin();
            }
        }
        self.spare_network(memory, position);
    }

    /// The candidate at `position` was sent the announce.
    pub(crate) fn announced(&mut self, memory: &mut [Candidate], position: usize) {
        let candidate = &mut memory[position];
        if candidate.placing == Placing::None {
            candidate.tries = 0;
            self.announced += 1;
        }
        candidate.placing = Placing::Sent;
        candidate.tries += 1;
    }

    /// The candidate at `position` was asked for those in a window.
    pub(crate) fn looked(&mut self, memory: &mut [Candidate], position: usize, window: Window) {
        match window {
            Window::Cell(cell) => self.looked_in(memory, position, cell),
            _ => self.horizon.asked(window),
        }
    }

    /// The target that nodes in a window are asked for by.
    pub(crate) fn target_in(&self, window: Window) -> NodeId {
        match window {
            Window::Cell(cell) => self.target_of_cell(cell),
            _ => self.target.at(self.horizon.at(window)),
        }
    }

    /// The query for a window was answered, with nodes up to this far from the target in it.
    pub(crate) fn on_looked(&mut self, window: Window, reach: Distance) {
        match window {
            Window::Cell(cell) => self.on_looked_in(cell),
            _ => self.horizon.on_answer(window, reach),
        }
    }

    /// The query for a window has stalled or failed.
    pub(crate) const fn on_looked_in_vain(&mut self, window: Window) {
        match window {
            Window::Cell(cell) => self.on_looked_in(cell),
            _ => self.horizon.on_stall(window),
        }
    }

    /// The node `by` listed so many others, the farthest of them this one.
    pub(crate) fn on_list(&mut self, by: &NodeId, farthest: &NodeId, count: usize) {
        let distance = |id| self.target.distance(id);
        self.horizon.on_list(distance(by), distance(farthest), count);
    }

    /// Whether a query to the candidate that has been asked is one for its neighbours alone, though it
    /// seeks an item: every other one is, since a node may not know `get` and still leads on to others.
    #[cfg(feature = "items")]
    pub(crate) fn asks_neighbours(&self, memory: &[Candidate], to: Endpoint) -> bool {
        let candidate = self.position(memory, to).map(|position| &memory[position]);
        candidate.is_some_and(|c| c.state == State::Retried && c.tries.is_multiple_of(2))
    }

    /// Whether the walk has asked this candidate before what every node knows, when it is asked again.
    pub(crate) const fn repeats(&self, candidate: &Candidate) -> bool {
        candidate.tries > if self.seeks_item() { 1 } else { 0 }
    }

    /// The query to `from` was answered by a node that calls itself `id`, which counts as `worth`.
    pub(crate) fn on_answer(
        &mut self,
        memory: &mut [Candidate],
        tokens: &mut [Token],
        from: Endpoint,
        id: NodeId,
        token: Option<&[u8]>,
        worth: Worth,
    ) -> Verdict {
        let Some(mut position) = self.position(memory, from) else { return Verdict::Rejected };
        let before = memory[position].state;
        let was_reached = memory[position].was_reached();
        if before == State::Answered || (was_reached && worth != Worth::Full) {
            return Verdict::Rejected;
        }
        // Whoever was denied would otherwise get in by answering the second query as well.
        let denied = |c: &Candidate| c.endpoint == from && c.id == Some(id) && c.state == State::Denied;
        if memory[..self.len()].iter().any(denied) {
            self.fail(memory, position);
            return Verdict::Rejected;
        }
        match memory[position].id {
            Some(expected) if expected == id => {}
            Some(_) => {
                // A liar may have listed this host under another id before an honest node named it.
                let named = |c: &Candidate| c.endpoint == from && c.id == Some(id);
                match memory[..self.len()].iter().position(named) {
                    Some(other) => {
                        memory[position].drop_twin();
                        position = other;
                    }
                    None => {
                        self.fail(memory, position);
                        position = self.identify(memory, position, id);
                        memory[position].state = State::Denied;
                        return Verdict::Rejected;
                    }
                }
            }
            None => position = self.identify(memory, position, id),
        }
        let mut answered = memory[..self.len()].iter().filter(|c| c.state == State::Answered);
        let same_host = |c: &Candidate| self.by_ip && c.endpoint.ip_bytes() == from.ip_bytes();
        if answered.any(|c| c.id == Some(id) || same_host(c)) {
            memory[position].drop_twin();
            return Verdict::Rejected;
        }
        let candidate = &mut memory[position];
        // Its first query may have timed out while the second was on its way.
        let has_failed = candidate.state == State::Dead && candidate.tries > 0;
        self.failed = self.failed.saturating_sub(has_failed.into());
        self.answered += u16::from(!was_reached);
        (candidate.state, candidate.tries) = match worth {
            Worth::Full => (State::Answered, 0),
            Worth::Guide => (State::Shunned, 0),
            Worth::Sign => (State::Reached, candidate.tries),
        };
        candidate.speed_or_cells = 0;
        if let Some(token) = token.filter(|_| worth == Worth::Full).and_then(Token::new) {
            self.keep_token(memory, tokens, position, token);
        }
        self.judge(memory, memory[position].lister);
        Verdict::Accepted
    }

    /// The query to `to` has stalled. Returns whether the node is given up for its silence to what it
    /// was asked, though it has answered something else.
    pub(crate) fn on_stall(&self, memory: &mut [Candidate], to: Endpoint) -> bool {
        let Some(position) = self.position(memory, to) else { return false };
        let candidate = &mut memory[position];
        match candidate.state {
            State::Asked | State::Retried => {
                candidate.state = State::Stalled;
                self.judge(memory, memory[position].lister);
            }
            State::Pressed => {
                candidate.state = State::Shunned;
                return true;
            }
            _ => {}
        }
        false
    }

    /// The node at `to` says that it does not know the query: it may still lead on to others.
    pub(crate) fn on_unknown(&mut self, memory: &mut [Candidate], to: Endpoint) {
        match self.position(memory, to) {
            Some(at) if memory[at].state == State::Asked => memory[at].state = State::Stalled,
            Some(at) if memory[at].state == State::Pressed => memory[at].state = State::Shunned,
            _ => self.on_failure(memory, to),
        }
    }

    /// A query to `to` timed out. A later one may still be on its way.
    pub(crate) fn on_timeout(&mut self, memory: &mut [Candidate], to: Endpoint) {
        if let Some(position) = self.position(memory, to).filter(|&at| memory[at].state == State::Stalled) {
            self.fail(memory, position);
        }
    }

    /// The node at `to` cannot be reached, refused, or answered nonsense.
    pub(crate) fn on_failure(&mut self, memory: &mut [Candidate], to: Endpoint) {
        if let Some(position) = self.position(memory, to).filter(|&at| !memory[at].has_answered()) {
            self.fail(memory, position);
        }
    }

    /// The node at `from` confirmed the announce. Returns whether it is news.
    pub(crate) fn on_stored(&mut self, memory: &mut [Candidate], from: Endpoint) -> bool {
        let Some(placing) = self.placing(memory, from) else { return false };
        let before = core::mem::replace(placing, Placing::Stored);
        // It was announced to before the walk began anew.
        self.announced += u16::from(before == Placing::None);
        self.acknowledged += u16::from(before != Placing::Stored);
        before != Placing::Stored
    }

    /// The announce to `to` has stalled: it, or its confirmation, is probably lost.
    pub(crate) fn on_announce_stall(&self, memory: &mut [Candidate], to: Endpoint) {
        if let Some(placing) = self.placing(memory, to).filter(|placing| **placing == Placing::Sent) {
            *placing = Placing::Lost;
        }
    }

    /// The node at `to` refused the announce with an error of this code, or cannot be reached any
    /// more.
    pub(crate) fn on_refused(&mut self, memory: &mut [Candidate], to: Endpoint, code: Option<i64>) {
        let is_declined = self.is_declined_by(code);
        let Some(placing) = self.placing(memory, to) else { return };
        if matches!(placing, Placing::Stored | Placing::Refused | Placing::Declined) {
            return;
        }
        *placing = if is_declined { Placing::Declined } else { Placing::Refused };
        if let Some(code) = code {
            let refused = &mut self.refused;
            (refused.count, refused.code) = (refused.count.saturating_add(1), code);
            refused.cas += u16::from(code == ErrorCode::CAS_MISMATCH.0);
            refused.seq += u16::from(code == ErrorCode::SEQ_TOO_LOW.0);
        }
    }

    /// Starts again from the answers of an ended walk, to announce with its tokens.
    pub(crate) fn resume(
        &mut self,
        memory: &mut [Candidate],
        goal: Goal,
        options: &LookupOptions,
        now: Instant,
    ) {
        for candidate in &mut memory[..self.len()] {
            candidate.placing = Placing::None;
            let lacks_token = self.region.is_searched && !candidate.has_token();
            match candidate.state {
                // There was no room for all of the region.
                State::Answered if lacks_token => {
                    (candidate.state, candidate.tries, candidate.speed_or_cells) = (State::Fresh, 0, 0);
                }
                State::Answered => candidate.tries = 0,
                _ => candidate.state = State::Dead,
            }
        }
        let fresh = Self::new(goal, self.target, self.family(), options, self.by_ip, now);
        *self = Self {
            phase: self.phase,
            asked: self.asked,
            len: self.len,
            found: self.found,
            has_more: self.has_more,
            by_fitness: self.by_fitness,
            region: self.region.renewed(),
            resumed: true,
            ..fresh
        };
    }

    /// Forgets its candidates, to begin anew.
    pub(crate) fn restart(&mut self, now: Instant) {
        (self.len, self.asked, self.resumed, self.announced) = (0, now, false, 0);
        // Whoever refused, or has a copy, is asked and counted again.
        self.refused = Refused::NONE;
        #[cfg(feature = "items")]
        {
            self.items.copies = 0;
        }
    }

    /// The nodes that answered, closest first; of a single query the nodes it returned.
    pub(crate) fn closest<'a>(
        &self,
        memory: &'a [Candidate],
    ) -> impl Iterator<Item = (NodeId, Endpoint)> + use<'a> {
        let wanted = if self.alone { State::Fresh } else { State::Answered };
        let candidates = memory[..self.len()].iter().filter(move |c| c.state == wanted);
        candidates.filter_map(|c| c.id.map(|id| (id, c.endpoint))).take(usize::from(self.k))
    }

    /// The token of the node at an endpoint, if it gave one that is still kept.
    pub(crate) fn token_of(
        &self,
        memory: &[Candidate],
        tokens: &[Token],
        endpoint: Endpoint,
    ) -> Option<Token> {
        let here = memory[..self.len()].iter().filter(|c| c.endpoint == endpoint);
        here.filter_map(|c| c.token_of(tokens)).next()
    }

    /// Whether an announce could use this walk's tokens.
    pub(crate) fn has_tokens(&self, memory: &[Candidate]) -> bool {
        memory[..self.len()].iter().any(Candidate::has_token)
    }

    /// Whether an error of this code says that the node holds another version of what is put.
    const fn is_declined_by(&self, code: Option<i64>) -> bool {
        #[cfg(feature = "items")]
        if let (Goal::Put(_), Some(code)) = (self.goal, code) {
            return code == ErrorCode::CAS_MISMATCH.0 || code == ErrorCode::SEQ_TOO_LOW.0;
        }
        let _ = code;
        false
    }

    /// The candidate at an endpoint: where several are listed there the one that was asked, or has
    /// answered.
    fn position(&self, memory: &[Candidate], endpoint: Endpoint) -> Option<usize> {
        let candidates = &memory[..self.len()];
        let at = |c: &Candidate| c.endpoint == endpoint;
        let has_answered = |c: &Candidate| at(c) && (c.was_reached() || c.has_answered());
        let asked = candidates.iter().position(|c| at(c) && c.is_open());
        asked.or_else(|| candidates.iter().position(has_answered)).or_else(|| candidates.iter().position(at))
    }

    fn placing<'a>(&self, memory: &'a mut [Candidate], endpoint: Endpoint) -> Option<&'a mut Placing> {
        let candidates = &mut memory[..self.len()];
        let answered = candidates.iter_mut().find(|c| c.endpoint == endpoint && c.state == State::Answered);
        answered.map(|c| &mut c.placing)
    }

    fn fail(&mut self, memory: &mut [Candidate], position: usize) {
        if !matches!(memory[position].state, State::Dead | State::Denied) {
            // What it has answered before counts no more, lest a late answer counts twice.
            self.answered = self.answered.saturating_sub(memory[position].was_reached().into());
            memory[position].state = State::Dead;
            self.failed += 1;
            self.judge(memory, memory[position].lister);
        }
    }

    /// Puts a candidate whose id has become known into its place, and returns that.
    fn identify(&mut self, memory: &mut [Candidate], position: usize, id: NodeId) -> usize {
        let mut candidate = memory[position];
        candidate.id = Some(id);
        self.remove(memory, position);
        let place = self.place(memory, &candidate);
        self.insert(memory, candidate);
        place
    }

    /// Keeps a token in a free place, or in that of the farthest node that has one.
    fn keep_token(&self, memory: &mut [Candidate], tokens: &mut [Token], position: usize, token: Token) {
        let taken = |place: usize| memory[..self.len()].iter().any(|c| c.token == place as u8 + 1);
        let place = match (0..tokens.len()).find(|&place| !taken(place)) {
            Some(place) => place,
            None => {
                let Some(giver) = self.token_giver(memory, position) else { return };
                usize::from(core::mem::take(&mut memory[giver].token)) - 1
            }
        };
        tokens[place] = token;
        memory[position].token = place as u8 + 1;
    }
}
