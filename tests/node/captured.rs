//! Captured datagrams of deployed nodes: libtorrent, Transmission, mainline.
//! The name of each file says what it contains; `tests/data/captured/README.md` lists them.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use bencode_rs::{Value, parse_all};
use dht_proto::wire::{Body, ErrorCode, Message, Method, Response, Want};
use dht_proto::{AddressPolicy, Event, InfoHash, Lookup, NodeId, QueryError};

use crate::common::addr;
use crate::common::raw::{Lone, Packet, addr6, join, unhurried};

/// A captured datagram, and its description in the file name.
struct Captured {
    name: String,
    bytes: Vec<u8>,
    kind: Kind,
    method: String,
    /// The other words of the name, such as `want` or `values`.
    marks: Vec<String>,
}

#[derive(PartialEq)]
enum Kind {
    Query,
    Reply,
    Error(i64),
}

impl Captured {
    fn read(path: &Path) -> Self {
        let sender = path.parent().unwrap().file_name().unwrap().to_str().unwrap();
        let stem = path.file_stem().unwrap().to_str().unwrap();
        let (kind, rest) = stem.split_once('_').unwrap();
        let (kind, rest) = match kind {
            "query" => (Kind::Query, rest),
            "reply" => (Kind::Reply, rest),
            "error" => {
                let (code, rest) = rest.split_once("_to_").unwrap();
                (Kind::Error(code.parse().unwrap()), rest)
            }
            other => panic!("{other}"),
        };
        let methods = ["ping", "find_node", "get_peers", "announce_peer", "get", "put", "no_such_method"];
        let method = methods.into_iter().find(|method| rest.starts_with(method)).expect(stem);
        let marks = rest[method.len()..].split('_').filter(|mark| !mark.is_empty());
        Self {
            name: format!("{sender}/{stem}"),
            bytes: fs::read(path).unwrap(),
            kind,
            method: method.to_owned(),
            marks: marks.map(str::to_owned).collect(),
        }
    }

    fn has(&self, mark: &str) -> bool {
        self.marks.iter().any(|other| other == mark)
    }

    fn message(&self) -> Message<'_> {
        match Message::parse_prefix(&self.bytes) {
            Ok((message, [])) => message,
            other => panic!("{}: {other:?}", self.name),
        }
    }

    fn response(&self) -> Response<'_> {
        match self.message().body {
            Body::Response(response) => response,
            other => panic!("{}: {other:?}", self.name),
        }
    }

    /// Returns a source address for the datagram.
    fn source(&self) -> SocketAddr {
        if self.has("ipv6") { addr6(1) } else { addr(1) }
    }

    /// Returns the datagram as the answer to a query of the node.
    fn answering(&self, query: &Packet) -> Vec<u8> {
        let t = self.message().transaction;
        let field = join(&[format!("1:t{}:", t.len()).as_bytes(), t]);
        let ours = join(&[b"1:t4:", query.string("t").unwrap()]);
        self.replaced(&field, &ours)
    }

    fn replaced(&self, old: &[u8], new: &[u8]) -> Vec<u8> {
        let at = self.bytes.windows(old.len()).rposition(|window| window == old).expect(&self.name);
        join(&[&self.bytes[..at], new, &self.bytes[at + old.len()..]])
    }
}

fn captured() -> Vec<Captured> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/captured");
    let senders = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir());
    let files = senders.flat_map(|sender| fs::read_dir(sender).unwrap().map(|entry| entry.unwrap().path()));
    let mut captured: Vec<_> = files.map(|path| Captured::read(&path)).collect();
    captured.sort_by(|a, b| a.name.cmp(&b.name));
    assert!(captured.len() >= 58, "{} files", captured.len());
    captured
}

fn queries() -> impl Iterator<Item = Captured> {
    captured().into_iter().filter(|captured| captured.kind == Kind::Query)
}

/// Creates a node that accepts the captured addresses, all of which are private.
fn lenient() -> Lone {
    let mut config = unhurried();
    config.address_policy = AddressPolicy::Any;
    config.source_limits = false;
    Lone::new(config)
}

#[test]
fn every_captured_datagram_is_of_the_kind_in_its_file_name() {
    for captured in captured() {
        let (message, name) = (captured.message(), &captured.name);
        assert_eq!(message.read_only, captured.has("only"), "{name}");
        match message.body {
            Body::Query(query) => {
                assert!(captured.kind == Kind::Query, "{name}");
                let (method, want) = match query.method {
                    Method::Ping => ("ping", Want::NONE),
                    Method::FindNode { want, .. } => ("find_node", want),
                    Method::GetPeers { want, .. } => ("get_peers", want),
                    Method::Get { want, .. } => ("get", want),
                    Method::Put { .. } => ("put", Want::NONE),
                    Method::AnnouncePeer { implied_port, token, .. } => {
                        assert_eq!(implied_port, captured.has("port"), "{name}");
                        assert_eq!(token.len(), 4, "{name}");
                        ("announce_peer", Want::NONE)
                    }
                    other => panic!("{name}: {other:?}"),
                };
                assert_eq!(
                    (method, want != Want::NONE),
                    (&captured.method[..], captured.has("want")),
                    "{name}"
                );
            }
            Body::Response(response) => {
                assert!(captured.kind == Kind::Reply, "{name}");
                assert_eq!(
                    response.nodes.is_some_and(|nodes| !nodes.is_empty()),
                    captured.has("nodes"),
                    "{name}"
                );
                assert_eq!(
                    response.nodes6.is_some_and(|nodes| !nodes.is_empty()),
                    captured.has("nodes6"),
                    "{name}"
                );
                assert_eq!(response.values.is_some(), captured.has("values"), "{name}");
                let gives_token = matches!(&captured.method[..], "get_peers" | "get");
                assert_eq!(response.token.is_some(), gives_token, "{name}");
            }
            Body::Error(error) => assert!(captured.kind == Kind::Error(error.code.0), "{name}"),
        }
    }
}

#[test]
fn captured_fields_are_read_as_an_independent_decoder_reads_them() {
    for captured in captured() {
        let values = parse_all(&captured.bytes).unwrap();
        let [Value::Dictionary(root)] = &values[..] else { panic!("{}", captured.name) };
        let string = |entries: &[(Value, Value)], key: &str| {
            let found = entries.iter().find(|(name, _)| *name == Value::ByteString(key.as_bytes().to_vec()));
            found.map(|(_, value)| value.clone())
        };
        let bytes = |bytes: &[u8]| Some(Value::ByteString(bytes.to_vec()));
        let message = captured.message();
        assert_eq!(string(root, "t"), bytes(message.transaction), "{}", captured.name);
        assert_eq!(string(root, "v"), message.version.and_then(bytes), "{}", captured.name);
        let body = string(root, "a").or_else(|| string(root, "r"));
        let Some(Value::Dictionary(inner)) = body else { continue };
        match message.body {
            Body::Query(query) => assert_eq!(string(&inner, "id"), bytes(query.id.as_bytes())),
            Body::Response(response) => {
                assert_eq!(string(&inner, "id"), bytes(response.id.as_bytes()));
                assert_eq!(string(&inner, "token"), response.token.and_then(bytes));
                assert_eq!(string(&inner, "nodes"), response.nodes.and_then(|nodes| bytes(nodes.as_bytes())));
            }
            Body::Error(_) => {}
        }
    }
}

#[test]
fn captured_messages_are_unchanged_when_they_are_emitted_again() {
    for captured in captured() {
        let message = captured.message();
        let mut buf = [0; 1500];
        let len = message.emit(&mut buf).unwrap();
        assert_eq!(Message::parse(&buf[..len]), Ok(message), "{}", captured.name);
    }
}

#[test]
fn e_32_every_captured_query_gets_a_well_formed_answer() {
    for captured in queries() {
        let mut lone = lenient();
        let reply = lone.ask(captured.source(), &captured.bytes);
        assert_eq!(reply.string("t"), Some(captured.message().transaction), "{}", captured.name);
        let expected = match &captured.method[..] {
            // Their tokens were issued by other nodes.
            "announce_peer" => Some(203),
            "put" if cfg!(feature = "items") => Some(203),
            "put" => Some(204),
            _ => None,
        };
        assert_eq!(reply.int("e.0"), expected, "{}", captured.name);
        if captured.method == "get_peers" {
            assert!(reply.string("r.token").is_some(), "{}", captured.name);
        }
        assert!(
            expected.is_some() || captured.method == "ping" || {
                reply.at("r.nodes").is_some() || reply.at("r.nodes6").is_some()
            }
        );
        assert_eq!(lone.queries.is_empty(), captured.has("only"), "{}: who may be pinged", captured.name);
        assert_eq!(lone.node.infohash_count(), 0, "{}", captured.name);
    }
}

#[test]
fn captured_announces_with_a_valid_token_are_stored() {
    let mut seen = 0;
    for captured in queries().filter(|captured| captured.method == "announce_peer") {
        let Body::Query(query) = captured.message().body else { panic!("{}", captured.name) };
        let Method::AnnouncePeer { infohash, port, implied_port, token, .. } = query.method else {
            panic!("{}", captured.name)
        };
        let (mut lone, from) = (lenient(), captured.source());
        let ours = lone.token(from, infohash.as_bytes());
        let announce = captured.replaced(&join(&[b"5:token4:", token]), &join(&[b"5:token8:", &ours]));
        lone.accepted(from, &announce);
        let port = if implied_port { from.port() } else { port };
        assert_eq!(lone.stored(infohash.as_bytes()), [SocketAddr::new(from.ip(), port)], "{}", captured.name);
        seen += 1;
    }
    assert_eq!(seen, 7);
}

#[test]
fn captured_replies_answer_our_queries_with_all_they_contain() {
    for captured in captured().into_iter().filter(|captured| captured.kind == Kind::Reply) {
        let (mut lone, from, response) = (lenient(), captured.source(), captured.response());
        let target = [5; 20];
        let lookup = match &captured.method[..] {
            "get_peers" => Lookup::GetPeers(InfoHash::from_bytes(target)),
            _ => Lookup::FindNode(NodeId::from_bytes(target)),
        };
        let (id, query) = lone.ask_only(lookup, from);
        lone.ignored(from, &captured.answering(&query));
        assert!(lone.knows(response.id.as_bytes(), from), "{}", captured.name);
        assert_eq!(lone.stats().responses_in.total(), 1, "{}", captured.name);

        let listed = if captured.has("ipv6") { response.nodes6 } else { response.nodes };
        let listed = listed.map_or(0, |nodes| nodes.len());
        assert_eq!(lone.node.lookup_nodes(id).count(), listed.min(8), "{}", captured.name);
        let peers: Vec<_> = response.values.iter().flat_map(|values| values.iter()).collect();
        assert_eq!(lone.found(), peers, "{}", captured.name);
        assert!(lone.stats().contacts_refused == 0, "{}", captured.name);
    }
}

#[test]
fn captured_errors_end_our_queries_and_report_their_code() {
    let mut seen = 0;
    for captured in captured() {
        let Kind::Error(code) = captured.kind else { continue };
        let (mut lone, from) = (lenient(), captured.source());
        lone.node.ping(lone.now, from).unwrap();
        let query = lone.query();
        lone.ignored(from, &captured.answering(&query));
        let result = lone.events.iter().find_map(|event| match event {
            Event::QueryDone { result, .. } => Some(*result),
            _ => None,
        });
        assert_eq!(result, Some(Err(QueryError::Refused(ErrorCode(code)))), "{}", captured.name);
        assert_eq!(ErrorCode(code), ErrorCode::PROTOCOL);
        seen += 1;
    }
    assert_eq!(seen, 5);
}
