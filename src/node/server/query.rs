//! Queries of other nodes, checked and admitted.
//!
//! A query changes state at once; its response waits as a small descriptor until it is polled (see `pending` and `reply`).

use core::net::IpAddr;

use crate::base::addr::Endpoint;
use crate::base::id::NodeId;
use crate::guard::sources::Admission;
use crate::node::api::event::{PackedEvent, PackedKind};
use crate::node::core::Core;
use crate::node::server::pending::{Answer, Asker};
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
        let asker = Asker { from, local, transaction, method, len };
        self.stats.queries_in.count(asker.method);
        if self.is_own_id(query.id) {
            self.stats.dropped.own_id += 1;
            return self.on_own_query(m, from, message.transaction);
        }
        let Some(verified) = self.admit(m, from) else { return };
        // Nodes that do not answer belong in no table (BEP 43), nor do routers.
        if !message.read_only && !self.is_router(m, from) {
            let contact = Contact { id: query.id, endpoint: from };
            let now = self.now;
            self.family_mut(from.family()).table_mut(m).on_query(contact, now);
        }
        let answer = match query.method {
            Method::Ping => Answer::Pong,
            Method::FindNode { target, want } | Method::Unknown { target: Some(target), want, .. } => {
                Answer::Nodes { target, want }
            }
            Method::GetPeers { infohash, want, noseed, scrape } => {
                Answer::Peers { infohash, want, noseed, scrape }
            }
            Method::Get { target, seq, want } => Answer::Item { target, want, newer_than: seq },
            Method::SampleInfohashes { target, want } => Answer::Samples { target, want },
            Method::AnnouncePeer { infohash, port, implied_port, seed, token, name: _ } => {
                let port = if implied_port { from.port() } else { port };
                let stored = self.store(m, from, infohash.into(), port, seed, token);
                stored.map_or_else(Answer::error, |()| Answer::Pong)
            }
            #[cfg(feature = "items")]
            Method::Put { token, target, ref item } => {
                let stored = self.store_item(m, from, token, target, item);
                stored.map_or_else(Answer::error, |()| Answer::Pong)
            }
            // Not answered like `find_node`: a put must not look stored, whatever target it names.
            #[cfg(not(feature = "items"))]
            Method::Put { .. } => Answer::error(UNKNOWN_METHOD),
            Method::Unknown { target: None, name: _, want: _ } => Answer::error(UNKNOWN_METHOD),
        };
        self.push_reply(m, &asker, verified, answer);
    }

    /// Answers a query with invalid arguments with an error under its own transaction id.
    pub(in crate::node) fn on_bad_query(
        &mut self,
        m: &mut Memory<'_>,
        asker: &Asker<'_>,
        id: Option<NodeId>,
        refusal: (ErrorCode, &str),
    ) {
        self.note_traffic(m, self.now);
        self.stats.queries_in.count(asker.method);
        self.stats.bad_queries += 1;
        if id.is_some_and(|id| self.is_own_id(id)) {
            self.stats.dropped.own_id += 1;
            return;
        }
        if let Some(verified) = self.admit(m, asker.from) {
            self.push_reply(m, asker, verified, Answer::error(refusal));
        }
    }

    /// Whether an id is this node's, in either family.
    fn is_own_id(&self, id: NodeId) -> bool {
        self.families.iter().any(|family| family.id == id)
    }

    /// Returns whether the querying node is known to receive what is sent to it, or `None` if the query is
    /// not answered.
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
