//! The bootstrap hosts of a node. Their names are resolved until the DHT is joined, and again when it has to be
//! rejoined; their addresses take turns if there are more than the core has slots for.
//!
//! Resolving blocks, so each look-up has a thread of its own. When look-ups start and what their results cause is
//! decided here, without a clock.

use alloc::collections::VecDeque;
use alloc::string::{String, ToString as _};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::task::Waker;
use core::time::Duration;
use std::sync::Mutex;
use std::{io, thread};

use super::events::{BootstrapRefusal, NetEvent};
use super::watch::lock;
use crate::errors::ContactError;
use crate::net::resolve::{BOOTSTRAP_HOSTS, Backoff, Resolver, literal};
use crate::{BootstrapKind, Family, Instant, Node};

/// Look-ups in parallel, apart from slow ones.
const SIDE_BY_SIDE: usize = 8;

/// The time after which a look-up is slow, and another may start in parallel.
const SLOW: Duration = Duration::from_secs(3);

/// Look-ups in parallel, including slow ones: a thread in the system's resolver cannot be ended. While there are as
/// many, no other name is resolved.
const THREADS: usize = 32;

/// Pauses after a look-up that failed. They are short: usually there is no network yet, and a look-up causes no load.
const FAILED: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(15));

/// Pauses after a look-up that succeeded while the DHT is not joined: the addresses may be wrong, like those from a
/// captive portal. The first pause is longer than joining takes.
const SUCCEEDED: Backoff = Backoff::new(Duration::from_secs(10), Duration::from_secs(60));

/// Addresses of one name that are used; most names have one or two.
const ADDRS: usize = 32;

/// The time for which addresses stay in the slots of the core before others take their turn.
const TURN: Duration = Duration::from_secs(15);

#[derive(Debug)]
pub(crate) struct Hosts {
    /// All hosts, in the order in which they are resolved.
    hosts: Vec<Host>,
    /// Whether each family is on in the [`Config`](crate::Config).
    families: [bool; 2],
    resolver: Resolver,
    answers: Arc<Answers>,
    /// Addresses in slots of the core, the oldest first.
    placed: VecDeque<SocketAddr>,
    /// Addresses that wait for a slot.
    waiting: VecDeque<SocketAddr>,
    /// When the addresses take turns next.
    turn: Instant,
    /// Whether the DHT is joined in some family.
    joined: bool,
    /// Whether some family is on.
    enabled: bool,
}

#[derive(Debug)]
struct Host {
    /// The host as it was given.
    host: String,
    kind: BootstrapKind,
    addrs: Vec<SocketAddr>,
    /// The state of its look-ups; `None` for an address.
    look_up: Option<LookUp>,
    /// The refused address that was reported last, and the reason.
    refused: Option<(SocketAddr, BootstrapRefusal)>,
}

#[derive(Debug)]
struct LookUp {
    /// When the look-up in progress started.
    since: Option<Instant>,
    /// When the next look-up is due, if the DHT is not joined by then.
    next: Instant,
    /// Whether the next look-up is due even if the DHT is joined.
    is_required: bool,
    has_failed: bool,
    failed: Backoff,
    succeeded: Backoff,
}

/// The results of the threads, by the index of the host.
#[derive(Debug)]
struct Answers {
    found: Mutex<Vec<(usize, io::Result<Vec<SocketAddr>>)>>,
    /// Wakes the loop.
    waker: Waker,
}

impl Hosts {
    /// Creates the hosts: those that the user has set and the additional routers come before the default ones.
    pub(crate) fn new(
        (mut hosts, routers): (Vec<String>, Vec<String>),
        families: [bool; 2],
        resolver: Resolver,
        waker: Waker,
    ) -> Self {
        hosts.retain(|host| !routers.contains(host));
        let is_usual = |host: &String| BOOTSTRAP_HOSTS.contains(&host.as_str());
        let own = hosts.into_iter().map(|host| {
            let kind = if is_usual(&host) { BootstrapKind::Router } else { BootstrapKind::Node };
            Host::new(host, kind)
        });
        let routers = routers.into_iter().map(|host| Host::new(host, BootstrapKind::Router));
        let mut hosts: Vec<_> = own.chain(routers).collect();
        hosts.sort_by_key(|host| is_usual(&host.host));
        let answers = Arc::new(Answers { found: Mutex::default(), waker });
        Self {
            hosts,
            families,
            resolver,
            answers,
            placed: VecDeque::new(),
            waiting: VecDeque::new(),
            turn: Instant::ZERO,
            joined: false,
            enabled: true,
        }
    }

    /// Uses the addresses that need no look-up, and starts to resolve the names.
    pub(crate) fn start(&mut self, node: &mut Node, now: Instant, mut publish: impl FnMut(NetEvent)) {
        for index in 0..self.hosts.len() {
            let Some(host) = self.hosts.get(index).filter(|host| host.look_up.is_none()) else { continue };
            if host.host.parse::<SocketAddr>().is_err() {
                publish(NetEvent::Resolved { host: host.host.clone(), addrs: host.addrs.clone() });
            }
            self.use_addrs(index, node, now, &mut publish);
        }
        self.poll(node, now, publish);
    }

    /// Takes the results of look-ups, starts those that are due, and makes the addresses take turns.
    pub(crate) fn poll(&mut self, node: &mut Node, now: Instant, mut publish: impl FnMut(NetEvent)) {
        self.note_joined(node, now);
        let found = core::mem::take(&mut *lock(&self.answers.found));
        for (index, result) in found {
            self.handle_result(index, result, node, now, &mut publish);
        }
        while let Some(index) = self.begin_next(now) {
            self.spawn(index);
        }
        self.take_turns(node, now);
    }

    /// Returns when to call [`Self::poll`] next, if the waker is not called before.
    pub(crate) fn due(&self, now: Instant) -> Option<Instant> {
        if !self.enabled {
            return None;
        }
        let turn = (!self.joined && !self.waiting.is_empty()).then_some(self.turn);
        let next =
            self.look_ups().filter(|look_up| self.is_wanted(look_up)).map(|look_up| look_up.next).min();
        let next = match next {
            Some(next) if next <= now => self.room_at(now),
            other => other,
        };
        turn.into_iter().chain(next).min()
    }

    /// Makes one look-up of each name due even if the DHT is joined, after a change of the network or a sleep.
    pub(crate) fn resolve_again(&mut self, now: Instant) {
        for look_up in self.hosts.iter_mut().filter_map(|host| host.look_up.as_mut()) {
            (look_up.next, look_up.is_required) = (now, true);
            look_up.failed.reset();
            look_up.succeeded.reset();
        }
    }

    /// Updates whether the DHT is joined. Once it is lost, all names are due.
    fn note_joined(&mut self, node: &Node, now: Instant) {
        self.enabled = Family::ALL.into_iter().any(|family| node.is_enabled(family));
        let joined = Family::ALL.into_iter().any(|family| node.is_ready(family));
        if core::mem::replace(&mut self.joined, joined) && !joined {
            self.resolve_again(now);
        }
    }

    /// Returns the host to resolve now, and marks its look-up as started.
    fn begin_next(&mut self, now: Instant) -> Option<usize> {
        if !self.enabled || self.room_at(now) != Some(now) {
            return None;
        }
        let wanted = self.hosts.iter().enumerate().filter_map(|(index, host)| {
            host.look_up
                .as_ref()
                .filter(|look_up| self.is_wanted(look_up))
                .map(|look_up| (look_up.next, index))
        });
        // The one that is overdue longest; at first, and on another network, the one that was named first.
        let (_, index) = wanted.min().filter(|(next, _)| *next <= now)?;
        let look_up = self.hosts.get_mut(index)?.look_up.as_mut()?;
        (look_up.since, look_up.is_required) = (Some(now), false);
        Some(index)
    }

    fn look_ups(&self) -> impl Iterator<Item = &LookUp> {
        self.hosts.iter().filter_map(|host| host.look_up.as_ref())
    }

    fn is_wanted(&self, look_up: &LookUp) -> bool {
        look_up.since.is_none() && (look_up.is_required || !self.joined)
    }

    /// Returns when another look-up may start, as far as is known.
    fn room_at(&self, now: Instant) -> Option<Instant> {
        let since = || self.look_ups().filter_map(|look_up| look_up.since);
        let recent = || since().map(|since| since + SLOW).filter(|slow| *slow > now);
        match (since().count() < THREADS, recent().count() < SIDE_BY_SIDE) {
            (false, _) => None,
            (true, true) => Some(now),
            (true, false) => recent().min(),
        }
    }

    fn spawn(&self, index: usize) {
        let Some(host) = self.hosts.get(index).map(|host| host.host.clone()) else { return };
        let resolver = self.resolver.clone();
        let answer = Answer { index, answers: Arc::clone(&self.answers), result: None };
        // If no thread can be started, or the resolver panics, the answer is dropped without a result.
        let thread = thread::Builder::new().name("dht-resolve".to_string());
        let _ = thread.spawn(move || {
            let mut answer = answer;
            answer.result = Some(resolver.look_up(&host));
        });
    }

    fn handle_result(
        &mut self,
        index: usize,
        result: io::Result<Vec<SocketAddr>>,
        node: &mut Node,
        now: Instant,
        publish: &mut impl FnMut(NetEvent),
    ) {
        let Some(host) = self.hosts.get_mut(index) else { return };
        let Some(look_up) = &mut host.look_up else { return };
        look_up.since = None;
        match result {
            Ok(mut addrs) => {
                addrs.sort_unstable();
                addrs.dedup();
                addrs.truncate(ADDRS);
                look_up.next = now + look_up.succeeded.next();
                look_up.failed.reset();
                let is_news = core::mem::take(&mut look_up.has_failed) || host.addrs != addrs;
                let former = core::mem::replace(&mut host.addrs, addrs);
                if is_news {
                    publish(NetEvent::Resolved { host: host.host.clone(), addrs: host.addrs.clone() });
                }
                for addr in former {
                    self.forget(addr, node);
                }
                self.use_addrs(index, node, now, publish);
            }
            Err(error) => {
                let retry_in = look_up.failed.next();
                (look_up.next, look_up.has_failed) = (now + retry_in, true);
                publish(NetEvent::Unresolved { host: host.host.clone(), error: error.to_string(), retry_in });
            }
        }
    }

    /// Adds the addresses of a host to the core, as far as it has slots, and reports a host with none that may be
    /// contacted.
    fn use_addrs(&mut self, index: usize, node: &mut Node, now: Instant, publish: &mut impl FnMut(NetEvent)) {
        let Some(host) = self.hosts.get(index) else { return };
        let (mut is_usable, mut refused) = (false, None);
        for addr in host.addrs.clone() {
            match self.offer(addr, node, now) {
                Ok(()) => is_usable = true,
                Err(reason) => refused = refused.max(Some((reason, addr))),
            }
        }
        let refused = refused.filter(|_| !is_usable).map(|(reason, addr)| (addr, reason));
        let Some(host) = self.hosts.get_mut(index) else { return };
        let before = core::mem::replace(&mut host.refused, refused);
        if let Some((addr, reason)) = refused
            && before != refused
        {
            let retry_in = host.look_up.as_ref().map(|look_up| look_up.next - now);
            publish(NetEvent::BootstrapRefused { host: host.host.clone(), addr, reason, retry_in });
        }
    }

    fn offer(&mut self, addr: SocketAddr, node: &mut Node, now: Instant) -> Result<(), BootstrapRefusal> {
        if !self.families[Family::of(&addr).index()] {
            return Err(BootstrapRefusal::Family);
        }
        if self.placed.contains(&addr) || self.waiting.contains(&addr) {
            return Ok(());
        }
        match node.add_bootstrap(now, addr, self.kind_of(addr)) {
            Ok(()) => self.placed.push_back(addr),
            Err(ContactError::Full { .. }) => self.wait_for_place(addr, now),
            Err(_) => return Err(BootstrapRefusal::Policy),
        }
        Ok(())
    }

    /// Returns the kind of an address: a router if any router has it.
    fn kind_of(&self, addr: SocketAddr) -> BootstrapKind {
        let is_router = |host: &Host| host.kind == BootstrapKind::Router && host.addrs.contains(&addr);
        if self.hosts.iter().any(is_router) { BootstrapKind::Router } else { BootstrapKind::Node }
    }

    fn wait_for_place(&mut self, addr: SocketAddr, now: Instant) {
        if self.waiting.is_empty() {
            self.turn = now + TURN;
        }
        self.waiting.push_back(addr);
    }

    /// Removes an address that no host has any more.
    fn forget(&mut self, addr: SocketAddr, node: &mut Node) {
        if self.hosts.iter().any(|host| host.addrs.contains(&addr)) {
            return;
        }
        self.waiting.retain(|waiting| *waiting != addr);
        // One that is in the routing table keeps its slot.
        if self.placed.contains(&addr) && node.remove_bootstrap(addr) {
            self.placed.retain(|placed| *placed != addr);
        }
    }

    /// Moves addresses that have not responded from their slots to the queue, in favour of those that wait.
    fn take_turns(&mut self, node: &mut Node, now: Instant) {
        if self.waiting.is_empty() || self.joined || !self.enabled || now < self.turn {
            return;
        }
        self.turn = now + TURN;
        for _ in 0..self.placed.len().min(self.waiting.len()) {
            let Some(addr) = self.placed.pop_front() else { break };
            if node.remove_bootstrap(addr) {
                self.waiting.push_back(addr);
            } else {
                self.placed.push_back(addr);
            }
        }
        while let Some(addr) = self.waiting.pop_front() {
            if node.add_bootstrap(now, addr, self.kind_of(addr)).is_err() {
                self.waiting.push_front(addr);
                break;
            }
            self.placed.push_back(addr);
        }
    }
}

impl Host {
    fn new(host: String, kind: BootstrapKind) -> Self {
        let addrs = literal(&host);
        let look_up = addrs.is_none().then_some(LookUp {
            since: None,
            next: Instant::ZERO,
            is_required: true,
            has_failed: false,
            failed: FAILED,
            succeeded: SUCCEEDED,
        });
        Self { host, kind, addrs: addrs.unwrap_or_default(), look_up, refused: None }
    }
}

/// The result of a look-up, reported to the loop when it is dropped.
struct Answer {
    index: usize,
    answers: Arc<Answers>,
    result: Option<io::Result<Vec<SocketAddr>>>,
}

impl Drop for Answer {
    fn drop(&mut self) {
        let nothing = || Err(io::Error::other("there was no thread for it, or it panicked"));
        let result = self.result.take().unwrap_or_else(nothing);
        lock(&self.answers.found).push((self.index, result));
        self.answers.waker.wake_by_ref();
    }
}

#[cfg(test)]
mod tests;
