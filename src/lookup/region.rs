//! The region around a target, searched completely if the closest nodes look implausible.
//!
//! The distance of the K-th closest responding node, times the number of nodes, is Gamma(K)-distributed. A product
//! too small to be chance indicates a Sybil attack; one too large indicates that live nodes are being hidden:
//! honest nodes list the closest nodes they know, which are silent or list only each other. The traversal then
//! continues until it has queried all nodes nearer than the distance within which 20 nodes are expected. At least
//! eight honest ones are among those with a probability of 99 %, and what is stored goes to all of them.
//!
//! These nodes are found through other targets. The region consists of a few *cells*, each holding the distances
//! with the same highest bit. A query for the target with that bit flipped makes a node list the nodes of the cell
//! before all Sybils close to the target. Nodes in the cell or farther out are queried, the nearest first, until
//! as many nodes are known as are expected in the cell.

#[cfg(feature = "items")]
use super::Check;
use super::Traversal;
use super::candidates::{Candidate, Placement, State};
use super::horizon::{CELLS, REGION, Window};
use super::planned::Step;
use crate::base::id::{Distance, K, NodeId};

/// Lower bound of the expected nodes within the distance of the K-th closest.
///
/// Fewer occur by chance once in 20,000 lookups. The bound is not higher because the estimate lags a growing
/// network, and an attack with fewer nodes leaves honest ones among the closest.
const CROWDED: f32 = 1.2;

/// Upper bound of the expected nodes within the distance of the K-th closest.
///
/// A larger value cannot be chance, however many nodes have died since the estimate.
const SPARSE: f32 = 36.0;

/// Minimum size of a network in which the region is searched.
const FEW: f32 = 32.0;

/// Expected number of nodes in the core, the distances whose nodes may use a quarter of the memory.
const CORE: f32 = 2.0;

impl Traversal {
    /// Sets the estimated number of nodes, and whether ids must match their addresses (BEP 42).
    pub(crate) const fn expect(&mut self, nodes: Option<f32>, requires_secure_ids: bool) {
        self.requires_secure_ids = requires_secure_ids;
        self.region.nodes = match nodes {
            Some(nodes) if !self.single => nodes,
            _ => 0.0,
        };
    }

    /// Returns the distance of the K-th closest node that responded, with the key space as 1.
    ///
    /// `None` if fewer responded, or if the traversal did not look for all of them.
    pub(crate) fn reach(&self, memory: &[Candidate]) -> Option<f32> {
        #[cfg(feature = "items")]
        if self.items.is_satisfied {
            return None;
        }
        if self.single || self.resumed || usize::from(self.k) < K {
            return None;
        }
        let mut answered = memory[..self.len()].iter().filter(|c| c.state == State::Responded);
        answered.nth(K - 1)?.id.map(|id| self.target.distance(&id).fraction())
    }

    /// Returns the number of nodes expected within the distance of the K-th closest that responded.
    ///
    /// `None` if unknown, or before the end.
    pub(crate) fn expected_within(&self) -> Option<f32> {
        (self.region.reach > 0.0).then_some(self.region.reach)
    }

    /// Decides at the end of a traversal whether its result is implausible, so that it searches the region.
    ///
    /// There may be `margin` times more nodes than estimated.
    pub(crate) fn widen(&mut self, memory: &[Candidate], margin: f32) -> bool {
        if self.region.is_searched || self.region.nodes < FEW || !self.is_for_closest() {
            return false;
        }
        let within = self.reach(memory).map(|distance| distance * self.region.nodes);
        self.region.reach = within.unwrap_or(0.0);
        let is_plausible = within.is_some_and(|within| (CROWDED..SPARSE).contains(&(within * margin)));
        let is_odd = !is_plausible || self.core_is_full(memory) || self.closest_share_a_subnet(memory);
        self.region.is_searched = is_odd && self.answered > 0;
        self.region.is_searched
    }

    /// Whether two of the K closest that responded share a wide subnet, of which there are millions.
    fn closest_share_a_subnet(&self, memory: &[Candidate]) -> bool {
        let answered = || memory[..self.len()].iter().filter(|c| c.state == State::Responded).take(K);
        answered().enumerate().any(|(at, one)| {
            let is_same = |other: &Candidate| other.endpoint.wide_subnet() == one.endpoint.wide_subnet();
            self.is_public(one) && answered().take(at).any(is_same)
        })
    }

    /// Whether the traversal looks for the K closest nodes, whichever they are.
    fn is_for_closest(&self) -> bool {
        #[cfg(feature = "items")]
        if self.items.is_satisfied || self.items.check == Check::Spared {
            return false;
        }
        !self.single && !self.resumed && !self.goal.is_maintenance() && usize::from(self.k) >= K
    }

    /// Returns the head of the distance within which every node is queried and sent the announce; 0 for none.
    pub(super) fn region_edge(&self) -> u64 {
        if self.region.is_searched { self.region.edge(REGION) } else { 0 }
    }

    /// Whether a candidate is nearer than the distance with this head.
    pub(super) fn is_nearer(&self, candidate: &Candidate, edge: u64) -> bool {
        edge > 0 && candidate.id.is_some_and(|id| self.target.distance(&id).head() < edge)
    }

    /// Whether a candidate is in the core, where nodes that do not exist are listed first.
    pub(super) fn is_in_core(&self, candidate: &Candidate) -> bool {
        self.is_nearer(candidate, self.region.edge(CORE))
    }

    /// Returns the candidate whose token is replaced by that of the one at `position` when all slots are in use.
    ///
    /// That is the farthest one with a token, if it is farther. While the region is searched, candidates that were
    /// already sent what is stored come first, then those of an overcrowded core, which would otherwise use up the
    /// tokens.
    pub(super) fn token_to_replace(&self, memory: &[Candidate], position: usize) -> Option<usize> {
        let candidates = &memory[..self.len()];
        let farthest = || candidates.iter().rposition(Candidate::has_token).filter(|&at| at > position);
        if !self.region.is_searched {
            return farthest();
        }
        let is_sent =
            |c: &Candidate| c.has_token() && !matches!(c.placement, Placement::None | Placement::Sent);
        let is_in_core = |c: &Candidate| c.has_token() && self.is_in_core(c);
        let in_full_core = || {
            let is_crowded = candidates.iter().filter(|c| is_in_core(c)).count() > K;
            candidates.iter().rposition(is_in_core).filter(|_| is_crowded)
        };
        candidates.iter().position(is_sent).or_else(in_full_core).or_else(farthest)
    }

    /// Whether a candidate lies in the core, whose share of the memory is used up.
    ///
    /// This applies only while the region is searched: an estimate that is far too low must not keep a traversal from its
    /// target.
    pub(super) fn exceeds_core(&self, memory: &[Candidate], candidate: &Candidate) -> bool {
        self.region.is_searched && self.is_in_core(candidate) && self.core_is_full(memory)
    }

    /// Whether more nodes were listed next to the target than can exist.
    fn core_is_full(&self, memory: &[Candidate]) -> bool {
        let near = memory[..self.len()].iter().filter(|c| !c.is_duplicate() && self.is_in_core(c));
        near.count() >= (memory.len() / 4).max(K + K / 2)
    }

    /// Records that the candidate at `position` was queried for a cell.
    pub(super) fn begin_cell_probe(&mut self, memory: &mut [Candidate], position: usize, cell: u8) {
        memory[position].speed_or_cells |= 1 << cell;
        self.region.tries[usize::from(cell)] += 1;
        self.region.open |= 1 << cell;
    }

    /// Records that the query for a cell was answered or has stalled.
    pub(super) const fn end_cell_probe(&mut self, cell: u8) {
        self.region.open &= !(1 << cell);
    }

    /// Chooses a node to query for a cell in which fewer nodes are known than expected.
    pub(super) fn probe_region(&self, candidates: &[Candidate]) -> Option<Step> {
        let outermost = self.region.cell(0).0;
        let mut is_outermost_done = false;
        for cell in 0..CELLS {
            let (least, most) = self.region.cell(cell);
            if least == 0 {
                break;
            }
            let expected = self.region.expected(cell);
            let distance = |c: &Candidate| c.id.map_or(u64::MAX, |id| self.target.distance(&id).head());
            let may_live = |c: &&Candidate| !matches!(c.state, State::Dead | State::WrongId | State::Suspect);
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
            // Nodes far from the region know few nodes in it, so inner cells wait for nearer ones.
            let farthest =
                if cell == 0 || is_outermost_done { u64::MAX } else { outermost.saturating_mul(4) };
            let fits = |c: &Candidate| {
                c.state == State::Responded
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

    /// Returns the nearest candidate to query within `edge` whose id matches its address, or else `position`.
    ///
    /// A Sybil near a target needs a suitable address for each such id (BEP 42).
    pub(super) fn nearest_secure(&self, candidates: &[Candidate], position: usize, edge: u64) -> usize {
        let near = candidates.iter().enumerate().skip(position).take_while(|(_, c)| self.is_nearer(c, edge));
        let mut secure = near.filter(|(_, c)| c.state == State::Fresh && c.has_secure_id());
        secure.next().map_or(position, |(position, _)| position)
    }

    /// Returns the target to query for nodes in a cell.
    pub(super) fn cell_target(&self, cell: u8) -> NodeId {
        self.target.at(Distance::ZERO.with_bit(self.region.block() + u32::from(cell)))
    }
}
