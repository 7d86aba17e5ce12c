//! The sending side of all sockets: a batch of datagrams that leaves by as few system calls as possible.

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;
use core::net::SocketAddr;
use std::io::{self, ErrorKind};

use super::batch::Datagrams;
use super::socket::{is_about_source, is_local};
use crate::{Family, MAX_DATAGRAM, Transmit};

/// ICMP errors about earlier datagrams after which a datagram counts as unsent.
const MAX_EARLIER_ERRORS: u32 = 4;

/// Datagrams that the node has written and no socket has taken yet.
///
/// There is room for a few only, because the node keeps the rest as state: what is written late is up to date.
pub(crate) struct SendBatch {
    /// [`MAX_DATAGRAM`] bytes for each.
    buffer: Box<[u8]>,
    transmits: Vec<Transmit>,
    /// How many at the front have left.
    gone: usize,
    blocked: bool,
}

/// The result of one attempt to send.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    /// There was nothing to send.
    Idle,
    /// Some datagrams have left.
    Gone,
    /// The system has not sent a datagram to this destination, for a reason of its own.
    Unsent(SocketAddr),
    /// The system cannot send to this destination.
    Unreachable(SocketAddr),
    /// The socket to this destination is full. The datagrams are kept until
    /// [`unblock`](SendBatch::unblock).
    Blocked(SocketAddr),
}

impl SendBatch {
    /// Has room for `most` datagrams.
    pub(crate) fn new(most: usize) -> Self {
        let buffer = vec![0; most * MAX_DATAGRAM].into_boxed_slice();
        Self { buffer, transmits: Vec::with_capacity(most), gone: 0, blocked: false }
    }

    /// Whether a socket was full.
    pub(crate) const fn is_blocked(&self) -> bool {
        self.blocked
    }

    pub(crate) const fn unblock(&mut self) {
        self.blocked = false;
    }

    /// Takes datagrams that `next` writes, until it has no more. Returns whether the batch is full before that, and
    /// has to be sent first. While a socket is full nothing is taken.
    pub(crate) fn fill(&mut self, mut next: impl FnMut(&mut [u8]) -> Option<Transmit>) -> bool {
        if self.blocked {
            return false;
        }
        if self.gone == self.transmits.len() {
            self.transmits.clear();
            self.gone = 0;
        }
        let unused = self.buffer.chunks_exact_mut(MAX_DATAGRAM).skip(self.transmits.len());
        for part in unused {
            let Some(transmit) = next(part) else { return false };
            self.transmits.push(transmit);
        }
        true
    }

    /// Drops the datagrams for this family.
    pub(crate) fn drop_for(&mut self, family: Family) {
        let mut kept = 0;
        for at in self.gone..self.transmits.len() {
            if Family::of(&self.transmits[at].destination) == family {
                self.blocked = false;
                continue;
            }
            self.transmits.swap(kept, at);
            self.buffer.copy_within(at * MAX_DATAGRAM..(at + 1) * MAX_DATAGRAM, kept * MAX_DATAGRAM);
            kept += 1;
        }
        self.transmits.truncate(kept);
        self.gone = 0;
    }

    /// Sends datagrams from the front by `send`, which returns how many have left, or why the first has not.
    pub(crate) fn send(&mut self, mut send: impl FnMut(Datagrams<'_>) -> io::Result<usize>) -> Sent {
        if self.blocked {
            return Sent::Idle;
        }
        let mut earlier_errors = 0;
        while let Some(&Transmit { destination, source, .. }) = self.transmits.get(self.gone) {
            let buffer = &self.buffer[self.gone * MAX_DATAGRAM..];
            let error = match send(Datagrams::new(&self.transmits[self.gone..], buffer)) {
                Ok(count) => {
                    self.gone += count;
                    return Sent::Gone;
                }
                Err(error) => error,
            };
            match error.kind() {
                // The source has been removed from this host, or nothing can be sent from it: a broadcast address.
                _ if source.is_some() && is_about_source(&error) => self.transmits[self.gone].source = None,
                ErrorKind::Interrupted => {}
                ErrorKind::WouldBlock => {
                    self.blocked = true;
                    return Sent::Blocked(destination);
                }
                // It was about an earlier datagram, and is not returned again.
                ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset
                    if earlier_errors < MAX_EARLIER_ERRORS =>
                {
                    earlier_errors += 1;
                }
                _ => {
                    self.gone += 1;
                    let is_local = is_local(&error);
                    return if is_local { Sent::Unsent(destination) } else { Sent::Unreachable(destination) };
                }
            }
        }
        Sent::Idle
    }
}

#[cfg(test)]
mod tests {
    use core::net::IpAddr;

    use super::super::socket::{MESSAGE_TOO_LONG, NO_BUFFERS, NOT_PERMITTED};
    use super::*;

    const TO: ([u8; 4], u16) = ([127, 0, 0, 1], 9);
    const TO_V6: ([u16; 8], u16) = ([0, 0, 0, 0, 0, 0, 0, 1], 9);

    fn fail<T>(kind: ErrorKind) -> io::Result<T> {
        Err(kind.into())
    }

    /// A batch of datagrams of one byte each, for these destinations.
    fn batch(datagrams: &[(u8, SocketAddr)]) -> SendBatch {
        let mut batch = SendBatch::new(datagrams.len() + 1);
        let mut datagrams = datagrams.iter();
        let is_full = batch.fill(|buffer| {
            let &(byte, destination) = datagrams.next()?;
            buffer[0] = byte;
            Some(Transmit { destination, source: None, size: 1 })
        });
        assert!(!is_full);
        batch
    }

    fn one() -> SendBatch {
        batch(&[(7, TO.into())])
    }

    /// Sends all that is left, and returns the bytes.
    fn rest(batch: &mut SendBatch) -> Vec<u8> {
        let mut bytes = Vec::new();
        while batch.send(|datagrams| {
            bytes.push(datagrams.first().unwrap().1[0]);
            Ok(1)
        }) == Sent::Gone
        {}
        bytes
    }

    #[test]
    fn a_full_socket_keeps_what_it_has_not_taken_in_order() {
        let mut batch = batch(&[1, 2, 3, 4].map(|byte| (byte, TO.into())));
        assert_eq!(batch.send(|datagrams| Ok(datagrams.len() - 2)), Sent::Gone);
        assert_eq!(batch.send(|_| fail(ErrorKind::WouldBlock)), Sent::Blocked(TO.into()));
        assert!(batch.is_blocked());
        assert!(!batch.fill(|_| panic!("full")));
        assert_eq!(batch.send(|_| panic!("full")), Sent::Idle);
        batch.unblock();
        assert_eq!(rest(&mut batch), [3, 4]);
        assert_eq!(batch.send(|_| panic!("nothing to send")), Sent::Idle);
    }

    #[test]
    fn a_batch_takes_no_more_than_it_has_room_for_until_it_is_sent() {
        let mut batch = SendBatch::new(2);
        let mut left = 3;
        let mut next = |_: &mut [u8]| {
            left -= 1;
            (left >= 0).then_some(Transmit { destination: TO.into(), source: None, size: 1 })
        };
        assert!(batch.fill(&mut next));
        assert!(batch.fill(&mut next));
        assert_eq!(rest(&mut batch).len(), 2);
        assert!(!batch.fill(&mut next));
        assert_eq!(rest(&mut batch).len(), 1);
    }

    #[test]
    fn a_socket_that_is_closed_takes_its_datagrams_along_and_no_others() {
        let mut batch =
            batch(&[(1, TO.into()), (2, TO.into()), (3, TO_V6.into()), (4, TO.into()), (5, TO_V6.into())]);
        assert_eq!(batch.send(|_| Ok(1)), Sent::Gone);
        assert_eq!(batch.send(|_| fail(ErrorKind::WouldBlock)), Sent::Blocked(TO.into()));
        batch.drop_for(Family::V4);
        assert!(!batch.is_blocked());
        assert_eq!(rest(&mut batch), [3, 5]);
    }

    #[test]
    fn interrupted_sends_are_repeated() {
        let mut tries = 0;
        let sent = one().send(|_| {
            tries += 1;
            if tries < 3 { fail(ErrorKind::Interrupted) } else { Ok(1) }
        });
        assert_eq!((sent, tries), (Sent::Gone, 3));
    }

    #[test]
    fn failed_sends_blame_the_destination_only_where_it_is_to_blame_and_hold_up_none() {
        let send = |error: io::Error| {
            let mut batch = batch(&[(1, TO.into()), (2, TO.into())]);
            let mut error = Some(error);
            let sent = batch.send(|_| Err(error.take().unwrap()));
            assert_eq!(rest(&mut batch), [2]);
            sent
        };
        // Refused by a route; the number is 13 wherever there is one.
        let forbidden = io::Error::from_raw_os_error(13);
        for error in [forbidden, ErrorKind::HostUnreachable.into(), ErrorKind::InvalidInput.into()] {
            assert_eq!(send(error), Sent::Unreachable(TO.into()));
        }
        for kind in [
            ErrorKind::NetworkUnreachable,
            ErrorKind::NetworkDown,
            ErrorKind::AddrNotAvailable,
            ErrorKind::OutOfMemory,
        ] {
            assert_eq!(send(kind.into()), Sent::Unsent(TO.into()), "{kind}");
        }
        for number in [MESSAGE_TOO_LONG, NO_BUFFERS, NOT_PERMITTED] {
            assert_eq!(send(io::Error::from_raw_os_error(number)), Sent::Unsent(TO.into()), "{number}");
        }
    }

    #[test]
    fn an_error_about_an_earlier_datagram_holds_up_none() {
        for (errors, expected) in [(1, Sent::Gone), (4, Sent::Gone), (5, Sent::Unsent(TO.into()))] {
            let mut left = errors;
            let sent = one().send(|_| {
                left -= 1;
                if left >= 0 { fail(ErrorKind::ConnectionRefused) } else { Ok(1) }
            });
            assert_eq!(sent, expected, "{errors}");
        }
    }

    #[test]
    fn an_answer_whose_source_is_gone_leaves_from_another() {
        let mut batch = SendBatch::new(1);
        let source = Some(IpAddr::from([192, 0, 2, 1]));
        batch.fill(|_| Some(Transmit { destination: TO.into(), source, size: 1 }));
        let mut sources = Vec::new();
        let sent = batch.send(|datagrams| {
            let (transmit, _) = datagrams.first().unwrap();
            sources.push(transmit.source);
            if transmit.source.is_some() { fail(ErrorKind::InvalidInput) } else { Ok(1) }
        });
        assert_eq!((sent, sources), (Sent::Gone, vec![source, None]));
    }
}
