//! Datagrams that wait to be sent, and how many one system call takes.

use quinn_udp::BATCH_SIZE;

use crate::{Family, MAX_DATAGRAM, Transmit};

/// The most datagrams that one system call receives or sends.
pub(crate) const BATCH: usize = if BATCH_SIZE < 32 { BATCH_SIZE } else { 32 };

/// Datagrams to send, in this order.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Datagrams<'a> {
    transmits: &'a [Transmit],
    /// [`MAX_DATAGRAM`] bytes for each.
    buffer: &'a [u8],
}

impl<'a> Datagrams<'a> {
    pub(crate) const fn new(transmits: &'a [Transmit], buffer: &'a [u8]) -> Self {
        Self { transmits, buffer }
    }

    pub(crate) const fn len(&self) -> usize {
        self.transmits.len()
    }

    pub(crate) fn first(&self) -> Option<(Transmit, &'a [u8])> {
        self.transmits.first().map(|transmit| (*transmit, self.bytes(0)))
    }

    pub(crate) const fn transmits(&self) -> &'a [Transmit] {
        self.transmits
    }

    /// The longest run at the front of one family and one source.
    pub(crate) fn run(&self) -> Self {
        let key = |transmit: &Transmit| (Family::of(&transmit.destination), transmit.source);
        let mut same = self.transmits.chunk_by(|a, b| key(a) == key(b));
        Self { transmits: same.next().unwrap_or_default(), ..*self }
    }

    /// The bytes of one datagram; none behind the last.
    pub(crate) fn bytes(&self, at: usize) -> &'a [u8] {
        let size = self.transmits.get(at).map_or(0, |transmit| transmit.size);
        self.buffer.get(at * MAX_DATAGRAM..).and_then(|rest| rest.get(..size)).unwrap_or_default()
    }
}
