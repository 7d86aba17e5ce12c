//! Iterative lookups (BEP 5): a [`Traversal`] converges on a target in one address family.
//!
//! - `admission`: which nodes become candidates, and which are evicted when memory is full
//! - `candidates`: the state kept for each node that a traversal knows
//! - `density`: an estimate of the size of the network
//! - `goal`: what lookups are for, and what distinguishes them
//! - `horizon`: finding live nodes that are hidden behind dead ones
//! - `items`: versions of an item and the nodes that hold them (BEP 44)
//! - `options`: the public types that start a lookup
//! - `planned`: the actions of a traversal
//! - `region`: searching the whole neighbourhood of a target that looks attacked
//! - `republisher`: scheduling of announces and items that are republished periodically
//! - `resume`: continuing after an interruption, and from an ended traversal
//! - `sampling`: responses to `sample_infohashes` queries (BEP 51)
//! - `scrape`: counting the peers of a torrent (BEP 33)
//! - `step`: the choice of the next datagram
//! - `tests`: the rules of a traversal, one by one
//!
//! There are no rounds: after every response, stall and failure the traversal computes its next [`Step`]. A query
//! that has stalled blocks nothing, so a dead node costs a stall, not a timeout. Only nodes that responded count
//! towards the K closest. An announce is sent to each node as soon as the node is among the K closest live ones
//! and everything closer has responded or stalled.
//!
//! A datagram lost near the target is sent once more. A query for an item (BEP 44), which not every node supports,
//! is followed by a plain query for neighbours, and only a response to that is followed by another query for the
//! item. Nodes that failed recently are queried only when no others are left. Where dead nodes hide live ones, the
//! traversal looks beyond the [horizon]. After an announce has completed and been reported, it stays active for a
//! while: a closer node that responds late, or is listed late, still receives the announce.
//!
//! Mutable items are different, because a late node may be the only one with the newest version. A lookup for such
//! an item, and the check before a put, waits until each of the K closest nodes has responded or timed out;
//! versions found on the way are reported immediately.
//!
//! # Choice of the constants
//!
//! Each row of the table changes one constant and shows the result over 2,000 seeds of the simulator's scripted
//! network: log-normal round trips around 80 ms with a sigma of 0.6, 5 % loss, 40 % of the hosts dead. Columns:
//! the milliseconds until 8 hosts store the announce (median and 95th percentile), the datagrams sent by then and
//! in total, and in how many of 1,000 runs one of the 8 closest live hosts lacks the announce at the end. The
//! example `scripted_network` prints these; in a network 2^22 nodes deep they hardly differ. The last two columns come
//! from 400 `get_peers` lookups among 2,000 full nodes, 30 % of them dead and half behind NATs (`dht sim --nodes
//! 2000 --dead 0.3 --nat 0.5 --lookups 400`): the milliseconds until the first peer (95th percentile), and the
//! queries per lookup.
//!
//! | | stored | 95 % | datagrams | in total | missed | first peer, 95 % | queries |
//! |---|---|---|---|---|---|---|---|
//! | current constants | 405 | 587 | 46 | 64 | 33 | 186 | 26 |
//! | 4 concurrent queries instead of 8 ([`LookupOptions::alpha`](field@LookupOptions::alpha)) | 542 | 804 | 38 | 57 | 49 | 216 | 20 |
//! | 6 concurrent queries | 452 | 663 | 43 | 61 | 41 | 208 | 23 |
//! | 10 concurrent queries | 381 | 553 | 49 | 67 | 26 | 178 | 29 |
//! | 16 concurrent queries | 342 | 498 | 56 | 74 | 10 | 171 | 36 |
//! | stall at the 50th percentile of round trips instead of the 70th (`rtt`) | 349 | 477 | 51 | 71 | 27 | 172 | 31 |
//! | stall at the 60th | 373 | 512 | 48 | 68 | 33 | 181 | 28 |
//! | stall at the 80th | 456 | 667 | 44 | 61 | 35 | 209 | 26 |
//! | stall at the 90th | 523 | 815 | 42 | 58 | 42 | 269 | 25 |
//! | a queried node counts as one live node, instead of half | 459 | 731 | 44 | 61 | 39 | 191 | 25 |
//! | a queried node counts as a quarter | 402 | 568 | 48 | 66 | 30 | 185 | 29 |
//! | nothing is sent twice (`TRIES`) | 413 | 601 | 39 | 64 | 37 | 182 | 27 |
//! | lost datagrams are sent three times in all | 410 | 599 | 49 | 65 | 32 | 198 | 27 |
//! | no third try after completion, instead of up to five in all | 405 | 587 | 46 | 50 | 141 | | |
//! | up to three tries in all after completion | 405 | 587 | 46 | 55 | 53 | | |
//! | no probes beyond the horizon | 379 | 563 | 41 | 60 | 531 | | |
//! | the closest of equally close nodes first, instead of the fastest | 421 | 600 | 46 | 64 | 35 | 230 | 26 |
//! | 8 initial nodes from the table instead of 16 | 422 | 608 | 46 | 64 | 42 | 211 | 25 |
//! | 32 initial nodes | 406 | 584 | 46 | 64 | 37 | 188 | 26 |
//! | announces wait until 8 nodes have responded and no closer one is pending | 527 | 758 | 44 | 65 | 32 | | |
//!
//! Faster lookups cost more queries, on this host and on others. The constants were chosen so that an announce
//! takes fewer than 50 datagrams until completion.

mod admission;
mod candidates;
pub(crate) mod density;
mod goal;
mod horizon;
#[cfg(feature = "items")]
mod items;
mod options;
mod planned;
mod region;
pub(crate) mod republisher;
mod resume;
pub(crate) mod sampling;
pub(crate) mod scrape;
mod step;

#[cfg(test)]
mod tests;

use core::time::Duration;

#[cfg(feature = "items")]
pub(crate) use candidates::Holding;
pub(crate) use candidates::{Candidate, Token};
use candidates::{Placement, State, TRIES};
pub(crate) use goal::{Cause, Goal, SearchKind};

pub(crate) use horizon::Window;
use horizon::{Horizon, Region};
pub use options::{Announce, Lookup, LookupKind, LookupOptions};
pub(crate) use planned::{PlannedStep, Step};

use crate::base::addr::{Endpoint, Family};
use crate::base::id::{Distance, K, NodeId};
use crate::base::pool::Ix;
use crate::base::rtt::speed;
use crate::base::time::Instant;
use crate::wire::ErrorCode;

/// Maximum of [`LookupOptions::k`](field@LookupOptions::k).
const MAX_K: u8 = 2 * K as u8;

/// How long a token is used for announces; deployed nodes accept theirs for longer (BEP 5).
pub(crate) const TOKEN_LIFE: Duration = Duration::from_secs(5 * 60);

/// The progress of a traversal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub(crate) enum Phase {
    Free,
    /// Runnable; may have something to send.
    Ready,
    /// Has something to send, but must wait because its destination is rate-limited.
    Held,
    /// Waits for responses or deadlines.
    Waiting,
    /// Ended; either the traversal of the other family has not, or that one leads the lookup.
    Ended,
    /// Leads a lookup that has completed and has not been reported.
    Completed,
    /// Reported; kept for its tokens until the slot is needed.
    Remembered,
}

impl Phase {
    /// Whether the traversal has not ended.
    pub(crate) const fn is_under_way(self) -> bool {
        matches!(self, Self::Ready | Self::Held | Self::Waiting)
    }

    /// Whether the traversal has ended; late responses may still arrive.
    const fn is_over(self) -> bool {
        matches!(self, Self::Ended | Self::Completed | Self::Remembered)
    }

    /// Whether the traversal may still cause events.
    pub(crate) const fn has_events(self) -> bool {
        !matches!(self, Self::Free | Self::Remembered)
    }
}

/// The state of a traversal that only lookups of items use.
#[cfg(feature = "items")]
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub(crate) struct ItemTraversal {
    /// The lookup is complete: an immutable item was found.
    pub(crate) is_satisfied: bool,
    /// Progress of the check for other versions.
    pub(crate) check: Check,
    /// Nodes that returned the newest version.
    pub(crate) copies: u16,
}

#[cfg(feature = "items")]
impl ItemTraversal {
    const EMPTY: Self = Self { is_satisfied: false, check: Check::None, copies: 0 };
}

/// Progress of the search for other versions of an item, which decides whether it is put.
#[cfg(feature = "items")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub(crate) enum Check {
    /// No check is needed: there can be only one version, so a put goes to every node as soon as it is found.
    None,
    /// In progress: all of the closest nodes that may hold a version are queried and must respond or time out.
    Due,
    /// In progress with more nodes than for [`Due`](Self::Due), to count whether enough of them hold the item.
    Counting,
    /// Completed: the item is to be stored.
    Passed,
    /// Completed: the item is not to be stored on any further node.
    Spared,
}

/// Nodes that refused an announce or put.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub(crate) struct Refused {
    pub(crate) count: u16,
    /// Refusals because of a mismatching `cas` (BEP 44).
    pub(crate) cas: u16,
    /// Refusals because of a `seq` that is too low.
    pub(crate) seq: u16,
    /// Error code of the last refusal; 0 if there was none.
    pub(crate) code: i64,
}

impl Refused {
    const NONE: Self = Self { count: 0, cas: 0, seq: 0, code: 0 };
}

/// The state of a traversal; its candidates, tokens and found peers are stored separately.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub(crate) struct Traversal {
    pub(crate) phase: Phase,
    /// The step to send next, while the traversal is ready or held.
    pub(crate) planned: PlannedStep,
    pub(crate) goal: Goal,
    pub(crate) target: NodeId,
    pub(crate) v6: bool,
    pub(crate) generation: u32,
    /// The traversal whose index is the lookup's id: this one, or the one of the other family.
    pub(crate) lead: Ix,
    /// The traversal of the same lookup in the other family.
    pub(crate) sibling: Ix,
    /// The publication that this traversal republishes, if any.
    pub(crate) publication: Ix,
    /// The scrape that this traversal counts in, if any; both families share it.
    pub(crate) scrape: Ix,
    pub(crate) alpha: u8,
    pub(crate) k: u8,
    /// A query to a single node: only the first candidate is queried.
    pub(crate) single: bool,
    /// One response per IP address is accepted, and the candidates of each subnet are limited.
    pub(crate) limits_sources: bool,
    /// Ids must match their addresses (BEP 42).
    requires_secure_ids: bool,
    pub(crate) stall: Option<Duration>,
    pub(crate) timeout: Duration,
    pub(crate) started: Instant,
    pub(crate) ended: Instant,
    /// When the rate-limited node may be queried.
    pub(crate) held_until: Instant,
    /// When the tokens were requested.
    pub(crate) tokens_requested: Instant,
    /// Started with the tokens of an earlier lookup.
    pub(crate) resumed: bool,
    /// Started from restored nodes, and has not queried the bootstrap hosts.
    pub(crate) skips_bootstraps: bool,
    horizon: Horizon,
    region: Region,
    len: u16,
    pub(crate) found: u16,
    pub(crate) reported: u16,
    /// Maximum number of peers that the lookup reports, both families together.
    pub(crate) max_peers: u16,
    /// Peers were dropped for lack of memory.
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

/// How much a response counts in a lookup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Weight {
    /// Fully: towards the K closest nodes.
    Full,
    /// For the nodes it lists: the id does not match the address where that is required (BEP 42), or the node does
    /// not support the query.
    NodesOnly,
    /// As proof that the node is alive: it may still respond to an earlier query.
    Alive,
}

/// Whether a response was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The response counts; its nodes and peers are to be used.
    Accepted,
    /// The id is not the one that was listed, or the host has already responded.
    Rejected,
}

impl Traversal {
    /// All zero bytes, so that slots in a static end up in `.bss`.
    pub(crate) const EMPTY: Self = Self {
        phase: Phase::Free,
        planned: PlannedStep::Query(0),
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
        single: false,
        limits_sources: false,
        requires_secure_ids: false,
        // `None` is encoded as an invalid number of nanoseconds, which is not all zero bytes.
        stall: Some(Duration::ZERO),
        timeout: Duration::ZERO,
        started: Instant::ZERO,
        held_until: Instant::ZERO,
        tokens_requested: Instant::ZERO,
        resumed: false,
        skips_bootstraps: false,
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

    /// Creates a traversal without candidates.
    pub(crate) fn new(
        goal: Goal,
        target: NodeId,
        family: Family,
        options: &LookupOptions,
        limits_sources: bool,
        now: Instant,
    ) -> Self {
        Self {
            goal,
            target,
            v6: family == Family::V6,
            alpha: options.alpha.max(1),
            k: options.k.clamp(1, MAX_K),
            single: options.only.is_some(),
            limits_sources,
            stall: options.stall,
            timeout: options.timeout,
            max_peers: options.max_peers,
            started: now,
            tokens_requested: now,
            ..Self::EMPTY
        }
    }

    pub(crate) const fn family(&self) -> Family {
        if self.v6 { Family::V6 } else { Family::V4 }
    }

    /// Returns the number of candidates.
    pub(crate) const fn len(&self) -> usize {
        self.len as usize
    }

    /// Offers a node of the routing table, with its smoothed round-trip time.
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

    /// Offers a contact, and returns whether it became a candidate.
    ///
    /// A node that failed recently is a suspect, which is queried only as a last resort.
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

    /// Whether the tokens and nodes of this traversal can be reused for a lookup with another goal.
    pub(crate) const fn is_reusable_for(&self, goal: Goal) -> bool {
        // The lookup ended with the first copy, so it knows too few nodes.
        #[cfg(feature = "items")]
        if self.items.is_satisfied {
            return false;
        }
        self.goal.is_reusable_for(goal)
    }

    /// Whether responses are still useful: until completion and, for an announce, afterwards.
    pub(crate) const fn is_active(&self) -> bool {
        self.phase.is_under_way() || (self.phase.is_over() && self.announces() && !self.single)
    }

    /// Whether an announce has been reported and is still sent to nodes that respond, or are listed, late.
    pub(crate) const fn announces_late(&self) -> bool {
        self.is_active() && matches!(self.phase, Phase::Remembered)
    }

    /// Records that the candidate at `position` was queried.
    pub(crate) fn on_queried(&mut self, memory: &mut [Candidate], position: usize) {
        let candidate = &mut memory[position];
        self.queried += u16::from(candidate.tries == 0);
        if candidate.state == State::Suspect {
            // The tries of earlier lookups count.
            candidate.tries = TRIES;
        }
        candidate.state = match candidate.state {
            State::Alive => State::AliveRetried,
            _ if candidate.tries == 0 => State::Queried,
            _ => State::Retried,
        };
        candidate.tries += 1;
        // The same query covers all other listings of this endpoint (L-05).
        let endpoint = candidate.endpoint;
        for other in &mut memory[..self.len()] {
            if other.endpoint == endpoint && other.is_unqueried() {
                other.drop_duplicate();
            }
        }
        self.drop_silent_subnet(memory, position);
    }

    /// Records that the announce was sent to the candidate at `position`.
    pub(crate) fn on_announced(&mut self, memory: &mut [Candidate], position: usize) {
        let candidate = &mut memory[position];
        if candidate.placement == Placement::None {
            candidate.tries = 0;
            self.announced += 1;
        }
        candidate.placement = Placement::Sent;
        candidate.tries += 1;
    }

    /// Records that the candidate at `position` was queried for the nodes of a window.
    pub(crate) fn on_probed(&mut self, memory: &mut [Candidate], position: usize, window: Window) {
        match window {
            Window::Cell(cell) => self.begin_cell_probe(memory, position, cell),
            Window::Rest | Window::Next | Window::Gap => self.horizon.begin(window),
        }
    }

    /// Returns the target to query for the nodes of a window.
    pub(crate) fn probe_target(&self, window: Window) -> NodeId {
        match window {
            Window::Cell(cell) => self.cell_target(cell),
            Window::Rest | Window::Next | Window::Gap => self.target.at(self.horizon.probe_distance(window)),
        }
    }

    /// Handles the response to the query for a window, whose nodes are at most `reach` away from its target.
    pub(crate) fn on_probe_response(&mut self, window: Window, reach: Distance) {
        match window {
            Window::Cell(cell) => self.end_cell_probe(cell),
            Window::Rest | Window::Next | Window::Gap => self.horizon.on_response(window, reach),
        }
    }

    /// Handles the stall or failure of the query for a window.
    pub(crate) const fn on_probe_failed(&mut self, window: Window) {
        match window {
            Window::Cell(cell) => self.end_cell_probe(cell),
            Window::Rest | Window::Next | Window::Gap => self.horizon.on_stall(window),
        }
    }

    /// Records that the node `by` listed `count` others, of which `farthest` is the farthest.
    pub(crate) fn on_list(&mut self, by: &NodeId, farthest: &NodeId, count: usize) {
        let distance = |id| self.target.distance(id);
        self.horizon.on_list(distance(by), distance(farthest), count);
    }

    /// Whether the current query to a candidate of a lookup for an item is a plain query for neighbours.
    ///
    /// Every second one is, because a node may lead to others without supporting `get`.
    #[cfg(feature = "items")]
    pub(crate) fn queries_neighbours(&self, memory: &[Candidate], to: Endpoint) -> bool {
        let candidate = self.position(memory, to).map(|position| &memory[position]);
        candidate.is_some_and(|c| c.state == State::Retried && c.tries.is_multiple_of(2))
    }

    /// Whether the next query to this candidate repeats one that every node supports.
    pub(crate) const fn is_repeat(&self, candidate: &Candidate) -> bool {
        candidate.tries > if self.seeks_item() { 1 } else { 0 }
    }

    /// Handles the response of the node at `from`, which reports `id` as its own.
    pub(crate) fn on_response(
        &mut self,
        memory: &mut [Candidate],
        tokens: &mut [Token],
        from: Endpoint,
        id: NodeId,
        token: Option<&[u8]>,
        weight: Weight,
    ) -> Verdict {
        let Some(position) = self.position(memory, from) else { return Verdict::Rejected };
        let before = memory[position].state;
        let responded_otherwise = memory[position].responded_otherwise();
        if before == State::Responded || (responded_otherwise && weight != Weight::Full) {
            return Verdict::Rejected;
        }
        // Having responded with a wrong id, the node must not be accepted for its response to the second query.
        let is_wrong = |c: &Candidate| c.endpoint == from && c.id == Some(id) && c.state == State::WrongId;
        if memory[..self.len()].iter().any(is_wrong) {
            self.mark_failed(memory, position);
            return Verdict::Rejected;
        }
        let Some(position) = self.verify_id(memory, position, id) else { return Verdict::Rejected };
        let mut answered = memory[..self.len()].iter().filter(|c| c.state == State::Responded);
        let same_host = |c: &Candidate| self.limits_sources && c.endpoint.ip_bytes() == from.ip_bytes();
        if answered.any(|c| c.id == Some(id) || same_host(c)) {
            memory[position].drop_duplicate();
            return Verdict::Rejected;
        }
        let candidate = &mut memory[position];
        // The first query may have timed out while the second was in flight.
        let has_failed = candidate.state == State::Dead && candidate.tries > 0;
        self.failed = self.failed.saturating_sub(has_failed.into());
        self.answered += u16::from(!responded_otherwise);
        (candidate.state, candidate.tries) = match weight {
            Weight::Full => (State::Responded, 0),
            Weight::NodesOnly => (State::NodesOnly, 0),
            Weight::Alive => (State::Alive, candidate.tries),
        };
        candidate.speed_or_cells = 0;
        if let Some(token) = token.filter(|_| weight == Weight::Full).and_then(Token::new) {
            self.store_token(memory, tokens, position, token);
        }
        self.review_lister(memory, memory[position].lister);
        Verdict::Accepted
    }

    /// Handles the stall of the query to `to`.
    ///
    /// Returns whether the node is given up for ignoring this kind of query, though it responded to another.
    pub(crate) fn on_stall(&self, memory: &mut [Candidate], to: Endpoint) -> bool {
        let Some(position) = self.position(memory, to) else { return false };
        let candidate = &mut memory[position];
        match candidate.state {
            State::Queried | State::Retried => {
                candidate.state = State::Stalled;
                self.review_lister(memory, memory[position].lister);
            }
            State::AliveRetried => {
                candidate.state = State::NodesOnly;
                return true;
            }
            State::Fresh
            | State::Doubted
            | State::Suspect
            | State::Stalled
            | State::Alive
            | State::Responded
            | State::NodesOnly
            | State::Dead
            | State::WrongId => {}
        }
        false
    }

    /// Handles an error saying that the node at `to` does not support the query; it may still lead to others.
    pub(crate) fn on_method_unknown(&mut self, memory: &mut [Candidate], to: Endpoint) {
        let Some(position) = self.position(memory, to) else { return };
        match memory[position].state {
            State::Queried => memory[position].state = State::Stalled,
            State::AliveRetried => memory[position].state = State::NodesOnly,
            State::Fresh
            | State::Doubted
            | State::Suspect
            | State::Stalled
            | State::Retried
            | State::Alive
            | State::Responded
            | State::NodesOnly
            | State::Dead
            | State::WrongId => self.on_failure(memory, to),
        }
    }

    /// Handles the timeout of a query to `to`; a later query may still be in flight.
    pub(crate) fn on_timeout(&mut self, memory: &mut [Candidate], to: Endpoint) {
        if let Some(position) = self.position(memory, to).filter(|&at| memory[at].state == State::Stalled) {
            self.mark_failed(memory, position);
        }
    }

    /// Handles the failure of the node at `to`: unreachable, an error, or a malformed response.
    pub(crate) fn on_failure(&mut self, memory: &mut [Candidate], to: Endpoint) {
        if let Some(position) = self.position(memory, to).filter(|&at| !memory[at].has_responded()) {
            self.mark_failed(memory, position);
        }
    }

    /// Handles the confirmation of an announce, and returns whether it is the first from this node.
    pub(crate) fn on_stored(&mut self, memory: &mut [Candidate], from: Endpoint) -> bool {
        let Some(placement) = self.placement_mut(memory, from) else { return false };
        let before = core::mem::replace(placement, Placement::Stored);
        // The announce was sent before the traversal was restarted.
        self.announced += u16::from(before == Placement::None);
        self.acknowledged += u16::from(before != Placement::Stored);
        before != Placement::Stored
    }

    /// Handles the stall of the announce to `to`: the announce or its confirmation is probably lost.
    pub(crate) fn on_announce_stall(&self, memory: &mut [Candidate], to: Endpoint) {
        if let Some(placement) =
            self.placement_mut(memory, to).filter(|placement| **placement == Placement::Sent)
        {
            *placement = Placement::Lost;
        }
    }

    /// Handles the refusal of the announce by the node at `to`.
    ///
    /// `code` is the code of its error, `None` if the node is unreachable by now.
    pub(crate) fn on_refused(&mut self, memory: &mut [Candidate], to: Endpoint, code: Option<i64>) {
        let is_declined = self.is_declined_by(code);
        let Some(placement) = self.placement_mut(memory, to) else { return };
        if matches!(placement, Placement::Stored | Placement::Refused | Placement::Declined) {
            return;
        }
        *placement = if is_declined { Placement::Declined } else { Placement::Refused };
        if let Some(code) = code {
            let refused = &mut self.refused;
            (refused.count, refused.code) = (refused.count.saturating_add(1), code);
            refused.cas += u16::from(code == ErrorCode::CAS_MISMATCH.0);
            refused.seq += u16::from(code == ErrorCode::SEQ_TOO_LOW.0);
        }
    }

    /// Returns the nodes that responded, closest first; for a query to a single node, the nodes that it listed.
    pub(crate) fn closest<'a>(
        &self,
        memory: &'a [Candidate],
    ) -> impl Iterator<Item = (NodeId, Endpoint)> + use<'a> {
        let wanted = if self.single { State::Fresh } else { State::Responded };
        let candidates = memory[..self.len()].iter().filter(move |c| c.state == wanted);
        candidates.filter_map(|c| c.id.map(|id| (id, c.endpoint))).take(usize::from(self.k))
    }

    /// Returns the token of the node at an endpoint, if it is still stored.
    pub(crate) fn token_of(
        &self,
        memory: &[Candidate],
        tokens: &[Token],
        endpoint: Endpoint,
    ) -> Option<Token> {
        let here = memory[..self.len()].iter().filter(|c| c.endpoint == endpoint);
        here.filter_map(|c| c.token_of(tokens)).next()
    }

    /// Whether any token for an announce is stored.
    pub(crate) fn has_tokens(&self, memory: &[Candidate]) -> bool {
        memory[..self.len()].iter().any(Candidate::has_token)
    }

    /// Whether an error code means that the node holds another version of the item that is put.
    fn is_declined_by(&self, code: Option<i64>) -> bool {
        let is_put = self.seeks_item() && self.needs_tokens();
        is_put
            && code.is_some_and(|code| [ErrorCode::CAS_MISMATCH.0, ErrorCode::SEQ_TOO_LOW.0].contains(&code))
    }

    /// Returns the position of the candidate at an endpoint.
    ///
    /// Where several nodes are listed there, it is the one that was queried or has responded.
    fn position(&self, memory: &[Candidate], endpoint: Endpoint) -> Option<usize> {
        let candidates = &memory[..self.len()];
        let at = |c: &Candidate| c.endpoint == endpoint;
        let has_responded = |c: &Candidate| at(c) && (c.responded_otherwise() || c.has_responded());
        let asked = candidates.iter().position(|c| at(c) && c.may_respond());
        asked.or_else(|| candidates.iter().position(has_responded)).or_else(|| candidates.iter().position(at))
    }

    fn placement_mut<'a>(
        &self,
        memory: &'a mut [Candidate],
        endpoint: Endpoint,
    ) -> Option<&'a mut Placement> {
        let candidates = &mut memory[..self.len()];
        let answered = candidates.iter_mut().find(|c| c.endpoint == endpoint && c.state == State::Responded);
        answered.map(|c| &mut c.placement)
    }

    fn mark_failed(&mut self, memory: &mut [Candidate], position: usize) {
        if !matches!(memory[position].state, State::Dead | State::WrongId) {
            // An earlier response no longer counts, so that a late one is not counted twice.
            self.answered = self.answered.saturating_sub(memory[position].responded_otherwise().into());
            memory[position].state = State::Dead;
            self.failed += 1;
            self.review_lister(memory, memory[position].lister);
        }
    }

    /// Returns the position of the candidate that responded with `id`; `None` if its endpoint is not listed with it.
    fn verify_id(&mut self, memory: &mut [Candidate], position: usize, id: NodeId) -> Option<usize> {
        let Candidate { id: expected, endpoint, .. } = memory[position];
        if expected == Some(id) {
            return Some(position);
        }
        if expected.is_none() {
            return Some(self.identify(memory, position, id));
        }
        // The endpoint may have been listed under a false id before an honest node listed it correctly.
        let is_correct = |c: &Candidate| c.endpoint == endpoint && c.id == Some(id);
        let correct = memory[..self.len()].iter().position(is_correct);
        if correct.is_some() {
            memory[position].drop_duplicate();
        } else {
            self.mark_failed(memory, position);
            let position = self.identify(memory, position, id);
            memory[position].state = State::WrongId;
        }
        correct
    }

    /// Moves a candidate whose id has become known to its position, and returns that.
    fn identify(&mut self, memory: &mut [Candidate], position: usize, id: NodeId) -> usize {
        let mut candidate = memory[position];
        candidate.id = Some(id);
        self.remove(memory, position);
        let place = self.place(memory, &candidate);
        self.insert(memory, candidate);
        place
    }

    /// Stores a token in a free slot, or in that of a node that needs its token less.
    fn store_token(&self, memory: &mut [Candidate], tokens: &mut [Token], position: usize, token: Token) {
        let taken = |place: usize| memory[..self.len()].iter().any(|c| c.token == place as u8 + 1);
        let place = match (0..tokens.len()).find(|&place| !taken(place)) {
            Some(place) => place,
            None => {
                let Some(holder) = self.token_to_replace(memory, position) else { return };
                usize::from(core::mem::take(&mut memory[holder].token)) - 1
            }
        };
        tokens[place] = token;
        memory[position].token = place as u8 + 1;
    }
}
