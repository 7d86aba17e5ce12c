//! The datagrams on their way.

use alloc::vec::Vec;

use crate::addr::Endpoint;

/// A datagram on its way.
pub(in crate::sim) struct Parcel {
    pub(in crate::sim) from: Endpoint,
    pub(in crate::sim) to: Endpoint,
    pub(in crate::sim) bytes: Vec<u8>,
}

/// The datagrams on their way. Buffers are used again, so their number is the most that ever were
/// on their way at once.
#[derive(Default)]
pub(in crate::sim) struct Post {
    parcels: Vec<Parcel>,
    free: Vec<u32>,
}

impl Post {
    pub(in crate::sim) fn put(&mut self, from: Endpoint, to: Endpoint, bytes: &[u8]) -> u32 {
        let at = self.free.pop().unwrap_or_else(|| {
            self.parcels.push(Parcel { from, to, bytes: Vec::new() });
            self.parcels.len() as u32 - 1
        });
        let parcel = &mut self.parcels[at as usize];
        (parcel.from, parcel.to) = (from, to);
        parcel.bytes.clear();
        parcel.bytes.extend_from_slice(bytes);
        at
    }

    pub(in crate::sim) fn get(&self, at: u32) -> &Parcel {
        &self.parcels[at as usize]
    }

    pub(in crate::sim) fn bytes_mut(&mut self, at: u32) -> &mut Vec<u8> {
        &mut self.parcels[at as usize].bytes
    }

    /// Its buffer may be used again.
    pub(in crate::sim) fn release(&mut self, at: u32) {
        self.free.push(at);
    }

    /// Buffers, in use or not.
    #[cfg(test)]
    pub(in crate::sim) const fn len(&self) -> usize {
        self.parcels.len()
    }

    pub(in crate::sim) const fn under_way(&self) -> usize {
        self.parcels.len() - self.free.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_used_again() {
        let mut post = Post::default();
        let first = post.put(Endpoint::ZERO, Endpoint::ZERO, b"one");
        let second = post.put(Endpoint::ZERO, Endpoint::ZERO, b"second");
        post.release(first);
        assert_eq!(post.put(Endpoint::ZERO, Endpoint::ZERO, b"another"), first);
        assert_eq!(post.get(first).bytes, b"another");
        assert_eq!(post.get(second).bytes, b"second");
        assert_eq!(post.under_way(), 2);
    }
}
