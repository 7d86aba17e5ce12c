//! Datagrams in and out of a socket: several in one call, each with the address of ours that it came to,
//! so that an answer leaves from there.

use alloc::boxed::Box;
use alloc::vec;
use core::net::{IpAddr, SocketAddr};
use std::io::{self, IoSliceMut};
use std::net::UdpSocket;

use quinn_udp::{RecvMeta, UdpSockRef, UdpSocketState};

use crate::Transmit;

/// Datagrams that one call takes from the system at most.
pub(crate) const BATCH: usize = 8;

/// The largest payload of a UDP datagram, and then some: nothing is cut short.
const LARGEST: usize = 65_535;

/// How datagrams pass one socket.
#[derive(Debug)]
pub(crate) struct Passage(UdpSocketState);

impl Passage {
    /// Has the system report which of our addresses a datagram came to, where the socket is bound to all
    /// of them.
    pub(crate) fn new(socket: &UdpSocket) -> io::Result<Self> {
        open(socket).map(Self)
    }

    /// Sends one datagram.
    pub(crate) fn send(&self, socket: UdpSockRef<'_>, datagram: &[u8], transmit: Transmit) -> io::Result<()> {
        let transmit = quinn_udp::Transmit {
            destination: transmit.destination,
            ecn: None,
            contents: datagram,
            segment_size: None,
            src_ip: transmit.source,
        };
        self.0.try_send(socket, &transmit)
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn open(socket: &UdpSocket) -> io::Result<UdpSocketState> {
    use nix::sys::socket::{setsockopt, sockopt};
    use socket2::{Domain, Socket, Type};

    let addr = socket.local_addr()?;
    if addr.ip().is_unspecified() {
        // Where the system does not report it, it chooses the source itself, as for every program.
        let _ = match addr {
            SocketAddr::V4(_) => setsockopt(socket, sockopt::Ipv4PacketInfo, &true),
            SocketAddr::V6(_) => setsockopt(socket, sockopt::Ipv6RecvPacketInfo, &true),
        };
    }
    // QUIC wants no fragments, time stamps, and datagrams that are merged. Here the largest values
    // (BEP 44) pass some paths in fragments only, and the rest costs time: a socket of its own gets those
    // options.
    UdpSocketState::new((&Socket::new(Domain::for_address(addr), Type::DGRAM, None)?).into())
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn open(socket: &UdpSocket) -> io::Result<UdpSocketState> {
    UdpSocketState::new(socket.into())
}

/// Room for what one call takes from the system.
pub(crate) struct Batch {
    buffer: Box<[u8]>,
    metas: [RecvMeta; BATCH],
    /// How many parts of the buffer are filled.
    count: usize,
    /// The next datagram: the part that it is in, and where it begins there.
    next: (usize, usize),
}

/// A datagram in a [`Batch`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Arrived {
    pub(crate) from: SocketAddr,
    /// Our address that it came to, if the system reports it.
    pub(crate) local: Option<IpAddr>,
    start: usize,
    len: usize,
}

impl Batch {
    pub(crate) fn new() -> Self {
        // The system gives memory for what is written to only.
        let buffer = vec![0; BATCH * LARGEST].into_boxed_slice();
        Self { buffer, metas: [RecvMeta::default(); BATCH], count: 0, next: (0, 0) }
    }

    /// Receives what has arrived, as much as there is room for.
    pub(crate) fn receive(&mut self, passage: &Passage, socket: UdpSockRef<'_>) -> io::Result<()> {
        (self.count, self.next) = (0, (0, 0));
        let mut parts = self.buffer.chunks_exact_mut(LARGEST);
        let mut parts: [IoSliceMut<'_>; BATCH] =
            core::array::from_fn(|_| IoSliceMut::new(parts.next().unwrap_or_default()));
        self.count = passage.0.recv(socket, &mut parts, &mut self.metas)?;
        Ok(())
    }

    /// Takes the next datagram.
    pub(crate) fn next(&mut self) -> Option<Arrived> {
        let (part, offset) = self.next;
        let meta = self.metas[..self.count].get(part)?;
        // Some systems merge datagrams of one sender, each of them `stride` long but the last.
        let len = meta.stride.max(1).min(meta.len - offset);
        self.next = if offset + len < meta.len { (part, offset + len) } else { (part + 1, 0) };
        Some(Arrived { from: meta.addr, local: meta.dst_ip, start: part * LARGEST + offset, len })
    }

    pub(crate) fn bytes(&self, arrived: Arrived) -> &[u8] {
        &self.buffer[arrived.start..][..arrived.len]
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    #[test]
    fn merged_datagrams_are_taken_apart_and_empty_ones_count() {
        let mut batch = Batch::new();
        batch.buffer[..7].copy_from_slice(b"aaabbbc");
        batch.buffer[LARGEST * 2..][..2].copy_from_slice(b"dd");
        for (at, (len, stride)) in [(7, 3), (0, 0), (2, 2)].into_iter().enumerate() {
            (batch.metas[at].len, batch.metas[at].stride) = (len, stride);
        }
        batch.count = 3;
        let mut taken = Vec::new();
        while let Some(arrived) = batch.next() {
            taken.push(batch.bytes(arrived).to_vec());
        }
        assert_eq!(taken, [&b"aaa"[..], b"bbb", b"c", b"", b"dd"]);
    }

    #[test]
    fn one_call_takes_several_datagrams_and_the_largest_whole() {
        let (receiver, sender) = (socket(), socket());
        let (passage, to) = (Passage::new(&receiver).unwrap(), receiver.local_addr().unwrap());
        let lens = [1, 65_507, 0, 1472];
        for len in lens {
            sender.send_to(&vec![7; len], to).unwrap();
        }
        let (mut batch, mut taken) = (Batch::new(), Vec::new());
        while taken.len() < lens.len() {
            match batch.receive(&passage, (&receiver).into()) {
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
                Ok(()) => {
                    while let Some(arrived) = batch.next() {
                        assert_eq!(arrived.from, sender.local_addr().unwrap());
                        assert!(batch.bytes(arrived).iter().all(|byte| *byte == 7));
                        taken.push(arrived.len);
                    }
                }
            }
        }
        assert_eq!(taken, lens);
    }

    fn socket() -> UdpSocket {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        socket
    }
}
