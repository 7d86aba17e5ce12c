//! Queries: the methods and their arguments (BEPs 5, 32, 33, 44, 51).

use super::bencode::{Reader, Seen, Value, is_canonical};
use super::error::ErrorCode;
use super::malformed::Malformed;
use crate::base::id::{ID_LEN, InfoHash, NodeId};

/// Maximum length of a bencoded value that may be stored (BEP 44).
pub const MAX_VALUE_LEN: usize = 1000;

/// Maximum length of the salt of a mutable item (BEP 44).
pub const MAX_SALT_LEN: usize = 64;

/// A query from one node to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Query<'a> {
    /// The id of the sender.
    pub id: NodeId,
    /// The method with its arguments.
    pub method: Method<'a>,
}

/// A method with its arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Method<'a> {
    /// Checks whether a node is alive (BEP 5).
    Ping,
    /// Finds the nodes closest to an id (BEP 5).
    FindNode {
        /// The id to list the closest nodes of.
        target: NodeId,
        /// The families to list nodes of.
        want: Want,
    },
    /// Finds the peers of a torrent (BEP 5).
    GetPeers {
        /// The torrent.
        infohash: InfoHash,
        /// The families to list nodes of.
        want: Want,
        /// The sender has no use for seeds (BEP 33).
        noseed: bool,
        /// The sender requests the Bloom filters (BEP 33).
        scrape: bool,
    },
    /// Announces the sender as a peer of a torrent (BEP 5).
    AnnouncePeer {
        /// The torrent.
        infohash: InfoHash,
        /// The port of the peer; 0 only where `implied_port` is set.
        port: u16,
        /// The port of the peer is the source port of the datagram.
        implied_port: bool,
        /// The peer has the whole torrent (BEP 33).
        seed: bool,
        /// A token from an earlier response of the receiver. Never empty on input.
        token: &'a [u8],
        /// The name of the torrent, sent by some libtorrent and mldht nodes.
        name: Option<&'a [u8]>,
    },
    /// Gets the value stored at a target (BEP 44).
    Get {
        /// The target.
        target: NodeId,
        /// Only a mutable item with a higher sequence number is requested.
        seq: Option<i64>,
        /// The families to list nodes of.
        want: Want,
    },
    /// Stores a value (BEP 44).
    Put {
        /// A token from an earlier response of the receiver. Never empty on input.
        token: &'a [u8],
        /// The target to store at; follows from the item. Nodes of the `mainline` crate require it.
        target: Option<NodeId>,
        /// The item to store.
        item: PutItem<'a>,
    },
    /// Requests a sample of the infohashes stored (BEP 51).
    SampleInfohashes {
        /// The id to list the closest nodes of.
        target: NodeId,
        /// The families to list nodes of.
        want: Want,
    },
    /// An unknown method: handled like `find_node` if there is a target, otherwise refused with error 204.
    Unknown {
        /// The name of the method.
        name: &'a [u8],
        /// The `target` or `info_hash`.
        target: Option<NodeId>,
        /// The families to list nodes of.
        want: Want,
    },
}

/// A method without its arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub enum MethodKind {
    /// `ping`
    Ping,
    /// `find_node`
    FindNode,
    /// `get_peers`
    GetPeers,
    /// `announce_peer`
    AnnouncePeer,
    /// `get`
    Get,
    /// `put`
    Put,
    /// `sample_infohashes`
    SampleInfohashes,
    /// An unknown method.
    Other,
}

impl MethodKind {
    pub(super) const fn from_wire(name: &[u8]) -> Self {
        match name {
            b"ping" => Self::Ping,
            b"find_node" => Self::FindNode,
            b"get_peers" => Self::GetPeers,
            b"announce_peer" => Self::AnnouncePeer,
            b"get" => Self::Get,
            b"put" => Self::Put,
            b"sample_infohashes" => Self::SampleInfohashes,
            _ => Self::Other,
        }
    }
}

impl Method<'_> {
    /// Returns the method without its arguments.
    pub const fn kind(&self) -> MethodKind {
        match self {
            Self::Ping => MethodKind::Ping,
            Self::FindNode { .. } => MethodKind::FindNode,
            Self::GetPeers { .. } => MethodKind::GetPeers,
            Self::AnnouncePeer { .. } => MethodKind::AnnouncePeer,
            Self::Get { .. } => MethodKind::Get,
            Self::Put { .. } => MethodKind::Put,
            Self::SampleInfohashes { .. } => MethodKind::SampleInfohashes,
            Self::Unknown { .. } => MethodKind::Other,
        }
    }
}

/// The item that a `put` stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PutItem<'a> {
    /// A value stored at its own hash.
    Immutable {
        /// The bencoded value: canonical and at most [`MAX_VALUE_LEN`] bytes long on input.
        value: &'a [u8],
        /// Meaningless here, but one family of nodes refuses a put without it.
        seq: Option<i64>,
    },
    /// A value stored at the hash of a public key and a salt.
    Mutable {
        /// The bencoded value: canonical and at most [`MAX_VALUE_LEN`] bytes long on input.
        value: &'a [u8],
        /// The Ed25519 public key.
        key: &'a [u8; 32],
        /// The sequence number: never negative on input.
        seq: i64,
        /// The Ed25519 signature, which is not verified here.
        signature: &'a [u8; 64],
        /// The salt, empty for none: at most [`MAX_SALT_LEN`] bytes long on input.
        salt: &'a [u8],
        /// Store only if the stored item has this sequence number.
        cas: Option<i64>,
    },
}

/// The families to list nodes of (BEP 32).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "checkpoint", derive(serde::Serialize, serde::Deserialize))]
pub struct Want {
    /// IPv4 nodes.
    pub v4: bool,
    /// IPv6 nodes.
    pub v6: bool,
}

impl Want {
    /// No family requested: nodes of the family over which the query was received are listed.
    ///
    /// An empty list, a list of unknown members and any value other than a list mean the same (B32-08).
    pub const NONE: Self = Self { v4: false, v6: false };
    /// Both families.
    pub const BOTH: Self = Self { v4: true, v6: true };

    fn from_wire(value: Value<'_>) -> Self {
        let mut want = Self::NONE;
        let Value::List(members) = value else { return want };
        let mut reader = Reader::new(members);
        while let Ok(member) = reader.value() {
            match member.bytes() {
                Some(b"n4") => want.v4 = true,
                Some(b"n6") => want.v6 = true,
                _ => {}
            }
        }
        want
    }
}

/// The error in response to a query that is well-formed but not acceptable.
#[derive(Clone, Copy, Debug)]
pub(super) struct Refusal {
    pub(super) code: ErrorCode,
    pub(super) reason: &'static str,
}

/// The dictionary `a`, before its method is known.
///
/// An argument of the wrong type or length counts as absent, except in `seen`.
#[derive(Default)]
pub(super) struct Arguments<'a> {
    seen: Seen,
    /// The raw bytes of the dictionary.
    raw: &'a [u8],
    id: Option<&'a [u8; ID_LEN]>,
    target: Option<&'a [u8; ID_LEN]>,
    info_hash: Option<&'a [u8; ID_LEN]>,
    want: Want,
    noseed: bool,
    scrape: bool,
    implied_port: bool,
    seed: bool,
    port: Option<u16>,
    token: Option<&'a [u8]>,
    name: Option<&'a [u8]>,
    value: &'a [u8],
    key: Option<&'a [u8; 32]>,
    seq: Option<i64>,
    signature: Option<&'a [u8; 64]>,
    salt: Option<&'a [u8]>,
    cas: Option<i64>,
}

const ID: u32 = 1;
const TARGET: u32 = 1 << 1;
const INFO_HASH: u32 = 1 << 2;
const WANT: u32 = 1 << 3;
const NOSEED: u32 = 1 << 4;
const SCRAPE: u32 = 1 << 5;
const IMPLIED_PORT: u32 = 1 << 6;
const SEED: u32 = 1 << 7;
const PORT: u32 = 1 << 8;
const TOKEN: u32 = 1 << 9;
const NAME: u32 = 1 << 10;
const VALUE: u32 = 1 << 11;
const KEY: u32 = 1 << 12;
const SEQ: u32 = 1 << 13;
const SIGNATURE: u32 = 1 << 14;
const SALT: u32 = 1 << 15;
const CAS: u32 = 1 << 16;

impl<'a> Arguments<'a> {
    /// Reads the dictionary; any other value counts as an empty one.
    #[inline]
    pub(super) fn read(&mut self, reader: &mut Reader<'a>) -> Result<(), Malformed> {
        let start = reader.rest();
        if !reader.enter_dictionary()? {
            return reader.value().map(|_| ());
        }
        while let Some(key) = reader.key()? {
            let before = reader.rest();
            let value = reader.value()?;
            let seen = &mut self.seen;
            match key {
                b"id" if seen.first(ID) => self.id = value.array(),
                b"target" if seen.first(TARGET) => self.target = value.array(),
                b"info_hash" if seen.first(INFO_HASH) => self.info_hash = value.array(),
                b"want" if seen.first(WANT) => self.want = Want::from_wire(value),
                b"noseed" if seen.first(NOSEED) => self.noseed = value.flag(),
                b"scrape" if seen.first(SCRAPE) => self.scrape = value.flag(),
                b"implied_port" if seen.first(IMPLIED_PORT) => self.implied_port = value.flag(),
                b"seed" if seen.first(SEED) => self.seed = value.int() == Some(1),
                b"port" if seen.first(PORT) => self.port = value.port(),
                b"token" if seen.first(TOKEN) => self.token = value.non_empty(),
                b"n" | b"name" if seen.first(NAME) => self.name = value.bytes(),
                b"v" if seen.first(VALUE) => self.value = reader.since(before),
                b"k" if seen.first(KEY) => self.key = value.array(),
                b"seq" if seen.first(SEQ) => self.seq = value.int(),
                b"sig" if seen.first(SIGNATURE) => self.signature = value.array(),
                b"salt" if seen.first(SALT) => self.salt = value.bytes(),
                b"cas" if seen.first(CAS) => self.cas = value.int(),
                _ => {}
            }
        }
        self.raw = reader.since(start);
        Ok(())
    }

    /// Returns the id of the sender.
    pub(super) fn id(&self) -> Option<NodeId> {
        self.id.copied().map(NodeId::from_bytes)
    }

    /// Returns the query if the arguments suit the method.
    #[inline]
    pub(super) fn query(&self, name: &'a [u8]) -> Result<Query<'a>, Refusal> {
        let method = match MethodKind::from_wire(name) {
            MethodKind::Ping => Method::Ping,
            MethodKind::FindNode => Method::FindNode { target: self.target()?, want: self.want },
            MethodKind::GetPeers => Method::GetPeers {
                infohash: self.infohash()?,
                want: self.want,
                noseed: self.noseed,
                scrape: self.scrape,
            },
            MethodKind::AnnouncePeer => self.announce_peer()?,
            MethodKind::Get => Method::Get { target: self.target()?, seq: self.seq, want: self.want },
            MethodKind::Put => self.put()?,
            MethodKind::SampleInfohashes => {
                Method::SampleInfohashes { target: self.target()?, want: self.want }
            }
            MethodKind::Other => {
                let target = self.target.or(self.info_hash).copied().map(NodeId::from_bytes);
                if target.is_none() && self.id.is_none() {
                    return Err(Refusal { code: ErrorCode::METHOD_UNKNOWN, reason: "method unknown" });
                }
                Method::Unknown { name, target, want: self.want }
            }
        };
        let id = self.id().ok_or(protocol("invalid id"))?;
        Ok(Query { id, method })
    }

    fn announce_peer(&self) -> Result<Method<'a>, Refusal> {
        if self.port.is_none() && !self.implied_port {
            return Err(protocol("invalid port"));
        }
        Ok(Method::AnnouncePeer {
            infohash: self.infohash()?,
            port: self.port.unwrap_or(0),
            implied_port: self.implied_port,
            seed: self.seed,
            token: self.token()?,
            name: self.name,
        })
    }

    /// Validates the arguments of a put in the order of libtorrent: shape, size, salt.
    ///
    /// A put with several faults therefore gets the same error code from both (B44-23). Token, signature and the
    /// rules of the store are checked by the node.
    fn put(&self) -> Result<Method<'a>, Refusal> {
        let target = self.optional(TARGET, self.target, "invalid target")?;
        let target = target.copied().map(NodeId::from_bytes);
        let token = self.token()?;
        let value = self.value;
        if value.is_empty() {
            return Err(protocol("missing v"));
        }
        if !is_canonical(self.raw) {
            return Err(protocol("put is not canonical bencode"));
        }
        // A `seq` alone does not make an item mutable (B44-20).
        let mutable = self.seen.has(KEY) || self.seen.has(SIGNATURE);
        let item = if mutable {
            PutItem::Mutable {
                value,
                key: self.key.ok_or(protocol("invalid k"))?,
                seq: self.seq.ok_or(protocol("invalid seq"))?,
                signature: self.signature.ok_or(protocol("invalid sig"))?,
                salt: self.optional(SALT, self.salt, "invalid salt")?.unwrap_or_default(),
                cas: self.optional(CAS, self.cas, "invalid cas")?,
            }
        } else {
            PutItem::Immutable { value, seq: self.seq }
        };
        if value.len() > MAX_VALUE_LEN {
            return Err(Refusal { code: ErrorCode::VALUE_TOO_BIG, reason: "value too big" });
        }
        if let PutItem::Mutable { seq, salt, .. } = item {
            if salt.len() > MAX_SALT_LEN {
                return Err(Refusal { code: ErrorCode::SALT_TOO_BIG, reason: "salt too big" });
            }
            if seq < 0 {
                return Err(protocol("negative seq"));
            }
        }
        Ok(Method::Put { token, target, item })
    }

    fn target(&self) -> Result<NodeId, Refusal> {
        self.target.copied().map(NodeId::from_bytes).ok_or(protocol("invalid target"))
    }

    fn infohash(&self) -> Result<InfoHash, Refusal> {
        self.info_hash.copied().map(InfoHash::from_bytes).ok_or(protocol("invalid info_hash"))
    }

    fn token(&self) -> Result<&'a [u8], Refusal> {
        self.token.ok_or(protocol("missing token"))
    }

    /// Returns an argument that may be absent but not invalid.
    const fn optional<T: Copy>(
        &self,
        key: u32,
        value: Option<T>,
        reason: &'static str,
    ) -> Result<Option<T>, Refusal> {
        if value.is_none() && self.seen.has(key) { Err(protocol(reason)) } else { Ok(value) }
    }
}

/// Returns a protocol error with this text.
const fn protocol(reason: &'static str) -> Refusal {
    Refusal { code: ErrorCode::PROTOCOL, reason }
}
