//! What a loop does around a node that has nothing to do with how it waits.
//!
//! - `shared`: what the handles and the loop share
//! - `mailbox`: what callers ask, in the order in which they came
//! - `commands`: what the engine does with each command
//! - `calls`: how calls begin, wait for a slot, and are given up
//! - `queue`: calls that wait for a slot of the node
//! - `delivery`: how the node's events come to the callers that wait for them
//! - `lookups`: one lookup, its callers, and what it has found for them
//! - `publications`: announces and items that are republished, and who holds them
//! - `crawls`: a crawl as the engine has it
//! - `events`: what subscribers are notified of
//! - `feed`: what the engine hands to one caller
//! - `watch`: state that others wait for to change
//! - `hosts`: bootstrap hosts, looked up and asked in turns

use alloc::collections::BTreeMap;
#[cfg(feature = "items")]
use alloc::collections::BTreeSet;
use alloc::string::ToString as _;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cell::Cell;
use core::net::{IpAddr, SocketAddr};
use core::sync::atomic::Ordering;
use core::time::Duration;
use std::{io, thread};

use self::crawls::ActiveCrawl;
use self::events::{NetEvent, Subscribers};
use self::feed::Reply;
use self::hosts::Hosts;
use self::lookups::{ActiveLookup, Sampled};
use self::mailbox::Change;
use self::publications::ActivePublication;
use self::queue::Queue;
use self::shared::Shared;
use super::clock::{Clock, SleepWatch};
use super::counters::count;
use super::error::CallError;
use super::external::{Arrival, Channel};
use super::sockets::batch::{BATCH, Datagrams};
use super::sockets::send::{SendBatch, Sent};
use super::state::file::StateFile;
use super::state::saver::Saver;
use super::state::unclaimed::Saved;
use super::trace::{self, event};
use crate::report::Pong;
use crate::{Family, Instant, LookupId, Node, PublicationId, QueryId};

mod calls;
mod commands;
pub(crate) mod crawls;
mod delivery;
pub(crate) mod events;
pub(crate) mod feed;
pub(crate) mod hosts;
pub(crate) mod lookups;
pub(crate) mod mailbox;
pub(crate) mod publications;
pub(crate) mod queue;
pub(crate) mod shared;
pub(crate) mod watch;

/// What one turn receives at most from one socket, so that none starves the others.
const RECEIVES: usize = 32;

/// Datagrams that are taken where a deadline has passed: more than fit into the buffer of a socket, so that no query is
/// given up whose answer is there, and not for ever, so that a flood does not hold up what is due.
const RECEIVES_WHEN_DUE: usize = 4096;

/// A turn that comes so much later than it was due follows a sleep: the process was stopped, or the host
/// was asleep and its clock went on.
const LATE: Duration = Duration::from_secs(2);

/// The longest wait of a node that has something to lose. A sleep of the host is noticed only at its end.
const LONGEST_WAIT: Duration = Duration::from_secs(15);

/// What one turn sends at most.
const SENDS: usize = 256;

/// How long a full socket is trusted to tell when it is not full any more.
pub(crate) const BLOCKED: Duration = Duration::from_millis(250);

/// How often subscribers are told that the system does not send, at most.
const UNSENT_NOTICES: Duration = Duration::from_secs(60);

/// How long the loop tries to get rid of its last datagrams.
pub(crate) const FAREWELL: Duration = Duration::from_millis(250);

pub(crate) struct Engine {
    pub(crate) node: Node,
    pub(crate) clock: Clock,
    pub(crate) shared: Arc<Shared>,
    /// Hosts to start from.
    hosts: Hosts,
    /// `None` where the time is not the system's.
    watch: Option<SleepWatch>,
    /// When the last event said that the system does not send, by family.
    unsent_told: [Option<Instant>; 2],
    /// The time that counts for what arrived while nobody could look.
    standing: Option<Instant>,
    send_batch: SendBatch,
    blocked_since: Instant,
    lookups: BTreeMap<LookupId, ActiveLookup>,
    publications: BTreeMap<PublicationId, ActivePublication>,
    /// What each holder of a publication holds.
    holders: BTreeMap<u64, PublicationId>,
    /// What an earlier node kept up, and nobody has asked for yet.
    saved: Saved,
    /// Single queries, with the numbers of their calls.
    pings: BTreeMap<QueryId, (u64, Reply<Pong>)>,
    samples: BTreeMap<QueryId, (u64, Reply<Sampled>)>,
    queue: Queue,
    /// Callers that wait for the newest version of an item until some time.
    #[cfg(feature = "items")]
    waits: BTreeSet<(Instant, u64)>,
    crawls: BTreeMap<u64, ActiveCrawl>,
    /// Callers that wait until the node is ready.
    waiting_ready: Vec<Reply<()>>,
    /// The caller's network, of a node without a socket.
    external: Option<Arc<Channel>>,
    subscribers: Subscribers,
    /// Saves the state, if there is a file for it.
    saver: Option<Saver>,
    /// What became of the state that the node was to begin with, until the loop starts.
    restored: Option<NetEvent>,
    /// Something came in or went out in this turn.
    busy: bool,
}

/// For how long the host has slept; not at all if its clock has counted that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slept(Duration);

#[cfg(feature = "sim")]
impl From<Duration> for Slept {
    fn from(slept: Duration) -> Self {
        Self(slept)
    }
}

impl Engine {
    pub(crate) fn new(
        node: Node,
        clock: Clock,
        shared: Arc<Shared>,
        hosts: Hosts,
        subscribers: Subscribers,
    ) -> Self {
        Self {
            node,
            clock,
            shared,
            hosts,
            watch: Some(SleepWatch::new()),
            unsent_told: [None; 2],
            standing: None,
            send_batch: SendBatch::new(BATCH),
            blocked_since: Instant::ZERO,
            lookups: BTreeMap::new(),
            publications: BTreeMap::new(),
            holders: BTreeMap::new(),
            saved: Saved::default(),
            pings: BTreeMap::new(),
            samples: BTreeMap::new(),
            queue: Queue::new(),
            #[cfg(feature = "items")]
            waits: BTreeSet::new(),
            crawls: BTreeMap::new(),
            waiting_ready: Vec::new(),
            external: None,
            subscribers,
            saver: None,
            restored: None,
            busy: false,
        }
    }

    /// Goes by its clock alone, which tells of no sleep.
    #[cfg(feature = "sim")]
    pub(crate) const fn in_virtual_time(mut self) -> Self {
        self.watch = None;
        self
    }

    /// Lets announces of an earlier node go on from where they were, once somebody wants them.
    pub(crate) fn keep_saved(&mut self, saved: Saved) {
        self.saved = saved;
    }

    /// How many calls may wait for a slot of the node.
    pub(crate) const fn limit_queue(&mut self, most: usize) {
        self.queue.set_most(most);
    }

    /// Saves the node's state from now on. What became of it before is told once the loop
    /// [starts](Self::start).
    pub(crate) fn keep_state(&mut self, saver: Option<Saver>, restored: Option<NetEvent>) {
        (self.saver, self.restored) = (saver, restored);
    }

    /// Goes without a socket, by the caller's network, which takes datagrams one by one.
    pub(crate) fn go_external(&mut self, channel: Arc<Channel>) {
        channel.attach(&self.shared);
        self.send_batch = SendBatch::new(1);
        self.external = Some(channel);
    }

    /// Begins the loop, within its span.
    pub(crate) fn start(&mut self) {
        if let Some(restored) = self.restored.take() {
            self.publish(restored);
        }
        let Self { node, clock, shared, hosts, subscribers, .. } = self;
        hosts.start(node, clock.now(), |notice| publish(shared, subscribers, &notice));
    }

    /// Begins to save the node's state for the last time.
    pub(crate) fn begin_last_save(&mut self) {
        // What was given up before the end is not to go on after it.
        self.obey_rest();
        let now = self.clock.now();
        if let Some(saver) = &mut self.saver {
            saver.end(&|| StateFile::snapshot_with(&self.node, &self.saved, now));
        }
    }

    /// Whether something waits for the disk.
    pub(crate) fn is_saving(&self) -> bool {
        self.saver.as_ref().is_some_and(Saver::is_busy)
    }

    /// Publishes what the disk has done. It wakes the loop for that.
    pub(crate) fn tend_saver(&mut self) {
        let now = self.clock.now();
        let snapshot = || StateFile::snapshot_with(&self.node, &self.saved, now);
        if let Some(notice) = self.saver.as_mut().and_then(|saver| saver.tend(&snapshot, now)) {
            self.publish(notice);
        }
    }

    /// Saves the node's state for the last time, and blocks until that is done.
    pub(crate) fn save_last(&mut self) {
        self.begin_last_save();
        while self.is_saving() {
            let now = self.clock.now();
            let snapshot = || StateFile::snapshot_with(&self.node, &self.saved, now);
            if let Some(notice) = self.saver.as_mut().and_then(|saver| saver.wait(&snapshot)) {
                self.publish(notice);
            }
        }
    }

    /// Begins a turn. Returns whether it follows a sleep: then what has arrived comes first, and
    /// [`resume`](Self::resume) after it.
    pub(crate) fn begin(&mut self) -> Option<Slept> {
        self.busy = false;
        let now = self.clock.now();
        if let Some(slept) = self.watch.as_mut().and_then(SleepWatch::slept) {
            return Some(Slept(slept));
        }
        let due = self.node.poll_timeout().filter(|&due| now - due > LATE)?;
        // Whoever answered meanwhile was not slow.
        self.standing = Some(due);
        Some(Slept(Duration::ZERO))
    }

    /// Goes on after a sleep. What nobody has answered until now is held against nobody.
    pub(crate) fn resume(&mut self, Slept(slept): Slept) {
        self.standing = None;
        event!(INFO, "woke up", slept = format_args!("{slept:?}"));
        self.node.handle_resume(self.clock.now(), slept);
        self.saved.age(slept);
        self.hosts.look_again(self.clock.now());
    }

    /// The time that counts for what arrives now.
    pub(crate) fn arrival_time(&self) -> Instant {
        self.standing.unwrap_or_else(|| self.clock.now())
    }

    /// Whether what arrives counts for an earlier time; answers to it wait until that has passed.
    pub(crate) const fn is_standing(&self) -> bool {
        self.standing.is_some()
    }

    /// Whether the node waits for a time that has come.
    pub(crate) fn is_due(&self) -> bool {
        self.node.poll_timeout().is_some_and(|at| at <= self.clock.now())
    }

    /// How many datagrams are taken before anything else is done.
    pub(crate) const fn receives(&self, is_due: bool) -> usize {
        if is_due || self.standing.is_some() { RECEIVES_WHEN_DUE } else { RECEIVES }
    }

    /// Whether the user has the node switched on.
    pub(crate) fn is_enabled(&self) -> bool {
        !self.shared.status().disabled
    }

    pub(crate) fn note_enabled(&self, enabled: bool) {
        self.shared.status().disabled = !enabled;
    }

    /// The socket of this address has been opened, at another address than before or at the same.
    pub(crate) fn on_socket_opened(&mut self, addr: SocketAddr, has_moved: bool) {
        let family = Family::of(&addr);
        self.shared.status().local_addrs[family.index()] = Some(addr);
        if !self.node.is_enabled(family) {
            self.set_enabled(family, true);
        } else if has_moved {
            self.on_network_changed(family);
        }
        self.publish(NetEvent::Rebound { addr });
    }

    /// A family has no socket for now.
    pub(crate) fn on_socket_closed(&mut self, family: Family) {
        self.shared.status().local_addrs[family.index()] = None;
        self.set_enabled(family, false);
    }

    pub(crate) fn set_enabled(&mut self, family: Family, enabled: bool) {
        self.node.set_enabled(self.clock.now(), family, enabled);
        if enabled {
            self.hosts.look_again(self.clock.now());
        } else {
            self.send_batch.drop_for(family);
        }
        self.busy = true;
        self.note_ready();
    }

    /// Our address in a family is not what it was.
    pub(crate) fn on_network_changed(&mut self, family: Family) {
        self.node.handle_rebind(self.clock.now(), family);
        self.hosts.look_again(self.clock.now());
        self.busy = true;
        self.note_ready();
    }

    /// Notes for the handles which families are ready. There is an event only when one has become so.
    fn note_ready(&mut self) {
        let ready = Family::ALL.map(|family| self.node.is_ready(family));
        self.shared.status().ready = ready;
        if ready != [false; 2] {
            self.waiting_ready.drain(..).for_each(|reply| reply.end(Ok(())));
        }
    }

    /// `local` is our address that it came to, if that is known.
    pub(crate) fn handle_datagram(
        &mut self,
        now: Instant,
        from: SocketAddr,
        local: Option<IpAddr>,
        datagram: &[u8],
    ) {
        self.busy = true;
        event!(TRACE, "received", from = from, bytes = datagram.len());
        self.node.handle_datagram_at(now, from, local, datagram);
        // At once, so that a burst of datagrams does not overflow the events' ring.
        self.deliver_events();
    }

    /// Takes the next of what has come in by the caller's network. Returns whether there was any.
    pub(crate) fn receive_external(&mut self, now: Instant) -> bool {
        let arrival = self.external.as_ref().and_then(|channel| channel.next_arrival());
        match arrival {
            None => return false,
            Some(Arrival::Datagram { from, local, datagram }) => {
                self.handle_datagram(now, from, local, &datagram);
            }
            Some(Arrival::Unsent(destination)) => self.node.handle_unsent(now, destination),
            Some(Arrival::Unreachable(destination)) => self.node.handle_unreachable(now, destination),
        }
        true
    }

    /// Switches the node off or on, or has it forget its address: the sockets are the caller's.
    pub(crate) fn change_external(&mut self, change: Change) -> Result<(), CallError> {
        match change {
            Change::Enable(enabled) => {
                self.note_enabled(enabled);
                Family::ALL.into_iter().for_each(|family| self.set_enabled(family, enabled));
            }
            Change::Rebind(None) => {
                Family::ALL.into_iter().for_each(|family| self.on_network_changed(family));
            }
            Change::Rebind(Some(_)) => return Err(CallError::NoSocket),
        }
        Ok(())
    }

    /// Whether the node has no socket of its own.
    pub(crate) const fn is_external(&self) -> bool {
        self.external.is_some()
    }

    /// Does what its time has come for.
    pub(crate) fn tick(&mut self) {
        let now = self.clock.now();
        if self.is_due() {
            self.node.handle_timeout(now);
        }
        self.retry_sending();
        if self.send_batch.is_blocked() && now - self.blocked_since >= BLOCKED {
            self.send_batch.unblock();
        }
        self.tend_saver();
    }

    /// Writes what the node has to send. Returns whether the batch is full, and has to be
    /// [sent](Self::transmit) before the rest is written.
    pub(crate) fn fill_batch(&mut self, now: Instant) -> bool {
        let Self { node, send_batch, .. } = self;
        send_batch.fill(|buffer| node.poll_transmit(now, buffer))
    }

    /// Sends what there is to send, but not without end, by `send`, which returns how many datagrams have left. If
    /// a socket is full, returns the destination that could not be sent to.
    pub(crate) fn transmit(
        &mut self,
        mut send: impl FnMut(Datagrams<'_>) -> io::Result<usize>,
    ) -> Option<SocketAddr> {
        let (failure, shared, external) = (Cell::new(None), Arc::clone(&self.shared), self.external.clone());
        let left = Cell::new(SENDS);
        let mut send = |datagrams: Datagrams<'_>| {
            let sent = match &external {
                Some(channel) => channel.send(datagrams),
                None => send(datagrams),
            };
            match &sent {
                Ok(count) => {
                    left.set(left.get().saturating_sub(*count));
                    for transmit in datagrams.transmits().iter().take(*count) {
                        event!(TRACE, "sent", to = transmit.destination, bytes = transmit.size);
                    }
                }
                Err(error) => {
                    left.set(left.get().saturating_sub(1));
                    if let Some((transmit, _)) = datagrams.first() {
                        event!(DEBUG, "cannot send", to = transmit.destination, error = error);
                    }
                    shared.note_send_error(error);
                    let kind = || io::Error::from(error.kind());
                    failure.set(Some(error.raw_os_error().map_or_else(kind, io::Error::from_raw_os_error)));
                }
            }
            sent
        };
        let now = self.clock.now();
        while left.get() > 0 {
            self.fill_batch(now);
            let sent = self.send_batch.send(&mut send);
            self.busy |= sent != Sent::Idle;
            match sent {
                Sent::Gone => {}
                Sent::Unsent(destination) => {
                    count(&self.shared.counters.sends_lost);
                    self.node.handle_unsent(now, destination);
                    if let Some(error) = failure.take() {
                        self.tell_unsent(now, destination, &error);
                    }
                }
                Sent::Unreachable(destination) => {
                    count(&self.shared.counters.sends_unreachable);
                    self.node.handle_unreachable(now, destination);
                }
                Sent::Blocked(destination) => {
                    self.blocked_since = now;
                    return Some(destination);
                }
                Sent::Idle => break,
            }
        }
        None
    }

    fn tell_unsent(&mut self, now: Instant, destination: SocketAddr, error: &io::Error) {
        let told = &mut self.unsent_told[Family::of(&destination).index()];
        if told.is_none_or(|told| now - told >= UNSENT_NOTICES) {
            *told = Some(now);
            self.publish(NetEvent::Unsent { destination, error: error.to_string() });
        }
    }

    /// Whether a full socket holds up what there is to send.
    pub(crate) fn is_blocked(&self) -> bool {
        self.send_batch.is_blocked()
    }

    /// Tries a full caller's network once more.
    pub(crate) fn retry_sending(&mut self) {
        if self.external.as_ref().is_some_and(|channel| channel.has_room()) {
            self.unblock();
        }
    }

    pub(crate) fn unblock(&mut self) {
        self.send_batch.unblock();
    }

    /// When the next turn is due if nothing happens before; `None`: never.
    pub(crate) fn next_turn(&self, now: Instant) -> Option<Instant> {
        // While output is pending the node says "now", which a full socket has no use for; and a
        // turn in which nothing happened is not repeated at once, whatever the node says.
        let not_before = match (self.send_batch.is_blocked(), self.busy) {
            (true, _) => now + BLOCKED,
            (false, true) => now,
            (false, false) => now + Duration::from_millis(1),
        };
        let next = self.deadline().map(|at| at.max(not_before));
        let watch = (self.watch.is_some() && self.has_something()).then(|| now + LONGEST_WAIT);
        #[cfg(feature = "items")]
        let watch = watch.into_iter().chain(self.waits.first().map(|&(at, _)| at));
        let others = self.saver.as_ref().map(Saver::due).into_iter().chain(self.hosts.due(now)).chain(watch);
        next.into_iter().chain(others).min()
    }

    /// When the node or a crawl is due.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let crawls = self.crawls.values().filter_map(ActiveCrawl::due);
        self.node.poll_timeout().into_iter().chain(crawls).min()
    }

    /// Whether the node holds anything that a sleep would make old.
    fn has_something(&self) -> bool {
        Family::ALL.into_iter().any(|family| self.node.node_count(family) > 0)
            || self.node.infohash_count() > 0
            || !self.lookups.is_empty()
            || !self.publications.is_empty()
    }

    pub(crate) fn take_events(&mut self) {
        self.note_ready();
        self.deliver_events();
        self.serve_queue();
        let now = self.clock.now();
        #[cfg(feature = "items")]
        self.end_waits(now);
        self.crawls.values_mut().for_each(|crawl| crawl.go_on(now, &mut self.node));
        let Self { node, shared, hosts, subscribers, .. } = self;
        hosts.tend(node, now, |notice| publish(shared, subscribers, &notice));
    }

    pub(crate) fn publish(&mut self, notice: NetEvent) {
        publish(&self.shared, &mut self.subscribers, &notice);
    }
}

fn publish(shared: &Shared, subscribers: &mut Subscribers, notice: &NetEvent) {
    trace::notice(notice);
    let lost = subscribers.publish(notice);
    shared.counters.notices_lost.fetch_add(lost, Ordering::Relaxed);
}

impl Drop for Engine {
    /// Ends whatever callers wait for, also on a panic: nobody waits for a loop that is gone.
    fn drop(&mut self) {
        // A task does not get to its end if the runtime ends before. After a panic nobody knows what
        // the node is worth.
        if !thread::panicking() {
            self.save_last();
        }
        self.shared.close();
        // Whoever waits for an answer to what was asked too late is told so.
        while let Some(command) = self.shared.next_command() {
            drop(command);
        }
        if let Some(external) = &self.external {
            external.close();
        }
        self.shared.status().ready = [false; 2];
    }
}

#[cfg(test)]
pub(crate) mod tests;
