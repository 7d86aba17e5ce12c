//! The wire format, KRPC: converts between bytes and messages, and does nothing else.
//!
//! - `bencode`: a pull reader over borrowed bytes, and a writer into a slice
//! - `compact`: compact node and peer lists (BEP 5, BEP 32)
//! - `emit`: encoding of every kind of message
//! - `error`: error messages
//! - `krpc`: the envelope of a message, and what parsing it may fail with
//! - `malformed`: the reasons why a datagram is not a message
//! - `query`: queries and their arguments
//! - `response`: responses and their values
//!
//! [`Message::parse`] borrows every field from the datagram, [`Message::emit`] writes into a slice. Both are
//! pure functions, and neither allocates, recurses or panics, whatever the bytes. Input is read as liberally
//! as the deployed nodes require. Output is canonical: keys are sorted and integers minimal. Addresses, ids
//! and ports are passed on as received: which of them to trust is not decided here.
//!
//! ```
//! use dht_proto::NodeId;
//! use dht_proto::wire::{Body, Message, Method, Query};
//!
//! let query = Query { id: NodeId::ZERO, method: Method::Ping };
//! let message = Message::new(b"aa", Body::Query(query));
//! let mut buf = [0; 128];
//! let len = message.emit(&mut buf).expect("a ping is short");
//! assert_eq!(Message::parse(&buf[..len]), Ok(message));
//! ```
#![deny(clippy::arithmetic_side_effects, clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used)]

mod bencode;
mod compact;
mod emit;
mod error;
mod krpc;
mod malformed;
mod query;
mod response;

pub(crate) use bencode::{Counter, Reader, Sink, Value, Writer};
pub use bencode::{MAX_DEPTH, MAX_TOKENS, is_canonical};
pub use compact::{
    CompactNodes, NODE4_LEN, NODE6_LEN, NodeIter, NodeWriter, PEER4_LEN, PEER6_LEN, PeerIter, PeerWriter,
    Values,
};
pub use error::{ErrorCode, ErrorReply};
pub use krpc::{Body, MAX_TRANSACTION_LEN, MIN_DATAGRAM_LEN, Message, ParseError};
pub use malformed::Malformed;
pub use query::{MAX_SALT_LEN, MAX_VALUE_LEN, Method, MethodKind, PutItem, Query, Want};
pub use response::{FILTER_LEN, Response};

/// Whether a datagram is worth passing to [`Message::parse`], for a socket shared with uTP or UDP trackers.
///
/// It must start as a dictionary with a first key, and be long enough to hold a message. No uTP packet
/// passes: its first byte is never `d`.
pub const fn is_krpc(datagram: &[u8]) -> bool {
    datagram.len() >= MIN_DATAGRAM_LEN && matches!(datagram, [b'd', b'0'..=b'9', ..])
}
