//! The commands of callers to the engine, in order of arrival.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
#[cfg(feature = "items")]
use alloc::vec::Vec;
use core::net::SocketAddr;
#[cfg(feature = "items")]
use core::time::Duration;

use super::crawls::SharedReport;
use super::events::Subscriber;
use super::feed::{FeedWriter, Reply};
use super::lookups::{Consumer, Key, Outcome, Sampled};
use super::publications::RepublishFeed;
use crate::crawl::{CrawlOptions, Found};
#[cfg(feature = "items")]
use crate::items::Item;
use crate::net::error::CallError;
use crate::report::Pong;
use crate::{Announce, InfoHash, Instant, LookupReport, Node, NodeId};

/// Commands that may wait for the loop; past that, calls fail with [`Busy`](CallError::Busy). Twice the number of calls
/// that may wait for a slot by default, so that a caller can start that many at once.
const COMMANDS: usize = 8192;

type NodeCall = Box<dyn FnOnce(&mut Node, Instant) + Send>;

type LookupEnd = Box<dyn Fn() -> Option<Result<Outcome, CallError>> + Send>;

/// A command to the engine. Each contains the writer of its caller's feed, which is closed
/// ([`Closed`](CallError::Closed)) if the command is dropped.
pub(crate) enum Command {
    With(NodeCall),
    Ready(Reply<()>),
    Lookup {
        number: u64,
        key: Key,
        consumer: Consumer,
    },
    Report {
        number: u64,
        /// Returns the outcome of the lookup once it has ended.
        end: LookupEnd,
        reply: Reply<LookupReport>,
    },
    /// Bounds a caller's wait for the newest version of an item.
    #[cfg(feature = "items")]
    Newest {
        number: u64,
        within: Duration,
        /// Returns the outcome of the lookup once it has ended.
        end: LookupEnd,
        reply: Reply<Option<Item>>,
    },
    Announce {
        number: u64,
        infohash: InfoHash,
        announce: Announce,
        republishes: RepublishFeed,
    },
    #[cfg(feature = "items")]
    Publish {
        number: u64,
        item: Box<Item>,
        republishes: RepublishFeed,
    },
    #[cfg(feature = "items")]
    SavedItems(Reply<Vec<Item>>),
    AddNode {
        addr: SocketAddr,
        reply: Reply<()>,
    },
    Ping {
        number: u64,
        addr: SocketAddr,
        reply: Reply<Pong>,
    },
    Sample {
        number: u64,
        addr: SocketAddr,
        target: NodeId,
        reply: Reply<Sampled>,
    },
    Crawl {
        number: u64,
        options: CrawlOptions,
        finds: FeedWriter<Found, ()>,
        report: SharedReport,
    },
    Subscribe(Subscriber),
    Save(Reply<bool>),
    Clear(Reply<()>),
    Change(Change, Reply<()>),
    /// Releases the share of a caller that has dropped its lease.
    Release(Resource),
}

/// A change of the sockets.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Change {
    Enable(bool),
    /// Opens the socket of a family again at this address, or without an address all sockets at theirs.
    Rebind(Option<SocketAddr>),
}

/// A resource that callers share, by the number of the caller's call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resource {
    Lookup(u64),
    /// A query to a single node.
    Query(u64),
    Publication(u64),
    Crawl(u64),
}

/// The commands that wait for the loop.
#[derive(Default)]
pub(crate) struct Mailbox {
    commands: VecDeque<Command>,
    /// The number of commands other than releases, of which there are no more than calls.
    calls: usize,
    is_closed: bool,
}

impl Mailbox {
    /// Returns why no further call is accepted, if so.
    pub(crate) const fn check(&self) -> Result<(), CallError> {
        match (self.is_closed, self.calls < COMMANDS) {
            (true, _) => Err(CallError::Closed),
            (false, true) => Ok(()),
            (false, false) => Err(CallError::Busy),
        }
    }

    pub(crate) fn push(&mut self, command: Command) {
        self.calls += usize::from(!matches!(command, Command::Release(_)));
        self.commands.push_back(command);
    }

    pub(crate) fn pop(&mut self) -> Option<Command> {
        let command = self.commands.pop_front()?;
        self.calls -= usize::from(!matches!(command, Command::Release(_)));
        Some(command)
    }

    #[cfg(feature = "sim")]
    pub(crate) fn is_empty(&self) -> bool {
        self.commands.is_empty()
    }

    pub(crate) const fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// Refuses further commands. Those that wait can still be popped.
    pub(crate) const fn close(&mut self) {
        self.is_closed = true;
    }
}
