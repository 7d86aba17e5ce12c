//! The choice of a traversal's next action.

use core::cmp::Reverse;

#[cfg(feature = "items")]
use super::Check;
use super::candidates::{Candidate, LINGERING_TRIES, Placing, State, TRIES};
#[cfg(feature = "items")]
use super::items::ENOUGH_COPIES;
use super::planned::Step;
use super::{Goal, Traversal};

impl Traversal {
    /// Returns the next action.
    pub(crate) fn next(&self, memory: &[Candidate]) -> Step {
        #[cfg(feature = "items")]
        if self.items.is_satisfied {
            return Step::Finish;
        }
        #[cfg(feature = "items")]
        if self.items.check == Check::Spared {
            // Puts that were sent before another version was found may still be confirmed.
            let is_awaited = memory[..self.len()].iter().any(|c| c.placing == Placing::Sent);
            return if is_awaited { Step::Wait } else { Step::Finish };
        }
        let candidates = &memory[..self.len()];
        if self.region.is_searched
            && !self.lingers()
            && let Some(step) = self.look_in_region(candidates)
        {
            return step;
        }
        let k = usize::from(self.k);
        // Finding out whether more than `ENOUGH_COPIES` nodes hold the item requires querying more than K.
        #[cfg(feature = "items")]
        let k = if self.items.check == Check::Counting { k.max(usize::from(ENOUGH_COPIES) + 1) } else { k };
        let tries = self.tries();
        let in_flight = candidates.iter().filter(|c| c.is_awaited()).count();
        let may_ask = in_flight < usize::from(self.alpha) && !(self.alone && self.queried > 0);
        // All known nodes may be malicious, so the hosts given for a bootstrap are queried first.
        if self.goal.is_join() && self.answered == 0 && may_ask {
            let is_host = |c: &Candidate| c.id.is_none() && c.state == State::Fresh;
            if let Some(position) = candidates.iter().position(is_host) {
                return Step::Query(position);
            }
        }
        // Nodes that responded, and the expected number of nodes that hold or will hold the announce, in halves: a
        // queried node is as likely dead as alive, so up to 2 K queries may be pending.
        let (mut live, mut prospects) = (0, 0);
        // Expected nodes up to the horizon, and whether some of those are silent.
        let (mut within, mut is_thinned) = (0, false);
        let is_searched = self.region.is_searched;
        let mut is_within = self.announces() && !self.alone && !is_searched && self.horizon.is_known();
        // Nodes that hold the announce or may hold it soon; whether all closer nodes have settled; and whether an
        // announce was sent, which means that the traversal is close to the target.
        let (mut placed, mut settled, mut is_close) = (0, true, false);
        let (mut waiting, mut late, mut retry) = (self.region.is_open(), false, None);
        // Whether only nodes of the region are left to visit, and a candidate to query after all others.
        let (edge, mut is_done, mut doubted) = (self.region_edge(), false, None);
        // Likewise in the region: honest nodes list the silent ones next to the target along with others.
        let mut doubted_near = None;
        // Whether any other node is left to query or still has time to respond.
        let (mut has_others, mut has_fresh) = (false, false);
        for (position, candidate) in candidates.iter().enumerate() {
            let is_near = is_searched && self.is_nearer(candidate, edge);
            if is_done && !is_near {
                break;
            }
            if is_within && !self.is_within(candidate) {
                is_within = false;
                if is_close && is_thinned && within < 2 * k {
                    if let Some(step) = self.look(candidates) {
                        return step;
                    }
                    waiting |= self.horizon.is_open();
                }
            }
            match candidate.state {
                State::Answered => within += 2,
                State::Fresh | State::Asked | State::Retried | State::Reached | State::Pressed => within += 1,
                State::Doubted
                | State::Suspect
                | State::Stalled
                | State::Shunned
                | State::Dead
                | State::Denied => {
                    is_thinned = true;
                }
            }
            match candidate.state {
                State::Fresh if self.alone && self.queried > 0 => continue,
                State::Fresh if may_ask && is_near => {
                    return Step::Query(self.fittest(candidates, position, edge));
                }
                State::Fresh if may_ask && prospects < 2 * k => {
                    return Step::Query(self.fastest(candidates, position));
                }
                State::Fresh => (settled, waiting, has_others, has_fresh) = (false, true, true, true),
                State::Asked => {
                    (settled, waiting, has_others) = (false, true, true);
                    prospects += 1;
                }
                State::Retried | State::Pressed => {
                    // Suspects that were queried have more tries, and there may be several.
                    (waiting, has_others) = (true, has_others || candidate.tries <= TRIES);
                }
                State::Reached => retry = retry.or(Some(position)),
                State::Stalled => {
                    late = true;
                    waiting |= self.is_thorough();
                    if candidate.tries < tries && retry.is_none() && self.may_repeat(candidates, position) {
                        retry = Some(position);
                    }
                }
                State::Answered => {
                    live += 1;
                    is_close |= candidate.placing != Placing::None;
                    prospects += 2 * usize::from(!self.announces() || candidate.can_hold(tries));
                    match candidate.placing {
                        _ if !self.announces() => {}
                        Placing::Stored | Placing::Declined => placed += 1,
                        // An announce that was lost before may be lost again, so the next node receives one too.
                        Placing::Sent => {
                            (placed, waiting) = (placed + usize::from(candidate.tries < TRIES), true)
                        }
                        Placing::None | Placing::Lost if !candidate.has_token() => {}
                        Placing::None if settled && (placed < k || is_near) => {
                            return Step::Announce(position);
                        }
                        Placing::Lost if candidate.tries < tries && (placed < k || is_near) => {
                            return Step::Announce(position);
                        }
                        Placing::None if placed < k || is_near => (placed, waiting) = (placed + 1, true),
                        Placing::None | Placing::Lost | Placing::Refused => {}
                    }
                }
                State::Suspect
                    if self.lingers() && retry.is_none() && self.may_repeat(candidates, position) =>
                {
                    retry = Some(position);
                }
                State::Doubted => {
                    doubted = doubted.or(Some(position));
                    if is_near && !self.is_in_core(candidate) {
                        doubted_near = doubted_near.or(Some(position));
                    }
                }
                State::Suspect | State::Shunned | State::Dead | State::Denied => {}
            }
            is_done = live >= k && (!self.announces() || placed >= k || live >= 2 * k);
        }
        if retry.is_none() && self.answered == 0 && !has_others && !self.alone {
            retry = candidates.iter().position(|c| c.state == State::Suspect);
        }
        let doubted = doubted.filter(|_| prospects < 2 * k).or(doubted_near).filter(|_| !has_fresh);
        match retry.or(doubted) {
            Some(position) if in_flight < usize::from(self.alpha) => Step::Query(position),
            _ if waiting || (late && (self.answered == 0 || (live < k && self.lacks_item()))) => Step::Wait,
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

    /// Whether the lookup is for an item and none was found: where few nodes respond at all, a late one may hold
    /// it.
    const fn lacks_item(&self) -> bool {
        #[cfg(feature = "items")]
        if self.seeks_item() && !self.needs_tokens() {
            return self.items.copies == 0;
        }
        false
    }

    /// Maximum number of queries to one node.
    fn tries(&self) -> u8 {
        if self.lingers() {
            LINGERING_TRIES
        } else if self.found > 0 && self.goal.traits().ends_repeats {
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
    fn look(&self, candidates: &[Candidate]) -> Option<Step> {
        let window = self.horizon.wanted()?;
        let is_near = |c: &Candidate| c.state == State::Answered && self.is_within(c);
        let mut near =
            candidates.iter().enumerate().filter(|(_, c)| is_near(c)).map(|(position, _)| position);
        let closest = near.next()?;
        let position = match self.horizon.tries() {
            0 => closest,
            tries => near.nth(tries - 1).unwrap_or(closest),
        };
        Some(Step::Probe(position, window))
    }

    fn is_within(&self, candidate: &Candidate) -> bool {
        candidate.id.is_some_and(|id| self.horizon.includes(self.target.distance(&id)))
    }

    /// Whether the traversal needs tokens from its own queries.
    pub(crate) const fn needs_tokens(&self) -> bool {
        self.goal.traits().places
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
