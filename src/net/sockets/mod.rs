//! The sockets of a node: how one that failed is opened again, and how they are closed, opened and
//! moved on demand. The node itself lives on.

use alloc::string::{String, ToString as _};
use core::net::SocketAddr;
use core::time::Duration;
use std::io::{self, ErrorKind};
use std::net::UdpSocket;

use super::datagrams::Passage;
use super::desk::{Change, Desk};
use super::events::Notice;
use super::resolve::Backoff;
use super::socket::{self, Received, Receiver};
use crate::{Family, Instant};

/// The pauses before a socket is opened again, where the first try has failed.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LAST_PAUSE: Duration = Duration::from_secs(30);

/// A socket that fails again so soon is opened again only after a pause.
const CALM: Duration = Duration::from_secs(60);

/// Makes the sockets of one kind of loop.
pub(super) trait Adopt {
    type Socket;

    fn adopt(&mut self, family: Family, socket: UdpSocket) -> io::Result<Self::Socket>;
}

/// A socket that has been bound for the first time.
#[derive(Debug)]
pub(super) struct Bound {
    pub(super) socket: UdpSocket,
    passage: Passage,
    pub(super) addr: SocketAddr,
    /// The user left the port to the system.
    pub(super) any_port: bool,
}

impl Bound {
    pub(super) fn new(to: SocketAddr) -> io::Result<Self> {
        let socket = socket::bind(to)?;
        let passage = Passage::new(&socket)?;
        Ok(Self { addr: socket.local_addr()?, socket, passage, any_port: to.port() == 0 })
    }
}

/// By family; `None` for one that is off.
pub(super) struct Ports<A: Adopt> {
    adopt: A,
    lines: [Option<Line<A::Socket>>; 2],
}

/// What a family has: a socket, or the wish for one.
struct Line<S> {
    /// Where it is, or was last, bound.
    addr: SocketAddr,
    any_port: bool,
    port: Option<Port<S>>,
    /// What the socket said when it failed for good.
    failure: Option<String>,
    pause: Backoff,
    retry_at: Option<Instant>,
    /// A failure after this is the first for some time.
    calm_at: Instant,
}

pub(super) struct Port<S> {
    pub(super) socket: S,
    pub(super) receiver: Receiver,
    passage: Passage,
}

impl<S> Port<S> {
    const fn new(socket: S, passage: Passage) -> Self {
        Self { socket, receiver: Receiver::new(), passage }
    }
}

impl<A: Adopt> Ports<A> {
    pub(super) fn new(mut adopt: A, bound: [Option<Bound>; 2]) -> io::Result<Self> {
        let mut lines = [None, None];
        for Bound { socket, passage, addr, any_port } in bound.into_iter().flatten() {
            let family = Family::of(&addr);
            let port = Port::new(adopt.adopt(family, socket)?, passage);
            lines[family.index()] = Some(Line::new(addr, any_port, port));
        }
        Ok(Self { adopt, lines })
    }

    /// The sockets that are open.
    #[cfg(feature = "tokio")]
    pub(super) fn open(&mut self) -> impl Iterator<Item = &mut Port<A::Socket>> {
        self.lines.iter_mut().flatten().filter_map(|line| line.port.as_mut())
    }

    pub(super) fn of(&mut self, family: Family) -> Option<&mut Port<A::Socket>> {
        self.lines[family.index()].as_mut()?.port.as_mut()
    }

    /// When to look after the sockets without being woken by them.
    pub(super) fn deadline(&self, now: Instant) -> Option<Instant> {
        let lines = || self.lines.iter().flatten();
        let receives = lines().filter_map(|line| line.port.as_ref()?.receiver.deadline(now));
        let retries =
            lines().filter_map(|line| if line.failure.is_some() { Some(now) } else { line.retry_at });
        receives.chain(retries).min()
    }

    /// Has all sockets read once more, whatever the system has told.
    pub(super) fn look(&mut self) {
        let ports = self.lines.iter_mut().flatten().filter_map(|line| line.port.as_mut());
        ports.for_each(|port| port.receiver.look());
    }

    /// Receives from the socket of this family, if it has one. `recv` is told whether the system may have
    /// told of nothing.
    pub(super) fn receive(
        &mut self,
        now: Instant,
        family: Family,
        recv: impl FnOnce(&A::Socket, &Passage, bool) -> io::Result<()>,
    ) -> Option<Received> {
        let Line { port, failure, .. } = self.lines[family.index()].as_mut()?;
        let Port { socket, receiver, passage } = port.as_mut()?;
        let mut last = None;
        let received = receiver.receive(now, |is_untold| {
            recv(socket, passage, is_untold).inspect_err(|error| {
                if error.kind() != ErrorKind::WouldBlock {
                    last = Some((socket::is_broken(error), error.to_string()));
                }
            })
        });
        if received == Received::Failed
            && let Some((is_broken, error)) = last
            && (is_broken || receiver.is_hopeless())
        {
            *failure = Some(error);
        }
        Some(received)
    }

    /// Sends from the socket of the destination's family. One that fails for good counts as full
    /// until it has been [tended](Self::tend), so that nothing is lost.
    pub(super) fn send(
        &mut self,
        to: SocketAddr,
        send: impl FnOnce(&A::Socket, &Passage) -> io::Result<()>,
    ) -> io::Result<()> {
        let line = self.lines[Family::of(&to).index()].as_mut();
        let Some(Line { addr, failure, port: Some(port), .. }) = line else {
            return Err(ErrorKind::NetworkUnreachable.into());
        };
        send(&port.socket, &port.passage).map_err(|error| {
            if !socket::is_broken(&error) && !socket::is_gone(*addr, &error) {
                return error;
            }
            *failure = Some(error.to_string());
            ErrorKind::WouldBlock.into()
        })
    }

    /// Opens again what failed, where it is time. Returns whether anything has changed.
    pub(super) fn tend(&mut self, desk: &mut Desk) -> bool {
        let mut has_changed = false;
        for family in Family::ALL {
            let Some(line) = &mut self.lines[family.index()] else { continue };
            if line.failure.is_none() && line.retry_at.is_none() {
                continue;
            }
            let now = desk.clock.now();
            if let Some(error) = line.failure.take() {
                line.port = None;
                let is_first = now >= line.calm_at;
                line.calm_at = now + CALM;
                if is_first {
                    line.pause.reset();
                    desk.publish(Notice::SocketLost { addr: line.addr, error, retry_in: Duration::ZERO });
                    // An error has been told, and it is tried again.
                    let _ = self.reopen(desk, family);
                } else {
                    line.give_up(desk, error);
                }
                has_changed = true;
            } else if line.retry_at.is_some_and(|at| at <= now) {
                let _ = self.reopen(desk, family);
                has_changed = true;
            }
        }
        has_changed
    }

    /// Does what the user wants done with the sockets.
    pub(super) fn change(&mut self, desk: &mut Desk, change: Change) -> io::Result<()> {
        match change {
            Change::Enable(true) if !desk.is_enabled() => {
                desk.note_enabled(true);
                self.reopen_all(desk)
            }
            Change::Enable(false) if desk.is_enabled() => {
                desk.note_enabled(false);
                for line in self.lines.iter_mut().flatten() {
                    line.close();
                    desk.on_socket_closed(Family::of(&line.addr));
                }
                Ok(())
            }
            Change::Enable(_) => Ok(()),
            Change::Rebind(None) if desk.is_enabled() => {
                self.lines.iter_mut().flatten().for_each(Line::close);
                let result = self.reopen_all(desk);
                for line in self.lines.iter().flatten().filter(|line| line.port.is_some()) {
                    desk.on_network_changed(Family::of(&line.addr));
                }
                result
            }
            Change::Rebind(None) => Ok(()),
            Change::Rebind(Some(addr)) => self.move_to(desk, addr),
        }
    }

    fn reopen_all(&mut self, desk: &mut Desk) -> io::Result<()> {
        let mut result = Ok(());
        for family in Family::ALL {
            if let Some(line) = &mut self.lines[family.index()] {
                line.pause.reset();
                let reopened = self.reopen(desk, family);
                result = result.and(reopened);
            }
        }
        result
    }

    /// Binds where the socket was bound before: at the same port, or where that is taken and the user
    /// named none, at another.
    fn reopen(&mut self, desk: &mut Desk, family: Family) -> io::Result<()> {
        let Some(line) = &mut self.lines[family.index()] else { return Ok(()) };
        let mut bound = Bound::new(line.addr);
        if line.any_port && bound.as_ref().is_err_and(|error| error.kind() == ErrorKind::AddrInUse) {
            bound = Bound::new(SocketAddr::new(line.addr.ip(), 0));
        }
        let opened = bound.and_then(|bound| {
            let socket = self.adopt.adopt(family, bound.socket)?;
            Ok((bound.addr, Port::new(socket, bound.passage)))
        });
        match opened {
            Ok((addr, port)) => {
                line.fill(desk, addr, port);
                Ok(())
            }
            Err(error) => {
                line.give_up(desk, error.to_string());
                Err(error)
            }
        }
    }

    fn move_to(&mut self, desk: &mut Desk, to: SocketAddr) -> io::Result<()> {
        let family = Family::of(&to);
        let Some(line) = &mut self.lines[family.index()] else {
            return Err(io::Error::new(ErrorKind::Unsupported, "this address family is off"));
        };
        if !desk.is_enabled() {
            (line.addr, line.any_port) = (to, to.port() == 0);
            return Ok(());
        }
        let mut bound = Bound::new(to);
        if bound.as_ref().is_err_and(|error| error.kind() == ErrorKind::AddrInUse)
            && line.addr.port() == to.port()
        {
            // It may be ours, at this address or at all of them.
            line.close();
            bound = Bound::new(to);
        }
        let opened = bound.and_then(|bound| {
            Ok((bound.addr, Port::new(self.adopt.adopt(family, bound.socket)?, bound.passage)))
        });
        match opened {
            Ok((addr, port)) => {
                line.close();
                line.any_port = to.port() == 0;
                line.fill(desk, addr, port);
                desk.on_network_changed(family);
                Ok(())
            }
            Err(error) => {
                if line.port.is_none() && line.retry_at.is_none() {
                    let _ = self.reopen(desk, family);
                }
                Err(error)
            }
        }
    }
}

impl<S> Line<S> {
    fn new(addr: SocketAddr, any_port: bool, port: Port<S>) -> Self {
        Self {
            addr,
            any_port,
            port: Some(port),
            failure: None,
            pause: Backoff::new(FIRST_PAUSE, LAST_PAUSE),
            retry_at: None,
            calm_at: Instant::ZERO,
        }
    }

    fn close(&mut self) {
        (self.port, self.failure, self.retry_at) = (None, None, None);
    }

    fn fill(&mut self, desk: &mut Desk, addr: SocketAddr, port: Port<S>) {
        let has_moved = self.addr != addr;
        (self.addr, self.port, self.retry_at) = (addr, Some(port), None);
        desk.on_socket_opened(addr, has_moved);
    }

    /// Leaves the family without a socket until the next try.
    fn give_up(&mut self, desk: &mut Desk, error: String) {
        let retry_in = self.pause.next();
        self.retry_at = Some(desk.clock.now() + retry_in);
        desk.on_socket_closed(Family::of(&self.addr));
        desk.publish(Notice::SocketLost { addr: self.addr, error, retry_in });
    }
}
