//! Responses to the queries of other nodes.
//!
//! A response waits as a small descriptor, and is written from state into the caller's buffer when it is polled.
//! There is one function for each kind; [`fit`](Core::fit) shortens all of them.

use crate::base::addr::{Endpoint, Family};
use crate::base::id::{ID_LEN, K, NodeId};
use crate::guard::sources::{Request, Sent};
use crate::node::api::config::MAX_DATAGRAM;
use crate::node::api::event::Transmit;
use crate::node::core::Core;
use crate::node::local::{self, LocalIx};
use crate::node::server::pending::{Querier, Reply, ReplyKind};
use crate::node::storage::sealed::Memory;
use crate::store::peers::{MAX_SAMPLE_INTERVAL, PeerQuery, PeerStore};
use crate::table::{Entry, Filter};
use crate::wire::{
    Body, CompactNodes, ErrorReply, FILTER_LEN, Message, NODE4_LEN, NODE6_LEN, PEER4_LEN, PEER6_LEN,
    Response, Values, Want,
};

/// Maximum length of a datagram without a stored value (BEP 32).
const MAX_REPLY: usize = 1024;

/// Maximum length of a datagram with a stored value over IPv6, whose header is longer by 20 bytes.
pub(in crate::node) const MAX_DATAGRAM_V6: usize = MAX_DATAGRAM - 20;

/// Maximum number of infohashes in a response (BEP 51); fewer fit.
const MAX_SAMPLES: usize = MAX_REPLY / ID_LEN;

/// Maximum number of IPv6 nodes beside the filters of a scrape, so that peers fit as well, as in mldht (BEP 33).
const NODES6_IN_SCRAPE: usize = 5;

/// Length of a list of peers without the peers.
const VALUES_LEN: usize = "6:valuesle".len();

/// Number of peers for which nodes are dropped from a response that is too long.
const MIN_PEERS: usize = 4;

/// Number of infohashes for which nodes are dropped from a response that is too long.
const MIN_SAMPLES: usize = 2;

/// Maximum number of bytes for which nodes are dropped from a response that is too long.
const MAX_RESERVED_LEN: usize = VALUES_LEN + MIN_PEERS * (PEER6_LEN + 3);

/// Number of nodes that are not dropped for peers or infohashes.
const MIN_NODES: usize = 2;

/// The nodes that a response lists.
struct NodeLists {
    want: Want,
    /// Maximum number of IPv6 nodes.
    max_v6: usize,
    v4: [[u8; NODE4_LEN]; K],
    v6: [[u8; NODE6_LEN]; K],
}

impl Core {
    pub(in crate::node) fn push_reply(
        &mut self,
        m: &mut Memory<'_>,
        querier: &Querier<'_>,
        verified: bool,
        kind: ReplyKind,
    ) {
        let &Querier { from, local, transaction, method, len } = querier;
        let local = local.map_or(LocalIx::NONE, |local| {
            let used = || self.replies.iter(m.replies).fold(0, |used, reply| used | reply.local.bit());
            local::intern(m.locals, used, from.family(), local)
        });
        let (place, lost) = self.replies.push_place(m.replies);
        self.stats.dropped.overflow += lost;
        if let Some(place) = place {
            place.transaction[..transaction.len()].copy_from_slice(transaction);
            place.transaction_len = transaction.len() as u8;
            (place.to, place.local) = (from, local);
            (place.method, place.verified, place.kind) = (method, verified, kind);
            place.query_len = u16::try_from(len).unwrap_or(u16::MAX);
        }
    }

    /// Writes the datagram of a response, unless it would amplify traffic.
    pub(super) fn emit_reply(
        &mut self,
        m: &mut Memory<'_>,
        reply: &Reply,
        buf: &mut [u8],
    ) -> Option<Transmit> {
        // The node has become read-only since the query.
        if self.config.read_only {
            self.stats.dropped.read_only += 1;
            return None;
        }
        let family = reply.to.family();
        if !self.family(family).on {
            self.stats.dropped.overflow += 1;
            return None;
        }
        let for_item = matches!(reply.kind, ReplyKind::Item { .. });
        let request = Request {
            by: reply.to,
            len: usize::from(reply.query_len),
            is_verified: reply.verified,
            for_item,
        };
        let most = match family {
            _ if !for_item => MAX_REPLY,
            Family::V4 => MAX_DATAGRAM,
            Family::V6 => MAX_DATAGRAM_V6,
        };
        let budget = self.sources.max_len(m.subnets, m.shares, &request, self.now).min(most);
        let Some(sent) = self.write_reply(m, reply, &mut buf[..budget]) else {
            self.stats.dropped.budget += 1;
            return None;
        };
        self.sources.count(m.subnets, m.shares, &request, sent, self.now);
        let counts = match reply.kind {
            ReplyKind::Error { .. } => &mut self.stats.errors_out,
            ReplyKind::Pong
            | ReplyKind::Nodes { .. }
            | ReplyKind::Peers { .. }
            | ReplyKind::Item { .. }
            | ReplyKind::Samples { .. } => &mut self.stats.responses_out,
        };
        counts.count(reply.method);
        Some(Transmit { destination: reply.to.into(), source: reply.local.address(m.locals), size: sent.len })
    }

    fn write_reply(&mut self, m: &mut Memory<'_>, reply: &Reply, buf: &mut [u8]) -> Option<Sent> {
        let len = match reply.kind {
            ReplyKind::Pong => {
                let id = self.family(reply.to.family()).id;
                self.envelope(reply, Body::Response(Response::new(id))).emit(buf)
            }
            ReplyKind::Error { code, ref reason } => {
                self.envelope(reply, Body::Error(ErrorReply { code, message: reason.as_bytes() })).emit(buf)
            }
            ReplyKind::Nodes { ref target, want } => self.emit_nodes(m, reply, target, want, buf),
            ReplyKind::Peers { .. } => self.emit_peers(m, reply, buf),
            ReplyKind::Samples { ref target, want } => self.emit_samples(m, reply, target, want, buf),
            ReplyKind::Item { ref target, want, newer_than } => {
                return self.emit_item(m, reply, target, want, newer_than, buf);
            }
        };
        Some(Sent { len: len?, has_item: false })
    }

    fn envelope<'a>(&'a self, reply: &'a Reply, body: Body<'a>) -> Message<'a> {
        Message {
            version: Some(&self.config.version),
            requester: Some(reply.to.into()),
            ..Message::new(reply.transaction(), body)
        }
    }
}

/// The kinds of response that list nodes.
///
/// They are not inlined, so that the response to a ping does not need as much stack.
impl Core {
    #[inline(never)]
    fn emit_nodes(
        &self,
        m: &Memory<'_>,
        reply: &Reply,
        target: &NodeId,
        want: Want,
        buf: &mut [u8],
    ) -> Option<usize> {
        let mut lists = NodeLists::new(want, reply.to.family());
        let mut response = self.list_nodes(m, reply, target, &mut lists);
        self.fit(reply, &mut response, buf.len(), &|| 0)?;
        self.envelope(reply, Body::Response(response)).emit(buf)
    }

    #[inline(never)]
    fn emit_peers(&mut self, m: &Memory<'_>, reply: &Reply, buf: &mut [u8]) -> Option<usize> {
        let ReplyKind::Peers { ref infohash, want, noseed, scrape } = reply.kind else { return None };
        let (family, slots) = (reply.to.family(), m.peers());
        let mut filters = None;
        // Building the filters visits every peer, so they are built only if they fit.
        if scrape && buf.len() > 2 * FILTER_LEN {
            let own = Family::ALL.map(|family| self.family(family).external.presumed());
            filters = self.peers.scrape(slots, infohash, self.now);
            self.peers.add_own(slots, infohash, own, &mut filters, self.now);
        }
        let token = self.tokens.issue(reply.to, infohash.as_bytes());
        let mut lists = NodeLists::new(want, family);
        if filters.is_some() {
            // Nodes of the other family do not fit beside the filters.
            lists = NodeLists { max_v6: NODES6_IN_SCRAPE, ..NodeLists::new(Want::NONE, family) };
        }
        let mut response = self.list_nodes(m, reply, &(*infohash).into(), &mut lists);
        response.token = Some(&token);
        if let Some([seeds, others]) = &filters {
            (response.seeds, response.peers) = (Some(seeds.as_bytes()), Some(others.as_bytes()));
        }
        let (peer_len, prefix_len) = if family == Family::V4 { (PEER4_LEN, 2) } else { (PEER6_LEN, 3) };
        let len = self.fit(reply, &mut response, buf.len(), &|| {
            let count = self.peers.count_of(slots, infohash, family).min(MIN_PEERS);
            if count > 0 { VALUES_LEN + count * (peer_len + prefix_len) } else { 0 }
        })?;
        let room = (buf.len() - len).saturating_sub(VALUES_LEN) / (peer_len + prefix_len);
        let mut peers = [0; MAX_REPLY];
        let out = &mut peers[..room * peer_len];
        let query = PeerQuery { infohash, family, noseed };
        let mut count = self.peers.sample(slots, query, self.now, &mut self.rng, out);
        if self.peers.has_own(family) {
            let own = self.family(family).external.presumed();
            count = PeerStore::fill_in(family, own, &mut out[..count * peer_len]);
        }
        if count > 0 {
            response.values = Some(Values::packed(family, &peers[..count * peer_len]));
        }
        self.envelope(reply, Body::Response(response)).emit(buf)
    }

    #[inline(never)]
    fn emit_item(
        &self,
        m: &Memory<'_>,
        reply: &Reply,
        target: &NodeId,
        want: Want,
        #[cfg_attr(not(feature = "items"), expect(unused_variables, reason = "there is never one"))]
        newer_than: Option<i64>,
        buf: &mut [u8],
    ) -> Option<Sent> {
        let token = self.tokens.issue(reply.to, target.as_bytes());
        let mut lists = NodeLists::new(want, reply.to.family());
        let mut response = self.list_nodes(m, reply, target, &mut lists);
        response.token = Some(&token);
        #[cfg(feature = "items")]
        let item = self.item_for(m, target, newer_than);
        #[cfg(feature = "items")]
        if let Some((item, is_newer)) = &item {
            response.seq = item.seq();
            if *is_newer {
                response.value = Some(item.value());
                response.key = item.signed_parts().map(|signed| signed.key.as_bytes());
                response.signature = item.signature();
            }
        }
        self.fit(reply, &mut response, buf.len(), &|| 0)?;
        let len = self.envelope(reply, Body::Response(response)).emit(buf)?;
        Some(Sent { len, has_item: response.value.is_some() })
    }

    #[inline(never)]
    fn emit_samples(
        &mut self,
        m: &mut Memory<'_>,
        reply: &Reply,
        target: &NodeId,
        want: Want,
        buf: &mut [u8],
    ) -> Option<usize> {
        let stored = self.peers.infohash_count();
        let mut lists = NodeLists::new(want, reply.to.family());
        let mut response = self.list_nodes(m, reply, target, &mut lists);
        // The longest encoding of the values that follow.
        response.interval = Some(MAX_SAMPLE_INTERVAL.as_secs() as i64);
        response.num = Some(stored as i64);
        response.samples = Some(&[]);
        let reserved = || stored.min(MIN_SAMPLES) * ID_LEN + 2;
        let len = self.fit(reply, &mut response, buf.len(), &reserved)?;
        // The length prefix grows from one digit to three.
        let room = (buf.len() - len).saturating_sub(2) / ID_LEN;
        let mut samples = [[0; ID_LEN]; MAX_SAMPLES];
        let sample = self.report_infohashes(m, &mut samples[..room.min(MAX_SAMPLES)]);
        response.samples = Some(&samples[..sample.count]);
        response.interval = Some(sample.interval.as_micros().div_ceil(1_000_000) as i64);
        response.num = Some(sample.stored as i64);
        self.envelope(reply, Body::Response(response)).emit(buf)
    }

    /// Starts a response with the nodes closest to a target.
    #[inline(never)]
    fn list_nodes<'a>(
        &self,
        m: &Memory<'_>,
        reply: &Reply,
        target: &NodeId,
        lists: &'a mut NodeLists,
    ) -> Response<'a> {
        let NodeLists { want, max_v6, v4, v6 } = lists;
        Response {
            nodes: want.v4.then(|| {
                let closest = self.closest(m, target, Family::V4);
                CompactNodes::new(Family::V4, pack(closest, Endpoint::compact_v4, v4))
            }),
            nodes6: want.v6.then(|| {
                let closest = self.closest(m, target, Family::V6).take(*max_v6);
                CompactNodes::new(Family::V6, pack(closest, Endpoint::compact_v6, v6))
            }),
            ..Response::new(self.family(reply.to.family()).id)
        }
    }

    /// Returns the nodes that a response lists in one family: good ones only (BEP 5), no routers.
    fn closest<'e>(
        &'e self,
        m: &'e Memory<'_>,
        target: &NodeId,
        family: Family,
    ) -> impl Iterator<Item = &'e Entry> {
        let state = self.family(family);
        let closest = state.table_ref(m).closest::<K>(target, Filter::Good, self.now);
        closest.into_iter().filter(move |entry| !(state.holds_router && self.is_router(m, entry.endpoint())))
    }

    /// Shortens a response to `room` bytes, and returns its length.
    ///
    /// Filters are left out first, then nodes of the other family, then other nodes. An item is left out before any
    /// node if it would not fit even without nodes; the id and the token never are. Then further nodes are dropped
    /// until `reserved` bytes are left, the length of a few peers or infohashes.
    #[inline(never)]
    fn fit(
        &self,
        reply: &Reply,
        response: &mut Response<'_>,
        room: usize,
        reserved: &dyn Fn() -> usize,
    ) -> Option<usize> {
        let family = reply.to.family();
        let encoded_len =
            |response: &Response<'_>| self.envelope(reply, Body::Response(*response)).encoded_len();
        let mut len = encoded_len(response);
        if len > room && response.seeds.is_some() {
            // One without the other would be misleading.
            (response.seeds, response.peers) = (None, None);
            len = encoded_len(response);
        }
        if response.value.is_some() && len - nodes_len(response) > room {
            (response.value, response.key, response.signature) = (None, None, None);
            len = encoded_len(response);
        }
        while len > room {
            if !drop_node(response, family) {
                return None;
            }
            len = encoded_len(response);
        }
        if room - len < MAX_RESERVED_LEN {
            let reserved = reserved();
            while room - len < reserved && nodes_len(response) > MIN_NODES * NODE6_LEN {
                drop_node(response, family);
                len = encoded_len(response);
            }
        }
        Some(len)
    }
}

impl NodeLists {
    /// Creates empty lists for the families that a query over `family` requests.
    const fn new(want: Want, family: Family) -> Self {
        Self { want: wanted(want, family), max_v6: K, v4: [[0; NODE4_LEN]; K], v6: [[0; NODE6_LEN]; K] }
    }
}

/// Returns the families to list nodes of: those that a query requests, or else the one over which it came.
const fn wanted(want: Want, family: Family) -> Want {
    match (want, family) {
        (Want { v4: false, v6: false }, Family::V4) => Want { v4: true, v6: false },
        (Want { v4: false, v6: false }, Family::V6) => Want { v4: false, v6: true },
        (Want { v4: true, .. } | Want { v6: true, .. }, _) => want,
    }
}

/// Returns the bytes of all nodes in a response.
fn nodes_len(response: &Response<'_>) -> usize {
    [response.nodes, response.nodes6].iter().flatten().map(|nodes| nodes.as_bytes().len()).sum()
}

/// Removes the last node from a response, one of the other family if there are any.
///
/// Returns whether there was one.
fn drop_node(response: &mut Response<'_>, family: Family) -> bool {
    let (own, other) = match family {
        Family::V4 => (&mut response.nodes, &mut response.nodes6),
        Family::V6 => (&mut response.nodes6, &mut response.nodes),
    };
    let list = if other.is_some() { other } else { own };
    let Some(nodes) = *list else { return false };
    *list = nodes.without_last();
    true
}

/// Writes nodes in compact form.
#[expect(single_use_lifetimes, reason = "an anonymous one is unstable in this place")]
fn pack<'a, 'e, const NODE: usize, const PEER: usize>(
    nodes: impl Iterator<Item = &'e Entry>,
    compact: fn(Endpoint) -> [u8; PEER],
    buf: &'a mut [[u8; NODE]; K],
) -> &'a [u8] {
    let mut count = 0;
    for (node, to) in nodes.zip(&mut *buf) {
        to[..ID_LEN].copy_from_slice(node.id().as_bytes());
        to[ID_LEN..].copy_from_slice(&compact(node.endpoint()));
        count += 1;
    }
    buf[..count].as_flattened()
}
