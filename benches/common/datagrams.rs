//! Addresses of hosts, and their datagrams.

use std::net::SocketAddr;

use dht_proto::NodeId;
use dht_proto::wire::{Body, Message, Method, Query};

/// The address of the `index`-th host, each in a network of its own.
pub(crate) fn host(index: usize) -> SocketAddr {
    SocketAddr::from(([60 + (index >> 16) as u8, (index >> 8) as u8, index as u8, 1], 6881))
}

pub(crate) fn query(id: NodeId, method: Method<'_>) -> Vec<u8> {
    let body = Body::Query(Query { id, method });
    encode(&Message { version: Some(b"LT\x02\x01"), ..Message::new(b"abcd", body) })
}

pub(crate) fn encode(message: &Message<'_>) -> Vec<u8> {
    let mut bytes = vec![0; message.encoded_len()];
    message.emit(&mut bytes).expect("it was measured");
    bytes
}
