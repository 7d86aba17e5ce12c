//! What callers ask of the engine, in the order in which they came.

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
use super::lookups::{Key, Outcome, Sampled, Wants};
use super::publications::Rounds;
use crate::crawl::{CrawlOptions, Found};
#[cfg(feature = "items")]
use crate::items::Item;
use crate::net::error::CallError;
use crate::report::Pong;
use crate::{Announce, InfoHash, Instant, LookupReport, Node, NodeId};

/// Commands that may wait for the loop; past that, calls are [`Busy`](CallError::Busy). Twice as many as may
/// wait for a slot by default: callers who hand in that many at once are served.
const COMMANDS: usize = 8192;

type NodeCall = Box<dyn FnOnce(&mut Node, Instant) + Send>;

type LookupEnd = Box<dyn Fn() -> Option<Result<Outcome, CallError>> + Send>;

/// What the engine is asked to do. Every command carries the way back to its caller, who gets
/// [`Closed`](CallError::Closed) if it is dropped.
pub(crate) enum Command {
    With(NodeCall),
    Ready(Reply<()>),
    Lookup {
        number: u64,
        key: Key,
        wants: Wants,
    },
    Report {
        number: u64,
        /// How it went, once it has ended.
        end: LookupEnd,
        reply: Reply<LookupReport>,
    },
    /// Has a caller wait for the newest version of an item no longer than for `within`.
    #[cfg(feature = "items")]
    Newest {
        number: u64,
        within: Duration,
        /// How the lookup went, once it has ended.
        end: LookupEnd,
        reply: Reply<Option<Item>>,
    },
    Announce {
        number: u64,
        infohash: InfoHash,
        announce: Announce,
        rounds: Rounds,
    },
    #[cfg(feature = "items")]
    Publish {
        number: u64,
        item: Box<Item>,
        rounds: Rounds,
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
    /// Ends the share of a caller who has left.
    Release(Resource),
}

/// What is to be done with the sockets.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Change {
    Enable(bool),
    /// Opens the socket of the address there, or all of them where they are.
    Rebind(Option<SocketAddr>),
}

/// What a caller holds a share of, by the number of the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resource {
    Lookup(u64),
    /// A query to a single node.
    Query(u64),
    Publication(u64),
    Crawl(u64),
}

/// Commands that wait for the loop.
#[derive(Default)]
pub(crate) struct Mailbox {
    commands: VecDeque<Command>,
    /// Calls among them. Releases do not count: there are no more of them than of what was asked for.
    calls: usize,
    is_closed: bool,
}

impl Mailbox {
    /// Whether another call is taken.
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

    /// Takes no more commands. Those that wait are still taken out.
    pub(crate) const fn close(&mut self) {
        self.is_closed = true;
    }
}
