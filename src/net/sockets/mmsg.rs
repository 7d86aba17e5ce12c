//! Several datagrams sent by one system call, on Linux and Android.

use alloc::vec;
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};
use std::io::{self, IoSlice};
use std::os::fd::AsRawFd as _;

use nix::cmsg_space;
use nix::sys::socket::{
    ControlMessage, MsgFlags, MultiHeaders, SockaddrIn, SockaddrIn6, SockaddrLike, sendmmsg,
};
use socket2::SockRef;

use super::batch::{BATCH, Datagrams};

/// Sends datagrams of one family and one source, and returns how many have left.
///
/// # Errors
///
/// None has left. The error may be that of the call as a whole.
pub(crate) fn send_several(socket: &SockRef<'_>, run: Datagrams<'_>) -> io::Result<usize> {
    let Some((first, _)) = run.first() else { return Ok(0) };
    if first.destination.is_ipv4() {
        let to = |addr| match addr {
            SocketAddr::V4(addr) => Some(SockaddrIn::from(addr)),
            SocketAddr::V6(_) => None,
        };
        let Some(IpAddr::V4(source)) = first.source else { return send(socket, run, to, None, &[]) };
        let info = libc::in_pktinfo {
            ipi_ifindex: 0,
            ipi_spec_dst: libc::in_addr { s_addr: u32::from_ne_bytes(source.octets()) },
            ipi_addr: libc::in_addr { s_addr: 0 },
        };
        let space = cmsg_space!(libc::in_pktinfo);
        send(socket, run, to, Some(space), &[ControlMessage::Ipv4PacketInfo(&info)])
    } else {
        let to = |addr| match addr {
            SocketAddr::V4(_) => None,
            SocketAddr::V6(addr) => Some(SockaddrIn6::from(addr)),
        };
        let Some(IpAddr::V6(source)) = first.source else { return send(socket, run, to, None, &[]) };
        let addr = libc::in6_addr { s6_addr: source.octets() };
        let info = libc::in6_pktinfo { ipi6_addr: addr, ipi6_ifindex: 0 };
        let space = cmsg_space!(libc::in6_pktinfo);
        send(socket, run, to, Some(space), &[ControlMessage::Ipv6PacketInfo(&info)])
    }
}

/// Sends with the same control messages for all datagrams, which take up `space`.
fn send<A: SockaddrLike + Copy>(
    socket: &SockRef<'_>,
    run: Datagrams<'_>,
    to: impl Fn(SocketAddr) -> Option<A>,
    space: Option<Vec<u8>>,
    control: &[ControlMessage<'_>],
) -> io::Result<usize> {
    let count = run.len().min(BATCH);
    let slices: [_; BATCH] = core::array::from_fn(|at| [IoSlice::new(run.bytes(at))]);
    let addrs: [_; BATCH] = core::array::from_fn(|at| to(run.transmits().get(at)?.destination));
    // It holds pointers, so that it cannot be kept where a task may move to another thread.
    let mut headers = MultiHeaders::preallocate(count, space);
    let (fd, flags) = (socket.as_raw_fd(), MsgFlags::empty());
    let sent = sendmmsg(fd, &mut headers, &slices[..count], &addrs[..count], control, flags)?;
    Ok(sent.count())
}
