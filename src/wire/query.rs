//! Queries: the methods and their arguments (BEPs 5, 32, 33, 44, 51).

use super::bencode::{Reader, Value, is_canonical};
use super::error::{ErrorCode, Malformed};
use crate::id::{InfoHash, NodeId};

/// The longest bencoded value that may be stored (BEP 44).
pub const MAX_VALUE_LEN: usize = 1000;

/// The longest salt of a mutable item (BEP 44).
pub const MAX_SALT_LEN: usize = 64;

/// A question from one node to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Query<'a> {
    /// The id of the sender.
    pub id: NodeId,
    /// What is asked.
    pub method: Method<'a>,
}

/// The methods and their arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Method<'a> {
    /// Are you there? (BEP 5)
    Ping,
    /// Which nodes are close to an id? (BEP 5)
    FindNode {
        /// The id.
        target: NodeId,
        /// The families to list nodes of.
        want: Want,
    },
    /// Which peers does a torrent have? (BEP 5)
    GetPeers {
        /// The torrent.
        infohash: InfoHash,
        /// The families to list nodes of.
        want: Want,
        /// Seeds are of no use to the sender (BEP 33).
        noseed: bool,
        /// The Bloom filters are wanted (BEP 33).
        scrape: bool,
    },
    /// The sender is a peer of a torrent. (BEP 5)
    AnnouncePeer {
        /// The torrent.
        infohash: InfoHash,
        /// The port of the peer; 0 only where `implied_port` is set.
        port: u16,
        /// The port of the peer is that of the datagram.
        implied_port: bool,
        /// The peer has the whole torrent (BEP 33).
        seed: bool,
        /// From an earlier reply of the receiver. Never empty on input.
        token: &'a [u8],
        /// The name of the torrent, which libtorrent and mldht may send.
        name: Option<&'a [u8]>,
    },
    /// Which value is stored at a target? (BEP 44)
    Get {
        /// The target.
        target: NodeId,
        /// Only a mutable item newer than this is of use.
        seq: Option<i64>,
        /// The families to list nodes of.
        want: Want,
    },
    /// Store a value. (BEP 44)
    Put {
        /// From an earlier reply of the receiver. Never empty on input.
        token: &'a [u8],
        /// Where to store; follows from the item. Nodes of the `mainline` crate require it.
        target: Option<NodeId>,
        /// What to store.
        item: PutItem<'a>,
    },
    /// Which torrents do you store peers of? (BEP 51)
    SampleInfohashes {
        /// An id to list the closest nodes of.
        target: NodeId,
        /// The families to list nodes of.
        want: Want,
    },
    /// Another method: answered like `find_node` where there is a target, else with error 204.
    Unknown {
        /// Its name.
        name: &'a [u8],
        /// The `target` or `info_hash`.
        target: Option<NodeId>,
        /// The families to list nodes of.
        want: Want,
    },
}

/// What a `put` stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PutItem<'a> {
    /// A value stored under its own hash.
    Immutable {
        /// The bencoded value: on input canonical, with at most [`MAX_VALUE_LEN`] bytes.
        value: &'a [u8],
    },
    /// A value stored under the hash of a public key and a salt.
    Mutable {
        /// The bencoded value: on input canonical, with at most [`MAX_VALUE_LEN`] bytes.
        value: &'a [u8],
        /// The Ed25519 public key.
        key: &'a [u8; 32],
        /// The sequence number: on input never negative.
        seq: i64,
        /// The Ed25519 signature: not verified here.
        signature: &'a [u8; 64],
        /// The salt, empty for none: on input at most [`MAX_SALT_LEN`] bytes.
        salt: &'a [u8],
        /// Store only if this is the sequence number of what is stored.
        cas: Option<i64>,
    },
}

/// The families to list nodes of (BEP 32).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Want {
    /// IPv4 nodes.
    pub v4: bool,
    /// IPv6 nodes.
    pub v6: bool,
}

impl Want {
    /// Nothing said: the family over which the query comes. An empty list, one of unknown members
    /// and anything but a list say no more (B32-08).
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

/// The answer to a query that is well-formed but not acceptable.
#[derive(Clone, Copy, Debug)]
pub(super) struct Refusal {
    pub(super) code: ErrorCode,
    pub(super) reason: &'static str,
}

/// The dictionary `a`, before it is known which method it belongs to.
#[derive(Default)]
pub(super) struct Arguments<'a> {
    /// The whole dictionary as it came.
    raw: &'a [u8],
    id: Value<'a>,
    target: Value<'a>,
    info_hash: Value<'a>,
    want: Value<'a>,
    noseed: Value<'a>,
    scrape: Value<'a>,
    port: Value<'a>,
    implied_port: Value<'a>,
    seed: Value<'a>,
    token: Value<'a>,
    name: Value<'a>,
    value: &'a [u8],
    key: Value<'a>,
    seq: Value<'a>,
    signature: Value<'a>,
    salt: Value<'a>,
    cas: Value<'a>,
}

impl<'a> Arguments<'a> {
    /// Reads the dictionary; anything else in its place counts as an empty one.
    pub(super) fn read(&mut self, reader: &mut Reader<'a>) -> Result<(), Malformed> {
        let before = reader.rest();
        if !reader.enter_dictionary()? {
            return reader.value().map(|_| ());
        }
        while let Some(key) = reader.key()? {
            let slot = match key {
                b"id" => &mut self.id,
                b"target" => &mut self.target,
                b"info_hash" => &mut self.info_hash,
                b"want" => &mut self.want,
                b"noseed" => &mut self.noseed,
                b"scrape" => &mut self.scrape,
                b"port" => &mut self.port,
                b"implied_port" => &mut self.implied_port,
                b"seed" => &mut self.seed,
                b"token" => &mut self.token,
                b"n" | b"name" => &mut self.name,
                b"k" => &mut self.key,
                b"seq" => &mut self.seq,
                b"sig" => &mut self.signature,
                b"salt" => &mut self.salt,
                b"cas" => &mut self.cas,
                b"v" if self.value.is_empty() => {
                    self.value = reader.raw()?;
                    continue;
                }
                _ => &mut Value::Absent,
            };
            let value = reader.value()?;
            if slot.is_absent() {
                *slot = value;
            }
        }
        self.raw = reader.since(before);
        Ok(())
    }

    /// The id of the sender.
    pub(super) fn id(&self) -> Option<NodeId> {
        node_id(self.id)
    }

    /// The query, if the arguments suit the method.
    #[inline]
    pub(super) fn query(&self, method: &'a [u8]) -> Result<Query<'a>, Refusal> {
        let method = match method {
            b"ping" => Method::Ping,
            b"find_node" => Method::FindNode { target: self.target()?, want: self.want() },
            b"get_peers" => Method::GetPeers {
                infohash: self.infohash()?,
                want: self.want(),
                noseed: self.noseed.flag(),
                scrape: self.scrape.flag(),
            },
            b"announce_peer" => self.announce_peer()?,
            b"get" => Method::Get { target: self.target()?, seq: self.seq.int(), want: self.want() },
            b"put" => self.put()?,
            b"sample_infohashes" => Method::SampleInfohashes { target: self.target()?, want: self.want() },
            name => {
                let target = node_id(self.target).or_else(|| node_id(self.info_hash));
                if target.is_none() && self.id().is_none() {
                    return Err(Refusal { code: ErrorCode::METHOD_UNKNOWN, reason: "method unknown" });
                }
                Method::Unknown { name, target, want: self.want() }
            }
        };
        match self.id.array() {
            Some(id) => Ok(Query { id: NodeId::from_bytes(*id), method }),
            None => Err(protocol("invalid id")),
        }
    }

    fn announce_peer(&self) -> Result<Method<'a>, Refusal> {
        let implied_port = self.implied_port.flag();
        let port = self.port.port();
        if port.is_none() && !implied_port {
            return Err(protocol("invalid port"));
        }
        Ok(Method::AnnouncePeer {
            infohash: self.infohash()?,
            port: port.unwrap_or(0),
            implied_port,
            seed: self.seed.int() == Some(1),
            token: self.token()?,
            name: self.name.bytes(),
        })
    }

    /// The checks come in the order of libtorrent, so that one put gets one code everywhere
    /// (B44-23): shape, size, salt; token, signature and the store's own rules are the node's.
    fn put(&self) -> Result<Method<'a>, Refusal> {
        let target = match self.target {
            Value::Absent => None,
            _ => Some(self.target()?),
        };
        let token = self.token()?;
        let value = self.value;
        if value.is_empty() {
            return Err(protocol("missing v"));
        }
        if !is_canonical(self.raw) {
            return Err(protocol("put is not canonical bencode"));
        }
        // A stray `seq` alone makes no mutable item (B44-20).
        let mutable = !(self.key.is_absent() && self.signature.is_absent());
        let item = if mutable {
            PutItem::Mutable {
                value,
                key: self.key.array().ok_or(protocol("invalid k"))?,
                seq: self.seq.int().ok_or(protocol("invalid seq"))?,
                signature: self.signature.array().ok_or(protocol("invalid sig"))?,
                salt: self.salt.bytes_or_empty().ok_or(protocol("invalid salt"))?,
                cas: match self.cas {
                    Value::Absent => None,
                    cas => Some(cas.int().ok_or(protocol("invalid cas"))?),
                },
            }
        } else {
            PutItem::Immutable { value }
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
        self.target.array().copied().map(NodeId::from_bytes).ok_or(protocol("invalid target"))
    }

    fn infohash(&self) -> Result<InfoHash, Refusal> {
        self.info_hash.array().copied().map(InfoHash::from_bytes).ok_or(protocol("invalid info_hash"))
    }

    fn token(&self) -> Result<&'a [u8], Refusal> {
        self.token.non_empty().ok_or(protocol("missing token"))
    }

    fn want(&self) -> Want {
        Want::from_wire(self.want)
    }
}

const fn protocol(reason: &'static str) -> Refusal {
    Refusal { code: ErrorCode::PROTOCOL, reason }
}

fn node_id(value: Value<'_>) -> Option<NodeId> {
    value.array().copied().map(NodeId::from_bytes)
}
