//! Answers to the queries of others.
//!
//! A query changes state at once, but its answer waits as a small descriptor and is made from
//! state when it is polled, into the caller's buffer.

use core::net::SocketAddr;

use super::{Core, table_nodes, table_slots};
use crate::addr::{Endpoint, Family};
use crate::config::MAX_DATAGRAM;
use crate::event::{Notice, NoticeKind, Transmit};
use crate::id::{ID_LEN, K, NodeId};
use crate::limit::Admission;
use crate::peers::{MAX_SAMPLE_INTERVAL, PeerSlots, PeerSlotsMut};
use crate::storage::sealed::{Memory, View};
use crate::table::{Contact, Entry, Filter};
use crate::trace::trace;
use crate::wire::{
    Body, CompactNodes, ErrorCode, ErrorReply, FILTER_LEN, MAX_TRANSACTION_LEN, Message, Method, MethodKind,
    NODE4_LEN, NODE6_LEN, PEER4_LEN, PEER6_LEN, Query, Response, Values, Want,
};

/// The largest datagram that carries no stored value (BEP 32).
const MAX_REPLY: usize = 1024;

/// The largest that carries one over IPv6, whose header is longer by 20 bytes.
pub(super) const MAX_DATAGRAM_V6: usize = MAX_DATAGRAM - 20;
/// Infohashes in an answer (BEP 51), more than fit.
const MAX_SAMPLES: usize = MAX_REPLY / ID_LEN;

/// IPv6 nodes beside the filters of a scrape: so that there is room for peers, as in mldht (BEP 33).
const NODES6_IN_SCRAPE: usize = 5;

/// An answer that waits to be polled.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub(crate) struct Reply {
    kind: Kind,
    method: MethodKind,
    to: Endpoint,
    transaction: [u8; MAX_TRANSACTION_LEN],
    transaction_len: u8,
    /// Whether the asker is known to receive what is sent to it.
    verified: bool,
    want: Want,
    noseed: bool,
    scrape: bool,
    query_len: u16,
    target: NodeId,
    /// A `get` is after newer items than this.
    #[cfg(feature = "items")]
    newer_than: Option<i64>,
    code: ErrorCode,
    reason: Reason,
}

#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
enum Kind {
    /// Nothing but our id.
    Pong,
    Nodes,
    Peers,
    /// Nodes, a token and the item, if there is one.
    Item,
    /// Nodes, and infohashes that have peers.
    Samples,
    Error,
}

impl Reply {
    pub(crate) const EMPTY: Self = Self {
        kind: Kind::Pong,
        method: MethodKind::Ping,
        to: Endpoint::ZERO,
        transaction: [0; MAX_TRANSACTION_LEN],
        transaction_len: 0,
        verified: false,
        want: Want::NONE,
        noseed: false,
        scrape: false,
        query_len: 0,
        target: NodeId::ZERO,
        // Of an option only the variant that holds data is all zero.
        #[cfg(feature = "items")]
        newer_than: Some(0),
        code: ErrorCode::UNKNOWN,
        reason: Reason::NONE,
    };

    fn transaction(&self) -> &[u8] {
        &self.transaction[..usize::from(self.transaction_len)]
    }
}

/// The text of an error, as bytes of its own: an answer that waits refers to nothing.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
struct Reason {
    len: u8,
    text: [u8; Self::MAX],
}

impl Reason {
    /// Longer than any of ours.
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

    fn as_bytes(&self) -> &[u8] {
        &self.text[..usize::from(self.len)]
    }
}

impl Core {
    pub(super) fn on_query(
        &mut self,
        m: &mut Memory<'_>,
        from: Endpoint,
        message: &Message<'_>,
        query: &Query<'_>,
        len: usize,
    ) {
        self.stats.queries_in.count(query.method.kind());
        if self.is_own_id(query.id) {
            self.stats.dropped.own_id += 1;
            return self.on_own_query(m, from, message.transaction);
        }
        let Some(mut reply) = self.admit(m, from, message.transaction, query.method.kind(), len) else {
            return;
        };
        // Nodes that answer nobody belong into no table (BEP 43), nor do bootstrap hosts.
        if !message.read_only && !self.is_bootstrap(m, from) {
            let contact = Contact { id: query.id, endpoint: from };
            let now = self.now;
            self.family_mut(from.family()).table.on_query(&mut table_slots(m, from.family()), contact, now);
        }
        match query.method {
            Method::Ping => {}
            Method::FindNode { target, want } | Method::Unknown { target: Some(target), want, .. } => {
                (reply.kind, reply.target, reply.want) = (Kind::Nodes, target, want);
            }
            Method::SampleInfohashes { target, want } => {
                (reply.kind, reply.target, reply.want) = (Kind::Samples, target, want);
            }
            Method::GetPeers { infohash, want, noseed, scrape } => {
                (reply.kind, reply.target) = (Kind::Peers, infohash.into());
                (reply.want, reply.noseed, reply.scrape) = (want, noseed, scrape);
            }
            Method::AnnouncePeer { infohash, port, implied_port, seed, token, .. } => {
                let port = if implied_port { from.port() } else { port };
                let result = self.store(m, from, infohash.into(), port, seed, token);
                if let Err((code, reason)) = result {
                    (reply.kind, reply.code, reply.reason) = (Kind::Error, code, Reason::new(reason));
                }
            }
            Method::Get { target, want, .. } => {
                (reply.kind, reply.target, reply.want) = (Kind::Item, target, want);
                #[cfg(feature = "items")]
                if let Method::Get { seq, .. } = query.method {
                    reply.newer_than = seq;
                }
            }
            #[cfg(feature = "items")]
            Method::Put { token, target, ref item } => {
                if let Err((code, reason)) = self.store_item(m, from, token, target, item) {
                    (reply.kind, reply.code, reply.reason) = (Kind::Error, code, Reason::new(reason));
                }
            }
            // A put must not look stored, whatever target it names.
            _ => {
                let reason = Reason::new("unknown method");
                (reply.kind, reply.code, reply.reason) = (Kind::Error, ErrorCode::METHOD_UNKNOWN, reason);
            }
        }
        self.push_reply(m, reply);
    }

    /// A query whose arguments are wrong is answered with an error under its own transaction id.
    #[expect(clippy::too_many_arguments)]
    pub(super) fn on_bad_query(
        &mut self,
        m: &mut Memory<'_>,
        from: Endpoint,
        transaction: &[u8],
        id: Option<NodeId>,
        method: MethodKind,
        code: ErrorCode,
        reason: &'static str,
        len: usize,
    ) {
        self.note_traffic(m, self.now);
        self.stats.queries_in.count(method);
        self.stats.bad_queries += 1;
        if id.is_some_and(|id| self.is_own_id(id)) {
            self.stats.dropped.own_id += 1;
            return;
        }
        if let Some(reply) = self.admit(m, from, transaction, method, len) {
            self.push_reply(m, Reply { kind: Kind::Error, code, reason: Reason::new(reason), ..reply });
        }
    }

    /// Whether an id is ours, in either family.
    fn is_own_id(&self, id: NodeId) -> bool {
        self.families.iter().any(|family| family.id == id)
    }

    /// Makes the datagram of an answer, unless it would make us an amplifier.
    pub(super) fn emit_reply(
        &mut self,
        m: &mut Memory<'_>,
        reply: &Reply,
        buf: &mut [u8],
    ) -> Option<Transmit> {
        // The query came before the node was told to be silent.
        if self.config.read_only {
            self.stats.dropped.read_only += 1;
            return None;
        }
        if !self.family(reply.to.family()).on {
            self.stats.dropped.overflow += 1;
            return None;
        }
        let query_len = usize::from(reply.query_len);
        let budget = if reply.verified {
            usize::MAX
        } else {
            self.sources.reply_budget(m.sites, reply.to, query_len, self.now)
        };
        let most = match (reply.kind, reply.to.family()) {
            (Kind::Item, Family::V4) => MAX_DATAGRAM,
            (Kind::Item, Family::V6) => MAX_DATAGRAM_V6,
            _ => MAX_REPLY,
        };
        let budget = budget.min(most);
        let id = self.family(reply.to.family()).id;
        let size = match reply.kind {
            Kind::Pong => self.envelope(reply, Body::Response(Response::new(id))).emit(&mut buf[..budget]),
            Kind::Error => {
                let message = reply.reason.as_bytes();
                let body = Body::Error(ErrorReply { code: reply.code, message });
                self.envelope(reply, body).emit(&mut buf[..budget])
            }
            Kind::Nodes | Kind::Peers | Kind::Item | Kind::Samples => {
                self.emit_lists(m, reply, &mut buf[..budget])
            }
        };
        let Some(size) = size else {
            self.stats.dropped.budget += 1;
            return None;
        };
        if !reply.verified {
            self.sources.charge(m.sites, reply.to, query_len, size, self.now);
        }
        let sent = if matches!(reply.kind, Kind::Error) {
            &mut self.stats.errors_out
        } else {
            &mut self.stats.responses_out
        };
        sent.count(reply.method);
        Some(Transmit { destination: reply.to.into(), size })
    }

    /// Whether a query is answered at all; if so, an answer to fill in.
    fn admit(
        &mut self,
        m: &mut Memory<'_>,
        from: Endpoint,
        transaction: &[u8],
        method: MethodKind,
        len: usize,
    ) -> Option<Reply> {
        if self.config.read_only {
            self.stats.dropped.read_only += 1;
            return None;
        }
        let admission = self.sources.admit(m.sources, from, self.now);
        if admission == Admission::Limited {
            self.stats.dropped.rate += 1;
            return None;
        }
        let mut reply = Reply {
            to: from,
            method,
            verified: admission == Admission::Verified,
            transaction_len: transaction.len() as u8,
            query_len: u16::try_from(len).unwrap_or(u16::MAX),
            ..Reply::EMPTY
        };
        reply.transaction.get_mut(..transaction.len())?.copy_from_slice(transaction);
        Some(reply)
    }

    fn push_reply(&mut self, m: &mut Memory<'_>, reply: Reply) {
        self.stats.dropped.overflow += self.replies.push(m.replies, reply);
    }

    /// Stores a peer that announced itself, if it shows a token of ours.
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
        let (peer, infohash) = (from.with_port(port), target.into());
        let stored = self.peers.announce(&mut peer_slots(m), &infohash, peer, seed, self.now, &mut self.rng);
        if let Err(refusal) = stored {
            trace!("refused to store {}: {refusal:?}", SocketAddr::from(peer));
            return Err((ErrorCode::SERVER, "no room for this peer"));
        }
        self.schedule_sweep(m);
        self.notify(m, Notice { kind: NoticeKind::PeerStored, id: target, endpoint: peer, ..Notice::EMPTY });
        Ok(())
    }

    /// Makes an answer of lists: peers and infohashes are left out first where there is no room, then
    /// filters, then nodes of the other family, then nodes, then the item, never the id or the token.
    fn emit_lists(&mut self, m: &mut Memory<'_>, reply: &Reply, buf: &mut [u8]) -> Option<usize> {
        let family = reply.to.family();
        // Making them looks at every peer: not for an answer that they do not fit into.
        let wants_filters = reply.scrape && buf.len() > 2 * FILTER_LEN;
        let filters =
            if wants_filters { self.peers.scrape(shared(m), &reply.target.into(), self.now) } else { None };
        // Beside filters there is no room for the other family.
        let want = match (reply.want, family) {
            (want, _) if want != Want::NONE && filters.is_none() => want,
            (_, Family::V4) => Want { v4: true, v6: false },
            (_, Family::V6) => Want { v4: false, v6: true },
        };
        let (mut nodes_v4, mut nodes_v6) = ([[0; NODE4_LEN]; K], [[0; NODE6_LEN]; K]);
        let (is_peers, is_samples) = (matches!(reply.kind, Kind::Peers), matches!(reply.kind, Kind::Samples));
        let has_token = matches!(reply.kind, Kind::Peers | Kind::Item);
        let token = has_token.then(|| self.tokens.issue(reply.to, reply.target.as_bytes()));
        let mut response = Response {
            nodes: want.v4.then(|| {
                let closest = self.closest(m, reply, Family::V4);
                CompactNodes::new(Family::V4, pack(closest, Endpoint::compact_v4, &mut nodes_v4))
            }),
            nodes6: want.v6.then(|| {
                let most = if filters.is_some() { NODES6_IN_SCRAPE } else { K };
                let closest = self.closest(m, reply, Family::V6).take(most);
                CompactNodes::new(Family::V6, pack(closest, Endpoint::compact_v6, &mut nodes_v6))
            }),
            token: token.as_ref().map(|token| &token[..]),
            seeds: filters.as_ref().map(|[seeds, _]| seeds.as_bytes()),
            peers: filters.as_ref().map(|[_, others]| others.as_bytes()),
            ..Response::new(self.family(family).id)
        };
        #[cfg(feature = "items")]
        let item = match reply.kind {
            Kind::Item => self.item_for(m, &reply.target, reply.newer_than),
            _ => None,
        };
        #[cfg(feature = "items")]
        if let Some((item, is_newer)) = &item {
            response.seq = item.seq();
            if *is_newer {
                response.value = Some(item.value());
                response.key = item.signed_parts().map(|signed| signed.key.as_bytes());
                response.signature = item.signature();
            }
        }
        if is_samples {
            // As long as they can become.
            let (interval, num) = (MAX_SAMPLE_INTERVAL.as_secs() as i64, self.peers.infohash_count() as i64);
            (response.interval, response.num) = (Some(interval), Some(num));
            response.samples = Some(&[]);
        }
        let mut len = self.envelope(reply, Body::Response(response)).encoded_len();
        if len > buf.len() && filters.is_some() {
            // Both or none.
            (response.seeds, response.peers) = (None, None);
            len = self.envelope(reply, Body::Response(response)).encoded_len();
        }
        while len > buf.len() {
            let (own, other) = match family {
                Family::V4 => (&mut response.nodes, &mut response.nodes6),
                Family::V6 => (&mut response.nodes6, &mut response.nodes),
            };
            let list = if other.is_some() { other } else { own };
            match list {
                Some(nodes) => *list = nodes.without_last(),
                None if response.value.is_none() => return None,
                None => (response.value, response.key, response.signature) = (None, None, None),
            }
            len = self.envelope(reply, Body::Response(response)).encoded_len();
        }
        let mut peers;
        if is_peers {
            peers = [0; MAX_REPLY];
            let (peer_len, prefix_len) = if family == Family::V4 { (PEER4_LEN, 2) } else { (PEER6_LEN, 3) };
            let room = (buf.len() - len).saturating_sub("6:valuesle".len()) / (peer_len + prefix_len);
            let out = &mut peers[..room * peer_len];
            let (slots, infohash) = (shared(m), reply.target.into());
            let count =
                self.peers.sample(slots, &infohash, family, reply.noseed, self.now, &mut self.rng, out);
            if count > 0 {
                response.values = Some(Values::packed(family, &peers[..count * peer_len]));
            }
        }
        let mut samples;
        if is_samples {
            samples = [[0; ID_LEN]; MAX_SAMPLES];
            // The length grows from one digit to three.
            let room = (buf.len() - len).saturating_sub(2) / ID_LEN;
            let told = self.tell_infohashes(m, &mut samples[..room.min(MAX_SAMPLES)]);
            response.samples = Some(&samples[..told.count]);
            response.interval = Some(told.interval.as_micros().div_ceil(1_000_000) as i64);
            response.num = Some(told.stored as i64);
        }
        self.envelope(reply, Body::Response(response)).emit(buf)
    }

    fn envelope<'a>(&'a self, reply: &'a Reply, body: Body<'a>) -> Message<'a> {
        Message {
            version: Some(&self.config.version),
            requester: Some(reply.to.into()),
            ..Message::new(reply.transaction(), body)
        }
    }

    /// The nodes that an answer lists in one family: good ones only (BEP 5), no bootstrap hosts.
    fn closest<'e>(
        &self,
        m: &'e Memory<'_>,
        reply: &Reply,
        family: Family,
    ) -> impl Iterator<Item = &'e Entry> {
        let state = self.family(family);
        let closest = state.table.closest::<K>(table_nodes(m, family), &reply.target, Filter::Good, self.now);
        closest
            .into_iter()
            .filter(move |entry| !(state.holds_bootstrap && self.is_bootstrap(m, entry.endpoint())))
    }
}

/// Writes nodes in their compact form, in arrays of known lengths.
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

/// The peer store's memory.
pub(super) const fn peer_slots<'a>(m: &'a mut Memory<'_>) -> PeerSlotsMut<'a> {
    PeerSlotsMut { swarms: m.swarms, v4: m.peers_v4, v6: m.peers_v6, counters: m.counters }
}

const fn shared<'a>(m: &'a Memory<'_>) -> PeerSlots<'a> {
    PeerSlots { swarms: m.swarms, v4: m.peers_v4, v6: m.peers_v6 }
}

pub(super) const fn peer_view(view: View<'_>) -> PeerSlots<'_> {
    PeerSlots { swarms: view.swarms, v4: view.peers_v4, v6: view.peers_v6 }
}
