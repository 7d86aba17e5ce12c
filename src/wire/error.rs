//! Error messages (BEP 5), and the reasons why a datagram is not a message.

use core::fmt;

use thiserror::Error;

use super::bencode::{Reader, Value};
use super::query::MethodKind;
use crate::base::id::NodeId;

/// The code of an error message. Unknown codes are passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub struct ErrorCode(pub i64);

impl ErrorCode {
    /// The message contained no code.
    pub const UNKNOWN: Self = Self(0);
    /// Generic error (BEP 5).
    pub const GENERIC: Self = Self(201);
    /// Server error (BEP 5).
    pub const SERVER: Self = Self(202);
    /// Malformed query, invalid argument or bad token (BEP 5).
    pub const PROTOCOL: Self = Self(203);
    /// Method unknown (BEP 5).
    pub const METHOD_UNKNOWN: Self = Self(204);
    /// The value is too big (BEP 44).
    pub const VALUE_TOO_BIG: Self = Self(205);
    /// The signature does not match (BEP 44).
    pub const BAD_SIGNATURE: Self = Self(206);
    /// The salt is too big (BEP 44).
    pub const SALT_TOO_BIG: Self = Self(207);
    /// The stored sequence number does not match `cas` (BEP 44).
    pub const CAS_MISMATCH: Self = Self(301);
    /// The sequence number is lower than the stored one (BEP 44).
    pub const SEQ_TOO_LOW: Self = Self(302);
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An error message: the node is alive but did not do what was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErrorReply<'a> {
    /// The kind of error.
    pub code: ErrorCode,
    /// A human-readable text of unknown encoding.
    pub message: &'a [u8],
}

impl<'a> ErrorReply<'a> {
    /// Parses any value as an error, so that the query ends.
    ///
    /// The code is the first member of the list if that is an integer, the message the first string found (E-22).
    pub(super) fn from_wire(value: Value<'a>) -> Self {
        let mut reply = Self { code: ErrorCode::UNKNOWN, message: value.bytes().unwrap_or_default() };
        let Value::List(members) = value else { return reply };
        let mut reader = Reader::new(members);
        let mut member = reader.value().unwrap_or_default();
        if let Some(code) = member.int() {
            reply.code = ErrorCode(code);
        }
        while !member.is_absent() {
            if let Some(message) = member.bytes() {
                reply.message = message;
                break;
            }
            member = reader.value().unwrap_or_default();
        }
        reply
    }
}

/// The error returned when [`Message::parse`](super::Message::parse) yields no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ParseError<'a> {
    /// Not KRPC: to be dropped without a response.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// A query with invalid arguments: to be answered with this error.
    #[error("bad query: {reason}")]
    BadQuery {
        /// The transaction id to respond with.
        transaction: &'a [u8],
        /// The sender answers no queries (BEP 43).
        read_only: bool,
        /// The id of the sender, if that argument was valid.
        id: Option<NodeId>,
        /// The method of the query.
        method: MethodKind,
        /// The error code to respond with.
        code: ErrorCode,
        /// The error text to respond with.
        reason: &'static str,
    },
    /// A response without the id of its sender: the query ends unsuccessfully.
    #[error("reply without a node id")]
    BadReply {
        /// The transaction id of the query.
        transaction: &'a [u8],
    },
}

/// The reason why a datagram is dropped without a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum Malformed {
    /// Under [`MIN_DATAGRAM_LEN`](super::MIN_DATAGRAM_LEN) bytes.
    #[error("too short")]
    TooShort,
    /// The first byte is not `d`.
    #[error("not a dictionary")]
    NotADictionary,
    /// Not bencode, or truncated.
    #[error("not bencode")]
    Syntax,
    /// Nested deeper than [`MAX_DEPTH`](super::MAX_DEPTH).
    #[error("nested too deep")]
    TooDeep,
    /// More than [`MAX_TOKENS`](super::MAX_TOKENS) tokens.
    #[error("too many tokens")]
    TooManyTokens,
    /// The transaction id is missing, empty or not a string.
    #[error("no transaction id")]
    NoTransaction,
    /// The transaction id is longer than [`MAX_TRANSACTION_LEN`](super::MAX_TRANSACTION_LEN).
    #[error("transaction id too long")]
    TransactionTooLong,
    /// Neither a query, a response nor an error.
    #[error("neither query, reply nor error")]
    NoKind,
    /// A query that names no method.
    #[error("query without a method")]
    NoMethod,
}
