//! Messages of other hosts, well-formed but with false content, and their damage on the way.

use std::net::SocketAddr;

use dht_proto::wire::{
    Body, ErrorCode, ErrorReply, FILTER_LEN, Message, Method, NodeWriter, PeerWriter, Query, Response,
};
use dht_proto::{Family, InfoHash, NodeId};

#[cfg(feature = "items")]
use super::offer::Offer;
use super::script::{Script, host};

/// The ids, hosts and tokens in messages.
pub trait Names {
    fn id(&self, script: &mut Script<'_>) -> NodeId;

    fn host(&self, script: &mut Script<'_>) -> SocketAddr;

    /// Returns a token that this address received.
    fn token(&self, from: SocketAddr, infohash: InfoHash) -> Option<Vec<u8>>;
}

/// Generates a query of this address.
pub fn query(names: &impl Names, from: SocketAddr, script: &mut Script<'_>) -> Vec<u8> {
    let (id, kind) = (names.id(script), script.byte());
    let infohash = script.infohash();
    let token = names.token(from, infohash).filter(|_| kind & 0x40 == 0).unwrap_or_else(|| vec![kind; 8]);
    let want = script.want();
    #[cfg(feature = "items")]
    let (offer, token) = match kind & 0x2f {
        0x2d | 0x2f => {
            let offer = Offer::new(script);
            let known = names.token(from, offer.item.target().into()).filter(|_| kind & 0x40 == 0);
            (Some(offer), known.unwrap_or(token))
        }
        _ => (None, token),
    };
    let method = match kind & 0xf {
        0 => Method::Ping,
        1..=3 => Method::FindNode { target: names.id(script), want },
        4..=8 => Method::GetPeers { infohash, want, noseed: kind & 0x10 != 0, scrape: kind & 0x20 != 0 },
        9..=12 => Method::AnnouncePeer {
            infohash,
            port: u16::from(kind) + 1,
            implied_port: kind & 0x10 != 0,
            seed: kind & 0x20 != 0,
            token: &token,
            name: None,
        },
        #[cfg(feature = "items")]
        13 | 15 if offer.is_some() => offer.as_ref().expect("it is").method(&token, kind, want),
        13 => Method::Get { target: names.id(script), seq: None, want },
        14 => Method::SampleInfohashes { target: names.id(script), want },
        _ => Method::Unknown { name: b"vote", target: (kind & 0x10 != 0).then(|| names.id(script)), want },
    };
    let mut transaction = [kind; 33];
    transaction[0] = script.byte();
    let len = match script.byte() {
        long @ 200.. => usize::from(long - 200).clamp(1, 33),
        _ => 4,
    };
    let message = Message {
        read_only: script.byte() > 250,
        ..Message::new(&transaction[..len], Body::Query(Query { id, method }))
    };
    damaged(&message, script)
}

/// Generates an answer with this transaction id.
pub fn answer(names: &impl Names, id: NodeId, transaction: &[u8], script: &mut Script<'_>) -> Vec<u8> {
    let (mut v4, mut v6) = ([0; 8 * 26], [0; 8 * 38]);
    let (mut nodes4, mut nodes6) =
        (NodeWriter::new(Family::V4, &mut v4), NodeWriter::new(Family::V6, &mut v6));
    let (mut peers4, mut peers6) = ([0; 4 * 6], [0; 4 * 18]);
    let (mut values4, mut values6) =
        (PeerWriter::new(Family::V4, &mut peers4), PeerWriter::new(Family::V6, &mut peers6));
    for _ in 0..script.byte() % 9 {
        let (id, addr) = (names.id(script), names.host(script));
        let _ = nodes4.push(&id, addr) || nodes6.push(&id, addr);
    }
    for _ in 0..script.byte() % 4 {
        let addr = names.host(script);
        let _ = values4.push(addr) || values6.push(addr);
    }
    let contents = script.byte();
    let has = |bit: u8| contents & (1 << bit) == 0;
    #[cfg(feature = "items")]
    let offer = (!has(6)).then(|| Offer::new(script));
    #[cfg(feature = "items")]
    let (found, signature) = (offer.as_ref().map(|offer| &offer.item), [contents; 64]);
    let response = Response {
        #[cfg(feature = "items")]
        value: found.map(|item| item.value()),
        #[cfg(feature = "items")]
        key: offer.as_ref().map(|offer| offer.key.as_bytes()),
        #[cfg(feature = "items")]
        seq: found.and_then(|item| item.seq()),
        #[cfg(feature = "items")]
        signature: found.and_then(|item| item.signature()).map(|good| if has(7) { good } else { &signature }),
        nodes: has(0).then(|| nodes4.finish()),
        nodes6: has(1).then(|| nodes6.finish()),
        token: has(2).then_some(&b"a token"[..]),
        values: has(3).then(|| if has(4) { values4.finish() } else { values6.finish() }),
        ..Response::new(id)
    };
    let (filter, samples) = ([contents & 0x55; FILTER_LEN], [[contents; 20]; 3]);
    let response = Response {
        seeds: has(7).then_some(&filter),
        peers: has(7).then_some(&filter),
        samples: has(6).then_some(&samples),
        interval: has(6).then_some(i64::from(contents) - 9),
        num: has(6).then_some(i64::from(contents) - 9),
        ..response
    };
    let message = Message {
        read_only: contents == 0xff,
        requester: has(5).then(|| host(contents)),
        ..Message::new(transaction, Body::Response(response))
    };
    damaged(&message, script)
}

/// Generates an error with this transaction id.
pub fn refusal(transaction: &[u8], script: &mut Script<'_>) -> Vec<u8> {
    let code = ErrorCode(i64::from(script.u16()));
    let body = Body::Error(ErrorReply { code, message: b"no" });
    damaged(&Message::new(transaction, body), script)
}

/// Encodes a message, which may be damaged on its way.
fn damaged(message: &Message<'_>, script: &mut Script<'_>) -> Vec<u8> {
    let mut bytes = vec![0; message.encoded_len()];
    message.emit(&mut bytes).expect("it was measured");
    damage(&mut bytes, script);
    bytes
}

/// Damages a datagram, or leaves it unchanged.
pub fn damage(bytes: &mut Vec<u8>, script: &mut Script<'_>) {
    match script.byte() {
        byte @ 0..16 => {
            let at = usize::from(script.u16()) % bytes.len().max(1);
            if let Some(changed) = bytes.get_mut(at) {
                *changed ^= byte | 1;
            }
        }
        16..20 => bytes.truncate(usize::from(script.u16()) % bytes.len().max(1)),
        20..24 => bytes.extend_from_slice(b"trailing"),
        _ => {}
    }
}
