//! The wire format through its public functions. Tests are named after the rows of the requirements they
//! check: E the envelope, B5 and Q BEP 5, B32 and so on the BEP of that number.
#![allow(clippy::unwrap_used, clippy::std_instead_of_core, clippy::std_instead_of_alloc, reason = "a test")]

#[path = "../common/roundtrip.rs"]
mod roundtrip;

mod emission;
mod envelope;
mod query;
mod response;

use dht_proto::wire::{Body, ErrorReply, Message, ParseError, Query, Response};

/// Encodes into a vector.
fn encode(message: &Message<'_>) -> Vec<u8> {
    let mut buf = vec![0; message.encoded_len()];
    assert_eq!(message.emit(&mut buf), Some(buf.len()));
    buf
}

/// Concatenates the pieces of a datagram, some of which are not ASCII.
fn datagram(pieces: &[&[u8]]) -> Vec<u8> {
    pieces.concat()
}

fn query(datagram: &[u8]) -> Result<Query<'_>, ParseError<'_>> {
    Message::parse(datagram).map(|message| match message.body {
        Body::Query(query) => query,
        other => panic!("{other:?} is not a query"),
    })
}

fn response(datagram: &[u8]) -> Response<'_> {
    match Message::parse(datagram).map(|message| message.body) {
        Ok(Body::Response(response)) => response,
        other => panic!("{other:?} is not a response"),
    }
}

fn error(datagram: &[u8]) -> ErrorReply<'_> {
    match Message::parse(datagram).map(|message| message.body) {
        Ok(Body::Error(error)) => error,
        other => panic!("{other:?} is not an error"),
    }
}
