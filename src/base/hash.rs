//! A keyed hash for tables whose keys are chosen by strangers.

use crate::base::addr::Endpoint;
use crate::base::id::ID_LEN;
use crate::base::rng::Rng;

/// A secret hash key, so that no remote node can target a particular chain, set or counter.
///
/// A hash costs two folded multiplications, a few nanoseconds. It is not a MAC: hash values must never leave
/// the node.
#[derive(Clone, Copy, Debug, Default)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub(crate) struct Key([u64; 2]);

/// Arbitrary constants that keep zero inputs from cancelling out.
const MIX: [u64; 2] = [0x9e37_79b9_7f4a_7c15, 0xd1b5_4a32_d192_ed03];

impl Key {
    pub(crate) fn new(rng: &mut Rng) -> Self {
        Self([u64::from_le_bytes(rng.bytes()), u64::from_le_bytes(rng.bytes())])
    }

    /// Hashes up to 20 bytes. `c` separates kinds of keys that must not collide by construction.
    pub(crate) fn hash(self, a: u64, b: u64, c: u32) -> u64 {
        let Self([k0, k1]) = self;
        fold(fold(a ^ k0, b ^ k1 ^ MIX[0]) ^ u64::from(c) ^ k1, k0 ^ MIX[1])
    }

    pub(crate) fn hash_endpoint(self, endpoint: Endpoint) -> u64 {
        let (high, low) = endpoint.halves();
        self.hash(high, low, endpoint.port().into())
    }

    pub(crate) fn hash_id(self, id: &[u8; ID_LEN]) -> u64 {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t] = *id;
        self.hash(
            u64::from_le_bytes([a, b, c, d, e, f, g, h]),
            u64::from_le_bytes([i, j, k, l, m, n, o, p]),
            u32::from_le_bytes([q, r, s, t]),
        )
    }
}

/// Maps 32 bits of a hash to a position in `0..len`, or to 0 if `len` is 0.
pub(crate) const fn reduce(hash: u32, len: usize) -> usize {
    ((hash as u64 * len as u64) >> 32) as usize
}

/// XORs the two halves of the 128-bit product.
const fn fold(a: u64, b: u64) -> u64 {
    let product = a as u128 * b as u128;
    product as u64 ^ (product >> 64) as u64
}

#[cfg(test)]
mod tests {
    use std::vec;
    use std::vec::Vec;

    use super::*;

    /// Sequential keys, as an attacker would pick them, spread like random ones.
    ///
    /// With 4096 balls in 4096 urns, the fullest holds about 7.
    #[test]
    fn patterned_keys_spread_evenly_over_every_part_of_the_hash() {
        for seed in 0..4 {
            let key = Key::new(&mut Rng::new([seed; 32]));
            type Pattern = fn(u64) -> (u64, u64, u32);
            let patterns: [Pattern; 4] =
                [|i| (i, 0, 0), |i| (i << 52, 0, 0), |i| (0, i << 20, 0), |i| (0, 0, i as u32)];
            for pattern in patterns {
                let hashes: Vec<u64> = (0..4096)
                    .map(|i| {
                        let (a, b, c) = pattern(i);
                        key.hash(a, b, c)
                    })
                    .collect();
                for shift in [0, 32] {
                    let mut urns = vec![0; 4096];
                    hashes.iter().for_each(|hash| urns[reduce((hash >> shift) as u32, 4096)] += 1);
                    let fullest = urns.iter().max().unwrap();
                    assert!(*fullest < 14, "{fullest} with seed {seed}");
                }
            }
        }
    }

    #[test]
    fn another_key_gives_another_order() {
        let (a, b) = (Key::new(&mut Rng::new([1; 32])), Key::new(&mut Rng::new([2; 32])));
        assert_ne!(a.hash_id(&[7; ID_LEN]), b.hash_id(&[7; ID_LEN]));
        assert_eq!(reduce(u32::MAX, 10), 9);
        assert_eq!(reduce(u32::MAX, 0), 0);
    }
}
