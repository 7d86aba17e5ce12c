//! Fixed memory: pools of slots, and lists threaded through them.
//!
//! A pool is a slice of [`Slot`]s, owned by the storage, plus a small head ([`Pool`]) owned by the module
//! that uses it. Indices count from 1 and 0 means none, so zeroed memory is an empty pool and may be placed
//! in `.bss`. Nothing here allocates, and the cost of inserting or removing does not depend on the size.

use core::ops::{Index, IndexMut};

/// The index of a slot, counted from 1; [`Ix::NONE`] means none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub(crate) struct Ix(u32);

impl Ix {
    pub(crate) const NONE: Self = Self(0);

    /// Returns the index of the `position`-th slot, counted from 0.
    pub(crate) const fn new(position: usize) -> Self {
        Self(position as u32 + 1)
    }

    /// Returns the position, counted from 0. Must not be called on `NONE`.
    pub(crate) const fn position(self) -> usize {
        debug_assert!(self.0 != 0);
        (self.0 - 1) as usize
    }

    pub(crate) const fn is_none(self) -> bool {
        self.0 == 0
    }

    /// Returns the index, or `None` instead of [`Ix::NONE`].
    pub(crate) const fn some(self) -> Option<Self> {
        if self.is_none() { None } else { Some(self) }
    }
}

/// A value and the links of the one list that contains it: the free list, while it is free.
#[derive(Clone, Copy, Debug, Default)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub(crate) struct Slot<T> {
    prev: Ix,
    next: Ix,
    pub(crate) value: T,
}

impl<T> Slot<T> {
    /// Creates a free slot around `value`, for storage built from constants.
    pub(crate) const fn new(value: T) -> Self {
        Self { prev: Ix::NONE, next: Ix::NONE, value }
    }
}

/// Accesses the value at an index, which must be in range and not `NONE`.
impl<T> Index<Ix> for [Slot<T>] {
    type Output = T;

    fn index(&self, ix: Ix) -> &T {
        &self[ix.position()].value
    }
}

impl<T> IndexMut<Ix> for [Slot<T>] {
    fn index_mut(&mut self, ix: Ix) -> &mut T {
        &mut self[ix.position()].value
    }
}

/// The head of a pool: tracks which slots are free.
#[derive(Clone, Copy, Debug, Default)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub(crate) struct Pool {
    free: List,
    /// Number of slots ever allocated. Later ones are in no list, so that creating a pool touches no memory.
    touched: u32,
    used: u32,
}

impl Pool {
    /// Allocates a free slot. The caller must overwrite its old value.
    pub(crate) fn alloc<T>(&mut self, slots: &mut [Slot<T>]) -> Option<Ix> {
        let ix = match self.free.pop_front(slots) {
            Some(ix) => ix,
            None if (self.touched as usize) < slots.len() => {
                self.touched += 1;
                Ix(self.touched)
            }
            None => return None,
        };
        self.used += 1;
        Some(ix)
    }

    /// Frees a slot, which must be allocated and in no list.
    pub(crate) fn free<T>(&mut self, slots: &mut [Slot<T>], ix: Ix) {
        debug_assert!(self.used > 0);
        self.free.push_front(slots, ix);
        self.used -= 1;
    }

    /// Returns the number of slots ever allocated: all later ones are unused.
    pub(crate) const fn touched(&self) -> usize {
        self.touched as usize
    }

    /// Returns the number of allocated slots.
    pub(crate) const fn used(&self) -> usize {
        self.used as usize
    }

    /// Whether every slot is allocated.
    pub(crate) const fn is_full<T>(&self, slots: &[Slot<T>]) -> bool {
        self.used as usize == slots.len()
    }

    /// Whether allocated and free slots add up, with no slot counted twice.
    #[cfg(any(test, feature = "checkpoint", feature = "sim"))]
    pub(crate) fn is_consistent<T>(&self, slots: &[Slot<T>]) -> bool {
        self.free.is_consistent(slots)
            && self.used() + self.free.len() == self.touched as usize
            && self.touched as usize <= slots.len()
    }
}

/// A doubly linked list of slots. A slot is in one list at a time.
#[derive(Clone, Copy, Debug, Default)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub(crate) struct List {
    head: Ix,
    tail: Ix,
    len: u32,
}

impl List {
    pub(crate) const EMPTY: Self = Self { head: Ix::NONE, tail: Ix::NONE, len: 0 };

    pub(crate) const fn len(&self) -> usize {
        self.len as usize
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(crate) const fn front(&self) -> Option<Ix> {
        self.head.some()
    }

    pub(crate) const fn back(&self) -> Option<Ix> {
        self.tail.some()
    }

    pub(crate) fn push_front<T>(&mut self, slots: &mut [Slot<T>], ix: Ix) {
        self.insert_after(slots, Ix::NONE, ix);
    }

    pub(crate) fn push_back<T>(&mut self, slots: &mut [Slot<T>], ix: Ix) {
        self.insert_after(slots, self.tail, ix);
    }

    /// Inserts `ix` after `after`, or at the front if `after` is `NONE`.
    pub(crate) fn insert_after<T>(&mut self, slots: &mut [Slot<T>], after: Ix, ix: Ix) {
        let next = if after.is_none() { self.head } else { slots[after.position()].next };
        let slot = &mut slots[ix.position()];
        (slot.prev, slot.next) = (after, next);
        match after.some() {
            Some(after) => slots[after.position()].next = ix,
            None => self.head = ix,
        }
        match next.some() {
            Some(next) => slots[next.position()].prev = ix,
            None => self.tail = ix,
        }
        self.len += 1;
    }

    /// Removes `ix` from this list, which must contain it.
    pub(crate) fn remove<T>(&mut self, slots: &mut [Slot<T>], ix: Ix) {
        let slot = &mut slots[ix.position()];
        let (prev, next) = (slot.prev, slot.next);
        (slot.prev, slot.next) = (Ix::NONE, Ix::NONE);
        match prev.some() {
            Some(prev) => slots[prev.position()].next = next,
            None => self.head = next,
        }
        match next.some() {
            Some(next) => slots[next.position()].prev = prev,
            None => self.tail = prev,
        }
        self.len -= 1;
    }

    pub(crate) fn pop_front<T>(&mut self, slots: &mut [Slot<T>]) -> Option<Ix> {
        let ix = self.front()?;
        self.remove(slots, ix);
        Some(ix)
    }

    /// Returns the slot before `ix`.
    pub(crate) fn prev<T>(self, slots: &[Slot<T>], ix: Ix) -> Option<Ix> {
        slots[ix.position()].prev.some()
    }

    /// Returns the slot after `ix`.
    pub(crate) fn next<T>(self, slots: &[Slot<T>], ix: Ix) -> Option<Ix> {
        slots[ix.position()].next.some()
    }

    /// Whether the number of linked slots matches the length, and no link leads out of the slice.
    #[cfg(any(test, feature = "checkpoint", feature = "sim"))]
    pub(crate) fn is_consistent<T>(&self, slots: &[Slot<T>]) -> bool {
        let after = |ix: &Ix| slots.get(ix.position())?.next.some();
        // A cycle would never end.
        let mut linked = core::iter::successors(self.front(), after).take(slots.len() + 1);
        linked.try_fold(0, |count, ix| (ix.position() < slots.len()).then_some(count + 1)) == Some(self.len())
    }

    /// Iterates over the indices from front to back.
    pub(crate) fn iter<T>(&self, slots: &[Slot<T>]) -> impl Iterator<Item = Ix> {
        core::iter::successors(self.front(), |&ix| self.next(slots, ix))
    }
}

/// A ring buffer over a slice: pushing into a full ring drops the oldest value.
#[derive(Clone, Copy, Debug, Default)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub(crate) struct Ring {
    start: u32,
    len: u32,
}

impl Ring {
    pub(crate) const fn is_empty(self) -> bool {
        self.len == 0
    }

    pub(crate) const fn len(self) -> usize {
        self.len as usize
    }

    /// Appends `value`.
    ///
    /// Returns the number of values lost: the oldest if the ring was full, or `value` itself if the slice is
    /// empty.
    pub(crate) fn push<T>(&mut self, values: &mut [T], value: T) -> u64 {
        let (place, lost) = self.push_place(values);
        if let Some(place) = place {
            *place = value;
        }
        lost
    }

    /// Appends a place for the caller to overwrite, which still holds an earlier value.
    ///
    /// Returns the place, if there is one, and the number of values lost as [`Self::push`] does.
    pub(crate) fn push_place<'a, T>(&mut self, values: &'a mut [T]) -> (Option<&'a mut T>, u64) {
        if values.is_empty() {
            return (None, 1);
        }
        let lost = u64::from(self.len() == values.len());
        if lost == 1 {
            self.start = self.position(values, 1) as u32;
            self.len -= 1;
        }
        let end = self.position(values, self.len());
        self.len += 1;
        (Some(&mut values[end]), lost)
    }

    /// Removes and returns the oldest value.
    pub(crate) fn pop<T: Copy>(&mut self, values: &[T]) -> Option<T> {
        if self.is_empty() {
            return None;
        }
        let value = values[self.start as usize];
        self.start = self.position(values, 1) as u32;
        self.len -= 1;
        Some(value)
    }

    /// Iterates over all values, oldest first.
    pub(crate) fn iter<T>(self, values: &[T]) -> impl Iterator<Item = &T> {
        (0..self.len()).map(move |offset| &values[self.position(values, offset)])
    }

    #[cfg(any(feature = "checkpoint", feature = "sim"))]
    pub(crate) const fn is_consistent<T>(self, values: &[T]) -> bool {
        self.len() <= values.len() && (self.start as usize) < values.len() + values.is_empty() as usize
    }

    fn position<T>(self, values: &[T], offset: usize) -> usize {
        let position = self.start as usize + offset;
        if position >= values.len() { position - values.len() } else { position }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn zeroed_memory_is_an_empty_pool() {
        let mut slots = [Slot::new(0_u8); 2];
        let mut pool = Pool::default();
        let (a, b) = (pool.alloc(&mut slots).unwrap(), pool.alloc(&mut slots).unwrap());
        assert_ne!(a, b);
        assert!(pool.is_full(&slots));
        assert_eq!(pool.alloc(&mut slots), None);
        pool.free(&mut slots, a);
        assert_eq!(pool.alloc(&mut slots), Some(a));
        assert!(pool.is_consistent(&slots));
    }

    #[test]
    fn a_ring_drops_the_oldest_and_says_so() {
        let mut values = [0; 3];
        let mut ring = Ring::default();
        let lost: Vec<u64> = (1..=5).map(|value| ring.push(&mut values, value)).collect();
        assert_eq!(lost, [0, 0, 0, 1, 1]);
        assert_eq!(core::array::from_fn(|_| ring.pop(&values)), [Some(3), Some(4), Some(5), None]);
        assert_eq!(Ring::default().push(&mut [], 1), 1);
    }

    proptest! {
        /// Compares pool and list against a model of plain vectors.
        #[test]
        fn pools_and_lists_match_their_model(steps in proptest::collection::vec((0_u8..5, any::<u16>()), 0..200)) {
            let mut slots = [Slot::new(0_u16); 9];
            let (mut pool, mut list, mut model) = (Pool::default(), List::default(), VecDeque::new());
            for (step, value) in steps {
                let at = usize::from(value) % model.len().max(1);
                match step {
                    0 | 1 => match pool.alloc(&mut slots) {
                        Some(ix) if step == 0 => { slots[ix] = value; list.push_back(&mut slots, ix); model.push_back((ix, value)); }
                        Some(ix) => { slots[ix] = value; list.push_front(&mut slots, ix); model.push_front((ix, value)); }
                        None => prop_assert_eq!(model.len(), slots.len()),
                    },
                    2 => if let Some(ix) = list.pop_front(&mut slots) {
                        prop_assert_eq!(model.pop_front().map(|(ix, _)| ix), Some(ix));
                        pool.free(&mut slots, ix);
                    },
                    3 => if let Some((ix, _)) = model.remove(at) {
                        list.remove(&mut slots, ix);
                        pool.free(&mut slots, ix);
                    },
                    _ => if let Some(&(after, _)) = model.get(at) && let Some(ix) = pool.alloc(&mut slots) {
                        slots[ix] = value;
                        list.insert_after(&mut slots, after, ix);
                        model.insert(at + 1, (ix, value));
                    },
                }
                let found: Vec<_> = list.iter(&slots).map(|ix| (ix, slots[ix])).collect();
                prop_assert_eq!(&found, &Vec::from(model.clone()));
                prop_assert_eq!(list.back(), model.back().map(|&(ix, _)| ix));
                prop_assert_eq!(pool.used(), model.len());
                prop_assert!(pool.is_consistent(&slots));
            }
        }
    }
}
