//! The datagrams in flight.

use alloc::vec::Vec;

use crate::base::addr::Endpoint;

/// A datagram in flight.
pub(in crate::sim) struct Packet {
    pub(in crate::sim) from: Endpoint,
    pub(in crate::sim) to: Endpoint,
    pub(in crate::sim) bytes: Vec<u8>,
}

/// All datagrams in flight. Buffers are reused, so there are as many as were ever in flight at once.
#[derive(Default)]
pub(in crate::sim) struct Packets {
    slots: Vec<Packet>,
    free: Vec<u32>,
}

impl Packets {
    pub(in crate::sim) fn alloc(&mut self, from: Endpoint, to: Endpoint, bytes: &[u8]) -> u32 {
        let at = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Packet { from, to, bytes: Vec::new() });
            self.slots.len() as u32 - 1
        });
        let packet = &mut self.slots[at as usize];
        (packet.from, packet.to) = (from, to);
        packet.bytes.clear();
        packet.bytes.extend_from_slice(bytes);
        at
    }

    pub(in crate::sim) fn get(&self, at: u32) -> &Packet {
        &self.slots[at as usize]
    }

    pub(in crate::sim) fn bytes_mut(&mut self, at: u32) -> &mut Vec<u8> {
        &mut self.slots[at as usize].bytes
    }

    /// Releases a buffer for reuse.
    pub(in crate::sim) fn free(&mut self, at: u32) {
        self.free.push(at);
    }

    /// Number of buffers, in use or not.
    #[cfg(test)]
    pub(in crate::sim) const fn len(&self) -> usize {
        self.slots.len()
    }

    pub(in crate::sim) const fn in_flight(&self) -> usize {
        self.slots.len() - self.free.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_reused() {
        let mut packets = Packets::default();
        let first = packets.alloc(Endpoint::ZERO, Endpoint::ZERO, b"one");
        let second = packets.alloc(Endpoint::ZERO, Endpoint::ZERO, b"second");
        packets.free(first);
        assert_eq!(packets.alloc(Endpoint::ZERO, Endpoint::ZERO, b"another"), first);
        assert_eq!(packets.get(first).bytes, b"another");
        assert_eq!(packets.get(second).bytes, b"second");
        assert_eq!(packets.in_flight(), 2);
    }
}
