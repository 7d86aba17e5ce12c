//! The loop of the DHT thread: packets, calls and deadlines in, packets and findings out.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::string::ToString as _;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;
use std::io;
use std::sync::mpsc::{Receiver as Queue, Sender, SyncSender};
use std::thread;

use mio::net::UdpSocket;
use mio::{Interest, Poll, Token};

use super::clock::{Clock, SleepWatch};
use super::events::{Notice, Subscriber, publish};
use super::handle::{CallError, Command, Shared};
use super::keep::{Keeping, Rounds};
use super::resolve::Attempt;
use super::saver::Saver;
use super::search::{Key, Progress};
use super::socket::{Outbox, Received, Receiver, Sent};
use crate::{Announce, Event, Family, InfoHash, Instant, KeptId, LookupId, Node, Pong, QueryId, StartError};

/// Calls that may wait for the thread; past that, callers do.
pub(super) const COMMANDS: usize = 256;

/// The token of the waker. The sockets' are their families' indices.
pub(super) const WAKE: Token = Token(2);

/// The largest payload of a UDP datagram, and then some: nothing is cut short.
const RECEIVE_BUFFER: usize = 65_535;

// What one turn does at most of each kind, so that none starves the others.
const RECEIVES: usize = 32;
const SENDS: usize = 256;

/// How long a full socket is trusted to tell when it is not full any more.
const BLOCKED: Duration = Duration::from_millis(250);

/// How long the thread tries to get rid of its last datagrams.
const FAREWELL: Duration = Duration::from_millis(250);

pub(super) struct Driver {
    node: Node,
    clock: Clock,
    watch: SleepWatch,
    poll: Poll,
    happened: mio::Events,
    /// By family.
    ports: [Option<Port>; 2],
    outbox: Outbox,
    blocked_since: Instant,
    buffer: Box<[u8]>,
    shared: Arc<Shared>,
    queue: Queue<Command>,
    searches: BTreeMap<LookupId, Running>,
    kept: BTreeMap<KeptId, Keeping>,
    pings: BTreeMap<QueryId, SyncSender<Result<Pong, CallError>>>,
    pub(super) subscribers: Vec<Subscriber>,
    /// Of the state file, if there is one.
    pub(super) saver: Option<Saver>,
    /// What subscribers hear first.
    pub(super) first: Option<Notice>,
    /// Bootstrap addresses that need no resolver.
    pub(super) known: Vec<SocketAddr>,
    /// Dropped, it stops the resolver.
    pub(super) resolving: Option<Sender<()>>,
    /// Something came in or went out in this turn.
    busy: bool,
}

struct Port {
    socket: UdpSocket,
    receiver: Receiver,
}

/// A lookup that somebody waits for.
struct Running {
    key: Key,
    users: usize,
    progress: Arc<Progress>,
}

impl Driver {
    pub(super) fn new(
        node: Node,
        clock: Clock,
        poll: Poll,
        sockets: [Option<UdpSocket>; 2],
        queue: Queue<Command>,
        shared: Arc<Shared>,
    ) -> io::Result<Self> {
        let mut ports = [None, None];
        for (index, (port, socket)) in ports.iter_mut().zip(sockets).enumerate() {
            if let Some(mut socket) = socket {
                poll.registry().register(&mut socket, Token(index), Interest::READABLE)?;
                *port = Some(Port { socket, receiver: Receiver::new() });
            }
        }
        Ok(Self {
            node,
            clock,
            watch: SleepWatch::new(),
            poll,
            happened: mio::Events::with_capacity(4),
            ports,
            outbox: Outbox::new(),
            blocked_since: Instant::ZERO,
            buffer: vec![0; RECEIVE_BUFFER].into_boxed_slice(),
            shared,
            queue,
            searches: BTreeMap::new(),
            kept: BTreeMap::new(),
            pings: BTreeMap::new(),
            subscribers: Vec::new(),
            saver: None,
            first: None,
            known: Vec::new(),
            resolving: None,
            busy: false,
        })
    }

    pub(super) fn run(mut self) {
        if let Some(first) = self.first.take() {
            self.publish(first);
        }
        let known = core::mem::take(&mut self.known);
        self.start_from(&known);
        while !self.shared.closing.load(Ordering::Acquire) {
            let timeout = self.turn();
            self.sleep(timeout);
        }
        self.leave();
        if let Some(Err(error)) = self.saver.as_mut().map(|saver| saver.save(&self.node)) {
            self.publish(Notice::StateUnsaved { error: error.to_string() });
        }
    }

    /// Does what there is to do and returns how long to sleep; `None` for ever.
    fn turn(&mut self) -> Option<Duration> {
        self.busy = false;
        if let Some(slept) = self.watch.slept() {
            self.node.handle_resume(self.clock.now(), slept);
        }
        let more_commands = self.take_commands();
        for family in Family::ALL {
            self.receive(family);
        }
        let now = self.clock.now();
        if self.node.poll_timeout().is_some_and(|at| at <= now) {
            self.node.handle_timeout(now);
        }
        if self.outbox.is_blocked() && now - self.blocked_since >= BLOCKED {
            self.outbox.unblock();
        }
        self.transmit();
        self.take_events();
        if let Some(notice) = self.saver.as_mut().and_then(|saver| saver.tend(&self.node, now)) {
            self.publish(notice);
        }
        if more_commands { Some(Duration::ZERO) } else { self.until_next() }
    }

    fn until_next(&self) -> Option<Duration> {
        let now = self.clock.now();
        // While output is pending the node says "now", which a full socket has no use for; and a
        // turn in which nothing happened is not repeated at once, whatever the node says.
        let not_before = match (self.outbox.is_blocked(), self.busy) {
            (true, _) => now + BLOCKED,
            (false, true) => now,
            (false, false) => now + Duration::from_millis(1),
        };
        let next = self.node.poll_timeout().map(|at| at.max(not_before));
        let ports = self.ports.iter().flatten().filter_map(|port| port.receiver.deadline(now));
        let save = self.saver.as_ref().map(Saver::due);
        next.into_iter().chain(ports).chain(save).min().map(|at| at - now)
    }

    fn sleep(&mut self, timeout: Option<Duration>) {
        if let Err(error) = self.poll.poll(&mut self.happened, timeout)
            && error.kind() != io::ErrorKind::Interrupted
        {
            // The system cannot wait for us: not known to happen, but no reason to spin.
            thread::sleep(BLOCKED);
        }
        count(&self.shared.counters.wakeups);
        for event in &self.happened {
            let Some(Some(port)) = self.ports.get_mut(event.token().0) else {
                continue; // the waker: commands are looked for in any case
            };
            if event.is_writable() && self.outbox.is_blocked() {
                self.outbox.unblock();
                let _ = self.poll.registry().reregister(&mut port.socket, event.token(), Interest::READABLE);
            }
            port.receiver.set_readable();
        }
    }

    /// Sends what is waiting, within reason.
    fn leave(&mut self) {
        let end = self.clock.now() + FAREWELL;
        loop {
            self.transmit();
            let left = self.clock.until(end);
            if !self.outbox.is_blocked() || left.is_zero() {
                return;
            }
            self.sleep(Some(left));
        }
    }

    fn receive(&mut self, family: Family) {
        for _ in 0..RECEIVES {
            let Some(port) = &mut self.ports[family.index()] else {
                return;
            };
            let now = self.clock.now();
            match port.receiver.receive(now, || port.socket.recv_from(&mut self.buffer)) {
                Received::Datagram { len, from } => {
                    self.busy = true;
                    self.node.handle_datagram(now, from, &self.buffer[..len]);
                    // At once, so that a burst of queries does not overflow the answers' ring.
                    self.transmit();
                }
                Received::Nothing => count(&self.shared.counters.receive_errors),
                Received::Failed => return count(&self.shared.counters.receive_errors),
                Received::Empty => return,
            }
        }
    }

    fn transmit(&mut self) {
        let counters = &self.shared.counters;
        for _ in 0..SENDS {
            let now = self.clock.now();
            let sent = self.outbox.send(
                |buffer| self.node.poll_transmit(now, buffer),
                |datagram, to| match &self.ports[Family::of(&to).index()] {
                    Some(port) => port.socket.send_to(datagram, to),
                    None => Err(io::ErrorKind::NetworkUnreachable.into()),
                },
            );
            self.busy |= sent != Sent::Idle;
            match sent {
                Sent::Gone => {}
                Sent::Lost => count(&counters.sends_lost),
                Sent::Unreachable(destination) => {
                    count(&counters.sends_unreachable);
                    self.node.handle_unreachable(now, destination);
                }
                Sent::Blocked(destination) => {
                    count(&counters.sends_blocked);
                    self.blocked_since = now;
                    let index = Family::of(&destination).index();
                    if let Some(port) = &mut self.ports[index] {
                        let interest = Interest::READABLE | Interest::WRITABLE;
                        let _ = self.poll.registry().reregister(&mut port.socket, Token(index), interest);
                    }
                    return;
                }
                Sent::Idle => return,
            }
        }
    }

    /// Returns whether some are left.
    fn take_commands(&mut self) -> bool {
        for _ in 0..COMMANDS {
            let Ok(command) = self.queue.try_recv() else {
                return false;
            };
            self.busy = true;
            self.obey(command);
        }
        true
    }

    fn obey(&mut self, command: Command) {
        let now = self.clock.now();
        match command {
            Command::Node(call) => call(&mut self.node, now),
            Command::Search { key, reply } => {
                let _ = reply.send(self.search(now, key));
            }
            Command::Release(lookup) => {
                if let Some(running) = self.searches.get_mut(&lookup) {
                    running.users -= 1;
                    if running.users == 0 {
                        self.searches.remove(&lookup);
                        self.node.cancel(lookup);
                    }
                }
            }
            Command::KeepAnnounced { infohash, announce, reply } => {
                let _ = reply.send(self.keep_announced(now, infohash, announce));
            }
            Command::StopAnnouncing(kept) => {
                if let Some(keeping) = self.kept.get_mut(&kept) {
                    keeping.users -= 1;
                    if keeping.users == 0 {
                        self.kept.remove(&kept);
                        self.node.stop_announcing(kept);
                    }
                }
            }
            Command::Ping { addr, reply } => match self.node.ping(now, addr) {
                Ok(query) => drop(self.pings.insert(query, reply)),
                Err(error) => drop(reply.send(Err(error.into()))),
            },
            Command::Save(reply) => {
                let saved = self.saver.as_mut().map_or(Ok(false), |saver| saver.save(&self.node));
                let _ = reply.send(saved);
            }
            Command::Clear(reply) => {
                self.node.clear_nodes(now);
                let _ = reply.send(self.saver.as_mut().map_or(Ok(()), Saver::clear));
            }
            Command::Subscribe(subscriber) => self.subscribers.push(subscriber),
            Command::Bootstrap(attempt) => {
                if let Attempt::Resolved { addrs, .. } = &attempt {
                    self.start_from(addrs);
                }
                self.publish(match attempt {
                    Attempt::Resolved { host, addrs } => Notice::Resolved { host, addrs },
                    Attempt::Failed { host, error, retry_in } => Notice::Unresolved { host, error, retry_in },
                });
            }
        }
    }

    fn search(&mut self, now: Instant, key: Key) -> Result<(LookupId, Arc<Progress>), StartError> {
        if let Some((&lookup, running)) = self.searches.iter_mut().find(|(_, running)| running.key == key) {
            running.users += 1;
            return Ok((lookup, Arc::clone(&running.progress)));
        }
        let lookup = match &key {
            Key::Lookup(lookup, options) => self.node.lookup(now, *lookup, options)?,
            Key::Bootstrap => self.node.bootstrap(now)?,
        };
        let progress = Arc::new(Progress::default());
        self.searches.insert(lookup, Running { key, users: 1, progress: Arc::clone(&progress) });
        Ok((lookup, progress))
    }

    fn keep_announced(
        &mut self,
        now: Instant,
        infohash: InfoHash,
        announce: Announce,
    ) -> Result<(KeptId, Arc<Rounds>), StartError> {
        let kept = self.node.keep_announced(now, infohash, announce)?;
        let keeping = self.kept.entry(kept).or_default();
        keeping.users += 1;
        Ok((kept, Arc::clone(&keeping.rounds)))
    }

    fn start_from(&mut self, addrs: &[SocketAddr]) {
        let now = self.clock.now();
        for addr in addrs {
            // Refused are addresses of a family that is off, and those past the limit.
            let _ = self.node.add_bootstrap(now, *addr);
        }
    }

    fn take_events(&mut self) {
        while let Some(event) = self.node.poll_event() {
            self.busy = true;
            if !self.deliver(event) {
                self.publish(Notice::Node(event));
            }
        }
    }

    /// Returns whether somebody was waiting for it.
    fn deliver(&mut self, event: Event) -> bool {
        match event {
            Event::Ready { family } => {
                self.shared.update(|status| status.ready[family.index()] = true);
                false
            }
            Event::Peer { lookup, peer } => {
                let search = self.searches.get(&lookup).map(|running| running.progress.push_peer(peer));
                search.or_else(|| self.keeping(lookup).map(|keeping| keeping.peers.push(peer))).is_some()
            }
            Event::Acknowledged { lookup, node } => {
                let search =
                    self.searches.get(&lookup).map(|running| running.progress.push_acknowledged(node));
                search
                    .or_else(|| self.keeping(lookup).map(|keeping| keeping.acknowledged.push(node)))
                    .is_some()
            }
            Event::LookupDone { lookup, report } => {
                let Some(running) = self.searches.remove(&lookup) else {
                    let keeping = report.kept.and_then(|kept| self.kept.get_mut(&kept));
                    return keeping.map(|keeping| keeping.end(report)).is_some();
                };
                running.progress.end(report, self.node.lookup_nodes(lookup).collect());
                true
            }
            Event::QueryDone { query, result, .. } => {
                self.pings.remove(&query).map(|reply| reply.send(result.map_err(CallError::Query))).is_some()
            }
            _ => false,
        }
    }

    /// The announce of which a lookup is a round.
    fn keeping(&mut self, lookup: LookupId) -> Option<&mut Keeping> {
        self.kept.get_mut(&self.node.lookup_report(lookup)?.kept?)
    }

    fn publish(&mut self, notice: Notice) {
        let lost = publish(&mut self.subscribers, &notice);
        self.shared.counters.notices_lost.fetch_add(lost, Ordering::Relaxed);
    }
}

impl Drop for Driver {
    /// Also on a panic: nobody waits for a thread that is gone.
    fn drop(&mut self) {
        self.searches.values().for_each(|running| running.progress.close());
        self.kept.values().for_each(|keeping| keeping.rounds.close());
        self.shared.update(|status| status.closed = true);
    }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
