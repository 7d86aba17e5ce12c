//! Datagrams in and out of a socket: several in one system call where the system has one for that, each with the
//! local address that it came to or leaves from.

use alloc::boxed::Box;
use alloc::vec;
use core::net::{IpAddr, SocketAddr};
use std::io::{self, IoSliceMut};
use std::net::UdpSocket;

use quinn_udp::{RecvMeta, UdpSockRef, UdpSocketState};
use socket2::SockRef;

use super::batch::{BATCH, Datagrams};
#[cfg(any(target_os = "linux", target_os = "android"))]
use super::mmsg::send_several;

/// The size of each part of the receive buffer: the largest payload of a UDP datagram, so that nothing is cut
/// short, and some more. With a power of two the beginnings of all parts would share a few cache lines.
const PART: usize = 65_536 + 5 * 64;

/// Whether fewer datagrams than there was room for mean that no more have arrived.
const SHORT_IS_EMPTY: bool = cfg!(any(target_os = "linux", target_os = "android"));

/// How one socket receives and sends.
#[derive(Debug)]
pub(crate) struct UdpIo {
    state: UdpSocketState,
    /// Whether the socket is bound to all addresses, so that a response has to name the one that was queried.
    /// A socket that is bound to one address needs no name for it, and some systems refuse one.
    is_wildcard: bool,
}

impl UdpIo {
    /// Makes the system report the local address of each datagram, if the socket is bound to all of them.
    pub(crate) fn new(socket: &UdpSocket) -> io::Result<Self> {
        let is_wildcard = socket.local_addr()?.ip().is_unspecified();
        Ok(Self { state: open(socket, is_wildcard)?, is_wildcard })
    }

    /// Sends datagrams from the front, as many as one system call takes, and returns their number.
    ///
    /// # Errors
    ///
    /// The first datagram could not be sent.
    pub(crate) fn send(&self, socket: &SockRef<'_>, datagrams: Datagrams<'_>) -> io::Result<usize> {
        let run = datagrams.run();
        if run.len() > 1 {
            match send_several(socket, run) {
                // The single call below finds out about the first one.
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => {}
                sent => return sent,
            }
        }
        let Some((transmit, datagram)) = run.first() else { return Ok(0) };
        if transmit.source.is_none() {
            return socket.send_to(datagram, &transmit.destination.into()).map(|_| 1);
        }
        let transmit = quinn_udp::Transmit {
            destination: transmit.destination,
            ecn: None,
            contents: datagram,
            segment_size: None,
            src_ip: transmit.source,
        };
        self.state.try_send(UdpSockRef::from(&**socket), &transmit).map(|()| 1)
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn open(socket: &UdpSocket, is_wildcard: bool) -> io::Result<UdpSocketState> {
    use nix::sys::socket::{setsockopt, sockopt};
    use socket2::{Domain, Socket, Type};

    let addr = socket.local_addr()?;
    if is_wildcard {
        // Where the system does not report it, it chooses the source itself, as for every program.
        let _ = match addr {
            SocketAddr::V4(_) => setsockopt(socket, sockopt::Ipv4PacketInfo, &true),
            SocketAddr::V6(_) => setsockopt(socket, sockopt::Ipv6RecvPacketInfo, &true),
        };
    }
    // QUIC requires unfragmented datagrams, time stamps and merged datagrams. Here the largest values (BEP 44)
    // pass some paths in fragments only, and the rest costs time, so a socket that is closed at once gets those
    // options.
    UdpSocketState::new((&Socket::new(Domain::for_address(addr), Type::DGRAM, None)?).into())
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn open(socket: &UdpSocket, _: bool) -> io::Result<UdpSocketState> {
    UdpSocketState::new(socket.into())
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn send_several(_: &SockRef<'_>, _: Datagrams<'_>) -> io::Result<usize> {
    Err(io::ErrorKind::Unsupported.into())
}

/// A buffer for the datagrams that one system call receives.
///
/// It takes 64 KiB for each of them, of which the system provides only the pages that have been written to.
pub(crate) struct ReceiveBatch {
    buffer: Box<[u8]>,
    metas: [RecvMeta; BATCH],
    /// How many parts of the buffer are filled.
    count: usize,
    /// The next datagram: its part, and its offset there.
    next: (usize, usize),
}

/// A datagram in a [`ReceiveBatch`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Arrived {
    pub(crate) from: SocketAddr,
    /// The local address that it came to, if the system reports it.
    pub(crate) local: Option<IpAddr>,
    start: usize,
    len: usize,
}

impl ReceiveBatch {
    pub(crate) fn new() -> Self {
        let buffer = vec![0; BATCH * PART].into_boxed_slice();
        Self { buffer, metas: [RecvMeta::default(); BATCH], count: 0, next: (0, 0) }
    }

    /// Receives what has arrived, as far as there is room.
    ///
    /// # Errors
    ///
    /// The system's; `WouldBlock` also with datagrams, where it is known that no more have arrived: a runtime
    /// then waits for the next one without trying again.
    pub(crate) fn receive(&mut self, io: &UdpIo, socket: &SockRef<'_>) -> io::Result<()> {
        (self.count, self.next) = (0, (0, 0));
        let mut parts = self.buffer.chunks_exact_mut(PART);
        let mut parts: [IoSliceMut<'_>; BATCH] =
            core::array::from_fn(|_| IoSliceMut::new(parts.next().unwrap_or_default()));
        self.count = io.state.recv(UdpSockRef::from(&**socket), &mut parts, &mut self.metas)?;
        for meta in &mut self.metas[..self.count] {
            // Nothing can be sent from a group.
            meta.dst_ip = meta.dst_ip.filter(|local| io.is_wildcard && !local.is_multicast());
        }
        if SHORT_IS_EMPTY && self.count < BATCH { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
    }

    /// Takes the next datagram.
    pub(crate) fn next(&mut self) -> Option<Arrived> {
        let (part, offset) = self.next;
        let meta = self.metas[..self.count].get(part)?;
        // Some systems merge datagrams of one sender, each of them `stride` long but the last.
        let len = meta.stride.max(1).min(meta.len - offset);
        self.next = if offset + len < meta.len { (part, offset + len) } else { (part + 1, 0) };
        Some(Arrived { from: meta.addr, local: meta.dst_ip, start: part * PART + offset, len })
    }

    pub(crate) fn bytes(&self, arrived: Arrived) -> &[u8] {
        &self.buffer[arrived.start..][..arrived.len]
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;
    use crate::{MAX_DATAGRAM, Transmit};

    #[test]
    fn merged_datagrams_are_taken_apart_and_empty_ones_count() {
        let mut batch = ReceiveBatch::new();
        batch.buffer[..7].copy_from_slice(b"aaabbbc");
        batch.buffer[PART * 2..][..2].copy_from_slice(b"dd");
        for (at, (len, stride)) in [(7, 3), (0, 0), (2, 2)].into_iter().enumerate() {
            (batch.metas[at].len, batch.metas[at].stride) = (len, stride);
        }
        batch.count = 3;
        assert_eq!(taken(&mut batch), [&b"aaa"[..], b"bbb", b"c", b"", b"dd"]);
    }

    #[test]
    fn e_29_one_call_takes_several_datagrams_and_the_largest_whole() {
        let (receiver, sender) = (socket("127.0.0.1:0"), socket("127.0.0.1:0"));
        let (io, to) = (UdpIo::new(&receiver).unwrap(), receiver.local_addr().unwrap());
        let lens = [1, 65_507, 0, 1472];
        for len in lens {
            sender.send_to(&vec![7; len], to).unwrap();
        }
        let mut batch = ReceiveBatch::new();
        let mut got = Vec::new();
        while got.len() < lens.len() {
            receive(&mut batch, &io, &receiver);
            while let Some(arrived) = batch.next() {
                assert_eq!((arrived.from, arrived.local), (sender.local_addr().unwrap(), None));
                assert!(batch.bytes(arrived).iter().all(|byte| *byte == 7));
                got.push(arrived.len);
            }
        }
        assert_eq!(got, lens);
    }

    #[test]
    fn q_27_a_batch_leaves_in_runs_of_one_family_and_one_source() {
        let (v4, v6) = (SocketAddr::from(([192, 0, 2, 1], 1)), "[2001:db8::1]:1".parse().unwrap());
        let [a, b] = [1, 2].map(|last| Some(IpAddr::from([127, 0, 0, last])));
        let transmits = [(v4, a), (v4, a), (v4, b), (v4, None), (v6, None), (v6, None)]
            .map(|(destination, source)| Transmit { destination, source, size: 1 });
        let buffer = vec![0; transmits.len() * MAX_DATAGRAM];
        let (mut runs, mut at) = (Vec::new(), 0);
        while at < transmits.len() {
            let run = Datagrams::new(&transmits[at..], &buffer[at * MAX_DATAGRAM..]).run().len();
            runs.push(run);
            at += run;
        }
        assert_eq!(runs, [2, 1, 1, 2]);
    }

    /// On loopback all of 127/8 is local.
    #[cfg(target_os = "linux")]
    #[test]
    fn q_27_one_call_sends_several_datagrams_each_to_its_destination_from_the_source_that_was_asked() {
        let wildcard = socket("0.0.0.0:0");
        let io = UdpIo::new(&wildcard).unwrap();
        let receivers = ["127.0.0.1:0", "127.0.0.2:0", "127.0.0.3:0"].map(socket);
        for source in [None, Some(IpAddr::from([127, 0, 0, 9]))] {
            let transmits = [0, 1, 2].map(|at: usize| {
                let destination = receivers[at].local_addr().unwrap();
                Transmit { destination, source, size: at + 1 }
            });
            let buffer: Vec<u8> = (1..=3).flat_map(|byte| [byte; MAX_DATAGRAM]).collect();
            assert_eq!(send(&io, &wildcard, &transmits, &buffer).unwrap(), 3);
            for (at, receiver) in receivers.iter().enumerate() {
                let mut bytes = [0; 9];
                let (len, from) = receiver.recv_from(&mut bytes).unwrap();
                assert_eq!(&bytes[..len], vec![at as u8 + 1; at + 1]);
                assert_eq!(from.port(), wildcard.local_addr().unwrap().port());
                assert!(source.is_none_or(|source| from.ip() == source));
            }
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_datagram_that_cannot_be_sent_ends_the_call_before_it_and_is_reported_by_the_next() {
        let wildcard = socket("0.0.0.0:0");
        let io = UdpIo::new(&wildcard).unwrap();
        let receiver = socket("127.0.0.1:0");
        let (good, bad) = (receiver.local_addr().unwrap(), SocketAddr::from(([127, 0, 0, 1], 0)));
        let transmits =
            [good, good, bad, good].map(|destination| Transmit { destination, source: None, size: 1 });
        let buffer = vec![7; transmits.len() * MAX_DATAGRAM];
        assert_eq!(send(&io, &wildcard, &transmits, &buffer).unwrap(), 2);
        assert!(send(&io, &wildcard, &transmits[2..], &buffer).is_err());
        assert_eq!(send(&io, &wildcard, &transmits[3..], &buffer).unwrap(), 1);
        let mut byte = [0];
        assert_eq!([(); 3].map(|()| receiver.recv(&mut byte).unwrap()), [1; 3]);
    }

    #[cfg(target_os = "linux")]
    fn send(io: &UdpIo, socket: &UdpSocket, transmits: &[Transmit], buffer: &[u8]) -> io::Result<usize> {
        io.send(&SockRef::from(socket), Datagrams::new(transmits, buffer))
    }

    fn receive(batch: &mut ReceiveBatch, io: &UdpIo, socket: &UdpSocket) {
        if let Err(error) = batch.receive(io, &SockRef::from(socket)) {
            assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        }
    }

    fn taken(batch: &mut ReceiveBatch) -> Vec<Vec<u8>> {
        core::iter::from_fn(|| batch.next().map(|arrived| batch.bytes(arrived).to_vec())).collect()
    }

    fn socket(addr: &str) -> UdpSocket {
        let socket = UdpSocket::bind(addr).unwrap();
        socket.set_nonblocking(true).unwrap();
        socket
    }
}
