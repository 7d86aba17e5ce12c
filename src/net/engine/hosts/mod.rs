//! The bootstrap hosts of a node: their names are looked up until the DHT is joined, and again when it has to
//! be joined anew; their addresses take turns where there are more than the core has places for.
//!
//! Look-ups block, so each has a thread of its own; when they begin and what becomes of them is decided
//! here, without a clock.

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

/// Look-ups side by side.
const SIDE_BY_SIDE: usize = 8;

/// The time after which a look-up that hangs gives way to others.
const SLOW: Duration = Duration::from_secs(3);

/// Look-ups at a time, those that hang included: nothing can end a thread in the system's resolver. While
/// so many hang no other name is looked up.
const THREADS: usize = 32;

/// Pauses after a look-up that failed: mostly there is no network yet, and then it costs nobody anything.
const FAILED: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(15));

/// Pauses after one that succeeded while the DHT is not joined: the answer may have been wrong, as that of a
/// captive portal is. The first is longer than joining takes.
const SUCCEEDED: Backoff = Backoff::new(Duration::from_secs(10), Duration::from_secs(60));

/// Addresses of one name that are used; the usual ones have one or two.
const ADDRS: usize = 32;

/// How long the addresses in the core's places are asked before others have their turn.
const TURN: Duration = Duration::from_secs(15);

#[derive(Debug)]
pub(crate) struct Hosts {
    /// In the order in which they are looked up.
    hosts: Vec<Host>,
    /// In the [`Config`](crate::Config), by family.
    families: [bool; 2],
    resolver: Resolver,
    answers: Arc<Answers>,
    /// Addresses that the core has, for the longest time first.
    placed: VecDeque<SocketAddr>,
    /// Addresses that wait for a place.
    waiting: VecDeque<SocketAddr>,
    /// When others have their turn.
    turn: Instant,
    /// Whether the DHT is joined in some family.
    joined: bool,
    /// Whether some family is on.
    enabled: bool,
}

#[derive(Debug)]
struct Host {
    /// As it was given.
    host: String,
    kind: BootstrapKind,
    addrs: Vec<SocketAddr>,
    /// How a name is looked up; `None` for an address.
    look_up: Option<LookUp>,
    /// Whether what became of its addresses was told.
    refused: Option<(SocketAddr, BootstrapRefusal)>,
}

#[derive(Debug)]
struct LookUp {
    /// When it began, if it is under way.
    since: Option<Instant>,
    /// When it is due, if the DHT is not joined by then.
    next: Instant,
    /// Due even so.
    is_owed: bool,
    has_failed: bool,
    failed: Backoff,
    succeeded: Backoff,
}

/// What the threads have found, by the index of the host.
#[derive(Debug)]
struct Answers {
    found: Mutex<Vec<(usize, io::Result<Vec<SocketAddr>>)>>,
    /// Wakes the loop.
    waker: Waker,
}

impl Hosts {
    /// The hosts that the user has named, and routers beside them, come before the usual ones.
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

    /// Takes the addresses that need no look-up, and begins with the others.
    pub(crate) fn start(&mut self, node: &mut Node, now: Instant, mut publish: impl FnMut(NetEvent)) {
        for index in 0..self.hosts.len() {
            let Some(host) = self.hosts.get(index).filter(|host| host.look_up.is_none()) else { continue };
            if host.host.parse::<SocketAddr>().is_err() {
                publish(NetEvent::Resolved { host: host.host.clone(), addrs: host.addrs.clone() });
            }
            self.use_addrs(index, node, now, &mut publish);
        }
        self.tend(node, now, publish);
    }

    /// Takes what was found, begins the look-ups that are due, and has the addresses take turns.
    pub(crate) fn tend(&mut self, node: &mut Node, now: Instant, mut publish: impl FnMut(NetEvent)) {
        self.note_joined(node, now);
        let found = core::mem::take(&mut *lock(&self.answers.found));
        for (index, result) in found {
            self.take(index, result, node, now, &mut publish);
        }
        while let Some(index) = self.begin_next(now) {
            self.spawn(index);
        }
        self.take_turns(node, now);
    }

    /// When to call [`Self::tend`] next, if the waker does not say so before.
    pub(crate) fn due(&self, now: Instant) -> Option<Instant> {
        if !self.enabled {
            return None;
        }
        let turn = (!self.joined && !self.waiting.is_empty()).then_some(self.turn);
        let next = self.look_ups().filter(|look_up| self.wants(look_up)).map(|look_up| look_up.next).min();
        let next = match next {
            Some(next) if next <= now => self.room_at(now),
            other => other,
        };
        turn.into_iter().chain(next).min()
    }

    /// The network is another one, or the host has slept: looks all names up again, if only once.
    pub(crate) fn look_again(&mut self, now: Instant) {
        for look_up in self.hosts.iter_mut().filter_map(|host| host.look_up.as_mut()) {
            (look_up.next, look_up.is_owed) = (now, true);
            look_up.failed.reset();
            look_up.succeeded.reset();
        }
    }

    /// Once the DHT has been lost the names are looked up without delay.
    fn note_joined(&mut self, node: &Node, now: Instant) {
        self.enabled = Family::ALL.into_iter().any(|family| node.is_enabled(family));
        let joined = Family::ALL.into_iter().any(|family| node.is_ready(family));
        if core::mem::replace(&mut self.joined, joined) && !joined {
            self.look_again(now);
        }
    }

    /// The host to look up now, which is under way from now on.
    fn begin_next(&mut self, now: Instant) -> Option<usize> {
        if !self.enabled || self.room_at(now) != Some(now) {
            return None;
        }
        let wanted = self.hosts.iter().enumerate().filter_map(|(index, host)| {
            host.look_up.as_ref().filter(|look_up| self.wants(look_up)).map(|look_up| (look_up.next, index))
        });
        // The one that has waited longest; at first, and on another network, the one that was named first.
        let (_, index) = wanted.min().filter(|(next, _)| *next <= now)?;
        let look_up = self.hosts.get_mut(index)?.look_up.as_mut()?;
        (look_up.since, look_up.is_owed) = (Some(now), false);
        Some(index)
    }

    fn look_ups(&self) -> impl Iterator<Item = &LookUp> {
        self.hosts.iter().filter_map(|host| host.look_up.as_ref())
    }

    fn wants(&self, look_up: &LookUp) -> bool {
        look_up.since.is_none() && (look_up.is_owed || !self.joined)
    }

    /// When another look-up may begin, as far as is known.
    fn room_at(&self, now: Instant) -> Option<Instant> {
        let since = || self.look_ups().filter_map(|look_up| look_up.since);
        let lively = || since().map(|since| since + SLOW).filter(|slow| *slow > now);
        match (since().count() < THREADS, lively().count() < SIDE_BY_SIDE) {
            (false, _) => None,
            (true, true) => Some(now),
            (true, false) => lively().min(),
        }
    }

    fn spawn(&self, index: usize) {
        let Some(host) = self.hosts.get(index).map(|host| host.host.clone()) else { return };
        let resolver = self.resolver.clone();
        let answer = Answer { index, answers: Arc::clone(&self.answers), result: None };
        // If there is no thread, or the resolver panics, the answer is dropped as it is.
        let thread = thread::Builder::new().name("dht-resolve".to_string());
        let _ = thread.spawn(move || {
            let mut answer = answer;
            answer.result = Some(resolver.look_up(&host));
        });
    }

    fn take(
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

    /// Gives the core the addresses of a host, as far as it has places, and tells if it may ask none of them.
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

    /// Whoever has the address of a router is one.
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

    /// Nobody has this address any more, unless another host has.
    fn forget(&mut self, addr: SocketAddr, node: &mut Node) {
        if self.hosts.iter().any(|host| host.addrs.contains(&addr)) {
            return;
        }
        self.waiting.retain(|waiting| *waiting != addr);
        // One that stands in the table stays in its place.
        if self.placed.contains(&addr) && node.remove_bootstrap(addr) {
            self.placed.retain(|placed| *placed != addr);
        }
    }

    /// Gives the places of addresses that have not answered to those that wait, while the DHT is not joined.
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
            is_owed: true,
            has_failed: false,
            failed: FAILED,
            succeeded: SUCCEEDED,
        });
        Self { host, kind, addrs: addrs.unwrap_or_default(), look_up, refused: None }
    }
}

/// Reports to the loop, by its drop, what was found.
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
