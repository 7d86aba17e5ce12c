//! Finding nodes beyond those that responses list.
//!
//! A response lists the K closest nodes that its sender knows, including dead ones. Where many are dead, no
//! response ever lists the live nodes right behind them: those lie beyond the horizon, the farthest distance up to
//! which a node near the target has listed its neighbours. An announce that cannot count on K nodes within the
//! horizon queries such nodes for other targets, to which they respond with the nodes of the next [`Window`].
//!
//! In the block of distances that share their highest bit with the horizon, and in the block behind it, nodes are
//! as dense as within the horizon, so two or three responses with K nodes each are enough.
//!
//! The cells of the [`Region`] around a target are windows as well.

use crate::base::id::{Distance, K, NodeId};

/// Maximum number of queries for a window.
const TRIES: u8 = 2;

/// A range of distances beyond the horizon that one query covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub(crate) enum Window {
    /// The rest of the horizon's block, from the next quarter on.
    Rest,
    /// The block behind that of the horizon, twice as wide.
    Next,
    /// From the horizon to the start of `Rest`, queried if the response for `Rest` did not reach back that far.
    Gap,
    /// A cell of the region around the target, counted from the outside.
    Cell(u8),
}

impl Window {
    /// Returns the index into the searches beyond the horizon; cells have none.
    const fn index(self) -> usize {
        match self {
            Self::Rest | Self::Cell(_) => 0,
            Self::Next => 1,
            Self::Gap => 2,
        }
    }
}

/// A traversal's horizon and the progress of the search beyond it; all zero initially.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub(super) struct Horizon {
    /// The nearest of the farthest distances listed; zero before the first list.
    edge: Distance,
    /// The horizon when the search beyond it began.
    start: Distance,
    has_gap: bool,
    searches: [Search; 3],
}

/// Progress of the search in one window.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
struct Search {
    tries: u8,
    is_open: bool,
    is_answered: bool,
}

impl Horizon {
    pub(super) const EMPTY: Self = {
        let search = Search { tries: 0, is_open: false, is_answered: false };
        Self { edge: Distance::ZERO, start: Distance::ZERO, has_gap: false, searches: [search; 3] }
    };

    /// Records that a node at distance `by` listed `count` others, the farthest of them at `farthest`.
    ///
    /// A list affects the horizon only if its sender lies within it.
    pub(super) fn on_list(&mut self, by: Distance, farthest: Distance, count: usize) {
        if count >= K && by <= farthest && (farthest < self.edge || !self.is_known()) {
            self.edge = farthest;
        }
    }

    /// Whether any node near the target has listed its neighbours.
    pub(super) fn is_known(&self) -> bool {
        self.edge != Distance::ZERO
    }

    pub(super) fn includes(&self, distance: Distance) -> bool {
        distance <= self.edge
    }

    /// Returns the window to query for next.
    pub(super) fn next_window(&self) -> Option<Window> {
        let is_wanted = |window: &Window| {
            let search = &self.searches[window.index()];
            !search.is_open && !search.is_answered && search.tries < TRIES
        };
        [Window::Rest, Window::Next].into_iter().chain(self.has_gap.then_some(Window::Gap)).find(is_wanted)
    }

    /// Whether a query is pending.
    pub(super) fn is_open(&self) -> bool {
        self.searches.iter().any(|search| search.is_open)
    }

    /// Returns the number of queries sent.
    pub(super) fn tries(&self) -> usize {
        self.searches.iter().map(|search| usize::from(search.tries)).sum()
    }

    /// Records that a window was queried for.
    pub(super) fn begin(&mut self, window: Window) {
        if self.tries() == 0 {
            self.start = self.edge;
        }
        let search = &mut self.searches[window.index()];
        search.tries += 1;
        search.is_open = true;
    }

    /// Returns the distance from the target at which a window is queried for.
    pub(super) fn probe_distance(&self, window: Window) -> Distance {
        let block = self.start.leading_zeros();
        match window {
            // Only the significant bits: the other bits remain those of the target.
            Window::Gap => self.start.truncated(block + 16),
            Window::Cell(_) => Distance::ZERO,
            Window::Next => Distance::ZERO.with_bit(block.saturating_sub(1)),
            Window::Rest => {
                let at = Distance::ZERO.with_bit(block);
                match (self.start.has_bit(block + 1), self.start.has_bit(block + 2)) {
                    (false, false) => at.with_bit(block + 2),
                    (false, true) => at.with_bit(block + 1),
                    (true, _) => at.with_bit(block + 1).with_bit(block + 2),
                }
            }
        }
    }

    /// Forgets the pending queries.
    pub(super) fn interrupt(&mut self) {
        self.searches.iter_mut().for_each(|search| search.is_open = false);
    }

    /// Handles the response for a window, with nodes up to `reach` away from the queried id.
    pub(super) fn on_response(&mut self, window: Window, reach: Distance) {
        let search = &mut self.searches[window.index()];
        (search.is_open, search.is_answered) = (false, true);
        if window == Window::Rest {
            // The quarter that contains the horizon is listed completely only if the response reaches beyond it.
            let back = NodeId::ZERO.at(self.probe_distance(window)).distance(&NodeId::ZERO.at(self.start));
            self.has_gap = reach.leading_zeros() >= back.leading_zeros();
        }
    }

    /// Handles the stall of the query for a window.
    pub(super) const fn on_stall(&mut self, window: Window) {
        self.searches[window.index()].is_open = false;
    }
}

/// Expected number of nodes in the region.
///
/// The probability of fewer than eight is 1 %, even if the size of the network is overestimated by a quarter.
pub(super) const REGION: f32 = 20.0;

/// Number of cells that are searched; half a node is expected within the last one.
pub(super) const CELLS: u8 = 6;

/// A traversal's knowledge of the region around its target; all zero initially.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub(super) struct Region {
    /// Estimated number of nodes in the network; 0 if unknown.
    pub(super) nodes: f32,
    /// Expected number of nodes within the distance of the K-th closest that responded, at the end of the
    /// traversal or before the region was searched; 0 before.
    pub(super) reach: f32,
    /// The region is being searched.
    pub(super) is_searched: bool,
    /// Number of queries for each cell.
    pub(super) tries: [u8; CELLS as usize],
    /// Cells with a pending query, one bit each.
    pub(super) open: u8,
}

impl Region {
    pub(super) const EMPTY: Self =
        Self { nodes: 0.0, reach: 0.0, is_searched: false, tries: [0; CELLS as usize], open: 0 };

    /// Returns the state of a traversal that is restarted.
    pub(super) const fn renewed(&self) -> Self {
        Self { nodes: self.nodes, is_searched: self.is_searched, ..Self::EMPTY }
    }

    /// Forgets the pending queries.
    pub(super) const fn interrupt(&mut self) {
        self.open = 0;
    }

    pub(super) const fn is_open(&self) -> bool {
        self.open != 0
    }

    /// Returns the head of the distance within which this many nodes are expected; 0 if unknown.
    pub(super) fn edge(&self, nodes: f32) -> u64 {
        if self.nodes > nodes { (nodes / self.nodes * (1_u128 << 64) as f32) as u64 } else { 0 }
    }

    /// Returns the index of the highest bit of the distances in the outermost cell, counted from the left.
    pub(super) fn block(&self) -> u32 {
        self.edge(REGION).leading_zeros()
    }

    /// Returns the heads of the distances of a cell, as a half-open range.
    pub(super) fn cell(&self, cell: u8) -> (u64, u64) {
        let least = (1_u64 << 63).checked_shr(self.block() + u32::from(cell)).unwrap_or(0);
        (least, least.saturating_mul(2).min(self.edge(REGION)))
    }

    /// Returns the number of nodes expected in a cell.
    pub(super) fn expected(&self, cell: u8) -> f32 {
        let (least, most) = self.cell(cell);
        most.saturating_sub(least) as f32 / (1_u128 << 64) as f32 * self.nodes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns a distance with this first byte.
    fn far(first: u8) -> Distance {
        let mut bytes = [0; 20];
        bytes[0] = first;
        NodeId::ZERO.distance(&NodeId::from_bytes(bytes))
    }

    fn horizon(edge: u8) -> Horizon {
        let mut horizon = Horizon::EMPTY;
        horizon.on_list(far(1), far(edge), K);
        horizon
    }

    /// Returns the windows that a search queries in turn if each response reaches this far.
    fn windows(edge: u8, reach: u8) -> std::vec::Vec<Distance> {
        let mut horizon = horizon(edge);
        let mut asked = std::vec::Vec::new();
        while let Some(window) = horizon.next_window() {
            horizon.begin(window);
            asked.push(horizon.probe_distance(window));
            horizon.on_response(window, far(reach));
        }
        asked
    }

    #[test]
    fn the_horizon_is_the_nearest_of_the_farthest_nodes_that_near_nodes_listed() {
        let mut horizon = Horizon::EMPTY;
        horizon.on_list(far(9), far(8), K);
        horizon.on_list(far(1), far(8), K - 1);
        assert!(!horizon.is_known(), "of one too far away, and of a short list");
        horizon.on_list(far(3), far(9), K);
        horizon.on_list(far(3), far(5), K);
        horizon.on_list(far(3), far(7), K);
        assert!(horizon.includes(far(5)) && !horizon.includes(far(6)));
    }

    #[test]
    fn the_rest_of_the_block_and_the_next_block_are_queried_for() {
        assert_eq!(windows(0b1_0000, 0xff), [far(0b1_0100), far(0b10_0000)]);
        assert_eq!(windows(0b1_0101, 0xff), [far(0b1_1000), far(0b10_0000)]);
        assert_eq!(windows(0b1_1010, 0xff), [far(0b1_1100), far(0b10_0000)]);
        assert_eq!(windows(0b1_1111, 0xff), [far(0b1_1100), far(0b10_0000)]);
    }

    #[test]
    fn the_gap_before_a_response_is_queried_for_as_well() {
        assert_eq!(windows(0b1_0101, 0b111), [far(0b1_1000), far(0b10_0000), far(0b1_0101)]);
        assert_eq!(windows(0b1_0101, 0b1_0000).len(), 2, "it lists more than the quarter before");
    }

    #[test]
    fn a_lost_query_is_sent_once_more_and_the_target_stays() {
        let mut horizon = horizon(0b1_0000);
        horizon.begin(Window::Rest);
        let at = horizon.probe_distance(Window::Rest);
        assert_eq!(horizon.next_window(), Some(Window::Next), "both are under way at once");
        horizon.begin(Window::Next);
        assert_eq!(horizon.next_window(), None);
        horizon.on_stall(Window::Rest);
        horizon.on_list(far(1), far(2), K);
        assert_eq!((horizon.next_window(), horizon.probe_distance(Window::Rest)), (Some(Window::Rest), at));
        horizon.begin(Window::Rest);
        horizon.on_stall(Window::Rest);
        assert_eq!(horizon.next_window(), None);
        assert!(horizon.is_open(), "the other");
    }

    #[test]
    fn the_ends_of_the_key_space_are_no_trouble() {
        let all = far(0xff);
        let mut horizon = Horizon::EMPTY;
        horizon.on_list(far(1), all, K);
        horizon.begin(Window::Next);
        assert_eq!(horizon.probe_distance(Window::Next), far(0x80));
        let mut least = [0; 20];
        least[19] = 1;
        let least = NodeId::ZERO.distance(&NodeId::from_bytes(least));
        let mut horizon = Horizon::EMPTY;
        horizon.on_list(Distance::ZERO, least, K);
        horizon.begin(Window::Rest);
        assert_eq!(horizon.probe_distance(Window::Rest), least);
    }
}
