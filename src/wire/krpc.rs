//! The envelope of every datagram: transaction, version, flags and one of three bodies.

use core::net::{IpAddr, SocketAddr};

use super::bencode::{Counter, Reader, Seen, Value, Writer};
use super::error::{ErrorReply, Malformed, ParseError};
use super::query::{Arguments, MethodKind, Query};
use super::response::{Response, Returns};
use super::{compact, emit};

/// Shorter datagrams hold no message and are not looked at.
pub const MIN_DATAGRAM_LEN: usize = 10;

/// The longest transaction id that is accepted and echoed. The longest one seen deployed has 10.
pub const MAX_TRANSACTION_LEN: usize = 32;

/// One datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// `t`: chosen by the querying node, echoed in the reply.
    pub transaction: &'a [u8],
    /// `v`: the software of the sender; usually four bytes (BEP 20), but any length is seen.
    pub version: Option<&'a [u8]>,
    /// `ro`: the sender answers no queries and belongs in no routing table (BEP 43).
    pub read_only: bool,
    /// `ip`: the address at which the sender sees the receiver (BEP 42). The port is 0 if only an
    /// address came.
    pub requester: Option<SocketAddr>,
    /// Query, response or error.
    pub body: Body<'a>,
}

/// What a message is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::large_enum_variant, reason = "there is no box to put one in")]
pub enum Body<'a> {
    /// A question.
    Query(Query<'a>),
    /// The answer to a query.
    Response(Response<'a>),
    /// The refusal of a query.
    Error(ErrorReply<'a>),
}

impl<'a> Message<'a> {
    /// A message without any of the optional fields.
    pub const fn new(transaction: &'a [u8], body: Body<'a>) -> Self {
        Self { transaction, version: None, read_only: false, requester: None, body }
    }

    /// Reads the message that a datagram begins with, in one pass.
    ///
    /// Keys in any order, unknown keys, non-minimal integers and bytes after the message are
    /// tolerated, except in the arguments of `put`. Of equal keys the first counts.
    ///
    /// # Errors
    ///
    /// See [`ParseError`]: each variant is to be treated differently.
    pub fn parse(datagram: &'a [u8]) -> Result<Self, ParseError<'a>> {
        Self::parse_prefix(datagram).map(|(message, _)| message)
    }

    /// Like [`Self::parse`], and also returns the bytes after the message: none, normally.
    ///
    /// # Errors
    ///
    /// See [`ParseError`].
    pub fn parse_prefix(datagram: &'a [u8]) -> Result<(Self, &'a [u8]), ParseError<'a>> {
        let mut envelope = Envelope::default();
        let rest = envelope.read(datagram)?;
        envelope.message(rest)
    }

    /// How many bytes [`Self::emit`] writes.
    pub fn encoded_len(&self) -> usize {
        let mut counter = Counter(0);
        emit::message(self, &mut counter);
        counter.0
    }

    /// Writes the message to the front of `buf` and returns its length, or `None` if it does not
    /// fit; then `buf` holds garbage.
    pub fn emit(&self, buf: &mut [u8]) -> Option<usize> {
        let capacity = buf.len();
        let mut writer = Writer::new(buf);
        emit::message(self, &mut writer);
        writer.left().map(|left| capacity.saturating_sub(left))
    }
}

/// The top level of a datagram, before it is known what kind it is.
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
    /// Made where there are some, because it is large.
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
    /// Reads the dictionary and returns what follows it.
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

    /// The message, now that all its parts are known, and what follows it. Inlined, because it is
    /// large to copy.
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
                // Deployed bitmagnet nodes send errors as replies (E-24).
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

/// The address in `ip`; some nodes leave out the port (B42-07).
fn requester(bytes: &[u8]) -> Option<SocketAddr> {
    let without_port = || {
        let ip = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
        ip.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok().map(|ip| SocketAddr::new(ip, 0))
    };
    compact::peer(bytes).or_else(without_port)
}
