//! Responses to the queries of others.
//!
//! A query changes state at once, but its response waits as a small descriptor and is made from state when it
//! is polled, into the caller's buffer.

use core::net::IpAddr;

use crate::base::addr::{Endpoint, Family};
use crate::base::id::{ID_LEN, K, NodeId};
use crate::guard::sources::{Admission, Asked};
use crate::node::api::config::MAX_DATAGRAM;
use crate::node::api::event::{PackedEvent, PackedKind, Transmit};
use crate::node::core::{Core, table_nodes, table_slots};
use crate::node::local::LocalIx;
use crate::node::storage::sealed::{Memory, View};
use crate::store::peers::{MAX_SAMPLE_INTERVAL, PeerSlots, PeerSlotsMut, PeerStore};
use crate::table::{Contact, Entry, Filter};
use crate::wire::{
    Body, CompactNodes, ErrorCode, ErrorReply, FILTER_LEN, MAX_TRANSACTION_LEN, Message, Method, MethodKind,
    NODE4_LEN, NODE6_LEN, PEER4_LEN, PEER6_LEN, Query, Response, Values, Want,
};

/// The largest datagram that carries no stored value (BEP 32).
const MAX_REPLY: usize = 1024;

/// The largest datagram that carries a stored value over IPv6, whose header is longer by 20 bytes.
pub(in crate::node) const MAX_DATAGRAM_V6: usize = MAX_DATAGRAM - 20;
/// The most infohashes in a response (BEP 51); more than fit.
const MAX_SAMPLES: usize = MAX_REPLY / ID_LEN;

/// The most IPv6 nodes beside the filters of a scrape, so that there is room for peers, as in mldht (BEP 33).
const NODES6_IN_SCRAPE: usize = 5;

/// Bytes of a list of peers beside the peers.
const VALUES_LEN: usize = "6:valuesle".len();

/// Peers, or infohashes, that nodes make room for in a short response, and the bytes that the longer of them
/// take.
const SOME_PEERS: usize = 4;
const SOME_SAMPLES: usize = 2;
const SOME_BESIDE: usize = VALUES_LEN + SOME_PEERS * (PEER6_LEN + 3);

/// The nodes that stay beside them.
const FEWEST_NODES: usize = 2;

/// A response that waits to be polled.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub(crate) struct Reply {
    to: Endpoint,
    /// The local address that was queried.
    local: LocalIx,
    transaction: [u8; MAX_TRANSACTION_LEN],
    transaction_len: u8,
    method: MethodKind,
    /// Whether the querying node is known to receive what is sent to it.
    verified: bool,
    query_len: u16,
    answer: Answer,
}

/// The sender of a query, and what identifies the query.
pub(in crate::node) struct Asker<'a> {
    pub(in crate::node) from: Endpoint,
    /// The local address that was queried, if known.
    pub(in crate::node) local: Option<IpAddr>,
    /// At most [`MAX_TRANSACTION_LEN`] bytes.
    pub(in crate::node) transaction: &'a [u8],
    pub(in crate::node) method: MethodKind,
    /// The length of the datagram.
    pub(in crate::node) len: usize,
}

/// The kind of a response. A tag comes first, so that the first variant can be all zero.
#[repr(u8)]
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
enum Answer {
    /// Nothing but the id.
    Pong,
    /// Nodes close to a target.
    Nodes {
        target: NodeId,
        want: Want,
        beside: Payload,
    },
    Error {
        code: ErrorCode,
        reason: Reason,
    },
}

#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
enum Payload {
    Nothing,
    /// A token and the peers of a torrent.
    Peers {
        noseed: bool,
        scrape: bool,
    },
    /// A token and the item, if there is one; with its value if it is newer than this.
    Item {
        #[cfg_attr(not(feature = "items"), allow(dead_code, reason = "there is never one"))]
        newer_than: Option<i64>,
    },
    /// A sample of the infohashes that have peers.
    Samples,
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
        answer: Answer::Pong,
    };

    #[cfg(any(feature = "checkpoint", feature = "sim"))]
    pub(in crate::node) const fn is_consistent(&self) -> bool {
        self.transaction_len as usize <= MAX_TRANSACTION_LEN
            && self.local.is_consistent()
            && !matches!(self.answer, Answer::Error { reason: Reason { len, .. }, .. } if len as usize > Reason::MAX)
    }

    pub(in crate::node) const fn local(&self) -> LocalIx {
        self.local
    }

    fn transaction(&self) -> &[u8] {
        &self.transaction[..usize::from(self.transaction_len)]
    }
}

impl Answer {
    fn error((code, reason): (ErrorCode, &str)) -> Self {
        Self::Error { code, reason: Reason::new(reason) }
    }

    const fn is_item(&self) -> bool {
        matches!(self, Self::Nodes { beside: Payload::Item { .. }, .. })
    }
}

/// The text of an error, as bytes of its own: a waiting response refers to nothing.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
struct Reason {
    len: u8,
    text: [u8; Self::MAX],
}

impl Reason {
    /// Longer than any reason of this crate.
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
            self.family_mut(from.family()).table.on_query(&mut table_slots(m, from.family()), contact, now);
        }
        let nodes = |target, want, beside| Answer::Nodes { target, want, beside };
        let answer = match query.method {
            Method::Ping => Answer::Pong,
            Method::FindNode { target, want } | Method::Unknown { target: Some(target), want, .. } => {
                nodes(target, want, Payload::Nothing)
            }
            Method::SampleInfohashes { target, want } => nodes(target, want, Payload::Samples),
            Method::GetPeers { infohash, want, noseed, scrape } => {
                nodes(infohash.into(), want, Payload::Peers { noseed, scrape })
            }
            Method::AnnouncePeer { infohash, port, implied_port, seed, token, .. } => {
                let port = if implied_port { from.port() } else { port };
                let stored = self.store(m, from, infohash.into(), port, seed, token);
                stored.map_or_else(Answer::error, |()| Answer::Pong)
            }
            Method::Get { target, seq, want } => nodes(target, want, Payload::Item { newer_than: seq }),
            #[cfg(feature = "items")]
            Method::Put { token, target, ref item } => {
                let stored = self.store_item(m, from, token, target, item);
                stored.map_or_else(Answer::error, |()| Answer::Pong)
            }
            // A put must not look stored, whatever target it names.
            _ => Answer::error((ErrorCode::METHOD_UNKNOWN, "unknown method")),
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

    /// Makes the datagram of a response, unless it would amplify traffic.
    pub(in crate::node) fn emit_reply(
        &mut self,
        m: &mut Memory<'_>,
        reply: &Reply,
        buf: &mut [u8],
    ) -> Option<Transmit> {
        // The query came before the node became read-only.
        if self.config.read_only {
            self.stats.dropped.read_only += 1;
            return None;
        }
        if !self.family(reply.to.family()).on {
            self.stats.dropped.overflow += 1;
            return None;
        }
        let asked = Asked {
            by: reply.to,
            len: usize::from(reply.query_len),
            is_verified: reply.verified,
            for_item: reply.answer.is_item(),
        };
        let most = match reply.to.family() {
            _ if !reply.answer.is_item() => MAX_REPLY,
            Family::V4 => MAX_DATAGRAM,
            Family::V6 => MAX_DATAGRAM_V6,
        };
        let budget = self.sources.most(m.subnets, m.shares, &asked, self.now).min(most);
        let id = self.family(reply.to.family()).id;
        let buf = &mut buf[..budget];
        let mut has_item = false;
        let size = match reply.answer {
            Answer::Pong => self.envelope(reply, Body::Response(Response::new(id))).emit(buf),
            Answer::Nodes { ref target, want, beside } => {
                let sent = self.emit_lists(m, reply, target, want, beside, buf);
                has_item = sent.is_some_and(|(_, has_item)| has_item);
                sent.map(|(size, _)| size)
            }
            Answer::Error { code, ref reason } => {
                self.envelope(reply, Body::Error(ErrorReply { code, message: reason.as_bytes() })).emit(buf)
            }
        };
        let Some(size) = size else {
            self.stats.dropped.budget += 1;
            return None;
        };
        self.sources.count(m.subnets, m.shares, &asked, (size, has_item), self.now);
        let sent = if matches!(reply.answer, Answer::Error { .. }) {
            &mut self.stats.errors_out
        } else {
            &mut self.stats.responses_out
        };
        sent.count(reply.method);
        Some(Transmit { destination: reply.to.into(), source: reply.local.address(m.locals), size })
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

    fn push_reply(&mut self, m: &mut Memory<'_>, asker: &Asker<'_>, verified: bool, answer: Answer) {
        let &Asker { from, local, transaction, method, len } = asker;
        let local = local.map_or(LocalIx::NONE, |local| self.intern(m, from.family(), local));
        let (place, lost) = self.replies.push_place(m.replies);
        self.stats.dropped.overflow += lost;
        if let Some(place) = place {
            place.transaction[..transaction.len()].copy_from_slice(transaction);
            place.transaction_len = transaction.len() as u8;
            (place.to, place.local) = (from, local);
            (place.method, place.verified, place.answer) = (method, verified, answer);
            place.query_len = u16::try_from(len).unwrap_or(u16::MAX);
        }
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

    /// Makes a response of lists, shortened to fit: first peers and infohashes are left out but for a few,
    /// then filters, then nodes of the other family, then nodes; an item for which there is no room even
    /// without nodes before any of them; the id and the token never. Returns its length, and whether it has
    /// the item.
    ///
    /// Out of line: it takes much stack, which the response to a ping need not pay for.
    #[inline(never)]
    fn emit_lists(
        &mut self,
        m: &mut Memory<'_>,
        reply: &Reply,
        target: &NodeId,
        want: Want,
        beside: Payload,
        buf: &mut [u8],
    ) -> Option<(usize, bool)> {
        let family = reply.to.family();
        let mut filters = None;
        // Making filters visits every peer: not for a response that they do not fit into.
        if matches!(beside, Payload::Peers { scrape: true, .. }) && buf.len() > 2 * FILTER_LEN {
            let (infohash, own) =
                ((*target).into(), Family::ALL.map(|family| self.family(family).external.presumed()));
            filters = self.peers.scrape(shared(m), &infohash, self.now);
            self.peers.add_own(shared(m), &infohash, own, &mut filters, self.now);
        }
        // Beside filters there is no room for the other family.
        let want = match (want, family) {
            (want, _) if want != Want::NONE && filters.is_none() => want,
            (_, Family::V4) => Want { v4: true, v6: false },
            (_, Family::V6) => Want { v4: false, v6: true },
        };
        let (mut nodes_v4, mut nodes_v6) = ([[0; NODE4_LEN]; K], [[0; NODE6_LEN]; K]);
        let has_token = matches!(beside, Payload::Peers { .. } | Payload::Item { .. });
        let token = has_token.then(|| self.tokens.issue(reply.to, target.as_bytes()));
        let mut response = Response {
            nodes: want.v4.then(|| {
                let closest = self.closest(m, target, Family::V4);
                CompactNodes::new(Family::V4, pack(closest, Endpoint::compact_v4, &mut nodes_v4))
            }),
            nodes6: want.v6.then(|| {
                let most = if filters.is_some() { NODES6_IN_SCRAPE } else { K };
                let closest = self.closest(m, target, Family::V6).take(most);
                CompactNodes::new(Family::V6, pack(closest, Endpoint::compact_v6, &mut nodes_v6))
            }),
            token: token.as_ref().map(|token| &token[..]),
            seeds: filters.as_ref().map(|[seeds, _]| seeds.as_bytes()),
            peers: filters.as_ref().map(|[_, others]| others.as_bytes()),
            ..Response::new(self.family(family).id)
        };
        #[cfg(feature = "items")]
        let item = match beside {
            Payload::Item { newer_than } => self.item_for(m, target, newer_than),
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
        if matches!(beside, Payload::Samples) {
            // The greatest values they can take.
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
        // An item that does not fit even without nodes takes the place of none.
        if response.value.is_some() && len - nodes_len(&response) > buf.len() {
            (response.value, response.key, response.signature) = (None, None, None);
            len = self.envelope(reply, Body::Response(response)).encoded_len();
        }
        while len > buf.len() {
            if !drop_node(&mut response, family) {
                return None;
            }
            len = self.envelope(reply, Body::Response(response)).encoded_len();
        }
        if buf.len() - len < SOME_BESIDE {
            let wanted = self.some_beside(m, target, family, beside);
            while buf.len() - len < wanted && nodes_len(&response) > FEWEST_NODES * NODE6_LEN {
                drop_node(&mut response, family);
                len = self.envelope(reply, Body::Response(response)).encoded_len();
            }
        }
        let (mut peers, mut samples);
        match beside {
            Payload::Peers { noseed, .. } => {
                peers = [0; MAX_REPLY];
                let (peer_len, prefix_len) =
                    if family == Family::V4 { (PEER4_LEN, 2) } else { (PEER6_LEN, 3) };
                let room = (buf.len() - len).saturating_sub(VALUES_LEN) / (peer_len + prefix_len);
                let out = &mut peers[..room * peer_len];
                let (slots, infohash) = (shared(m), (*target).into());
                let mut count =
                    self.peers.sample(slots, &infohash, family, noseed, self.now, &mut self.rng, out);
                if self.peers.has_own(family) {
                    let own = self.family(family).external.presumed();
                    count = PeerStore::fill_in(family, own, &mut out[..count * peer_len]);
                }
                if count > 0 {
                    response.values = Some(Values::packed(family, &peers[..count * peer_len]));
                }
            }
            Payload::Samples => {
                samples = [[0; ID_LEN]; MAX_SAMPLES];
                // The length grows from one digit to three.
                let room = (buf.len() - len).saturating_sub(2) / ID_LEN;
                let told = self.report_infohashes(m, &mut samples[..room.min(MAX_SAMPLES)]);
                response.samples = Some(&samples[..told.count]);
                response.interval = Some(told.interval.as_micros().div_ceil(1_000_000) as i64);
                response.num = Some(told.stored as i64);
            }
            Payload::Nothing | Payload::Item { .. } => {}
        }
        let size = self.envelope(reply, Body::Response(response)).emit(buf)?;
        Some((size, response.value.is_some()))
    }

    /// Returns the bytes that a few peers or infohashes take, if any are known.
    fn some_beside(&self, m: &Memory<'_>, target: &NodeId, family: Family, beside: Payload) -> usize {
        match beside {
            Payload::Peers { .. } => {
                let count = self.peers.count_of(shared(m), &(*target).into(), family).min(SOME_PEERS);
                let each = if family == Family::V4 { PEER4_LEN + 2 } else { PEER6_LEN + 3 };
                if count > 0 { VALUES_LEN + count * each } else { 0 }
            }
            Payload::Samples => self.peers.infohash_count().min(SOME_SAMPLES) * ID_LEN + 2,
            Payload::Nothing | Payload::Item { .. } => 0,
        }
    }

    fn envelope<'a>(&'a self, reply: &'a Reply, body: Body<'a>) -> Message<'a> {
        Message {
            version: Some(&self.config.version),
            requester: Some(reply.to.into()),
            ..Message::new(reply.transaction(), body)
        }
    }

    /// Returns the nodes that a response lists in one family: good ones only (BEP 5), no routers.
    fn closest<'e>(
        &self,
        m: &'e Memory<'_>,
        target: &NodeId,
        family: Family,
    ) -> impl Iterator<Item = &'e Entry> {
        let state = self.family(family);
        let closest = state.table.closest::<K>(table_nodes(m, family), target, Filter::Good, self.now);
        closest.into_iter().filter(move |entry| !(state.holds_router && self.is_router(m, entry.endpoint())))
    }
}

/// Returns the bytes of all nodes in a response.
fn nodes_len(response: &Response<'_>) -> usize {
    [response.nodes, response.nodes6].iter().flatten().map(|nodes| nodes.as_bytes().len()).sum()
}

/// Removes the last node from a response, one of the other family if there are any. Returns whether there was
/// something to remove.
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

/// Returns the memory of the peer store.
pub(in crate::node) const fn peer_slots<'a>(m: &'a mut Memory<'_>) -> PeerSlotsMut<'a> {
    PeerSlotsMut { swarms: m.swarms, v4: m.peers_v4, v6: m.peers_v6, counters: m.counters }
}

const fn shared<'a>(m: &'a Memory<'_>) -> PeerSlots<'a> {
    PeerSlots { swarms: m.swarms, v4: m.peers_v4, v6: m.peers_v6 }
}

pub(in crate::node) const fn peer_view(view: View<'_>) -> PeerSlots<'_> {
    PeerSlots { swarms: view.swarms, v4: view.peers_v4, v6: view.peers_v6 }
}
