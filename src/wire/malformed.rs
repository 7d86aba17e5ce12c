//! The reasons why a datagram is not a message.

use thiserror::Error;

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
