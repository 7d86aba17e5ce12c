//! Responses to our own `sample_infohashes` queries (BEP 51), kept for the caller.

use core::time::Duration;

use crate::base::addr::Endpoint;
use crate::base::id::{InfoHash, NodeId};
use crate::base::pool::Ix;
use crate::store::peers::MAX_SAMPLE_INTERVAL;
use crate::wire::Response;

/// Maximum number of infohashes taken from one response: 46 fit into 1024 bytes.
const MAX_SAMPLES: usize = 64;

/// Maximum number of nodes taken from one response.
///
/// Nodes usually send 8 of each family; some send up to 40, their whole table.
const MAX_NODES: usize = 16;

/// A reference to a query in flight, by slot and generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub(crate) struct QueryRef {
    pub(crate) ix: Ix,
    pub(crate) generation: u32,
}

impl QueryRef {
    const NONE: Self = Self { ix: Ix::NONE, generation: 0 };
}

/// A `sample_infohashes` query and its response.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub(crate) struct Sampling {
    stage: Stage,
    pub(crate) target: NodeId,
    query: QueryRef,
    pub(crate) is_supported: bool,
    pub(crate) stored: u32,
    interval_secs: u16,
    sample_count: u8,
    node_count: u8,
    #[cfg_attr(feature = "checkpoint", serde(with = "serde_big_array::BigArray"))]
    samples: [InfoHash; MAX_SAMPLES],
    nodes: [(NodeId, Endpoint); MAX_NODES],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
enum Stage {
    Free,
    Asked,
    /// Reported; kept until the slot is needed.
    Reported,
}

impl Sampling {
    /// All zero bytes, so that slots in a static end up in `.bss`.
    pub(crate) const EMPTY: Self = Self {
        stage: Stage::Free,
        target: NodeId::ZERO,
        query: QueryRef::NONE,
        is_supported: false,
        stored: 0,
        interval_secs: 0,
        sample_count: 0,
        node_count: 0,
        samples: [InfoHash::ZERO; MAX_SAMPLES],
        nodes: [(NodeId::ZERO, Endpoint::ZERO); MAX_NODES],
    };

    /// Records that the query has started.
    pub(crate) const fn begin(&mut self, query: QueryRef) {
        self.query = query;
    }

    /// Marks the response as reported: it remains readable until the slot is needed.
    pub(crate) const fn mark_reported(&mut self) {
        self.stage = Stage::Reported;
    }

    /// Frees the slot: there is no response, or it is not needed.
    pub(crate) const fn free(&mut self) {
        self.stage = Stage::Free;
    }

    /// Stores a response, with those of its nodes that `is_usable` accepts.
    pub(crate) fn fill(
        &mut self,
        response: &Response<'_>,
        mut is_usable: impl FnMut(NodeId, Endpoint) -> bool,
    ) {
        self.is_supported = response.samples.is_some();
        for (to, from) in self.samples.iter_mut().zip(response.samples.unwrap_or_default()) {
            *to = InfoHash::from_bytes(*from);
            self.sample_count += 1;
        }
        let most = MAX_SAMPLE_INTERVAL.as_secs() as i64;
        self.interval_secs = response.interval.unwrap_or(0).clamp(0, most) as u16;
        let stored = response.num.unwrap_or_else(|| self.sample_count.into());
        self.stored = u32::try_from(stored.max(0)).unwrap_or(u32::MAX);
        for nodes in [response.nodes, response.nodes6].into_iter().flatten() {
            let contacts = nodes.iter().map(|(id, addr)| (id, Endpoint::from(addr)));
            let of_family = contacts.filter(|(_, endpoint)| endpoint.family() == nodes.family());
            let usable = of_family.filter(|(id, endpoint)| is_usable(*id, *endpoint));
            for (to, from) in self.nodes[self.node_count.into()..].iter_mut().zip(usable) {
                *to = from;
                self.node_count += 1;
            }
        }
    }

    pub(crate) const fn interval(&self) -> Duration {
        Duration::from_secs(self.interval_secs as u64)
    }

    pub(crate) fn samples(&self) -> &[InfoHash] {
        &self.samples[..self.sample_count.into()]
    }

    pub(crate) fn nodes(&self) -> &[(NodeId, Endpoint)] {
        &self.nodes[..self.node_count.into()]
    }
}

/// Allocates a slot for a new query: a free one, or the one of the oldest query that was reported.
///
/// There are few slots, so a linear search suffices.
pub(crate) fn alloc(slots: &mut [Sampling], target: NodeId) -> Option<Ix> {
    let free = slots.iter().position(|slot| slot.stage == Stage::Free);
    let reported = slots.iter().enumerate().filter(|(_, slot)| slot.stage == Stage::Reported);
    let at = free.or_else(|| reported.min_by_key(|(_, slot)| slot.query.generation).map(|(at, _)| at))?;
    slots[at] = Sampling { stage: Stage::Asked, target, ..Sampling::EMPTY };
    Some(Ix::new(at))
}

/// Returns the response to a query, if it is still kept.
pub(crate) fn find(slots: &[Sampling], query: QueryRef) -> Option<&Sampling> {
    slots.iter().find(|sampling| sampling.stage != Stage::Free && sampling.query == query)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::addr::Family;
    use crate::wire::CompactNodes;

    fn query(slot: usize, generation: u32) -> QueryRef {
        QueryRef { ix: Ix::new(slot), generation }
    }

    fn filled(response: &Response<'_>) -> Sampling {
        let mut sampling = Sampling::EMPTY;
        sampling.fill(response, |_, _| true);
        sampling
    }

    #[test]
    fn b51_03_the_interval_and_the_number_are_held_to_their_range() {
        let response = |interval, num| Response { interval, num, samples: Some(&[]), ..Response::default() };
        for (interval, num, secs, stored) in [
            (Some(0), Some(0), 0, 0),
            (Some(21600), Some(7), 21600, 7),
            (Some(21601), Some(-1), 21600, 0),
            (Some(-1), Some(i64::MAX), 0, u32::MAX),
            (None, None, 0, 0),
        ] {
            let sampling = filled(&response(interval, num));
            assert_eq!((sampling.interval().as_secs(), sampling.stored), (secs, stored));
        }
    }

    #[test]
    fn no_more_of_a_response_is_stored_than_there_is_memory_for() {
        let nodes = [7; 30 * 26];
        let response = Response {
            samples: Some(&[[3; 20]; 70]),
            nodes: Some(CompactNodes::new(Family::V4, &nodes)),
            nodes6: Some(CompactNodes::new(Family::V6, &nodes[..38])),
            ..Response::default()
        };
        let sampling = filled(&response);
        assert_eq!((sampling.samples().len(), sampling.nodes().len()), (MAX_SAMPLES, MAX_NODES));
        let mut picky = Sampling::EMPTY;
        picky.fill(&response, |_, endpoint| endpoint.family() == Family::V6);
        assert_eq!(picky.nodes().len(), 1);
    }

    #[test]
    fn a_reported_sample_is_replaced_by_a_new_query_and_a_pending_one_is_not() {
        let mut slots = [Sampling::EMPTY; 2];
        let target = NodeId::ZERO;
        let first = alloc(&mut slots, target).unwrap().position();
        slots[first].begin(query(5, 1));
        let second = alloc(&mut slots, target).unwrap().position();
        slots[second].begin(query(6, 2));
        assert!(alloc(&mut slots, target).is_none());
        slots[first].mark_reported();
        slots[second].mark_reported();
        assert!(find(&slots, query(5, 1)).is_some() && find(&slots, query(5, 2)).is_none());
        assert_eq!(alloc(&mut slots, target), Some(Ix::new(first)), "the oldest");
        assert!(find(&slots, query(5, 1)).is_none());
        slots[second].free();
        assert!(find(&slots, query(6, 2)).is_none());
    }
}
