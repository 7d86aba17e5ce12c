//! What a loop around a node does that has nothing to do with how it waits: commands, shared
//! lookups, findings, sends.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::sync::atomic::Ordering;
use core::time::Duration;
use std::{io, thread};

use super::board::{Board, Held, Lease};
use super::clock::{Clock, SleepWatch};
use super::crawling::{Crawling, Finds};
use super::error::CallError;
use super::events::{Notice, Subscriber, Subscribers};
use super::progress::{Key, Progress, Sampled};
use super::resolve::{self, Attempt};
use super::rounds::{Keeping, Rounds, Saved};
use super::saver::Saver;
use super::socket::{Outbox, Sent};
use super::state::StateFileError;
use super::stats::count;
use super::trace::{self, event};
#[cfg(feature = "items")]
use crate::Item;
use crate::{
    Announce, BootstrapKind, CrawlOptions, Event, Family, InfoHash, Instant, KeptId, LookupId, Node, NodeId,
    Pong, QueryError, QueryId, Sample, StartError,
};

/// Calls that may wait for the loop; past that, callers do.
pub(super) const COMMANDS: usize = 256;

/// The largest payload of a UDP datagram, and then some: nothing is cut short.
pub(super) const RECEIVE_BUFFER: usize = 65_535;

/// What one turn receives at most from one socket, so that none starves the others.
pub(super) const RECEIVES: usize = 32;

/// What one turn sends at most.
const SENDS: usize = 256;

/// How long a full socket is trusted to tell when it is not full any more.
pub(super) const BLOCKED: Duration = Duration::from_millis(250);

/// How long the loop tries to get rid of its last datagrams.
pub(super) const FAREWELL: Duration = Duration::from_millis(250);

/// Takes the one reply to a command; dropped, it tells the caller that there will be none.
pub(super) type Reply<T> = Box<dyn FnOnce(T) + Send>;

type NodeCall = Box<dyn FnOnce(&mut Node, Instant) + Send>;

/// What the loop is asked to do. Replying never blocks.
pub(super) enum Command {
    Node(NodeCall),
    Search {
        key: Key,
        reply: Reply<Result<Joined, StartError>>,
    },
    KeepAnnounced {
        infohash: InfoHash,
        announce: Announce,
        reply: Reply<Result<(Arc<Rounds>, Lease), StartError>>,
    },
    #[cfg(feature = "items")]
    KeepStored {
        item: Box<Item>,
        reply: Reply<Result<(Arc<Rounds>, Lease), StartError>>,
    },
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
        reply: Reply<(Arc<Finds>, Lease)>,
    },
    Subscribe(Subscriber),
    Save(Reply<Result<bool, StateFileError>>),
    Clear(Reply<Result<(), StateFileError>>),
    Bootstrap(Attempt),
    Change(Change, Reply<io::Result<()>>),
}

/// What whoever has the sockets is asked to do with them.
#[derive(Clone, Copy, Debug)]
pub(super) enum Change {
    Enable(bool),
    /// Opens the socket of the address there, or all of them where they are.
    Rebind(Option<SocketAddr>),
}

/// A caller's part in a lookup that may have others.
pub(super) struct Joined {
    pub(super) lookup: LookupId,
    pub(super) progress: Arc<Progress>,
    pub(super) lease: Lease,
}

pub(super) struct Desk {
    pub(super) node: Node,
    pub(super) clock: Clock,
    pub(super) board: Arc<Board>,
    watch: SleepWatch,
    outbox: Outbox,
    blocked_since: Instant,
    searches: BTreeMap<LookupId, Running>,
    kept: BTreeMap<KeptId, Keeping>,
    /// Holders of what is kept up so far.
    holder_count: u64,
    saved: Saved,
    pings: BTreeMap<QueryId, Reply<Result<Pong, CallError>>>,
    samples: BTreeMap<QueryId, Reply<Result<Sampled, CallError>>>,
    crawls: BTreeMap<u64, Crawling>,
    /// Crawls so far.
    crawl_count: u64,
    subscribers: Subscribers,
    /// Of the state file, if there is one.
    saver: Option<Saver>,
    /// What became of the state that the node was to begin with, until it is told.
    restored: Option<Notice>,
    /// Names of bootstrap hosts that the user wants spared.
    routers: Vec<String>,
    /// Something came in or went out in this turn.
    busy: bool,
}

/// A lookup that somebody waits for.
struct Running {
    key: Key,
    users: usize,
    progress: Arc<Progress>,
}

impl Desk {
    pub(super) fn new(node: Node, clock: Clock, board: Arc<Board>, subscribers: Subscribers) -> Self {
        Self {
            node,
            clock,
            board,
            watch: SleepWatch::new(),
            outbox: Outbox::new(),
            blocked_since: Instant::ZERO,
            searches: BTreeMap::new(),
            kept: BTreeMap::new(),
            holder_count: 0,
            saved: Saved::default(),
            pings: BTreeMap::new(),
            samples: BTreeMap::new(),
            crawls: BTreeMap::new(),
            crawl_count: 0,
            subscribers,
            saver: None,
            restored: None,
            routers: Vec::new(),
            busy: false,
        }
    }

    /// Lets announces of an earlier node go on from where they were, once somebody wants them.
    pub(super) fn keep_saved(&mut self, saved: Saved) {
        self.saved = saved;
    }

    /// Saves the node's state from now on. What became of it before is told once the loop
    /// [starts](Self::start).
    pub(super) fn keep_state(&mut self, saver: Option<Saver>, restored: Option<Notice>) {
        (self.saver, self.restored) = (saver, restored);
    }

    /// Begins the loop, within its span.
    pub(super) fn start(&mut self) {
        if let Some(restored) = self.restored.take() {
            self.publish(restored);
        }
    }

    /// Begins to save the node's state for the last time.
    pub(super) fn begin_last_save(&mut self) {
        // What was given up before the end is not to go on after it.
        self.take_released();
        if let Some(saver) = &mut self.saver {
            saver.end(&self.node);
        }
    }

    /// Whether something waits for the disk.
    pub(super) fn is_saving(&self) -> bool {
        self.saver.as_ref().is_some_and(Saver::is_busy)
    }

    /// Tells what the disk has done. It wakes the loop for that.
    pub(super) fn tend_saver(&mut self) {
        let now = self.clock.now();
        if let Some(notice) = self.saver.as_mut().and_then(|saver| saver.tend(&self.node, now)) {
            self.publish(notice);
        }
    }

    /// Saves the node's state for the last time, and blocks until that is done.
    pub(super) fn save_last(&mut self) {
        self.begin_last_save();
        while self.is_saving() {
            if let Some(notice) = self.saver.as_mut().and_then(|saver| saver.wait(&self.node)) {
                self.publish(notice);
            }
        }
    }

    /// Begins a turn.
    pub(super) fn begin(&mut self) {
        self.busy = false;
        if let Some(slept) = self.watch.slept() {
            event!(INFO, "woke up", slept = format_args!("{slept:?}"));
            self.node.handle_resume(self.clock.now(), slept);
            self.saved.age(slept);
        }
    }

    /// Does what it is asked, apart from what is to be done with the sockets: that it returns.
    pub(super) fn obey(&mut self, command: Command) -> Option<(Change, Reply<io::Result<()>>)> {
        // What the caller gave up before makes room for what it asks now.
        self.take_released();
        self.busy = true;
        let now = self.clock.now();
        match command {
            Command::Node(call) => call(&mut self.node, now),
            Command::Search { key, reply } => reply(self.search(now, key)),
            Command::KeepAnnounced { infohash, announce, reply } => {
                reply(self.keep_announced(now, infohash, announce));
            }
            #[cfg(feature = "items")]
            Command::KeepStored { item, reply } => {
                reply(self.node.keep_stored(now, &item).map(|kept| self.hold(kept, None)));
            }
            Command::Ping { addr, started, reply } => match self.node.ping(now, addr) {
                Ok(query) => {
                    self.pings.insert(query, reply);
                    if let Some(started) = started {
                        started(Lease::new(&self.board, Held::Query(query)));
                    }
                }
                Err(error) => reply(Err(error.into())),
            },
            Command::Sample { addr, target, started, reply } => {
                match self.node.sample_infohashes(now, addr, target) {
                    Ok(query) => {
                        self.samples.insert(query, reply);
                        if let Some(started) = started {
                            started(Lease::new(&self.board, Held::Query(query)));
                        }
                    }
                    Err(error) => reply(Err(error.into())),
                }
            }
            Command::Crawl { options, reply } => {
                let crawling = Crawling::new(options);
                let finds = crawling.finds();
                self.crawl_count += 1;
                self.crawls.insert(self.crawl_count, crawling);
                reply((finds, Lease::new(&self.board, Held::Crawl(self.crawl_count))));
            }
            Command::Subscribe(subscriber) => self.subscribers.add(subscriber),
            Command::Save(reply) => match &mut self.saver {
                Some(saver) => saver.save(&self.node, reply),
                None => reply(Ok(false)),
            },
            Command::Clear(reply) => {
                self.node.clear_nodes(now);
                self.note_ready();
                self.saved = Saved::default();
                match &mut self.saver {
                    Some(saver) => saver.clear(&self.node, reply),
                    None => reply(Ok(())),
                }
            }
            Command::Bootstrap(attempt) => {
                if let Attempt::Resolved { host, addrs } = &attempt {
                    self.start_from(addrs, resolve::kind(host, &self.routers));
                }
                self.publish(match attempt {
                    Attempt::Resolved { host, addrs } => Notice::Resolved { host, addrs },
                    Attempt::Failed { host, error, retry_in } => Notice::Unresolved { host, error, retry_in },
                });
            }
            Command::Change(change, reply) => return Some((change, reply)),
        }
        None
    }

    /// Whether the user has the node switched on.
    pub(super) fn is_enabled(&self) -> bool {
        !self.board.status.read(|status| status.disabled)
    }

    pub(super) fn note_enabled(&self, enabled: bool) {
        self.board.status.update(|status| status.disabled = !enabled);
    }

    /// The socket of this address has been opened, at another address than before or at the same.
    pub(super) fn on_socket_opened(&mut self, addr: SocketAddr, has_moved: bool) {
        let family = Family::of(&addr);
        self.board.status.update(|status| status.local_addrs[family.index()] = Some(addr));
        if !self.node.is_enabled(family) {
            self.set_enabled(family, true);
        } else if has_moved {
            self.on_network_changed(family);
        }
        self.publish(Notice::Rebound { addr });
    }

    /// A family has no socket for now.
    pub(super) fn on_socket_closed(&mut self, family: Family) {
        self.board.status.update(|status| status.local_addrs[family.index()] = None);
        self.set_enabled(family, false);
    }

    pub(super) fn set_enabled(&mut self, family: Family, enabled: bool) {
        self.node.set_enabled(self.clock.now(), family, enabled);
        if !enabled {
            self.outbox.drop_for(family);
        }
        self.busy = true;
        self.note_ready();
    }

    /// Our address in a family is not what it was.
    pub(super) fn on_network_changed(&mut self, family: Family) {
        self.node.handle_rebind(self.clock.now(), family);
        self.busy = true;
        self.note_ready();
    }

    /// Tells the handles which families are ready. An event tells only when one has become so.
    fn note_ready(&self) {
        let ready = Family::ALL.map(|family| self.node.is_ready(family));
        if self.board.status.read(|status| status.ready != ready) {
            self.board.status.update(|status| status.ready = ready);
        }
    }

    fn search(&mut self, now: Instant, key: Key) -> Result<Joined, StartError> {
        if let Some((&lookup, running)) = self.searches.iter_mut().find(|(_, running)| running.key == key) {
            running.users += 1;
            let progress = Arc::clone(&running.progress);
            return Ok(self.joined(lookup, progress));
        }
        let lookup = match &key {
            Key::Lookup(lookup, options) => self.node.lookup(now, *lookup, options)?,
            #[cfg(feature = "items")]
            Key::Put(item, cas, options) => self.node.put_with(now, item, *cas, options)?,
            Key::Bootstrap => self.node.bootstrap(now)?,
        };
        event!(DEBUG, "lookup started", what = format_args!("{key:?}"));
        let progress = Arc::new(Progress::default());
        self.searches.insert(lookup, Running { key, users: 1, progress: Arc::clone(&progress) });
        Ok(self.joined(lookup, progress))
    }

    fn keep_announced(
        &mut self,
        now: Instant,
        infohash: InfoHash,
        announce: Announce,
    ) -> Result<(Arc<Rounds>, Lease), StartError> {
        let kept = self.saved.keep_announced(&mut self.node, now, infohash, announce)?;
        Ok(self.hold(kept, Some((infohash, announce))))
    }

    /// A share of what is kept up, and the announce that this holder wants, if it is one.
    fn hold(&mut self, kept: KeptId, announce: Option<(InfoHash, Announce)>) -> (Arc<Rounds>, Lease) {
        self.holder_count += 1;
        let keeping = self.kept.entry(kept).or_default();
        keeping.holders.insert(self.holder_count, announce);
        (Arc::clone(&keeping.rounds), Lease::new(&self.board, Held::Kept(kept, self.holder_count)))
    }

    fn joined(&self, lookup: LookupId, progress: Arc<Progress>) -> Joined {
        Joined { lookup, progress, lease: Lease::new(&self.board, Held::Lookup(lookup)) }
    }

    /// Ends what nobody uses any more. What has ended by itself is not known any more.
    pub(super) fn take_released(&mut self) {
        for held in self.board.take_released() {
            match held {
                Held::Lookup(lookup) => {
                    if let Some(running) = self.searches.get_mut(&lookup) {
                        running.users -= 1;
                        if running.users == 0 {
                            self.searches.remove(&lookup);
                            self.node.cancel(lookup);
                        }
                    }
                }
                Held::Kept(kept, holder) => self.release(kept, holder),
                Held::Query(query) => {
                    if self.pings.remove(&query).is_some() || self.samples.remove(&query).is_some() {
                        self.node.cancel_query(query);
                    }
                }
                Held::Crawl(number) => {
                    if let Some(crawling) = self.crawls.remove(&number) {
                        crawling.stop(&mut self.node);
                    }
                }
            }
        }
    }

    fn release(&mut self, kept: KeptId, holder: u64) {
        let Some(keeping) = self.kept.get_mut(&kept) else { return };
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
                self.kept.remove(&kept);
                // One of both: an id is of an announce or of an item.
                self.node.stop_announcing(kept);
                #[cfg(feature = "items")]
                self.node.stop_storing(kept);
            }
        }
    }

    pub(super) fn start_from(&mut self, addrs: &[SocketAddr], kind: BootstrapKind) {
        let now = self.clock.now();
        for addr in addrs {
            // Refused are addresses of a family that is off, and those past the limit.
            let _ = self.node.add_bootstrap(now, *addr, kind);
        }
    }

    /// Whoever resolves one of these names resolves a router.
    pub(super) fn spare(&mut self, routers: Vec<String>) {
        self.routers = routers;
    }

    pub(super) fn handle_datagram(&mut self, now: Instant, from: SocketAddr, datagram: &[u8]) {
        self.busy = true;
        event!(TRACE, "received", from = from, bytes = datagram.len());
        self.node.handle_datagram(now, from, datagram);
        // At once, so that a burst of datagrams does not overflow the events' ring.
        self.deliver_events();
    }

    /// Does what its time has come for.
    pub(super) fn tick(&mut self) {
        let now = self.clock.now();
        if self.node.poll_timeout().is_some_and(|at| at <= now) {
            self.node.handle_timeout(now);
        }
        if self.outbox.is_blocked() && now - self.blocked_since >= BLOCKED {
            self.outbox.unblock();
        }
        self.tend_saver();
    }

    /// Sends what there is to send, within reason. If a socket is full, returns the destination
    /// that it could not send to.
    pub(super) fn transmit(
        &mut self,
        mut send: impl FnMut(&[u8], SocketAddr) -> io::Result<usize>,
    ) -> Option<SocketAddr> {
        let mut send = |datagram: &[u8], to: SocketAddr| {
            let sent = send(datagram, to);
            match &sent {
                Ok(_) => event!(TRACE, "sent", to = to, bytes = datagram.len()),
                Err(error) => event!(DEBUG, "cannot send", to = to, error = error),
            }
            sent
        };
        let counters = &self.board.counters;
        for _ in 0..SENDS {
            let now = self.clock.now();
            let sent = self.outbox.send(|buffer| self.node.poll_transmit(now, buffer), &mut send);
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
                    return Some(destination);
                }
                Sent::Idle => break,
            }
        }
        None
    }

    /// Whether a full socket holds up what there is to send.
    pub(super) fn is_blocked(&self) -> bool {
        self.outbox.is_blocked()
    }

    pub(super) fn unblock(&mut self) {
        self.outbox.unblock();
    }

    /// When the next turn is due if nothing happens before; `None`: never.
    pub(super) fn next_turn(&self, now: Instant) -> Option<Instant> {
        // While output is pending the node says "now", which a full socket has no use for; and a
        // turn in which nothing happened is not repeated at once, whatever the node says.
        let not_before = match (self.outbox.is_blocked(), self.busy) {
            (true, _) => now + BLOCKED,
            (false, true) => now,
            (false, false) => now + Duration::from_millis(1),
        };
        let crawls = self.crawls.values().filter_map(Crawling::due);
        let next = self.node.poll_timeout().into_iter().chain(crawls).min().map(|at| at.max(not_before));
        next.into_iter().chain(self.saver.as_ref().map(Saver::due)).min()
    }

    pub(super) fn take_events(&mut self) {
        self.note_ready();
        self.deliver_events();
        let now = self.clock.now();
        self.crawls.values_mut().for_each(|crawling| crawling.go_on(now, &mut self.node));
    }

    fn deliver_events(&mut self) {
        while let Some(event) = self.node.poll_event() {
            self.busy = true;
            // Whoever is told that it is ready finds it so.
            if matches!(event, Event::Ready { .. }) {
                self.note_ready();
            }
            if !self.deliver(event) {
                self.publish(Notice::Node(event));
            }
        }
    }

    /// Returns whether somebody was waiting for it.
    fn deliver(&mut self, event: Event) -> bool {
        match event {
            Event::Peer { lookup, peer } => {
                let search = self.searches.get(&lookup).map(|running| running.progress.push_peer(peer));
                search
                    .or_else(|| self.keeping(lookup).map(|keeping| keeping.push_peer(lookup, peer)))
                    .is_some()
            }
            Event::Acknowledged { lookup, node } => {
                let search =
                    self.searches.get(&lookup).map(|running| running.progress.push_acknowledged(node));
                let round = || self.keeping(lookup).map(|keeping| keeping.push_acknowledged(lookup, node));
                search.or_else(round).is_some()
            }
            #[cfg(feature = "items")]
            Event::ItemFound { lookup, .. } => {
                self.take_version(lookup);
                self.searches.contains_key(&lookup) || self.keeping(lookup).is_some()
            }
            Event::LookupDone { lookup, report } => {
                trace::lookup_done(&report);
                // The event of its last version may have been lost.
                #[cfg(feature = "items")]
                self.take_version(lookup);
                let Some(running) = self.searches.remove(&lookup) else {
                    let keeping = report.kept.and_then(|kept| self.kept.get_mut(&kept));
                    return keeping.map(|keeping| keeping.end(lookup, report)).is_some();
                };
                running.progress.finish(report, self.node.lookup_nodes(lookup).collect());
                true
            }
            Event::QueryDone { query, result, .. } => {
                self.pings.remove(&query).map(|reply| reply(result.map_err(CallError::Query))).is_some()
            }
            Event::SampleDone { query, result, .. } => {
                if let Some(reply) = self.samples.remove(&query) {
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
        if let Some(running) = self.searches.get(&lookup) {
            running.progress.push_version(self.node.item(lookup));
        }
    }

    fn sampled(&self, query: QueryId, result: Result<Sample, QueryError>) -> Result<Sampled, CallError> {
        let sample = result.map_err(CallError::Query)?;
        let (infohashes, nodes) = (self.node.samples(query), self.node.sample_nodes(query));
        Ok(Sampled { sample, infohashes: infohashes.collect(), nodes: nodes.collect() })
    }

    /// The announce of which a lookup is a round.
    fn keeping(&mut self, lookup: LookupId) -> Option<&mut Keeping> {
        self.kept.get_mut(&self.node.lookup_report(lookup)?.kept?)
    }

    pub(super) fn publish(&mut self, notice: Notice) {
        trace::notice(&notice);
        let lost = self.subscribers.publish(&notice);
        self.board.counters.notices_lost.fetch_add(lost, Ordering::Relaxed);
    }
}

impl Drop for Desk {
    /// Also on a panic: nobody waits for a loop that is gone.
    fn drop(&mut self) {
        // A task does not get to its end if the runtime ends before. After a panic nobody knows what
        // the node is worth.
        if !thread::panicking() {
            self.save_last();
        }
        self.searches.values().for_each(|running| running.progress.close());
        self.kept.values().for_each(Keeping::close);
        self.crawls.values().for_each(Crawling::close);
        self.board.status.update(|status| (status.closed, status.ready) = (true, [false; 2]));
    }
}

#[cfg(all(test, feature = "net"))]
pub(super) mod tests;
