//! The UDP sockets: how they are set up, and what their errors mean.

use core::net::SocketAddr;
use core::time::Duration;
use std::io::{self, ErrorKind};
use std::net::UdpSocket;

use socket2::{Domain, Protocol, Socket as RawSocket, Type};

use crate::net::resolve::Backoff;
use crate::net::trace::event;
use crate::{Family, Instant, MAX_DATAGRAM, Transmit};

/// Bytes of datagrams that the system may hold until the loop has time; it may grant less.
const RECEIVE_BUFFER: usize = 512 * 1024;

/// How long a socket that fails for no known reason is left alone.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LAST_PAUSE: Duration = Duration::from_secs(5);

/// Failures in a row after which a socket is opened again.
const HOPELESS: u32 = 4;

/// Reports about earlier datagrams taken in a row before the socket counts as failing.
const REPORTS: u32 = 64;

/// Reports about earlier datagrams taken before a single one counts as unsent.
const EARLIER_ERRORS: u32 = 4;

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
    /// There may be something to read: readiness is told once, until reading finds nothing.
    readable: bool,
    /// Read although the system has reported nothing.
    is_untold: bool,
    reports: u32,
    failures: u32,
    pause: Backoff,
    paused_until: Option<Instant>,
}

/// What came of one attempt to receive.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Received {
    Datagrams,
    /// An error took its place; there may be more.
    Nothing,
    /// No more for now.
    Empty,
    /// No more for now, because of an error.
    Failed,
}

impl Receiver {
    pub(crate) const fn new() -> Self {
        let pause = Backoff::new(FIRST_PAUSE, LAST_PAUSE);
        Self { readable: true, is_untold: false, reports: 0, failures: 0, pause, paused_until: None }
    }

    /// Whether it has failed too often in a row.
    pub(crate) const fn is_hopeless(&self) -> bool {
        self.failures >= HOPELESS
    }

    pub(crate) fn set_readable(&mut self) {
        self.readable = true;
    }

    /// Has it read once more, whatever the system has told: a wait that was interrupted tells nothing.
    pub(crate) fn look(&mut self) {
        (self.readable, self.is_untold) = (true, true);
    }

    /// Whether it needs no word from the socket to read again.
    #[cfg(any(feature = "smol", feature = "tokio"))]
    pub(crate) const fn is_readable(&self) -> bool {
        self.readable
    }

    /// When to read next without being woken by the socket: now, if there may be more.
    pub(crate) fn deadline(&self, now: Instant) -> Option<Instant> {
        self.readable.then(|| self.paused_until.unwrap_or(now))
    }

    /// `recv` is told whether the system may have told of nothing.
    pub(crate) fn receive(&mut self, now: Instant, recv: impl FnOnce(bool) -> io::Result<()>) -> Received {
        if !self.readable || self.paused_until.is_some_and(|until| until > now) {
            return Received::Empty;
        }
        self.paused_until = None;
        match recv(self.is_untold) {
            Ok(()) => {
                self.succeed();
                Received::Datagrams
            }
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock => {
                    (self.readable, self.is_untold) = (false, false);
                    self.succeed();
                    Received::Empty
                }
                ErrorKind::Interrupted => Received::Nothing,
                _ if is_report(&error) && self.reports < REPORTS => {
                    event!(DEBUG, "an earlier datagram did not arrive", error = error);
                    self.reports += 1;
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
        (self.reports, self.failures) = (0, 0);
        self.pause.reset();
    }
}

/// The sending side of all sockets: one datagram in hand at most.
pub(crate) struct SendSlot {
    buffer: [u8; MAX_DATAGRAM],
    in_hand: Option<Transmit>,
    blocked: bool,
}

/// What came of one attempt to send.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    /// There was nothing to send.
    Idle,
    /// A datagram is gone.
    Gone,
    /// The system has not sent a datagram to this destination, which is not to blame.
    Unsent(SocketAddr),
    /// The system cannot send to this destination.
    Unreachable(SocketAddr),
    /// The socket to this destination is full: the datagram is kept until
    /// [`unblock`](SendSlot::unblock).
    Blocked(SocketAddr),
}

impl SendSlot {
    pub(crate) const fn new() -> Self {
        Self { buffer: [0; MAX_DATAGRAM], in_hand: None, blocked: false }
    }

    pub(crate) const fn is_blocked(&self) -> bool {
        self.blocked
    }

    pub(crate) fn unblock(&mut self) {
        self.blocked = false;
    }

    /// Drops the datagram in hand if it is for this family.
    pub(crate) fn drop_for(&mut self, family: Family) {
        if self.in_hand.is_some_and(|transmit| Family::of(&transmit.destination) == family) {
            (self.in_hand, self.blocked) = (None, false);
        }
    }

    /// Sends the datagram in hand, or else the next one.
    pub(crate) fn send(
        &mut self,
        next: impl FnOnce(&mut [u8]) -> Option<Transmit>,
        mut send: impl FnMut(&[u8], Transmit) -> io::Result<()>,
    ) -> Sent {
        if self.blocked {
            return Sent::Idle;
        }
        let Some(mut transmit) = self.in_hand.take().or_else(|| next(&mut self.buffer)) else {
            return Sent::Idle;
        };
        let (destination, mut earlier) = (transmit.destination, EARLIER_ERRORS);
        loop {
            let Err(error) = send(&self.buffer[..transmit.size], transmit) else {
                return Sent::Gone;
            };
            if transmit.source.is_some() && is_of_our_address(&error) {
                // The address that was asked is ours no more, or never was one to send from.
                transmit.source = None;
                continue;
            }
            return match error.kind() {
                ErrorKind::Interrupted => continue,
                ErrorKind::WouldBlock => {
                    self.in_hand = Some(transmit);
                    self.blocked = true;
                    Sent::Blocked(destination)
                }
                // It was about another datagram, and has been told now.
                ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset if earlier > 0 => {
                    earlier -= 1;
                    continue;
                }
                _ if is_local(&error) => Sent::Unsent(destination),
                _ => Sent::Unreachable(destination),
            };
        }
    }
}

/// Whether an error says that the socket is of no use any more: systems take them from programs that
/// were suspended.
pub(crate) fn is_broken(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::NotConnected)
        || matches!(error.raw_os_error(), Some(BAD_DESCRIPTOR | NO_SOCKET))
}

/// Whether sending failed because the host has lost the address that the socket is bound to. The
/// error alone says little: Linux gives the same for a destination that this address cannot reach.
pub(crate) fn is_gone(addr: SocketAddr, error: &io::Error) -> bool {
    is_of_our_address(error)
        && !addr.ip().is_unspecified()
        && bind(SocketAddr::new(addr.ip(), 0)).is_err_and(|error| error.kind() == ErrorKind::AddrNotAvailable)
}

/// Whether an error may come from the address that a datagram was to be sent from.
fn is_of_our_address(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::AddrNotAvailable | ErrorKind::InvalidInput | ErrorKind::NetworkUnreachable
    )
}

/// Whether receiving failed only because of an ICMP error about some datagram sent earlier, or one
/// received that was too long. Linux does not tell these on an unconnected socket; others do, but
/// not which destination it was.
fn is_report(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionRefused
            | ErrorKind::ConnectionReset
            | ErrorKind::HostUnreachable
            | ErrorKind::NetworkUnreachable
    ) || matches!(error.raw_os_error(), Some(MESSAGE_TOO_LONG | NET_RESET))
}

/// Whether sending failed for a reason of this host that passes, and says nothing about the destination:
/// there is no network or route, the network card's queue or the memory is full, the firewall refuses or
/// has lost count, the datagram is too long for the interface.
///
/// About the destination are what is left: no host there (`EHOSTUNREACH`), a route that forbids it
/// (`EACCES`), an address that this socket cannot send to (`EINVAL`).
fn is_local(error: &io::Error) -> bool {
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
const MESSAGE_TOO_LONG: i32 = if cfg!(windows) {
    10040 // WSAEMSGSIZE
} else if cfg!(any(target_os = "linux", target_os = "android")) {
    90 // EMSGSIZE
} else {
    40
};

/// The network card's queue is full.
const NO_BUFFERS: i32 = if cfg!(windows) {
    10055 // WSAENOBUFS
} else if cfg!(any(target_os = "linux", target_os = "android")) {
    105 // ENOBUFS
} else {
    55
};

/// A firewall says so, or a table of connections that is full.
const NOT_PERMITTED: i32 = if cfg!(windows) {
    10013 // WSAEACCES
} else {
    1 // EPERM
};

/// The descriptor is open no more.
const BAD_DESCRIPTOR: i32 = if cfg!(windows) { 10009 } else { 9 };

/// The descriptor is of something else.
const NO_SOCKET: i32 = if cfg!(windows) {
    10038 // WSAENOTSOCK
} else if cfg!(any(target_os = "linux", target_os = "android")) {
    88 // ENOTSOCK
} else {
    38
};

/// Windows reports an expired time to live so (WSAENETRESET); 0 is no error.
const NET_RESET: i32 = if cfg!(windows) { 10052 } else { 0 };

#[cfg(test)]
mod tests {
    use alloc::vec;
    use alloc::vec::Vec;
    use core::net::IpAddr;

    use super::*;

    const FROM: ([u8; 4], u16) = ([127, 0, 0, 1], 9);

    fn fail<T>(kind: ErrorKind) -> io::Result<T> {
        Err(kind.into())
    }

    fn transmit(buffer: &mut [u8], byte: u8) -> Option<Transmit> {
        buffer[0] = byte;
        Some(Transmit { destination: FROM.into(), source: None, size: 1 })
    }

    #[test]
    fn a_full_socket_keeps_the_one_datagram_in_hand() {
        let mut send_slot = SendSlot::new();
        let blocked = send_slot.send(|buffer| transmit(buffer, 7), |_, _| fail(ErrorKind::WouldBlock));
        assert_eq!(blocked, Sent::Blocked(FROM.into()));
        assert!(send_slot.is_blocked());
        assert_eq!(send_slot.send(|_| panic!("full"), |_, _| panic!("full")), Sent::Idle);
        send_slot.unblock();
        let sent = send_slot.send(
            |_| panic!("one is in hand"),
            |bytes, to| {
                assert_eq!((bytes, to.destination), ([7].as_slice(), FROM.into()));
                Ok(())
            },
        );
        assert_eq!(sent, Sent::Gone);
        assert_eq!(send_slot.send(|_| None, |_, _| panic!("nothing to send")), Sent::Idle);
    }

    #[test]
    fn interrupted_sends_are_repeated() {
        let mut tries = 0;
        let sent = SendSlot::new().send(
            |buffer| transmit(buffer, 1),
            |_, _| {
                tries += 1;
                if tries < 3 { fail(ErrorKind::Interrupted) } else { Ok(()) }
            },
        );
        assert_eq!((sent, tries), (Sent::Gone, 3));
    }

    #[test]
    fn failed_sends_blame_the_destination_only_where_it_is_to_blame() {
        let send = |error: io::Error| {
            let mut error = Some(error);
            SendSlot::new().send(|buffer| transmit(buffer, 1), |_, _| Err(error.take().unwrap()))
        };
        // Refused by a route; the number is 13 wherever there is one.
        let forbidden = io::Error::from_raw_os_error(13);
        for error in [forbidden, ErrorKind::HostUnreachable.into(), ErrorKind::InvalidInput.into()] {
            assert_eq!(send(error), Sent::Unreachable(FROM.into()));
        }
        for kind in [
            ErrorKind::NetworkUnreachable,
            ErrorKind::NetworkDown,
            ErrorKind::AddrNotAvailable,
            ErrorKind::OutOfMemory,
        ] {
            assert_eq!(send(kind.into()), Sent::Unsent(FROM.into()), "{kind}");
        }
        for number in [MESSAGE_TOO_LONG, NO_BUFFERS, NOT_PERMITTED] {
            assert_eq!(send(io::Error::from_raw_os_error(number)), Sent::Unsent(FROM.into()), "{number}");
        }
    }

    #[test]
    fn what_an_earlier_datagram_met_with_holds_up_none() {
        for (errors, expected) in [(1, Sent::Gone), (4, Sent::Gone), (5, Sent::Unsent(FROM.into()))] {
            let mut left = errors;
            let sent = SendSlot::new().send(
                |buffer| transmit(buffer, 1),
                |_, _| {
                    left -= 1;
                    if left >= 0 { fail(ErrorKind::ConnectionRefused) } else { Ok(()) }
                },
            );
            assert_eq!(sent, expected, "{errors}");
        }
    }

    #[test]
    fn an_answer_whose_source_is_gone_leaves_from_another() {
        let mut sources = Vec::new();
        let ours = Some(IpAddr::from([192, 0, 2, 1]));
        let sent = SendSlot::new().send(
            |buffer| transmit(buffer, 1).map(|transmit| Transmit { source: ours, ..transmit }),
            |_, transmit| {
                sources.push(transmit.source);
                if transmit.source.is_some() { fail(ErrorKind::InvalidInput) } else { Ok(()) }
            },
        );
        assert_eq!((sent, sources), (Sent::Gone, vec![ours, None]));
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
    fn a_socket_that_only_fails_is_hopeless_and_one_success_gives_hope() {
        let mut receiver = Receiver::new();
        let mut now = Instant::ZERO;
        let mut fail_times = |receiver: &mut Receiver, count| {
            for _ in 0..count {
                assert!(!receiver.is_hopeless());
                now = receiver.deadline(now).unwrap();
                assert_eq!(receiver.receive(now, |_| fail(ErrorKind::Other)), Received::Failed);
            }
            now = receiver.deadline(now).unwrap();
            now
        };
        let now = fail_times(&mut receiver, 3);
        assert_eq!(receiver.receive(now, |_| Ok(())), Received::Datagrams);
        fail_times(&mut receiver, HOPELESS);
        assert!(receiver.is_hopeless());
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
        // Loopback stays; addresses kept for documentation are nobody's.
        assert!(!is_gone(FROM.into(), &unreachable));
        assert!(!is_gone(([0, 0, 0, 0], 9).into(), &unreachable));
        assert!(is_gone(([192, 0, 2, 1], 9).into(), &unreachable));
        assert!(!is_gone(([192, 0, 2, 1], 9).into(), &ErrorKind::PermissionDenied.into()));
    }

    #[test]
    fn endless_reports_are_a_failure() {
        let mut receiver = Receiver::new();
        let refused = || fail(ErrorKind::ConnectionRefused);
        let taken =
            (0..1000).take_while(|_| receiver.receive(Instant::ZERO, |_| refused()) == Received::Nothing);
        assert_eq!(taken.count(), REPORTS as usize);
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
