//! Errors of starting a node, and of calls to its handle.

use alloc::string::String;
use core::net::SocketAddr;
use std::io;

use thiserror::Error;

use super::io_error::IoError;
use super::state::file::StateFileError;
use crate::errors::{ContactError, Limit, PublishError, StoreError};
#[cfg(feature = "items")]
use crate::items::ItemError;
use crate::{QueryError, StartError};

/// Why a node cannot start. The program can continue without one.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SpawnError {
    /// An address cannot be bound: it is in use, or does not belong to this host.
    #[error("cannot bind {addr}: {error}")]
    Bind {
        /// The address.
        addr: SocketAddr,
        /// The error of the system.
        error: io::Error,
    },
    /// Both families are off in the [`Config`](crate::Config).
    #[error("both address families are off: turn one on in the Config, or bind an address")]
    NoFamily,
    /// A bootstrap host is not of the form `host:port`.
    #[error("{0:?} is not of the form host:port")]
    Host(String),
    /// The state file cannot be read, cannot be renamed although it is damaged, or belongs to another node.
    #[error(transparent)]
    State(#[from] StateFileError),
    /// The system provides no random bytes.
    #[error("the system has no random bytes: {0}")]
    Random(io::Error),
    /// A thread or a task cannot be started, or woken.
    #[error("cannot start a thread or task for the node: {0}")]
    System(#[from] io::Error),
}

/// Why a call failed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CallError {
    /// The node has ended: it was shut down, or its thread or task was.
    #[error("the DHT has been shut down: start another one")]
    Closed,
    /// 8192 calls wait for the loop around the node: it is blocked, or called too often.
    #[error("too many calls wait for the DHT: wait for some of them first")]
    Busy,
    /// The result was not there in time; the call continues.
    #[error("the result was not there in time: wait longer, or drop the call")]
    TimedOut,
    /// The node could not start the lookup, announce or put.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The node could not query or add another node.
    #[error(transparent)]
    Contact(#[from] ContactError),
    /// The node could not publish the announce or the item.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// All slots that the call needs are in use, and as many calls as may wait for one do.
    #[error(
        "all {size} {} are in use, and {most} calls wait for them already: wait for some of those, or raise {} or \
         Builder::queue",
        .limit.slots(),
        .limit.setting()
    )]
    QueueFull {
        /// The limit that was reached.
        limit: Limit,
        /// The number of slots.
        size: usize,
        /// The number of calls that may wait.
        most: usize,
    },
    /// The node has no socket of its own in this family: the family is off, or the program hands the datagrams in
    /// and out.
    #[error(
        "the node has no socket of its own in this address family: it is off, or the program brings its own"
    )]
    NoSocket,
    /// The node does not store what another one received.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The query failed.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// A socket cannot be opened.
    #[error(transparent)]
    Io(#[from] IoError),
    /// The state file cannot be saved or removed.
    #[error(transparent)]
    State(#[from] StateFileError),
    /// The value cannot be an item, or no version can follow the newest one.
    #[cfg(feature = "items")]
    #[error(transparent)]
    Item(#[from] ItemError),
    /// No node returned the item that the link leads to (BEP 46).
    #[cfg(feature = "items")]
    #[error("no item was found for the key in the link: its publisher may have stopped")]
    NoItem,
    /// The item that the link leads to does not point to a torrent (BEP 46).
    #[cfg(feature = "items")]
    #[error("the item found for the key in the link does not point to a torrent")]
    NoPointer,
}

impl From<io::Error> for CallError {
    fn from(error: io::Error) -> Self {
        Self::Io(error.into())
    }
}
