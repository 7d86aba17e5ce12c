//! The envelope of every datagram: transaction id, version, flags and one of three bodies.

use core::net::{IpAddr, SocketAddr};

use thiserror::Error;

use super::bencode::{Reader, Seen, Value};
use super::compact;
use super::error::{ErrorCode, ErrorReply};
use super::malformed::Malformed;
use super::query::{Arguments, MethodKind, Query};
use super::response::{Response, Returns};
use crate::base::id::NodeId;

/// Minimum length of a datagram. Shorter ones cannot hold a message and are not parsed.
pub const MIN_DATAGRAM_LEN: usize = 10;

/// Maximum length of a transaction id that is accepted and echoed. The longest one observed has 10 bytes.
pub const MAX_TRANSACTION_LEN: usize = 32;

/// A KRPC message, the content of one datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// `t`: chosen by the querying node and echoed in the reply.
    pub transaction: &'a [u8],
    /// `v`: the software of the sender; usually four bytes (BEP 20), but any length occurs.
    pub version: Option<&'a [u8]>,
    /// `ro`: the sender answers no queries and belongs in no routing table (BEP 43).
    pub read_only: bool,
    /// `ip`: the address of the receiver as seen by the sender (BEP 42).
    ///
    /// The port is 0 if only an address was received.
    pub requester: Option<SocketAddr>,
    /// Query, response or error.
    pub body: Body<'a>,
}

/// The kind of a message and its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::large_enum_variant, reason = "there is no box to put one in")]
pub enum Body<'a> {
    /// A query.
    Query(Query<'a>),
    /// The response to a query.
    Response(Response<'a>),
    /// The error with which a query was refused.
    Error(ErrorReply<'a>),
}

impl<'a> Message<'a> {
    /// Creates a message without any of the optional fields.
    pub const fn new(transaction: &'a [u8], body: Body<'a>) -> Self {
        Self { transaction, version: None, read_only: false, requester: None, body }
    }

    /// Parses the message at the start of a datagram, in one pass.
    ///
    /// Keys in any order, unknown keys, non-minimal integers and bytes after the message are tolerated,
    /// except in the arguments of `put`. Of duplicate keys, the first counts.
    ///
    /// # Errors
    ///
    /// See [`ParseError`]: each variant must be handled differently.
    pub fn parse(datagram: &'a [u8]) -> Result<Self, ParseError<'a>> {
        Self::parse_prefix(datagram).map(|(message, _)| message)
    }

    /// Parses the message at the start of a datagram, and returns the bytes after it, normally none.
    ///
    /// # Errors
    ///
    /// See [`ParseError`].
    pub fn parse_prefix(datagram: &'a [u8]) -> Result<(Self, &'a [u8]), ParseError<'a>> {
        let mut envelope = Envelope::default();
        let rest = envelope.read(datagram)?;
        envelope.message(rest)
    }
}

/// The error returned when [`Message::parse`](Message::parse) fails.
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

/// The top level of a datagram, before its kind is known.
#[derive(Default)]
struct Envelope<'a> {
    seen: Seen,
    read_only: bool,
    transaction: Option<&'a [u8]>,
    kind: Option<&'a [u8]>,
    method: Option<&'a [u8]>,
    version: Option<&'a [u8]>,
    requester: Option<&'a [u8]>,
    error: Value<'a>,
    arguments: Arguments<'a>,
    /// Created only if present, because it is large.
    returns: Option<Returns<'a>>,
}

const TRANSACTION: u32 = 1;
const KIND: u32 = 1 << 1;
const METHOD: u32 = 1 << 2;
const VERSION: u32 = 1 << 3;
const REQUESTER: u32 = 1 << 4;
const READ_ONLY: u32 = 1 << 5;
const ERROR: u32 = 1 << 6;
const ARGUMENTS: u32 = 1 << 7;
const RETURNS: u32 = 1 << 8;

impl<'a> Envelope<'a> {
    /// Reads the dictionary and returns the bytes that follow it.
    fn read(&mut self, datagram: &'a [u8]) -> Result<&'a [u8], Malformed> {
        if datagram.len() < MIN_DATAGRAM_LEN {
            return Err(Malformed::TooShort);
        }
        let mut reader = Reader::new(datagram);
        if !reader.enter_dictionary()? {
            return Err(Malformed::NotADictionary);
        }
        let seen = &mut self.seen;
        while let Some(key) = reader.key()? {
            match key {
                b"a" if seen.first(ARGUMENTS) => {
                    self.arguments.read(&mut reader)?;
                    continue;
                }
                b"r" if seen.first(RETURNS) => {
                    self.returns.insert(Returns::default()).read(&mut reader)?;
                    continue;
                }
                _ => {}
            }
            let value = reader.value()?;
            match key {
                b"t" if seen.first(TRANSACTION) => self.transaction = value.non_empty(),
                b"y" if seen.first(KIND) => self.kind = value.bytes(),
                b"q" if seen.first(METHOD) => self.method = value.bytes(),
                b"v" if seen.first(VERSION) => self.version = value.bytes(),
                b"ip" if seen.first(REQUESTER) => self.requester = value.bytes(),
                b"ro" if seen.first(READ_ONLY) => self.read_only = value.flag(),
                b"e" if seen.first(ERROR) => self.error = value,
                _ => {}
            }
        }
        Ok(reader.rest())
    }

    /// Assembles the message from its parts, and returns it with the bytes that follow it.
    ///
    /// Inlined, because a message is expensive to copy.
    #[inline(always)]
    fn message(&self, rest: &'a [u8]) -> Result<(Message<'a>, &'a [u8]), ParseError<'a>> {
        let transaction = self.transaction()?;
        let &Self { version, read_only, .. } = self;
        let requester = self.requester.and_then(requester);
        let message = |body| (Message { transaction, version, read_only, requester, body }, rest);
        match self.kind {
            Some(b"q") => {
                let method = self.method.ok_or(Malformed::NoMethod)?;
                let query = self.arguments.query(method).map_err(|refusal| ParseError::BadQuery {
                    transaction,
                    read_only,
                    id: self.arguments.id(),
                    method: MethodKind::from_wire(method),
                    code: refusal.code,
                    reason: refusal.reason,
                })?;
                Ok(message(Body::Query(query)))
            }
            Some(b"r") => match &self.returns {
                Some(returns) => {
                    let response = returns.response().ok_or(ParseError::BadReply { transaction })?;
                    Ok(message(Body::Response(response)))
                }
                // Deployed bitmagnet nodes send errors as responses (E-24).
                None if matches!(self.error, Value::List(_)) => {
                    Ok(message(Body::Error(ErrorReply::from_wire(self.error))))
                }
                None => Err(ParseError::BadReply { transaction }),
            },
            Some(b"e") => Ok(message(Body::Error(ErrorReply::from_wire(self.error)))),
            _ => Err(Malformed::NoKind.into()),
        }
    }

    fn transaction(&self) -> Result<&'a [u8], Malformed> {
        match self.transaction {
            None => Err(Malformed::NoTransaction),
            Some(long) if long.len() > MAX_TRANSACTION_LEN => Err(Malformed::TransactionTooLong),
            Some(transaction) => Ok(transaction),
        }
    }
}

/// Parses the address in `ip`; some nodes omit the port (B42-07).
fn requester(bytes: &[u8]) -> Option<SocketAddr> {
    let without_port = || {
        let ip = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
        ip.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok().map(|ip| SocketAddr::new(ip, 0))
    };
    compact::peer(bytes).or_else(without_port)
}
