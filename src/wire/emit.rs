//! Encoding of every kind of message, with keys in sorted order.
//!
//! Adjacent keys and the punctuation around them are written as one literal.

use super::bencode::{Counter, Sink, Writer};
use super::compact::{CompactAddr, PEER4_LEN, PEER6_LEN, Values};
use super::error::ErrorReply;
use super::krpc::{Body, Message};
use super::query::{Method, PutItem, Query, Want};
use super::response::Response;
use crate::base::addr::Family;

impl Message<'_> {
    /// Returns the number of bytes that [`Self::emit`] writes.
    pub fn encoded_len(&self) -> usize {
        let mut counter = Counter(0);
        message(self, &mut counter);
        counter.0
    }

    /// Writes the message to the front of `buf` and returns its length.
    ///
    /// Returns `None` if the message does not fit; the content of `buf` is then unspecified.
    pub fn emit(&self, buf: &mut [u8]) -> Option<usize> {
        let capacity = buf.len();
        let mut writer = Writer::new(buf);
        message(self, &mut writer);
        writer.left().map(|left| capacity.saturating_sub(left))
    }
}

/// Writes a whole datagram.
#[inline]
fn message(message: &Message<'_>, out: &mut impl Sink) {
    out.put(b"d");
    match &message.body {
        Body::Query(query) => {
            let name = arguments(query, out);
            requester(message, out);
            out.put(b"1:q");
            out.string(name);
        }
        Body::Response(response) => {
            requester(message, out);
            returns(response, out);
        }
        Body::Error(error) => {
            error_list(error, out);
            requester(message, out);
        }
    }
    if message.read_only {
        out.put(b"2:roi1e");
    }
    out.put(b"1:t");
    out.string(message.transaction);
    if let Some(version) = message.version {
        out.put(b"1:v");
        out.string(version);
    }
    out.put(match message.body {
        Body::Query(_) => b"1:y1:qe",
        Body::Response(_) => b"1:y1:re",
        Body::Error(_) => b"1:y1:ee",
    });
}

/// Writes `ip`.
fn requester(message: &Message<'_>, out: &mut impl Sink) {
    if let Some(addr) = message.requester {
        out.put(b"2:ip");
        out.string(CompactAddr::new(addr).as_bytes());
    }
}

/// Writes `a` and returns the name of the method.
#[inline]
fn arguments<'a>(query: &Query<'a>, out: &mut impl Sink) -> &'a [u8] {
    out.put(b"1:ad");
    if let Method::Put { item: PutItem::Mutable { cas: Some(cas), .. }, .. } = query.method {
        out.put(b"3:cas");
        out.int(cas);
    }
    out.put(b"2:id20:");
    out.put(query.id.as_bytes());
    let name: &[u8] = match query.method {
        Method::Ping => b"ping",
        Method::FindNode { target, want } => {
            target_and_want(Some(target.as_bytes()), want, out);
            b"find_node"
        }
        Method::GetPeers { infohash, want, noseed, scrape } => {
            out.put(b"9:info_hash20:");
            out.put(infohash.as_bytes());
            if noseed {
                out.put(b"6:noseedi1e");
            }
            if scrape {
                out.put(b"6:scrapei1e");
            }
            families(want, out);
            b"get_peers"
        }
        Method::AnnouncePeer { infohash, port, implied_port, seed, token, name } => {
            // Always present: one family of nodes ignores an announce without the key.
            out.put(if implied_port { b"12:implied_porti1e" } else { b"12:implied_porti0e" });
            out.put(b"9:info_hash20:");
            out.put(infohash.as_bytes());
            string(b"1:n", name, out);
            int(b"4:port", Some(i64::from(port)), out);
            if seed {
                out.put(b"4:seedi1e");
            }
            string(b"5:token", Some(token), out);
            b"announce_peer"
        }
        Method::Get { target, seq, want } => {
            int(b"3:seq", seq, out);
            target_and_want(Some(target.as_bytes()), want, out);
            b"get"
        }
        Method::Put { token, target, item } => {
            put(item, token, target.as_ref().map(|target| target.as_bytes()), out);
            b"put"
        }
        Method::SampleInfohashes { target, want } => {
            target_and_want(Some(target.as_bytes()), want, out);
            b"sample_infohashes"
        }
        Method::Unknown { name, target, want } => {
            target_and_want(target.as_ref().map(|target| target.as_bytes()), want, out);
            name
        }
    };
    out.put(b"e");
    name
}

fn target_and_want(target: Option<&[u8; 20]>, want: Want, out: &mut impl Sink) {
    if let Some(target) = target {
        out.put(b"6:target20:");
        out.put(target);
    }
    families(want, out);
}

/// Writes `want`.
fn families(want: Want, out: &mut impl Sink) {
    out.put(match (want.v4, want.v6) {
        (false, false) => b"",
        (true, false) => b"4:wantl2:n4e",
        (false, true) => b"4:wantl2:n6e",
        (true, true) => b"4:wantl2:n42:n6e",
    });
}

/// Writes the arguments of a put after the id.
fn put(item: PutItem<'_>, token: &[u8], target: Option<&[u8; 20]>, out: &mut impl Sink) {
    if let PutItem::Immutable { seq: Some(seq), .. } = item {
        out.put(b"3:seq");
        out.int(seq);
    }
    if let PutItem::Mutable { key, seq, signature, salt, .. } = item {
        out.put(b"1:k32:");
        out.put(key);
        if !salt.is_empty() {
            out.put(b"4:salt");
            out.string(salt);
        }
        out.put(b"3:seq");
        out.int(seq);
        out.put(b"3:sig64:");
        out.put(signature);
    }
    target_and_want(target, Want::NONE, out);
    out.put(b"5:token");
    out.string(token);
    let (PutItem::Immutable { value, .. } | PutItem::Mutable { value, .. }) = item;
    out.put(b"1:v");
    out.put(value);
}

/// Writes `r`.
#[inline]
fn returns(response: &Response<'_>, out: &mut impl Sink) {
    out.put(b"1:rd");
    string(b"4:BFpe", response.peers.map(|filter| filter.as_slice()), out);
    string(b"4:BFsd", response.seeds.map(|filter| filter.as_slice()), out);
    out.put(b"2:id20:");
    out.put(response.id.as_bytes());
    int(b"8:interval", response.interval, out);
    string(b"1:k", response.key.map(|key| key.as_slice()), out);
    string(b"1:n", response.name, out);
    string(b"5:nodes", response.nodes.map(|nodes| nodes.as_bytes()), out);
    string(b"6:nodes6", response.nodes6.map(|nodes| nodes.as_bytes()), out);
    int(b"3:num", response.num, out);
    int(b"1:p", response.port.map(i64::from), out);
    string(b"7:samples", response.samples.map(|samples| samples.as_flattened()), out);
    int(b"3:seq", response.seq, out);
    string(b"3:sig", response.signature.map(|signature| signature.as_slice()), out);
    string(b"5:token", response.token, out);
    if let Some(value) = response.value {
        out.put(b"1:v");
        out.put(value);
    }
    if let Some(values) = response.values {
        peer_list(values, out);
    }
    out.put(b"e");
}

/// Writes `values`.
#[inline]
fn peer_list(values: Values<'_>, out: &mut impl Sink) {
    out.put(b"6:valuesl");
    match values.as_packed() {
        Some((Family::V4, peers)) => {
            for peer in peers.as_chunks::<PEER4_LEN>().0 {
                out.put(b"6:");
                out.put(peer);
            }
        }
        Some((Family::V6, peers)) => {
            for peer in peers.as_chunks::<PEER6_LEN>().0 {
                out.put(b"18:");
                out.put(peer);
            }
        }
        // Members parsed from a list are re-encoded in compact form.
        None => values.iter().for_each(|peer| out.string(CompactAddr::new(peer).as_bytes())),
    }
    out.put(b"e");
}

/// Writes `e`.
fn error_list(error: &ErrorReply<'_>, out: &mut impl Sink) {
    out.put(b"1:el");
    out.int(error.code.0);
    out.string(error.message);
    out.put(b"e");
}

/// Writes a key and a string, if there is one.
#[inline]
fn string(key: &[u8], value: Option<&[u8]>, out: &mut impl Sink) {
    if let Some(value) = value {
        out.put(key);
        out.string(value);
    }
}

/// Writes a key and an integer, if there is one.
#[inline]
fn int(key: &[u8], value: Option<i64>, out: &mut impl Sink) {
    if let Some(value) = value {
        out.put(key);
        out.int(value);
    }
}
