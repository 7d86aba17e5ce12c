//! The sockets of a node: reopened after a failure, and closed, opened and moved on demand. The node goes on.
//!
//! - `bell`: what wakes a loop that is a task
//! - `driver`: one turn of a loop, whichever it is
//! - `socket`: how a socket is set up, and what its errors mean
//! - `datagrams`: several datagrams in one call, each with our address that it came to
//! - `task`: the loop of a task, on any reactor

use alloc::string::{String, ToString as _};
use core::net::SocketAddr;
use core::time::Duration;
use std::io::{self, ErrorKind};
use std::net::UdpSocket;

use quinn_udp::UdpSockRef;

use self::datagrams::Passage;
use self::socket::{Received, Receiver};
use crate::net::engine::Engine;
use crate::net::engine::events::NetEvent;
use crate::net::engine::mailbox::Change;
use crate::net::error::CallError;
use crate::net::resolve::Backoff;
use crate::{Family, Instant};

#[cfg(any(feature = "smol", feature = "tokio"))]
pub(crate) mod bell;
pub(crate) mod datagrams;
pub(crate) mod driver;
pub(crate) mod socket;
#[cfg(any(feature = "smol", feature = "tokio"))]
pub(crate) mod task;

/// The pauses before a socket is opened again, where the first try has failed.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LAST_PAUSE: Duration = Duration::from_secs(30);

/// A socket that fails again so soon is opened again only after a pause.
const CALM: Duration = Duration::from_secs(60);

/// Makes the sockets of one kind of loop, and passes datagrams through them so that the loop learns where they
/// would block.
pub(crate) trait SocketFactory {
    type Socket;

    /// Has a socket watched.
    fn adopt(&mut self, family: Family, socket: UdpSocket) -> io::Result<Self::Socket>;

    /// Reads; `is_untold` where the socket is to be tried even if it is not known to be readable.
    fn receive(
        socket: &Self::Socket,
        is_untold: bool,
        read: impl FnMut(UdpSockRef<'_>) -> io::Result<()>,
    ) -> io::Result<()>;

    /// Writes one datagram.
    fn send(socket: &Self::Socket, write: impl FnOnce(UdpSockRef<'_>) -> io::Result<()>) -> io::Result<()>;
}

/// A socket that has been bound for the first time.
#[derive(Debug)]
pub(crate) struct Bound {
    pub(crate) socket: UdpSocket,
    passage: Passage,
    pub(crate) addr: SocketAddr,
    /// The user left the port to the system.
    pub(crate) any_port: bool,
}

impl Bound {
    pub(crate) fn new(to: SocketAddr) -> io::Result<Self> {
        let socket = socket::bind(to)?;
        let passage = Passage::new(&socket)?;
        Ok(Self { addr: socket.local_addr()?, socket, passage, any_port: to.port() == 0 })
    }
}

/// By family; `None` for one that is off.
pub(crate) struct Sockets<A: SocketFactory> {
    adopt: A,
    families: [Option<FamilySocket<A::Socket>>; 2],
}

/// What a family has: a socket, or the wish for one.
struct FamilySocket<S> {
    /// Where it is, or was last, bound.
    addr: SocketAddr,
    any_port: bool,
    open: Option<OpenSocket<S>>,
    /// What the socket said when it failed for good.
    failure: Option<String>,
    pause: Backoff,
    retry_at: Option<Instant>,
    /// A failure after this is the first for some time.
    calm_at: Instant,
}

pub(crate) struct OpenSocket<S> {
    pub(crate) socket: S,
    pub(crate) receiver: Receiver,
    passage: Passage,
}

impl<S> OpenSocket<S> {
    const fn new(socket: S, passage: Passage) -> Self {
        Self { socket, receiver: Receiver::new(), passage }
    }
}

impl<A: SocketFactory> Sockets<A> {
    pub(crate) fn new(mut adopt: A, bound: [Option<Bound>; 2]) -> io::Result<Self> {
        let mut families = [None, None];
        for Bound { socket, passage, addr, any_port } in bound.into_iter().flatten() {
            let family = Family::of(&addr);
            let open = OpenSocket::new(adopt.adopt(family, socket)?, passage);
            families[family.index()] = Some(FamilySocket::new(addr, any_port, open));
        }
        Ok(Self { adopt, families })
    }

    /// The sockets that are open.
    #[cfg(any(feature = "smol", feature = "tokio"))]
    pub(crate) fn open(&mut self) -> impl Iterator<Item = &mut OpenSocket<A::Socket>> {
        self.families.iter_mut().flatten().filter_map(|slot| slot.open.as_mut())
    }

    pub(crate) fn of(&mut self, family: Family) -> Option<&mut OpenSocket<A::Socket>> {
        self.families[family.index()].as_mut()?.open.as_mut()
    }

    /// When to look after the sockets without being woken by them.
    pub(crate) fn deadline(&self, now: Instant) -> Option<Instant> {
        let families = || self.families.iter().flatten();
        let receives = families().filter_map(|slot| slot.open.as_ref()?.receiver.deadline(now));
        let retries =
            families().filter_map(|slot| if slot.failure.is_some() { Some(now) } else { slot.retry_at });
        receives.chain(retries).min()
    }

    /// Has all sockets read once more, whatever the system has told.
    pub(crate) fn look(&mut self) {
        let sockets = self.families.iter_mut().flatten().filter_map(|slot| slot.open.as_mut());
        sockets.for_each(|open| open.receiver.look());
    }

    /// Receives from the socket of this family, if it has one. `recv` is told whether the system may have
    /// told of nothing.
    pub(crate) fn receive(
        &mut self,
        now: Instant,
        family: Family,
        recv: impl FnOnce(&A::Socket, &Passage, bool) -> io::Result<()>,
    ) -> Option<Received> {
        let FamilySocket { open, failure, .. } = self.families[family.index()].as_mut()?;
        let OpenSocket { socket, receiver, passage } = open.as_mut()?;
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
    pub(crate) fn send(
        &mut self,
        to: SocketAddr,
        send: impl FnOnce(&A::Socket, &Passage) -> io::Result<()>,
    ) -> io::Result<()> {
        let slot = self.families[Family::of(&to).index()].as_mut();
        let Some(FamilySocket { addr, failure, open: Some(open), .. }) = slot else {
            return Err(ErrorKind::NetworkUnreachable.into());
        };
        send(&open.socket, &open.passage).map_err(|error| {
            if !socket::is_broken(&error) && !socket::is_gone(*addr, &error) {
                return error;
            }
            *failure = Some(error.to_string());
            ErrorKind::WouldBlock.into()
        })
    }

    /// Opens again what failed, where it is time. Returns whether anything has changed.
    pub(crate) fn tend(&mut self, engine: &mut Engine) -> bool {
        let mut has_changed = false;
        for family in Family::ALL {
            let Some(slot) = &mut self.families[family.index()] else { continue };
            if slot.failure.is_none() && slot.retry_at.is_none() {
                continue;
            }
            let now = engine.clock.now();
            if let Some(error) = slot.failure.take() {
                slot.open = None;
                let is_first = now >= slot.calm_at;
                slot.calm_at = now + CALM;
                if is_first {
                    slot.pause.reset();
                    engine.publish(NetEvent::SocketLost { addr: slot.addr, error, retry_in: Duration::ZERO });
                    // An error has been told, and it is tried again.
                    let _ = self.reopen(engine, family);
                } else {
                    slot.give_up(engine, error);
                }
                has_changed = true;
            } else if slot.retry_at.is_some_and(|at| at <= now) {
                let _ = self.reopen(engine, family);
                has_changed = true;
            }
        }
        has_changed
    }

    /// Does what the user wants done with the sockets.
    pub(crate) fn change(&mut self, engine: &mut Engine, change: Change) -> Result<(), CallError> {
        match change {
            Change::Enable(true) if !engine.is_enabled() => {
                engine.note_enabled(true);
                Ok(self.reopen_all(engine)?)
            }
            Change::Enable(false) if engine.is_enabled() => {
                engine.note_enabled(false);
                for slot in self.families.iter_mut().flatten() {
                    slot.close();
                    engine.on_socket_closed(Family::of(&slot.addr));
                }
                Ok(())
            }
            Change::Enable(_) => Ok(()),
            Change::Rebind(None) if engine.is_enabled() => {
                self.families.iter_mut().flatten().for_each(FamilySocket::close);
                let result = self.reopen_all(engine);
                for slot in self.families.iter().flatten().filter(|slot| slot.open.is_some()) {
                    engine.on_network_changed(Family::of(&slot.addr));
                }
                Ok(result?)
            }
            Change::Rebind(None) => Ok(()),
            Change::Rebind(Some(addr)) => self.move_to(engine, addr),
        }
    }

    fn reopen_all(&mut self, engine: &mut Engine) -> io::Result<()> {
        let mut result = Ok(());
        for family in Family::ALL {
            if let Some(slot) = &mut self.families[family.index()] {
                slot.pause.reset();
                let reopened = self.reopen(engine, family);
                result = result.and(reopened);
            }
        }
        result
    }

    /// Binds where the socket was bound before: at the same port, or where that is taken and the user
    /// named none, at another.
    fn reopen(&mut self, engine: &mut Engine, family: Family) -> io::Result<()> {
        let Some(slot) = &mut self.families[family.index()] else { return Ok(()) };
        let mut bound = Bound::new(slot.addr);
        if slot.any_port && bound.as_ref().is_err_and(|error| error.kind() == ErrorKind::AddrInUse) {
            bound = Bound::new(SocketAddr::new(slot.addr.ip(), 0));
        }
        let opened = bound.and_then(|bound| {
            let socket = self.adopt.adopt(family, bound.socket)?;
            Ok((bound.addr, OpenSocket::new(socket, bound.passage)))
        });
        match opened {
            Ok((addr, open)) => {
                slot.fill(engine, addr, open);
                Ok(())
            }
            Err(error) => {
                slot.give_up(engine, error.to_string());
                Err(error)
            }
        }
    }

    fn move_to(&mut self, engine: &mut Engine, to: SocketAddr) -> Result<(), CallError> {
        let family = Family::of(&to);
        let Some(slot) = &mut self.families[family.index()] else { return Err(CallError::NoSocket) };
        if !engine.is_enabled() {
            (slot.addr, slot.any_port) = (to, to.port() == 0);
            return Ok(());
        }
        let mut bound = Bound::new(to);
        if bound.as_ref().is_err_and(|error| error.kind() == ErrorKind::AddrInUse)
            && slot.addr.port() == to.port()
        {
            // It may be ours, at this address or at all of them.
            slot.close();
            bound = Bound::new(to);
        }
        let opened = bound.and_then(|bound| {
            Ok((bound.addr, OpenSocket::new(self.adopt.adopt(family, bound.socket)?, bound.passage)))
        });
        match opened {
            Ok((addr, open)) => {
                slot.close();
                slot.any_port = to.port() == 0;
                slot.fill(engine, addr, open);
                engine.on_network_changed(family);
                Ok(())
            }
            Err(error) => {
                if slot.open.is_none() && slot.retry_at.is_none() {
                    let _ = self.reopen(engine, family);
                }
                Err(error.into())
            }
        }
    }
}

impl<S> FamilySocket<S> {
    fn new(addr: SocketAddr, any_port: bool, open: OpenSocket<S>) -> Self {
        Self {
            addr,
            any_port,
            open: Some(open),
            failure: None,
            pause: Backoff::new(FIRST_PAUSE, LAST_PAUSE),
            retry_at: None,
            calm_at: Instant::ZERO,
        }
    }

    fn close(&mut self) {
        (self.open, self.failure, self.retry_at) = (None, None, None);
    }

    fn fill(&mut self, engine: &mut Engine, addr: SocketAddr, open: OpenSocket<S>) {
        let has_moved = self.addr != addr;
        (self.addr, self.open, self.retry_at) = (addr, Some(open), None);
        engine.on_socket_opened(addr, has_moved);
    }

    /// Leaves the family without a socket until the next try.
    fn give_up(&mut self, engine: &mut Engine, error: String) {
        let retry_in = self.pause.next();
        self.retry_at = Some(engine.clock.now() + retry_in);
        engine.on_socket_closed(Family::of(&self.addr));
        engine.publish(NetEvent::SocketLost { addr: self.addr, error, retry_in });
    }
}
