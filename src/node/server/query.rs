//! Queries of other nodes, checked and admitted.
//!
//! A query changes state at once; its response waits as a small descriptor until it is polled (see `pending` and
//! `reply`).

use core::net::IpAddr;

use crate::base::addr::Endpoint;
use crate::base::id::NodeId;
use crate::guard::sources::Admission;
use crate::node::api::event::{PackedEvent, PackedKind};
use crate::node::core::Core;
use crate::node::server::pending::{Querier, ReplyKind};
use crate::node::storage::sealed::Memory;
use crate::table::Contact;
use crate::wire::{ErrorCode, Message, Method, Query};

const UNKNOWN_METHOD: (ErrorCode, &str) = (ErrorCode::METHOD_UNKNOWN, "unknown method");

impl Core {
    pub(in crate::node) fn on_query(
        &mut self,
        m: &mut Memory<'_>,
        from: Endpoint,
        local: Option<IpAddr>,
        message: &Message<'_>,
        query: &Query<'_>,
        len: usize,
    ) {
        let (transaction, method) = (message.transaction, query.method.kind());
        let querier = Querier { from, local, transaction, method, len };
        self.stats.queries_in.count(querier.method);
        if self.is_own_id(query.id) {
            self.stats.dropped.own_id += 1;
            return self.on_own_query(m, from, message.transaction);
        }
        let Some(verified) = self.admit(m, from) else { return };
        // Neither nodes that do not respond (BEP 43) nor routers belong in the table.
        if !message.read_only && !self.is_router(m, from) {
            let contact = Contact { id: query.id, endpoint: from };
            let now = self.now;
            self.family_mut(from.family()).table_mut(m).on_query(contact, now);
        }
        let kind = match query.method {
            Method::Ping => ReplyKind::Pong,
            Method::FindNode { target, want } | Method::Unknown { target: Some(target), want, .. } => {
                ReplyKind::Nodes { target, want }
            }
            Method::GetPeers { infohash, want, noseed, scrape } => {
                ReplyKind::Peers { infohash, want, noseed, scrape }
            }
            Method::Get { target, seq, want } => ReplyKind::Item { target, want, newer_than: seq },
            Method::SampleInfohashes { target, want } => ReplyKind::Samples { target, want },
            Method::AnnouncePeer { infohash, port, implied_port, seed, token, name: _ } => {
                let port = if implied_port { from.port() } else { port };
                let stored = self.store(m, from, infohash.into(), port, seed, token);
                stored.map_or_else(ReplyKind::error, |()| ReplyKind::Pong)
            }
            #[cfg(feature = "items")]
            Method::Put { token, target, ref item } => {
                let stored = self.store_item(m, from, token, target, item);
                stored.map_or_else(ReplyKind::error, |()| ReplyKind::Pong)
            }
            // Not handled like `find_node`: a put must not look stored, whatever its target.
            #[cfg(not(feature = "items"))]
            Method::Put { .. } => ReplyKind::error(UNKNOWN_METHOD),
            Method::Unknown { target: None, name: _, want: _ } => ReplyKind::error(UNKNOWN_METHOD),
        };
        self.push_reply(m, &querier, verified, kind);
    }

    /// Responds to a query with invalid arguments with an error.
    pub(in crate::node) fn on_bad_query(
        &mut self,
        m: &mut Memory<'_>,
        querier: &Querier<'_>,
        id: Option<NodeId>,
        refusal: (ErrorCode, &str),
    ) {
        self.note_traffic(m, self.now);
        self.stats.queries_in.count(querier.method);
        self.stats.bad_queries += 1;
        if id.is_some_and(|id| self.is_own_id(id)) {
            self.stats.dropped.own_id += 1;
            return;
        }
        if let Some(verified) = self.admit(m, querier.from) {
            self.push_reply(m, querier, verified, ReplyKind::error(refusal));
        }
    }

    /// Whether an id is this node's, in either family.
    fn is_own_id(&self, id: NodeId) -> bool {
        self.families.iter().any(|family| family.id == id)
    }

    /// Returns whether the sender of a query is known to receive what is sent to it.
    ///
    /// `None` if there is no response to the query.
    fn admit(&mut self, m: &mut Memory<'_>, from: Endpoint) -> Option<bool> {
        if self.config.read_only {
            self.stats.dropped.read_only += 1;
            return None;
        }
        let admission = self.sources.admit(m.sources, from, self.now);
        if admission == Admission::Limited {
            self.stats.dropped.rate += 1;
            return None;
        }
        Some(admission == Admission::Verified)
    }

    /// Stores a peer that announced itself with a valid token.
    fn store(
        &mut self,
        m: &mut Memory<'_>,
        from: Endpoint,
        target: NodeId,
        port: u16,
        seed: bool,
        token: &[u8],
    ) -> Result<(), (ErrorCode, &'static str)> {
        if !self.tokens.is_valid(token, from, target.as_bytes()) {
            return Err((ErrorCode::PROTOCOL, "bad token"));
        }
        self.sources.verify(m.sources, from, self.now);
        let peer = from.with_port(port);
        self.place_peer(m, target.into(), peer, seed)
            .map_err(|_| (ErrorCode::SERVER, "no room for this peer"))?;
        let kind = if seed { PackedKind::SeedStored } else { PackedKind::PeerStored };
        self.notify(m, PackedEvent { kind, id: target, endpoint: peer, ..PackedEvent::EMPTY });
        Ok(())
    }
}
