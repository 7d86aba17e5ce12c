//! The sender of a query, and the response until it is polled: a descriptor of a few bytes.

use core::net::IpAddr;

use crate::base::addr::Endpoint;
use crate::base::id::{InfoHash, NodeId};
use crate::node::local::LocalIx;
use crate::wire::{ErrorCode, MAX_TRANSACTION_LEN, MethodKind, Want};

/// The sender of a query, and what identifies the query.
pub(in crate::node) struct Querier<'a> {
    pub(in crate::node) from: Endpoint,
    /// The local address that was queried, if known.
    pub(in crate::node) local: Option<IpAddr>,
    /// At most [`MAX_TRANSACTION_LEN`](crate::wire::MAX_TRANSACTION_LEN) bytes.
    pub(in crate::node) transaction: &'a [u8],
    pub(in crate::node) method: MethodKind,
    /// The length of the query in bytes.
    pub(in crate::node) len: usize,
}

/// A response that waits to be polled.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub(crate) struct Reply {
    pub(super) to: Endpoint,
    /// The local address that was queried.
    pub(super) local: LocalIx,
    pub(super) transaction: [u8; MAX_TRANSACTION_LEN],
    pub(super) transaction_len: u8,
    pub(super) method: MethodKind,
    /// Whether the querying node is known to receive what is sent to it.
    pub(super) verified: bool,
    pub(super) query_len: u16,
    pub(super) kind: ReplyKind,
}

/// The kind of a response.
///
/// The tag comes first and that of the first variant is zero, so that this variant can be all zero.
#[repr(u8)]
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub(in crate::node) enum ReplyKind {
    /// Nothing but the id.
    Pong,
    /// Nodes close to a target.
    Nodes {
        target: NodeId,
        want: Want,
    },
    /// A token, nodes, and the peers of a torrent or their filters.
    Peers {
        infohash: InfoHash,
        want: Want,
        noseed: bool,
        scrape: bool,
    },
    /// A token, nodes, and the item if one is stored, with its value unless `newer_than` is at least as high.
    Item {
        target: NodeId,
        want: Want,
        #[cfg_attr(not(feature = "items"), allow(dead_code, reason = "there is never one"))]
        newer_than: Option<i64>,
    },
    /// Nodes, and a sample of the infohashes that have peers.
    Samples {
        target: NodeId,
        want: Want,
    },
    Error {
        code: ErrorCode,
        reason: Reason,
    },
}

/// The text of an error, copied, because a waiting response cannot borrow it.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub(in crate::node) struct Reason {
    len: u8,
    text: [u8; Self::MAX],
}

impl Reason {
    /// Maximum length; every reason of this crate is shorter.
    const MAX: usize = 31;
    const NONE: Self = Self { len: 0, text: [0; Self::MAX] };

    fn new(text: &str) -> Self {
        debug_assert!(text.len() <= Self::MAX);
        let mut reason = Self::NONE;
        for (to, from) in reason.text.iter_mut().zip(text.bytes()) {
            *to = from;
            reason.len += 1;
        }
        reason
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.text[..usize::from(self.len)]
    }
}

impl Reply {
    pub(crate) const EMPTY: Self = Self {
        to: Endpoint::ZERO,
        local: LocalIx::NONE,
        transaction: [0; MAX_TRANSACTION_LEN],
        transaction_len: 0,
        method: MethodKind::Ping,
        verified: false,
        query_len: 0,
        kind: ReplyKind::Pong,
    };

    #[cfg(any(feature = "checkpoint", feature = "sim"))]
    pub(in crate::node) const fn is_consistent(&self) -> bool {
        self.transaction_len as usize <= MAX_TRANSACTION_LEN
            && self.local.is_consistent()
            && !matches!(self.kind, ReplyKind::Error { reason: Reason { len, .. }, .. } if len as usize > Reason::MAX)
    }

    pub(super) fn transaction(&self) -> &[u8] {
        &self.transaction[..usize::from(self.transaction_len)]
    }
}

impl ReplyKind {
    pub(in crate::node) fn error((code, reason): (ErrorCode, &str)) -> Self {
        Self::Error { code, reason: Reason::new(reason) }
    }
}
