//! The choice of a traversal's next action.

use core::cmp::Reverse;

#[cfg(feature = "items")]
use super::Check;
use super::candidates::{Candidate, LATE_TRIES, Placement, State, TRIES};
#[cfg(feature = "items")]
use super::items::ENOUGH_COPIES;
use super::planned::Step;
use super::{Goal, Traversal};

/// What a pass over the candidates, closest first, has found so far.
struct Scan {
    /// Number of nodes that must respond or receive the announce.
    k: usize,
    /// Maximum number of queries to one node.
    tries: u8,
    /// Whether another query may be sent.
    may_query: bool,
    /// The head of the distance within which every node is queried; 0 unless the region is searched.
    edge: u64,
    /// Nodes that responded.
    live: usize,
    /// Expected number of nodes that hold or will hold the announce, in halves.
    ///
    /// A queried node is as likely dead as alive, so up to 2 K queries may be pending.
    prospects: usize,
    /// Nodes that hold the announce or may hold it soon.
    placed: usize,
    /// Expected number of live nodes up to the horizon, in halves.
    within_horizon: usize,
    /// Whether any of the nodes so far is silent.
    is_thinned: bool,
    /// Whether all candidates so far are within the horizon, in a traversal that may look beyond it.
    is_within_horizon: bool,
    /// Whether all candidates so far have responded or stalled.
    is_settled: bool,
    /// Whether an announce was sent, which means that the traversal is close to the target.
    is_close: bool,
    /// Whether the traversal waits for a response or a deadline.
    is_waiting: bool,
    /// Whether a stalled query may still be answered.
    has_stalled: bool,
    /// Whether any node is left to query or still has time to respond.
    has_others: bool,
    /// Whether any node is left to query before the doubted ones.
    has_fresh: bool,
    /// Whether only nodes of the region are left to visit.
    is_done: bool,
    /// A candidate to query once more.
    retry: Option<usize>,
    /// A candidate to query after all others.
    doubted: Option<usize>,
    /// A candidate of the region to query after all others.
    ///
    /// Honest nodes list the silent ones next to the target along with others.
    doubted_near: Option<usize>,
}

impl Scan {
    /// Counts how many nodes are expected to be alive.
    #[inline]
    const fn count_live(&mut self, state: State) {
        match state {
            State::Responded => self.within_horizon += 2,
            State::Fresh | State::Queried | State::Retried | State::Alive | State::AliveRetried => {
                self.within_horizon += 1;
            }
            State::Doubted
            | State::Suspect
            | State::Stalled
            | State::NodesOnly
            | State::Dead
            | State::WrongId => self.is_thinned = true,
        }
    }
}

impl Traversal {
    /// Returns the next action.
    pub(crate) fn next(&self, memory: &[Candidate]) -> Step {
        let candidates = &memory[..self.len()];
        #[cfg(feature = "items")]
        if let Some(step) = self.step_without_search(candidates) {
            return step;
        }
        let is_searched = self.region.is_searched;
        if is_searched
            && !self.announces_late()
            && let Some(step) = self.probe_region(candidates)
        {
            return step;
        }
        let in_flight = candidates.iter().filter(|c| c.is_awaited()).count();
        let has_slot = in_flight < usize::from(self.alpha);
        let mut scan = self.begin_scan(has_slot && !(self.single && self.queried > 0));
        // All known nodes may be malicious, so the hosts given for a bootstrap are queried first.
        if self.goal.is_join() && self.answered == 0 && scan.may_query {
            let is_host = |c: &Candidate| c.id.is_none() && c.state == State::Fresh;
            if let Some(position) = candidates.iter().position(is_host) {
                return Step::Query(position);
            }
        }
        for (position, candidate) in candidates.iter().enumerate() {
            let is_near = is_searched && self.is_nearer(candidate, scan.edge);
            if scan.is_done && !is_near {
                break;
            }
            if scan.is_within_horizon
                && !self.is_within(candidate)
                && let Some(step) = self.leave_horizon(&mut scan, candidates)
            {
                return step;
            }
            if let Some(step) = self.visit(&mut scan, candidates, position, is_near) {
                return step;
            }
            scan.is_done = scan.live >= scan.k
                && (!self.announces() || scan.placed >= scan.k || scan.live >= 2 * scan.k);
        }
        self.last_resort(&scan, candidates, has_slot)
    }

    /// Returns the step of a lookup for an item that searches no longer.
    #[cfg(feature = "items")]
    fn step_without_search(&self, candidates: &[Candidate]) -> Option<Step> {
        if self.items.is_satisfied {
            return Some(Step::Finish);
        }
        if self.items.check != Check::Spared {
            return None;
        }
        // Puts that were sent before another version was found may still be confirmed.
        let is_awaited = candidates.iter().any(|c| c.placement == Placement::Sent);
        Some(if is_awaited { Step::Wait } else { Step::Finish })
    }

    #[inline]
    fn begin_scan(&self, may_query: bool) -> Scan {
        let k = usize::from(self.k);
        // Finding out whether more than `ENOUGH_COPIES` nodes hold the item requires querying more than K.
        #[cfg(feature = "items")]
        let k = if self.items.check == Check::Counting { k.max(usize::from(ENOUGH_COPIES) + 1) } else { k };
        let may_probe = self.announces() && !self.single && !self.region.is_searched;
        Scan {
            k,
            tries: self.tries(),
            may_query,
            edge: self.region_edge(),
            live: 0,
            prospects: 0,
            placed: 0,
            within_horizon: 0,
            is_thinned: false,
            is_within_horizon: may_probe && self.horizon.is_known(),
            is_settled: true,
            is_close: false,
            is_waiting: self.region.is_open(),
            has_stalled: false,
            has_others: false,
            has_fresh: false,
            is_done: false,
            retry: None,
            doubted: None,
            doubted_near: None,
        }
    }

    /// Handles the first candidate beyond the horizon: probes for others there if dead nodes hide them.
    fn leave_horizon(&self, scan: &mut Scan, candidates: &[Candidate]) -> Option<Step> {
        scan.is_within_horizon = false;
        if !scan.is_close || !scan.is_thinned || scan.within_horizon >= 2 * scan.k {
            return None;
        }
        let step = self.probe_beyond_horizon(candidates);
        scan.is_waiting |= self.horizon.is_open();
        step
    }

    /// Takes the next candidate into account; returns a step if it is to be sent something now.
    #[inline]
    fn visit(
        &self,
        scan: &mut Scan,
        candidates: &[Candidate],
        position: usize,
        is_near: bool,
    ) -> Option<Step> {
        let candidate = &candidates[position];
        scan.count_live(candidate.state);
        match candidate.state {
            State::Fresh if self.single && self.queried > 0 => {}
            State::Fresh if scan.may_query && is_near => {
                return Some(Step::Query(self.nearest_secure(candidates, position, scan.edge)));
            }
            State::Fresh if scan.may_query && scan.prospects < 2 * scan.k => {
                return Some(Step::Query(self.fastest(candidates, position)));
            }
            State::Fresh => {
                scan.is_settled = false;
                (scan.is_waiting, scan.has_others, scan.has_fresh) = (true, true, true);
            }
            State::Queried => {
                scan.is_settled = false;
                (scan.is_waiting, scan.has_others) = (true, true);
                scan.prospects += 1;
            }
            State::Retried | State::AliveRetried => {
                scan.is_waiting = true;
                // Suspects that were queried have more tries, and there may be several.
                scan.has_others |= candidate.tries <= TRIES;
            }
            State::Alive => scan.retry = scan.retry.or(Some(position)),
            State::Stalled => {
                scan.has_stalled = true;
                scan.is_waiting |= self.is_thorough();
                if candidate.tries < scan.tries
                    && scan.retry.is_none()
                    && self.may_repeat(candidates, position)
                {
                    scan.retry = Some(position);
                }
            }
            State::Responded => return self.visit_responder(scan, candidate, position, is_near),
            State::Suspect
                if self.announces_late() && scan.retry.is_none() && self.may_repeat(candidates, position) =>
            {
                scan.retry = Some(position);
            }
            State::Doubted => {
                scan.doubted = scan.doubted.or(Some(position));
                if is_near && !self.is_in_core(candidate) {
                    scan.doubted_near = scan.doubted_near.or(Some(position));
                }
            }
            State::Suspect | State::NodesOnly | State::Dead | State::WrongId => {}
        }
        None
    }

    /// Takes a candidate that has responded into account; returns a step if the announce is sent to it now.
    #[inline]
    fn visit_responder(
        &self,
        scan: &mut Scan,
        candidate: &Candidate,
        position: usize,
        is_near: bool,
    ) -> Option<Step> {
        scan.live += 1;
        scan.is_close |= candidate.placement != Placement::None;
        if !self.announces() {
            scan.prospects += 2;
            return None;
        }
        scan.prospects += 2 * usize::from(candidate.can_hold(scan.tries));
        let is_wanted = scan.placed < scan.k || is_near;
        match candidate.placement {
            Placement::Stored | Placement::Declined => scan.placed += 1,
            Placement::Sent => {
                // An announce that was lost before may be lost again, so the next node receives one too.
                scan.placed += usize::from(candidate.tries < TRIES);
                scan.is_waiting = true;
            }
            Placement::None | Placement::Lost if !candidate.has_token() => {}
            Placement::None if scan.is_settled && is_wanted => return Some(Step::Announce(position)),
            Placement::Lost if candidate.tries < scan.tries && is_wanted => {
                return Some(Step::Announce(position));
            }
            Placement::None if is_wanted => {
                scan.placed += 1;
                scan.is_waiting = true;
            }
            Placement::None | Placement::Lost | Placement::Refused => {}
        }
        None
    }

    /// Returns the step after all candidates were visited: a retry, a doubted or suspect node, or none.
    #[inline]
    fn last_resort(&self, scan: &Scan, candidates: &[Candidate], has_slot: bool) -> Step {
        let mut retry = scan.retry;
        if retry.is_none() && self.answered == 0 && !scan.has_others && !self.single {
            retry = candidates.iter().position(|c| c.state == State::Suspect);
        }
        let doubted = scan.doubted.filter(|_| scan.prospects < 2 * scan.k).or(scan.doubted_near);
        let doubted = doubted.filter(|_| !scan.has_fresh);
        let awaits_stalled = self.answered == 0 || (scan.live < scan.k && self.lacks_item());
        match retry.or(doubted) {
            Some(position) if has_slot => Step::Query(position),
            _ if scan.is_waiting || (scan.has_stalled && awaits_stalled) => Step::Wait,
            _ => Step::Finish,
        }
    }

    /// Whether the lookup waits for late nodes among the closest: one may hold the newest version of an item.
    const fn is_thorough(&self) -> bool {
        #[cfg(feature = "items")]
        return self.items.is_thorough();
        #[cfg(not(feature = "items"))]
        false
    }

    /// Whether the lookup is for an item and none was found.
    ///
    /// Where few nodes respond at all, a late one may hold it.
    const fn lacks_item(&self) -> bool {
        #[cfg(feature = "items")]
        if self.seeks_item() && !self.needs_tokens() {
            return self.items.copies == 0;
        }
        false
    }

    /// Returns the maximum number of queries to one node.
    fn tries(&self) -> u8 {
        if self.announces_late() {
            LATE_TRIES
        } else if self.found > 0 && self.goal.traits().stops_retries {
            // Many nodes know the peers that were found: one lost response does not matter.
            1
        } else {
            TRIES
        }
    }

    /// Returns the position of the fastest of the candidates that are as close as the one at `position`.
    ///
    /// Candidates are equally close if they share the same number of bits with the target; the one at `position`
    /// is the closest that has not been queried.
    fn fastest(&self, candidates: &[Candidate], position: usize) -> usize {
        let shared = |c: &Candidate| c.id.map(|id| self.target.common_prefix_len(&id));
        let class = shared(&candidates[position]);
        let equals = (position..).zip(&candidates[position..]).take_while(|(_, c)| shared(c) == class);
        let is_fresh = |c: &Candidate| c.state == State::Fresh;
        let fastest = equals.filter(|(_, c)| is_fresh(c)).min_by_key(|(_, c)| Reverse(c.speed_or_cells));
        let Some((_, fastest)) = fastest else { return position };
        // The closest of several listings of one host: responses for the others could never arrive, since
        // the listings are dropped with the query.
        let is_same = |c: &Candidate| is_fresh(c) && c.endpoint == fastest.endpoint;
        candidates.iter().position(is_same).unwrap_or(position)
    }

    /// Chooses a node within the horizon to query for nodes beyond it, a different one each time.
    fn probe_beyond_horizon(&self, candidates: &[Candidate]) -> Option<Step> {
        let window = self.horizon.next_window()?;
        let is_near = |c: &Candidate| c.state == State::Responded && self.is_within(c);
        let mut near =
            candidates.iter().enumerate().filter(|(_, c)| is_near(c)).map(|(position, _)| position);
        let closest = near.next()?;
        let position = match self.horizon.tries() {
            0 => closest,
            tries => near.nth(tries - 1).unwrap_or(closest),
        };
        Some(Step::Probe(position, window))
    }

    /// Whether a candidate lies within the horizon.
    fn is_within(&self, candidate: &Candidate) -> bool {
        candidate.id.is_some_and(|id| self.horizon.includes(self.target.distance(&id)))
    }

    /// Whether an item is not put on any further node, because of enough copies or another version.
    pub(crate) const fn is_spared(&self) -> bool {
        #[cfg(feature = "items")]
        return matches!(self.items.check, Check::Spared);
        #[cfg(not(feature = "items"))]
        false
    }

    /// Whether the traversal needs tokens from its own queries.
    pub(crate) const fn needs_tokens(&self) -> bool {
        self.goal.traits().stores
    }

    /// Whether the traversal looks for an item, which not every node supports.
    pub(crate) const fn seeks_item(&self) -> bool {
        self.goal.traits().search.finds_items()
    }

    /// Whether the traversal stores something at the nodes it finds.
    pub(super) const fn announces(&self) -> bool {
        match self.goal {
            Goal::Announce(_) => true,
            #[cfg(feature = "items")]
            Goal::Put(item) => !item.is_none() && matches!(self.items.check, Check::None | Check::Passed),
            #[cfg(feature = "items")]
            Goal::Get(_) => false,
            Goal::FindNode | Goal::GetPeers | Goal::Scrape | Goal::Bootstrap | Goal::Refresh => false,
        }
    }
}
