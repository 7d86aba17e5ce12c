//! The part of every loop that does not depend on how the loop waits.
//!
//! - `shared`: state that handles and loop share
//! - `mailbox`: commands of callers, in order of arrival
//! - `commands`: how each command is executed
//! - `calls`: how calls start, wait for a slot, and are cancelled
//! - `queue`: calls that wait for a slot of the node
//! - `delivery`: events of the node, delivered to the callers that wait for them
//! - `lookups`: one lookup, its callers, and its results so far
//! - `publications`: announces and items that are republished, and their holders
//! - `crawls`: one crawl, and its caller
//! - `events`: events for subscribers
//! - `feed`: a channel from the engine to one caller
//! - `watch`: a value whose changes threads and tasks wait for
//! - `hosts`: bootstrap hosts, resolved and queried in turns

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

/// Datagrams that one turn receives from one socket at most, so that none starves the others.
const RECEIVES: usize = 32;

/// Datagrams that are taken where a deadline has passed: more than fit into the buffer of a socket, so that no query
/// times out whose response waits there; but bounded, so that a flood does not delay the deadline.
const RECEIVES_WHEN_DUE: usize = 4096;

/// The delay of a turn from which on it is assumed to follow a sleep: the process was stopped, or the host slept while
/// its clock continued.
const LATE: Duration = Duration::from_secs(2);

/// The longest wait of a node with state that a sleep would make outdated: a sleep is noticed at the next turn only.
const LONGEST_WAIT: Duration = Duration::from_secs(15);

/// Datagrams that one turn sends at most.
const SENDS: usize = 256;

/// The time after which a full socket is tried again although the system has not reported it writable.
pub(crate) const BLOCKED: Duration = Duration::from_millis(250);

/// The shortest time between two events about datagrams that the system did not send.
const UNSENT_INTERVAL: Duration = Duration::from_secs(60);

/// The time in which the loop tries to send the last datagrams.
pub(crate) const FLUSH_TIME: Duration = Duration::from_millis(250);

pub(crate) struct Engine {
    pub(crate) node: Node,
    pub(crate) clock: Clock,
    pub(crate) shared: Arc<Shared>,
    /// Bootstrap hosts.
    hosts: Hosts,
    /// Detects sleeps of the host; `None` in virtual time.
    watch: Option<SleepWatch>,
    /// The time of the last event about a datagram that the system did not send, by family.
    unsent_reported: [Option<Instant>; 2],
    /// The arrival time of datagrams that came while the process was stopped.
    backdate: Option<Instant>,
    send_batch: SendBatch,
    blocked_since: Instant,
    lookups: BTreeMap<LookupId, ActiveLookup>,
    publications: BTreeMap<PublicationId, ActivePublication>,
    /// The publication of each holder.
    holders: BTreeMap<u64, PublicationId>,
    /// Publications of an earlier node that no caller has started again yet.
    saved: Saved,
    /// Pings, with the numbers of their calls.
    pings: BTreeMap<QueryId, (u64, Reply<Pong>)>,
    samples: BTreeMap<QueryId, (u64, Reply<Sampled>)>,
    queue: Queue,
    /// Callers that wait for the newest version of an item, with the ends of their waits.
    #[cfg(feature = "items")]
    waits: BTreeSet<(Instant, u64)>,
    crawls: BTreeMap<u64, ActiveCrawl>,
    /// Callers that wait until the node is ready.
    waiting_ready: Vec<Reply<()>>,
    /// The queues to the caller's network, for a node without a socket.
    external: Option<Arc<Channel>>,
    subscribers: Subscribers,
    /// Saves the state, if it has a file.
    saver: Option<Saver>,
    /// The event about the restored state, until the loop starts.
    restored: Option<NetEvent>,
    /// Whether anything was received, sent or executed in this turn.
    busy: bool,
}

/// The length of a sleep of the host; zero if its clock has counted that time.
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
            unsent_reported: [None; 2],
            backdate: None,
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

    /// Relies on its clock alone, and does not detect sleeps of this host.
    #[cfg(feature = "sim")]
    pub(crate) const fn in_virtual_time(mut self) -> Self {
        self.watch = None;
        self
    }

    /// Sets the publications of an earlier node, which are resumed once they are started again.
    pub(crate) fn set_saved(&mut self, saved: Saved) {
        self.saved = saved;
    }

    /// Limits the number of calls that may wait for a slot of the node.
    pub(crate) const fn limit_queue(&mut self, most: usize) {
        self.queue.set_most(most);
    }

    /// Sets what saves the state of the node, and the event about the restored state, which is published once the loop
    /// [starts](Self::start).
    pub(crate) fn set_saver(&mut self, saver: Option<Saver>, restored: Option<NetEvent>) {
        (self.saver, self.restored) = (saver, restored);
    }

    /// Replaces the sockets by the caller's network, which takes datagrams one by one.
    pub(crate) fn use_external(&mut self, channel: Arc<Channel>) {
        channel.attach(&self.shared);
        self.send_batch = SendBatch::new(1);
        self.external = Some(channel);
    }

    /// Starts the loop, within its span.
    pub(crate) fn start(&mut self) {
        if let Some(restored) = self.restored.take() {
            self.publish(restored);
        }
        let Self { node, clock, shared, hosts, subscribers, .. } = self;
        hosts.start(node, clock.now(), |notice| publish(shared, subscribers, &notice));
    }

    /// Starts to save the state of the node for the last time.
    pub(crate) fn begin_last_save(&mut self) {
        // What was cancelled before the end must not be saved as ongoing.
        self.execute_remaining();
        let now = self.clock.now();
        if let Some(saver) = &mut self.saver {
            saver.end(&|| StateFile::snapshot_with(&self.node, &self.saved, now));
        }
    }

    /// Whether the state is being saved.
    pub(crate) fn is_saving(&self) -> bool {
        self.saver.as_ref().is_some_and(Saver::is_busy)
    }

    /// Publishes the results of the saver, which wakes the loop for that.
    pub(crate) fn poll_saver(&mut self) {
        let now = self.clock.now();
        let snapshot = || StateFile::snapshot_with(&self.node, &self.saved, now);
        if let Some(notice) = self.saver.as_mut().and_then(|saver| saver.poll(&snapshot, now)) {
            self.publish(notice);
        }
    }

    /// Saves the state of the node for the last time, and blocks until that is done.
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

    /// Begins a turn, and returns the sleep that precedes it, if any. Then datagrams that have arrived come first, and
    /// [`resume`](Self::resume) after them.
    pub(crate) fn begin(&mut self) -> Option<Slept> {
        self.busy = false;
        let now = self.clock.now();
        if let Some(slept) = self.watch.as_mut().and_then(SleepWatch::slept) {
            return Some(Slept(slept));
        }
        let due = self.node.poll_timeout().filter(|&due| now - due > LATE)?;
        // Responses that arrived meanwhile were not late.
        self.backdate = Some(due);
        Some(Slept(Duration::ZERO))
    }

    /// Continues after a sleep. Queries without a response do not count as failures of the queried nodes.
    pub(crate) fn resume(&mut self, Slept(slept): Slept) {
        self.backdate = None;
        event!(INFO, "woke up", slept = format_args!("{slept:?}"));
        self.node.handle_resume(self.clock.now(), slept);
        self.saved.age(slept);
        self.hosts.resolve_again(self.clock.now());
    }

    /// Returns the arrival time of datagrams that are received now.
    pub(crate) fn arrival_time(&self) -> Instant {
        self.backdate.unwrap_or_else(|| self.clock.now())
    }

    /// Whether datagrams are handled at an earlier time; their responses wait until [`resume`](Self::resume).
    pub(crate) const fn is_backdating(&self) -> bool {
        self.backdate.is_some()
    }

    /// Whether a deadline of the node has passed.
    pub(crate) fn is_due(&self) -> bool {
        self.node.poll_timeout().is_some_and(|at| at <= self.clock.now())
    }

    /// Returns the number of datagrams to receive before anything else is done.
    pub(crate) const fn receives(&self, is_due: bool) -> usize {
        if is_due || self.backdate.is_some() { RECEIVES_WHEN_DUE } else { RECEIVES }
    }

    /// Whether the user has the node enabled.
    pub(crate) fn is_enabled(&self) -> bool {
        !self.shared.status().disabled
    }

    pub(crate) fn note_enabled(&self, enabled: bool) {
        self.shared.status().disabled = !enabled;
    }

    /// Handles the opening of a socket, at the same address as before or, if `has_moved`, at another.
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

    /// Handles the loss of the socket of a family.
    pub(crate) fn on_socket_closed(&mut self, family: Family) {
        self.shared.status().local_addrs[family.index()] = None;
        self.set_enabled(family, false);
    }

    pub(crate) fn set_enabled(&mut self, family: Family, enabled: bool) {
        self.node.set_enabled(self.clock.now(), family, enabled);
        if enabled {
            self.hosts.resolve_again(self.clock.now());
        } else {
            self.send_batch.drop_for(family);
        }
        self.busy = true;
        self.note_ready();
    }

    /// Handles a change of the local address of a family.
    pub(crate) fn on_network_changed(&mut self, family: Family) {
        self.node.handle_rebind(self.clock.now(), family);
        self.hosts.resolve_again(self.clock.now());
        self.busy = true;
        self.note_ready();
    }

    /// Publishes to the handles which families are ready. The node has an event only for a family that becomes ready.
    fn note_ready(&mut self) {
        let ready = Family::ALL.map(|family| self.node.is_ready(family));
        self.shared.status().ready = ready;
        if ready != [false; 2] {
            self.waiting_ready.drain(..).for_each(|reply| reply.end(Ok(())));
        }
    }

    /// Handles a datagram; `local` is the local address that it came to, if known.
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
        // At once, so that a burst of datagrams does not overflow the ring of events.
        self.deliver_events();
    }

    /// Handles the next arrival from the caller's network, and returns whether there was one.
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

    /// Enables, disables or rebinds the node without touching sockets, which are the caller's.
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

    /// Handles expired deadlines.
    pub(crate) fn tick(&mut self) {
        let now = self.clock.now();
        if self.is_due() {
            self.node.handle_timeout(now);
        }
        self.retry_sending();
        if self.send_batch.is_blocked() && now - self.blocked_since >= BLOCKED {
            self.send_batch.unblock();
        }
        self.poll_saver();
    }

    /// Writes datagrams of the node into the batch, and returns whether it is full and has to be
    /// [sent](Self::transmit) before the rest is written.
    pub(crate) fn fill_batch(&mut self, now: Instant) -> bool {
        let Self { node, send_batch, .. } = self;
        send_batch.fill(|buffer| node.poll_transmit(now, buffer))
    }

    /// Sends up to [`SENDS`] datagrams by `send`, which returns how many were sent. If a socket is full, returns the
    /// destination that could not be sent to.
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
                        self.report_unsent(now, destination, &error);
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

    fn report_unsent(&mut self, now: Instant, destination: SocketAddr, error: &io::Error) {
        let reported = &mut self.unsent_reported[Family::of(&destination).index()];
        if reported.is_none_or(|reported| now - reported >= UNSENT_INTERVAL) {
            *reported = Some(now);
            self.publish(NetEvent::Unsent { destination, error: error.to_string() });
        }
    }

    /// Whether a full socket blocks sending.
    pub(crate) fn is_blocked(&self) -> bool {
        self.send_batch.is_blocked()
    }

    /// Resumes sending if the caller's network has room again.
    pub(crate) fn retry_sending(&mut self) {
        if self.external.as_ref().is_some_and(|channel| channel.has_room()) {
            self.unblock();
        }
    }

    pub(crate) fn unblock(&mut self) {
        self.send_batch.unblock();
    }

    /// Returns the time of the next turn if nothing happens before; `None` if there is none.
    pub(crate) fn next_turn(&self, now: Instant) -> Option<Instant> {
        // While output is pending the node is due now, which does not help while a socket is full; and a turn in
        // which nothing happened is not repeated at once, even if the node is due.
        let not_before = match (self.send_batch.is_blocked(), self.busy) {
            (true, _) => now + BLOCKED,
            (false, true) => now,
            (false, false) => now + Duration::from_millis(1),
        };
        let unsent = (!self.send_batch.is_empty()).then_some(not_before);
        let next = self.deadline().map(|at| at.max(not_before)).into_iter().chain(unsent);
        let watch = (self.watch.is_some() && self.is_affected_by_sleep()).then(|| now + LONGEST_WAIT);
        #[cfg(feature = "items")]
        let watch = watch.into_iter().chain(self.waits.first().map(|&(at, _)| at));
        let others = self.saver.as_ref().map(Saver::due).into_iter().chain(self.hosts.due(now)).chain(watch);
        next.chain(others).min()
    }

    /// Returns when the node or a crawl is due.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let crawls = self.crawls.values().filter_map(ActiveCrawl::due);
        self.node.poll_timeout().into_iter().chain(crawls).min()
    }

    /// Whether the node holds anything that a sleep makes outdated.
    fn is_affected_by_sleep(&self) -> bool {
        Family::ALL.into_iter().any(|family| self.node.node_count(family) > 0)
            || self.node.infohash_count() > 0
            || !self.lookups.is_empty()
            || !self.publications.is_empty()
    }

    pub(crate) fn take_events(&mut self) {
        self.note_ready();
        self.deliver_events();
        self.retry_queued();
        let now = self.clock.now();
        #[cfg(feature = "items")]
        self.end_waits(now);
        self.crawls.values_mut().for_each(|crawl| crawl.advance(now, &mut self.node));
        let Self { node, shared, hosts, subscribers, .. } = self;
        hosts.poll(node, now, |notice| publish(shared, subscribers, &notice));
        if !self.queue.is_empty() || !self.crawls.is_empty() {
            // After a command, even a refused one, the node is due until it is polled.
            self.fill_batch(now);
        }
    }

    /// Whether datagrams have been written that have not left.
    #[cfg(feature = "sim")]
    pub(crate) const fn has_unsent(&self) -> bool {
        !self.send_batch.is_empty()
    }

    pub(crate) fn publish(&mut self, notice: NetEvent) {
        publish(&self.shared, &mut self.subscribers, &notice);
    }
}

fn publish(shared: &Shared, subscribers: &mut Subscribers, notice: &NetEvent) {
    trace::net_event(notice);
    let lost = subscribers.publish(notice);
    shared.counters.notices_lost.fetch_add(lost, Ordering::Relaxed);
}

impl Drop for Engine {
    /// Ends all calls, even after a panic, so that no caller waits for a loop that has ended.
    fn drop(&mut self) {
        // A runtime may drop a task at any await. After a panic the state of the node is not reliable.
        if !thread::panicking() {
            self.save_last();
        }
        self.shared.close();
        // Callers of the remaining commands get `Closed`.
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
