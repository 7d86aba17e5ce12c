//! Calls that wait for a slot of the node.
//!
//! The node refuses what it has no slot for. Most of its slots are in use for seconds only, so a call that
//! finds none waits here: in a line for each limit, oldest first. No call passes one that waits for a slot
//! which it may need itself.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::net::SocketAddr;

use super::feed::Reply;
use super::lookups::{ActiveLookup, Key, Sampled};
#[cfg(feature = "items")]
use super::publications::Rounds;
use crate::errors::{ContactError, Limit, PublishError};
#[cfg(feature = "items")]
use crate::items::Item;
use crate::net::error::CallError;
use crate::report::Pong;
use crate::{Lookup, NodeId, StartError};

/// Calls that wait at most, unless the builder says otherwise: enough for a client that looks up each of some
/// thousand torrents or keys; at less than a kilobyte each they take a few megabytes at most.
pub(crate) const QUEUE: usize = 4096;

/// What the node is asked to begin.
pub(crate) enum Call {
    Lookup(Box<ActiveLookup>),
    Ping {
        addr: SocketAddr,
        reply: Reply<Pong>,
    },
    Sample {
        addr: SocketAddr,
        target: NodeId,
        reply: Reply<Sampled>,
    },
    AddNode(SocketAddr),
    #[cfg(feature = "items")]
    Publish {
        item: Box<Item>,
        rounds: Rounds,
    },
}

/// A call that has not begun, and why.
pub(crate) type Refused = (Call, CallError);

/// Calls that wait.
pub(crate) struct Queue {
    most: usize,
    len: usize,
    /// Lines by the limit that they wait for. None is empty.
    lines: BTreeMap<Limit, Line>,
}

struct Line {
    /// What the node said when it had no slot.
    refusal: CallError,
    /// Calls by their numbers, and so in the order in which they came.
    calls: BTreeMap<u64, Call>,
}

impl Call {
    /// Fails the call: nothing will come of it.
    pub(crate) fn fail(self, error: CallError) {
        match self {
            Self::Lookup(lookup) => lookup.fail(&error),
            Self::Ping { reply, .. } => reply.end(Err(error)),
            Self::Sample { reply, .. } => reply.end(Err(error)),
            // Its caller has gone on.
            Self::AddNode(_) => {}
            #[cfg(feature = "items")]
            Self::Publish { rounds, .. } => rounds.end(Err(error)),
        }
    }

    /// The limits that it may run into.
    fn needs(&self) -> &'static [Limit] {
        match self {
            Self::Lookup(lookup) => match lookup.key {
                Key::Lookup(Lookup::Scrape(_), _) => &[Limit::Scrapes, Limit::Traversals],
                #[cfg(feature = "items")]
                Key::Put(..) | Key::Lookup(Lookup::GetImmutable(_) | Lookup::GetMutable(..), _) => {
                    &[Limit::OwnItems, Limit::OwnChunks, Limit::Traversals]
                }
                Key::Bootstrap
                | Key::Lookup(Lookup::FindNode(_) | Lookup::GetPeers(_) | Lookup::Announce(..), _) => {
                    &[Limit::Traversals]
                }
            },
            Self::Ping { .. } | Self::AddNode(_) => &[Limit::Queries],
            Self::Sample { .. } => &[Limit::Samplings, Limit::Queries],
            #[cfg(feature = "items")]
            Self::Publish { .. } => &[Limit::OwnItems, Limit::OwnChunks],
        }
    }
}

impl Queue {
    pub(crate) const fn new() -> Self {
        Self { most: QUEUE, len: 0, lines: BTreeMap::new() }
    }

    pub(crate) const fn set_most(&mut self, most: usize) {
        self.most = most;
    }

    /// Gives up a call, if it waits.
    pub(crate) fn remove(&mut self, number: u64) -> Option<Call> {
        let (&limit, line) = self.lines.iter_mut().find(|(_, line)| line.calls.contains_key(&number))?;
        let call = line.calls.remove(&number);
        if line.calls.is_empty() {
            self.lines.remove(&limit);
        }
        self.len -= usize::from(call.is_some());
        call
    }

    /// The limits that calls wait for.
    pub(crate) fn limits(&self) -> Vec<Limit> {
        self.lines.keys().copied().collect()
    }

    /// The lookups that wait.
    pub(crate) fn lookups(&mut self) -> impl Iterator<Item = &mut ActiveLookup> {
        let calls = self.lines.values_mut().flat_map(|line| line.calls.values_mut());
        calls.filter_map(|call| if let Call::Lookup(lookup) = call { Some(&mut **lookup) } else { None })
    }

    /// Why a newcomer has to wait: for whoever waits already.
    pub(crate) fn before(&self, call: &Call) -> Option<CallError> {
        call.needs().iter().find_map(|limit| Some(self.lines.get(limit)?.refusal.clone()))
    }

    /// Has a call wait that was refused, if it is worth waiting for that, and there is room.
    pub(crate) fn push(&mut self, number: u64, call: Call, refusal: CallError) -> Result<(), Refused> {
        let Some((limit, size)) = passing(&refusal).filter(|_| self.most > 0) else {
            return Err((call, refusal));
        };
        if self.len >= self.most {
            return Err((call, CallError::QueueFull { limit, size, most: self.most }));
        }
        self.put(limit, number, call, refusal);
        Ok(())
    }

    pub(crate) fn put(&mut self, limit: Limit, number: u64, call: Call, refusal: CallError) {
        let line = self.lines.entry(limit).or_insert(Line { refusal, calls: BTreeMap::new() });
        line.calls.insert(number, call);
        self.len += 1;
    }

    /// The call that has waited longest in one line.
    pub(crate) fn pop(&mut self, limit: Limit) -> Option<(u64, Call)> {
        let &number = self.lines.get(&limit)?.calls.first_key_value()?.0;
        Some((number, self.remove(number)?))
    }
}

/// The limit that a call has run into, where it is one that is soon out of the way, and its size.
pub(crate) fn passing(refusal: &CallError) -> Option<(Limit, usize)> {
    match *refusal {
        CallError::Start(StartError::Full { limit, size })
        | CallError::Contact(ContactError::Full { limit, size })
        | CallError::Publish(PublishError::Full { limit, size }) => {
            limit.is_passing().then_some((limit, size))
        }
        _ => None,
    }
}
