//! Error messages (BEP 5).

use core::fmt;

use super::bencode::{Reader, Value};

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
