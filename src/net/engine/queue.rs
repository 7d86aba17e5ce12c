//! Calls that wait for a slot of the node.
//!
//! The node refuses what it has no slot for. Most of its slots are in use for seconds only, so a call that
//! finds none waits here: in a line for each limit, oldest first. No call passes one that waits for a slot
//! which it may need itself.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::SocketAddr;

use super::lookups::{Key, LookupState, Sampled};
#[cfg(feature = "items")]
use super::publications::RepublishState;
use super::shared::{Lease, Resource};
use super::watch::Watch;
use super::{ActiveLookup, Engine, Joined, Reply};
#[cfg(feature = "items")]
use crate::Item;
use crate::net::error::CallError;
use crate::net::trace::event;
use crate::{Family, Instant, Limit, Lookup, LookupId, NodeId, Pong, StartError};

/// Calls that wait at most, unless the builder says otherwise: enough for a client that looks up each of some
/// thousand torrents or keys; at less than a kilobyte each they take a few megabytes at most.
pub(crate) const QUEUE: usize = 4096;

/// What the node is asked to begin.
pub(super) enum Call {
    Lookup(Box<ActiveLookup>),
    Ping {
        addr: SocketAddr,
        reply: Reply<Result<Pong, CallError>>,
    },
    Sample {
        addr: SocketAddr,
        target: NodeId,
        reply: Reply<Result<Sampled, CallError>>,
    },
    AddNode(SocketAddr),
    #[cfg(feature = "items")]
    KeepStored {
        item: Box<Item>,
        reply: Reply<Result<(Arc<Watch<RepublishState>>, Lease), CallError>>,
    },
}

/// A call that has not begun, and why.
type Refused<E> = (Call, E);

/// Those that wait.
pub(super) struct Queue {
    most: usize,
    len: usize,
    /// By the limit that they wait for. None is empty.
    lines: BTreeMap<Limit, Line>,
}

struct Line {
    /// What the node said when it had no slot.
    refusal: StartError,
    /// By their numbers, and so in the order in which they came.
    calls: BTreeMap<u64, Call>,
}

impl Call {
    /// Tells the caller that nothing will come of it.
    pub(super) fn fail(self, error: CallError) {
        match self {
            Self::Lookup(running) => running.state.fail(error),
            Self::Ping { reply, .. } => reply(Err(error)),
            Self::Sample { reply, .. } => reply(Err(error)),
            // Its caller has gone on.
            Self::AddNode(_) => {}
            #[cfg(feature = "items")]
            Self::KeepStored { reply, .. } => reply(Err(error)),
        }
    }

    /// The limits that it may run into.
    fn needs(&self) -> &'static [Limit] {
        match self {
            Self::Lookup(running) => match running.key {
                Key::Lookup(Lookup::Scrape(_), _) => &[Limit::Scrapes, Limit::Lookups],
                #[cfg(feature = "items")]
                Key::Put(..) | Key::Lookup(Lookup::GetImmutable(_) | Lookup::GetMutable(..), _) => {
                    &[Limit::OwnItems, Limit::OwnChunks, Limit::Lookups]
                }
                _ => &[Limit::Lookups],
            },
            Self::Ping { .. } | Self::AddNode(_) => &[Limit::Queries],
            Self::Sample { .. } => &[Limit::Samplings, Limit::Queries],
            #[cfg(feature = "items")]
            Self::KeepStored { .. } => &[Limit::OwnItems, Limit::OwnChunks],
        }
    }
}

impl Queue {
    pub(super) const fn new() -> Self {
        Self { most: QUEUE, len: 0, lines: BTreeMap::new() }
    }

    pub(super) const fn set_most(&mut self, most: usize) {
        self.most = most;
    }

    /// Gives up a call, if it waits.
    pub(super) fn remove(&mut self, number: u64) -> Option<Call> {
        let (&limit, line) = self.lines.iter_mut().find(|(_, line)| line.calls.contains_key(&number))?;
        let call = line.calls.remove(&number);
        if line.calls.is_empty() {
            self.lines.remove(&limit);
        }
        self.len -= usize::from(call.is_some());
        call
    }

    /// The lookups that wait.
    pub(super) fn lookups(&mut self) -> impl Iterator<Item = &mut ActiveLookup> {
        let calls = self.lines.values_mut().flat_map(|line| line.calls.values_mut());
        calls.filter_map(|call| if let Call::Lookup(running) = call { Some(&mut **running) } else { None })
    }

    /// Why a newcomer has to wait: for whoever waits already.
    fn before(&self, call: &Call) -> Option<StartError> {
        call.needs().iter().find_map(|limit| Some(self.lines.get(limit)?.refusal))
    }

    /// Has a call wait that was refused, if it is worth waiting for that, and there is room.
    fn push(&mut self, number: u64, call: Call, refusal: StartError) -> Result<(), Refused<CallError>> {
        let Some(limit) = passing(refusal).filter(|_| self.most > 0) else {
            return Err((call, refusal.into()));
        };
        if self.len >= self.most {
            return Err((call, CallError::QueueFull { error: refusal, most: self.most }));
        }
        self.put(limit, number, call, refusal);
        Ok(())
    }

    fn put(&mut self, limit: Limit, number: u64, call: Call, refusal: StartError) {
        let line = self.lines.entry(limit).or_insert(Line { refusal, calls: BTreeMap::new() });
        line.calls.insert(number, call);
        self.len += 1;
    }

    /// The call that has waited longest in one line.
    fn pop(&mut self, limit: Limit) -> Option<(u64, Call)> {
        let &number = self.lines.get(&limit)?.calls.first_key_value()?.0;
        Some((number, self.remove(number)?))
    }
}

/// The limit that a call has run into, where it is one that is soon out of the way.
fn passing(refusal: StartError) -> Option<Limit> {
    match refusal {
        StartError::Full { limit, .. } if limit.is_passing() => Some(limit),
        _ => None,
    }
}

impl Engine {
    /// Joins the search of another caller, or begins one, or has it wait.
    pub(super) fn search(&mut self, key: Key) -> Result<Joined, CallError> {
        let shared = {
            let mut lookups = self.lookups.values_mut().chain(self.queue.lookups());
            lookups.find(|running| running.key == key).map(|running| {
                running.users += 1;
                (running.number, Arc::clone(&running.state))
            })
        };
        if let Some((number, state)) = shared {
            return Ok(self.joined(number, state));
        }
        let number = self.next_call();
        let state = Arc::new(Watch::<LookupState>::waiting(key.unstarted(self.node.id(Family::V4))));
        let running = ActiveLookup { key, number, users: 1, state: Arc::clone(&state) };
        self.call(number, Call::Lookup(Box::new(running))).map_err(|(_, error)| error)?;
        Ok(self.joined(number, state))
    }

    /// Begins a query to a single node, or has it wait. `started` gets what gives it up.
    pub(super) fn ask(&mut self, call: Call, started: Option<Reply<Lease>>) {
        let number = self.next_call();
        match self.call(number, call) {
            Err((call, error)) => call.fail(error),
            Ok(()) => {
                if let Some(started) = started {
                    started(Lease::new(&self.shared, Resource::Call(number)));
                }
            }
        }
    }

    pub(super) fn next_call(&mut self) -> u64 {
        self.call_count += 1;
        self.call_count
    }

    /// Begins a call, or has it wait. What can do neither comes back.
    pub(super) fn call(&mut self, number: u64, call: Call) -> Result<(), Refused<CallError>> {
        let (call, refusal) = match self.queue.before(&call) {
            Some(refusal) => (call, refusal),
            None => match self.start_call(number, call) {
                Ok(()) => return Ok(()),
                Err(refused) => refused,
            },
        };
        self.queue.push(number, call, refusal)
    }

    /// Begins what has waited for slots that are free by now.
    pub(super) fn serve_queue(&mut self) {
        let limits: Vec<Limit> = self.queue.lines.keys().copied().collect();
        for limit in limits {
            while let Some((number, call)) = self.queue.pop(limit) {
                let Err((call, refusal)) = self.start_call(number, call) else {
                    self.busy = true;
                    continue;
                };
                let Some(at) = passing(refusal) else {
                    self.busy = true;
                    call.fail(refusal.into());
                    continue;
                };
                self.queue.put(at, number, call, refusal);
                if at <= limit {
                    // Those behind would be told the same.
                    break;
                }
            }
        }
    }

    /// One of those who share a search has gone.
    pub(super) fn leave_search(&mut self, number: u64) {
        let started = self.lookups.iter_mut().find(|(_, running)| running.number == number);
        let (lookup, running) = match started {
            Some((&lookup, running)) => (Some(lookup), running),
            None => match self.queue.lookups().find(|running| running.number == number) {
                Some(running) => (None, running),
                None => return,
            },
        };
        running.users -= 1;
        if running.users > 0 {
            return;
        }
        match lookup {
            Some(lookup) => {
                self.lookups.remove(&lookup);
                self.node.cancel(lookup);
            }
            None => drop(self.queue.remove(number)),
        }
    }

    /// Nobody waits for the answer to a query any more.
    pub(super) fn give_up(&mut self, number: u64) {
        if self.queue.remove(number).is_some() {
            return;
        }
        let pings = self.pings.iter().map(|(&query, (of, _))| (query, *of));
        let samples = self.samples.iter().map(|(&query, (of, _))| (query, *of));
        let query = pings.chain(samples).find_map(|(query, of)| (of == number).then_some(query));
        if let Some(query) = query {
            self.pings.remove(&query);
            self.samples.remove(&query);
            self.node.cancel_query(query);
        }
    }

    fn start_call(&mut self, number: u64, call: Call) -> Result<(), Refused<StartError>> {
        let now = self.clock.now();
        match call {
            Call::Lookup(running) => match self.start_search(now, &running.key) {
                Ok(lookup) => {
                    event!(DEBUG, "lookup started", what = format_args!("{:?}", running.key));
                    running.state.start(lookup);
                    self.lookups.insert(lookup, *running);
                }
                Err(error) => return Err((Call::Lookup(running), error)),
            },
            Call::Ping { addr, reply } => match self.node.ping(now, addr) {
                Ok(query) => drop(self.pings.insert(query, (number, reply))),
                Err(error) => return Err((Call::Ping { addr, reply }, error)),
            },
            Call::Sample { addr, target, reply } => match self.node.sample_infohashes(now, addr, target) {
                Ok(query) => drop(self.samples.insert(query, (number, reply))),
                Err(error) => return Err((Call::Sample { addr, target, reply }, error)),
            },
            Call::AddNode(addr) => self.node.add_node(now, addr).map_err(|error| (call, error))?,
            #[cfg(feature = "items")]
            Call::KeepStored { item, reply } => match self.saved.keep_stored(&mut self.node, now, &item) {
                Ok(kept) => reply(Ok(self.hold(kept, None))),
                Err(error) => return Err((Call::KeepStored { item, reply }, error)),
            },
        }
        Ok(())
    }

    fn start_search(&mut self, now: Instant, key: &Key) -> Result<LookupId, StartError> {
        match key {
            Key::Lookup(lookup, options) => self.node.lookup(now, *lookup, options),
            #[cfg(feature = "items")]
            Key::Put(item, cas, options) => self.node.put_with(now, item, *cas, options),
            Key::Bootstrap => self.node.bootstrap(now),
        }
    }

    fn joined(&self, number: u64, state: Arc<Watch<LookupState>>) -> Joined {
        Joined { state, lease: Lease::new(&self.shared, Resource::Lookup(number)) }
    }
}
