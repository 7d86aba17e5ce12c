//! Calls that wait for a slot of the node.
//!
//! The node refuses calls that it has no slot for. Most slots are in use for seconds only, so a call that finds none
//! waits here, in a line for each limit, oldest first. No call overtakes one that waits for a slot of a kind that it
//! may need itself.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::net::SocketAddr;

use super::feed::Reply;
use super::lookups::{ActiveLookup, Key, Sampled};
#[cfg(feature = "items")]
use super::publications::RepublishFeed;
use crate::errors::{ContactError, Limit, PublishError};
#[cfg(feature = "items")]
use crate::items::Item;
use crate::net::error::CallError;
use crate::report::Pong;
use crate::{Lookup, NodeId, StartError};

/// Calls that may wait, unless the builder sets another number: enough for a client that looks up some thousand
/// torrents or keys. At less than a kilobyte each they take a few megabytes.
pub(crate) const QUEUE: usize = 4096;

/// A call that takes slots of the node.
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
        republishes: RepublishFeed,
    },
}

/// A call that was not started, and the reason.
pub(crate) type Refused = (Call, CallError);

/// The calls that wait.
pub(crate) struct Queue {
    most: usize,
    len: usize,
    /// Lines by the limit that their calls wait for. None is empty.
    lines: BTreeMap<Limit, Line>,
}

struct Line {
    /// The error with which the node refused a call.
    refusal: CallError,
    /// Calls by their numbers, which is their order of arrival.
    calls: BTreeMap<u64, Call>,
}

impl Call {
    /// Ends the call with an error.
    pub(crate) fn fail(self, error: CallError) {
        match self {
            Self::Lookup(lookup) => lookup.fail(&error),
            Self::Ping { reply, .. } => reply.end(Err(error)),
            Self::Sample { reply, .. } => reply.end(Err(error)),
            // Its caller has its result already.
            Self::AddNode(_) => {}
            #[cfg(feature = "items")]
            Self::Publish { republishes, .. } => republishes.end(Err(error)),
        }
    }

    /// Returns the limits that the call may exceed.
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

    /// Removes a call, if it waits.
    pub(crate) fn remove(&mut self, number: u64) -> Option<Call> {
        let (&limit, line) = self.lines.iter_mut().find(|(_, line)| line.calls.contains_key(&number))?;
        let call = line.calls.remove(&number);
        if line.calls.is_empty() {
            self.lines.remove(&limit);
        }
        self.len -= usize::from(call.is_some());
        call
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns the limits that calls wait for.
    pub(crate) fn limits(&self) -> Vec<Limit> {
        self.lines.keys().copied().collect()
    }

    /// Returns the lookups that wait.
    pub(crate) fn lookups(&mut self) -> impl Iterator<Item = &mut ActiveLookup> {
        let calls = self.lines.values_mut().flat_map(|line| line.calls.values_mut());
        calls.filter_map(|call| if let Call::Lookup(lookup) = call { Some(&mut **lookup) } else { None })
    }

    /// Returns the refusal of a call that waits already for a slot that this call may need.
    pub(crate) fn refusal_before(&self, call: &Call) -> Option<CallError> {
        call.needs().iter().find_map(|limit| Some(self.lines.get(limit)?.refusal.clone()))
    }

    /// Queues a refused call, if waiting helps and there is room.
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

    /// Removes and returns the call that has waited longest in one line.
    pub(crate) fn pop(&mut self, limit: Limit) -> Option<(u64, Call)> {
        let &number = self.lines.get(&limit)?.calls.first_key_value()?.0;
        Some((number, self.remove(number)?))
    }
}

/// Returns the limit that a call has exceeded, and its size, if slots of this kind become free by themselves.
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
