//! Compares what the crate reads from a datagram with what two other decoders read: `bencode-rs`, which keeps
//! the order of keys and equal keys, and `serde_bencode`.
//!
//! The fuzz target `message` and ordinary tests share this file.
#![allow(dead_code, unreachable_pub, reason = "every user takes a part of it")]

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use bencode_rs::Value;
use dht_proto::wire::{Body, Message, Method, PutItem, Query, Response, Want, is_canonical};

/// Parses a datagram with each decoder.
///
/// # Panics
///
/// If a message of this crate differs from what another decoder reads, which is a bug of one of them.
pub fn message(datagram: &[u8]) {
    let Ok((message, rest)) = Message::parse_prefix(datagram) else { return };
    let whole = &datagram[..datagram.len() - rest.len()];
    // The others are stricter with numbers, and panic at those beyond 64 bits.
    let is_huge = whole.split(|byte| !byte.is_ascii_digit()).any(|digits| digits.len() > 18);
    if !is_huge && let Ok(values) = bencode_rs::parse_all(whole) {
        assert_eq!(values.len(), 1, "one dictionary: {}", whole.escape_ascii());
        Root(&values[0]).check(&message);
    }
    let mut written = vec![0; message.encoded_len()];
    message.emit(&mut written).expect("it was measured");
    // A value that is not validated may be of any form.
    if is_canonical(&written) && !has_value(&message) && !is_huge {
        let values = bencode_rs::parse_all(&written).expect("it is canonical");
        assert_eq!(values.len(), 1);
        Root(&values[0]).check(&message);
        let other: serde_bencode::value::Value =
            serde_bencode::from_bytes(&written).expect("it is canonical");
        assert_eq!(Tree::from(&values[0]), Tree::from(other), "{}", written.escape_ascii());
    }
}

const fn has_value(message: &Message<'_>) -> bool {
    match &message.body {
        Body::Query(query) => matches!(query.method, Method::Put { .. }),
        Body::Response(response) => response.value.is_some(),
        Body::Error(_) => false,
    }
}

/// The dictionary of a datagram as another decoder has read it.
#[derive(Clone, Copy)]
struct Root<'a>(&'a Value);

impl<'a> Root<'a> {
    fn check(self, message: &Message<'_>) {
        assert_eq!(self.string("t"), Some(message.transaction));
        assert_eq!(self.string("v"), message.version);
        assert_eq!(self.flag("ro"), message.read_only);
        if let Some(requester) = message.requester {
            let bytes = self.string("ip").expect("it has one");
            assert!(compact(requester).starts_with(bytes), "{requester}");
        }
        match &message.body {
            Body::Query(query) => self.check_query(query),
            Body::Response(response) => self.check_response(response),
            Body::Error(error) => {
                assert!(matches!(self.string("y"), Some(b"e" | b"r")));
                if let Some(code) = self.int("e.0") {
                    assert_eq!(error.code.0, code);
                }
            }
        }
    }

    fn check_query(self, query: &Query<'_>) {
        assert_eq!(self.string("y"), Some(&b"q"[..]));
        assert_eq!(self.string("a.id"), Some(&query.id.as_bytes()[..]));
        let target = self.string("a.target");
        match query.method {
            Method::Ping => self.is_asked("ping"),
            Method::FindNode { target: id, want } => {
                self.is_asked("find_node");
                // One family of nodes has the target in another place.
                assert!([target, self.string("a.info_hash")].contains(&Some(&id.as_bytes()[..])));
                assert_eq!(self.want(), want);
            }
            Method::GetPeers { infohash, want, noseed, scrape } => {
                self.is_asked("get_peers");
                assert!([target, self.string("a.info_hash")].contains(&Some(&infohash.as_bytes()[..])));
                assert_eq!(self.want(), want);
                assert_eq!((self.flag("a.noseed"), self.flag("a.scrape")), (noseed, scrape));
            }
            Method::AnnouncePeer { infohash, port, implied_port, seed, token, name } => {
                self.is_asked("announce_peer");
                assert_eq!(self.string("a.info_hash"), Some(&infohash.as_bytes()[..]));
                assert_eq!(self.string("a.token"), Some(token));
                assert_eq!(
                    (self.flag("a.implied_port"), self.int("a.seed") == Some(1)),
                    (implied_port, seed)
                );
                assert_eq!(self.string("a.name").or_else(|| self.string("a.n")).is_some(), name.is_some());
                assert!(if port == 0 { implied_port } else { self.int("a.port") == Some(port.into()) });
            }
            Method::Get { target: id, seq, want } => {
                self.is_asked("get");
                assert_eq!(target, Some(&id.as_bytes()[..]));
                assert!(seq.is_none() || self.int("a.seq") == seq);
                assert_eq!(self.want(), want);
            }
            Method::Put { token, item, .. } => {
                self.is_asked("put");
                assert_eq!(self.string("a.token"), Some(token));
                let value = match item {
                    PutItem::Immutable { value, .. } => value,
                    PutItem::Mutable { value, key, seq, signature, salt, cas } => {
                        assert_eq!(self.string("a.k"), Some(&key[..]));
                        assert_eq!(self.string("a.sig"), Some(&signature[..]));
                        assert_eq!(self.int("a.seq"), Some(seq));
                        assert_eq!(self.string("a.salt").unwrap_or_default(), salt);
                        assert!(cas.is_none() || self.int("a.cas") == cas);
                        value
                    }
                };
                let value = bencode_rs::parse_all(value).expect("it is part of what was read");
                assert_eq!(self.at("a.v"), value.first());
            }
            Method::SampleInfohashes { target: id, want } => {
                self.is_asked("sample_infohashes");
                assert_eq!(target, Some(&id.as_bytes()[..]));
                assert_eq!(self.want(), want);
            }
            Method::Unknown { name, target: id, want } => {
                assert_eq!(self.string("q"), Some(name));
                if let Some(id) = id {
                    assert!([target, self.string("a.info_hash")].contains(&Some(&id.as_bytes()[..])));
                }
                assert_eq!(self.want(), want);
            }
            _ => {}
        }
    }

    fn check_response(self, response: &Response<'_>) {
        assert_eq!(self.string("y"), Some(&b"r"[..]));
        assert_eq!(self.string("r.id"), Some(&response.id.as_bytes()[..]));
        assert_eq!(self.string("r.token").filter(|token| !token.is_empty()), response.token);
        for (nodes, key, size) in [(response.nodes, "r.nodes", 26), (response.nodes6, "r.nodes6", 38)] {
            assert_eq!(nodes.is_some(), self.string(key).is_some());
            let read = self.string(key).unwrap_or_default().chunks_exact(size);
            let read: Vec<_> = read.map(<[u8]>::to_vec).collect();
            let nodes = nodes.into_iter().flatten();
            let nodes: Vec<_> =
                nodes.map(|(id, addr)| [&id.as_bytes()[..], &compact(addr)].concat()).collect();
            assert_eq!(nodes, read);
        }
        let numbers = [("r.seq", response.seq), ("r.num", response.num), ("r.interval", response.interval)];
        for (key, number) in numbers {
            assert_eq!(self.int(key), number, "{key}");
        }
        assert_eq!(self.sized("r.k"), response.key);
        assert_eq!(self.sized("r.sig"), response.signature);
        assert_eq!(self.sized("r.BFpe"), response.peers);
        if let Some(samples) = response.samples {
            assert_eq!(self.string("r.samples"), Some(samples.as_flattened()));
        }
        if let Some(value) = response.value
            && let Ok(value) = bencode_rs::parse_all(value)
        {
            assert_eq!(self.at("r.v"), value.first());
        }
        // Peers in the old form of one string are compared when they are written.
        let is_peer = |bytes: &[u8]| matches!(bytes.len(), 6 | 18);
        if let Some(Value::List(members)) = self.at("r.values")
            && !matches!(&members[..], [Value::ByteString(only)] if !is_peer(only))
        {
            let read = members.iter().filter_map(bytes).filter(|bytes| is_peer(bytes));
            let read: Vec<_> = read.map(<[u8]>::to_vec).collect();
            let peers: Vec<_> = response.values.into_iter().flatten().map(compact).collect();
            assert_eq!(peers, read);
        }
    }

    fn is_asked(self, method: &str) {
        assert_eq!(self.string("q"), Some(method.as_bytes()));
    }

    fn want(self) -> Want {
        let Some(Value::List(members)) = self.at("a.want") else { return Want::NONE };
        let has = |family: &[u8]| members.iter().filter_map(bytes).any(|member| member == family);
        Want { v4: has(b"n4"), v6: has(b"n6") }
    }

    /// Returns the value at a path of keys and positions, the first of equal keys.
    fn at(self, path: &str) -> Option<&'a Value> {
        path.split('.').try_fold(self.0, |value, step| match value {
            Value::Dictionary(entries) => {
                let is_key = |key: &Value| bytes(key) == Some(step.as_bytes());
                entries.iter().find(|(key, _)| is_key(key)).map(|(_, value)| value)
            }
            Value::List(members) => members.get(step.parse::<usize>().ok()?),
            _ => None,
        })
    }

    fn string(self, path: &str) -> Option<&'a [u8]> {
        self.at(path).and_then(bytes)
    }

    fn sized<const N: usize>(self, path: &str) -> Option<&'a [u8; N]> {
        self.string(path).and_then(|bytes| bytes.try_into().ok())
    }

    fn int(self, path: &str) -> Option<i64> {
        match self.at(path) {
            Some(Value::Integer(value)) => Some(*value),
            _ => None,
        }
    }

    fn flag(self, path: &str) -> bool {
        self.int(path).is_some_and(|value| value != 0)
    }
}

const fn bytes(value: &Value) -> Option<&[u8]> {
    match value {
        Value::ByteString(bytes) => Some(bytes.as_slice()),
        _ => None,
    }
}

fn compact(addr: SocketAddr) -> Vec<u8> {
    let ip = match addr.ip() {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    [&ip[..], &addr.port().to_be_bytes()].concat()
}

/// A value as any decoder reads it, if keys are unique.
#[derive(Debug, PartialEq, Eq)]
enum Tree {
    Bytes(Vec<u8>),
    Int(i64),
    List(Vec<Self>),
    Dictionary(BTreeMap<Vec<u8>, Self>),
}

impl From<&Value> for Tree {
    fn from(value: &Value) -> Self {
        match value {
            Value::Integer(value) => Self::Int(*value),
            Value::ByteString(bytes) => Self::Bytes(bytes.clone()),
            Value::List(members) => Self::List(members.iter().map(Self::from).collect()),
            Value::Dictionary(entries) => {
                let entry = |(key, value): &(Value, Value)| {
                    (bytes(key).expect("keys are strings").to_vec(), Self::from(value))
                };
                Self::Dictionary(entries.iter().map(entry).collect())
            }
        }
    }
}

impl From<serde_bencode::value::Value> for Tree {
    fn from(value: serde_bencode::value::Value) -> Self {
        use serde_bencode::value::Value;
        match value {
            Value::Int(value) => Self::Int(value),
            Value::Bytes(bytes) => Self::Bytes(bytes),
            Value::List(members) => Self::List(members.into_iter().map(Self::from).collect()),
            Value::Dict(entries) => {
                Self::Dictionary(entries.into_iter().map(|(key, value)| (key, Self::from(value))).collect())
            }
        }
    }
}
