//! What a loop does around a node that has nothing to do with how it waits.
//!
//! - `shared`: what the handles and the loop share
//! - `queue`: calls that wait for a slot of the node
//! - `lookups`: what a lookup has found so far
//! - `publications`: announces and items that are republished
//! - `crawls`: a crawl as its caller and the loop share it
//! - `events`: what subscribers are notified of
//! - `hosts`: bootstrap hosts, looked up and asked in turns
//! - `watch`: state that others wait for to change
//! - `counters`: what the loop counts

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::string::ToString as _;
use alloc::sync::Arc;
#[cfg(feature = "items")]
use alloc::vec::Vec;
use core::cell::Cell;
use core::net::{IpAddr, SocketAddr};
use core::sync::atomic::Ordering;
use core::time::Duration;
use std::{io, thread};

use self::counters::count;
use self::crawls::{ActiveCrawl, CrawlState};
use self::events::{NetEvent, Subscriber, Subscribers};
use self::hosts::Hosts;
use self::lookups::{Key, LookupState, Sampled};
use self::publications::{ActivePublication, RepublishState, Saved};
pub(crate) use self::queue::QUEUE;
use self::queue::{Call, Queue};
use self::shared::{Lease, Resource, Shared};
use self::watch::Watch;
#[cfg(feature = "items")]
use crate::Item;
use crate::net::clock::{Clock, SleepWatch};
use crate::net::error::CallError;
use crate::net::sockets::socket::{SendSlot, Sent};
use crate::net::state::file::{StateFile, StateFileError};
use crate::net::state::saver::Saver;
use crate::net::trace::{self, event};
use crate::{
    Announce, CrawlOptions, Event, Family, InfoHash, Instant, KeptId, LookupId, Node, NodeId, Pong,
    QueryError, QueryId, Sample, StartError, Transmit,
};

pub(crate) mod counters;
pub(crate) mod crawls;
pub(crate) mod events;
pub(crate) mod hosts;
pub(crate) mod lookups;
pub(crate) mod publications;
mod queue;
pub(crate) mod shared;
pub(crate) mod watch;

/// Calls that may wait for the loop; past that, callers do.
pub(crate) const COMMANDS: usize = 256;

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

/// Takes the one reply to a command; dropped, it tells the caller that there will be none.
pub(crate) type Reply<T> = Box<dyn FnOnce(T) + Send>;

type NodeCall = Box<dyn FnOnce(&mut Node, Instant) + Send>;

/// What the loop is asked to do. Replying never blocks.
pub(crate) enum Command {
    Node(NodeCall),
    Lookup {
        key: Key,
        reply: Reply<Result<Joined, CallError>>,
    },
    KeepAnnounced {
        infohash: InfoHash,
        announce: Announce,
        reply: Reply<Result<(Arc<Watch<RepublishState>>, Lease), StartError>>,
    },
    #[cfg(feature = "items")]
    KeepStored {
        item: Box<Item>,
        reply: Reply<Result<(Arc<Watch<RepublishState>>, Lease), CallError>>,
    },
    AddNode {
        addr: SocketAddr,
        reply: Reply<Result<(), CallError>>,
    },
    #[cfg(feature = "items")]
    SavedItems(Reply<Vec<Item>>),
    Ping {
        addr: SocketAddr,
        /// Gets what cancels the ping, if the caller may leave before the answer.
        started: Option<Reply<Lease>>,
        reply: Reply<Result<Pong, CallError>>,
    },
    Sample {
        addr: SocketAddr,
        target: NodeId,
        /// As with a ping.
        started: Option<Reply<Lease>>,
        reply: Reply<Result<Sampled, CallError>>,
    },
    Crawl {
        options: CrawlOptions,
        reply: Reply<(Arc<Watch<CrawlState>>, Lease)>,
    },
    Subscribe(Subscriber),
    Save(Reply<Result<bool, StateFileError>>),
    Clear(Reply<Result<(), StateFileError>>),
    Change(Change, Reply<io::Result<()>>),
}

/// What whoever has the sockets is asked to do with them.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Change {
    Enable(bool),
    /// Opens the socket of the address there, or all of them where they are.
    Rebind(Option<SocketAddr>),
}

/// A caller's part in a lookup that may have others.
pub(crate) struct Joined {
    pub(crate) state: Arc<Watch<LookupState>>,
    pub(crate) lease: Lease,
}

pub(crate) struct Engine {
    pub(crate) node: Node,
    pub(crate) clock: Clock,
    pub(crate) shared: Arc<Shared>,
    /// To start from.
    hosts: Hosts,
    watch: SleepWatch,
    /// When it was told last that the system does not send, by family.
    unsent_told: [Option<Instant>; 2],
    /// The time that counts for what arrived while nobody could look.
    standing: Option<Instant>,
    send_slot: SendSlot,
    blocked_since: Instant,
    lookups: BTreeMap<LookupId, ActiveLookup>,
    publications: BTreeMap<KeptId, ActivePublication>,
    /// Holders of what is kept up so far.
    holder_count: u64,
    saved: Saved,
    /// Single queries, with the numbers of their calls.
    pings: BTreeMap<QueryId, (u64, Reply<Result<Pong, CallError>>)>,
    samples: BTreeMap<QueryId, (u64, Reply<Result<Sampled, CallError>>)>,
    queue: Queue,
    /// Searches and queries so far.
    call_count: u64,
    crawls: BTreeMap<u64, ActiveCrawl>,
    /// Crawls so far.
    crawl_count: u64,
    subscribers: Subscribers,
    /// Of the state file, if there is one.
    saver: Option<Saver>,
    /// What became of the state that the node was to begin with, until it is told.
    restored: Option<NetEvent>,
    /// Something came in or went out in this turn.
    busy: bool,
}

/// For how long the host has slept; not at all if its clock has counted that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slept(Duration);

/// A lookup that somebody waits for.
struct ActiveLookup {
    key: Key,
    number: u64,
    users: usize,
    state: Arc<Watch<LookupState>>,
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
            watch: SleepWatch::new(),
            unsent_told: [None; 2],
            standing: None,
            send_slot: SendSlot::new(),
            blocked_since: Instant::ZERO,
            lookups: BTreeMap::new(),
            publications: BTreeMap::new(),
            holder_count: 0,
            saved: Saved::default(),
            pings: BTreeMap::new(),
            samples: BTreeMap::new(),
            queue: Queue::new(),
            call_count: 0,
            crawls: BTreeMap::new(),
            crawl_count: 0,
            subscribers,
            saver: None,
            restored: None,
            busy: false,
        }
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
        self.take_released();
        let now = self.clock.now();
        if let Some(saver) = &mut self.saver {
            saver.end(&|| StateFile::snapshot_with(&self.node, &self.saved, now));
        }
    }

    /// Whether something waits for the disk.
    pub(crate) fn is_saving(&self) -> bool {
        self.saver.as_ref().is_some_and(Saver::is_busy)
    }

    /// Tells what the disk has done. It wakes the loop for that.
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
        if let Some(slept) = self.watch.slept() {
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
    pub(crate) fn receives(&self) -> usize {
        if self.standing.is_some() || self.is_due() { RECEIVES_WHEN_DUE } else { RECEIVES }
    }

    /// Does what it is asked, apart from what is to be done with the sockets: that it returns.
    pub(crate) fn obey(&mut self, command: Command) -> Option<(Change, Reply<io::Result<()>>)> {
        // What the caller gave up before makes room for what it asks now.
        self.take_released();
        self.busy = true;
        let now = self.clock.now();
        match command {
            Command::Node(call) => call(&mut self.node, now),
            Command::Lookup { key, reply } => reply(self.search(key)),
            Command::KeepAnnounced { infohash, announce, reply } => {
                reply(self.keep_announced(now, infohash, announce));
            }
            #[cfg(feature = "items")]
            Command::KeepStored { item, reply } => self.ask(Call::KeepStored { item, reply }, None),
            #[cfg(feature = "items")]
            Command::SavedItems(reply) => reply(self.saved.items()),
            Command::AddNode { addr, reply } => {
                let number = self.next_call();
                reply(self.call(number, Call::AddNode(addr)).map_err(|(_, error)| error));
            }
            Command::Ping { addr, started, reply } => self.ask(Call::Ping { addr, reply }, started),
            Command::Sample { addr, target, started, reply } => {
                self.ask(Call::Sample { addr, target, reply }, started);
            }
            Command::Crawl { options, reply } => {
                let crawling = ActiveCrawl::new(options);
                let finds = crawling.finds();
                self.crawl_count += 1;
                self.crawls.insert(self.crawl_count, crawling);
                reply((finds, Lease::new(&self.shared, Resource::Crawl(self.crawl_count))));
            }
            Command::Subscribe(subscriber) => self.subscribers.add(subscriber),
            Command::Save(reply) => match &mut self.saver {
                Some(saver) => {
                    saver.save(&|| StateFile::snapshot_with(&self.node, &self.saved, now), reply);
                }
                None => reply(Ok(false)),
            },
            Command::Clear(reply) => {
                self.node.clear_nodes(now);
                self.note_ready();
                self.saved = Saved::default();
                match &mut self.saver {
                    Some(saver) => {
                        saver.clear(&|| StateFile::snapshot_with(&self.node, &self.saved, now), reply);
                    }
                    None => reply(Ok(())),
                }
            }
            Command::Change(change, reply) => return Some((change, reply)),
        }
        None
    }

    /// Whether the user has the node switched on.
    pub(crate) fn is_enabled(&self) -> bool {
        !self.shared.status.read(|status| status.disabled)
    }

    pub(crate) fn note_enabled(&self, enabled: bool) {
        self.shared.status.update(|status| status.disabled = !enabled);
    }

    /// The socket of this address has been opened, at another address than before or at the same.
    pub(crate) fn on_socket_opened(&mut self, addr: SocketAddr, has_moved: bool) {
        let family = Family::of(&addr);
        self.shared.status.update(|status| status.local_addrs[family.index()] = Some(addr));
        if !self.node.is_enabled(family) {
            self.set_enabled(family, true);
        } else if has_moved {
            self.on_network_changed(family);
        }
        self.publish(NetEvent::Rebound { addr });
    }

    /// A family has no socket for now.
    pub(crate) fn on_socket_closed(&mut self, family: Family) {
        self.shared.status.update(|status| status.local_addrs[family.index()] = None);
        self.set_enabled(family, false);
    }

    pub(crate) fn set_enabled(&mut self, family: Family, enabled: bool) {
        self.node.set_enabled(self.clock.now(), family, enabled);
        if enabled {
            self.hosts.look_again(self.clock.now());
        } else {
            self.send_slot.drop_for(family);
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

    /// Tells the handles which families are ready. An event tells only when one has become so.
    fn note_ready(&self) {
        let ready = Family::ALL.map(|family| self.node.is_ready(family));
        if self.shared.status.read(|status| status.ready != ready) {
            self.shared.status.update(|status| status.ready = ready);
        }
    }

    fn keep_announced(
        &mut self,
        now: Instant,
        infohash: InfoHash,
        announce: Announce,
    ) -> Result<(Arc<Watch<RepublishState>>, Lease), StartError> {
        let kept = self.saved.keep_announced(&mut self.node, now, infohash, announce)?;
        Ok(self.hold(kept, Some((infohash, announce))))
    }

    /// A share of what is kept up, and the announce that this holder wants, if it is one.
    fn hold(
        &mut self,
        kept: KeptId,
        announce: Option<(InfoHash, Announce)>,
    ) -> (Arc<Watch<RepublishState>>, Lease) {
        self.holder_count += 1;
        let keeping = self.publications.entry(kept).or_default();
        keeping.holders.insert(self.holder_count, announce);
        (
            Arc::clone(&keeping.rounds),
            Lease::new(&self.shared, Resource::Publication(kept, self.holder_count)),
        )
    }

    /// Ends what nobody uses any more. What has ended by itself is not known any more.
    pub(crate) fn take_released(&mut self) {
        for held in self.shared.take_released() {
            match held {
                Resource::Lookup(number) => self.leave_search(number),
                Resource::Publication(kept, holder) => self.release(kept, holder),
                Resource::Call(number) => self.give_up(number),
                Resource::Crawl(number) => {
                    if let Some(crawling) = self.crawls.remove(&number) {
                        crawling.stop(&mut self.node);
                    }
                }
            }
        }
    }

    fn release(&mut self, kept: KeptId, holder: u64) {
        let Some(keeping) = self.publications.get_mut(&kept) else { return };
        keeping.holders.remove(&holder);
        match keeping.holders.last_key_value() {
            // Nothing changes unless whoever is gone had come last. An error there is none: it is
            // kept, and this was accepted before.
            Some((_, &Some((infohash, announce)))) => {
                let _ = self.node.keep_announced(self.clock.now(), infohash, announce);
            }
            // Nodes would refuse an older version of an item: the newest stays.
            Some((_, None)) => {}
            None => {
                self.publications.remove(&kept);
                // One of both: an id is of an announce or of an item.
                self.node.stop_announcing(kept);
                #[cfg(feature = "items")]
                self.node.stop_storing(kept);
            }
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

    /// Does what its time has come for.
    pub(crate) fn tick(&mut self) {
        let now = self.clock.now();
        if self.is_due() {
            self.node.handle_timeout(now);
        }
        if self.send_slot.is_blocked() && now - self.blocked_since >= BLOCKED {
            self.send_slot.unblock();
        }
        self.tend_saver();
    }

    /// Sends what there is to send, within reason. If a socket is full, returns the destination
    /// that it could not send to.
    pub(crate) fn transmit(
        &mut self,
        mut send: impl FnMut(&[u8], Transmit) -> io::Result<()>,
    ) -> Option<SocketAddr> {
        let (failure, shared) = (Cell::new(None), Arc::clone(&self.shared));
        let mut send = |datagram: &[u8], transmit: Transmit| {
            let sent = send(datagram, transmit);
            match &sent {
                Ok(()) => event!(TRACE, "sent", to = transmit.destination, bytes = datagram.len()),
                Err(error) => {
                    event!(DEBUG, "cannot send", to = transmit.destination, error = error);
                    shared.note_send_error(error);
                    let kind = || io::Error::from(error.kind());
                    failure.set(Some(error.raw_os_error().map_or_else(kind, io::Error::from_raw_os_error)));
                }
            }
            sent
        };
        for _ in 0..SENDS {
            let now = self.clock.now();
            let sent = self.send_slot.send(|buffer| self.node.poll_transmit(now, buffer), &mut send);
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
        self.send_slot.is_blocked()
    }

    pub(crate) fn unblock(&mut self) {
        self.send_slot.unblock();
    }

    /// When the next turn is due if nothing happens before; `None`: never.
    pub(crate) fn next_turn(&self, now: Instant) -> Option<Instant> {
        // While output is pending the node says "now", which a full socket has no use for; and a
        // turn in which nothing happened is not repeated at once, whatever the node says.
        let not_before = match (self.send_slot.is_blocked(), self.busy) {
            (true, _) => now + BLOCKED,
            (false, true) => now,
            (false, false) => now + Duration::from_millis(1),
        };
        let crawls = self.crawls.values().filter_map(ActiveCrawl::due);
        let next = self.node.poll_timeout().into_iter().chain(crawls).min().map(|at| at.max(not_before));
        let watch = self.has_something().then(|| now + LONGEST_WAIT);
        let others = self.saver.as_ref().map(Saver::due).into_iter().chain(self.hosts.due(now)).chain(watch);
        next.into_iter().chain(others).min()
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
        self.crawls.values_mut().for_each(|crawling| crawling.go_on(now, &mut self.node));
        let Self { node, shared, hosts, subscribers, .. } = self;
        hosts.tend(node, now, |notice| publish(shared, subscribers, &notice));
    }

    fn deliver_events(&mut self) {
        while let Some(event) = self.node.poll_event() {
            self.busy = true;
            // Whoever is told that it is ready finds it so.
            if matches!(event, Event::Ready { .. }) {
                self.note_ready();
            }
            if !self.deliver(event) {
                self.publish(NetEvent::Node(event));
            }
        }
    }

    /// Returns whether somebody was waiting for it.
    fn deliver(&mut self, event: Event) -> bool {
        match event {
            Event::Peer { lookup, peer } => {
                let search = self.lookups.get(&lookup).map(|running| running.state.push_peer(peer));
                search
                    .or_else(|| self.keeping(lookup).map(|keeping| keeping.push_peer(lookup, peer)))
                    .is_some()
            }
            Event::Acknowledged { lookup, node } => {
                let search = self.lookups.get(&lookup).map(|running| running.state.push_acknowledged(node));
                let round = || self.keeping(lookup).map(|keeping| keeping.push_acknowledged(lookup, node));
                search.or_else(round).is_some()
            }
            #[cfg(feature = "items")]
            Event::ItemFound { lookup, .. } => {
                self.take_version(lookup);
                self.lookups.contains_key(&lookup) || self.keeping(lookup).is_some()
            }
            Event::LookupDone { lookup, report } => {
                trace::lookup_done(&report);
                // The event of its last version may have been lost.
                #[cfg(feature = "items")]
                self.take_version(lookup);
                let Some(running) = self.lookups.remove(&lookup) else {
                    let keeping = report.kept.and_then(|kept| self.publications.get_mut(&kept));
                    return keeping.map(|keeping| keeping.end(lookup, report)).is_some();
                };
                running.state.finish(report, self.node.lookup_nodes(lookup).collect());
                true
            }
            Event::QueryDone { query, result, .. } => {
                self.pings.remove(&query).map(|(_, reply)| reply(result.map_err(CallError::Query))).is_some()
            }
            Event::SampleDone { query, result, .. } => {
                if let Some((_, reply)) = self.samples.remove(&query) {
                    reply(self.sampled(query, result));
                    return true;
                }
                let now = self.clock.now();
                self.crawls.values_mut().any(|crawling| crawling.handle_event(now, &self.node, &event))
            }
            _ => false,
        }
    }

    /// Hands over the item of a lookup, if it has one: of those found the newest.
    #[cfg(feature = "items")]
    fn take_version(&self, lookup: LookupId) {
        if let Some(running) = self.lookups.get(&lookup) {
            running.state.push_version(self.node.item(lookup));
        }
    }

    fn sampled(&self, query: QueryId, result: Result<Sample, QueryError>) -> Result<Sampled, CallError> {
        let sample = result.map_err(CallError::Query)?;
        let (infohashes, nodes) = (self.node.samples(query), self.node.sample_nodes(query));
        Ok(Sampled { sample, infohashes: infohashes.collect(), nodes: nodes.collect() })
    }

    /// The announce of which a lookup is a round.
    fn keeping(&mut self, lookup: LookupId) -> Option<&mut ActivePublication> {
        self.publications.get_mut(&self.node.lookup_report(lookup)?.kept?)
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
    /// Also on a panic: nobody waits for a loop that is gone.
    fn drop(&mut self) {
        // A task does not get to its end if the runtime ends before. After a panic nobody knows what
        // the node is worth.
        if !thread::panicking() {
            self.save_last();
        }
        let lookups = self.lookups.values_mut().chain(self.queue.lookups());
        lookups.for_each(|running| running.state.fail(CallError::Closed));
        self.publications.values().for_each(ActivePublication::close);
        self.crawls.values().for_each(ActiveCrawl::close);
        self.shared.status.update(|status| (status.closed, status.ready) = (true, [false; 2]));
    }
}

#[cfg(all(test, feature = "net"))]
pub(crate) mod tests;
