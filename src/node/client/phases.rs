//! The slots of all traversals, each in one list at a time, by its phase.

use crate::base::addr::Endpoint;
use crate::base::pool::{Ix, List, Pool, Slot};
use crate::base::time::Instant;
#[cfg(any(feature = "checkpoint", feature = "sim"))]
use crate::lookup::Step;
use crate::lookup::{Candidate, Phase, Token, Traversal};
use crate::node::storage::sealed::Memory;

/// The shared state of all lookups.
#[derive(Clone, Copy, Debug, Default)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub(in crate::node) struct Traversals {
    pub(super) pool: Pool,
    pub(super) ready: List,
    /// Traversals whose next destination was queried a lot recently, by when it may be queried again.
    pub(super) held: List,
    pub(super) waiting: List,
    /// Traversals that have ended while the other family has not, or whose completion is not polled.
    ended: List,
    /// The leading traversals of lookups whose completion waits to be polled.
    pub(super) completed: List,
    /// Reported traversals, the longest-completed first.
    pub(super) remembered: List,
    pub(in crate::node) generation: u32,
    /// Peers found and not polled, over all traversals.
    pub(in crate::node) unreported: usize,
}

/// A traversal and its memory.
pub(in crate::node) struct TraversalMut<'a> {
    pub(in crate::node) state: &'a mut Traversal,
    pub(in crate::node) candidates: &'a mut [Candidate],
    pub(in crate::node) tokens: &'a mut [Token],
    pub(in crate::node) found: &'a mut [Endpoint],
}

impl Traversals {
    pub(in crate::node) const fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Whether a traversal is ready, or one is held that may be ready by now.
    pub(in crate::node) const fn may_have_ready(&self) -> bool {
        !self.ready.is_empty() || !self.held.is_empty()
    }

    pub(in crate::node) const fn ready_count(&self) -> usize {
        self.ready.len()
    }

    pub(in crate::node) const fn has_events(&self) -> bool {
        self.unreported > 0 || !self.completed.is_empty()
    }

    /// Returns when the first of the held traversals is ready again.
    pub(in crate::node) fn held_until(&self, traversals: &[Slot<Traversal>]) -> Option<Instant> {
        self.held.front().map(|ix| traversals[ix].held_until)
    }

    /// Makes a traversal wait until the given time.
    pub(in crate::node) fn hold(&mut self, m: &mut Memory<'_>, ix: Ix, until: Instant) {
        m.traversals[ix].held_until = until;
        self.set_phase(m, ix, Phase::Held);
    }

    /// Makes held traversals ready whose time has passed.
    pub(in crate::node) fn release(&mut self, m: &mut Memory<'_>, now: Instant) {
        while let Some(ix) = self.held.front().filter(|&ix| m.traversals[ix].held_until <= now) {
            self.set_phase(m, ix, Phase::Ready);
        }
    }

    /// Returns the ready traversal whose turn it is, and moves it to the back.
    pub(in crate::node) fn next_ready(&mut self, traversals: &mut [Slot<Traversal>]) -> Option<Ix> {
        let ix = self.ready.pop_front(traversals)?;
        self.ready.push_back(traversals, ix);
        Some(ix)
    }

    pub(in crate::node) fn traversal<'a>(&self, m: &'a mut Memory<'_>, ix: Ix) -> TraversalMut<'a> {
        let (at, count) = (ix.position(), m.traversals.len());
        TraversalMut {
            candidates: part(m.candidates, at, count),
            tokens: part(m.tokens, at, count),
            found: part(m.found, at, count),
            state: &mut m.traversals[ix],
        }
    }

    /// Moves a traversal to the list of its new phase.
    pub(in crate::node) fn set_phase(&mut self, m: &mut Memory<'_>, ix: Ix, phase: Phase) {
        if let Some(list) = self.list(m.traversals[ix].phase) {
            list.remove(m.traversals, ix);
        }
        m.traversals[ix].phase = phase;
        match self.list(phase) {
            Some(list) if phase == Phase::Held => {
                let until = m.traversals[ix].held_until;
                let mut after = list.back();
                while let Some(at) = after.filter(|&at| m.traversals[at].held_until > until) {
                    after = list.prev(m.traversals, at);
                }
                list.insert_after(m.traversals, after.unwrap_or(Ix::NONE), ix);
            }
            Some(list) => list.push_back(m.traversals, ix),
            None => self.pool.free(m.traversals, ix),
        }
    }

    /// Returns the longest-completed lookup that still holds an item.
    #[cfg(feature = "items")]
    pub(in crate::node) fn oldest_with_item(&self, traversals: &[Slot<Traversal>]) -> Option<Ix> {
        self.remembered.iter(traversals).find(|&ix| traversals[ix].goal.item().is_some())
    }

    /// Whether every slot is free or in the list of its phase, and every unreported peer is counted.
    #[cfg(any(feature = "checkpoint", feature = "sim"))]
    pub(in crate::node) fn is_consistent(&self, traversals: &[Slot<Traversal>]) -> bool {
        let lists = [
            (self.ready, Phase::Ready),
            (self.held, Phase::Held),
            (self.waiting, Phase::Waiting),
            (self.ended, Phase::Ended),
            (self.completed, Phase::Completed),
            (self.remembered, Phase::Remembered),
        ];
        let is_whole = |(list, phase): (List, Phase)| {
            list.is_consistent(traversals) && list.iter(traversals).all(|ix| traversals[ix].phase == phase)
        };
        let is_sendable = |traversal: &Traversal| match traversal.phase {
            Phase::Ready | Phase::Held => {
                let position = traversal.planned.step().and_then(Step::position);
                position.is_some_and(|at| at < traversal.len())
            }
            Phase::Free | Phase::Waiting | Phase::Ended | Phase::Completed | Phase::Remembered => true,
        };
        let news = traversals.iter().map(|slot| &slot.value).filter(|traversal| traversal.phase.has_events());
        self.pool.is_consistent(traversals)
            && lists.into_iter().all(is_whole)
            && traversals.iter().all(|slot| is_sendable(&slot.value))
            && lists.into_iter().map(|(list, _)| list.len()).sum::<usize>() == self.pool.used()
            && news.map(|traversal| usize::from(traversal.found - traversal.reported)).sum::<usize>()
                == self.unreported
    }

    pub(super) const fn list(&mut self, phase: Phase) -> Option<&mut List> {
        match phase {
            Phase::Free => None,
            Phase::Ready => Some(&mut self.ready),
            Phase::Held => Some(&mut self.held),
            Phase::Waiting => Some(&mut self.waiting),
            Phase::Ended => Some(&mut self.ended),
            Phase::Completed => Some(&mut self.completed),
            Phase::Remembered => Some(&mut self.remembered),
        }
    }
}

/// Returns the `at`-th of `count` equal parts.
fn part<T>(all: &mut [T], at: usize, count: usize) -> &mut [T] {
    let len = all.len() / count;
    &mut all[at * len..(at + 1) * len]
}
