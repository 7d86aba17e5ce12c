//! Randomness: one generator, seeded at birth, behind everything unpredictable or sampled.

use chacha20::ChaCha12Rng;
use rand_core::{Rng as _, SeedableRng};

use crate::id::{ID_LEN, NodeId};

/// A cryptographically secure generator: equal seeds give equal streams.
pub(crate) struct Rng(ChaCha12Rng);

impl Rng {
    pub(crate) fn new(seed: [u8; 32]) -> Self {
        Self(ChaCha12Rng::from_seed(seed))
    }

    pub(crate) fn u32(&mut self) -> u32 {
        self.0.next_u32()
    }

    /// Uniform in `0..bound`, to within 2^-32; 0 where `bound` is 0.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        ((u64::from(self.u32()) * bound as u64) >> 32) as usize
    }

    pub(crate) fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.0.fill_bytes(&mut bytes);
        bytes
    }

    /// A point of the id space, uniformly at random.
    pub(crate) fn id(&mut self) -> NodeId {
        NodeId::from_bytes(self.bytes::<ID_LEN>())
    }
}

/// Its place in its stream, so that it goes on with the same numbers.
#[cfg(feature = "checkpoint")]
impl serde::Serialize for Rng {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serde_big_array::BigArray::serialize(&self.0.serialize_state(), serializer)
    }
}

#[cfg(feature = "checkpoint")]
impl<'de> serde::Deserialize<'de> for Rng {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let state = serde_big_array::BigArray::deserialize(deserializer)?;
        Ok(Self(ChaCha12Rng::deserialize_state(&state)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_seeds_give_equal_streams() {
        let (mut a, mut b, mut c) = (Rng::new([1; 32]), Rng::new([1; 32]), Rng::new([2; 32]));
        assert_eq!(a.id(), b.id());
        assert_ne!(a.id(), c.id());
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
