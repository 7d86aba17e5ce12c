//! The findings of one lookup, written by the loop and read by all who share the lookup.

use alloc::vec::Vec;
use core::net::SocketAddr;

use super::error::CallError;
use super::watched::Watched;
use crate::{InfoHash, Lookup, LookupOptions, LookupReport, NodeInfo, Sample};

/// What a lookup came to.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Outcome {
    /// How it went.
    pub report: LookupReport,
    /// The closest nodes that answered, closest first; up to 8.
    pub nodes: Vec<NodeInfo>,
    /// The nodes that confirmed the announce, if it was one.
    pub acknowledged: Vec<SocketAddr>,
}

/// The answer of a single node to a query for a sample of infohashes (BEP 51).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Sampled {
    /// Whether it knows the query, how many infohashes it stores, and for how long it is not to be asked
    /// again.
    pub sample: Sample,
    /// The infohashes that it told.
    pub infohashes: Vec<InfoHash>,
    /// The nodes that it knows closest to the target, at most 16.
    pub nodes: Vec<NodeInfo>,
}

/// What makes two searches the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Lookup(Lookup, LookupOptions),
    Bootstrap,
}

pub(super) type Progress = Watched<Findings>;

/// Bounded, because the core reports each peer and each acknowledgement of a lookup once, and
/// peers no more than it can remember.
#[derive(Debug, Default)]
pub(super) struct Findings {
    peers: Vec<SocketAddr>,
    acknowledged: Vec<SocketAddr>,
    end: Option<Result<Outcome, CallError>>,
}

impl Findings {
    /// What a caller who has seen that many peers gets next: another one, `None` at the end, or
    /// why there is no end. Nothing if that is not known yet.
    pub(super) fn after(&self, seen: usize) -> Option<Result<Option<SocketAddr>, CallError>> {
        match (self.peers.get(seen), &self.end) {
            (Some(&peer), _) => Some(Ok(Some(peer))),
            (None, Some(Ok(_))) => Some(Ok(None)),
            (None, Some(Err(error))) => Some(Err(*error)),
            (None, None) => None,
        }
    }

    pub(super) fn end(&self) -> Option<Result<Outcome, CallError>> {
        self.end.clone()
    }
}

impl Progress {
    pub(super) fn push_peer(&self, peer: SocketAddr) {
        self.update(|findings| findings.peers.push(peer));
    }

    pub(super) fn push_acknowledged(&self, node: SocketAddr) {
        self.update(|findings| findings.acknowledged.push(node));
    }

    pub(super) fn finish(&self, report: LookupReport, nodes: Vec<NodeInfo>) {
        self.update(|findings| {
            let acknowledged = core::mem::take(&mut findings.acknowledged);
            findings.end = Some(Ok(Outcome { report, nodes, acknowledged }));
        });
    }

    /// Tells the callers that there will be no end.
    pub(super) fn close(&self) {
        self.update(|findings| {
            findings.end.get_or_insert(Err(CallError::Closed));
        });
    }
}
