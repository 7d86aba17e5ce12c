//! The random number generator of a node, seeded when the node is created.

use chacha20::ChaCha12Rng;
use rand_core::{Rng as _, SeedableRng};

use crate::base::id::{ID_LEN, NodeId};

/// Number of words in a block of ChaCha.
const BLOCK: usize = 16;

/// A cryptographically secure generator: equal seeds give equal streams.
///
/// The generator of the `chacha20` crate takes 320 bytes, a sixth of the size budget of a node, because it
/// computes four blocks ahead. This one buffers a single block of the same stream and the position of the next.
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub(crate) struct Rng {
    seed: [u8; 32],
    next_block: u64,
    words: [u32; BLOCK],
    used: u8,
}

impl Rng {
    pub(crate) const fn new(seed: [u8; 32]) -> Self {
        Self { seed, next_block: 0, words: [0; BLOCK], used: BLOCK as u8 }
    }

    pub(crate) fn u32(&mut self) -> u32 {
        let at = match usize::from(self.used) {
            at @ ..BLOCK => at,
            _ => self.refill(),
        };
        self.used = at as u8 + 1;
        self.words[at]
    }

    /// Returns a number uniform in `0..bound`, to within 2^-32, or 0 if `bound` is 0.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        ((u64::from(self.u32()) * bound as u64) >> 32) as usize
    }

    pub(crate) fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        for part in bytes.chunks_mut(4) {
            part.copy_from_slice(&self.u32().to_le_bytes()[..part.len()]);
        }
        bytes
    }

    /// Returns a transaction id without NUL bytes, because some nodes truncate ids at the first one.
    ///
    /// All such ids are equally likely, to within 2^-32.
    pub(crate) fn transaction(&mut self) -> [u8; 4] {
        let mut rest = self.below(255 * 255 * 255 * 255);
        [(); 4].map(|()| {
            let byte = 1 + (rest % 255) as u8;
            rest /= 255;
            byte
        })
    }

    /// Returns a uniformly random point of the id space.
    pub(crate) fn id(&mut self) -> NodeId {
        NodeId::from_bytes(self.bytes::<ID_LEN>())
    }

    /// Computes the next block and returns the index of its first word.
    fn refill(&mut self) -> usize {
        let mut stream = ChaCha12Rng::from_seed(self.seed);
        stream.set_block_pos(self.next_block);
        self.words = core::array::from_fn(|_| stream.next_u32());
        self.next_block += 1;
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b5_03_equal_seeds_give_equal_streams() {
        let (mut a, mut b, mut c) = (Rng::new([1; 32]), Rng::new([1; 32]), Rng::new([2; 32]));
        assert_eq!(a.id(), b.id());
        assert_ne!(a.id(), c.id());
    }

    #[test]
    fn the_stream_is_that_of_chacha() {
        let (mut ours, mut theirs) = (Rng::new([5; 32]), ChaCha12Rng::from_seed([5; 32]));
        assert!((0..10 * BLOCK).all(|_| ours.u32() == theirs.next_u32()));
        // The unused bytes of a partially consumed word are discarded.
        let mut bytes = [0; 7];
        theirs.fill_bytes(&mut bytes);
        assert_eq!(ours.bytes::<7>(), bytes);
        assert_eq!(ours.u32(), theirs.next_u32());
    }

    #[test]
    fn transaction_ids_have_no_nul_byte_and_every_other_byte_in_every_place() {
        let mut rng = Rng::new([3; 32]);
        let mut seen = [[0_u32; 256]; 4];
        for _ in 0..255 * 200 {
            (0..4).zip(rng.transaction()).for_each(|(place, byte)| seen[place][usize::from(byte)] += 1);
        }
        for counts in seen {
            assert_eq!(counts[0], 0);
            assert!(counts[1..].iter().all(|count| (120..280).contains(count)), "{counts:?}");
        }
    }

    #[test]
    fn numbers_stay_below_their_bound_and_reach_every_value() {
        let mut rng = Rng::new([0; 32]);
        let mut seen = [0_u32; 7];
        (0..7000).for_each(|_| seen[rng.below(7)] += 1);
        assert!(seen.iter().all(|&count| (800..1200).contains(&count)), "{seen:?}");
        assert_eq!(rng.below(0), 0);
    }
}
