//! Memory for values of any length: chains of chunks of one size, in memory reserved at construction.

use crate::base::pool::Ix;

/// Length of a chunk.
///
/// A signed value of a few dozen bytes takes two chunks, the longest nine. Smaller chunks would waste more on
/// links, larger ones on unused space.
pub(crate) const CHUNK_LEN: usize = 128;

/// A part of a value; zeroed memory is a free chunk.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub(crate) struct Chunk {
    #[cfg_attr(feature = "checkpoint", serde(with = "serde_big_array::BigArray"))]
    bytes: [u8; CHUNK_LEN],
    /// The next part, or the next free chunk.
    next: Ix,
}

impl Chunk {
    pub(crate) const EMPTY: Self = Self { bytes: [0; CHUNK_LEN], next: Ix::NONE };
}

/// The allocator of all chunks.
#[derive(Clone, Copy, Debug, Default)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub(crate) struct Chunks {
    free: Ix,
    /// Chunks from this one on have never been allocated and are in no chain.
    untouched: u32,
    used: u32,
}

impl Chunks {
    /// Returns the number of chunks for this many bytes.
    pub(crate) const fn needed(len: usize) -> usize {
        len.div_ceil(CHUNK_LEN)
    }

    pub(crate) const fn available(&self, chunks: &[Chunk]) -> usize {
        chunks.len() - self.used as usize
    }

    /// Allocates a chain for this many bytes, at least one chunk; returns `None` if there are too few.
    pub(crate) fn alloc(&mut self, chunks: &mut [Chunk], len: usize) -> Option<Ix> {
        let count = Self::needed(len.max(1));
        if count > self.available(chunks) {
            return None;
        }
        let mut head = Ix::NONE;
        for _ in 0..count {
            let ix = match self.free.some() {
                Some(ix) => {
                    self.free = chunks[ix.position()].next;
                    ix
                }
                None => {
                    self.untouched += 1;
                    Ix::new(self.untouched as usize - 1)
                }
            };
            chunks[ix.position()].next = head;
            head = ix;
            self.used += 1;
        }
        Some(head)
    }

    /// Frees a chain.
    pub(crate) fn free(&mut self, chunks: &mut [Chunk], head: Ix) {
        let mut next = head;
        while let Some(ix) = next.some() {
            next = core::mem::replace(&mut chunks[ix.position()].next, self.free);
            self.free = ix;
            self.used -= 1;
        }
    }

    /// Shortens a chain to this many bytes.
    pub(crate) fn truncate(&mut self, chunks: &mut [Chunk], head: Ix, len: usize) {
        let last = Self::needed(len.max(1)) - 1;
        let Some(last) = chain(chunks, head).nth(last) else { return };
        let rest = core::mem::take(&mut chunks[last.position()].next);
        self.free(chunks, rest);
    }

    /// Whether the number of chunks in use matches chains of these lengths.
    #[cfg(any(test, feature = "checkpoint", feature = "sim"))]
    pub(crate) fn is_consistent(&self, chunks: &[Chunk], chains: impl Iterator<Item = (Ix, usize)>) -> bool {
        let mut used = 0;
        for (head, count) in chains {
            if chain_len(chunks, head) != Some(count) {
                return false;
            }
            used += count;
        }
        let free = chain_len(chunks, self.free);
        used == self.used as usize && free.is_some_and(|free| used + free == self.untouched as usize)
    }
}

/// Writes the concatenation of these parts to a chain, which must be long enough.
pub(crate) fn write(chunks: &mut [Chunk], head: Ix, parts: &[&[u8]]) {
    let mut bytes = parts.iter().copied().flatten();
    let mut next = head;
    while let Some(ix) = next.some() {
        let chunk = &mut chunks[ix.position()];
        chunk.bytes.iter_mut().zip(&mut bytes).for_each(|(to, from)| *to = *from);
        next = chunk.next;
    }
}

/// Reads the bytes of a chain from `offset` on into `out`; the chain must be long enough.
pub(crate) fn read(chunks: &[Chunk], head: Ix, offset: usize, out: &mut [u8]) {
    let mut rest = out;
    let mut skip = offset;
    for ix in chain(chunks, head) {
        let part = chunks[ix.position()].bytes.get(skip..).unwrap_or_default();
        skip = skip.saturating_sub(CHUNK_LEN);
        let (to, behind) = rest.split_at_mut(part.len().min(rest.len()));
        to.copy_from_slice(&part[..to.len()]);
        rest = behind;
    }
    debug_assert!(rest.is_empty());
}

/// Returns the number of chunks in a chain.
#[cfg(any(test, feature = "checkpoint", feature = "sim"))]
pub(crate) fn chain_len(chunks: &[Chunk], head: Ix) -> Option<usize> {
    let after = |ix: &Ix| chunks.get(ix.position())?.next.some();
    let mut chain = core::iter::successors(head.some(), after).take(chunks.len() + 1);
    chain.try_fold(0, |len, ix| (ix.position() < chunks.len()).then_some(len + 1))
}

fn chain(chunks: &[Chunk], head: Ix) -> impl Iterator<Item = Ix> {
    core::iter::successors(head.some(), |ix| chunks[ix.position()].next.some())
}

#[cfg(test)]
mod tests {
    use std::vec;
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_does_not_fit_takes_nothing() {
        let (mut head, mut chunks) = (Chunks::default(), [Chunk::EMPTY; 3]);
        assert_eq!(head.alloc(&mut chunks, 4 * CHUNK_LEN), None);
        let chain = head.alloc(&mut chunks, 3 * CHUNK_LEN).unwrap();
        assert_eq!((head.available(&chunks), head.alloc(&mut chunks, 0)), (0, None));
        head.truncate(&mut chunks, chain, CHUNK_LEN + 1);
        assert_eq!(head.available(&chunks), 1);
        head.free(&mut chunks, chain);
        assert_eq!(head.available(&chunks), 3);
    }

    proptest! {
        /// Chains behave like plain vectors.
        #[test]
        fn values_come_back_as_they_went_in(
            steps in proptest::collection::vec((0_usize..600, any::<u8>(), 0_u8..3), 0..80),
        ) {
            let (mut head, mut chunks, mut model) = (Chunks::default(), vec![Chunk::EMPTY; 20], Vec::new());
            for (len, byte, step) in steps {
                match step {
                    0 if !model.is_empty() => {
                        let (chain, _): (Ix, Vec<u8>) = model.swap_remove(len % model.len());
                        head.free(&mut chunks, chain);
                    }
                    1 if !model.is_empty() => {
                        let at = len % model.len();
                        let (chain, value): &mut (Ix, Vec<u8>) = &mut model[at];
                        value.truncate(usize::from(byte));
                        head.truncate(&mut chunks, *chain, value.len());
                    }
                    _ => {
                        let value: Vec<u8> = (0..len).map(|at| byte.wrapping_add(at as u8)).collect();
                        if let Some(chain) = head.alloc(&mut chunks, len) {
                            let (a, b) = value.split_at(len / 3);
                            write(&mut chunks, chain, &[a, b]);
                            model.push((chain, value));
                        } else {
                            prop_assert!(Chunks::needed(len.max(1)) > head.available(&chunks));
                        }
                    }
                }
                for (chain, value) in &model {
                    let mut whole = vec![0; value.len()];
                    read(&chunks, *chain, 0, &mut whole);
                    prop_assert_eq!(&whole, value);
                    let offset = value.len() / 2;
                    read(&chunks, *chain, offset, &mut whole[offset..]);
                    prop_assert_eq!(&whole, value);
                }
                let chains = model.iter().map(|(chain, value)| (*chain, Chunks::needed(value.len().max(1))));
                prop_assert!(head.is_consistent(&chunks, chains));
            }
        }
    }
}
