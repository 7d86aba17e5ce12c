//! The region around a target that a walk searches where something is odd.
//!
//! The distance of the K-th closest node that answers, times the number of nodes, is Gamma(K)-
//! distributed. Where that is too small to be chance somebody has moved in, and where it is too large
//! somebody hides the living: honest nodes list those that are closest, who say nothing or name each
//! other. Then the walk goes on until it has asked all that are nearer than the distance within which
//! there are to be 20 nodes: eight honest ones are there with a chance of 99 %, and what is stored goes to
//! all of them.
//!
//! They are found by other targets. Those that lie in the region are of a few *cells*, each of the
//! distances whose highest bit is the same; asked for the target with that bit flipped, a node lists
//! those in the cell before all that have moved close to the target. A cell is asked of nodes that are
//! in it or farther out, the nearest first, until there are as many nodes as are to be expected.

use super::candidates::{Candidate, Placing, State};
use super::{Goal, Step, Traversal, Window};
use crate::base::id::{Distance, K, NodeId};

/// So many nodes are to be expected in the region: fewer than eight by a chance of one in a hundred even
/// where the estimate of their number is a quarter too high.
const REGION: f32 = 20.0;

/// Below this the K closest are nearer than by a chance of one in 20,000. A network that grows is known
/// late, and whoever attacks with less leaves honest nodes among the closest.
const CROWDED: f32 = 1.2;

/// Above this they are farther than by any chance, however many have died since.
const SPARSE: f32 = 36.0;

/// A network of fewer nodes has no region to speak of.
const FEW: f32 = 32.0;

/// No more than a quarter of the memory is for nodes within a distance where two are to be expected.
const CORE: f32 = 2.0;

/// Cells that are searched; within the last one half a node is to be expected.
const CELLS: u8 = 6;

/// What a walk knows of the region around its target. All zero at first.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub(super) struct Region {
    /// Nodes of the network; 0 where that is not known.
    nodes: f32,
    /// Nodes to be expected within the distance of the K-th closest that answered, by the end of the walk
    /// or before the region was searched; 0 before.
    pub(super) reach: f32,
    /// The region is searched.
    pub(super) is_searched: bool,
    /// Queries for each cell.
    tries: [u8; CELLS as usize],
    /// Cells for which an answer is awaited, a bit each.
    open: u8,
}

impl Region {
    pub(super) const EMPTY: Self =
        Self { nodes: 0.0, reach: 0.0, is_searched: false, tries: [0; CELLS as usize], open: 0 };

    /// What stays known to a walk that begins anew.
    pub(super) const fn renewed(&self) -> Self {
        Self { nodes: self.nodes, is_searched: self.is_searched, ..Self::EMPTY }
    }

    /// Nothing is awaited any more.
    pub(super) const fn interrupt(&mut self) {
        self.open = 0;
    }

    pub(super) const fn is_open(&self) -> bool {
        self.open != 0
    }

    /// The head of the distance within which so many nodes are to be expected; 0 where that is not known.
    fn edge(&self, nodes: f32) -> u64 {
        if self.nodes > nodes { (nodes / self.nodes * (1_u128 << 64) as f32) as u64 } else { 0 }
    }

    /// The number of the highest bit of the distances in the outermost cell, counted from the left.
    fn block(&self) -> u32 {
        self.edge(REGION).leading_zeros()
    }

    /// The distances that are in a cell, by their heads: from the first to before the second.
    fn cell(&self, cell: u8) -> (u64, u64) {
        let least = (1_u64 << 63).checked_shr(self.block() + u32::from(cell)).unwrap_or(0);
        (least, least.saturating_mul(2).min(self.edge(REGION)))
    }

    /// How many nodes are to be expected in a cell.
    fn expected(&self, cell: u8) -> f32 {
        let (least, most) = self.cell(cell);
        most.saturating_sub(least) as f32 / (1_u128 << 64) as f32 * self.nodes
    }
}

impl Traversal {
    /// What is known when it begins: how many nodes there are, and whether ids are to fit addresses.
    pub(crate) const fn expect(&mut self, nodes: Option<f32>, by_fitness: bool) {
        self.by_fitness = by_fitness;
        self.region.nodes = match nodes {
            Some(nodes) if !self.alone => nodes,
            _ => 0.0,
        };
    }

    /// The distance of the K-th closest node that answered, with the key space as 1; `None` where fewer
    /// have, or where the walk did not look for all of them.
    pub(crate) fn reach(&self, memory: &[Candidate]) -> Option<f32> {
        #[cfg(feature = "items")]
        if self.items.is_satisfied {
            return None;
        }
        if self.alone || self.resumed || usize::from(self.k) < K {
            return None;
        }
        let mut answered = memory[..self.len()].iter().filter(|c| c.state == State::Answered);
        answered.nth(K - 1)?.id.map(|id| self.target.distance(&id).fraction())
    }

    /// Nodes to be expected within that distance, once it has ended; `None` where that is not known.
    pub(crate) fn expected_within(&self) -> Option<f32> {
        (self.region.reach > 0.0).then_some(self.region.reach)
    }

    /// The walk is about to end. Returns whether it goes on through the region instead, because something
    /// is odd. There may be `margin` times more nodes than is estimated.
    pub(crate) fn widen(&mut self, memory: &[Candidate], margin: f32) -> bool {
        if self.region.is_searched || self.region.nodes < FEW || !self.is_for_closest() {
            return false;
        }
        let within = self.reach(memory).map(|distance| distance * self.region.nodes);
        self.region.reach = within.unwrap_or(0.0);
        let is_plausible = within.is_some_and(|within| (CROWDED..SPARSE).contains(&(within * margin)));
        let is_odd = !is_plausible || self.core_is_full(memory) || self.closest_share_a_network(memory);
        self.region.is_searched = is_odd && self.answered > 0;
        self.region.is_searched
    }

    /// Whether two of the K closest that answered are of one network, of which there are millions.
    fn closest_share_a_network(&self, memory: &[Candidate]) -> bool {
        let answered = || memory[..self.len()].iter().filter(|c| c.state == State::Answered).take(K);
        answered().enumerate().any(|(at, one)| {
            let is_same = |other: &Candidate| other.endpoint.wide_subnet() == one.endpoint.wide_subnet();
            self.is_in_public(one) && answered().take(at).any(is_same)
        })
    }

    /// Whether it looks for the K closest nodes, whoever they are.
    fn is_for_closest(&self) -> bool {
        #[cfg(feature = "items")]
        if self.items.is_satisfied || self.items.check == super::Check::Spared {
            return false;
        }
        let is_upkeep = matches!(self.goal, Goal::Refresh | Goal::Bootstrap);
        !self.alone && !self.resumed && !is_upkeep && usize::from(self.k) >= K
    }

    /// The head of the distance within which every node is asked, and gets what is stored; 0 for none.
    pub(super) fn region_edge(&self) -> u64 {
        if self.region.is_searched { self.region.edge(REGION) } else { 0 }
    }

    /// Whether a candidate is nearer than a distance with this head.
    pub(super) fn is_nearer(&self, candidate: &Candidate, edge: u64) -> bool {
        edge > 0 && candidate.id.is_some_and(|id| self.target.distance(&id).head() < edge)
    }

    /// Who gives up its token for that of the candidate at `position`, where all places are taken: the
    /// farthest that has one. Where the region is searched first those to whom what is stored was sent
    /// already, then those too close to be many: else they had all of them.
    pub(super) fn token_giver(&self, memory: &[Candidate], position: usize) -> Option<usize> {
        let candidates = &memory[..self.len()];
        let farthest = || candidates.iter().rposition(Candidate::has_token).filter(|&at| at > position);
        if !self.region.is_searched {
            return farthest();
        }
        let edge = self.region.edge(CORE);
        let is_sent = |c: &Candidate| c.has_token() && !matches!(c.placing, Placing::None | Placing::Sent);
        let is_in_core = |c: &Candidate| c.has_token() && self.is_nearer(c, edge);
        let crowd = || {
            let is_crowded = candidates.iter().filter(|c| is_in_core(c)).count() > K;
            candidates.iter().rposition(is_in_core).filter(|_| is_crowded)
        };
        candidates.iter().position(is_sent).or_else(crowd).or_else(farthest)
    }

    /// Whether a candidate is so near the target that there is no room for one more. Only where the region
    /// is searched: an estimate that is far too low must not keep a walk from its target.
    pub(super) fn is_one_too_many(&self, memory: &[Candidate], candidate: &Candidate) -> bool {
        self.region.is_searched
            && self.is_nearer(candidate, self.region.edge(CORE))
            && self.core_is_full(memory)
    }

    /// Whether more nodes were listed next to the target than there can be.
    fn core_is_full(&self, memory: &[Candidate]) -> bool {
        let edge = self.region.edge(CORE);
        let near = memory[..self.len()].iter().filter(|c| !c.is_twin() && self.is_nearer(c, edge));
        near.count() >= (memory.len() / 4).max(K + K / 2)
    }

    /// The candidate at `position` was asked for a cell.
    pub(super) fn looked_in(&mut self, memory: &mut [Candidate], position: usize, cell: u8) {
        memory[position].speed_or_cells |= 1 << cell;
        self.region.tries[usize::from(cell)] += 1;
        self.region.open |= 1 << cell;
    }

    /// The query for a cell was answered, or has stalled.
    pub(super) const fn on_looked_in(&mut self, cell: u8) {
        self.region.open &= !(1 << cell);
    }

    /// Asks a node for a cell in which fewer nodes are known than are to be expected.
    pub(super) fn look_in_region(&self, candidates: &[Candidate]) -> Option<Step> {
        let outermost = self.region.cell(0).0;
        let mut is_outermost_done = false;
        for cell in 0..CELLS {
            let (least, most) = self.region.cell(cell);
            if least == 0 {
                break;
            }
            let expected = self.region.expected(cell);
            let distance = |c: &Candidate| c.id.map_or(u64::MAX, |id| self.target.distance(&id).head());
            let may_live = |c: &&Candidate| !matches!(c.state, State::Dead | State::Denied | State::Suspect);
            let known = candidates.iter().filter(may_live).filter(|c| (least..most).contains(&distance(c)));
            let most_tries = match cell {
                0 => 8,
                _ if expected >= 2.0 => 4,
                _ => 2,
            };
            let is_open = self.region.open & 1 << cell != 0;
            let is_done =
                known.count() as f32 >= expected || self.region.tries[usize::from(cell)] >= most_tries;
            if is_done || is_open {
                is_outermost_done |= is_done && cell == 0;
                continue;
            }
            // Who is far from the region knows few in it: cells further in wait for somebody near.
            let farthest =
                if cell == 0 || is_outermost_done { u64::MAX } else { outermost.saturating_mul(4) };
            let fits = |c: &Candidate| {
                c.state == State::Answered
                    && c.speed_or_cells & 1 << cell == 0
                    && (least..=farthest).contains(&distance(c))
            };
            match candidates.iter().position(fits) {
                Some(position) => return Some(Step::Probe(position, Window::Cell(cell))),
                None => is_outermost_done |= cell == 0,
            }
        }
        None
    }

    /// The nearest candidate that is to be asked and whose id fits its address, if there is one before
    /// this distance; else that at `position`. Whoever wants to be near a target needs an address for
    /// each such id (BEP 42).
    pub(super) fn fittest(&self, candidates: &[Candidate], position: usize, edge: u64) -> usize {
        let near = candidates.iter().enumerate().skip(position).take_while(|(_, c)| self.is_nearer(c, edge));
        let mut fitting = near.filter(|(_, c)| c.state == State::Fresh && c.is_fit());
        fitting.next().map_or(position, |(position, _)| position)
    }

    /// The target by which nodes in a cell are asked for.
    pub(super) fn target_of_cell(&self, cell: u8) -> NodeId {
        self.target.at(Distance::ZERO.with_bit(self.region.block() + u32::from(cell)))
    }
}
