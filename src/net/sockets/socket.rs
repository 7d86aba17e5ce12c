//! How a UDP socket is set up, how it receives, and what its errors mean.

use core::net::SocketAddr;
use core::time::Duration;
use std::io::{self, ErrorKind};
use std::net::UdpSocket;

use socket2::{Domain, Protocol, Socket as RawSocket, Type};

use crate::Instant;
use crate::net::resolve::Backoff;
use crate::net::trace::event;

/// The size of the receive buffer to ask the system for, which may grant less.
const RECEIVE_BUFFER: usize = 512 * 1024;

/// The first and the longest pause of a socket that fails for no known reason.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LAST_PAUSE: Duration = Duration::from_secs(5);

/// Failures in a row after which a socket is opened again.
const MAX_FAILURES: u32 = 4;

/// ICMP errors about earlier datagrams in a row after which the socket counts as failing.
const MAX_ICMP_ERRORS: u32 = 64;

/// A bound socket that never blocks. The IPv6 one takes no IPv4 (BEP 32 keeps them apart).
pub(crate) fn bind(addr: SocketAddr) -> io::Result<UdpSocket> {
    let socket = RawSocket::new(Domain::for_address(addr), Type::DGRAM, Some(Protocol::UDP))?;
    if addr.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // The default works as well, with more losses in a burst.
    let _ = socket.set_recv_buffer_size(RECEIVE_BUFFER);
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    Ok(socket.into())
}

/// The receiving side of one socket.
pub(crate) struct Receiver {
    /// Whether there may be something to read. The system reports that once, until reading finds nothing.
    readable: bool,
    /// Whether to read although the system has reported nothing.
    is_forced: bool,
    /// ICMP errors in a row.
    icmp_errors: u32,
    /// Failures in a row.
    failures: u32,
    pause: Backoff,
    paused_until: Option<Instant>,
}

/// The result of one attempt to receive.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Received {
    /// There may be more.
    Datagrams,
    /// An error in the place of a datagram; there may be more.
    Nothing,
    /// No more for now than what has been received.
    Empty,
    /// No more for now, because of an error.
    Failed,
}

impl Receiver {
    pub(crate) const fn new() -> Self {
        let pause = Backoff::new(FIRST_PAUSE, LAST_PAUSE);
        Self { readable: true, is_forced: false, icmp_errors: 0, failures: 0, pause, paused_until: None }
    }

    /// Whether it has failed too often in a row.
    pub(crate) const fn is_beyond_repair(&self) -> bool {
        self.failures >= MAX_FAILURES
    }

    pub(crate) fn set_readable(&mut self) {
        self.readable = true;
    }

    /// Makes the next attempt read whatever the system has reported: an interrupted wait reports nothing.
    pub(crate) fn force(&mut self) {
        (self.readable, self.is_forced) = (true, true);
    }

    /// Whether there may be something to read.
    #[cfg(any(feature = "smol", feature = "tokio"))]
    pub(crate) const fn is_readable(&self) -> bool {
        self.readable
    }

    /// Returns when to read next without being woken by the socket: now if there may be more.
    pub(crate) fn deadline(&self, now: Instant) -> Option<Instant> {
        self.readable.then(|| self.paused_until.unwrap_or(now))
    }

    /// Receives by `recv`, whose argument is whether to read although the system has reported nothing.
    pub(crate) fn receive(&mut self, now: Instant, recv: impl FnOnce(bool) -> io::Result<()>) -> Received {
        if !self.readable || self.paused_until.is_some_and(|until| until > now) {
            return Received::Empty;
        }
        self.paused_until = None;
        match recv(self.is_forced) {
            Ok(()) => {
                self.succeed();
                Received::Datagrams
            }
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock => {
                    (self.readable, self.is_forced) = (false, false);
                    self.succeed();
                    Received::Empty
                }
                ErrorKind::Interrupted => Received::Nothing,
                _ if is_icmp_error(&error) && self.icmp_errors < MAX_ICMP_ERRORS => {
                    event!(DEBUG, "an earlier datagram did not arrive", error = error);
                    self.icmp_errors += 1;
                    Received::Nothing
                }
                _ => {
                    let pause = self.pause.next();
                    event!(WARN, "cannot receive", error = error, again_in = format_args!("{pause:?}"));
                    self.paused_until = Some(now + pause);
                    self.failures = self.failures.saturating_add(1);
                    Received::Failed
                }
            },
        }
    }

    const fn succeed(&mut self) {
        (self.icmp_errors, self.failures) = (0, 0);
        self.pause.reset();
    }
}

/// Whether an error means that the socket itself is lost: some systems close those of suspended programs.
pub(crate) fn is_broken(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::NotConnected)
        || matches!(error.raw_os_error(), Some(BAD_DESCRIPTOR | NO_SOCKET))
}

/// Whether sending failed because the host has lost the address that the socket is bound to. The error alone
/// does not prove that: Linux returns the same for a destination that this address cannot reach.
pub(crate) fn is_addr_lost(addr: SocketAddr, error: &io::Error) -> bool {
    is_about_source(error)
        && !addr.ip().is_unspecified()
        && bind(SocketAddr::new(addr.ip(), 0)).is_err_and(|error| error.kind() == ErrorKind::AddrNotAvailable)
}

/// Whether an error may be due to the address that a datagram was to be sent from.
pub(crate) fn is_about_source(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::AddrNotAvailable | ErrorKind::InvalidInput | ErrorKind::NetworkUnreachable
    )
}

/// Whether receiving failed only because of an ICMP error about some datagram sent earlier, or of a received
/// one that was too long. Linux does not report these on an unconnected socket. Other systems do, Windows as a
/// reset of a connection that there is not, but without the destination.
fn is_icmp_error(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionRefused
            | ErrorKind::ConnectionReset
            | ErrorKind::HostUnreachable
            | ErrorKind::NetworkUnreachable
    ) || matches!(error.raw_os_error(), Some(MESSAGE_TOO_LONG | NET_RESET))
}

/// Whether sending failed for a passing reason of this host that says nothing about the destination: no network
/// or route, a full queue of the network card, no memory, a firewall, a datagram too long for the interface.
///
/// All other errors are about the destination: no host there (`EHOSTUNREACH`), a route that forbids it
/// (`EACCES`), an address that this socket cannot send to (`EINVAL`).
pub(crate) fn is_local(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::OutOfMemory
            | ErrorKind::ConnectionRefused
            | ErrorKind::ConnectionReset
            | ErrorKind::NetworkUnreachable
            | ErrorKind::NetworkDown
            | ErrorKind::AddrNotAvailable
    ) || matches!(error.raw_os_error(), Some(MESSAGE_TOO_LONG | NO_BUFFERS | NOT_PERMITTED))
}

// Errors that `ErrorKind` has no name for, by their numbers.

/// The datagram does not fit the path or the buffer.
pub(crate) const MESSAGE_TOO_LONG: i32 = if cfg!(windows) {
    10040 // WSAEMSGSIZE
} else if cfg!(any(target_os = "linux", target_os = "android")) {
    90 // EMSGSIZE
} else {
    40
};

/// The queue of the network card is full. macOS returns it for any full queue.
pub(crate) const NO_BUFFERS: i32 = if cfg!(windows) {
    10055 // WSAENOBUFS
} else if cfg!(any(target_os = "linux", target_os = "android")) {
    105 // ENOBUFS
} else {
    55
};

/// A firewall refuses, or its table of connections is full.
pub(crate) const NOT_PERMITTED: i32 = if cfg!(windows) {
    10013 // WSAEACCES
} else {
    1 // EPERM
};

/// The descriptor has been closed.
const BAD_DESCRIPTOR: i32 = if cfg!(windows) { 10009 } else { 9 };

/// The descriptor belongs to something else.
const NO_SOCKET: i32 = if cfg!(windows) {
    10038 // WSAENOTSOCK
} else if cfg!(any(target_os = "linux", target_os = "android")) {
    88 // ENOTSOCK
} else {
    38
};

/// An expired time to live on Windows (WSAENETRESET). 0 is no error.
const NET_RESET: i32 = if cfg!(windows) { 10052 } else { 0 };

#[cfg(test)]
mod tests {
    use super::*;

    const FROM: ([u8; 4], u16) = ([127, 0, 0, 1], 9);

    fn fail<T>(kind: ErrorKind) -> io::Result<T> {
        Err(kind.into())
    }

    #[test]
    fn reading_goes_on_until_there_is_nothing() {
        let mut receiver = Receiver::new();
        let now = Instant::from_micros(5);
        assert_eq!(receiver.receive(now, |_| Ok(())), Received::Datagrams);
        assert_eq!(receiver.receive(now, |_| fail(ErrorKind::ConnectionRefused)), Received::Nothing);
        assert_eq!(receiver.deadline(now), Some(now));
        assert_eq!(receiver.receive(now, |_| fail(ErrorKind::WouldBlock)), Received::Empty);
        assert_eq!(receiver.deadline(now), None);
        assert_eq!(receiver.receive(now, |_| panic!("nothing to read")), Received::Empty);
        receiver.set_readable();
        assert_eq!(receiver.receive(now, |_| Ok(())), Received::Datagrams);
    }

    #[test]
    fn a_failing_socket_is_left_alone_ever_longer_and_never_given_up() {
        let mut receiver = Receiver::new();
        let mut now = Instant::ZERO;
        let mut pauses = [0; 8];
        for pause in &mut pauses {
            assert_eq!(receiver.receive(now, |_| fail(ErrorKind::Other)), Received::Failed);
            let until = receiver.deadline(now).unwrap();
            *pause = (until - now).as_millis();
            assert_eq!(receiver.receive(now, |_| panic!("paused")), Received::Empty);
            now = until;
        }
        assert_eq!(pauses, [100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        assert_eq!(receiver.receive(now, |_| fail(ErrorKind::WouldBlock)), Received::Empty);
        receiver.set_readable();
        assert_eq!(receiver.receive(now, |_| fail(ErrorKind::Other)), Received::Failed);
        assert_eq!(receiver.deadline(now), Some(now + FIRST_PAUSE));
    }

    #[test]
    fn a_socket_that_only_fails_is_given_up_unless_it_succeeds_once() {
        let mut receiver = Receiver::new();
        let mut now = Instant::ZERO;
        let mut fail_times = |receiver: &mut Receiver, count| {
            for _ in 0..count {
                assert!(!receiver.is_beyond_repair());
                now = receiver.deadline(now).unwrap();
                assert_eq!(receiver.receive(now, |_| fail(ErrorKind::Other)), Received::Failed);
            }
            now = receiver.deadline(now).unwrap();
            now
        };
        let now = fail_times(&mut receiver, 3);
        assert_eq!(receiver.receive(now, |_| Ok(())), Received::Datagrams);
        fail_times(&mut receiver, MAX_FAILURES);
        assert!(receiver.is_beyond_repair());
    }

    #[test]
    fn what_breaks_a_socket_is_told_from_what_a_destination_does() {
        for error in [
            ErrorKind::BrokenPipe.into(),
            ErrorKind::NotConnected.into(),
            io::Error::from_raw_os_error(BAD_DESCRIPTOR),
            io::Error::from_raw_os_error(NO_SOCKET),
        ] {
            assert!(is_broken(&error), "{error}");
        }
        let unreachable = io::Error::from(ErrorKind::AddrNotAvailable);
        assert!(!is_broken(&unreachable) && !is_broken(&ErrorKind::WouldBlock.into()));
        // Loopback stays. No host has the addresses that are reserved for documentation.
        assert!(!is_addr_lost(FROM.into(), &unreachable));
        assert!(!is_addr_lost(([0, 0, 0, 0], 9).into(), &unreachable));
        assert!(is_addr_lost(([192, 0, 2, 1], 9).into(), &unreachable));
        assert!(!is_addr_lost(([192, 0, 2, 1], 9).into(), &ErrorKind::PermissionDenied.into()));
    }

    #[test]
    fn endless_icmp_errors_are_a_failure() {
        let mut receiver = Receiver::new();
        let refused = || fail(ErrorKind::ConnectionRefused);
        let taken =
            (0..1000).take_while(|_| receiver.receive(Instant::ZERO, |_| refused()) == Received::Nothing);
        assert_eq!(taken.count(), MAX_ICMP_ERRORS as usize);
    }

    #[test]
    fn b32_17_the_ipv6_socket_takes_no_ipv4() {
        let Ok(v6) = bind("[::]:0".parse().unwrap()) else {
            std::eprintln!("skipped: a host without IPv6");
            return;
        };
        let port = v6.local_addr().unwrap().port();
        assert!(bind(([0, 0, 0, 0], port).into()).is_ok());
    }
}
