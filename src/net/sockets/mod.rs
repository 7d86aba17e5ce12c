//! The sockets of a node: reopened after a failure, and closed, opened and moved on demand while the node runs.
//!
//! - `batch`: datagrams that wait to be sent, and how many one system call takes
//! - `bell`: what wakes a loop that is a task
//! - `datagrams`: several datagrams in one system call, each with its local address
//! - `driver`: one turn of a loop, whichever it is
//! - `mmsg`: several datagrams sent by one system call, on Linux and Android
//! - `send`: what has been written and not sent yet
//! - `socket`: how a socket is set up, how it receives, and what its errors mean
//! - `task`: the loop of a task, on any reactor

use alloc::string::{String, ToString as _};
use core::net::SocketAddr;
use core::time::Duration;
use std::io::{self, ErrorKind};
use std::net::UdpSocket;

use socket2::SockRef;

use self::batch::Datagrams;
use self::datagrams::{ReceiveBatch, UdpIo};
use self::socket::{Received, Receiver};
use crate::net::engine::Engine;
use crate::net::engine::events::NetEvent;
use crate::net::engine::mailbox::Change;
use crate::net::error::CallError;
use crate::net::resolve::Backoff;
use crate::{Family, Instant};

pub(crate) mod batch;
#[cfg(any(feature = "smol", feature = "tokio"))]
pub(crate) mod bell;
pub(crate) mod datagrams;
pub(crate) mod driver;
#[cfg(any(target_os = "linux", target_os = "android"))]
mod mmsg;
pub(crate) mod send;
pub(crate) mod socket;
#[cfg(any(feature = "smol", feature = "tokio"))]
pub(crate) mod task;

/// The first and the longest pause between attempts to open a socket again.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LAST_PAUSE: Duration = Duration::from_secs(30);

/// The time after a failure within which another one is not repaired at once, but after a pause.
const CALM: Duration = Duration::from_secs(60);

/// Makes the sockets of one kind of loop, and passes datagrams through them so that the loop learns where they
/// would block.
pub(crate) trait SocketFactory {
    type Socket;

    /// Registers a socket with what the loop waits by.
    fn adopt(&mut self, family: Family, socket: UdpSocket) -> io::Result<Self::Socket>;

    /// Reads; `is_forced` where the socket is to be read even if it is not known to be readable.
    fn receive(
        socket: &Self::Socket,
        is_forced: bool,
        read: impl FnOnce(SockRef<'_>) -> io::Result<()>,
    ) -> io::Result<()>;

    /// Writes, and returns how many datagrams have left.
    fn send(socket: &Self::Socket, write: impl FnOnce(SockRef<'_>) -> io::Result<usize>)
    -> io::Result<usize>;
}

/// A socket that has been bound for the first time.
#[derive(Debug)]
pub(crate) struct Bound {
    pub(crate) socket: UdpSocket,
    io: UdpIo,
    pub(crate) addr: SocketAddr,
    /// The user left the port to the system.
    pub(crate) any_port: bool,
}

impl Bound {
    pub(crate) fn new(to: SocketAddr) -> io::Result<Self> {
        let socket = socket::bind(to)?;
        let io = UdpIo::new(&socket)?;
        Ok(Self { addr: socket.local_addr()?, socket, io, any_port: to.port() == 0 })
    }

    fn open<F: SocketFactory>(self, factory: &mut F) -> io::Result<(SocketAddr, OpenSocket<F::Socket>)> {
        let socket = factory.adopt(Family::of(&self.addr), self.socket)?;
        Ok((self.addr, OpenSocket { socket, receiver: Receiver::new(), io: self.io }))
    }
}

/// The sockets of both families.
pub(crate) struct Sockets<F: SocketFactory> {
    factory: F,
    /// By family; `None` for one that is off.
    families: [Option<FamilySocket<F::Socket>>; 2],
}

/// The socket of one family, open or to be opened.
struct FamilySocket<S> {
    /// Where it is bound, or was last.
    addr: SocketAddr,
    any_port: bool,
    open: Option<OpenSocket<S>>,
    /// The error by which the socket was lost, until it is opened again.
    failure: Option<String>,
    pause: Backoff,
    retry_at: Option<Instant>,
    /// When a failure counts again as the first.
    calm_at: Instant,
}

pub(crate) struct OpenSocket<S> {
    pub(crate) socket: S,
    pub(crate) receiver: Receiver,
    io: UdpIo,
}

impl<F: SocketFactory> Sockets<F> {
    pub(crate) fn new(mut factory: F, bound: [Option<Bound>; 2]) -> io::Result<Self> {
        let mut families = [None, None];
        for bound in bound.into_iter().flatten() {
            let any_port = bound.any_port;
            let (addr, open) = bound.open(&mut factory)?;
            families[Family::of(&addr).index()] = Some(FamilySocket::new(addr, any_port, open));
        }
        Ok(Self { factory, families })
    }

    /// The sockets that are open.
    pub(crate) fn open(&mut self) -> impl Iterator<Item = &mut OpenSocket<F::Socket>> {
        self.families.iter_mut().flatten().filter_map(|slot| slot.open.as_mut())
    }

    pub(crate) fn of(&mut self, family: Family) -> Option<&mut OpenSocket<F::Socket>> {
        self.families[family.index()].as_mut()?.open.as_mut()
    }

    /// Returns when to read from or reopen the sockets without being woken by them.
    pub(crate) fn deadline(&self, now: Instant) -> Option<Instant> {
        let families = || self.families.iter().flatten();
        let receives = families().filter_map(|slot| slot.open.as_ref()?.receiver.deadline(now));
        let retries =
            families().filter_map(|slot| if slot.failure.is_some() { Some(now) } else { slot.retry_at });
        receives.chain(retries).min()
    }

    /// Makes the next attempt read from all sockets, whatever the system has reported.
    pub(crate) fn force_reads(&mut self) {
        self.open().for_each(|open| open.receiver.force());
    }

    /// Receives a batch from the socket of this family, if it has one.
    pub(crate) fn receive(
        &mut self,
        now: Instant,
        family: Family,
        batch: &mut ReceiveBatch,
    ) -> Option<Received> {
        let FamilySocket { open, failure, .. } = self.families[family.index()].as_mut()?;
        let OpenSocket { socket, receiver, io } = open.as_mut()?;
        let mut last = None;
        let received = receiver.receive(now, |is_forced| {
            let result = F::receive(socket, is_forced, |socket| batch.receive(io, &socket));
            result.inspect_err(|error| {
                if error.kind() != ErrorKind::WouldBlock {
                    last = Some((socket::is_broken(error), error.to_string()));
                }
            })
        });
        if received == Received::Failed
            && let Some((is_broken, error)) = last
            && (is_broken || receiver.is_beyond_repair())
        {
            *failure = Some(error);
        }
        Some(received)
    }

    /// Sends datagrams from the front, from the socket of the first one's family, and returns their number. A
    /// socket that has been lost counts as full until it has been [reopened](Self::reopen_due), so that no datagram
    /// is lost with it.
    pub(crate) fn send(&mut self, datagrams: Datagrams<'_>) -> io::Result<usize> {
        let family = datagrams.first().map(|(transmit, _)| Family::of(&transmit.destination));
        let slot = family.and_then(|family| self.families[family.index()].as_mut());
        let Some(FamilySocket { addr, failure, open: Some(open), .. }) = slot else {
            return Err(ErrorKind::NetworkUnreachable.into());
        };
        let OpenSocket { socket, io, .. } = open;
        F::send(socket, |socket| io.send(&socket, datagrams)).map_err(|error| {
            if !socket::is_broken(&error) && !socket::is_addr_lost(*addr, &error) {
                return error;
            }
            *failure = Some(error.to_string());
            ErrorKind::WouldBlock.into()
        })
    }

    /// Opens again the sockets that have been lost, where it is time. Returns whether anything has changed.
    pub(crate) fn reopen_due(&mut self, engine: &mut Engine) -> bool {
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
                    // An error is published, and another attempt follows.
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

    /// Executes a command about the sockets.
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

    /// Binds the address where the socket was bound before, or another port if that one is taken and the user
    /// named none.
    fn reopen(&mut self, engine: &mut Engine, family: Family) -> io::Result<()> {
        let Some(slot) = &mut self.families[family.index()] else { return Ok(()) };
        let mut bound = Bound::new(slot.addr);
        if slot.any_port && bound.as_ref().is_err_and(|error| error.kind() == ErrorKind::AddrInUse) {
            bound = Bound::new(SocketAddr::new(slot.addr.ip(), 0));
        }
        bound
            .and_then(|bound| bound.open(&mut self.factory))
            .map(|(addr, open)| slot.fill(engine, addr, open))
            .inspect_err(|error| slot.give_up(engine, error.to_string()))
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
            // By the node itself perhaps, at this address or at all of them.
            slot.close();
            bound = Bound::new(to);
        }
        match bound.and_then(|bound| bound.open(&mut self.factory)) {
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

    /// Leaves the family without a socket until the next attempt.
    fn give_up(&mut self, engine: &mut Engine, error: String) {
        let retry_in = self.pause.next();
        self.retry_at = Some(engine.clock.now() + retry_in);
        engine.on_socket_closed(Family::of(&self.addr));
        engine.publish(NetEvent::SocketLost { addr: self.addr, error, retry_in });
    }
}
