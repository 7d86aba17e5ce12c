//! Queries of other nodes, checked and admitted.
//!
//! A query changes state at once; its response waits as a small descriptor until it is polled (see `pending` and
//! `reply`).

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
    pub(super) fn answer(
        &mut self,
        m: &mut Memory<'_>,
        querier: &Querier<'_>,
        message: &Message<'_>,
        query: &Query<'_>,
    ) {
        let from = querier.from;
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
        self.push_reply(m, querier, verified, kind);
    }

    pub(super) fn refuse(&mut self, m: &mut Memory<'_>, querier: &Querier<'_>, refusal: (ErrorCode, &str)) {
        if let Some(verified) = self.admit(m, querier.from) {
            self.push_reply(m, querier, verified, ReplyKind::error(refusal));
        }
    }

    /// Returns whether the sender of a query is known to receive what is sent to it.
    ///
    /// `None` if there is no response to the query.
    fn admit(&mut self, m: &mut Memory<'_>, from: Endpoint) -> Option<bool> {
        let admission = self.sources.admit(m.sources, from, self.now);
        if admission == Admission::Limited {
            self.stats.dropped.rate += 1;
            return None;
        }
        Some(admission == Admission::Verified)
    }

    pub(super) fn verify_source(&mut self, m: &mut Memory<'_>, from: Endpoint) {
        self.sources.verify(m.sources, from, self.now);
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
