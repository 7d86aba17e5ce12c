//! The server as an optional part: what every node does with a query, and calls to the server if there is one.

use crate::base::addr::Endpoint;
use crate::base::id::{InfoHash, NodeId};
use crate::base::pool::Ix;
use crate::lookup::Announce;
use crate::node::api::event::Transmit;
use crate::node::core::{Core, Server};
use crate::node::server::pending::{Querier, Reply};
use crate::node::storage::sealed::Memory;
use crate::wire::{ErrorCode, Message, Query};

pub(in crate::node) const SERVER: Server = Server {
    answer: Core::answer,
    refuse: Core::refuse,
    emit_reply: Core::emit_reply,
    verify: Core::verify_source,
    sweep: Core::sweep_stores,
    store_own: Core::store_own_peer,
    remove_own: Core::remove_own_peer,
    add_own_peers: Core::add_stored_peers,
};

/// Queries.
impl Core {
    pub(in crate::node) fn on_query(
        &mut self,
        m: &mut Memory<'_>,
        querier: &Querier<'_>,
        message: &Message<'_>,
        query: &Query<'_>,
    ) {
        self.stats.queries_in.count(querier.method);
        if self.is_own_id(query.id) {
            self.stats.dropped.own_id += 1;
            self.on_own_query(m, querier.from, querier.transaction);
        } else if let Some(server) = self.server_for_queries() {
            (server.answer)(self, m, querier, message, query);
        }
    }

    /// Responds to a query that has invalid arguments with an error, under the transaction id of the query.
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
        } else if let Some(server) = self.server_for_queries() {
            (server.refuse)(self, m, querier, refusal);
        }
    }

    /// Returns the server, or counts the query as dropped if there is none or the node is read-only.
    fn server_for_queries(&mut self) -> Option<&'static Server> {
        let server = self.code.parts.server.as_ref().filter(|_| !self.config.read_only);
        self.stats.dropped.read_only += u64::from(server.is_none());
        server
    }

    /// Whether an id is this node's, in either family.
    fn is_own_id(&self, id: NodeId) -> bool {
        self.families.iter().any(|family| family.id == id)
    }
}

/// What the rest of a node calls; without a server these do nothing.
impl Core {
    /// Writes the datagram of a response, unless it would amplify traffic.
    pub(in crate::node) fn emit_if_server(
        &mut self,
        m: &mut Memory<'_>,
        reply: &Reply,
        buf: &mut [u8],
    ) -> Option<Transmit> {
        (self.code.parts.server.as_ref()?.emit_reply)(self, m, reply, buf)
    }

    /// Records that an address has answered a query, which proves that it is not forged.
    pub(in crate::node) fn note_genuine(&mut self, m: &mut Memory<'_>, from: Endpoint) {
        if let Some(server) = &self.code.parts.server {
            (server.verify)(self, m, from);
        }
    }

    /// Removes what has expired from the stores.
    pub(in crate::node) fn sweep(&mut self, m: &mut Memory<'_>) {
        if let Some(server) = &self.code.parts.server {
            (server.sweep)(self, m);
        }
    }

    /// Stores or renews an announce of this node, in the families that it is sent in; does nothing if there is no
    /// room.
    pub(in crate::node) fn store_own(&mut self, m: &mut Memory<'_>, infohash: InfoHash, announce: Announce) {
        if let Some(server) = &self.code.parts.server {
            (server.store_own)(self, m, infohash, announce);
        }
    }

    /// Removes an announce of this node.
    pub(in crate::node) fn remove_own(&mut self, m: &mut Memory<'_>, infohash: InfoHash) {
        if let Some(server) = &self.code.parts.server {
            (server.remove_own)(self, m, infohash);
        }
    }

    /// Adds the peers stored at this node to a lookup, as its first results.
    pub(in crate::node) fn add_own_peers(&mut self, m: &mut Memory<'_>, ix: Ix) {
        if let Some(server) = &self.code.parts.server {
            (server.add_own_peers)(self, m, ix);
        }
    }
}
