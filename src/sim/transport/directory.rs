//! Which host or NAT an endpoint belongs to.

use alloc::vec;
use alloc::vec::Vec;
use core::mem;

use crate::base::addr::Endpoint;
use crate::sim::rng::mix;

/// A map from endpoints to hosts or NATs, by open addressing.
///
/// A million hosts are looked up millions of times a second. Nothing iterates over it, so its order
/// does not matter.
pub(super) struct Directory {
    slots: Vec<(Endpoint, u32)>,
    used: usize,
    key: u64,
}

impl Directory {
    pub(super) fn new(key: u64) -> Self {
        Self { slots: vec![(Endpoint::ZERO, u32::MAX); 64], used: 0, key }
    }

    pub(super) fn insert(&mut self, endpoint: Endpoint, value: u32) {
        if self.used * 2 > self.slots.len() {
            let larger = vec![(Endpoint::ZERO, u32::MAX); self.slots.len() * 2];
            for (endpoint, value) in mem::replace(&mut self.slots, larger) {
                if value != u32::MAX {
                    let at = self.find(endpoint);
                    self.slots[at] = (endpoint, value);
                }
            }
        }
        let at = self.find(endpoint);
        self.used += usize::from(self.slots[at].1 == u32::MAX);
        self.slots[at] = (endpoint, value);
    }

    pub(super) fn get(&self, endpoint: Endpoint) -> Option<u32> {
        let (_, value) = self.slots[self.find(endpoint)];
        (value != u32::MAX).then_some(value)
    }

    /// Removes an endpoint; entries behind it that it displaced move up.
    pub(super) fn remove(&mut self, endpoint: Endpoint) {
        let (mut gap, mask) = (self.find(endpoint), self.slots.len() - 1);
        if self.slots[gap].1 == u32::MAX {
            return;
        }
        self.used -= 1;
        let mut at = gap;
        loop {
            at = (at + 1) & mask;
            if self.slots[at].1 == u32::MAX {
                break;
            }
            let home = self.home(self.slots[at].0);
            if at.wrapping_sub(home) & mask >= at.wrapping_sub(gap) & mask {
                self.slots[gap] = self.slots[at];
                gap = at;
            }
        }
        self.slots[gap] = (Endpoint::ZERO, u32::MAX);
    }

    /// Number of endpoints.
    #[cfg(test)]
    pub(super) const fn len(&self) -> usize {
        self.used
    }

    /// The slot of an endpoint, or the one it would get.
    fn find(&self, endpoint: Endpoint) -> usize {
        let (mut at, mask) = (self.home(endpoint), self.slots.len() - 1);
        while self.slots[at].1 != u32::MAX && self.slots[at].0 != endpoint {
            at = (at + 1) & mask;
        }
        at
    }

    /// The slot of an endpoint in an empty table.
    const fn home(&self, endpoint: Endpoint) -> usize {
        let (high, low) = endpoint.halves();
        mix(mix(low ^ self.key) ^ high ^ (endpoint.port() as u64) << 40) as usize & (self.slots.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::sim::rng::SimRng;

    #[test]
    fn the_directory_finds_what_was_put_in() {
        let mut directory = Directory::new(1);
        let endpoint = |index: u32| Endpoint::v4(index.to_be_bytes(), index as u16);
        (0..10_000).for_each(|index| directory.insert(endpoint(index), index));
        directory.insert(endpoint(7), 70_000);
        assert_eq!(directory.get(endpoint(7)), Some(70_000));
        assert!((8..10_000).all(|index| directory.get(endpoint(index)) == Some(index)));
        assert_eq!(directory.get(endpoint(10_000)), None);
    }

    #[test]
    fn the_directory_removes_one_endpoint_and_no_other() {
        let (mut directory, mut rng, mut model) = (Directory::new(2), SimRng::new(1), BTreeMap::new());
        for value in 0..20_000 {
            let endpoint = Endpoint::v4((rng.below(900) as u32).to_be_bytes(), 1);
            if rng.chance(0.5) {
                directory.insert(endpoint, value);
                model.insert(endpoint, value);
            } else {
                directory.remove(endpoint);
                model.remove(&endpoint);
            }
            let other = Endpoint::v4((rng.below(900) as u32).to_be_bytes(), 1);
            assert_eq!(directory.get(other), model.get(&other).copied());
        }
        assert_eq!(
            (directory.used, directory.slots.len()),
            (model.len(), 1024),
            "its next_subnet serve again"
        );
    }
}
